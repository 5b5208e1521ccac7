"""How a run walks, said without a database: what is known goes in as a value, and what happens comes out as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from textwrap import dedent
from typing import Any

import pytest

from drip.core.campaign import Campaign
from drip.core.decide import Reason
from drip.core.lifecycle import Wake
from drip.core.settings import Settings
from drip.core.steps import IssueCoupon, SendStep
from drip.engine.effects import (
    CodeIssued,
    ConfirmationAwaited,
    ConsentSaid,
    CounterMoved,
    FieldsSet,
    MessageChanged,
    MessageJudged,
    Retagged,
    RunChanged,
    TaskGiven,
    TopicsPaused,
)
from drip.engine.facts import CodeKey, ContactFacts
from drip.engine.passages import Passage, passage_of
from drip.engine.stepping import AtEnd, AtMessage, Resting, Taken, Waits
from drip.engine.walking import coming, walk
from drip.language.campaigns import build_campaign
from drip.language.reader import parse
from drip.language.settings import build_settings
from drip.storage.campaigns.runs import Run
from drip.storage.people.consents import Consent
from drip.storage.people.contacts import Contact
from drip.storage.people.coupons import InStock
from drip.storage.people.events import Event
from drip.storage.people.records import Record
from drip.storage.people.sign_ups import SignUp
from drip.storage.sending.outbox import OutboxMessage
from tests.world import SETTINGS, at

NOW = at("2026-12-01 16:00")
MORE = """
counters: { card: { add: coffee.bought } }
coupons:
  treat: { offer: 15% off, prefix: T }
  voucher: { offer: A cup, codes: list }
segments: { busy: { did: order.placed } }
"""


def settings() -> Settings:
    built = build_settings(parse(SETTINGS + MORE, "campaigns/_settings.yaml"))
    assert built
    return built


KNOWN = settings()


def campaign(steps: str, head: str = "") -> Campaign:
    """A campaign with these steps, which starts on an event that is called `x.y`."""
    trigger = "" if "trigger:" in head else "trigger: { event: x.y }\n"
    topic = "" if "topic:" in head else "topic: service\n"
    text = f"name: C\n{topic}{trigger}{dedent(head)}\nsteps:\n{dedent(steps)}"
    document = parse(text, "campaigns/c.yaml")
    found = build_campaign("c", document, KNOWN)
    assert found and not document.problems, document.problems
    return found


def run_of(of: Campaign, **fields: Any) -> Run:
    """Ana's run, which began a day ago and is at its first step."""
    began = NOW - timedelta(days=1)
    whole = Run(
        id=7,
        campaign=of.key,
        version=of.version,
        contact_id=1,
        record_id=0,
        occurrence="once",
        event_id=None,
        anchor=None,
        position=0,
        since=began,
        wake=Wake.DUE,
        due_at=NOW,
        active=True,
        started_at=began,
        ended_at=None,
        code=None,
        sentence=None,
        place=None,
    )
    return replace(whole, **fields)


def ana(**fields: Any) -> Contact:
    """She lives where the workspace is."""
    return replace(Contact("ana", "ana@example.com", id=1), **fields)


def event(
    name: str, when: str, number: int = 50, record_id: int = 0, **fields: str
) -> Event:
    return Event(number, 1, record_id, name, str(number), at(when), fields)


def known(*events: Event, contact: Contact | None = None, **more: Any) -> ContactFacts:
    """What is known of Ana: these events, and all that could be asked for."""
    happened: dict[tuple[int, str], list[Event]] = {}
    for one in events:
        happened.setdefault((1, one.name), []).append(one)
    names = frozenset({"x.y", "order.placed", "news.confirmed", "coupon.redeemed"})
    facts = ContactFacts(
        KNOWN,
        NOW,
        {1: contact or ana()},
        {},
        {},
        b"",
        {},
        pauses={},
        events={one.id: one for one in events},
        names=names,
        happened_by_name=happened,
        held_codes={},
        tags_by_contact={},
        sets_by_contact={},
        balances_by_contact={},
        last_events={},
        kept={},
        code_key=CodeKey(b"secret", "workspace"),
    )
    return replace(facts, **more)


