"""Who could start a run: narrow, indexed look-ups whose cost grows with what is due."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.lifecycle import Wake
from drip.storage.base.columns import to_ms
from drip.storage.base.schema import (
    campaign_versions,
    contacts,
    cursors,
    dates,
    events,
    records,
    runs,
)
from drip.storage.base.sql import Prepared
from drip.storage.people import audience_sql

BATCH = 1_000
# What every beat asks, built once.
_NEWEST = select(
    select(func.max(events.c.id)).scalar_subquery(),
    select(func.max(contacts.c.change)).scalar_subquery(),
    select(func.max(records.c.change)).scalar_subquery(),
)
_MOVE = insert_or(cursors)
_MOVE = _MOVE.on_conflict_do_update(
    index_elements=["name"],
    set_={name: _MOVE.excluded[name] for name in ("at", "event_id", "change", "rules")},
)
# By what changed, of which there is little: no index on days may serve.
_DATED_AND_CHANGED = [
    Prepared(
        select(dates.c.contact_id, dates.c.record_id, dates.c.day, contacts.c.zone)
        .join(contacts, contacts.c.id == dates.c.contact_id)
        .where(whose, func.coalesce(dates.c.field, "") == bindparam("field"))
    )
    for whose in (
        dates.c.contact_id.in_(
            select(contacts.c.id).where(contacts.c.change > bindparam("after"))
        ),
        dates.c.record_id.in_(
            select(records.c.id).where(records.c.change > bindparam("after"))
        ),
    )
]
_CHANGED = [
    Prepared(select(each.c.id).where(each.c.change > bindparam("after")))
    for each in (contacts, records)
]
_CURSORS = select(
    cursors.c.name, cursors.c.at, cursors.c.event_id, cursors.c.change, cursors.c.rules
)


@dataclass(frozen=True, slots=True)
class Dated:
    """A contact (and record) with a date: `day` as it is stored, with or without a year; `zone` the contact's."""

    contact_id: int
    record_id: int
    day: str
    zone: str | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a campaign has looked: an instant, the newest event, the newest change of people.

    `rules` names the version of campaign and settings under which it looked.
    """

    at: datetime
    event_id: int
    change: int
    rules: str = ""


def cursors_of(connection: Connection) -> dict[str, Cursor]:
    """The cursors by campaign; one that was never looked at has none."""
    return {row[0]: Cursor(*row[1:]) for row in connection.execute(_CURSORS).all()}


def move_cursors(connection: Connection, moved: Mapping[str, Cursor]) -> None:
    """Remembers how far these campaigns have looked."""
    if moved:
        connection.execute(
            _MOVE, [{"name": name, **asdict(to)} for name, to in moved.items()]
        )


def newest(connection: Connection, now: datetime) -> Cursor:
    """The cursor of a look at everything there is now."""
    event, contact, record = connection.execute(_NEWEST).one()
    return Cursor(now, event or 0, max(contact or 0, record or 0))


def dated_on(connection: Connection, field: str, days: Collection[str]) -> list[Dated]:
    """Whose `field` is one of `days` (ISO dates)."""
    return _dated(connection, and_(dates.c.field == field, dates.c.day.in_(days)))


def dated_in_year(
    connection: Connection, field: str, month_days: Collection[str]
) -> list[Dated]:
    """Whose `field` falls on one of `month_days` (as `02-29`) of any year."""
    return _dated(
        connection, and_(dates.c.field == field, dates.c.month_day.in_(month_days))
    )


def dated_and_changed(connection: Connection, field: str, after: int) -> list[Dated]:
    """Whose contact or record was changed after change number `after`: they may join late."""
    found = {
        row[:2]: Dated(*row)
        for each in _DATED_AND_CHANGED
        for row in each.rows(connection, field=field, after=after)
    }
    return list(found.values())


def changed(connection: Connection, after: int) -> tuple[set[int], set[int]]:
    """The contacts, and the records, that were changed after change number `after`."""
    of_contacts, of_records = (
        {row[0] for row in each.rows(connection, after=after)} for each in _CHANGED
    )
    return of_contacts, of_records


def dates_of(
    connection: Connection, field: str, contact_ids: Collection[int]
) -> dict[tuple[int, int], str]:
    """The dates of these contacts, by contact and record."""
    found = _dated(
        connection, and_(dates.c.field == field, dates.c.contact_id.in_(contact_ids))
    )
    return {(each.contact_id, each.record_id): each.day for each in found}


def _dated(connection: Connection, where: ColumnElement[bool]) -> list[Dated]:
    columns = (dates.c.contact_id, dates.c.record_id, dates.c.day, contacts.c.zone)
    statement = (
        select(*columns)
        .join(contacts, contacts.c.id == dates.c.contact_id)
        .where(where)
    )
    return [Dated(*row) for row in connection.execute(statement).all()]


def zones_of(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, str | None]:
    """The zone of each of these contacts; None stands for the workspace's."""
    rows = connection.execute(
        select(contacts.c.id, contacts.c.zone).where(contacts.c.id.in_(contact_ids))
    )
    return {row[0]: row[1] for row in rows}


def zones(connection: Connection, after: int | None = None) -> list[str | None]:
    """The zones that contacts live in; with `after`, those changed after that change number. None is the workspace's."""
    if after is None:
        return audience_sql.zones(connection)
    return list(
        connection.scalars(
            select(contacts.c.zone).where(contacts.c.change > after).distinct()
        )
    )


def contacts_in(
    connection: Connection,
    names: Collection[str | None] | None,
    where: ColumnElement[bool],
) -> Iterator[list[int]]:
    """The ids of the contacts in these zones (None: in any) of whom `where` holds, in batches."""
    if names is not None:
        where = and_(where, audience_sql.in_zones(names))
    return _batches(connection, select(contacts.c.id).where(where), contacts.c.id)


