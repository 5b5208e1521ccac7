"""The operator's dashboard: who comes in, what the pages show, what buttons do, and what cannot be done to it."""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from drip.core.token import verify
from drip.preview.forecast import summed
from drip.storage.base.database import link_keys
from drip.storage.campaigns import runs, tasks
from drip.storage.operating import api_keys, audit, holds, operators
from drip.storage.sending import outbox
from drip.web.app_state import AppState
from drip.web.dashboard import tries
from drip.web.dashboard.entrance import COOKIE, LASTS
from drip.web.dashboard.forecasts import Forecasts
from drip.web.dashboard.passwords import fits, hash_of
from drip.worker.worker import Limits
from tests.web import Pages, served_dashboard
from tests.world import World, at

Worlds = Callable[..., World]
NOW = at("2026-11-26 16:00")
PASSWORD = "correct horse battery staple"
SETTINGS = """
public_url: https://mail.maple.example
frequency_caps: { all: 1 per day }
when_capped: skip
transports:
  email: { use: memory }
  sms: { use: memory }
"""
CALL = """
name: A call
topic: service
trigger: { event: order.placed }
steps:
  - send: thanks
  - wait: 3 days
  - branch:
      - if: { contact.visits: at least 2 }
        then:
          - task: "Call {{ contact.first_name }}"
            assign_to: front-desk
      - else:
          - send: letter
goal: { event: order.paid, within: 14 days }
"""
CAMPAIGNS = {
    "call": CALL,
    "letter": "name: Letter\ntopic: service\ntrigger: { schedule: every day at 10:00 }\nsteps: [send: letter]\n",
    "promo": "name: Promotion\ntopic: news\npriority: low\ntrigger: { schedule: every day at 11:00 }\nsteps: [send: promo]\n",
}
PAGES = (
    "/",
    "/campaigns",
    "/campaigns/call",
    "/contacts",
    "/contacts?q=an",
    "/contacts/ana",
    "/live",
    "/caps",
    "/reports",
    "/tasks",
    "/held",
    "/health",
    "/campaigns/call?days=7",
)


@cache
def kept() -> str:
    return hash_of(PASSWORD)


def made_desk(world: Worlds) -> World:
    """A shop with two people after a week, and one operator."""
    made = world(CAMPAIGNS, settings=SETTINGS)
    made.contacts(
        "key,email,phone,first_name,visits,news",
        "ana,ana@example.com,+15550100,Ana,3,yes",
        "ben,ben@example.com,,Ben,1,",
    )
    made.events("key,contact,event,at", "o1,ana,order.placed,2026-11-20T10:00:00Z")
    made.run("2026-11-19 00:00", "2026-11-26 15:00")
    with made.database.write() as connection:
        operators.add(connection, "ana", kept(), NOW)
    return made


@pytest.fixture
def dashboard(world: Worlds) -> Iterator[Pages]:
    """Its dashboard; nobody is logged in."""
    with served_dashboard(made_desk(world), NOW) as served:
        yield served


def log_in(dashboard: Pages, **more: str) -> httpx.Response:
    return dashboard.post("/login", data={"name": "ana", "password": PASSWORD, **more})


@pytest.fixture
def inside(dashboard: Pages) -> Pages:
    """The same for an operator who is logged in."""
    assert log_in(dashboard).status_code == 303
    return dashboard


def csrf(dashboard: Pages) -> str:
    found = re.search(
        r'name="csrf" value="([0-9a-f]{64})"', dashboard.get("/health").text
    )
    assert found
    return found[1]


def press(dashboard: Pages, path: str, **fields: str) -> httpx.Response:
    """What a button of a page sends."""
    return dashboard.post(path, data={"csrf": csrf(dashboard), **fields})


