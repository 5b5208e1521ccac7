"""May this message go now?

One pure fold; the order of its checks is the order of judgement.

decide(candidate, person, usage, now) -> Send | Defer | Skip
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from drip.core.calendar import (
    ClockRange,
    SendWindow,
    from_millis,
    local,
    next_open,
    next_opening,
    next_outside,
)
from drip.core.caps import Cap, Full, Use, first_full
from drip.errors import Place

# What waits for a person (a paused campaign) is woken when that person lets it go on,
# or when its time is over.
PAUSED_AGAIN = timedelta(days=1)
MOMENT = timedelta(milliseconds=1)
WhenLate = Literal["send", "skip", "next window"]
# A message that could have gone this long before was not looked at in time: the program
# was down, or could not send.
LATE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why not: a code of the glossary, a sentence, and the line that says so.

    `filled_by` are the campaigns whose messages filled the cap, where that is the
    reason.
    """

    code: str
    sentence: str
    place: Place
    filled_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    channel: str


@dataclass(frozen=True, slots=True)
class Defer:
    until: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class Skip:
    reason: Reason


Decision = Send | Defer | Skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """A message that is due.

    `planned_at` is when it should leave, `grace` how late it may be (None: any).

    `caps` are those that count it on any of its `channels`. `ready_at` is from when on
    nothing kept it but nobody looking; `paused_until` when a pause ends by itself, if
    it does.
    """

    campaign: str
    step: str
    topic: str | None
    channels: tuple[str, ...]
    planned_at: datetime
    ready_at: datetime
    when_late: WhenLate
    grace: timedelta | None
    window: SendWindow | None
    window_place: Place
    transactional: bool
    caps: tuple[Cap, ...]
    wait_when_capped: timedelta | None
    place: Place
    topic_place: Place
    paused: Reason | None = None
    paused_until: datetime | None = None
    ended: Reason | None = None
    has_content: bool = True


class Person(NamedTuple):
    """The contact as far as judging goes.

    `closed` says why nothing may go by a channel about a topic (None: about anything),
    or None if it may. `holidays` are the days that are no business days, whatever day
    of the week they are.
    """

    zone: ZoneInfo
    closed: Callable[[str, str | None], Reason | None]
    quiet_hours: ClockRange | None
    quiet_hours_place: Place
    holidays: frozenset[date] = frozenset()

    def next_allowed(
        self, window: SendWindow | None, start: datetime
    ) -> datetime | None:
        """The first instant from `start` on at which a message may leave.

        It is in the window and outside quiet hours; None if there is none.
        """
        return _next_allowed(window, self.quiet_hours, self.holidays, self.zone, start)


def decide(
    candidate: Candidate, person: Person, usage: Sequence[Use], now: datetime
) -> Decision:
    """The decision for one message at `now`.

    `usage` are all counted messages of the contact.
    """
    late = candidate.grace is not None and now > candidate.planned_at + candidate.grace
    if candidate.paused:
        return _paused(candidate, person, candidate.paused, now, late=late)
    # An ended run is over whatever else is the case: its reason is the one to be shown.
    if candidate.ended:
        return Skip(candidate.ended)
    # Consent comes before hours: who said no is skipped, and not put off.
    channel, closed = _open_channel(candidate, person)
    if channel is None:
        assert closed is not None
        return Skip(closed)
    if late:
        return Skip(_too_late(candidate, person))
    if candidate.when_late != "send" and now - candidate.ready_at > LATE:
        return _when_late(candidate, person, now)
    if not candidate.transactional:
        held = _clock(candidate, person, now)
        # Looked at last: a cap costs a comparison for each message of the contact.
        held = held or _caps(candidate, person, channel, usage, now)
        if held:
            return held
    if not candidate.has_content:
        sentence = f"there is no content for this occurrence of {candidate.step}"
        return Skip(Reason("no-content", sentence, candidate.place))
    return Send(channel)


