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
from drip.errors import Problem, nearest
from drip.lint.rules import finding

# How far a schedule is followed to see whether a cap can hold it.
AHEAD = timedelta(days=62)
# So many days around one date in which others are shut out are worth a word.
LONG_SHUT = 21
# From an opening on Saturday to one on Monday.
WEEKEND = timedelta(days=2)
SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)
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


def settings_problems(settings: Settings) -> Iterator[Problem]:
    """What is unwise in the settings."""
    if (
        not any(char.isdigit() for char in settings.business_address)
        or len(settings.business_address) < 10
    ):
        sentence = f"`{settings.business_address}` does not look like a postal address"
        yield finding("no-postal-address", settings.place, sentence)
    for sender in settings.senders.values():
        local_part, _, domain = sender.address.rpartition("@")
        if domain.casefold() in FREE_MAIL:
            yield finding(
                "free-mail-sender",
                settings.place,
                f"{sender.address} is an address of {domain}",
            )
        if local_part.casefold().replace("-", "").replace("_", "") in (
            "noreply",
            "donotreply",
        ):
            yield finding(
                "no-reply",
                settings.place,
                f"{sender.address} asks people not to answer",
            )


def campaign_problems(
    campaign: Campaign,
    settings: Settings,
    others: Mapping[str, Campaign],
    events: Collection[str],
) -> Iterator[Problem]:
    """What can never happen in a campaign. `events` are those that have come in; none are known if it is empty."""
    yield from _unreachable(campaign)
    yield from _transports(campaign, settings)
    yield from _windows(campaign, settings)
    yield from _weekends(campaign, settings)
    yield from _caps(campaign, settings)
    yield from _reminder(campaign, settings, others)
    yield from _reserve(campaign, settings, others)
    yield from _unconfirmed(campaign, settings)
    if events:
        yield from _events(campaign, settings, events)


def _unreachable(campaign: Campaign) -> Iterator[Problem]:
    reached, ahead = set(), [0]
    while ahead:
        position = ahead.pop()
        if position in reached or position >= len(campaign.steps):
            continue
        reached.add(position)
        step = campaign.steps[position]
        ahead += [*leads_to(step), *([step.next] if step.only_if else [])]
    for position, step in enumerate(campaign.steps):
        if position not in reached:
            yield finding(
                "unreachable-step", step.place, f"nothing leads to the step `{step.id}`"
            )


def _sends(campaign: Campaign) -> list[SendStep]:
    return [step for step in campaign.steps if isinstance(step, SendStep)]


def _transports(campaign: Campaign, settings: Settings) -> Iterator[Problem]:
    for step in _sends(campaign):
        if not any(channel in settings.transports for channel in step.channels):
            ways = " or ".join(step.channels)
            yield finding(
                "not-sent-by", step.place, f"nothing says how messages by {ways} leave"
            )


def _windows(campaign: Campaign, settings: Settings) -> Iterator[Problem]:
    quiet = settings.quiet_hours
    for step in _sends(campaign):
        if step.window and quiet and not _minutes(step.window.hours) - _minutes(quiet):
            yield finding(
                "never-open",
                step.window_place,
                f"{step.window} lies wholly in the quiet hours, {quiet}",
            )


def _weekends(campaign: Campaign, settings: Settings) -> Iterator[Problem]:
    """What is due on a day on which the window does not open, and makes no sense any more when it does."""
    if isinstance(campaign.trigger, ScheduleTrigger):
        where = zone(campaign.timezone or settings.timezone)
        times = _occurrences(campaign.trigger, where.key)
        days = {local(at, where).date() for at in times}
        if all(is_business_day(day, settings.holidays) for day in days):
            return
    lost = [
        step
        for step in _sends(campaign)
        if step.window
        and step.window.business_days
        and step.grace is not None
        and step.grace <= WEEKEND
    ]
    if lost:
        own = [
            step.window_place
            for step in lost
            if step.window_place.file == campaign.place.file
        ]
        sentence = "what is due at a weekend or on a holiday is past its grace when the window opens again"
        which = (
            ""
            if len(lost) == len(_sends(campaign))
            else f" ({', '.join(step.id for step in lost)})"
        )
        yield finding("weekend-lost", (own or [campaign.place])[0], sentence + which)


def _minutes(span: ClockRange) -> set[int]:
    if span.opens < span.closes:
        return set(range(span.opens, span.closes))
    return {*range(span.opens, MINUTES_A_DAY), *range(span.closes)}


def _applying(campaign: Campaign, settings: Settings) -> list[Cap]:
    """The caps that every counted message of the campaign stands under, whatever its channel."""
    if not campaign.obeys_caps or all(step.transactional for step in _sends(campaign)):
        return []
    channels = {
        channel for step in _sends(campaign) for channel in step.channels
    } or set(CHANNELS)
    caps = [*settings.caps, *campaign.caps]
    return [
        cap
        for cap in caps
        if all(
            cap.counts(channel, campaign.topic, campaign.key) for channel in channels
        )
    ]


