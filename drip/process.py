"""How a process of drip is set up."""

from __future__ import annotations

import gc
import zoneinfo


def unhurried() -> None:
    """Has Python look for cycles seldom: batches hold hundreds of thousands of values, and hardly ever a cycle.

    Measured in a blast: the looking took a fifth of the time.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def own_zones() -> None:
    """Has Python take time zones from the tzdata package alone: the same on every machine, of a version that can be noted."""
    zoneinfo.reset_tzpath(to=())
