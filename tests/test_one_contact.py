"""One contact's preview over random workspaces. What else G1 to G8 promise is attacked by `test_simulation`."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from drip.preview.simulator import Nowhere, rehearsal, simulate
from drip.storage.base.copying import CopiedPart
from drip.storage.reading.ledger import entries
from tests.simulation.house import START, House


@settings(max_examples=15)
@given(st.integers(0, 10**9))
def test_one_contacts_preview_is_its_part_of_everybodys(seed: int) -> None:
    end = START + timedelta(days=5)
    with tempfile.TemporaryDirectory() as folder:
        house = House(seed, Path(folder))
        world = house.world

        def foreseen(contact_id: int | None) -> list[tuple[object, ...]]:
            with rehearsal(world.database, START, CopiedPart(contact_id)) as copy:
                campaign_set = world.workspace.campaign_set(copy, START)
                simulate(
                    copy,
                    campaign_set,
                    world.workspace.templates,
                    {"email": Nowhere()},
                    START,
                    end,
                )
                with copy.read() as connection:
                    found = list(entries(connection, until=end, contact="p0"))
            return [
                (e.at, e.outcome, e.campaign, e.step, e.code, e.until) for e in found
            ]

        assert foreseen(1) == foreseen(None)
        house.close()
