"""What campaigns ask about contacts: worked out from the campaigns alone, so that it
can all be loaded beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from drip.core.campaign import Campaign, EventTrigger
from drip.core.conditions import (
    Condition,
    Did,
    FieldCondition,
    HoldsCoupon,
    Member,
    Subscribed,
    Tagged,
    leaves,
)
from drip.core.settings import Settings
from drip.core.steps import (
    AddPoints,
    IssueCoupon,
    Point,
    SendStep,
    SetFields,
    SetTag,
    Split,
    Step,
    Task,
    WaitFor,
    WaitUntil,
    conditions_of,
)

NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asks:
    """What has to be known of a contact beside consents and addresses, which are always
    asked.

    `owners` are whose fields are read (`contact`, `counter`, a kind of record),
    `events` the names of events, `topics` those whose implied consent may have run out,
    `coupons` those of which a code is issued, `splits` the ids of splits that choose a
    winner.
    """

    owners: frozenset[str] = NONE
    events: frozenset[str] = NONE
    topics: frozenset[str] = NONE
    coupons: frozenset[str] = NONE
    splits: frozenset[str] = NONE
    pauses: bool = False
    tags: bool = False
    sets: bool = False
    holds_coupons: bool = False
    moves_counters: bool = False
    sets_fields: bool = False

    def __or__(self, other: Asks) -> Asks:
        """What either of the two asks."""
        return Asks(*(getattr(self, own) | getattr(other, own) for own in NAMES))


NAMES = tuple(field.name for field in fields(Asks))
NOTHING = Asks()


def all_of(several: Iterable[Asks]) -> Asks:
    """What any of them asks."""
    together = NOTHING
    for asks in several:
        together = together | asks
    return together


def asks_of(campaign: Campaign) -> Asks:
    """What the runs of a campaign ask, wherever they stand."""
    goal = campaign.goal
    conditions = list(campaign.exit_conditions)
    conditions += _given(campaign.audience, goal.where if goal else None)
    for step in campaign.steps:
        conditions += conditions_of(step)
    ends = Asks(
        events=_ending(campaign),
        topics=_topics(campaign),
        pauses=True,
    )
    steps = all_of(_step(step, campaign) for step in campaign.steps)
    return asks_of_conditions(conditions) | ends | steps


def entry_asks(campaign: Campaign) -> Asks:
    """What is asked of whoever may enter a campaign."""
    trigger = campaign.trigger
    where = trigger.where if isinstance(trigger, EventTrigger) else None
    return asks_of_conditions(_given(campaign.audience, where))


def text_asks(settings: Settings) -> Asks:
    """What the last check and templates ask: every field, and all topics."""
    owners = {"contact", *settings.fields} | (
        {"counter"} if settings.counters else NONE
    )
    return Asks(
        owners=frozenset(owners),
        topics=frozenset(settings.topics),
        pauses=True,
    )


def asks_of_conditions(conditions: Iterable[Condition]) -> Asks:
    """What conditions ask."""
    return all_of(_line(line) for condition in conditions for line in leaves(condition))


def _given(*conditions: Condition | None) -> Iterator[Condition]:
    return (condition for condition in conditions if condition is not None)


def _line(line: Condition) -> Asks:
    match line:
        case FieldCondition(field=field):
            return Asks(owners=_owner(field))
        case Member(rank=rank):
            return Asks(sets=True, owners=_owner(rank.field) if rank else NONE)
        case Subscribed(topic=topic):
            return Asks(topics=frozenset({topic}))
        case Did(event=event):
            return Asks(events=frozenset({event}))
        case Tagged():
            return Asks(tags=True)
        case HoldsCoupon():
            return Asks(holds_coupons=True)
    return NOTHING


def _owner(field: str) -> frozenset[str]:
    return frozenset({field.partition(".")[0]})


def _step(step: Step, campaign: Campaign) -> Asks:
    match step:
        case SendStep(at=Point(field=field)) | WaitUntil(until=Point(field=field)):
            return Asks(owners=_owner(field))
        case WaitFor(event=event):
            return Asks(events=frozenset({event}))
        case Split(winner_after=after) if after is not None and campaign.goal:
            return Asks(splits=frozenset({step.id}))
        case IssueCoupon(coupon=coupon):
            return Asks(coupons=frozenset({coupon}))
        case AddPoints():
            return Asks(owners=frozenset({"counter"}), moves_counters=True)
        case SetTag():
            return Asks(tags=True)
        case SetFields():
            return Asks(sets_fields=True)
        case Task():
            # Its title is a small template, which may name any of these.
            return Asks(
                owners=frozenset({"contact", "counter", campaign.for_each or ""})
            )
    return NOTHING


def _ending(campaign: Campaign) -> frozenset[str]:
    """The events that end a run."""
    goal = campaign.goal if campaign.exit_at_goal else None
    return frozenset({*campaign.exit_events, *([goal.event] if goal else ())})


def _topics(campaign: Campaign) -> frozenset[str]:
    return frozenset({campaign.topic} if campaign.topic else ())