def walked(
    of: Campaign,
    facts: ContactFacts | None = None,
    messages: Sequence[OutboxMessage] = (),
    now: datetime = NOW,
    **run: Any,
) -> Taken:
    return walk(passage(of, facts, messages, **run), now)


def passage(
    of: Campaign,
    facts: ContactFacts | None = None,
    messages: Sequence[OutboxMessage] = (),
    **run: Any,
) -> Passage:
    by_step = {message.step: message for message in messages}
    return passage_of(run_of(of, **run), of, facts or known(), by_step)


def message(template: str, state: str, **fields: Any) -> OutboxMessage:
    """What became of the step that sends this template."""
    whole = OutboxMessage(
        id=3,
        run_id=7,
        step=f"send {template}",
        campaign="c",
        contact_id=1,
        topic="service",
        channel="email",
        counted=True,
        priority=50,
        state=state,
        planned_at=NOW,
        due_at=NOW,
    )
    return replace(whole, **fields)


def stops_at(found: Taken) -> str:
    """The message at which a run has arrived."""
    assert isinstance(found.stop, AtMessage), found.stop
    return found.stop.step.template


def left_out(found: Taken) -> Reason:
    assert isinstance(found.stop, AtMessage)
    assert found.stop.left_out
    return found.stop.left_out


def effects(found: Taken, kind: type) -> list[Any]:
    return [effect for effect in found.effects if isinstance(effect, kind)]


# --- messages


def test_a_run_is_at_its_first_message_at_once_and_nothing_has_changed() -> None:
    found = walked(campaign("- send: a"))
    assert stops_at(found) == "a"
    assert found.effects == ()


def test_a_run_rests_while_its_message_is_on_its_way() -> None:
    for state in ("pending", "sending"):
        found = walked(campaign("- send: a"), messages=[message("a", state)])
        assert found.stop == Resting(Wake.WAITS_FOR_MESSAGE)
        assert (found.passage.run.wake, found.passage.run.due_at) == (
            Wake.WAITS_FOR_MESSAGE,
            None,
        )


def test_what_follows_a_message_counts_from_when_it_left() -> None:
    left = at("2026-12-01 15:00")
    sent = message("a", "sent", sent_at=left, settled_at=NOW)
    found = walked(campaign("- send: a\n- wait: 2 hours\n- send: b"), messages=[sent])
    assert found.stop == Waits(left + timedelta(hours=2))


def test_after_one_that_was_skipped_the_run_goes_on() -> None:
    skipped = message("a", "skipped", settled_at=NOW)
    found = walked(campaign("- send: a\n- send: b"), messages=[skipped])
    assert stops_at(found) == "b"
    assert [effect.run.position for effect in effects(found, RunChanged)] == [1]


def test_a_deferred_message_whose_date_moved_away_waits_for_that() -> None:
    of = campaign("- send: a\n  at: contact.joined")
    facts = known(contact=ana(attributes={"joined": "2026-12-24"}))
    found = walked(of, facts, [message("a", "deferred")])
    due = at("2026-12-24 15:00")
    assert found.stop == Waits(due)
    (put_off,) = effects(found, MessageChanged)
    assert (put_off.message.planned_at, put_off.message.due_at) == (due, due)


def test_a_message_that_hangs_on_an_unknown_date_is_left_out() -> None:
    found = walked(campaign("- send: a\n  at: contact.joined"))
    assert left_out(found).code == "no-date"


