"""Who enters, who is held back as a yardstick, what brakes a campaign, and what an A/B test learns."""

from __future__ import annotations

import email
from collections.abc import Callable
from email import policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drip.core.conditions import Rank
from drip.core.steps import Split, arm_of, chance_of
from drip.storage.operating import holds
from drip.storage.people import ranks, segments
from drip.transports.mime import to_bytes
from tests.cli import drip
from tests.world import World, at

Worlds = Callable[..., World]
EVERYBODY = """
name: X
topic: service
trigger: { event: x.y }
frequency_caps: ignore
"""


def people(made: World, count: int, start: int = 0) -> None:
    made.contacts(
        "key,email", *(f"p{n},p{n}@example.com" for n in range(start, start + count))
    )


def happen(made: World, name: str, numbers: range, when: str, extra: str = "") -> None:
    made.events(
        f"event,contact,at{',' if extra else ''}{extra.split('=')[0]}",
        *(
            f"{name},p{n},{when}:00Z{',' + extra.split('=')[1] if extra else ''}"
            for n in numbers
        ),
    )


def test_a_holdout_gets_nothing_and_is_written_down(world: Worlds) -> None:
    made = world({"x": EVERYBODY + "holdout: 25%\nsteps: [send: a]\n"})
    people(made, 200)
    happen(made, "x.y", range(200), "2026-12-01T16:00")
    made.tick("2026-12-01 16:00")
    held = [entry for entry in made.ledger() if entry.code == "holdout"]
    assert 30 <= len(held) <= 70
    assert len(made.transport.messages) == 200 - len(held)
    happen(made, "x.y", range(200), "2026-12-02T16:00")
    made.tick("2026-12-02 16:00")
    again = {
        entry.contact
        for entry in made.ledger()
        if entry.code == "holdout" and entry.at > at("2026-12-02")
    }
    assert again == {entry.contact for entry in held}, "whoever is held back stays so"


def test_chance_is_even_and_always_the_same() -> None:
    shares = [chance_of(f"p{n}", "campaign", "split") for n in range(10_000)]
    assert all(
        abs(sum(share < part / 10 for share in shares) - part * 1_000) < 250
        for part in range(1, 10)
    )
    assert chance_of("ana", "x") == chance_of("ana", "x") != chance_of("anax", "")


def test_a_brake_holds_the_campaign_and_loses_nobody(world: Worlds) -> None:
    made = world({"x": EVERYBODY + "max_audience: 20\nsteps: [send: a]\n"})
    people(made, 50)
    happen(made, "x.y", range(15), "2026-12-01T16:00")
    made.tick("2026-12-01 16:00")
    happen(made, "x.y", range(15, 50), "2026-12-01T17:00")
    made.tick("2026-12-01 17:00")
    assert len(made.sent()) == 15
    with made.database.read() as connection:
        held = holds.held_scopes(connection)["x"]
    assert held.reason
    assert "more than 20 people would enter in a day" in held.reason
    made.write("campaigns/x.yaml", EVERYBODY + "max_audience: 60\nsteps: [send: a]\n")
    made.reload()
    with made.database.write() as connection:
        holds.let_go(connection, "x")
    made.tick("2026-12-01 18:00")
    assert len(made.sent()) == 50


SPLIT = (
    EVERYBODY
    + """
goal: { event: order.placed, within: 10 days }
steps:
  - split:
      - share: 50%
        then: [send: a]
      - share: 50%
        then: [send: b]
    winner: goal after 14 days
"""
)


