"""How the command line writes instants, spans and lines of the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from drip.core.calendar import local, zone
from drip.storage.reading.ledger import LedgerRow

# ISO 8601 without its `T`: sorts as it is, and is the same in every language.
CLOCK_FORMAT = "%Y-%m-%d %H:%M"
# In seconds.
SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def entry_row(entry: LedgerRow, timezone: str) -> dict[str, Any]:
    """A line of the ledger with the stable keys of `--json`."""
    # On the contact's own clock: "at 9" is nine in the morning where they live.
    wall = entry.at.astimezone(zone(entry.zone or timezone))
    return {
        "at": instant_text(entry.at),
        "local": wall.isoformat(timespec="minutes"),
        "campaign": entry.campaign,
        "step": entry.step,
        "contact": entry.contact,
        "record": entry.record,
        "occurrence": entry.occurrence,
        "channel": entry.channel,
        "outcome": entry.outcome,
        "code": entry.code,
        "sentence": entry.sentence,
        "place": entry.place,
        "until": instant_or_none(entry.until),
    }


def instant_text(at: datetime) -> str:
    """2026-11-26T16:00:00Z; with milliseconds only where there are some."""
    precision = "milliseconds" if at.microsecond else "seconds"
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def instant_or_none(at: datetime | None) -> str | None:
    """As `instant_text`, for JSON's null as well."""
    return instant_text(at) if at else None


def local_text(at: datetime, zone_name: str) -> str:
    return local(at, zone(zone_name)).strftime(CLOCK_FORMAT)


def local_or_never(at: datetime | None, zone_name: str) -> str:
    """As `local_text`, for what does not happen as well."""
    return local_text(at, zone_name) if at else "never"


def change_text(before: datetime | None, after: datetime | None, zone_name: str) -> str:
    """`2026-11-22 09:00 → never`: when something would happen, and when it does now."""
    was = local_or_never(before, zone_name)
    return f"{was} → {local_or_never(after, zone_name)}"


def ago(then: datetime, now: datetime) -> str:
    """`3 minutes ago`."""
    # Another machine's clock, which wrote it, may be a little ahead of this one's.
    passed = max(now - then, timedelta(0)).total_seconds()
    for length, word in SPANS:
        number = int(passed // length)
        if number:
            return f"{_counted(number, word)} ago"
    return "just now"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}s" if number > 1 else f"{number} {word}"
