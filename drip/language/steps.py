"""`steps:` of a campaign to its flat program.

Arms are laid out one after the other, and every step knows what follows. What each verb
becomes is read in `STEP_READERS` and `actions.ACTIONS`; its keys are in
`campaign_models`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from drip.core.calendar import Duration
from drip.core.conditions import Condition
from drip.core.steps import Branch, End, Split, Step, Until, Wait, WaitFor, WaitUntil
from drip.errors import nearest
from drip.language import campaign_models as models
from drip.language import phrases
from drip.language.actions import action, task
from drip.language.models import read_model
from drip.language.phrases import DatePhrase
from drip.language.reader import Data, Document, Route, items_at
from drip.language.sending import send
from drip.language.step_context import StepContext, short

VERBS = tuple(models.STEPS)
# Of a campaign, arms counted too: what a run walks through at once takes a moment for
# each.
MOST_STEPS = 500
# Shares are written with a few decimals, and a third of 100% is none of them.
SHARES_MAY_DIFFER = 1e-6


class Label:
    """A place in the program that is not laid out yet, or stands for another one."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.same_as: Label | None = None

    def resolved(self) -> int:
        """Its position, once everything is laid out."""
        here = self
        while here.same_as is not None:
            here = here.same_as
        assert here.position is not None
        return here.position


@dataclass
class _Ways:
    """The ways of a branch that are read so far; `otherwise` is the one that is
    left."""

    arms: list[tuple[Condition, Label]] = field(default_factory=list)
    otherwise: Label | None = None
    broken: bool = False


# What makes a step once all labels have their positions.
Maker = Callable[[], Step]


