"""`apprise`: SMS, push and chat by any of the services that the library Apprise
knows (extra `drip[apprise]`).

The library says yes or no; why not it only writes into its log, where it is
read here. It looks names up and connects by itself: where to is asked
beforehand, by what it tells of a service. A name that leads elsewhere at the
second look-up, within the same second, is not noticed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from drip.core.message import (
    Message,
    Receipt,
    Refused,
    Sent,
    TransportDown,
    Unknown,
    Unsent,
)
from drip.core.shortage import said as lack_in
from drip.transports.options import only
from drip.transports.posting import LATER, MAYBE, OURS, leads_inside, private_address

RECIPIENT = "{to}"
# What the library calls the parts of its addresses that name a machine, and
# what some services keep beside them.
CONNECTED = ("host", "hostname", "smtp", "xmpp", "endpoint", "blossom")
ALSO = ("host", "hostname", "smtp_host", "xmpp_host", "home_server")
_STATUS = re.compile(r"error=(\d{3})")
# Nothing was written yet.
_NOT_BEGUN = re.compile(
    r"(?i)NewConnectionError|ConnectTimeout|Name or service not known|NameResolution|Connection refused"
)


class AppriseTransport:
    """Options: `url`, an address as Apprise has them (`twilio://SID:TOKEN@FROM/{to}`),
    and `private: yes` for a service within your own network, to which nothing is sent
    else. `{to}` stands for the recipient's number or token; an address without it gets
    the recipient as its last part. A message without a recipient goes to whom the
    address itself names.
    """

    channels = frozenset({"sms", "push"})

    def __init__(self, options: Mapping[str, str]) -> None:
        self._library = _apprise()
        only(options, "apprise", {"url", "private"})
        if "url" not in options:
            raise ValueError("the transport `apprise` needs a `url`")
        url = options["url"]
        self._private = options.get("private", "no") == "yes"
        self._bare = url.replace(f"/{RECIPIENT}", "")
        self._url = url if RECIPIENT in url else _with_recipient(url)
        self._named_by_recipient = any(RECIPIENT in part for part in _where(url))
        with _log():
            known = self._service("15550100")
        if known is None:
            raise ValueError(
                "`url` is none that Apprise knows (github.com/caronc/apprise lists them)"
            )

    def send(self, message: Message) -> Receipt:
        """Hands one message over.

        Raises TransportDown if the service cannot be reached, may not be, or does not
        know us.
        """
        with _log() as lines:
            service = self._service(message.to.address)
            if service is None:
                return Refused("this is no recipient for the service")
            if not self._private and (refused := self._kept_outside(service)):
                return refused
            good = service.notify(body=message.text.strip(), title=message.subject)
        return Sent("taken") if good else _meaning(" ".join(lines)[:300])

    def _kept_outside(self, service: Any) -> Refused | None:
        """Has the service follow no redirect.

        Raises TransportDown if it leads into a private network; one to which
        only this recipient leads is this message's.
        """
        service.redirects = False
        for host in _hosts(service):
            if address := private_address(host):
                inside = leads_inside(host, address)
                if self._named_by_recipient:
                    return Refused(str(inside))
                raise inside
        return None

    def close(self) -> None:
        """Nothing is kept open."""

    def _to(self, address: str) -> str:
        if not address:
            return self._bare
        return self._url.replace(RECIPIENT, quote(address, safe=""))

    def _service(self, address: str) -> Any:
        """The service for a recipient; None if the library knows none by this."""
        url = self._to(address)
        return self._library.Apprise.instantiate(url, suppress_exceptions=True)


def _apprise() -> Any:
    """The library. Raises ValueError where it is missing."""
    try:
        import apprise
    except ImportError:
        raise ValueError(
            "the transport `apprise` needs an extra package: pip install"
            " 'drip[apprise]'"
        ) from None
    return apprise


def _meaning(said: str) -> Receipt:
    """What becomes of a message to which the service said no, by the library's log."""
    status = _STATUS.search(said)
    if status is None and _NOT_BEGUN.search(said):
        raise lack_in(said) or TransportDown(
            f"The service does not answer ({said}).",
            "check `url`, and whether it runs",
        )
    if status is None:
        return Unknown(said or "the service said no, and not why")
    code = int(status[1])
    if code in OURS:
        raise TransportDown(
            f"The service does not know us ({said}).",
            "check the names and secrets in `url`",
        )
    if code in MAYBE:
        return Unknown(said)
    return Unsent(said) if code in LATER else Refused(said)


def _hosts(service: Any) -> list[str]:
    """The machines that a service says it connects to.

    Where it has a place of its own, `host` is a token of its address.
    """
    declared = {**service.template_tokens, **service.template_args}
    named = {
        str(token.get("map_to", name))
        for name, token in declared.items()
        if name in CONNECTED
    }
    hosts = set()
    for name in (*named, *ALSO):
        host = str(getattr(service, name, None) or "")
        if name in named or "." in host or ":" in host:
            hosts.add(host.strip("[]"))
    return sorted(hosts - {""})


def _where(url: str) -> tuple[str, str]:
    """The parts of an address that can name a machine: what stands before its
    path, and what is asked.
    """
    path, _, asked = url.partition("?")
    return path.partition("://")[2].partition("/")[0], asked


def _with_recipient(url: str) -> str:
    """The recipient behind the path, before what is asked."""
    path, question, rest = url.partition("?")
    return f"{path.rstrip('/')}/{RECIPIENT}{question}{rest}"


class _KeptLines(logging.Handler):
    """Keeps warnings, and why a connection failed, which the library notes below."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING or text.startswith("Socket Exception"):
            self.lines.append(text)


@contextmanager
def _log() -> Iterator[list[str]]:
    """What the library writes into its log meanwhile, which nobody else gets to read:
    it holds recipients.
    """
    log, handler = logging.getLogger("apprise"), _KeptLines()
    level, spread = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield handler.lines
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = spread