def test_a_late_joiner_does_not_get_what_never_expires_but_was_over_long_before() -> (
    None
):
    of = campaign("- send: a\n  at: contact.joined\n  transactional: true")
    facts = known(contact=ana(attributes={"joined": "2026-11-01"}))
    assert left_out(walked(of, facts)).code == "too-late"
    soon = known(contact=ana(attributes={"joined": "2026-11-28"}))
    assert stops_at(walked(of, soon)) == "a"


def test_only_if_leaves_a_message_out_and_says_why() -> None:
    of = campaign("- send: a\n  only_if: { visits: at least 2 }")
    assert left_out(walked(of)).sentence.startswith("only_if: contact.visits")
    regular = known(contact=ana(attributes={"visits": 3}))
    first = of.steps[0]
    assert isinstance(first, SendStep)
    assert walked(of, regular).stop == AtMessage(first, run_of(of).since)


def test_a_sign_up_that_nobody_confirmed_is_asked_once() -> None:
    facts = known(sign_ups={1: SignUp("open", NOW)})
    of = campaign("- send: a\n- send: b")
    sent = message("a", "sent", sent_at=NOW)
    found = walked(of, facts, [sent])
    assert left_out(found).sentence == (
        "nobody has confirmed this sign-up, and was asked once"
    )


# --- waiting


def test_a_wait_holds_a_run_until_its_end() -> None:
    found = walked(campaign("- wait: 3 days\n- send: a"))
    assert found.stop == Waits(NOW + timedelta(days=2))
    assert found.passage.run.wake == Wake.DUE
    assert found.passage.run.due_at == NOW + timedelta(days=2)


def test_what_follows_a_wait_that_is_over_counts_from_its_end() -> None:
    found = walked(campaign("- wait: 5 hours\n- send: a"))
    assert isinstance(found.stop, AtMessage)
    assert found.stop.planned_at == run_of(found.passage.campaign).since + timedelta(
        hours=5
    )


def test_a_wait_until_is_of_the_contacts_own_clock() -> None:
    of = campaign("- wait: until next business day at 10:00\n- send: a")
    tokyo = known(contact=ana(zone="Asia/Tokyo"))
    since: dict[str, Any] = {"since": at("2026-12-04 12:00")}
    later = at("2026-12-04 13:00")
    found = walked(of, tokyo, now=later, **since)
    assert found.stop == Waits(at("2026-12-07 01:00"))
    assert walked(of, now=later, **since).stop == Waits(at("2026-12-07 16:00"))


def test_a_wait_for_without_an_end_rests_until_something_is_new() -> None:
    found = walked(campaign("- wait_for: order.placed\n- send: a"))
    assert found.stop == Resting(Wake.WAITS_FOR_EVENT)
    assert found.passage.run.due_at is None


FOR_AN_ORDER = """
- wait_for: order.placed
  up_to: 3 days
  else:
    - send: none
- send: a
"""


def test_a_wait_for_with_an_end_waits_until_then() -> None:
    assert walked(campaign(FOR_AN_ORDER)).stop == Waits(NOW + timedelta(days=2))


def test_a_run_that_hears_of_its_event_goes_on_and_remembers_it() -> None:
    order = event("order.placed", "2026-12-01 12:00")
    found = walked(campaign(FOR_AN_ORDER), known(order))
    assert stops_at(found) == "a"
    assert found.passage.run.heard == {"order": 50, "#50": 50}
    assert found.passage.run.since == order.at


def test_an_event_after_the_end_is_too_late() -> None:
    late = event("order.placed", "2026-12-05 12:00")
    of = campaign(FOR_AN_ORDER)
    assert stops_at(walked(of, known(late), now=at("2026-12-06 12:00"))) == "none"


def test_one_event_is_no_answer_to_two_waits() -> None:
    of = campaign("- wait_for: order.placed\n- wait_for: order.placed\n- send: a")
    one = event("order.placed", "2026-12-01 12:00", 50)
    assert walked(of, known(one)).stop == Resting(Wake.WAITS_FOR_EVENT)
    two = event("order.placed", "2026-12-01 13:00", 51)
    assert stops_at(walked(of, known(one, two))) == "a"


