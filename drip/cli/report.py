"""`drip report`: what campaigns achieved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import click

from drip import private
from drip.cli.context import App, json_option, no_campaign, now_option, pass_app
from drip.cli.screen import JsonRow, print_json, say
from drip.cli.tables import TerminalTable, add_columns, draw
from drip.cli.texts import instant_text
from drip.core.lift import Lift
from drip.core.sheets import ENCODING, write_sheet
from drip.engine.reporting import COLUMNS, CampaignReport, CapsReport, Side, rows
from drip.engine.reporting import report as report_of
from drip.errors import DripError
from drip.storage.base.database import Database
from drip.storage.reading.outcomes import Period
from drip.storage.reading.pressure import Stretch
from drip.workspace import Workspace

DAYS = 30
HEADINGS = (
    "Sent",
    "Failed",
    "Skipped",
    "Held",
    "Waiting",
    "Delivered",
    "Bounced",
    "Complaints",
    "Opened",
    "Clicked",
)


@click.command()
@click.argument("campaigns", nargs=-1, metavar="[CAMPAIGN…]")
@click.option(
    "--since",
    metavar="TIME",
    help=f"Runs that began from then on; else in the last {DAYS} days.",
)
@click.option(
    "--value",
    default="total",
    show_default=True,
    metavar="FIELD",
    help="What is summed up of the goal's event.",
)
@click.option(
    "--csv",
    "file",
    type=click.Path(path_type=Path),
    help="Write the messages, step by step, into a file.",
)
@now_option
@json_option
@pass_app
def report(
    app: App,
    campaigns: tuple[str, ...],
    since: str | None,
    value: str,
    file: Path | None,
    now: str | None,
    as_json: bool,
) -> None:
    """What came of campaigns: messages step by step, goals, revenue, arms of splits,
    and the lift against the holdout.

    \b
    Example: drip report
             drip report win-back --since 2026-10-01
             drip report --csv october.csv

    The people are those who came in during the time, so that each is counted once. A
    lift is given with its 95% interval; if that holds zero, nothing is proved yet."""
    with app.opened(now) as (workspace, database, at):
        start = app.instant(workspace, since) if since else at - timedelta(days=DAYS)
        asked = _ReportRequest(_chosen(workspace, campaigns), start, at, value)
        found = _reports(workspace, database, asked)
    # A row of zeros for each campaign that nobody is in would hide the others; of one
    # that was named, zero is the answer.
    shown = [one for one in found if one.began or campaigns]
    if file is not None:
        _write(file, shown)
        say(f"Wrote {file}.")
    elif as_json:
        for one in shown:
            print_json(_row(one, asked))
    else:
        _print(shown, value)


@dataclass(frozen=True, slots=True)
class _ReportRequest:
    """Which campaigns, for those who came in when, and which field of the goal's event
    is summed up."""

    campaigns: Sequence[str]
    since: datetime
    until: datetime
    value: str


def _chosen(workspace: Workspace, campaigns: Sequence[str]) -> list[str]:
    """These, or all. Raises DripError for one that there is not."""
    known = workspace.loaded.campaigns
    # In order, so that of several mistakes the same one is named each time.
    for name in sorted(campaigns):
        if name not in known:
            raise no_campaign(name, known)
    return sorted(campaigns or known)


def _reports(
    workspace: Workspace,
    database: Database,
    asked: _ReportRequest,
) -> list[CampaignReport]:
    settings, known = workspace.settings, workspace.loaded.campaigns
    with database.read() as connection:
        return [
            report_of(
                connection,
                settings,
                known[key],
                Period(key, asked.since, asked.until),
                asked.value,
                asked.until,
            )
            for key in asked.campaigns
        ]


# --- for people


def _print(shown: Sequence[CampaignReport], value: str) -> None:
    for found in shown:
        _print_report(found, value)
    if not shown:
        say("Nobody has come into a campaign in this time.")


def _print_report(found: CampaignReport, value: str) -> None:
    say(found.campaign, bold=True)
    say(f"{found.began:,} came in.")
    if found.steps:
        draw(_steps(found))
    for sentence in _sentences(found, value):
        say(sentence)
    say("")


def _steps(found: CampaignReport) -> TerminalTable:
    table = TerminalTable()
    add_columns(table, "Step", "By", *HEADINGS, right=HEADINGS)
    for row in rows(found):
        counts = (_count(row[name]) for name in COLUMNS[3:])
        table.add_row(str(row["step"]), str(row["channel"]), *counts)
    return table


def _sentences(found: CampaignReport, value: str) -> list[str]:
    sentences = []
    if found.not_sent:
        codes = ", ".join(f"{count:,} {code}" for code, count in found.not_sent)
        sentences.append(f"Not sent: {codes}.")
    if found.caps.skipped or found.caps.deferred:
        sentences.append(_caps(found.caps))
    if found.treated:
        sentences.append(f"Goal: {_side(found.treated, value)}.")
    if found.held_out:
        sentences.append(f"Held out: {_side(found.held_out, value)}.")
    if found.lift:
        sentences.append(_lift(found.lift))
    for arm in found.arms:
        sentences.append(f"{arm.split}, arm {arm.arm}: {_side(arm.side, value)}.")
    return sentences


def _caps(caps: CapsReport) -> str:
    """`Caps: 12 skipped, 3 put off (by birthday 8); week by week 0, 2, 10.`"""
    displacing = ", ".join(f"{name} {count:,}" for name, count in caps.displaced_by)
    by = f" (by {displacing})" if displacing else ""
    weeks = ", ".join(f"{week.skipped + week.deferred:,}" for week in caps.weeks)
    counts = f"{caps.skipped:,} skipped, {caps.deferred:,} put off"
    return f"Caps: {counts}{by}; week by week {weeks}."


def _count(count: object) -> str:
    return f"{count:,}" if count else "·"


def _side(side: Side, value: str) -> str:
    """`12 of 240 met it (5.0%, 2.9 to 8.5), total 1,204.50`."""
    share = side.goals
    low, high = (bound * 100 for bound in share.interval)
    rate = f"({share.rate:.1%}, {low:.1f} to {high:.1f})"
    summed = f", {value} {side.value:,.2f}" if side.value else ""
    return f"{share.met:,} of {share.count:,} met it {rate}{summed}"


def _lift(lift: Lift) -> str:
    """`Lift: +2.1 points (+0.4 to +3.8).`"""
    low, high = (bound * 100 for bound in lift.interval)
    points = f"{lift.difference * 100:+.1f} points ({low:+.1f} to {high:+.1f})"
    # An interval that holds zero is consistent with no effect at all; whoever reads the
    # difference alone would scale up what does nothing.
    chance = "" if lift.sure else ": that may be chance"
    return f"Lift: {points}{chance}."


# --- as JSON, and as a sheet


def _row(found: CampaignReport, asked: _ReportRequest) -> JsonRow:
    return {
        "campaign": found.campaign,
        "since": instant_text(asked.since),
        "until": instant_text(asked.until),
        "began": found.began,
        "steps": list(rows(found)),
        "not_sent": dict(found.not_sent),
        "value": asked.value,
        "treated": _side_row(found.treated) if found.treated else None,
        "held_out": _side_row(found.held_out) if found.held_out else None,
        "lift": _lift_row(found.lift) if found.lift else None,
        "caps": _caps_row(found.caps),
        "arms": [
            {"split": arm.split, "arm": arm.arm, **_side_row(arm.side)}
            for arm in found.arms
        ],
    }


def _lift_row(lift: Lift) -> JsonRow:
    return {
        "difference": lift.difference,
        "interval": lift.interval,
        "sure": lift.sure,
    }


def _caps_row(caps: CapsReport) -> JsonRow:
    return {
        "skipped": caps.skipped,
        "deferred": caps.deferred,
        "displaced_by": dict(caps.displaced_by),
        "weeks": [_week_row(week) for week in caps.weeks],
    }


def _week_row(week: Stretch) -> JsonRow:
    return {
        "start": instant_text(week.start),
        "sent": week.sent,
        "skipped": week.skipped,
        "deferred": week.deferred,
    }


def _side_row(side: Side) -> JsonRow:
    share = side.goals
    return {
        "people": share.count,
        "goals": share.met,
        "rate": share.rate,
        "interval": share.interval,
        "value": side.value,
    }


def _write(file: Path, shown: Sequence[CampaignReport]) -> None:
    """Raises DripError for a file that cannot be written."""
    try:
        _write_sheet(file, shown)
    except OSError as error:
        sentence = f"The file {file} cannot be written: {error.strerror}."
        raise DripError(sentence) from None


def _write_sheet(file: Path, shown: Sequence[CampaignReport]) -> None:
    # It says what campaigns earn: nobody else on the machine is to read it.
    with open(
        file,
        "w",
        newline="",
        encoding=ENCODING,
        opener=private.opener,
    ) as opened:
        write_sheet(opened, COLUMNS, _lines(shown))


def _lines(shown: Sequence[CampaignReport]) -> Iterator[Iterable[object]]:
    for found in shown:
        yield from (row.values() for row in rows(found))
