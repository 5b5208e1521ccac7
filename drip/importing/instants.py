"""Times as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from drip.core.calendar import instant, zone


def parse_instant(text: str, timezone: str) -> datetime:
    """An ISO date-time; without an offset it is the wall clock of `timezone`. Raises
    ValueError."""
    try:
        # 9:00 as people write it, 09:00 as ISO 8601 does.
        padded = re.sub(r"(?<=[ T])(\d):", r"0\1:", text)
        at = datetime.fromisoformat(padded)
        at = instant(at, zone(timezone)) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"`{text}` is not a time like 2026-11-22 14:30") from None
    # The database keeps milliseconds: with more of them the same row would differ from
    # what is stored.
    milliseconds = at.microsecond // 1000
    return at.replace(microsecond=milliseconds * 1000)
