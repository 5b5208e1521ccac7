"""Strangers type other people's addresses into the form for a topic: one confirmation, and nobody else ever hears of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from drip.commands import recipient_actions
from drip.core.token import Link
from drip.preview.forecast import forecast
from drip.storage.base.schema import metadata
from drip.storage.campaigns import tasks
from drip.storage.operating import api_keys, operators, webhook_outbox
from drip.storage.people import consents, contacts, sign_ups, suppressions, tags
from drip.storage.people.contacts import Contact
from drip.storage.people.sign_ups import SignUp
from drip.storage.reading.ledger import entries
from drip.web.dashboard.passwords import hash_of
from tests.cli import drip
from tests.web import served_dashboard
from tests.world import World, at

Worlds = Callable[..., World]
SETTINGS = """
topics:
  news: { title: Thursday news, opt_in: double }
  offers: { title: Offers, opt_in: single }
  service: { title: Service, opt_in: implied }
counters:
  card: { add: [news.requested, order.placed] }
segments:
  everyone: { contact.email: known }
  asked: { did: news.requested }
  regulars: { card: at least 1 }
data:
  contact: { first_name: text, requests: count of news.requested, visits: number, joined: date, asked_on: latest news.requested }
  vehicle: { model: text }
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
BLAST = """
name: Blast
topic: service
trigger: { schedule: every day at 9:00 }
steps: [send: blast]
"""
ANNIVERSARY = """
name: Anniversary
topic: service
trigger: { date: contact.asked_on, repeat: yearly }
steps: [send: anniversary]
"""
ON_REQUEST = """
name: On request
topic: service
trigger: { event: news.requested }
steps: [send: on-request]
"""
ON_SEGMENT = """
name: On segment
topic: service
trigger: { segment: everyone }
steps: [send: on-segment]
"""
ON_CARD = """
name: On card
topic: service
trigger: { counter: card, reaches: [1, 2] }
steps: [send: on-card]
"""
TO_ALL = """
name: Transactional to all
transactional: true
trigger: { schedule: every day at 10:00 }
steps: [send: to-all]
"""
CAMPAIGNS = {
    "ask": ASK,
    "blast": BLAST,
    "anniversary": ANNIVERSARY,
    "on-request": ON_REQUEST,
    "on-segment": ON_SEGMENT,
    "on-card": ON_CARD,
    "to-all": TO_ALL,
}
STRANGER = "stranger@example.com"


def shop(
    world: Worlds, campaigns: dict[str, str] | None = None, settings: str = SETTINGS
) -> World:
    """Ana is known; every template's subject is its name."""
    made = world(campaigns or CAMPAIGNS, settings=settings)
    for path in (made.root / "templates").glob("*.md"):
        path.write_text(f"---\nsubject: {path.stem}\n---\nA *short* text.\n", "utf-8")
    made.reload()
    made.contacts("key,email,first_name", "ana,ana@example.com,Ana", now="2026-01-01")
    made.tick("2026-11-20 12:00")
    return made


def sign_up(made: World, email: str, now: str, topic: str = "news") -> None:
    with made.database.write() as connection:
        recipient_actions.sign_up(
            connection, made.workspace.settings, topic, email, "Eve", "en", at(now), {}
        )


def contact_of(made: World, email: str = STRANGER) -> Contact | None:
    with made.database.read() as connection:
        return contacts.contact_by_email(connection, email)


def state_of(made: World, contact: Contact) -> SignUp | None:
    with made.database.read() as connection:
        return sign_ups.of_contacts(connection, [contact.id]).get(contact.id)


def written_to(made: World, email: str = STRANGER) -> list[str]:
    """The templates of the messages that went to an address, oldest first."""
    return [
        each.subject for each in made.transport.messages if each.to.address == email
    ]


def trace_of(made: World, text: str) -> list[str]:
    """The tables that hold a text anywhere."""
    found = []
    with made.database.read() as connection:
        for table in metadata.sorted_tables:
            rows = connection.execute(table.select()).all()
            found += (
                [table.name] if any(text in str(tuple(row)) for row in rows) else []
            )
    return found


