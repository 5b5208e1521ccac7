"""Rules over campaigns and settings: what can never happen, or not as it was meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from drip.core.calendar import MINUTES_A_DAY, ClockRange, is_business_day, local, zone
from drip.core.campaign import Campaign, DateTrigger, EventTrigger, ScheduleTrigger
from drip.core.caps import Cap
from drip.core.channels import CHANNELS
from drip.core.meanings import scope_of
from drip.core.settings import Settings
from drip.core.steps import ACTIONS, SendStep, WaitFor, leads_to
from drip.errors import Place, Problem, nearest
from drip.lint.rules import finding

# How far a schedule is followed to see whether a cap can hold it.
AHEAD = timedelta(days=62)
# A schedule of every minute would be followed for ever otherwise.
MOST_OCCURRENCES = 500
# So many days around one date in which others are shut out are worth a word.
LONG_SHUT = 21
# From an opening on Saturday to one on Monday.
WEEKEND = timedelta(days=2)
SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)
# Street, number and town do not fit into less.
SHORTEST_ADDRESS = 10
DAYS_A_MONTH = 30.44
SECONDS_A_DAY = 86_400
# Their owners publish `p=reject` or `p=quarantine` (DMARC, RFC 7489).
FREE_MAIL = {
    "gmail.com",
    "googlemail.com",
    "yahoo.com",
    "hotmail.com",
    "outlook.com",
    "aol.com",
    "icloud.com",
    "gmx.de",
    "gmx.net",
    "web.de",
}
NO_REPLY = ("noreply", "donotreply")
Campaigns = Mapping[str, Campaign]


# --- settings


def settings_problems(settings: Settings) -> Iterator[Problem]:
    """What is unwise in the settings."""
    address = settings.business_address
    has_number = any(char.isdigit() for char in address)
    if not has_number or len(address) < SHORTEST_ADDRESS:
        yield finding(
            "no-postal-address",
            settings.place,
            f"`{address}` does not look like a postal address",
        )
    for sender in settings.senders.values():
        yield from _sender_problems(sender.address, settings.place)


def _sender_problems(address: str, place: Place) -> Iterator[Problem]:
    """What is unwise about an address that mails come from."""
    local_part, _, domain = address.rpartition("@")
    if domain.casefold() in FREE_MAIL:
        yield finding(
            "free-mail-sender",
            place,
            f"{address} is an address of {domain}",
        )
    # `no-reply`, `no_reply`, `NoReply`.
    bare = local_part.casefold().replace("-", "").replace("_", "")
    if bare in NO_REPLY:
        yield finding(
            "no-reply",
            place,
            f"{address} asks people not to answer",
        )


# --- campaigns


def campaign_problems(
    campaign: Campaign,
    settings: Settings,
    others: Campaigns,
    events: Collection[str],
) -> Iterator[Problem]:
    """What can never happen in a campaign.

    `others` are the other campaigns. `events` are those that have come in; none are
    known if it is empty.
    """
    yield from _unreachable(campaign)
    yield from _transports(campaign, settings)
    yield from _windows(campaign, settings)
    yield from _weekends(campaign, settings)
    yield from _caps_of_none(campaign, settings)
    yield from _starving_caps(campaign, settings)
    yield from _reminder(campaign, settings, others)
    yield from _reserve(campaign, settings, others)
    yield from _unconfirmed(campaign, settings)
    if events:
        yield from _events(campaign, settings, events)


def _sends(campaign: Campaign) -> list[SendStep]:
    return [step for step in campaign.steps if isinstance(step, SendStep)]


def _unreachable(campaign: Campaign) -> Iterator[Problem]:
    """Steps that no way leads to."""
    reached = _reached(campaign)
    for position, step in enumerate(campaign.steps):
        if position not in reached:
            yield finding(
                "unreachable-step",
                step.place,
                f"nothing leads to the step `{step.id}`",
            )


def _reached(campaign: Campaign) -> set[int]:
    """The positions that some way through the program comes by."""
    reached: set[int] = set()
    ahead = [0]
    while ahead:
        position = ahead.pop()
        # The program's end lies one past its last step.
        if position in reached or position >= len(campaign.steps):
            continue
        reached.add(position)
        step = campaign.steps[position]
        ahead += leads_to(step)
        # A step with `only_if` may be passed over, whatever it would lead to.
        if step.only_if:
            ahead.append(step.next)
    return reached


def _transports(campaign: Campaign, settings: Settings) -> Iterator[Problem]:
    """Messages that nothing can hand over."""
    for step in _sends(campaign):
        if not any(channel in settings.transports for channel in step.channels):
            yield finding(
                "not-sent-by",
                step.place,
                f"nothing says how messages by {' or '.join(step.channels)} leave",
            )


# --- hours


def _windows(campaign: Campaign, settings: Settings) -> Iterator[Problem]:
    """Windows that lie wholly in the quiet hours."""
    quiet = settings.quiet_hours
    if quiet is None:
        return
    for step in _sends(campaign):
        if step.window and _minutes(step.window.hours) <= _minutes(quiet):
            yield finding(
                "never-open",
                step.window_place,
                f"{step.window} lies wholly in the quiet hours, {quiet}",
            )


def _minutes(hours: ClockRange) -> set[int]:
    """The minutes of a day that a range of hours holds."""
    if hours.opens < hours.closes:
        return set(range(hours.opens, hours.closes))
    before_midnight = range(hours.opens, MINUTES_A_DAY)
    return {*before_midnight, *range(hours.closes)}


def _weekends(campaign: Campaign, settings: Settings) -> Iterator[Problem]:
    """What is due when its window does not open, and makes no sense when it does."""
    lost = [step for step in _sends(campaign) if _is_over_by_monday(step)]
    if not lost or _is_due_on_business_days(campaign, settings):
        return
    sentence = "what is due at a weekend or on a holiday is past its grace when"
    yield finding(
        "weekend-lost",
        _where_window_stands(campaign, lost),
        f"{sentence} the window opens again{_which(campaign, lost)}",
    )


def _is_over_by_monday(step: SendStep) -> bool:
    """Whether what is due on Saturday makes no sense on Monday."""
    if step.window is None or not step.window.business_days:
        return False
    return step.grace is not None and step.grace <= WEEKEND


def _is_due_on_business_days(campaign: Campaign, settings: Settings) -> bool:
    """Whether the schedule names no other days: a date can fall on any of them."""
    if not isinstance(campaign.trigger, ScheduleTrigger):
        return False
    where = zone(campaign.timezone or settings.timezone)
    times = _occurrences(campaign.trigger, where.key)
    days = {local(at, where).date() for at in times}
    return all(is_business_day(day, settings.holidays) for day in days)


def _where_window_stands(campaign: Campaign, lost: list[SendStep]) -> Place:
    """The first line of this file about a window; settings have theirs elsewhere."""
    for step in lost:
        if step.window_place.file == campaign.place.file:
            return step.window_place
    return campaign.place


def _which(campaign: Campaign, lost: list[SendStep]) -> str:
    """The steps that a finding is about, where it is not about all."""
    if len(lost) == len(_sends(campaign)):
        return ""
    return f" ({', '.join(step.id for step in lost)})"


# --- caps


def _applying(campaign: Campaign, settings: Settings) -> list[Cap]:
    """The caps that every counted message of the campaign stands under.

    Whatever its channel: of one that a message can get round by another nothing
    follows.
    """
    sends = _sends(campaign)
    if not campaign.obeys_caps or all(step.transactional for step in sends):
        return []
    used = {channel for step in sends for channel in step.channels}
    return [
        cap
        for cap in (*settings.caps, *campaign.caps)
        if _counts_all(cap, campaign, used or set(CHANNELS))
    ]


def _counts_all(cap: Cap, campaign: Campaign, channels: Collection[str]) -> bool:
    """Whether a cap counts the campaign's messages on each of the channels."""
    return all(
        cap.counts(channel, campaign.topic, campaign.key) for channel in channels
    )


