"""`trigger:` of a campaign: what starts a run.

A new one is a row of `TRIGGER_READERS`, its key in `campaign_models.TriggerModel` and
its frozen form in `core.campaign`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from drip.core.calendar import Duration
from drip.core.campaign import (
    CounterTrigger,
    DateTrigger,
    EventTrigger,
    ScheduleTrigger,
    SegmentTrigger,
    Trigger,
)
from drip.core.conditions import Condition
from drip.core.derived import DateField
from drip.core.settings import Settings
from drip.language import phrases
from drip.language.campaign_models import TriggerModel
from drip.language.conditions import Scope, condition
from drip.language.reader import Document, Route, items_at
from drip.language.settings import names_of
from drip.language.step_context import plain

# Keys that make sense with one trigger alone.
BELONGS_TO = {
    "repeat": "date",
    "feb_29": "date",
    "where": "event",
    "reaches": "counter",
}


@dataclass(frozen=True, slots=True)
class TriggerReader:
    """Reads the trigger of the campaign `key`, which runs for each record of a kind.

    `record` is the campaign's `for_each`; None where it runs for contacts.
    """

    key: str
    document: Document
    settings: Settings
    record: str | None
    model: TriggerModel

    def read(self) -> Trigger | None:
        """The trigger; None where there is a problem, which is then in the document."""
        given = [
            name for name in TRIGGER_READERS if getattr(self.model, name) is not None
        ]
        if not given and self._is_written():
            return None
        if len(given) != 1:
            self._problem(
                (),
                "a trigger has exactly one of `date`, `schedule`, `event`, `segment` "
                "and `counter`",
                key=True,
            )
            return None
        (kind,) = given
        self._check_keys(kind)
        self._check_owner(kind)
        return TRIGGER_READERS[kind](self)

    def _is_written(self) -> bool:
        """Whether one is there whose value is wrong, which has been said."""
        return any(
            ("trigger", name) in self.document.values for name in TRIGGER_READERS
        )

    def _check_keys(self, kind: str) -> None:
        """That no key stands there that this trigger does not know."""
        for name, owner in BELONGS_TO.items():
            if name in self.model.model_fields_set and kind != owner:
                self._problem(
                    (name,),
                    f"`{name}` goes with a {owner} trigger",
                    key=True,
                )

    def _check_owner(self, kind: str) -> None:
        """That what starts a run belongs to what it is for."""
        # A contact that comes into a segment does so once, whatever it owns.
        if self.record and kind in ("segment", "counter"):
            sentence = f"a {kind} is the contact's"
            self.document.problem(
                ("for_each",),
                f"{sentence}, so there is no one {self.record} to run for",
                "leave out `for_each`",
                key=True,
            )

    # --- one of each kind

    def schedule(self) -> Trigger:
        """`schedule: every Thursday at 10:00`."""
        assert self.model.schedule is not None
        return ScheduleTrigger(self.model.schedule)

    def event(self) -> Trigger:
        """`event: order.placed`, with `where:`."""
        assert self.model.event is not None
        event = self.model.event
        return EventTrigger(event, self._where(event))

    def _where(self, event: str) -> Condition | None:
        """The conditions on the event's fields."""
        if self.model.where is None:
            return None
        # `total` of `order.placed` is called `order.total`, and `event.total` anywhere.
        prefix = event.partition(".")[0]
        scope = Scope(
            names=names_of(self.settings),
            record=self.record,
            events=frozenset(("event", prefix)),
            campaign=self.key,
        )
        return condition(self.document, ("trigger", "where"), self.model.where, scope)

    def segment(self) -> Trigger:
        """`segment: lapsed_best`."""
        assert self.model.segment is not None
        name, known = self.model.segment, self.settings.segments
        if name not in known:
            self.document.unknown(
                ("trigger", "segment"),
                "segment",
                name,
                known,
                "declare it under `segments:`",
            )
        return SegmentTrigger(name)

    def counter(self) -> Trigger | None:
        """`counter: coffee_card`, with `reaches:`."""
        assert self.model.counter is not None
        name, known = self.model.counter, self.settings.counters
        if name not in known:
            self.document.unknown(
                ("trigger", "counter"),
                "counter",
                name,
                known,
                "declare it under `counters:`",
            )
        if self.model.reaches is None:
            self._problem(
                (),
                "`reaches:` is missing: which number starts a run?",
                "add `reaches: [9]`",
                key=True,
            )
            return None
        return CounterTrigger(name, tuple(sorted(set(self._reaches()))))

    def _reaches(self) -> Iterator[int]:
        """The numbers that start a run."""
        data = self.model.reaches
        for route, item in items_at(("trigger", "reaches"), data):
            number = self.document.attempt(route, partial(_count, item))
            if number:
                yield number
            elif number == 0:
                self.document.problem(
                    route,
                    "a counter begins with 0 and does not come up to it",
                    "name 1 or more",
                )
        if data == []:
            self._problem(
                ("reaches",),
                "no number is named here",
                "write `reaches: [9]`",
                key=True,
            )

    # --- dates

    def date(self) -> Trigger | None:
        """`date: contact.birthday`, `date: 6 months after vehicle.last_service`."""
        assert self.model.date is not None
        phrase = self.model.date
        known = self.settings.date_field(phrase.field)
        if known is None:
            names = self.settings.dates
            self.document.unknown(
                ("trigger", "date"),
                "date",
                phrase.field,
                names,
            )
            return None
        owner = phrase.field.partition(".")[0]
        if not self._can_hang_on(phrase.field, owner):
            return None
        is_birthday = self._is_birthday(known.field)
        if is_birthday and "feb_29" not in self.model.model_fields_set:
            self._note_leap_day()
        name, date = phrase.field, known
        if phrase.offset != Duration():
            # A step's `at:` counts from the date itself: a moved one has no name.
            name = ""
            date = DateField(known.field, (*known.steps, phrase.offset))
        return DateTrigger(
            name=name,
            date=date,
            yearly=is_birthday or self.model.repeat == "yearly",
            feb_29=self.model.feb_29,
        )

    def _is_birthday(self, full: str) -> bool:
        """Whether a field comes round every year."""
        owner, _, name = full.partition(".")
        known = self.settings.fields[owner].get(name)
        return known is not None and known.kind == "birthday"

    def _can_hang_on(self, name: str, owner: str) -> bool:
        """Whether the date belongs to whatever the campaign runs for."""
        if owner not in ("contact", self.record):
            self._problem(
                ("date",),
                f"`{name}` is a date of a {owner}",
                f"add `for_each: {owner}`: one run for each {owner}",
            )
            return False
        if owner == "contact" and self.record:
            self._problem(
                ("date",),
                f"`{name}` is a date of the contact, not of a {self.record}",
                "leave out `for_each`",
            )
            return False
        return True

    def _note_leap_day(self) -> None:
        """Notes what becomes of February 29."""
        sentence = "what becomes of February 29 in other years is left to drip"
        self.document.problem(
            ("trigger", "date"),
            f"{sentence}, which takes February 28",
            "say so: `feb_29: Feb 28`, `Mar 1` or `skip`",
            level="note",
            code="leap-day",
        )

    def _problem(
        self,
        route: Route,
        sentence: str,
        help: str | None = None,
        *,
        key: bool = False,
    ) -> None:
        self.document.problem(
            ("trigger", *route),
            sentence,
            help,
            key=key,
        )


TRIGGER_READERS: dict[str, Callable[[TriggerReader], Trigger | None]] = {
    "date": TriggerReader.date,
    "schedule": TriggerReader.schedule,
    "event": TriggerReader.event,
    "segment": TriggerReader.segment,
    "counter": TriggerReader.counter,
}


def _count(data: Any) -> int:
    """A whole number. Raises ValueError."""
    return phrases.count(plain(data))
