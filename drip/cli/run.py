"""`drip run` and `drip send`: the only commands that send."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import click
from email_validator import EmailNotValidError, validate_email

from drip.cli.context import App, endpoint, json_option, now_option, pass_app
from drip.cli.log_lines import log_to_stderr
from drip.cli.screen import print_json, say
from drip.cli.serve import behind_option, dashboard_option, served
from drip.core.campaign import Campaign
from drip.core.message import Assigned, Mailbox, Message, Refused, Sent, TransportDown
from drip.core.shortage import Shortage
from drip.core.steps import SendStep
from drip.daemon import Daemon, Trust
from drip.engine.composing import identity
from drip.engine.rerender import render_for
from drip.errors import DripError, nearest
from drip.storage.base.database import Database
from drip.storage.operating import holds
from drip.storage.people import contacts
from drip.workspace import Workspace

# Of `--metrics`: Prometheus has one, whoever looks at `/health` another.
FIGURES_CONNECTIONS = 16


@click.command()
@click.option("--once", is_flag=True, help="Do all that is due now, then end.")
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    show_default=True,
    help="Seconds between beats.",
)
@click.option(
    "--after-clock-jump",
    is_flag=True,
    help="The clock is right, although it jumped by more than a day.",
)
@click.option(
    "--after-restore",
    is_flag=True,
    help="The database was put back from a backup, and that is as it should be.",
)
@click.option(
    "--senders",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that send, for large volumes.",
)
@click.option(
    "--metrics",
    metavar="[HOST:]PORT",
    callback=endpoint,
    help="Answer Prometheus there; on this machine alone unless a host is named.",
)
@click.option(
    "--serve",
    "pages",
    metavar="[HOST:]PORT",
    callback=endpoint,
    help="Serve the pages and the dashboard too, as `drip serve` does.",
)
@behind_option
@dashboard_option
@click.option(
    "--role",
    type=click.Choice(["all", "plan", "send"]),
    default="all",
    show_default=True,
)
@now_option
@json_option
@pass_app
def run(
    app: App,
    once: bool,
    every: float,
    after_clock_jump: bool,
    after_restore: bool,
    senders: int,
    metrics: tuple[str, int] | None,
    pages: tuple[str, int] | None,
    behind: str,
    dashboard: tuple[str, int] | None,
    role: str,
    now: str | None,
    as_json: bool,
) -> None:
    """The daemon: plans and sends until it is stopped by Ctrl-C or SIGTERM, which finish what is in flight.

    \b
    Example: drip run
             drip run --once
             drip run --senders 2

    A second daemon on the same database waits until the first one ends.

    It ends before it sends if the clock has jumped by more than a day since the last beat, or if the database is older than
    it was: both would look like a day of arrears. The two `--after-` options say that you have looked.
    """
    if role != "all":
        raise DripError(
            "`--role` is not built yet.",
            help="one daemon does it all on SQLite; leave it out",
        )
    log_to_stderr(as_json)
    workspace = app.workspace()
    clock = app.clock(workspace, now)
    with workspace.database(clock()) as database:
        daemon = Daemon(
            workspace,
            database,
            clock,
            Trust(after_clock_jump, after_restore),
            senders=senders,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stop.set())
        if not once:
            with (
                _answering(daemon, database, clock, metrics),
                served(
                    workspace,
                    database,
                    clock,
                    pages,
                    dashboard,
                    behind,
                    FIGURES_CONNECTIONS if metrics else 0,
                ),
            ):
                daemon.run(every)
            return
        tally = daemon.run_once()
        with database.read() as connection:
            held = sorted(holds.held_scopes(connection))
    if held and not as_json:
        say(
            "Held back: "
            + ", ".join(
                "everything" if scope == holds.EVERYTHING else scope for scope in held
            )
            + "."
        )
    counts: dict[str, int | str | None] = {
        "sent": tally.sent,
        "failed": tally.failed,
        "held": tally.held,
        "again": tally.again,
    }
    counts |= {"trouble": tally.trouble}
    if as_json:
        print_json(counts)
    else:
        again = (
            f" {tally.again} did not leave and will be tried again."
            if tally.again
            else ""
        )
        say(f"{tally.sent} sent, {tally.failed} failed, {tally.held} held.{again}")
    if tally.trouble:
        sentence = f"{tally.trouble} The messages wait in the outbox."
        raise (
            Shortage(sentence, tally.help or "")
            if tally.lacking
            else DripError(sentence, help=tally.help)
        )
    raise click.exceptions.Exit(1 if tally.failed or tally.held or tally.again else 0)


@contextlib.contextmanager
def _answering(
    daemon: Daemon,
    database: Database,
    clock: Callable[[], datetime],
    at: tuple[str, int] | None,
) -> Iterator[None]:
    """Prometheus is answered meanwhile, if that is wanted."""
    if at is None:
        yield
        return
    # Slow to import.
    from drip.daemon.metrics import registry_of
    from drip.web.figures import make_figures
    from drip.web.server import listen, serving

    app = make_figures(registry_of(database, clock, daemon.tasks), daemon.tasks)
    with serving(app, listen(*at), most=FIGURES_CONNECTIONS):
        yield


@click.command()
@pass_app
def metrics(app: App) -> None:
    """Figures for Prometheus: what waits, what is held, what came back, whether the daemon is well.

    
    Example: drip metrics > /var/lib/node_exporter/drip.prom

    `drip run --metrics 9464` answers Prometheus itself.
    """
    # Slow to import.
    from drip.daemon.metrics import exposition

    with app.opened(None) as (_, database, now):
        say(*exposition(database, lambda: now).splitlines())


@click.command()
@click.argument("campaign")
@click.argument("step", required=False)
@click.option(
    "--as", "contact", required=True, metavar="CONTACT", help="Whose facts fill it in."
)
@click.option(
    "--to", "address", required=True, metavar="ADDRESS", help="Where the copy goes."
)
@now_option
@pass_app
def send(
    app: App,
    campaign: str,
    step: str | None,
    contact: str,
    address: str,
    now: str | None,
) -> None:
    """Sends one test copy of a step, marked as such, outside of ledger, caps and consent.

    \b
    Example: drip send birthday --as ana --to me@example.com
             drip send oil-change "send oil/due" --as ana --to me@example.com
    """
    try:
        address = validate_email(address, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise DripError(f"`{address}` is not an e-mail address: {error}") from None
    with app.opened(now) as (workspace, database, at):
        message = _test_copy(workspace, database, campaign, step, contact, address, at)
        transports = workspace.transports()
        try:
            receipt = transports[message.channel].send(message)
        except TransportDown as down:
            raise DripError(str(down), help=down.help) from None
        finally:
            for transport in transports.values():
                transport.close()
    if not isinstance(receipt, Sent):
        worth = "" if isinstance(receipt, Refused | Assigned) else "; try again"
        raise DripError(f"The copy was not sent: {receipt.answer}{worth}.")
    say(f"Sent a test copy of {campaign} to {address}: {receipt.answer}")


def _test_copy(
    workspace: Workspace,
    database: Database,
    name: str,
    step_id: str | None,
    key: str,
    address: str,
    at: datetime,
) -> Message:
    if name in workspace.loaded.broken:
        raise DripError(
            f"campaigns/{name}.yaml has errors.", help="`drip check` shows them"
        )
    known = workspace.loaded.campaigns
    if name not in known:
        raise DripError(
            f"There is no campaign `{name}`.",
            help=nearest(name, known, what="campaigns"),
        )
    campaign = known[name]
    step = _step(campaign, step_id)
    if "email" not in step.channels:
        raise DripError(
            f"`{step.id}` goes by {step.channels[0]}, and test copies go by e-mail.",
            help="name another step",
        )
    with database.read() as connection:
        contact = contacts.contact_of_key(connection, key)
        message = render_for(
            connection,
            workspace.settings,
            workspace.templates,
            campaign,
            step,
            contact,
            "email",
            at,
            identity(connection),
        )
    headers = {**message.headers, "X-Drip-Test": "yes"}
    unique = f"test.{int(datetime.now(UTC).timestamp() * 1000)}.{message.message_id}"
    return replace(
        message,
        to=Mailbox("", address),
        subject=f"[Test] {message.subject}",
        headers=headers,
        message_id=unique,
    )


def _step(campaign: Campaign, step_id: str | None) -> SendStep:
    sends = {step.id: step for step in campaign.steps if isinstance(step, SendStep)}
    if step_id is None:
        return next(iter(sends.values()))
    if step_id not in sends:
        help = nearest(step_id, sends, what="steps")
        raise DripError(
            f"The campaign `{campaign.key}` has no step `{step_id}`.", help=help
        )
    return sends[step_id]
