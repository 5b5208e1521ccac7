"""A campaign as the rest of the program knows it: frozen, checked, with places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Literal

from drip.core.calendar import Duration, Feb29
from drip.core.caps import Cap
from drip.core.conditions import Condition
from drip.core.decide import WhenLate
from drip.core.derived import DateField
from drip.core.schedule import Schedule
from drip.core.steps import (
    ACTIONS,
    IssueCoupon,
    NextClock,
    Point,
    SendStep,
    Step,
    Task,
    Wait,
    WaitFor,
    WaitUntil,
)
from drip.errors import Place

# Between and beyond them there is room for a number.
PRIORITIES = {"low": 25, "normal": 50, "high": 75}
Status = Literal["draft", "live", "paused"]
OnUnknown = Literal["hold", "resend"]


@dataclass(frozen=True, slots=True)
class DateTrigger:
    """Starts when a date comes near.

    `yearly` for birthdays and anniversaries; `name` is the date as written.
    """

    name: str
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


@dataclass(frozen=True, slots=True)
class SegmentTrigger:
    """Starts when a contact comes into a segment."""

    segment: str


@dataclass(frozen=True, slots=True)
class CounterTrigger:
    """Starts when a counter comes up to one of `reaches` from below."""

    counter: str
    reaches: tuple[int, ...]


Trigger = DateTrigger | ScheduleTrigger | EventTrigger | SegmentTrigger | CounterTrigger


@dataclass(frozen=True, slots=True)
class Expected:
    """A line that a test expects.

    At what time (of the sample contact's clock), and what.
    """

    wall: datetime
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Happening:
    """An event that a test plays."""

    wall: datetime
    event: str
    fields: Mapping[str, str]
    place: Place


@dataclass(frozen=True, slots=True)
class CampaignTest:
    """One of a campaign's `tests:`.

    `contact`, `record` and `counters` are what is given; `values` as written.
    """

    name: str
    contact: Mapping[str, str]
    record: Mapping[str, str]
    counters: Mapping[str, int]
    topics: Mapping[str, bool]
    tags: tuple[str, ...]
    segments: tuple[str, ...]
    today: date | None
    until: date | None
    happens: tuple[Happening, ...]
    expect: tuple[Expected, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Goal:
    """What success is.

    An event whose fields meet `where`, within a time of the run's beginning.
    """

    event: str
    where: Condition | None
    within: Duration | None
    place: Place


# How late a step that never expires may be for whoever joins late: what was over long
# before is not made up for.
LATE_JOINER = timedelta(days=7)


@dataclass(frozen=True)
class Campaign:
    """One file of `campaigns/`.

    `key` is the file's name without ending, `version` the hash of its text.
    """

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
    goal: Goal | None
    exit_at_goal: Place | None
    holdout: float
    max_audience: int | None
    max_audience_place: Place
    re_entry: Literal["never", "always"] | Duration
    timezone: str | None
    caps: tuple[Cap, ...]
    reserve: timedelta | None
    when_late: WhenLate
    obeys_caps: bool
    counted: bool
    wait_when_capped: timedelta | None
    on_unknown: OnUnknown
    opens: int
    steps: tuple[Step, ...]
    tests: tuple[CampaignTest, ...] = ()

    def position_of(self, step_id: str) -> int | None:
        """Where a step stands."""
        return self._positions.get(step_id)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {step.id: n for n, step in enumerate(self.steps)}

    def event_prefixes(self) -> dict[str, str]:
        """The events of a campaign by what their fields are called by.

        `order` for `order.placed`: the trigger's and those that steps wait for.
        """
        names = [step.event for step in self.steps if isinstance(step, WaitFor)]
        names += [self.trigger.event] if isinstance(self.trigger, EventTrigger) else []
        return {name.partition(".")[0]: name for name in names}

    @cached_property
    def asks_back(self) -> str | None:
        """The event `TOPIC.confirmed`, if this campaign asks for a confirmation.

        It does if it starts when somebody signs up for its topic.
        """
        asks = (
            isinstance(self.trigger, EventTrigger)
            and self.trigger.event == f"{self.topic}.requested"
        )
        return f"{self.topic}.confirmed" if asks else None

    def entry_opens(self) -> int:
        """The minute of the day at which the earliest `at:` step is due."""
        offset = self.entry_offset()
        for step in self._hung():
            if step.at and step.at.offset == offset:
                return step.at.opens
        first = self.steps[0] if self.steps else None
        return first.opens if isinstance(first, SendStep) else self.opens

    def entry_offset(self) -> Duration:
        """How far the earliest `at:` step lies from the trigger's date."""
        offsets = [step.at.offset for step in self._hung() if step.at]
        return min(offsets, key=_rough, default=Duration())

    def _hung(self) -> list[SendStep | Task]:
        """The steps that hang on the trigger's date."""
        name = self.trigger.name if isinstance(self.trigger, DateTrigger) else None
        found = [step for step in self.steps if isinstance(step, SendStep | Task)]
        return [step for step in found if step.at and step.at.field == name]

    def lookback(self) -> timedelta:
        """How old an occurrence may be and still have a step that makes sense."""
        way = _Way(start=_rough(self.entry_offset()))
        for step in self.steps:
            way.walk(step)
        # Zones are up to a day apart from one another, and so is a clock time.
        return way.longest + timedelta(days=2)


@dataclass
class _Way:
    """How long after its occurrence a run can still be at a step.

    Arms of branches are counted one after the other, which is too long rather than too
    short: an occurrence that is looked at in vain costs little.
    """

    start: timedelta
    reached: timedelta = timedelta(0)
    longest: timedelta = timedelta(0)
    # Of the coupon issued last; of one without an end nobody knows, so a month.
    coupon: timedelta = timedelta(days=31)

    def walk(self, step: Step) -> None:
        """Goes past one step of the program."""
        match step:
            case Wait(duration=duration) | WaitFor(up_to=Duration() as duration):
                self.reached += duration.longest()
            case WaitUntil(until=NextClock()):
                # A business day at a clock time, behind the longest holidays.
                self.reached += timedelta(days=14)
            case WaitUntil(until=Point()):
                self.reached += self.coupon
            case IssueCoupon(expires=Duration() as duration):
                self.coupon = duration.longest()
                self._is_worth(self.reached + LATE_JOINER)
            case SendStep(at=Point(offset=offset)):
                self.reached = max(self.reached, self._hung(offset))
                self._is_worth(self.reached + _patience(step.grace))
            case SendStep():
                self._is_worth(self.reached + _patience(step.grace))
            case Task(at=Point(offset=offset)):
                self._is_worth(self._hung(offset) + LATE_JOINER)
            case _ if isinstance(step, ACTIONS):
                self._is_worth(self.reached + LATE_JOINER)

    def _hung(self, offset: Duration) -> timedelta:
        """When a step that hangs on the date is due, counted from the run's
        beginning."""
        return _rough(offset) - self.start

    def _is_worth(self, until: timedelta) -> None:
        self.longest = max(self.longest, until)


def _patience(grace: timedelta | None) -> timedelta:
    return LATE_JOINER if grace is None else grace


def step_at(campaign: Campaign, position: int) -> Step | None:
    """The step at which a run stands; None if it is through."""
    steps = campaign.steps
    return steps[position] if position < len(steps) else None


def step_of(campaign: Campaign | None, step_id: str) -> SendStep | None:
    """A campaign's message by its id; None if the campaign, or such a message, is not
    there."""
    position = campaign.position_of(step_id) if campaign else None
    if campaign is None or position is None:
        return None
    step = campaign.steps[position]
    return step if isinstance(step, SendStep) else None


def _rough(duration: Duration) -> timedelta:
    days = duration.months * 30.44 + duration.days
    return timedelta(days=days, seconds=duration.seconds)
