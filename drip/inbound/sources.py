"""Where mails are that came back: a file (one mail, or several as mbox), a folder of files, a maildir, a mailbox by IMAP.

Each mail comes with its name and with what to do once it is taken, so that an interruption loses none and doubles none.
"""

from __future__ import annotations

import imaplib
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from drip.core.shortage import Shortage, shortage
from drip.errors import DripError
from drip.folders import content, names_in, paths_below

FOLDERS = ("new", "cur", "tmp")
IMAP_TIMEOUT_S = 60
# In bytes, of a mail or of many in one file: what is beyond is not looked at.
LARGEST = 256 * 1024 * 1024


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
        for each in (
            each
            for each in paths_below(path)
            if each.is_file() and not each.name.startswith(".")
        ):
            yield from split(each.name, content(each, LARGEST))
    elif path.is_file():
        yield from split(path.name, content(path, LARGEST))
    else:
        raise DripError(
            f"There is no file or folder {path}.",
            help="name a mail, a folder of mails, or `-` for a pipe",
        )


def split(name: str, data: bytes) -> Iterator[Incoming]:
    """The mails of a file: several where it is an mbox (RFC 4155)."""
    begins = [
        found.start()
        for found in re.finditer(
            rb"(?:\A|(?<=\n\n)|(?<=\r\n\r\n))From \S[^\n]{0,300}?\d\d:\d\d", data
        )
    ]
    if not begins or begins[0] != 0:
        yield Incoming(name, data)
        return
    for start, end in zip(begins, [*begins[1:], len(data)], strict=True):
        mail = data[start:end].partition(b"\n")[2]
        yield Incoming(name, re.sub(rb"(?m)^>(>*From )", rb"\1", mail))


def _maildir(path: Path) -> Iterator[Incoming]:
    """What is new in it, and what was not seen yet; what was taken is marked as seen."""
    kept = [
        path / folder / name
        for folder in ("new", "cur")
        for name in names_in(path / folder)
    ]
    for mail in sorted(kept, key=lambda mail: mail.name):
        # As https://cr.yp.to/proto/maildir.html has it: what is known of a mail stands at the end of its name.
        name, _, flags = mail.name.partition(":2,")
        if "S" in flags or name.startswith(".") or not mail.is_file():
            continue

        def taken(mail: Path = mail, name: str = name, flags: str = flags) -> None:
            with suppress(FileNotFoundError):
                mail.rename(path / "cur" / f"{name}:2,{''.join(sorted({*flags, 'S'}))}")

        yield Incoming(name, content(mail, LARGEST), taken)


def mails_by_imap(options: Mapping[str, str]) -> Iterator[Incoming]:
    """What is unseen in a mailbox (RFC 9051). Raises DripError if it cannot be opened."""
    host = options["host"]
    secure = options.get("security", "tls") != "none"
    port = int(options.get("port", "993" if secure else "143"))
    try:
        if secure:
            context = ssl.create_default_context()
            box: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                host, port, ssl_context=context, timeout=IMAP_TIMEOUT_S
            )
        else:
            box = imaplib.IMAP4(host, port, timeout=IMAP_TIMEOUT_S)
        box.login(options["user"], options["password"])
        state, said = box.select(_quoted(options.get("folder", "INBOX")))
    except (OSError, imaplib.IMAP4.error) as error:
        help = "check host, user, password and folder of `inbound:`"
        raise shortage(error) or DripError(
            f"The mailbox at {host} cannot be opened ({_said(error)}).", help=help
        ) from None
    try:
        if state != "OK":
            raise DripError(
                f"The mailbox at {host} has no such folder ({_said(said)}).",
                help="check `folder`",
            )
        yield from _unseen(box, host)
    finally:
        with suppress(OSError, imaplib.IMAP4.error):
            box.logout()
        # A link that is dead already is not closed by saying goodbye.
        with suppress(OSError):
            box.shutdown()


def _unseen(box: imaplib.IMAP4, host: str) -> Iterator[Incoming]:
    try:
        _, found = box.uid("SEARCH", "UNSEEN")
        for uid in (found[0] or b"").split():
            _, fetched = box.uid("FETCH", uid.decode(), "(BODY.PEEK[])")
            data = next((each[1] for each in fetched if isinstance(each, tuple)), None)
            if data is None:
                continue

            def taken(uid: bytes = uid) -> None:
                try:
                    box.uid("STORE", uid.decode(), "+FLAGS.SILENT", "(\\Seen)")
                except (OSError, imaplib.IMAP4.error) as error:
                    raise _broke_off(host, error) from None

            yield Incoming(f"{host}#{uid.decode()}", data, taken)
    except (OSError, imaplib.IMAP4.error) as error:
        raise _broke_off(host, error) from None


def _broke_off(host: str, error: Exception) -> DripError | Shortage:
    if lack := shortage(error):
        return lack
    help = "what was taken before is marked as seen; run it again for the rest"
    return DripError(f"The mailbox at {host} broke off ({_said(error)}).", help=help)


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _said(what: object) -> str:
    text = (
        what[0].decode("utf-8", "replace")
        if isinstance(what, list) and what and isinstance(what[0], bytes)
        else what
    )
    return " ".join(str(text).split())[:200]
