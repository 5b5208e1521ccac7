"""`drip send`: one test copy of a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import click
from email_validator import EmailNotValidError, validate_email

from drip.cli.context import App, no_campaign, now_option, pass_app, read_clock
from drip.cli.screen import say
from drip.core.campaign import Campaign
from drip.core.message import (
    Assigned,
    Mailbox,
    Message,
    Receipt,
    Refused,
    Sent,
    TransportDown,
)
from drip.core.steps import SendStep
from drip.engine.composing import identity
from drip.engine.rerender import render_for
from drip.errors import DripError, nearest
from drip.storage.base.database import Database
from drip.storage.people import contacts
from drip.workspace import Workspace


@click.command()
@click.argument("campaign")
@click.argument("step", required=False)
@click.option(
    "--as",
    "contact",
    required=True,
    metavar="CONTACT",
    help="Whose facts fill it in.",
)
@click.option(
    "--to",
    "address",
    required=True,
    metavar="ADDRESS",
    help="Where the copy goes.",
)
@now_option
@pass_app
def send(
    app: App,
    campaign: str,
    step: str | None,
    contact: str,
    address: str,
    now: str | None,
) -> None:
    """Sends one test copy of a step, marked as such, outside of ledger, caps and
    consent.

    \b
    Example: drip send birthday --as ana --to me@example.com
             drip send oil-change "send oil/due" --as ana --to me@example.com
    """
    try:
        address = validate_email(address, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise DripError(f"`{address}` is not an e-mail address: {error}") from None
    with app.opened(now) as (workspace, database, at):
        asked = _CopyRequest(campaign, step, contact)
        message = _written(workspace, database, asked, at)
        receipt = _handed_over(workspace, _marked(message, address))
    # A no for good stays one; whatever else it was may be over in a minute.
    if not isinstance(receipt, Sent):
        again = "" if isinstance(receipt, Refused | Assigned) else "; try again"
        raise DripError(f"The copy was not sent: {receipt.answer}{again}.")
    say(f"Sent a test copy of {campaign} to {address}: {receipt.answer}")


@dataclass(frozen=True, slots=True)
class _CopyRequest:
    """Which step of which campaign (the first one, if none is named), and whose facts
    fill it in."""

    campaign: str
    step: str | None
    contact: str


def _written(
    workspace: Workspace,
    database: Database,
    asked: _CopyRequest,
    at: datetime,
) -> Message:
    """The message as the contact would get it. Raises DripError."""
    campaign = _campaign(workspace, asked.campaign)
    step = _step(campaign, asked.step)
    # A text message costs money, and cannot be marked as a copy in its header.
    if "email" not in step.channels:
        raise DripError(
            f"`{step.id}` goes by {step.channels[0]}, and test copies go by e-mail.",
            help="name another step",
        )
    with database.read() as connection:
        return render_for(
            connection,
            workspace.settings,
            workspace.templates,
            campaign,
            step,
            contacts.contact_of_key(connection, asked.contact),
            "email",
            at,
            identity(connection),
        )


def _marked(message: Message, address: str) -> Message:
    """A test copy, which nobody takes for the message itself: neither a reader nor a
    program that compares ids."""
    return replace(
        message,
        to=Mailbox("", address),
        subject=f"[Test] {message.subject}",
        headers={**message.headers, "X-Drip-Test": "yes"},
        message_id=_test_id(message),
    )


def _test_id(message: Message) -> str:
    # RFC 5322 section 3.6.4: unique. Many programs show one of two mails with the same
    # id, and a second copy would seem not to have come.
    number = int(read_clock().timestamp() * 1000)
    return f"test.{number}.{message.message_id}"


def _handed_over(workspace: Workspace, message: Message) -> Receipt:
    """What its transport says of a message. Raises DripError if nothing can leave by
    it."""
    # Those of other channels may be open as well, and are closed with it.
    transports = workspace.transports()
    try:
        return transports[message.channel].send(message)
    except TransportDown as down:
        raise DripError(str(down), help=down.help) from None
    finally:
        for transport in transports.values():
            transport.close()


def _campaign(workspace: Workspace, name: str) -> Campaign:
    """Raises DripError for one that there is not, or that has errors."""
    loaded = workspace.loaded
    if name in loaded.broken:
        sentence = f"campaigns/{name}.yaml has errors."
        raise DripError(sentence, help="`drip check` shows them")
    known = loaded.campaigns
    if name not in known:
        raise no_campaign(name, known)
    return known[name]


def _step(campaign: Campaign, step_id: str | None) -> SendStep:
    """The step of this id, or the first one that sends. Raises DripError for one that
    there is not."""
    sends = {step.id: step for step in campaign.steps if isinstance(step, SendStep)}
    if step_id is None:
        return next(iter(sends.values()))
    if step_id not in sends:
        raise DripError(
            f"The campaign `{campaign.key}` has no step `{step_id}`.",
            help=nearest(step_id, sends, what="steps"),
        )
    return sends[step_id]
