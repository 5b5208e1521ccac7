"""A server of Debian's: its packages in a cage, where a small name server leads to a far side that counts."""

from __future__ import annotations

import contextlib
import signal
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from tests.mailservers import cage
from tests.mailservers.cage import FAR, HERE, HOSTNAME, Cage
from tests.mailservers.far_side import FarSide, far_side
from tests.mailservers.names import Zone, name_server
from tests.mailservers.server import Running, Security, certificate

PORTS: dict[Security, int] = {"none": 25, "starttls": 587, "tls": 465}
# Where the server finds what `certificate` made.
CHAIN, KEY = "/etc/mail-tls/chain.pem", "/etc/mail-tls/key.pem"
ZONE: Zone = {
    HOSTNAME: [f"A {HERE}"],
    "maple.example": [f"MX 10 {HOSTNAME}."],
    "shop.example": ["MX 10 far.example."],
    "far.example": [f"A {FAR}"],
}


class Caged(Running):
    """A running server of a cage."""

    def __init__(
        self,
        server: Debian,
        inside: Cage,
        far: FarSide,
        security: Security,
        authority: Path,
    ) -> None:
        login = server.login or (None, None)
        super().__init__(
            port=PORTS[security],
            security=security,
            user=login[0],
            password=login[1],
            authority=None if security == "none" else authority,
            inside=inside.network,
        )
        self._server = server
        self.cage = inside
        self.far = far

    def delivered(self) -> Counter[str]:
        return self.far.delivered()

    def sessions(self) -> int | None:
        return self.cage.connections() - self.far.sessions

    def pids(self) -> Sequence[int]:
        return self.cage.pids()

    def stop(self) -> None:
        self.cage.end_all(self._server.stopped_by)

    def start_again(self) -> None:
        self._server.begin(self.cage)
        try:
            self.wait()
        except TimeoutError as error:
            error.add_note(
                self.cage.run(
                    "sh", "-c", f"tail -n 40 /tmp/said {self._server.log}", check=False
                )
            )
            raise

    def within(self) -> AbstractContextManager[None]:
        return self.cage.within()


class Debian(ABC):
    """One of Debian's servers: what it is made of, its few lines of configuration, how it begins.

    `users` are those that its package would make; `login` is wanted where it takes no mail without.
    """

    name: str
    packages: tuple[str, ...]
    users: tuple[str, ...]
    securities: tuple[Security, ...] = ("none", "starttls", "tls")
    login: tuple[str, str] | None = None
    log = "/var/log/mail.log"
    stopped_by = signal.SIGTERM

    def missing(self) -> str | None:
        return cage.missing()

    def prepare(self, cache: Path) -> None:
        cage.unpack(self._home(cache), self.packages)

    @contextlib.contextmanager
    def start(
        self,
        cache: Path,
        folder: Path,
        security: Security,
        *,
        zone: Zone = ZONE,
        refusals: Mapping[str, str] | None = None,
    ) -> Iterator[Caged]:
        made = certificate(folder)
        files: dict[str, str | bytes] = {
            CHAIN: made.chain.read_bytes(),
            KEY: made.key.read_bytes(),
            **self.files(security),
        }
        with ExitStack() as stack:
            inside = stack.enter_context(
                cage.cage(self._home(cache), folder, files, self.users)
            )
            stack.enter_context(name_server(zone, inside.within()))
            far = stack.enter_context(far_side(refusals, (FAR, 25), inside.within()))
            self.set_up(inside)
            running = Caged(self, inside, far, security, made.authority)
            running.start_again()
            yield running

    def _home(self, cache: Path) -> Path:
        return cache / f"debian-{self.packages[0]}"

    @abstractmethod
    def files(self, security: Security) -> Mapping[str, str]:
        """Its configuration, by path."""

    def set_up(self, inside: Cage) -> None:  # noqa: B027 - for most there is something to do, not for all
        """What its package does when it is installed: owners, modes, tables."""

    @abstractmethod
    def begin(self, inside: Cage) -> None:
        """Starts it, without waiting for it to answer."""
