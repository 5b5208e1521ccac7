"""`tests:` of a campaign: what is given, what happens, and the whole timeline that must come of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

from drip.core.campaign import CampaignTest, Expected, Happening
from drip.core.fields import parse, parse_date
from drip.core.settings import Settings
from drip.errors import nearest
from drip.language import phrases
from drip.language.campaign_models import TestModel
from drip.language.models import read_model
from drip.language.reader import Data, Document, Route

MOST_DAYS = 5 * 366
EXPECTED = re.compile(
    r"send \S+( by (email|sms|push|letter))?|task .+|exit( \(.+\))?|skip \S+( \([a-z-]+\))?|hold \S+( \([a-z-]+\))?"
)
HOW_EXPECTED = "a line is `send TEMPLATE`, `send TEMPLATE by CHANNEL`, `task WHO`, `skip TEMPLATE (code)`, `exit (why)`"


def read_tests(
    document: Document, settings: Settings, record: str | None, items: list[Any]
) -> tuple[CampaignTest, ...]:
    """The tests of a campaign about `record`; problems are then in `document`."""
    found = []
    for n, data in enumerate(items):
        route: Route = ("tests", n)
        model = read_model(TestModel, document, data, route)
        if model is None:
            continue
        if "expect" not in model.model_fields_set:
            document.problem(
                route,
                "`expect` is missing here",
                "add `expect:`; `expect: {}` says that nothing happens",
            )
        days = [day for text in (*model.happens, *model.expect) if (day := _day(text))]
        if model.until and days and (model.until - min(days)).days > MOST_DAYS:
            document.problem(
                (*route, "until"),
                "a test looks at most five years ahead",
                "name a nearer day",
            )
        given = _Given(document, settings, (*route, "given"), record, model.given)
        found.append(
            CampaignTest(
                name=model.name or f"test {n + 1}",
                contact=given.fields("contact"),
                record=given.fields(record) if record else {},
                counters=given.counters(),
                topics=given.topics(),
                tags=given.words("tagged"),
                segments=given.segments(),
                today=given.today(),
                until=model.until,
                happens=tuple(
                    _happens(document, settings, (*route, "happens"), model.happens)
                ),
                expect=tuple(_expect(document, (*route, "expect"), model.expect)),
                place=document.place(route),
            )
        )
    return tuple(found)


class _Given:
    """`given:`, key by key."""

    def __init__(
        self,
        document: Document,
        settings: Settings,
        route: Route,
        record: str | None,
        data: Mapping[str, Any],
    ) -> None:
        self._document, self._settings, self._route, self._data = (
            document,
            settings,
            route,
            data,
        )
        known = [
            "contact",
            "today",
            "topics",
            "tagged",
            "in_segment",
            *settings.counters,
            *([record] if record else []),
        ]
        for name in data:
            if name not in known:
                help = nearest(name, known)
                document.problem(
                    (*route, name),
                    f"there is nothing `{name}` to give here",
                    help,
                    key=True,
                )

    def fields(self, owner: str) -> dict[str, str]:
        data = self._data.get(owner, {})
        route: Route = (*self._route, owner)
        if not isinstance(data, dict):
            self._document.problem(route, "fields with their values are expected here")
            return {}
        fields, found = self._settings.fields.get(owner, {}), {}
        for name, text in data.items():
            here: Route = (*route, name)
            if f"{owner}.{name}" in self._settings.derived:
                sentence = f"`{name}` follows from other fields, so it cannot be given"
                self._document.problem(
                    here, sentence, "give those that it follows from", key=True
                )
            elif name not in fields:
                help = nearest(name, fields, what="fields")
                self._document.problem(
                    here, f"there is no field `{owner}.{name}`", help, key=True
                )
            elif not isinstance(text, str):
                self._document.problem(here, "a plain value is expected here")
            elif text == "unknown":
                found[name] = ""
            else:
                try:
                    parse(fields[name], text)
                    found[name] = text
                except ValueError as wrong:
                    self._document.problem(here, str(wrong))
        return found

    def counters(self) -> dict[str, int]:
        found = {}
        for name in self._settings.counters:
            if name in self._data:
                try:
                    found[name] = phrases.count(str(self._data[name]))
                except ValueError as wrong:
                    self._document.problem((*self._route, name), str(wrong))
        return found

    def topics(self) -> dict[str, bool]:
        data = self._data.get("topics", {})
        found = {}
        for name, text in data.items() if isinstance(data, dict) else ():
            if name not in self._settings.topics or text not in ("yes", "no"):
                help = nearest(name, self._settings.topics, what="topics")
                self._document.problem(
                    (*self._route, "topics", name),
                    "a topic with `yes` or `no`",
                    help,
                    key=True,
                )
            found[name] = text == "yes"
        return found

    def words(self, name: str) -> tuple[str, ...]:
        data = self._data.get(name, [])
        return (
            tuple(str(each) for each in data)
            if isinstance(data, list)
            else (str(data),)
        )

    def segments(self) -> tuple[str, ...]:
        for name in (found := self.words("in_segment")):
            if name not in self._settings.segments:
                help = nearest(name, self._settings.segments, what="segments")
                self._document.problem(
                    (*self._route, "in_segment"), f"there is no segment `{name}`", help
                )
        return found

    def today(self) -> date | None:
        if "today" not in self._data:
            return None
        try:
            return parse_date(str(self._data["today"]))
        except ValueError as wrong:
            self._document.problem((*self._route, "today"), str(wrong))
            return None


def _happens(
    document: Document, settings: Settings, route: Route, data: Mapping[str, Any]
) -> Iterator[Happening]:
    for text, value in data.items():
        wall = _wall(document, (*route, text), text)
        for here, each in _several((*route, text), value):
            if isinstance(each, dict):
                fields = {
                    name: inner
                    for name, inner in each.items()
                    if name != "event" and isinstance(inner, str)
                }
                name = each.get("event", "")
            else:
                fields, name = {}, each
            try:
                event = phrases.event_name(str(name))
            except ValueError as wrong:
                document.problem(
                    here,
                    str(wrong),
                    "write `order.placed`, or `{ event: order.placed, total: 120 }`",
                )
                continue
            if wall:
                yield Happening(wall, event, fields, document.place(here))


def _expect(
    document: Document, route: Route, data: Mapping[str, Any]
) -> Iterator[Expected]:
    for text, value in data.items():
        wall = _wall(document, (*route, text), text)
        for here, each in _several((*route, text), value):
            line = " ".join(str(each).split())
            if not isinstance(each, str) or not EXPECTED.fullmatch(line):
                document.problem(
                    here,
                    f"`{str(each)[:60]}` is not a line of a timeline",
                    HOW_EXPECTED,
                )
            elif wall:
                yield Expected(wall, line, document.place(here))


def _day(text: str) -> date | None:
    """The day of a line's time; None if it is none, which is said elsewhere."""
    try:
        return parse_date(text[:10])
    except ValueError:
        return None


def _several(route: Route, value: Data) -> Iterator[tuple[Route, Data]]:
    if isinstance(value, list):
        yield from (((*route, n), each) for n, each in enumerate(value))
    else:
        yield route, value


def _wall(document: Document, route: Route, text: str) -> datetime | None:
    try:
        return phrases.date_time(text)
    except ValueError:
        document.problem(
            route, f"`{text[:60]}` is not a time like `2026-07-08 15:10`", key=True
        )
        return None
