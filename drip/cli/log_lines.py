"""The log of what runs on its own: each line a sentence and a stable action."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from drip.cli.screen import say
from drip.core.characters import json_text

# Whose words are lines of the log: our own, and those of the libraries that work beside
# us. Without a handler theirs would be bare sentences on standard error, which break a
# log of JSON lines.
LOGGERS = ("drip", "uvicorn", "apscheduler", "asyncio")


class _LogLines(logging.Handler):
    """A log line is a sentence and a stable action, on standard error."""

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(self._line(record), err=True)
        except Exception:
            # As every handler of `logging` does: a log that cannot be written ends
            # nothing.
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        written = datetime.fromtimestamp(record.created, UTC)
        at = written.isoformat(timespec="seconds").replace("+00:00", "Z")
        action, sentence = getattr(record, "action", record.name), record.getMessage()
        if not self._as_json:
            return f"{at} {record.levelname:<7} {sentence} [{action}]"
        line = {
            "at": at,
            "level": record.levelname.lower(),
            "action": action,
            "sentence": sentence,
        }
        return json_text(line)


def log_to_stderr(as_json: bool) -> None:
    """The log goes to stderr, as lines for people or as JSON; so does what the
    libraries beside us have to say."""
    handler = _LogLines(as_json)
    for name in LOGGERS:
        log = logging.getLogger(name)
        log.handlers = [handler]
        # Or the root's handlers would print each line once more.
        log.propagate = False
    logging.getLogger("drip").setLevel(logging.INFO)