@dataclass
class StepReader:
    """Reads one campaign's steps; every problem is then in the document."""

    context: StepContext
    _makers: list[Maker] = field(default_factory=list)
    _ids: dict[str, Route] = field(default_factory=dict)
    _end: Label = field(default_factory=Label)

    def read(self) -> tuple[Step, ...]:
        """The program."""
        self._block(("steps",), self.context.model.steps, self._end)
        self._end.position = len(self._makers)
        return tuple(make() for make in self._makers)

    @property
    def _document(self) -> Document:
        """The file."""
        return self.context.document

    # --- laying out

    def _block(
        self,
        route: Route,
        items: list[Any],
        after: Label,
    ) -> Label:
        """Lays out a list of steps; returns where it begins."""
        if len(self._makers) + len(items) > MOST_STEPS:
            self.context.problem(
                route,
                f"there are more than {MOST_STEPS} steps",
                "make several campaigns of it",
            )
            return after
        labels = [Label() for _ in items] + [after]
        ended = False
        for number, (step_route, data) in enumerate(items_at(route, items)):
            if ended:
                self.context.problem(
                    step_route,
                    "nothing after `end` is ever reached",
                    "leave it out, or put it before `end`",
                )
            here, following = labels[number], labels[number + 1]
            ended = self._lay_out(step_route, data, here, following)
        return labels[0]

    def _lay_out(
        self,
        route: Route,
        data: Data,
        here: Label,
        after: Label,
    ) -> bool:
        """Lays out one step; whether the run ends there."""
        model = read_step(self._document, route, data)
        if model is None:
            here.same_as = after
            return False
        only_if = self.context.condition((*route, "only_if"), model.only_if)
        # Its own place in the program is taken before its arms'.
        position = len(self._makers)
        place = self.context.place(route)
        self._makers.append(lambda: End(id="", place=place))
        make = self._maker(route, model, after)
        if make is None:
            # Its arms go with it: nothing leads to them.
            del self._makers[position:]
            here.same_as = after
            return False
        here.position = position
        step_id = self._id(route, model)
        self._makers[position] = lambda: replace(
            make(),
            id=step_id,
            place=place,
            only_if=only_if,
            next=after.resolved(),
        )
        return isinstance(model, models.EndModel) and only_if is None

    def _maker(
        self,
        route: Route,
        model: models.StepModel,
        after: Label,
    ) -> Maker | None:
        """What makes the step; None where it cannot be, which is a problem then."""
        if type(model) in ARM_READERS:
            return ARM_READERS[type(model)](self, route, model, after)
        read = STEP_READERS.get(type(model), action)
        step = read(self.context, route, model)
        return (lambda: step) if step is not None else None

    def _id(self, route: Route, model: models.StepModel) -> str:
        """The given id, or verb and value.

        Waits of one length and the like are told apart by their number.
        """
        wanted = model.id or default_id(model)
        # `wait 3 days #2`: waits have no name of their own, and need none.
        number, found = 1, wanted
        while found in self._ids:
            number += 1
            found = f"{wanted} #{number}"
        # Runs are kept by the ids of their steps. A number changes when a step is put
        # before it, so two messages may not differ by theirs alone.
        if number > 1 and (model.id or isinstance(model, models.SendModel)):
            line = self._document.place(self._ids[wanted]).line
            self.context.problem(
                route,
                f"two steps have the id `{wanted}`: the other one is in line {line}",
                "give one of them an `id:` of its own",
            )
        self._ids[found] = route
        return found

    # --- waiting for an event

    def wait_for(
        self,
        route: Route,
        model: models.WaitForModel,
        after: Label,
    ) -> Maker:
        """An event, at most so long; then `else:`."""
        where = self.context.condition((*route, "where"), model.where)
        place = self.context.place(route)
        otherwise = self._otherwise(route, model, after)
        return lambda: WaitFor(
            id="",
            place=place,
            event=model.wait_for,
            where=where,
            up_to=model.up_to,
            otherwise=otherwise.resolved(),
        )

    def _otherwise(
        self,
        route: Route,
        model: models.WaitForModel,
        after: Label,
    ) -> Label:
        """What comes when the time is up: `end`, steps, or what follows anyway."""
        here: Route = (*route, "else")
        if model.otherwise is None:
            return after
        if model.up_to is None:
            self.context.problem(
                here,
                "`else:` comes after `up_to:`, which is missing",
                "add `up_to: 7 days`",
            )
        if model.otherwise == "end":
            return self._end
        if not isinstance(model.otherwise, list):
            self.context.problem(
                here, "`else:` takes `end` or a list of steps, each after a dash"
            )
            return after
        return self._block(here, model.otherwise, after)

    # --- ways

    def if_(
        self,
        route: Route,
        model: models.IfModel,
        after: Label,
    ) -> Maker | None:
        """Two ways."""
        condition = self.context.condition((*route, "if"), model.condition)
        if not model.then and not model.otherwise:
            self.context.problem(
                route,
                "this `if:` has neither `then:` nor `else:`",
                "add `then:` with a list of steps",
            )
        then = self._block((*route, "then"), model.then, after)
        otherwise = self._block((*route, "else"), model.otherwise, after)
        if condition is None:
            return None
        return self._branching(route, [(condition, then)], otherwise)

    def branch(
        self,
        route: Route,
        model: models.BranchModel,
        after: Label,
    ) -> Maker | None:
        """Several ways; the first whose condition holds is taken."""
        here: Route = (*route, "branch")
        if not model.branch:
            self.context.problem(
                here,
                "there are no ways here",
                "add `- if:` with `then:`",
            )
            return None
        ways = _Ways()
        for way_route, data in items_at(here, model.branch):
            self._way(way_route, data, after, ways)
        if ways.broken:
            return None
        return self._branching(route, ways.arms, ways.otherwise or after)

    def _way(
        self,
        route: Route,
        data: Data,
        after: Label,
        ways: _Ways,
    ) -> None:
        """Reads one way of a branch and puts it to those before it."""
        model = read_model(models.ArmModel, self._document, data, route)
        if ways.otherwise is not None:
            self.context.problem(
                route,
                "nothing after `else:` is ever looked at",
                "put `else:` last",
            )
        if model is not None and is_else(model):
            ways.otherwise = self._block((*route, "else"), model.otherwise, after)
            return
        arm = self._arm(route, model, after) if model else None
        if arm:
            ways.arms.append(arm)
        else:
            ways.broken = True

    def _arm(
        self,
        route: Route,
        arm: models.ArmModel,
        after: Label,
    ) -> tuple[Condition, Label] | None:
        """`if:` with `then:`; None where it is broken."""
        if arm.condition is None or "otherwise" in arm.model_fields_set:
            self.context.problem(
                route, "each way of a `branch:` has `if:` with `then:`, or `else:`"
            )
            return None
        condition = self.context.condition((*route, "if"), arm.condition)
        label = self._block((*route, "then"), arm.then, after)
        return (condition, label) if condition else None

    def _branching(
        self,
        route: Route,
        arms: list[tuple[Condition, Label]],
        otherwise: Label,
    ) -> Maker:
        """The step of some arms; `otherwise` where none of them holds."""
        place = self.context.place(route)
        return lambda: Branch(
            id="",
            place=place,
            arms=tuple((condition, label.resolved()) for condition, label in arms),
            otherwise=otherwise.resolved(),
        )

    def split(
        self,
        route: Route,
        model: models.SplitModel,
        after: Label,
    ) -> Maker | None:
        """An A/B test: a share of the people for each arm."""
        here: Route = (*route, "split")
        place = self.context.place(route)
        arms = list(self._shares(here, model, after))
        # A broken arm has been said; what the others add up to means nothing then.
        if len(arms) == len(model.split):
            self._check_total(here, sum(share for share, _ in arms))
        winner = self._winner((*route, "winner"), model)
        if not arms:
            return None
        return lambda: Split(
            id="",
            place=place,
            arms=tuple((share, label.resolved()) for share, label in arms),
            winner_after=winner,
        )

    def _shares(
        self,
        route: Route,
        model: models.SplitModel,
        after: Label,
    ) -> Iterator[tuple[float, Label]]:
        """The arms of a split with their shares, laid out."""
        for arm_route, data in items_at(route, model.split):
            arm = read_model(models.ShareModel, self._document, data, arm_route)
            if arm:
                yield arm.share, self._block((*arm_route, "then"), arm.then, after)

    def _check_total(self, route: Route, total: float) -> None:
        """That everybody is in one of the arms."""
        if abs(total - 1) > SHARES_MAY_DIFFER:
            self.context.problem(
                route,
                f"the shares add up to {total * 100:g}%, not to 100%",
                "make them 50% and 50%, or 80% and 20%",
                key=True,
            )

    def _winner(self, route: Route, model: models.SplitModel) -> Duration | None:
        """After how long the arm with most goals takes all."""
        text = model.winner
        if text is None:
            return None
        winner = self.context.attempt(route, lambda: phrases.winner(text))
        # The arm with most goals wins, so there has to be one.
        if self.context.model.goal is None:
            self.context.problem(
                route,
                "a winner needs a `goal:` of the campaign",
                "add `goal:`",
                key=True,
            )
        return winner