def _batches(
    connection: Connection, statement: Select[int], key: ColumnElement[int]
) -> Iterator[list[int]]:
    last = 0
    while True:
        ids = list(
            connection.scalars(statement.where(key > last).order_by(key).limit(BATCH))
        )
        if not ids:
            return
        yield ids
        last = ids[-1]


def events_after(
    connection: Connection, name: str, after: int, since: datetime
) -> Sequence[Any]:
    """Events of a name that came in after number `after` and happened after `since`."""
    where = (events.c.name == name, events.c.id > after, events.c.at > since)
    # A rehearsal can hold events of people who are not in it.
    of_people = select(events).join(contacts, contacts.c.id == events.c.contact_id)
    return connection.execute(of_people.where(*where).order_by(events.c.id)).all()


def last_starts(
    connection: Connection, campaign: str, contact_ids: Collection[int]
) -> dict[tuple[int, int], datetime]:
    """When each contact (and record) last entered a campaign."""
    statement = select(runs.c.contact_id, runs.c.record_id, runs.c.started_at)
    # A run whose date moved away left its place to the new date's.
    to_ms = or_(runs.c.code.is_(None), runs.c.code != "date-moved")
    where = (runs.c.campaign == campaign, runs.c.contact_id.in_(contact_ids), to_ms)
    return {
        (row[0], row[1]): row[2]
        for row in connection.execute(
            statement.where(*where).order_by(runs.c.started_at)
        )
    }


def occurrences(
    connection: Connection, campaign: str, contact_ids: Collection[int]
) -> set[tuple[int, int, str]]:
    """What these contacts have been in a campaign for: contact, record, occurrence."""
    statement = select(runs.c.contact_id, runs.c.record_id, runs.c.occurrence)
    rows = connection.execute(
        statement.where(runs.c.campaign == campaign, runs.c.contact_id.in_(contact_ids))
    )
    return {(row[0], row[1], row[2]) for row in rows}


def count_starts(connection: Connection, campaign: str, since: datetime) -> int:
    """How many have entered a campaign since an instant."""
    where = (runs.c.campaign == campaign, runs.c.started_at > since)
    return connection.execute(
        select(func.count()).select_from(runs).where(*where)
    ).scalar_one()


# What a run begins with, in the order of the columns.
STARTING = (
    "campaign",
    "version",
    "contact_id",
    "record_id",
    "occurrence",
    "event_id",
    "anchor",
    "position",
    "since",
    "wake",
    "due_at",
    "active",
    "started_at",
    "ended_at",
    "code",
    "sentence",
    "place",
)


def _start() -> ClauseElement:
    statement = insert_or(runs).values({name: bindparam(name) for name in STARTING})
    reopened = dict.fromkeys(
        ("due_at", "ended_at", "code", "sentence", "place"), null()
    )
    return statement.on_conflict_do_update(
        index_elements=["campaign", "contact_id", "record_id", "occurrence"],
        set_={
            "active": true(),
            "wake": literal_column(f"'{Wake.LOOKS_AGAIN}'"),
            **reopened,
        },
        where=and_(
            runs.c.active.is_(False), runs.c.code == literal_column("'date-moved'")
        ),
    )


_START, _STARTING = Prepared(_start()), itemgetter(*STARTING)
INSTANTS = ("since", "due_at", "started_at", "ended_at")


def start_runs(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Stores runs; those whose occurrence has one already are left as they are.

    But a run that ended because its date moved away goes on where it was when the date comes back.
    """
    _START.many(
        connection,
        [
            _STARTING({**row, **{name: to_ms(row[name]) for name in INSTANTS}})
            for row in rows
        ],
    )


def start_everybody(
    connection: Connection,
    row: Mapping[str, Any],
    names: Collection[str | None] | None,
    where: ColumnElement[bool],
) -> None:
    """As `start_runs`, for every contact in these zones (None: in any) of whom `where` holds, in one statement.

    `row` is what their runs have in common.
    """
    if names is not None:
        where = and_(where, audience_sql.in_zones(names))
    own = {"contact_id": contacts.c.id}
    columns = [column for column in runs.c if column.name in row or column.name in own]
    values = [
        own[c.name] if c.name in own else literal(row[c.name], c.type).label(c.name)
        for c in columns
    ]
    found = select(*values).where(where).order_by(contacts.c.id)
    statement = insert_or(runs).from_select(columns, found, include_defaults=False)
    connection.execute(statement.on_conflict_do_nothing())


def keep_version(
    connection: Connection, campaign: str, version: str, text: str, now: datetime
) -> None:
    """Keeps a campaign's text, so that runs can finish on it, as the newest one."""
    row = {"campaign": campaign, "version": version, "text": text, "seen_at": now}
    statement = insert_or(campaign_versions).values(row)
    key = ["version", "campaign"]
    connection.execute(
        statement.on_conflict_do_update(index_elements=key, set_={"seen_at": now})
    )


def version_text(connection: Connection, campaign: str, version: str) -> str | None:
    """The text of a version kept earlier."""
    known = (
        campaign_versions.c.version == version,
        campaign_versions.c.campaign == campaign,
    )
    return connection.execute(select(campaign_versions.c.text).where(*known)).scalar()


def newest_version(connection: Connection, campaign: str) -> str | None:
    """The text of the newest version kept of a campaign."""
    statement = select(campaign_versions.c.text).where(
        campaign_versions.c.campaign == campaign
    )
    return connection.execute(
        statement.order_by(campaign_versions.c.seen_at.desc()).limit(1)
    ).scalar()
