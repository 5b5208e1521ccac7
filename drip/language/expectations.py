"""`tests:` of a campaign.

What is given, what happens, and the whole timeline that must come of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

from drip.core.campaign import CampaignTest, Expected, Happening
from drip.core.fields import parse, parse_date
from drip.core.settings import Settings
from drip.errors import nearest
from drip.language import phrases
from drip.language.campaign_models import TestModel
from drip.language.models import read_model
from drip.language.reader import Data, Document, Spot

# Of the time that a test plays: each day is simulated while somebody waits.
MOST_DAYS = 5 * 366
# The lines of a timeline, as `drip test` prints them.
EXPECTED = re.compile(
    r"send \S+( by (email|sms|push|letter))?"
    r"|task .+"
    r"|exit( \(.+\))?"
    r"|skip \S+( \([a-z-]+\))?"
    r"|hold \S+( \([a-z-]+\))?"
)
HOW_EXPECTED = (
    "a line is `send TEMPLATE`, `send TEMPLATE by CHANNEL`, `task WHO`, "
    "`skip TEMPLATE (code)`, `exit (why)`"
)
HOW_HAPPENS = "write `order.placed`, or `{ event: order.placed, total: 120 }`"
# What `given:` may say besides counters and the record.
GIVEN = ("contact", "today", "topics", "tagged", "in_segment")


def read_tests(
    document: Document,
    settings: Settings,
    record: str | None,
    items: list[Any],
) -> tuple[CampaignTest, ...]:
    """The tests of a campaign about `record`; problems are then in `document`."""
    found: list[CampaignTest] = []
    tests = document.at("tests").items(items)
    for number, (spot, data) in enumerate(tests, 1):
        model = read_model(TestModel, document, data, spot.route)
        if model is None:
            continue
        if "expect" not in model.model_fields_set:
            spot.problem(
                "`expect` is missing here",
                "add `expect:`; `expect: {}` says that nothing happens",
            )
        _check_until(spot, model)
        name = model.name or f"test {number}"
        given = _Given(spot.at("given"), settings, record, model.given)
        found.append(_test(spot, name, given, model))
    return tuple(found)


def _check_until(spot: Spot, model: TestModel) -> None:
    """That a test ends within a time that can be played."""
    # A test without `until` looks 30 days beyond its last line.
    times = [*model.happens, *model.expect]
    days = [day for text in times if (day := _day(text))]
    if model.until and days and (model.until - min(days)).days > MOST_DAYS:
        spot.at("until").problem(
            "a test looks at most five years ahead",
            "name a nearer day",
        )


def _test(spot: Spot, name: str, given: _Given, model: TestModel) -> CampaignTest:
    """One test from its parts."""
    given.check_names()
    return CampaignTest(
        name=name,
        contact=given.fields("contact"),
        record=given.fields(given.record) if given.record else {},
        counters=given.counters(),
        topics=given.topics(),
        tags=given.words("tagged"),
        segments=given.segments(),
        today=given.today(),
        until=model.until,
        happens=tuple(_happens(spot.at("happens"), model.happens)),
        expect=tuple(_expect(spot.at("expect"), model.expect)),
        place=spot.place(),
    )


# --- what is given


@dataclass(frozen=True, slots=True)
class _Given:
    """`given:`, key by key."""

    spot: Spot
    settings: Settings
    record: str | None
    data: Mapping[str, Any]

    def check_names(self) -> None:
        """That nothing else is given."""
        records = [self.record] if self.record else []
        known = [*GIVEN, *self.settings.counters, *records]
        for name in self.data:
            if name not in known:
                self.spot.at(name).problem(
                    f"there is nothing `{name}` to give here",
                    nearest(name, known),
                    key=True,
                )

    def fields(self, owner: str) -> dict[str, str]:
        """The values of a contact or record, as written; empty for `unknown`."""
        data = self.data.get(owner, {})
        if not isinstance(data, dict):
            self.spot.at(owner).problem("fields with their values are expected here")
            return {}
        found: dict[str, str] = {}
        for name, text in data.items():
            value = self._value(owner, name, text)
            if value is not None:
                found[name] = value
        return found

    def _value(
        self,
        owner: str,
        name: str,
        text: Any,
    ) -> str | None:
        """A field's value as written; None where it cannot be given."""
        here = self.spot.at(owner, name)
        known = self.settings.fields.get(owner, {})
        if not self._can_be_given(owner, name):
            return None
        if not isinstance(text, str):
            here.problem("a plain value is expected here")
            return None
        if text == "unknown":
            return ""
        try:
            parse(known[name], text)
        except ValueError as wrong:
            here.problem(str(wrong))
            return None
        return text

    def _can_be_given(self, owner: str, name: str) -> bool:
        """Whether a field is one of the file's own, and not worked out."""
        known = self.settings.fields.get(owner, {})
        if f"{owner}.{name}" in self.settings.derived:
            self.spot.at(owner, name).problem(
                f"`{name}` follows from other fields, so it cannot be given",
                "give those that it follows from",
                key=True,
            )
            return False
        if name not in known:
            self.spot.at(owner, name).problem(
                f"there is no field `{owner}.{name}`",
                nearest(name, known, what="fields"),
                key=True,
            )
            return False
        return True

    def counters(self) -> dict[str, int]:
        """What counters stand at."""
        found: dict[str, int] = {}
        for name in self.settings.counters:
            if name not in self.data:
                continue
            read = partial(phrases.count, str(self.data[name]))
            number = self.spot.at(name).attempt(read)
            if number is not None:
                found[name] = number
        return found

    def topics(self) -> dict[str, bool]:
        """Which topics are said yes to, and which no."""
        data, known = self.data.get("topics", {}), self.settings.topics
        if not isinstance(data, dict):
            return {}
        for name, text in data.items():
            if name not in known or text not in ("yes", "no"):
                self.spot.at("topics", name).problem(
                    "a topic with `yes` or `no`",
                    nearest(name, known, what="topics"),
                    key=True,
                )
        return {name: text == "yes" for name, text in data.items()}

    def words(self, name: str) -> tuple[str, ...]:
        """One word or a list of them."""
        items = self.spot.at(name).items(self.data.get(name))
        return tuple(str(word) for _, word in items)

    def segments(self) -> tuple[str, ...]:
        """The segments that the contact is in."""
        names, known = self.words("in_segment"), self.settings.segments
        here = self.spot.at("in_segment")
        for name in names:
            if name not in known:
                here.unknown("segment", name, known)
        return names

    def today(self) -> date | None:
        """The day on which the test begins."""
        text = self.data.get("today")
        if text is None:
            return None
        return self.spot.at("today").attempt(lambda: parse_date(str(text)))


