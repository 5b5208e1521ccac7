"""How a process of drip is set up."""

from __future__ import annotations

import contextlib
import gc
import resource
import sys
import zoneinfo


def unhurried() -> None:
    """Has Python look for cycles seldom.

    Batches hold hundreds of thousands of values, and hardly ever a cycle.

    Measured in a blast: the looking took a fifth of the time.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def own_zones() -> None:
    """Has Python take time zones from the tzdata package alone.

    They are the same on every machine then, of a version that can be noted. In 2026
    four zones of Canada gave up winter time, and Morocco its hour more; what a machine
    has of its own may not know.
    """
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()


def raise_file_limit() -> int:
    """Raises how many files and sockets this process may have open.

    To what it may be raised to; that number.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS refuses what it says to be allowed.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
