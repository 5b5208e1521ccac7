"""`drip status`, `hold`, `stop`, `release` and `db`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path

import click

from drip import private
from drip.cli.context import App, ago, instant_text, json_option, local_text, pass_app
from drip.cli.screen import TerminalTable, draw, print_json, say
from drip.core.characters import without_hidden
from drip.engine.health import BACK_SPAN, Health, health
from drip.errors import DripError, nearest
from drip.importing.values import parse_email
from drip.storage.base.opening import is_missing, upgrade
from drip.storage.operating import holds as hold_store
from drip.storage.operating.alarms import Alarm
from drip.storage.operating.holds import EVERYTHING
from drip.storage.people import contacts as contact_store
from drip.storage.people import suppressions
from drip.storage.people.erasing import Outstanding
from drip.storage.sending import outbox, rate_limits
from drip.workspace import Workspace

MOST_ALARMS, MOST_EXPOSED = 10, 100
STATES = ("deferred", "pending", "sending", "sent", "skipped", "failed", "held")


@click.command()
@json_option
@pass_app
def status(app: App, as_json: bool) -> None:
    """Heartbeat, alarms of the last day, what waits, what is held; per campaign.

    Example: drip status
    """
    with app.opened(None) as (workspace, database, now):
        found = health(database, now)
        holds, counts, inside, back, raised = (
            found.holds,
            found.counts,
            found.inside,
            found.back,
            found.alarms,
        )
        with database.read() as connection:
            held = outbox.held(connection)
            contacts = contact_store.contacts_by_id(
                connection, {message.contact_id for message in held}
            )
        open_to_others = list(islice(workspace.exposed(), MOST_EXPOSED))
        names = sorted(
            {
                *workspace.loaded.campaigns,
                *inside,
                *(campaign for campaign, _ in counts),
            }
        )
        if as_json:
            rows = {
                name: {state: counts.get((name, state), 0) for state in STATES}
                for name in names
            }
            print_json(
                {
                    "daemon": _daemon_row(found),
                    "held": {k: instant_text(v.at) for k, v in holds.items()},
                    "came_back": [
                        {"kind": kind, "class": meaning, "messages": count}
                        for kind, meaning, count in back
                    ],
                    "left_alone": [
                        {
                            "channel": each.channel,
                            "domain": each.domain,
                            "until": instant_text(each.until),
                            "reason": each.reason,
                        }
                        for each in found.left_alone
                    ],
                    "doubted": [
                        {
                            "channel": each.channel,
                            "server": each.server,
                            "messages": each.messages,
                        }
                        for each in found.doubted
                    ],
                    "exposed": [str(path) for path in open_to_others],
                    "uncleared": len(found.uncleared),
                    "alarms": [_alarm_row(each) for each in raised],
                    "sign_ups": dict(found.sign_ups),
                    "campaigns": {
                        name: {"inside": inside.get(name, 0), **rows[name]}
                        for name in names
                    },
                }
            )
            return
        say(_daemon_sentence(found))
        for sentence in (*_exposed(open_to_others), *_uncleared(found.uncleared, now)):
            say(sentence)
        for scope, held_back in holds.items():
            what = (
                "Everything is stopped" if scope == EVERYTHING else f"{scope} is held"
            )
            why = f": {held_back.reason}" if held_back.reason else ""
            say(f"{what} since {ago(held_back.at, now)}{why}.")
        for shut in found.left_alone[:MOST_ALARMS]:
            to = f" to {shut.domain}" if shut.domain else ""
            say(
                f"Nothing leaves by {shut.channel}{to} until {_clock(workspace, shut.until)}: {shut.reason}"
            )
        for server in found.doubted:
            say(
                f"{server.server} has taken nobody yet, and refused {server.messages} message(s) by {server.channel}. "
                "Nobody was given up."
            )
        for each in raised[:MOST_ALARMS]:
            over = f", over {ago(each.ended_at, now)}" if each.ended_at else ""
            say(f"Alarm {ago(each.at, now)}{over}: {each.sentence} [{each.action}]")
        used = [
            state
            for state in STATES
            if any(counts.get((name, state)) for name in names)
        ]
        table = TerminalTable()
        table.add_column("Campaign", no_wrap=True)
        table.add_column("Status")
        for column in ("In it", *(state.capitalize() for state in used)):
            table.add_column(column, justify="right")
        for name in names:
            campaign = workspace.loaded.campaigns.get(name)
            state = (
                "held"
                if name in holds
                else campaign.status
                if campaign
                else _absent(name, workspace.loaded.broken)
            )
            numbers = (
                inside.get(name, 0),
                *(counts.get((name, each), 0) for each in used),
            )
            table.add_row(
                name, state, *(f"{number:,}" if number else "·" for number in numbers)
            )
        draw(table)
        if back:
            say(f"Came back in the last {BACK_SPAN.days} days: {_back(back)}.")
        if waiting := found.sign_ups.get("open"):
            say(
                f"Signed up and not confirmed yet, in no audience and no count of people: {waiting:,}."
            )
        for message in held[:20]:
            who = contacts[message.contact_id].key
            say(
                f"held: message {message.id} to {who}, {message.campaign} {message.step}: {message.sentence}"
            )
        if held:
            reasons = Counter(message.code for message in held)
            listed = ", ".join(
                f"{count} {code}" for code, count in sorted(reasons.items())
            )
            say(
                f"{len(held)} message(s) wait for a person ({listed}): `drip release --help` says how to settle them."
            )


def _exposed(paths: Sequence[Path]) -> Iterator[str]:
    """Says what is open to other users, if anything is."""
    if paths:
        more = " and more" if len(paths) > 1 else ""
        yield f"Other users of this machine can read {paths[0]}{more}. `drip db protect` closes it to them."


def _uncleared(waiting: Sequence[Outstanding], now: datetime) -> Iterator[str]:
    """Says of whom something is left in files, if so."""
    if waiting:
        since = ago(waiting[0].at, now)
        yield (
            f"Something is left in files of {len(waiting)} erased person(s), the first of them erased {since}. The daemon clears "
            "it; `drip db scrub` does so at once."
        )


def _clock(workspace: Workspace, at: datetime) -> str:
    settings = workspace.loaded.settings
    return local_text(at, settings.timezone) if settings else instant_text(at)


def _alarm_row(alarm: Alarm) -> dict[str, object]:
    ended = instant_text(alarm.ended_at) if alarm.ended_at else None
    return {
        "at": instant_text(alarm.at),
        "action": alarm.action,
        "about": alarm.about,
        "sentence": alarm.sentence,
        "ended_at": ended,
    }


def _back(rows: Sequence[tuple[str, str, int]]) -> str:
    """`3 bounce (address-dead), 1 complaint`."""
    named = [
        f"{count:,} {kind} ({meaning})" if kind == "bounce" else f"{count:,} {kind}"
        for kind, meaning, count in rows
    ]
    return ", ".join(named)


def _absent(name: str, broken: set[str]) -> str:
    return "broken" if name in broken else "gone"


def _daemon_row(found: Health) -> dict[str, object] | None:
    last = found.daemon
    if last is None:
        return None
    return {
        "running": found.running,
        "pid": last.pid,
        "heartbeat_at": instant_text(last.heartbeat_at),
        "trouble": last.trouble,
    }


def _daemon_sentence(found: Health) -> str:
    last, now = found.daemon, found.now
    if last is None:
        return "No daemon has run here yet; `drip run` starts one."
    if not found.running:
        how = "ended" if last.ended_at else "died; its last heartbeat was"
        return f"No daemon is running; the last one {how} {ago(last.ended_at or last.heartbeat_at, now)}."
    if found.silent:
        return f"The daemon (process {last.pid}) is busy or stuck: its last heartbeat was {ago(last.heartbeat_at, now)}."
    trouble = f" Trouble: {last.trouble}" if last.trouble else ""
    return f"The daemon (process {last.pid}) is running; last heartbeat {ago(last.heartbeat_at, now)}.{trouble}"


@click.command()
@click.argument("campaign")
@click.option("--off", is_flag=True, help="Let it go on.")
@pass_app
def hold(app: App, campaign: str, off: bool) -> None:
    """Holds one campaign: nobody enters, nothing of it leaves; people stay where they are.

    \b
    Example: drip hold newsletter
             drip hold newsletter --off
    """
    with app.opened(None) as (workspace, database, now):
        known = {*workspace.loaded.campaigns, *workspace.loaded.broken}
        if campaign not in known:
            raise DripError(
                f"There is no campaign `{campaign}`.",
                help=nearest(campaign, known, what="campaigns"),
            )
        with database.write() as connection:
            if off:
                was = hold_store.let_go(connection, campaign)
                outbox.wake_paused(connection, campaign, now)
            else:
                hold_store.hold(connection, campaign, now)
    if off:
        say(f"{campaign} goes on." if was else f"{campaign} was not held.")
    else:
        say(f"{campaign} is held. `drip hold {campaign} --off` lets it go on.")


@click.command()
@click.option("--off", is_flag=True, help="Let everything go on.")
@pass_app
def stop(app: App, off: bool) -> None:
    """Stops everything within one beat of the daemon; nothing is lost.

    \b
    Example: drip stop
             drip stop --off
    """
    with app.opened(None) as (_, database, now), database.write() as connection:
        if off:
            was = hold_store.let_go(connection, EVERYTHING)
            outbox.wake_paused(connection, None, now)
            # Whoever says so has looked: what was left alone is tried at once.
            rate_limits.open_all(connection)
        else:
            hold_store.hold(connection, EVERYTHING, now)
    if off:
        say("Everything goes on." if was else "Nothing was stopped.")
    else:
        say("Everything is stopped. `drip stop --off` lets it go on.")


@click.command()
@click.argument("messages", nargs=-1, type=int, metavar="[MESSAGE…]")
@click.option("--all", "everything", is_flag=True, help="Every held message.")
@click.option(
    "--as",
    "how",
    type=click.Choice(["sent", "again", "dropped"]),
    required=True,
    help="What became of it.",
)
@pass_app
def release(app: App, messages: tuple[int, ...], everything: bool, how: str) -> None:
    """Settles held messages: those that may have left, and those that could not be rendered.

    \b
    Example: drip release 17 18 --as sent
             drip release --all --as again

    `sent`: it did arrive. `again`: judge and send it (again). `dropped`: it did not leave, and shall not.
    """
    with app.opened(None) as (_, database, now), database.write() as connection:
        held = {message.id for message in outbox.held(connection)}
        chosen = held if everything else set(messages)
        unknown = sorted(chosen - held)
        if unknown or not (messages or everything):
            which = (
                f"Message {unknown[0]} is not held."
                if unknown
                else "No message was named."
            )
            raise DripError(
                which,
                help="`drip status` lists the held ones; --all means every one of them",
            )
        state = {"sent": "sent", "again": "deferred", "dropped": "failed"}[how]
        count = outbox.release(connection, chosen, state, now)
    say(f"{count} message(s) settled as {how}.")


@click.command()
@click.argument("address")
@click.option(
    "--reason",
    default="an operator said so",
    show_default=True,
    help="Why, for whoever asks later.",
)
@pass_app
def suppress(app: App, address: str, reason: str) -> None:
    """Never writes to an address again, whoever has it: after a hard bounce or a complaint.

    Example: drip suppress old@example.com --reason "hard bounce"
    """
    try:
        address = parse_email(address)
    except ValueError as wrong:
        raise DripError(f"{wrong}.") from None
    with app.opened(None) as (_, database, now), database.write() as connection:
        suppressions.suppress(connection, address, without_hidden(reason), now)
    say(f"{address} is suppressed. Only its keyed hash is kept.")


@click.group()
def db() -> None:
    """The database."""


@db.command("upgrade")
@pass_app
def db_upgrade(app: App) -> None:
    """Brings an older database to this version's tables.

    Example: drip db upgrade
    """
    place = app.workspace().database_place()
    if is_missing(place):
        raise DripError(
            f"There is no database at {place}.",
            help="it is made by the first command that needs it",
        )
    before, after = upgrade(place)
    say(
        f"The database is up to date ({after})."
        if before == after
        else f"Upgraded from {before} to {after}."
    )


@db.command("protect")
@pass_app
def db_protect(app: App) -> None:
    """Closes `.drip` and the database to other users of this machine.

    Example: drip db protect
    """
    closed, still_open = 0, []
    for path in app.workspace().exposed():
        if private.protect(path):
            closed += 1
        else:
            still_open.append(path)
    if still_open:
        help = "put the workspace on another disk, or mount this one with `umask=077`"
        raise DripError(
            f"The disk keeps no permissions: {still_open[0]} stays open to others.",
            help=help,
        )
    say(
        f"{closed} file(s) and folder(s) are closed to other users."
        if closed
        else "Nothing was open to others."
    )


@db.command("scrub")
@pass_app
def db_scrub(app: App) -> None:
    """Clears what is left of erased people in files, however large the database is: it is written anew, and nobody else can write
    meanwhile.

    Example: drip db scrub
    """
    with app.opened(None) as (workspace, database, now):
        if why := workspace.clear(database, now, thorough=True):
            raise DripError(
                f"Something is left: {why}.",
                help="try it again when nobody else uses the database",
            )
    say("Nothing is left of erased people.")
