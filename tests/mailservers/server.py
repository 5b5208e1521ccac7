"""What a mail server of the bench is: fetched once, started in a folder of its own, stopped, paused, and asked what arrived.

A module of this package that has `SERVERS` adds them to the bench; nothing else names them.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import pkgutil
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import trustme

Security = Literal["none", "starttls", "tls"]
STARTING_S = 30.0
STOPPING_S = 10.0
# What every server's certificate is for.
HOST = "127.0.0.1"


class Missing(Exception):
    """A server cannot be had or run here; the text says what is not here and how to get it."""


class MailServer(Protocol):
    """A server that the bench can run. `securities` are those it offers, of which each is started anew."""

    name: str
    securities: tuple[Security, ...]

    def missing(self) -> str | None:
        """What is not here and how to get it; None if it can be prepared. Looks only, and quickly."""

    def prepare(self, cache: Path) -> None:
        """Fetches, unpacks, builds, once, into a folder of its own in the cache. Raises Missing."""

    def start(
        self, cache: Path, folder: Path, security: Security
    ) -> AbstractContextManager[Running]:
        """The server, which answers and is ended with the context; `folder` is empty and its own."""


@dataclass(kw_only=True)
class Running(ABC):
    """A server that answers at `host` and `port` for whoever is `within` its network.

    It takes mail for every address of `shop.example` (with `user` and `password` where it wants a login).
    """

    port: int
    security: Security
    host: str = HOST
    user: str | None = None
    password: str | None = None
    # The file that says whose certificates are good; None without encryption.
    authority: Path | None = None
    # What a command has to begin with to reach it: () where it listens on this machine's own loopback.
    inside: tuple[str, ...] = ()

    @abstractmethod
    def delivered(self) -> Counter[str]:
        """How often each recipient's message reached the far side or the mailbox, until now."""

    def sessions(self) -> int | None:
        """How many connections it took until now; None if nobody counts them."""
        return None

    @abstractmethod
    def pids(self) -> Sequence[int]:
        """The processes that serve, as this machine numbers them."""

    @abstractmethod
    def stop(self) -> None:
        """Ends it and its sessions as a machine does that is shut down, and waits; what it has taken it keeps."""

    @abstractmethod
    def start_again(self) -> None:
        """Starts what was stopped, on the same port; returns once it answers."""

    def pause(self) -> None:
        """It does nothing more, and its connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def within(self) -> AbstractContextManager[None]:
        """This thread's sockets reach it meanwhile."""
        return contextlib.nullcontext()

    def _signal(self, number: int) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self) -> None:
        """Returns once it greets. Raises TimeoutError."""
        until = time.monotonic() + STARTING_S
        while not self._greets():
            if time.monotonic() > until:
                raise TimeoutError(f"nothing greets at {self.host}:{self.port}")
            time.sleep(0.05)

    def _greets(self) -> bool:
        with (
            self.within(),
            contextlib.suppress(OSError),
            socket.create_connection((self.host, self.port), 2) as there,
        ):
            return self.security == "tls" or there.recv(3) == b"220"
        return False


class Program(Running):
    """A server that is one program (and its children) on this machine's loopback."""

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        count: Callable[[], Counter[str]],
        environment: Mapping[str, str] | None = None,
        **more: object,
    ) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self._command = command
        self._folder = folder
        self._count = count
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def delivered(self) -> Counter[str]:
        return self._count()

    def pids(self) -> Sequence[int]:
        """All of its process group."""
        process = self._process
        return (
            []
            if process is None
            else [pid for pid in everything() if _group(pid) == process.pid]
        )

    def start_again(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self.wait()
        except TimeoutError as error:
            error.add_note((self._folder / "log").read_text("utf-8", "replace")[-2000:])
            raise

    def stop(self) -> None:
        process = self._process
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            # A paused one ends once it goes on.
            for each in (number, signal.SIGCONT):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, each)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOPPING_S)
                break
        self._process = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Running]:
        """Started, and ended whatever happens."""
        try:
            self.start_again()
            yield self
        finally:
            self.stop()


def everything() -> list[int]:
    """All processes of this machine."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files: who is trusted, the server's chain, its key."""

    authority: Path
    chain: Path
    key: Path


def certificate(folder: Path) -> Certificate:
    """A certificate for 127.0.0.1, of an authority that nobody else knows."""
    made = Certificate(
        folder / "authority.pem", folder / "chain.pem", folder / "key.pem"
    )
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    authority.cert_pem.write_to_path(str(made.authority))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(made.chain), append=True)
    issued.private_key_pem.write_to_path(str(made.key))
    return made


def free_port() -> int:
    """A port of loopback that nobody has at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def once(folder: Path, make: Callable[[Path], None]) -> None:
    """Makes the folder by `make(EMPTY FOLDER)` unless it is there, wholly or not at all, whoever else does so too."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return
        making = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            make(making)
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)


def cache() -> Path:
    """Where fetched servers are kept: deleting it costs nothing but fetching them again."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "drip-mailservers"
    )


def servers() -> list[MailServer]:
    """All that the bench has, by name."""
    package = importlib.import_module(__package__)
    names = [
        found.name
        for found in pkgutil.iter_modules(package.__path__)
        if found.name != "__main__"
    ]
    modules = [importlib.import_module(f"{__package__}.{name}") for name in names]
    found = [server for module in modules for server in getattr(module, "SERVERS", ())]
    return sorted(found, key=lambda server: server.name.lower())


def client(running: Running) -> smtplib.SMTP:
    """A plain client that is connected, and logged in where that is wanted. Call it `within` the server's network."""
    context = (
        ssl.create_default_context(cafile=running.authority)
        if running.authority
        else None
    )
    if running.security == "tls":
        found: smtplib.SMTP = smtplib.SMTP_SSL(
            running.host, running.port, timeout=60, context=context
        )
    else:
        found = smtplib.SMTP(running.host, running.port, timeout=60)
    if running.security == "starttls":
        found.starttls(context=context)
    if running.user and running.password:
        found.login(running.user, running.password)
    return found