def _caps_of_none(campaign: Campaign, settings: Settings) -> Iterator[Problem]:
    """Caps that let nothing through."""
    for cap in _applying(campaign, settings):
        if cap.limit == 0:
            yield finding(
                "cap-of-none",
                campaign.place,
                f"`{cap.text}` for {cap.name} lets nothing of it through",
                help=f"see {cap.place}",
            )


def _starving_caps(campaign: Campaign, settings: Settings) -> Iterator[Problem]:
    """Caps that a schedule fills faster than they become free."""
    if not isinstance(campaign.trigger, ScheduleTrigger) or not _sends(campaign):
        return
    times = _occurrences(campaign.trigger, campaign.timezone or settings.timezone)
    for cap in _applying(campaign, settings):
        span = _span(cap)
        most = _most_within(times, span)
        if 0 < cap.limit < most and not _may_wait(campaign, span):
            often = f"it sends up to {most} times in {span.days or span} day(s)"
            yield finding(
                "cap-starves",
                campaign.place,
                f"{often}, and `{cap.text}` for {cap.name} allows {cap.limit}",
                help=f"see {cap.place}",
            )


def _span(cap: Cap) -> timedelta:
    """How long a cap looks back."""
    if cap.days:
        return timedelta(days=cap.days)
    return timedelta(seconds=cap.seconds)


