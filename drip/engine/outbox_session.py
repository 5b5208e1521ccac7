"""One delivery's side of the outbox: what begins, right before it does, and how each
message ended.

A message is committed as `sending` before the first byte of its text leaves, in one
transaction with the ends of those before it. Who dies in between leaves as many
messages of unknown outcome as the transport has under way at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from drip.core.calendar import millis
from drip.core.message import Message, Receipt, Sent, Unsent
from drip.engine.alarming import alarm
from drip.engine.campaign_set import CampaignSet
from drip.engine.dispatch_result import DispatchResult
from drip.engine.end_recorder import AttemptEnd, EndRecorder
from drip.engine.last_check import LastCheck, Ready, in_time, last_checks
from drip.engine.server_trust import ServerTrust
from drip.storage.base.database import Database
from drip.storage.operating import alarms, daemons
from drip.storage.sending import attempts, links, outbox
from drip.storage.sending.links import Lead

# Between the last check and its turn too much time had passed.
STALE = Unsent("its time had passed when its turn came", "machine")
SLOW = "it is waited for as long as RFC 5321 says; the mail server's log tells more"
log = logging.getLogger("drip.dispatcher")


class LeaseLost(Exception):
    """This daemon was taken for dead, so that it may not begin anything.

    It has to start anew under another number.
    """


@dataclass
class OutboxSession:
    """A `core.message.DeliverySession`.

    `take` what is handed to a transport; afterwards `finish`.
    """

    database: Database
    campaign_set: CampaignSet
    clock: Callable[[], datetime]
    fence: int
    result: DispatchResult
    trust: ServerTrust
    stop: Callable[[], bool] = lambda: False
    # By the Message-ID of what was rendered.
    _in_hand: dict[str, Ready] = field(default_factory=dict)
    _begun: set[int] = field(default_factory=set)
    _ended: list[AttemptEnd] = field(default_factory=list)
    _links: dict[str, Lead] = field(default_factory=dict)
    _stopped: bool = False
    # The domains that have asked for less.
    _closed: set[str] = field(default_factory=set)
    # What was not worth offering any more, to be judged anew.
    _withdrawn: set[int] = field(default_factory=set)

    @property
    def channel(self) -> str:
        return self.trust.channel

    @property
    def accepts(self) -> bool:
        """Whether the server is known to have taken somebody."""
        return self.trust.accepts

    @accepts.setter
    def accepts(self, accepts: bool) -> None:
        self.trust.accepts = accepts

    @property
    def in_hand(self) -> set[int]:
        """The messages that were taken and have not ended."""
        return {ready.id for ready in self._in_hand.values()}

    def take(self, ready: Ready, message: Message, now: datetime) -> None:
        """This message is given to the transport."""
        ready.taken_at = now
        self._in_hand[message.message_id] = ready

    def held_up(self, since: datetime) -> bool:
        """Whether one that was taken before then has not ended."""
        # They are in the order in which they were taken, so that one look is enough.
        oldest = next(iter(self._in_hand.values()), None)
        taken_at = oldest.taken_at if oldest else None
        return taken_at is not None and taken_at < since

    def wants(self, message: Message) -> bool:
        """Whether a message is worth offering, by what is known since it was taken.

        It was not stopped or held, and neither the server nor its domain has asked for
        less.
        """
        if self.result.trouble or self._stopped:
            return False
        # Asked of every message, and answered here nearly always.
        if not self._closed and not self.campaign_set.holds:
            return True
        ready = self._in_hand[message.message_id]
        if ready.domain in self._closed:
            return False
        if self.campaign_set.paused(ready.campaign) is None:
            return True
        self._withdrawn.add(ready.id)
        return False

    def waits(self, sentence: str | None) -> None:
        """An answer takes long: said at once, and over when it has come."""
        now = self.clock()
        with self.database.write() as connection:
            if sentence:
                self._alarm_slow(connection, sentence, now)
            else:
                alarms.over(connection, ["slow-answer"], now)

    def _alarm_slow(
        self,
        connection: Connection,
        sentence: str,
        now: datetime,
    ) -> None:
        alarm(
            connection,
            log,
            "slow-answer",
            self.channel,
            sentence,
            now,
            SLOW,
        )

    def turn(
        self,
        ended: Sequence[tuple[Message, Receipt]],
        ready: Sequence[Message],
    ) -> list[bool]:
        """Stores how messages ended, and marks those that may begin.

        Those that are ready get their last check.
        """
        # Before the transaction: if it fails, `finish` stores them later.
        self._hear(ended)
        batch = [self._in_hand[message.message_id] for message in ready]
        with self.database.write() as connection:
            self._listen(connection, bool(ready))
            result = self._record(connection)
            if (ready or self.accepts) and not self.trust.known:
                self.trust.shown(connection, self.clock())
            checks = self._begin(connection, batch, result)
            self._keep_links(
                connection,
                zip(
                    ready,
                    batch,
                    strict=True,
                ),
            )
        self._stored(result)
        self._stopped = self.stop()
        self._begun |= set(checks)
        # One look at the clock for all of them: between two looks the program may stand
        # still, and the first would be late.
        now = self.clock()
        return [
            self._may(
                message,
                own,
                checks.get(own.id),
                now,
            )
            for message, own in zip(ready, batch, strict=True)
        ]

    def finish(self) -> None:
        """Stores the ends that are not stored yet."""
        if self._ended:
            with self.database.write() as connection:
                result = self._record(connection)
            self._stored(result)

    def put_behind(self) -> None:
        """What the transport left for another time goes behind what is due now.

        What was stopped or held is judged anew.
        """
        if self._withdrawn:
            self._give_withdrawn_back()
        left = self.in_hand - self._begun - self._withdrawn
        if left and not self.result.trouble:
            self.result.more = True
            with self.database.write() as connection:
                now = millis(self.clock())
                outbox.put_off(connection, dict.fromkeys(left, now))

    def _give_withdrawn_back(self) -> None:
        with self.database.write() as connection:
            outbox.give_back(
                connection,
                self._withdrawn,
                self.clock(),
            )
        self.result.given_back += len(self._withdrawn)

    # --- how messages ended

    def _hear(self, ended: Sequence[tuple[Message, Receipt]]) -> None:
        """From now on it is known here, whatever becomes of storing it."""
        heard = [
            AttemptEnd(self._in_hand.pop(message.message_id), receipt)
            for message, receipt in ended
        ]
        self._ended += heard
        self.trust.heard({end.id for end in heard})

    def _listen(self, connection: Connection, takes_recipient: bool) -> None:
        self.trust.took |= takes_recipient
        if any(isinstance(end.receipt, Sent) for end in self._ended):
            self.trust.sent(connection)

    def _record(self, connection: Connection) -> DispatchResult:
        recorder = EndRecorder(
            connection,
            self.fence,
            self.trust,
            self.clock(),
        )
        recorder.record(self._ended, self._begun)
        self._closed |= recorder.closed
        return recorder.result

    def _stored(self, result: DispatchResult) -> None:
        """What had ended is in the database now."""
        ended = {end.id for end in self._ended}
        self._begun -= ended
        self.trust.stored(ended)
        self._ended = []
        self.result.add(result)

    # --- what begins

    def _begin(
        self,
        connection: Connection,
        batch: Sequence[Ready],
        result: DispatchResult,
    ) -> dict[int, LastCheck]:
        """Marks those that may begin; the others are judged again. Raises LeaseLost."""
        now = self.clock()
        if not daemons.renew(connection, self.fence, now):
            # Somebody took us for dead, and sends: both would write to the same people.
            raise LeaseLost
        # Holds are read in the transaction that begins the messages.
        self.campaign_set.refresh(connection)
        if not batch:
            return {}
        checks = last_checks(connection, self.campaign_set, batch, now)
        messages = [ready.message for ready in batch]
        refused = {message.id for message in messages if message.id not in checks}
        # They are judged again at once, and then the log says why they did not go.
        outbox.give_back(connection, refused, now)
        result.given_back += len(refused)
        permitted = {
            message.id: message for message in messages if message.id in checks
        }
        mine = attempts.begin(
            connection,
            permitted.values(),
            self.fence,
            now,
        )
        return {number: check for number, check in checks.items() if number in mine}

    def _may(
        self,
        message: Message,
        ready: Ready,
        check: LastCheck | None,
        now: datetime,
    ) -> bool:
        """Whether it was begun, and there is still time: committing may take long."""
        if check and in_time(ready, check, now):
            return True
        self._keep_back(message, ready, check)
        return False

    def _keep_back(
        self,
        message: Message,
        ready: Ready,
        check: LastCheck | None,
    ) -> None:
        """What was begun is ended too, or it would look as if it was left behind."""
        del self._in_hand[message.message_id]
        if check:
            self._ended.append(AttemptEnd(ready, STALE))

    def _keep_links(
        self,
        connection: Connection,
        batch: Iterable[tuple[Message, Ready]],
    ) -> None:
        """Where their links lead is known before they leave."""
        fresh: dict[str, Lead] = {}
        for message, ready in batch:
            for name, address in message.links.items():
                known = fresh.get(name) or self._links.get(name)
                lead = _lead(known, address, ready.contact.id)
                # Most links of a batch are the same for everybody, and are kept once.
                if lead != known:
                    fresh[name] = lead
        if fresh:
            links.keep(connection, fresh)
            self._links |= fresh


def _lead(known: Lead | None, address: str, contact_id: int) -> Lead:
    """Where a link leads, and to whose message it belongs; to no one's if to
    several."""
    if known is None:
        return Lead(address, contact_id)
    if known.contact_id in (None, contact_id):
        return known
    return Lead(address, None)
