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
HEAD = ("server", "security", *SITUATIONS, "sessions", "seconds", "`smtplib`")
BOUNCES_HEAD = ("server", "case", "came back", "given up", "as it should be")


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 if a message was lost, repeated or held without need, or a bounce was misunderstood."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mailservers", description=__doc__
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="such as `Postfix`; all without"
    )
    parser.add_argument(
        "--contacts",
        type=int,
        default=300,
        help="people, half of them of each kind of campaign",
    )
    parser.add_argument(
        "--bounces",
        action="store_true",
        help="what comes back, in place of what leaves",
    )
    parser.add_argument("--json", action="store_true", help="a JSON line for each row")
    options = parser.parse_args(arguments)
    if options.bounces:
        return _show_bounces(_named(options.names, BOUNCING), as_json=options.json)
    return _show_matrix(
        _named(options.names, servers()), options.contacts // 2, as_json=options.json
    )


def _show_matrix(chosen: Sequence[MailServer], each: int, *, as_json: bool) -> int:
    bad = False
    if not as_json:
        _head(HEAD)
    for runs in _found(chosen, each):
        bad = bad or not all(found.good for found in runs)
        if as_json:
            _say("\n".join(json.dumps(dataclasses.asdict(found)) for found in runs))
        else:
            _row(_cells(runs))
    return int(bad)


def _show_bounces(chosen: Sequence[Debian], *, as_json: bool) -> int:
    bad = False
    if not as_json:
        _head(BOUNCES_HEAD)
    for came in _came(chosen):
        bad = bad or not came.good
        if as_json:
            _say(json.dumps(dataclasses.asdict(came)))
        else:
            _row(
                [
                    came.server,
                    came.case,
                    came.came,
                    *("yes" if each else "no" for each in (came.given_up, came.good)),
                ]
            )
    return int(bad)


def _named(names: Sequence[str], known: Sequence[Server]) -> list[Server]:
    """Those of these names, or all. Raises SystemExit for a name that none has."""
    wanted = {name.lower() for name in names}
    if unknown := wanted - {server.name.lower() for server in known}:
        raise SystemExit(
            f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in known)}"
        )
    return [server for server in known if not wanted or server.name.lower() in wanted]


def _found(chosen: Sequence[MailServer], each: int) -> Iterator[list[Found]]:
    """For each server and security a run for each situation."""
    for server, folder in _prepared(chosen):
        for security in _compared(server):
            runs = []
            for situation in SITUATIONS:
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    plain = situation == SITUATIONS[0]
                    runs.append(
                        run(
                            server,
                            cache(),
                            Path(place),
                            security,
                            situation,
                            each,
                            plain=plain,
                        )
                    )
            yield runs


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
    return [
        *(security for security in server.securities if security == "none"),
        *encrypted[:1],
    ]


def _cells(runs: Sequence[Found]) -> list[str]:
    """Sessions and seconds are of the first run."""
    first = runs[0]
    sessions = "" if first.sessions is None else str(first.sessions)
    seconds = [
        f"{each:.1f}"
        for each in (first.seconds, first.plain_seconds)
        if each is not None
    ]
    return [first.server, first.security, *map(_outcome, runs), sessions, *seconds]


def _outcome(found: Found) -> str:
    """`300`, or `296, 4 held`: who got it once, and what else there is to say."""
    counts = {
        "twice": found.twice,
        "lost": found.lost,
        "held": found.held,
        "failed": found.failed,
    }
    return ", ".join(
        [
            str(found.once),
            *(f"{count} {what}" for what, count in counts.items() if count),
        ]
    )


def _head(cells: Sequence[str]) -> None:
    _row(cells)
    _row(["---"] * len(cells))


def _row(cells: Sequence[str]) -> None:
    _say(f"| {' | '.join(cells)} |")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