def _most_within(times: list[datetime], span: timedelta) -> int:
    """How many of the times lie in one span, at the most."""
    counts = [sum(first <= at < first + span for at in times) for first in times]
    return max(counts, default=0)


def _may_wait(campaign: Campaign, span: timedelta) -> bool:
    """Whether a message that a cap holds back may wait until the cap is free again."""
    wait = campaign.wait_when_capped
    graces = [step.grace for step in _sends(campaign) if step.grace is not None]
    return wait is not None and min([wait, *graces]) >= span


def _occurrences(trigger: ScheduleTrigger, timezone: str) -> list[datetime]:
    """When a schedule fires in the two months after some day."""
    found: list[datetime] = []
    at = trigger.schedule.upcoming(SOME_DAY, zone(timezone))
    while at and at < SOME_DAY + AHEAD and len(found) < MOST_OCCURRENCES:
        found.append(at)
        at = trigger.schedule.upcoming(at, zone(timezone))
    return found


# --- beside other campaigns


def _reminder(
    campaign: Campaign, settings: Settings, others: Campaigns
) -> Iterator[Problem]:
    """A reminder of an implied topic that is dropped when promotions come first."""
    if not _is_reminder(campaign, settings) or campaign.wait_when_capped is not None:
        return
    shared = [cap for cap in _applying(campaign, settings) if cap.scope == "all"]
    first = _promotions_before(campaign, settings, others)
    if shared and first:
        rule = f"{first[0].key} goes first under `{shared[0].text}`"
        yield finding(
            "reminder-may-drop",
            campaign.place,
            f"{rule}, and this reminder is skipped then",
        )


def _is_reminder(campaign: Campaign, settings: Settings) -> bool:
    """Whether it is about something due that nobody has to ask for."""
    topic = settings.topics.get(campaign.topic or "")
    if topic is None or topic.opt_in != "implied":
        return False
    return isinstance(campaign.trigger, DateTrigger)


def _promotions_before(
    campaign: Campaign, settings: Settings, others: Campaigns
) -> list[Campaign]:
    """Promotions that go first when a cap is tight."""
    rank = _rank(campaign)
    return [
        other
        for other in others.values()
        if _promotes(other, settings) and _rank(other) > rank
    ]


def _promotes(campaign: Campaign, settings: Settings) -> bool:
    """Whether a campaign is for those who asked for it, and uses up their caps."""
    topic = settings.topics.get(campaign.topic or "")
    if topic is None or topic.opt_in == "implied":
        return False
    return campaign.obeys_caps and campaign.counted


