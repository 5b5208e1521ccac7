"""`drip inbound`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from drip.cli.context import App, json_option, now_option, pass_app
from drip.cli.screen import JsonRow, print_json, say
from drip.engine.feedback import Feedback, FeedbackReport
from drip.errors import DripError
from drip.inbound.reading import Finding, identity_of, read
from drip.inbound.sources import Incoming, mails_by_imap, mails_in, split
from drip.workspace import Workspace

# Of mails about no message of ours: an old mailbox is full of them.
SHOWN = 20


@click.command()
@click.argument("source", metavar="[FILE|MAILDIR|-]", required=False)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what the mails are, record nothing; needs no message of ours.",
)
@now_option
@json_option
@pass_app
def inbound(
    app: App,
    source: str | None,
    dry_run: bool,
    now: str | None,
    as_json: bool,
) -> None:
    """Reads mails that came back: bounces, delays, complaints, unsubscribe mails,
    auto-replies.

    \b
    Example: drip inbound                       the mailbox of `inbound:` in _settings.yaml
             drip inbound ~/Maildir
             drip inbound bounces.mbox --dry-run
             |drip -w /srv/shop inbound -       in /etc/aliases: each mail as it arrives

    A dead address and a complaint are never written to again; what is about no message
    of ours changes nothing. Reading a mail twice changes nothing."""
    if dry_run:
        for mail in _mails(app, source):
            for finding in read(mail.data):
                _print_finding(mail.name, finding, as_json)
        return
    with app.opened(now) as (_, database, at):
        feedback = Feedback(database, at)
        count = 0
        for mail in _mails(app, source):
            feedback.take(read(mail.data), identity_of(mail.data))
            # Only now does the mailbox forget it: a mail read twice changes nothing,
            # one that is lost does.
            mail.taken()
            count += 1
    if as_json:
        print_json(_row(feedback.report, count))
    else:
        _print(feedback.report, count)


def _mails(app: App, source: str | None) -> Iterator[Incoming]:
    """Raises DripError where nothing says which."""
    if source == "-":
        return split("-", sys.stdin.buffer.read())
    if source is not None:
        return mails_in(Path(source))
    return _mails_of_mailbox(app.workspace())


def _mails_of_mailbox(workspace: Workspace) -> Iterator[Incoming]:
    options = workspace.mailbox()
    if options is None:
        raise DripError(
            "Nothing says where mails come back to.",
            help="name a file, a folder, or `-`; or write `inbound:` with host, user "
            "and password into _settings.yaml",
        )
    return mails_by_imap(options)


def _print_finding(name: str, finding: Finding, as_json: bool) -> None:
    if as_json:
        print_json({"file": name, **_finding_row(finding)})
    else:
        say(f"{name}: {_finding_line(finding)}")


def _finding_line(finding: Finding) -> str:
    whose = finding.recipient or "nobody in particular"
    # RFC 3464 section 2.3.3: of its actions only these two are about what has not
    # arrived, and the meaning says whether it still may.
    meaning = f", {finding.meaning}" if finding.kind in ("bounce", "delayed") else ""
    return f"{finding.kind} of {whose}{meaning}: {finding.reason}"


def _finding_row(finding: Finding) -> JsonRow:
    return {
        "kind": finding.kind,
        "recipient": finding.recipient or None,
        "status": finding.status or None,
        "class": finding.meaning,
        "reason": finding.reason,
    }


def _row(report: FeedbackReport, count: int) -> JsonRow:
    return {
        "mails": count,
        **report.counts,
        "suppressed": report.suppressed,
        "known": report.known,
        "unmatched": len(report.unmatched),
        "about_no_message": [_finding_row(finding) for finding in report.unmatched],
        "alarms": report.alarms,
    }


def _print(report: FeedbackReport, count: int) -> None:
    counts = sorted(report.counts.items())
    kinds = ", ".join(f"{number} {kind}" for kind, number in counts) or "nothing new"
    before = f", {report.known} known before" if report.known else ""
    say(
        f"{count} mail(s) read: {kinds}{before}; {report.suppressed} address(es) will "
        "not be written to again."
    )
    for finding in report.unmatched[:SHOWN]:
        whose = finding.recipient or "?"
        about = f"about no message of ours: {finding.kind} of {whose}"
        say(f"{about}: {finding.reason}", err=True)
    if len(report.unmatched) > SHOWN:
        say(f"… and {len(report.unmatched) - SHOWN} more", err=True)
    for alarm in report.alarms:
        say(f"alarm: {alarm}.", err=True)
