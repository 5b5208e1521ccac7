"""`drip report`: what campaigns achieved."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from drip import private
from drip.cli.context import App, instant_text, json_option, now_option, pass_app
from drip.cli.screen import TerminalTable, draw, print_json, say
from drip.core.lift import Lift, Share
from drip.core.sheets import ENCODING, write_sheet
from drip.engine.reporting import COLUMNS, CampaignReport, CapsReport, Side, rows
from drip.engine.reporting import report as report_of
from drip.errors import DripError, nearest
from drip.storage.reading.outcomes import Period

DAYS = 30


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
    """What came of campaigns: messages step by step, goals, revenue, arms of splits, and the lift against the holdout.

    \b
    Example: drip report
             drip report win-back --since 2026-10-01
             drip report --csv october.csv

    The people are those who came in during the time, so that each is counted once. A lift is given with its 95% interval; if
    that holds zero, nothing is proved yet.
    """
    with app.opened(now) as (workspace, database, at):
        known = workspace.loaded.campaigns
        unknown = sorted(set(campaigns) - set(known))
        if unknown:
            help = nearest(unknown[0], known, what="campaigns")
            raise DripError(f"There is no campaign `{unknown[0]}`.", help=help)
        start = app.instant(workspace, since) if since else at - timedelta(days=DAYS)
        with database.read() as connection:
            found = [
                report_of(
                    connection,
                    workspace.settings,
                    known[key],
                    Period(key, start, at),
                    value,
                    at,
                )
                for key in sorted(campaigns or known)
            ]
    shown = [each for each in found if each.began or campaigns]
    if file is not None:
        _write(file, shown)
        say(f"Wrote {file}.")
    elif as_json:
        for each in shown:
            print_json(_row(each, start, at, value))
    else:
        for each in shown:
            _print(each, value)
        if not shown:
            say("Nobody has come into a campaign in this time.")


def _print(found: CampaignReport, value: str) -> None:
    say(found.campaign, bold=True)
    say(f"{found.began:,} came in.")
    if found.steps:
        table = TerminalTable()
        table.add_column("Step")
        table.add_column("By")
        for name in (
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
        ):
            table.add_column(name, justify="right")
        for row in rows(found):
            table.add_row(
                str(row["step"]),
                str(row["channel"]),
                *(_count(row[name]) for name in COLUMNS[3:]),
            )
        draw(table)
    if found.not_sent:
        say(
            "Not sent: "
            + ", ".join(f"{count:,} {code}" for code, count in found.not_sent)
            + "."
        )
    if found.caps.skipped or found.caps.deferred:
        say(_caps(found.caps))
    if found.treated:
        say(f"Goal: {_side(found.treated, value)}.")
    if found.held_out:
        say(f"Held out: {_side(found.held_out, value)}.")
    if found.lift:
        say(_lift(found.lift))
    for arm in found.arms:
        say(f"{arm.split}, arm {arm.arm}: {_side(arm.side, value)}.")
    say("")


def _caps(caps: CapsReport) -> str:
    """`Caps: 12 skipped, 3 put off (by birthday 8); week by week 0, 2, 10.`"""
    by = ", ".join(f"{name} {count:,}" for name, count in caps.displaced_by)
    weeks = ", ".join(f"{each.skipped + each.deferred:,}" for each in caps.weeks)
    said = f"Caps: {caps.skipped:,} skipped, {caps.deferred:,} put off"
    return f"{said}{f' (by {by})' if by else ''}; week by week {weeks}."


def _count(count: object) -> str:
    return f"{count:,}" if count else "·"


def _side(side: Side, value: str) -> str:
    """`12 of 240 met it (5.0%, 2.9 to 8.5), total 1,204.50`."""
    share = side.goals
    low, high = share.interval
    rate = f"{share.met:,} of {share.count:,} met it ({share.rate:.1%}, {low * 100:.1f} to {high * 100:.1f})"
    return rate + (f", {value} {side.value:,.2f}" if side.value else "")


def _lift(lift: Lift) -> str:
    low, high = lift.interval
    said = f"Lift: {lift.difference * 100:+.1f} points ({low * 100:+.1f} to {high * 100:+.1f})"
    return f"{said}." if lift.sure else f"{said}: that may be chance."


def _row(
    found: CampaignReport, since: datetime, until: datetime, value: str
) -> dict[str, Any]:
    lift = found.lift
    return {
        "campaign": found.campaign,
        "since": instant_text(since),
        "until": instant_text(until),
        "began": found.began,
        "steps": list(rows(found)),
        "not_sent": dict(found.not_sent),
        "value": value,
        "treated": _side_row(found.treated),
        "held_out": _side_row(found.held_out),
        "lift": {
            "difference": lift.difference,
            "interval": lift.interval,
            "sure": lift.sure,
        }
        if lift
        else None,
        "caps": {
            "skipped": found.caps.skipped,
            "deferred": found.caps.deferred,
            "displaced_by": dict(found.caps.displaced_by),
            "weeks": [
                {
                    "start": instant_text(each.start),
                    "sent": each.sent,
                    "skipped": each.skipped,
                    "deferred": each.deferred,
                }
                for each in found.caps.weeks
            ],
        },
        "arms": [
            {"split": each.split, "arm": each.arm, **(_side_row(each.side) or {})}
            for each in found.arms
        ],
    }


def _side_row(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    share: Share = side.goals
    return {
        "people": share.count,
        "goals": share.met,
        "rate": share.rate,
        "interval": share.interval,
        "value": side.value,
    }


def _write(file: Path, found: list[CampaignReport]) -> None:
    try:
        with open(
            file, "w", newline="", encoding=ENCODING, opener=private.opener
        ) as opened:
            write_sheet(
                opened, COLUMNS, (row.values() for each in found for row in rows(each))
            )
    except OSError as error:
        raise DripError(
            f"The file {file} cannot be written: {error.strerror}."
        ) from None