def test_a_contact_stays_in_its_arm_and_the_better_arm_takes_all(world: Worlds) -> None:
    made = world({"x": SPLIT})
    split = made.workspace.loaded.campaigns["x"].steps[0]
    assert isinstance(split, Split)
    people(made, 80)
    happen(made, "x.y", range(40), "2026-12-01T16:00")
    made.tick("2026-12-01 16:00")
    arms = {n: arm_of(split, f"p{n}", "x") for n in range(40)}
    steps = {
        entry.contact: entry.step for entry in made.ledger() if entry.outcome == "sent"
    }
    assert all(
        steps[f"p{n}"] == ("send a" if arm == 0 else "send b")
        for n, arm in arms.items()
    )
    assert {*arms.values()} == {0, 1}
    # Those of the second arm buy.
    made.events(
        "event,contact,at",
        *(
            f"order.placed,p{n},2026-12-03T16:00:00Z"
            for n, arm in arms.items()
            if arm == 1
        ),
    )
    happen(made, "x.y", range(40, 60), "2026-12-10T16:00")
    made.tick("2026-12-10 16:00")
    early = {
        entry.step
        for entry in made.ledger()
        if entry.outcome == "sent" and entry.at > at("2026-12-09")
    }
    assert early == {"send a", "send b"}, "too early to tell"
    happen(made, "x.y", range(60, 80), "2026-12-20T16:00")
    made.tick("2026-12-20 16:00")
    late = [
        entry.step
        for entry in made.ledger()
        if entry.outcome == "sent" and entry.at > at("2026-12-19")
    ]
    assert late == ["send b"] * 20


def test_implied_consent_runs_out(world: Worlds) -> None:
    topics = "topics: { service: { title: S, opt_in: implied, expires: 1 year }, news: { title: N, opt_in: single } }"
    made = world(
        {
            "x": EVERYBODY.replace("x.y", "x.y") + "steps: [send: a]\n",
            "y": "name: Y\ntopic: service\ntrigger: { schedule: every day at 9:00 }\nsteps: [send: b]\n",
        },
        settings=topics,
    )
    people(made, 3)
    made.events(
        "event,contact,at",
        "order.placed,p0,2026-11-01T10:00:00Z",
        "order.placed,p1,2025-11-01T10:00:00Z",
    )
    made.tick("2026-12-01 00:00")
    made.tick("2026-12-01 15:00")
    assert [
        (entry.contact, entry.outcome, entry.code)
        for entry in made.ledger()
        if entry.step
    ] == [
        ("p0", "sent", None),
        ("p1", "skipped", "no-consent"),
        ("p2", "skipped", "no-consent"),
    ]


def test_a_segment_is_entered_once_and_again_after_leaving(world: Worlds) -> None:
    made = world(
        {
            "x": "name: X\ntopic: service\ntrigger: { segment: regulars }\nsteps: [send: a]\n"
        },
        settings="segments: { regulars: { visits: at least 3 } }",
    )
    made.contacts("key,email,visits", "ana,ana@example.com,3", "ben,ben@example.com,1")
    made.tick("2026-12-01 16:00")
    made.tick("2026-12-01 16:10")
    assert [line[11:] for line in made.timeline(outcomes=("sent",))] == [
        "16:00 sent send a"
    ]
    made.contacts("key,visits", "ben,4", "ana,2")
    made.tick("2026-12-01 17:00")
    made.contacts("key,visits", "ana,5")
    made.tick("2026-12-01 18:00")
    sent = [
        (entry.contact, f"{entry.at:%H}")
        for entry in made.ledger()
        if entry.outcome == "sent"
    ]
    assert sent == [("ana", "16"), ("ben", "17"), ("ana", "18")]


