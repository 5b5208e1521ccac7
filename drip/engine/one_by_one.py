"""A transport that sends one message at a time, as one that has several under way."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from drip.core.message import (
    DeliverySession,
    Message,
    Receipt,
    Transport,
    TransportDown,
    Unknown,
    Unsent,
)
from drip.core.shortage import Shortage

log = logging.getLogger("drip.dispatcher")


class OneByOne:
    """A `core.message.Stream`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def deliver(self, messages: Iterator[Message], session: DeliverySession) -> None:
        """The end of each message is stored with the beginning of the next.

        Raises TransportDown and Shortage.
        """
        ended: list[tuple[Message, Receipt]] = []
        try:
            for message in messages:
                before, ended = ended, []
                (may,) = session.turn(before, [message])
                ended = [(message, self._sent(message, session))] if may else []
        finally:
            # Also if the next message could not be made.
            if ended:
                session.turn(ended, [])

    def _sent(self, message: Message, session: DeliverySession) -> Receipt:
        try:
            return self._transport.send(message)
        except TransportDown as down:
            session.turn([(message, Unsent(str(down), "transport"))], [])
            raise
        except Shortage as lack:
            session.turn([(message, Unsent(str(lack), "machine"))], [])
            raise
        except Exception as error:
            # What nobody foresaw: it may have left, and the others go on.
            log.exception("The transport failed.", extra={"action": "transport-failed"})
            return Unknown(f"the transport failed: {type(error).__name__}: {error}")
