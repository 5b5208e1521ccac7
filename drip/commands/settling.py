"""Tasks that people have done, or will not do."""

from __future__ import annotations

from typing import Literal, get_args

from sqlalchemy import Connection

from drip.commands.orders import Order, note
from drip.core.characters import without_hidden
from drip.core.settings import Settings
from drip.errors import DripError
from drip.importing.event_rows import take_events
from drip.storage.campaigns import tasks
from drip.storage.campaigns.tasks import Work
from drip.storage.people import sign_ups

TaskEnd = Literal["done", "dropped"]
TASK_ENDS: tuple[TaskEnd, ...] = get_args(TaskEnd)
COMMANDS: dict[TaskEnd, str] = {"done": "tasks done", "dropped": "tasks drop"}


def settle_task(
    connection: Connection,
    settings: Settings,
    order: Order,
    number: int,
    end: TaskEnd,
    outcome: str | None,
) -> None:
    """The task is done or dropped, and its contact's runs hear of one that is done.

    Raises DripError for a task that there is not, or that was settled before.
    """
    task = tasks.get(connection, number)
    help = "`drip tasks --all` lists them"
    if task is None:
        raise DripError(f"There is no task {number}.", help=help)
    said = without_hidden(outcome or "").strip() or None
    # The database says who was first, where two people settle it at the same time.
    if not tasks.settle(connection, number, end, said, order.at):
        raise DripError(f"Task {number} is {task.state} already.", help=help)
    if end == "done":
        _hear_of_it(connection, settings, order, task, said)
    note(connection, order, COMMANDS[end], f"task {number}", task.contact_id)


def _hear_of_it(
    connection: Connection,
    settings: Settings,
    order: Order,
    task: Work,
    outcome: str | None,
) -> None:
    """Campaigns see a task that is done as the event `task.done`."""
    fields = {
        "task": str(task.number),
        "assign_to": task.assign_to,
        "campaign": task.campaign,
        "outcome": outcome,
    }
    event = {
        "contact_id": task.contact_id,
        "record_id": task.record_id,
        "name": "task.done",
        # A task is done once, so that its number is the event's.
        "key": f"task-{task.number}",
        "at": order.at,
        "fields": {name: value for name, value in fields.items() if value},
    }
    take_events(connection, settings, [event])
    # Whoever was called on the phone is known by more than a sign-up.
    sign_ups.make_ordinary(connection, [task.contact_id])
