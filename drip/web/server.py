"""An application on a port, in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from drip.errors import DripError

BACKLOG = 1_024


def listen(host: str, port: int) -> socket.socket:
    """Raises DripError if nothing can be served there."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        return listening
    except (OSError, UnicodeError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or str(error)
        raise DripError(f"Nothing can be served at {host}:{port}: {why}.", help="name another port") from None


@contextlib.contextmanager
def serving(app: Any, listening: socket.socket, behind: str = "127.0.0.1") -> Iterator[None]:
    """Meanwhile, in a thread; requests that are under way at the end are answered. `behind` is the address of the web server
    whose word about where requests come from is taken."""
    server = _server(app, behind)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="drip-pages", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _server(app: Any, behind: str) -> uvicorn.Server:
    # Its own log would hold tokens.
    return uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            # Its own lines go where ours do.
            log_config=None,
            server_header=False,
            forwarded_allow_ips=behind,
            timeout_graceful_shutdown=10,
        )
    )
