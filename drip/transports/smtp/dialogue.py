"""One session with a mail server, without a socket: bytes come in, bytes go out, and each message's stage is known.

RFC 5321. The answer to a message's end is awaited before anything of the next one is written: RFC 2920 would allow more, and
several servers do not take it. MAIL, RCPT and DATA of one message leave together where the server offers PIPELINING, so that
a message costs two round trips; DATA waits for the answer to RCPT until this connection has taken a recipient, and again after
one that it has not, since servers count each command that fails.

Only what DATA was answered with 354 for is ever followed by a text, and what has not been permitted by then is dropped with the
connection, so that nothing of one message can get into another.
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


@dataclass
class Dialogue(Generic[T]):
    """`output` is to be written; what was written is to be told by `wrote`. `ready`, `ended` and `cut` are for the caller.

    - `ready`: the letter whose text may go as soon as `go` is called (or `drop`).
    - `ended`: letters with what became of them.
    - `cut`: the letter whose text had not begun when the connection ended, so that nothing of it left.
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
    # How many texts it took; on which message it ended, where that is no way to end a session.
    taken: int = 0
    died_on: Envelope[T] | None = None
    # Whether it ended because the server answered as if we did not speak SMTP; because an answer to a message took too long.
    misunderstood: bool = False
    silent: bool = False
    # The connection is to be closed, is to be encrypted.
    over: bool = False
    wants_tls: bool = False
    open: bool = False
    secure: bool = False
    extensions: dict[str, str] = field(default_factory=dict)
    _replies: Replies = field(default_factory=Replies)
    _expected: deque[tuple[str, Callable[[Reply], None]]] = field(default_factory=deque)
    # Commands that wait until what was asked before them is answered.
    _later: deque[tuple[str, bytes, Callable[[Reply], None]]] = field(
        default_factory=deque
    )
    # The largest message the server takes (RFC 1870), None where it does not say.
    most_bytes: int | None = None
    _letter: Envelope[T] | None = None
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
        """Whether the next letter can be taken."""
        return (
            self.open and not self.over and not self._leaving and self._letter is None
        )

    @property
    def idle(self) -> bool:
        """Whether no letter is under way."""
        return self._letter is None

    @property
    def letter(self) -> Envelope[T] | None:
        """The letter that has not ended."""
        return self._letter

    @property
    def under_way(self) -> bool:
        """Whether a text was begun and not answered yet."""
        return self._letter is not None and self._letter.dot_at is not None

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

    def take(self, letter: Envelope[T]) -> None:
        """Begins a letter: its envelope goes out. Only if `free`."""
        if no := impossible(letter, self.extensions, self.most_bytes):
            self.ended.append((letter, no))
            return
        self._letter = letter
        if self._unclean:
            self._command("RSET", b"RSET", lambda reply: None)
            self._unclean = False
        mail = [f"MAIL FROM:<{letter.sender}>"]
        if "SIZE" in self.extensions:
            mail.append(f"SIZE={len(letter.text)}")
        if not letter.text.isascii():
            mail.append("BODY=8BITMIME")
        if letter.international:
            mail.append("SMTPUTF8")
        self._command("MAIL", " ".join(mail).encode(), self._answered_mail)
        self._command(
            "RCPT", f"RCPT TO:<{letter.recipient}>".encode(), self._answered_rcpt
        )
        self._command("DATA", b"DATA", self._answered_data)

    def go(self) -> None:
        """The text of the letter that is `ready` goes out."""
        letter, self.ready = self.ready, None
        assert letter
        self._write(letter.text)
        self._write(b".\r\n")
        letter.dot_at = self._begun
        self._expect("TEXT", self._answered_text)

    def drop(self) -> None:
        """The letter that is `ready` is not to go: after 354 only the end of the connection says so."""
        self.ready, self._letter, self.dropped = None, None, True
        self._finish()

    def quit(self) -> None:
        """Says goodbye, if there is still somebody to say it to. May be called twice."""
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
        """The connection is encrypted now; the server is asked anew what it can (RFC 3207 section 4.2)."""
        self.wants_tls, self.secure = False, True
        # Where it was encrypted from the beginning, the greeting comes first.
        if not self._expected:
            self._say_hello()

    def fail(self, down: Down) -> None:
        """The connection could not even be made."""
        self.down = down
        self._finish()

    def lost(self, why: str, *, silent: bool = False) -> None:
        """The connection has ended, or makes no sense any more; `silent` if it was this side that had waited for too long."""
        if self.over:
            return
        if not self.open and not self.down:
            self.down = Down(
                f"{self._server} ended the connection before it was ready ({why}).",
                "check `host`, `port` and `security`, and whether the server runs",
                for_good=False,
            )
        letter, gone, self.why = self._letter, self._all_written, why
        # A server that ends a session after so many messages has taken some, and says nothing of the next one.
        unanswered = self.awaits in ("RSET", "MAIL")
        if gone or (not silent and not (self.taken and unanswered)):
            self.died_on = letter
        self.silent = letter is not None and silent
        if letter and silent and self.awaits == "RCPT":
            # Servers that ask the recipient's own server first are as slow as that is.
            letter.no = letter.no or Unsent(why, "domain")
        if letter and letter.no:
            self.ended.append((letter, letter.no))
        elif letter and self.under_way:
            self.ended.append(
                (
                    letter,
                    Unknown(f"{why} after the message was written")
                    if gone
                    else Unsent(why),
                )
            )
        else:
            self.cut = letter
        self.ready, self._letter = None, None
        self._finish()

    # --- answers, in the order of what was asked

    def _heard(self, reply: Reply) -> None:
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
        """421: the server closes the connection, whatever was asked (RFC 5321 section 3.8)."""
        if not self.open:
            self.down = Down(
                f"{self._server} is not available ({reply}).",
                "it is tried again",
                for_good=False,
            )
        no, letter = verdict(self.awaits, reply), self._letter
        if (
            letter
            and letter.no is None
            and isinstance(no, Unsent)
            and no.scope == "rate"
        ):
            letter.no = no
        self.lost(str(reply))

    def _greeted(self, reply: Reply) -> None:
        if reply.code != 220:
            self._unwilling(reply)
        else:
            self._say_hello()

    def _say_hello(self) -> None:
        self._command("HELLO", f"EHLO {self.hello}".encode(), self._answered_ehlo)

    def _answered_ehlo(self, reply: Reply) -> None:
        plain = self.security != "starttls" and self.login is None
        if reply.code in (500, 501, 502, 504) and plain:
            # A server from before 1993 (RFC 5321 section 3.2).
            self._command("HELLO", f"HELO {self.hello}".encode(), self._answered_helo)
            return
        if reply.code != 250:
            self._unwilling(reply)
            return
        words = (line.split(" ", 1) for line in reply.lines[1:])
        self.extensions = {
            word[0].upper(): word[1] if len(word) > 1 else "" for word in words
        }
        size = self.extensions.get("SIZE", "")
        self.most_bytes = (
            int(size) if re.fullmatch("[0-9]{1,18}", size) and int(size) else None
        )
        if self.security == "starttls" and not self.secure:
            self._ask_for_tls()
        elif self.login:
            self._log_in(self.login)
        else:
            self.open = True

    def _answered_helo(self, reply: Reply) -> None:
        if reply.code == 250:
            self.open = True
        else:
            self._unwilling(reply)

    def _ask_for_tls(self) -> None:
        if "STARTTLS" not in self.extensions:
            sentence = f"{self._server} does not offer STARTTLS, and nothing is sent in the clear."
            self.fail(Down(sentence, "check `port` and `security`", for_good=True))
            return
        self._command("HELLO", b"STARTTLS", self._answered_starttls)

    def _answered_starttls(self, reply: Reply) -> None:
        if reply.code != 220:
            sentence = f"{self._server} does not begin to encrypt ({reply})."
            self.fail(
                Down(
                    sentence, "check `port` and `security`", for_good=reply.code >= 500
                )
            )
        elif self._replies.inside:
            # Put in by somebody in between, to be taken for something that was encrypted.
            self.lost("something came in the clear after STARTTLS")
        else:
            self.extensions = {}
            self.wants_tls = True

    def _log_in(self, login: Login) -> None:
        offered = self.extensions.get("AUTH", "").upper().split()
        steps = login.steps(offered, encrypted=self.secure)
        if steps is None:
            sentence = f"{self._server} offers no way to log in that fits ({', '.join(offered) or 'none at all'})."
            self.fail(Down(sentence, "check `port` and `security`", for_good=True))
            return
        self._steps = steps
        self._command("LOGIN", next(steps), self._answered_login)

    def _answered_login(self, reply: Reply) -> None:
        assert self._steps
        following = self._following_step(reply) if reply.code == 334 else None
        if reply.code == 235:
            self._steps, self.open = None, True
        elif following is not None:
            self._command("LOGIN", following, self._answered_login)
        else:
            help = (
                "check `user` and the password or token it is given in the environment"
            )
            sentence = (
                f"The login at the mail server {self.server} was refused ({reply})."
            )
            self.fail(Down(sentence, help, for_good=reply.code >= 500, costly=True))

    def _following_step(self, reply: Reply) -> bytes | None:
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

    def _agrees(self, at: str, reply: Reply, fine: set[int]) -> bool:
        """Whether the server goes along with a letter's envelope."""
        letter = self._letter
        assert letter
        if reply.code in fine:
            agrees = letter.no is None
        elif reply.code < 400:
            self.lost(f"the server's answer to {at} makes no sense: {reply}")
            return False
        else:
            agrees = False
            letter.no = letter.no or verdict(at, reply, letter.recipient)
        if letter.no:
            # What has not been asked need not be.
            self._later.clear()
            self._end_envelope(letter)
        return agrees

    def _answered_data(self, reply: Reply) -> None:
        letter = self._letter
        assert letter
        if reply.code == 354 and letter.no is None:
            self.ready = letter
        elif reply.code == 354:
            # RFC 2920 section 3.1: nobody is to get it, so that a single dot ends it.
            self._write(b".\r\n")
            self._expect("TEXT", lambda reply: self._end_envelope(letter))
            self._unclean = False
        elif reply.code < 400:
            self.lost(f"the server's answer to DATA makes no sense: {reply}")
        else:
            letter.no = letter.no or verdict("DATA", reply, letter.recipient)
            self._end_envelope(letter)

    def _end_envelope(self, letter: Envelope[T]) -> None:
        """The letter was refused: it ends once all that was asked is answered."""
        if self._expected:
            return
        assert letter.no
        self._letter = None
        self._end(letter, letter.no)

    def _answered_text(self, reply: Reply) -> None:
        letter, early = self._letter, not self._all_written
        assert letter
        self._letter, self._unclean = None, False
        if 200 <= reply.code < 300 and not early:
            receipt: Receipt = Sent(str(reply))
            self.taken += 1
        elif reply.code >= 400:
            receipt = verdict("TEXT", reply, letter.recipient)
        elif early:
            receipt = Unsent(f"the server answered before it had the message: {reply}")
        else:
            receipt = Unknown(
                f"the server's answer to the message makes no sense: {reply}"
            )
        self._end(letter, receipt)
        if early or (reply.code < 400 and reply.code >= 300):
            self.lost("the server answered out of turn")

    def _end(self, letter: Envelope[T], receipt: Receipt) -> None:
        if isinstance(receipt, Unsent) and receipt.scope == "session":
            begun = letter.dot_at is not None
            if begun or self.taken:
                # So many over one connection, and no more: another one takes it.
                if begun:
                    self.ended.append((letter, Unsent(receipt.answer)))
                else:
                    self.cut = replace(letter, no=None)
                self.why, self.dropped = receipt.answer, True
                self._finish()
                return
            receipt = Unsent(receipt.answer, "rate")
        self.ended.append((letter, receipt))
        if isinstance(receipt, Unsent) and receipt.scope == "dialogue":
            # Where the two of us stand is not known any more.
            self.known.wrong_answers += 1
            self.why, self.dropped, self.misunderstood = receipt.answer, True, True
            self._finish()
        elif not isinstance(receipt, Unknown):
            self.known.is_well()

    # --- writing

    def _command(
        self, kind: str, line: bytes, answered: Callable[[Reply], None]
    ) -> None:
        self._later.append((kind, line, answered))
        self._next_command()

    def _next_command(self) -> None:
        """Writes what may be written now."""
        while self._later and not self.over and self._may_follow(self._later[0][0]):
            kind, line, answered = self._later.popleft()
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

    def _expect(self, kind: str, answered: Callable[[Reply], None]) -> None:
        self._expected.append((kind, answered))

    @property
    def _all_written(self) -> bool:
        """Whether the last byte of the letter's text was handed over."""
        at = self._letter.dot_at if self._letter else None
        return at is not None and self._written >= at

    # --- ends

    @property
    def _server(self) -> str:
        return f"The mail server {self.server}"

    def _unwilling(self, reply: Reply) -> None:
        sentence = f"{self._server} does not talk to this machine ({reply})."
        refuses = reply.code >= 500
        self.fail(
            Down(sentence, "ask whoever runs it", for_good=refuses, costly=refuses)
        )

    def _finish(self) -> None:
        self.over = True
        self.output.clear()
        self._expected.clear()
        self._later.clear()