def _paused(
    candidate: Candidate,
    person: Person,
    reason: Reason,
    now: datetime,
    *,
    late: bool,
) -> Defer | Skip:
    """Waits until the pause is over, or the message's time is."""
    if late:
        return Skip(_too_late(candidate, person))
    if candidate.grace is None:
        over = now + PAUSED_AGAIN
    else:
        over = candidate.planned_at + candidate.grace + MOMENT
    return Defer(min(over, candidate.paused_until or over), reason)


def permitted(
    candidate: Candidate, person: Person, channel: str, now: datetime
) -> bool:
    """Whether a granted message may still leave at `now`.

    It asks what can have changed since the message was judged.
    """
    late = candidate.grace is not None and now > candidate.planned_at + candidate.grace
    if candidate.paused or candidate.ended or late:
        return False
    if person.closed(channel, _topic(candidate)):
        return False
    return candidate.transactional or _clock(candidate, person, now) is None


def _topic(candidate: Candidate) -> str | None:
    return None if candidate.transactional else candidate.topic


def _open_channel(
    candidate: Candidate, person: Person
) -> tuple[str | None, Reason | None]:
    """The first channel by which the contact may be written to, or why not by any."""
    first: Reason | None = None
    topic = _topic(candidate)
    for channel in candidate.channels:
        closed = person.closed(channel, topic)
        if closed is None:
            return channel, None
        first = first or closed
    return None, first


def _too_late(candidate: Candidate, person: Person) -> Reason:
    assert candidate.grace is not None
    last = local(candidate.planned_at + candidate.grace, person.zone)
    sentence = f"it made sense until {last:%Y-%m-%d %H:%M} only"
    return Reason("too-late", sentence, candidate.place)


def _when_late(candidate: Candidate, person: Person, now: datetime) -> Defer | Skip:
    """What the campaign says of a message that nobody looked at in time."""
    wall = local(candidate.ready_at, person.zone)
    ready = f"it could have left on {wall:%Y-%m-%d %H:%M}"
    if candidate.when_late == "skip" or candidate.window is None:
        sentence = f"{ready}, and nothing is sent late (when_late: skip)"
        return Skip(Reason("too-late", sentence, candidate.place))
    opens = next_opening(candidate.window, now, person.zone, person.holidays)
    # The window may open within quiet hours.
    opens = opens and person.next_allowed(candidate.window, opens)
    if opens is None or _past_grace(candidate, opens):
        too_late = "the next send window opens when it makes no sense any more"
        sentence = f"{ready}, and {too_late} (when_late: next window)"
        return Skip(Reason("too-late", sentence, candidate.place))
    sentence = f"{ready}, and waits for the next send window (when_late)"
    return Defer(opens, Reason("outside-window", sentence, candidate.place))


def _clock(candidate: Candidate, person: Person, now: datetime) -> Defer | Skip | None:
    """Quiet hours, the send window, and the days on which it does not open."""
    if candidate.window is None and person.quiet_hours is None:
        return None
    allowed = person.next_allowed(candidate.window, now)
    if allowed == now:
        return None
    reason = _closed_hours(candidate, person, local(now, person.zone))
    if allowed is None or _past_grace(candidate, allowed):
        return Skip(reason)
    return Defer(allowed, reason)


def _closed_hours(candidate: Candidate, person: Person, wall: datetime) -> Reason:
    """Why nothing leaves at this time of the contact's clock."""
    quiet, window = person.quiet_hours, candidate.window
    # They are said first: the law that asks for them does not know our windows.
    if quiet and quiet.holds(wall):
        sentence = f"quiet hours are {quiet}"
        return Reason("quiet-hours", sentence, person.quiet_hours_place)
    if window and not window.opens_on(window.day(wall), person.holidays):
        day = f"{window.day(wall):%A, %-d %B}"
        sentence = f"the send window is {window}, and {day} is none"
        return Reason("holiday", sentence, candidate.window_place)
    sentence = f"the send window is {window}, and it is {wall:%-H:%M} there"
    return Reason("outside-window", sentence, candidate.window_place)


