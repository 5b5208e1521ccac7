"""One's own data, asked for on the preferences page: it is sent to the address, since a
preferences link may be passed on.

Whoever has got such a link has the person get three mails a day, and sees nothing of
the data."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection

from drip.core.settings import Settings
from drip.storage.people import data_mails, suppressions
from drip.storage.people.contacts import Contact

ONE_IN, A_DAY = timedelta(hours=1), timedelta(days=1)
MOST_A_DAY = 3
# Why an address was given up, where that says that nobody reads there. Other reasons
# are about what one wants, and this is asked for.
DEAD = re.compile(
    r"the address is dead|its domain does not exist|\d+ messages came back"
)
Asked = Literal["asked", "lately", "no-address", "dead", "no-mail"]


def ask(
    connection: Connection,
    settings: Settings,
    contact: Contact,
    subject: str,
    text: str,
    now: datetime,
) -> Asked:
    """Has the daemon send a mail with a link to the contact's own address; or why not.

    It is counted by no cap and asks for no consent: it is an answer. `text` has
    `data_mails.LINK` in it."""
    refused = why_not(connection, settings, contact)
    if refused:
        return refused
    before = data_mails.asked_since(connection, contact.id, now - A_DAY)
    just_now = before and now - before[-1] < ONE_IN
    if just_now or len(before) >= MOST_A_DAY:
        return "lately"
    data_mails.ask(connection, contact.id, subject, text, now)
    return "asked"


def why_not(
    connection: Connection,
    settings: Settings,
    contact: Contact,
) -> Literal["no-address", "dead", "no-mail"] | None:
    """Why such a mail cannot reach the contact, if so."""
    by_mail = settings.transports.get("email", {}).get("use", "tasks")
    if by_mail == "tasks" or not settings.public_url:
        return "no-mail"
    if not contact.email:
        return "no-address"
    for address in suppressions.given_up(connection, contact):
        if address.channel == "email" and DEAD.match(address.reason):
            return "dead"
    return None
