"""Tells other programs what happened: each webhook in order, each thing until it is
taken (at least once)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from drip.core.clock import Clock
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

# Read at once: what is stopped in the middle of them is read again.
AT_ONCE = 200
# A webhook that hangs holds up those after it for so long.
TIMEOUT_S = 15
FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(hours=1)
# Whether to end, asked again and again.
Stop = Callable[[], bool]
log = logging.getLogger("drip.daemon")


@dataclass
class _Wait:
    """One that did not take what it got: how often in a row, and when it is tried
    again."""

    failures: int
    until: datetime


class WebhookSender:
    """`deliver` is called again and again. `stop` is asked before each post."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        stop: Stop,
    ) -> None:
        self._database = database
        self._clock = clock
        self._stop = stop
        # By the webhook's key.
        self._waiting: dict[str, _Wait] = {}

    def deliver(self, workspace: Workspace) -> None:
        """Posts what each webhook of the settings has not got yet. Raises what nobody
        foresaw, once the others got theirs."""
        hooks = workspace.settings.webhooks
        with self._database.read() as connection:
            name = public_name(workspace_id(connection))
            known = webhook_outbox.known(connection)
        if not hooks and not known:
            return
        failed = self._deliver_to_each(workspace, name)
        with self._database.write() as connection:
            webhook_outbox.forget(connection, list(hooks))
        if failed:
            raise failed

    def _deliver_to_each(self, workspace: Workspace, name: str) -> Exception | None:
        """What nobody foresaw, if anything went so wrong."""
        failed: Exception | None = None
        for hook in workspace.settings.webhooks.values():
            # One that fails must not keep the others from theirs.
            try:
                self._deliver_to(workspace, hook, name)
            except Exception as error:
                failed = error
        return failed

    def _is_resting(self, hook: Webhook) -> bool:
        wait = self._waiting.get(hook.key)
        return wait is not None and self._clock() < wait.until

    def _deliver_to(
        self,
        workspace: Workspace,
        hook: Webhook,
        name: str,
    ) -> None:
        """Posts all there is to one of them, in order, until it fails."""
        if self._is_resting(hook):
            return
        try:
            secret = workspace.secret(hook.secret, hook.place)
            while self._deliver_some(hook, secret, name):
                pass
        except (DripError, TransportDown, ValueError) as error:
            self._rest(hook, str(error))

    def _deliver_some(
        self,
        hook: Webhook,
        secret: str,
        name: str,
    ) -> bool:
        """Whether there may be more. Raises TransportDown."""
        with self._database.read() as connection:
            newest = webhook_outbox.newest(connection)
            notices = webhook_outbox.after(connection, hook.key, hook.kinds, AT_ONCE)
        for notice in notices:
            if self._stop():
                return False
            self._post(hook, secret, name, notice)
            self._note(hook, notice.number)
            self._waiting.pop(hook.key, None)
        if not notices:
            # The rest is of other kinds.
            self._note(hook, newest)
        return bool(notices) and not self._stop()

    def _note(self, hook: Webhook, number: int) -> None:
        """It has got everything up to this number."""
        with self._database.write() as connection:
            webhook_outbox.set_position(connection, hook.key, number)

    def _post(
        self,
        hook: Webhook,
        secret: str,
        workspace: str,
        notice: Notice,
    ) -> None:
        """Raises TransportDown if it has to be posted again. What it will never take is
        said in the log, and is over."""
        body = _body(notice)
        headers = signed(secret, f"{workspace}.{notice.number}", self._clock(), body)
        url = address_of(hook.url, private=hook.private)
        try:
            answer = post(
                url,
                headers,
                body,
                TIMEOUT_S,
                private=hook.private,
            )
        except Broken as broken:
            sentence = f"{url.hostname} broke off ({broken})."
            raise TransportDown(sentence, "it is told again") from None
        if _is_to_be_repeated(answer.status):
            sentence = f"{url.hostname} answers {answer.status}."
            raise TransportDown(sentence, "look at `url` and `secret`")
        # RFC 9110 section 15.3: all of them say that it was taken.
        if not 200 <= answer.status < 300:
            log.error(
                "The webhook %s does not take %s %d: %d.",
                hook.key,
                notice.kind,
                notice.number,
                answer.status,
                extra={"action": "webhook-refused"},
            )

    def _rest(self, hook: Webhook, why: str) -> None:
        before = self._waiting.get(hook.key)
        failures = before.failures + 1 if before else 1
        if not before:
            log.error(
                "The webhook %s cannot be told: %s",
                hook.key,
                why,
                extra={"action": "webhook-down"},
            )
        until = self._clock() + backoff(FIRST_RETRY, failures, LONGEST_RETRY)
        self._waiting[hook.key] = _Wait(failures, until)


def _body(notice: Notice) -> bytes:
    """As Standard Webhooks have it: type, timestamp, data."""
    payload = {
        "type": notice.kind,
        "timestamp": notice.at.isoformat(),
        "data": dict(notice.data),
    }
    return json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")


def _is_to_be_repeated(status: int) -> bool:
    """A redirect is not followed: whoever can set one would get what is not for
    them."""
    return status in LATER or status in OURS or 300 <= status < 400
