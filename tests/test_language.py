"""Campaigns and settings: every problem at once, each with its place, in plain words."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest

from drip.core.calendar import ClockRange, Duration, SendWindow
from drip.core.campaign import DateTrigger, EventTrigger
from drip.core.steps import SendStep, Wait
from drip.language.files import load_folder
from drip.language.phrases import (
    caps,
    clock_range,
    date_phrase,
    duration,
    mailbox,
    priority,
    when_capped,
)
from tests.world import World

CARD = """
name: Birthday card
topic: news
trigger: { date: contact.birthday, repeat: yearly }
steps:
  - send: card
"""
Worlds = Callable[..., World]


def problems(world: Worlds, text: str) -> list[str]:
    """`line: sentence (help)` of each problem in a campaign."""
    made = world({"card": text})
    return [
        f"{each.place.line}: {each.sentence} ({each.help})"
        for each in load_folder(made.root).problems
        if each.place.file == "campaigns/card.yaml"
    ]


def test_a_campaign_is_read_with_its_defaults(world: Worlds) -> None:
    campaign = world(
        {"card": CARD}, settings="send_window: 9:00-19:00"
    ).workspace.loaded.campaigns["card"]
    (step,) = campaign.steps
    assert isinstance(step, SendStep)
    assert step.grace == timedelta(days=2)
    assert step.window == SendWindow(ClockRange(540, 1140))
    assert isinstance(campaign.trigger, DateTrigger)
    assert campaign.on_unknown == "hold"
    assert str(step.place) == "campaigns/card.yaml:6"


def test_every_problem_is_reported_at_once(world: Worlds) -> None:
    found = problems(
        world,
        """\
        name: Card
        topc: news
        status: lve
        priority: 300
        grace: 3
        goal: { event: x }
        audience: { first_nam: known, visits: at least two }
        trigger: { date: contact.birthdy }
        steps:
          - sned: card
          - wait: 3 day s
          - send: card
            channel: smss
            from: srvice
          - split:
              - { share: 60%, then: [send: b] }
        """,
    )
    for line, said in (
        (2, "did you mean `topic`"),
        (3, "did you mean `live`"),
        (4, "not a priority"),
        (5, "not a length of time"),
        (6, "not an event's name"),
        (7, "did you mean `first_name`"),
        (7, "is not a number"),
        (8, "did you mean `contact.birthday`"),
        (10, "did you mean `send`"),
        (11, "not a length of time"),
        (13, "there is no channel `smss`"),
        (14, "there is no sender `srvice`"),
        (15, "the shares add up to 60%"),
    ):
        assert any(each.startswith(f"{line}: ") and said in each for each in found), (
            line,
            said,
        )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("for_each: vehicl", "did you mean `vehicle`"),
        ("topic: nws", "did you mean `news`"),
        ("timezone: Chicago", "not a time zone"),
        ("send_window: 9-19", "not a time of day"),
        ("frequency_caps: often", "not a cap"),
        ("re_entry: sometimes", "none of `never`"),
        ("exit_when: [booking]", "neither an event"),
        ("exit_when: { visits: more than x }", "is not a number"),
        ("transactional: perhaps", "neither yes nor no"),
        ("audience: active", "written as `field: phrase`"),
        ("audience: { vehicle.status: active }", "not about one vehicle"),
        ("audience: { joined: at least 3 }", "compares numbers"),
        ("audience: { visits: more than 3 days ago }", "compares dates"),
        ("audience: { subscribed: nws }", "did you mean `news`"),
        ("audience: { in_segment: best }", "there is no segment `best`"),
        ("grace: 2 business days", "write `2 days`"),
        ("name: [a, b]", "a text is expected"),
        ("name:", "there is no value"),
    ],
)
def test_a_wrong_line_is_explained(world: Worlds, line: str, said: str) -> None:
    key = line.split(":")[0]
    kept = "\n".join(
        each for each in CARD.strip().splitlines() if not each.startswith(f"{key}:")
    )
    found = problems(world, f"{line}\n{kept}\n")
    assert any(said in each and each.startswith("1: ") for each in found), found


def test_pydantics_own_words_never_reach_a_user(world: Worlds) -> None:
    for broken in (
        "steps: x",
        "trigger: []",
        "steps: [[]]",
        "steps: [{}]",
        "trigger: {date: [1]}",
        "status: [x]",
        "[]",
        "x",
    ):
        for each in problems(world, f"name: x\n{broken}\n"):
            for word in (
                "pydantic",
                "Input should",
                "validation",
                "https://",
                "str type",
                "Extra inputs",
            ):
                assert word not in each, each


def test_a_channel_that_is_no_word_is_a_problem_as_any_other(world: Worlds) -> None:
    text = "name: C\ntopic: news\nsteps:\n  - send: a\n    channel: [email, { sms: yes }]\n"
    (found,) = [line for line in problems(world, text) if line.startswith("5: ")]
    assert "there is no channel" in found


def test_the_good_files_go_on_when_one_is_broken(world: Worlds) -> None:
    made = world(
        {"card": CARD, "broken": "name: [", "other": CARD.replace("card", "card")}
    )
    loaded = load_folder(made.root)
    assert set(loaded.campaigns) == {"card", "other"}
    assert loaded.broken == {"broken"}


def test_settings_are_checked_too(world: Worlds) -> None:
    made = world({})
    made.write(
        "campaigns/_settings.yaml",
        dedent("""\
        business: { name: X }
        timezone: Mars/Olympus
        quiet_hours: 0:00-24:00
        frequency_caps: { al: 1 per day }
        topics: { news: { title: N, opt_in: dubble } }
        senders: { default: not an address }
        transports: { email: { use: smtp, host: h, password: hunter2 }, fax: { use: x } }
        data: { contact: { a: txt, b: count of orders }, pet: { due: 1 year after born } }
        holidays: QQ
        """),
    )
    found = [
        f"{each.place.line}: {each.sentence} ({each.help})"
        for each in load_folder(made.root).problems
    ]
    for line, said in (
        (1, "`address` is missing"),
        (3, "whole day"),
        (5, "did you mean `double`"),
        (6, "not a sender"),
        (9, "the holidays of `QQ` are not known"),
    ):
        assert any(each.startswith(f"{line}: ") and said in each for each in found), (
            line,
            said,
            found,
        )
    rest = "\n".join(found)
    for said in (
        "not a time zone",
        "neither `all`, a channel nor a topic",
        "must not stand in this file",
        "no channel `fax`",
        "there is no type `txt`",
        "`orders` is not an event's name",
        "`born` is not a date of pet",
    ):
        assert said in rest, said


def test_phrases_mean_what_they_say() -> None:
    assert duration("2 weeks") == Duration(days=14)
    assert duration("1 year") == Duration(months=12)
    assert duration("36 hours") == Duration(seconds=36 * 3600)
    assert clock_range("21:00-8:00") == ClockRange(1260, 480)
    assert clock_range("0:00-24:00") == ClockRange(0, 1440)
    assert [
        (cap.limit, cap.days, cap.seconds)
        for cap in caps("1 per day, 3 per week, 2 per month, 1 per 36 hours")
    ] == [(1, 1, 0), (3, 7, 0), (2, 30, 0), (1, 0, 129600)]
    assert [(cap.limit, cap.seconds) for cap in caps("at least 4 hours apart")] == [
        (1, 4 * 3600)
    ]
    assert when_capped("skip") is None
    assert when_capped("wait up to 2 days") == timedelta(days=2)
    assert date_phrase("14 days before vehicle.due").offset == Duration(days=-14)
    assert (
        mailbox("Maple Street <hello@maplestreet.example>").address
        == "hello@maplestreet.example"
    )
    assert priority("high") > priority("normal") > priority("low")


def test_the_first_half_of_the_language_is_read(world: Worlds) -> None:
    made = world(
        {
            "thanks": """
                name: Thank you
                topic: service
                trigger: { event: order.placed, where: { order.total: at least 100 } }
                re_entry: after 90 days
                frequency_caps: 1 per month
                when_capped: skip
                counted: no
                exit_when: [order.refunded, { visits: more than 9 }]
                steps:
                  - wait: 3 days
                  - send: thanks
                    id: thanks
                  - wait: 3 days
                  - send: thanks-again
                    grace: 1 hour
                    send_window: 10:00-11:00
                  - end
                """
        }
    )
    campaign = made.workspace.loaded.campaigns["thanks"]
    assert isinstance(campaign.trigger, EventTrigger)
    assert campaign.re_entry == Duration(days=90)
    assert not campaign.counted
    assert campaign.wait_when_capped is None
    assert [step.id for step in campaign.steps] == [
        "wait 3 days",
        "thanks",
        "wait 3 days #2",
        "send thanks-again",
        "end",
    ]
    assert isinstance(campaign.steps[0], Wait)
    assert campaign.caps[0].scope == "campaign"


def test_the_nine_examples_load_without_a_problem(
    tmp_path: Path, corpora: Path
) -> None:
    shutil.copytree(corpora.parent / "examples", tmp_path / "campaigns")
    loaded = load_folder(tmp_path)
    assert ["\n".join(problem.lines()) for problem in loaded.problems] == []
    assert len(loaded.campaigns) == 9


def test_a_file_is_named_as_people_know_it(world: Worlds, tmp_path: Path) -> None:
    made = world({"card": "name: x\nnme: y\n"})
    for each in load_folder(made.root).problems:
        assert str(tmp_path) not in "\n".join(each.lines())
        assert each.place.file.startswith("campaigns/")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "x" * 300, "a//b", "."])
def test_a_template_is_named_and_not_a_path_out_of_the_folder(
    world: Worlds, name: str
) -> None:
    for line in (f"  - send: {name}", f"  - send: card\n    content: {name}"):
        assert any(
            "not the name of a template" in each
            for each in problems(world, CARD.replace("  - send: card", line))
        )


def test_lengths_beyond_a_hundred_years_are_refused(world: Worlds) -> None:
    for line in (
        "grace: 3000 years",
        "frequency_caps: 1 per 99999 years",
        "audience: { joined: more than 99999 years ago }",
    ):
        assert any(
            "longer than 100 years" in each
            for each in problems(world, f"{line}\n{CARD}")
        )


def test_a_file_of_many_problems_is_read_in_no_time(world: Worlds) -> None:
    assert 0 < len(problems(world, "name: x\n" * 100_000)) <= 200


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("audience: { any: [] }", "this list is empty"),
        ("audience: { tagged: [] }", "this list is empty"),
        ("audience: { first_name: [] }", "this list is empty"),
        ("audience: { visits: between 5 and 2 }", "begins above its end"),
        ("audience: { birthday: 02-30 }", "no day of the calendar"),
        ("holdout: 100%", "nobody gets anything"),
        ("max_audience: 0", "nobody can enter"),
        ("grace: 0 days", "no time at all"),
        ("send_window: 9:00-17:00 on Sundays", "`Sundays` is not `business days`"),
        ("send_window: 24:00-24:00", "begins and ends at the same time"),
        ("trigger: { schedule: 9999-12-31 24:00 }", "not a date and time"),
        (
            "steps: [{ send: we-miss-you-our-best-customers-of-the-year-2026! }]",
            "not the name of a template",
        ),
    ],
)
def test_what_could_not_work_is_refused(world: Worlds, line: str, said: str) -> None:
    key = line.split(":")[0]
    kept = "\n".join(
        each
        for each in CARD.strip().splitlines()
        if not each.startswith((f"{key}:", "  - send") if key == "steps" else f"{key}:")
    )
    found = problems(world, f"{line}\n{kept}\n")
    assert any(said in each and each.startswith("1: ") for each in found), found
    assert not any("exactly one of" in each for each in found)
