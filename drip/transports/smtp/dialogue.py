"""One session with a mail server, without a socket: bytes come in, bytes go
out, and each message's stage is known.

RFC 5321. The answer to a message's end is awaited before anything of the next
one is written: RFC 2920 would allow more, and several servers do not take it.
MAIL, RCPT and DATA of one message leave together where the server offers
PIPELINING, so that a message costs two round trips; DATA waits for the answer
to RCPT until this connection has taken a recipient, and again after one that it
has not, since servers count each command that fails.

Only what DATA was answered with 354 for is ever followed by a text, and what
has not been permitted by then is dropped with the connection, so that nothing
of one message can get into another.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic

from drip.core.message import Receipt, Sent, Unknown, Unsent
from drip.transports.smtp.envelope import Envelope, T, impossible
from drip.transports.smtp.login import Login, Steps
from drip.transports.smtp.replies import Garbage, Replies, Reply, verdict
from drip.transports.smtp.server import Down, SmtpServer

# RFC 5321 section 4.5.3.2: how long each answer may take, in seconds.
PATIENCE = {
    "GREETING": 300,
    "HELLO": 300,
    "LOGIN": 300,
    "RSET": 300,
    "MAIL": 300,
    "RCPT": 300,
    "DATA": 120,
    "TEXT": 600,
    "QUIT": 5,
}
# The same section: between two pieces of a text.
BLOCK_S = 180
# Section 3.2: what a server from before 1993 makes of EHLO.
NO_EHLO = (500, 501, 502, 504)
Answered = Callable[[Reply], None]


@dataclass
class Dialogue(Generic[T]):
    """`output` is for the caller to write, who says by `wrote` how much left.

    `ready`, `ended` and `cut` are for the caller.

    - `ready`: the envelope whose text may go as soon as `go` is called (or
      `drop`).
    - `ended`: envelopes with what became of them.
    - `cut`: the envelope whose text had not begun when the connection ended, so
      that nothing of it left.
    """

    host: str
    server: str
    hello: str
    security: str
    login: Login | None
    known: SmtpServer = field(default_factory=SmtpServer)
    output: bytearray = field(default_factory=bytearray)
    ready: Envelope[T] | None = None
    ended: list[tuple[Envelope[T], Receipt]] = field(default_factory=list)
    cut: Envelope[T] | None = None
    down: Down | None = None
    # Why the connection ended, if it was not this side that ended it.
    why: str = ""
    dropped: bool = False
    # How many texts it took; on which message it ended, where that is no way to
    # end a session.
    taken: int = 0
    died_on: Envelope[T] | None = None
    # Whether it ended because the server answered as if we did not speak SMTP;
    # because an answer to a message took too long.
    misunderstood: bool = False
    silent: bool = False
    # The connection is to be closed, is to be encrypted.
    over: bool = False
    wants_tls: bool = False
    open: bool = False
    secure: bool = False
    extensions: dict[str, str] = field(default_factory=dict)
    _replies: Replies = field(default_factory=Replies)
    _expected: deque[tuple[str, Answered]] = field(default_factory=deque)
    # Commands that wait until what was asked before them is answered.
    _later: deque[tuple[str, bytes, Answered]] = field(default_factory=deque)
    # The largest message the server takes (RFC 1870), None where it does not say.
    most_bytes: int | None = None
    _envelope: Envelope[T] | None = None
    # How many bytes were ever put into the output, and handed over.
    _begun: int = 0
    _written: int = 0
    _unclean: bool = False
    _data_along: bool = False
    _leaving: bool = False
    _steps: Steps | None = None

    def __post_init__(self) -> None:
        self._expect("GREETING", self._greeted)

    # --- what the caller asks

    @property
    def free(self) -> bool:
        """Whether the next envelope can be taken."""
        usable = self.open and not self.over and not self._leaving
        return usable and self._envelope is None

    @property
    def idle(self) -> bool:
        """Whether no envelope is under way."""
        return self._envelope is None

    @property
    def envelope(self) -> Envelope[T] | None:
        """The envelope that has not ended."""
        return self._envelope

    @property
    def under_way(self) -> bool:
        """Whether a text was begun and not answered yet."""
        return self._envelope is not None and self._envelope.dot_at is not None

    @property
    def patience_s(self) -> float | None:
        """How long to wait for what comes next; None while nothing is awaited."""
        if self.under_way and not self._all_written:
            return BLOCK_S
        if self.wants_tls:
            return PATIENCE["HELLO"]
        return PATIENCE[self._expected[0][0]] if self._expected else None

    @property
    def awaits(self) -> str:
        """What the server has not answered yet; empty if nothing is asked."""
        return self._expected[0][0] if self._expected else ""

    def take(self, envelope: Envelope[T]) -> None:
        """Begins an envelope: its commands go out. Only if `free`."""
        if no := impossible(envelope, self.extensions, self.most_bytes):
            self.ended.append((envelope, no))
            return
        self._envelope = envelope
        if self._unclean:
            self._command("RSET", b"RSET", lambda reply: None)
            self._unclean = False
        recipient = f"RCPT TO:<{envelope.recipient}>"
        self._command("MAIL", self._mail_command(envelope), self._answered_mail)
        self._command("RCPT", recipient.encode(), self._answered_rcpt)
        self._command("DATA", b"DATA", self._answered_data)

    def _mail_command(self, envelope: Envelope[T]) -> bytes:
        words = [f"MAIL FROM:<{envelope.sender}>"]
        if "SIZE" in self.extensions:
            words.append(f"SIZE={len(envelope.text)}")
        if not envelope.text.isascii():
            words.append("BODY=8BITMIME")
        if envelope.international:
            words.append("SMTPUTF8")
        return " ".join(words).encode()

    def go(self) -> None:
        """The text of the envelope that is `ready` goes out."""
        envelope, self.ready = self.ready, None
        assert envelope
        self._write(envelope.text)
        self._write(b".\r\n")
        envelope.dot_at = self._begun
        self._expect("TEXT", self._answered_text)

    def drop(self) -> None:
        """The envelope that is `ready` is not to go: after 354 only the end of
        the connection says so.
        """
        self.ready, self._envelope, self.dropped = None, None, True
        self._finish()

    def quit(self) -> None:
        """Says goodbye, if there is still somebody to say it to.

        May be called twice.
        """
        if self._leaving:
            return
        if self.open and not self.over and self.idle:
            self._leaving = True
            self._command("QUIT", b"QUIT", lambda reply: self._finish())
        else:
            self._finish()

    # --- what the connection tells

    def received(self, data: bytes) -> bool:
        """What the server said; whether it was a whole answer at least."""
        whole = False
        try:
            for reply in self._replies.feed(data):
                whole = True
                # What comes behind the end of a session answers nothing of ours.
                if self.over:
                    break
                self._heard(reply)
        except Garbage as garbage:
            self.lost(f"the server's answer makes no sense: {garbage}")
        return whole

    def wrote(self, count: int) -> None:
        """So many bytes of `output` were handed over."""
        self._written += count
        del self.output[:count]

    def secured(self) -> None:
        """The connection is encrypted now; the server is asked anew what it can
        (RFC 3207 section 4.2).
        """
        self.wants_tls, self.secure = False, True
        # Where it was encrypted from the beginning, the greeting comes first.
        if not self._expected:
            self._say_hello()

    def fail(self, down: Down) -> None:
        """The connection could not even be made."""
        self.down = down
        self._finish()

    def lost(self, why: str, *, silent: bool = False) -> None:
        """The connection has ended, or makes no sense any more.

        `silent`: it was this side that had waited for too long.
        """
        if self.over:
            return
        self.why = why
        if not self.open and not self.down:
            self.down = Down(
                f"{self._server} ended the connection before it was ready ({why}).",
                "check `host`, `port` and `security`, and whether the server runs",
                for_good=False,
            )
        if self._envelope is None:
            self.cut = None
        else:
            self._lost_with(self._envelope, why, silent)
        self.ready, self._envelope = None, None
        self._finish()

    def _lost_with(
        self,
        envelope: Envelope[T],
        why: str,
        silent: bool,
    ) -> None:
        """What the end of the connection means for the envelope that is under way."""
        self.silent = silent
        written = self._all_written
        # A server that ends a session after so many messages has taken some, and
        # says nothing of the next one.
        ends_session = self.taken > 0 and self.awaits in ("RSET", "MAIL")
        if written or not (silent or ends_session):
            self.died_on = envelope
        if silent and self.awaits == "RCPT":
            # Servers that ask the recipient's own server first are as slow as that.
            envelope.no = envelope.no or Unsent(why, "domain")
        if envelope.no:
            self.ended.append((envelope, envelope.no))
        elif written:
            unknown = Unknown(f"{why} after the message was written")
            self.ended.append((envelope, unknown))
        elif self.under_way:
            self.ended.append((envelope, Unsent(why)))
        else:
            self.cut = envelope

    # --- answers, in the order of what was asked

    def _heard(self, reply: Reply) -> None:
        """Gives an answer to whoever has asked for it first."""
        if not self._expected:
            # Mostly 421: it was idle for too long.
            self.lost(str(reply))
            return
        if reply.code == 421 and self.awaits != "TEXT":
            self._leaves(reply)
            return
        _, answered = self._expected.popleft()
        answered(reply)
        if reply.code == 421:
            self.lost(str(reply))
        self._next_command()

    def _leaves(self, reply: Reply) -> None:
        """421: the server closes the connection, whatever was asked (RFC 5321
        section 3.8).
        """
        if not self.open:
            self.down = Down(
                f"{self._server} is not available ({reply}).",
                "it is tried again",
                for_good=False,
            )
        no = verdict(self.awaits, reply)
        too_much = isinstance(no, Unsent) and no.scope == "rate"
        if self._envelope and too_much:
            self._envelope.no = self._envelope.no or no
        self.lost(str(reply))

    def _greeted(self, reply: Reply) -> None:
        if reply.code != 220:
            self._unwilling(reply)
        else:
            self._say_hello()

    def _say_hello(self) -> None:
        self._command("HELLO", f"EHLO {self.hello}".encode(), self._answered_ehlo)

    def _answered_ehlo(self, reply: Reply) -> None:
        needs_ehlo = self.security == "starttls" or self.login is not None
        if reply.code in NO_EHLO and not needs_ehlo:
            self._command("HELLO", f"HELO {self.hello}".encode(), self._answered_helo)
            return
        if reply.code != 250:
            self._unwilling(reply)
            return
        self._note_extensions(reply)
        if self.security == "starttls" and not self.secure:
            self._ask_for_tls()
        elif self.login:
            self._log_in(self.login)
        else:
            self.open = True

    def _note_extensions(self, reply: Reply) -> None:
        """Each line after the first is a name and its parameters."""
        named = (line.partition(" ") for line in reply.lines[1:])
        self.extensions = {name.upper(): parameters for name, _, parameters in named}
        size = self.extensions.get("SIZE", "")
        # RFC 1870 section 3: zero is no limit.
        limited = re.fullmatch("[0-9]{1,18}", size) and int(size) > 0
        self.most_bytes = int(size) if limited else None

    def _answered_helo(self, reply: Reply) -> None:
        if reply.code == 250:
            self.open = True
        else:
            self._unwilling(reply)

    def _ask_for_tls(self) -> None:
        if "STARTTLS" in self.extensions:
            self._command("HELLO", b"STARTTLS", self._answered_starttls)
            return
        self._misconfigured(
            f"{self._server} does not offer STARTTLS, and nothing is sent in the clear."
        )

    def _answered_starttls(self, reply: Reply) -> None:
        if reply.code != 220:
            self._misconfigured(
                f"{self._server} does not begin to encrypt ({reply}).",
                for_good=reply.code >= 500,
            )
        elif self._replies.inside:
            # Put in by somebody in between, to be taken for something that was
            # encrypted (CVE-2011-0411).
            self.lost("something came in the clear after STARTTLS")
        else:
            self.extensions = {}
            self.wants_tls = True

    def _log_in(self, login: Login) -> None:
        offered = self.extensions.get("AUTH", "").upper().split()
        self._steps = login.steps(offered, encrypted=self.secure)
        if self._steps is None:
            ways = ", ".join(offered) or "none at all"
            self._misconfigured(
                f"{self._server} offers no way to log in that fits ({ways})."
            )
            return
        self._command("LOGIN", next(self._steps), self._answered_login)

    def _answered_login(self, reply: Reply) -> None:
        if reply.code == 235:
            self._steps, self.open = None, True
            return
        following = self._following_step(reply) if reply.code == 334 else None
        if following is not None:
            self._command("LOGIN", following, self._answered_login)
            return
        self.fail(
            Down(
                f"The login at the mail server {self.server} was refused ({reply}).",
                "check `user` and the password or token it is given in the environment",
                for_good=reply.code >= 500,
                costly=True,
            )
        )

    def _following_step(self, reply: Reply) -> bytes | None:
        """What answers a challenge; None for one that makes no sense."""
        assert self._steps
        try:
            return self._steps.send("".join(reply.lines))
        except (StopIteration, ValueError):
            return None

    def _answered_mail(self, reply: Reply) -> None:
        if self._agrees("MAIL", reply, {250}):
            self._unclean = True

    def _answered_rcpt(self, reply: Reply) -> None:
        self._data_along = self._agrees("RCPT", reply, {250, 251, 252})
        self.known.recipients += self._data_along

    def _agrees(
        self,
        at: str,
        reply: Reply,
        fine: set[int],
    ) -> bool:
        """Whether the server goes along with an envelope."""
        envelope = self._envelope
        assert envelope
        if reply.code not in fine:
            if reply.code < 400:
                self.lost(f"the server's answer to {at} makes no sense: {reply}")
                return False
            envelope.no = envelope.no or verdict(at, reply, envelope.recipient)
        if envelope.no is None:
            return True
        # What has not been asked need not be.
        self._later.clear()
        self._end_envelope(envelope)
        return False

    def _answered_data(self, reply: Reply) -> None:
        envelope = self._envelope
        assert envelope
        if reply.code == 354 and envelope.no is None:
            self.ready = envelope
        elif reply.code == 354:
            self._send_nothing(envelope)
        elif reply.code < 400:
            self.lost(f"the server's answer to DATA makes no sense: {reply}")
        else:
            envelope.no = envelope.no or verdict("DATA", reply, envelope.recipient)
            self._end_envelope(envelope)

    def _send_nothing(self, envelope: Envelope[T]) -> None:
        """RFC 2920 section 3.1: nobody is to get it, so that a single dot ends it."""
        self._write(b".\r\n")
        self._expect("TEXT", lambda reply: self._end_envelope(envelope))
        self._unclean = False

    def _end_envelope(self, envelope: Envelope[T]) -> None:
        """The envelope was refused: it ends once all that was asked is answered."""
        if self._expected:
            return
        assert envelope.no
        self._envelope = None
        self._end(envelope, envelope.no)

    def _answered_text(self, reply: Reply) -> None:
        envelope, early = self._envelope, not self._all_written
        assert envelope
        self._envelope, self._unclean = None, False
        taken = reply.code < 300
        if reply.code >= 400:
            receipt = verdict("TEXT", reply, envelope.recipient)
        elif early:
            receipt = Unsent(f"the server answered before it had the message: {reply}")
        elif taken:
            receipt = Sent(str(reply))
            self.taken += 1
        else:
            receipt = Unknown(
                f"the server's answer to the message makes no sense: {reply}"
            )
        self._end(envelope, receipt)
        if early or 300 <= reply.code < 400:
            self.lost("the server answered out of turn")

    def _end(
        self,
        envelope: Envelope[T],
        receipt: Receipt,
    ) -> None:
        if isinstance(receipt, Unsent) and receipt.scope == "session":
            begun = envelope.dot_at is not None
            if begun or self.taken:
                self._end_full_session(envelope, receipt.answer, begun)
                return
            receipt = Unsent(receipt.answer, "rate")
        self.ended.append((envelope, receipt))
        if isinstance(receipt, Unsent) and receipt.scope == "dialogue":
            # Where the two of us stand is not known any more.
            self.known.wrong_answers += 1
            self.misunderstood = True
            self._drop_connection(receipt.answer)
        elif not isinstance(receipt, Unknown):
            self.known.is_well()

    def _end_full_session(
        self,
        envelope: Envelope[T],
        answer: str,
        begun: bool,
    ) -> None:
        """So many over one connection, and no more: another one takes it."""
        if begun:
            self.ended.append((envelope, Unsent(answer)))
        else:
            self.cut = replace(envelope, no=None)
        self._drop_connection(answer)

    # --- writing

    def _command(
        self,
        kind: str,
        line: bytes,
        answered: Answered,
    ) -> None:
        self._later.append((kind, line, answered))
        self._next_command()

    def _next_command(self) -> None:
        """Writes what may be written now."""
        while self._later and not self.over:
            kind, line, answered = self._later[0]
            if not self._may_follow(kind):
                break
            self._later.popleft()
            self._write(line + b"\r\n")
            self._expect(kind, answered)

    def _may_follow(self, kind: str) -> bool:
        """Whether a command may be written before what was asked is answered."""
        if not self._expected:
            return True
        if not self.open or "PIPELINING" not in self.extensions:
            return False
        return kind == "RCPT" or (kind == "DATA" and self._data_along)

    def _write(self, data: bytes) -> None:
        self.output += data
        self._begun += len(data)

    def _expect(self, kind: str, answered: Answered) -> None:
        self._expected.append((kind, answered))

    @property
    def _all_written(self) -> bool:
        """Whether the last byte of the envelope's text was handed over."""
        at = self._envelope.dot_at if self._envelope else None
        return at is not None and self._written >= at

    # --- ends

    @property
    def _server(self) -> str:
        return f"The mail server {self.server}"

    def _unwilling(self, reply: Reply) -> None:
        refuses = reply.code >= 500
        self.fail(
            Down(
                f"{self._server} does not talk to this machine ({reply}).",
                "ask whoever runs it",
                for_good=refuses,
                costly=refuses,
            )
        )

    def _misconfigured(
        self,
        sentence: str,
        *,
        for_good: bool = True,
    ) -> None:
        self.fail(Down(sentence, "check `port` and `security`", for_good))

    def _drop_connection(self, why: str) -> None:
        """From this side, for what the server has said."""
        self.why, self.dropped = why, True
        self._finish()

    def _finish(self) -> None:
        self.over = True
        self.output.clear()
        self._expected.clear()
        self._later.clear()
