"""The dates that runs hang on, and when a run for a date begins."""

from __future__ import annotations

from datetime import date, datetime

from drip.core.calendar import Birthday, at_minute, birthday_in, shift, shifted, zone
from drip.core.campaign import Campaign, DateTrigger
from drip.core.fields import Value


def anchor_date(trigger: DateTrigger, value: Value, year: int) -> date | None:
    """The date a run hangs on.

    That is a yearly trigger's day in `year`, else the one there is.
    """
    if not isinstance(value, Birthday | date):
        return None
    day = _day_in(trigger, value, year)
    return shifted(day, trigger.date.steps) if day else None


def _day_in(trigger: DateTrigger, value: Birthday | date, year: int) -> date | None:
    if isinstance(value, Birthday):
        return birthday_in(value, year, trigger.feb_29)
    if not trigger.yearly:
        return value
    # Before the wedding there is no anniversary.
    if year < value.year:
        return None
    return birthday_in(
        Birthday(value.month, value.day),
        year,
        trigger.feb_29,
    )


def entry_instant(campaign: Campaign, anchor: date, zone_name: str) -> datetime:
    """When a run for a date begins: as its earliest step is due, in the zone that
    counts."""
    day = shift(anchor, campaign.entry_offset())
    where = zone(campaign.timezone or zone_name)
    return at_minute(day, campaign.entry_opens(), where)
