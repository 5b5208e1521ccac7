"""Where a name leads, a connection to it, and who may vouch for the other side.

A name often leads to several addresses, and the first may be one at which nobody
listens: `localhost` is `::1` first on many machines, and a server listens on 127.0.0.1
alone. So all are tried, one after the other, within one time limit (`share_s` says how
it is shared).

For want of a file to open, the system answers that there is no such name, and OpenSSL
trusts nobody. Both would be blamed on the other side.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

from drip.core.shortage import lacking, shortage

Address = tuple[socket.AddressFamily, Any]


def addresses_of(host: str, port: int) -> list[Address]:
    """The family and address of each place that a name leads to, the preferred first.

    Raises OSError or ValueError for one that cannot be looked up, Shortage if no file
    was left to ask with.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        _check_files_left()
        raise
    return [(family, address) for family, _, _, _, address in found]


def share_s(left_s: float, addresses: int) -> float:
    """The seconds that the next of so many addresses may take of those that are left.

    Each gets the same, so that one that never answers leaves time for those after it.
    One that refuses at once leaves its share to the others, and the last gets all there
    is.
    """
    return left_s / addresses


def connect(
    addresses: Sequence[Address],
    timeout_s: float,
    passed_s: Callable[[], float] = time.monotonic,
) -> socket.socket:
    """A connection to the first of these addresses that takes one, within the time
    limit.

    Raises the last one's OSError if none does, ValueError if there is no address, and
    Shortage at once for what this machine lacks: another address would not help.
    """
    if not addresses:
        raise ValueError("there is no address to connect to")
    until = passed_s() + timeout_s
    for number, address in enumerate(addresses):
        untried = len(addresses) - number
        try:
            connection = _connect(address, share_s(until - passed_s(), untried))
        except OSError as error:
            if lack := shortage(error):
                raise lack from None
            if untried == 1:
                raise
        else:
            connection.settimeout(timeout_s)
            return connection
    raise AssertionError("the last address has either answered or raised")


def trusting() -> ssl.SSLContext:
    """Trusts whom this machine trusts.

    Raises Shortage if no file is left to read who that is.
    """
    _check_files_left()
    return ssl.create_default_context()


def _connect(
    address: Address,
    timeout_s: float,
) -> socket.socket:
    family, where = address
    with contextlib.ExitStack() as on_failure:
        connection = socket.socket(family, socket.SOCK_STREAM)
        on_failure.callback(connection.close)
        # Zero would mean not to wait at all, and less raises ValueError.
        connection.settimeout(max(timeout_s, 0.001))
        connection.connect(where)
        on_failure.pop_all()
    return connection


def _check_files_left() -> None:
    with lacking():
        os.close(os.open(os.devnull, os.O_RDONLY))
