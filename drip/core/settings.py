"""The workspace's settings as the rest of the program knows them.

Frozen, checked, with places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from drip.core.calendar import ClockRange, Duration, SendWindow
from drip.core.caps import Cap
from drip.core.conditions import Condition
from drip.core.derived import DateField, Derived, Total
from drip.core.fields import Field, Stored, Value, load
from drip.core.message import Mailbox
from drip.core.rates import Rates
from drip.errors import Place

# What other programs can be told of.
NOTICES = ("sent", "bounced", "complained", "unsubscribed", "goal", "survey.answered")
OptIn = Literal["double", "single", "implied"]


@dataclass(frozen=True, slots=True)
class Topic:
    key: str
    title: str
    opt_in: OptIn
    expires: Duration | None
    place: Place


@dataclass(frozen=True, slots=True)
class Counter:
    """Stamps or points: events that add, take back and set to zero.

    `field` is what is added, else one.
    """

    key: str
    add: tuple[str, ...]
    subtract: tuple[str, ...]
    reset: tuple[str, ...]
    field: str | None
    place: Place


@dataclass(frozen=True, slots=True)
class Segment:
    """A named audience."""

    key: str
    condition: Condition
    place: Place


@dataclass(frozen=True, slots=True)
class Coupon:
    """What a code is good for.

    `unique` codes are made, those of a `list` are imported.
    """

    key: str
    offer: str
    codes: Literal["unique", "list"]
    prefix: str
    place: Place


@dataclass(frozen=True, slots=True)
class Survey:
    """A question that is answered by a number from `lowest` to `highest`."""

    key: str
    question: str
    lowest: int
    highest: int
    place: Place


@dataclass(frozen=True, slots=True)
class Webhook:
    """A program that is told of what happens. `secret` is still `secret:NAME`."""

    key: str
    url: str
    secret: str
    kinds: frozenset[str]
    private: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Settings:
    """`campaigns/_settings.yaml`.

    `fields` maps `contact` and each record kind to its declared fields.
    """

    business_name: str
    business_address: str
    timezone: str
    locale: str
    currency: str
    public_url: str | None
    colour: str
    track_clicks: bool
    track_opens: bool
    send_window: SendWindow | None
    send_window_place: Place
    quiet_hours: ClockRange | None
    quiet_hours_place: Place
    caps: tuple[Cap, ...]
    wait_when_capped: timedelta | None
    keep_reasons: timedelta
    topics: Mapping[str, Topic]
    senders: Mapping[str, Mailbox]
    transports: Mapping[str, Mapping[str, str]]
    transport_places: Mapping[str, Place]
    rates: Mapping[str, Rates]
    inbound: Mapping[str, str]
    inbound_place: Place
    providers: Mapping[str, Mapping[str, str]]
    providers_place: Place
    webhooks: Mapping[str, Webhook]
    alarms: Mapping[str, str]
    alarms_place: Place
    fields: Mapping[str, Mapping[str, Field]]
    derived: Mapping[str, Derived]
    holidays: frozenset[date]
    counters: Mapping[str, Counter]
    segments: Mapping[str, Segment]
    coupons: Mapping[str, Coupon]
    surveys: Mapping[str, Survey]
    database: str | None
    place: Place
    version: str

    @property
    def kinds(self) -> list[str]:
        """The kinds of records."""
        return [kind for kind in self.fields if kind != "contact"]

    def scores(self, survey: str) -> range:
        """What a survey can be answered with.

        From 1 to 5 where the settings do not describe it.
        """
        known = self.surveys.get(survey)
        return range(known.lowest, known.highest + 1) if known else range(1, 6)

    def date_field(self, name: str) -> DateField | None:
        """The date that a name like `contact.birthday` stands for; None for no date.

        A derived one as `vehicle.oil_change_due` is another one, moved.
        """
        derived = self.derived.get(name)
        if isinstance(derived, DateField):
            return derived
        if derived is not None:
            return None if isinstance(derived, Total) else DateField(name, ())
        owner, _, bare = name.partition(".")
        known = self.fields.get(owner, {}).get(bare)
        return DateField(name, ()) if known and known.is_date else None

    @property
    def dates(self) -> list[str]:
        """Every date that a campaign may name, with its owner, derived ones last."""
        found: list[str] = []
        for owner, fields in self.fields.items():
            dated = [name for name, known in fields.items() if known.is_date]
            found += [f"{owner}.{name}" for name in dated]
        found += [name for name in self.derived if self.date_field(name)]
        return found

    def load(self, owner: str, attributes: Mapping[str, Stored]) -> dict[str, Value]:
        """Stored attributes of a contact or record as values.

        Left out is what is no longer declared, or was stored when the field had another
        type.
        """
        declared = self.fields.get(owner, {})
        values = {
            name: load(declared[name], stored)
            for name, stored in attributes.items()
            if name in declared
        }
        return {name: value for name, value in values.items() if value is not None}
