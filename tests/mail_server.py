"""A mail server on loopback that does to each message what a test tells it, and writes down what it took."""

from __future__ import annotations

import contextlib
import socketserver
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What to do when a stage is reached: say these lines, close, say nothing, or say them and close.
CLOSE = "close"
HANG = "hang"
HANG_S = 20.0


@dataclass
class MailServer:
    """`faults` has, by the recipient's name before the @ and the stage (`RCPT`, `DATA`, `TEXT`), what to do instead.

    `MAIL` and `HELO` are for everybody (by the name `*`). A fault that begins with `once ` is for the first time only.
    """

    faults: Mapping[tuple[str, str], str] = field(default_factory=dict)
    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SIZE 1000000")
    context: ssl.SSLContext | None = None
    encrypted: bool = False
    taken: list[str] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        outer = self
        self.ended = threading.Event()
        self._met: set[tuple[str, str]] = set()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer.connections += 1
                # The client has gone, which some tests are about.
                with contextlib.suppress(OSError, EOFError):
                    outer._talk(self)

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()
                self.connection.close()

        class Threads(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Threads(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.01},
            daemon=True,
        ).start()

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> MailServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one connection

    def _talk(self, client: Any) -> None:
        if self.encrypted:
            self._encrypt(client)
        self._say(client, self.faults.get(("*", "CONNECT"), "220 mail.example"))
        to, mail = "", False
        while line := client.rfile.readline():
            verb = line[:4].upper().decode("latin-1")
            if verb == "EHLO":
                self._say(
                    client, self._fault("*", "EHLO") or "\r\n".join(self._hello())
                )
            elif verb == "STAR":
                self._say(client, "220 go")
                self._encrypt(client)
            elif verb == "AUTH":
                good = line.split()[2:] == [b"AHVzZXIAcmlnaHQ="]
                self._say(client, "235 welcome" if good else "535 5.7.8 wrong password")
            elif verb == "RCPT":
                to = line.decode().partition("<")[2].partition("@")[0]
                said = self._fault(to, "RCPT") if mail else "503 no sender"
                self._say(client, said or "250 ok")
                to = to if not said or said.startswith("250") else ""
            elif verb == "DATA":
                said = self._fault(to, "DATA") if to else "503 no recipients"
                self._say(client, said or "354 go")
                if not said:
                    self._take(client, to)
            elif verb == "QUIT":
                self._say(client, "221 bye")
                return
            else:
                said = self._fault("*", verb)
                if verb == "MAIL":
                    self.senders.append(
                        line.decode().partition("<")[2].partition(">")[0]
                    )
                    mail = not said or said.startswith("250")
                self._say(client, said or "250 ok")

    def _take(self, client: Any, to: str) -> None:
        early = self._fault(to, "EARLY")
        if early:
            client.rfile.read(10)
            self._say(client, early)
        text = b""
        while not text.endswith(b"\r\n.\r\n"):
            line = client.rfile.readline()
            if not line:
                raise EOFError
            text += line
        said = self._fault(to, "TEXT")
        if not said or said.startswith(("taken", "250")):
            self.taken.append(to)
            self.texts.append(text.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n."))
        self._say(client, (said or "250 taken").removeprefix("taken "))

    def _hello(self) -> list[str]:
        words = ["mail.example", *self.extensions]
        if self.context and not self.encrypted:
            words.append("STARTTLS")
        return [*(f"250-{word}" for word in words[:-1]), f"250 {words[-1]}"]

    def _encrypt(self, client: Any) -> None:
        assert self.context
        client.connection = self.context.wrap_socket(
            client.connection, server_side=True
        )
        client.rfile, client.wfile = (
            client.connection.makefile("rb"),
            client.connection.makefile("wb", 0),
        )

    def _fault(self, to: str, stage: str) -> str | None:
        found = self.faults.get((to, stage))
        if found and found.startswith("once "):
            if (to, stage) in self._met:
                return None
            self._met.add((to, stage))
            return found.removeprefix("once ")
        return found

    def _say(self, client: Any, said: str) -> None:
        if said == HANG:
            self.ended.wait(HANG_S)
            raise EOFError
        if said == CLOSE:
            raise EOFError
        if said.startswith("slowly "):
            for letter in said.removeprefix("slowly "):
                client.wfile.write(letter.encode())
                time.sleep(0.1)
            said = ""
        closing = said.endswith(" & close")
        client.wfile.write(
            said.removesuffix(" & close").encode("utf-8", "surrogateescape") + b"\r\n"
        )
        if closing:
            raise EOFError
