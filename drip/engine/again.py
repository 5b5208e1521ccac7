"""A message once more, as it would be written now: for whoever looks at it in a browser."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from drip.core.message import Message
from drip.engine.book import Book
from drip.engine.composing import compose_for_run, identity
from drip.engine.facts import Batch
from drip.engine.judging import load_of_runs, step_of
from drip.rendering.templates import Templates
from drip.storage import runs


def written_again(
    connection: Connection, book: Book, templates: Templates, run_id: int, step_id: str, channel: str, now: datetime
) -> Message | None:
    """The message of a run's step; None if there is no such run or step any more. Raises DripError if it cannot be written."""
    run = runs.runs_by_id(connection, [run_id]).get(run_id)
    if run is None:
        return None
    facts = Batch(connection, book.settings, [run.contact_id], now)
    campaign = load_of_runs(connection, book, facts, [run])[run.campaign, run.version]
    step = step_of(campaign, step_id)
    facts.prepare()
    if campaign is None or step is None or run.contact_id not in facts.contacts:
        return None
    return compose_for_run(templates, facts, identity(connection), campaign, step, run, channel, now)
