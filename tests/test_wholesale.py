"""Handing over in a preview: few messages are rendered, and what the preview says is the same as if all were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from drip.core.message import Message
from drip.engine.book import Book
from drip.engine.dispatcher import Ready
from drip.preview.foreseen import summed
from drip.preview.simulator import Nowhere, rehearsal, simulate
from drip.storage.ledger import Entry, entries
from drip.storage.summary import Summary
from tests.world import World, at

Worlds = Callable[..., World]
START = at("2026-11-25 08:00")
CAMPAIGNS = {
    "letter": """
        name: Letter
        topic: news
        trigger: { schedule: every Thursday at 10:00 }
        steps: [send: letter, wait: 1 day, send: after]
    """,
    "no": """
        name: No
        topic: service
        priority: 10
        trigger: { schedule: every Thursday at 10:00 }
        audience: { visits: more than 25 }
        steps:
          - send: no
            only_if: { visits: more than 100 }
          - unsubscribe: news
    """,
}
TEMPLATE = "---\nsubject: Hello {{ contact.first_name }}\n---\nA *short* text.\n"
LONGEST = "Maximiliana-Theodora"


@pytest.fixture
def made(world: Worlds) -> World:
    made = world(CAMPAIGNS, settings="frequency_caps: { all: 2 per week }", templates=TEMPLATE)
    rows = [f"p{n:02},p{n}@example.com,Name,{n},yes" for n in range(30)]
    made.contacts("key,email,first_name,visits,news", *rows, "bare,bare@example.com,,1,yes", "too,too@example.com,,2,yes",
                  f"zz,zz@example.com,{LONGEST},3,yes")  # fmt: skip
    return made


def previewed(made: World, each_step: int) -> tuple[list[Entry], Counter[str]]:
    """The ledger of two weeks, and how often each step was rendered."""
    rendered: Counter[str] = Counter()
    names: set[str] = set()

    def seen(ready: Ready, message: Message) -> None:
        rendered[ready.step.id] += 1
        names.add(message.to.name)

    with rehearsal(made.database, START) as copy:
        book = made.workspace.book(copy, START)
        until: datetime = START + timedelta(days=14)
        simulate(
            copy, book, made.workspace.templates, {"email": Nowhere()}, START, until, seen=seen, each_step=each_step
        )
        with copy.read() as connection:
            found = list(entries(connection))
    assert LONGEST in names, "the longest name is always rendered"
    return found, rendered


def test_the_ledger_is_the_same_however_many_are_rendered(made: World) -> None:
    few, rendered = previewed(made, each_step=3)
    everything, all_rendered = previewed(made, each_step=1_000)
    assert few == everything
    assert all_rendered["send letter"] == 62 - 4, "31 people, two Thursdays, and four say no on the first"
    assert 3 <= rendered["send letter"] <= 10


def test_who_lacks_a_field_that_the_text_needs_is_held_each_by_name(made: World) -> None:
    found, _ = previewed(made, each_step=1)
    held = {each.contact for each in found if each.outcome == "held" and each.code == "render-error"}
    assert held == {"bare", "too"}
    assert {each.contact for each in found if each.outcome == "sent"} == {f"p{n:02}" for n in range(26)} | {"zz"}


def test_a_consent_that_is_taken_back_at_that_very_instant_is_heeded(made: World) -> None:
    found, _ = previewed(made, each_step=1)
    letters = {(each.contact, each.outcome, each.code) for each in found if each.step == "send letter"}
    for who in ("p26", "p27", "p28", "p29"):
        assert (who, "skipped", "no-consent") in letters
        assert (who, "sent", None) not in letters


def test_shares_of_the_contacts_add_up_to_the_whole(made: World) -> None:
    def sums(shares: int) -> Summary:
        return summed(made.workspace, made.database, START, START + timedelta(days=14), shares=shares)

    whole, parts = sums(1), sums(3)
    assert replace(parts, sent=()) == replace(whole, sent=())
    assert total(parts) == total(whole)


LEARNING = """
name: Learning
topic: service
trigger: { event: x.y }
goal: { event: order.placed, within: 7 days }
steps:
  - wait: 2 days
  - split:
      - share: 50%
        then: [send: one]
      - share: 50%
        then: [send: two]
    winner: goal after 1 day
"""


def test_contacts_are_parted_only_if_no_version_that_somebody_is_in_has_them_hang_on_each_other(world: Worlds) -> None:
    made = world({"learning": LEARNING})
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,contact,at", "x.y,ana,2026-12-01T16:00:00Z")
    made.beat("2026-12-01 16:00")
    made.write("campaigns/learning.yaml", LEARNING.replace("    winner: goal after 1 day\n", ""))
    made.reload()
    book = Book(made.workspace.settings, dict(made.workspace.loaded.campaigns))
    assert book.alone() == ()
    with made.database.read() as connection:
        book.read_versions(connection)
    assert book.alone() is None


def total(sums: Summary) -> Counter[tuple[str, str, datetime]]:
    found: Counter[tuple[str, str, datetime]] = Counter()
    for each in sums.sent:
        found[each.campaign, each.step, each.at] += each.count
    return found