def test_a_strangers_address_gets_one_confirmation_and_is_erased_after_seven_days(
    world: Worlds,
) -> None:
    made = shop(world)
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.run("2026-11-20 13:00", "2026-11-27 12:59")
    assert written_to(made) == ["ask"] and "blast" in written_to(
        made, "ana@example.com"
    )
    assert contact_of(made)
    made.run("2026-11-27 12:59", "2026-11-29 12:00")
    assert written_to(made) == ["ask"] and contact_of(made) is None
    assert trace_of(made, "stranger") == [] and trace_of(made, "Eve") == []
    with made.database.read() as connection:
        assert (
            sign_ups.counts(connection) == {"over": 1}
            and contacts.count(connection) == 1
        )
        assert not suppressions.any_suppressed(connection), (
            "its owner may sign up one day"
        )


def test_however_many_run_out_at_once_the_answers_that_are_kept_are_looked_through_once(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop(world, {"ask": ASK})
    for number in range(20):
        sign_up(made, f"{number}.{STRANGER}", "2026-11-20 13:00")
    with made.database.write() as connection:
        api_keys.add(connection, "till", "drip_token", ["events"], at("2026-11-20"))
        key = api_keys.find(connection, "drip_token")
        assert key
        refused = api_keys.StoredResponse(
            "",
            200,
            f'{{"rejected": [{{"reason": "there is no contact `1.{STRANGER}`"}}]}}',
        )
        api_keys.remember(connection, key, "x", refused, at("2026-11-27 12:00"))
    looks: list[Connection] = []
    forget = api_keys.forget_words

    def counted(connection: Connection) -> None:
        looks.append(connection)
        forget(connection)

    monkeypatch.setattr(api_keys, "forget_words", counted)
    made.tick("2026-11-27 13:00")
    assert len(looks) == 1 and trace_of(made, "stranger") == []


def test_whoever_is_erased_can_sign_up_again(world: Worlds) -> None:
    made = shop(world)
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.run("2026-11-20 13:00", "2026-11-28 12:00")
    sign_up(made, STRANGER, "2026-11-28 13:00")
    made.run("2026-11-28 13:00", "2026-11-28 14:00")
    assert written_to(made) == ["ask", "ask"]


@pytest.mark.parametrize(
    ("waits", "erased"),
    [
        ("    up_to: 2 days\n    else: end", "2026-11-22 13:00"),
        ("    up_to: 30 days\n    else: end", "2026-12-20 13:00"),
        ("", "2026-11-27 13:00"),
    ],
    ids=["shorter", "longer", "for ever"],
)
def test_the_time_is_the_campaigns_own_where_it_says_one(
    world: Worlds, waits: str, erased: str
) -> None:
    ask = ASK.replace("    up_to: 7 days\n    else: end\n", waits + "\n")
    made = shop(world, {**CAMPAIGNS, "ask": ask})
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.run("2026-11-20 13:00", f"{at(erased) - timedelta(minutes=1):%Y-%m-%d %H:%M}")
    assert contact_of(made)
    made.run(f"{at(erased) - timedelta(minutes=1):%Y-%m-%d %H:%M}", erased)
    assert contact_of(made) is None and written_to(made) == ["ask"]


def test_a_daemon_that_was_down_for_longer_writes_to_nobody(world: Worlds) -> None:
    made = shop(world)
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.tick("2026-11-28 13:00")
    assert written_to(made) == [] and contact_of(made) is None
    made.run("2026-11-28 13:00", "2026-12-08 13:00")
    assert not [each for each in made.ledger() if each.contact.startswith("erased-")]


def confirm(made: World, contact: Contact, now: str) -> None:
    with made.database.write() as connection:
        link = Link("confirm", contact.id, "news", 1, None)
        recipient_actions.confirm(
            connection, made.workspace.settings, link, at(now), {}
        )


def prefer(made: World, contact: Contact, now: str) -> None:
    with made.database.write() as connection:
        recipient_actions.choose(
            connection,
            made.workspace.settings,
            contact,
            {("service", "email")},
            at(now),
            {},
        )


OTHER_SOURCES: dict[str, Callable[[World, Contact, str], object]] = {
    "confirming": confirm,
    "choosing a topic": prefer,
    "an import by key": lambda made, who, now: made.contacts(
        "key,email", f"{who.key},{who.email}", now=now[:10]
    ),
    "an import by address": lambda made, who, now: made.contacts(
        "key,email", "c-17,STRANGER@example.com", now=now[:10]
    ),
    "an event": lambda made, who, now: made.events(
        "event,contact,at", f"order.placed,{who.key},{now}"
    ),
    "a record": lambda made, who, now: made.vehicles(
        "key,contact,model", f"v1,{who.key},Polo"
    ),
}


@pytest.mark.parametrize("source", OTHER_SOURCES)
def test_any_other_source_makes_an_ordinary_contact_at_once(
    world: Worlds, source: str
) -> None:
    made = shop(world)
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.run("2026-11-20 13:00", "2026-11-21 13:30")
    stranger = contact_of(made)
    assert stranger and state_of(made, stranger) and written_to(made) == ["ask"]
    OTHER_SOURCES[source](made, stranger, "2026-11-21 13:30")
    assert state_of(made, stranger) is None
    made.run("2026-11-21 13:30", "2026-11-23 13:00")
    assert {"blast", "on-segment"} <= set(written_to(made)) and contact_of(made)


def test_who_was_known_is_neither_hidden_nor_erased_by_a_strangers_typing(
    world: Worlds,
) -> None:
    made = shop(world)
    before = len(written_to(made, "ana@example.com"))
    sign_up(made, "ANA@example.com", "2026-11-20 13:00")
    made.run("2026-11-20 13:00", "2026-11-29 13:00")
    ana = contact_of(made, "ana@example.com")
    assert (
        ana
        and ana.key == "ana"
        and ana.attributes["first_name"] == "Ana"
        and state_of(made, ana) is None
    )
    got = written_to(made, "ana@example.com")[before:]
    assert got.count("ask") == 1 and got.count("blast") == 9


def test_who_was_erased_or_suppressed_before_is_not_written_to_and_stays_so(
    world: Worlds,
) -> None:
    made = shop(world)
    with made.database.write() as connection:
        suppressions.suppress(
            connection, STRANGER, "550 no such user", at("2026-11-01 10:00")
        )
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.run("2026-11-20 13:00", "2026-11-29 13:00")
    assert (
        written_to(made) == []
        and contact_of(made) is None
        and trace_of(made, "stranger") == []
    )
    with made.database.read() as connection:
        assert suppressions.any_suppressed(connection)


def test_an_address_typed_again_and_again_is_asked_twice_in_a_week_whoever_has_it(
    world: Worlds,
) -> None:
    made = shop(world, {"ask": ASK})
    start = at("2026-11-20 13:00")
    for hour in range(0, 100, 10):
        for email in (STRANGER, "ana@example.com"):
            sign_up(made, email, f"{start + timedelta(hours=hour):%Y-%m-%d %H:%M}")
        made.tick(start + timedelta(hours=hour))
    assert written_to(made) == written_to(made, "ana@example.com") == ["ask", "ask"]
    # The last one asked waits its seven days, and no longer: what was refused prolongs nothing.
    made.run("2026-11-24 17:00", "2026-11-27 22:59")
    assert contact_of(made)
    made.run("2026-11-27 22:59", "2026-11-27 23:00")
    assert contact_of(made) is None


def test_a_no_by_the_confirmations_own_link_leaves_it_what_it_is(world: Worlds) -> None:
    made = shop(world)
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.run("2026-11-20 13:00", "2026-11-21 13:00")
    stranger = contact_of(made)
    assert stranger
    with made.database.write() as connection:
        link = Link("unsubscribe", stranger.id, "news", 1, None)
        recipient_actions.unsubscribe(
            connection, made.workspace.settings, link, at("2026-11-21 13:00"), "page"
        )
        recipient_actions.choose(
            connection,
            made.workspace.settings,
            stranger,
            set(),
            at("2026-11-21 13:00"),
            {},
        )
    made.run("2026-11-21 13:00", "2026-11-29 13:00")
    assert written_to(made) == ["ask"] and contact_of(made) is None


GREEDY = """
name: Greedy
topic: news
transactional: true
trigger: { event: news.requested }
steps:
  - tag: asked
  - task: "Call {{ contact.first_name }}"
    assign_to: desk
  - send: ask
  - wait: 1 day
  - send: reminder
  - subscribe: offers
  - wait_for: news.confirmed
    up_to: 3 days
  - send: last-call
"""


def test_a_campaign_that_goes_on_without_the_confirmation_does_nothing_until_it_is_there(
    world: Worlds,
) -> None:
    made = shop(world, {"ask": GREEDY, "blast": BLAST})
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.run("2026-11-20 13:00", "2026-11-24 12:59")
    stranger = contact_of(made)
    assert stranger and written_to(made) == ["ask"]
    with made.database.read() as connection:
        assert (
            tasks.count_open(connection) == 0
            and consents.log_of(connection, stranger.id) == []
        )
        assert tags.tags_of(connection, [stranger.id]) == {}
    skipped = [
        each.code
        for each in made.ledger()
        if each.outcome == "skipped" and each.contact == STRANGER
    ]
    assert skipped == ["no-consent"]
    made.run("2026-11-24 12:59", "2026-11-29 13:00")
    assert written_to(made) == ["ask"] and contact_of(made) is None


OFFER = """
name: Offer
topic: offers
trigger: { schedule: every day at 11:00 }
steps: [send: offer]
"""


def test_a_single_topic_is_taken_at_its_word_and_implies_no_other(
    world: Worlds,
) -> None:
    made = shop(world, {**CAMPAIGNS, "offer": OFFER})
    sign_up(made, STRANGER, "2026-11-20 13:00", topic="offers")
    made.run("2026-11-20 13:00", "2026-11-30 13:00")
    stranger = contact_of(made)
    assert stranger and set(written_to(made)) == {"offer", "to-all"}
    with made.database.read() as connection:
        on = {
            each.topic
            for each in recipient_actions.choices(
                connection, made.workspace.settings, stranger
            )
            if each.on
        }
    assert on == {"offers"}
    made.events("event,contact,at", f"order.placed,{STRANGER},2026-11-30 13:00")
    made.run("2026-11-30 13:00", "2026-12-02 13:00")
    assert "blast" in written_to(made), "a customer now"


def test_preferences_of_a_single_sign_up_stay_as_the_page_showed_them(
    world: Worlds,
) -> None:
    made = shop(world)
    sign_up(made, STRANGER, "2026-11-20 13:00", topic="offers")
    stranger = contact_of(made)
    assert stranger
    with made.database.write() as connection:
        recipient_actions.choose(
            connection,
            made.workspace.settings,
            stranger,
            {("offers", "email")},
            at("2026-11-20 14:00"),
            {},
        )
    assert state_of(made, stranger) is None
    made.run("2026-11-20 14:00", "2026-11-25 13:00")
    assert "blast" not in written_to(made)


@pytest.mark.parametrize(
    "phrase",
    [
        "contact.email: known",
        "in_segment: everyone",
        "did: news.requested",
        "subscribed: service",
        "contact.requests: top 100%",
        "contact.requests: at least 0",
        "not: { tagged: x }",
    ],
)
def test_no_condition_finds_it(world: Worlds, phrase: str) -> None:
    letter = BLAST.replace("steps:", f"audience: {{ {phrase} }}\nsteps:").replace(
        "topic: service", "transactional: true"
    )
    made = shop(world, {"ask": ASK, "blast": letter})
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.events("event,contact,at", "news.requested,ana,2026-11-20 12:00")
    made.run("2026-11-20 13:00", "2026-11-26 13:00")
    assert written_to(made) == ["ask"] and "blast" in written_to(
        made, "ana@example.com"
    )


# --- who looks


def test_other_programs_are_told_nothing_of_it(world: Worlds) -> None:
    hook = '{ url: "https://crm.example/drip", secret: secret:HOOK, on: "sent, unsubscribed" }'
    made = shop(world, settings=SETTINGS + f"webhooks: {{ crm: {hook} }}\n")
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.run("2026-11-20 13:00", "2026-11-21 16:00")
    stranger = contact_of(made)
    assert stranger
    with made.database.write() as connection:
        link = Link("unsubscribe", stranger.id, "news", 1, None)
        recipient_actions.unsubscribe(
            connection, made.workspace.settings, link, at("2026-11-21 16:00"), "page"
        )
    with made.database.read() as connection:
        told = webhook_outbox.after(connection, "crm", ["sent", "unsubscribed"], 100)
    assert {each.data["contact"] for each in told} == {"ana"}


LISTS = (
    "preview --days 4 --json",
    "preview --days 4",
    "preview --days 4 --caps",
    "preview blast --days 4",
    "check",
    "report blast",
    "report on-segment",
    "tasks list",
    "coupons list",
    "test",
)


@pytest.mark.slow
@pytest.mark.file
@pytest.mark.parametrize("asked", LISTS)
def test_every_command_says_what_it_would_say_without_it(
    world: Worlds, asked: str
) -> None:
    said = []
    for strangers in (0, 3):
        made = shop(world)
        for number in range(strangers):
            sign_up(made, f"stranger-{number}@example.com", "2026-11-20 13:00")
        made.run("2026-11-20 13:00", "2026-11-21 13:00")
        done = drip(
            made.root,
            *asked.split(),
            *(("--now", "2026-11-21 13:00") if "preview" in asked else ()),
        )
        assert "stranger" not in done.out + done.err
        said.append(done.out.replace(str(made.root), ""))
    assert said[0] == said[1]


PAGES = (
    "/",
    "/campaigns",
    "/campaigns/blast",
    "/campaigns/on-segment",
    "/contacts",
    "/contacts?q=strang",
    "/contacts?q=@",
    "/live",
    "/caps",
    "/reports",
    "/reports.csv",
    "/tasks",
    "/held",
    "/health",
)


@pytest.mark.slow
@pytest.mark.file
def test_no_page_shows_it_but_its_own_which_says_what_it_is(world: Worlds) -> None:
    made = shop(world)
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.run("2026-11-20 13:00", "2026-11-21 13:00")
    with made.database.write() as connection:
        operators.add(
            connection,
            "op",
            hash_of("correct horse battery staple"),
            at("2026-11-01 10:00"),
        )
    with served_dashboard(made, at("2026-11-21 13:00")) as dashboard:
        dashboard.post(
            "/login", data={"name": "op", "password": "correct horse battery staple"}
        )
        for page in PAGES:
            answer = dashboard.get(page)
            assert answer.status_code == 200 and "stranger" not in answer.text, page
        assert (
            "1 of 1." in dashboard.get("/contacts").text
            and "0 of 1." in dashboard.get("/contacts?q=strang").text
        )
        own = dashboard.get(f"/contacts/{STRANGER}").text
        assert (
            "a sign-up that nobody has confirmed" in own
            and "Fri 27 Nov 2026 at 07:00" in own
        )


@pytest.mark.file
def test_explain_says_what_it_is_and_what_becomes_of_it(world: Worlds) -> None:
    made = shop(world)
    sign_up(made, STRANGER, "2026-11-20 13:00")
    made.run("2026-11-20 13:00", "2026-11-21 13:00")
    rows = drip(
        made.root, "explain", STRANGER, "--now", "2026-11-21 13:00", "--json"
    ).rows
    told = {(row["campaign"], row["code"]) for row in rows}
    assert (None, "sign-up") in told and {
        ("blast", "no-consent"),
        ("to-all", "no-consent"),
    } <= told
    ends = [row for row in rows if row.get("coming") and row["outcome"] == "exited"]
    assert [(each["contact"], each["sentence"]) for each in ends] == [
        (STRANGER, "the person was erased")
    ]


def test_the_preview_erases_it_when_the_daemon_does(world: Worlds) -> None:
    made = shop(world)
    sign_up(made, STRANGER, "2026-11-20 13:00")
    sign_up(made, "other@example.com", "2026-11-21 03:00", topic="offers")
    start, end = at("2026-11-20 13:00"), at("2026-12-05 13:00")
    with forecast(made.workspace, made.database, start, end) as found:
        foretold = list(found.entries())
    made.run("2026-11-20 13:00", "2026-12-05 13:00")
    with made.database.read() as connection:
        done = list(entries(connection, since=start, until=end))
    assert foretold == done
    assert [each.at for each in done if each.sentence == "the person was erased"] == [
        at("2026-11-27 13:00")
    ]
