"""A PostgreSQL server of the tests' own, in a temporary folder, and fresh databases on it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/usr/local/opt/postgresql*/bin",
)
# It forgets everything when the machine stops, as nobody needs it then.
QUICK = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"


def missing(why: str) -> NoReturn:
    """These tests cannot run here ("no PostgreSQL"): that skips at home, and fails in CI.

    There DRIP_TESTS_WITHOUT is the one reason that is meant.
    """
    meant = why == os.environ.get("DRIP_TESTS_WITHOUT")
    if os.environ.get("CI") == "true" and not meant:
        pytest.fail(f"{why}, though CI=true")
    pytest.skip(why)


def skipped_because(reasons: Sequence[str]) -> str:
    """How many tests skipped, and for which reasons, the most frequent first, in one line."""
    counted = Counter(reason.partition("\n")[0] for reason in reasons)
    causes = ", ".join(f"{reason} ({count})" for reason, count in counted.most_common())
    return f"{len(reasons)} skipped: {causes}"


def binaries() -> Path | None:
    """The folder with PostgreSQL's programs; None if there are none."""
    on_path = shutil.which("initdb")
    if on_path and (Path(on_path).resolve().parent / "postgres").exists():
        return Path(on_path).resolve().parent
    found = [
        path
        for place in PLACES
        for path in Path("/").glob(place[1:])
        if (path / "initdb").exists()
    ]
    return max(found, default=None)


class Postgres:
    """A running server."""

    def __init__(self, port: int, folder: Path) -> None:
        self._base = f"postgresql://drip@127.0.0.1:{port}"
        self._folder = folder
        self._numbers = itertools.count(1)

    def fresh(self, options: str = "") -> str:
        """The address of a new empty database, made with these options."""
        name = f"drip{os.getpid()}_{next(self._numbers)}"
        self.do(f"CREATE DATABASE {name} {options}")
        return f"{self._base}/{name}"

    def copy(self, address: str, name: str | None = None) -> str:
        """The address of a copy of a database, to which nobody may be connected."""
        source = address.rpartition("/")[2]
        name = name or f"{source}_copy"
        self.do(f"CREATE DATABASE {name} TEMPLATE {source}")
        return f"{self._base}/{name}"

    def drop(self, address: str) -> None:
        """Takes a database away, whoever is connected to it."""
        self.do(f"DROP DATABASE {address.rpartition('/')[2]} WITH (FORCE)")

    def put_back(self, address: str, backup: str) -> None:
        """The database is that of the backup again."""
        self.drop(address)
        self.copy(backup, address.rpartition("/")[2])

    def do(self, statement: str) -> None:
        """Runs a statement outside of every database of drip's."""
        with psycopg.connect(f"{self._base}/postgres", autocommit=True) as connection:
            connection.execute(statement)


@contextlib.contextmanager
def postgres(*, quick: bool = True) -> Iterator[Postgres]:
    """A server that runs meanwhile. `quick` gives up that it survives a power cut."""
    programs = binaries()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="drip-postgres-"))
    data = folder / "data"
    # The server refuses to be run by root.
    as_other: dict[str, object] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        as_other = {
            "user": "postgres",
            "group": "postgres",
            "extra_groups": [],
            "cwd": folder,
        }
    make = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "drip",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-locale",
        "--no-sync",
    ]
    subprocess.run(make, check=True, capture_output=True, **as_other)  # type: ignore[call-overload]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c max_connections=200 {QUICK if quick else ''}"
    control = [programs / "pg_ctl", "-D", data, "-w"]
    subprocess.run(
        [*control, "-l", folder / "log", "-o", options, "start"],
        check=True,
        stdout=subprocess.DEVNULL,
        **as_other,
    )  # type: ignore[call-overload]
    try:
        yield Postgres(port, folder)
    finally:
        subprocess.run(
            [*control, "-m", "immediate", "stop"],
            check=True,
            capture_output=True,
            **as_other,
        )  # type: ignore[call-overload]
        shutil.rmtree(folder)
