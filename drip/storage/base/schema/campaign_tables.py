"""The tables of campaigns: who is in which, how far, and what is left for people to
do."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Table,
    UniqueConstraint,
    literal_column,
)

from drip.core.lifecycle import TIMED, UNTIMED, Wake
from drip.storage.base.columns import Instant, Number, Words
from drip.storage.base.schema.metadata import is_one_of, metadata, rows_where

campaign_versions = Table(
    "campaign_versions",
    metadata,
    Column("version", Words, primary_key=True),
    Column("campaign", Words, primary_key=True),
    Column("text", Words, nullable=False),
    Column("seen_at", Instant, nullable=False),
)

# How far each campaign has looked: up to an instant, an event's number and a change's
# number.
cursors = Table(
    "cursors",
    metadata,
    Column("name", Words, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("event_id", Number, nullable=False),
    Column("change", Number, nullable=False),
    # The version of campaign and settings that looked; under other ones the past is
    # looked at again.
    Column("rules", Words, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Number, primary_key=True),
    Column("campaign", Words, nullable=False),
    Column("version", Words, nullable=False),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("record_id", Number, nullable=False),
    Column("occurrence", Words, nullable=False),
    Column("event_id", Number),
    # The date that `at:` steps hang on; the index of the step it is at; when the step
    # before was done.
    Column("anchor", Words),
    Column("position", Number, nullable=False),
    Column("since", Instant, nullable=False),
    # Why it is looked at next (`core.lifecycle.Wake`), and when, where that hangs on
    # the clock.
    Column("wake", Words),
    Column("due_at", Instant),
    Column("active", Boolean, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("code", Words),
    Column("sentence", Words),
    Column("place", Words),
    # The events that it waited for, by the first part of their names; the arms of its
    # splits, by step.
    Column("heard", JSON(none_as_null=True)),
    Column("arms", JSON(none_as_null=True)),
    # The guarantee behind "planning the same thing twice is harmless".
    UniqueConstraint("campaign", "contact_id", "record_id", "occurrence"),
    CheckConstraint(
        "CASE WHEN wake IS NULL THEN NOT active AND due_at IS NULL "
        f"WHEN {is_one_of('wake', TIMED)} THEN active AND due_at IS NOT NULL "
        f"ELSE active AND due_at IS NULL AND ({is_one_of('wake', UNTIMED)}) END",
        name="wake_is_a_word_that_fits",
    ),
    # What waits for its message or an event, which is nearly all, is in none of these.
    Index("runs_due", "due_at", **rows_where("due_at IS NOT NULL")),
    Index("runs_looking_again", "id", **rows_where("wake = 'looks-again'")),
    Index("runs_going_on", "id", **rows_where("wake = 'goes-on'")),
    Index("runs_by_contact", "contact_id", "active"),
    Index("runs_by_start", "started_at"),
    Index(
        "runs_by_end",
        "ended_at",
        **rows_where("ended_at IS NOT NULL"),
    ),
)


def waking(why: Wake) -> ColumnElement[bool]:
    """As `in_state`, for runs: each word that is asked for at once has an index of its
    own."""
    return runs.c.wake == literal_column(f"'{why}'")


# Work for people.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Number, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("step", Words, nullable=False),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("title", Words, nullable=False),
    Column("assign_to", Words, nullable=False),
    Column("priority", Number, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due", Words),
    # open, done, dropped
    Column("state", Words, nullable=False),
    Column("done_at", Instant),
    Column("outcome", Words),
    Column("place", Words, nullable=False),
    # What a message said that became a call.
    Column("notes", Words),
    UniqueConstraint("run_id", "step"),
    Index("tasks_by_state", "state", "due"),
    Index("tasks_by_contact", "contact_id"),
    Index("tasks_by_time", "created_at"),
)