# --- what happens, and what must come of it


def _happens(spot: Spot, data: Mapping[str, Any]) -> Iterator[Happening]:
    """`happens:`, the events in the order of the file."""
    for text, value in data.items():
        line_spot = spot.at(text)
        wall = _wall(line_spot, text)
        for item_spot, item in line_spot.items(value):
            name, fields = _event_of(item)
            read = partial(phrases.event_name, name)
            event = item_spot.attempt(read, HOW_HAPPENS)
            if wall and event is not None:
                yield Happening(wall, event, fields, item_spot.place())


def _event_of(item: Data) -> tuple[str, dict[str, str]]:
    """The name and the fields of an event; what is no plain value is left out."""
    if not isinstance(item, dict):
        return str(item), {}
    # Events have no lists; what is none is left to whoever reads the event.
    fields = {
        name: value
        for name, value in item.items()
        if name != "event" and isinstance(value, str)
    }
    return str(item.get("event", "")), fields


def _expect(spot: Spot, data: Mapping[str, Any]) -> Iterator[Expected]:
    """`expect:`, the lines of the timeline."""
    for text, value in data.items():
        line_spot = spot.at(text)
        wall = _wall(line_spot, text)
        for item_spot, item in line_spot.items(value):
            # A line folded over two in YAML is still one line of the timeline.
            line = " ".join(str(item).split())
            if not isinstance(item, str) or not EXPECTED.fullmatch(line):
                item_spot.problem(
                    f"`{str(item)[:60]}` is not a line of a timeline",
                    HOW_EXPECTED,
                )
            elif wall:
                yield Expected(wall, line, item_spot.place())


def _day(text: str) -> date | None:
    """The day of a line's time; None if it is none, which is said elsewhere."""
    try:
        return parse_date(text[:10])
    except ValueError:
        return None


def _wall(spot: Spot, text: str) -> datetime | None:
    """The time of a line, on the sample contact's clock."""
    try:
        return phrases.date_time(text)
    except ValueError:
        spot.problem(
            f"`{text[:60]}` is not a time like `2026-07-08 15:10`",
            key=True,
        )
        return None
