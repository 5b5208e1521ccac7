"""What came back, and what follows from it: a dead address and a complaint are never written to again.

Whatever a mail says, it is about a message of ours only if it has that message's name, which nobody can make up
(`core.token`). Reading a mail twice changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip.core.addresses import ascii_domain
from drip.core.answers import without_addresses
from drip.core.characters import without_hidden
from drip.core.token import NAME, message_name, verify
from drip.engine.alarming import alarm
from drip.inbound.reading import Finding
from drip.storage.base.database import Database, link_keys, workspace_id
from drip.storage.operating import holds, webhook_outbox
from drip.storage.people import consents, contacts, suppressions
from drip.storage.people.consents import Consent
from drip.storage.people.contacts import Contact, address_of
from drip.storage.sending import deliveries, outbox
from drip.storage.sending.deliveries import Delivery
from drip.storage.sending.outbox import OutboxMessage

# So many messages that came back for the time being, none having arrived between them, and the address is given up.
MOST_TEMPORARY = 5
TEMPORARY_SPAN = timedelta(days=90)
# Mailbox providers act from 0.3 % on, and ask to stay below 0.1 % (Google's and Yahoo's rules for senders, 2024).
ALARM_RATE, PAUSE_RATE = 0.001, 0.003
COMPLAINT_SPAN = timedelta(days=30)
# Fewer than these say nothing about a campaign: of fifty mails one complaint is 2 %.
FEWEST_COMPLAINTS = 3
# A domain is gone that was said not to exist twice, so long apart: a slip in DNS is mended by then.
DOMAIN_SPAN = timedelta(days=1)
# What other programs are told of.
TOLD = {"bounce": "bounced", "complaint": "complained"}
log = logging.getLogger("drip.feedback")


@dataclass
class FeedbackReport:
    """What one reading of mails did. `unmatched` are findings about no message of ours."""

    counts: dict[str, int] = field(default_factory=dict)
    suppressed: int = 0
    known: int = 0
    unmatched: list[Finding] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1


class Feedback:
    """Takes the findings of one mail after the other, each in a transaction of its own."""

    def __init__(self, database: Database, now: datetime) -> None:
        self._database, self._now = database, now
        self.report = FeedbackReport()
        with database.read() as connection:
            self._workspace, self._keys = (
                workspace_id(connection),
                link_keys(connection),
            )

    def take(self, findings: Iterable[Finding], source: str) -> None:
        """Stores what a mail says and does what follows. `source` is the mail's identity."""
        with self._database.write() as connection:
            for each in findings:
                self._take(connection, _plain(each), source)

    def _take(self, connection: Connection, finding: Finding, source: str) -> None:
        report = self.report
        if finding.kind in ("auto-reply", "feedback", "other"):
            report.count(finding.kind)
            return
        if finding.kind == "unsubscribe" and self._unsubscribed(
            connection, finding.reason
        ):
            return
        message = self._message(connection, finding.about)
        if message is None:
            report.unmatched.append(finding)
            return
        if finding.kind == "unsubscribe":
            self._opted_out(
                connection, message.contact_id, message.topic, message.channel
            )
            return
        contact = contacts.contacts_by_id(connection, [message.contact_id]).get(
            message.contact_id
        )
        address = address_of(contact, message.channel) if contact else None
        if (
            finding.kind in ("bounce", "delayed")
            and address
            and not _same(finding.recipient, address)
        ):
            # It is about somebody behind our address (an alias, a list), of which that says nothing.
            finding = replace(finding, meaning="unknown")
        if contact is not None and contact.erased_at is not None:
            # What comes back late counts, and quotes nobody.
            finding = replace(finding, reason="")
        made = Delivery(
            message.id,
            finding.kind,
            self._now,
            finding.meaning,
            finding.status,
            finding.reason,
            source,
        )
        if not deliveries.record(connection, made):
            report.known += 1
            return
        report.count(finding.kind)
        self._settle(connection, message)
        if contact is not None:
            self._tell(connection, message, contact, finding)
        if contact is not None and address is not None:
            self._follow(connection, message, contact, address, finding)

    def _message(
        self, connection: Connection, about: Iterable[str]
    ) -> OutboxMessage | None:
        """The message of ours that one of these names."""
        for text in about:
            for found in NAME.finditer(text.lower()):
                run_id = int(found[1], 16)
                for message in (
                    outbox.of_runs(connection, [run_id]) if run_id < 2**62 else ()
                ):
                    if (
                        message_name(
                            self._workspace, run_id, message.step, message.channel
                        )
                        == found[0]
                    ):
                        return message
        return None

    def _settle(self, connection: Connection, message: OutboxMessage) -> None:
        """Of what is known to have come somewhere it is known that it left."""
        if message.state == "held" and message.code == "unknown":
            outbox.release(connection, [message.id], "sent", self._now)

    def _tell(
        self,
        connection: Connection,
        message: OutboxMessage,
        contact: Contact,
        finding: Finding,
    ) -> None:
        if finding.kind in TOLD:
            told = {
                "message": message.id,
                "campaign": message.campaign,
                "step": message.step,
                "channel": message.channel,
                "contact": contact.key,
                "class": finding.meaning,
                "status": finding.status,
            }
            webhook_outbox.add(
                connection, TOLD[finding.kind], [(contact.id, told)], self._now
            )

    def _follow(
        self,
        connection: Connection,
        message: OutboxMessage,
        contact: Contact,
        address: str,
        finding: Finding,
    ) -> None:
        if finding.kind == "complaint":
            self._suppress(connection, address, "a complaint came in")
            self._look_at_complaints(connection, message.campaign)
        elif finding.kind == "bounce" and finding.meaning == "address-dead":
            self._suppress(
                connection, address, f"the address is dead ({finding.reason})"
            )
        elif finding.kind == "bounce" and finding.meaning in ("temporary", "no-domain"):
            back = deliveries.came_back(
                connection,
                contact.id,
                message.channel,
                self._now - TEMPORARY_SPAN,
                message.id,
            )
            gone = (
                back.no_domain_at is not None
                and back.no_domain_at <= self._now - DOMAIN_SPAN
            )
            if finding.meaning == "no-domain" and gone:
                self._suppress(
                    connection, address, f"its domain does not exist ({finding.reason})"
                )
            elif finding.meaning == "temporary" and back.count >= MOST_TEMPORARY:
                self._suppress(
                    connection,
                    address,
                    f"{back.count} messages came back ({finding.reason})",
                )

    def _suppress(self, connection: Connection, address: str, reason: str) -> None:
        suppressions.suppress(connection, address, without_addresses(reason), self._now)
        self.report.suppressed += 1

    def _look_at_complaints(self, connection: Connection, campaign: str) -> None:
        """Says when too many complain of a campaign, and holds it when far too many do."""
        found = deliveries.complaints(connection, campaign, self._now - COMPLAINT_SPAN)
        if found.count < FEWEST_COMPLAINTS or found.rate < ALARM_RATE:
            return
        said = f"{found.count} of {found.sent:,} people complained of {campaign} in 30 days ({found.rate:.2%})"
        if found.rate >= PAUSE_RATE:
            holds.hold(connection, campaign, self._now, said)
            said += "; it is held"
        alarm(connection, log, "complaints", campaign, f"{said}.", self._now)
        self.report.alarms.append(said)

    # --- unsubscribing

    def _unsubscribed(self, connection: Connection, subject: str) -> bool:
        """Whether the subject holds a link of ours, and then its topic is switched off."""
        link = next(
            (found for word in subject.split() if (found := verify(word, self._keys))),
            None,
        )
        if link is None or link.purpose not in ("unsubscribe", "preferences"):
            return False
        self._opted_out(connection, link.contact, link.topic, "email")
        return True

    def _opted_out(
        self, connection: Connection, contact_id: int, topic: str | None, channel: str
    ) -> None:
        contact: Contact | None = contacts.contacts_by_id(connection, [contact_id]).get(
            contact_id
        )
        if contact is None or topic is None:
            return
        said = [Consent(contact.id, topic, channel, False, self._now)]
        addresses: Mapping[int, str | None] = {contact.id: address_of(contact, channel)}
        if consents.record(connection, said, "mail", addresses, self._now):
            self.report.count("unsubscribe")
        else:
            self.report.known += 1


def _plain(finding: Finding) -> Finding:
    """Without what steers a terminal or hides: whoever writes the mail writes its reason."""
    reason, recipient, status = map(
        without_hidden, (finding.reason, finding.recipient, finding.status)
    )
    return replace(finding, reason=reason, recipient=recipient, status=status)


def _same(recipient: str, address: str) -> bool:
    """Whether the report is about the address itself, not about one that it is passed on to."""
    return (
        not recipient
        or ascii_domain(recipient).casefold() == ascii_domain(address).casefold()
    )