def test_the_best_by_a_number_change_at_night(world: Worlds) -> None:
    made = world(
        {
            "x": "name: X\ntopic: service\ntrigger: { segment: best }\nsteps: [send: a]\n"
        },
        settings="segments: { best: { visits: top 50% } }",
    )
    made.contacts("key,email,visits", "ana,ana@example.com,9", "ben,ben@example.com,1")
    made.tick("2026-12-01 16:00")
    made.contacts("key,visits", "ben,20")
    made.tick("2026-12-01 17:00")
    assert len(made.sent()) == 1
    made.run("2026-12-01 17:00", "2026-12-02 20:00")
    assert [
        (entry.contact, f"{entry.at:%d %H:%M}")
        for entry in made.ledger()
        if entry.outcome == "sent"
    ] == [
        ("ana", "01 16:00"),
        ("ben", "02 06:00"),
    ]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 9), st.integers(0, 9), st.integers(1, 50)
        ),
        max_size=12,
    )
)
@settings(max_examples=40)
def test_every_night_a_rank_by_a_total_is_what_it_would_be_if_looked_at_anew(
    tmp_path_factory: pytest.TempPathFactory, orders: list[tuple[int, int, int, int]]
) -> None:
    """Though a rank that stands still is not looked at: orders come in late or ahead of their time, and grow too old."""
    made = World(
        tmp_path_factory.mktemp("ranks"),
        {
            "x": "name: X\ntopic: service\ntrigger: { segment: best }\nsteps: [send: a]\n"
        },
        "data: { contact: { spent: sum of order.placed.total in the last 3 days } }\nsegments: { best: { spent: top 40% } }",
    )
    people(made, 4)
    rank = Rank("contact.spent", "top", 40)
    for day in range(1, 12):
        midnight = at(f"2026-12-{day:02d} 06:00")
        rows = [
            f"order.placed,p{buyer},2026-12-{when + 1:02d}T16:00:00Z,{total}"
            for buyer, comes_in, when, total in orders
            if comes_in + 1 == day
        ]
        if rows:
            made.events("event,contact,at,total", *rows)
        made.tick(midnight)
        with made.database.read() as connection:
            anew = ranks.ranked(
                rank,
                ranks.standings(
                    connection, made.workspace.settings, rank.field, midnight
                ),
            )
            assert segments.members(connection, rank.name) == anew
    made.database.close()


CHANNELS = "transports: { email: { use: memory }, sms: { use: memory }, push: { use: memory }, letter: { use: memory } }"


def test_each_channel_has_its_own_text_and_address(world: Worlds) -> None:
    steps = "".join(
        f"  - send: card\n    id: {channel}\n    channel: {channel}\n"
        for channel in ("email", "sms", "push", "letter")
    )
    made = world({"x": f"{EVERYBODY}steps:\n{steps}"}, settings=CHANNELS)
    made.write(
        "templates/card.md",
        "---\nsubject: S\npreheader: p\n---\nBy *mail*, {{ contact.key }}\n",
    )
    made.write("templates/card.sms", "By sms, {{ contact.key }}")
    made.write("templates/card.push", "---\nsubject: Title\n---\nBy push")
    made.write(
        "templates/card.letter.html",
        "<html lang='en'><p>By letter to {{ contact.postal_address }}</p></html>",
    )
    made.reload()
    made.contacts(
        "key,email,phone,push_token,postal_address",
        "ana,ana@example.com,+13125550100,tok,1 Elm Street",
    )
    made.events("event,contact,at", "x.y,ana,2026-12-01T16:00:00Z")
    made.transports = dict.fromkeys(("email", "sms", "push", "letter"), made.transport)
    made.tick("2026-12-01 16:00")
    got = {
        message.channel: (
            message.to.address,
            message.subject,
            message.text.strip(),
            message.html,
        )
        for message in made.transport.messages
    }
    assert got["sms"] == ("+13125550100", "", "By sms, ana", None)
    assert got["push"][:3] == ("tok", "Title", "By push")
    assert got["letter"][0] == "1 Elm Street"
    assert "By letter to 1 Elm Street" in str(got["letter"][3])
    assert got["email"][0] == "ana@example.com"
    assert "Unsubscribe" in got["email"][2]
    assert "Unsubscribe" not in got["sms"][2] + got["push"][2] + str(got["letter"][3])


