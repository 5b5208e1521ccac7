"""Handing over what was granted: rendered, given to its transport, and written down by the `handover`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip.core.calendar import from_millis, millis
from drip.core.campaign import step_of
from drip.core.message import (
    DeliverySession,
    Message,
    Receipt,
    Relayed,
    Stream,
    Transport,
    TransportDown,
    Unknown,
    Unsent,
)
from drip.core.rates import Rates, pace
from drip.core.shortage import Shortage, shortage
from drip.engine.alarming import alarm
from drip.engine.campaign_set import CampaignSet
from drip.engine.composing import Identity, compose_for_run, identity
from drip.engine.dispatch_result import COSTLY_MS, DOWN_MS, DispatchResult
from drip.engine.loading import campaigns_of, facts_of_messages
from drip.engine.outbox_session import (
    AGAIN,
    SETTLE,
    OutboxSession,
    Ready,
    domain_of,
    go_on,
)
from drip.errors import DripError
from drip.rendering.templates import Templates
from drip.storage.base.database import Database
from drip.storage.campaigns import runs
from drip.storage.operating import control
from drip.storage.people import people
from drip.storage.people.people import Contact
from drip.storage.sending import outbox, rate_limits, relays
from drip.storage.sending.outbox import OutboxMessage

BATCH = 200
# A probe is nobody else's for so long.
PROBE_MS = 60_000
LEFT_ALONE = "nothing is tried for a while, `drip status` says until when; if it is mended, `drip stop --off` tries at once"
# A server that has taken nobody for so long: a person decides.
UNPROVEN = timedelta(days=3)
# So long one channel hands over before the planner and the other channels get their turn.
SLICE = timedelta(seconds=5)
# As long as a mail server may take for one answer (RFC 5321 section 4.5.3.2.6).
LONGEST_SLICE = timedelta(minutes=10)
log = logging.getLogger("drip.dispatcher")


@dataclass
class Dispatcher:
    """Empties the outbox. `clock` is read for each message; `stop` is asked before each one is begun.

    `seen` is told of every message that was rendered.
    """

    database: Database
    templates: Templates
    transports: Mapping[str, Transport]
    clock: Callable[[], datetime]
    fence: int
    stop: Callable[[], bool] = lambda: False
    seen: Callable[[Ready, Message], None] = lambda ready, message: None
    # Of the contacts, the part of so many parts: (0, 1) is all of them.
    share: tuple[int, int] = (0, 1)
    # On a clock that stands still while messages leave no rate can be kept.
    pacing: bool = True
    _identity: Identity | None = field(default=None, repr=False)
    # Desks that know how messages ended, which the database does not yet.
    _unstored: list[OutboxSession] = field(default_factory=list, repr=False)

    def dispatch(self, campaign_set: CampaignSet) -> DispatchResult:
        """Looks after what was left behind, and hands over what is granted and due."""
        self.store()
        with self.database.write() as connection:
            reap(connection, campaign_set, self.fence, self.clock())
            hold_unproven(connection, self.clock())
        return self.hand_over(campaign_set)

    def store(self) -> None:
        """Stores how messages ended, as far as that could not be stored before: the disk may have been full. Raises Shortage,
        and DripError, while it still cannot; then it is known here alone."""
        while self._unstored:
            self._unstored[0].finish()
            del self._unstored[0]

    def hand_over(self, campaign_set: CampaignSet) -> DispatchResult:
        """Hands over each channel's messages for a while, in order of priority, until told to stop."""
        tally = DispatchResult()
        self.meet_servers()
        with self.database.read() as connection:
            waiting = outbox.channels_waiting(connection, self.clock(), self.share)
            self._identity = identity(connection)
        for channel in waiting:
            if not self.stop():
                tally.add(self._deliver(campaign_set, channel))
        return tally

    def _deliver(self, campaign_set: CampaignSet, channel: str) -> DispatchResult:
        """Gives a channel's transport what there is for it, unless it is left alone for a while."""
        tally = self._handed_over(campaign_set, channel)
        tally.troubled = channel if tally.trouble and not tally.lacking else ""
        return tally

    def _handed_over(self, campaign_set: CampaignSet, channel: str) -> DispatchResult:
        tally, transport = DispatchResult(), self.transports.get(channel)
        if transport is None:
            tally.trouble, tally.help = (
                f"Nothing says how messages by {channel} leave.",
                "add `transports:`",
            )
            return tally
        with self.database.read() as connection:
            closed = (
                rate_limits.closed(connection, channel, millis(self.clock()))
                if self.pacing
                else None
            )
            trouble = rate_limits.trouble(connection, channel) if self.pacing else None
        if closed or (trouble and not self._may_probe(channel)):
            tally.trouble, tally.help = closed or trouble, LEFT_ALONE
            return tally
        session = self._session(campaign_set, channel, transport, tally)
        stream = transport if isinstance(transport, Stream) else OneByOne(transport)
        try:
            messages = (
                self._probe(campaign_set, channel, session)
                if trouble
                else self._messages(campaign_set, channel, session)
            )
            stream.deliver(messages, session)
            session.put_behind()
        except TransportDown as down:
            tally.trouble, tally.help, tally.pause_ms = (
                str(down),
                down.help,
                COSTLY_MS if down.costly else DOWN_MS,
            )
        except Exception as error:
            lack = shortage(error)
            # A simulation that goes on without would show what is not so.
            if lack is None or not self.pacing:
                raise
            tally.lacks(lack)
        finally:
            self._unstored.append(session)
            self.store()
        if trouble and not tally.sent and (tally.again or tally.unknown):
            tally.stuck(trouble, AGAIN, COSTLY_MS)
        if self.pacing and (trouble or (tally.trouble and not tally.lacking)):
            self._leave_alone(channel, tally, probed=trouble is not None)
        return tally

    def _session(
        self,
        campaign_set: CampaignSet,
        channel: str,
        transport: Transport,
        tally: DispatchResult,
    ) -> OutboxSession:
        """The desk of a delivery."""
        relay = _relay_name(transport)
        accepts = True
        if relay is not None:
            with self.database.read() as connection:
                accepts = relays.accepts(connection, channel, relay)
        return OutboxSession(
            self.database,
            campaign_set,
            self.clock,
            self.fence,
            tally,
            channel,
            relay,
            accepts,
            self.stop,
        )

    def meet_servers(self) -> None:
        """A server that a channel did not have before has to get to know us; whom another one refused is offered to it."""
        names = {
            channel: _relay_name(each) for channel, each in self.transports.items()
        }
        with self.database.read() as connection:
            known = relays.servers(connection)
        fresh = {
            channel: name
            for channel, name in names.items()
            if name is not None and known.get(channel) != name
        }
        if fresh:
            with self.database.write() as connection:
                known = relays.servers(connection)
                for channel, name in fresh.items():
                    if known.get(channel) != name:
                        relays.change(connection, channel, name, self.clock())
                        rate_limits.open_channels(connection, [channel])

    def _may_probe(self, channel: str) -> bool:
        now = millis(self.clock())
        with self.database.write() as connection:
            return rate_limits.may_probe(connection, channel, now, now + PROBE_MS)

    def _leave_alone(
        self, channel: str, tally: DispatchResult, *, probed: bool
    ) -> None:
        """Nothing is tried by a channel for a while, longer each time: a server that refuses a login locks out who insists."""
        now = millis(self.clock())
        with self.database.write() as connection:
            if tally.trouble and not tally.lacking:
                rate_limits.close(
                    connection,
                    channel,
                    "",
                    now,
                    *tally.pause_ms,
                    reason=tally.trouble,
                    probed=probed,
                )
            elif tally.sent:
                rate_limits.reopened(connection, channel)
            else:
                rate_limits.probed(connection, channel, now)

    def _probe(
        self, campaign_set: CampaignSet, channel: str, session: OutboxSession
    ) -> Iterator[Message]:
        """One message, after a stop: only once it has left do the others follow. One to a recipient to whom another has left
        before, if there is any."""
        batch = self._claim(campaign_set, channel, session, probing=True)
        with self.database.read() as connection:
            refused = relays.refused_by(connection, channel)
            others = [
                each.contact.id for each in batch if each.contact.id not in refused
            ]
            known = relays.known_to_work(connection, channel, others)
        batch.sort(
            key=lambda each: (each.contact.id in refused, each.contact.id != known)
        )
        for each in batch:
            message = self._rendered(each, session.tally)
            if message is not None:
                session.take(each, message, self.clock())
                # Whatever becomes of it, the others are looked at again.
                session.tally.more = True
                yield message
                return

    def _messages(
        self, campaign_set: CampaignSet, channel: str, session: OutboxSession
    ) -> Iterator[Message]:
        """The channel's messages, rendered, for as long as it has its turn."""
        tally, began = session.tally, self.clock()
        while True:
            batch = self._claim(campaign_set, channel, session)
            for each in batch:
                if self.stop() or tally.trouble:
                    return
                now = self.clock()
                # Nobody gets a turn before all have ended: while one is waited for, the others may as well go.
                if now > began + (
                    LONGEST_SLICE if session.held_up(now - SLICE) else SLICE
                ):
                    tally.more = True
                    return
                message = self._rendered(each, tally)
                if message is not None:
                    session.take(each, message, now)
                    yield message
            if not batch:
                return

    def _claim(
        self,
        campaign_set: CampaignSet,
        channel: str,
        session: OutboxSession,
        *,
        probing: bool = False,
    ) -> list[Ready]:
        """The next messages with their runs, steps and facts; those whose campaign cannot be read any more are given back."""
        rates = (
            campaign_set.settings.rates.get(channel, Rates()) if self.pacing else None
        )
        more, ready = True, list[Ready]()
        while more and not ready:
            with self.database.write() as connection:
                now = self.clock()
                waiting = self._waiting(connection, channel, now, session.in_hand)
                contacts = people.contacts_by_id(
                    connection, {each.contact_id for each in waiting}
                )
                begin = waiting
                if rates is not None:
                    domains = {
                        each.id: domain_of(contacts[each.contact_id], channel)
                        for each in waiting
                    }
                    known = rate_limits.read(connection, channel, set(domains.values()))
                    if probing:
                        # It is closed to all others meanwhile.
                        known.pop("", None)
                    if rates.limited or known:
                        begin, more = self._paced(
                            connection,
                            rates,
                            channel,
                            waiting,
                            domains,
                            known,
                            session.tally,
                        )
                ready = self._ready(connection, campaign_set, contacts, begin, now)
                unreadable = {each.id for each in begin} - {
                    each.outgoing.id for each in ready
                }
                outbox.give_back(connection, unreadable, now)
            # Whoever was put off or given back is out of the way of those behind.
            more = more and bool(waiting)
        return ready

    def _waiting(
        self, connection: Connection, channel: str, now: datetime, in_hand: set[int]
    ) -> list[OutboxMessage]:
        return outbox.pending(connection, channel, now, BATCH, in_hand, self.share)

    def _paced(
        self,
        connection: Connection,
        rates: Rates,
        channel: str,
        waiting: list[OutboxMessage],
        domains: Mapping[int, str],
        known: Mapping[str, float],
        tally: DispatchResult,
    ) -> tuple[list[OutboxMessage], bool]:
        """Those that may begin now by the rates of the channel and its domains, and whether more may; the others are put off."""
        paced = pace(
            [(each.id, domains[each.id]) for each in waiting],
            known,
            rates,
            millis(self.clock()),
        )
        rate_limits.save(
            connection,
            channel,
            {name: at for name, at in paced.lanes.items() if at != known.get(name)},
        )
        outbox.put_off(connection, paced.later)
        if paced.later:
            tally.wait_until(from_millis(min(paced.later.values())))
        full = len(paced.begin) + len(paced.later) < len(waiting)
        if full:
            tally.wait_until(from_millis(round(paced.lanes[""])))
        begin = set(paced.begin)
        return [each for each in waiting if each.id in begin], not full

    def _ready(
        self,
        connection: Connection,
        campaign_set: CampaignSet,
        contacts: Mapping[int, Contact],
        waiting: list[OutboxMessage],
        now: datetime,
    ) -> list[Ready]:
        """The messages with their runs, steps and facts; without those whose campaign cannot be read any more."""
        found = runs.runs_by_id(connection, {each.run_id for each in waiting})
        started = list(found.values())
        campaigns = campaigns_of(connection, campaign_set, started)
        facts = facts_of_messages(
            connection, campaign_set, started, campaigns, now, contacts
        )
        ready = []
        for outgoing in waiting:
            run = found[outgoing.run_id]
            campaign = campaigns[run.campaign, run.version]
            step = step_of(campaign, outgoing.step)
            if campaign and step:
                ready.append(
                    Ready(
                        outgoing,
                        run,
                        campaign,
                        step,
                        facts.contacts[outgoing.contact_id],
                        facts,
                    )
                )
        return ready

    def _rendered(self, each: Ready, tally: DispatchResult) -> Message | None:
        """The message; None if it cannot be made, which is for the operator to look at."""
        try:
            message = self._message(each)
            self._saw(each, message)
        except DripError as error:
            place = str(error.place or each.step.place)
            each.outgoing.place = place
            with self.database.write() as connection:
                outbox.close(
                    connection,
                    each.outgoing,
                    "held",
                    self.clock(),
                    "render-error",
                    error.sentence,
                )
                go_on(connection, [each], self.clock())
                said = f"A message of {each.campaign.key} cannot be written and is held: {error.sentence} ({place})."
                alarm(
                    connection,
                    log,
                    "render-error",
                    each.campaign.key,
                    said,
                    self.clock(),
                    SETTLE,
                )
            tally.held += 1
            return None
        return message

    def _saw(self, each: Ready, message: Message) -> None:
        self.seen(each, message)

    def _message(self, each: Ready) -> Message:
        assert self._identity
        return compose_for_run(
            self.templates,
            each.facts,
            self._identity,
            each.campaign,
            each.step,
            each.run,
            each.outgoing.channel,
            self.clock(),
        )


