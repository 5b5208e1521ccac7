"""An erased person is searched for byte by byte: in every file below the workspace, and in every table of either database."""

from __future__ import annotations

import base64
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from pypdf import PdfReader
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from drip import papers
from drip.cli.preview import write_page
from drip.commands import holding, recipient_actions
from drip.commands.forgetting import forget
from drip.commands.orders import Order
from drip.core.message import Message, Receipt, Refused, Sent, Unknown
from drip.core.shortage import Shortage
from drip.core.token import Link, message_name
from drip.daemon.answering import Answering
from drip.daemon.clearer import Clearer
from drip.engine.feedback import Feedback
from drip.importing.rows import LONGEST_ROW, Row, write_rejected
from drip.inbound.reading import Finding
from drip.storage.base.database import workspace_id
from drip.storage.base.postgresql import PostgresqlDatabase
from drip.storage.base.schema import metadata
from drip.storage.base.sqlite import SqliteDatabase
from drip.storage.campaigns import tasks
from drip.storage.operating import alarms, api_keys, webhook_outbox
from drip.storage.people import contacts, data_mails, erasing
from drip.transports.files import FilesTransport
from drip.transports.tasks import TasksTransport
from drip.workspace import OWN
from tests.servers import binaries
from tests.test_pdf import transport as printer
from tests.web import pages
from tests.world import World, at

Worlds = Callable[..., World]
# Stands in every value of the person who is erased, and in nobody else's.
MARK = "zqx7w"
KEY, EMAIL, PHONE = f"{MARK}-key", f"{MARK}.né@{MARK}-mail.example", "+15550100199"
BEFORE = f"{MARK}.before@{MARK}-old.example"
SETTINGS = """
public_url: https://mail.maple.example
tracking: { clicks: yes }
topics:
  news: { title: News, opt_in: double }
  service: { title: Service, opt_in: implied }
surveys:
  visit: { question: How was your visit?, scores: 1-5 }
coupons: { treat: { offer: 15% off, prefix: T } }
counters: { card: { add: order.placed } }
segments: { known: { first_name: known } }
webhooks:
  crm: { url: "http://127.0.0.1:9/in", secret: secret:HOOK, private: yes, on: "sent, bounced, unsubscribed, survey.answered" }
transports:
  email: { use: files, folder: out }
  sms: { use: tasks, assign_to: desk }
  letter: { use: pdf, folder: letters }
data:
  contact: { first_name: text, last_name: text, postal_address: text, birthday: birthday, visits: number }
  vehicle: { model: text, last_service: date }
"""
CAMPAIGNS = {
    "letter": """
name: Letter
topic: service
trigger: { schedule: 2026-11-26 10:00 }
steps:
  - coupon: treat
  - send: letter
    survey: visit
  - tag: written
  - task: "Call {{ contact.first_name }} {{ contact.last_name }}"
    assign_to: boss
    due: 2 business days
  - pause: [news]
    for: 14 days
""",
    "call": "name: Call\ntopic: service\ntrigger: { schedule: 2026-11-26 10:00 }\nsteps: [{ send: call, channel: sms }]\n",
    "card": "name: Card\ntopic: service\ntrigger: { schedule: 2026-11-26 10:00 }\nsteps: [{ send: card, channel: letter }]\n",
    "order": "name: Order\ntopic: service\ntrigger: { event: order.placed }\naudience: { last_name: Nobody }\nsteps: [send: letter]\n",
    "named": """
name: Named
topic: service
trigger: { schedule: 2026-11-26 10:00 }
steps: [{ send: letter, only_if: { last_name: Nobody } }]
""",
    "later": """
name: Later
topic: service
trigger: { event: order.placed }
steps: [{ wait_for: order.paid, up_to: 30 days, else: end }, { send: letter }]
""",
}
for minute in (1, 2, 3):
    CAMPAIGNS[f"more{minute}"] = (
        f"name: More\ntopic: service\ntrigger: {{ schedule: 2026-11-26 10:0{minute} }}\nsteps: [{{ send: letter, survey: visit }}]\n"
    )
LETTER = """---
subject: Hello {{ contact.first_name }}
---
Dear {{ contact.last_name }}, [look](https://shop.example/?mail={{ contact.email|urlencode }}) or [all](https://shop.example/).
{{ survey_link(4) }}
"""


