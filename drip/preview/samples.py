"""A few rendered messages of each campaign, chosen to show what can go wrong: the longest name, the fewest known fields."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from drip.core.message import Message, with_pictures
from drip.engine.last_check import Ready

MOST = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """One rendered message. `why` says what it was chosen for; it may be empty."""

    campaign: str
    step: str
    contact: str
    why: str
    message: Message

    @property
    def page(self) -> str | None:
        """The HTML as a browser shows it."""
        return with_pictures(self.message)


@dataclass
class Samples:
    """Looks at every message of a simulation and keeps at most `MOST` of each campaign."""

    _first: dict[str, dict[str, tuple[Ready, Message]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _others: dict[str, list[tuple[Ready, Message]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _longest: dict[str, tuple[int, tuple[Ready, Message]]] = field(default_factory=dict)
    _emptiest: dict[str, tuple[int, tuple[Ready, Message]]] = field(
        default_factory=dict
    )

    def look(self, ready: Ready, message: Message) -> None:
        """A message that was rendered."""
        campaign, both = ready.campaign.key, (ready, message)
        length, known = len(message.to.name), _known(ready)
        if campaign not in self._longest or length > self._longest[campaign][0]:
            self._longest[campaign] = (length, both)
        if campaign not in self._emptiest or known < self._emptiest[campaign][0]:
            self._emptiest[campaign] = (known, both)
        if ready.step.id not in self._first[campaign]:
            self._first[campaign][ready.step.id] = both
        elif len(self._others[campaign]) < MOST:
            self._others[campaign].append(both)

    def chosen(self) -> list[Sample]:
        """The samples, by campaign."""
        found: list[Sample] = []
        for campaign in sorted(self._longest):
            marked = [
                ("the longest name", self._longest[campaign][1]),
                ("the fewest known fields", self._emptiest[campaign][1]),
            ]
            rest = [*self._first[campaign].values(), *self._others[campaign]]
            own: dict[str, Sample] = {}
            for why, (ready, message) in [*marked, *(("", each) for each in rest)]:
                before = own.get(message.message_id)
                both = (
                    f"{before.why}, {why}"
                    if before and before.why and why
                    else why or (before.why if before else "")
                )
                if before or len(own) < MOST:
                    own[message.message_id] = Sample(
                        campaign, ready.step.id, ready.contact.key, both, message
                    )
            order = {
                step.id: n
                for n, step in enumerate(self._longest[campaign][1][0].campaign.steps)
            }
            found += sorted(
                own.values(), key=lambda each: (order.get(each.step, 0), each.contact)
            )
        return found


def _known(ready: Ready) -> int:
    contact = ready.contact
    plain = (
        contact.email,
        contact.phone,
        contact.locale,
        contact.country,
        contact.timezone,
    )
    return len(contact.attributes) + sum(each is not None for each in plain)
