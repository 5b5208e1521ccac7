"""What is sent, and what a transport says of it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name (may be empty) and an address."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes along.

    One with a `content_id` is a picture that the HTML shows, by `cid:` and that (RFC
    2392).
    """

    name: str
    content_type: str
    data: bytes
    content_id: str = ""


class Pieced(str):
    """A text that knows of what it was put together.

    Long pieces are the same objects in every message of a template.
    """

    __slots__ = ("pieces",)
    pieces: tuple[str, ...]

    def __new__(cls, pieces: Sequence[str]) -> Pieced:
        made = super().__new__(cls, "".join(pieces))
        made.pieces = tuple(pieces)
        return made


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered message to one contact, before it is put into any wire format.

    `headers` are the further header fields of an e-mail, by name. `message_id` comes
    without angle brackets and is the same for every attempt at the same message.
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
    # Where links lead that go over a page of ours, by their names.
    links: Mapping[str, str] = field(default_factory=dict)


def with_pictures(message: Message) -> str | None:
    """The HTML on its own: its pictures are in it as `data:` (RFC 2397).

    None if there is no HTML.
    """
    html = message.html
    for picture in message.attachments:
        if html is not None and picture.content_id:
            data = base64.b64encode(picture.data).decode()
            html = html.replace(
                f"cid:{picture.content_id}",
                f"data:{picture.content_type};base64,{data}",
            )
    return html


@dataclass(frozen=True, slots=True)
class Sent:
    """The other side took it. `answer` is what it said."""

    answer: str


# Whom a no is about: this address, this message, its sender, everybody at the
# recipient's domain, this connection, how much this server wants at once, how the two
# of us talk, everything; or nobody, but this machine, which lacked something.
Scope = Literal[
    "address",
    "message",
    "sender",
    "domain",
    "session",
    "rate",
    "dialogue",
    "transport",
    "machine",
]


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side will never take this one; nothing left.

    `at_recipient`: it was said of the recipient before the text could go. That counts
    only from a server that has accepted somebody: one that accepts nobody may mean us.
    """

    answer: str
    scope: Scope = "message"
    at_recipient: bool = False


@dataclass(frozen=True, slots=True)
class Unsent:
    """It certainly did not leave; worth another try later."""

    answer: str
    scope: Scope = "message"


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have left: the link died between the end of the message and the answer."""

    answer: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """A task for the desk `assign_to`: a colleague will say it.

    It is stored together with the message's end. `priority` is from 0 to 100; `notes`
    is what is to be said.
    """

    title: str
    notes: str
    assign_to: str
    priority: int

    @property
    def answer(self) -> str:
        """As the other receipts have it."""
        return f"it became a task for {self.assign_to}"


Receipt = Sent | Refused | Unsent | Unknown | Assigned


class TransportDown(Exception):
    """Nothing can leave this way at the moment (login refused, no connection).

    Nothing left. What this machine lacks for a moment (files, memory, disk, threads) is
    a `core.shortage.Shortage` instead, if nothing left.

    `str()` is a sentence for the operator, `help` the remedy. `costly`: somebody is
    there, and each further try costs something, so that the next one can wait.
    """

    def __init__(self, sentence: str, help: str, *, costly: bool = False) -> None:
        super().__init__(sentence)
        self.help, self.costly = help, costly


class Transport(Protocol):
    """How messages leave, one at a time.

    One is opened by a daemon and used by one thread.

    `channels` are those it is made for.
    """

    channels: frozenset[str]

    def send(self, message: Message) -> Receipt:
        """Hands one message over.

        Raises TransportDown if this way is closed for all messages.
        """
        ...

    def close(self) -> None:
        """Lets go of connections. May be called twice."""
        ...


# So many different recipients a server may refuse, over all connections, before it has
# taken anybody.
# A server that knows nobody of us refuses all: each of them would be marked dead.
MOST_REFUSED = 5


class DeliverySession(Protocol):
    """Where a transport that has several messages under way asks and answers.

    Which may begin, and how each ended.
    """

    def turn(
        self, ended: Sequence[tuple[Message, Receipt]], ready: Sequence[Message]
    ) -> Sequence[bool]:
        """Writes down how messages ended, and which begin now.

        Returns for each of those that are ready whether it may.

        It is called right before the first byte of a text leaves, and with nothing now
        and then, so that a sender who waits is known to be alive. What has ended is
        kept even if it raises.
        """
        ...

    # Whether the other side is known to have taken somebody; a transport that finds out
    # says so.
    accepts: bool

    def wants(self, message: Message) -> bool:
        """Whether it is worth offering a message: it comes again when it is not.

        Asked before anything is said of it.
        """
        ...

    def waits(self, sentence: str | None) -> None:
        """Takes a note that the other side has not answered for long.

        None: it has, or is not asked any more.
        """
        ...


@runtime_checkable
class Relayed(Protocol):
    """Of a stream whose other side passes on what it takes from those it knows.

    It refuses the others' recipients. What it asks about has been taken so far.
    """

    @property
    def relay_name(self) -> str:
        """Who that is, and as whom we log in there."""
        ...


@runtime_checkable
class Stream(Protocol):
    """Of a transport that has several messages under way at once.

    As many are of unknown outcome if the program dies.
    """

    def deliver(self, messages: Iterator[Message], session: DeliverySession) -> None:
        """Hands over what the iterator has.

        What it leaves untold of has not begun, and comes again. Raises TransportDown if
        this way is closed; the rest has not begun.
        """
        ...