def test_a_wait_for_takes_no_event_that_its_where_does_not_fit() -> None:
    of = campaign(
        "- wait_for: order.placed\n  where: { order.total: at least 100 }\n- send: a"
    )
    small = event("order.placed", "2026-12-01 12:00", 50, total="5")
    large = event("order.placed", "2026-12-01 13:00", 51, total="500")
    assert walked(of, known(small)).stop == Resting(Wake.WAITS_FOR_EVENT)
    assert stops_at(walked(of, known(small, large))) == "a"


def test_a_sign_up_can_be_confirmed_as_long_as_its_run_waits() -> None:
    of = campaign(
        "- wait_for: news.confirmed\n  up_to: 7 days\n  else: end\n- subscribe: news",
        "topic: news\ntrigger: { event: news.requested }",
    )
    found = walked(of, known(sign_ups={1: SignUp("open", NOW)}))
    limit = NOW + timedelta(days=6)
    assert effects(found, ConfirmationAwaited) == [ConfirmationAwaited(1, 7, limit)]


# --- ways


BY_VISITS = """
- branch:
    - if: { visits: at least 10 }
      then: [send: many]
    - if: { visits: at least 2 }
      then: [send: some]
    - else: [send: few]
"""


@pytest.mark.parametrize(("visits", "there"), [(12, "many"), (2, "some"), (0, "few")])
def test_a_branch_leads_to_the_first_arm_that_holds(visits: int, there: str) -> None:
    facts = known(contact=ana(attributes={"visits": visits}))
    assert stops_at(walked(campaign(BY_VISITS), facts)) == there


TWO_ARMS = """
- split:
    - share: 50%
      then: [send: one]
    - share: 50%
      then: [send: two]
"""


def test_a_split_has_the_same_arm_for_the_same_contact() -> None:
    first, again = walked(campaign(TWO_ARMS)), walked(campaign(TWO_ARMS))
    assert stops_at(first) == stops_at(again)
    assert first.passage.run.arms == again.passage.run.arms
    arms = {
        stops_at(walked(campaign(TWO_ARMS), known(contact=ana(key=f"p{n}"))))
        for n in range(20)
    }
    assert arms == {"one", "two"}


def test_once_an_arm_has_won_everybody_takes_it() -> None:
    of = campaign(TWO_ARMS)
    for arm, there in enumerate(["one", "two"]):
        facts = known(winners={("c", of.steps[0].id): arm})
        assert stops_at(walked(of, facts)) == there


def test_a_run_that_is_through_is_over_without_a_reason() -> None:
    found = walked(campaign("- wait: 1 hour"))
    assert found.stop == AtEnd(None)
    run = found.passage.run
    assert (run.active, run.wake, run.due_at, run.ended_at) == (False, None, None, NOW)
    assert run.code is None


def test_end_ends_a_run_wherever_it_stands() -> None:
    of = campaign("- if: { visits: unknown }\n  then:\n    - end\n- send: a")
    assert walked(of).stop == AtEnd(None)


def test_only_if_passes_a_step_over() -> None:
    of = campaign("- end:\n  only_if: { visits: 1 }\n- send: a")
    assert stops_at(walked(of)) == "a"


# --- what steps do


def test_points_are_seen_by_the_next_condition_and_stored_later() -> None:
    of = campaign(
        "- points: add 5\n  counter: card\n- if: { card: 5 }\n  then: [send: five]"
    )
    facts = known()
    found = walked(of, facts)
    assert stops_at(found) == "five"
    (moved,) = effects(found, CounterMoved)
    assert (moved.counter, moved.after, moved.movement.amount) == ("card", 5, 5)
    # What was known before is as it was.
    assert facts.balances(1) == {}


