"""One round: messages are handed to connections as they get free, and the session
hears what became of them.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from drip.core.addresses import ascii_domain
from drip.core.answers import without_addresses
from drip.core.message import (
    MOST_REFUSED,
    DeliverySession,
    Message,
    Receipt,
    Refused,
    Scope,
    Sent,
    TransportDown,
    Unsent,
)
from drip.core.shortage import shortage
from drip.transports.smtp.connection import SmtpConnection
from drip.transports.smtp.dialogue import Dialogue
from drip.transports.smtp.envelope import Envelope
from drip.transports.smtp.server import Down

log = logging.getLogger("drip.transports")
LEADING_DOT = re.compile(rb"\n\.")
# A message whose connection ended twice before its text could go waits until
# its next turn.
MOST_CUTS = 2
# On so many messages in a row a session may end; so many answers in a row may
# never come, or be as if we did not speak SMTP.
MOST_DEATHS = 2
MOST_SILENCES = 5
MOST_WRONG_ANSWERS = 3
# Those that are ready wait for the others that are under way, so many times as
# long as the last asking took, and so many seconds at most: it costs nearly as
# much for one as for thirty.
GATHER_TIMES = 2
LONGEST_GATHER_S = 0.02
# How messages ended is told with the next ones that are ready, or after this time.
TELL_S = 1.0
# The session is asked at least so often, so that whoever sends is known to be alive.
KEEP_ALIVE_S = 30.0
# An answer that takes longer is told of; how often that is looked at.
SLOW_ANSWER_S = 60.0
LOOK_S = 5.0
# A domain is quick whose last message was taken so soon. All connections at
# once are for quick ones alone.
QUICK_S = 2.0
# While one has taken so long, no more of its domain is begun, so that the round
# has an end.
SLOW_S = 5.0
# So many messages are looked at for one to another domain.
LOOK_AHEAD = 100
# So many are left for another round before nothing more is begun in this one.
MOST_LEFT = 5_000
# So long answers are waited for when something went wrong on this side.
HEAR_OUT_S = 30.0


class ConnectionPool(Protocol):
    """The connections as a round needs them."""

    most: int
    per_connection: int | None

    @property
    def recipients(self) -> int: ...
    @property
    def connections(self) -> Sequence[SmtpConnection[Message]]: ...
    def passed_s(self) -> float: ...
    def sender_of(self, message: Message) -> str: ...
    def written(self, message: Message) -> bytes: ...
    def connect(self) -> None: ...
    def without_ended(self) -> list[SmtpConnection[Message]]: ...
    def flush(self) -> None: ...
    def look(self) -> None: ...
    def wait(self, until: float) -> None: ...


class Round:
    """Which messages wait, and what has become of those that were begun."""

    def __init__(
        self,
        server: ConnectionPool,
        messages: Iterator[Message],
        session: DeliverySession,
    ) -> None:
        self._server, self._messages, self._session = server, messages, session
        self._waiting: deque[Envelope[Message]] = deque()
        self._ended: list[tuple[Message, Receipt]] = []
        # What did not leave is told at once: it may be a reason to offer no more.
        self._bad_news = False
        self._refused = 0
        self._taken_before = server.recipients
        self._cuts: Counter[str] = Counter()
        self._quick: set[str] = set()
        self._left = 0
        self._more = True
        self._most = server.most
        self._down: Down | None = None
        self._asked_at = self._looked_at = server.passed_s()
        self._ready_at: float | None = None
        self._gather_s = 0.0
        self._slow = False

    def run(self) -> None:
        """Until every message has ended or nothing can leave.

        Raises TransportDown, Shortage, and whatever the session raises.
        """
        self._server.look()
        try:
            self._hand_over()
        except BaseException:
            self._let_end()
            raise
        finally:
            if self._slow:
                self._session.waits(None)
        down = self._down
        if down is None:
            return
        raise down.lack or TransportDown(down.sentence, down.help, costly=down.costly)

    def _hand_over(self) -> None:
        while True:
            self._collect()
            self._ask()
            self._hand_out()
            if not self._next() and self._all_idle():
                break
            self._server.flush()
            self._server.wait(self._wake_at())
            self._notice_silence()
        self._collect()
        if self._ended:
            self._tell([])

    def _all_idle(self) -> bool:
        return all(connection.dialogue.idle for connection in self._server.connections)

    def _wake_at(self) -> float:
        """When there is something to do though no server has said anything."""
        gathered = math.inf
        if self._ready_at is not None:
            gathered = self._ready_at + self._gather_s
        return min(self._tell_at(), self._slow_at(), gathered)

    def _tell_at(self) -> float:
        """When the session hears of this side, whatever happens until then."""
        return self._asked_at + (TELL_S if self._ended else KEEP_ALIVE_S)

    def _collect(self) -> None:
        """Takes what ended from the connections, and from those that died what has to
        go by another one.
        """
        dead = self._server.without_ended()
        for connection in (*self._server.connections, *dead):
            dialogue = connection.dialogue
            for envelope, receipt in dialogue.ended:
                self._end(envelope, receipt)
            dialogue.ended.clear()
            if dialogue.cut:
                self._cut(dialogue, dialogue.cut)
                dialogue.cut = None
        for connection in dead:
            self._died(connection)

    def _end(
        self,
        envelope: Envelope[Message],
        receipt: Receipt,
    ) -> None:
        self._ended.append((envelope.of, receipt))
        if not isinstance(receipt, Sent):
            self._bad_news = True
        if isinstance(receipt, Refused) and receipt.at_recipient:
            self._refused += 1
        self._note(envelope)

    def _cut(
        self,
        dialogue: Dialogue[Message],
        envelope: Envelope[Message],
    ) -> None:
        """Behind the others: one that makes the server hang up is not to be
        tried twice in a row.
        """
        key = envelope.of.message_id
        self._cuts[key] += dialogue.died_on is not None or dialogue.silent
        if self._cuts[key] < MOST_CUTS:
            self._waiting.append(envelope)
        else:
            self._ended.append((envelope.of, Unsent(dialogue.why)))

    def _died(self, connection: SmtpConnection[Message]) -> None:
        """Fewer connections, where the server lets no more in; none, where there is
        nothing to be done with it.
        """
        dialogue = connection.dialogue
        down, left = dialogue.down, len(self._server.connections)
        if trouble := _unwell(dialogue):
            down, left = _left_alone(dialogue, without_addresses(trouble)), 0
        if down is None:
            return
        self._most = max(left, 1)
        if down.for_good or not left:
            self._give_up(down)

    def _give_up(self, down: Down) -> None:
        """Nothing more is begun, and what was cut before is not tried again."""
        self._down = self._down or down
        self._more = False
        scope: Scope = "machine" if down.lack else "message"
        for envelope in self._waiting:
            if self._cuts[envelope.of.message_id]:
                self._ended.append((envelope.of, Unsent(down.sentence, scope)))
        self._waiting.clear()

    def _drop_unwanted(self) -> None:
        """What the session does not want any more comes again when it does."""
        self._waiting = deque(
            envelope for envelope in self._waiting if self._session.wants(envelope.of)
        )

    def _ask(self) -> None:
        """Tells the session what ended, and asks which of those that could go now
        may."""
        ready = [
            connection
            for connection in self._server.connections
            if connection.dialogue.ready
        ]
        if not ready:
            self._ready_at = None
        now = self._server.passed_s()
        gathered = bool(ready) and self._gathered(now)
        if gathered or now >= self._tell_at() or self._bad_news:
            self._ready_at = None
            self._tell(ready)

    def _gathered(self, now: float) -> bool:
        """Whether all of those under way are ready, or have been waited for."""
        if self._ready_at is None:
            self._ready_at = now
        if now >= self._ready_at + self._gather_s:
            return True
        dialogues = (connection.dialogue for connection in self._server.connections)
        return all(dialogue.ready or dialogue.idle for dialogue in dialogues)

    def _tell(self, connections: list[SmtpConnection[Message]]) -> None:
        """Permitted messages go on, the others end with their connections."""
        ended, self._ended, self._bad_news = self._ended, [], False
        envelopes = (connection.dialogue.ready for connection in connections)
        ready = [envelope.of for envelope in envelopes if envelope]
        began = self._server.passed_s()
        permissions = self._session.turn(ended, ready)
        self._asked_at = self._server.passed_s()
        took_s = self._asked_at - began
        self._gather_s = min(GATHER_TIMES * took_s, LONGEST_GATHER_S)
        if self._server.recipients > self._taken_before:
            # What the session has just heard was refused before.
            self._session.accepts = True
        for connection, permitted in zip(connections, permissions, strict=True):
            if permitted:
                connection.dialogue.go()
            else:
                _drop(connection)

    def _notice_silence(self) -> None:
        """Tells the session of an answer that takes long, and when that is over."""
        now = self._server.passed_s()
        if now < self._looked_at + LOOK_S:
            return
        self._looked_at = now
        self._let_go_unwanted(now)
        slow = [
            connection.dialogue.server
            for connection in self._server.connections
            if connection.silent_s(now) >= SLOW_ANSWER_S
        ]
        if slow and not self._slow:
            self._session.waits(
                f"The mail server {slow[0]} has not answered for more than a minute."
            )
        elif self._slow and not slow:
            self._session.waits(None)
        self._slow = bool(slow)

    def _let_go_unwanted(self, now: float) -> None:
        """After a stop or a hold nobody is waited for who has nothing of a text yet."""
        silent = [
            connection
            for connection in self._server.connections
            if not connection.dialogue.under_way and connection.silent_s(now) >= LOOK_S
        ]
        if not silent:
            return
        self._tell([])
        self._drop_unwanted()
        for connection in silent:
            envelope = connection.dialogue.envelope
            if envelope is None or connection.dialogue.ready:
                continue
            if not self._session.wants(envelope.of):
                _drop(connection)

    def _hand_out(self) -> None:
        """Messages to connections that wait for nothing; and more connections for more
        messages.
        """
        connections = list(self._server.connections)
        for connection in connections:
            if self._server.per_connection:
                self._quit_if_used_up(connection.dialogue)
            if connection.dialogue.free:
                self._feed(connection)
        missing = self._most - len(connections)
        if missing <= 0:
            return
        self._drop_unwanted()
        opening = sum(not connection.dialogue.open for connection in connections)
        for needed in range(opening + 1, opening + 1 + missing):
            if not self._next(needed):
                break
            self._server.connect()

    def _quit_if_used_up(self, dialogue: Dialogue[Message]) -> None:
        """After `messages_per_connection` a connection is made anew."""
        most = self._server.per_connection
        if most and dialogue.idle and dialogue.taken >= most:
            dialogue.quit()

    def _feed(self, connection: SmtpConnection[Message]) -> None:
        """Gives a connection what it can take now."""
        while connection.dialogue.free and self._may_offer():
            envelope = self._envelope_for(connection)
            if envelope is None:
                break
            envelope.taken_s = self._server.passed_s()
            connection.dialogue.take(envelope)

    def _may_offer(self) -> bool:
        """A server that has taken nobody yet is not asked for more recipients at once
        than it may refuse.
        """
        if self._session.accepts or self._server.recipients > self._taken_before:
            return True
        under_way = sum(
            not connection.dialogue.idle for connection in self._server.connections
        )
        return not under_way or under_way + self._refused < MOST_REFUSED

    def _note(self, envelope: Envelope[Message]) -> None:
        """Whether the domain was quick this time."""
        domain = _domain(envelope)
        if self._server.passed_s() - envelope.taken_s < QUICK_S:
            self._quick.add(domain)
        else:
            self._quick.discard(domain)

    def _envelope_for(
        self, connection: SmtpConnection[Message]
    ) -> Envelope[Message] | None:
        """The next one in order, unless its domain has all other connections already
        and may be slow: then one to another domain, and none if there is none.
        """
        while True:
            envelope = self._first_for(connection)
            if envelope is not None or not self._leave_slow():
                return envelope

    def _first_for(
        self, connection: SmtpConnection[Message]
    ) -> Envelope[Message] | None:
        """Looks ahead only so far, so that messages keep their order."""
        place = 0
        while place < LOOK_AHEAD and self._next(place + 1):
            envelope = self._waiting[place]
            domain = _domain(envelope)
            if not self._session.wants(envelope.of):
                # It comes again when it may.
                del self._waiting[place]
            elif domain in self._quick or not self._has_all_but(connection, domain):
                del self._waiting[place]
                return envelope
            else:
                place += 1
        return None

    def _has_all_but(
        self,
        connection: SmtpConnection[Message],
        domain: str,
    ) -> bool:
        """Whether one domain has every other connection."""
        others = [
            other.dialogue.envelope
            for other in self._server.connections
            if other is not connection
        ]
        if not len(others) >= self._most - 1 > 0:
            return False
        return all(envelope and _domain(envelope) == domain for envelope in others)

    def _leave_slow(self) -> bool:
        """Leaves what waits for a slow domain for another round; whether there is
        anything.
        """
        before = self._server.passed_s() - SLOW_S
        carried = self._carried()
        slow = {_domain(envelope) for envelope in carried if envelope.taken_s <= before}
        rest = deque(
            envelope for envelope in self._waiting if _domain(envelope) not in slow
        )
        left = len(self._waiting) - len(rest)
        self._waiting = rest
        self._left += left
        self._more = self._more and self._left < MOST_LEFT
        return left > 0

    def _slow_at(self) -> float:
        """When a domain that messages wait for will have been slow."""
        if not self._waiting:
            return math.inf
        now = self._server.passed_s()
        slow_at = (envelope.taken_s + SLOW_S for envelope in self._carried())
        return min((at for at in slow_at if at > now), default=math.inf)

    def _carried(self) -> list[Envelope[Message]]:
        """What is under way over any connection."""
        envelopes = (
            connection.dialogue.envelope for connection in self._server.connections
        )
        return [envelope for envelope in envelopes if envelope]

    def _next(self, count: int = 1) -> bool:
        """Whether so many messages wait; takes them out of the iterator where it has
        them."""
        while self._more and len(self._waiting) < count:
            message = next(self._messages, None)
            if message is None:
                self._more = False
            elif self._session.wants(message):
                self._enqueue(message)
        return len(self._waiting) >= count

    def _enqueue(self, message: Message) -> None:
        """A message that cannot be written ends, and no other one with it."""
        try:
            self._waiting.append(self._envelope(message))
        except Exception as error:
            if lack := shortage(error):
                raise lack from None
            # What nobody foresaw, in this one message: the others go on.
            log.exception(
                "A message cannot be written.", extra={"action": "unwritable"}
            )
            reason = f"it cannot be written: {type(error).__name__}: {error}"
            self._ended.append((message, Refused(reason)))

    def _let_end(self) -> None:
        """Something went wrong on this side: what has begun is heard to its end, and
        nothing else begins.
        """
        until = self._server.passed_s() + HEAR_OUT_S
        for connection in self._server.connections:
            if not connection.dialogue.under_way:
                _drop(connection)
        while self._server.connections and self._server.passed_s() < until:
            self._server.wait(until)
            self._collect()
            for connection in self._server.connections:
                if not connection.dialogue.under_way:
                    connection.close()
        self._session.turn(self._ended, [])

    def _envelope(self, message: Message) -> Envelope[Message]:
        """The addresses and the bytes with their dots stuffed (RFC 5321 section
        4.5.2)."""
        text = self._server.written(message)
        # Quoted-printable leaves none. The pattern looks through 18 KB in 4 µs, `in`
        # takes 16.
        if LEADING_DOT.search(text):
            text = text.replace(b"\r\n.", b"\r\n..")
        sender = ascii_domain(self._server.sender_of(message))
        recipient = ascii_domain(message.to.address)
        header = text[: text.find(b"\r\n\r\n")]
        # RFC 6532: a header beyond ASCII, which an address of `From` makes it, is for
        # servers that know it.
        plain = sender.isascii() and recipient.isascii() and header.isascii()
        return Envelope(
            message,
            sender,
            recipient,
            text,
            international=not plain,
        )


def _unwell(dialogue: Dialogue[Message]) -> str:
    """What a server did too often in a row, and now again over this connection that has
    ended; nothing if it did not.
    """
    known = dialogue.known
    if dialogue.died_on:
        known.deaths.add(dialogue.died_on.of.message_id)
        deaths = len(known.deaths)
        if deaths >= MOST_DEATHS:
            return (
                f"broke off in the middle of {deaths} messages in a row"
                f" ({dialogue.why})"
            )
    if dialogue.silent:
        known.silences += 1
        if known.silences >= MOST_SILENCES:
            return f"gave no answer in time, {known.silences} times in a row"
    if dialogue.misunderstood and known.wrong_answers >= MOST_WRONG_ANSWERS:
        return (
            f"answered {known.wrong_answers} times in a row as if drip did not speak"
            f" SMTP ({dialogue.why})"
        )
    return ""


def _left_alone(
    dialogue: Dialogue[Message],
    trouble: str,
) -> Down:
    return Down(
        f"The mail server {dialogue.server} {trouble}.",
        "it is tried again with one message at a time; what the mail server's log says"
        " of this time tells more",
        for_good=False,
        costly=True,
    )


def _drop(connection: SmtpConnection[Message]) -> None:
    """Ends a connection whose message is not to go."""
    connection.dialogue.drop()
    connection.close()


def _domain(envelope: Envelope[Message]) -> str:
    return envelope.recipient.rpartition("@")[2].lower()
