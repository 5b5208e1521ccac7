"""`steps:` of a campaign to its flat program: arms are laid out one after the other, and every step knows what follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from drip.core.conditions import Condition
from drip.core.message import Mailbox
from drip.core.steps import (
    Branch,
    End,
    SendStep,
    Split,
    Step,
    Until,
    Wait,
    WaitFor,
    WaitUntil,
)
from drip.errors import nearest
from drip.language import campaign_models as models
from drip.language import phrases
from drip.language.actions import action, task
from drip.language.models import read_model
from drip.language.phrases import DatePhrase
from drip.language.reader import Data, Route
from drip.language.step_context import StepContext, short

Result = TypeVar("Result")
VERBS = tuple(models.STEPS)
# Of a campaign, arms counted too: what a run walks through at once takes a moment for each.
MOST_STEPS = 500


class Label:
    """A place in the program that is not laid out yet, or stands for another one."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.same_as: Label | None = None

    def resolved(self) -> int:
        here = self
        while here.same_as is not None:
            here = here.same_as
        assert here.position is not None
        return here.position


# What makes a step once all labels have their positions.
Maker = Callable[[], Step]


@dataclass
class StepReader:
    """Reads one campaign's steps; every problem is then in the document."""

    context: StepContext
    _makers: list[Maker] = field(default_factory=list)
    _ids: dict[str, Route] = field(default_factory=dict)

    def read(self) -> tuple[Step, ...]:
        """The program."""
        end = Label()
        self._end = end
        self._block(("steps",), self.context.model.steps, end)
        end.position = len(self._makers)
        return tuple(make() for make in self._makers)

    def _block(self, route: Route, items: Any, after: Label) -> Label:
        """Lays out a list of steps; returns where it begins."""
        if len(self._makers) + len(items) > MOST_STEPS:
            self._problem(
                route,
                f"there are more than {MOST_STEPS} steps",
                "make several campaigns of it",
            )
            return after
        labels = [Label() for _ in items] + [after]
        ended = False
        for n, data in enumerate(items):
            here: Route = (*route, n)
            if ended:
                self._problem(
                    here,
                    "nothing after `end` is ever reached",
                    "leave it out, or put it before `end`",
                )
            ended = self._lay_out(here, data, labels[n], labels[n + 1])
        return labels[0]

    def _lay_out(self, route: Route, data: Data, here: Label, after: Label) -> bool:
        """Lays out one step; whether the run ends there."""
        model = self._model(route, data)
        only_if = (
            self.context.condition((*route, "only_if"), model.only_if)
            if model
            else None
        )
        position = len(self._makers)
        maker = self._step(route, model, after) if model else None
        if model is None or maker is None:
            here.same_as = after
            del self._makers[position:]
            return False
        here.position = position
        step_id = self._id(route, model)
        place = self.context.document.place(route)
        self._makers[position] = lambda: replace(
            maker(), id=step_id, place=place, only_if=only_if, next=after.resolved()
        )
        return isinstance(model, models.EndModel) and only_if is None

    def _model(self, route: Route, data: Data) -> models.StepModel | None:
        if data == "end":
            return models.EndModel()
        if not isinstance(data, dict):
            self._problem(
                route,
                f"`{short(data)}` is not a step",
                f"a step is a verb and its value: {', '.join(VERBS)}",
            )
            return None
        verb = next((each for each in VERBS if each in data), None)
        if verb is None:
            first = next(iter(data), "")
            help = nearest(first, VERBS) or f"a step begins with {', '.join(VERBS)}"
            self._problem(
                (*route, first), f"there is no step `{first}`", help, key=True
            )
            return None
        if verb == "end" and not data["end"]:
            data = {name: value for name, value in data.items() if name != "end"}
        return read_model(models.STEPS[verb], self.context.document, data, route)

    def _id(self, route: Route, model: models.StepModel) -> str:
        """The given id, or verb and value; waits of one length and the like are told apart by their number."""
        wanted = model.id or _default_id(model)
        number, found = 1, wanted
        while found in self._ids:
            number += 1
            found = f"{wanted} #{number}"
        if number > 1 and (model.id or isinstance(model, models.SendModel)):
            line = self.context.document.place(self._ids[wanted]).line
            self._problem(
                route,
                f"two steps have the id `{wanted}`: the other one is in line {line}",
                "give one of them an `id:` of its own",
            )
        self._ids[found] = route
        return found

    def _step(
        self, route: Route, model: models.StepModel, after: Label
    ) -> Maker | None:
        """What makes the step. Its own place in the program is taken before its arms'."""
        position = len(self._makers)
        self._makers.append(
            lambda: End(id="", place=self.context.document.place(route))
        )
        made: Maker | Step | None
        match model:
            case models.SendModel():
                made = self._send(route, model)
            case models.WaitModel():
                made = self._wait(route, model)
            case models.WaitForModel():
                made = self._wait_for(route, model, after)
            case models.IfModel():
                made = self._if(route, model, after)
            case models.BranchModel():
                made = self._branch(route, model, after)
            case models.SplitModel():
                made = self._split(route, model, after)
            case models.TaskModel():
                made = task(self.context, route, model)
            case _:
                made = action(self.context, route, model)
        assert len(self._makers) > position
        if isinstance(made, Step):
            step = made
            return lambda: step
        return made

    # --- messages and waiting

    def _send(self, route: Route, model: models.SendModel) -> Step:
        context, campaign = self.context, self.context.model
        document, settings = context.document, context.settings
        transactional = (
            campaign.transactional
            if model.transactional is None
            else model.transactional
        )
        own_window = model.send_window or campaign.send_window
        window_route: Route = (
            (*route, "send_window") if model.send_window else ("send_window",)
        )
        window = own_window or settings.send_window
        if campaign.topic is None and not transactional and campaign.transactional:
            self._problem(
                route, "this step is not transactional, so the campaign needs a `topic`"
            )
        opens = window.hours.opens if window else context.opens
        return SendStep(
            id="",
            place=document.place(route),
            template=model.send,
            channels=self.context.channels((*route, "channel"), model.channel)
            or ("email",),
            sender=self._sender(route, model.sender),
            subject=model.subject,
            preheader=model.preheader,
            reply_to=model.reply_to,
            at=self.context.point((*route, "at"), model.at, opens),
            content=model.content,
            attach=self.context.words(
                (*route, "attach"), model.attach, "a file of templates/"
            ),
            survey=self._survey(route, model.survey),
            priority=campaign.priority if model.priority is None else model.priority,
            grace=None
            if transactional
            else model.grace or campaign.grace or context.grace,
            window=None if transactional else window,
            window_place=document.place(window_route, key=True)
            if own_window
            else settings.send_window_place,
            opens=opens,
            transactional=transactional,
        )

    def _sender(self, route: Route, own: str | None) -> Mailbox | None:
        senders = self.context.settings.senders
        name = own or self.context.model.sender or "default"
        if name in senders:
            return senders[name] if own or self.context.model.sender else None
        where: Route = (*route, "from") if own else ("from",)
        help = (
            nearest(name, senders, what="senders")
            or "declare it under `senders:` in _settings.yaml"
        )
        self._problem(where, f"there is no sender `{name}`", help)
        return None

    def _survey(self, route: Route, name: str | None) -> str | None:
        surveys = self.context.settings.surveys
        if name is not None and surveys and name not in surveys:
            self._problem(
                (*route, "survey"),
                f"there is no survey `{name}`",
                nearest(name, surveys, what="surveys"),
            )
        return name

    def _wait(self, route: Route, model: models.WaitModel) -> Step | None:
        here: Route = (*route, "wait")
        place = self.context.document.place(route)
        if not model.wait.startswith("until "):
            long = self.context.attempt(here, lambda: phrases.duration(model.wait))
            return Wait(id="", place=place, duration=long) if long is not None else None
        until = self.context.attempt(
            here, lambda: phrases.until(model.wait.removeprefix("until "))
        )
        moment: Until | None = (
            self.context.point(here, until, self.context.opens)
            if isinstance(until, DatePhrase)
            else until
        )
        return WaitUntil(id="", place=place, until=moment) if moment else None

    def _wait_for(
        self, route: Route, model: models.WaitForModel, after: Label
    ) -> Maker:
        where = self.context.condition((*route, "where"), model.where)
        place = self.context.document.place(route)
        otherwise = after
        if model.otherwise is not None:
            if model.up_to is None:
                self._problem(
                    (*route, "else"),
                    "`else:` comes after `up_to:`, which is missing",
                    "add `up_to: 7 days`",
                )
            otherwise = self._end_or_block((*route, "else"), model.otherwise, after)
        return lambda: WaitFor(
            id="",
            place=place,
            event=model.wait_for,
            where=where,
            up_to=model.up_to,
            otherwise=otherwise.resolved(),
        )

    def _end_or_block(self, route: Route, data: Any, after: Label) -> Label:
        if data == "end":
            return self._end
        if not isinstance(data, list):
            self._problem(
                route, "`else:` takes `end` or a list of steps, each after a dash"
            )
            return after
        return self._block(route, data, after)

    # --- ways

    def _if(self, route: Route, model: models.IfModel, after: Label) -> Maker | None:
        read = self.context.condition((*route, "if"), model.condition)
        if not model.then and not model.otherwise:
            self._problem(
                route,
                "this `if:` has neither `then:` nor `else:`",
                "add `then:` with a list of steps",
            )
        place = self.context.document.place(route)
        then = self._block((*route, "then"), model.then, after)
        otherwise = self._block((*route, "else"), model.otherwise, after)
        if read is None:
            return None
        return lambda: Branch(
            id="",
            place=place,
            arms=((read, then.resolved()),),
            otherwise=otherwise.resolved(),
        )

    def _branch(
        self, route: Route, model: models.BranchModel, after: Label
    ) -> Maker | None:
        document, place = self.context.document, self.context.document.place(route)
        arms: list[tuple[Condition, Label]] = []
        otherwise: Label | None = None
        broken = not model.branch
        if broken:
            self._problem(
                (*route, "branch"), "there are no ways here", "add `- if:` with `then:`"
            )
        for n, data in enumerate(model.branch):
            here: Route = (*route, "branch", n)
            arm = read_model(models.ArmModel, document, data, here)
            if otherwise is not None:
                self._problem(
                    here, "nothing after `else:` is ever looked at", "put `else:` last"
                )
            if arm is None:
                broken = True
            elif "otherwise" in arm.model_fields_set and arm.condition is None:
                otherwise = self._block((*here, "else"), arm.otherwise, after)
            elif arm.condition is None or "otherwise" in arm.model_fields_set:
                self._problem(
                    here, "each way of a `branch:` has `if:` with `then:`, or `else:`"
                )
                broken = True
            else:
                read = self.context.condition((*here, "if"), arm.condition)
                label = self._block((*here, "then"), arm.then, after)
                arms += [(read, label)] if read else []
                broken = broken or read is None
        last = otherwise or after
        if broken:
            return None
        return lambda: Branch(
            id="",
            place=place,
            arms=tuple((c, label.resolved()) for c, label in arms),
            otherwise=last.resolved(),
        )

    def _split(
        self, route: Route, model: models.SplitModel, after: Label
    ) -> Maker | None:
        document, place = self.context.document, self.context.document.place(route)
        arms: list[tuple[float, Label]] = []
        for n, data in enumerate(model.split):
            here: Route = (*route, "split", n)
            arm = read_model(models.ShareModel, document, data, here)
            if arm:
                arms.append((arm.share, self._block((*here, "then"), arm.then, after)))
        total = sum(share for share, _ in arms)
        if abs(total - 1) > 1e-6 and len(arms) == len(model.split):
            sentence = f"the shares add up to {total * 100:g}%, not to 100%"
            self._problem(
                (*route, "split"),
                sentence,
                "make them 50% and 50%, or 80% and 20%",
                key=True,
            )
        winner = None
        if model.winner is not None:
            winner = self.context.attempt(
                (*route, "winner"), lambda: phrases.winner(str(model.winner))
            )
            if self.context.model.goal is None:
                self._problem(
                    (*route, "winner"),
                    "a winner needs a `goal:` of the campaign",
                    "add `goal:`",
                    key=True,
                )
        if not arms:
            return None
        return lambda: Split(
            id="",
            place=place,
            arms=tuple((s, label.resolved()) for s, label in arms),
            winner_after=winner,
        )

    # --- shared

    def _problem(
        self, route: Route, sentence: str, help: str | None = None, *, key: bool = False
    ) -> None:
        self.context.document.problem(route, sentence, help, key=key)