def test_points_that_are_not_there_are_not_redeemed() -> None:
    of = campaign("- points: redeem 5\n  counter: card\n- send: a")
    assert effects(walked(of), CounterMoved) == []
    rich = known(balances_by_contact={1: {"card": 9}})
    assert effects(walked(of, rich), CounterMoved)[0].after == 4


def test_points_of_a_step_are_given_once() -> None:
    of = campaign("- points: add 5\n  counter: card\n- send: a")
    again = known(counted={(7, of.steps[0].id)})
    assert effects(walked(of, again), CounterMoved) == []


def test_tags_are_seen_by_the_next_condition_and_those_it_has_change_nothing() -> None:
    of = campaign(
        "- tag: [vip, old]\n- untag: old\n- if: { tagged: vip, not: { tagged: old } }\n  then: [send: a]"
    )
    found = walked(of, known(tags_by_contact={1: {"vip"}}))
    assert stops_at(found) == "a"
    assert effects(found, Retagged) == [
        Retagged(1, ("old",), True),
        Retagged(1, ("old",), False),
    ]


def test_a_consent_is_seen_by_the_next_condition_and_has_the_events_words_as_proof() -> (
    None
):
    of = campaign("- subscribe: news\n- if: { subscribed: news }\n  then: [send: a]")
    trigger = event("x.y", "2026-11-30 16:00", wording="v2")
    found = walked(of, known(trigger), event_id=50)
    assert stops_at(found) == "a"
    (said,) = effects(found, ConsentSaid)
    assert said.proof == {"wording": "v2"}
    assert {(word.topic, word.given) for word in said.said} == {("news", True)}


def test_a_consent_that_is_taken_back_takes_the_place_of_the_one_before() -> None:
    of = campaign(
        "- unsubscribe: news\n- if: { subscribed: news }\n  then: [send: a]\n- send: b"
    )
    yes = {1: [Consent(1, "news", "email", True, NOW)]}
    assert stops_at(walked(of, known(consents=yes))) == "b"


def test_fields_are_seen_by_the_next_condition_and_the_contact_itself_stays() -> None:
    of = campaign(
        "- set: { visits: 9, timezone: Asia/Tokyo }\n- wait: until 9:00\n- send: a\n  only_if: { visits: 9 }"
    )
    contact = ana(attributes={"visits": 1})
    found = walked(of, known(contact=contact))
    assert stops_at(found) == "a"
    (effect,) = effects(found, FieldsSet)
    assert effect.contact.attributes == {"visits": 9}
    assert (effect.contact.zone, contact.zone) == ("Asia/Tokyo", None)
    assert contact.attributes == {"visits": 1}
    # From now on it is her clock in Tokyo that counts.
    assert isinstance(found.stop, AtMessage)
    assert found.stop.planned_at == at("2026-12-01 00:00")


def test_a_record_is_set_as_its_contact_is() -> None:
    of = campaign(
        "- set: { vehicle.status: sold }\n- send: a",
        "for_each: vehicle\naudience: { vehicle.status: active }",
    )
    car = Record("vehicle", "v1", 1, {"status": "active"}, 4)
    found = walked(of, known(records={4: car}), record_id=4)
    assert found.stop == AtEnd(
        Reason("not-in-audience", "vehicle.status is sold, not active", of.place)
    ) or isinstance(found.stop, AtEnd)
    assert effects(found, FieldsSet)[0].record.attributes == {"status": "sold"}
    assert car.attributes == {"status": "active"}


def test_a_paused_topic_is_known_to_be_so() -> None:
    found = walked(campaign("- pause: service\n  for: 3 days\n- send: a"))
    (paused,) = effects(found, TopicsPaused)
    assert (paused.topics, paused.until) == (("service",), NOW + timedelta(days=3))
    until, why = found.passage.facts.paused(found.passage.contact, "service") or (
        None,
        None,
    )
    assert until == paused.until
    assert why
    assert why.code == "paused"


