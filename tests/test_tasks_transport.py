"""Messages that become tasks for colleagues: once, under the caps, with what is to be said."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from drip.core.message import Assigned, Refused
from drip.storage.campaigns import tasks
from drip.transports.tasks import TasksTransport
from tests.cli import drip
from tests.cli import shop as made_of
from tests.test_delivery import MESSAGE
from tests.world import SETTINGS, World

Worlds = Callable[..., World]
CALL = """
name: Call
topic: service
trigger: { schedule: 2026-11-26 10:00 }
steps: [{ send: call, channel: sms }]
"""
DESK = {"assign_to": "front-desk", "priority": "70"}


def test_its_title_is_the_subject_or_the_first_line() -> None:
    transport = TasksTransport(DESK)
    assert transport.send(
        replace(MESSAGE, subject="Call  Ana\n", text=" Ask her. \n")
    ) == Assigned("Call Ana", "Ask her.", "front-desk", 70)
    long = transport.send(replace(MESSAGE, subject="", text="word " * 100 + "\nmore"))
    assert (
        isinstance(long, Assigned)
        and len(long.title) == 120
        and long.title.endswith("…")
    )
    assert isinstance(transport.send(replace(MESSAGE, subject=" ", text="\n")), Refused)


@pytest.mark.parametrize(
    "options",
    [{}, {"assign_to": " "}, {**DESK, "priority": "high"}, {**DESK, "to": "me"}],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"tasks|priority"):
        TasksTransport(options)


def test_a_message_becomes_one_task_and_counts_as_sent(world: Worlds) -> None:
    made = world(
        {"call": CALL},
        settings="transports: { sms: { use: tasks, assign_to: front-desk } }\n"
        "frequency_caps: { sms: 1 per week }",
    )
    made.transports = {"sms": TasksTransport(DESK)}  # type: ignore[dict-item]
    made.write("templates/call.sms", "Ask {{ contact.key }} whether the car is well.")
    made.contacts("key,phone", "ana,+15550100", "ben,+15550101")
    made.tick("2026-11-26 09:00")
    assert made.tick("2026-11-26 16:00").sent == 2
    assert made.tick("2026-11-26 16:01").sent == 0
    with made.database.read() as connection:
        found = tasks.listed(connection, ("open",))
    assert [
        (each.contact, each.title, each.assign_to, each.phone) for each in found
    ] == [
        ("ana", "Ask ana whether the car is well.", "front-desk", "+15550100"),
        ("ben", "Ask ben whether the car is well.", "front-desk", "+15550101"),
    ]
    assert [
        each.outcome for each in made.ledger() if each.outcome in ("sent", "task")
    ] == ["sent", "sent"]


def test_a_call_list_is_printed_exported_and_comes_back_with_outcomes(
    tmp_path: Path,
) -> None:
    root = tmp_path / "shop"
    files = {
        "campaigns/_settings.yaml": SETTINGS.replace(
            "email: { use: memory }", "sms: { use: tasks, assign_to: desk }"
        ),
        "campaigns/call.yaml": CALL,
        "templates/call.sms": "Ask whether the car is well.\n\nOffer the winter check.",
    }
    made_of(root, files, "key,phone\nana,+15550100\n")
    for time in ("9:00", "10:30"):
        assert drip(root, "run", "--once", "--now", f"2026-11-26 {time}").code == 0
    assert "Ask whether the car is well." in drip(root, "tasks").out
    assert drip(root, "tasks", "export", str(root / "calls.csv")).code == 0
    (row,) = csv.DictReader(
        (root / "calls.csv").read_text("utf-8-sig").splitlines(keepends=True)
    )
    assert (
        row["notes"].endswith("Offer the winter check.")
        and row["phone"] == "'+15550100"
    )
    (root / "back.csv").write_text(f"task,outcome\n{row['task']},booked\n", "utf-8")
    assert (
        "1 task(s) settled" in drip(root, "tasks", "import", str(root / "back.csv")).out
    )
    assert drip(root, "log", "--json").rows[-1]["outcome"] == "sent"
