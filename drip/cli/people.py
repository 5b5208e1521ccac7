"""`drip import`, `consent`, `export`, `forget`: people come in, what they said, what is known of them, and go."""

from __future__ import annotations

from pathlib import Path

import click
from sqlalchemy import Connection

from drip import papers
from drip.cli.context import (
    App,
    instant_text,
    json_option,
    local_text,
    now_option,
    pass_app,
)
from drip.cli.screen import counted_rows, print_json, say, sure
from drip.errors import DripError
from drip.importing import importer
from drip.importing.rows import open_table, write_rejected
from drip.storage.people import consents, contacts, erasing
from drip.storage.people.contacts import Contact
from drip.storage.reading import exporting
from drip.workspace import OWN

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
@now_option
@json_option
@pass_app
def import_(
    app: App,
    what: str,
    file: Path,
    mapping: tuple[str, ...],
    dry_run: bool,
    now: str | None,
    as_json: bool,
) -> None:
    """Reads people from CSV (any delimiter and encoding) or JSON lines, plain or gzipped.

    \b
    Example: drip import contacts people.csv
             drip import vehicle cars.csv --map reg_no=key
             drip import events orders.jsonl --dry-run

    Contacts are updated by `key`; an empty cell changes nothing. A column named after a topic is consent to
    it: yes, no, or the date it was given. Rows that cannot be are listed with their reason and written to
    FILE.rejected.csv; the others are kept. Importing a file twice changes nothing.
    """
    with (
        app.opened(now) as (workspace, database, at),
        counted_rows(f"Reading {file.name}") as tick,
    ):
        table = open_table(file)
        settings, named = workspace.settings, _mapping(mapping)
        if what == "contacts":
            report = importer.import_contacts(
                database,
                settings,
                table,
                named,
                file.name,
                at,
                dry_run=dry_run,
                progress=tick,
            )
        elif what == "events":
            report = importer.import_events(
                database, settings, table, named, dry_run=dry_run, progress=tick
            )
        else:
            report = importer.import_records(
                database,
                settings,
                what,
                table,
                named,
                at,
                dry_run=dry_run,
                progress=tick,
            )
    _show(report, what, dry_run, as_json)
    if report.rejected and not dry_run:
        target = write_rejected(file, report.rejected)
        papers.note(workspace.root / OWN, target)
        say(f"The rejected rows are in {target}.", err=True)
    raise click.exceptions.Exit(1 if report.rejected else 0)


def _show(
    report: importer.ImportReport, what: str, dry_run: bool, as_json: bool
) -> None:
    if as_json:
        counts = {
            "new": report.new,
            "changed": report.changed,
            "same": report.same,
            "consents": report.consents,
        }
        rejected = [{"line": row.line, "reason": why} for row, why in report.rejected]
        print_json(
            {
                "what": what,
                "dry_run": dry_run,
                **counts,
                "rejected": rejected,
                "notes": report.notes,
            }
        )
        return
    for note in report.notes[:SHOWN]:
        say(f"note: {note}", err=True)
    for row, why in report.rejected[:SHOWN]:
        say(f"line {row.line}: {why}", err=True)
    if len(report.rejected) > SHOWN:
        say(f"… and {len(report.rejected) - SHOWN} more", err=True)
    would = "would be " if dry_run else ""
    consents = f", {report.consents} new consent(s)" if report.consents else ""
    say(
        f"{what}: {report.new} {would}new, {report.changed} changed, {report.same} the same as before, "
        f"{len(report.rejected)} rejected{consents}."
    )


def _mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    for column, equals, field in split:
        if not (column and equals and field):
            raise DripError(
                f"`--map {column}` does not name a field.",
                help="write --map COLUMN=FIELD",
            )
    return {column: field for column, _, field in split}


@click.command()
@click.argument("contact")
@json_option
@pass_app
def consent(app: App, contact: str, as_json: bool) -> None:
    """What somebody said about topics: when, how, to what address, with what proof.

    Example: drip consent ana
    """
    with app.opened(None) as (workspace, database, _), database.read() as connection:
        found = consents.log_of(connection, _known(connection, contact).id)
    for each in found:
        if as_json:
            print_json(
                {
                    "topic": each.topic,
                    "channel": each.channel,
                    "given": each.given,
                    "at": instant_text(each.at),
                    "source": each.source,
                    "address": each.address,
                    "recorded_at": instant_text(each.recorded_at),
                    "proof": dict(each.proof) if each.proof else None,
                }
            )
            continue
        said = "yes" if each.given else "no"
        proof = (
            "; " + ", ".join(f"{name} {value}" for name, value in each.proof.items())
            if each.proof
            else ""
        )
        when = local_text(each.at, workspace.timezone)
        say(f"{when}  {said:<3} {each.topic} by {each.channel} ({each.source}{proof})")
    if not found and not as_json:
        say(f"{contact} has said nothing.")


@click.command()
@click.argument("contact")
@click.option(
    "--same-address",
    is_flag=True,
    help="Also every other contact with the same e-mail address.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@now_option
@pass_app
def forget(
    app: App, contact: str, same_address: bool, yes: bool, now: str | None
) -> None:
    """Erases a person: data, events, words, messages in files; runs end, codes are good no more.

    \b
    Example: drip forget ana
             drip forget ana --same-address

    What stays: a keyed hash of the addresses, so that nobody writes to them again, and lines of the ledger without words, so that
    sums stay true. Whom your own files, backups and logs hold, and other programs that were told, is not drip's to erase.
    """
    with app.opened(now) as (workspace, database, at):
        with database.read() as connection:
            person = _known(connection, contact)
            others = erasing.same_address(connection, person)
        gone = [person, *others] if same_address else [person]
        names = ", ".join(each.key for each in gone)
        if person.erased_at:
            raise DripError(f"{contact} is erased already.")
        if not yes:
            sure(f"Erase {names} for good?")
        unwritten = dict.fromkeys(
            paper for each in gone for paper in workspace.forget(database, each.id, at)
        )
        left = workspace.clear(database, at)
    say(
        f"{names} {'is' if len(gone) == 1 else 'are'} erased. A keyed hash of the addresses stays, so that nobody writes again."
    )
    for paper in unwritten:
        say(f"{paper} may still hold them, and cannot be written: delete it by hand.")
    if left:
        say(
            f"Something is left in files: {left}. The daemon tries it again; `drip db scrub` does so at once."
        )
    if others and not same_address:
        count = f"{len(others)} other contact(s)"
        say(
            f"{count} with the same address stay, unwritten to: {', '.join(each.key for each in others)}."
        )


@click.command()
@click.argument("contact")
@pass_app
def export(app: App, contact: str) -> None:
    """All that is known of a person, as JSON: what they can download by their preferences page.

    Example: drip export ana > ana.json

    For people who have no e-mail address. Be sure who it is that asks.
    """
    with app.opened(None) as (_, database, _now), database.read() as connection:
        print_json(exporting.of_contact(connection, _known(connection, contact).id))


def _known(connection: Connection, key: str) -> Contact:
    """Raises DripError for one that there is not."""
    found = contacts.contacts_by_key(connection, [key])
    if key not in found:
        raise DripError(
            f"There is no contact `{key}`.",
            help="look at its letters: a key is taken as it was imported",
        )
    return found[key]
