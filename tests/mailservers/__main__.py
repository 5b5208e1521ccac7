"""`python -m tests.mailservers [NAMES]`: the table of `tests/README.md`, of all servers or of those named."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from tests.mailservers.bounces import BOUNCING, Came, bounces
from tests.mailservers.debian import Debian
from tests.mailservers.matrix import SITUATIONS, Found, run
from tests.mailservers.server import MailServer, Missing, Security, cache, servers

Server = TypeVar("Server", bound=MailServer)
HEAD = (
    "server", "security", "server meanwhile", "once", "twice", "lost", "held", "failed", "sessions", "seconds", "`smtplib`"
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 if a message was lost, repeated or held without need, or a bounce was misunderstood."""
    parser = argparse.ArgumentParser(prog="python -m tests.mailservers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as `Postfix`; all without")
    parser.add_argument("--contacts", type=int, default=300, help="people, half of them of each kind of campaign")
    parser.add_argument("--bounces", action="store_true", help="what comes back, in place of what leaves")
    parser.add_argument("--json", action="store_true", help="a JSON line for each row")
    options = parser.parse_args(arguments)
    if options.bounces:
        rows: Iterator[Found] | Iterator[Came] = _came(_named(options.names, BOUNCING))
        head = tuple(field.name.replace("_", " ") for field in dataclasses.fields(Came))
    else:
        rows, head = _found(_named(options.names, servers()), options.contacts // 2), HEAD
    if not options.json:
        _say(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    good = True
    for row in rows:
        good = good and row.good
        cells = _cells(row) if isinstance(row, Found) else [str(cell) for cell in dataclasses.astuple(row)]
        _say(json.dumps(dataclasses.asdict(row)) if options.json else f"| {' | '.join(cells)} |")
    return 0 if good else 1


def _named(names: Sequence[str], known: Sequence[Server]) -> list[Server]:
    """Those of these names, or all. Raises SystemExit for a name that none has."""
    wanted = {name.lower() for name in names}
    if unknown := wanted - {server.name.lower() for server in known}:
        raise SystemExit(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in known)}")
    return [server for server in known if not wanted or server.name.lower() in wanted]


def _found(chosen: Sequence[MailServer], each: int) -> Iterator[Found]:
    for server, folder in _prepared(chosen):
        for security in _compared(server):
            for situation in SITUATIONS:
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    yield run(server, cache(), Path(place), security, situation, each, plain=situation == SITUATIONS[0])


def _came(chosen: Sequence[Debian]) -> Iterator[Came]:
    for server, folder in _prepared(chosen):
        yield from bounces(server, cache(), folder)


def _prepared(chosen: Sequence[Server]) -> Iterator[tuple[Server, Path]]:
    """Those that can run here, each with an empty folder; of the others it is said why not."""
    for server in chosen:
        try:
            if why := server.missing():
                raise Missing(why)
            server.prepare(cache())
        except Missing as why_not:
            sys.stderr.write(f"{server.name}: {why_not}\n")
            continue
        with tempfile.TemporaryDirectory(prefix="drip-mailservers-") as folder:
            yield server, Path(folder)


def _compared(server: MailServer) -> list[Security]:
    """Plain where it can be had, and the first kind of encryption."""
    encrypted = [security for security in server.securities if security != "none"]
    return [*(security for security in server.securities if security == "none"), *encrypted[:1]]


def _cells(found: Found) -> list[str]:
    plain = "" if found.plain_seconds is None else f"{found.plain_seconds:.1f}"
    numbers = (found.once, found.twice, found.lost, found.held, found.failed)
    sessions = "" if found.sessions is None else str(found.sessions)
    return [found.server, found.security, found.situation, *map(str, numbers), sessions, f"{found.seconds:.1f}", plain]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
