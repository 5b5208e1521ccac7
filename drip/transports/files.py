"""`files`: one `.eml` per message in a folder, for demos, tests and looking at
mails in a mail program.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from drip import private
from drip.core.channels import CHANNELS
from drip.core.message import Message, Receipt, Sent, TransportDown, with_pictures
from drip.core.shortage import shortage
from drip.transports.mime import to_bytes

# As `_name` and `core.token.message_name` make them: the run's number stands
# behind the last underscore.
NAME = re.compile(
    r"\d{4}-\d\d-\d\d_\d{4}_.*_([0-9a-f]{1,11}|test|data)\.[0-9a-f.]*\.(?:eml|html|txt|writing)"
)
# What is of no run: test copies, and mails with a link to one's own data, which
# is good for half an hour.
OF_NO_RUN = {"0", "test", "data"}


class FilesTransport:
    """Option `folder`: where the files go.

    A message that is written again replaces its own file.
    """

    channels = frozenset(CHANNELS)

    def __init__(self, options: Mapping[str, str]) -> None:
        unknown = set(options) - {"folder"}
        if unknown or "folder" not in options:
            raise ValueError("the transport `files` has one option, `folder`")
        self._folder = Path(options["folder"])

    def send(self, message: Message) -> Receipt:
        """Writes the file whole or not at all.

        Raises TransportDown for a folder that cannot be written, Shortage if there is
        no room or no file left.
        """
        path = self._folder / _name(message)
        making = path.with_suffix(".writing")
        try:
            private.folder(self._folder)
            private.write(making, _content(message))
            making.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                making.unlink()
            # Its name is an address, and what is said here stays.
            raise shortage(error, str(self._folder)) or TransportDown(
                f"Nothing can be written into {self._folder}: {error.strerror}.",
                "make the folder writable",
            ) from None
        return Sent(f"written to {path.name}")

    def close(self) -> None:
        """Nothing is kept open."""

    @staticmethod
    def forget(folder: Path, runs: Collection[int]) -> None:
        """The messages of these runs, and all that are of no run, are gone from
        a folder. Raises OSError.
        """
        gone = OF_NO_RUN | {f"{run:x}" for run in runs}
        for path in folder.iterdir() if folder.is_dir() else ():
            found = NAME.fullmatch(path.name)
            if found and found[1] in gone:
                path.unlink(missing_ok=True)


def _name(message: Message) -> str:
    """In order of time, and whom it is to; the message's name keeps two apart."""
    who = re.sub(r"[^A-Za-z0-9.@_-]", "_", message.to.address)[:80]
    return f"{message.date:%Y-%m-%d_%H%M}_{who}_{message.message_id[:12]}{_ending(message)}"


def _ending(message: Message) -> str:
    """Mails open in a mail program, letters in a browser, everything else in an
    editor."""
    if message.channel == "email":
        return ".eml"
    return ".txt" if message.html is None else ".html"


def _content(message: Message) -> bytes:
    """A mail whole, of everything else what is shown of it."""
    if message.channel == "email":
        return to_bytes(message)
    html = with_pictures(message)
    if html is not None:
        return html.encode("utf-8", "replace")
    title = f"{message.subject}\n\n" if message.subject else ""
    return f"{title}{message.text}".encode()
