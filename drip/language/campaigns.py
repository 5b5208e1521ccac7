"""One campaign file to a frozen `Campaign`, with everything it refers to checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any

from drip.core.calendar import SendWindow
from drip.core.campaign import (
    Campaign,
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
from drip.core.fields import parse_zone
from drip.core.settings import Settings
from drip.errors import Place, nearest
from drip.language import phrases
from drip.language.campaign_models import CampaignModel, GoalModel
from drip.language.conditions import Scope, condition
from drip.language.expectations import read_tests
from drip.language.models import read_model
from drip.language.reader import Document, Route, items_at
from drip.language.settings import caps_at, names_of
from drip.language.step_context import StepContext
from drip.language.steps import StepReader, awaited
from drip.language.triggers import TriggerReader

# How late a message may be where its file does not say: a birthday greeting is odd
# after two days, a reminder of something due is still worth reading after a week.
BIRTHDAY_GRACE = timedelta(days=2)
DATE_GRACE = timedelta(days=7)
SCHEDULE_GRACE = timedelta(hours=4)
EVENT_GRACE = timedelta(days=1)
# Nine in the morning, for a date without a clock time where no send window is set.
DEFAULT_OPENS = 9 * 60
# Stands in for a broken trigger while the rest of the file is looked at.
NO_TRIGGER = EventTrigger("", None)
# What every file has, with an example.
REQUIRED = {"name": "Birthday card", "trigger": "…", "steps": "…"}


def build_campaign(key: str, document: Document, settings: Settings) -> Campaign | None:
    """The campaign; None where there is a problem, which is then in `document`."""
    if not isinstance(document.data, dict):
        document.problem(
            (),
            "this file holds no campaign",
            "begin with `name:`",
        )
        return None
    model = read_model(CampaignModel, document, document.data)
    if model is None:
        return None
    campaign = _CampaignBuilder(key, document, settings, model).build()
    return None if document.broken else campaign


@dataclass
class _Exits:
    """What ends a run: events with the lines that name them, conditions, the goal."""

    events: dict[str, Place] = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)
    at_goal: Place | None = None


@dataclass
class _CampaignBuilder:
    """One campaign, key by key."""

    key: str
    document: Document
    settings: Settings
    model: CampaignModel

    def build(self) -> Campaign:
        """The campaign, which is good only if the document has no problem."""
        model, document = self.model, self.document
        self._check_required()
        trigger = self._trigger()
        scope = self._run_scope(trigger)
        window = model.send_window or self.settings.send_window
        opens = window.hours.opens if window else DEFAULT_OPENS
        exits = self._exits(scope)
        self._check_audience_size()
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
            audience=self._audience(trigger),
            exit_events=exits.events,
            exit_conditions=tuple(exits.conditions),
            exit_at_goal=exits.at_goal,
            goal=self._goal(model.goal),
            holdout=model.holdout,
            max_audience=model.max_audience,
            max_audience_place=document.place(("max_audience",), key=True),
            re_entry=model.re_entry,
            timezone=self._timezone(),
            caps=self._caps(),
            obeys_caps=model.frequency_caps != "ignore",
            reserve=self._reserve(trigger),
            when_late=self._when_late(window),
            counted=model.counted,
            wait_when_capped=self._when_capped(),
            # What people wait for is better sent twice than not at all.
            on_unknown=model.on_unknown
            or ("resend" if model.transactional else "hold"),
            opens=opens,
            steps=StepReader(
                StepContext(
                    document=document,
                    settings=self.settings,
                    model=model,
                    key=self.key,
                    trigger=trigger,
                    scope=scope,
                    grace=usual_grace(trigger),
                    opens=opens,
                )
            ).read(),
            tests=read_tests(document, self.settings, model.for_each, model.tests),
        )
        self._check_steps()
        return campaign

    # --- what must be there

    def _check_required(self) -> None:
        """That nothing is left out without which there is no campaign."""
        for name, example in REQUIRED.items():
            if (name,) not in self.document.values:
                self.document.problem(
                    (),
                    f"`{name}` is missing here",
                    f"add a line `{name}: {example}`",
                )

    def _check_steps(self) -> None:
        """That a list of steps holds any."""
        if not self.model.steps and ("steps",) in self.document.values:
            self.document.problem(
                ("steps",),
                "there are no steps",
                "add at least one, as `- send: NAME`",
                key=True,
            )

    def _check_audience_size(self) -> None:
        """That somebody can get something."""
        if self.model.holdout >= 1:
            self.document.problem(
                ("holdout",),
                "with a holdout of 100% nobody gets anything",
                "10% is enough to measure by",
            )
        if self.model.max_audience == 0:
            self.document.problem(
                ("max_audience",),
                "with `max_audience: 0` nobody can enter",
                "use `status: paused` instead",
            )

    # --- names of the settings

    def _topic(self) -> str | None:
        """What people can switch off to get no more of this."""
        topic, topics = self.model.topic, self.settings.topics
        if topic is None and not self.model.transactional:
            # Marketing needs something that people can say no to (GDPR, article 21).
            sentence = "`topic` is missing: every campaign that is not transactional"
            self.document.problem(
                (),
                f"{sentence} has one",
                nearest("", topics, what="topics"),
            )
        elif topic is not None and topic not in topics:
            self.document.unknown(
                ("topic",),
                "topic",
                topic,
                topics,
                "declare it in _settings.yaml",
            )
        return topic

    def _for_each(self) -> str | None:
        """The kind of record that each run is about; None for the contact alone."""
        kind, kinds = self.model.for_each, self.settings.kinds
        if kind is not None and kind not in kinds:
            remedy = "declare its fields under `data:` in _settings.yaml"
            self.document.problem(
                ("for_each",),
                f"there is no kind of record `{kind}`",
                nearest(kind, kinds, what="kinds") or remedy,
            )
        return kind

    def _timezone(self) -> str | None:
        """The zone for everybody; None for the recipient's own."""
        name = self.model.timezone
        if name is None or name == "recipient":
            return None
        return self.document.attempt(("timezone",), lambda: parse_zone(name))

    # --- caps, and what is late

    def _caps(self) -> tuple[Cap, ...]:
        """The campaign's own caps, on top of the settings'."""
        text = self.model.frequency_caps
        if text is None or text == "ignore":
            return ()
        caps = caps_at(self.document, ("frequency_caps",), text, "campaign", self.key)
        return tuple(caps)

    def _when_capped(self) -> timedelta | None:
        """How long a message waits under a full cap; None: not at all."""
        if "when_capped" not in self.model.model_fields_set:
            return self.settings.wait_when_capped
        wait, grace = self.model.when_capped, self.model.grace
        if wait is not None and grace is not None and wait > grace:
            self.document.problem(
                ("when_capped",),
                "it may wait longer under a cap than it makes sense",
                "shorten it, or lengthen `grace`",
                key=True,
                level="warning",
                code="wait-beyond-grace",
            )
        return wait

    def _reserve(self, trigger: Trigger) -> timedelta | None:
        """How long ahead a slot is kept free."""
        reserve = self.model.reserve
        if reserve is None:
            return None
        if not isinstance(trigger, DateTrigger):
            sentence = "only what is due on a date is known ahead"
            self.document.problem(
                ("reserve",),
                f"{sentence}, so only a `date:` trigger can reserve",
                "leave it out, or raise `priority`",
                key=True,
            )
        if self.model.transactional:
            sentence = "a transactional campaign is outside of the caps"
            self.document.problem(
                ("reserve",),
                f"{sentence}, so there is no slot to keep",
                "leave it out",
                key=True,
            )
        return reserve

    def _when_late(self, window: SendWindow | None) -> WhenLate:
        """What becomes of messages that nobody looked at in time."""
        has_window = window is not None and not self.model.transactional
        if self.model.when_late == "next window" and not has_window:
            self.document.problem(
                ("when_late",),
                "there is no send window, so there is no next one",
                "add `send_window: 9:00-19:00`",
                key=True,
            )
        return self.model.when_late

    # --- who, and until when

    def _trigger(self) -> Trigger:
        """What starts a run; a stand-in where that is broken."""
        model = self.model
        if model.trigger is None:
            return NO_TRIGGER
        reader = TriggerReader(
            key=self.key,
            document=self.document,
            settings=self.settings,
            record=model.for_each,
            model=model.trigger,
        )
        return reader.read() or NO_TRIGGER

    def _run_scope(self, trigger: Trigger) -> Scope:
        """What conditions may speak of once a run has begun."""
        awaited_events = awaited(self.model.steps)
        return self._scope(_events_of(trigger), awaited_events, in_run=True)

    def _audience(self, trigger: Trigger) -> Condition | None:
        """Who may enter. Nothing that a run waits for has happened by then."""
        scope = self._scope(_events_of(trigger), [], in_run=False)
        return self._condition(("audience",), self.model.audience, scope)

    def _scope(
        self,
        started_by: list[str],
        awaited_events: list[str],
        *,
        in_run: bool,
    ) -> Scope:
        """`started_by` is the trigger's event, which `event.…` means as well."""
        names = [*started_by, *awaited_events]
        prefixes = {name.partition(".")[0] for name in names}
        if started_by:
            prefixes.add("event")
        return Scope(
            names=names_of(self.settings),
            record=self.model.for_each,
            events=frozenset(prefixes),
            campaign=self.key,
            in_run=in_run,
        )

    def _condition(
        self,
        route: Route,
        data: Any,
        scope: Scope,
    ) -> Condition | None:
        return None if data is None else condition(self.document, route, data, scope)

    def _goal(self, model: GoalModel | None) -> Goal | None:
        """What success is. Its conditions are about its own event."""
        if model is None:
            return None
        scope = self._scope([model.event], [], in_run=True)
        return Goal(
            event=model.event,
            where=self._condition(("goal", "where"), model.where, scope),
            within=model.within,
            place=self.document.place(("goal",), key=True),
        )

    def _exits(self, scope: Scope) -> _Exits:
        """What ends a run before its last step."""
        exits = _Exits()
        for route, item in items_at(("exit_when",), self.model.exit_when):
            place = self.document.place(route)
            if isinstance(item, dict):
                found = condition(self.document, route, item, scope)
                exits.conditions += [found] if found else []
            elif item == "goal":
                exits.at_goal = place
                self._check_goal(route)
            elif isinstance(item, str) and phrases.EVENT_NAME.fullmatch(item):
                exits.events[item] = place
            else:
                sentence = f"`{item}` is neither an event like `booking.created`"
                self.document.problem(
                    route,
                    f"{sentence} nor a condition",
                    nearest(str(item), ["goal"]),
                )
        return exits

    def _check_goal(self, route: Route) -> None:
        """That there is a goal to end at."""
        if self.model.goal is None:
            self.document.problem(
                route,
                "this campaign has no goal",
                "add `goal: { event: order.placed }`",
            )


def _events_of(trigger: Trigger) -> list[str]:
    """The event that starts a run, if one does."""
    if isinstance(trigger, EventTrigger) and trigger.event:
        return [trigger.event]
    return []


def usual_grace(trigger: Trigger) -> timedelta:
    """How late a message may be where nothing is said, by what started its run."""
    match trigger:
        case DateTrigger(yearly=True):
            return BIRTHDAY_GRACE
        case DateTrigger() | SegmentTrigger():
            return DATE_GRACE
        case ScheduleTrigger():
            return SCHEDULE_GRACE
        case _:
            return EVENT_GRACE