class Quotes:
    """A server that takes everybody but one, whom its answers quote."""

    channels = frozenset({"email"})

    def __init__(self, receipt: Callable[[str], Receipt]) -> None:
        self._receipt = receipt

    def send(self, message: Message) -> Receipt:
        address = message.to.address
        return self._receipt(address) if MARK in address else Sent("taken")

    def close(self) -> None:
        """Nothing is kept open."""


@dataclass
class Person:
    """Somebody who came in by every door that there is, and is known by `number`."""

    made: World
    number: int


def comes_in(made: World) -> Person:
    """Fills a workspace by every door."""
    made.write("templates/letter.md", LETTER)
    made.write(
        "templates/call.sms",
        "Ask {{ contact.first_name }} of {{ contact.postal_address }}.",
    )
    made.write(
        "templates/card.letter.html",
        '<html lang="en"><p>Dear {{ contact.last_name }}</p></html>',
    )
    made.workspace.environment = {"HOOK": "s3cret"}  # type: ignore[misc]
    columns = "key,email,phone,first_name,last_name,postal_address,birthday,visits,news"
    others = [
        f"p{n},p{n}@example.com,,Pat,Plain,{n} Elm Street,,,yes" for n in range(40)
    ]
    row = f"{PHONE},{MARK}-Ana,{MARK}-Né,12 {MARK} Street,1990-11-26,7,yes"
    made.contacts(columns, *others[:20], f"{KEY},{BEFORE},{row}", *others[20:])
    made.contacts(columns, f"{KEY},{EMAIL},{row}")
    made.vehicles(
        "key,contact,model,last_service", f"{MARK}-plate,{KEY},{MARK}-Golf,2026-06-01"
    )
    made.events(
        "event,contact,at,id,vehicle,note",
        f"order.placed,{KEY},2026-11-20 10:00,{MARK}-order,{MARK}-plate,{MARK}-note",
    )
    made.write("people.csv", f"key,email\n{KEY},no\n")
    bad = [
        (Row(2, {"key": KEY, "email": "no"}), f"`{MARK}` is no address"),
        (Row(3, {"key": "p1", "email": "no"}), "no"),
    ]
    papers.note(made.root / ".drip", write_rejected(made.root / "people.csv", bad))
    papers.note(
        made.root / ".drip",
        write_page(made.root / "report", f"<p>{KEY} gets a letter</p>"),
    )
    _by_pages(made)
    _is_written_to(made)
    with made.database.read() as connection:
        return Person(made, contacts.contacts_by_key(connection, [KEY])[KEY].id)


def _by_pages(made: World) -> None:
    with made.database.write() as connection:
        api_keys.add(
            connection,
            "shop",
            "drip_token",
            ["events", "contacts", "coupons"],
            at("2026-11-20"),
        )
    with pages(made, at("2026-11-26 08:00")) as site:
        known = {
            "Authorization": "Bearer drip_token",
            "Idempotency-Key": f"{MARK}-request",
        }
        event = {
            "event": "order.paid",
            "contact": KEY,
            "id": f"{MARK}-é",
            "fields": {"gift": f"{MARK}-été"},
        }
        lost = {"event": "order.paid", "contact": f"{MARK}-unknown"}
        assert (
            site.post("/api/events", json=[event, lost], headers=known).json()["new"]
            == 1
        )
        wrong = {"key": KEY, "phone": f"{MARK}-phone"}
        answer = site.post(
            "/api/contacts",
            json=[wrong],
            headers={**known, "Idempotency-Key": f"{MARK}-2"},
        )
        assert MARK in answer.text
        site.post("/sign-up/news", data={"email": EMAIL, "first_name": f"{MARK}-Eve"})


