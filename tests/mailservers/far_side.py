"""Where a server hands mail on to: a plain SMTP server in this process that counts by recipient."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field


@dataclass
class FarSide:
    """`refusals` has, by the recipient's name before the @, what RCPT is answered in place of 250.

    It says what it knows in one line (no PIPELINING), so that nothing of a sender's own habits matters.
    """

    refusals: Mapping[str, str] = field(default_factory=dict)
    taken: list[tuple[str, bytes]] = field(default_factory=list)
    sessions: int = 0
    port: int = 0

    def delivered(self) -> Counter[str]:
        """How often each address had a message.

        The same octets twice are the sending server's doing, whom we ended between our answer and its own note of it: a
        message that was given to it twice has two times of arrival and two numbers in its Received field.
        """
        return Counter(to for to, _ in set(self.taken))


class _Session(socketserver.StreamRequestHandler):
    timeout = 120

    def handle(self) -> None:
        far: FarSide = self.server.far  # type: ignore[attr-defined]
        far.sessions += 1
        # Whoever hands on may leave, or be killed.
        with contextlib.suppress(OSError):
            self._talk(far)

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def _talk(self, far: FarSide) -> None:
        self._say("220 far.example")
        recipients: list[str] = []
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self._say("354 go on")
                text = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    if not part:
                        return
                    text += part[1:] if part.startswith(b".") else part
                far.taken += [(to, text) for to in recipients]
                self._say("250 2.0.0 taken")
            elif verb == b"RCPT":
                to = line.decode("utf-8").partition("<")[2].partition(">")[0].lower()
                said = far.refusals.get(to.partition("@")[0])
                recipients += [] if said else [to]
                self._say(said or "250 2.1.5 ok")
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                recipients = []
                self._say("250 ok")

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


class _Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    far: FarSide


@contextlib.contextmanager
def far_side(
    refusals: Mapping[str, str] | None = None,
    address: tuple[str, int] = ("127.0.0.1", 0),
    within: AbstractContextManager[None] | None = None,
) -> Iterator[FarSide]:
    """Listens meanwhile at this address, of the network that one is `within` as it begins to."""
    far = FarSide(refusals or {})
    with within or nullcontext():
        server = _Threads(address, _Session)
    server.far = far
    far.port = int(server.server_address[1])
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield far
    finally:
        server.shutdown()
        server.server_close()
