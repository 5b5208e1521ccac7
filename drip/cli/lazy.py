"""The commands by name, each imported when it is called: `drip --help` and `--version`
need none of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

# What `drip --help` says of each, and where it is: `MODULE` of this room, or
# `MODULE:NAME` where the name is another one.
COMMANDS = {
    "check": (
        "check",
        "Reads campaigns, settings and templates and reports every problem in them.",
    ),
    "consent": (
        "people:consent",
        "What somebody said about topics: when, how, to what address, with what proof.",
    ),
    "counters": (
        "coupons:counters",
        "Where a contact's counters stand, and every movement that led there.",
    ),
    "coupons": (
        "coupons",
        "Codes: how many are issued and redeemed; redeem one, import a list.",
    ),
    "db": ("db", "The database."),
    "demo": (
        "demo",
        "Shows it all in a workspace of its own: people, preview, and a month of mails "
        "as files.",
    ),
    "diff": (
        "diff",
        "Who is affected by a change of the files: gained, lost, moved, newly capped, "
        "and the line that does it.",
    ),
    "explain": (
        "ledger:explain",
        "Why a contact got something or did not: past and coming, with reason, place "
        "and next instant.",
    ),
    "export": (
        "people:export",
        "All that is known of a person, as JSON: what they can download by their "
        "preferences page.",
    ),
    "forget": (
        "people:forget",
        "Erases a person: data, events, words, messages in files; runs end, codes are "
        "good no more.",
    ),
    "hold": (
        "hold",
        "Holds one campaign: nobody enters, nothing of it leaves; people stay where "
        "they are.",
    ),
    "import": (
        "people:import_",
        "Reads people from CSV (any delimiter and encoding) or JSON lines, plain or "
        "gzipped.",
    ),
    "inbound": (
        "inbound",
        "Reads mails that came back: bounces, delays, complaints, unsubscribe mails, "
        "auto-replies.",
    ),
    "init": (
        "demo:init",
        "A fresh workspace: sample campaigns, templates, settings, editor set-up.",
    ),
    "keys": (
        "keys",
        "Tokens by which a shop or a booking system posts to `/api/events` and "
        "`/api/contacts`.",
    ),
    "log": ("ledger:log", "What was decided and done, oldest first."),
    "metrics": (
        "metrics",
        "Figures for Prometheus: what waits, what is held, what came back, whether the "
        "daemon is well.",
    ),
    "migrate-runs": (
        "migrate:migrate_runs",
        "Moves the people in a campaign to its newest version, by the ids of their "
        "steps.",
    ),
    "operators": (
        "operators",
        "People who may log in to the dashboard of `drip serve`.",
    ),
    "preview": ("preview", "Who will get what, when; and who will not, and why."),
    "release": (
        "hold:release",
        "Settles held messages: those that may have left, and those that could not be "
        "rendered.",
    ),
    "report": (
        "report",
        "What came of campaigns: messages step by step, goals, revenue, arms of "
        "splits, and the lift against the holdout.",
    ),
    "run": (
        "run",
        "The daemon: plans and sends until it is stopped by Ctrl-C or SIGTERM, which "
        "finish what is in flight.",
    ),
    "schema": (
        "schema",
        "Writes the JSON Schemas by which an editor completes and checks this "
        "workspace's files.",
    ),
    "send": (
        "send",
        "Sends one test copy of a step, marked as such, outside of ledger, caps and "
        "consent.",
    ),
    "serve": (
        "serve",
        "Pages for recipients (unsubscribe, preferences, confirm, survey, sign-up), "
        "webhooks of mail providers, the API for other programs; and, on a port of its "
        "own, the dashboard.",
    ),
    "status": (
        "status",
        "Heartbeat, alarms of the last day, what waits, what is held; per campaign.",
    ),
    "stop": (
        "hold:stop",
        "Stops everything within one beat of the daemon; nothing is lost.",
    ),
    "suppress": (
        "hold:suppress",
        "Never writes to an address again, whoever has it: after a hard bounce or a "
        "complaint.",
    ),
    "tasks": (
        "tasks",
        "Work that campaigns give to people: the list, done with an outcome, export "
        "and import.",
    ),
    "test": ("test", "Plays the `tests:` of the campaign files on a virtual clock."),
}


class LazyCommand(click.Command):
    """A name and a line of help, and the command behind them once it is called."""

    def __init__(self, name: str, place: str, help: str) -> None:
        super().__init__(name, help=help)
        self._place = place

    def command(self) -> click.Command:
        """The command itself. Imports its module."""
        module, _, name = self._place.partition(":")
        found = getattr(import_module(f"drip.cli.{module}"), name or module)
        assert isinstance(found, click.Command)
        return found

    def make_context(self, *given: Any, **options: Any) -> click.Context:
        # A context knows its command, and what click does from here on it asks of that
        # one.
        return self.command().make_context(*given, **options)


def lazy_commands() -> dict[str, click.Command]:
    """All commands, none of which is imported yet."""
    return {
        name: LazyCommand(name, place, help) for name, (place, help) in COMMANDS.items()
    }
