"""Sends the mails with somebody's own data that were asked for on the pages, beside the
ticks.

Each is tried until the mail server has taken it or refused it for good, for a day. One
whose daemon dies in between leaves again: twice the same link does no harm, and none at
all would.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip.commands.own_data import why_not
from drip.core.addresses import ascii_domain
from drip.core.clock import Clock
from drip.core.message import (
    Mailbox,
    Message,
    Receipt,
    Refused,
    Sent,
    Transport,
    TransportDown,
    Unknown,
)
from drip.core.rates import backoff
from drip.core.settings import Settings
from drip.core.token import OWN_DATA, data_link, public_name, sign
from drip.errors import DripError
from drip.storage.base.database import Database, link_keys, workspace_id
from drip.storage.operating import holds
from drip.storage.people import contacts, data_mails
from drip.storage.people.contacts import Contact
from drip.storage.people.data_mails import DataMail
from drip.workspace import Workspace

FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
# After so long nobody waits for it any more: whoever lacks it asks again.
GIVEN_UP = timedelta(days=1)
log = logging.getLogger("drip.daemon")


class Answering:
    """`send` is called again and again; it does nothing while nobody has asked. `stop`
    is asked before each mail."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        stop: Callable[[], bool],
    ) -> None:
        self._database = database
        self._clock = clock
        self._stop = stop
        self._down = False

    def send(self, workspace: Workspace) -> None:
        """Sends what waits. What goes wrong is said in the log, once, and tried again
        later."""
        due = self._due()
        if not due:
            return
        try:
            self._send_all(workspace, due)
        except (DripError, TransportDown) as error:
            self._say_down(error)
        else:
            self._down = False

    def _say_down(self, error: DripError | TransportDown) -> None:
        # Once: a server that is away for a day would fill the log with one sentence.
        if not self._down:
            log.error(
                "No mail with somebody's data can leave: %s",
                error,
                extra={"action": "data-mail-down"},
            )
        self._down = True

    def _due(self) -> Sequence[DataMail]:
        """None while everything is stopped."""
        with self._database.read() as connection:
            if holds.EVERYTHING in holds.held_scopes(connection):
                return []
            return data_mails.due(connection, self._clock())

    def _send_all(self, workspace: Workspace, due: Sequence[DataMail]) -> None:
        """Raises DripError if there is no mail server, TransportDown if it takes
        nothing."""
        with contextlib.closing(workspace.transport("email")) as transport:
            for mail in due:
                if self._stop():
                    return
                self._send(workspace, transport, mail)

    def _send(
        self,
        workspace: Workspace,
        transport: Transport,
        mail: DataMail,
    ) -> None:
        """Raises TransportDown if nothing can leave."""
        message = self._begun(workspace, mail)
        if message is None:
            return
        receipt = transport.send(message)
        state = _end_of(receipt)
        if state:
            with self._database.write() as connection:
                data_mails.end(connection, mail, state, receipt.answer, self._clock())

    def _begun(self, workspace: Workspace, mail: DataMail) -> Message | None:
        """The mail, which is tried again if nobody says how it ended; None for one that
        is not to leave any more."""
        now = self._clock()
        again_at = now + backoff(FIRST_RETRY, mail.attempts + 1, LONGEST_RETRY)
        with self._database.write() as connection:
            if not data_mails.begin(connection, mail, again_at):
                return None
            contact = contacts.contacts_by_id(connection, [mail.contact])[mail.contact]
            refused = _why_not(connection, workspace.settings, contact, mail, now)
            if refused:
                data_mails.end(connection, mail, "failed", refused, now)
                return None
            return _message(connection, workspace.settings, contact, mail, now)


def _why_not(
    connection: Connection,
    settings: Settings,
    contact: Contact,
    mail: DataMail,
    now: datetime,
) -> str | None:
    """The code of what keeps a mail from leaving for good, if anything does."""
    if now - mail.asked_at >= GIVEN_UP:
        return "too-late"
    return why_not(connection, settings, contact)


def _message(
    connection: Connection,
    settings: Settings,
    contact: Contact,
    mail: DataMail,
    now: datetime,
) -> Message:
    sender = settings.senders["default"]
    name = public_name(workspace_id(connection))
    domain = ascii_domain(sender.address).rpartition("@")[2]
    return Message(
        channel="email",
        to=Mailbox("", contact.email or ""),
        sender=sender,
        # As it was written when it was asked for, in the language of that page.
        subject=mail.subject,
        text=mail.text.replace(
            data_mails.LINK, _link(connection, settings, contact, now)
        ),
        html=None,
        message_id=f"data.{mail.number}.{name}@{domain}",
        date=now,
        # RFC 3834 section 5: no auto-reply is wanted to this.
        headers={"Auto-Submitted": "auto-generated"},
    )


def _link(
    connection: Connection,
    settings: Settings,
    contact: Contact,
    now: datetime,
) -> str:
    """By the newest key: one that was replaced must not open anybody's data."""
    key_id, secret = list(link_keys(connection).items())[-1]
    token = sign(data_link(contact.id, now), key_id, secret)
    return f"{settings.public_url}/{OWN_DATA}/{token}"


def _end_of(receipt: Receipt) -> str | None:
    """How a mail ended; None if it is tried again. What may have left counts as sent:
    whoever lacks it asks again."""
    if isinstance(receipt, Sent | Unknown):
        return "sent"
    # A no to us, or to all mail of ours, is not about this one.
    if isinstance(receipt, Refused) and receipt.scope in ("message", "address"):
        return "failed"
    return None