def test_a_mail_carries_its_attachments(world: Worlds) -> None:
    made = world(
        {
            "x": EVERYBODY
            + "steps:\n  - send: card\n    attach: [files/Preise für Öl.txt, files/a.bin]\n"
        }
    )
    made.write("templates/files/Preise für Öl.txt", "Öl: 3\n")
    made.write("templates/files/a.bin", "\x00\x01")
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,contact,at", "x.y,ana,2026-12-01T16:00:00Z")
    made.tick("2026-12-01 16:00")
    parsed = email.message_from_bytes(
        to_bytes(made.transport.messages[0]), policy=policy.default
    )
    files = {
        part.get_filename(): part.get_content() for part in parsed.iter_attachments()
    }
    assert files == {"Preise für Öl.txt": "Öl: 3\n", "a.bin": b"\x00\x01"}
    assert parsed.get_body(("html",)) is not None


def test_mjml_becomes_a_page_with_its_jinja_left_in_place(world: Worlds) -> None:
    pytest.importorskip("mrml")
    made = world({"x": EVERYBODY + "steps: [send: card]\n"})
    (made.root / "templates" / "card.md").unlink()
    made.write(
        "templates/card.mjml",
        "---\nsubject: S\n---\n<mjml><mj-body><mj-section><mj-column><mj-text>"
        "{% if contact.key %}Hello {{ contact.key }}{% endif %}</mj-text></mj-column></mj-section></mj-body></mjml>",
    )
    made.reload()
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,contact,at", "x.y,ana,2026-12-01T16:00:00Z")
    made.tick("2026-12-01 16:00")
    [message] = made.transport.messages
    assert "<table" in str(message.html)
    assert "Hello ana" in str(message.html)
    assert "Hello ana" in message.text


def test_signed_links_of_confirmation_and_survey(world: Worlds) -> None:
    steps = "steps:\n  - send: card\n    survey: happy\n"
    made = world(
        {"x": EVERYBODY + steps},
        settings="public_url: https://m.example\nsurveys: { happy: { question: Q, scores: 1-5 } }",
    )
    made.write(
        "templates/card.md",
        "---\nsubject: S\n---\n{{ confirm_link }} {{ survey_link(5) }} {{ view_link }}\n",
    )
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,contact,at", "x.y,ana,2026-12-01T16:00:00Z")
    made.tick("2026-12-01 16:00")
    words = made.transport.messages[0].text.split()
    assert [
        word.split("/")[3] for word in words if word.startswith("https://m.example")
    ][:3] == [
        "confirm",
        "survey",
        "view",
    ]
    made.write("templates/card.md", "---\nsubject: S\n---\n{{ survey_link(9) }}\n")
    made.events("event,contact,at", "x.y,ana,2026-12-02T16:00:00Z")
    made.reload()
    assert made.tick("2026-12-02 16:00").held == 1
    assert "takes a score from 1 to 5" in str(made.ledger()[-1].sentence)


def test_a_campaign_whose_trigger_is_another_one_begins_anew(world: Worlds) -> None:
    """A cursor over counters says nothing about events: the past is not played again."""
    counted = "name: X\ntopic: service\ntransactional: true\ntrigger: { counter: card, reaches: 1 }\nsteps: [send: a]\n"
    made = world({"x": counted}, settings="counters: { card: { add: coffee.bought } }")
    people(made, 8)
    happen(made, "order.placed", range(8), "2025-03-01T16:00")
    happen(made, "coffee.bought", range(1), "2026-06-01T16:00")
    made.tick("2026-06-01 16:00")
    assert len(made.sent()) == 1
    made.write(
        "campaigns/x.yaml",
        counted.replace("{ counter: card, reaches: 1 }", "{ event: order.placed }"),
    )
    made.reload()
    made.tick("2026-06-02 16:00")
    assert len(made.sent()) == 1


