"""Tells whoever the settings name of alarms: each once, tried again until it is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from drip.core.characters import shown
from drip.core.message import Mailbox, Message, Refused, Sent, TransportDown
from drip.core.rates import backoff
from drip.core.token import public_name
from drip.errors import DripError
from drip.storage.base.database import Database, workspace_id
from drip.storage.operating import alarms
from drip.storage.operating.alarms import Alarm
from drip.workspace import Workspace

# What is older is no news.
NEWS = timedelta(days=2)
FIRST_RETRY, LONGEST_RETRY = timedelta(seconds=30), timedelta(minutes=30)
log = logging.getLogger("drip.daemon")


class AlarmNotifier:
    """`tell` is called again and again; it does nothing while there is nothing to tell."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock
        self._failures = 0
        self._again_at: datetime | None = None

    def tell(self, workspace: Workspace) -> None:
        """Tells of all that nobody was told of yet. What goes wrong is said in the log, and tried again later."""
        now = self._clock()
        if not workspace.settings.alarms or (self._again_at and now < self._again_at):
            return
        with self._database.read() as connection:
            name, waiting = (
                public_name(workspace_id(connection)),
                alarms.not_notified(connection, now - NEWS),
            )
        if not waiting:
            return
        try:
            self._tell(workspace, name, waiting)
            self._failures, self._again_at = 0, None
        except (DripError, TransportDown) as error:
            if not self._failures:
                log.error(
                    "No alarm can be told: %s", error, extra={"action": "alarm-untold"}
                )
            self._failures += 1
            self._again_at = now + backoff(FIRST_RETRY, self._failures, LONGEST_RETRY)

    def _tell(self, workspace: Workspace, name: str, waiting: Sequence[Alarm]) -> None:
        target = workspace.alarm_target()
        assert target
        transport, to = target
        try:
            for each in waiting:
                receipt = transport.send(_message(workspace, name, to, each))
                # About this one alarm only a no to it or to its address is.
                about_it = isinstance(receipt, Refused) and receipt.scope in (
                    "message",
                    "address",
                )
                if not isinstance(receipt, Sent) and not about_it:
                    raise TransportDown(f"{receipt.answer}.", "it is tried again")
                if isinstance(receipt, Refused):
                    log.error(
                        "An alarm was refused: %s",
                        receipt.answer,
                        extra={"action": "alarm-untold"},
                    )
                with self._database.write() as connection:
                    alarms.notified(connection, each.number, self._clock())
        finally:
            transport.close()


def _message(workspace: Workspace, name: str, to: str, alarm: Alarm) -> Message:
    """An alarm as a message: its subject is the sentence, `X-Drip-Alarm` the stable action."""
    settings = workspace.settings
    sender = settings.senders["default"]
    said = shown(alarm.sentence)
    text = f"{said}\n\n{alarm.at:%Y-%m-%d %H:%M} UTC, {settings.business_name}: {alarm.action}\n"
    return Message(
        channel="email" if "@" in to else "push",
        to=Mailbox("", to),
        sender=sender,
        subject=f"[drip] {said}"[:160],
        text=text,
        html=None,
        message_id=f"alarm.{alarm.number}.{name}@{sender.address.rpartition('@')[2]}",
        date=alarm.at,
        # RFC 3834 section 5: no auto-reply is wanted to this.
        headers={"X-Drip-Alarm": alarm.action, "Auto-Submitted": "auto-generated"},
    )
