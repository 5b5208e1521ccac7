"""What the steps of a campaign take from around them.

And how the values that several steps share are read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeGuard, TypeVar

from drip.core.campaign import DateTrigger, Trigger
from drip.core.channels import CHANNELS
from drip.core.characters import hidden_in
from drip.core.conditions import Condition
from drip.core.settings import Settings
from drip.core.steps import Point
from drip.errors import Place, nearest
from drip.language.campaign_models import CampaignModel
from drip.language.conditions import Scope
from drip.language.conditions import condition as read_condition
from drip.language.phrases import DatePhrase
from drip.language.reader import Document, Route, items_at

Result = TypeVar("Result")
COUPON_EXPIRES = "coupon.expires"
# What was written is repeated in a sentence, so only its beginning.
SHORT = 60


@dataclass(frozen=True, slots=True)
class StepContext:
    """One campaign as its steps see it.

    `grace` is the trigger's own, `opens` the minute of the day at which messages
    without a clock time go out. `issued` are the coupons of the steps read so far.
    """

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
        """One channel or a list of them, without those that there are not."""
        found: list[str] = []
        for item_route, item in items_at(route, data):
            # A mapping can be in a list, and cannot be looked up.
            if str(item) not in CHANNELS:
                self.problem(
                    item_route,
                    f"there is no channel `{short(item)}`",
                    nearest(str(item), CHANNELS, what="channels"),
                )
            elif item in found:
                self.problem(item_route, f"`{item}` stands here twice")
            else:
                found.append(str(item))
        return tuple(found)

    def point(
        self,
        route: Route,
        phrase: DatePhrase | None,
        opens: int,
    ) -> Point | None:
        """The moment that a step hangs on: a date, moved, at `opens`."""
        if phrase is None:
            return None
        if phrase.field == COUPON_EXPIRES:
            self._needs_coupon(route)
        elif not self._is_trigger(phrase.field):
            self._needs_date(route, phrase.field)
        return Point(phrase.field, phrase.offset, opens)

    def _is_trigger(self, name: str) -> bool:
        """Whether a date is the one that started the run, so that it is known."""
        return isinstance(self.trigger, DateTrigger) and name == self.trigger.name

    def _needs_coupon(self, route: Route) -> None:
        """That a code is issued before something hangs on its end."""
        if not self.issued:
            self.problem(
                route,
                "no coupon is issued before this step",
                "put a `coupon:` step before it",
            )

    def _needs_date(self, route: Route, name: str) -> None:
        """That there is a date of this name, and that it is the run's."""
        owner = name.partition(".")[0]
        if self.settings.date_field(name) is None:
            known = [*self.settings.dates, COUPON_EXPIRES]
            self.document.unknown(
                route,
                "date",
                name,
                known,
            )
        elif owner not in ("contact", self.model.for_each):
            # A contact may have several vehicles: nobody could say whose date is meant.
            self.problem(
                route,
                f"`{name}` is a date of a {owner}",
                f"add `for_each: {owner}`",
            )

    def words(
        self,
        route: Route,
        data: Any,
        what: str,
    ) -> tuple[str, ...]:
        """One word or a list of them; `what` says of which kind they are."""
        items = [item for _, item in items_at(route, data)]
        found = [item for item in items if _is_word(item)]
        if len(found) < len(items) or data == []:
            self.problem(route, f"{what}, or a list of them, is expected here")
        for word in found:
            # Two tags that look alike and are not would divide people by nothing.
            if hidden := hidden_in(word):
                self.problem(
                    route,
                    f"this holds the character {hidden}, which nobody can see",
                    "write it anew",
                )
        return tuple(found)

    def condition(self, route: Route, data: Any) -> Condition | None:
        """The condition written there; None where there is none, or a broken one."""
        if data is None:
            return None
        return read_condition(self.document, route, data, self.scope)

    def place(self, route: Route) -> Place:
        """Where a value stands."""
        return self.document.place(route)

    def attempt(self, route: Route, read: Callable[[], Result]) -> Result | None:
        """What `read` returns.

        None where it raises ValueError, which is a problem then.
        """
        return self.document.attempt(route, read)

    def problem(
        self,
        route: Route,
        sentence: str,
        help: str | None = None,
        *,
        key: bool = False,
    ) -> None:
        """Adds a problem of the value at `route`, or of its key."""
        self.document.problem(
            route,
            sentence,
            help,
            key=key,
        )


def _is_word(item: object) -> TypeGuard[str]:
    """Whether it is a text that can be kept."""
    # PostgreSQL keeps no text that holds a NUL.
    return isinstance(item, str) and bool(item.strip()) and "\0" not in item


def plain(data: Any) -> str:
    """A value in one line. Raises ValueError for a list or a mapping."""
    if not isinstance(data, str) or not data.strip():
        raise ValueError("a plain value is expected here, in one line")
    return data


def short(data: Any) -> str:
    """What was written, so short that it can stand in a sentence."""
    if isinstance(data, list):
        return "a list"
    if not isinstance(data, str):
        return "lines with keys"
    return data if len(data) <= SHORT else f"{data[: SHORT - 3]}…"
