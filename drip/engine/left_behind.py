"""What nobody settles by handing it over: messages of daemons that died, and of servers
that take nobody."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip.engine.alarming import alarm
from drip.engine.campaign_set import CampaignSet
from drip.engine.end_recorder import SETTLE
from drip.storage.campaigns import runs
from drip.storage.operating import daemons
from drip.storage.sending import attempts, relays
from drip.storage.sending.outbox import OutboxMessage

# A server that has taken nobody for so long: a person decides.
UNPROVEN = timedelta(days=3)
log = logging.getLogger("drip.dispatcher")


def reap(
    connection: Connection,
    campaign_set: CampaignSet,
    fence: int,
    now: datetime,
) -> int:
    """Settles what was begun and never recorded; how many messages that are.

    They are held, or sent again where their campaign says so.
    """
    daemons.end_dead(connection, now)
    left = attempts.left_behind(connection, fence)
    if not left:
        return 0
    again = _to_resend(connection, campaign_set, left)
    held = [message for message in left if message.id not in again]
    held_ids = {message.id for message in held}
    attempts.settle_left_behind(connection, again, now, resend=True)
    attempts.settle_left_behind(connection, held_ids, now, resend=False)
    # A person may look after days only, and what comes next may be due sooner.
    runs.wake(connection, {message.run_id for message in held})
    sentence = (
        f"{len(left)} message(s) were being handed over when the program ended; "
        f"{len(held)} are held."
    )
    alarm(
        connection,
        log,
        "reaped",
        str(fence),
        sentence,
        now,
        SETTLE,
    )
    return len(left)


def _to_resend(
    connection: Connection,
    campaign_set: CampaignSet,
    left: Sequence[OutboxMessage],
) -> set[int]:
    """Those that may go once more by their campaign, and have not done so before."""
    own_runs = runs.runs_by_id(connection, {message.run_id for message in left})
    again: set[int] = set()
    for message in left:
        run = own_runs[message.run_id]
        campaign = campaign_set.version(
            connection,
            run.campaign,
            run.version,
        )
        # A campaign whose version cannot be read any more says nothing, so it is held.
        resends = campaign is not None and campaign.on_unknown == "resend"
        # Once alone: each further time may be one more copy in the same inbox.
        if resends and message.maybe_left_at is None:
            again.add(message.id)
    return again


def hold_unproven(connection: Connection, now: datetime) -> None:
    """Holds those whom a server refused that has taken nobody for days.

    A person decides; their runs go on.
    """
    overdue = relays.overdue(connection, now - UNPROVEN)
    if not overdue:
        return
    answers = {refusal.message_id: refusal.answer for refusal in overdue}
    attempts.hold_waiting(connection, answers, now, "unproven")
    # Else they would be held again as soon as somebody has released them.
    relays.forget(connection, list(answers))
    runs.wake(connection, {refusal.run_id for refusal in overdue})
    sentence = (
        f"{len(overdue)} message(s) were refused for {UNPROVEN.days} days by a server "
        "that has taken nobody, and are held."
    )
    alarm(connection, log, "unproven", "", sentence, now, SETTLE)
