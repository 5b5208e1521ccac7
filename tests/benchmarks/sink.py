"""A mail server that takes everything and keeps nothing, in a process of its own: `python -m tests.benchmarks.sink`.

It prints its port, then for each line on its input how many messages it has taken. Some 20 µs for each message.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

HELLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10000000\r\n"


class Sink(asyncio.Protocol):
    """One connection. `delay_s` is how far away it is: each answer comes so much later."""

    taken = 0

    def __init__(self, delay_s: float) -> None:
        self._rest, self._text, self._delay_s = b"", False, delay_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._say(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        out = b""
        while data:
            if self._text:
                end = data.find(b"\r\n.\r\n")
                if end < 0:
                    break
                data, self._text = data[end + 5 :], False
                Sink.taken += 1
                out += b"250 taken\r\n"
                continue
            line, newline, rest = data.partition(b"\r\n")
            if not newline:
                break
            data = rest
            verb = line[:4].upper()
            if verb == b"DATA":
                self._text = True
                out += b"354 go\r\n"
            elif verb == b"EHLO":
                out += HELLO
            elif verb == b"QUIT":
                out += b"221 bye\r\n"
            else:
                out += b"250 ok\r\n"
        self._rest = data
        if out:
            self._say(out)

    def _say(self, data: bytes) -> None:
        if self._delay_s:
            asyncio.get_running_loop().call_later(
                self._delay_s, self._transport.write, data
            )
        else:
            self._transport.write(data)


async def serve(delay_s: float) -> None:
    """Until its input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sink(delay_s), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    while await loop.run_in_executor(None, sys.stdin.readline):
        sys.stdout.write(f"{Sink.taken}\n")
        sys.stdout.flush()


class Running:
    """A sink that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin and process.stdout
        self._in, self._out = process.stdin, process.stdout
        self.port = int(self._out.readline())

    def taken(self) -> int:
        """How many messages it has taken so far."""
        self._in.write("\n")
        self._in.flush()
        return int(self._out.readline())


@contextlib.contextmanager
def sink(delay_s: float = 0.0) -> Iterator[Running]:
    """A sink that runs meanwhile. `delay_s` for one that is far away."""
    command = [sys.executable, "-m", "tests.benchmarks.sink", str(delay_s)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Running(process)
        assert process.stdin
        process.stdin.close()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
