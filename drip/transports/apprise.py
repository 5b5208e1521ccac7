"""`apprise`: SMS, push and chat by any of the services that the library Apprise knows (extra `drip[apprise]`).

The library says yes or no; why not it only writes into its log, where it is read here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from drip.core.message import Message, Receipt, Refused, Sent, TransportDown, Unknown, Unsent
from drip.core.shortage import said as lack_in
from drip.transports.posting import LATER, MAYBE, OURS

RECIPIENT = "{to}"
_STATUS = re.compile(r"error=(\d{3})")
# Nothing was written yet.
_NOT_BEGUN = re.compile(
    r"(?i)NewConnectionError|ConnectTimeout|Name or service not known|NameResolution|Connection refused"
)


class AppriseTransport:
    """Option `url`: an address as Apprise has them (`twilio://SID:TOKEN@FROM/{to}`). `{to}` stands for the recipient's number
    or token; an address without it gets the recipient as its last part. A message without a recipient goes to whom the address
    itself names."""

    channels = frozenset({"sms", "push"})

    def __init__(self, options: Mapping[str, str]) -> None:
        try:
            import apprise
        except ImportError:
            raise ValueError("the transport `apprise` needs an extra package: pip install 'drip[apprise]'") from None
        if set(options) != {"url"}:
            raise ValueError("the transport `apprise` has one option, `url`")
        self._library: Any = apprise
        url = options["url"]
        self._bare = url.replace(f"/{RECIPIENT}", "")
        self._url = url if RECIPIENT in url else _with_recipient(url)
        with _log():
            known = self._library.Apprise.instantiate(self._to("15550100"), suppress_exceptions=True)
        if known is None:
            raise ValueError("`url` is none that Apprise knows (github.com/caronc/apprise lists them)")

    def send(self, message: Message) -> Receipt:
        """Hands one message over. Raises TransportDown if the service cannot be reached, or does not know us."""
        with _log() as said:
            service = self._library.Apprise.instantiate(self._to(message.to.address), suppress_exceptions=True)
            good = service is not None and service.notify(body=message.text.strip(), title=message.subject)
        if service is None:
            return Refused("this is no recipient for the service")
        told = " ".join(said)[:300]
        status = _STATUS.search(told)
        if good:
            return Sent("taken")
        if status is None and _NOT_BEGUN.search(told):
            if lack := lack_in(told):
                raise lack
            raise TransportDown(f"The service does not answer ({told}).", "check `url`, and whether it runs")
        if status is None:
            return Unknown(told or "the service said no, and not why")
        code = int(status[1])
        if code in OURS:
            raise TransportDown(f"The service does not know us ({told}).", "check the names and secrets in `url`")
        if code in MAYBE:
            return Unknown(told)
        return Unsent(told) if code in LATER else Refused(told)

    def close(self) -> None:
        """Nothing is kept open."""

    def _to(self, address: str) -> str:
        return self._url.replace(RECIPIENT, quote(address, safe="")) if address else self._bare


def _with_recipient(url: str) -> str:
    """The recipient behind the path, before what is asked."""
    path, question, rest = url.partition("?")
    return f"{path.rstrip('/')}/{RECIPIENT}{question}{rest}"


@contextmanager
def _log() -> Iterator[list[str]]:
    """What the library writes into its log meanwhile, which nobody else gets to read: it holds recipients."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if record.levelno >= logging.WARNING or text.startswith("Socket Exception"):
                lines.append(text)

    log, handler = logging.getLogger("apprise"), Kept(logging.DEBUG)
    before, spread = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield lines
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        log.propagate = spread