@lru_cache(maxsize=10_000)
def _next_allowed(
    window: SendWindow | None,
    quiet: ClockRange | None,
    holidays: frozenset[date],
    where: ZoneInfo,
    start: datetime,
) -> datetime | None:
    """None if the window opens eight times, and always in quiet hours.

    Many people are asked about at one instant, so it is remembered.
    """
    at = start
    # Of a window within the quiet hours no day has a place; a holiday moves it once.
    for _ in range(8):
        before = at
        if window:
            opens = next_open(window, at, where, holidays)
            if opens is None:
                return None
            at = opens
        if quiet:
            at = next_outside(quiet, at, where)
        if at == before:
            return at
    return None


def _past_grace(candidate: Candidate, at: datetime) -> bool:
    """Whether waiting until `at` is too long.

    What may leave at the very last instant leaves after it in truth.
    """
    return candidate.grace is not None and at >= candidate.planned_at + candidate.grace


def _caps(
    candidate: Candidate,
    person: Person,
    channel: str,
    usage: Sequence[Use],
    now: datetime,
) -> Defer | Skip | None:
    """What the caps say of a message that would leave now by `channel`."""
    caps: Sequence[Cap] = candidate.caps
    # `candidate.caps` are those of all its channels, and it leaves by one of them.
    if len(candidate.channels) > 1:
        topic, campaign = candidate.topic, candidate.campaign
        caps = [cap for cap in caps if cap.counts(channel, topic, campaign)]
    full = first_full(caps, usage, now, person.zone)
    if full is None:
        return None
    full, frees = _all_free(candidate, person, caps, usage, full)
    return _capped(candidate, person.zone, full, frees)


def _capped(
    candidate: Candidate, where: ZoneInfo, full: Full, frees: datetime | None
) -> Defer | Skip:
    """Waits until the caps are free, if that is in time."""
    if frees is None:
        return Skip(_cap_reason(full, "", where))
    free = f"; free again {local(frees, where):%Y-%m-%d %H:%M}"
    wait = candidate.wait_when_capped
    if wait is None or frees > candidate.planned_at + wait:
        too_long = f"{free}, longer than it may wait"
        return Skip(_cap_reason(full, too_long, where))
    if _past_grace(candidate, frees):
        too_late = f"{free}, when it makes no sense any more"
        return Skip(_cap_reason(full, too_late, where))
    return Defer(frees, _cap_reason(full, free, where))


def _all_free(
    candidate: Candidate,
    person: Person,
    caps: Sequence[Cap],
    usage: Sequence[Use],
    full: Full,
) -> tuple[Full, datetime | None]:
    """When every rule has a place and the window is open, and which rule is the
    last."""
    while full.frees is not None:
        at = person.next_allowed(candidate.window, full.frees)
        again = first_full(caps, usage, at, person.zone) if at else None
        if at is None or again is None:
            return full, at
        full = again
    return full, None


def _cap_reason(full: Full, when: str, where: ZoneInfo) -> Reason:
    cap = full.cap
    uses = _filled_by(full, where) or "a limit of none"
    scope = "" if cap.scope == "all" else f" for {cap.name}"
    return Reason(
        code="cap",
        sentence=f"the cap of {cap.text}{scope} is full ({uses}){when}",
        place=cap.place,
        filled_by=tuple(sorted({use.campaign for use in full.filled_by})),
    )


def _filled_by(full: Full, where: ZoneInfo) -> str:
    """The messages that fill a cap, in order of their days."""
    days: set[tuple[date, str, bool]] = set()
    for use in full.filled_by:
        day = local(from_millis(use.first), where).date()
        days.add((day, use.campaign, use.reserved))
    return ", ".join(
        f"{'kept for ' if kept else ''}{campaign} on {day:%-d %b}"
        for day, campaign, kept in sorted(days)
    )
