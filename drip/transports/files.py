"""`files`: one `.eml` per message in a folder, for demos, tests and looking at mails in a mail program."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

from drip.core.message import Message, Receipt, Sent, TransportDown, with_pictures
from drip.core.settings import CHANNELS
from drip.core.shortage import shortage
from drip.transports.mime import to_bytes


class FilesTransport:
    """Option `folder`: where the files go. A message that is written again replaces its own file."""

    channels = frozenset(CHANNELS)

    def __init__(self, options: Mapping[str, str]) -> None:
        unknown = set(options) - {"folder"}
        if unknown or "folder" not in options:
            raise ValueError("the transport `files` has one option, `folder`")
        self._folder = Path(options["folder"])

    def send(self, message: Message) -> Receipt:
        """Writes the file whole or not at all. Raises TransportDown for a folder that cannot be written, Shortage if there is no
        room or no file left."""
        path = self._folder / _name(message)
        making = path.with_suffix(".writing")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            making.write_bytes(_content(message))
            making.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                making.unlink()
            sentence = f"The file {path} cannot be written: {error.strerror}."
            lack = shortage(error, str(self._folder))
            raise lack or TransportDown(sentence, "make the folder writable") from None
        return Sent(f"written to {path.name}")

    def close(self) -> None:
        """Nothing is kept open."""


def _name(message: Message) -> str:
    who = re.sub(r"[^A-Za-z0-9.@_-]", "_", message.to.address)[:80]
    return f"{message.date:%Y-%m-%d_%H%M}_{who}_{message.message_id[:12]}{_ending(message)}"


def _ending(message: Message) -> str:
    """Mails open in a mail program, letters in a browser, everything else in an editor."""
    return ".eml" if message.channel == "email" else ".html" if message.html is not None else ".txt"


def _content(message: Message) -> bytes:
    if message.channel == "email":
        return to_bytes(message)
    html = with_pictures(message)
    if html is not None:
        return html.encode("utf-8", "replace")
    title = f"{message.subject}\n\n" if message.subject else ""
    return f"{title}{message.text}".encode()
