"""What the steps of a campaign take from around them, and how the values that several steps share are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from drip.core.campaign import DateTrigger, Trigger
from drip.core.channels import CHANNELS
from drip.core.characters import hidden_in
from drip.core.conditions import Condition
from drip.core.settings import Settings
from drip.core.steps import Point
from drip.errors import nearest
from drip.language.campaign_models import CampaignModel
from drip.language.conditions import Scope
from drip.language.conditions import condition as read_condition
from drip.language.phrases import DatePhrase
from drip.language.reader import Document, Route

Result = TypeVar("Result")
COUPON_EXPIRES = "coupon.expires"


@dataclass(frozen=True, slots=True)
class StepContext:
    """One campaign as its steps see it. `issued` are the coupons of the steps read so far."""

    document: Document
    settings: Settings
    model: CampaignModel
    key: str
    trigger: Trigger
    scope: Scope
    grace: timedelta
    opens: int
    issued: list[str] = field(default_factory=list)

    def channels(self, route: Route, data: Any) -> tuple[str, ...]:
        found = []
        for n, item in enumerate(
            data if isinstance(data, list) else [] if data is None else [data]
        ):
            where: Route = (*route, n) if isinstance(data, list) else route
            if item not in CHANNELS:
                help = nearest(str(item), CHANNELS, what="channels")
                self.problem(where, f"there is no channel `{short(item)}`", help)
            elif item in found:
                self.problem(where, f"`{item}` stands here twice")
            else:
                found.append(item)
        return tuple(found)

    def point(
        self, route: Route, phrase: DatePhrase | None, opens: int
    ) -> Point | None:
        if phrase is None:
            return None
        trigger, settings = self.trigger, self.settings
        owner = phrase.field.partition(".")[0]
        if phrase.field == COUPON_EXPIRES:
            if not self.issued:
                self.problem(
                    route,
                    "no coupon is issued before this step",
                    "put a `coupon:` step before it",
                )
            return Point(phrase.field, phrase.offset, opens)
        if not (isinstance(trigger, DateTrigger) and phrase.field == trigger.name):
            if settings.date_field(phrase.field) is None:
                names = [
                    f"{kind}.{name}"
                    for kind, own in settings.fields.items()
                    for name in own
                    if own[name].is_date
                ]
                names += [
                    *(name for name in settings.derived if settings.date_field(name)),
                    COUPON_EXPIRES,
                ]
                self.problem(
                    route,
                    f"there is no date `{phrase.field}`",
                    nearest(phrase.field, names, what="dates"),
                )
            elif owner not in ("contact", self.model.for_each):
                self.problem(
                    route,
                    f"`{phrase.field}` is a date of a {owner}",
                    f"add `for_each: {owner}`",
                )
        return Point(phrase.field, phrase.offset, opens)

    def words(self, route: Route, data: Any, what: str) -> tuple[str, ...]:
        """One word or a list of them."""
        items = data if isinstance(data, list) else [] if data is None else [data]
        found = [
            item
            for item in items
            if isinstance(item, str) and item.strip() and "\0" not in item
        ]
        if len(found) < len(items) or (isinstance(data, list) and not items):
            self.problem(route, f"{what}, or a list of them, is expected here")
        for item in found:
            if hidden := hidden_in(item):
                self.problem(
                    route,
                    f"this holds the character {hidden}, which nobody can see",
                    "write it anew",
                )
        return tuple(found)

    def condition(self, route: Route, data: Any) -> Condition | None:
        return (
            None
            if data is None
            else read_condition(self.document, route, data, self.scope)
        )

    def attempt(self, route: Route, read: Callable[[], Result]) -> Result | None:
        try:
            return read()
        except ValueError as wrong:
            self.problem(route, str(wrong))
        return None

    def problem(
        self, route: Route, sentence: str, help: str | None = None, *, key: bool = False
    ) -> None:
        self.document.problem(route, sentence, help, key=key)


def plain(data: Any) -> str:
    """A value in one line. Raises ValueError for a list or a mapping."""
    if not isinstance(data, str) or not data.strip():
        raise ValueError("a plain value is expected here, in one line")
    return data


def short(data: Any) -> str:
    """What was written, so short that it can stand in a sentence."""
    text = (
        data
        if isinstance(data, str)
        else "a list"
        if isinstance(data, list)
        else "lines with keys"
    )
    return text if len(text) <= 60 else f"{text[:57]}…"