def test_a_task_has_what_its_title_is_filled_in_with() -> None:
    of = campaign(
        "- task: Call {{ contact.first_name }}\n  assign_to: boss\n  due: 1 business day\n- send: a"
    )
    found = walked(of, known(contact=ana(attributes={"first_name": "Ana"})))
    (task,) = effects(found, TaskGiven)
    assert task.title == "Call {{ contact.first_name }}"
    assert task.values["contact"]["first_name"] == "Ana"
    assert (task.row["assign_to"], task.row["due"]) == ("boss", "2026-12-02")


def test_a_task_with_a_date_waits_for_it_and_a_late_joiner_has_none() -> None:
    of = campaign("- task: Call\n  assign_to: boss\n  at: contact.joined\n- send: a")
    ahead = known(contact=ana(attributes={"joined": "2026-12-24"}))
    assert isinstance(walked(of, ahead).stop, Waits)
    past = known(contact=ana(attributes={"joined": "2026-11-30"}))
    assert len(effects(walked(of, past), TaskGiven)) == 1
    long_past = known(contact=ana(attributes={"joined": "2026-11-01"}))
    assert effects(walked(of, long_past), TaskGiven) == []


TREATED = """
- coupon: {coupon}
  expires: in 10 days
- if: {{ holds coupon: {coupon} }}
  then: [send: holds]
- send: nothing
"""


def test_a_code_is_made_the_same_on_every_try_and_held_from_then_on() -> None:
    of = campaign(TREATED.format(coupon="treat"))
    first, again = walked(of), walked(of)
    assert stops_at(first) == "holds"
    (issued,), (same,) = effects(first, CodeIssued), effects(again, CodeIssued)
    assert issued.code.code == same.code.code
    assert issued.code.expires == "2026-12-10"


def test_a_code_of_a_step_is_issued_once() -> None:
    of = campaign(TREATED.format(coupon="treat"))
    (issued,) = effects(walked(of), CodeIssued)
    assert isinstance(of.steps[0], IssueCoupon)
    again = known(codes={7: (issued.code,)})
    assert effects(walked(of, again), CodeIssued) == []


def test_whoever_comes_next_gets_the_next_code_of_the_stock_until_it_is_empty() -> None:
    of = campaign(TREATED.format(coupon="voucher"))
    facts = known(stock={"voucher": [InStock(1, "AAA"), InStock(2, "BBB")]})
    found = walked(of, facts)
    second = walked(of, found.passage.facts, id=8)
    third = walked(of, second.passage.facts, id=9)
    issued = [
        issued.code.code
        for walk_ in (found, second, third)
        for issued in effects(walk_, CodeIssued)
    ]
    assert issued == ["AAA", "BBB"]
    assert len(facts.stock["voucher"]) == 2


def test_a_date_of_a_code_is_that_of_the_newest_one() -> None:
    of = campaign(
        "- coupon: treat\n  expires: in 10 days\n- wait: until 3 days before coupon.expires\n- send: a"
    )
    assert walked(of).stop == Waits(at("2026-12-07 15:00"))


def test_a_strangers_address_gets_nothing_from_steps() -> None:
    of = campaign("- tag: vip\n- points: add 5\n  counter: card\n- wait: 9 days")
    found = walked(of, known(sign_ups={1: SignUp("open", NOW)}))
    assert [type(effect) for effect in found.effects] == [RunChanged]


# --- whether it goes on at all


def test_an_event_of_exit_when_ends_a_run_and_what_waits() -> None:
    of = campaign("- send: a", "exit_when: [order.placed]")
    order = event("order.placed", "2026-12-01 12:00")
    found = walked(of, known(order), [message("a", "deferred")])
    assert isinstance(found.stop, AtEnd)
    assert found.stop.reason
    assert found.stop.reason.code == "exited"
    assert found.passage.run.code == "exited"
    (skipped,) = effects(found, MessageJudged)
    assert (skipped.message.state, skipped.until) == ("skipped", None)


