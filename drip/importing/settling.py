"""Tasks that people have done, or will not do."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from drip.core.characters import without_hidden
from drip.core.settings import Settings
from drip.importing.importer import take_events
from drip.storage.campaigns import tasks
from drip.storage.people import sign_ups


def settle_task(
    connection: Connection,
    settings: Settings,
    number: int,
    state: str,
    outcome: str | None,
    now: datetime,
) -> str | None:
    """What is wrong, or None: the task is `done` or `dropped`, and its contact's runs hear of one that is done."""
    task = tasks.get(connection, number)
    if task is None:
        return f"There is no task {number}."
    outcome = without_hidden(outcome).strip() if outcome else None
    if not tasks.settle(connection, number, state, outcome, now):
        return f"Task {number} is {task.state} already."
    if state == "done":
        fields = {
            "task": str(number),
            "assign_to": task.assign_to,
            "campaign": task.campaign,
            "outcome": outcome or "",
        }
        event = {
            "contact_id": task.contact_id,
            "record_id": task.record_id,
            "name": "task.done",
            "key": f"task-{number}",
            "at": now,
            "fields": {name: value for name, value in fields.items() if value},
        }
        take_events(connection, settings, [event])
        sign_ups.make_ordinary(connection, [task.contact_id])
    return None
