"""Servers that are one program on loopback, and say line by line what they took: a `session`, or a message's recipient."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mailservers.server import (
    Certificate,
    Missing,
    Program,
    Running,
    Security,
    certificate,
    free_port,
    once,
)

# What the servers themselves are told, in their own languages. They refuse recipients that begin with `dead-`.
PROGRAMS = Path(__file__).with_name("programs")
USER, PASSWORD = "user", "right"
SESSION = "session"
FETCHING_S = 600.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server runs: `home` is what was fetched, `folder` is its own, `certificate` is None without encryption."""

    home: Path
    folder: Path
    port: int
    certificate: Certificate | None

    @property
    def notes(self) -> Path:
        """The file of what it took."""
        return self.folder / "notes"

    def arguments(self) -> list[str | Path]:
        """What each of our own programs is called with: port, notes and, where encrypted, the chain and the key."""
        shown = self.certificate
        return [
            str(self.port),
            self.notes,
            *([shown.chain, shown.key] if shown else []),
        ]


def written(place: Place) -> list[str]:
    """A line for each `session` and each recipient, as our own programs write them."""
    return place.notes.read_text("utf-8").splitlines()


@dataclass(frozen=True)
class OnLoopback:
    """`make` fetches and builds it into an empty folder; `command` configures it and says how to start it.

    `events` is what it took; `login` says whether it wants one over an encrypted connection.
    """

    name: str
    version: str
    command: Callable[[Place], Sequence[str | Path]]
    make: Callable[[Path], None] | None = None
    tools: tuple[str, ...] = ()
    securities: tuple[Security, ...] = ("none", "starttls")
    login: bool = True
    environment: Callable[[Place], Mapping[str, str]] = lambda place: {}
    events: Callable[[Place], list[str]] = written
    tells_sessions: bool = True

    def missing(self) -> str | None:
        wanted = [tool for tool in self.tools if not shutil.which(tool)]
        return (
            f"{self.name} {self.version} needs {', '.join(wanted)} on the PATH"
            if wanted
            else None
        )

    def prepare(self, cache: Path) -> None:
        if self.make:
            once(self._home(cache), self.make)

    @contextlib.contextmanager
    def start(self, cache: Path, folder: Path, security: Security) -> Iterator[Running]:
        shown = None if security == "none" else certificate(folder)
        place = Place(self._home(cache), folder, free_port(), shown)
        place.notes.touch()
        login = {"user": USER, "password": PASSWORD} if self.login and shown else {}
        program = Noting(
            self.command(place),
            folder,
            Counter,
            self.environment(place),
            events=lambda: self.events(place),
            tells_sessions=self.tells_sessions,
            port=place.port,
            security=security,
            authority=shown and shown.authority,
            **login,
        )
        with program.running() as running:
            yield running

    def _home(self, cache: Path) -> Path:
        return cache / f"{self.name.lower()}-{self.version}"


class Noting(Program):
    """Counts by what the server says it took."""

    def __init__(
        self,
        *of_program: Any,
        events: Callable[[], list[str]],
        tells_sessions: bool,
        **more: Any,
    ) -> None:
        super().__init__(*of_program, **more)
        self._events = events
        self._tells_sessions = tells_sessions

    def delivered(self) -> Counter[str]:
        return Counter(event.lower() for event in self._events() if event != SESSION)

    def sessions(self) -> int | None:
        return self._events().count(SESSION) if self._tells_sessions else None


def fetch(
    command: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs a command that fetches or builds, in this folder. Raises Missing if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=FETCHING_S,
    )
    if done.returncode:
        raise Missing(
            f"{' '.join(map(str, command))}: {(done.stderr or done.stdout)[-1000:]}"
        )
