"""A few rendered messages of each campaign, chosen to show what can go wrong: the
longest name, the fewest known fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from drip.core.message import Message, with_pictures
from drip.engine.last_check import Ready
from drip.storage.people.contacts import Contact

MOST = 10
Rendered = tuple[Ready, Message]


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
class _OfCampaign:
    """What was seen of one campaign, the first message of each step first."""

    longest: Rendered
    emptiest: Rendered
    first: dict[str, Rendered] = field(default_factory=dict)
    others: list[Rendered] = field(default_factory=list)

    def look(self, rendered: Rendered) -> None:
        ready, _ = rendered
        if _length(rendered) > _length(self.longest):
            self.longest = rendered
        if _known(rendered) < _known(self.emptiest):
            self.emptiest = rendered
        if ready.step.id not in self.first:
            self.first[ready.step.id] = rendered
        elif len(self.others) < MOST:
            self.others.append(rendered)

    def marked(self) -> Iterator[tuple[str, Rendered]]:
        """The messages, those that were chosen for something first."""
        yield "the longest name", self.longest
        yield "the fewest known fields", self.emptiest
        for rendered in (*self.first.values(), *self.others):
            yield "", rendered

    def chosen(self) -> list[Sample]:
        """At most `MOST`, in the order of the campaign's steps."""
        found: dict[str, Sample] = {}
        for why, rendered in self.marked():
            key = rendered[1].message_id
            if key in found:
                reasons = [reason for reason in (found[key].why, why) if reason]
                found[key] = replace(
                    found[key],
                    why=", ".join(reasons),
                )
            elif len(found) < MOST:
                found[key] = _sample(rendered, why)
        steps = self.longest[0].campaign.steps
        order = {step.id: n for n, step in enumerate(steps)}

        def place(sample: Sample) -> tuple[int, str]:
            return order.get(sample.step, 0), sample.contact

        return sorted(found.values(), key=place)


@dataclass
class Samples:
    """Looks at every message of a simulation and keeps a few of each campaign."""

    _seen: dict[str, _OfCampaign] = field(default_factory=dict)

    def look(self, ready: Ready, message: Message) -> None:
        """A message that was rendered."""
        rendered = (ready, message)
        campaign = ready.campaign.key
        if campaign not in self._seen:
            self._seen[campaign] = _OfCampaign(longest=rendered, emptiest=rendered)
        self._seen[campaign].look(rendered)

    def chosen(self) -> list[Sample]:
        """The samples, by campaign."""
        return [
            sample
            for campaign in sorted(self._seen)
            for sample in self._seen[campaign].chosen()
        ]


def _sample(rendered: Rendered, why: str) -> Sample:
    ready, message = rendered
    return Sample(
        ready.campaign.key,
        ready.step.id,
        ready.contact.key,
        why,
        message,
    )


def _length(rendered: Rendered) -> int:
    _, message = rendered
    return len(message.to.name)


def _known(rendered: Rendered) -> int:
    """How many fields are known of the contact."""
    contact = rendered[0].contact
    known = sum(value is not None for value in _plain_fields(contact))
    return known + len(contact.attributes)


def _plain_fields(contact: Contact) -> tuple[str | None, ...]:
    """What every contact may have, whatever else the workspace declares."""
    return (
        contact.email,
        contact.phone,
        contact.locale,
        contact.country,
        contact.timezone,
    )
