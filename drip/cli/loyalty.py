"""`drip tasks`, `drip coupons`, `drip counters`: what campaigns give to colleagues and to customers."""

from __future__ import annotations

import re
from pathlib import Path

import click

from drip import papers, private
from drip.cli.context import (
    App,
    instant_text,
    json_option,
    local_text,
    now_option,
    pass_app,
)
from drip.cli.screen import TerminalTable, draw, print_json, say
from drip.core.characters import hidden_in
from drip.core.fields import ERASED
from drip.core.sheets import ENCODING, write_sheet
from drip.errors import DripError, nearest
from drip.importing.redeeming import redeem as redeem_code
from drip.importing.rows import open_table
from drip.importing.settling import settle_task
from drip.storage.campaigns import tasks as store
from drip.storage.campaigns.tasks import Work
from drip.storage.people import contacts
from drip.storage.people import counters as counter_store
from drip.storage.people import coupons as coupon_store
from drip.workspace import OWN

COLUMNS = (
    "task",
    "title",
    "assign_to",
    "priority",
    "due",
    "contact",
    "phone",
    "email",
    "record",
    "campaign",
    "notes",
    "state",
    "outcome",
)
URGENT = 60
LONGEST_CODE, SHOWN = 100, 20


@click.group(invoke_without_command=True)
@click.option(
    "--all", "everything", is_flag=True, help="Those that are done or dropped too."
)
@click.option("--assign-to", metavar="WHO", help="Only those of one desk.")
@json_option
@click.pass_context
def tasks(
    context: click.Context, everything: bool, assign_to: str | None, as_json: bool
) -> None:
    """Work that campaigns give to people: the list, done with an outcome, export and import.

    \b
    Example: drip tasks --assign-to service-desk
             drip tasks done 12 --outcome "booked for Friday"
             drip tasks export calls.csv
    """
    if context.invoked_subcommand:
        return
    app = context.find_object(App)
    assert app
    states = ("open", "done", "dropped") if everything else ("open",)
    with app.opened(None) as (_workspace, database, _), database.read() as connection:
        found = store.listed(connection, states, assign_to)
    if as_json:
        for each in found:
            print_json(_task_row(each))
        return
    table = TerminalTable()
    for name in ("Task", "Due", "Who does it", "What", "For", "Reach them", "State"):
        table.add_column(name, overflow="fold")
    for each in found:
        state = f"{each.state}: {each.outcome}" if each.outcome else each.state
        style = "bold red" if each.priority > URGENT and each.state == "open" else ""
        reach = each.phone or each.email or ""
        table.add_row(
            str(each.number),
            each.due or "",
            each.assign_to,
            each.title,
            each.contact,
            reach,
            state,
            style=style,
        )
    draw(table)
    say(f"{len(found)} task(s).")


@tasks.command("done")
@click.argument("number", type=click.IntRange(1, 2**31))
@click.option("--outcome", help="What came of it, in your words.")
@now_option
@pass_app
def done(app: App, number: int, outcome: str | None, now: str | None) -> None:
    """Settles a task. Campaigns see it as the event `task.done`.

    Example: drip tasks done 12 --outcome "booked for Friday"
    """
    _settle(app, now, number, "done", outcome)
    say(f"Task {number} is done.")


@tasks.command("drop")
@click.argument("number", type=click.IntRange(1, 2**31))
@click.option("--outcome", metavar="WHY", help="Why nobody will do it.")
@now_option
@pass_app
def drop(app: App, number: int, outcome: str | None, now: str | None) -> None:
    """Takes a task off the list without doing it.

    Example: drip tasks drop 12
    """
    _settle(app, now, number, "dropped", outcome)
    say(f"Task {number} is dropped.")


def _settle(
    app: App, now: str | None, number: int, state: str, outcome: str | None
) -> None:
    with app.opened(now) as (workspace, database, at), database.write() as connection:
        wrong = settle_task(connection, workspace.settings, number, state, outcome, at)
    if wrong:
        raise DripError(wrong, help="`drip tasks --all` lists them")


@tasks.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@pass_app
def export(app: App, file: Path) -> None:
    """Writes the open tasks as CSV: a call list, whose columns `state` and `outcome` come back with `import`.

    Example: drip tasks export calls.csv
    """
    with app.opened(None) as (workspace, database, _), database.read() as connection:
        found = store.listed(connection, ("open",))
    papers.note(workspace.root / OWN, file)
    rows = (
        (
            each.number,
            each.title,
            each.assign_to,
            each.priority,
            each.due or "",
            each.contact,
            each.phone or "",
            each.email or "",
            each.record or "",
            each.campaign,
            each.notes or "",
            "",
            "",
        )
        for each in found
    )
    with open(
        file, "w", newline="", encoding=ENCODING, opener=private.opener
    ) as opened:
        write_sheet(opened, COLUMNS, rows)
    say(f"{len(found)} task(s) are in {file}.")