def test_a_moved_date_issues_codes_of_its_own(world: Worlds) -> None:
    text = "name: X\ntopic: service\nfor_each: vehicle\ntrigger: { date: vehicle.last_service }\nsteps:\n  - coupon: treat\n  - send: a\n"
    made = world({"x": text}, settings="coupons: { treat: { offer: x, prefix: T } }")
    made.write("templates/a.md", "---\nsubject: s\n---\n{{ coupon.code }}\n")
    made.contacts("key,email", "ana,ana@example.com")
    for n, day in enumerate(("2026-03-20", "2026-03-19", "2026-03-20")):
        made.vehicles("key,contact,last_service", f"golf,ana,{day}")
        made.run(f"2026-03-{20 + n} 10:00", f"2026-03-{20 + n} 23:00")
    codes = [message.text.split()[0] for message in made.transport.messages]
    assert codes
    assert len(codes) == len(set(codes))


def test_a_birthday_that_moves_over_the_turn_of_the_year_is_told_once(
    world: Worlds,
) -> None:
    text = "name: X\ntopic: service\ntrigger: { date: 14 days before contact.birthday, feb_29: skip }\nsteps:\n  - send: one\n  - wait: 5 days\n  - send: two\n"
    made = world({"x": text})
    made.contacts("key,email,birthday", "ana,ana@example.com,01-05")
    made.run("2026-12-20 00:00", "2026-12-23 00:00")
    made.contacts("key,birthday", "ana,01-06")
    made.run("2026-12-23 00:00", "2027-01-10 00:00")
    sent = [line[17:] for line in made.timeline(outcomes=("sent",))]
    assert sent.count("sent send two") == 1
    assert len(sent) <= 3


def test_never_again_does_not_count_a_date_that_moved_away(world: Worlds) -> None:
    text = "name: X\ntopic: service\nfor_each: vehicle\nre_entry: never\ntrigger: { date: vehicle.last_service }\nsteps:\n  - wait: 2 days\n  - send: a\n"
    made = world({"x": text})
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact,last_service", "golf,ana,2026-03-10")
    made.run("2026-03-09 00:00", "2026-03-11 00:00")
    made.vehicles("key,contact,last_service", "golf,ana,2026-04-10")
    made.run("2026-03-11 00:00", "2026-04-20 00:00")
    assert made.sent() == ["2026-04-12 14:00"]


METER = """
data:
  contact: { first_name: text }
  vehicle: { status: [active, sold], last_service: date, odometer: number, due: { earliest_of: [odometer reaches 50000] } }
"""


def test_a_reading_is_what_a_file_says(world: Worlds) -> None:
    text = "name: X\ntopic: service\nfor_each: vehicle\ntrigger: { date: vehicle.due }\nsteps: [send: a]\n"
    made = world({"x": text}, settings=METER)
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact,odometer", "golf,ana,40000", now="2026-01-01 12:00")
    made.vehicles("key,contact,odometer", "golf,ana,41000", now="2026-02-01 12:00")
    made.vehicles("key,contact,status", "golf,ana,active", now="2026-03-01 12:00")
    made.run("2026-03-01 12:00", "2026-12-30 12:00")
    # 1,000 in 31 days, so 9,000 more take 279.
    assert made.sent() == ["2026-11-07 15:00"]


def test_a_date_that_an_event_brings_into_the_past_is_not_lost(world: Worlds) -> None:
    text = "name: X\ntopic: service\nfor_each: vehicle\ntrigger: { date: vehicle.due }\ngrace: 7 days\nsteps: [send: a]\n"
    made = world({"x": text}, settings=METER)
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact,odometer", "golf,ana,40000", now="2026-01-01 12:00")
    made.tick("2026-03-01 12:00")
    made.events(
        "event,contact,at,vehicle,odometer",
        "odometer.read,ana,2026-03-04T12:00:00Z,golf,50500",
    )
    made.tick("2026-03-06 16:00")
    assert made.sent() == ["2026-03-06 16:00"]


