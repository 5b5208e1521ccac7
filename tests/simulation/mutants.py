"""Programs that are wrong on purpose, each a mistake that somebody could make. The model has to catch every one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from greenlet import greenlet
from sqlalchemy import Connection

from drip.core import decide
from drip.core.calendar import EPOCH, millis
from drip.core.caps import Cap, Full, Use
from drip.core.message import DeliverySession, Message
from drip.engine import judging, last_check, loading, outbox_session, planner
from drip.engine.dispatcher import Dispatcher
from drip.engine.one_by_one import OneByOne
from drip.preview import simulator
from drip.storage.campaigns import cursors
from drip.storage.sending import attempts
from tests.simulation import house
from tests.simulation.play import play

Patch = pytest.MonkeyPatch


def checkpoint_at_fetch(patch: Patch) -> None:
    """How far was looked is committed before those who were found have entered."""
    right = planner.plan

    def plan(
        database: Any, campaign_set: Any, templates: Any, enroller: Any, now: datetime
    ) -> None:
        with database.write() as connection:
            before = cursors.cursors_of(connection)
            newest = cursors.newest(connection, now)
            seen = {
                key: replace(
                    newest,
                    rules=each.rules,
                    event_id=max(newest.event_id, each.event_id),
                )
                for key, each in before.items()
                if not key.startswith("*")
            }
            cursors.move_cursors(connection, seen)
        patch.setattr(cursors, "cursors_of", lambda _: before)
        try:
            right(database, campaign_set, templates, enroller, now)
        finally:
            patch.setattr(cursors, "cursors_of", cursors_of)

    cursors_of = cursors.cursors_of
    patch.setattr("drip.engine.tick.plan", plan)


def send_then_mark(patch: Patch) -> None:
    """A message is marked as being handed over once it has been."""

    def deliver(
        self: OneByOne, messages: Iterator[Message], session: DeliverySession
    ) -> None:
        for message in messages:
            receipt = self._sent(message, session)
            if session.turn([], [message])[0]:
                session.turn([(message, receipt)], [])

    patch.setattr(OneByOne, "deliver", deliver)


def usage_outside_the_lock(patch: Patch) -> None:
    """What was used is read as a beat begins, before any lock is taken."""
    read, right = loading.uses_of, house.tick
    known: dict[Any, dict[int, list[Use]]] = {}

    def early_tick(campaign_set: Any, enroller: Any, dispatching: Dispatcher) -> Any:
        with dispatching.database.read() as connection:
            ids = list(connection.exec_driver_sql("SELECT id FROM contacts").scalars())
            known[greenlet.getcurrent()] = read(
                connection, ids, EPOCH, dispatching.clock()
            )
        return right(campaign_set, enroller, dispatching)

    def early(*given: Any) -> dict[int, list[Use]]:
        own = known.get(greenlet.getcurrent())
        return (
            read(*given)
            if own is None
            else {key: list(uses) for key, uses in own.items()}
        )

    patch.setattr(house, "tick", early_tick)
    patch.setattr(loading, "uses_of", early)


def window_rank(patch: Patch) -> None:
    """All that is due is ranked per window as SQL would, so that what one cap refuses takes a rank in the others."""
    right = judging.decide

    def ranked(candidate: Any, person: Any, usage: list[Use], now: datetime) -> Any:
        decision = right(candidate, person, usage, now)
        if (
            isinstance(decision, decide.Skip | decide.Defer)
            and decision.reason.code == "cap"
        ):
            usage.append(
                Use(
                    millis(now),
                    millis(now),
                    candidate.channels[0],
                    candidate.topic,
                    candidate.campaign,
                )
            )
        return decision

    patch.setattr(judging, "decide", ranked)


def counted_when_planned(patch: Patch) -> None:
    """A message counts at the time for which it was planned, whenever it really left."""
    read = loading.uses_of

    def planned(
        connection: Connection, ids: Any, since: datetime, now: datetime
    ) -> dict[int, list[Use]]:
        found = read(connection, ids, since, now)
        for contact, uses in found.items():
            sql = "SELECT sent_at, planned_at FROM messages WHERE contact_id = ? AND sent_at IS NOT NULL"
            times = {
                row[0]: row[1] for row in connection.exec_driver_sql(sql, (contact,))
            }
            uses[:] = [_moved(use, times) for use in uses]
        return found

    patch.setattr(loading, "uses_of", planned)


def _moved(use: Use, times: dict[int, int]) -> Use:
    at = times.get(use.first, use.first)
    return use._replace(first=at, last=at)


def preview_without_its_own(patch: Patch) -> None:
    """The preview does not count the messages that it has simulated itself."""
    right = simulator.simulate

    def simulate(
        database: Any,
        campaign_set: Any,
        templates: Any,
        transports: Any,
        start: datetime,
        *rest: Any,
        **named: Any,
    ) -> Any:
        if not isinstance(transports["email"], simulator.Nowhere):
            return right(
                database, campaign_set, templates, transports, start, *rest, **named
            )
        read = loading.uses_of
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(
                loading,
                "uses_of",
                lambda *given: {
                    key: [use for use in uses if use.first < millis(start)]
                    for key, uses in read(*given).items()
                },
            )
            return right(
                database, campaign_set, templates, transports, start, *rest, **named
            )

    patch.setattr("tests.simulation.house.simulate", simulate)


def no_last_check(patch: Patch) -> None:
    """Consent is looked at when a message is granted, and not when it is begun."""
    patch.setattr(last_check, "permitted", lambda *_: True)
    patch.setattr(
        "drip.storage.people.consents.standings", lambda _, known: list(known)
    )


def sent_again_blindly(patch: Patch) -> None:
    """What a dead daemon left behind is sent again, whatever the campaign says."""
    right = attempts.settle_left_behind
    patch.setattr(
        attempts,
        "settle_left_behind",
        lambda connection, ids, now, *, resend: right(
            connection, ids, now, resend=True
        ),
    )


def gap_forgotten(patch: Patch) -> None:
    """An exact window is taken for one of local days."""
    right = decide.first_full

    def days_only(
        caps: Sequence[Cap], uses: Sequence[Use], now: datetime, where: Any
    ) -> Full | None:
        return right(
            [replace(cap, days=1, seconds=0) if cap.seconds else cap for cap in caps],
            uses,
            now,
            where,
        )

    patch.setattr(decide, "first_full", days_only)


def refusals_believed(patch: Patch) -> None:
    """What a server says of a recipient counts, whether it has ever taken anybody or not."""
    right = outbox_session.OutboxSession.turn

    def turn(self: Any, *given: Any) -> Any:
        self.accepts = True
        return right(self, *given)

    patch.setattr(outbox_session.OutboxSession, "turn", turn)


MUTANTS: dict[str, Callable[[Patch], None]] = {
    "checkpoint at fetch": checkpoint_at_fetch,
    "send then mark": send_then_mark,
    "usage read outside the lock": usage_outside_the_lock,
    "window rank in SQL": window_rank,
    "cap counted at planning time only": counted_when_planned,
    "preview without folding simulated sends": preview_without_its_own,
    "no last check before the transport": no_last_check,
    "what may have left is sent again": sent_again_blindly,
    "hours counted as days": gap_forgotten,
    "a server that takes nobody is believed": refusals_believed,
}


# Seeds that have caught one before.
GOOD = (2, 6, 10, 11, 12, 18, 96)


def seed_to_catch(name: str, most: int) -> int | None:
    """A seed with which a mutant is caught, looked for among the good ones first; None if none of so many does."""
    for seed in (*GOOD, *(seed for seed in range(most) if seed not in GOOD)):
        with pytest.MonkeyPatch.context() as patch:
            MUTANTS[name](patch)
            try:
                play(seed)
            except AssertionError:
                return seed
    return None
