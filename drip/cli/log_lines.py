"""The log of what runs on its own: each line a sentence and a stable action."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from drip.cli.screen import say
from drip.core.characters import json_text


class _Lines(logging.Handler):
    """A log line is a sentence and a stable action, on standard error."""

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(self._line(record), err=True)
        except Exception:
            # As every handler of `logging` does: a log that cannot be written ends nothing.
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        at = (
            datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="seconds")
            .replace("+00:00", "Z")
        )
        action = getattr(record, "action", record.name)
        if self._as_json:
            line = {
                "at": at,
                "level": record.levelname.lower(),
                "action": action,
                "sentence": record.getMessage(),
            }
            return json_text(line)
        return f"{at} {record.levelname:<7} {record.getMessage()} [{action}]"


def log_to_stderr(as_json: bool) -> None:
    """The log goes to stderr, as lines for people or as JSON; so does what the pages' server has to say."""
    for name in ("drip", "uvicorn"):
        log = logging.getLogger(name)
        log.handlers = [_Lines(as_json)]
        log.propagate = False
    logging.getLogger("drip").setLevel(logging.INFO)
