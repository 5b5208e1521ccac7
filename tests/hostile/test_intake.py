"""What steers a terminal or hides is refused in keys and left out of texts, by whatever way it comes in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from drip.commands.orders import Order
from drip.commands.settling import settle_task
from drip.core.message import Message
from drip.engine.feedback import Feedback
from drip.errors import DripError
from drip.inbound.reading import Finding
from drip.language.files import load_folder
from drip.storage.operating import api_keys
from drip.storage.people import contacts
from drip.storage.people import events as event_store
from drip.storage.people.contacts import Contact
from tests.cli import drip
from tests.web import pages
from tests.world import World, at

Worlds = Callable[..., World]
NOW = at("2026-11-26 16:00")
STEERS = "\x1b[2J\u202eevil\u2066\x07\x9b\ufeff\U000e0041"
CLEAN = "[2Jevil"
ASK = """
name: Ask
topic: news
transactional: true
trigger: { event: news.requested }
steps: [send: ask]
"""
LETTER = """
name: Letter
topic: service
trigger: { schedule: 2026-11-25 10:00 }
steps:
  - send: letter
    survey: satisfaction
  - task: Call {{ contact.first_name }}
    assign_to: desk
"""
SETTINGS = """
topics:
  news: { title: News, opt_in: double }
  service: { title: Service, opt_in: implied }
surveys:
  satisfaction: { question: Well?, scores: 1-5 }