def _is_written_to(made: World) -> None:
    noon = at("2026-11-26 16:00")
    made.transports = {
        "email": FilesTransport({"folder": str(made.root / "out")}),
        "sms": TasksTransport({"assign_to": "desk"}),
        "letter": printer(made.root / "letters"),
    }  # type: ignore[dict-item]
    made.tick("2026-11-26 09:00")
    made.tick(noon)
    made.tick(noon + timedelta(seconds=1))
    for minutes, receipt in enumerate(
        (
            lambda who: Refused(f"550 5.1.1 <{who}>: no such user", "address"),
            lambda who: Refused(f"550 5.7.1 <{who}> not from you", "sender"),
            lambda who: Unknown(f"the link died after <{who}>"),
        ),
        1,
    ):
        made.transports = {"email": Quotes(receipt)}  # type: ignore[dict-item]
        with made.database.write() as connection:
            # Who was given up before is written to once more.
            connection.execute(text("DELETE FROM suppressions"))
        made.tick(noon + timedelta(minutes=minutes))
        made.tick(noon + timedelta(minutes=minutes, seconds=1))
    with made.database.write() as connection:
        (own,) = contacts.contacts_by_key(connection, [KEY]).values()
        sent = connection.execute(
            text(
                "SELECT run_id, step FROM messages WHERE contact_id = :id AND channel = 'email'"
            ),
            {"id": own.id},
        ).first()
        assert sent
        link = Link("survey", own.id, "service", sent.run_id, "visit:2")
        recipient_actions.answer(
            connection, made.workspace.settings, link, noon, f"{MARK} was cold"
        )
        webhook_outbox.add(
            connection, "unsubscribed", [(own.id, {"contact": KEY})], noon
        )
        why = f"{KEY} ({EMAIL}) complained"
        holding.hold(connection, Order("ana", noon, why), "nothing")
        alarms.raised(connection, "trouble", "", f"550 <{EMAIL.upper()}> said no", noon)
        about = message_name(workspace_id(connection), sent.run_id, sent.step, "email")
    feedback = Feedback(made.database, noon + timedelta(hours=1))
    back = Finding(
        "bounce",
        EMAIL,
        "5.1.1",
        "address-dead",
        f"550 5.1.1 <{EMAIL}> is unknown",
        (about,),
    )
    feedback.take([back], f"{MARK}-mail")
    assert feedback.report.suppressed == 1


def erase(person: Person, now: str = "2026-11-27 10:00") -> str | None:
    """Erases the person as a command does; what is left in files, if anything is."""
    made = person.made
    forget(made.database, made.root / OWN, Order("ana", at(now)), person.number)
    return made.workspace.clear(made.database, at(now))


FORMS = [MARK.encode()] + [
    # Whatever stands before and after it, for each of the three ways in which base64 can cut it.
    base64.b64encode(b"\0" * before + MARK.encode())[(8 * before + 5) // 6 :][
        : (8 * (len(MARK) - 1)) // 6
    ]
    for before in range(3)
]


def found_in_files(root: Path) -> list[str]:
    """Every file below a folder that has the mark in its name or content: plain (so also percent-encoded, in JSON and as
    quoted-printable, which leave it as it is), broken over lines, in base64, or printed."""
    found = []
    for path in sorted(each for each in root.rglob("*") if each.is_file()):
        content = path.read_bytes()
        bare = (
            content.replace(b"=\r\n", b"")
            .replace(b"\r\n", b"")
            .replace(b"\n", b"")
            .lower()
        )
        printed = (
            "".join(page.extract_text() for page in PdfReader(path).pages)
            if path.suffix == ".pdf"
            else ""
        )
        plain = any(form.lower() in bare for form in FORMS[:1]) or any(
            form in content for form in FORMS[1:]
        )
        if (
            plain
            or MARK in printed.lower()
            or MARK in str(path.relative_to(root)).lower()
        ):
            found.append(str(path.relative_to(root)))
    return found


def found_in_tables(made: World) -> list[str]:
    """Every column of every table that has the mark in it."""
    found = []
    with made.database.read() as connection:
        for table in metadata.sorted_tables:
            for column in table.columns:
                asked = text(
                    f'SELECT count(*) FROM {table.name} WHERE lower(CAST("{column.name}" AS TEXT)) LIKE :mark'
                )
                if (
                    column.type.python_type is not bytes
                    and connection.execute(asked, {"mark": f"%{MARK}%"}).scalar()
                ):
                    found.append(f"{table.name}.{column.name}")
    return found


@pytest.fixture
def person(world: Worlds) -> Person:
    return comes_in(world(CAMPAIGNS, settings=SETTINGS))


