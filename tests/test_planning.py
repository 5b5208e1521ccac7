"""Planning and sending in a workspace: who enters, when messages go, what ends a run, what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from textwrap import dedent
from typing import Any

import pytest
from sqlalchemy import text

from drip.core.message import Refused, Sent, Unknown, Unsent
from drip.engine import planner
from drip.engine.left_behind import reap
from drip.storage.operating import holds
from drip.storage.people import suppressions
from drip.storage.sending import outbox
from tests.world import World, at

Worlds = Callable[..., World]
BIRTHDAY = """
name: Birthday
topic: service
trigger: { date: contact.birthday, repeat: yearly }
send_window: 8:00-12:00
steps:
  - send: card
"""
OIL = """
name: Oil
topic: service
for_each: vehicle
trigger: { date: vehicle.due }
audience: { vehicle.status: active }
exit_when: [booking.created]
send_window: 9:00-19:00
steps:
  - send: soon
    at: 14 days before vehicle.due
  - send: due
    at: vehicle.due
  - wait: 10 days
  - send: follow-up
"""
LETTER = """
name: Letter
topic: service
trigger: { schedule: every Thursday at 10:00 }
steps:
  - send: letter
"""
THANKS = """
name: Thanks
topic: service
trigger: { event: order.placed }
steps:
  - wait: 3 days
  - send: thanks