@tasks.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@now_option
@pass_app
def import_(app: App, file: Path, now: str | None) -> None:
    """Takes outcomes back: rows of `export` with a `state` (done or dropped) or an `outcome`.

    Example: drip tasks import calls.csv
    """
    table = open_table(file)
    if "task" not in table.columns:
        raise DripError(
            "The file has no column `task`.",
            help="use a file that `drip tasks export` wrote",
        )
    settled, wrong = 0, []
    with app.opened(now) as (workspace, database, at), database.write() as connection:
        for row in table.rows:
            state, outcome = (
                row.cells.get("state", "").strip(),
                row.cells.get("outcome", "").strip(),
            )
            number = row.cells.get("task", "").strip()
            if not state and not outcome:
                continue
            if not re.fullmatch("[0-9]{1,9}", number) or state not in (
                "",
                "done",
                "dropped",
            ):
                wrong.append(
                    f"line {row.line}: `{number}` with `{state}` is no task that is done or dropped"
                )
                continue
            said = settle_task(
                connection,
                workspace.settings,
                int(number),
                state or "done",
                outcome or None,
                at,
            )
            settled += said is None
            wrong += [f"line {row.line}: {said}"] if said else []
    say(f"{settled} task(s) settled.")
    for line in wrong:
        say(line, err=True)
    raise click.exceptions.Exit(1 if wrong else 0)


def _task_row(task: Work) -> dict[str, object]:
    return {
        "task": task.number,
        "title": task.title,
        "assign_to": task.assign_to,
        "priority": task.priority,
        "due": task.due,
        "contact": task.contact,
        "record": task.record,
        "campaign": task.campaign,
        "state": task.state,
        "outcome": task.outcome,
        "notes": task.notes,
        "created_at": instant_text(task.created_at),
        "done_at": instant_text(task.done_at) if task.done_at else None,
    }


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
    app = context.find_object(App)
    assert app
    with app.opened(None) as (workspace, database, _), database.read() as connection:
        counts = coupon_store.coupon_counts(connection)
    rows = {
        key: counts.get(key, (0, 0, 0))
        for key in sorted({*workspace.settings.coupons, *counts})
    }
    if as_json:
        for key, (stock, issued, redeemed) in rows.items():
            print_json(
                {"coupon": key, "stock": stock, "issued": issued, "redeemed": redeemed}
            )
        return
    table = TerminalTable()
    for name in ("Coupon", "Offer", "In stock", "Issued", "Redeemed"):
        table.add_column(
            name, justify="left" if name in ("Coupon", "Offer") else "right"
        )
    for key, (stock, issued, redeemed) in rows.items():
        known = workspace.settings.coupons.get(key)
        left = f"{stock:,}" if known and known.codes == "list" else "made as needed"
        table.add_row(
            key,
            known.offer if known else "not in _settings.yaml",
            left,
            f"{issued:,}",
            f"{redeemed:,}",
        )
    draw(table)


@coupons.command("redeem")
@click.argument("code")
@now_option
@pass_app
def redeem(app: App, code: str, now: str | None) -> None:
    """Redeems a code, once. Campaigns see it as the event `coupon.redeemed`.

    Example: drip coupons redeem BDAY-7K3QX9RMTB
    """
    with app.opened(now) as (workspace, database, at), database.write() as connection:
        done = redeem_code(connection, workspace.settings, code, at)
    say(f"{done.code} is redeemed: {done.offer}, given to {done.contact}.")


@coupons.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@pass_app
def import_codes(app: App, name: str, file: Path) -> None:
    """Adds a list of codes to a coupon with `codes: list`: one on each line, or a CSV with a column `code`.

    Example: drip coupons import partner-offer codes.csv
    """
    table = open_table(file)
    column = "code" if "code" in table.columns else table.columns[0]
    with app.opened(None) as (workspace, database, _), database.write() as connection:
        known = workspace.settings.coupons
        if name not in known:
            raise DripError(
                f"There is no coupon `{name}`.",
                help=nearest(name, known, what="coupons"),
            )
        if known[name].codes != "list":
            raise DripError(
                f"The codes of `{name}` are made, not imported.",
                help="write `codes: list` in _settings.yaml",
            )
        first = [] if column == "code" else [column]
        codes = [*first, *(row.cells.get(column, "").strip() for row in table.rows)]
        good = [
            code
            for code in codes
            if code
            and len(code) <= LONGEST_CODE
            and not hidden_in(code)
            and not code.casefold().startswith(ERASED)
        ]
        fresh = coupon_store.add_codes(connection, name, good)
    say(f"{fresh} code(s) are new, {len(good) - fresh} were there already.")
    taken = set(good)
    bad = [code for code in codes if code and code not in taken]
    for code in bad[:SHOWN]:
        say(
            f"`{code[:LONGEST_CODE]}` is no code: it is longer than {LONGEST_CODE} letters, hides some, or begins with `{ERASED}`.",
            err=True,
        )
    raise click.exceptions.Exit(1 if bad else 0)


@click.command()
@click.argument("contact")
@json_option
@pass_app
def counters(app: App, contact: str, as_json: bool) -> None:
    """Where a contact's counters stand, and every movement that led there.

    Example: drip counters ana
    """
    with app.opened(None) as (workspace, database, _), database.read() as connection:
        found = contacts.contacts_by_key(connection, [contact])
        if contact not in found:
            raise DripError(
                f"There is no contact `{contact}`.",
                help="`drip import contacts FILE` brings contacts in",
            )
        moved = {
            key: counter_store.history(connection, found[contact].id, key)
            for key in workspace.settings.counters
        }
    for key, entries in moved.items():
        if not as_json:
            say(f"{key}: {entries[-1].after if entries else 0}")
        for entry in entries:
            if as_json:
                print_json(
                    {
                        "counter": key,
                        "at": instant_text(entry.at),
                        "amount": entry.after - entry.before,
                        "balance": entry.after,
                    }
                )
            else:
                when = local_text(entry.at, workspace.settings.timezone)
                say(f"  {when}  {entry.after - entry.before:+d}  = {entry.after}")
