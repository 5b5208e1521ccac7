"""What came back, and what follows from it: a dead address and a complaint are never
written to again.

Whatever a mail says, it is about a message of ours only if it has that message's name,
which nobody can make up (`core.token`). Reading a mail twice changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip.core.addresses import ascii_domain
from drip.core.answers import without_addresses
from drip.core.characters import without_hidden
from drip.core.lifecycle import MessageState
from drip.core.token import NAME, Link, message_name, verify
from drip.engine.alarming import alarm
from drip.inbound.reading import Finding
from drip.storage.base.database import Database, link_keys, workspace_id
from drip.storage.operating import holds, webhook_outbox
from drip.storage.people import consents, suppressions
from drip.storage.people import contacts as contact_store
from drip.storage.people.consents import Consent
from drip.storage.people.contacts import Contact, address_of
from drip.storage.sending import deliveries, outbox
from drip.storage.sending.deliveries import Delivery
from drip.storage.sending.outbox import OutboxMessage

# So many messages that came back for the time being, none having arrived between them,
# and the address is given up.
MOST_TEMPORARY = 5
TEMPORARY_SPAN = timedelta(days=90)
# Mailbox providers act from 0.3 % on, and ask to stay below 0.1 % (Google's and Yahoo's
# rules for senders, 2024).
ALARM_RATE, PAUSE_RATE = 0.001, 0.003
COMPLAINT_SPAN = timedelta(days=30)
# Fewer than these say nothing about a campaign: of fifty mails one complaint is 2 %.
FEWEST_COMPLAINTS = 3
# A domain is gone that was said not to exist twice, so long apart: a slip in DNS is
# mended by then.
DOMAIN_SPAN = timedelta(days=1)
# The events of other programs that come of it.
EVENTS = {"bounce": "bounced", "complaint": "complained"}
# What is only counted: nothing follows from it.
COUNTED = ("auto-reply", "feedback", "other")
log = logging.getLogger("drip.feedback")


@dataclass
class FeedbackReport:
    """What one reading of mails did.

    `unmatched` are findings about no message of ours.
    """

    counts: dict[str, int] = field(default_factory=dict)
    suppressed: int = 0
    known: int = 0
    unmatched: list[Finding] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1


@dataclass(frozen=True, slots=True)
class _Matched:
    """A finding with the message of ours that it is about."""

    finding: Finding
    message: OutboxMessage
    contact: Contact | None

    @property
    def address(self) -> str | None:
        """Where the message went; None if that is not known any more."""
        if self.contact is None:
            return None
        return address_of(self.contact, self.message.channel)


class Feedback:
    """Takes the findings of one mail after the other, each in a transaction of its
    own."""

    def __init__(self, database: Database, now: datetime) -> None:
        self._database, self._now = database, now
        self.report = FeedbackReport()
        with database.read() as connection:
            self._workspace = workspace_id(connection)
            self._keys = link_keys(connection)

    def take(self, findings: Iterable[Finding], source: str) -> None:
        """Stores what a mail says and does what follows.

        `source` is the mail's identity.
        """
        with self._database.write() as connection:
            for finding in findings:
                self._take(connection, _plain(finding), source)

    def _take(self, connection: Connection, finding: Finding, source: str) -> None:
        if finding.kind in COUNTED:
            self.report.count(finding.kind)
            return
        unsubscribes = finding.kind == "unsubscribe"
        if unsubscribes and self._unsubscribed(connection, finding.reason):
            return
        message = self._message(connection, finding.about)
        if message is None:
            self.report.unmatched.append(finding)
        elif unsubscribes:
            topic, channel = message.topic, message.channel
            self._opted_out(connection, message.contact_id, topic, channel)
        else:
            self._record(
                connection,
                _matched(connection, finding, message),
                source,
            )

    def _record(self, connection: Connection, matched: _Matched, source: str) -> None:
        finding, message = matched.finding, matched.message
        delivery = Delivery(
            message.id,
            finding.kind,
            self._now,
            finding.meaning,
            finding.status,
            finding.reason,
            source,
        )
        # Mail servers send a report twice, and a folder can be read again.
        if not deliveries.record(connection, delivery):
            self.report.known += 1
            return
        self.report.count(finding.kind)
        self._settle(connection, message)
        self._notify(connection, matched)
        self._follow(connection, matched)

    def _message(
        self,
        connection: Connection,
        about: Iterable[str],
    ) -> OutboxMessage | None:
        """The message of ours that one of these names."""
        for run_id, name in _names_in(about):
            message = self._named(connection, run_id, name)
            if message is not None:
                return message
        return None

    def _named(
        self,
        connection: Connection,
        run_id: int,
        name: str,
    ) -> OutboxMessage | None:
        """The run's message of that name."""
        # Anybody can write a run's number: what counts is the name that we would give.
        for message in outbox.of_runs(connection, [run_id]):
            if self._name_of(message) == name:
                return message
        return None

    def _name_of(self, message: OutboxMessage) -> str:
        step, channel = message.step, message.channel
        return message_name(self._workspace, message.run_id, step, channel)

    def _settle(self, connection: Connection, message: OutboxMessage) -> None:
        """Of what is known to have come somewhere it is known that it left."""
        if message.state == MessageState.HELD and message.code == "unknown":
            outbox.release(
                connection,
                [message.id],
                MessageState.SENT,
                self._now,
            )

    def _notify(self, connection: Connection, matched: _Matched) -> None:
        """Other programs hear of it."""
        finding, message, contact = matched.finding, matched.message, matched.contact
        event = EVENTS.get(finding.kind)
        if event is None or contact is None:
            return
        payload = {
            "message": message.id,
            "campaign": message.campaign,
            "step": message.step,
            "channel": message.channel,
            "contact": contact.key,
            "class": finding.meaning,
            "status": finding.status,
        }
        webhook_outbox.add(
            connection,
            event,
            [(contact.id, payload)],
            self._now,
        )

    # --- what follows

    def _follow(self, connection: Connection, matched: _Matched) -> None:
        finding, address = matched.finding, matched.address
        if address is None:
            return
        if finding.kind == "complaint":
            self._suppress(connection, address, "a complaint came in")
            self._look_at_complaints(connection, matched.message.campaign)
        if finding.kind != "bounce":
            return
        reason = f"the address is dead ({finding.reason})"
        if finding.meaning in ("temporary", "no-domain"):
            reason = self._given_up(connection, matched)
        elif finding.meaning != "address-dead":
            return
        if reason:
            self._suppress(connection, address, reason)

    def _given_up(self, connection: Connection, matched: _Matched) -> str:
        """Why an address is given up that came back for the time being; empty if
        not."""
        finding, message = matched.finding, matched.message
        back = deliveries.came_back(
            connection,
            message.contact_id,
            message.channel,
            self._now - TEMPORARY_SPAN,
            message.id,
        )
        if finding.meaning == "temporary":
            enough = back.count >= MOST_TEMPORARY
            said = f"{back.count} messages came back ({finding.reason})"
            return said if enough else ""
        gone = self._is_long_ago(back.no_domain_at)
        return f"its domain does not exist ({finding.reason})" if gone else ""

    def _is_long_ago(self, no_domain_at: datetime | None) -> bool:
        return no_domain_at is not None and no_domain_at <= self._now - DOMAIN_SPAN

    def _suppress(self, connection: Connection, address: str, reason: str) -> None:
        suppressions.suppress(
            connection,
            address,
            without_addresses(reason),
            self._now,
        )
        self.report.suppressed += 1

    def _look_at_complaints(self, connection: Connection, campaign: str) -> None:
        """Says when too many complain of a campaign, and holds it when far too many
        do."""
        found = deliveries.complaints(
            connection,
            campaign,
            self._now - COMPLAINT_SPAN,
        )
        if found.count < FEWEST_COMPLAINTS or found.rate < ALARM_RATE:
            return
        said = (
            f"{found.count} of {found.sent:,} people complained of {campaign} in 30 days "
            f"({found.rate:.2%})"
        )
        if found.rate >= PAUSE_RATE:
            holds.hold(connection, campaign, self._now, said)
            said += "; it is held"
        alarm(
            connection,
            log,
            "complaints",
            campaign,
            f"{said}.",
            self._now,
        )
        self.report.alarms.append(said)

    # --- unsubscribing

    def _unsubscribed(self, connection: Connection, subject: str) -> bool:
        """Whether the subject holds a link of ours, and then its topic is switched
        off."""
        link = self._link_in(subject)
        if link is None or link.purpose not in ("unsubscribe", "preferences"):
            return False
        self._opted_out(
            connection,
            link.contact,
            link.topic,
            "email",
        )
        return True

    def _link_in(self, subject: str) -> Link | None:
        # A mail program sends what `List-Unsubscribe` gave it (RFC 2369, section 3.2),
        # and an answer adds words of its own to the subject.
        links = (verify(word, self._keys) for word in subject.split())
        return next((link for link in links if link), None)

    def _opted_out(
        self,
        connection: Connection,
        contact_id: int,
        topic: str | None,
        channel: str,
    ) -> None:
        known = contact_store.contacts_by_id(connection, [contact_id])
        contact = known.get(contact_id)
        # The link of a message that belongs to no topic switches nothing off.
        if contact is None or topic is None:
            return
        refusal = Consent(
            contact.id,
            topic,
            channel,
            False,
            self._now,
        )
        addresses = {contact.id: address_of(contact, channel)}
        if consents.record(
            connection,
            [refusal],
            "mail",
            addresses,
            self._now,
        ):
            self.report.count("unsubscribe")
        else:
            self.report.known += 1


