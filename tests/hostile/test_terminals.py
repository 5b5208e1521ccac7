"""What a name, key, field, event or file's name holds neither steers a terminal nor writes a line of its own."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import text

from drip.cli.log_lines import LOGGERS, log_to_stderr
from drip.cli.sample import copy_sample
from drip.cli.screen import complain, say
from drip.cli.tables import TerminalTable, draw, words
from drip.core.characters import HIDDEN
from drip.daemon.alarm_notifier import _message
from drip.errors import DripError, Place, Problem, Problems
from drip.pytest_plugin.collecting import as_lines
from drip.storage.operating import alarms, api_keys, holds
from drip.storage.operating.alarms import Alarm
from tests.cli import drip
from tests.test_inbound import report
from tests.world import World, at

HOSTILE = "\x1b]0;mine\x07\x1b[2J\x9b31m\u202eevil\u2066\u200f\ufeff\U000e0041\r\n[red]ana[/] [/] :smile: \x7f\x00"
CLEAN = re.compile(r"\x1b\[[0-9;]*m")  # what rich itself colours by


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("terminals")
    copy_sample(root, date(2026, 11, 22))
    return root


def harmless(said: str, lines: int | None = None) -> bool:
    rows = CLEAN.sub("", said).removesuffix("\n").split("\n")
    return not any(HIDDEN.search(each) for each in rows) and lines in (None, len(rows))


def test_a_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"{HOSTILE} is held.")
    said = capsys.readouterr().out
    assert harmless(said, lines=1)
    assert (
        r"\x1b[2J\x9b31m\u202eevil\u2066\u200f\ufeff\U000e0041\r\n[red]ana[/]" in said
    )


def test_a_table_has_as_many_rows_as_it_was_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = TerminalTable(HOSTILE)
    table.add_column(HOSTILE, no_wrap=True, overflow="crop", max_width=20)
    table.add_row("ana\nben", style="bold")
    table.add_row(words("[bold]chloe[/]", style="red"))
    draw(table, words((HOSTILE, "bold")))
    said = capsys.readouterr().out
    assert harmless(said)
    assert r"ana\nben" in said and "[bold]chloe[/]" in said


def test_an_error_and_a_problem_are_their_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    complain(DripError(HOSTILE, help=HOSTILE, place=Place(HOSTILE)))
    complain(Problems([Problem(Place(HOSTILE, 3, 4), HOSTILE, HOSTILE, HOSTILE)]))
    assert harmless(capsys.readouterr().err, lines=2 + 4)


@pytest.mark.parametrize("name", LOGGERS)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_log_line_is_one_line(
    name: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = [logging.getLogger(each) for each in LOGGERS]
    before = [(log.handlers, log.level, log.propagate) for log in logs]
    try:
        log_to_stderr(as_json)
        logging.getLogger(f"{name}.part").error(
            "%s failed", HOSTILE, extra={"action": "page-failed"}
        )
    finally:
        for log, known in zip(logs, before, strict=True):
            log.handlers, log.level, log.propagate = known
    said = capsys.readouterr().err
    assert harmless(said, lines=1)
    assert not as_json or json.loads(said)["sentence"] == f"{HOSTILE} failed"


@pytest.mark.parametrize(
    "command",
    [
        ["explain", HOSTILE.replace("\0", "")],
        ["hold", "a\x1b[2J\nerror: forged"],
        ["preview", "--now", "\x1b[2J\u202e\nforged"],
        ["\x1b[2J\nforged"],
        ["import", "contacts", "no\x1b[2J\nfile.csv"],
        ["check", "--explain", "\x9b\nforged"],
        ["--workspace", "no\x1b\nworkspace", "status"],
    ],
)
def test_an_argument_comes_back_escaped(command: list[str], sample: Path) -> None:
    done = drip(sample, *command)
    said = done.out + done.err
    assert done.code == 2 and harmless(said), said
    assert not re.search(r"^(error: )?forged", said, re.M)


def test_help_and_usage_keep_their_lines(sample: Path) -> None:
    assert (
        "\nCommands:\n" in drip(sample, "db").err
        and "Usage: " in drip(sample, "keys", "add").err
    )


# An older database holds what is refused today.
CAMPAIGN = """
name: Letter
topic: service
trigger: { schedule: 2026-11-26 10:00 }
steps:
  - send: letter
  - task: Call {{ contact.first_name }}
    assign_to: desk
"""
COMMANDS = (
    ("preview", "--now", "2026-11-26 9:00"),
    ("preview", "--now", "2026-11-26 9:00", "--contact", HOSTILE.replace("\0", "")),
    ("explain", HOSTILE.replace("\0", ""), "--now", "2026-11-26 12:00"),
    ("log",),
    ("status",),
    ("tasks", "--all"),
    ("consent", HOSTILE.replace("\0", "")),
    ("counters", HOSTILE.replace("\0", "")),
    ("report", "--since", "2026-01-01"),
    ("check",),
    ("coupons",),
    ("keys",),
    ("inbound", "--dry-run", "bounce.eml"),
    ("test",),
    ("diff", "other"),
    ("metrics",),
)


def test_no_command_lets_what_the_database_holds_steer_the_terminal(
    world: Callable[..., World],
) -> None:
    made = world(
        {"letter": CAMPAIGN, "broken": f"name: {json.dumps(HOSTILE)}\nsteps: [x]\n"}
    )
    made.contacts("key,email", "ana,ana@example.com", "ben,ben@example.com")
    made.run("2026-11-26 12:00", "2026-11-26 20:00")
    key = HOSTILE.replace("\0", "")
    with made.database.write() as connection:
        connection.execute(
            text("UPDATE contacts SET key = :key WHERE key = 'ana'"), {"key": key}
        )
        connection.execute(text("UPDATE messages SET sentence = :key"), {"key": key})
        connection.execute(
            text("UPDATE tasks SET title = :key, assign_to = :key, notes = :key"),
            {"key": key},
        )
        alarms.raised(connection, "trouble", key, key, at("2026-11-26 12:00"))
        api_keys.add(connection, key, "drip_x", ["events"], at("2026-11-26 12:00"))
        holds.hold(connection, "letter", at("2026-11-26 12:00"), key)
    made.database.close()
    shutil.copytree(made.root / "campaigns", made.root / "other" / "campaigns")
    shutil.copytree(made.root / "templates", made.root / "other" / "templates")
    bounce = report(
        "550 5.1.1 \x1b[2J\u202eno such user", "5.1.1", who="ana@example.com"
    )
    (made.root / "bounce.eml").write_bytes(bounce)
    seen = ""
    for arguments in COMMANDS:
        named = [
            str(made.root / each) if each in ("bounce.eml", "other") else each
            for each in arguments
        ]
        for json_too in (
            ((), ("--json",)) if arguments[0] not in ("metrics",) else ((),)
        ):
            done = drip(made.root, *named, *json_too)
            assert "Something went wrong" not in done.err, (arguments, done.err)
            assert harmless(done.out) and harmless(done.err), arguments
            seen += done.out
    assert seen.count(r"\u202eevil") > 10


def test_an_alarm_that_is_mailed_and_a_report_of_pytest_are_escaped(
    world: Callable[..., World],
) -> None:
    made = world()
    told = _message(
        made.workspace,
        "x",
        "ops@example.com",
        Alarm(1, "trouble", "", HOSTILE, at("2026-11-26"), None, None),
    )
    assert not HIDDEN.search(told.text.replace("\n", "")) and not HIDDEN.search(
        told.subject
    )
    assert harmless(as_lines([HOSTILE, "ana"]), lines=2)
