"""One campaign file to a frozen `Campaign`, with everything it refers to checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import Any

from drip.core.calendar import Duration, SendWindow
from drip.core.campaign import (
    Campaign,
    CounterTrigger,
    DateTrigger,
    EventTrigger,
    Goal,
    ScheduleTrigger,
    SegmentTrigger,
    Trigger,
)
from drip.core.caps import Cap
from drip.core.conditions import Condition
from drip.core.decide import WhenLate
from drip.core.derived import DateField
from drip.core.fields import parse_zone
from drip.core.settings import Settings
from drip.errors import Place, nearest
from drip.language import phrases
from drip.language.campaign_models import CampaignModel, GoalModel, TriggerModel
from drip.language.conditions import Scope, condition
from drip.language.expectations import read_tests
from drip.language.models import read_model
from drip.language.reader import Document, Route
from drip.language.settings import caps_at, names_of
from drip.language.step_context import StepContext, plain
from drip.language.steps import StepReader, awaited

GRACE = {
    "birthday": timedelta(days=2),
    "schedule": timedelta(hours=4),
    "event": timedelta(days=1),
    "date": timedelta(days=7),
}
# Nine in the morning, for a date without a clock time where no send window is set.
DEFAULT_OPENS = 9 * 60
# Stands in for a broken trigger while the rest of the file is looked at.
NO_TRIGGER = EventTrigger("", None)
TRIGGERS = ("date", "schedule", "event", "segment", "counter")


def build_campaign(key: str, document: Document, settings: Settings) -> Campaign | None:
    """The campaign; None where there is a problem, which is then in `document`."""
    if not isinstance(document.data, dict):
        document.problem((), "this file holds no campaign", "begin with `name:`")
        return None
    model = read_model(CampaignModel, document, document.data)
    if model is None:
        return None
    campaign = _CampaignBuilder(key, document, settings, model).build()
    return None if document.broken else campaign


@dataclass
class _CampaignBuilder:
    key: str
    document: Document
    settings: Settings
    model: CampaignModel

    def build(self) -> Campaign:
        """The campaign, which is good only if the document has no problem."""
        model, document = self.model, self.document
        self._required()
        trigger = (model.trigger and self._trigger(model.trigger)) or NO_TRIGGER
        caps, obeys = self._caps()
        scope = self._scope(trigger, run=True)
        window = model.send_window or self.settings.send_window
        opens = window.hours.opens if window else DEFAULT_OPENS
        exits, conditions, at_goal = self._exits(scope)
        context = StepContext(
            document,
            self.settings,
            model,
            self.key,
            trigger,
            scope,
            _grace(trigger),
            opens,
        )
        if model.holdout >= 1:
            document.problem(
                ("holdout",),
                "with a holdout of 100% nobody gets anything",
                "10% is enough to measure by",
            )
        if model.max_audience == 0:
            document.problem(
                ("max_audience",),
                "with `max_audience: 0` nobody can enter",
                "use `status: paused` instead",
            )
        campaign = Campaign(
            key=self.key,
            title=model.name,
            version=sha256(document.text.encode()).hexdigest()[:16],
            place=document.place(("name",)),
            status=model.status,
            topic=self._topic(),
            topic_place=document.place(("topic",), key=True),
            trigger=trigger,
            for_each=self._for_each(),
            audience=self._condition(
                ("audience",), model.audience, self._scope(trigger, run=False)
            ),
            exit_events=exits,
            exit_conditions=tuple(conditions),
            goal=self._goal(model.goal),
            exit_at_goal=at_goal,
            holdout=model.holdout,
            max_audience=model.max_audience,
            max_audience_place=document.place(("max_audience",), key=True),
            re_entry=model.re_entry,
            timezone=self._timezone(),
            caps=caps,
            reserve=self._reserve(trigger),
            when_late=self._when_late(window),
            obeys_caps=obeys,
            counted=model.counted,
            wait_when_capped=self._when_capped(),
            on_unknown=model.on_unknown
            or ("resend" if model.transactional else "hold"),
            opens=opens,
            steps=StepReader(context).read(),
            tests=read_tests(document, self.settings, model.for_each, model.tests),
        )
        if not model.steps and ("steps",) in document.values:
            document.problem(
                ("steps",),
                "there are no steps",
                "add at least one, as `- send: NAME`",
                key=True,
            )
        return campaign

    def _required(self) -> None:
        assert isinstance(self.document.data, dict)
        for name, example in (
            ("name", "Birthday card"),
            ("trigger", "…"),
            ("steps", "…"),
        ):
            if name not in self.document.data:
                self.document.problem(
                    (), f"`{name}` is missing here", f"add a line `{name}: {example}`"
                )

    def _when_capped(self) -> timedelta | None:
        own = "when_capped" in self.model.model_fields_set
        wait, grace = self.model.when_capped, self.model.grace
        if own and wait is not None and grace is not None and wait > grace:
            sentence = "it may wait longer under a cap than it makes sense"
            self.document.problem(
                ("when_capped",),
                sentence,
                "shorten it, or lengthen `grace`",
                key=True,
                level="warning",
                code="wait-beyond-grace",
            )
        return self.model.when_capped if own else self.settings.wait_when_capped

    def _reserve(self, trigger: Trigger) -> timedelta | None:
        if self.model.reserve is not None and not isinstance(trigger, DateTrigger):
            sentence = "only what is due on a date is known ahead, so only a `date:` trigger can reserve"
            self.document.problem(
                ("reserve",), sentence, "leave it out, or raise `priority`", key=True
            )
        if self.model.reserve is not None and self.model.transactional:
            sentence = "a transactional campaign is outside of the caps, so there is no slot to keep"
            self.document.problem(("reserve",), sentence, "leave it out", key=True)
        return self.model.reserve

    def _when_late(self, window: SendWindow | None) -> WhenLate:
        if self.model.when_late == "next window" and (
            window is None or self.model.transactional
        ):
            sentence = "there is no send window, so there is no next one"
            self.document.problem(
                ("when_late",), sentence, "add `send_window: 9:00-19:00`", key=True
            )
        return self.model.when_late

    def _topic(self) -> str | None:
        topic = self.model.topic
        if topic is None and not self.model.transactional:
            help = nearest("", self.settings.topics, what="topics")
            self.document.problem(
                (),
                "`topic` is missing: every campaign that is not transactional has one",
                help,
            )
        elif topic is not None and topic not in self.settings.topics:
            help = (
                nearest(topic, self.settings.topics, what="topics")
                or "declare it in _settings.yaml"
            )
            self.document.problem(("topic",), f"there is no topic `{topic}`", help)
        return topic

    def _timezone(self) -> str | None:
        name = self.model.timezone
        if name is None or name == "recipient":
            return None
        zone: str | None = self._try(("timezone",), lambda: parse_zone(name))
        return zone

    def _for_each(self) -> str | None:
        kind = self.model.for_each
        if kind is not None and kind not in self.settings.kinds:
            help = (
                nearest(kind, self.settings.kinds, what="kinds")
                or "declare its fields under `data:` in _settings.yaml"
            )
            self.document.problem(
                ("for_each",), f"there is no kind of record `{kind}`", help
            )
        return kind

    # --- triggers

    def _trigger(self, model: TriggerModel) -> Trigger | None:
        given = [name for name in TRIGGERS if getattr(model, name) is not None]
        if not given and any(
            ("trigger", name) in self.document.values for name in TRIGGERS
        ):
            return None  # Its value is wrong, which has been said.
        if len(given) != 1:
            sentence = "a trigger has exactly one of `date`, `schedule`, `event`, `segment` and `counter`"
            self.document.problem(("trigger",), sentence, key=True)
            return None
        for name, belongs in (
            ("repeat", "date"),
            ("feb_29", "date"),
            ("where", "event"),
            ("reaches", "counter"),
        ):
            if name in model.model_fields_set and given[0] != belongs:
                self.document.problem(
                    ("trigger", name),
                    f"`{name}` goes with a {belongs} trigger",
                    key=True,
                )
        if self.model.for_each and given[0] in ("segment", "counter"):
            sentence = f"a {given[0]} is the contact's, so there is no one {self.model.for_each} to run for"
            self.document.problem(
                ("for_each",), sentence, "leave out `for_each`", key=True
            )
        if model.schedule is not None:
            return ScheduleTrigger(model.schedule)
        if model.event is not None:
            return self._event(model, model.event)
        if model.segment is not None:
            return self._segment(model.segment)
        if model.counter is not None:
            return self._counter(model, model.counter)
        assert model.date is not None
        return self._date(model, model.date)

    def _event(self, model: TriggerModel, name: str) -> Trigger:
        scope = Scope(
            names_of(self.settings),
            self.model.for_each,
            frozenset({"event", name.partition(".")[0]}),
            self.key,
        )
        return EventTrigger(
            name, self._condition(("trigger", "where"), model.where, scope)
        )

    def _segment(self, name: str) -> Trigger | None:
        if name not in self.settings.segments:
            help = (
                nearest(name, self.settings.segments, what="segments")
                or "declare it under `segments:`"
            )
            self.document.problem(
                ("trigger", "segment"), f"there is no segment `{name}`", help
            )
        return SegmentTrigger(name)

    def _counter(self, model: TriggerModel, name: str) -> Trigger | None:
        if name not in self.settings.counters:
            help = (
                nearest(name, self.settings.counters, what="counters")
                or "declare it under `counters:`"
            )
            self.document.problem(
                ("trigger", "counter"), f"there is no counter `{name}`", help
            )
        data = model.reaches
        if data is None:
            sentence = "`reaches:` is missing: which number starts a run?"
            self.document.problem(
                ("trigger",), sentence, "add `reaches: [9]`", key=True
            )
            return None
        found = []
        for n, item in enumerate(data if isinstance(data, list) else [data]):
            route: Route = (
                ("trigger", "reaches", n)
                if isinstance(data, list)
                else ("trigger", "reaches")
            )
            number = self._try(route, partial(_count, item))
            found += [number] if number else []
            if number == 0:
                self.document.problem(
                    route,
                    "a counter begins with 0 and does not come up to it",
                    "name 1 or more",
                )
        if data == []:
            self.document.problem(
                ("trigger", "reaches"),
                "no number is named here",
                "write `reaches: [9]`",
                key=True,
            )
        return CounterTrigger(name, tuple(sorted(set(found))))

    def _date(self, model: TriggerModel, phrase: phrases.DatePhrase) -> Trigger | None:
        known = self.settings.date_field(phrase.field)
        if known is None:
            fields = self.settings.fields
            names = [
                f"{kind}.{name}"
                for kind in fields
                for name, field in fields[kind].items()
                if field.is_date
            ]
            derived = [
                name for name in self.settings.derived if self.settings.date_field(name)
            ]
            help = nearest(phrase.field, [*names, *derived], what="dates")
            self.document.problem(
                ("trigger", "date"), f"there is no date `{phrase.field}`", help
            )
            return None
        owner = phrase.field.partition(".")[0]
        if owner not in ("contact", self.model.for_each):
            self.document.problem(
                ("trigger", "date"),
                f"`{phrase.field}` is a date of a {owner}",
                f"add `for_each: {owner}`: one run for each {owner}",
            )
            return None
        if owner == "contact" and self.model.for_each:
            sentence = f"`{phrase.field}` is a date of the contact, not of a {self.model.for_each}"
            self.document.problem(("trigger", "date"), sentence, "leave out `for_each`")
            return None
        moved = phrase.offset != Duration()
        steps = (*known.steps, phrase.offset) if moved else known.steps
        birthday = self.settings.fields[owner].get(known.field.partition(".")[2])
        yearly = model.repeat == "yearly" or (
            birthday is not None and birthday.kind == "birthday"
        )
        # A step's `at:` counts from the date itself, so a moved one has no name to hang on.
        name = "" if moved else phrase.field
        if (
            birthday is not None
            and birthday.kind == "birthday"
            and "feb_29" not in model.model_fields_set
        ):
            sentence = "what becomes of February 29 in other years is left to drip, which takes February 28"
            self.document.problem(
                ("trigger", "date"),
                sentence,
                "say so: `feb_29: Feb 28`, `Mar 1` or `skip`",
                level="note",
                code="leap-day",
            )
        return DateTrigger(name, DateField(known.field, steps), yearly, model.feb_29)

    # --- who, and until when

    def _scope(self, trigger: Trigger, *, run: bool) -> Scope:
        names = (
            [trigger.event]
            if isinstance(trigger, EventTrigger) and trigger.event
            else []
        )
        events = {
            name.partition(".")[0]
            for name in [*names, *(awaited(self.model.steps) if run else [])]
        }
        events |= {"event"} if names else set()
        return Scope(
            names_of(self.settings),
            self.model.for_each,
            frozenset(events),
            self.key,
            run,
        )

    def _condition(self, route: Route, data: Any, scope: Scope) -> Condition | None:
        return None if data is None else condition(self.document, route, data, scope)

    def _goal(self, model: GoalModel | None) -> Goal | None:
        if model is None:
            return None
        prefixes = frozenset({"event", model.event.partition(".")[0]})
        scope = Scope(
            names_of(self.settings),
            self.model.for_each,
            prefixes,
            self.key,
            in_run=True,
        )
        where = self._condition(("goal", "where"), model.where, scope)
        return Goal(
            model.event, where, model.within, self.document.place(("goal",), key=True)
        )

    def _exits(
        self, scope: Scope
    ) -> tuple[dict[str, Place], list[Condition], Place | None]:
        events: dict[str, Place] = {}
        conditions: list[Condition] = []
        at_goal: Place | None = None
        data = self.model.exit_when
        items = data if isinstance(data, list) else [] if data is None else [data]
        for n, item in enumerate(items):
            route: Route = (
                ("exit_when", n) if isinstance(data, list) else ("exit_when",)
            )
            if isinstance(item, dict):
                read = condition(self.document, route, item, scope)
                conditions += [read] if read else []
            elif item == "goal":
                at_goal = self.document.place(route)
                if self.model.goal is None:
                    self.document.problem(
                        route,
                        "this campaign has no goal",
                        "add `goal: { event: order.placed }`",
                    )
            elif isinstance(item, str) and phrases.EVENT_NAME.fullmatch(item):
                events[item] = self.document.place(route)
            else:
                help = nearest(str(item), ["goal"])
                self.document.problem(
                    route,
                    f"`{item}` is neither an event like `booking.created` nor a condition",
                    help,
                )
        return events, conditions, at_goal

    def _caps(self) -> tuple[tuple[Cap, ...], bool]:
        text = self.model.frequency_caps
        if text is None or text == "ignore":
            return (), text is None
        return tuple(
            caps_at(self.document, ("frequency_caps",), text, "campaign", self.key)
        ), True

    def _try(self, route: Route, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except ValueError as wrong:
            self.document.problem(route, str(wrong))
        return None


def _count(data: Any) -> int:
    return phrases.count(plain(data))


def _grace(trigger: Trigger) -> timedelta:
    match trigger:
        case DateTrigger(yearly=True):
            return GRACE["birthday"]
        case DateTrigger() | SegmentTrigger():
            return GRACE["date"]
        case ScheduleTrigger():
            return GRACE["schedule"]
        case _:
            return GRACE["event"]
