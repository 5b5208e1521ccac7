"""Other programs are told what happened: signed, in order, until they take it, and from when they were named on."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from drip.commands import recipient_actions
from drip.core.token import Link
from drip.daemon.webhook_sender import WebhookSender
from drip.engine.feedback import Feedback
from drip.inbound.reading import Finding
from drip.storage.operating import webhook_outbox
from tests.test_webhook import Taken, server
from tests.world import World, at

Worlds = Callable[..., World]
NOW = at("2026-11-26 16:00")
LETTER = """
name: Letter
topic: service
trigger: { schedule: 2026-11-26 10:00 }
goal: { event: order.placed }
exit_when: goal
steps:
  - send: letter
  - wait: 5 days
  - send: letter
    id: again
"""


class Office:
    """A shop with one webhook, at a server of the test's own."""

    def __init__(
        self,
        world: Worlds,
        port: int,
        on: str = "sent, bounced, unsubscribed, goal, survey.answered",
    ) -> None:
        hook = f"{{ url: 'http://127.0.0.1:{port}/in', secret: secret:HOOK, private: yes, on: '{on}' }}"
        self.made = world({"letter": LETTER}, settings=f"webhooks: {{ crm: {hook} }}")
        self.made.workspace.environment = {"HOOK": "s3cret"}  # type: ignore[misc]
        self.made.contacts("key,email", "ana,ana@example.com", "ben,ben@example.com")
        self.now = NOW
        self.stopped = False
        self.sender = WebhookSender(
            self.made.database, lambda: self.now, lambda: self.stopped
        )

    def deliver(self, after: timedelta = timedelta(0)) -> None:
        self.now += after
        self.sender.deliver(self.made.workspace)


def posted(taken: Taken) -> list[tuple[str, dict[str, Any]]]:
    found = [json.loads(body) for _, body in taken.requests]
    return [(each["type"], each["data"]) for each in found]


