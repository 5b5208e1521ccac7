"""Files and requests to contacts, records and events: each row is taken or set aside
with its reason; twice is once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection

from drip.core.settings import Settings
from drip.errors import DripError, nearest
from drip.importing.batches import ImportOptions, ImportReport, take_in_batches
from drip.importing.contact_rows import ContactRows
from drip.importing.event_rows import EventRows
from drip.importing.record_rows import RecordRows
from drip.importing.rows import Row, RowFile
from drip.storage.base.database import Database

FOR_GOOD = ImportOptions()


def import_contacts(
    database: Database,
    settings: Settings,
    table: RowFile,
    mapping: Mapping[str, str],
    source: str,
    now: datetime,
    options: ImportOptions = FOR_GOOD,
) -> ImportReport:
    """Upserts contacts by `key`. A cell left empty changes nothing. Raises DripError
    for a file without `key`."""
    rows = ContactRows(
        settings,
        table.columns,
        mapping,
        source,
    )

    def take(connection: Connection, batch: list[Row]) -> None:
        rows.take(connection, batch, now)

    return take_in_batches(
        database,
        table.rows,
        rows.report,
        options,
        take,
    )


def take_contacts(
    connection: Connection,
    settings: Settings,
    table: RowFile,
    source: str,
    now: datetime,
    scopes: Collection[str],
) -> ImportReport:
    """As `import_contacts`, all in the transaction that is under way, from a program
    with these scopes."""
    rows = ContactRows(
        settings,
        table.columns,
        {},
        source,
        scopes,
    )
    # One batch: what a program posts is taken altogether or not at all, so that it can
    # post it again.
    rows.take(connection, list(table.rows), now)
    return rows.report


def import_records(
    database: Database,
    settings: Settings,
    kind: str,
    table: RowFile,
    mapping: Mapping[str, str],
    now: datetime,
    options: ImportOptions = FOR_GOOD,
) -> ImportReport:
    """Upserts records of a kind by `key`. Raises DripError for an unknown kind or a
    missing column."""
    if kind not in settings.kinds:
        raise _unknown_kind(kind, settings)
    rows = RecordRows(
        settings,
        kind,
        table.columns,
        mapping,
    )

    def take(connection: Connection, batch: list[Row]) -> None:
        rows.take(connection, batch, now)

    return take_in_batches(
        database,
        table.rows,
        rows.report,
        options,
        take,
    )


def _unknown_kind(kind: str, settings: Settings) -> DripError:
    known = ["contacts", "events", *settings.kinds]
    suggestion = nearest(
        kind,
        known,
        what="what you can import",
    )
    declare = "declare it under `data:` in _settings.yaml"
    sentence = f"There is no kind of record `{kind}`."
    return DripError(sentence, help=suggestion or declare)


def import_events(
    database: Database,
    settings: Settings,
    table: RowFile,
    mapping: Mapping[str, str],
    options: ImportOptions = FOR_GOOD,
) -> ImportReport:
    """Adds events, once each by name and id. Columns: event, contact, at, id, a
    record's kind; others are fields."""
    rows = EventRows(settings, table.columns, mapping)
    return take_in_batches(
        database,
        table.rows,
        rows.report,
        options,
        rows.take,
    )


def take_event_rows(
    connection: Connection,
    settings: Settings,
    table: RowFile,
    scopes: Collection[str],
) -> ImportReport:
    """As `import_events`, all in the transaction that is under way, from a program with
    these scopes."""
    rows = EventRows(
        settings,
        table.columns,
        {},
        scopes,
    )
    rows.take(connection, list(table.rows))
    return rows.report
