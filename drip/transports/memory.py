"""`memory`: keeps messages in a list. The public double for tests and for previews."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drip.core.channels import CHANNELS
from drip.core.message import Message, Receipt, Sent


class MemoryTransport:
    """`messages` holds what was sent.

    `answer`, if given, decides what becomes of each message instead.
    """

    channels = frozenset(CHANNELS)

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        answer: Callable[[Message], Receipt] | None = None,
    ) -> None:
        if options:
            raise ValueError("the transport `memory` has no options")
        self.messages: list[Message] = []
        self._answer = answer

    def send(self, message: Message) -> Receipt:
        """Keeps the message; what is not `Sent` is not kept."""
        receipt = self._answer(message) if self._answer else Sent("kept in memory")
        if isinstance(receipt, Sent):
            self.messages.append(message)
        return receipt

    def close(self) -> None:
        """Nothing is kept open."""
