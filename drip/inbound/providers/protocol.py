"""What every provider has in common: a request comes in, findings go out.

What a provider's servers were answered is judged by the same rules as a bounce that
comes as a mail; the provider's own word counts where those rules do not know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol, Self

from drip.inbound.meaning import Class, Evidence, class_of, status_of
from drip.inbound.providers.payload import texts_in
from drip.inbound.reading import REASON_LENGTH, SAID_LENGTH, Finding, Kind

# Where a message's name may stand; in so many texts of an event it is looked for.
MOST_TEXTS = 500
LONGEST_STATUS = 20
# Gets what is at an address of Amazon's.
Fetch = Callable[[str], bytes]


class Forged(Exception):
    """The signature is not that of the provider: what was posted is not looked at."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A request: its header fields by their names in small letters, and its body."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """One thing that a provider says.

    `source` tells it from every other, so that hearing it twice changes nothing.
    """

    finding: Finding
    source: str


class Provider(Protocol):
    """One provider with the secret that it shares with us."""

    @classmethod
    def open(
        cls,
        options: Mapping[str, str],
        fetch: Fetch,
    ) -> Self:
        """From its settings. Raises ValueError for a key that is none."""
        ...

    def events(
        self,
        posted: Posted,
        now: datetime,
    ) -> list[ProviderEvent]:
        """What it says.

        Raises Forged, and ValueError for what is not as the provider writes it.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """One event in our words. `by` is how the provider itself takes a bounce."""

    kind: Kind
    recipient: str
    text: str = ""
    status: str = ""
    by: Class = "unknown"


def events_of(
    provider: str,
    payloads: Iterable[Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], Iterator[ProviderReport]],
) -> list[ProviderEvent]:
    """What a provider's payloads say, each read by its own rules."""
    return [
        event
        for payload in payloads
        for event in _events(provider, payload, read(payload))
    ]


def _events(
    provider: str,
    payload: Mapping[str, Any],
    reports: Iterable[ProviderReport],
) -> Iterator[ProviderEvent]:
    """By a digest of what was posted, so that a repeat has the same source."""
    written = json.dumps(payload, sort_keys=True)
    source = f"{provider}:{sha256(written.encode()).hexdigest()[:32]}"
    texts = tuple(texts_in(payload))[:MOST_TEXTS]
    for number, report in enumerate(reports):
        own = f"{source}:{number}" if number else source
        yield ProviderEvent(_finding(report, texts), own)


def _finding(
    report: ProviderReport,
    about: tuple[str, ...],
) -> Finding:
    """Judged as a bounce that comes by mail is."""
    text = re.sub(
        r"^\s*smtp\s*;\s*",
        "",
        report.text[:SAID_LENGTH],
        flags=re.I,
    )
    status, meaning = report.status[:LONGEST_STATUS], _UNKNOWN
    if report.kind in ("bounce", "delayed"):
        evidence = Evidence(text, text, "", status, True, report.recipient)
        status = status_of(evidence)
        meaning = _meaning(report, evidence)
    reason = " ".join(text.split())[:REASON_LENGTH]
    return Finding(
        report.kind,
        report.recipient,
        status,
        meaning,
        reason,
        about,
    )


_UNKNOWN: Class = "unknown"


def _meaning(
    report: ProviderReport,
    evidence: Evidence,
) -> Class:
    """By the server's answer, else by what the provider itself makes of it."""
    meaning = _by_server(evidence)
    if meaning == "unknown":
        meaning = report.by
    if report.kind == "delayed" and meaning != "policy":
        return "temporary"
    return meaning


def _by_server(evidence: Evidence) -> Class:
    # With neither words nor a code there is nothing to go by: the provider knows more.
    nothing_said = not evidence.text and not status_of(evidence)
    return _UNKNOWN if nothing_said else class_of(evidence)
