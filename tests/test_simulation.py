"""Many seeds of the deterministic simulation, and the programs that are wrong on purpose: G1 to G8."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, seed_to_catch
from tests.simulation.play import play

SEEDS, AT_ONCE = 120, 10
ENOUGH = 300


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_guarantee_breaks_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        try:
            play(seed)
        except AssertionError as broken:
            raise AssertionError(
                f"{broken}: `python -m tests.simulation --seed {seed}` plays it again"
            ) from None


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_program_is_caught(name: str) -> None:
    assert seed_to_catch(name, ENOUGH) is not None, (
        "the simulation would not have noticed this mistake"
    )


def test_a_seed_replays_exactly() -> None:
    assert play(7) == play(7)
