"""One's own data: sent to the address, never shown to whoever has the link; what is in it, and when it is sent."""

from __future__ import annotations

import email
import email.policy
import logging
import re
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.sql.util import find_tables

from drip.core.channels import CHANNELS
from drip.core.token import Link, data_link, is_over
from drip.daemon.answering import Answering
from drip.preview.explaining import explained
from drip.storage.base.database import add_link_key, drop_link_keys
from drip.storage.base.schema import contacts, metadata
from drip.storage.operating import holds
from drip.storage.people import data_mails, erasing, suppressions
from drip.storage.reading import exporting, ledger
from tests.cli import drip
from tests.mail_server import MailServer
from tests.web import Pages, pages
from tests.world import World, at

Worlds = Callable[..., World]
NOW = at("2026-11-26 16:00")
SETTINGS = """
public_url: https://mail.maple.example
transports: {{ {} }}
"""
OUT = "email: { use: files, folder: out }"
CALL = """
name: Call
topic: service
trigger: { event: order.placed }
steps: [{ task: "Call {{ contact.first_name }}", assign_to: front-desk }]
"""


@pytest.fixture
def site(world: Worlds) -> Iterator[Pages]:
    made = world({"call": CALL}, settings=SETTINGS.format(OUT))
    made.contacts(
        "key,email,phone,locale,first_name,news",
        "ana,ana@example.com,,de,Ana,yes",
        "ben,,+15550100,en,Ben,",
    )
    with pages(made, NOW) as served:
        yield served


def ask(site: Pages, contact: int = 1, **form: str) -> int:
    return site.post(
        f"/preferences/{site.token('preferences', contact)}/data", data=form
    ).status_code


def answering(site: Pages) -> Answering:
    return Answering(site.world.database, lambda: site.now, lambda: False)


def sent(site: Pages) -> list[EmailMessage]:
    """What the daemon has sent by now, in order."""
    answering(site).send(site.world.workspace)
    return mails(site.world.root / "out")


def mails(folder: Path) -> list[EmailMessage]:
    found = (
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        for path in sorted(folder.glob("*.eml"))
    )
    return [each for each in found if isinstance(each, EmailMessage)]


def path_in(mail: EmailMessage) -> str:
    found = re.search(r"https://mail\.maple\.example(/data/\S+)", mail.get_content())
    assert found
    return found[1]


def states(site: Pages) -> list[tuple[str, str | None]]:
    with site.world.database.read() as connection:
        return [
            (each.outcome, each.sentence)
            for each in ledger.entries(connection)
            if each.campaign == ledger.OWN_DATA
        ]


def test_ones_data_is_sent_to_ones_own_address_and_shown_to_nobody(site: Pages) -> None:
    path = f"/preferences/{site.token('preferences')}/data"
    page = site.get(path)
    assert (
        page.status_code == 200
        and "ana@example.com" not in page.text
        and not sent(site)
    )
    assert ask(site, address="eve@example.com", email="eve@example.com") == 200
    (mail,) = sent(site)
    assert (
        mail["To"] == "ana@example.com" and mail["Auto-Submitted"] == "auto-generated"
    )
    assert mail["Subject"] == "Was Maple Street über Sie weiß", (
        "in the contact's own language"
    )
    assert mail["List-Unsubscribe"] is None and "30 Minuten" in mail.get_content()
    answer = site.get(path_in(mail))
    assert (
        answer.headers["content-disposition"] == 'attachment; filename="my-data.json"'
    )
    assert answer.json()["contact"]["email"] == "ana@example.com"
    assert states(site) == [("sent", None)]


def test_whoever_has_the_link_has_one_mail_sent_in_an_hour_and_three_in_a_day(
    site: Pages,
) -> None:
    codes = []
    for _ in range(2 * 24 * 4):
        codes.append(ask(site))
        site.now += timedelta(minutes=15)
    assert codes.count(200) == 6 and codes[:9] == [
        200,
        429,
        429,
        429,
        200,
        429,
        429,
        429,
        200,
    ]
    assert len(sent(site)) <= 3