def read_step(document: Document, route: Route, data: Data) -> models.StepModel | None:
    """The model of a step as written; None where there is a problem."""
    if data == "end":
        return models.EndModel()
    if not isinstance(data, dict):
        document.problem(
            route,
            f"`{short(data)}` is not a step",
            f"a step is a verb and its value: {', '.join(VERBS)}",
        )
        return None
    verb = _verb_of(document, route, data)
    if verb is None:
        return None
    # `- end:` has no value, and a key with none is a mistake elsewhere.
    if verb == "end" and not data["end"]:
        data = {name: value for name, value in data.items() if name != "end"}
    return read_model(models.STEPS[verb], document, data, route)


def _verb_of(document: Document, route: Route, data: dict[str, Data]) -> str | None:
    """What a step does; None where no key of it says so, which is a problem then."""
    for verb in VERBS:
        if verb in data:
            return verb
    first = next(iter(data), "")
    document.problem(
        (*route, first),
        f"there is no step `{first}`",
        nearest(first, VERBS) or f"a step begins with {', '.join(VERBS)}",
        key=True,
    )
    return None


def is_else(arm: models.ArmModel) -> bool:
    """Whether a way of a branch is the one that is left."""
    return "otherwise" in arm.model_fields_set and arm.condition is None


def _wait(context: StepContext, route: Route, model: models.WaitModel) -> Step | None:
    """A length of time, or `until` a moment."""
    here: Route = (*route, "wait")
    place = context.place(route)
    if not model.wait.startswith("until "):
        length = context.attempt(here, lambda: phrases.duration(model.wait))
        return Wait(id="", place=place, duration=length) if length else None
    text = model.wait.removeprefix("until ")
    found = context.attempt(here, lambda: phrases.until(text))
    moment: Until | None
    if isinstance(found, DatePhrase):
        moment = context.point(here, found, context.opens)
    else:
        moment = found
    return WaitUntil(id="", place=place, until=moment) if moment else None


# Steps with others inside, which take places of the program themselves.
ArmReader = Callable[[StepReader, Route, Any, Label], Maker | None]
ARM_READERS: dict[type[models.StepModel], ArmReader] = {
    models.WaitForModel: StepReader.wait_for,
    models.IfModel: StepReader.if_,
    models.BranchModel: StepReader.branch,
    models.SplitModel: StepReader.split,
}
# Of the others, those that send or wait; the rest are actions.
PlainReader = Callable[[StepContext, Route, Any], Step | None]
STEP_READERS: dict[type[models.StepModel], PlainReader] = {
    models.SendModel: send,
    models.WaitModel: _wait,
    models.TaskModel: task,
}

# The steps of one of these verbs are told apart by what they name.
NAMED_BY_VALUE = frozenset(
    (
        "send",
        "wait",
        "wait_for",
        "coupon",
        "points",
        "subscribe",
        "unsubscribe",
        "tag",
        "untag",
    )
)
VERB_OF = {model: verb for verb, model in models.STEPS.items()}


def default_id(model: models.StepModel) -> str:
    """Verb and value."""
    verb = VERB_OF[type(model)]
    if isinstance(model, models.TaskModel):
        return f"{verb} {model.assign_to or model.task}"
    # The others have conditions or lists for values, which are no name.
    value = getattr(model, verb) if verb in NAMED_BY_VALUE else None
    return f"{verb} {value}" if isinstance(value, str) else verb


def awaited(items: Any) -> list[str]:
    """Every event that steps wait for, wherever they stand.

    Later conditions may speak of its fields.
    """
    found: list[str] = []
    if isinstance(items, dict):
        event = items.get("wait_for")
        if isinstance(event, str):
            found.append(event)
        items = list(items.values())
    if isinstance(items, list):
        for item in items:
            found += awaited(item)
    return found
