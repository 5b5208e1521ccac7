"""What steers a terminal or hides is refused in keys and left out of texts, by whatever way it comes in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from drip.cli.sample import copy_sample
from drip.core.message import Refused
from drip.core.token import Link, sign
from drip.engine.feedback import Feedback
from drip.importing import answers
from drip.importing.settling import settle_task
from drip.inbound.reading import Finding
from drip.storage import people
from drip.storage.people import Contact
from tests.world import LETTER, World, at

Worlds = Callable[..., World]


def contact(made: World, key: str) -> Contact:
    with made.database.read() as connection:
        return people.contacts_by_key(connection, [key])[key]


def test_a_key_that_hides_or_goes_on_and_on_is_refused_and_what_is_pasted_is_cleaned(world: Worlds) -> None:
    made = world({})
    report = made.contacts(
        "key,email,first_name,phone", "an\u202ea,a@example.com,Ana,", f"{'k' * 201},b@example.com,Ben,", "b\u200db,,,",
        "ok,\u200bc@example.com\ufeff,\x1b[1mChl\x07oé\u202e,\u202a+1 202 555 0100\u202c", "zwnj-می‌خواهم,,می‌خواهم 👩‍👧,",
    )  # fmt: skip
    assert [why for _, why in report.rejected] == [
        r"the key `an\u202ea` holds the character \u202e, which nobody can see",
        "the key has 201 characters, and 200 may be",
        r"the key `b\u200db` holds the character \u200d, which nobody can see",
    ]
    found = contact(made, "ok")
    assert (found.email, found.attributes["first_name"]) == ("c@example.com", "[1mChloé")
    assert found.phone == "+12025550100"
    assert contact(made, "zwnj-می‌خواهم").attributes["first_name"] == "می‌خواهم 👩‍👧"
    events = made.events(
        "event,contact,at,id,note", "a.b,ok,2026-01-01,1\u202e,x", "a.b,o\u200bk,2026-01-01,2,x",
        "a.b,ok,2026-01-01,3,x\x1b[2J\u202ey",
    )  # fmt: skip
    assert events.new == 1 and [why.split(" ")[1] for _, why in events.rejected] == ["id", "contact"]
