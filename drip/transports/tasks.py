"""`tasks`: messages become tasks for colleagues, a call list (`drip tasks`),
under the same caps and consent as all others.
"""

from __future__ import annotations

from collections.abc import Mapping

from drip.core.channels import CHANNELS
from drip.core.message import Assigned, Message, Receipt, Refused
from drip.transports.options import number, only

USUAL, HIGHEST = 50, 100
# As long as a line of a list may be.
TITLE = 120


class TasksTransport:
    """Options: `assign_to` (the desk that calls), `priority` from 1 to 100 (50)."""

    channels = frozenset(CHANNELS)

    def __init__(self, options: Mapping[str, str]) -> None:
        only(options, "tasks", {"assign_to", "priority"})
        if not options.get("assign_to", "").strip():
            raise ValueError(
                "the transport `tasks` needs `assign_to`: the desk that calls"
            )
        self._assign_to = options["assign_to"].strip()
        self._priority = number(options, "priority", USUAL, HIGHEST)

    def send(self, message: Message) -> Receipt:
        """The subject is the task's title, else the first line of the text."""
        notes = message.text.strip()
        title = " ".join((message.subject or notes.partition("\n")[0]).split())
        if not title:
            return Refused("there is nothing to say in it")
        short = title if len(title) <= TITLE else f"{title[: TITLE - 1]}…"
        return Assigned(short, notes, self._assign_to, self._priority)

    def close(self) -> None:
        """Nothing is kept open."""