"""


def test_a_leap_day_birthday_of_unknown_year_comes_on_february_28_as_the_window_opens(
    world: Worlds,
) -> None:
    made = world({"birthday": BIRTHDAY})
    made.contacts("key,email,birthday", "ana,ana@example.com,02-29")
    made.run("2027-01-01 12:00", "2028-03-10")
    assert made.sent() == ["2027-02-28 14:00", "2028-02-29 14:00"]


def test_the_service_reminder_runs_through_its_steps(world: Worlds) -> None:
    made = world({"oil": OIL})
    made.contacts("key,email,timezone", "ana,ana@example.com,America/Chicago")
    made.vehicles(
        "key,contact,model,status,last_service",
        "golf,ana,Golf,active,2026-01-05",
        "old,ana,Beetle,sold,2026-01-05",
    )
    made.run("2026-05-01 12:00", "2026-12-31")
    assert made.timeline() == [
        "2026-06-21 14:00 sent send soon",
        "2026-07-05 14:00 sent send due",
        "2026-07-15 14:00 sent send follow-up",
    ]


def test_a_booking_stops_the_follow_ups_of_its_own_vehicle_only(world: Worlds) -> None:
    made = world({"oil": OIL})
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles(
        "key,contact,status,last_service",
        "golf,ana,active,2026-01-05",
        "leaf,ana,active,2026-01-05",
    )
    made.run("2026-05-01 12:00", "2026-07-08 20:00")
    made.events("event,contact,at,vehicle", "booking.created,ana,2026-07-08 15:10,golf")
    made.run("2026-07-08 20:10", "2026-07-20")
    assert [line[17:] for line in made.timeline("ana")][-2:] == [
        "exited oil (exited)",
        "sent send follow-up",
    ]


def test_planning_the_same_thing_twice_is_harmless(world: Worlds) -> None:
    made = world({"birthday": BIRTHDAY, "letter": LETTER, "thanks": THANKS})
    made.contacts("key,email,birthday", "ana,ana@example.com,1990-11-26")
    made.events("event,id,contact,at", "order.placed,1,ana,2026-11-23 10:00")
    for _ in range(3):
        for hour in ("2026-11-25 12:00", "2026-11-26 16:30", "2026-11-26 16:31"):
            made.tick(hour)
    assert len(made.sent()) == 3


def test_ten_o_clock_is_where_each_reader_lives(world: Worlds) -> None:
    made = world({"letter": LETTER})
    made.contacts(
        "key,email,timezone",
        "a,a@example.com,Asia/Tokyo",
        "b,b@example.com,Europe/Paris",
        "c,c@example.com,",
    )
    made.run("2026-11-25 12:00", "2026-11-28")
    assert {key: made.sent(key) for key in "abc"} == {
        "a": ["2026-11-26 01:00"],
        "b": ["2026-11-26 09:00"],
        "c": ["2026-11-26 16:00"],
    }


def test_several_missed_occurrences_collapse_to_the_newest_and_expire_with_grace(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-01 12:00")
    made.tick("2026-11-26 18:00")
    assert made.timeline() == ["2026-11-26 18:00 sent send letter"]
    made.tick("2026-12-10 23:00")
    assert made.timeline()[1:] == ["2026-12-10 23:00 skipped send letter (too-late)"]


def test_a_schedule_that_was_never_looked_at_sends_nothing_of_the_past(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-26 16:30")
    assert made.timeline() == []


def test_a_contact_imported_late_joins_at_the_right_point(world: Worlds) -> None:
    made = world({"oil": OIL})
    made.tick("2026-07-01 12:00")
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-01-05")
    made.run("2026-07-01 15:00", "2026-08-01")
    assert made.timeline() == [
        "2026-07-01 15:00 skipped send soon (too-late)",
        "2026-07-05 14:00 sent send due",
        "2026-07-15 14:00 sent send follow-up",
    ]


def test_a_newer_service_moves_the_reminder_to_the_new_date(world: Worlds) -> None:
    made = world({"oil": OIL})
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-01-05")
    made.run("2026-05-01 12:00", "2026-06-25")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-06-24")
    made.run("2026-06-25 12:00", "2026-12-31")
    assert made.timeline() == [
        "2026-06-21 14:00 sent send soon",
        "2026-06-25 12:00 exited oil (date-moved)",
        "2026-12-10 15:00 sent send soon",
        "2026-12-24 15:00 sent send due",
    ]


def test_a_corrected_date_moves_what_is_unsent_and_repeats_nothing(
    world: Worlds,
) -> None:
    made = world({"oil": OIL})
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-01-05")
    made.run("2026-05-01 12:00", "2026-06-25")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-01-07")
    made.run("2026-06-25 12:00", "2026-07-10")
    assert made.timeline() == [
        "2026-06-21 14:00 sent send soon",
        "2026-07-07 14:00 sent send due",
    ]


def test_the_audience_is_asked_again_before_every_send(world: Worlds) -> None:
    made = world({"oil": OIL})
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-01-05")
    made.run("2026-05-01 12:00", "2026-07-06")
    made.vehicles("key,contact,status", "golf,ana,sold")
    made.run("2026-07-06 12:00", "2026-08-01")
    assert made.timeline()[2:] == ["2026-07-15 14:00 exited oil (not-in-audience)"]


def test_re_entry_waits_as_long_as_it_says(world: Worlds) -> None:
    made = world(
        {
            "thanks": THANKS + "re_entry: after 90 days\n",
            "once": THANKS + "re_entry: never\n",
        }
    )
    made.contacts("key,email", "ana,ana@example.com")
    made.events(
        "event,id,contact,at",
        *(f"order.placed,{n},ana,2026-0{n}-01 10:00" for n in range(1, 9)),
    )
    for month in range(1, 9):
        made.run(f"2026-0{month}-01 17:00", f"2026-0{month}-20")
    per_campaign = [
        entry.campaign for entry in made.ledger() if entry.outcome == "sent"
    ]
    assert per_campaign.count("once") == 1
    assert per_campaign.count("thanks") == 3


def test_priority_wins_the_slot_and_the_other_waits(world: Worlds) -> None:
    made = world(
        {
            "a-letter": LETTER + "priority: low\n",
            "birthday": BIRTHDAY.replace("8:00-12:00", "10:00-12:00")
            + "priority: high\n",
        },
        settings="frequency_caps: { all: 1 per day }\nsend_window: 9:00-19:00\nwhen_capped: wait up to 2 days",
    )
    made.contacts("key,email,birthday", "ana,ana@example.com,1990-11-26")
    made.write(
        "campaigns/a-letter.yaml",
        (made.root / "campaigns/a-letter.yaml").read_text() + "grace: 3 days\n",
    )
    made.reload()
    made.run("2026-11-25 12:00", "2026-11-29")
    assert made.timeline() == [
        "2026-11-26 16:00 sent send card",
        "2026-11-27 15:00 sent send letter",
    ]


def test_what_is_due_on_a_holiday_waits_for_the_next_business_day(
    world: Worlds,
) -> None:
    made = world(
        {
            "birthday": BIRTHDAY.replace(
                "12:00", "12:00 on business days\ngrace: 4 days"
            )
        },
        settings="holidays: [2026-12-25]",
    )
    made.contacts(
        "key,email,birthday", "ana,ana@example.com,12-25", "ben,ben@example.com,12-29"
    )
    made.run("2026-12-01 12:00", "2026-12-31")
    assert made.sent() == ["2026-12-28 14:00", "2026-12-29 14:00"]
    (waited,) = [entry for entry in made.ledger() if entry.outcome == "deferred"]
    assert (waited.code, waited.until) == ("holiday", at("2026-12-28 14:00"))


def test_each_refusal_is_kept_with_code_sentence_place_and_next_instant(
    world: Worlds,
) -> None:
    made = world(
        {"letter": LETTER + "grace: 2 days\n"}, settings="quiet_hours: 9:00-11:00"
    )
    made.contacts("key,email", "ana,ana@example.com")
    made.run("2026-11-25 12:00", "2026-11-28")
    (refusal,) = [entry for entry in made.ledger() if entry.outcome == "deferred"]
    assert refusal.code == "quiet-hours"
    assert refusal.place is not None
    assert refusal.place.startswith("campaigns/_settings.yaml:")
    assert refusal.until == at("2026-11-26 17:00")
    assert made.sent() == ["2026-11-26 17:00"]


def test_nobody_is_written_to_without_consent_or_after_a_suppression(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER.replace("service", "news")})
    made.contacts(
        "key,email,news",
        "yes,yes@example.com,yes",
        "no,no@example.com,no",
        "silent,s@example.com,",
        "bad,bad@example.com,yes",
    )
    made.contacts("key,news", "gone,yes")
    with made.database.write() as connection:
        suppressions.suppress(
            connection, "BAD@example.com", "hard bounce", at("2026-11-01")
        )
    made.run("2026-11-25 12:00", "2026-11-28")
    codes = {
        entry.contact: entry.code
        for entry in made.ledger()
        if entry.outcome == "skipped"
    }
    assert codes == {
        "no": "no-consent",
        "silent": "no-consent",
        "bad": "suppressed",
        "gone": "no-address",
    }
    assert [message.to.address for message in made.transport.messages] == [
        "yes@example.com"
    ]


def test_an_unsubscribe_between_grant_and_sending_wins(world: Worlds) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email", "ana,ana@example.com", "ben,ben@example.com")
    made.tick("2026-11-25 12:00")

    def unsubscribes_ben(message: object) -> Sent:
        made.contacts("key,service", "ben,no", now="2026-11-26")
        return Sent("ok")

    made.answer = unsubscribes_ben
    made.tick("2026-11-26 16:00")
    made.tick("2026-11-26 16:01")
    assert [message.to.address for message in made.transport.messages] == [
        "ana@example.com"
    ]
    assert made.timeline("ben") == ["2026-11-26 16:00 skipped send letter (no-consent)"]


def test_a_refused_message_fails_and_the_others_go_on(world: Worlds) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email", "ana,ana@example.com", "ben,ben@example.com")
    made.tick("2026-11-25 12:00")
    made.answer = lambda message: (
        Refused("550 no such user") if "ana" in message.to.address else Sent("ok")
    )
    result = made.tick("2026-11-26 16:00")
    assert (result.sent, result.failed) == (1, 1)
    (failed,) = [entry for entry in made.ledger() if entry.outcome == "failed"]
    assert failed.sentence == "550 no such user"


def test_an_unsent_message_keeps_its_slot_and_is_tried_again(world: Worlds) -> None:
    made = world({"letter": LETTER}, settings="frequency_caps: { all: 1 per day }")
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 12:00")
    made.answer = lambda message: Unsent("451 later")
    made.tick("2026-11-26 16:00")
    made.answer = None
    assert made.tick("2026-11-26 16:00:10").sent == 0
    assert made.tick("2026-11-26 16:00:40").sent == 1


def test_a_grant_that_has_not_left_is_judged_again_where_it_stands(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER}, settings="quiet_hours: 11:00-12:00")
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 12:00")
    made.answer = lambda message: Unsent("451 later")
    made.tick("2026-11-26 16:55")
    made.answer = None
    made.tick("2026-11-26 17:06")
    made.tick("2026-11-26 17:07")
    made.tick("2026-11-26 18:00")
    assert made.sent() == ["2026-11-26 18:00"]


def test_an_unknown_outcome_is_held_counts_and_is_settled_by_a_person(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER}, settings="frequency_caps: { all: 1 per week }")
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 12:00")
    made.answer = lambda message: Unknown("the connection broke")
    made.tick("2026-11-26 16:00")
    made.answer = None
    made.tick("2026-12-03 16:00")
    assert made.sent() == [], "nobody knows when it left, so it counts in every window"
    with made.database.write() as connection:
        (held,) = outbox.held(connection)
        assert held.code == "unknown"
        assert (
            outbox.release(connection, [held.id], "sent", at("2026-12-03 17:00")) == 1
        )
    made.tick("2026-12-10 16:00")
    assert made.sent() == ["2026-11-26 16:00", "2026-12-10 16:00"]


def test_an_unknown_outcome_goes_out_again_where_the_campaign_says_so(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER + "on_unknown: resend\n"})
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 12:00")
    seen = []
    made.answer = lambda message: (
        seen.append(message.message_id)
        or (Unknown("broke") if len(seen) == 1 else Sent("ok"))
    )
    made.tick("2026-11-26 16:00")
    made.tick("2026-11-26 16:59")
    assert len(seen) == 1
    made.tick("2026-11-26 17:00")
    assert len(seen) == 2
    assert len(set(seen)) == 1


def test_what_a_dead_daemon_left_behind_is_held_and_never_sent_twice(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 12:00")

    def dies(message: object) -> Sent:
        raise KeyboardInterrupt

    made.answer = dies
    try:
        made.tick("2026-11-26 16:00")
    except KeyboardInterrupt:
        made.answer = None
    campaign_set = made.workspace.campaign_set(made.database, at("2026-11-26 16:01"))
    with made.database.write() as connection:
        assert reap(connection, campaign_set, 2, at("2026-11-26 16:01")) == 1
    made.tick("2026-11-26 16:02")
    assert made.sent() == []
    with made.database.read() as connection:
        assert [each.state for each in outbox.held(connection)] == ["held"]


def test_a_template_that_fails_for_one_holds_that_one(world: Worlds) -> None:
    made = world(
        {"letter": LETTER},
        templates="---\nsubject: x\n---\nDear {{ contact.first_name }}",
    )
    made.contacts(
        "key,email,first_name", "ana,ana@example.com,Ana", "ben,ben@example.com,"
    )
    made.tick("2026-11-25 12:00")
    result = made.tick("2026-11-26 16:00")
    assert (result.sent, result.held) == (1, 1)
    (held,) = [entry for entry in made.ledger() if entry.outcome == "held"]
    assert (held.contact, held.code, held.place) == (
        "ben",
        "render-error",
        "templates/letter.md:4",
    )
    with made.database.write() as connection:
        outbox.release(
            connection,
            [each.id for each in outbox.held(connection)],
            "deferred",
            at("2026-11-26 16:30"),
        )
    made.contacts("key,first_name", "ben,Ben")
    made.tick("2026-11-26 16:31")
    assert len(made.sent("ben")) == 1


def test_a_held_campaign_keeps_people_in_place_and_goes_on(world: Worlds) -> None:
    made = world({"thanks": THANKS})
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,id,contact,at", "order.placed,1,ana,2026-11-20 10:00")
    made.tick("2026-11-20 18:00")
    with made.database.write() as connection:
        holds.hold(connection, "thanks", at("2026-11-21"))
    made.tick("2026-11-23 16:00")
    made.tick("2026-11-23 17:30")
    assert made.sent() == []
    assert [entry.code for entry in made.ledger() if entry.outcome == "deferred"] == [
        "paused"
    ]
    with made.database.write() as connection:
        holds.let_go(connection, "thanks")
        outbox.wake_paused(connection, "thanks", at("2026-11-23 18:00"))
    made.tick("2026-11-23 18:00")
    assert made.sent() == ["2026-11-23 18:00"]


def test_a_run_keeps_the_version_it_started_with(world: Worlds) -> None:
    made = world({"thanks": THANKS})
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,id,contact,at", "order.placed,1,ana,2026-11-20 10:00")
    made.tick("2026-11-20 18:00")
    made.write("campaigns/thanks.yaml", THANKS.replace("3 days", "9 days"))
    made.reload()
    made.run("2026-11-21 00:00", "2026-12-20")
    assert made.sent() == ["2026-11-23 16:00"]


def test_a_broken_file_leaves_its_last_good_version_in_force(world: Worlds) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 12:00")
    made.write("campaigns/letter.yaml", LETTER.replace("topic", "topc"))
    made.reload()
    made.run("2026-11-25 12:10", "2026-11-28")
    assert made.sent() == ["2026-11-26 16:00"]


def test_a_deleted_campaign_holds_its_people(world: Worlds) -> None:
    made = world({"thanks": THANKS})
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,id,contact,at", "order.placed,1,ana,2026-11-20 10:00")
    made.tick("2026-11-20 18:00")
    (made.root / "campaigns/thanks.yaml").unlink()
    made.reload()
    made.tick("2026-11-23 16:00")
    assert made.sent() == []
    assert [
        entry.sentence for entry in made.ledger() if entry.outcome == "deferred"
    ] == ["the campaign's file is gone"]


def test_the_issue_of_the_day_is_its_dated_file_and_without_one_nothing_goes(
    world: Worlds,
) -> None:
    made = world(
        {
            "letter": LETTER.replace(
                "  - send: letter",
                "  - send: letter\n    content: issues\n    subject: '{{ issue.title }}'",
            )
        }
    )
    made.write(
        "templates/issues/2026-11-26-winter.md",
        "---\ntitle: Winter for {{ contact.first_name }}\n---\nBe *warm*.",
    )
    made.write("templates/letter.md", "---\nsubject: x\n---\n{{ issue.body }}")
    made.contacts("key,email,first_name", "ana,ana@example.com,Ana")
    made.run("2026-11-25 12:00", "2026-12-05")
    assert made.timeline() == [
        "2026-11-26 16:00 sent send letter",
        "2026-12-03 16:00 skipped send letter (no-content)",
    ]
    (message,) = made.transport.messages
    assert message.subject == "Winter for Ana"
    assert "<em>warm</em>" in (message.html or "")
    assert "Be warm." in message.text


def test_a_changed_zone_brings_no_second_issue(world: Worlds) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email,timezone", "ana,ana@example.com,Asia/Tokyo")
    made.run("2026-11-25 12:00", "2026-11-26 02:00")
    made.contacts("key,timezone", "ana,America/Chicago")
    made.run("2026-11-26 02:10", "2026-11-27 12:00")
    assert made.sent() == ["2026-11-26 01:00"]


def test_an_exit_stops_a_message_that_waits_for_its_next_try(world: Worlds) -> None:
    made = world({"thanks": THANKS + "exit_when: [order.refunded]\n"})
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,id,contact,at", "order.placed,1,ana,2026-11-20 10:00")
    made.tick("2026-11-20 18:00")
    made.answer = lambda message: Unsent("451 greylisted")
    made.tick("2026-11-23 16:00")
    made.events("event,id,contact,at", "order.refunded,1,ana,2026-11-23 10:00:10")
    made.answer = None
    made.tick("2026-11-23 16:01")
    assert made.timeline() == [
        "2026-11-23 16:01 skipped send thanks (exited)",
        "2026-11-23 16:01 exited thanks (exited)",
    ]


def test_a_server_that_dies_after_each_final_dot_is_not_fed_for_ever(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER + "on_unknown: resend\n"})
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 12:00")
    seen: list[str] = []
    made.answer = lambda message: seen.append(message.message_id) or Unknown("broke")
    for minute in range(0, 240, 5):
        made.tick(at("2026-11-26 16:00") + timedelta(minutes=minute))
    assert len(seen) == 2
    with made.database.read() as connection:
        assert [each.code for each in outbox.held(connection)] == ["unknown"]


def test_a_resend_that_may_have_left_before_still_counts(world: Worlds) -> None:
    made = world(
        {
            "letter": LETTER + "on_unknown: resend\n",
            "other": LETTER.replace("letter", "other").replace("10:00", "11:30"),
        },
        settings="frequency_caps: { all: 1 per day }",
    )
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 12:00")
    made.answer = lambda message: Unknown("broke")
    made.tick("2026-11-26 16:00")
    made.answer = lambda message: Refused("550 no")
    made.tick("2026-11-26 17:00")
    made.answer = None
    made.tick("2026-11-26 17:30")
    assert made.sent() == []


def test_an_issue_that_cannot_be_read_holds_its_own_message_and_stops_nobody_else(
    world: Worlds,
) -> None:
    with_issue = LETTER.replace(
        "  - send: letter", "  - send: letter\n    content: issues"
    )
    made = world({"a": with_issue, "b": LETTER.replace("send: letter", "send: other")})
    made.write(
        "templates/issues/2026-11-26-x.md", "---\ntitle: Winter: what to check\n---\nx"
    )
    made.contacts("key,email", "ana,ana@example.com")
    made.run("2026-11-25 12:00", "2026-11-27")
    outcomes = {
        entry.campaign: entry.outcome
        for entry in made.ledger()
        if entry.outcome in ("sent", "held")
    }
    assert outcomes == {"a": "held", "b": "sent"}


def test_dates_at_the_calendars_ends_are_refused_and_stop_nobody(world: Worlds) -> None:
    made = world({"oil": OIL})
    made.contacts("key,email", "ana,ana@example.com")
    report = made.vehicles(
        "key,contact,status,last_service",
        "a,ana,active,9999-12-31",
        "b,ana,active,0001-01-01",
        "c,ana,active,2026-01-05",
    )
    assert (report.new, len(report.rejected)) == (1, 2)
    made.run("2026-06-20 12:00", "2026-06-22")
    assert len(made.sent()) == 1


def test_a_field_whose_type_was_changed_is_unknown_and_stops_nobody(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email,first_name", "ana,ana@example.com,Ana")
    made.write(
        "campaigns/_settings.yaml",
        (made.root / "campaigns/_settings.yaml")
        .read_text()
        .replace("first_name: text", "first_name: date"),
    )
    made.reload()
    made.run("2026-11-25 12:00", "2026-11-27")
    assert made.sent() == ["2026-11-26 16:00"]


def test_an_earlier_step_added_to_a_campaign_loses_nobody(world: Worlds) -> None:
    made = world({"oil": OIL})
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-01-05")
    made.run("2026-06-01 12:00", "2026-06-10")
    made.write(
        "campaigns/oil.yaml",
        OIL.replace(
            "  - send: soon",
            "  - send: early\n    at: 30 days before vehicle.due\n  - send: soon",
        ),
    )
    made.reload()
    made.run("2026-06-10 12:00", "2026-07-06")
    assert made.timeline() == [
        "2026-06-10 14:00 sent send early",
        "2026-06-21 14:00 sent send soon",
        "2026-07-05 14:00 sent send due",
    ]


def test_an_earlier_window_loses_none_of_todays_birthdays(world: Worlds) -> None:
    made = world({"birthday": BIRTHDAY})
    made.contacts("key,email,birthday", "ana,ana@example.com,11-26")
    made.tick("2026-11-26 13:30")
    made.write("campaigns/birthday.yaml", BIRTHDAY.replace("8:00-12:00", "7:00-12:00"))
    made.reload()
    made.tick("2026-11-26 13:40")
    assert made.sent() == ["2026-11-26 13:40"]


def test_a_record_that_changes_hands_takes_its_reminder_along(world: Worlds) -> None:
    made = world({"oil": OIL})
    made.contacts("key,email", "ana,ana@example.com", "ben,ben@example.com")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-01-05")
    made.run("2026-06-01 12:00", "2026-06-25")
    made.vehicles("key,contact,status,last_service", "golf,ben,active,2026-01-05")
    made.run("2026-06-25 12:00", "2026-07-06")
    assert made.timeline("ana") == [
        "2026-06-21 14:00 sent send soon",
        "2026-06-25 12:00 exited oil (record-gone)",
    ]
    assert made.timeline("ben") == [
        "2026-06-25 14:00 sent send soon",
        "2026-07-05 14:00 sent send due",
    ]


def test_a_date_that_moves_away_and_back_goes_on_where_it_was(world: Worlds) -> None:
    made = world({"oil": OIL})
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-01-05")
    made.run("2026-06-01 12:00", "2026-06-25")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-06-05")
    made.run("2026-06-25 12:00", "2026-06-26")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-01-05")
    made.run("2026-06-26 12:00", "2026-07-06")
    assert made.sent() == ["2026-06-21 14:00", "2026-07-05 14:00"]


def test_what_was_held_for_long_is_entered_and_skipped_with_its_reason_never_forgotten(
    world: Worlds,
) -> None:
    made = world(
        {"thanks": THANKS.replace("topic: service", "topic: service\ngrace: 1 day")}
    )
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-10-01 12:00")
    with made.database.write() as connection:
        holds.hold(connection, "thanks", at("2026-10-01"))
    made.events("event,id,contact,at", "order.placed,1,ana,2026-10-02 10:00")
    made.tick("2026-11-01 12:00")
    with made.database.write() as connection:
        holds.let_go(connection, "thanks")
    made.tick("2026-11-02 12:00")
    assert made.timeline() == ["2026-11-02 12:00 skipped send thanks (too-late)"]


def test_a_grant_of_before_is_judged_again_by_the_first_beat(world: Worlds) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 12:00")
    made.answer = lambda message: Unsent("451 later")
    made.tick("2026-11-26 16:00")
    made.answer = None
    assert made.tick("2026-11-26 16:30").sent == 1


def test_a_steps_own_earlier_window_is_kept_on_the_same_day(world: Worlds) -> None:
    made = world(
        {
            "birthday": BIRTHDAY.replace("send_window: 8:00-12:00\n", "")
            + "    send_window: 7:00-8:30\n"
        },
        settings="send_window: 9:00-19:00",
    )
    made.contacts("key,email,birthday", "ana,ana@example.com,11-26")
    made.run("2026-11-25 12:00", "2026-11-28")
    assert made.sent() == ["2026-11-26 13:00"]


def test_a_date_that_moves_takes_along_a_message_that_waits_for_its_next_try(
    world: Worlds,
) -> None:
    made = world({"oil": OIL})
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-01-05")
    made.tick("2026-06-20 12:00")
    made.answer = lambda message: Unsent("451 greylisted")
    made.tick("2026-06-21 14:00")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-06-21")
    made.answer = None
    made.tick("2026-06-21 14:01")
    assert made.timeline() == [
        "2026-06-21 14:01 skipped send soon (date-moved)",
        "2026-06-21 14:01 exited oil (date-moved)",
    ]


def test_a_transport_that_fails_in_an_unforeseen_way_is_unknown_and_not_repeated(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-25 12:00")
    tried: list[str] = []

    def breaks(message: object) -> Sent:
        tried.append("once")
        raise KeyError("x")

    made.answer = breaks
    assert made.tick("2026-11-26 16:00").held == 1
    made.tick("2026-11-26 16:01")
    assert tried == ["once"]


def test_a_reason_is_kept_once_and_forgotten_by_policy(world: Worlds) -> None:
    made = world(
        {"letter": LETTER},
        settings="frequency_caps: { all: 0 per day }\nkeep_reasons: 3 days",
    )
    made.contacts("key,email", *(f"p{n},p{n}@example.com" for n in range(20)))

    def kept() -> tuple[int, int]:
        with made.database.read() as connection:
            sql = "SELECT (SELECT count(*) FROM judgements), (SELECT count(*) FROM reasons)"
            return tuple(connection.exec_driver_sql(sql).one())

    made.tick("2026-11-25 12:00")
    made.tick("2026-11-26 16:00")
    assert kept() == (20, 1), "twenty people, one sentence"
    assert (
        len(
            [
                each
                for each in made.ledger()
                if each.sentence and "a limit of none" in each.sentence
            ]
        )
        == 20
    )
    made.tick("2026-11-28 16:00")
    assert kept() == (20, 1)
    made.tick("2026-11-30 18:00")
    assert kept() == (0, 0)
    assert len([each for each in made.ledger() if each.outcome == "entered"]) == 20, (
        "who was in stays known"
    )


JOINED = """
name: Joined
topic: service
trigger: { date: contact.joined }
steps:
  - send: early
    at: 7 days before contact.joined
  - send: last
    at: contact.joined