def test_the_link_is_good_for_half_an_hour_from_when_the_mail_left(site: Pages) -> None:
    ask(site)
    site.now += timedelta(hours=2)
    (mail,) = sent(site)
    site.now += timedelta(minutes=29, seconds=59)
    assert site.get(path_in(mail)).status_code == 200
    site.now += timedelta(seconds=1)
    late = site.get(path_in(mail))
    assert (
        late.status_code == 410
        and "30 Minuten" in late.text
        and "example.com" not in late.text
    )


def test_no_other_link_downloads_anything(site: Pages) -> None:
    ask(site)
    (mail,) = sent(site)
    good = path_in(mail).removeprefix("/data/")
    until = str(int((NOW + timedelta(minutes=30)).timestamp()))
    for purpose in ("preferences", "view", "confirm", "unsubscribe"):
        assert site.get(f"/data/{site.token(purpose, detail=until)}").status_code == 404
    data, key, signature = good.split(".")
    assert (
        site.get(
            f"/data/{data}.{key}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
        ).status_code
        == 404
        and site.get("/data/x").status_code == 404
    )
    for detail in (None, "", "soon", "-1", "1" * 400, str(int(NOW.timestamp()))):
        assert site.get(f"/data/{site.token('data', detail=detail)}").status_code in (
            404,
            410,
        )
    for page in ("preferences", "unsubscribe", "preferences"):
        assert site.get(f"/{page}/{good}/erase").status_code == 404


@pytest.mark.parametrize("leaked", [False, True])
def test_a_newer_key_ends_it(site: Pages, leaked: bool) -> None:
    ask(site)
    (mail,) = sent(site)
    with site.world.database.write() as connection:
        if leaked:
            drop_link_keys(connection)
        add_link_key(connection, NOW + timedelta(minutes=1))
    _look_again(site)
    assert site.get(path_in(mail)).status_code == 404


def test_erasing_ends_it_and_leaves_no_mail_waiting(site: Pages) -> None:
    ask(site)
    (mail,) = sent(site)
    site.now += timedelta(hours=1)
    ask(site)
    with site.world.database.write() as connection:
        erasing.erase(connection, 1, site.now)
        assert not data_mails.due(connection, site.now)
    assert site.get(path_in(mail)).status_code == 404 and len(sent(site)) == 1


def test_a_link_says_until_when_it_is_good() -> None:
    link = data_link(7, NOW)
    assert (link.purpose, link.contact) == ("data", 7)
    assert not is_over(link, NOW + timedelta(seconds=1799)) and is_over(
        link, NOW + timedelta(seconds=1800)
    )
    assert is_over(Link("data", 7, None), NOW)


# --- where it cannot be sent


def test_who_has_no_address_is_told_whom_to_ask_and_the_operator_has_it(
    site: Pages,
) -> None:
    assert ask(site, contact=2) == 409 and not sent(site)
    page = site.post(f"/preferences/{site.token('preferences', 2)}/data").text
    assert "We have no e-mail address of yours" in page and "12 Maple Street" in page


@pytest.mark.file
def test_an_operator_exports_what_somebody_could_download(site: Pages) -> None:
    (found,) = drip(site.world.root, "export", "ben").rows
    assert found["contact"]["phone"] == "+15550100"
    assert drip(site.world.root, "export", "eve").code == 2


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("the address is dead (550 5.1.1)", 409),
        ("its domain does not exist (5.1.2)", 409),
        ("5 messages came back (full)", 409),
        ("a complaint came in", 200),
        ("by hand", 200),
    ],
)
def test_an_address_that_is_given_up_gets_it_unless_nobody_reads_there(
    site: Pages, reason: str, status: int
) -> None:
    """Whoever has complained, or wants no mail any more, may ask for their data all the same."""
    with site.world.database.write() as connection:
        suppressions.suppress(connection, "ana@example.com", reason, NOW)
    assert ask(site) == status and len(sent(site)) == (status == 200)


@pytest.mark.parametrize(
    "transports",
    ["sms: { use: files, folder: out }", "email: { use: tasks, assign_to: desk }"],
)
def test_without_a_way_for_mails_the_page_says_so(
    world: Worlds, transports: str
) -> None:
    made = world({}, settings=SETTINGS.format(transports))
    made.contacts("key,email", "ana,ana@example.com")
    with pages(made, NOW) as site:
        assert ask(site) == 503
        assert (
            "We cannot send it by e-mail"
            in site.post(f"/preferences/{site.token('preferences')}/data").text
        )


