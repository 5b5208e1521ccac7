"""Tells whoever the settings name of alarms: each once, tried again until it is
told."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from drip.core.characters import shown
from drip.core.clock import Clock
from drip.core.message import Mailbox, Message, Receipt, Refused, Sent, TransportDown
from drip.core.rates import backoff
from drip.core.token import public_name
from drip.errors import DripError
from drip.storage.base.database import Database, workspace_id
from drip.storage.operating import alarms
from drip.storage.operating.alarms import Alarm
from drip.workspace import Workspace

# What is older is no news.
NEWS = timedelta(days=2)
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(minutes=30)
log = logging.getLogger("drip.daemon")


class AlarmNotifier:
    """`notify` is called again and again; it does nothing while there is no news."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._failures = 0
        self._again_at: datetime | None = None

    def notify(self, workspace: Workspace) -> None:
        """Sends all that was sent to nobody yet. What goes wrong is said in the log,
        and tried again later."""
        now = self._clock()
        resting = self._again_at is not None and now < self._again_at
        if resting or not workspace.settings.alarms:
            return
        with self._database.read() as connection:
            name = public_name(workspace_id(connection))
            waiting = alarms.not_notified(connection, now - NEWS)
        if not waiting:
            return
        try:
            self._send_all(workspace, name, waiting)
        except (DripError, TransportDown) as error:
            self._rest(error, now)
        else:
            self._failures = 0
            self._again_at = None

    def _rest(self, error: DripError | TransportDown, now: datetime) -> None:
        # Once: what is tried for days would fill the log with one sentence.
        if not self._failures:
            _log_untold(error)
        self._failures += 1
        self._again_at = now + backoff(FIRST_RETRY, self._failures, LONGEST_RETRY)

    def _send_all(
        self,
        workspace: Workspace,
        name: str,
        waiting: Sequence[Alarm],
    ) -> None:
        """Raises DripError and TransportDown."""
        target = workspace.alarm_target()
        assert target
        transport, to = target
        with contextlib.closing(transport):
            for alarm in waiting:
                _check(transport.send(_message(workspace, name, to, alarm)))
                with self._database.write() as connection:
                    alarms.notified(connection, alarm.number, self._clock())


def _check(receipt: Receipt) -> None:
    """Raises TransportDown if the alarm has to be sent again."""
    if isinstance(receipt, Sent):
        return
    # About this one alarm only a no to it or to its address is.
    if not isinstance(receipt, Refused) or receipt.scope not in ("message", "address"):
        raise TransportDown(f"{receipt.answer}.", "it is tried again")
    log.error(
        "An alarm was refused: %s",
        receipt.answer,
        extra={"action": "alarm-untold"},
    )


def _message(
    workspace: Workspace,
    name: str,
    to: str,
    alarm: Alarm,
) -> Message:
    """An alarm as a message: its subject is the sentence, `X-Drip-Alarm` the stable
    action."""
    settings = workspace.settings
    sender = settings.senders["default"]
    domain = sender.address.rpartition("@")[2]
    said = shown(alarm.sentence)
    when = f"{alarm.at:%Y-%m-%d %H:%M} UTC"
    return Message(
        channel="email" if "@" in to else "push",
        to=Mailbox("", to),
        sender=sender,
        # A subject is a line of the header, and some programs cut a longer one.
        subject=f"[drip] {said}"[:160],
        text=f"{said}\n\n{when}, {settings.business_name}: {alarm.action}\n",
        html=None,
        message_id=f"alarm.{alarm.number}.{name}@{domain}",
        date=alarm.at,
        # RFC 3834 section 5: no auto-reply is wanted to this.
        headers={"X-Drip-Alarm": alarm.action, "Auto-Submitted": "auto-generated"},
    )


def _log_untold(error: DripError | TransportDown) -> None:
    log.error("No alarm can be told: %s", error, extra={"action": "alarm-untold"})
