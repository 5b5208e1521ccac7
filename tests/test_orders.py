"""What people order leaves a row that says who, when and why, in the transaction of what it changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from drip.cli.sample import copy_sample
from drip.commands import access, holding
from drip.commands.forgetting import forget
from drip.commands.orders import LONGEST_WHY, Order
from drip.commands.releasing import release
from drip.commands.settling import settle_task
from drip.commands.suppressing import suppress
from drip.errors import DripError
from drip.storage.campaigns import tasks
from drip.storage.operating import audit
from drip.storage.operating import holds as hold_store
from drip.storage.people import contacts, suppressions
from drip.storage.reading import exporting
from drip.workspace import OWN
from tests.cli import drip
from tests.world import World, at

Worlds = Callable[..., World]
NOW = at("2026-11-26 14:05")
ANA = Order("ana", NOW, "wrong price")
CALL = """
name: A call
topic: service
trigger: { event: order.placed }
steps:
  - task: Call them
    assign_to: desk
"""


@pytest.fixture
def made(world: Worlds) -> World:
    """A campaign that has given a task about `ben`."""
    made = world({"call": CALL})
    made.contacts("key,email", "ben,ben@example.com")
    made.tick("2026-11-26 12:00")
    made.events("event,id,contact,at", "order.placed,o1,ben,2026-11-26 13:00Z")
    made.tick("2026-11-26 14:00")
    return made


def orders(made: World) -> list[tuple[str, str, str | None, str | None, str | None]]:
    """By whom, what, about what, about whom, why."""
    with made.database.read() as connection:
        found = audit.orders(connection)
    return [(row.by, row.command, row.about, row.contact, row.why) for row in found]


def test_each_order_leaves_a_row(made: World) -> None:
    with made.database.write() as connection:
        holding.hold(connection, ANA, "call")
        holding.let_go(connection, ANA, "call")
        holding.stop(connection, ANA)
        holding.go_on(connection, Order("ben", NOW))
        access.add_key(connection, ANA, "shop", ["events"])
        access.revoke_key(connection, ANA, "shop")
        (task,) = tasks.listed(connection, ("open",))
        settings = made.workspace.settings
        settle_task(connection, settings, ANA, task.number, "dropped", None)
    why = "wrong price"
    assert orders(made) == [
        ("ana", "hold", "call", None, why),
        ("ana", "hold --off", "call", None, why),
        ("ana", "stop", "*", None, why),
        ("ben", "stop --off", "*", None, None),
        ("ana", "keys add", "shop", None, why),
        ("ana", "keys revoke", "shop", None, why),
        ("ana", "tasks drop", f"task {task.number}", "ben", why),
    ]


def test_an_order_that_fails_leaves_nothing(made: World) -> None:
    with (
        pytest.raises(DripError, match="Message 7 is not held"),
        made.database.write() as connection,
    ):
        holding.stop(connection, ANA)
        release(connection, ANA, [7], "sent")
    assert orders(made) == []
    with made.database.read() as connection:
        assert hold_store.held_scopes(connection) == {}


def test_a_suppressed_address_is_named_by_its_keyed_hash_alone(made: World) -> None:
    with made.database.write() as connection:
        suppress(connection, ANA, "ben@example.com")
        key = suppressions.suppression_key(connection)
    digest = suppressions.digest(key, "ben@example.com")
    assert orders(made) == [("ana", "suppress", digest[:16], None, "wrong price")]


def test_what_is_typed_steers_no_terminal_and_is_cut() -> None:
    order = Order("a\x1b[2Jna", NOW, f" \u202e{'x' * 10_000} ")
    assert order.by == "a[2Jna"
    assert order.why == "x" * LONGEST_WHY
    assert Order("ana", NOW, "  ").why is None


def test_erasing_a_person_leaves_the_rows_without_them(made: World) -> None:
    asked = Order("ana", NOW, "Ben, ben@example.com, asked on the phone")
    with made.database.write() as connection:
        number = contacts.contact_of_key(connection, "ben").id
        holding.hold(connection, Order("ana", NOW, "ben complained"), "call")
        (task,) = tasks.listed(connection, ("open",))
        settings = made.workspace.settings
        settle_task(connection, settings, ANA, task.number, "done", None)
        own = exporting.of_contact(connection, number)["orders"]
    assert [row["command"] for row in own] == ["tasks done"]
    assert "by" not in own[0]
    forget(made.database, made.root / OWN, asked, number)
    erased = f"erased-{number}"
    assert orders(made) == [
        ("ana", "hold", "call", None, "… complained"),
        ("ana", "tasks done", f"task {task.number}", erased, None),
        ("ana", "forget", None, erased, "…, …, asked on the phone"),
    ]


def test_of_two_who_hold_a_campaign_the_first_one_does(made: World) -> None:
    later = NOW + timedelta(hours=1)
    with made.database.write() as connection:
        holding.hold(connection, Order("ana", NOW, "wrong price"), "call")
        holding.hold(connection, Order("ben", later, "wrong date"), "call")
    with made.database.read() as connection:
        assert audit.holders(connection)["call"].by == "ana"


def test_what_drip_holds_by_itself_is_nobodys_order(made: World) -> None:
    later = NOW + timedelta(hours=1)
    with made.database.write() as connection:
        hold_store.hold(connection, "call", NOW, "too many people")
        holding.hold(connection, Order("ben", later, None), "call")
    with made.database.read() as connection:
        assert audit.holders(connection) == {}


def test_who_holds_again_what_was_let_go_holds_it(made: World) -> None:
    with made.database.write() as connection:
        holding.hold(connection, Order("ana", NOW, "first"), "call")
        holding.let_go(connection, ANA, "call")
        holding.hold(connection, Order("ben", NOW, "again"), "call")
    with made.database.read() as connection:
        assert audit.holders(connection)["call"].why == "again"


def test_status_and_the_log_say_who_held_it_and_why(tmp_path: Path) -> None:
    copy_sample(tmp_path, NOW.date())
    why = "wrong price in the issue of Thursday"
    held = drip(tmp_path, "hold", "newsletter", "--why", why, DRIP_BY="Ana Morales")
    assert held.code == 0
    assert f"newsletter is held since just now by Ana Morales: {why}." in drip(
        tmp_path, "status"
    ).out.replace("1 second ago", "just now").replace("2 seconds ago", "just now")
    (status,) = drip(tmp_path, "status", "--json").rows
    assert status["held_by"] == {"newsletter": {"by": "Ana Morales", "why": why}}
    drip(tmp_path, "stop")
    first, second = drip(tmp_path, "log", "--audit", "--json").rows
    assert (first["by"], first["command"], first["about"], first["why"]) == (
        "Ana Morales",
        "hold",
        "newsletter",
        why,
    )
    # Of whoever is logged in to this machine.
    assert second["by"] and second["command"] == "stop" and second["why"] is None
    (about,) = drip(tmp_path, "log", "--audit", "--campaign", "newsletter").out.split(
        "\n"
    )[:-1]
    assert about.endswith(f"Ana Morales  hold newsletter: {why}")
    # What happened to messages is another list, which is as it was.
    assert drip(tmp_path, "log").out == ""


def test_an_import_is_noted_and_a_rehearsal_is_not(tmp_path: Path) -> None:
    copy_sample(tmp_path, NOW.date())
    file = tmp_path / "people.csv"
    file.write_text("key,email\nana,ana@example.com\n")
    drip(tmp_path, "import", "contacts", str(file), "--dry-run")
    assert drip(tmp_path, "log", "--audit", "--json").rows == []
    drip(tmp_path, "import", "contacts", str(file), "--why", "from the till")
    (row,) = drip(tmp_path, "log", "--audit", "--json").rows
    assert (row["command"], row["about"]) == ("import contacts", "people.csv")
    assert row["why"] == "from the till"
