"""Conditions, and why a contact does not meet them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from drip.core.conditions import All, Condition, Facts, Not, why_not
from drip.core.fields import Value
from drip.language.campaigns import build_campaign
from drip.language.reader import parse
from drip.language.settings import build_settings
from tests.world import SETTINGS

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
VALUES: dict[str, Value] = {
    "contact.first_name": "Ana",
    "contact.visits": 3,
    "contact.joined": date(2026, 10, 1),
    "contact.country": "US",
    "event.total": "120.50",
    "order.total": "120.50",
    "order.category": "Coffee",
}
CAMPAIGN = """\
name: X
topic: news
trigger: {{ event: order.placed }}
audience:
  {condition}
steps: [send: x]
"""


def read(condition: str) -> tuple[Condition | None, list[str]]:
    """The audience of a campaign, and what is wrong with it."""
    settings = build_settings(parse(SETTINGS, "_settings.yaml"))
    assert settings
    document = parse(CAMPAIGN.format(condition=condition), "x.yaml")
    campaign = build_campaign("x", document, settings)
    problems = ["\n".join(problem.lines()) for problem in document.problems]
    return campaign.audience if campaign else None, problems


def failure(condition: str) -> str | None:
    audience, problems = read(condition)
    assert not problems, problems
    assert audience
    facts = Facts(VALUES, frozenset({"news"}), NOW, "America/Chicago")
    found = why_not(audience, facts)
    return f"{found.place.line}: {found.sentence}" if found else None


@pytest.mark.parametrize(
    "condition",
    [
        "first_name: ana",
        "first_name: [Ben, Ana]",
        "first_name: not Ben",
        "first_name: known",
        "last_name: unknown",
        "last_name: not Smith",
        "first_name: includes n",
        "first_name: starts with A",
        "visits: 3",
        "visits: at least 3",
        "visits: at most 3",
        "visits: more than 2",
        "visits: less than 4",
        "visits: between 2 and 5",
        "joined: before 2026-11-01",
        "joined: after 2026-09-30",
        "joined: more than 30 days ago",
        "joined: in the last 60 days",
        "joined: less than 60 days ago",
        "subscribed: news",
        "order.total: at least 100",
        "event.total: 120.5",
        "order.category: coffee",
        "country: us",
        "not: { visits: 4 }",
        "any: [{ visits: 9 }, { first_name: Ana }]",
        "contact.visits: 3",
        "joined: not in the next 14 days",
    ],
)
def test_what_holds(condition: str) -> None:
    assert failure(condition) is None


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("first_name: Ben", "contact.first_name is Ana, not Ben"),
        ("last_name: Smith", "contact.last_name is unknown"),
        ("visits: more than 3", "contact.visits is 3, not more than 3"),
        ("joined: more than 90 days ago", "contact.joined is 2026-10-01"),
        ("subscribed: service", "not subscribed to service"),
        ("not: { visits: 3 }", "this holds, and must not: visits: 3"),
        (
            "any: [{ visits: 9 }, { first_name: Ben }]",
            "none of these holds: visits: 9 or first_name: Ben",
        ),
    ],
)
def test_what_does_not_hold_says_why(condition: str, said: str) -> None:
    found = failure(condition)
    assert found is not None
    assert found.startswith("5: ")
    assert said in found


def test_the_line_that_failed_is_named() -> None:
    found = failure("visits: 3\n  first_name: Ben")
    assert found == "6: contact.first_name is Ana, not Ben"


def test_a_phrase_that_does_not_fit_the_kind_of_its_field_is_no_condition() -> None:
    audience, problems = read("last_name: at least 3")
    assert audience is None
    (problem,) = problems
    assert "`at least 3` compares numbers, and contact.last_name is a text" in problem


def test_what_must_not_have_happened_is_repeated_as_it_was_written() -> None:
    audience, _ = read("did_not: order.placed in the last 30 days")
    assert isinstance(audience, All)
    (part,) = audience.parts
    assert isinstance(part, Not)
    assert part.text == "order.placed in the last 30 days"
