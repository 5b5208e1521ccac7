"""A campaign and the workspace's settings as the rest of the program knows them: frozen, checked, with places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from drip.core.calendar import ClockRange, Duration, Feb29
from drip.core.caps import Cap
from drip.core.conditions import Condition
from drip.core.fields import Field, Stored, Value, load
from drip.core.message import Mailbox
from drip.core.schedule import Schedule
from drip.errors import Place

Channel = str
CHANNELS = ("email",)
PRIORITIES = {"low": 25, "normal": 50, "high": 75}
OptIn = Literal["double", "single", "implied"]
Status = Literal["draft", "live", "paused"]
OnUnknown = Literal["hold", "resend"]


@dataclass(frozen=True, slots=True)
class DateField:
    """A date that a run can hang on: a stored field, moved by `steps` (6 months after vehicle.last_service)."""

    field: str
    steps: tuple[Duration, ...]


@dataclass(frozen=True, slots=True)
class DateTrigger:
    """Starts when a date comes near. `yearly` for birthdays and anniversaries."""

    date: DateField
    yearly: bool
    feb_29: Feb29


@dataclass(frozen=True, slots=True)
class ScheduleTrigger:
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Starts on an event whose fields meet `where`."""

    event: str
    where: Condition | None


Trigger = DateTrigger | ScheduleTrigger | EventTrigger


@dataclass(frozen=True, slots=True)
class Send:
    """One message. `at` moves the trigger's date; without it, the step is due when the one before is done.

    `sender` None leaves it to the template, then to the settings' default.
    `grace` None means that it never expires; `window` None that any hour will do. `opens` is the minute
    of the day at which a date without a clock time is due.
    """

    id: str
    place: Place
    template: str
    channels: tuple[Channel, ...]
    sender: Mailbox | None
    subject: str | None
    preheader: str | None
    reply_to: Mailbox | None
    at: Duration | None
    content: str | None
    priority: int
    grace: timedelta | None
    window: ClockRange | None
    window_place: Place
    opens: int
    transactional: bool


@dataclass(frozen=True, slots=True)
class Wait:
    id: str
    place: Place
    duration: Duration


@dataclass(frozen=True, slots=True)
class End:
    id: str
    place: Place


Step = Send | Wait | End


@dataclass(frozen=True, slots=True)
class Campaign:
    """One file of `campaigns/`. `key` is the file's name without ending, `version` the hash of its text."""

    key: str
    title: str
    version: str
    place: Place
    status: Status
    topic: str | None
    topic_place: Place
    trigger: Trigger
    for_each: str | None
    audience: Condition | None
    exit_events: Mapping[str, Place]
    exit_conditions: tuple[Condition, ...]
    re_entry: Literal["never", "always"] | Duration
    timezone: str | None
    caps: tuple[Cap, ...]
    obeys_caps: bool
    counted: bool
    wait_when_capped: timedelta | None
    on_unknown: OnUnknown
    opens: int
    steps: tuple[Step, ...]

    def entry_opens(self) -> int:
        """The minute of the day at which the earliest `at:` step is due."""
        offset = self.entry_offset()
        at_steps = [step for step in self.steps if isinstance(step, Send) and step.at == offset]
        first = at_steps or [step for step in self.steps[:1] if isinstance(step, Send)]
        return first[0].opens if first else self.opens

    def event_prefix(self) -> str | None:
        """`order` for a campaign on `order.placed`: what its event's fields are called by."""
        return self.trigger.event.partition(".")[0] if isinstance(self.trigger, EventTrigger) else None

    def entry_offset(self) -> Duration:
        """How far the earliest `at:` step lies from the trigger's date."""
        offsets = [step.at for step in self.steps if isinstance(step, Send) and step.at]
        return min(offsets, key=_rough, default=Duration())

    def lookback(self) -> timedelta:
        """How old an occurrence may be and still have a step that makes sense."""
        reached, longest = timedelta(0), timedelta(0)
        start = _rough(self.entry_offset())
        for step in self.steps:
            match step:
                case Wait(duration=duration):
                    reached += duration.longest()
                case Send(at=at, grace=grace):
                    if at is not None:
                        reached = max(reached, _rough(at) - start)
                    longest = max(longest, reached + (grace if grace is not None else timedelta(days=7)))
        return longest + timedelta(days=2)


def _rough(duration: Duration) -> timedelta:
    return timedelta(days=duration.months * 30.44 + duration.days, seconds=duration.seconds)


@dataclass(frozen=True, slots=True)
class Topic:
    key: str
    title: str
    opt_in: OptIn
    place: Place


@dataclass(frozen=True, slots=True)
class Settings:
    """`campaigns/_settings.yaml`. `fields` maps `contact` and each record kind to its declared fields."""

    business_name: str
    business_address: str
    timezone: str
    locale: str
    currency: str
    public_url: str | None
    send_window: ClockRange | None
    send_window_place: Place
    quiet_hours: ClockRange | None
    quiet_hours_place: Place
    caps: tuple[Cap, ...]
    wait_when_capped: timedelta | None
    topics: Mapping[str, Topic]
    senders: Mapping[str, Mailbox]
    transports: Mapping[Channel, Mapping[str, str]]
    transport_places: Mapping[Channel, Place]
    fields: Mapping[str, Mapping[str, Field]]
    derived: Mapping[str, DateField]
    database: str | None
    place: Place
    version: str

    @property
    def kinds(self) -> list[str]:
        """The kinds of records."""
        return [kind for kind in self.fields if kind != "contact"]

    def date_field(self, name: str) -> DateField | None:
        """The date that `contact.birthday` or a derived `vehicle.oil_change_due` stands for."""
        if name in self.derived:
            return self.derived[name]
        owner, _, bare = name.partition(".")
        known = self.fields.get(owner, {}).get(bare)
        return DateField(name, ()) if known and known.is_date else None

    def load(self, owner: str, attributes: Mapping[str, Stored]) -> dict[str, Value]:
        """Stored attributes of a contact or record as values.

        Left out is what is no longer declared, or was stored when the field had another type.
        """
        declared = self.fields.get(owner, {})
        values = {name: load(declared[name], stored) for name, stored in attributes.items() if name in declared}
        return {name: value for name, value in values.items() if value is not None}