def _caps(campaign: Campaign, settings: Settings) -> Iterator[Problem]:
    applying = _applying(campaign, settings)
    for cap in applying:
        if cap.limit == 0:
            yield finding(
                "cap-of-none",
                campaign.place,
                f"`{cap.text}` for {cap.name} lets nothing of it through",
                help=f"see {cap.place}",
            )
    if not isinstance(campaign.trigger, ScheduleTrigger) or not _sends(campaign):
        return
    times = _occurrences(campaign.trigger, campaign.timezone or settings.timezone)
    for cap in applying:
        span = timedelta(days=cap.days) if cap.days else timedelta(seconds=cap.seconds)
        most = max(
            (sum(first <= at < first + span for at in times) for first in times),
            default=0,
        )
        if 0 < cap.limit < most and not _may_wait(campaign, span):
            sentence = f"it sends up to {most} times in {span.days or span} day(s), and `{cap.text}` for {cap.name} allows {cap.limit}"
            yield finding(
                "cap-starves", campaign.place, sentence, help=f"see {cap.place}"
            )


def _may_wait(campaign: Campaign, span: timedelta) -> bool:
    """Whether a message that a cap holds back may wait until the cap is free again."""
    wait = campaign.wait_when_capped
    grace = min(
        (step.grace for step in _sends(campaign) if step.grace is not None),
        default=timedelta.max,
    )
    return wait is not None and min(wait, grace) >= span


def _occurrences(trigger: ScheduleTrigger, timezone: str) -> list[datetime]:
    found: list[datetime] = []
    at = SOME_DAY
    while (
        (upcoming := trigger.schedule.upcoming(at, zone(timezone)))
        and upcoming < SOME_DAY + AHEAD
        and len(found) < 500
    ):
        found.append(upcoming)
        at = upcoming
    return found


def _reminder(
    campaign: Campaign, settings: Settings, others: Mapping[str, Campaign]
) -> Iterator[Problem]:
    """A date-triggered campaign of an implied topic that gives way to promotions, and is dropped when it does."""
    topic = settings.topics.get(campaign.topic or "")
    shared = [cap for cap in _applying(campaign, settings) if cap.scope == "all"]
    drops = campaign.wait_when_capped is None
    if not (
        isinstance(campaign.trigger, DateTrigger)
        and topic
        and topic.opt_in == "implied"
        and shared
        and drops
    ):
        return
    promotions = [
        each
        for each in others.values()
        if _promotes(each, settings) and _rank(each) > _rank(campaign)
    ]
    if promotions:
        sentence = f"{promotions[0].key} goes first under `{shared[0].text}`, and this reminder is skipped then"
        yield finding("reminder-may-drop", campaign.place, sentence)


def _reserve(
    campaign: Campaign, settings: Settings, others: Mapping[str, Campaign]
) -> Iterator[Problem]:
    """A campaign whose kept slots shut out everything of a lower priority for long."""
    if campaign.reserve is None or not isinstance(campaign.trigger, DateTrigger):
        return
    lower = sorted(
        key
        for key, each in others.items()
        if _rank(each) < _rank(campaign) and each.obeys_caps
    )
    due = [_rough_days(step) for step in _sends(campaign)]
    for cap in _applying(campaign, settings):
        window = cap.days or -(-cap.seconds // 86_400)
        together = max(
            sum(first <= each < first + window for each in due) for first in due
        )
        shut = {
            day
            for each in due
            for day in range(each - campaign.reserve.days, each + window)
        }
        if lower and 0 < cap.limit <= together and len(shut) > LONG_SHUT:
            sentence = (
                f"by `{cap.text}` nothing of {', '.join(lower)} leaves on {len(shut)} days around each "
                f"{campaign.trigger.name or 'date'}"
            )
            yield finding(
                "reserve-starves", campaign.place, sentence, help=f"see {cap.place}"
            )


def _unconfirmed(campaign: Campaign, settings: Settings) -> Iterator[Problem]:
    """What a campaign that asks for a confirmation does before it waits for one."""
    topic = settings.topics.get(campaign.topic or "")
    if not campaign.asks_back or topic is None or topic.opt_in != "double":
        return
    waits = (
        n
        for n, step in enumerate(campaign.steps)
        if isinstance(step, WaitFor) and step.event == campaign.asks_back
    )
    before = campaign.steps[: next(waits, None)]
    for step in before:
        if isinstance(step, ACTIONS):
            sentence = f"`{step.id}` is passed over for whoever has signed up and not confirmed yet"
            yield finding("before-confirmation", step.place, sentence)


def _rough_days(step: SendStep) -> int:
    """How many days after the trigger's date a message is due, roughly."""
    return round(step.at.offset.months * 30.44 + step.at.offset.days) if step.at else 0


def _promotes(campaign: Campaign, settings: Settings) -> bool:
    topic = settings.topics.get(campaign.topic or "")
    return bool(
        topic and topic.opt_in != "implied" and campaign.obeys_caps and campaign.counted
    )


def _rank(campaign: Campaign) -> int:
    return max((step.priority for step in _sends(campaign)), default=0)


def _events(
    campaign: Campaign, settings: Settings, events: Collection[str]
) -> Iterator[Problem]:
    named = [(name, place) for name, place in campaign.exit_events.items()]
    named += [
        (step.event, step.place) for step in campaign.steps if isinstance(step, WaitFor)
    ]
    if isinstance(campaign.trigger, EventTrigger):
        named.append((campaign.trigger.event, campaign.place))
    if campaign.goal:
        named.append((campaign.goal.event, campaign.goal.place))
    for name, place in named:
        # What people say by the links of messages comes in once there are messages.
        if name not in events and scope_of(name, settings) is None:
            close = nearest(name, events)
            help = close if close and close.startswith("did you mean") else None
            yield finding(
                "event-unknown", place, f"no event `{name}` has ever come in", help=help
            )
