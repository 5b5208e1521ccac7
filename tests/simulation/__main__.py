"""`python -m tests.simulation`: many seeds, then every mutant; prints the record that README.md beside it keeps.

`--seeds 10000` is the nightly run; `--seed 17` plays one again and says what broke.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from drip.process import own_zones
from tests.simulation.mutants import MUTANTS, seed_to_catch
from tests.simulation.play import play

FIRST_MUTANT_SEEDS = 1_000


def verdict(seed: int) -> tuple[int, Counter[str], str]:
    """A seed, what was injected, and what broke (nothing: empty)."""
    logging.disable(logging.CRITICAL)
    try:
        return seed, play(seed), ""
    except AssertionError as broken:
        return seed, Counter(), str(broken)


def caught(name: str) -> tuple[str, int | None]:
    """A mutant and the seed that caught it."""
    logging.disable(logging.CRITICAL)
    return name, seed_to_catch(name, FIRST_MUTANT_SEEDS)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="only this one")
    asked = parser.parse_args()
    own_zones()
    if asked.seed is not None:
        sys.stdout.write(f"{verdict(asked.seed)}\n")
        return 0
    began, injected, broken = time.monotonic(), Counter[str](), 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for seed, found, why in pool.map(
            verdict, range(asked.first, asked.first + asked.seeds), chunksize=10
        ):
            injected += found
            if why:
                broken += 1
                sys.stdout.write(f"seed {seed}: {why}\n")
                sys.stdout.flush()
        sys.stdout.write(
            f"{asked.seeds:,} seeds in {time.monotonic() - began:,.0f} s, {broken} broken\n"
        )
        for kind, count in sorted(injected.items()):
            sys.stdout.write(f"  {kind}: {count:,}\n")
        survived = 0
        for name, seed_ in pool.map(caught, MUTANTS):
            survived += seed_ is None
            sys.stdout.write(
                f"mutant {name}: {'SURVIVED' if seed_ is None else f'caught by seed {seed_}'}\n"
            )
    return 1 if broken or survived else 0


if __name__ == "__main__":
    sys.exit(main())
