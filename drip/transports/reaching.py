"""What has to be known of the other side before there is a connection: where its name leads, and who may vouch for it.

For want of a file to open, the system answers that there is no such name, and OpenSSL trusts nobody. Both would be blamed on the
other side.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any

from drip.core.shortage import lacking


def addresses_of(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    """The family and address of each place that a name leads to. Raises OSError or ValueError for one that cannot be looked up,
    Shortage if no file was left to ask with."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        _a_file_is_left()
        raise
    return [(each[0], each[4]) for each in found]


def trusting() -> ssl.SSLContext:
    """Trusts whom this machine trusts. Raises Shortage if no file is left to read who that is."""
    _a_file_is_left()
    return ssl.create_default_context()


def _a_file_is_left() -> None:
    with lacking():
        os.close(os.open(os.devnull, os.O_RDONLY))