@pytest.mark.file
def test_the_search_finds_what_it_looks_for(person: Person) -> None:
    tables = set(found_in_tables(person.made))
    for each in (
        "contacts.key",
        "records.attributes",
        "events.fields",
        "consent_log.address",
        "deliveries.reason",
        "tasks.title",
        "tasks.notes",
        "links.address",
        "answered.body",
        "webhook_outbox.data",
        "messages.sentence",
        "suppressions.reason",
        "alarms.sentence",
        "audit.why",
        "runs.occurrence",
        "refusals.answer",
    ):
        assert each in tables or each in ("suppressions.reason", "refusals.answer"), (
            each
        )
    files = found_in_files(person.made.root)
    for each in ("people.csv", "people.csv.rejected.csv", "report/preview.html"):
        assert each in files
    assert any(each.startswith("out/") for each in files)
    assert any(each.endswith(".pdf") for each in files) and any(
        each.startswith("letters/") for each in files
    )


def test_nothing_of_an_erased_person_is_left_anywhere(
    person: Person, tmp_path: Path
) -> None:
    made = person.made
    # The marketer's own.
    for each in ("people.csv", "contacts.csv", "vehicles.csv", "events.csv"):
        (made.root / each).unlink(missing_ok=True)
    assert erase(person) is None
    assert found_in_tables(made) == []
    if isinstance(made.database, PostgresqlDatabase):
        programs = binaries()
        assert programs
        made_of = subprocess.run(
            [programs / "pg_dump", made.database.where], capture_output=True, check=True
        ).stdout
        assert MARK.encode() not in made_of.lower()
    assert found_in_files(made.root) == []
    # The others are as they were.
    assert "p1" in (made.root / "people.csv.rejected.csv").read_text()
    assert len(list((made.root / "out").glob("*.eml"))) == 40
    with made.database.read() as connection:
        assert contacts.count(connection) == 40
        assert erasing.outstanding(connection) == []


@pytest.mark.file
def test_a_mail_with_a_link_to_ones_own_data_is_not_left_either(person: Person) -> None:
    made, now = person.made, at("2026-11-26 20:00")
    with made.database.write() as connection:
        # Nobody is written to at an address that is dead.
        connection.execute(text("DELETE FROM suppressions"))
        for _ in range(3):
            data_mails.ask(
                connection,
                person.number,
                "Your data",
                f"Here it is: {data_mails.LINK}",
                now,
            )
    Answering(made.database, lambda: now, lambda: False).send(made.workspace)
    assert len(list((made.root / "out").glob("*_data.*.eml"))) == 3
    assert erase(person) is None
    assert list((made.root / "out").glob(f"*{MARK}*")) == []
    assert found_in_tables(made) == []


@pytest.mark.file
def test_a_disk_that_is_full_while_files_are_cleared_leaves_the_erasure_as_it_is(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: SqliteDatabase, *, thorough: bool) -> bool:
        raise Shortage("The disk is full.", "make room")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteDatabase, "scrub", full)
        assert erase(person) == "The disk is full."
    with person.made.database.read() as connection:
        assert [each.contact_id for each in erasing.outstanding(connection)] == [
            person.number
        ]


def test_a_paper_that_is_no_table_any_more_is_named_and_hinders_nothing(
    tmp_path: Path,
) -> None:
    broken, whole = tmp_path / "broken.csv", tmp_path / "whole.csv"
    broken.write_text(f'key,reason\n{KEY},"' + "x" * (LONGEST_ROW + 1))
    whole.write_text(f"key,reason\n{KEY},no\np1,no\n")
    for each in (broken, whole):
        papers.note(tmp_path / ".drip", each)
    assert papers.strike(tmp_path / ".drip", papers.Named(KEY, [EMAIL])) == [broken]
    assert whole.read_text().split() == ["key,reason", "p1,no"]


