"""What is known of one mail server over all connections, and why nothing can
leave by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from drip.core.shortage import Shortage


@dataclass(slots=True)
class SmtpServer:
    """What is known of one server and login over all connections: how many
    recipients it has taken; and, since it last gave a message its answer, on
    which messages its sessions ended, how many answers never came in time, and
    how many were as if we did not speak SMTP.
    """

    recipients: int = 0
    deaths: set[str] = field(default_factory=set)
    silences: int = 0
    wrong_answers: int = 0

    def is_well(self) -> None:
        """It has given a message its answer."""
        self.deaths.clear()
        self.silences = self.wrong_answers = 0


@dataclass(frozen=True, slots=True)
class Down:
    """Nothing can leave by this server at the moment.

    `for_good`: until somebody changes something.
    """

    sentence: str
    help: str
    for_good: bool
    costly: bool = False
    # What this machine lacked: it says nothing of the server.
    lack: Shortage | None = None
