"""An application on a port, in a thread. Connections are taken here, so that there are
never more than there may be."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from drip.core.shortage import lacking
from drip.errors import DripError
from drip.web.connections import Connections
from drip.web.protocol import Protocol
from drip.web.visitors import networks, plain

# Who waits for a place waits in the kernel: so many, as far as it allows
# (net.core.somaxconn). Whoever finds that full hears nothing and tries again after
# one second and three more: in the load test, with 1,024, some waited for five.
BACKLOG = 4_096
# The share of all places that is taken in before others have their turn. What a new one
# says is read some four turns later, and it must not have been closed for newer ones by
# then; and with the daemon in the same process there are some 200 turns a second.
AT_ONCE = 1 / 16
# When it is tried again after nobody could be let in.
AGAIN_S = 0.05
# How often connections are looked at: so much later at most is one ended.
LOOK_S = 1.0
# What lasts is said again after this.
SAID_S = 600.0
MOST_CONNECTIONS = 1_000
# An answer that is not written by then is cut off when the server ends.
SHUTDOWN_S = 10
log = logging.getLogger("drip.web")


def listen(host: str, port: int) -> socket.socket:
    """Raises DripError if nothing can be served there."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        _open(listening, host, port)
    except (OSError, UnicodeError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or str(error)
        raise DripError(
            f"Nothing can be served at {host}:{port}: {why}.", help="name another port"
        ) from None
    return listening


def _open(
    listening: socket.socket,
    host: str,
    port: int,
) -> None:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(BACKLOG)
    listening.setblocking(False)


@contextlib.contextmanager
def serving(
    app: Any,
    listening: socket.socket,
    behind: str = "127.0.0.1",
    most: int = MOST_CONNECTIONS,
) -> Iterator[None]:
    """Meanwhile, in a thread, over `most` connections at once; requests that are under
    way at the end are answered. `behind` is the address of the web server whose word
    about where requests come from is taken. Raises Shortage if there is no thread."""
    trusted = [str(network) for network in networks(behind)]
    proxies = ProxyHeadersMiddleware(app, trusted)
    server = _Server(_config(proxies), listening, proxies, most)
    thread = threading.Thread(
        target=server.run,
        kwargs={"sockets": []},
        name="drip-pages",
        daemon=True,
    )
    with lacking():
        thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # Its own log would hold tokens.
        access_log=False,
        log_level="warning",
        # Its own lines go where ours do.
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
        http=Protocol,
        ws="none",
    )


class _Server(uvicorn.Server):
    """Takes connections from `listening` itself. A server of asyncio takes as many at
    once as the kernel has, before anybody can say that these are too many, and takes
    none for a second where it lacks files."""

    def __init__(
        self,
        config: uvicorn.Config,
        listening: socket.socket,
        proxies: ProxyHeadersMiddleware,
        most: int,
    ) -> None:
        super().__init__(config)
        self._listening = listening
        self._proxies = proxies
        self._connections = Connections(most, time.monotonic)
        self._at_once = max(int(most * AT_ONCE), 1)
        self._handing_over: set[asyncio.Task[None]] = set()
        self._closed = False
        self._say_at = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._loop = asyncio.get_running_loop()
        self._open()
        self._look()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._shut()
        self._closed = True
        self._listening.close()
        await asyncio.gather(*self._handing_over, return_exceptions=True)
        for connection in self._all():
            connection.hurry()
        await super().shutdown(sockets=sockets)

    def _look(self) -> None:
        """Every second, whatever becomes of it; at each connection, whatever becomes of
        the others."""
        self._loop.call_later(LOOK_S, self._look)
        for connection in self._all():
            self._loop.call_soon(connection.look)

    def _all(self) -> list[Protocol]:
        return [cast(Protocol, connection) for connection in self._connections]

    # --- who comes in

    def _open(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listening, self._let_in)

    def _shut(self) -> None:
        self._loop.remove_reader(self._listening)

    def _pause(self) -> None:
        """Whoever comes waits: the loop would be told of them again and again."""
        self._shut()
        self._loop.call_later(AGAIN_S, self._open)

    def _let_in(self) -> None:
        for _ in range(self._at_once):
            if self._connections.is_stuck():
                self._pause()
                return
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._lacks(error)
                return
            self._take(accepted, address)

    def _lacks(self, error: OSError) -> None:
        self._pause()
        if self._loop.time() >= self._say_at:
            self._say_at = self._loop.time() + SAID_S
            log.error(
                "Nobody can be let in for the moment: %s.",
                error.strerror,
                extra={"action": "no-files"},
            )

    def _take(self, accepted: socket.socket, address: tuple[Any, ...]) -> None:
        accepted.setblocking(False)
        host, port, *_ = address
        connection = self._connection((plain(str(host)), int(port)))
        self._connections.enter(connection)
        task = self._loop.create_task(self._hand_over(accepted, connection))
        self._handing_over.add(task)
        task.add_done_callback(self._handing_over.discard)

    def _connection(self, client: tuple[str, int]) -> Protocol:
        return Protocol(
            self.config,
            self.server_state,
            self.lifespan.state,
            self._loop,
            all_of_them=self._connections,
            proxies=self._proxies,
            client=client,
        )

    async def _hand_over(self, accepted: socket.socket, connection: Protocol) -> None:
        handed_over = False
        try:
            # Who has hung up already is no error.
            with contextlib.suppress(OSError):
                await self._loop.connect_accepted_socket(lambda: connection, accepted)
                handed_over = True
        finally:
            if not handed_over:
                self._connections.leave(connection)
                accepted.close()