def _rank(campaign: Campaign) -> int:
    """The priority of a campaign's most urgent message."""
    return max((step.priority for step in _sends(campaign)), default=0)


def _reserve(
    campaign: Campaign, settings: Settings, others: Campaigns
) -> Iterator[Problem]:
    """A campaign whose kept slots shut out everything of a lower priority for long."""
    if campaign.reserve is None or not isinstance(campaign.trigger, DateTrigger):
        return
    lower = _lower(campaign, others)
    due = [_rough_days(step) for step in _sends(campaign)]
    date = campaign.trigger.name or "date"
    for cap in _applying(campaign, settings):
        shut = _days_shut(cap, due, campaign.reserve)
        if lower and shut > LONG_SHUT:
            nothing = f"by `{cap.text}` nothing of {', '.join(lower)} leaves"
            yield finding(
                "reserve-starves",
                campaign.place,
                f"{nothing} on {shut} days around each {date}",
                help=f"see {cap.place}",
            )


def _days_shut(cap: Cap, due: list[int], reserve: timedelta) -> int:
    """On how many days a cap is full, or its places are kept."""
    # In whole days, begun ones counted.
    window = cap.days or -(-cap.seconds // SECONDS_A_DAY)
    fills = 0 < cap.limit <= _most_due(due, window)
    return len(_shut_days(due, reserve.days, window)) if fills else 0


def _lower(campaign: Campaign, others: Campaigns) -> list[str]:
    """The campaigns that give way to this one."""
    rank = _rank(campaign)
    return sorted(
        key for key, other in others.items() if other.obeys_caps and _rank(other) < rank
    )


def _shut_days(due: list[int], reserve: int, window: int) -> set[int]:
    """The days on which a slot is kept, or taken."""
    shut: set[int] = set()
    for day in due:
        shut.update(range(day - reserve, day + window))
    return shut


def _most_due(due: list[int], window: int) -> int:
    """How many messages fall into one window, at the most."""
    return max(sum(first <= day < first + window for day in due) for first in due)


def _rough_days(step: SendStep) -> int:
    """How many days after the trigger's date a message is due, roughly."""
    if step.at is None:
        return 0
    offset = step.at.offset
    return round(offset.months * DAYS_A_MONTH + offset.days)


# --- confirmations and events


def _unconfirmed(campaign: Campaign, settings: Settings) -> Iterator[Problem]:
    """What a campaign that asks for a confirmation does before it waits for one."""
    topic = settings.topics.get(campaign.topic or "")
    if not campaign.asks_back or topic is None or topic.opt_in != "double":
        return
    for step in campaign.steps:
        if isinstance(step, WaitFor) and step.event == campaign.asks_back:
            return
        if isinstance(step, ACTIONS):
            passed_over = f"`{step.id}` is passed over for whoever has signed up"
            yield finding(
                "before-confirmation",
                step.place,
                f"{passed_over} and not confirmed yet",
            )


def _events(
    campaign: Campaign, settings: Settings, events: Collection[str]
) -> Iterator[Problem]:
    """Events that have never come in."""
    for name, place in _named_events(campaign):
        # What people say by the links of messages comes in once there are messages.
        if name in events or scope_of(name, settings) is not None:
            continue
        close = nearest(name, events)
        # A list of all events would help nobody: many are nothing that one waits for.
        meant = close if close and close.startswith("did you mean") else None
        yield finding(
            "event-unknown",
            place,
            f"no event `{name}` has ever come in",
            help=meant,
        )


def _named_events(campaign: Campaign) -> Iterator[tuple[str, Place]]:
    """Every event that a campaign waits for, with the line that names it."""
    yield from campaign.exit_events.items()
    for step in campaign.steps:
        if isinstance(step, WaitFor):
            yield step.event, step.place
    if isinstance(campaign.trigger, EventTrigger):
        yield campaign.trigger.event, campaign.place
    if campaign.goal:
        yield campaign.goal.event, campaign.goal.place
