"""`drip status`: how the house is, in a few sentences and a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, starmap
from pathlib import Path

import click

from drip.cli.context import App, json_option, pass_app
from drip.cli.screen import JsonRow, print_json, say
from drip.cli.tables import TerminalTable, add_columns, draw
from drip.cli.texts import ago, instant_or_none, instant_text, local_text
from drip.engine.health import BACK_SPAN, Health, health
from drip.storage.base.database import Database
from drip.storage.operating import audit
from drip.storage.operating.alarms import Alarm
from drip.storage.operating.audit import AuditRow
from drip.storage.operating.holds import EVERYTHING, Hold
from drip.storage.people import contacts as contact_store
from drip.storage.people.erasing import Outstanding
from drip.storage.sending import outbox
from drip.storage.sending.outbox import OutboxMessage
from drip.storage.sending.rate_limits import LeftAlone
from drip.storage.sending.relays import Doubted
from drip.workspace import Workspace

MOST_ALARMS, MOST_EXPOSED, MOST_HELD = 10, 100, 20
STATES = ("deferred", "pending", "sending", "sent", "skipped", "failed", "held")


@click.command()
@json_option
@pass_app
def status(app: App, as_json: bool) -> None:
    """Heartbeat, alarms of the last day, what waits, what is held; per campaign.

    Example: drip status
    """
    with app.opened(None) as (workspace, database, now):
        house = _looked_at(workspace, database, now)
    if as_json:
        print_json(_row(house))
    else:
        _print(house)


@dataclass(frozen=True, slots=True)
class HouseStatus:
    """What `drip status` has looked at. `holders` says who holds what, `keys` whose the
    held messages are, by contact number; `exposed` is what other users of this machine
    can read."""

    workspace: Workspace
    health: Health
    holders: Mapping[str, AuditRow]
    held: Sequence[OutboxMessage]
    keys: Mapping[int, str]
    exposed: Sequence[Path]

    @property
    def campaigns(self) -> list[str]:
        """Those of the files, and others that somebody is in or has got something
        of."""
        counted = {campaign for campaign, _ in self.health.counts}
        return sorted({*self.workspace.loaded.campaigns, *self.health.inside, *counted})

    def wall(self, at: datetime) -> str:
        settings = self.workspace.loaded.settings
        return local_text(at, settings.timezone) if settings else instant_text(at)


def _looked_at(workspace: Workspace, database: Database, now: datetime) -> HouseStatus:
    found = health(database, now)
    # One snapshot, so that each held message has the contact that it is for.
    with database.read() as connection:
        held = outbox.held(connection)
        numbers = {message.contact_id for message in held}
        contacts = contact_store.contacts_by_id(connection, numbers)
        holders = audit.holders(connection)
    keys = {number: contact.key for number, contact in contacts.items()}
    # Bounded, since a workspace of papers can hold a hundred thousand files.
    exposed = list(islice(workspace.exposed(), MOST_EXPOSED))
    return HouseStatus(workspace, found, holders, held, keys, exposed)


# --- as JSON


def _row(house: HouseStatus) -> JsonRow:
    found = house.health
    return {
        "daemon": _daemon_row(found),
        "held": {scope: instant_text(hold.at) for scope, hold in found.holds.items()},
        "held_by": {
            scope: _holder_row(house.holders.get(scope), hold)
            for scope, hold in found.holds.items()
        },
        "came_back": [
            {"kind": kind, "class": meaning, "messages": count}
            for kind, meaning, count in found.back
        ],
        "left_alone": [_left_alone_row(shut) for shut in found.left_alone],
        "doubted": [_doubted_row(server) for server in found.doubted],
        "exposed": [str(path) for path in house.exposed],
        "uncleared": len(found.uncleared),
        "alarms": [_alarm_row(alarm) for alarm in found.alarms],
        "sign_ups": dict(found.sign_ups),
        "campaigns": {name: _counts_row(found, name) for name in house.campaigns},
    }


def _daemon_row(found: Health) -> JsonRow | None:
    last = found.daemon
    if last is None:
        return None
    return {
        "running": found.running,
        "pid": last.pid,
        "heartbeat_at": instant_text(last.heartbeat_at),
        "trouble": last.trouble,
    }


def _holder_row(order: AuditRow | None, hold: Hold) -> JsonRow:
    """Who holds something, and why; drip itself, where it has a reason of its own."""
    if hold.reason or order is None:
        return {"by": "drip" if hold.reason else None, "why": hold.reason}
    return {"by": order.by, "why": order.why}


def _left_alone_row(channel: LeftAlone) -> JsonRow:
    return {
        "channel": channel.channel,
        "domain": channel.domain,
        "until": instant_text(channel.until),
        "reason": channel.reason,
    }


def _doubted_row(server: Doubted) -> JsonRow:
    return {
        "channel": server.channel,
        "server": server.server,
        "messages": server.messages,
    }


def _alarm_row(alarm: Alarm) -> JsonRow:
    return {
        "at": instant_text(alarm.at),
        "action": alarm.action,
        "about": alarm.about,
        "sentence": alarm.sentence,
        "ended_at": instant_or_none(alarm.ended_at),
    }


def _counts_row(found: Health, campaign: str) -> dict[str, int]:
    states = {state: found.counts.get((campaign, state), 0) for state in STATES}
    return {"inside": found.inside.get(campaign, 0), **states}


# --- for people


def _print(house: HouseStatus) -> None:
    found = house.health
    say(_daemon_sentence(found))
    sentences = (
        *_exposed(house.exposed),
        *_uncleared(found.uncleared, found.now),
        *_holds(house),
        *_servers(house),
        *_alarms(found),
    )
    for sentence in sentences:
        say(sentence)
    draw(_campaigns(house))
    for sentence in (*_back(found), *_sign_ups(found), *_held(house)):
        say(sentence)


def _daemon_sentence(found: Health) -> str:
    last, now = found.daemon, found.now
    if last is None:
        return "No daemon has run here yet; `drip run` starts one."
    # One that was killed has said no last word, and its heartbeat is the last of it.
    if not found.running:
        how = "ended" if last.ended_at else "died; its last heartbeat was"
        when = ago(last.ended_at or last.heartbeat_at, now)
        return f"No daemon is running; the last one {how} {when}."
    beat, process = ago(last.heartbeat_at, now), f"The daemon (process {last.pid})"
    if found.silent:
        return f"{process} is busy or stuck: its last heartbeat was {beat}."
    trouble = f" Trouble: {last.trouble}" if last.trouble else ""
    return f"{process} is running; last heartbeat {beat}.{trouble}"


def _exposed(paths: Sequence[Path]) -> Iterator[str]:
    """Says what is open to other users, if anything is."""
    # One path is enough to act on, and `drip db protect` closes all of them.
    if paths:
        more = " and more" if len(paths) > 1 else ""
        yield (
            f"Other users of this machine can read {paths[0]}{more}. "
            "`drip db protect` closes it to them."
        )


def _uncleared(waiting: Sequence[Outstanding], now: datetime) -> Iterator[str]:
    """Says of whom something is left in files, if so."""
    if waiting:
        since = ago(waiting[0].at, now)
        yield (
            f"Something is left in files of {len(waiting)} erased person(s), the first "
            f"of them erased {since}. The daemon clears it; `drip db scrub` does so at "
            "once."
        )


def _holds(house: HouseStatus) -> Iterator[str]:
    """`newsletter is held since 3 minutes ago by ana: wrong price.`"""
    for scope, hold in house.health.holds.items():
        holder = _holder_row(house.holders.get(scope), hold)
        everything = scope == EVERYTHING
        what = "Everything is stopped" if everything else f"{scope} is held"
        # What drip does by itself has a reason, which says that it was drip.
        by = f" by {holder['by']}" if holder["by"] and not hold.reason else ""
        why = f": {holder['why']}" if holder["why"] else ""
        yield f"{what} since {ago(hold.at, house.health.now)}{by}{why}."


def _servers(house: HouseStatus) -> Iterator[str]:
    # Bounded: a list of a thousand domains would hide what else there is to say.
    for shut in house.health.left_alone[:MOST_ALARMS]:
        to = f" to {shut.domain}" if shut.domain else ""
        until = house.wall(shut.until)
        yield f"Nothing leaves by {shut.channel}{to} until {until}: {shut.reason}"
    for server in house.health.doubted:
        yield (
            f"{server.server} has taken nobody yet, and refused {server.messages} "
            f"message(s) by {server.channel}. Nobody was given up."
        )


def _alarms(found: Health) -> Iterator[str]:
    for alarm in found.alarms[:MOST_ALARMS]:
        yield _alarm_sentence(alarm, found.now)


def _alarm_sentence(alarm: Alarm, now: datetime) -> str:
    over = f", over {ago(alarm.ended_at, now)}" if alarm.ended_at else ""
    return f"Alarm {ago(alarm.at, now)}{over}: {alarm.sentence} [{alarm.action}]"


def _campaigns(house: HouseStatus) -> TerminalTable:
    """A row for each campaign, and a column for each state that a message is in."""
    names, counts = house.campaigns, house.health.counts
    used = [
        state for state in STATES if any(counts.get((name, state)) for name in names)
    ]
    table = TerminalTable()
    table.add_column("Campaign", no_wrap=True)
    table.add_column("Status")
    numbers = ("In it", *(state.capitalize() for state in used))
    add_columns(table, *numbers, right=numbers)
    for name in names:
        row = _counts_row(house.health, name)
        shown = [row["inside"], *(row[state] for state in used)]
        cells = (f"{number:,}" if number else "·" for number in shown)
        table.add_row(name, _campaign_state(house, name), *cells)
    return table


def _campaign_state(house: HouseStatus, name: str) -> str:
    if name in house.health.holds:
        return "held"
    return _state_of_file(house.workspace, name)


def _state_of_file(workspace: Workspace, name: str) -> str:
    loaded = workspace.loaded
    campaign = loaded.campaigns.get(name)
    if campaign:
        return campaign.status
    # Its file was deleted, and people are still in it: their runs go on.
    return "broken" if name in loaded.broken else "gone"


def _back(found: Health) -> Iterator[str]:
    """`3 bounce (address-dead), 1 complaint`."""
    named = ", ".join(starmap(_came_back, found.back))
    if named:
        yield f"Came back in the last {BACK_SPAN.days} days: {named}."


def _came_back(kind: str, meaning: str, count: int) -> str:
    # Of the others the kind says it all.
    about = f" ({meaning})" if kind == "bounce" else ""
    return f"{count:,} {kind}{about}"


def _sign_ups(found: Health) -> Iterator[str]:
    if waiting := found.sign_ups.get("open"):
        yield (
            "Signed up and not confirmed yet, in no audience and no count of people: "
            f"{waiting:,}."
        )


def _held(house: HouseStatus) -> Iterator[str]:
    """The first held messages, and how many there are for which reason."""
    for message in house.held[:MOST_HELD]:
        whose = house.keys[message.contact_id]
        yield (
            f"held: message {message.id} to {whose}, {message.campaign} "
            f"{message.step}: {message.sentence}"
        )
    if house.held:
        reasons = Counter(message.code for message in house.held)
        listed = ", ".join(f"{count} {code}" for code, count in sorted(reasons.items()))
        yield (
            f"{len(house.held)} message(s) wait for a person ({listed}): "
            "`drip release --help` says how to settle them."
        )
