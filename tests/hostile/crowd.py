"""Clients that keep a server waiting, from several addresses of loopback: `python -m tests.hostile.crowd PORT HEADS BODIES READERS`.

So many of each are kept open until its input ends: whoever is hung up on comes again after a second or more. It says `all` once
everybody has been there.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
from collections.abc import Awaitable, Callable

import uvloop

ADDRESSES = [f"127.0.0.{n}" for n in range(2, 10)]
HALF = b"POST /unsubscribe/x HTTP/1.1\r\nHost: x\r\n"
BODY = (
    HALF
    + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\n"
)
# So much that not even the kernel has room for all of it.
READER = b"GET /static/pages.css HTTP/1.1\r\nHost: x\r\n\r\n" * 16
AGAIN_S, PATIENCE_S = (1.0, 5.0), 120
Say = Callable[[bytes], Awaitable[None]]


async def head(say: Say, number: int) -> None:
    """A field a second, and never the last one."""
    await say(HALF)
    while True:
        await asyncio.sleep(1)
        await say(b"X: y\r\n")


async def body(say: Say, number: int) -> None:
    """One half is too slow, the other just fast enough."""
    await say(BODY)
    while True:
        await asyncio.sleep(1)
        await say(b"x" * (100 if number % 2 else 1_200))


async def reader(say: Say, number: int) -> None:
    """Asks for more than it takes, and takes nothing."""
    await say(READER)
    await asyncio.sleep(3_600)


class Crowd:
    """Keeps them open. `came` are those that were let in at least once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.came: set[tuple[str, int]] = set()

    async def keep(
        self, kind: Callable[[Say, int], Awaitable[None]], number: int
    ) -> None:
        chance, loop = random.Random(number), asyncio.get_running_loop()
        await asyncio.sleep(chance.uniform(0, 2))
        while True:
            with socket.socket() as own, contextlib.suppress(OSError):
                own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
                own.setblocking(False)
                own.bind((chance.choice(ADDRESSES), 0))
                await loop.sock_connect(own, ("127.0.0.1", self._port))
                self.came.add((kind.__name__, number))
                await kind(lambda said: loop.sock_sendall(own, said), number)
            await asyncio.sleep(chance.uniform(*AGAIN_S))


async def main(port: int, heads: int, bodies: int, readers: int) -> None:
    """Until its input ends."""
    crowd = Crowd(port)
    kinds = ((head, heads), (body, bodies), (reader, readers))
    tasks = [
        asyncio.create_task(crowd.keep(kind, n))
        for kind, count in kinds
        for n in range(count)
    ]
    async with asyncio.timeout(PATIENCE_S):
        while len(crowd.came) < len(tasks):
            await asyncio.sleep(0.1)
    sys.stdout.write("all\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:])))