def test_neither_the_trigger_itself_nor_an_older_event_ends_a_run() -> None:
    of = campaign(
        "- send: a", "trigger: { event: order.placed }\nexit_when: [order.placed]"
    )
    trigger = event("order.placed", "2026-11-30 16:00", 50)
    older = event("order.placed", "2026-11-29 16:00", 49)
    assert stops_at(walked(of, known(older, trigger), event_id=50)) == "a"


def test_the_goal_ends_a_run_if_it_comes_in_time() -> None:
    head = "goal: { event: order.placed, within: 2 hours }\nexit_when: goal"
    of = campaign("- send: a", head)
    late = event("order.placed", "2026-12-01 12:00")
    assert stops_at(walked(of, known(late))) == "a"
    in_time = event("order.placed", "2026-11-30 17:00")
    stop = walked(of, known(in_time)).stop
    assert isinstance(stop, AtEnd)
    assert stop.reason
    assert stop.reason.code == "goal-met"


def test_a_condition_of_exit_when_ends_a_run() -> None:
    of = campaign("- send: a", "exit_when: [{ visits: at least 3 }]")
    assert stops_at(walked(of)) == "a"
    regular = known(contact=ana(attributes={"visits": 3}))
    assert isinstance(walked(of, regular).stop, AtEnd)


def test_a_run_whose_record_is_somebody_elses_now_is_over() -> None:
    of = campaign("- send: a", "for_each: vehicle")
    sold = Record("vehicle", "v1", 2, {}, 4)
    stop = walked(of, known(records={4: sold}), record_id=4).stop
    assert isinstance(stop, AtEnd)
    assert stop.reason
    assert stop.reason.code == "record-gone"


def test_who_is_not_in_the_audience_any_more_gets_nothing() -> None:
    of = campaign("- send: a", "audience: { visits: at least 3 }")
    stop = walked(of).stop
    assert isinstance(stop, AtEnd)
    assert stop.reason
    assert stop.reason.code == "not-in-audience"


def test_who_has_just_come_is_not_asked_twice_unless_something_is_new() -> None:
    of = campaign("- send: a", "audience: { visits: at least 3 }")
    just: dict[str, Any] = {"started_at": NOW, "since": NOW, "wake": Wake.NEW}
    assert stops_at(walked(of, **just)) == "a"
    news: dict[str, Any] = {**just, "wake": Wake.LOOKS_AGAIN}
    assert isinstance(walked(of, **news).stop, AtEnd)
    touched = known(touched=frozenset({1}))
    assert isinstance(walked(of, touched, **just).stop, AtEnd)


# --- from afar


def test_what_is_sure_to_come_is_seen_up_to_where_it_hangs_on_anything() -> None:
    of = campaign(
        """
        - send: before
          at: 3 days before contact.joined
        - tag: soon
        - wait: 2 days
        - send: after
        - if: { visits: 1 }
          then: [send: perhaps]
        """,
        "trigger: { date: contact.joined }",
    )
    ahead = coming(passage(of, anchor="2026-12-24", since=at("2026-12-21 15:00")))
    assert [(found.step.template, found.planned_at) for found in ahead] == [
        ("before", at("2026-12-21 15:00")),
        ("after", at("2026-12-23 15:00")),
    ]


def test_walking_leaves_the_run_and_all_that_is_known_as_they_were() -> None:
    of = campaign("- tag: vip\n- points: add 5\n  counter: card\n- wait: 9 days")
    start = passage(of)
    before = replace(start.run)
    found = walk(start, NOW)
    assert start.run == before
    assert start.facts == known()
    assert walk(start, NOW) == found


def test_what_nobody_asked_for_is_no_answer() -> None:
    of = campaign("- if: { tagged: vip }\n  then: [send: a]")
    with pytest.raises(LookupError, match="tags were not asked for"):
        walked(of, known(tags_by_contact=None))
