"""Handing over what was granted: rendered, given to its transport, and written down by
its session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip.core.message import Message, Relayed, Stream, Transport, TransportDown
from drip.core.shortage import shortage
from drip.engine.alarming import alarm
from drip.engine.campaign_set import CampaignSet
from drip.engine.claiming import ChannelTurn, claim
from drip.engine.composing import Identity, compose_for_run, identity
from drip.engine.dispatch_result import COSTLY, DOWN, DispatchResult
from drip.engine.end_recorder import SETTLE, go_on
from drip.engine.last_check import Ready
from drip.engine.left_behind import hold_unproven, reap
from drip.engine.one_by_one import OneByOne
from drip.engine.outbox_session import OutboxSession
from drip.engine.server_trust import ServerTrust
from drip.errors import DripError
from drip.rendering.templates import Templates
from drip.storage.base.database import Database
from drip.storage.sending import attempts, outbox, rate_limits, relays
from drip.storage.sending.outbox import OutboxMessage

BATCH = 200
# A probe is nobody else's for so long.
PROBE = timedelta(minutes=1)
# So long one channel hands over before the planner and the others get their turn.
SLICE = timedelta(seconds=5)
# As long as a mail server may take for one answer (RFC 5321 section 4.5.3.2.6).
LONGEST_SLICE = timedelta(minutes=10)
AGAIN = "it is tried again with one message; `drip stop --off` tries at once"
LEFT_ALONE = (
    "nothing is tried for a while, `drip status` says until when; if it is mended, "
    "`drip stop --off` tries at once"
)
log = logging.getLogger("drip.dispatcher")


@dataclass
class Dispatcher:
    """Empties the outbox.

    `clock` is read for each message; `stop` is asked before each one is begun; `seen`
    is given every message that was rendered.
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
    # Sessions that know how messages ended, which the database does not yet.
    _unstored: list[OutboxSession] = field(default_factory=list, repr=False)

    def dispatch(self, campaign_set: CampaignSet) -> DispatchResult:
        """Looks after what was left behind, and hands over what is granted and due."""
        # First what is known here alone: a message whose end is not stored looks as if
        # it was left behind.
        self.store()
        self._look_after_left_behind(campaign_set)
        return self.hand_over(campaign_set)

    def _look_after_left_behind(self, campaign_set: CampaignSet) -> None:
        with self.database.write() as connection:
            reap(
                connection,
                campaign_set,
                self.fence,
                self.clock(),
            )
            hold_unproven(connection, self.clock())

    def store(self) -> None:
        """Stores how messages ended that could not be stored: the disk may be full.

        Raises Shortage, and DripError, while it still cannot; then it is known here
        alone.
        """
        while self._unstored:
            self._unstored[0].finish()
            del self._unstored[0]

    def hand_over(self, campaign_set: CampaignSet) -> DispatchResult:
        """Hands over each channel's messages for a while, until told to stop."""
        result = DispatchResult()
        self.meet_servers()
        with self.database.read() as connection:
            waiting = outbox.channels_waiting(
                connection,
                self.clock(),
                self.share,
            )
            self._identity = identity(connection)
        for channel in waiting:
            if not self.stop():
                result.add(self._deliver(campaign_set, channel))
        self.templates.pieces.forget()
        return result

    # --- servers

    def meet_servers(self) -> None:
        """A server that a channel did not have before has to get to know us.

        Whom another one refused is offered to it.
        """
        names = {
            channel: _relay_name(transport)
            for channel, transport in self.transports.items()
        }
        with self.database.read() as connection:
            known = relays.servers(connection)
        if _new_servers(names, known):
            self._change_servers(names)

    def _change_servers(self, names: Mapping[str, str | None]) -> None:
        with self.database.write() as connection:
            # Once more, under the lock: another process may have been faster.
            known = relays.servers(connection)
            for channel, name in _new_servers(names, known).items():
                relays.change(
                    connection,
                    channel,
                    name,
                    self.clock(),
                )
                rate_limits.open_channels(connection, [channel])

    def _trust(self, channel: str, transport: Transport) -> ServerTrust:
        relay = _relay_name(transport)
        if relay is None:
            return ServerTrust(channel)
        with self.database.read() as connection:
            accepts = relays.accepts(connection, channel, relay)
        return ServerTrust(channel, relay, accepts)

    # --- one channel

    def _deliver(self, campaign_set: CampaignSet, channel: str) -> DispatchResult:
        """Gives a channel's transport what there is, unless it is left alone."""
        result = DispatchResult()
        transport = self.transports.get(channel)
        if transport is None:
            sentence = f"Nothing says how messages by {channel} leave."
            result.stuck(sentence, "add `transports:`")
        else:
            self._open_channel(campaign_set, channel, transport, result)
        result.troubled = channel if result.trouble and not result.lacking else ""
        return result

    def _open_channel(
        self,
        campaign_set: CampaignSet,
        channel: str,
        transport: Transport,
        result: DispatchResult,
    ) -> None:
        # Several processes send by one channel: what one of them found out holds for
        # all.
        closed, trouble = self._state_of(channel)
        if closed or (trouble and not self._may_probe(channel)):
            result.stuck(closed or trouble or "", LEFT_ALONE)
            return
        session = OutboxSession(
            self.database,
            campaign_set,
            self.clock,
            self.fence,
            result,
            self._trust(channel, transport),
            self.stop,
        )
        probing = trouble is not None
        turn = ChannelTurn(
            campaign_set, channel, session, self.clock, self.pacing, probing
        )
        self._give(turn, transport)
        if trouble and not result.sent and (result.again or result.unknown):
            result.stuck(trouble, AGAIN, COSTLY)
        if self.pacing:
            self._leave_alone(turn)

    def _state_of(self, channel: str) -> tuple[str | None, str | None]:
        """Why a channel is left alone at present, and why it was last, if so."""
        if not self.pacing:
            return None, None
        with self.database.read() as connection:
            closed = rate_limits.closed(
                connection,
                channel,
                self.clock(),
            )
            return closed, rate_limits.trouble(connection, channel)

    def _give(self, turn: ChannelTurn, transport: Transport) -> None:
        """Has the transport take what it can. Stores the ends whatever happens."""
        stream = transport if isinstance(transport, Stream) else OneByOne(transport)
        messages = self._probe(turn) if turn.probing else self._messages(turn)
        result = turn.result
        try:
            stream.deliver(messages, turn.session)
            turn.session.put_behind()
        except TransportDown as down:
            result.trouble, result.help = str(down), down.help
            result.pause = COSTLY if down.costly else DOWN
        except Exception as error:
            lack = shortage(error)
            # A simulation that goes on without would show what is not so.
            if lack is None or not self.pacing:
                raise
            result.lacks(lack)
        finally:
            # Also if nothing can be stored now: then the next tick tries first.
            self._unstored.append(turn.session)
            self.store()

    def _may_probe(self, channel: str) -> bool:
        now = self.clock()
        with self.database.write() as connection:
            return rate_limits.may_probe(
                connection,
                channel,
                now,
                now + PROBE,
            )

    def _leave_alone(self, turn: ChannelTurn) -> None:
        """Nothing is tried by a channel for a while, longer each time.

        A server that refuses a login locks out who insists.
        """
        channel, result = turn.channel, turn.result
        trouble = None if result.lacking else result.trouble
        if not trouble and not turn.probing:
            return
        now = self.clock()
        with self.database.write() as connection:
            if trouble:
                rate_limits.close(
                    connection,
                    channel,
                    "",
                    now,
                    *result.pause,
                    reason=trouble,
                    probed=turn.probing,
                )
            elif result.sent:
                rate_limits.reopened(connection, channel)
            else:
                rate_limits.probed(connection, channel, now)

    # --- its messages

    def _probe(self, turn: ChannelTurn) -> Iterator[Message]:
        """One message, after a stop: only once it has left do the others follow."""
        batch = self._claim(turn)
        self._sort_for_probing(batch, turn.channel)
        for ready in batch:
            message = self._rendered(ready, turn.result)
            if message is not None:
                turn.session.take(
                    ready,
                    message,
                    self.clock(),
                )
                # Whatever becomes of it, the others are looked at again.
                turn.result.more = True
                yield message
                return

    def _sort_for_probing(self, batch: list[Ready], channel: str) -> None:
        """First a recipient to whom another has left before, if there is any.

        Last those who were refused.
        """
        with self.database.read() as connection:
            refused = relays.refused_by(connection, channel)
            contact_ids = [ready.contact.id for ready in batch]
            others = [number for number in contact_ids if number not in refused]
            works = relays.known_to_work(connection, channel, others)
        # A dead address would fail for its own sake, and tell nothing of the server.
        batch.sort(
            key=lambda ready: (ready.contact.id in refused, ready.contact.id != works)
        )

    def _messages(self, turn: ChannelTurn) -> Iterator[Message]:
        """The channel's messages, rendered, for as long as it has its turn."""
        began = self.clock()
        while batch := self._claim(turn):
            for ready in batch:
                if self.stop() or turn.result.trouble:
                    return
                now = self.clock()
                if self._is_over(turn, began, now):
                    turn.result.more = True
                    return
                message = self._rendered(ready, turn.result)
                if message is not None:
                    turn.session.take(ready, message, now)
                    yield message

    def _is_over(self, turn: ChannelTurn, began: datetime, now: datetime) -> bool:
        """Whether others get their turn.

        Nobody gets one before all have ended: while one is waited for, the others may
        as well go.
        """
        held_up = turn.session.held_up(now - SLICE)
        return now > began + (LONGEST_SLICE if held_up else SLICE)

    def _claim(self, turn: ChannelTurn) -> list[Ready]:
        """The next messages with their runs, steps and facts; none when all is done."""
        ready: list[Ready] = []
        more = True
        # All that were looked at can have to wait for their domains, with others
        # behind.
        while more and not ready:
            with self.database.write() as connection:
                now, in_hand = self.clock(), turn.session.in_hand
                waiting = self._waiting(
                    connection,
                    turn.channel,
                    now,
                    in_hand,
                )
                ready, more = claim(
                    connection,
                    turn,
                    waiting,
                    now,
                )
        return ready

    def _waiting(
        self,
        connection: Connection,
        channel: str,
        now: datetime,
        in_hand: set[int],
    ) -> list[OutboxMessage]:
        return outbox.pending(
            connection,
            channel,
            now,
            BATCH,
            in_hand,
            self.share,
        )

    def _rendered(self, ready: Ready, result: DispatchResult) -> Message | None:
        """The message; None if it cannot be made, which is for the operator to mend."""
        try:
            message = self._composed(ready)
            self._saw(ready, message)
        except DripError as error:
            self._hold(ready, error, result)
            return None
        return message

    def _composed(self, ready: Ready) -> Message:
        assert self._identity
        return compose_for_run(
            self.templates,
            ready.facts,
            self._identity,
            ready.campaign,
            ready.step,
            ready.run,
            ready.message.channel,
            self.clock(),
        )

    def _saw(self, ready: Ready, message: Message) -> None:
        self.seen(ready, message)

    def _hold(self, ready: Ready, error: DripError, result: DispatchResult) -> None:
        place = str(error.place or ready.step.place)
        campaign, code = ready.campaign.key, "render-error"
        sentence = _unwritable(campaign, error, place)
        ready.message.place = place
        with self.database.write() as connection:
            now = self.clock()
            attempts.hold(
                connection,
                ready.message,
                now,
                code,
                error.sentence,
            )
            # Its run does not wait for a person: the other steps are as good as ever.
            go_on(connection, [ready], now)
            alarm(
                connection,
                log,
                code,
                campaign,
                sentence,
                now,
                SETTLE,
            )
        result.held += 1


def _unwritable(campaign: str, error: DripError, place: str) -> str:
    return (
        f"A message of {campaign} cannot be written and is held: "
        f"{error.sentence} ({place})."
    )


def _relay_name(transport: Transport) -> str | None:
    if isinstance(transport, Relayed) and isinstance(transport, Stream):
        return transport.relay_name
    return None


def _new_servers(
    names: Mapping[str, str | None], known: Mapping[str, str]
) -> dict[str, str]:
    """The servers by channel, where there was another one or none."""
    return {
        channel: name
        for channel, name in names.items()
        if name is not None and known.get(channel) != name
    }
