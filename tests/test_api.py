"""What other programs post: events, contacts, codes; who may, what is refused, and that a repeat changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drip.storage.operating import api_keys, audit
from drip.storage.people import consents, contacts, coupons, events
from drip.storage.people.coupons import Code
from drip.web.openapi import DESCRIPTION
from tests.cli import drip
from tests.web import Pages, pages
from tests.world import World, at

Worlds = Callable[..., World]
NOW = at("2026-11-26 16:00")
TOKEN = "drip_test-token"
THANKS = """
name: Thanks
topic: service
trigger: { event: order.placed }
steps: [send: thanks]
"""


@pytest.fixture
def site(world: Worlds) -> Iterator[Pages]:
    made = world({"thanks": THANKS}, settings="public_url: https://mail.maple.example")
    made.contacts("key,email", "ana,ana@example.com", "ben,ben@example.com")
    with made.database.write() as connection:
        api_keys.add(
            connection, "shop", TOKEN, ["events", "contacts", "consent", "coupons"], NOW
        )
        api_keys.add(connection, "till", "drip_till", ["coupons"], NOW)
    with pages(made, NOW) as served:
        yield served


def post(
    site: Pages, path: str, data: Any, token: str = TOKEN, **headers: str
) -> tuple[int, Any]:
    answer = site.post(
        path, json=data, headers={"Authorization": f"Bearer {token}", **headers}
    )
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()


def happened(site: Pages, contact: int = 1) -> list[tuple[str, dict[str, str]]]:
    with site.world.database.read() as connection:
        found = events.events_of(
            connection, [contact], ["order.placed", "order.paid"]
        ).get(contact, [])
    return [(each.name, dict(each.fields)) for each in found]


ORDER = {
    "event": "order.placed",
    "contact": "ana",
    "id": "1",
    "fields": {"total": 20.5, "gift": True},
}


def test_an_event_brings_its_campaign_about(site: Pages) -> None:
    site.world.tick("2026-11-26 15:59")
    assert post(site, "/api/events", ORDER) == (
        200,
        {"new": 1, "changed": 0, "same": 0, "rejected": []},
    )
    assert happened(site) == [("order.placed", {"total": "20.5", "gift": "yes"})]
    site.world.tick("2026-11-26 16:01")
    assert [each.to.address for each in site.world.transport.messages] == [
        "ana@example.com"
    ]


def test_batches_come_as_a_list_or_under_their_name_and_the_good_ones_are_kept(
    site: Pages,
) -> None:
    bad = [
        {"event": "Order Placed", "contact": "ana"},
        {"event": "order.placed", "contact": "eve"},
        7,
        {"event": "order.placed", "contact": "ben", "at": "yesterday"},
    ]
    status, told = post(site, "/api/events", [bad[0], ORDER, *bad[1:]])
    assert status == 200 and told["new"] == 1
    assert [each["index"] for each in told["rejected"]] == [0, 2, 3, 4]
    assert "no contact `eve`" in told["rejected"][1]["reason"]
    assert (
        post(
            site,
            "/api/events",
            {"events": [{**ORDER, "id": str(n)} for n in range(500)]},
        )[1]["new"]
        == 499
    )
    assert post(site, "/api/events", bad)[0] == 422


def test_the_same_event_again_changes_nothing(site: Pages) -> None:
    post(site, "/api/events", ORDER)
    assert post(site, "/api/events", ORDER)[1] == {
        "new": 0,
        "changed": 0,
        "same": 1,
        "rejected": [],
    }


def test_a_request_that_names_itself_is_answered_once(site: Pages) -> None:
    event = {"event": "order.placed", "contact": "ana"}
    first = post(site, "/api/events", event, **{"Idempotency-Key": "k1"})
    site.now = at("2026-11-26 16:05")
    assert post(site, "/api/events", event, **{"Idempotency-Key": "k1"}) == first
    assert len(happened(site)) == 1
    status, told = post(site, "/api/events", ORDER, **{"Idempotency-Key": "k1"})
    assert status == 422 and "another request" in told["error"]
    assert (
        post(
            site, "/api/coupons/X/redeem", {}, "drip_till", **{"Idempotency-Key": "k1"}
        )[0]
        == 409
    )
    site.now = at("2026-11-28 16:00")
    post(site, "/api/events", event, **{"Idempotency-Key": "k2"})
    assert (
        post(site, "/api/events", event, **{"Idempotency-Key": "k1"})[1]["new"] == 0
    ), "forgotten, but the same event"


def test_contacts_are_made_and_changed_by_key(site: Pages) -> None:
    new = {"key": "cy", "email": "cy@example.com", "first_name": "Cy", "news": "yes"}
    assert post(site, "/api/contacts", new)[1]["new"] == 1
    status, told = post(
        site,
        "/api/contacts",
        [{"key": "cy", "first_name": "Cyd", "shoe": 42}, {"key": "x", "email": "no"}],
    )
    assert (
        status == 200
        and told["changed"] == 1
        and told["rejected"][0]["index"] == 1
        and "`shoe`" in told["notes"][0]
    )
    with site.world.database.read() as connection:
        contact = contacts.contacts_by_key(connection, ["cy"])["cy"]
        said = consents.of_contacts(connection, [contact.id])[contact.id]
    assert (
        contact.attributes == {"first_name": "Cyd"}
        and contact.email == "cy@example.com"
    )
    assert [(each.topic, each.given) for each in said] == [("news", True)]


def give_a_code(site: Pages) -> None:
    """Ana has TREAT-1."""
    site.world.tick("2026-11-26 15:59")
    post(site, "/api/events", ORDER)
    site.world.tick("2026-11-26 16:01")
    with site.world.database.write() as connection:
        coupons.add_codes(connection, "treat", ["TREAT-1"])
        (next_one,) = coupons.stock(connection, "treat", 1)
        code = Code("treat", next_one.code, 1, 1, "s", NOW, None, None)
        coupons.hand_out(connection, [(next_one.number, code)])


def test_a_code_is_redeemed_once(site: Pages) -> None:
    give_a_code(site)
    status, told = post(site, "/api/coupons/TREAT-1/redeem", {}, "drip_till")
    assert (status, told["contact"]) == (200, "ana")
    with site.world.database.read() as connection:
        (order,) = audit.orders(connection)
    assert (order.by, order.command) == ("till", "coupons redeem")
    assert (order.about, order.contact) == ("treat", "ana")
    assert (
        "was redeemed on"
        in post(site, "/api/coupons/TREAT-1/redeem", {}, "drip_till")[1]["error"]
    )
    assert post(site, "/api/coupons/NO/redeem", {}, "drip_till")[0] == 409


def test_a_code_is_redeemed_once_by_events_too_however_it_is_written(
    site: Pages,
) -> None:
    give_a_code(site)
    redeemed = [
        {
            "event": "coupon.redeemed",
            "contact": "ana",
            "id": str(n),
            "fields": {"code": code},
        }
        for n, code in enumerate(["treat-1", "TREAT-1", "Treat-1"])
    ]
    _status, told = post(site, "/api/events", redeemed)
    assert (told["new"], [each["index"] for each in told["rejected"]]) == (1, [1, 2])
    assert post(site, "/api/events", {**redeemed[0], "id": "9"})[0] == 422
    assert post(site, "/api/events", redeemed[0])[1]["same"] == 1
    assert post(site, "/api/coupons/treat-1/redeem", {}, "drip_till")[0] == 409


def test_what_an_event_says_of_itself_cannot_say_whose_it_is(site: Pages) -> None:
    told = {**ORDER, "fields": {"contact": "ben", "total": 1}}
    status, answer = post(site, "/api/events", told)
    assert (
        status == 422
        and "stands in `fields` and beside it" in answer["rejected"][0]["reason"]
    )


# --- who may


def test_a_token_is_needed_and_is_good_for_its_scopes_alone(site: Pages) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nothing"},
        {"Authorization": f"Basic {TOKEN}"},
    ):
        answer = site.post("/api/events", json=ORDER, headers=headers)
        assert (
            answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        )
    assert post(site, "/api/events", ORDER, "drip_till")[0] == 403
    assert happened(site) == []


OWN_EVENTS = {
    "news.requested": "consent",
    "news.confirmed": "consent",
    "survey.answered": "answers",
    "message.clicked": "clicks",
    "message.opened": "clicks",
    "coupon.redeemed": "coupons",
}


@pytest.mark.parametrize(("name", "scope"), OWN_EVENTS.items(), ids=str)
def test_what_only_a_person_can_say_needs_a_scope_of_its_own(
    site: Pages, name: str, scope: str
) -> None:
    with site.world.database.write() as connection:
        api_keys.add(connection, "plain", "drip_plain", ["events", "contacts"], NOW)
        api_keys.add(connection, "more", "drip_more", ["events", scope], NOW)
    said = {"EVENT ": f" {name} ", "contact": "ana", "id": "1"}
    status, told = post(site, "/api/events", said, "drip_plain")
    assert (
        status == 422
        and told["rejected"][0]["reason"]
        == f"for `{name}` the scope `{scope}` is needed"
    )
    status, told = post(
        site,
        "/api/events",
        [{**ORDER, "fields": {}}, {"event": name, "contact": "ana"}],
        "drip_plain",
    )
    assert (
        status == 200
        and told["new"] == 1
        and [each["index"] for each in told["rejected"]] == [1]
    )
    assert post(site, "/api/events", said, "drip_more")[1]["new"] == 1


def test_without_the_scope_consent_a_program_says_yes_for_nobody(site: Pages) -> None:
    with site.world.database.write() as connection:
        api_keys.add(connection, "plain", "drip_plain", ["events", "contacts"], NOW)
    for name in ("news", "News", "news.sms", "NEWS.EMAIL"):
        status, told = post(
            site,
            "/api/contacts",
            {"key": "ana", "first_name": "Ana", name: "yes"},
            "drip_plain",
        )
        assert (
            status == 422
            and "the scope `consent` is needed" in told["rejected"][0]["reason"]
        )
    assert (
        post(
            site,
            "/api/contacts",
            {"key": "ana", "first_name": "Ana", "news": ""},
            "drip_plain",
        )[0]
        == 200
    )
    with site.world.database.read() as connection:
        assert not consents.of_contacts(connection, [1]).get(1)
        assert contacts.contacts_by_key(connection, ["ana"])["ana"].attributes == {
            "first_name": "Ana"
        }


def test_an_event_that_only_looks_like_one_of_drips_own_needs_none(site: Pages) -> None:
    with site.world.database.write() as connection:
        api_keys.add(connection, "plain", "drip_plain", ["events"], NOW)
    for name in ("order.confirmed", "table.requested", "message.sent"):
        assert (
            post(site, "/api/events", {"event": name, "contact": "ana"}, "drip_plain")[
                1
            ]["new"]
            == 1
        )


def test_whoever_tries_tokens_is_slowed_down(site: Pages) -> None:
    codes = [
        site.post(
            "/api/events", json=ORDER, headers={"Authorization": f"Bearer {n}"}
        ).status_code
        for n in range(25)
    ]
    assert codes == [401] * 20 + [429] * 5
    assert post(site, "/api/events", ORDER)[0] == 200, (
        "whoever has a good token is not to be kept out by others"
    )
    site.passed += 61
    assert (
        site.post(
            "/api/events", json=ORDER, headers={"Authorization": "Bearer x"}
        ).status_code
        == 401
    )


@pytest.mark.file
def test_keys_are_made_listed_and_revoked_and_only_hashes_are_kept(site: Pages) -> None:
    root = site.world.root
    token = drip(root, "keys", "add", "booking", "--scope", "events").out.strip()
    assert post(site, "/api/events", ORDER, token)[0] == 200
    again = drip(root, "keys", "add", "booking", "--scope", "events")
    assert again.code == 2 and "already" in again.err
    assert [row["name"] for row in drip(root, "keys", "--json").rows] == [
        "shop",
        "till",
        "booking",
    ]
    assert token not in (root / ".drip" / "drip.db").read_bytes().decode("latin-1")
    assert drip(root, "keys", "revoke", "booking").code == 0
    assert post(site, "/api/events", ORDER, token)[0] == 401


# --- bad input

BODIES = [
    b"",
    b"{",
    b"\xff",
    b"[" * 100_000,
    b'"\\ud800"',
    b"null",
    b"1e999",
    b'{"events": 7}',
    b"[]",
    b'{"event": {"a": []}, "contact": ["x"]}',
    b'{"\\u0000": "\\u0000", "event": "a.b", "contact": "ana"}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_whatever_is_posted_is_answered_with_a_reason(site: Pages, body: bytes) -> None:
    for path in ("/api/events", "/api/contacts"):
        answer = site.post(
            path, content=body, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert answer.status_code in (200, 400, 422), answer.text
        assert "rejected" in answer.json() or answer.json()["error"]
    assert happened(site) == []


def test_too_many_and_too_large_are_refused_whole(site: Pages) -> None:
    assert (
        post(site, "/api/events", [{**ORDER, "id": str(n)} for n in range(1001)])[0]
        == 413
    )
    answer = site.post(
        "/api/events",
        content=b'"' + b"x" * 3_000_000 + b'"',
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    assert answer.status_code == 413
    assert happened(site) == []


@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", '"; DROP TABLE contacts; --', "%", "\\", "ana' --"]
)
def test_no_text_is_taken_for_sql(site: Pages, text: str) -> None:
    assert post(site, "/api/events", {**ORDER, "contact": text})[0] == 422
    assert (
        post(site, "/api/events", {**ORDER, "id": text, "fields": {text: text}})[0]
        == 200
    )
    assert post(site, "/api/contacts", {"key": text, "first_name": text})[0] == 200
    with site.world.database.read() as connection:
        assert contacts.contacts_by_key(connection, [text])[text].attributes == {
            "first_name": text
        }


def test_what_is_wrong_with_a_request_is_not_a_page(site: Pages) -> None:
    assert site.get("/api/events").status_code == 405
    assert site.get("/api/openapi.json").json() == DESCRIPTION


@pytest.mark.slow
def test_the_description_holds_whatever_is_asked(site: Pages, tmp_path: Path) -> None:
    """Schemathesis asks two thousand things; none may be a failure of ours."""
    program = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            program,
            "run",
            f"{site.url}/api/openapi.json",
            "--url",
            site.url,
            "-H",
            f"Authorization: Bearer {TOKEN}",
            "-n",
            "700",
            "--phases",
            "fuzzing",
            "--no-color",
            "-c",
            "not_a_server_error,response_schema_conformance,status_code_conformance,content_type_conformance",
        ],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-6000:]