def test_a_task_speaks_to_its_own_record(world: Worlds) -> None:
    text = "name: X\ntopic: service\nfor_each: vehicle\ntrigger: { event: x.y }\nfrequency_caps: ignore\nsteps:\n  - task: Call\n  - wait_for: task.done\n  - send: a\n"
    made = world({"x": text})
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact", "golf,ana", "leaf,ana")
    made.events(
        "event,contact,at,vehicle",
        "x.y,ana,2026-12-01T16:00:00Z,golf",
        "x.y,ana,2026-12-01T16:00:00Z,leaf",
    )
    made.tick("2026-12-01 16:00")
    assert drip(made.root, "tasks", "done", "1", "--now", "2026-12-01 10:30").code == 0
    made.tick("2026-12-01 17:00")
    assert len(made.sent()) == 1


def test_a_title_that_cannot_be_filled_in_holds_up_nobody(world: Worlds) -> None:
    text = "name: X\ntopic: service\ntrigger: { event: x.y }\nsteps:\n  - task: Pay {{ x.total|money }}\n  - send: a\n"
    made = world({"x": text})
    people(made, 2)
    made.events(
        "event,contact,at,total",
        "x.y,p0,2026-12-01T16:00:00Z,n/a",
        "x.y,p1,2026-12-01T16:00:00Z,3",
    )
    made.tick("2026-12-01 16:00")
    assert len(made.sent()) == 2
    titles = {
        entry.contact: entry.sentence
        for entry in made.ledger()
        if entry.outcome == "task"
    }
    assert titles == {"p0": "Pay {{ x.total|money }}", "p1": "Pay $3.00"}


def test_a_number_beyond_all_sense_is_not_counted(world: Worlds) -> None:
    text = "name: X\ntopic: service\ntrigger: { counter: points, reaches: 10 }\nsteps: [send: a]\n"
    made = world(
        {"x": text},
        settings="counters: { points: { add: order.placed, field: total } }",
    )
    people(made, 2)
    made.events(
        "event,contact,at,total",
        f"order.placed,p0,2026-12-01T10:00:00Z,{'9' * 25}",
        "order.placed,p1,2026-12-01T10:00:00Z,12",
    )
    made.tick("2026-12-01 16:00")
    assert [entry.contact for entry in made.ledger() if entry.outcome == "sent"] == [
        "p1"
    ]


def test_a_text_that_cannot_be_read_is_one_problem_among_others(world: Worlds) -> None:
    made = world(
        {
            "x": "name: X\ntopic: service\ntrigger: { event: x.y }\nsteps: [send: a]\n",
            "y": "name: [\n",
        }
    )
    (made.root / "templates" / "unused.md").write_bytes(b"\xff\xfe")
    made.write(
        "templates/deep.md",
        "---\nsubject: s\n---\n" + "{% if 1 %}" * 150 + "{% endif %}" * 150,
    )
    made.write(
        "templates/_layout.html",
        "<html lang='en'><body>{{ nope }}{% block body %}{% endblock %}</body></html>",
    )
    made.write(
        "campaigns/z.yaml",
        "name: Z\ntopic: service\ntrigger: { event: x.y }\nsteps: [send: deep]\n",
    )
    made.reload()
    said = "\n".join("\n".join(each.lines()) for each in made.workspace.problems())
    for each in (
        "the file is not UTF-8 text",
        "nested too deep",
        "campaigns/y.yaml",
        "`nope` does not exist here",
    ):
        assert each in said


def test_a_brake_does_not_count_who_has_been_in(world: Worlds) -> None:
    made = world(
        {
            "x": "name: X\ntopic: service\ntrigger: { date: contact.birthday }\nmax_audience: 5\nsteps: [send: a]\n"
        }
    )
    made.contacts(
        "key,email,birthday", *(f"p{n},p{n}@example.com,11-25" for n in range(3))
    )
    made.tick("2026-11-25 01:00")
    made.tick("2026-11-25 16:00")
    # Something about the same three is new, and so they are looked at again.
    made.contacts(
        "key,email,visits",
        *(f"p{n},p{n}@example.com,7" for n in range(3)),
        now="2026-11-25 17:00",
    )
    made.tick("2026-11-25 17:00")
    assert len(made.sent()) == 3
    assert not made.workspace.campaign_set(made.database, at("2026-11-25 17:00")).holds