def _default_id(model: models.StepModel) -> str:
    """Verb and value."""
    match model:
        case models.SendModel(send=name):
            return f"send {name}"
        case models.WaitModel(wait=text):
            return f"wait {text}"
        case models.WaitForModel(wait_for=event):
            return f"wait_for {event}"
        case models.TaskModel(task=title, assign_to=who):
            return f"task {who or title}"
        case models.IssueCouponModel(coupon=name):
            return f"coupon {name}"
        case models.PointsModel(points=text):
            return f"points {text}"
        case models.SubscribeModel(subscribe=topic):
            return f"subscribe {topic}"
        case models.UnsubscribeModel(unsubscribe=topic):
            return f"unsubscribe {topic}"
    verb = next(name for name, kind in models.STEPS.items() if isinstance(model, kind))
    value = getattr(model, verb, None) if verb in ("tag", "untag") else None
    return f"{verb} {value}" if isinstance(value, str) else verb


def awaited(items: Any) -> list[str]:
    """Every event that steps wait for, wherever they stand; for what later conditions may speak of."""
    found: list[str] = []
    if isinstance(items, dict):
        event = items.get("wait_for")
        found += [event] if isinstance(event, str) else []
        for value in items.values():
            found += awaited(value)
    elif isinstance(items, list):
        for value in items:
            found += awaited(value)
    return found
