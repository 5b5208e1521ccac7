"""One seed, from an empty folder to the verdict."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

from tests.simulation.house import House
from tests.simulation.model import Model

# In memory where the system has such a folder: thousands of small databases wear a disk.
SHM = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def play(seed: int) -> Counter[str]:
    """Plays a seed; what was injected. Raises AssertionError with the broken guarantee."""
    with tempfile.TemporaryDirectory(dir=SHM, prefix="drip-seed-") as folder:
        house = House(seed, Path(folder))
        try:
            house.run()
            Model(house).check()
        finally:
            house.close()
        house.machine.injected["messages"] += len(house.trace.delivered)
        return house.machine.injected
