"""The steps of a campaign, as a flat program: each knows where the run goes after it.

Arms of `if`, `branch` and `split`, and the `else` of `wait_for`, are laid out one after
the other in the order of the file. A position is an index into that order; one past the
end means that the run is through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal

from drip.core.calendar import Duration, SendWindow
from drip.core.conditions import Condition
from drip.core.message import Mailbox
from drip.errors import Place

DayWord = Literal["day", "business day", "tomorrow"]


@dataclass(frozen=True, slots=True)
class Point:
    """A moment that hangs on a date: `5 days before coupon.expires`.

    A date without a clock time is due at `opens`.
    """

    field: str
    offset: Duration
    opens: int


@dataclass(frozen=True, slots=True)
class NextClock:
    """The next time it is `minute` (of the wall clock) on a day of a kind.

    `weekday` counts from Monday, 0.
    """

    minute: int
    day: DayWord = "day"
    weekday: int | None = None


@dataclass(frozen=True, slots=True)
class FixedTime:
    """One wall-clock time."""

    wall: datetime


Until = Point | NextClock | FixedTime


# Keywords alone: a position of one more field would move all that follow unnoticed.
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What all steps have.

    `next` is the position that follows; `only_if` passes the step over when it fails.
    """

    id: str
    place: Place
    only_if: Condition | None = None
    next: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SendStep(Step):
    """One message.

    `at` is the date it hangs on; without it, the step is due when the one before is
    done.

    `sender` None leaves it to the template, then to the settings' default. `grace` None
    means that it never expires; `window` None that any hour will do. `opens` is the
    minute of the day at which a date without a clock time is due.
    """

    template: str
    channels: tuple[str, ...]
    sender: Mailbox | None
    subject: str | None
    preheader: str | None
    reply_to: Mailbox | None
    at: Point | None
    content: str | None
    attach: tuple[str, ...]
    survey: str | None
    priority: int
    grace: timedelta | None
    window: SendWindow | None
    window_place: Place
    opens: int
    # Outside of caps and windows, since somebody waits for it.
    transactional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(Step):
    duration: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitUntil(Step):
    """Waits until a moment; one that has passed already is no wait."""

    until: Until


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitFor(Step):
    """Waits for an event, at most `up_to` (None: for ever).

    Then goes on at `otherwise`.
    """

    event: str
    where: Condition | None
    up_to: Duration | None
    otherwise: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch(Step):
    """The first arm whose condition holds; none does: `otherwise`."""

    arms: tuple[tuple[Condition, int], ...]
    otherwise: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split(Step):
    """Arms by share (they add up to 1).

    `winner_after` the first arrival, the arm with most goals takes all.
    """

    arms: tuple[tuple[float, int], ...]
    winner_after: Duration | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Step):
    """Work for a person.

    `title` may hold `{{ … }}`; `due` counts from the day it is given.
    """

    title: str
    assign_to: str
    at: Point | None
    due: Duration | None
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueCoupon(Step):
    """A code of a coupon.

    It is good until the end of the day `expires` after it was issued (None: for ever).
    """

    coupon: str
    expires: Duration | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPoints(Step):
    """Adds to a counter; redeems with a negative `amount`, if there is that much."""

    counter: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConsent(Step):
    """`subscribe` and `unsubscribe`, on these channels."""

    topic: str
    channels: tuple[str, ...]
    given: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTag(Step):
    """`tag` and `untag`."""

    tags: tuple[str, ...]
    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFields(Step):
    """Fields of the contact or the run's record, by full name, as they are kept.

    None makes one unknown.
    """

    values: Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseTopics(Step):
    """Holds topics back for this contact."""

    topics: tuple[str, ...]
    duration: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class End(Step):
    """The run is through."""


Action = Task | IssueCoupon | AddPoints | SetConsent | SetTag | SetFields | PauseTopics
ACTIONS = (Task, IssueCoupon, AddPoints, SetConsent, SetTag, SetFields, PauseTopics)


def conditions_of(step: Step) -> Iterator[Condition]:
    """Every condition that a step reads."""
    if step.only_if:
        yield step.only_if
    if isinstance(step, Branch):
        yield from (condition for condition, _ in step.arms)
    if isinstance(step, WaitFor) and step.where:
        yield step.where


def leads_to(step: Step) -> tuple[int, ...]:
    """Every position at which a run can go on after a step, itself not passed over."""
    match step:
        case End():
            return ()
        case Branch(arms=arms, otherwise=otherwise):
            return (*(position for _, position in arms), otherwise)
        case Split(arms=shares):
            return tuple(position for _, position in shares)
        case WaitFor(next=after, otherwise=otherwise):
            return (after, otherwise)
        case _:
            return (step.next,)


def arm_of(split: Split, contact: str, campaign: str) -> int:
    """The arm that a contact stays in: by a hash of contact, campaign and step."""
    chance = chance_of(contact, campaign, split.id)
    reached = 0.0
    for n, (share, _) in enumerate(split.arms):
        reached += share
        if chance < reached:
            return n
    return len(split.arms) - 1


def chance_of(*about: str) -> float:
    """A number from 0 up to 1, always the same for the same words.

    Different ones are spread evenly.
    """
    return int.from_bytes(sha256("\0".join(about).encode()).digest()[:8], "big") / 2**64