"""


def test_a_date_that_another_campaign_sets_at_that_very_instant_is_followed(
    world: Worlds,
) -> None:
    sets = """
        name: Sets
        topic: service
        priority: high
        trigger: { schedule: every Friday at 9:00 }
        audience: { visits: at least 1 }
        re_entry: never
        steps: [set: { contact.joined: 2027-06-01 }]
    """
    made = world({"sets": sets, "joined": JOINED})
    # The Friday is seven days before.
    made.contacts("key,email,joined,visits", "ana,ana@example.com,2026-11-27,1")
    made.run("2026-11-19 00:00", "2027-06-05 00:00")
    assert made.timeline() == [
        "2026-11-20 15:00 skipped send early (date-moved)",
        "2026-11-20 15:00 exited joined (date-moved)",
        "2027-05-25 14:00 sent send early",
        "2027-06-01 14:00 sent send last",
    ]


def test_a_date_that_moves_while_a_tick_is_at_work_is_followed(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world({"oil": OIL.replace("exit_when: [booking.created]\n", "")})
    made.contacts("key,email", "ana,ana@example.com")
    made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-06-20")
    made.run("2026-11-01 00:00", "2026-12-07 00:00")
    texts = planner.Texts

    def an_import_comes_first(*given: Any) -> planner.Texts:
        monkeypatch.setattr(planner, "Texts", texts)
        made.vehicles("key,contact,status,last_service", "golf,ana,active,2026-12-05")
        return texts(*given)

    # Made between the transaction that follows what is new and those that judge.
    monkeypatch.setattr(planner, "Texts", an_import_comes_first)
    made.tick("2026-12-07 12:00")
    made.run("2026-12-07 12:01", "2027-05-23 00:00")
    assert made.timeline() == [
        "2026-12-06 15:00 sent send soon",
        "2026-12-07 12:00 exited oil (date-moved)",
        "2027-05-22 14:00 sent send soon",
    ]


def test_a_run_obeys_the_long_cap_of_its_own_version_after_an_edit(
    world: Worlds,
) -> None:
    text = """
        name: A
        topic: service
        trigger: { event: x.y }
        frequency_caps: 1 per 60 days
        when_capped: skip
        steps: [send: one, wait: 40 days, send: two]
    """
    made = world({"a": text})
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,contact,at", "x.y,ana,2026-01-05T16:00:00Z")
    made.tick("2026-01-05 16:00")
    made.write("campaigns/a.yaml", dedent(text).replace("60 days", "30 days"))
    made.reload()
    made.run("2026-01-05 16:01", "2026-03-20 00:00")
    assert made.timeline() == [
        "2026-01-05 16:00 sent send one",
        "2026-02-14 16:00 skipped send two (cap)",
    ]


def test_a_zone_that_this_version_of_the_zones_lacks_delays_nobody(
    world: Worlds, caplog: pytest.LogCaptureFixture
) -> None:
    made = world({"letter": LETTER})
    made.contacts(
        "key,email,timezone",
        "ana,ana@example.com,Europe/London",
        "ben,ben@example.com,",
    )
    made.tick("2026-11-25 12:00")
    # As if she had been imported where the zones were newer.
    with made.database.write() as connection:
        connection.execute(
            text(
                "UPDATE contacts SET timezone = 'Moon/Base', zone = 'Moon/Base' WHERE key = 'ana'"
            )
        )
        connection.execute(text("DELETE FROM meta WHERE name = 'kept-zones'"))
    made.tick("2026-11-26 16:00")
    assert made.sent("ana") == made.sent("ben") == ["2026-11-26 16:00"], (
        "both at ten in Chicago"
    )
    assert "Moon/Base of 1 contact(s) is not among those of tzdata" in caplog.text
    made.contacts("key,first_name", "ana,Ana", now="2026-11-27")
    made.tick("2026-11-27 16:00")
    with made.database.write() as connection:
        connection.execute(
            text("UPDATE contacts SET timezone = 'Asia/Tokyo' WHERE key = 'ana'")
        )
        connection.execute(text("DELETE FROM meta WHERE name = 'kept-zones'"))
    made.tick("2026-12-03 01:00")
    assert made.sent("ana")[1:] == ["2026-12-03 01:00"], (
        "ten in Tokyo, since its zone is known"
    )


def test_who_is_tagged_out_of_the_audience_at_the_instant_of_entering_gets_no_more(
    world: Worlds,
) -> None:
    two = """
        name: Two
        topic: service
        trigger: { schedule: every Thursday at 10:00 }
        audience: { not: { tagged: seen } }
        frequency_caps: ignore
        steps: [send: one, send: two]
    """
    tags = "name: Tags\ntopic: service\ntrigger: { schedule: every Thursday at 10:00 }\nsteps: [tag: seen]\n"
    # Runs are walked in the order in which they began, and those of one instant by their campaigns' names.
    for name, sent in (("a", ["sent send one"]), ("z", [])):
        made = world({name: two, "tags": tags})
        made.contacts("key,email", "ana,ana@example.com")
        made.tick("2026-11-25 12:00")
        made.tick("2026-11-26 16:00")
        assert [line[17:] for line in made.timeline()] == [
            *sent,
            f"exited {name} (not-in-audience)",
        ]


def test_a_run_that_has_ended_stays_as_it_ended_when_its_date_moves(
    world: Worlds,
) -> None:
    made = world(
        {"join": JOINED.replace("  - send: last\n    at: contact.joined\n", "")}
    )
    made.contacts("key,email,joined", "ana,ana@example.com,2026-12-01")
    made.answer = lambda message: Unknown("the answer did not come")
    made.tick("2026-11-24 15:00")
    made.tick("2026-11-24 15:01")
    made.answer = None
    # It is through; its message may have left. The date moves, and then an operator has the message sent again.
    made.contacts(
        "key,email,joined", "ana,ana@example.com,2027-12-01", now="2026-11-24"
    )
    made.tick("2026-11-24 15:02")
    with made.database.write() as connection:
        (held,) = connection.execute(text("SELECT id FROM messages")).scalars()
        outbox.release(connection, [held], "deferred", at("2026-11-24 15:03"))
    made.tick("2026-11-24 15:03")
    assert [
        line for line in made.timeline() if "exited" in line or "skipped" in line
    ] == []
    assert made.sent() == ["2026-11-24 15:03"]


def test_of_an_event_that_lay_ahead_the_audience_is_asked_again_when_it_comes(
    world: Worlds,
) -> None:
    appointment = """
        name: Appointment
        topic: service
        trigger: { event: appointment.booked }
        audience: { visits: at least 1 }
        steps: [send: see-you]
    """
    made = world({"appointment": appointment})
    made.contacts("key,email,visits", "ana,ana@example.com,1")
    made.events("event,contact,at", "appointment.booked,ana,2026-03-05T18:00:00Z")
    made.tick("2026-03-01 12:00")
    made.contacts("key,email,visits", "ana,ana@example.com,0", now="2026-03-02")
    made.tick("2026-03-02 12:00")
    made.run("2026-03-03 00:00", "2026-03-06 00:00")
    assert made.timeline() == ["2026-03-05 18:00 exited appointment (not-in-audience)"]


def test_a_date_that_a_step_of_an_older_version_sets_lets_people_in_at_once(
    world: Worlds,
) -> None:
    older = "name: A\ntopic: service\ntrigger: { event: x.y }\nsteps: [wait: 1 day, set: { contact.joined: 2026-03-01 }]\n"
    made = world(
        {
            "a": older,
            "b": "name: B\ntopic: service\ntrigger: { date: contact.joined }\nsteps: [send: b]\n",
        }
    )
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,contact,at", "x.y,ana,2026-03-01T12:00:00Z")
    made.tick("2026-03-01 12:00")
    made.write(
        "campaigns/a.yaml", older.replace(", set: { contact.joined: 2026-03-01 }", "")
    )
    made.reload()
    made.run("2026-03-01 13:00", "2026-03-09 00:00")
    assert made.sent() == ["2026-03-02 12:00"]
