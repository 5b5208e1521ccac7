"""Each rule of lint finds what it is for, in its line, and leaves the gallery alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drip.core.segments import segments
from drip.lint.contrast import contrast
from drip.lint.rules import RULES
from drip.lint.variables import FieldStats
from tests.cli import environment
from tests.test_change import change
from tests.test_cli import stocked
from tests.world import World

__all__ = ["stocked"]
Worlds = Callable[..., World]
GOOD = "---\nsubject: Hello\npreheader: p\n---\n"
CARD = "name: X\ntopic: service\ntrigger: { event: x.y }\nsteps: [send: card]\n"
ASKS = "name: X\ntopic: news\ntrigger: { event: news.requested }\nsteps:\n  - send: card\n  - wait_for: news.confirmed\n  - subscribe: news\n"
DOUBLE = "topics: { news: { title: News, opt_in: double } }"
# Code, campaign, settings, text of the template, the line at which it is found.
CASES: list[tuple[str, str, str, str, str]] = [
    (
        "text-lost",
        "name: We are #1 here\n" + CARD.split("\n", 1)[1],
        "",
        GOOD,
        "campaigns/x.yaml:1",
    ),
    (
        "unknown-variable",
        CARD,
        "",
        GOOD + "{{ contact.first_nmae }}",
        "templates/card.md:5",
    ),
    (
        "unknown-variable",
        CARD.replace("card]", "card, subject: '{{ nope }}']"),
        "",
        GOOD,
        "campaigns/x.yaml:4",
    ),
    (
        "maybe-unknown",
        CARD,
        "",
        GOOD + "\n{{ contact.first_name }}",
        "templates/card.md:6",
    ),
    (
        "unreachable-step",
        CARD.replace(
            "[send: card]",
            "\n  - if: { visits: 1 }\n    then: [end]\n    else: [end]\n  - send: card",
        ),
        "",
        GOOD,
        "campaigns/x.yaml:8",
    ),
    (
        "weekend-lost",
        CARD + "send_window: 9:00-17:00 on business days\n",
        "",
        GOOD,
        "campaigns/x.yaml:5",
    ),
    (
        "never-open",
        CARD + "send_window: 22:00-23:00\n",
        "quiet_hours: 21:00-8:00",
        GOOD,
        "campaigns/x.yaml:5",
    ),
    (
        "wait-beyond-grace",
        CARD + "grace: 1 day\nwhen_capped: wait up to 3 days\n",
        "",
        GOOD,
        "campaigns/x.yaml:6",
    ),
    (
        "cap-starves",
        CARD.replace("{ event: x.y }", "{ schedule: every day at 9:00 }"),
        "frequency_caps: { all: 2 per week }",
        GOOD,
        "campaigns/x.yaml:1",
    ),
    (
        "cap-of-none",
        CARD,
        "frequency_caps: { service: 0 per week }",
        GOOD,
        "campaigns/x.yaml:1",
    ),
    (
        "before-confirmation",
        ASKS.replace("send: card", "tag: asked\n  - send: card"),
        DOUBLE,
        GOOD,
        "campaigns/x.yaml:5",
    ),
    (
        "before-confirmation",
        ASKS.replace("  - wait_for: news.confirmed\n", ""),
        DOUBLE,
        GOOD,
        "campaigns/x.yaml:6",
    ),
    ("event-unknown", CARD, "", GOOD, "campaigns/x.yaml:1"),
    (
        "leap-day",
        CARD.replace("{ event: x.y }", "{ date: contact.birthday }"),
        "",
        GOOD,
        "campaigns/x.yaml:3",
    ),
    (
        "transactional-sells",
        CARD + "transactional: true\n",
        "",
        GOOD + "\nToday 20% off!",
        "templates/card.md:6",
    ),
    ("no-subject", CARD, "", "text", "templates/card.md"),
    ("no-preheader", CARD, "", "---\nsubject: s\n---\n", "templates/card.md"),
    (
        "long-subject",
        CARD,
        "",
        f"---\nsubject: {'long ' * 20}\n---\n",
        "templates/card.md:2",
    ),
    (
        "loud-subject",
        CARD,
        "",
        "---\nsubject: BUY IT RIGHT NOW\n---\n",
        "templates/card.md:2",
    ),
    ("too-large", CARD, "", GOOD + "words and words " * 8000, "templates/card.md"),
    (
        "no-alt",
        CARD,
        "",
        GOOD + "\n![](https://x.example/a.png)",
        "templates/card.md:6",
    ),
    (
        "vague-link",
        CARD,
        "",
        GOOD + "\n\n[click here](https://x.example)",
        "templates/card.md:7",
    ),
    (
        "link-runs",
        CARD,
        "",
        GOOD + "\n\n[Book a table](javascript:book)",
        "templates/card.md:7",
    ),
    (
        "no-postal-address",
        CARD,
        "business: { name: X, address: somewhere }",
        GOOD,
        "campaigns/_settings.yaml:1",
    ),
    (
        "free-mail-sender",
        CARD,
        "senders: { default: X <x@gmail.com> }",
        GOOD,
        "campaigns/_settings.yaml:1",
    ),
    (
        "no-reply",
        CARD,
        "senders: { default: X <no-reply@x.example> }",
        GOOD,
        "campaigns/_settings.yaml:1",
    ),
    (
        "not-sent-by",
        CARD.replace("card]", "card, channel: sms]"),
        "",
        GOOD,
        "campaigns/x.yaml:4",
    ),
]


@pytest.mark.parametrize(("code", "campaign", "settings", "text", "place"), CASES)
def test_a_rule_finds_what_it_is_for(
    world: Worlds, code: str, campaign: str, settings: str, text: str, place: str
) -> None:
    campaign = re.sub(r"\[send: card, (.*)\]", r"[{ send: card, \1 }]", campaign)
    made = world({"x": campaign}, settings=settings)
    made.write("templates/card.md", text)
    made.reload()
    people = FieldStats({"contact.first_name": 0.25})
    found = {
        (each.code, str(each.place)): each
        for each in made.workspace.problems(people, {"order.placed"})
    }
    assert (code, place) in found, sorted(found)
    assert found[code, place].level == RULES[code].level
    assert found[code, place].help


def test_guarded_names_and_sober_texts_are_left_alone(world: Worlds) -> None:
    guarded = "{{ contact.first_name|default('x') }}{% if contact.first_name %}{{ contact.first_name }}{% endif %}"
    guarded += "{{ contact.first_name if contact.first_name else 'x' }}"
    made = world({"x": CARD})
    made.write("templates/card.md", GOOD + guarded)
    made.reload()
    assert (
        made.workspace.problems(FieldStats({"contact.first_name": 0.25}), {"x.y"}) == []
    )


def test_a_reminder_that_promotions_push_out_is_named(world: Worlds) -> None:
    made = world(
        {
            "reminder": "name: R\ntopic: service\ntrigger: { date: contact.joined }\nwhen_capped: skip\npriority: low\nsteps: [send: a]\n",
            "promo": "name: P\ntopic: news\ntrigger: { event: x.y }\npriority: high\nsteps: [send: a]\n",
        },
        settings="frequency_caps: { all: 1 per week }",
    )
    assert "reminder-may-drop" in {each.code for each in made.workspace.problems()}


def test_a_reserve_that_shuts_others_out_for_long_is_named(world: Worlds) -> None:
    promo = "name: P\ntopic: news\ntrigger: { event: x.y }\npriority: low\nsteps: [send: a]\n"
    card = "name: B\ntopic: news\ntrigger: { date: contact.birthday, repeat: yearly }\nsteps: [send: a]\n"
    settings = "frequency_caps: { all: 1 per week }"
    for reserve, found in (("20 days", True), ("3 days", False)):
        made = world(
            {"card": card + f"reserve: {reserve}\n", "promo": promo}, settings=settings
        )
        assert (
            "reserve-starves" in {each.code for each in made.workspace.problems()}
        ) is found


def test_html_is_looked_at_too(world: Worlds) -> None:
    made = world({"x": CARD})
    (made.root / "templates" / "card.md").unlink()
    page = "---\nsubject: s\npreheader: p\n---\n<html>\n<body style=\"color: #999999; background: #ffffff\">\n<img src='https://a.example/a.png'>\n<a href='x'>here</a></body></html>"
    made.write("templates/card.html", page)
    made.reload()
    found = {(each.code, each.place.line) for each in made.workspace.problems()}
    assert {
        ("no-lang", 5),
        ("low-contrast", 6),
        ("no-alt", 7),
        ("vague-link", 8),
    } <= found


def test_an_sms_that_needs_two_is_counted_with_the_longest_name(world: Worlds) -> None:
    made = world(
        {"x": CARD.replace("[send: card]", "[{ send: card, channel: sms }]")},
        settings="transports: { sms: { use: memory } }",
    )
    made.write("templates/card.sms", "x" * 130 + "{{ contact.first_name|default('') }}")
    made.reload()
    assert "sms-parts" not in {each.code for each in made.workspace.problems()}
    assert "sms-parts" in {
        each.code
        for each in made.workspace.problems(FieldStats({}, {"contact.first_name": 40}))
    }
    assert [
        segments(text) for text in ("a" * 160, "a" * 161, "€" * 81, "ł" * 70, "ł" * 71)
    ] == [1, 2, 2, 1, 2]


def test_contrast_is_that_of_the_standard() -> None:
    assert round(contrast("#000", "#ffffff"), 2) == 21
    assert round(contrast("#767676", "#ffffff"), 2) == 4.54


def test_an_unknown_filter_has_its_line_and_a_suggestion(world: Worlds) -> None:
    made = world({"x": CARD})
    made.write("templates/card.md", GOOD + "\n{{ contact.key|uper }}")
    made.reload()
    said = [
        "\n".join(each.lines())
        for each in made.workspace.problems()
        if each.level == "error"
    ]
    assert any(
        "templates/card.md:6" in each
        and "there is no filter `uper`" in each
        and "upper" in each
        for each in said
    ), said


def test_pytest_plays_campaign_tests(stocked: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(stocked, tmp_path / "shop"))
    change(root, "oil-change", "  - wait: 10 days", "  - wait: 2 days")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "campaigns",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        command,
        cwd=root,
        capture_output=True,
        text=True,
        env=environment(PATH=os.environ["PATH"]),
        check=False,
    )
    assert done.returncode == 1
    assert "1 failed, 3 passed" in done.stdout
    assert "send oil/follow-up by email" in done.stdout


def test_a_misspelt_key_of_the_front_matter_is_found(world: Worlds) -> None:
    made = world({"x": CARD})
    made.write("templates/card.md", "---\nsubject: s\npreheadr: p\n---\n")
    made.reload()
    said = [
        "\n".join(each.lines())
        for each in made.workspace.problems()
        if each.level == "warning"
    ]
    assert any(
        "templates/card.md:3: warning: there is no key `preheadr`" in each
        and "did you mean `preheader`" in each
        for each in said
    )