def as_json(dashboard: Pages, path: str) -> dict[str, object]:
    answer = dashboard.get(path, headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


# --- coming in


def test_nobody_sees_a_page_who_has_not_logged_in(dashboard: Pages) -> None:
    for path in (*PAGES, "/live/message", "/live/page", "/reports.csv"):
        answer = dashboard.get(path)
        assert (
            answer.status_code == 303
            and answer.headers["location"] == f"/login?next={quote(path, safe='')}"
        )
        program = dashboard.get(path, headers={"Accept": "application/json"})
        assert program.status_code == 401 and "ana" not in program.text


def test_nobody_presses_a_button_who_has_not_logged_in(dashboard: Pages) -> None:
    for path in ("/stop", "/held", "/tasks", "/campaigns/call/hold", "/logout"):
        assert dashboard.post(path, data={"do": "stop"}).status_code == 401
    with dashboard.world.database.read() as connection:
        assert holds.held_scopes(connection) == {}


def test_whoever_logs_in_goes_where_they_wanted_to(dashboard: Pages) -> None:
    answer = log_in(dashboard, next="/contacts?q=an")
    assert (answer.status_code, answer.headers["location"]) == (303, "/contacts?q=an")
    cookie = answer.headers["set-cookie"]
    assert (
        "HttpOnly" in cookie and "SameSite=strict" in cookie and "Secure" not in cookie
    )
    assert (
        "Ben" not in dashboard.get("/contacts?q=an").text
        and "Ana" in dashboard.get("/contacts?q=an").text
    )
    token = dashboard.client.cookies[COOKIE]
    with dashboard.world.database.read() as connection:
        assert token not in str(
            connection.exec_driver_sql("SELECT digest FROM sessions").all()
        )


def test_the_cookie_goes_over_an_encrypted_line_alone_where_there_is_one(
    dashboard: Pages,
) -> None:
    answer = dashboard.post(
        "/login",
        data={"name": "ana", "password": PASSWORD},
        headers={"X-Forwarded-Proto": "https"},
    )
    assert "Secure" in answer.headers["set-cookie"]


def test_a_login_never_leads_to_another_site(dashboard: Pages) -> None:
    for elsewhere in (
        "//[",
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/a\nb",
        "",
    ):
        assert log_in(dashboard, next=elsewhere).headers["location"] == "/"


def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(
    dashboard: Pages,
) -> None:
    answers = [
        dashboard.post("/login", data={"name": name, "password": password})
        for name, password in (
            ("ana", "wrong"),
            ("nobody", PASSWORD),
            ("ana", ""),
            ("", ""),
            ("ana", "x" * 100_00),
        )
    ]
    assert {(each.status_code, each.text) for each in answers} == {
        (403, answers[0].text)
    }
    assert COOKIE not in dashboard.client.cookies


def test_passwords_cannot_be_tried_one_after_the_other(dashboard: Pages) -> None:
    tries = [
        dashboard.post(
            "/login", data={"name": "ana", "password": f"wrong {n}"}
        ).status_code
        for n in range(11)
    ]
    assert tries == [403] * 10 + [429]
    assert log_in(dashboard).status_code == 429
    dashboard.passed += 60
    assert log_in(dashboard).status_code == 303


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that are reached sooner."""
    for name, most in (
        ("AS_ONE", 3),
        ("FROM_ONE", 4),
        ("OF_STRANGERS", 5),
        ("SAID", 2),
    ):
        monkeypatch.setattr(tries, name, most)


def from_elsewhere(
    dashboard: Pages, n: int, name: str = "ana", password: str = "wrong"
) -> int:
    """A login from another address each time, by a browser that nobody knows."""
    return dashboard.post(
        "/login",
        data={"name": name, "password": password},
        headers={"X-Forwarded-For": f"198.51.100.{n}", "Cookie": ""},
    ).status_code


def test_nobody_keeps_an_operator_out_from_other_addresses(
    few: None, inside: Pages
) -> None:
    inside.client.cookies.delete(COOKIE)
    assert [from_elsewhere(inside, n) for n in range(10)] == [403] * 4 + [429] * 6
    assert from_elsewhere(inside, 77, password=PASSWORD) == 429, (
        "a browser that nobody knows has to wait"
    )
    assert log_in(inside).status_code == 303, (
        "and one that ana has logged in with need not"
    )


def test_a_browser_is_known_for_the_one_who_logged_in_with_it_until_the_password_is_another_one(
    inside: Pages,
) -> None:
    with inside.world.database.write() as connection:
        operators.add(connection, "ben", kept(), NOW)
        ana, ben = operators.listed(connection)
        cookie = inside.client.cookies[tries.COOKIE]
        assert tries.known_browser(ana, cookie) and not tries.known_browser(
            ben, f"x{cookie}"
        )
        assert not tries.known_browser(None, cookie)
        assert not tries.known_browser(
            replace(ana, password=hash_of("another one altogether")), cookie
        )
        for wrong in ("", ".", cookie[:-1], "x" * 5_000, cookie.replace(".", "")):
            assert not tries.known_browser(ana, wrong)


def test_a_known_browser_tries_no_more_often_than_others(
    few: None, inside: Pages
) -> None:
    codes = [
        inside.post("/login", data={"name": "ana", "password": "wrong"}).status_code
        for _ in range(5)
    ]
    assert codes == [403] * 3 + [429] * 2


def test_one_address_cannot_try_one_name_after_the_other(
    few: None, dashboard: Pages
) -> None:
    codes = [
        dashboard.post(
            "/login", data={"name": f"n{n}", "password": "wrong"}
        ).status_code
        for n in range(6)
    ]
    assert codes == [403] * 4 + [429] * 2


def test_the_log_has_who_logged_in_and_who_could_not_and_from_where(
    few: None, dashboard: Pages, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "drip.web"):
        from_elsewhere(dashboard, 7, name="an\x1b[2Ja\n\u202e" + "x" * 150)
        log_in(dashboard)
        for n in range(10):
            from_elsewhere(dashboard, n)
    failed, good, *others = [each for each in caplog.records if each.name == "drip.web"]
    assert (failed.levelname, vars(failed)["action"]) == ("WARNING", "login-failed")
    assert (
        failed.getMessage()
        == f"A login as 'an\\x1b[2Ja\\n\\u202e{'x' * 51}' from 198.51.100.7 failed."
    )
    assert good.getMessage() == "Operator 'ana' has logged in from 127.0.0.1."
    actions = [vars(each)["action"] for each in others]
    assert actions.count("login-failed") == 3 and actions.count("login-refused") == 2
    assert PASSWORD not in caplog.text and "wrong" not in caplog.text


def test_nobody_can_log_in_before_somebody_was_let_in_and_the_page_says_how(
    world: Worlds,
) -> None:
    with served_dashboard(world(CAMPAIGNS, settings=SETTINGS), NOW) as empty:
        assert "drip operators add" in empty.get("/login").text


def test_a_session_ends_by_logging_out_for_everybody_who_has_its_cookie(
    inside: Pages,
) -> None:
    token = inside.client.cookies[COOKIE]
    assert press(inside, "/logout").headers["location"] == "/login"
    inside.client.cookies.set(COOKIE, token)
    assert inside.get("/health").status_code == 303


def test_a_session_ends_by_itself(inside: Pages) -> None:
    inside.now += LASTS - timedelta(minutes=1)
    assert inside.get("/health").status_code == 200
    inside.now += timedelta(minutes=1)
    assert inside.get("/health").status_code == 303


def test_another_password_and_being_removed_end_all_sessions(inside: Pages) -> None:
    with inside.world.database.write() as connection:
        assert operators.set_password(
            connection, "ana", hash_of("another one altogether")
        )
    assert inside.get("/health").status_code == 303
    assert log_in(inside).status_code == 403
    inside.post("/login", data={"name": "ana", "password": "another one altogether"})
    assert inside.get("/health").status_code == 200
    with inside.world.database.write() as connection:
        assert operators.remove(connection, "ana")
    assert inside.get("/health").status_code == 303


def test_a_forged_cookie_is_nobodys(dashboard: Pages) -> None:
    for cookie in ("", "x", "x" * 5_000, "%00", "' OR 1=1 --", "a.b.c"):
        assert (
            dashboard.get(
                "/health", headers={"Cookie": f"{COOKIE}={cookie}"}
            ).status_code
            == 303
        )


def test_a_password_is_kept_as_a_hash_that_is_slow_to_try() -> None:
    assert kept().startswith("$argon2id$") and fits(kept(), PASSWORD)
    assert (
        not fits(kept(), PASSWORD.upper())
        and not fits(None, PASSWORD)
        and not fits("no hash", PASSWORD)
    )


# --- forged forms


def test_a_form_of_another_site_does_nothing(inside: Pages) -> None:
    own = {"csrf": csrf(inside)}
    forged: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": "0" * 64}, {}),
        (own, {"Sec-Fetch-Site": "cross-site"}),
        (own, {"Sec-Fetch-Site": "same-site"}),
        (own, {"Origin": "https://evil.example"}),
        (own, {"Origin": "null"}),
        (own, {"Origin": "http://["}),
    ]
    for fields, headers in forged:
        assert (
            inside.post(
                "/stop", data={"do": "stop", **fields}, headers=headers
            ).status_code
            == 403
        )
    with inside.world.database.read() as connection:
        assert holds.held_scopes(connection) == {}


def test_the_token_of_one_session_is_no_good_in_another(inside: Pages) -> None:
    own = csrf(inside)
    log_in(inside)
    assert inside.post("/stop", data={"do": "stop", "csrf": own}).status_code == 403
    assert press(inside, "/stop", do="stop").status_code == 303


# --- what buttons do


def test_stop_holds_everything_and_is_seen_on_every_page(inside: Pages) -> None:
    assert press(inside, "/stop", do="stop").headers["location"] == "/health"
    with inside.world.database.read() as connection:
        assert holds.EVERYTHING in holds.held_scopes(connection)
    assert "Everything is stopped" in inside.get("/campaigns").text
    press(inside, "/stop", do="go-on")
    with inside.world.database.read() as connection:
        assert holds.held_scopes(connection) == {}


def test_each_step_is_drawn_as_what_it_is(inside: Pages) -> None:
    steps = as_json(inside, "/campaigns/call")["steps"]
    assert isinstance(steps, list)
    kinds = [step["kind"] for step in steps]
    assert kinds == ["send", "wait", "branch", "task", "send"]


def test_a_campaign_is_held_and_goes_on(inside: Pages) -> None:
    press(inside, "/campaigns/letter/hold", do="hold")
    assert as_json(inside, "/campaigns/letter")["state"] == "held"
    press(inside, "/campaigns/letter/hold", do="go-on")
    assert as_json(inside, "/campaigns/letter")["state"] == "live"
    press(inside, "/campaigns/nothing/hold", do="hold")
    with inside.world.database.read() as connection:
        assert holds.held_scopes(connection) == {}


def test_who_held_it_when_and_why_is_seen_by_the_others(inside: Pages) -> None:
    press(inside, "/campaigns/letter/hold", do="hold", why="wrong <b>price</b>")
    page = inside.get("/campaigns/letter").text
    assert "Held by ana since" in page and "wrong &lt;b&gt;price&lt;/b&gt;" in page
    health = inside.get("/health").text
    assert "hold letter" in health and "wrong &lt;b&gt;price&lt;/b&gt;" in health
    press(inside, "/stop", do="stop", why="the provider is down")
    assert "by ana: the provider is down" in inside.get("/campaigns").text
    press(inside, "/stop", do="go-on")
    with inside.world.database.read() as connection:
        found = audit.orders(connection)
    assert [(order.by, order.command) for order in found] == [
        ("ana", "hold"),
        ("ana", "stop"),
        ("ana", "stop --off"),
    ]


def test_a_task_is_done_once_and_its_campaign_hears_of_it(inside: Pages) -> None:
    with inside.world.database.read() as connection:
        (task,) = tasks.listed(connection, ("open",))
    assert "Call Ana" in inside.get("/tasks?assign_to=front-desk").text
    assert (
        press(
            inside, "/tasks", task=str(task.number), do="done", outcome="booked"
        ).status_code
        == 303
    )
    with inside.world.database.read() as connection:
        settled = tasks.get(connection, task.number)
    assert settled and (settled.state, settled.outcome) == ("done", "booked")
    again = press(inside, "/tasks", task=str(task.number), do="dropped")
    assert again.status_code == 422 and "done already" in again.text
    assert press(inside, "/tasks", task="x", do="done").status_code == 422


def test_held_messages_are_settled(inside: Pages) -> None:
    with inside.world.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE messages SET state = 'held', code = 'unknown' WHERE id IN (1, 2, 3)"
        )
    assert as_json(inside, "/held")["count"] == 3
    press(inside, "/held", message="1", do="sent")
    press(inside, "/held", message="2", do="nonsense")
    press(inside, "/held", message="99999", do="sent")
    press(inside, "/held", message="1; DROP TABLE messages", do="sent")
    with inside.world.database.read() as connection:
        assert outbox.count_held(connection) == 2
    press(inside, "/held", message="all", do="dropped")
    assert as_json(inside, "/held")["held"] == []


# --- what pages show


def test_the_calendar_is_the_preview(inside: Pages) -> None:
    until = time.monotonic() + 60
    while not (found := as_json(inside, "/"))["forecast"] and time.monotonic() < until:
        time.sleep(0.2)
    forecast = found["forecast"]
    assert isinstance(forecast, dict)
    world = inside.world
    expected = summed(
        world.workspace, world.database, NOW, NOW + timedelta(days=30)
    ).summary
    assert forecast["messages"] == sum(each.count for each in expected.sent) > 50
    assert forecast["people"] == expected.people
    by_day = sum(
        count
        for week in forecast["weeks"]
        for day in week
        for _, count in day["counts"]
    )
    assert by_day == forecast["messages"]
    assert {(each["campaign"], each["code"]) for each in forecast["reasons"]} == {
        (each.campaign, each.code) for each in expected.refused
    }
    caps = as_json(inside, "/caps")
    assert caps["coming"] and caps["coming"]["displaced"] == [  # type: ignore[index]
        {"displaced": "promo", "by": "letter", "messages": 30, "shade": 4}
    ]
    page = inside.get("/").text
    assert "Promotion" in page and "are being simulated" not in page


def test_a_contact_s_page_has_past_coming_and_why_not(inside: Pages) -> None:
    found = as_json(inside, "/contacts/ana")
    past, coming = found["past"], found["coming"]
    assert isinstance(past, list) and isinstance(coming, list)
    assert {each["campaign"] for each in past} == {"call", "letter", "promo"}
    assert any(each["campaign"] == "promo" and each["code"] == "cap" for each in coming)
    assert all(each["at"] > "2026-11-26T16:00" for each in coming)
    assert [each["at"] for each in past] == sorted(
        (each["at"] for each in past), reverse=True
    )
    (silent,) = as_json(inside, "/contacts/ben")["nothing"][:1]  # type: ignore[index]
    assert (silent["campaign"], silent["code"]) == (
        "call",
        "not-due",
    ) and "order.placed never happened" in silent["sentence"]
    assert inside.get("/contacts/nobody").status_code == 404


def test_a_campaign_s_page_draws_its_steps_and_counts_the_people_at_each(
    inside: Pages,
) -> None:
    world = inside.world
    world.events("key,contact,event,at", "o2,ben,order.placed,2026-11-26T15:30:00Z")
    world.tick("2026-11-26 16:00")
    inside.now += timedelta(minutes=1)
    found = as_json(inside, "/campaigns/call")
    steps = found["steps"]
    assert isinstance(steps, list)
    assert [(each["id"], each["depth"], each["people"]) for each in steps] == [
        ("send thanks", 0, 0),
        ("wait 3 days", 0, 1),
        ("branch", 0, 0),
        ("task front-desk", 1, 0),
        ("send letter", 1, 0),
    ]
    assert steps[2]["leads"] == [[3, "if contact.visits: at least 2"], [4, "else"]]
    with world.database.read() as connection:
        assert sum(count for _, _, count in runs.positions(connection, "call")) == 1
    report = found["report"]
    assert (
        isinstance(report, dict)
        and report["began"] == 2
        and report["treated"]["goals"] == 0
    )
    page = inside.get("/campaigns/call").text
    assert (
        page.count('class="box') == 5
        and "1 here" in page
        and "contact.visits: at least 2" in page
    )
    assert inside.get("/campaigns/nothing").status_code == 404


def test_a_report_can_be_had_as_a_file(inside: Pages) -> None:
    answer = inside.get("/reports.csv?days=7")
    assert answer.headers["content-type"].startswith("text/csv")
    lines = answer.content.decode("utf-8-sig").splitlines()
    assert lines[0].startswith("campaign,step,channel,sent")
    assert any(line.startswith("letter,send letter,email,") for line in lines[1:])


def test_every_page_answers_json_too(inside: Pages) -> None:
    for path in PAGES:
        page = inside.get(path)
        assert page.status_code == 200 and page.headers["content-type"].startswith(
            "text/html"
        )
        assert as_json(inside, path)
        both = inside.get(path + ("&" if "?" in path else "?") + "format=json")
        assert both.headers["content-type"] == "application/json"


def test_a_program_looks_with_a_key_for_the_dashboard_and_changes_nothing(
    dashboard: Pages,
) -> None:
    with dashboard.world.database.write() as connection:
        api_keys.add(connection, "monitor", "drip_good", ("dashboard",), NOW)
        api_keys.add(connection, "shop", "drip_other", ("events",), NOW)
    good = {"Authorization": "Bearer drip_good"}
    assert dashboard.get("/health", headers=good).json()["messages"]["sent"] > 0
    assert dashboard.post("/stop", data={"do": "stop"}, headers=good).status_code == 403
    for wrong in ("Bearer drip_other", "Bearer", "Bearer nothing"):
        assert (
            dashboard.get("/health", headers={"Authorization": wrong}).status_code
            == 401
        )
    # That of a web server in front is not for us.
    basic = {"Authorization": "Basic drip_good"}
    assert dashboard.get("/health", headers=basic).status_code == 303
    log_in(dashboard)
    assert dashboard.get("/health", headers=basic).status_code == 200


# --- live preview


def test_the_live_preview_follows_an_edit_of_the_template_and_of_the_campaign(
    inside: Pages,
) -> None:
    query = "campaign=letter&step=send+letter&contact=ana&channel=email"
    first = as_json(inside, f"/live/message?{query}")
    assert first["message"]["subject"] == "Hello Ana"  # type: ignore[index]
    assert (
        inside.get(f"/live/message?{query}&seen={first['version']}").status_code == 204
    )
    inside.world.write(
        "templates/letter.md",
        "---\nsubject: Good day {{ contact.first_name }}\n---\nNew *words*.\n",
    )
    answer = inside.get(f"/live/message?{query}&seen={first['version']}")
    assert answer.status_code == 200 and "Good day Ana" in answer.text
    page = inside.get(f"/live/page?{query}")
    assert "New <em>words</em>" in page.text
    policy = page.headers["content-security-policy"]
    assert (
        "sandbox" in policy
        and "allow" not in policy
        and "frame-ancestors 'self'" in policy
        and "script-src" not in policy
    )
    inside.world.write(
        "campaigns/letter.yaml",
        CAMPAIGNS["letter"].replace(
            "send: letter", "{ send: letter, subject: From the file }"
        ),
    )
    assert (
        as_json(inside, f"/live/message?{query}")["message"]["subject"]
        == "From the file"
    )  # type: ignore[index]


def test_the_live_preview_says_what_is_wrong_with_a_file_and_recovers(
    inside: Pages,
) -> None:
    query = "campaign=letter&step=send+letter&contact=ana"
    inside.world.write(
        "campaigns/letter.yaml",
        "name: Letter\ntriger: { schedule: every day at 10:00 }\nsteps: [send: letter]\n",
    )
    found = as_json(inside, f"/live/message?{query}")
    assert found["message"] is None and "letter.yaml:2" in str(found["problems"])
    inside.world.write("campaigns/letter.yaml", CAMPAIGNS["letter"])
    inside.world.write(
        "templates/letter.md", "---\nsubject: x\n---\n{{ contact.nothing.there }}\n"
    )
    found = as_json(inside, f"/live/message?{query}")
    assert found["message"] is None and "templates/letter.md" in str(found["problems"])
    inside.world.write("templates/letter.md", "---\nsubject: x\n---\nHello\n")
    assert as_json(inside, f"/live/message?{query}")["problems"] == []


def test_the_live_preview_shows_other_channels_and_languages(inside: Pages) -> None:
    inside.world.write(
        "templates/letter.de.md", "---\nsubject: Guten Tag\n---\nHallo\n"
    )
    inside.world.write("templates/letter.sms.txt", "Short and plain")
    query = "campaign=letter&step=send+letter&contact=ana"
    assert (
        as_json(inside, f"/live/message?{query}&locale=de")["message"]["subject"]
        == "Guten Tag"
    )  # type: ignore[index]
    found = as_json(inside, f"/live?{query}&locale=de")
    assert found["locales"] == ["de", "en"]
    sms = as_json(inside, f"/live/message?{query}&channel=sms")["message"]
    assert isinstance(sms, dict) and sms["segments"] == 1 and not sms["html"]
    assert as_json(inside, "/live?campaign=letter&step=send+letter&contact=nobody")[
        "problems"
    ]
    assert (
        as_json(inside, "/live?campaign=nothing&step=x&contact=ana")["message"] is None
    )


def test_what_is_imported_is_in_the_live_preview_once_the_page_is_loaded_again(
    inside: Pages,
) -> None:
    path = "/live?campaign=call&step=send+thanks&contact=ben"
    assert "no event order.placed" in str(as_json(inside, path)["problems"])
    inside.world.events(
        "key,contact,event,at", "o3,ben,order.placed,2026-11-26T15:00:00Z"
    )
    assert as_json(inside, path)["problems"] == []


def test_the_links_of_a_preview_are_good_for_nothing(inside: Pages) -> None:
    inside.world.write(
        "templates/letter.md",
        "---\nsubject: x\n---\n{{ preferences_link }} {{ unsubscribe_link }}\n",
    )
    text = str(
        as_json(inside, "/live/message?campaign=letter&step=send+letter&contact=ana")
    )
    with inside.world.database.read() as connection:
        keys = link_keys(connection)
    tokens = re.findall(r"https://mail.maple.example/\w+/([\w.-]+)", text)
    assert len(tokens) >= 2 and all(verify(token, keys) is None for token in tokens)


def test_the_page_of_caps_shows_a_cap_of_nothing_and_days_of_the_wall_clock(
    world: Worlds,
) -> None:
    made = world(
        {"letter": CAMPAIGNS["letter"]},
        settings="timezone: Europe/Berlin\nfrequency_caps: { all: 0 per day }\nwhen_capped: skip\n",
    )
    made.contacts("key,email", "ana,ana@example.com")
    made.run("2026-11-20 00:00", "2026-11-26 15:00")
    with made.database.write() as connection:
        operators.add(connection, "ana", kept(), NOW)
    with served_dashboard(made, NOW) as dashboard:
        log_in(dashboard)
        found = as_json(dashboard, "/caps")
        days = {each["start"]: each["skipped"] for each in found["days"]}  # type: ignore[attr-defined]
        assert (
            len(days) == 31
            and days["2026-11-20"] == days["2026-11-26"] == 1
            and days["2026-11-19"] == 0
        )
        page = dashboard.get("/caps").text
        assert "Who is at the limit" in page.partition("In the last 30 days")[2]


def test_people_at_a_step_that_is_no_more_are_counted_apart(inside: Pages) -> None:
    world = inside.world
    world.events("key,contact,event,at", "o2,ben,order.placed,2026-11-26T15:30:00Z")
    world.tick("2026-11-26 16:00")
    world.write("campaigns/call.yaml", CALL.replace("wait: 3 days", "wait: 4 days"))
    inside.passed += 10
    until = time.monotonic() + 20
    while (
        as_json(inside, "/campaigns/call")["elsewhere"] != 1
        and time.monotonic() < until
    ):
        time.sleep(0.2)
    assert as_json(inside, "/campaigns/call")["elsewhere"] == 1


def test_a_forecast_that_is_ended_leaves_no_copy_behind(
    dashboard: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state = AppState(
        dashboard.world.workspace, dashboard.world.database, lambda: NOW, lambda: 0.0
    )
    forecasts = Forecasts(state)
    assert forecasts.look() and forecasts.look()
    until = time.monotonic() + 30
    while not list(tmp_path.rglob("rehearsal.db")) and time.monotonic() < until:
        time.sleep(0.01)
    forecasts.close()
    assert list(tmp_path.glob("drip-*")) == []
    until = time.monotonic() + 10
    while forecasts.trouble is None and time.monotonic() < until:
        time.sleep(0.05)
    assert forecasts.trouble and forecasts.newest is None


def test_a_forecast_that_takes_too_long_is_ended_and_the_next_one_is_made_once_a_file_has_changed(
    dashboard: Pages,
) -> None:
    state = AppState(
        dashboard.world.workspace, dashboard.world.database, lambda: NOW, lambda: 0.0
    )
    forecasts = Forecasts(state, Limits(answer_s=0.001))
    assert forecasts.look()
    until = time.monotonic() + 30
    while forecasts.trouble is None and time.monotonic() < until:
        time.sleep(0.05)
    assert forecasts.trouble and forecasts.trouble.startswith(
        "The simulation takes longer than 0.001 seconds"
    )
    assert not forecasts.look()
    dashboard.world.write(
        "templates/letter.md", "---\nsubject: Another\n---\nAnother one\n"
    )
    assert forecasts.look()
    forecasts.close()


def test_a_machine_that_can_begin_no_process_is_told_of_and_the_pages_go_on(
    inside: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socketpair", lacking)
        page = inside.get("/live")
        assert (
            page.status_code == 503
            and "No process can be begun: Too many open files" in page.text
        )
        assert inside.get("/contacts/ana").status_code == 503
        assert inside.get("/health").status_code == 200
    assert inside.get("/live").status_code == 200


# --- bad input

NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' OR 1=1; DROP TABLE contacts; --",
    "{{ 7*7 }}",
    "../../etc/passwd",
    "..%2f..%2fetc",
    "\x00",
    "%",
    "_",
    "a" * 9_000,
    "‮txt",
    "\ud83d".encode("utf-8", "replace").decode(),
)


@pytest.mark.parametrize("text", NASTY)
def test_nothing_that_is_asked_makes_a_page_fail_or_is_shown_as_html(
    inside: Pages, text: str
) -> None:
    asked = quote(text, safe="")
    for path in (
        f"/contacts?q={asked}",
        f"/contacts/{asked}",
        f"/campaigns/{asked}",
        f"/campaigns/call?days={asked}",
        f"/reports?days={asked}",
        f"/tasks?assign_to={asked}",
        f"/live?campaign={asked}&step={asked}&contact={asked}&channel={asked}&locale={asked}",
        f"/live/message?campaign=letter&step=send+letter&contact={asked}&seen={asked}",
        f"/live/page?campaign={asked}&contact={asked}",
        f"/live?what={asked}%09{asked}",
        f"/live/message?campaign=letter&step=send+letter&contact=ana&channel={asked}",
        f"/login?next={asked}",
        f"/health?format={asked}",
    ):
        answer = inside.get(path)
        assert answer.status_code < 500, path
        assert (
            "<script>alert" not in answer.text
            and "<img src=x" not in answer.text
            and "Traceback" not in answer.text
        )
    with inside.world.database.read() as connection:
        assert (
            connection.exec_driver_sql("SELECT count(*) FROM contacts").scalar_one()
            == 2
        )


ASKED = """
name: Asked
topic: service
trigger: { event: survey.answered }
steps:
  - task: "They said: {{ event.comment }}"
    assign_to: front-desk
"""
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def test_nothing_that_people_and_marketers_write_is_run_as_html(world: Worlds) -> None:
    evil = EVIL.replace('"', '\\"')
    made = world(
        {
            "asked": ASKED,
            "letter": f'name: "{evil}"\ntopic: service\ntrigger: {{ schedule: every day at 10:00 }}\nsteps:\n  - send: letter\n  - task: "{evil}"\n    assign_to: "{evil}"\n',
        },
        settings=SETTINGS + f'business: {{ name: "{evil}", address: "{evil}" }}\n',
    )
    cell = '"' + EVIL.replace('"', '""') + '"'
    made.contacts(
        "key,email,first_name,last_name", f"{cell},ana@example.com,{cell},{cell}"
    )
    made.write("templates/letter.md", f"---\nsubject: >-\n  {EVIL}\n---\n{EVIL}\n")
    made.reload()
    made.events(
        "key,contact,event,at,comment",
        f"a1,{cell},survey.answered,2026-11-25T10:00:00Z,{cell}",
    )
    made.run("2026-11-25 00:00", "2026-11-26 12:00")
    with made.database.write() as connection:
        operators.add(connection, "ana", kept(), NOW)
        connection.exec_driver_sql(
            "UPDATE messages SET state = 'held', code = 'unknown', sentence = '<script>alert(1)</script>'"
        )
    with served_dashboard(made, NOW) as dashboard:
        log_in(dashboard)
        key = quote(EVIL, safe="")
        for path in (
            "/",
            "/campaigns",
            "/campaigns/letter",
            "/contacts",
            f"/contacts/{key}",
            f"/live?contact={key}",
            "/caps",
            "/reports",
            "/tasks",
            "/held",
            "/health",
        ):
            answer = dashboard.get(path)
            assert answer.status_code == 200, path
            assert (
                "<script>alert" not in answer.text and "<img src=x" not in answer.text
            ), path
            assert path != "/tasks" or "They said: &lt;script&gt;alert" in answer.text
        page = dashboard.get(
            f"/live/page?campaign=letter&step=send+letter&contact={key}"
        )
        # A message is HTML as its marketer wrote it; where it is shown nothing of it is run.
        assert "sandbox" in page.headers["content-security-policy"]


def test_pages_run_nothing_but_what_lies_beside_them(inside: Pages) -> None:
    for path in PAGES:
        answer = inside.get(path)
        policy = dict(
            each.strip().partition(" ")[::2]
            for each in answer.headers["content-security-policy"].split(";")
        )
        assert (
            policy["default-src"] == "'none'"
            and policy["script-src"] == "'self'"
            and policy["frame-ancestors"] == "'none'"
        )
        # A form has to say where it comes from.
        assert answer.headers["referrer-policy"] == "same-origin"
        assert (
            answer.headers["cache-control"] == "no-store"
            and answer.headers["x-frame-options"] == "DENY"
        )
        assert not re.search(
            r"<script(?! src=)|<[^>]+ (on[a-z]+|style)=", answer.text
        ), path


def test_what_fails_is_told_to_the_log_without_names_and_to_nobody_else(
    inside: Pages, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("canary@example.com")

    monkeypatch.setattr("drip.storage.people.consents.log_of", fail)
    with caplog.at_level(logging.DEBUG):
        answer = inside.get("/contacts/ana")
        inside.post("/login", data={"name": "nobody", "password": "canary"})
    assert (
        answer.status_code == 500
        and "RuntimeError" not in answer.text
        and "canary" not in answer.text
    )
    assert "/contacts/{key:path} failed: RuntimeError" in caplog.text
    assert (
        "canary" not in caplog.text
        and "ana@" not in caplog.text
        and PASSWORD not in caplog.text
    )


def test_a_body_that_is_too_large_is_refused(inside: Pages) -> None:
    assert inside.post("/stop", content=b"x" * 10_000_000).status_code == 413
