"""What stands before every page: header fields that protect whoever reads it, the most
a body may have, floods."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
BODY_BYTES = 64 * 1024
# Batches, and what providers post.
LARGE_BODY_BYTES = 2 * 1024 * 1024
LARGE = ("/api/", "/hooks/")
# So many addresses are remembered.
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
        self._app, self._failed, self._headers = app, failed, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A redirect to the address without the slash would follow whatever the request
        # says that our name is.
        scope["path"] = scope["path"].rstrip("/") or "/"
        most = LARGE_BODY_BYTES if scope["path"].startswith(LARGE) else BODY_BYTES
        read, begun = 0, False

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise TooLarge
            return message

        async def protected(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            announced = dict(scope["headers"]).get(b"content-length", b"0")
            if not announced.isdigit() or int(announced[:12]) > most:
                raise TooLarge
            await self._app(scope, counted, protected)
        except TooLarge:
            if not begun:
                await PlainTextResponse("The body is too large.\n", 413)(
                    scope, receive, protected
                )
        except ClientDisconnect:
            # Nobody is there any more to be answered, and nothing of ours went wrong.
            return
        except Exception as error:
            # Whatever it was: its words can hold names, addresses and tokens.
            answer = self._failed(scope, error)
            if not begun:
                await answer(scope, receive, protected)


class Limit:
    """So many of something for each key in a time, and a burst of as many at once (a
    token bucket). For one process."""

    def __init__(self, most: int, in_s: float, passed_s: Callable[[], float]) -> None:
        self._most, self._per_s, self._passed_s = most, most / in_s, passed_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, key: str) -> bool:
        """Whether there was one left."""
        now = self._passed_s()
        left, since = self._left.pop(key, (float(self._most), now))
        left = min(self._most, left + (now - since) * self._per_s)
        self._left[key] = (max(left - 1, 0.0) if left >= 1 else left, now)
        if len(self._left) > MOST_KNOWN:
            self._left.popitem(last=False)
        return left >= 1

    def spent(self, key: str) -> bool:
        """Whether there is none left, without spending one."""
        left, since = self._left.get(key, (float(self._most), 0.0))
        return min(self._most, left + (self._passed_s() - since) * self._per_s) < 1
