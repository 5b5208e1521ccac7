"""Tells other programs what happened: each webhook in order, each thing until it is taken (at least once)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from drip.core.message import TransportDown
from drip.core.rates import backoff
from drip.core.settings import Webhook
from drip.core.token import public_name
from drip.errors import DripError
from drip.storage.base.database import Database, workspace_id
from drip.storage.operating import webhook_outbox
from drip.storage.operating.webhook_outbox import Notice
from drip.transports.posting import LATER, OURS, Broken, address_of, post, signed
from drip.workspace import Workspace

AT_ONCE = 200
TIMEOUT_S = 15
FIRST_RETRY, LONGEST_RETRY = timedelta(seconds=10), timedelta(hours=1)
log = logging.getLogger("drip.daemon")


@dataclass
class _Wait:
    """One that did not take what it was told: how often in a row, and when it is tried again."""

    failures: int
    until: datetime


class WebhookSender:
    """`deliver` is called again and again. `stop` is asked before each one."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        stop: Callable[[], bool],
    ) -> None:
        self._database, self._clock, self._stop = database, clock, stop
        self._waiting: dict[str, _Wait] = {}

    def deliver(self, workspace: Workspace) -> None:
        """Posts what each webhook of the settings was not told of yet. Raises what nobody foresaw, once the others were told."""
        hooks = workspace.settings.webhooks
        with self._database.read() as connection:
            name, known = (
                public_name(workspace_id(connection)),
                webhook_outbox.known(connection),
            )
        if not hooks and not known:
            return
        failed: Exception | None = None
        for each in hooks.values():
            wait = self._waiting.get(each.key)
            if wait is not None and self._clock() < wait.until:
                continue
            try:
                self._tell(workspace, each, name)
            except Exception as error:
                failed = error
        with self._database.write() as connection:
            webhook_outbox.forget(connection, list(hooks))
        if failed:
            raise failed

    def _tell(self, workspace: Workspace, hook: Webhook, name: str) -> None:
        """Tells one of them all there is, in order, until it fails."""
        try:
            secret = workspace.secret(hook.secret, hook.place)
            while not self._stop():
                with self._database.read() as connection:
                    newest = webhook_outbox.newest(connection)
                    found = webhook_outbox.after(
                        connection, hook.key, hook.kinds, AT_ONCE
                    )
                for each in found:
                    if self._stop():
                        return
                    self._post(hook, secret, name, each)
                    with self._database.write() as connection:
                        webhook_outbox.set_position(connection, hook.key, each.number)
                    self._waiting.pop(hook.key, None)
                if not found:
                    # The rest is of other kinds.
                    with self._database.write() as connection:
                        webhook_outbox.set_position(connection, hook.key, newest)
                    return
        except (DripError, TransportDown, ValueError) as error:
            self._wait(hook, str(error))

    def _post(self, hook: Webhook, secret: str, workspace: str, notice: Notice) -> None:
        """Raises TransportDown if it has to be told again. What it will never take is said in the log, and is over."""
        told = {
            "type": notice.kind,
            "timestamp": notice.at.isoformat(),
            "data": dict(notice.data),
        }
        body = json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")
        headers = signed(secret, f"{workspace}.{notice.number}", self._clock(), body)
        url = address_of(hook.url, private=hook.private)
        try:
            answer = post(url, headers, body, TIMEOUT_S, private=hook.private)
        except Broken as broken:
            raise TransportDown(
                f"{url.hostname} broke off ({broken}).", "it is told again"
            ) from None
        if 200 <= answer.status < 300:
            return
        if (
            answer.status in LATER
            or answer.status in OURS
            or 300 <= answer.status < 400
        ):
            raise TransportDown(
                f"{url.hostname} answers {answer.status}.", "look at `url` and `secret`"
            )
        log.error(
            "The webhook %s does not take %s %d: %d.",
            hook.key,
            notice.kind,
            notice.number,
            answer.status,
            extra={"action": "webhook-refused"},
        )

    def _wait(self, hook: Webhook, why: str) -> None:
        failures = (
            self._waiting[hook.key].failures + 1 if hook.key in self._waiting else 1
        )
        if failures == 1:
            log.error(
                "The webhook %s cannot be told: %s",
                hook.key,
                why,
                extra={"action": "webhook-down"},
            )
        self._waiting[hook.key] = _Wait(
            failures, self._clock() + backoff(FIRST_RETRY, failures, LONGEST_RETRY)
        )
