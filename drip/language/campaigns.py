"""One campaign file to a frozen `Campaign`, with everything it refers to checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

from drip.core.calendar import Duration
from drip.core.campaign import (
    CHANNELS,
    Campaign,
    DateField,
    DateTrigger,
    End,
    EventTrigger,
    ScheduleTrigger,
    Send,
    Settings,
    Step,
    Trigger,
    Wait,
)
from drip.core.caps import Cap
from drip.core.conditions import Condition
from drip.core.fields import parse_zone
from drip.core.message import Mailbox
from drip.errors import nearest
from drip.language import phrases
from drip.language.conditions import Scope, condition
from drip.language.models import CampaignModel, EndModel, SendModel, TriggerModel, WaitModel, read_model
from drip.language.phrases import NotBuilt
from drip.language.reader import Data, Document, Route
from drip.language.settings import caps_at

GRACE = {
    "birthday": timedelta(days=2),
    "schedule": timedelta(hours=4),
    "event": timedelta(days=1),
    "date": timedelta(days=7),
}
VERBS = ("send", "wait", "end")
VERBS_NOT_YET = (
    "wait_for", "if", "branch", "split", "task", "coupon", "points", "subscribe", "unsubscribe", "tag", "untag",
    "set", "pause",
)  # fmt: skip
EVENT_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
# Nine in the morning, for a date without a clock time where no send window is set.
DEFAULT_OPENS = 9 * 60
# Stands in for a broken trigger while the rest of the file is looked at.
NO_TRIGGER = EventTrigger("", None)


def build_campaign(key: str, document: Document, settings: Settings) -> Campaign | None:
    """The campaign; None where there is a problem, which is then in `document`."""
    if not isinstance(document.data, dict):
        document.problem((), "this file holds no campaign", "begin with `name:`")
        return None
    model = read_model(CampaignModel, document, document.data)
    if model is None:
        return None
    campaign = _Builder(key, document, settings, model).build()
    return None if document.broken else campaign


def _step_model(document: Document, route: Route, data: Data) -> SendModel | WaitModel | EndModel | None:
    if data == "end":
        return EndModel()
    if not isinstance(data, dict):
        document.problem(route, f"`{data}` is not a step", f"a step is a verb and its value: {', '.join(VERBS)}")
        return None
    verb = next((each for each in (*VERBS, *VERBS_NOT_YET) if each in data), None)
    if verb in VERBS_NOT_YET:
        document.problem((*route, verb), f"the step `{verb}` is not built yet", "leave it out for now", key=True)
        return None
    if verb is None:
        first = next(iter(data), "")
        help = nearest(first, (*VERBS, *VERBS_NOT_YET)) or f"a step begins with {', '.join(VERBS)}"
        document.problem((*route, first), f"there is no step `{first}`", help, key=True)
        return None
    models: dict[str, type[SendModel | WaitModel | EndModel]] = {
        "send": SendModel,
        "wait": WaitModel,
        "end": EndModel,
    }
    return read_model(models[verb], document, data, route)


@dataclass
class _Builder:
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
        scope = self._scope(trigger)
        window = model.send_window or self.settings.send_window
        exits, conditions = self._exits(scope)
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
            audience=self._condition(("audience",), model.audience, scope),
            exit_events=exits,
            exit_conditions=tuple(conditions),
            re_entry=model.re_entry,
            timezone=self._timezone(),
            caps=caps,
            obeys_caps=obeys,
            counted=model.counted,
            wait_when_capped=self._when_capped(),
            on_unknown=model.on_unknown or ("resend" if model.transactional else "hold"),
            opens=window.opens if window else DEFAULT_OPENS,
            steps=(),
        )
        return self._with_steps(campaign)

    def _required(self) -> None:
        assert isinstance(self.document.data, dict)
        for name, example in (("name", "Birthday card"), ("trigger", "…"), ("steps", "…")):
            if name not in self.document.data:
                self.document.problem((), f"`{name}` is missing here", f"add a line `{name}: {example}`")

    def _when_capped(self) -> timedelta | None:
        own = "when_capped" in self.model.model_fields_set
        return self.model.when_capped if own else self.settings.wait_when_capped

    def _topic(self) -> str | None:
        topic = self.model.topic
        if topic is None and not self.model.transactional:
            help = nearest("", self.settings.topics, what="topics")
            self.document.problem((), "`topic` is missing: every campaign that is not transactional has one", help)
        elif topic is not None and topic not in self.settings.topics:
            help = nearest(topic, self.settings.topics, what="topics") or "declare it in _settings.yaml"
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
                nearest(kind, self.settings.kinds, what="kinds") or "declare its fields under `data:` in _settings.yaml"
            )
            self.document.problem(("for_each",), f"there is no kind of record `{kind}`", help)
        return kind

    def _trigger(self, model: TriggerModel) -> Trigger | None:
        given = [name for name in ("date", "schedule", "event") if getattr(model, name) is not None]
        if len(given) != 1:
            sentence = "a trigger has exactly one of `date`, `schedule` and `event`"
            self.document.problem(("trigger",), sentence, key=True)
            return None
        for name, belongs in (("repeat", "date"), ("feb_29", "date"), ("where", "event")):
            if name in model.model_fields_set and given[0] != belongs:
                self.document.problem(("trigger", name), f"`{name}` goes with a {belongs} trigger", key=True)
        if model.schedule is not None:
            return ScheduleTrigger(model.schedule)
        if model.event is not None:
            return self._event(model, model.event)
        assert model.date is not None
        return self._date(model, model.date)

    def _event(self, model: TriggerModel, name: str) -> Trigger | None:
        if not EVENT_NAME.fullmatch(name):
            self.document.problem(("trigger", "event"), f"`{name}` is not an event's name like `order.placed`")
            return None
        scope = Scope(self.settings.fields, frozenset(self.settings.derived), frozenset(self.settings.topics),
                      self.model.for_each, name.partition(".")[0])  # fmt: skip
        return EventTrigger(name, self._condition(("trigger", "where"), model.where, scope))

    def _date(self, model: TriggerModel, phrase: phrases.DatePhrase) -> Trigger | None:
        known = self.settings.date_field(phrase.field)
        if known is None:
            fields = self.settings.fields
            names = [f"{kind}.{name}" for kind in fields for name, field in fields[kind].items() if field.is_date]
            help = nearest(phrase.field, [*names, *self.settings.derived], what="dates")
            self.document.problem(("trigger", "date"), f"there is no date `{phrase.field}`", help)
            return None
        owner = phrase.field.partition(".")[0]
        if owner not in ("contact", self.model.for_each):
            self.document.problem(("trigger", "date"), f"`{phrase.field}` is a date of a {owner}",
                                  f"add `for_each: {owner}`: one run for each {owner}")  # fmt: skip
            return None
        if owner == "contact" and self.model.for_each:
            sentence = f"`{phrase.field}` is a date of the contact, not of a {self.model.for_each}"
            self.document.problem(("trigger", "date"), sentence, "leave out `for_each`")
            return None
        steps = known.steps if phrase.offset == Duration() else (*known.steps, phrase.offset)
        birthday = self.settings.fields[owner].get(known.field.partition(".")[2])
        yearly = model.repeat == "yearly" or (birthday is not None and birthday.kind == "birthday")
        if yearly and steps:
            self.document.problem(("trigger", "date"), "a yearly date moved by a length of time is not built yet",
                                  "use `at:` on the steps")  # fmt: skip
        return DateTrigger(DateField(known.field, steps), yearly, model.feb_29)

    def _scope(self, trigger: Trigger) -> Scope:
        event = trigger.event.partition(".")[0] if isinstance(trigger, EventTrigger) else None
        settings = self.settings
        return Scope(
            settings.fields, frozenset(settings.derived), frozenset(settings.topics), self.model.for_each, event
        )

    def _condition(self, route: Route, data: Any, scope: Scope) -> Condition | None:
        return None if data is None else condition(self.document, route, data, scope)

    def _exits(self, scope: Scope) -> tuple[dict[str, Any], list[Condition]]:
        events: dict[str, Any] = {}
        conditions: list[Condition] = []
        data = self.model.exit_when
        items = data if isinstance(data, list) else [] if data is None else [data]
        for n, item in enumerate(items):
            route: Route = ("exit_when", n) if isinstance(data, list) else ("exit_when",)
            if isinstance(item, dict):
                read = condition(self.document, route, item, scope)
                conditions += [read] if read else []
            elif item == "goal":
                self.document.problem(route, "`goal` is not built yet", "leave it out for now")
            elif isinstance(item, str) and EVENT_NAME.fullmatch(item):
                events[item] = self.document.place(route)
            else:
                self.document.problem(route, f"`{item}` is neither an event like `booking.created` nor a condition")
        return events, conditions

    def _caps(self) -> tuple[tuple[Cap, ...], bool]:
        text = self.model.frequency_caps
        if text is None or text == "ignore":
            return (), text is None
        return tuple(caps_at(self.document, ("frequency_caps",), text, "campaign", self.key)), True

    def _with_steps(self, campaign: Campaign) -> Campaign:
        if not self.model.steps and ("steps",) in self.document.values:
            self.document.problem(("steps",), "there are no steps", "add at least one, as `- send: NAME`", key=True)
        steps: list[Step] = []
        for n, data in enumerate(self.model.steps):
            model = _step_model(self.document, ("steps", n), data)
            if model is None:
                continue
            step = self._step(n, model, campaign)
            if step is None:
                continue
            if steps and isinstance(steps[-1], End):
                self.document.problem(("steps", n), "nothing after `end` is ever reached")
            if any(step.id == other.id for other in steps) and not isinstance(step, End):
                step = self._renamed(n, step, steps, given=model.id is not None)
            steps.append(step)
        return replace(campaign, steps=tuple(steps))

    def _renamed(self, n: int, step: Step, steps: list[Step], *, given: bool) -> Step:
        if given or isinstance(step, Send):
            self.document.problem(
                ("steps", n), f"two steps have the id `{step.id}`", "give one of them an `id:` of its own"
            )
        # Waits of one length are told apart by their number.
        number = 1 + sum(1 for other in steps if other.id.split(" #")[0] == step.id)
        return replace(step, id=f"{step.id} #{number}")

    def _step(self, n: int, model: SendModel | WaitModel | EndModel, campaign: Campaign) -> Step | None:
        place = self.document.place(("steps", n))
        if isinstance(model, WaitModel):
            return self._wait(n, model)
        if isinstance(model, EndModel):
            return End(model.id or "end", place)
        return self._send(n, model, campaign)

    def _wait(self, n: int, model: WaitModel) -> Wait | None:
        route: Route = ("steps", n, "wait")
        if model.wait.startswith("until "):
            self.document.problem(route, "`wait: until` is not built yet", "use a length of time, as `wait: 3 days`")
            return None
        long = self._try(route, lambda: phrases.duration(model.wait))
        return Wait(model.id or f"wait {model.wait}", self.document.place(("steps", n)), long) if long else None

    def _send(self, n: int, model: SendModel, campaign: Campaign) -> Send:
        route: Route = ("steps", n)
        transactional = self.model.transactional if model.transactional is None else model.transactional
        own_window = model.send_window or self.model.send_window
        window_route: Route = (*route, "send_window") if model.send_window else ("send_window",)
        place = self.document.place(window_route, key=True) if own_window else self.settings.send_window_place
        window = own_window or self.settings.send_window
        return Send(
            id=model.id or f"send {model.send}",
            place=self.document.place(route),
            template=model.send,
            channels=self._channels(route, model.channel),
            sender=self._sender(route, model.sender),
            subject=model.subject,
            preheader=model.preheader,
            reply_to=model.reply_to,
            at=self._at(route, model, campaign),
            content=model.content,
            priority=self.model.priority if model.priority is None else model.priority,
            grace=None if transactional else model.grace or self.model.grace or _grace(campaign),
            window=None if transactional else window,
            window_place=place,
            opens=window.opens if window else DEFAULT_OPENS,
            transactional=transactional,
        )

    def _channels(self, route: Route, data: Any) -> tuple[str, ...]:
        if data is None:
            return ("email",)
        if isinstance(data, list):
            self.document.problem((*route, "channel"), "a list of channels is not built yet", "name one: email")
        elif data not in CHANNELS:
            later = data in ("sms", "push", "letter", "webhook")
            sentence = f"the channel `{data}` is not built yet" if later else f"there is no channel `{data}`"
            self.document.problem((*route, "channel"), sentence, f"channels: {', '.join(CHANNELS)}")
        return ("email",)

    def _sender(self, route: Route, own: str | None) -> Mailbox | None:
        name = own or self.model.sender or "default"
        if name in self.settings.senders:
            return self.settings.senders[name] if own or self.model.sender else None
        where: Route = (*route, "from") if own else ("from",)
        help = nearest(name, self.settings.senders, what="senders") or "declare it under `senders:` in _settings.yaml"
        self.document.problem(where, f"there is no sender `{name}`", help)
        return None

    def _at(self, route: Route, model: SendModel, campaign: Campaign) -> Duration | None:
        if model.at is None:
            return None
        here: Route = (*route, "at")
        if campaign.trigger is NO_TRIGGER:
            return None
        if not isinstance(campaign.trigger, DateTrigger):
            self.document.problem(here, "`at:` hangs on a date, and this campaign has no date trigger", key=True)
            return None
        trigger = self.model.trigger and self.model.trigger.date
        assert trigger
        if model.at.field != trigger.field or trigger.offset != Duration():
            if self.settings.date_field(model.at.field) is None:
                names = [trigger.field, *self.settings.derived]
                self.document.problem(here, f"there is no date `{model.at.field}`", nearest(model.at.field, names))
            else:
                sentence = f"`at:` on another date than the trigger's ({trigger.field}) is not built yet"
                self.document.problem(here, sentence, f"use {trigger.field}")
        return model.at.offset

    def _try(self, route: Route, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except NotBuilt as missing:
            self.document.problem(route, f"{missing} is not built yet", "leave it out for now")
        except ValueError as wrong:
            self.document.problem(route, str(wrong))
        return None


def _grace(campaign: Campaign) -> timedelta:
    match campaign.trigger:
        case DateTrigger(yearly=True):
            return GRACE["birthday"]
        case DateTrigger():
            return GRACE["date"]
        case ScheduleTrigger():
            return GRACE["schedule"]
        case _:
            return GRACE["event"]
