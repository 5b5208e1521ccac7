"""A real SMTP server on loopback that writes down what it took: `python -m tests.smtp_sink PORT FILE`."""

from __future__ import annotations

import email
import json
import sys
import time
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP


class Sink:
    """Appends a JSON line per message: envelope, Message-ID, subject. Flushed before it answers."""

    def __init__(self, file: Path) -> None:
        self.file = file

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        message = email.message_from_bytes(envelope.content, policy=default)
        line = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "message_id": message["Message-ID"],
            "subject": message["Subject"],
            "unsubscribe": message["List-Unsubscribe"],
        }
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return "250 taken"


def start(port: int, file: Path) -> Controller:
    """A server in a thread of this process."""
    controller = Controller(Sink(file), hostname="127.0.0.1", port=port)
    controller.start()
    return controller


if __name__ == "__main__":
    start(int(sys.argv[1]), Path(sys.argv[2]))
    while True:
        time.sleep(60)