def test_who_was_erased_is_in_no_audience_any_more(world: Worlds) -> None:
    everybody = "name: All\ntopic: service\ntrigger: { schedule: 2026-11-28 10:00 }\nsteps: [{ task: Call, assign_to: desk }]\n"
    born = "name: Born\ntopic: service\ntrigger: { date: contact.joined }\nsteps: [{ task: Call, assign_to: desk }]\n"
    made = world(
        {
            "all": everybody,
            "chosen": everybody + "audience: { first_name: unknown }\n",
            "born": born,
        }
    )
    made.contacts(
        "key,email,joined",
        "ana,ana@example.com,2026-11-28",
        "ben,ben@example.com,2026-11-28",
    )
    made.tick("2026-11-28 01:00")
    with made.database.write() as connection:
        erasing.erase(connection, 1, at("2026-11-28 02:00"))
    made.tick("2026-11-28 16:00")
    with made.database.read() as connection:
        entered = connection.execute(
            text(
                "SELECT campaign, contact_id FROM runs WHERE active OR started_at > 0 ORDER BY campaign"
            )
        )
        assert {tuple(row) for row in entered if row.contact_id == 1} <= {("born", 1)}
        assert [each.contact for each in tasks.listed(connection, ("open",))] == [
            "ben"
        ] * 3
        assert contacts.count(connection) == 1


@pytest.mark.file
def test_a_repeat_of_a_request_does_nothing_again_and_quotes_nobody(
    person: Person,
) -> None:
    made = person.made
    erase(person)
    with pages(made, at("2026-11-27 07:00")) as site:
        known = {"Authorization": "Bearer drip_token", "Idempotency-Key": f"{MARK}-2"}
        answer = site.post(
            "/api/contacts",
            json=[{"key": KEY, "phone": f"{MARK}-phone"}],
            headers=known,
        )
    assert (
        answer.status_code == 422
        and "not kept" in answer.text
        and MARK not in answer.text
    )
    assert found_in_tables(made) == []


def test_a_message_that_is_on_its_way_is_cleared_once_it_has_ended(
    person: Person,
) -> None:
    made = person.made
    with made.database.write() as connection:
        on_its_way = text(
            "UPDATE messages SET state = 'sending', fence = 99 WHERE contact_id = :id AND state = 'sent'"
        )
        assert connection.execute(on_its_way, {"id": person.number}).rowcount
    assert erase(person) == "a message is on its way"
    with made.database.write() as connection:
        ended = text(
            "UPDATE messages SET state = 'failed', sentence = :said WHERE contact_id = :id AND state = 'sending'"
        )
        connection.execute(ended, {"id": person.number, "said": f"550 <{EMAIL}>"})
    assert made.workspace.clear(made.database, at("2026-11-27 10:01")) is None
    assert found_in_tables(made) == []