def test_everything_that_happens_is_told_in_order_and_signed(world: Worlds) -> None:
    with server(204) as taken:
        office = Office(world, taken.port)
        made = office.made
        made.tick("2026-11-26 09:00")
        made.tick("2026-11-26 16:00")
        feedback = Feedback(made.database, NOW)
        name = next(
            each.message_id
            for each in made.transport.messages
            if each.to.address == "ana@example.com"
        )
        feedback.take(
            [
                Finding(
                    "bounce",
                    "ana@example.com",
                    "5.1.1",
                    "address-dead",
                    "no such user",
                    (name,),
                )
            ],
            "x",
        )
        with made.database.write() as connection:
            settings = made.workspace.settings
            recipient_actions.unsubscribe(
                connection,
                settings,
                Link("unsubscribe", 2, "service"),
                NOW,
                "unsubscribe page",
            )
            recipient_actions.answer(
                connection,
                settings,
                Link("survey", 2, "service", 2, "how:4"),
                NOW,
                "fine",
            )
        made.events("event,contact,at", "order.placed,ben,2026-11-26T16:05:00Z")
        made.tick("2026-11-26 16:10")
        office.deliver()
        office.deliver()
    kinds = [kind for kind, _ in posted(taken)]
    assert kinds == [
        "sent",
        "sent",
        "bounced",
        "unsubscribed",
        "survey.answered",
        "goal",
    ]
    by_kind = dict(reversed(posted(taken)))
    assert by_kind["sent"] == {
        "message": 1,
        "campaign": "letter",
        "step": "send letter",
        "channel": "email",
        "contact": "ana",
    }
    assert (
        by_kind["bounced"]["class"] == "address-dead"
        and by_kind["bounced"]["contact"] == "ana"
    )
    assert by_kind["unsubscribed"] == {
        "contact": "ben",
        "topic": "service",
        "channel": "email",
        "source": "unsubscribe page",
    }
    assert (
        by_kind["survey.answered"]["score"] == "4"
        and by_kind["goal"]["contact"] == "ben"
    )
    for headers, body in taken.requests:
        signed = (
            f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        )
        digest = base64.b64encode(hmac.digest(b"s3cret", signed, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{digest}"
    assert len({headers["webhook-id"] for headers, _ in taken.requests}) == 6


def test_what_is_not_asked_for_is_not_even_written_down(world: Worlds) -> None:
    with server(204) as taken:
        office = Office(world, taken.port, on="goal")
        office.made.tick("2026-11-26 09:00")
        office.made.tick("2026-11-26 16:00")
        office.deliver()
    assert posted(taken) == []
    with office.made.database.read() as connection:
        assert webhook_outbox.newest(connection) == 0


@pytest.mark.parametrize("status", [500, 429, 401, 302])
def test_who_does_not_take_it_is_told_again_later_and_less_and_less_often(
    world: Worlds, status: int
) -> None:
    with server(status) as down:
        office = Office(world, down.port)
        office.made.tick("2026-11-26 09:00")
        office.made.tick("2026-11-26 16:00")
        for _ in range(60):
            office.deliver(timedelta(seconds=10))
        assert 5 <= len(down.requests) <= 8
        assert len({headers["webhook-id"] for headers, _ in down.requests}) == 1
        port = down.port
    with server(204) as taken:
        moved = office.made.root / "campaigns" / "_settings.yaml"
        moved.write_text(moved.read_text().replace(str(port), str(taken.port)))
        office.made.reload()
        office.made.workspace.environment = {"HOOK": "s3cret"}  # type: ignore[misc]
        office.deliver(timedelta(hours=1))
    assert [kind for kind, _ in posted(taken)] == ["sent", "sent"]


def test_what_it_will_never_take_holds_nothing_up(
    world: Worlds, caplog: pytest.LogCaptureFixture
) -> None:
    with server(422) as taken:
        office = Office(world, taken.port)
        office.made.tick("2026-11-26 09:00")
        office.made.tick("2026-11-26 16:00")
        office.deliver()
    assert len(taken.requests) == 2
    assert "does not take sent" in caplog.text and "ana" not in caplog.text


def test_it_is_told_of_what_happens_from_now_on_and_nothing_piles_up(
    world: Worlds,
) -> None:
    with server(204) as taken:
        office = Office(world, taken.port)
        made = office.made
        made.tick("2026-11-26 09:00")
        made.tick("2026-11-26 16:00")
        office.deliver()
        with made.database.read() as connection:
            assert len(webhook_outbox.after(connection, "nobody", ["sent"], 10)) == 1, (
                "but for the newest, whose number must stay"
            )
        name = made.root / "campaigns" / "_settings.yaml"
        name.write_text(name.read_text().replace("crm:", "other:"))
        made.reload()
        made.workspace.environment = {"HOOK": "s3cret"}  # type: ignore[misc]
        made.workspace.campaign_set(made.database, NOW)
        office.deliver()
        assert len(taken.requests) == 2
        with made.database.read() as connection:
            assert webhook_outbox.known(connection) == {"other"}


def test_what_is_of_another_webhooks_kinds_does_not_pile_up(world: Worlds) -> None:
    with server(204) as taken:
        office = Office(world, taken.port, on="complained")
        settings = office.made.root / "campaigns" / "_settings.yaml"
        other = f"webhooks: {{ other: {{ url: 'http://127.0.0.1:{taken.port}/', secret: secret:HOOK, private: yes, on: sent }},"
        settings.write_text(settings.read_text().replace("webhooks: {", other))
        office.made.reload()
        office.made.workspace.environment = {"HOOK": "s3cret"}  # type: ignore[misc]
        office.made.tick("2026-11-26 09:00")
        office.made.tick("2026-11-26 16:00")
        office.deliver()
        assert len(taken.requests) == 2
    with office.made.database.read() as connection:
        assert len(webhook_outbox.after(connection, "nobody", ["sent"], 10)) == 1


def test_a_secret_of_standard_webhooks_is_base64(world: Worlds) -> None:
    from drip.transports.posting import signed

    secret = "whsec_" + base64.b64encode(b"key").decode()
    moment = datetime(2026, 11, 26, tzinfo=NOW.tzinfo)
    assert signed(secret, "a", moment, b"{}") == signed("key", "a", moment, b"{}")


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (
            "{ url: 'https://x.example', secret: abc, on: sent }",
            "must not stand in this file",
        ),
        (
            "{ url: 'https://x.example', secret: secret:X, on: 'sent, opened' }",
            "nobody can be told of `opened`",
        ),
        ("{ url: 'https://x.example', secret: secret:X }", "`on` is missing"),
    ],
)
def test_a_webhook_that_cannot_be_is_explained_at_its_place(
    world: Worlds, hook: str, said: str
) -> None:
    made = world({}, settings=f"webhooks: {{ crm: {hook} }}")
    (problem,) = [
        each for each in made.workspace.loaded.problems if each.level == "error"
    ]
    assert said in problem.sentence
