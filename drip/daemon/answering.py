"""Sends the mails with somebody's own data that were asked for on the pages, beside the beats.

Each is tried until the mail server has taken it or refused it for good, for a day. One whose daemon dies in between leaves
again: twice the same link does no harm, and none at all would.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from drip.core.addresses import ascii_domain
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
from drip.core.token import OWN_DATA, data_link, public_name, sign
from drip.errors import DripError
from drip.importing.own_data import why_not
from drip.storage.base.database import Database, link_keys, workspace_id
from drip.storage.operating import holds
from drip.storage.people import contacts, data_mails
from drip.storage.people.data_mails import DataMail
from drip.workspace import Workspace

FIRST_RETRY, LONGEST_RETRY = timedelta(seconds=30), timedelta(hours=1)
GIVEN_UP = timedelta(days=1)
log = logging.getLogger("drip.daemon")


class Answering:
    """`send` is called again and again; it does nothing while nobody has asked. `stop` is asked before each mail."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        stop: Callable[[], bool],
    ) -> None:
        self._database, self._clock, self._stop = database, clock, stop
        self._down = False

    def send(self, workspace: Workspace) -> None:
        """Sends what waits. What goes wrong is said in the log, once, and tried again later."""
        with self._database.read() as connection:
            stopped = holds.EVERYTHING in holds.held_scopes(connection)
            due = data_mails.due(connection, self._clock())
        if stopped or not due:
            return
        try:
            transport = workspace.transport("email")
            try:
                for mail in due:
                    if self._stop():
                        return
                    self._send(workspace, transport, mail)
            finally:
                transport.close()
            self._down = False
        except (DripError, TransportDown) as error:
            if not self._down:
                log.error(
                    "No mail with somebody's data can leave: %s",
                    error,
                    extra={"action": "data-mail-down"},
                )
            self._down = True

    def _send(self, workspace: Workspace, transport: Transport, mail: DataMail) -> None:
        """Raises TransportDown if nothing can leave."""
        message = self._begun(workspace, mail)
        if message is None:
            return
        receipt = transport.send(message)
        ended = _how(receipt)
        if ended:
            with self._database.write() as connection:
                data_mails.end(connection, mail, ended, receipt.answer, self._clock())

    def _begun(self, workspace: Workspace, mail: DataMail) -> Message | None:
        """The mail, which is tried again if nobody says how it ended; None for one that is not to leave any more."""
        now, settings = self._clock(), workspace.settings
        with self._database.write() as connection:
            if not data_mails.begin(
                connection,
                mail,
                now + backoff(FIRST_RETRY, mail.attempts + 1, LONGEST_RETRY),
            ):
                return None
            contact = contacts.contacts_by_id(connection, [mail.contact])[mail.contact]
            refused = (
                "too-late"
                if now - mail.asked_at >= GIVEN_UP
                else why_not(connection, settings, contact)
            )
            if refused:
                data_mails.end(connection, mail, "failed", refused, now)
                return None
            key_id, secret = list(link_keys(connection).items())[-1]
            name = public_name(workspace_id(connection))
        sender = settings.senders["default"]
        link = f"{settings.public_url}/{OWN_DATA}/{sign(data_link(contact.id, now), key_id, secret)}"
        return Message(
            channel="email",
            to=Mailbox("", contact.email or ""),
            sender=sender,
            subject=mail.subject,
            text=mail.text.replace(data_mails.LINK, link),
            html=None,
            message_id=f"data.{mail.number}.{name}@{ascii_domain(sender.address).rpartition('@')[2]}",
            date=now,
            # RFC 3834 section 5: no auto-reply is wanted to this.
            headers={"Auto-Submitted": "auto-generated"},
        )


def _how(receipt: Receipt) -> str | None:
    """How a mail ended; None if it is tried again. What may have left counts as sent: whoever lacks it asks again."""
    if isinstance(receipt, Sent | Unknown):
        return "sent"
    return (
        "failed"
        if isinstance(receipt, Refused) and receipt.scope in ("message", "address")
        else None
    )