public_url: https://mail.maple.example
"""


def contact(made: World, key: str) -> Contact:
    with made.database.read() as connection:
        return contacts.contacts_by_key(connection, [key])[key]


def test_a_key_that_hides_or_goes_on_and_on_is_refused_and_what_is_pasted_is_cleaned(
    world: Worlds,
) -> None:
    made = world({})
    report = made.contacts(
        "key,email,first_name,phone",
        "an\u202ea,a@example.com,Ana,",
        f"{'k' * 201},b@example.com,Ben,",
        "b\u200db,,,",
        "ok,\u200bc@example.com\ufeff,\x1b[1mChl\x07oé\u202e,\u202a+1 202 555 0100\u202c",
        "zwnj-می‌خواهم,,می‌خواهم 👩‍👧,",
    )
    assert [why for _, why in report.rejected] == [
        r"the key `an\u202ea` holds the character \u202e, which nobody can see",
        "the key has 201 characters, and 200 may be",
        r"the key `b\u200db` holds the character \u200d, which nobody can see",
    ]
    found = contact(made, "ok")
    assert (found.email, found.attributes["first_name"]) == (
        "c@example.com",
        "[1mChloé",
    )
    assert found.phone == "+12025550100"
    assert contact(made, "zwnj-می‌خواهم").attributes["first_name"] == "می‌خواهم 👩‍👧"
    events = made.events(
        "event,contact,at,id,note",
        "a.b,ok,2026-01-01,1\u202e,x",
        "a.b,o\u200bk,2026-01-01,2,x",
        "a.b,ok,2026-01-01,3,x\x1b[2J\u202ey",
    )
    assert events.new == 1 and [why.split(" ")[1] for _, why in events.rejected] == [
        "id",
        "contact",
    ]


def test_what_visitors_type_is_kept_without_it(world: Worlds) -> None:
    made = world({"ask": ASK, "letter": LETTER}, settings=SETTINGS)
    made.contacts("key,email", "ana,ana@example.com")
    with pages(made, NOW) as site:
        path = f"/survey/{site.token('survey', topic='service', run=3, detail='satisfaction:2')}"
        assert (
            site.post(
                path, data={"score": "2", "comment": f"cold\n{STEERS}"}
            ).status_code
            == 200
        )
        typed = {"email": "new@example.com", "first_name": f"Ne\n{STEERS}"}
        assert site.post("/sign-up/news", data=typed).status_code == 200
    with made.database.read() as connection:
        (answered,) = event_store.events_of(connection, [1], ["survey.answered"])[1]
        fresh = contacts.contact_by_email(connection, "new@example.com")
    assert answered.fields["comment"] == f"cold {CLEAN}"
    assert fresh and fresh.attributes["first_name"] == f"Ne {CLEAN}"


def test_what_programs_post_is_refused_or_kept_without_it(world: Worlds) -> None:
    made = world({"letter": LETTER}, settings=SETTINGS)
    made.contacts("key,email", "ana,ana@example.com")
    with made.database.write() as connection:
        api_keys.add(connection, "shop", "drip_test-token", ["events", "contacts"], NOW)
    head = {"Authorization": "Bearer drip_test-token"}
    with pages(made, NOW) as site:
        people_posted = [
            {"key": f"x{STEERS}"},
            {"key": "ok", "first_name": STEERS, "email": "\u200bok@example.com"},
        ]
        told = site.post("/api/contacts", json=people_posted, headers=head).json()
        assert told["new"] == 1 and "nobody can see" in told["rejected"][0]["reason"]
        event = {
            "event": "order.placed",
            "contact": "ok",
            "id": "1",
            "fields": {"note": STEERS},
        }
        assert site.post("/api/events", json=event, headers=head).json()["new"] == 1
        assert (
            site.post(
                "/api/events", json={**event, "id": STEERS}, headers=head
            ).status_code
            == 422
        )
        many = {"key": "many", **{f"c{number}": 1 for number in range(2_100)}}
        assert site.post("/api/contacts", json=many, headers=head).status_code == 422
    found = contact(made, "ok")
    assert found.attributes["first_name"] == CLEAN and found.email == "ok@example.com"
    with made.database.read() as connection:
        (event,) = event_store.events_of(connection, [found.id], ["order.placed"])[
            found.id
        ]
    assert event.fields["note"] == CLEAN


def test_what_comes_back_by_mail_or_hook_is_kept_without_it(world: Worlds) -> None:
    made = world({"letter": LETTER}, settings=SETTINGS)
    made.contacts("key,email", "ana,ana@example.com")
    made.run("2026-11-25 10:00", "2026-11-25 20:00")
    message: Message = made.transport.messages[0]
    finding = Finding(
        "bounce",
        "ana@example.com",
        "5.1.1",
        "address-dead",
        f"no such{STEERS} user",
        (message.message_id,),
    )
    feedback = Feedback(made.database, NOW)
    feedback.take([finding], "mail")
    assert feedback.report.counts == {"bounce": 1}
    with made.database.read() as connection:
        (reason,) = connection.execute(text("SELECT reason FROM deliveries")).one()
        assert reason == f"no such{CLEAN} user"
        settings, order = made.workspace.settings, Order("ana", NOW)
        with pytest.raises(DripError, match="There is no task 99"):
            settle_task(connection, settings, order, 99, "done", STEERS)


def test_keys_of_files_and_names_of_campaigns_are_refused_with_their_place(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER}, settings=SETTINGS)
    made.write("campaigns/a\u202eb.yaml", LETTER)
    made.write(
        "campaigns/other.yaml", LETTER.replace("assign_to", '"assign\\u202e_to"')
    )
    made.write(
        "campaigns/ids.yaml", LETTER.replace("- task", '- id: "a\\u200bb"\n    task')
    )
    made.write("campaigns/tags.yaml", LETTER + '  - tag: "vip\\x1b[2J"\n')
    found = {
        each.place.file: each
        for each in load_folder(made.root).problems
        if "nobody can see" in each.sentence
    }
    assert sorted(found) == [
        "campaigns/a\u202eb.yaml",
        "campaigns/ids.yaml",
        "campaigns/other.yaml",
        "campaigns/tags.yaml",
    ]
    assert (
        found["campaigns/other.yaml"].place.line == 9
        and "\\u202e" in found["campaigns/other.yaml"].sentence
    )
    assert "\\x1b" in found["campaigns/tags.yaml"].sentence


@pytest.mark.file
def test_names_on_the_command_line_are_refused(world: Worlds, tmp_path: Path) -> None:
    settings = SETTINGS + 'coupons:\n  partner: { offer: "10 %", codes: list }\n'
    made = world({"letter": LETTER}, settings=settings)
    made.database.close()
    made.write("codes.csv", "code\nGOOD-1\nBAD\u202e-2\n" + "L" * 101 + "\n")
    added = drip(
        made.root, "coupons", "import", "partner", str(made.root / "codes.csv")
    )
    assert (
        added.code == 1
        and "1 code(s) are new" in added.out
        and r"BAD\u202e-2" in added.err
    )
    assert (
        "nobody can see"
        in drip(made.root, "keys", "add", "sh\u202eop", "--scope", "events").err
    )
    assert drip(made.root, "operators", "add", "an\u202ea").code == 2
