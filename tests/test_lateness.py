"""Slots kept ahead, and what becomes of messages that nobody looked at in time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drip.core.calendar import zone
from drip.preview.outages import effects
from drip.preview.simulator import Nowhere, Outage, rehearsal, simulate
from drip.storage.reading.ledger import entries
from tests.world import World, at

Worlds = Callable[..., World]
PROMO = "name: Promo\ntopic: news\npriority: low\ntrigger: { schedule: 2026-11-23 10:00 }\nsteps: [send: promo]\n"
CARD = "name: Card\ntopic: news\npriority: high\ntrigger: { date: contact.birthday, repeat: yearly }\nsteps: [send: card]\n"
WEEKLY = "frequency_caps: { all: 1 per week }\nsend_window: 9:00-19:00\nwhen_capped: wait up to 2 days"
PERSON = ("key,email,birthday,news", "ana,ana@example.com,11-26,yes")


def test_mondays_promotion_leaves_the_slot_that_thursdays_card_needs(
    world: Worlds,
) -> None:
    made = world({"promo": PROMO, "card": CARD + "reserve: 7 days\n"}, settings=WEEKLY)
    made.contacts(*PERSON)
    made.run("2026-11-22 00:00", "2026-11-28 00:00")
    assert made.timeline() == [
        "2026-11-23 16:00 skipped send promo (cap)",
        "2026-11-26 15:00 sent send card",
    ]
    (skipped,) = [each for each in made.ledger() if each.outcome == "skipped"]
    assert "kept for card on 26 Nov" in (skipped.sentence or "")


def test_without_reserve_the_promotion_eats_it(world: Worlds) -> None:
    made = world({"promo": PROMO, "card": CARD}, settings=WEEKLY)
    made.contacts(*PERSON)
    made.run("2026-11-22 00:00", "2026-11-28 00:00")
    assert made.timeline() == [
        "2026-11-23 16:00 sent send promo",
        "2026-11-26 15:00 skipped send card (cap)",
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("reserve: 2 days\n", "the card is further away than that"),
        (
            "reserve: 7 days\naudience: { visits: at least 1 }\n",
            "the card is not for her",
        ),
        ("reserve: 7 days\ncounted: no\n", "the card uses no slot"),
        ("reserve: 7 days\nstatus: paused\n", "no card goes out"),
        ("reserve: 7 days\nholdout: 99%\n", "she is one of those who get none"),
    ],
)
def test_no_slot_is_kept_for_a_card_that_does_not_come(
    world: Worlds, change: str, why: str
) -> None:
    made = world({"promo": PROMO, "card": CARD + change}, settings=WEEKLY)
    made.contacts(*PERSON)
    made.run("2026-11-22 00:00", "2026-11-24 00:00")
    assert made.sent() == ["2026-11-23 16:00"], why


def test_a_card_that_she_has_switched_off_keeps_no_slot(world: Worlds) -> None:
    made = world(
        {"promo": PROMO.replace("news", "service"), "card": CARD + "reserve: 7 days\n"},
        settings=WEEKLY,
    )
    made.contacts("key,email,birthday,news", "ana,ana@example.com,11-26,no")
    made.run("2026-11-22 00:00", "2026-11-24 00:00")
    assert made.sent() == ["2026-11-23 16:00"]


def test_the_slot_is_given_free_once_the_card_has_its_end(world: Worlds) -> None:
    late = PROMO.replace("2026-11-23 10:00", "2026-12-03 10:00")
    made = world({"promo": late, "card": CARD + "reserve: 30 days\n"}, settings=WEEKLY)
    made.contacts(*PERSON)
    made.run("2026-11-22 00:00", "2026-12-05 00:00")
    assert made.sent() == ["2026-11-26 15:00", "2026-12-03 16:00"]


def test_a_slot_is_kept_at_the_time_at_which_the_window_lets_the_card_go(
    world: Worlds,
) -> None:
    card = (
        CARD
        + "reserve: 7 days\ngrace: 4 days\nsend_window: 9:00-19:00 on business days\n"
    )
    made = world({"promo": PROMO, "card": card}, settings=WEEKLY)
    made.contacts("key,email,birthday,news", "ana,ana@example.com,11-28,yes")
    made.run("2026-11-22 00:00", "2026-12-02 00:00")
    assert made.sent() == ["2026-11-23 16:00", "2026-11-30 15:00"], (
        "a Saturday's card leaves on the Monday after"
    )


@settings(max_examples=30)
@given(
    st.integers(1, 28),
    st.integers(1, 9),
    st.sampled_from(["1 per week", "2 per week", "1 per day", "1 per 60 hours"]),
)
def test_what_is_reserved_for_as_long_as_the_caps_window_is_never_taken(
    tmp_path_factory: pytest.TempPathFactory, day: int, reserve: int, cap: str
) -> None:
    daily = PROMO.replace("schedule: 2026-11-23 10:00", "schedule: every day at 10:00")
    made = World(
        tmp_path_factory.mktemp("w"),
        {"promo": daily, "card": CARD + f"reserve: {reserve} days\n"},
        f"frequency_caps: {{ all: {cap} }}\nsend_window: 9:00-19:00",
    )
    made.contacts("key,email,birthday,news", f"ana,ana@example.com,12-{day:02d},yes")
    made.run("2026-11-21 00:00", f"2026-12-{day + 2:02d} 00:00")
    (card,) = [
        each
        for each in made.ledger()
        if each.campaign == "card" and each.outcome in ("sent", "skipped")
    ]
    made.database.close()
    window = 7 if "week" in cap else 3 if "hours" in cap else 1
    if reserve >= window:
        assert card.outcome == "sent", "a promotion has taken the slot that was kept"


LETTER = "name: Letter\ntopic: service\ntrigger: { schedule: every Thursday at 10:00 }\ngrace: 3 days\nsteps: [send: a]\n"
HOURS = "send_window: 9:00-19:00"


@pytest.mark.parametrize(
    ("when_late", "timeline"),
    [
        ("send", ["2026-11-26 20:00 sent send a"]),
        ("skip", ["2026-11-26 20:00 skipped send a (too-late)"]),
        ("next window", ["2026-11-27 15:00 sent send a"]),
    ],
)
def test_what_nobody_looked_at_in_time(
    world: Worlds, when_late: str, timeline: list[str]
) -> None:
    made = world({"letter": LETTER + f"when_late: {when_late}\n"}, settings=HOURS)
    made.contacts("key,email", "ana,ana@example.com")
    for now in (
        "2026-11-25 16:00",
        "2026-11-26 20:00",
        "2026-11-27 14:00",
        "2026-11-27 15:00",
    ):
        made.tick(now)
    assert made.timeline() == timeline


def test_half_an_hour_is_not_late(world: Worlds) -> None:
    made = world({"letter": LETTER + "when_late: skip\n"}, settings=HOURS)
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 16:00")
    made.tick("2026-11-26 16:30")
    assert made.sent() == ["2026-11-26 16:30"]


def test_waiting_for_the_morning_is_not_being_late(world: Worlds) -> None:
    made = world(
        {"letter": LETTER.replace("10:00", "22:00") + "when_late: skip\n"},
        settings=HOURS,
    )
    made.contacts("key,email", "ana,ana@example.com")
    made.run("2026-11-25 16:00", "2026-11-28 00:00")
    assert made.sent() == ["2026-11-27 15:00"]


def test_next_window_beyond_grace_is_too_late(world: Worlds) -> None:
    made = world(
        {"letter": LETTER.replace("3 days", "6 hours") + "when_late: next window\n"},
        settings=HOURS,
    )
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 16:00")
    made.tick("2026-11-26 20:00")
    assert made.timeline() == ["2026-11-26 20:00 skipped send a (too-late)"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("reserve: 7 days", "only what is due on a date is known ahead"),
        ("when_late: never", "when_late"),
        ("reserve: soon", "soon"),
    ],
)
def test_what_cannot_be_is_refused(world: Worlds, line: str, said: str) -> None:
    made = world({"letter": LETTER + line + "\n"}, settings=HOURS)
    assert any(
        said in "\n".join(each.lines()) for each in made.workspace.loaded.problems
    ), line


def test_a_late_message_without_a_window_has_no_next_one(world: Worlds) -> None:
    made = world({"letter": LETTER + "when_late: next window\n"})
    assert any(
        "no send window" in each.sentence for each in made.workspace.loaded.problems
    )


def test_the_zone_of_the_window_is_the_recipients(world: Worlds) -> None:
    made = world({"letter": LETTER + "when_late: next window\n"}, settings=HOURS)
    made.contacts("key,email,timezone", "yuki,yuki@example.com,Asia/Tokyo")
    made.tick("2026-11-25 16:00")
    # Half past one in the afternoon in Tokyo: three and a half hours late.
    made.tick("2026-11-26 04:30")
    made.tick("2026-11-27 00:00")
    assert made.sent() == ["2026-11-27 00:00"]
    assert at("2026-11-27 00:00").astimezone(zone("Asia/Tokyo")).hour == 9


def outage_of(made: World, start: str, end: str, last: str) -> list[str]:
    """What a downtime does, as `late send a 2026-11-26 16:00 → 2026-11-26 22:00`."""
    now, until, down = at("2026-11-24 00:00"), at(last), Outage(at(start), at(end))
    ledgers = []
    for outage in (None, down):
        with rehearsal(made.database, now) as copy:
            campaign_set = made.workspace.campaign_set(copy, now)
            simulate(
                copy,
                campaign_set,
                made.workspace.templates,
                {"email": Nowhere()},
                now,
                until,
                outage=outage,
            )
            with copy.read() as connection:
                ledgers.append(list(entries(connection, until=until)))
    return [
        f"{each.kind} {each.step} "
        + " → ".join(
            f"{t:%m-%d %H:%M}" if t else "never" for t in (each.before, each.after)
        )
        for each in effects(*ledgers, down)
    ]


def test_a_downtime_makes_late_drops_and_merges(world: Worlds) -> None:
    daily = "name: D\ntopic: service\ntrigger: { schedule: every day at 10:00 }\ngrace: 1 day\nsteps: [send: daily]\n"
    short = "name: S\ntopic: service\ntrigger: { schedule: 2026-11-26 9:30 }\ngrace: 2 hours\nsteps: [send: short]\n"
    card = CARD.replace("priority: high", "grace: 3 days")
    made = world({"daily": daily, "short": short, "card": card}, settings=HOURS)
    made.contacts(*PERSON)
    # Down from Wednesday evening to Friday at two in the afternoon.
    found = outage_of(made, "2026-11-26 01:00", "2026-11-27 20:00", "2026-11-28 12:00")
    assert found == [
        "late send card 11-26 15:00 → 11-27 20:00",
        "dropped send short 11-26 15:30 → never",
        "merged send daily 11-26 16:00 → never",
        "late send daily 11-27 16:00 → 11-27 20:00",
    ]


def test_what_comes_back_after_a_downtime_keeps_caps_and_priority(
    world: Worlds,
) -> None:
    low = PROMO.replace("2026-11-23", "2026-11-26").replace(
        "priority: low", "priority: low\ngrace: 3 days"
    )
    made = world(
        {"promo": low, "card": CARD},
        settings="frequency_caps: { all: 1 per day }\n" + HOURS,
    )
    made.contacts(*PERSON)
    for now in ("2026-11-25 12:00", "2026-11-27 20:00", "2026-11-28 15:00"):
        made.tick(now)
    assert made.timeline(outcomes=("sent",)) == [
        "2026-11-27 20:00 sent send card",
        "2026-11-28 15:00 sent send promo",
    ]


DUE = """
name: Due
topic: service
trigger: { date: vehicle.due }
for_each: vehicle
send_window: 9:00-17:00 on business days
grace: 7 days
when_late: LATE
steps: [send: card]
"""


@pytest.mark.parametrize("late", ["skip", "next window"])
def test_a_weekend_without_drip_makes_nothing_late_that_had_to_wait_for_monday(
    world: Worlds, late: str
) -> None:
    made = world({"due": DUE.replace("LATE", late)})
    made.contacts("key,email", "ana,ana@example.com")
    # Due on Saturday the 28th.
    made.vehicles("key,contact,last_service", "golf,ana,2026-05-28")
    made.tick("2026-11-27 18:00")
    made.tick("2026-11-30 15:00")
    assert made.timeline() == ["2026-11-30 15:00 sent send card"]
