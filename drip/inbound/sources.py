"""Where mails are that came back: a file (one mail, or several as mbox), a folder
of files, a maildir, a mailbox by IMAP.

Each mail comes with its name and with what to do once it is taken, so that an
interruption loses none and doubles none.
"""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from drip.core.shortage import Shortage, shortage
from drip.errors import DripError
from drip.folders import content, names_in, paths_below
from drip.network import addresses_of, connect, trusting

FOLDERS = ("new", "cur", "tmp")
# For the connection, over all addresses of the host, and for each answer.
IMAP_TIMEOUT_S = 60
# In bytes, of a mail or of many in one file: what is beyond is not looked at.
LARGEST = 256 * 1024 * 1024
# RFC 4155: a line `From address date` behind an empty one begins a mail.
_BEGINNING = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\r\n\r\n))From \S[^\n]{0,300}?\d\d:\d\d")
_IMAP_ERRORS = (OSError, imaplib.IMAP4.error)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One mail, and what marks it as taken."""

    name: str
    data: bytes
    taken: Callable[[], None] = lambda: None


def mails_in(path: Path) -> Iterator[Incoming]:
    """Of a file, a folder or a maildir. Raises DripError if there is no such thing."""
    if path.is_dir() and all((path / name).is_dir() for name in FOLDERS):
        yield from _maildir(path)
    elif path.is_dir():
        for file in paths_below(path):
            if file.is_file() and not file.name.startswith("."):
                yield from split(file.name, content(file, LARGEST))
    elif path.is_file():
        yield from split(path.name, content(path, LARGEST))
    else:
        raise DripError(
            f"There is no file or folder {path}.",
            help="name a mail, a folder of mails, or `-` for a pipe",
        )


def split(name: str, data: bytes) -> Iterator[Incoming]:
    """The mails of a file: several where it is an mbox (RFC 4155)."""
    starts = [found.start() for found in _BEGINNING.finditer(data)]
    if not starts or starts[0] != 0:
        yield Incoming(name, data)
        return
    ends = [*starts[1:], len(data)]
    for start, end in zip(starts, ends, strict=True):
        mail = data[start:end].partition(b"\n")[2]
        yield Incoming(name, re.sub(rb"(?m)^>(>*From )", rb"\1", mail))


def _maildir(path: Path) -> Iterator[Incoming]:
    """What is new in it, and what was not seen yet; what was taken is marked as
    seen.
    """
    kept = [
        path / folder / name
        for folder in ("new", "cur")
        for name in names_in(path / folder)
    ]
    for mail in sorted(kept, key=lambda mail: mail.name):
        # What is known of a mail stands at the end of its name
        # (https://cr.yp.to/proto/maildir.html).
        name, _, flags = mail.name.partition(":2,")
        if "S" in flags or name.startswith(".") or not mail.is_file():
            continue
        seen = path / "cur" / f"{name}:2,{''.join(sorted({*flags, 'S'}))}"

        def taken(mail: Path = mail, seen: Path = seen) -> None:
            with suppress(FileNotFoundError):
                mail.rename(seen)

        yield Incoming(name, content(mail, LARGEST), taken)


def mails_by_imap(options: Mapping[str, str]) -> Iterator[Incoming]:
    """What is unseen in a mailbox (RFC 9051). Raises DripError if it cannot be
    opened."""
    host = options["host"]
    with _mailbox(options) as mailbox:
        try:
            mailbox.login(options["user"], options["password"])
            folder = options.get("folder", "INBOX")
            state, answer = mailbox.select(_quoted(folder))
        except _IMAP_ERRORS as error:
            raise _closed(host, error) from None
        if state != "OK":
            raise DripError(
                f"The mailbox at {host} has no such folder ({_in_words(answer)}).",
                help="check `folder`",
            )
        try:
            yield from _unseen(mailbox, host)
        except _IMAP_ERRORS as error:
            raise _broken_off(host, error) from None


class _ImapClient(imaplib.IMAP4):
    """Connects to whichever address of its host answers, encrypted by a context.

    The library's own classes give each address the whole time limit.
    """

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
    ) -> None:
        self._context = context
        super().__init__(host, port, timeout=IMAP_TIMEOUT_S)

    def _create_socket(self, timeout: float) -> socket.socket:
        connection = connect(addresses_of(self.host, self.port), timeout)
        if self._context is None:
            return connection
        return self._context.wrap_socket(connection, server_hostname=self.host)


@contextmanager
def _mailbox(options: Mapping[str, str]) -> Iterator[_ImapClient]:
    """A connection meanwhile, with nobody logged in."""
    host = options["host"]
    secure = options.get("security", "tls") != "none"
    port = int(options.get("port", "993" if secure else "143"))
    try:
        mailbox = _ImapClient(host, port, trusting() if secure else None)
    except (*_IMAP_ERRORS, ValueError) as error:
        raise _closed(host, error) from None
    try:
        yield mailbox
    finally:
        with suppress(*_IMAP_ERRORS):
            mailbox.logout()
        # One that is dead already is not closed by saying goodbye.
        with suppress(OSError):
            mailbox.shutdown()


def _unseen(
    mailbox: imaplib.IMAP4,
    host: str,
) -> Iterator[Incoming]:
    """Fetched without being marked (`BODY.PEEK`): only what was taken is seen."""
    _, found = mailbox.uid("SEARCH", "UNSEEN")
    for number in (found[0] or b"").split():
        uid = number.decode()
        _, fetched = mailbox.uid("FETCH", uid, "(BODY.PEEK[])")
        literals = (part[1] for part in fetched if isinstance(part, tuple))
        data = next(literals, None)
        if data is None:
            continue

        def taken(uid: str = uid) -> None:
            try:
                mailbox.uid("STORE", uid, "+FLAGS.SILENT", "(\\Seen)")
            except _IMAP_ERRORS as error:
                raise _broken_off(host, error) from None

        yield Incoming(f"{host}#{uid}", data, taken)


def _closed(
    host: str,
    error: Exception,
) -> DripError | Shortage:
    """What is said of a mailbox that lets nobody in."""
    return shortage(error) or DripError(
        f"The mailbox at {host} cannot be opened ({_in_words(error)}).",
        help="check host, user, password and folder of `inbound:`",
    )


def _broken_off(
    host: str,
    error: Exception,
) -> DripError | Shortage:
    """What is said of one that ended in the middle."""
    return shortage(error) or DripError(
        f"The mailbox at {host} broke off ({_in_words(error)}).",
        help="what was taken before is marked as seen; run it again for the rest",
    )


def _quoted(name: str) -> str:
    """As RFC 9051 section 9 has a string."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _in_words(answer: object) -> str:
    """An error, or what the server said, as one line of at most 200 characters."""
    if isinstance(answer, list) and answer and isinstance(answer[0], bytes):
        answer = answer[0].decode("utf-8", "replace")
    return " ".join(str(answer).split())[:200]
