"""The cap laboratory: who displaces whom, who is at a limit, what other caps would change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from drip.errors import DripError
from drip.preview.trying import tried
from drip.storage.reading.pressure import Stretch, pressure, stretches
from tests.cli import drip
from tests.world import World, at

Worlds = Callable[..., World]
CAMPAIGNS = {
    "card": "name: Card\ntopic: news\npriority: high\ntrigger: { date: contact.birthday, repeat: yearly }\nsteps: [send: a]\n",
    "promo": "name: Promo\ntopic: news\npriority: low\ntrigger: { schedule: every day at 10:00 }\nsteps: [send: b]\n",
}
SETTINGS = (
    "frequency_caps: { all: 2 per week }\nsend_window: 9:00-19:00\nwhen_capped: skip"
)
PEOPLE = (
    "key,email,birthday,news",
    "ana,ana@example.com,11-24,yes",
    "ben,ben@example.com,,yes",
)


@pytest.fixture
def made(world: Worlds) -> World:
    made = world(CAMPAIGNS, settings=SETTINGS)
    made.contacts(*PEOPLE)
    return made


def test_a_cap_tells_who_displaces_whom_and_who_is_at_the_limit(made: World) -> None:
    made.run("2026-11-22 00:00", "2026-11-26 00:00")
    with made.database.read() as connection:
        found = pressure(connection, at("2026-11-22"), at("2026-11-26"))
    # Ana: the promotion on two days, so no card. Ben: the promotion on two days.
    assert found.sent == {"promo": 4}
    assert found.displaced == {("card", "promo"): 1, ("promo", "promo"): 4}
    assert found.limits == {"campaigns/_settings.yaml:16": 2}
    assert (found.skipped, found.deferred) == ({"card": 1, "promo": 4}, {})


def test_the_pressure_is_told_over_time(made: World) -> None:
    made.run("2026-11-22 00:00", "2026-11-26 00:00")
    with made.database.read() as connection:
        found = stretches(
            connection, at("2026-11-21"), at("2026-11-26 12:00"), timedelta(days=2)
        )
        of_card = stretches(
            connection,
            at("2026-11-21"),
            at("2026-11-26 12:00"),
            timedelta(days=2),
            ("card",),
        )
    assert found == [
        Stretch(at("2026-11-21"), 2, 0, 0),
        Stretch(at("2026-11-23"), 2, 3, 0),
        Stretch(at("2026-11-25"), 0, 2, 0),
    ]
    assert [(each.sent, each.skipped) for each in of_card] == [(0, 0), (0, 1), (0, 0)]


def rows(made: World, *more: str) -> dict[str, dict[str, Any]]:
    done = drip(
        made.root,
        "preview",
        "--caps",
        "--json",
        "--days",
        "4",
        "--now",
        "2026-11-21 20:00",
        *more,
    )
    assert done.code == 0, done.err
    return {row["campaign"]: row for row in done.rows if "campaign" in row}


@pytest.mark.parametrize(
    ("trial", "card", "promo"),
    [
        ("campaign promo: 1 per week", 1, 2),
        ("promo: 0 per week", 1, 0),
        ("all: 5 per week", 1, 8),
        ("all: none", 1, 8),
        ("card: ignore", 1, 4),
        ("news: 1 per week", 0, 2),
    ],
)
def test_other_caps_can_be_tried(
    made: World, trial: str, card: int, promo: int
) -> None:
    found = rows(made, "--try", trial)
    assert (found["promo"]["sent"], found.get("card", {}).get("sent", 0)) == (4, 0)
    assert (found["promo"]["sent_if"], found["card"]["sent_if"]) == (promo, card)


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        ("nonsense", "says no caps"),
        ("prmo: 1 per day", "did you mean `promo`"),
        ("promo: often", "is not a cap"),
    ],
)
def test_a_trial_that_cannot_be_is_refused(made: World, trial: str, said: str) -> None:
    with pytest.raises(DripError) as refused:
        tried(made.workspace.loaded, trial)
    assert said in f"{refused.value.sentence} {refused.value.help}"


def test_the_heat_map_is_a_table_of_campaigns(made: World) -> None:
    done = drip(
        made.root,
        "preview",
        "--caps",
        "--days",
        "4",
        "--now",
        "2026-11-21 20:00",
        "--try",
        "promo: 1 per week",
    )
    assert done.code == 0
    assert "Who displaces whom" in done.out
    assert "_settings.yaml:16" in done.out
    assert "4 → 2" in done.out