def _matched(
    connection: Connection,
    finding: Finding,
    message: OutboxMessage,
) -> _Matched:
    """A finding as far as it is about the message's contact."""
    known = contact_store.contacts_by_id(connection, [message.contact_id])
    contact = known.get(message.contact_id)
    address = address_of(contact, message.channel) if contact else None
    about_address = finding.kind in ("bounce", "delayed") and address
    if about_address and not _same(finding.recipient, address or ""):
        # It is about somebody behind our address (an alias, a list), of which that says
        # nothing.
        finding = replace(finding, meaning="unknown")
    if contact is not None and contact.erased_at is not None:
        # What comes back late counts, and quotes nobody.
        finding = replace(finding, reason="")
    return _Matched(finding, message, contact)


def _plain(finding: Finding) -> Finding:
    """Without what steers a terminal or hides: whoever writes the mail writes its
    reason."""
    return replace(
        finding,
        reason=without_hidden(finding.reason),
        recipient=without_hidden(finding.recipient),
        status=without_hidden(finding.status),
    )


def _same(recipient: str, address: str) -> bool:
    """Whether the report is about the address itself.

    And not about one that it is passed on to.
    """
    if not recipient:
        return True
    return ascii_domain(recipient).casefold() == ascii_domain(address).casefold()


def _names_in(about: Iterable[str]) -> Iterator[tuple[int, str]]:
    """What looks like the name of a message of ours, after the number of its run."""
    for text in about:
        for name in NAME.finditer(text.lower()):
            run_id = int(name[1], 16)
            # Every database counts up to there.
            if run_id < 2**62:
                yield run_id, name[0]
