"""`drip import`, `consent`, `export`, `forget`: people come in, what they said, what is
known of them, and go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from sqlalchemy import Connection

from drip import papers
from drip.cli.context import App, json_option, now_option, pass_app
from drip.cli.ordering import order_of, why_option
from drip.cli.screen import JsonRow, print_json, say, sure
from drip.cli.tables import counted_rows
from drip.cli.texts import instant_text, local_text
from drip.commands.forgetting import forget as forget_person
from drip.commands.orders import Order, note
from drip.errors import DripError
from drip.importing import importer
from drip.importing.batches import ImportOptions, ImportReport
from drip.importing.rows import RowFile, open_table, write_rejected
from drip.storage.base.database import Database
from drip.storage.people import consents, contacts, erasing
from drip.storage.people.consents import Word
from drip.storage.people.contacts import Contact
from drip.storage.reading import exporting
from drip.workspace import OWN, Workspace

# Of notes and of rejected rows: a wrong file has thousands, all for one reason.
SHOWN = 20


@click.command("import")
@click.argument("what", metavar="contacts|events|KIND")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="COLUMN=FIELD",
    help="The field that a column holds.",
)
@click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")
@why_option
@now_option
@json_option
@pass_app
def import_(
    app: App,
    what: str,
    file: Path,
    mapping: tuple[str, ...],
    dry_run: bool,
    why: str | None,
    now: str | None,
    as_json: bool,
) -> None:
    """Reads people from CSV (any delimiter and encoding) or JSON lines, plain or
    gzipped.

    \b
    Example: drip import contacts people.csv
             drip import vehicle cars.csv --map reg_no=key
             drip import events orders.jsonl --dry-run

    Contacts are updated by `key`; an empty cell changes nothing. A column named after a
    topic is consent to it: yes, no, or the date it was given. Rows that cannot be are
    listed with their reason and written to FILE.rejected.csv; the others are kept.
    Importing a file twice changes nothing."""
    with (
        app.opened(now) as (workspace, database, at),
        counted_rows(f"Reading {file.name}") as progress,
    ):
        given = _ImportFile(
            what,
            file.name,
            open_table(file),
            _mapping(mapping),
            dry_run,
        )
        order = order_of(app, at, why)
        report = _imported(workspace, database, given, order, progress)
    if as_json:
        print_json(_row(report, given))
    else:
        _print(report, given)
    if report.rejected and not dry_run:
        # It holds people's data: whoever is erased later is struck from it too.
        target = write_rejected(file, report.rejected)
        papers.note(workspace.root / OWN, target)
        say(f"The rejected rows are in {target}.", err=True)
    raise click.exceptions.Exit(1 if report.rejected else 0)


@dataclass(frozen=True, slots=True)
class _ImportFile:
    """What is to be imported: `contacts`, `events` or a kind of record, from which
    file, by which columns."""

    what: str
    name: str
    table: RowFile
    mapping: Mapping[str, str]
    dry_run: bool


def _imported(
    workspace: Workspace,
    database: Database,
    given: _ImportFile,
    order: Order,
    progress: Callable[[int], None],
) -> ImportReport:
    """Takes the rows. Raises DripError for a file that cannot be one of these."""
    settings = workspace.settings
    table = given.table
    mapping = given.mapping

    def begin(connection: Connection) -> None:
        # In the transaction of the first rows, so that none is in without it.
        note(connection, order, f"import {given.what}", given.name)

    options = ImportOptions(given.dry_run, progress, begin)
    if given.what == "contacts":
        return importer.import_contacts(
            database,
            settings,
            table,
            mapping,
            given.name,
            order.at,
            options,
        )
    if given.what == "events":
        return importer.import_events(database, settings, table, mapping, options)
    return importer.import_records(
        database,
        settings,
        given.what,
        table,
        mapping,
        order.at,
        options,
    )


def _mapping(pairs: Sequence[str]) -> dict[str, str]:
    """`COLUMN=FIELD` as a table. Raises DripError for what is none."""
    return dict(map(_column_and_field, pairs))


def _column_and_field(pair: str) -> tuple[str, str]:
    column, _, field = pair.partition("=")
    if not (column and field):
        raise DripError(
            f"`--map {column}` does not name a field.",
            help="write --map COLUMN=FIELD",
        )
    return column, field


def _row(report: ImportReport, given: _ImportFile) -> JsonRow:
    return {
        "what": given.what,
        "dry_run": given.dry_run,
        "new": report.new,
        "changed": report.changed,
        "same": report.same,
        "consents": report.consents,
        "rejected": [
            {"line": row.line, "reason": reason} for row, reason in report.rejected
        ],
        "notes": report.notes,
    }


def _print(report: ImportReport, given: _ImportFile) -> None:
    for remark in report.notes[:SHOWN]:
        say(f"note: {remark}", err=True)
    for row, reason in report.rejected[:SHOWN]:
        say(f"line {row.line}: {reason}", err=True)
    if len(report.rejected) > SHOWN:
        say(f"… and {len(report.rejected) - SHOWN} more", err=True)
    would = "would be " if given.dry_run else ""
    said = f", {report.consents} new consent(s)" if report.consents else ""
    say(
        f"{given.what}: {report.new} {would}new, {report.changed} changed, "
        f"{report.same} the same as before, {len(report.rejected)} rejected{said}."
    )


@click.command()
@click.argument("contact")
@json_option
@pass_app
def consent(app: App, contact: str, as_json: bool) -> None:
    """What somebody said about topics: when, how, to what address, with what proof.

    Example: drip consent ana
    """
    with app.reading() as (workspace, connection):
        number = known_contact(connection, contact).id
        found = consents.log_of(connection, number)
    for entry in found:
        if as_json:
            print_json(_consent_row(entry))
        else:
            say(_consent_line(entry, workspace.timezone))
    if not found and not as_json:
        say(f"{contact} has said nothing.")


def _consent_row(entry: Word) -> JsonRow:
    return {
        "topic": entry.topic,
        "channel": entry.channel,
        "given": entry.given,
        "at": instant_text(entry.at),
        "source": entry.source,
        "address": entry.address,
        "recorded_at": instant_text(entry.recorded_at),
        "proof": dict(entry.proof) if entry.proof else None,
    }


def _source(entry: Word) -> str:
    # Whoever processes data has to be able to demonstrate consent (GDPR art. 7(1)).
    if not entry.proof:
        return entry.source
    proof = ", ".join(f"{name} {value}" for name, value in entry.proof.items())
    return f"{entry.source}; {proof}"


def _consent_line(entry: Word, timezone: str) -> str:
    """`2026-11-22 09:00  yes offers by email (people.csv; ip 203.0.113.7)`."""
    source = _source(entry)
    when = local_text(entry.at, timezone)
    said = "yes" if entry.given else "no"
    return f"{when}  {said:<3} {entry.topic} by {entry.channel} ({source})"


@click.command()
@click.argument("contact")
@click.option(
    "--same-address",
    is_flag=True,
    help="Also every other contact with the same e-mail address.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@why_option
@now_option
@pass_app
def forget(
    app: App,
    contact: str,
    same_address: bool,
    yes: bool,
    why: str | None,
    now: str | None,
) -> None:
    """Erases a person: data, events, words, messages in files; runs end, codes are good
    no more.

    \b
    Example: drip forget ana --why "asked for it on the phone"
             drip forget ana --same-address

    What stays: a keyed hash of the addresses, so that nobody writes to them again, and
    lines of the ledger without words, so that sums stay true. Whom your own files,
    backups and logs hold, and other programs that were told, is not drip's to erase.
    """
    with app.opened(now) as (workspace, database, at):
        with database.read() as connection:
            person = known_contact(connection, contact)
            others = erasing.same_address(connection, person)
        # What is left of them has no address any more by which others could be found.
        if person.erased_at:
            raise DripError(f"{contact} is erased already.")
        gone = [person, *others] if same_address else [person]
        # Nothing brings an erased person back.
        if not yes:
            sure(f"Erase {_names(gone)} for good?")
        # Noted without the person's name: an audit that says who was erased keeps them.
        order = order_of(app, at, why)
        unwritten = _erase(workspace, database, order, gone)
        # At once: GDPR art. 17(1) allows no undue delay, and a free page of the
        # database still holds what was deleted from it.
        left = workspace.clear(database, at)
    _print_erased(gone, unwritten, left)
    # Said, and not done unasked: a family may share one address.
    if others and not same_address:
        say(
            f"{len(others)} other contact(s) with the same address stay, unwritten to: "
            f"{_names(others)}."
        )


def _erase(
    workspace: Workspace,
    database: Database,
    order: Order,
    gone: Sequence[Contact],
) -> list[Path]:
    """Erases these people; papers that cannot be written anew."""
    own = workspace.root / OWN
    unwritten: dict[Path, None] = {}
    for person in gone:
        papers_left = forget_person(database, own, order, person.id)
        unwritten |= dict.fromkeys(papers_left)
    return list(unwritten)


def _print_erased(
    gone: Sequence[Contact],
    unwritten: Sequence[Path],
    left: str | None,
) -> None:
    are = "is" if len(gone) == 1 else "are"
    stays = "A keyed hash of the addresses stays, so that nobody writes again."
    say(f"{_names(gone)} {are} erased. {stays}")
    # As on a disk that is read-only by now: nobody else would know of it.
    for paper in unwritten:
        say(f"{paper} may still hold them, and cannot be written: delete it by hand.")
    if left:
        say(
            f"Something is left in files: {left}. The daemon tries it again; "
            "`drip db scrub` does so at once."
        )


def _names(persons: Sequence[Contact]) -> str:
    return ", ".join(person.key for person in persons)


@click.command()
@click.argument("contact")
@pass_app
def export(app: App, contact: str) -> None:
    """All that is known of a person, as JSON: what they can download by their
    preferences page.

    Example: drip export ana > ana.json

    For people who have no e-mail address. Be sure who it is that asks.
    """
    # GDPR art. 15(3) and 20(1): a copy, in a format that machines read.
    with app.reading() as (_, connection):
        number = known_contact(connection, contact).id
        print_json(exporting.of_contact(connection, number))


def known_contact(
    connection: Connection,
    key: str,
    help: str = "look at its letters: a key is taken as it was imported",
) -> Contact:
    """The contact of this key. Raises DripError where there is none."""
    found = contacts.contacts_by_key(connection, [key])
    if key not in found:
        raise DripError(f"There is no contact `{key}`.", help=help)
    return found[key]
