"""The life of a message: what an attempt comes to, and that storage walks the table of states and no other way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, delete, insert, update
from sqlalchemy.exc import IntegrityError

from drip.core import lifecycle
from drip.core.lifecycle import (
    FOLLOWS,
    GIVE_UP_AFTER,
    MOST_RESENT,
    RESENT_AFTER,
    EarlierAttempts,
    MessageState,
    Outcome,
    may_come_from,
    needs_proof,
    next_try,
    outcome_of,
    tried_for,
)
from drip.core.message import (
    Assigned,
    Receipt,
    Refused,
    Sent,
    Unknown,
    Unsent,
)
from drip.storage.base.database import Database
from drip.storage.base.opening import create_database
from drip.storage.base.schema import messages
from drip.storage.sending import attempts, outbox
from drip.storage.sending.attempts import Attempt
from drip.storage.sending.outbox import OutboxMessage

NOW = datetime(2026, 11, 26, 15, 0, tzinfo=UTC)
FENCE = 3
FIRST = EarlierAttempts(attempts=0, counted=True, resent=0)
# After so many attempts it was tried for five days.
LAST = next(n for n in range(1000) if tried_for(n) >= GIVE_UP_AFTER)
OUTCOMES = [value for value in vars(lifecycle).values() if isinstance(value, Outcome)]


# --- what an attempt comes to


@pytest.mark.parametrize(
    ("receipt", "outcome"),
    [
        (Sent("250 OK"), lifecycle.LEFT),
        (Assigned("Call Ana", "", "desk", 50), lifecycle.LEFT),
        (Refused("no such user", "address"), lifecycle.REFUSED_ADDRESS),
        (Refused("it is spam"), lifecycle.REFUSED),
        (Refused("not by you", "sender"), lifecycle.REFUSED_SENDER),
        (Refused("no relaying", "transport"), lifecycle.NOTHING_TAKEN),
        (
            Refused("no relaying", "transport", at_recipient=True),
            lifecycle.PUT_OFF_FOR_US,
        ),
        (Unsent("not now"), lifecycle.PUT_OFF),
        (Unsent("greylisted", "address"), lifecycle.PUT_OFF),
        (Unsent("too busy", "domain"), lifecycle.PUT_OFF_FOR_DOMAIN),
        (Unsent("too busy", "transport"), lifecycle.NOTHING_TAKEN),
        (Unsent("too fast", "rate"), lifecycle.TOO_MUCH),
        (Unsent("the disk is full", "machine"), lifecycle.GIVEN_BACK),
        (Unknown("no answer"), lifecycle.HELD),
    ],
)
def test_what_the_other_side_says_has_one_outcome(
    receipt: Receipt, outcome: Outcome
) -> None:
    assert outcome_of(receipt, FIRST, "hold") == outcome


@pytest.mark.parametrize(
    ("receipt", "outcome"),
    [
        (Unsent("not now"), lifecycle.GAVE_UP),
        (Unsent("too busy", "domain"), lifecycle.GAVE_UP),
        (Refused("no relaying", "transport", at_recipient=True), lifecycle.REFUSED),
        # It was said of nobody in particular, so nobody is given up for it.
        (Unsent("too busy", "transport"), lifecycle.NOTHING_TAKEN),
        (Unsent("too fast", "rate"), lifecycle.TOO_MUCH),
        (Unsent("the disk is full", "machine"), lifecycle.GIVEN_BACK),
    ],
)
def test_after_five_days_it_is_given_up(receipt: Receipt, outcome: Outcome) -> None:
    assert outcome_of(receipt, replace(FIRST, attempts=LAST), "hold") == outcome


@pytest.mark.parametrize(
    ("counted", "resent", "again"),
    [
        (True, 0, True),
        (True, 1, False),
        (False, MOST_RESENT - 1, True),
        (False, MOST_RESENT, False),
    ],
)
def test_what_may_have_left_goes_again_if_its_campaign_says_so_and_not_for_ever(
    counted: bool, resent: int, again: bool
) -> None:
    tries = EarlierAttempts(attempts=1, counted=counted, resent=resent)
    found = outcome_of(Unknown("no answer"), tries, "resend")
    assert found == (lifecycle.RESENT if again else lifecycle.HELD)
    assert found.maybe_left == again
    assert outcome_of(Unknown("no answer"), tries, "hold") == lifecycle.HELD


@pytest.mark.parametrize(
    ("receipt", "proof"),
    [
        (Refused("no such user", "address"), True),
        (Refused("no such user", "address", at_recipient=True), True),
        (Refused("not by you", "sender", at_recipient=True), True),
        (Refused("not this", "message", at_recipient=True), True),
        (Refused("not by you", "sender"), False),
        (Refused("it is spam"), False),
        # By its own words it is about us already.
        (Refused("no relaying", "transport", at_recipient=True), False),
        (Unsent("not now", "address"), False),
        (Unknown("no answer"), False),
    ],
)
def test_a_refusal_of_a_recipient_counts_from_a_server_that_takes_somebody(
    receipt: Receipt, proof: bool
) -> None:
    assert needs_proof(receipt, outcome_of(receipt, FIRST, "hold")) == proof


def test_a_refusal_for_five_days_that_was_about_us_needs_proof_too() -> None:
    receipt = Refused("no relaying", "transport", at_recipient=True)
    outcome = outcome_of(receipt, replace(FIRST, attempts=LAST), "hold")
    assert needs_proof(receipt, outcome)


def test_a_message_waits_twice_as_long_each_time_and_at_most_for_an_hour() -> None:
    waits = [next_try(7, attempt) for attempt in range(20)]
    for attempt, wait in enumerate(waits):
        plain = min(timedelta(seconds=30) * 2**attempt, timedelta(hours=1))
        assert plain <= wait <= plain * 1.25
    assert next_try(7, 2) == waits[2] != next_try(8, 2), "no two at one instant"


def test_an_outcome_says_when_the_message_is_due_again() -> None:
    assert lifecycle.REFUSED.wait(7, 0) is None
    assert lifecycle.NOTHING_TAKEN.wait(7, 5) == timedelta()
    assert lifecycle.PUT_OFF.wait(7, 5) == next_try(7, 5)
    assert lifecycle.RESENT.wait(7, 0) == RESENT_AFTER


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_is_a_state_that_follows_sending(outcome: Outcome) -> None:
    assert outcome.state in FOLLOWS[MessageState.SENDING]
    waits = (MessageState.DEFERRED, MessageState.PENDING)
    assert outcome.ends == (outcome.state not in waits)


# --- the table


def test_every_state_has_its_row() -> None:
    assert set(FOLLOWS) == {None, *MessageState}


def test_what_left_or_was_given_up_stays_so() -> None:
    ends = {state for state, after in FOLLOWS.items() if not after}
    assert ends == {MessageState.SENT, MessageState.SKIPPED, MessageState.FAILED}


def test_a_message_is_begun_only_if_it_was_granted() -> None:
    assert may_come_from(MessageState.SENDING) == (MessageState.PENDING,)


# --- storage walks it


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder = tmp_path_factory.mktemp("lifecycle")
    made = create_database(folder / "drip.db", NOW, durable=False)
    yield made
    made.close()


def fresh() -> OutboxMessage:
    return OutboxMessage(
        id=0,
        run_id=1,
        step="send a",
        campaign="a",
        contact_id=1,
        topic="news",
        channel="email",
        counted=True,
        priority=50,
        state=MessageState.DEFERRED,
        planned_at=NOW,
        due_at=NOW,
        granted_at=NOW,
    )


Change = Callable[[Connection, OutboxMessage], object]


def judged(state: MessageState) -> Change:
    def change(connection: Connection, message: OutboxMessage) -> None:
        outbox.save_messages(connection, [replace(message, state=state)])

    return change


def settled(outcome: Outcome, fence: int) -> Change:
    def change(connection: Connection, message: OutboxMessage) -> None:
        attempts.settle(connection, Attempt(message, outcome, "so", NOW), fence, NOW)

    return change


def released(state: str) -> Change:
    return lambda connection, message: outbox.release(
        connection, [message.id], state, NOW
    )


def left_behind(resend: bool) -> Change:
    return lambda connection, message: attempts.settle_left_behind(
        connection, [message.id], NOW, resend=resend
    )


def granted(connection: Connection, message: OutboxMessage) -> None:
    """As judging does, of a message that waits."""
    changed = replace(message, state=MessageState.PENDING, granted_at=NOW)
    outbox.save_messages(connection, [changed])


def begun(connection: Connection, message: OutboxMessage) -> None:
    attempts.begin(connection, [message], FENCE, NOW)


def sent(connection: Connection, message: OutboxMessage) -> None:
    attempts.settle_sent(connection, [message.id], FENCE, NOW)


# The way to the other side is long: without several of each few messages would go it.
CHANGES: tuple[Change, ...] = (
    *[granted] * 8,
    *[begun] * 12,
    *[sent] * 4,
    *(judged(state) for state in MessageState if state in FOLLOWS[None]),
    *(settled(outcome, FENCE) for outcome in OUTCOMES if outcome != lifecycle.LEFT),
    settled(lifecycle.REFUSED, FENCE + 1),
    *(released(state) for state in ("sent", "deferred", "failed")),
    left_behind(resend=True),
    left_behind(resend=False),
    lambda connection, message: attempts.hold(connection, message, NOW, "x", "why"),
    lambda connection, message: attempts.hold_waiting(
        connection, {message.id: "why"}, NOW, "x"
    ),
    lambda connection, message: outbox.give_back(connection, [message.id], NOW),
    lambda connection, message: outbox.give_back_stale(
        connection, NOW + timedelta(seconds=1), NOW
    ),
    lambda connection, message: outbox.put_off(connection, {message.id: 0}),
    lambda connection, message: outbox.wake_paused(connection, None, NOW),
)


def walk(connection: Connection, seed: int) -> list[tuple[MessageState, MessageState]]:
    """The states that a new message goes through, by changes in random order."""
    drawn = random.Random(seed)
    connection.execute(delete(messages))
    outbox.save_messages(connection, [fresh()])
    (message,) = outbox.of_runs(connection, [1])
    steps = []
    for _ in range(30):
        before = message.state
        drawn.choice(CHANGES)(connection, message)
        (message,) = outbox.of_runs(connection, [1])
        steps.append((before, message.state))
    return steps


def test_in_whatever_order_things_happen_a_state_follows_by_the_table(
    database: Database,
) -> None:
    walked = set()
    with database.write() as connection:
        for seed in range(200):
            for before, after in walk(connection, seed):
                assert before == after or after in FOLLOWS[before], seed
                walked.add((before, after))
    allowed = {
        (before, after)
        for before, states in FOLLOWS.items()
        for after in states
        if before is not None and before != after
    }
    assert allowed <= walked, "every way that there is was walked"


def test_the_database_knows_no_other_state(database: Database) -> None:
    known = {name: getattr(fresh(), name) for name in outbox.COLUMNS}
    row = {**known, "id": 1_000, "state": "lost"}
    with (
        pytest.raises(IntegrityError, match="state_is_known"),
        database.write() as connection,
    ):
        connection.execute(insert(messages).values(row))


def test_what_was_held_is_settled_by_one_of_three_words(database: Database) -> None:
    with (
        database.write() as connection,
        pytest.raises(ValueError, match="cannot be pending"),
    ):
        connection.execute(update(messages).values(state="held"))
        outbox.release(connection, [1], "pending", NOW)
