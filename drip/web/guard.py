"""What stands before every page: header fields that protect whoever reads it, the most
a body may have, floods."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drip.core.clock import Stopwatch

# Nothing but our own files; nobody may put a page into a frame. Links hold what they
# are good for, so no page is told of them.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}
# Forms have some hundred bytes; a comment may be long.
BODY_BYTES = 64 * 1024
# Batches, and what providers post.
LARGE_BODY_BYTES = 2 * 1024 * 1024
LARGE = ("/api/", "/hooks/")
# So many addresses are remembered, or whoever has many would have all the memory.
MOST_KNOWN = 100_000


class TooLarge(Exception):
    """The body is larger than it may be."""


class RequestGuard:
    """ASGI middleware: `headers` on every answer that does not have its own, 413 for a
    body that is too large, and what `failed` answers where something went wrong:
    nothing of it gets any further, neither to the visitor nor into the server's log."""

    def __init__(
        self,
        app: ASGIApp,
        failed: Callable[[Scope, Exception], ASGIApp],
        headers: Mapping[str, str] = HEADERS,
    ) -> None:
        self._app = app
        self._failed = failed
        self._headers = headers

    async def __call__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A redirect to the address without the slash would follow whatever the request
        # says that our name is.
        scope["path"] = scope["path"].rstrip("/") or "/"
        body = _CountedBody(scope, receive)
        answer = _ProtectedAnswer(send, self._headers)
        try:
            body.check_announced()
            await self._app(scope, body.receive, answer.send)
        except ClientDisconnect:
            # Nobody is there any more to be answered, and nothing of ours went wrong.
            return
        except Exception as error:
            page = self._page_for(scope, error)
            if not answer.begun:
                await page(scope, receive, answer.send)

    def _page_for(self, scope: Scope, error: Exception) -> ASGIApp:
        """Whatever it was: its words can hold names, addresses and tokens."""
        if isinstance(error, TooLarge):
            return PlainTextResponse("The body is too large.\n", 413)
        return self._failed(scope, error)


class _CountedBody:
    """What comes in, counted."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._announced = dict(scope["headers"]).get(b"content-length", b"0")
        large = scope["path"].startswith(LARGE)
        self._most = LARGE_BODY_BYTES if large else BODY_BYTES
        self._read = 0

    def check_announced(self) -> None:
        """Raises TooLarge before any of it is read."""
        # Of a number without end the first digits say enough: reading all of them would
        # take long.
        if not self._announced.isdigit() or int(self._announced[:12]) > self._most:
            raise TooLarge

    async def receive(self) -> Message:
        """Raises TooLarge: what was announced need not be so."""
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            raise TooLarge
        return message


class _ProtectedAnswer:
    """What goes out, with the header fields that it lacks. `begun`: some of it has."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = headers
        self.begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers.setdefault(name, value)
        await self._send(message)


class Limit:
    """So many of something for each key in a time, and a burst of as many at once (a
    token bucket). For one process."""

    def __init__(
        self,
        most: int,
        in_s: float,
        passed_s: Stopwatch,
    ) -> None:
        self._most = most
        self._per_s = most / in_s
        self._passed_s = passed_s
        # How many were left, and when.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, key: str) -> bool:
        """Whether there was one left."""
        now_s = self._passed_s()
        left = self._left_of(key, now_s)
        good = left >= 1
        self._left[key] = (left - 1 if good else left, now_s)
        # The one that was asked about longest ago is forgotten first.
        self._left.move_to_end(key)
        if len(self._left) > MOST_KNOWN:
            self._left.popitem(last=False)
        return good

    def spent(self, key: str) -> bool:
        """Whether there is none left, without spending one."""
        return self._left_of(key, self._passed_s()) < 1

    def _left_of(self, key: str, now_s: float) -> float:
        # A token bucket: it fills up again with the time that passes, up to the most.
        left, since_s = self._left.get(key, (float(self._most), now_s))
        return min(self._most, left + (now_s - since_s) * self._per_s)
