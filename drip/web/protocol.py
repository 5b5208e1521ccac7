"""One connection: uvicorn's protocol, with an end to everything that the other side
could draw out."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
from collections.abc import Mapping
from typing import Any

import httptools
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from drip.web.connections import Connections, Phase
from drip.web.visitors import customer

# A head is complete in this time: else whoever sends it letter by letter has a place
# for ever.
HEAD_S = 10.0
# It has no more bytes and fields: 431 (RFC 6585, section 5).
HEAD_BYTES = 64 * 1024
FIELDS = 100
# A body comes, and an answer is taken, at this speed at least.
LEAST_BYTES_PER_S = 1024
# Each may stop for so long.
GRACE_S = 10.0
# An idle connection stays open for so long.
KEEP_ALIVE_S = 5.0
# That of a web server before us longer than such servers keep theirs (Nginx 60 s), so
# that a request hardly ever meets a connection which is just being closed.
PROXY_KEEP_ALIVE_S = 75.0
# For what is left of an answer when the server ends.
HURRY_S = 2.0
# Requests that wait behind the one that is answered.
PIPELINED = 16
# Parsed at once: what is too large is noticed so late at most.
PART = 4 * 1024
# More than this of an answer is not written before some of it is taken.
UNTAKEN_BYTES = 16 * 1024
NO_MORE = b"content-length: 0\r\nconnection: close\r\n\r\n"
# Of one that is cut nothing stays in the kernel either.
_NO_LINGER = struct.pack("ii", 1, 0)


class Unacceptable(Exception):
    """A request that is refused while it is read: with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Protocol(HttpToolsProtocol):
    """`client` is the address of its other side. If that is one of the trusted
    `proxies`, the connection belongs to nobody while it asks for nothing, and then to
    the visitor whom that one names. `look` has to be called every second."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        *,
        all_of_them: Connections,
        proxies: ProxyHeadersMiddleware,
        client: tuple[str, int],
    ) -> None:
        super().__init__(config, state, app_state, loop)
        self._client = client
        self._all = all_of_them
        self._proxies = proxies.trusted_hosts
        self._proxied = client[0] in self._proxies
        self.address = "" if self._proxied else customer(client[0])
        keep_alive_s = PROXY_KEEP_ALIVE_S if self._proxied else KEEP_ALIVE_S
        self.timeout_keep_alive = keep_alive_s  # type: ignore[assignment]
        self._patience: Mapping[Phase, float] = {
            Phase.HEAD: keep_alive_s,
            Phase.BODY: GRACE_S,
            Phase.ANSWER: GRACE_S,
            Phase.OURS: math.inf,
        }
        self._phase = Phase.OURS
        self._until = math.inf
        # Of the request that is being read: bytes in all and of its body; whether its
        # first byte came, and its head to the end.
        self._read = self._body = 0
        self._begun = self._headed = self._upgrade = False
        # Of our answers, what the other side has not taken yet: as of the last look.
        self._untaken = 0
        # Nothing more is read.
        self._deaf = False

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.client = self._client
        transport.set_write_buffer_limits(high=UNTAKEN_BYTES)
        self._wait(Phase.HEAD, HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.leave(self)
        super().connection_lost(exc)

    def cut(self) -> None:
        """Ends it at once; what was not taken is dropped."""
        self._all.leave(self)
        self._deaf = True
        if self._untaken:
            with contextlib.suppress(OSError):
                self.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
                )
        self.transport.abort()

    def look(self) -> None:
        """Ends the connection if the other side has kept us waiting for too long."""
        # It may not be handed over yet.
        if self.transport is None:
            return
        now = self.loop.time()
        self._look_for_progress(now)
        if now > self._until:
            self.cut()

    def _look_for_progress(self, now: float) -> None:
        before = self._untaken
        self._settle()
        if self._phase is Phase.ANSWER and self._untaken < before:
            self._come_on(before - self._untaken)
        elif self._phase is Phase.BODY and self.flow.read_paused:
            # It is us who do not read on.
            self._until = now + GRACE_S

    def hurry(self) -> None:
        """The server ends: who has not asked to the end is not waited for, and who
        takes an answer slowly not for long."""
        if self._phase in (Phase.HEAD, Phase.BODY):
            self.cut()
        elif self._phase is Phase.ANSWER:
            self._until = min(self._until, self.loop.time() + HURRY_S)

    # --- what it waits for

    def _settle(self) -> None:
        self._untaken = self.transport.get_write_buffer_size()
        phase = self._phase_now()
        if phase is Phase.HEAD and self._proxied:
            self._belong_to("")
        if phase is not self._phase:
            self._wait(phase, self._patience[phase])

    def _phase_now(self) -> Phase:
        if self._untaken:
            return Phase.ANSWER
        if self.transport.is_closing():
            return Phase.OURS
        if self.cycle is None or self.cycle.response_complete:
            return Phase.HEAD
        return Phase.BODY if self.cycle.more_body else Phase.OURS

    def _wait(self, phase: Phase, for_s: float) -> None:
        self._all.move(self, phase)
        self._phase = phase
        self._until = self.loop.time() + for_s

    def _belong_to(self, address: str) -> None:
        if address != self.address:
            self._wait(Phase.OURS, math.inf)
            self.address = address

    def _come_on(self, count: int) -> None:
        """Each byte buys time, and the grace is the most that there is."""
        self._until = min(
            self._until + count / LEAST_BYTES_PER_S, self.loop.time() + GRACE_S
        )

    # --- what comes in

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._phase is Phase.HEAD and not self._begun:
            self._begun = True
            self._until = self.loop.time() + HEAD_S
        parts = memoryview(data)
        for start in range(0, len(data), PART):
            if self._deaf:
                return
            self._feed(parts[start : start + PART])
        self._settle()

    def _feed(self, part: memoryview) -> None:
        self._read += len(part)
        try:
            self._parse(part)
            self._measure()
        except httptools.HttpParserError as error:
            why = error.__context__
            self._refuse(why.status if isinstance(why, Unacceptable) else 400)
        except Unacceptable as error:
            self._refuse(error.status)

    def _parse(self, part: memoryview) -> None:
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over_upgrade()
            self._parse(part[upgrade.args[0] :])

    def _pass_over_upgrade(self) -> None:
        """Nothing else than HTTP/1.1 is spoken here: the request is answered as if it
        had not asked for more (RFC 9110, section 7.8), and has its body, which the
        parser takes for the other protocol's."""
        method = self.parser.get_method()
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        for name, value in self.headers:
            if name != b"upgrade":
                lines.append(b"%s: %s" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")

    def _measure(self) -> None:
        """Raises Unacceptable where a head, or what stands around the parts of a body
        and after it, is too large."""
        if self._read - self._body > HEAD_BYTES + self._body:
            raise Unacceptable(400 if self._headed else 431)

    def _refuse(self, status: int) -> None:
        """Says so if nothing else is being said, and closes."""
        self._deaf = True
        if self._is_answering():
            self.cut()
            return
        self.transport.write(STATUS_LINE[status] + NO_MORE)
        self.transport.close()

    def _is_answering(self) -> bool:
        """Whether an answer is under way, or others wait behind it. An application that
        waits for the rest of a body is told that nobody is there any more."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        return cycle.response_started or bool(self.pipeline)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            raise Unacceptable(400)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # What follows a body in chunks could change what was decided by the head (RFC
        # 9110, section 6.5.1).
        if self._headed:
            return
        if len(self.headers) >= FIELDS:
            raise Unacceptable(431)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._measure()
        self._upgrade = self.parser.should_upgrade()
        if self._upgrade and self.parser.get_method() == b"CONNECT":
            raise Unacceptable(405)
        if not self._upgrade:
            self._headed = True
            super().on_headers_complete()
            if self._proxied:
                self._belong_to(self._forwarded())

    def _forwarded(self) -> str:
        """Whom the web server before us names; empty if it names nobody."""
        fields = [value for name, value in self.headers if name == b"x-forwarded-for"]
        if not fields:
            return ""
        said = b", ".join(fields).decode("latin-1")
        host, _ = self._proxies.get_trusted_client_address(said)
        return customer(host)

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if self._phase is Phase.BODY:
            self._come_on(len(body))
        if not self.cycle.response_complete:
            self._all.hold(self, len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrade:
            return
        super().on_message_complete()
        self._read = self._body = 0
        self._begun = self._headed = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:
            self._all.let_go(self)
        # What was written lies in the loop's hands until its next turn, and must not be
        # cut off before.
        self.loop.call_soon(self._settle)