def hold_unproven(connection: Connection, now: datetime) -> None:
    """Has a person decide of those whom a server refused that has taken nobody for days; their runs go on."""
    overdue = relays.overdue(connection, now - UNPROVEN)
    if overdue:
        outbox.hold_waiting(
            connection,
            {each.message_id: each.answer for each in overdue},
            now,
            "unproven",
        )
        relays.forget(connection, [each.message_id for each in overdue])
        runs.wake(connection, {each.run_id for each in overdue})
        said = f"{len(overdue)} message(s) were refused for {UNPROVEN.days} days by a server that has taken nobody, and are held."
        alarm(connection, log, "unproven", "", said, now, SETTLE)


def reap(
    connection: Connection, campaign_set: CampaignSet, fence: int, now: datetime
) -> int:
    """Settles what was begun and never recorded: held, or sent again where its campaign says so."""
    control.end_dead(connection, now)
    left = outbox.left_behind(connection, fence)
    if not left:
        return 0
    found = runs.runs_by_id(connection, {each.run_id for each in left})
    again = set()
    for each in left:
        run = found[each.run_id]
        campaign = campaign_set.version(connection, run.campaign, run.version)
        if campaign and campaign.on_unknown == "resend" and each.maybe_left_at is None:
            again.add(each.id)
    outbox.settle_left_behind(connection, again, now, resend=True)
    outbox.settle_left_behind(
        connection, {each.id for each in left} - again, now, resend=False
    )
    runs.wake(connection, {each.run_id for each in left if each.id not in again})
    said = f"{len(left)} message(s) were being handed over when the program ended; {len(left) - len(again)} are held."
    alarm(connection, log, "reaped", str(fence), said, now, SETTLE)
    return len(left)


def _relay_name(transport: Transport) -> str | None:
    return (
        transport.relay_name
        if isinstance(transport, Relayed) and isinstance(transport, Stream)
        else None
    )


class OneByOne:
    """A transport that sends one message at a time, as one that streams."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def deliver(self, messages: Iterator[Message], session: DeliverySession) -> None:
        """The end of each message is stored with the beginning of the next. Raises TransportDown and Shortage."""
        ended: list[tuple[Message, Receipt]] = []
        try:
            for message in messages:
                before, ended = ended, []
                (may,) = session.turn(before, [message])
                ended = [(message, self._sent(message, session))] if may else []
        finally:
            # Also if the next message could not be made.
            if ended:
                session.turn(ended, [])

    def _sent(self, message: Message, session: DeliverySession) -> Receipt:
        try:
            return self._transport.send(message)
        except TransportDown as down:
            session.turn([(message, Unsent(str(down), "transport"))], [])
            raise
        except Shortage as lack:
            session.turn([(message, Unsent(str(lack), "machine"))], [])
            raise
        except Exception as error:
            # What nobody foresaw: it may have left, and the others go on.
            log.exception("The transport failed.", extra={"action": "transport-failed"})
            return Unknown(f"the transport failed: {type(error).__name__}: {error}")
