"""What a channel hands over next: the messages that may begin by its rates, with all
that they need."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from drip.core.calendar import from_millis, millis
from drip.core.campaign import step_of
from drip.core.rates import Paced, Rates, pace
from drip.engine.campaign_set import CampaignSet
from drip.engine.dispatch_result import DispatchResult
from drip.engine.last_check import Ready, domain_of
from drip.engine.loading import campaigns_of, facts_of_messages
from drip.engine.outbox_session import OutboxSession
from drip.storage.campaigns import runs
from drip.storage.people import contacts
from drip.storage.people.contacts import Contact
from drip.storage.sending import outbox, rate_limits
from drip.storage.sending.outbox import OutboxMessage

# The lane of all that a channel sends.
WHOLE_CHANNEL = ""


@dataclass(frozen=True, slots=True)
class ChannelTurn:
    """One channel hands over for a while.

    `probing`: after a stop, one message tries whether anything leaves again.
    """

    campaign_set: CampaignSet
    channel: str
    session: OutboxSession
    clock: Callable[[], datetime]
    # On a clock that stands still while messages leave no rate can be kept.
    pacing: bool
    probing: bool

    @property
    def result(self) -> DispatchResult:
        return self.session.result

    @property
    def rates(self) -> Rates:
        return self.campaign_set.settings.rates.get(self.channel, Rates())


def claim(
    connection: Connection,
    turn: ChannelTurn,
    waiting: Sequence[OutboxMessage],
    now: datetime,
) -> tuple[list[Ready], bool]:
    """Those of the waiting messages that begin now, and whether to look for more.

    Those that have to wait by a rate are put off; those whose campaign cannot be read
    any more are given back.
    """
    contact_ids = {message.contact_id for message in waiting}
    # As they are now, and not as they were when the message was granted.
    recipients = contacts.contacts_by_id(connection, contact_ids)
    begin, full = list(waiting), False
    if turn.pacing:
        begin, full = _paced(
            connection,
            turn,
            waiting,
            recipients,
        )
    ready = _ready(connection, turn.campaign_set, recipients, begin, now)
    readable = {own.id for own in ready}
    unreadable = {message.id for message in begin if message.id not in readable}
    # Left where they are they would be claimed again and again.
    outbox.give_back(connection, unreadable, now)
    # Whoever was put off or given back is out of the way of those behind.
    return ready, bool(waiting) and not full


def _paced(
    connection: Connection,
    turn: ChannelTurn,
    waiting: Sequence[OutboxMessage],
    recipients: Mapping[int, Contact],
) -> tuple[list[OutboxMessage], bool]:
    """Those that may begin by the rates of the channel and its domains.

    And whether the channel's own rate has no room for more.
    """
    domains = _domains(turn.channel, waiting, recipients)
    lanes = rate_limits.read(
        connection,
        turn.channel,
        set(domains.values()),
    )
    if turn.probing:
        # It is closed to all others meanwhile.
        lanes.pop(WHOLE_CHANNEL, None)
    if not turn.rates.limited and not lanes:
        return list(waiting), False
    now = millis(turn.clock())
    paced = pace(
        list(domains.items()),
        lanes,
        turn.rates,
        now,
    )
    _save(connection, turn.channel, lanes, paced)
    # `pace` stops at the first for which the whole channel has no room.
    full = len(paced.begin) + len(paced.later) < len(waiting)
    _note_waits(turn.result, paced, full)
    begin = set(paced.begin)
    return [message for message in waiting if message.id in begin], full


def _domains(
    channel: str,
    waiting: Sequence[OutboxMessage],
    recipients: Mapping[int, Contact],
) -> dict[int, str]:
    """The domain that each message goes to, by the messages' numbers."""
    return {
        message.id: domain_of(recipients[message.contact_id], channel)
        for message in waiting
    }


def _save(
    connection: Connection,
    channel: str,
    lanes: Mapping[str, float],
    paced: Paced,
) -> None:
    """Stores where the lanes stand now, and until when messages are put off."""
    moved = {name: at for name, at in paced.lanes.items() if at != lanes.get(name)}
    rate_limits.save(connection, channel, moved)
    outbox.put_off(connection, paced.later)


def _note_waits(result: DispatchResult, paced: Paced, full: bool) -> None:
    if paced.later:
        result.wait_until(from_millis(min(paced.later.values())))
    if full:
        result.wait_until(from_millis(round(paced.lanes[WHOLE_CHANNEL])))


def _ready(
    connection: Connection,
    campaign_set: CampaignSet,
    recipients: Mapping[int, Contact],
    begin: Collection[OutboxMessage],
    now: datetime,
) -> list[Ready]:
    """The messages with their runs, steps and facts.

    Without those whose campaign cannot be read any more.
    """
    own_runs = runs.runs_by_id(connection, {message.run_id for message in begin})
    loaded = list(own_runs.values())
    campaigns = campaigns_of(connection, campaign_set, loaded)
    facts = facts_of_messages(
        connection,
        campaign_set,
        loaded,
        campaigns,
        now,
        recipients,
    )
    ready: list[Ready] = []
    for message in begin:
        run = own_runs[message.run_id]
        campaign = campaigns[run.campaign, run.version]
        step = step_of(campaign, message.step)
        if campaign and step:
            contact = facts.contacts[message.contact_id]
            ready.append(
                Ready(
                    message,
                    run,
                    campaign,
                    step,
                    contact,
                    facts,
                )
            )
    return ready
