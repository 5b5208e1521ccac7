"""The log of what runs on its own: each line a sentence and a stable action."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class _Lines(logging.Formatter):
    """A log line is a sentence and a stable action."""

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        action = getattr(record, "action", record.name)
        if self._as_json:
            line = {"at": at, "level": record.levelname.lower(), "action": action, "sentence": record.getMessage()}
            return json.dumps(line, ensure_ascii=False)
        return f"{at} {record.levelname:<7} {record.getMessage()} [{action}]"


def log_to_stderr(as_json: bool) -> None:
    """The log goes to stderr, as lines for people or as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(as_json))
    root = logging.getLogger("drip")
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False
