"""Handing over in a preview: few messages are rendered, and what the preview says is the same as if all were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from drip.core.message import Message
from drip.engine import catch_up
from drip.engine.campaign_set import CampaignSet
from drip.engine.last_check import Ready
from drip.preview.forecast import summed
from drip.preview.simulator import Nowhere, rehearsal, simulate
from drip.storage.reading.ledger import LedgerRow, entries
from drip.storage.reading.summary import Summary
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
    made = world(
        CAMPAIGNS, settings="frequency_caps: { all: 2 per week }", templates=TEMPLATE
    )
    rows = [f"p{n:02},p{n}@example.com,Name,{n},yes" for n in range(30)]
    made.contacts(
        "key,email,first_name,visits,news",
        *rows,
        "bare,bare@example.com,,1,yes",
        "too,too@example.com,,2,yes",
        f"zz,zz@example.com,{LONGEST},3,yes",
    )
    return made


def previewed(made: World, each_step: int) -> tuple[list[LedgerRow], Counter[str]]:
    """The ledger of two weeks, and how often each step was rendered."""
    rendered: Counter[str] = Counter()
    names: set[str] = set()

    def seen(ready: Ready, message: Message) -> None:
        rendered[ready.step.id] += 1
        names.add(message.to.name)

    with rehearsal(made.database, START) as copy:
        campaign_set = made.workspace.campaign_set(copy, START)
        until: datetime = START + timedelta(days=14)
        simulate(
            copy,
            campaign_set,
            made.workspace.templates,
            {"email": Nowhere()},
            START,
            until,
            seen=seen,
            each_step=each_step,
        )
        with copy.read() as connection:
            found = list(entries(connection))
    assert LONGEST in names, "the longest name is always rendered"
    return found, rendered


def test_the_ledger_is_the_same_however_many_are_rendered(made: World) -> None:
    few, rendered = previewed(made, each_step=3)
    everything, all_rendered = previewed(made, each_step=1_000)
    assert few == everything
    assert all_rendered["send letter"] == 62 - 4, (
        "31 people, two Thursdays, and four say no on the first"
    )
    assert 3 <= rendered["send letter"] <= 10


def test_who_lacks_a_field_that_the_text_needs_is_held_each_by_name(
    made: World,
) -> None:
    found, _ = previewed(made, each_step=1)
    held = {
        each.contact
        for each in found
        if each.outcome == "held" and each.code == "render-error"
    }
    assert held == {"bare", "too"}
    assert {each.contact for each in found if each.outcome == "sent"} == {
        f"p{n:02}" for n in range(26)
    } | {"zz"}


def test_a_consent_that_is_taken_back_at_that_very_instant_is_heeded(
    made: World,
) -> None:
    found, _ = previewed(made, each_step=1)
    letters = {
        (each.contact, each.outcome, each.code)
        for each in found
        if each.step == "send letter"
    }
    for who in ("p26", "p27", "p28", "p29"):
        assert (who, "skipped", "no-consent") in letters
        assert (who, "sent", None) not in letters


def test_shares_of_the_contacts_add_up_to_the_whole(made: World) -> None:
    def sums(shares: int) -> Summary:
        return summed(
            made.workspace,
            made.database,
            START,
            START + timedelta(days=14),
            shares=shares,
        ).summary

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


def test_contacts_are_parted_only_if_no_version_that_somebody_is_in_has_them_hang_on_each_other(
    world: Worlds,
) -> None:
    made = world({"learning": LEARNING})
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,contact,at", "x.y,ana,2026-12-01T16:00:00Z")
    made.tick("2026-12-01 16:00")
    made.write(
        "campaigns/learning.yaml",
        LEARNING.replace("    winner: goal after 1 day\n", ""),
    )
    made.reload()
    campaign_set = CampaignSet(
        made.workspace.settings, dict(made.workspace.loaded.campaigns)
    )
    assert campaign_set.alone() == ()
    with made.database.read() as connection:
        campaign_set.read_versions(connection)
    assert campaign_set.alone() is None


def total(sums: Summary) -> Counter[tuple[str, str, datetime]]:
    found: Counter[tuple[str, str, datetime]] = Counter()
    for each in sums.sent:
        found[each.campaign, each.step, each.at] += each.count
    return found


def test_each_issue_of_a_newsletter_is_rendered_for_itself(world: Worlds) -> None:
    text = "name: L\ntopic: service\ntrigger: { schedule: every Thursday at 10:00 }\nsteps: [{ send: letter, content: issues }]\n"
    made = world(
        {"letter": text}, templates="---\nsubject: Hi\n---\n{{ issue.body }}\n"
    )
    made.write("templates/issues/2026-11-26-a.md", "---\nsubject: one\n---\nFirst.\n")
    made.write(
        "templates/issues/2026-12-03-b.md",
        "---\nsubject: two\n---\nSince {{ contact.joined|date }}.\n",
    )
    made.reload()
    made.contacts(
        "key,email,first_name", *(f"p{n},p{n}@example.com,{LONGEST}" for n in range(5))
    )
    found, _ = previewed(made, each_step=1)
    told = Counter(
        (f"{each.at:%d}", each.outcome)
        for each in found
        if each.outcome in ("sent", "held")
    )
    assert told == {("26", "sent"): 5, ("03", "held"): 5}


def test_a_brake_in_the_last_good_version_of_a_broken_file_keeps_contacts_together(
    world: Worlds,
) -> None:
    text = "name: A\ntopic: service\ntrigger: { date: contact.birthday }\nmax_audience: 20\nsteps: [send: card]\n"
    made = world({"a": text})
    made.contacts(
        "key,email,birthday", *(f"p{n},p{n}@example.com,11-25" for n in range(30))
    )
    made.tick("2026-11-20 01:00")
    made.write("campaigns/a.yaml", text.replace("topic: service", "topic: nonsense"))
    made.reload()
    for shares in (1, 3):
        assert (
            summed(
                made.workspace,
                made.database,
                START,
                START + timedelta(days=3),
                shares=shares,
            ).summary.sent
            == ()
        )


def test_whether_one_is_in_a_segment_hangs_on_nobody_else_s_news(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    hello = "name: Hello\ntopic: service\ntrigger: { segment: soon }\nsteps: [send: hello]\n"
    mark = "name: Mark\ntopic: service\ntrigger: { schedule: every day at 8:00 }\naudience: { visits: at least 1 }\nre_entry: never\nsteps: [tag: seen]\n"
    made = world(
        {"hello": hello, "mark": mark},
        settings="segments: { soon: { joined: in the next 3 days } }",
    )
    monkeypatch.setattr(catch_up, "MOST_ONE_BY_ONE", 3)
    rows = [f"p{n},p{n}@example.com,,1," for n in range(6)]
    made.contacts(
        "key,email,joined,visits,timezone",
        "nz,nz@example.com,2026-11-29,0,Pacific/Auckland",
        *rows,
    )
    made.tick("2026-11-25 07:00")

    def hours(shares: int) -> list[str]:
        sums = summed(
            made.workspace,
            made.database,
            START,
            START + timedelta(days=3),
            shares=shares,
        ).summary
        return [f"{each.at:%d %H:%M}" for each in sums.sent if each.campaign == "hello"]

    # It is the 26th in Auckland at eleven in the morning of the 25th, but everybody's turn is the workspace's midnight.
    assert hours(1) == hours(4) == ["26 06:00"]
