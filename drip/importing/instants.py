"""Times as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from drip.core.calendar import instant, zone


def parse_instant(text: str, timezone: str) -> datetime:
    """An ISO date-time; without an offset it is the wall clock of `timezone`. Raises
    ValueError."""
    try:
        # 9:00 as people write it, 09:00 as ISO does.
        at = datetime.fromisoformat(re.sub(r"(?<=[ T])(\d):", r"0\1:", text))
        at = instant(at, zone(timezone)) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"`{text}` is not a time like 2026-11-22 14:30") from None
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