@pytest.mark.file
def test_a_folder_that_cannot_be_looked_into_is_tried_again(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = person.made

    def fails(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("drip.transports.files.Path.unlink", fails)
        assert "Permission denied" in (erase(person) or "")
    clearer = Clearer(made.database, lambda: at("2026-11-30 10:00"))
    clearer.clear(made.workspace)
    with made.database.read() as connection:
        assert erasing.outstanding(connection) == []


@pytest.mark.file
def test_a_reader_in_the_way_does_not_fail_the_erasure_and_the_rest_follows(
    person: Person,
) -> None:
    made = person.made
    assert isinstance(made.database, SqliteDatabase)
    reader = sqlite3.connect(made.database.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM contacts").fetchone()
    assert "in use" in (erase(person) or "")
    assert found_in_tables(made) == []
    with made.database.read() as connection:
        assert [each.contact_id for each in erasing.outstanding(connection)] == [
            person.number
        ]
    now = at("2026-11-29 10:30")
    clearer = Clearer(made.database, lambda: now)
    clearer.clear(made.workspace)
    with made.database.read() as connection:
        assert [
            each.action
            for each in alarms.lately(connection, at("2026-11-28"))
            if not each.ended_at
        ] == ["uncleared"]
    reader.close()
    now += timedelta(minutes=2)
    clearer.clear(made.workspace)
    assert not [
        each for each in found_in_files(made.root) if each.startswith(".drip/drip.db")
    ]
    with made.database.read() as connection:
        assert erasing.outstanding(connection) == []
        assert "uncleared" not in [
            each.action
            for each in alarms.lately(connection, at("2026-11-28"))
            if not each.ended_at
        ]


@pytest.mark.file
def test_what_came_back_late_quotes_nobody(person: Person) -> None:
    made = person.made
    erase(person)
    with made.database.read() as connection:
        run = connection.execute(
            text("SELECT run_id, step FROM messages WHERE contact_id = :id"),
            {"id": person.number},
        ).first()
        assert run
        about = message_name(workspace_id(connection), run.run_id, run.step, "email")
    late = Finding(
        "bounce", EMAIL, "5.1.1", "address-dead", f"<{EMAIL}> is gone", (about,)
    )
    Feedback(made.database, at("2026-11-28")).take([late], "another mail")
    assert found_in_tables(made) == []


def test_a_notice_that_was_not_told_keeps_its_number(world: Worlds) -> None:
    made = world(
        settings="webhooks: { crm: { url: 'http://127.0.0.1:9/in', secret: secret:HOOK, private: yes, on: sent } }"
    )
    made.contacts("key,email", "ana,ana@example.com", "ben,ben@example.com")
    with made.database.write() as connection:
        webhook_outbox.want(connection, {"crm": ["sent"]})
        webhook_outbox.add(
            connection,
            "sent",
            [(2, {"contact": "ben"}), (1, {"contact": "ana"})],
            at("2026-01-02"),
        )
        before = webhook_outbox.newest(connection)
        erasing.erase(connection, 1, at("2026-01-02"))
        webhook_outbox.add(
            connection, "sent", [(2, {"contact": "ben"})], at("2026-01-03")
        )
        assert webhook_outbox.newest(connection) == before + 1
        told = [
            each.data["contact"]
            for each in webhook_outbox.after(connection, "crm", ["sent"], 10)
        ]
    assert told == ["ben", "ben"]


def test_erasing_again_changes_nothing(world: Worlds) -> None:
    made = world()
    made.contacts("key,email", "ana,ana@example.com")
    with made.database.write() as connection:
        assert erasing.erase(connection, 1, at("2026-01-02"))
        assert not erasing.erase(connection, 1, at("2026-01-03"))
        assert not erasing.erase(connection, 7, at("2026-01-03"))


def test_others_with_the_same_address_are_named(world: Worlds) -> None:
    made = world()
    made.contacts(
        "key,email", "a,Same@example.com", "b,same@example.com", "c,other@example.com"
    )
    with made.database.read() as connection:
        own = contacts.contacts_by_key(connection, ["a"])["a"]
        assert [each.key for each in erasing.same_address(connection, own)] == ["b"]


# --- reserved words


@pytest.mark.parametrize("key", ["erased-7", "Erased-7"])
def test_a_key_of_erased_people_is_refused_at_every_door(
    world: Worlds, key: str
) -> None:
    made = world()
    made.contacts("key,email", "ana,ana@example.com")
    reports = (
        made.contacts("key", key),
        made.vehicles("key,contact", f"{key},ana"),
        made.events("event,contact,at,id", f"order.placed,ana,2026-01-01 10:00,{key}"),
    )
    for report in reports:
        assert [why for _, why in report.rejected] == [
            f"`{key}` begins with `erased-`, as only keys of erased people do; give it another key"
        ]
    with made.database.write() as connection:
        settings = made.workspace.settings
        recipient_actions.sign_up(
            connection,
            settings,
            "news",
            f"{key}@example.com",
            "",
            "en",
            at("2026-01-02"),
            {},
        )
        assert (
            contacts.contact_by_email(connection, f"{key}@example.com").key
            == f"mail-{key}@example.com"
        )  # type: ignore[union-attr]


def test_an_erased_person_gets_no_events_and_no_records(world: Worlds) -> None:
    made = world()
    made.contacts("key,email", "ana,ana@example.com")
    with made.database.write() as connection:
        erasing.erase(connection, 1, at("2026-01-02"))
    report = made.events(
        "event,contact,at,id", "order.placed,erased-1,2026-01-01 10:00,x"
    )
    assert [why for _, why in report.rejected] == ["there is no contact `erased-1`"]
    report = made.vehicles("key,contact", "golf,erased-1")
    assert [why for _, why in report.rejected] == ["there is no contact `erased-1`"]


def test_the_database_itself_keeps_the_word_for_erased_people(world: Worlds) -> None:
    made = world()
    made.contacts("key,email", "ana,ana@example.com")
    with (
        pytest.raises(IntegrityError, match="erased_is_a_reserved_word"),
        made.database.write() as connection,
    ):
        connection.execute(text("UPDATE contacts SET key = 'erased-1'"))
