"""Pages that links lead to: what a person can do there, and what nobody can."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from starlette.requests import Request

from drip.storage.people import consents, contacts, events, pauses, suppressions
from drip.storage.people.contacts import address_of
from drip.storage.reading import exporting
from drip.web.app_state import FRESH_S, whose
from tests.web import Pages, pages
from tests.world import World, at

Worlds = Callable[..., World]
NOW = at("2026-11-26 16:00")
SETTINGS = """
public_url: https://mail.maple.example
topics:
  news: { title: Thursday news, opt_in: double }
  offers: { title: Offers, opt_in: single }
  service: { title: Service, opt_in: implied }
surveys:
  satisfaction: { question: How was your visit?, scores: 1-5 }
transports:
  email: { use: memory }
  sms: { use: memory }
"""
ASK = """
name: Ask
topic: news
transactional: true
trigger: { event: news.requested }
steps:
  - send: ask
  - wait_for: news.confirmed
    up_to: 7 days
    else: end
  - subscribe: news
  - send: welcome
"""
LETTER = """
name: Letter
topic: service
trigger: { schedule: 2026-11-26 10:00 }
steps:
  - send: letter
    survey: satisfaction
"""


def shop(world: Worlds, locale: str) -> World:
    """A shop with two people, of whom Ana, who reads `locale`, gets everything."""
    made = world({"ask": ASK, "letter": LETTER}, settings=SETTINGS)
    rows = (
        f"ana,ana@example.com,+15550100,{locale},Ana,yes,yes",
        "ben,ben@example.com,,de,Ben,,",
    )
    made.contacts("key,email,phone,locale,first_name,news,offers", *rows)
    return made


@pytest.fixture
def site(world: Worlds) -> Iterator[Pages]:
    with pages(shop(world, "de"), NOW) as served:
        yield served


def said(site: Pages, contact: int = 1) -> dict[tuple[str, str], bool]:
    with site.world.database.read() as connection:
        return {
            (each.topic, each.channel): each.given
            for each in consents.latest(connection, contact)
        }


def count(site: Pages, contact: int = 1) -> int:
    with site.world.database.read() as connection:
        return len(consents.log_of(connection, contact))


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html.partition("<main>")[2]).split())


# --- unsubscribe

ONE_CLICK = [
    {"data": {"List-Unsubscribe": "One-Click"}},
    {"files": {"List-Unsubscribe": (None, "One-Click")}},
]


@pytest.mark.parametrize("body", ONE_CLICK, ids=["urlencoded", "multipart"])
def test_one_click_unsubscribes_as_rfc_8058_has_it(
    site: Pages, body: dict[str, object]
) -> None:
    token = site.token("unsubscribe")
    answer = site.post(f"/unsubscribe/{token}", **body)
    assert answer.status_code == 200
    assert not answer.cookies and "location" not in answer.headers
    assert (
        said(site)["news", "email"] is False and said(site)["offers", "email"] is True
    )


def test_looking_at_the_page_changes_nothing(site: Pages) -> None:
    before = count(site)
    for method in ("GET", "HEAD"):
        answer = site.client.request(
            method, f"/unsubscribe/{site.token('unsubscribe')}"
        )
        assert answer.status_code == 200
    assert "Thursday news" in site.get(f"/unsubscribe/{site.token('unsubscribe')}").text
    assert count(site) == before


def test_a_person_can_leave_everything(site: Pages) -> None:
    answer = site.post(
        f"/unsubscribe/{site.token('unsubscribe')}", data={"everything": "1"}
    )
    assert "no more messages that you can unsubscribe from" in answer.text
    now = said(site)
    assert {topic for topic, _ in now} == {"news", "offers", "service"} and not any(
        now.values()
    )


def test_a_valid_a_used_a_forged_and_an_unknown_link_get_the_same_answer(
    site: Pages,
) -> None:
    good, nobody = site.token("unsubscribe"), site.token("unsubscribe", contact=999)
    forged = good[:-4] + "AAAA"
    for method in ("GET", "POST"):
        answers = [
            site.client.request(method, f"/unsubscribe/{token}")
            for token in (good, good, forged, nobody)
        ]
        assert (
            len(
                {
                    (each.status_code, each.text, str(sorted(each.headers.items())))
                    for each in answers
                }
            )
            == 1
        )
    assert count(site, 2) == 0


def test_a_link_is_good_for_what_it_was_made_for_alone(site: Pages) -> None:
    before = said(site)
    site.post(f"/unsubscribe/{site.token('survey', detail='satisfaction:1')}")
    site.post(f"/confirm/{site.token('unsubscribe')}")
    assert site.get(f"/preferences/{site.token('unsubscribe')}").status_code == 404
    assert site.get(f"/view/{site.token('preferences')}").status_code == 404
    assert said(site) == before


def test_unsubscribing_wins_over_what_is_already_granted(site: Pages) -> None:
    """G4: the page has said so, and the message that waits does not leave."""
    made = site.world
    made.tick("2026-11-26 09:00")
    site.now = at("2026-11-26 09:30")
    site.post(f"/unsubscribe/{site.token('unsubscribe', topic='service')}")
    made.tick("2026-11-26 16:00")
    assert [each.to.address for each in made.transport.messages] == ["ben@example.com"]


def test_many_at_once_are_each_stored(site: Pages) -> None:
    from concurrent.futures import ThreadPoolExecutor

    made = site.world
    made.contacts("key,email,news", *(f"p{n},p{n}@example.com,yes" for n in range(60)))
    with made.database.read() as connection:
        numbers = [
            each.id
            for each in contacts.contacts_by_key(
                connection, [f"p{n}" for n in range(60)]
            ).values()
        ]
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(
                lambda n: site.post(
                    f"/unsubscribe/{site.token('unsubscribe', contact=n)}"
                ),
                numbers,
            )
        )
    assert {each.status_code for each in answers} == {200}
    assert all(said(site, number) == {("news", "email"): False} for number in numbers)


# --- confirm


def test_double_opt_in_is_confirmed_by_a_button_and_leaves_a_proof(site: Pages) -> None:
    made = site.world
    made.events("event,contact,at", "news.requested,ben,2026-11-26T15:00:00Z")
    made.tick("2026-11-26 16:00")
    (asked,) = made.transport.messages
    run = int(asked.message_id.partition(".")[0], 16)
    token = site.token("confirm", contact=2, run=run)
    assert "One more click" in site.get(f"/confirm/{token}").text and (
        "news",
        "email",
    ) not in said(site, 2)
    for _ in range(2):
        assert "is confirmed" in site.post(f"/confirm/{token}").text
    with made.database.read() as connection:
        (word,) = consents.log_of(connection, 2)
    assert word.given and word.at == NOW and word.address == "ben@example.com"
    assert (
        word.proof
        and word.proof["address"] == "127.0.0.1"
        and len(word.proof["wording"]) == 64
    )
    made.tick("2026-11-26 16:05")
    assert len(made.transport.messages) == 2
    assert count(site, 2) == 1


def test_a_confirmation_that_is_clicked_again_after_leaving_brings_nobody_back(
    site: Pages,
) -> None:
    token = site.token("confirm", contact=2, run=7)
    site.post(f"/confirm/{token}")
    site.now = at("2026-11-27 16:00")
    site.post(f"/unsubscribe/{site.token('unsubscribe', contact=2)}")
    site.now = at("2026-11-28 16:00")
    site.post(f"/confirm/{token}")
    assert said(site, 2) == {("news", "email"): False}


# --- preferences


def chosen(html: str) -> set[str]:
    return set(re.findall(r'value="([a-z]+/[a-z]+)" checked', html))


def test_preferences_show_what_holds_and_why_and_save_what_is_chosen(
    site: Pages,
) -> None:
    path = f"/preferences/{site.token('preferences')}"
    page = site.get(path).text
    assert chosen(page) == {
        "news/email",
        "offers/email",
        "service/email",
        "service/sms",
    }
    assert 'lang="de"' in page
    answer = site.post(
        path,
        data={
            "do": "save",
            "on": ["offers/email", "news/sms"],
            "language": "fr",
            "shown": "de",
        },
    )
    assert answer.status_code == 200 and 'lang="fr"' in answer.text
    assert chosen(answer.text) == {"offers/email", "news/sms"}
    with site.world.database.read() as connection:
        words = consents.log_of(connection, 1)
        contact = contacts.contacts_by_id(connection, [1])[1]
    sms = next(each for each in words if each.channel == "sms" and each.given)
    assert (sms.source, sms.address) == (
        "preferences",
        address_of(contact, "sms"),
    ) and contact.locale == "fr"


def test_saving_changes_nobodys_language_unasked(site: Pages) -> None:
    site.world.contacts("key,email,locale", "ana,ana@example.com,it")
    path = f"/preferences/{site.token('preferences')}"
    shown = re.search(r'name="shown" value="(..)"', site.get(path).text)
    assert shown
    site.post(path, data={"do": "save", "language": shown[1], "shown": shown[1]})
    with site.world.database.read() as connection:
        assert contacts.contacts_by_id(connection, [1])[1].locale == "it"


def test_a_pause_holds_everything_back_and_can_be_ended(site: Pages) -> None:
    made, path = site.world, f"/preferences/{site.token('preferences')}"
    site.now = at("2026-11-26 09:30")
    made.tick("2026-11-26 09:00")
    assert "26. Dezember 2026" in site.post(path, data={"do": "pause"}).text
    made.tick("2026-11-26 16:00")
    assert [each.to.address for each in made.transport.messages] == ["ben@example.com"]
    site.now = at("2026-11-26 16:10")
    assert "26. Dezember" not in text(site.post(path, data={"do": "go-on"}).text)
    made.tick("2026-11-26 16:15")
    assert [each.to.address for each in made.transport.messages] == [
        "ben@example.com",
        "ana@example.com",
    ]


def test_ending_ones_own_pause_leaves_a_campaigns_own(site: Pages) -> None:
    path = f"/preferences/{site.token('preferences')}"
    for days in (10, 90):
        with site.world.database.write() as connection:
            row = {
                "contact_id": 1,
                "topic": "news",
                "until": NOW + timedelta(days=days),
                "place": "campaigns/x.yaml:7",
            }
            pauses.pause(connection, [row])
        assert "26. Dezember 2026" in site.post(path, data={"do": "pause"}).text
        site.post(path, data={"do": "go-on"})
        with site.world.database.read() as connection:
            assert pauses.pauses_of(connection, [1]) == {
                (1, "news"): (NOW + timedelta(days=days), "campaigns/x.yaml:7")
            }


def test_whoever_is_gone_has_nothing_to_choose(site: Pages) -> None:
    for token in (
        site.token("preferences", contact=999),
        "x",
        "a.b.c",
        site.token("preferences")[:-2] + "xx",
    ):
        answer = site.get(f"/preferences/{token}")
        assert answer.status_code == 404 and "nothing here" in answer.text


@pytest.mark.file
def test_ones_data_is_erased_by_oneself(site: Pages) -> None:
    made, token = site.world, site.token("preferences")
    with made.database.write() as connection:
        suppressions.suppress(
            connection,
            "ana@example.com",
            "the address is dead (550 ana@example.com)",
            NOW,
        )
    made.events("event,contact,at,total", "order.placed,ana,2026-11-20T12:00:00Z,20")
    with made.database.read() as connection:
        data = exporting.of_contact(connection, 1)
    assert data["contact"]["email"] == "ana@example.com" and data["events"][0][
        "fields"
    ] == {"total": "20"}
    path = f"/preferences/{token}/erase"
    assert site.post(path, data={"address": "ben@example.com"}).status_code == 422
    assert site.post(path, data={"address": " Ana@Example.com "}).status_code == 200
    assert site.get(f"/preferences/{token}").status_code == 404
    dump = "\n".join(line for line in _dump(site) if "INSERT" in line)
    assert (
        "ana@example" not in dump.lower()
        and "5550100" not in dump
        and "'Ana'" not in dump
    )
    site.post(
        f"/survey/{site.token('survey', run=3, detail='satisfaction:2')}",
        data={"score": "2", "comment": "5550100"},
    )
    site.post(f"/confirm/{site.token('confirm', run=9)}")
    dump = "\n".join(line for line in _dump(site) if "INSERT" in line)
    assert "5550100" not in dump and "127.0.0.1" not in dump
    made.contacts("key,email", "ana,ana@example.com", now="2026-11-27")
    made.tick("2026-11-26 09:00")
    made.tick("2026-11-26 16:00")
    assert [each.to.address for each in made.transport.messages] == ["ben@example.com"]


@pytest.mark.file
def test_whoever_erases_oneself_is_erased_under_every_key_with_that_address(
    site: Pages,
) -> None:
    site.world.contacts("key,email,first_name", "ana-2,ANA@example.com,Twice")
    path = f"/preferences/{site.token('preferences')}/erase"
    assert site.post(path, data={"address": "ana@example.com"}).status_code == 200
    with site.world.database.read() as connection:
        assert not contacts.contacts_by_key(connection, ["ana", "ana-2"])
        assert contacts.contacts_by_key(connection, ["ben"])
    assert b"Twice" not in (site.world.root / ".drip" / "drip.db").read_bytes()


def _dump(site: Pages) -> list[str]:
    path = site.world.root / ".drip" / "drip.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


# --- survey


def answers(site: Pages) -> list[dict[str, str]]:
    with site.world.database.read() as connection:
        found = events.events_of(connection, [1], ["survey.answered"]).get(1, [])
    return [dict(each.fields) for each in found]


def test_a_survey_is_answered_by_what_a_person_does_not_by_a_look(site: Pages) -> None:
    path = f"/survey/{site.token('survey', topic='service', run=3, detail='satisfaction:2')}"
    page = site.get(path).text
    assert "How was your visit?" in page and re.search(r'value="2" checked', page)
    assert answers(site) == []
    site.post(path, data={"score": "2", "comment": "It was\r\n  cold"})
    assert answers(site) == [
        {"survey": "satisfaction", "score": "2", "comment": "It was cold"}
    ]
    again = site.post(path, data={"score": "5", "comment": "no"})
    assert (
        len(answers(site)) == 1
        and answers(site)[0]["score"] == "2"
        and "2 von 5" in again.text
    )


def test_a_comment_may_come_after_the_score(site: Pages) -> None:
    path = f"/survey/{site.token('survey', run=3, detail='satisfaction:2')}"
    site.post(path, data={"score": "1"})
    site.post(path, data={"score": "1", "comment": "late"})
    assert answers(site) == [
        {"survey": "satisfaction", "score": "1", "comment": "late"}
    ]


def test_what_was_sent_as_the_page_was_left_can_be_said_anew(site: Pages) -> None:
    path = f"/survey/{site.token('survey', run=3, detail='satisfaction:2')}"
    site.post(path, data={"score": "2", "comment": "I wai", "unfinished": "1"})
    assert answers(site)[0]["comment"] == "I wai"
    assert "1 von 5" in site.post(path, data={"score": "1", "comment": "I waited"}).text
    assert answers(site) == [
        {"survey": "satisfaction", "score": "1", "comment": "I waited"}
    ]
    site.post(path, data={"score": "5", "comment": "late", "unfinished": "1"})
    assert answers(site)[0]["score"] == "1"


@pytest.mark.parametrize(
    "detail", ["satisfaction:9", "satisfaction:-1", "satisfaction", ":", None]
)
def test_a_score_that_there_is_not_leads_nowhere(
    site: Pages, detail: str | None
) -> None:
    assert site.get(f"/survey/{site.token('survey', detail=detail)}").status_code == 404


# --- view


def test_a_message_can_be_looked_at_in_a_browser(site: Pages) -> None:
    made = site.world
    made.tick("2026-11-26 09:00")
    made.tick("2026-11-26 16:00")
    run = int(made.transport.messages[0].message_id.partition(".")[0], 16)
    answer = site.get(
        f"/view/{site.token('view', topic='service', run=run, detail='send letter')}"
    )
    assert answer.status_code == 200 and "<em>short</em>" in answer.text
    assert "sandbox" in answer.headers["content-security-policy"]
    assert (
        site.get(
            f"/view/{site.token('view', run=run, detail='send other')}"
        ).status_code
        == 404
    )
    assert (
        site.get(
            f"/view/{site.token('view', run=99, detail='send letter')}"
        ).status_code
        == 404
    )


# --- signing up


def test_signing_up_asks_back_and_tells_nobody_who_is_in(site: Pages) -> None:
    made = site.world
    new, known = (
        site.post("/sign-up/news", data={"email": who})
        for who in ("new@example.com", "ANA@example.com")
    )
    assert new.status_code == known.status_code == 200 and new.text == known.text
    made.tick("2026-11-26 16:05")
    assert {each.to.address for each in made.transport.messages} == {
        "new@example.com",
        "ana@example.com",
    }
    site.post("/sign-up/news", data={"email": "new@example.com"})
    made.tick("2026-11-26 16:10")
    assert len(made.transport.messages) == 2, "nobody's inbox is filled by strangers"


def test_signing_up_for_a_single_topic_is_a_yes(site: Pages) -> None:
    site.post("/sign-up/offers", data={"email": "new@example.com", "first_name": "Eve"})
    with site.world.database.read() as connection:
        contact = contacts.contacts_by_key(connection, ["new@example.com"])[
            "new@example.com"
        ]
    assert said(site, contact.id) == {
        ("offers", "email"): True
    } and contact.attributes == {"first_name": "Eve"}


def test_programs_that_fill_in_everything_get_the_same_answer_and_nothing_else(
    site: Pages,
) -> None:
    person = site.post("/sign-up/news", data={"email": "a@example.com"})
    program = site.post(
        "/sign-up/news",
        data={"email": "b@example.com", "website": "http://spam.example"},
    )
    assert person.text == program.text
    with site.world.database.read() as connection:
        assert contacts.contact_by_email(connection, "b@example.com") is None
        assert contacts.contact_by_email(connection, "a@example.com") is not None


def test_there_is_no_form_for_what_nobody_can_sign_up_for(site: Pages) -> None:
    for topic in ("service", "nothing", "..%2f..%2fetc"):
        assert site.get(f"/sign-up/{topic}").status_code == 404


def test_an_address_that_is_none_is_shown_again_and_explained(site: Pages) -> None:
    answer = site.post("/sign-up/news", data={"email": '"><script>alert(1)</script>'})
    assert answer.status_code == 422 and "not an e-mail address" in answer.text
    assert "<script>" not in answer.text


# --- what protects them


def test_every_answer_protects_its_reader(site: Pages) -> None:
    for path in (
        "/unsubscribe/x",
        "/preferences/x",
        "/sign-up/news",
        "/nothing",
        "/static/pages.css",
    ):
        headers = site.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert (
            headers["referrer-policy"] == "no-referrer"
            and headers["x-content-type-options"] == "nosniff"
        )
    assert site.get("/unsubscribe/x").headers["cache-control"] == "no-store"


def test_who_tries_links_is_slowed_down_and_good_links_still_work(site: Pages) -> None:
    codes = [site.post(f"/unsubscribe/{n}").status_code for n in range(70)]
    assert codes[:60] == [200] * 60 and set(codes[60:]) == {429}
    assert site.post(f"/unsubscribe/{site.token('unsubscribe')}").status_code == 200
    assert said(site)["news", "email"] is False
    site.passed += 61
    assert site.post("/unsubscribe/x").status_code == 200


def test_a_body_that_is_too_large_is_refused(site: Pages) -> None:
    path = f"/unsubscribe/{site.token('unsubscribe')}"

    def streamed() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 1000

    assert site.post(path, content=b"x=" + b"x" * 10_000_000).status_code == 413
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert site.post(path, content=streamed(), headers=form).status_code == 413
    assert said(site)["news", "email"] is True


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xfe\x00=%ZZ&&&=;", "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "multipart/form-data; boundary=x"),
        (b"no boundary", "multipart/form-data"),
        (b"{", "application/json"),
        (
            b"&".join(b"a=%d" % n for n in range(5000)),
            "application/x-www-form-urlencoded",
        ),
    ],
)
def test_bodies_of_any_kind_are_no_failure(
    site: Pages, content: bytes, kind: str
) -> None:
    for path in (
        f"/unsubscribe/{site.token('unsubscribe')}",
        f"/preferences/{site.token('preferences')}",
        "/sign-up/news",
    ):
        answer = site.post(path, content=content, headers={"content-type": kind})
        assert answer.status_code < 500 and "Traceback" not in answer.text


def test_wrong_methods_and_odd_paths_are_no_failure(site: Pages) -> None:
    for method, path in (
        ("PUT", "/unsubscribe/x"),
        ("DELETE", "/preferences/x"),
        ("GET", "/static/../app.py"),
        ("GET", "/static/%2e%2e/app.py"),
        ("POST", "/static/pages.css"),
        ("GET", "/%00"),
        ("GET", "/\u00fc"),
    ):
        assert site.client.request(method, path).status_code in (404, 405)


SURROGATE = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n\\ud800x\x00y\r\n--x--\r\n'


@pytest.mark.parametrize(
    "name", [b"first_name", b"email", b"comment", b"on", b"\\ud800"]
)
def test_no_text_is_stored_that_no_database_holds(site: Pages, name: bytes) -> None:
    """Whoever sends a form says how its texts are encoded."""
    headers = {
        "content-type": "multipart/form-data; boundary=x; charset=unicode_escape"
    }
    body = SURROGATE % name
    if name == b"first_name":
        body = (
            body[:-5]
            + b'\r\nContent-Disposition: form-data; name="email"\r\n\r\neve@example.com\r\n--x--\r\n'
        )
    for path in (
        "/sign-up/news",
        f"/survey/{site.token('survey', run=3, detail='satisfaction:2')}",
        f"/preferences/{site.token('preferences')}",
    ):
        assert site.post(path, content=body, headers=headers).status_code < 500
    assert site.get(f"/preferences/{site.token('preferences')}/data").status_code == 200
    site.world.tick("2026-11-26 16:05")


def test_what_fails_is_told_to_nobody(
    site: Pages, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("canary@example.com")

    monkeypatch.setattr("drip.commands.recipient_actions.sign_up", fails)
    answer = site.post("/sign-up/news", data={"email": "canary@example.com"})
    assert answer.status_code == 500 and "our fault" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "canary" not in answer.text and "canary" not in caplog.text
    assert "/sign-up/{topic} failed: RuntimeError" in caplog.text


def test_floods_are_counted_by_the_network_that_one_customer_has() -> None:
    def request(host: str) -> Request:
        return Request({"type": "http", "client": (host, 1), "headers": []})

    assert (
        whose(request("2001:db8:1:2::1"))
        == whose(request("2001:db8:1:2:ffff::9"))
        != whose(request("2001:db8:1:3::1"))
    )
    assert whose(request("192.0.2.1")) == "192.0.2.1" != whose(request("192.0.2.2"))


def test_a_broken_settings_file_leaves_the_pages_as_they_were(site: Pages) -> None:
    good = (site.world.root / "campaigns" / "_settings.yaml").read_text()
    site.world.write("campaigns/_settings.yaml", "business: [")
    time.sleep(FRESH_S + 1)
    assert "Thursday news" in site.get(f"/unsubscribe/{site.token('unsubscribe')}").text
    site.world.write(
        "campaigns/_settings.yaml", good.replace("Thursday news", "Friday news")
    )
    until = time.monotonic() + 20
    while (
        "Friday news" not in site.get(f"/unsubscribe/{site.token('unsubscribe')}").text
    ):
        assert time.monotonic() < until
        time.sleep(0.2)


# --- a sign-up that nobody confirms


def test_whoever_confirms_too_late_is_not_told_that_they_are_in(site: Pages) -> None:
    made = site.world
    site.post("/sign-up/news", data={"email": "new@example.com"})
    made.tick("2026-11-26 16:00")
    with made.database.read() as connection:
        contact = contacts.contacts_by_key(connection, ["new@example.com"])[
            "new@example.com"
        ]
    link = site.token("confirm", contact=contact.id, run=1)
    made.tick("2026-12-03 16:00")
    answer = site.post(f"/confirm/{link}")
    assert answer.status_code == 410 and "confirmed" not in answer.text
    with made.database.read() as connection:
        assert contacts.contact_by_email(connection, "new@example.com") is None


def test_whoever_confirms_in_time_by_the_link_of_the_message_is_in(site: Pages) -> None:
    made = site.world
    site.post("/sign-up/news", data={"email": "new@example.com"})
    with made.database.read() as connection:
        contact = contacts.contacts_by_key(connection, ["new@example.com"])[
            "new@example.com"
        ]
    answer = site.post(f"/confirm/{site.token('confirm', contact=contact.id, run=1)}")
    made.run("2026-11-26 16:00", "2026-12-05 16:00")
    with made.database.read() as connection:
        assert answer.status_code == 200 and contacts.contact_by_email(
            connection, "new@example.com"
        )
        assert said(site, contact.id) == {("news", "email"): True}
