"""`drip coupons` and `drip counters`: what campaigns give to customers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from drip.cli.context import App, app_of, json_option, now_option, pass_app
from drip.cli.ordering import ordering, why_option
from drip.cli.people import known_contact
from drip.cli.screen import JsonRow, print_json, say
from drip.cli.tables import TerminalTable, add_columns, draw
from drip.cli.texts import instant_text, local_text
from drip.commands import redeeming
from drip.commands.redeeming import LONGEST_CODE, can_be_code
from drip.core.fields import ERASED
from drip.core.settings import Settings
from drip.importing.rows import RowFile, open_table
from drip.storage.people import counters as counter_store
from drip.storage.people import coupons as coupon_store
from drip.storage.people.counters import CounterEntry

# A list of the wrong kind is wrong from the first line to the last.
SHOWN = 20
# In stock, issued, redeemed.
Counts = tuple[int, int, int]


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def coupons(context: click.Context, as_json: bool) -> None:
    """Codes: how many are issued and redeemed; redeem one, import a list.

    \b
    Example: drip coupons
             drip coupons redeem BDAY-7K3QX9RMTB
             drip coupons import partner-offer codes.csv
    """
    if context.invoked_subcommand:
        return
    with app_of(context).reading() as (workspace, connection):
        counted = coupon_store.coupon_counts(connection)
    # Those of the database too: of a coupon that was taken out of the settings codes
    # are still out there.
    names = sorted({*workspace.settings.coupons, *counted})
    counts = {name: counted.get(name, (0, 0, 0)) for name in names}
    if not as_json:
        draw(_table(workspace.settings, counts))
        return
    for name, (stock, issued, redeemed) in counts.items():
        row = {"coupon": name, "stock": stock, "issued": issued, "redeemed": redeemed}
        print_json(row)


def _table(settings: Settings, counts: Mapping[str, Counts]) -> TerminalTable:
    table = TerminalTable()
    numbers = ("In stock", "Issued", "Redeemed")
    add_columns(table, "Coupon", "Offer", *numbers, right=numbers)
    for name, (stock, issued, redeemed) in counts.items():
        known = settings.coupons.get(name)
        listed = known is not None and known.codes == "list"
        table.add_row(
            name,
            known.offer if known else "not in _settings.yaml",
            f"{stock:,}" if listed else "made as needed",
            f"{issued:,}",
            f"{redeemed:,}",
        )
    return table


@coupons.command("redeem")
@click.argument("code")
@why_option
@now_option
@pass_app
def redeem(app: App, code: str, why: str | None, now: str | None) -> None:
    """Redeems a code, once. Campaigns see it as the event `coupon.redeemed`.

    Example: drip coupons redeem BDAY-7K3QX9RMTB
    """
    with ordering(app, why, now) as (workspace, connection, order):
        done = redeeming.redeem(connection, workspace.settings, order, code)
    say(f"{done.code} is redeemed: {done.offer}, given to {done.contact}.")


@coupons.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@why_option
@pass_app
def import_codes(app: App, name: str, file: Path, why: str | None) -> None:
    """Adds a list of codes to a coupon with `codes: list`: one on each line, or a CSV
    with a column `code`.

    Example: drip coupons import partner-offer codes.csv
    """
    codes = _codes(open_table(file))
    good = [code for code in codes if can_be_code(code)]
    with ordering(app, why) as (workspace, connection, order):
        fresh = redeeming.add_codes(connection, workspace.settings, order, name, good)
    say(f"{fresh} code(s) are new, {len(good) - fresh} were there already.")
    bad = [code for code in codes if code and not can_be_code(code)]
    for code in bad[:SHOWN]:
        # Cut: whoever takes the wrong file would have a book on the screen.
        say(
            f"`{code[:LONGEST_CODE]}` is no code: it is longer than {LONGEST_CODE} "
            f"letters, hides some, or begins with `{ERASED}`.",
            err=True,
        )
    raise click.exceptions.Exit(1 if bad else 0)


def _codes(table: RowFile) -> list[str]:
    """Those of the column `code`; of a file without one the first column, whose heading
    is a code as well."""
    if "code" in table.columns:
        return _column(table, "code")
    first = table.columns[0]
    return [first, *_column(table, first)]


def _column(table: RowFile, name: str) -> list[str]:
    return [row.cells.get(name, "").strip() for row in table.rows]


@click.command()
@click.argument("contact")
@json_option
@pass_app
def counters(app: App, contact: str, as_json: bool) -> None:
    """Where a contact's counters stand, and every movement that led there.

    Example: drip counters ana
    """
    help = "`drip import contacts FILE` brings contacts in"
    with app.reading() as (workspace, connection):
        number = known_contact(connection, contact, help).id
        moved = {
            counter: counter_store.history(connection, number, counter)
            for counter in workspace.settings.counters
        }
    for counter, movements in moved.items():
        if not as_json:
            say(f"{counter}: {movements[-1].after if movements else 0}")
        for movement in movements:
            if as_json:
                print_json(_movement_row(counter, movement))
            else:
                say(_movement_line(movement, workspace.settings.timezone))


def _movement_row(counter: str, movement: CounterEntry) -> JsonRow:
    return {
        "counter": counter,
        "at": instant_text(movement.at),
        "amount": movement.after - movement.before,
        "balance": movement.after,
    }


def _movement_line(movement: CounterEntry, timezone: str) -> str:
    amount = movement.after - movement.before
    return f"  {local_text(movement.at, timezone)}  {amount:+d}  = {movement.after}"