def test_a_mail_that_cannot_leave_is_tried_again_and_told_once(
    site: Pages, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        _with_server(site, nobody.getsockname()[1])
        ask(site)
        daemon = answering(site)
        with caplog.at_level(logging.ERROR, "drip.daemon"):
            for _ in range(20):
                daemon.send(site.world.workspace)
                site.now += timedelta(seconds=30)
        assert [vars(each)["action"] for each in caplog.records] == [
            "data-mail-down"
        ] and states(site) == []
    with MailServer() as server:
        _with_server(site, server.port)
        site.now += timedelta(hours=1)
        daemon.send(site.world.workspace)
        assert len(server.texts) == 1 and b"To: ana@example.com" in server.texts[0]
    assert states(site) == [("sent", None)]


def test_a_mail_that_could_not_leave_in_a_day_does_not_leave(site: Pages) -> None:
    ask(site)
    site.now += timedelta(days=1)
    assert not sent(site) and states(site) == [("failed", "too-late")]


def test_whoever_dies_while_sending_sends_again(
    site: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Died

    ask(site)
    with monkeypatch.context() as here:
        here.setattr(data_mails, "end", die)
        with pytest.raises(Died):
            sent(site)
    assert len(sent(site)) == 1 and states(site) == [], "not at once"
    site.now += timedelta(minutes=1)
    assert len(sent(site)) == 2 and states(site) == [("sent", None)]


def test_stop_everything_stops_it_too(site: Pages) -> None:
    ask(site)
    with site.world.database.write() as connection:
        holds.hold(connection, holds.EVERYTHING, NOW)
    assert not sent(site)
    with site.world.database.write() as connection:
        holds.let_go(connection, holds.EVERYTHING)
    assert len(sent(site)) == 1


def test_it_stands_in_the_contacts_history(site: Pages) -> None:
    ask(site)
    sent(site)
    found = explained(
        site.world.workspace,
        site.world.database,
        "ana",
        None,
        NOW + timedelta(minutes=1),
    )
    assert [(each.campaign, each.outcome, each.channel) for each in found.past] == [
        ("(own data)", "sent", "email")
    ]


# --- what is in it


def test_the_tasks_about_a_person_are_in_it(site: Pages) -> None:
    site.world.events(
        "event,contact,at,id", "order.placed,ana,2026-11-26T12:00:00Z,1017"
    )
    site.world.tick(NOW)
    with site.world.database.read() as connection:
        found = exporting.of_contact(connection, 1)
    (task,) = found["tasks"]
    assert (task["title"], task["assign_to"], task["state"]) == (
        "Call Ana",
        "front-desk",
        "open",
    )
    assert [each["campaign"] for each in found["campaigns"]] == ["call"] and found[
        "events"
    ][0]["key"] == "1017"
    assert [
        (each["topic"], each["given"], each["address"]) for each in found["consents"]
    ] == [("news", True, "ana@example.com")]


def test_every_table_that_names_a_contact_is_in_it_or_left_out_with_a_reason() -> None:
    """Also those that name a record, a run, an event or a message of a contact's."""
    about = {contacts}
    while more := {
        table
        for table in metadata.sorted_tables
        if table not in about
        and {key.column.table for key in table.foreign_keys} & about
    }:
        about |= more
    named = {
        table
        for table in metadata.sorted_tables
        if {"contact_id", "record_id"} & {column.name for column in table.columns}
    }
    asked = {
        table
        for part in exporting.parts(1).values()
        for table in find_tables(part, include_joins=True)
    }
    told = asked | {contacts} | {metadata.tables[name] for name in exporting.LEFT_OUT}
    assert (about | named) - told == set()
    assert all(exporting.LEFT_OUT.values()) and not set(exporting.LEFT_OUT) & {
        each.name for each in asked
    }
    assert "email" in CHANNELS


def _look_again(site: Pages) -> None:
    """What the pages do every two seconds."""
    import time

    time.sleep(2.5)


def _with_server(site: Pages, port: int) -> None:
    smtp = f"email: {{ use: smtp, host: 127.0.0.1, port: {port}, security: none }}"
    path = site.world.root / "campaigns" / "_settings.yaml"
    path.write_text(re.sub(r"email: \{[^}]*\}", smtp, path.read_text("utf-8")), "utf-8")
    site.world.reload()
