"""What is sent, and what a transport says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name (may be empty) and an address."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes along."""

    name: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered message to one contact, before it is put into any wire format.

    `headers` are the further header fields of an e-mail, by name. `message_id` comes without angle
    brackets and is the same for every attempt at the same message.
    """

    channel: str
    to: Mailbox
    sender: Mailbox
    subject: str
    text: str
    html: str | None
    message_id: str
    date: datetime
    reply_to: Mailbox | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """The other side took it. `answer` is what it said."""

    answer: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side will never take this one; nothing left."""

    answer: str


@dataclass(frozen=True, slots=True)
class Unsent:
    """It certainly did not leave; worth another try later."""

    answer: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have left: the link died between the end of the message and the answer."""

    answer: str


Receipt = Sent | Refused | Unsent | Unknown


class TransportDown(Exception):
    """Nothing can leave this way at the moment (login refused, no connection, disk full). Nothing left.

    `str()` is a sentence for the operator, `help` the remedy.
    """

    def __init__(self, sentence: str, help: str) -> None:
        super().__init__(sentence)
        self.help = help


class Transport(Protocol):
    """How messages leave. One is opened by a daemon and used by one thread.

    `at_once` is how many messages may be under way between two commits, and so how many have an unknown
    outcome when the program dies: 1, unless nothing ever really leaves. `channels` are those it is made for.
    """

    at_once: int
    channels: frozenset[str]

    def send(self, message: Message) -> Receipt:
        """Hands one message over. Raises TransportDown if this way is closed for all messages."""
        ...

    def close(self) -> None:
        """Lets go of connections. May be called twice."""
        ...
