"""Conditions, and why a contact does not meet them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from drip.core.conditions import Facts, why_not
from drip.core.fields import Value
from tests.world import World

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
Worlds = Callable[..., World]


def failure(world: Worlds, condition: str) -> str | None:
    made = world(
        {
            "x": f"name: X\ntopic: news\ntrigger: {{ event: order.placed }}\naudience:\n  {condition}\nsteps: [send: x]\n"
        }
    )
    problems = ["\n".join(each.lines()) for each in made.workspace.loaded.problems]
    assert not problems, problems
    audience = made.workspace.loaded.campaigns["x"].audience
    assert audience
    found = why_not(
        audience, Facts(VALUES, frozenset({"news"}), NOW, "America/Chicago")
    )
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
def test_what_holds(world: Worlds, condition: str) -> None:
    assert failure(world, condition) is None


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
        ("last_name: at least 3", None),
    ],
)
def test_what_does_not_hold_says_why(
    world: Worlds, condition: str, said: str | None
) -> None:
    if said is None:
        return
    found = failure(world, condition)
    assert found is not None
    assert found.startswith("5: ")
    assert said in found


def test_the_line_that_failed_is_named(world: Worlds) -> None:
    assert (
        failure(world, "visits: 3\n  first_name: Ben")
        == "6: contact.first_name is Ana, not Ben"
    )
