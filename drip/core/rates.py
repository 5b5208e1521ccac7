"""How fast messages may leave.

A rate for all of a channel's, and one for each recipient's domain.

A lane (a channel, or one domain of it) knows when its next message may begin; each
message that begins moves that on by the lane's interval. Times are whole milliseconds,
as instants are kept. What may begin within `WINDOW_MS` may begin at once, so that a
fast lane is not looked at for every message.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

WINDOW_MS = 100
# A grant lasts for ten minutes, so a message is not put off for longer before it is
# looked at again.
LONGEST_MS = 9 * 60 * 1000
# Kept as a distance: 60 per minute are one each second, and not 60 at once.
SPANS_MS = {"second": 1000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_RATE = re.compile(
    r"(?:(?P<domain>[a-z0-9-]+(?:\.[a-z0-9-]+)+) )?"
    r"(?P<count>[1-9][0-9]{0,5}) per (?P<span>second|minute|hour|day)"
)


@dataclass(frozen=True, slots=True)
class Rates:
    """Milliseconds between two messages.

    Of the whole channel, of each domain, and of domains by name; None for no limit.
    """

    whole: float | None = None
    each: float | None = None
    by_domain: Mapping[str, float] = field(default_factory=dict)

    def of(self, domain: str) -> float | None:
        """Between two messages to a domain."""
        return self.by_domain.get(domain, self.each)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self.whole or self.each or self.by_domain)


def read_rate(text: str) -> tuple[str | None, float]:
    """`20 per second`, `gmail.com 5 per second`.

    The domain, if there is one, and the interval. Raises ValueError.
    """
    found = _RATE.fullmatch(" ".join(text.lower().split()))
    if not found:
        raise ValueError(f"`{text}` is no rate, as `20 per second` is")
    return found["domain"], SPANS_MS[found["span"]] / int(found["count"])


def read_rates(whole: str | None, domains: str | None) -> Rates:
    """From the options `rate` and `rate_per_domain` (with commas between several).

    Raises ValueError.
    """
    domain, interval = read_rate(whole) if whole is not None else (None, None)
    if domain is not None:
        remedy = "write it under `rate_per_domain`"
        raise ValueError(f"`{whole}` is about a domain: {remedy}")
    each: float | None = None
    by_domain: dict[str, float] = {}
    for text in domains.split(",") if domains is not None else ():
        named, own = read_rate(text)
        if named is None:
            each = own
        else:
            by_domain[named] = own
    return Rates(interval, each, by_domain)


@dataclass
class Paced:
    """Which messages may begin now, and until when the others are put off.

    And where the limits of channel and domains stand then, in milliseconds.
    """

    begin: list[int] = field(default_factory=list)
    later: dict[int, int] = field(default_factory=dict)
    lanes: dict[str, float] = field(default_factory=dict)


def pace(
    waiting: Sequence[tuple[int, str]],
    lanes: Mapping[str, float],
    rates: Rates,
    now: int,
) -> Paced:
    """Goes through messages (number and domain, in the order in which they wait).

    The lane of the whole channel is ``""``.

    Ends with the message that the whole channel has to wait for: those behind it stay
    as they are.
    """
    made = Paced(lanes=dict(lanes))
    behind: Counter[str] = Counter()
    soon = now + WINDOW_MS
    for number, domain in waiting:
        if made.lanes.get("", 0) > soon:
            break
        interval = rates.of(domain)
        free = made.lanes.get(domain, 0)
        if free > soon:
            # Each of those behind it is looked at when it is its own turn.
            turn = free + behind[domain] * (interval or 0)
            made.later[number] = round(min(turn, now + LONGEST_MS))
            behind[domain] += 1
            continue
        made.begin.append(number)
        if interval:
            made.lanes[domain] = max(now, free) + interval
        if rates.whole:
            made.lanes[""] = max(now, made.lanes.get("", 0)) + rates.whole
    return made


def backoff(first: timedelta, failures: int, longest: timedelta) -> timedelta:
    """How long to wait after so many failures in a row.

    Twice as long each time, up to the longest.
    """
    twice: int = 2 ** min(max(failures - 1, 0), 20)
    return min(first * twice, longest)
