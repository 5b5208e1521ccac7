"""Alarms: raised once, over when it is over, kept for `drip status`, and told to whoever the settings name."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from drip.core.message import Message, Sent, TransportDown, Unknown
from drip.storage.operating import alarms
from tests.cli import command, drip, environment, everybody
from tests.cli import shop as made_of
from tests.mail_server import MailServer
from tests.test_webhook import server
from tests.world import LETTER, SETTINGS, World, at

Worlds = Callable[..., World]
NOW = at("2026-11-26 16:00")


def raised(made: World) -> list[tuple[str, str]]:
    with made.database.read() as connection:
        return [
            (each.action, each.about)
            for each in alarms.lately(connection, at("2020-01-01"))
        ]


def letters(world: Worlds, people: int = 3) -> World:
    made = world({"letter": LETTER})
    made.contacts("key,email", *(f"p{n},p{n}@example.com" for n in range(people)))
    made.tick("2026-11-26 09:00")
    return made


def test_the_same_alarm_is_news_once_a_day_and_again_when_it_had_ended(
    world: Worlds,
) -> None:
    made = letters(world)

    def again(after: timedelta, about: str = "letter") -> bool:
        with made.database.write() as connection:
            return alarms.raised(connection, "brake", about, "Held.", NOW + after)

    def over(after: timedelta) -> None:
        with made.database.write() as connection:
            alarms.over(connection, ["brake"], NOW + after)

    minute = timedelta(minutes=1)
    assert again(0 * minute) and not again(minute) and again(minute, "other")
    assert again(timedelta(days=1, minutes=2))
    over(timedelta(days=1, minutes=3))
    assert not again(timedelta(days=1, minutes=5)), "it was over for two minutes only"
    over(timedelta(days=1, minutes=6))
    assert again(timedelta(days=1, minutes=30))


def test_messages_that_nobody_can_settle_but_a_person_raise_one_alarm(
    world: Worlds,
) -> None:
    made = letters(world)
    made.answer = lambda message: Unknown("the link died")
    assert made.tick(NOW).held == 3
    assert raised(made) == [("unknown", "letter")]


def test_what_takes_nothing_is_tried_less_and_less_often_and_stays_in_sight(
    world: Worlds,
) -> None:
    made = letters(world)
    tried: list[int] = []

    def down(message: Message) -> Sent:
        tried.append(second)
        raise TransportDown("535 5.7.8 the login is refused", "look at the password")

    made.answer = down
    for second in range(0, 600, 10):
        assert (
            made.tick(NOW + timedelta(seconds=second)).trouble
            == "535 5.7.8 the login is refused"
        )
    gaps = [later - before for before, later in itertools.pairwise(tried)]
    assert gaps == [10, 20, 40, 80, 160]
    made.answer = None
    assert made.tick(NOW + timedelta(seconds=610)).sent == 3
    assert made.tick(NOW + timedelta(seconds=620)).trouble is None


def test_one_channel_that_is_down_keeps_no_other_from_sending(world: Worlds) -> None:
    both = LETTER.replace(
        "steps: [send: letter]", "steps: [{ send: letter, channel: [email, sms] }]"
    )
    made = world(
        {
            "a": both.replace("topic", "priority: high\ntopic"),
            "b": both.replace("[email, sms]", "sms"),
        },
        settings="transports: { email: { use: memory }, sms: { use: memory } }",
    )
    made.contacts("key,email,phone", "ana,ana@example.com,+15550100")
    made.write("templates/letter.sms", "Hello")
    made.tick("2026-11-26 09:00")

    class Down(type(made.transport)):  # type: ignore[misc]
        def send(self, message: Message) -> Sent:
            raise TransportDown("There is no connection.", "mend it")

    made.transports = {"email": Down(), "sms": made.transport}
    result = made.tick(NOW)
    assert result.trouble == "There is no connection."
    assert [each.channel for each in made.transport.messages] == ["sms"]


def test_an_answer_that_is_new_each_time_is_one_alarm(tmp_path: Path) -> None:
    root = tmp_path / "shop"

    class Numbered(MailServer):
        def _talk(self, client: object) -> None:
            self._say(client, f"554 not you {self.connections} & close")

    with Numbered() as mails:
        shop(
            root,
            "{ use: files, folder: told }",
            f"use: smtp, host: 127.0.0.1, port: {mails.port}, security: none",
            people=3,
        )
        (root / "campaigns" / "broken.yaml").unlink()
        for clock in ("9:00", "10:30", "10:40", "11:20"):
            drip(root, "run", "--once", "--now", f"2026-11-26 {clock}")
        assert mails.connections > 2
    told = [path.read_text() for path in (root / "told").iterdir()]
    assert sum("transport-down" in each for each in told) == 1


# --- told


def shop(
    root: Path, target: str, transport: str = "use: memory", people: int = 1
) -> None:
    files = {
        "campaigns/_settings.yaml": SETTINGS.replace("use: memory", transport)
        + f"alarms: {target}\n",
        "campaigns/letter.yaml": LETTER,
        "campaigns/broken.yaml": "name: Broken\n",
        "templates/letter.md": "---\nsubject: Hello\n---\nHello\n",
    }
    made_of(root, files, everybody(people), HOOK="s")


def test_an_operator_is_told_once_by_a_webhook(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    with server(204) as taken:
        shop(
            root,
            f"{{ use: webhook, url: 'http://127.0.0.1:{taken.port}/', secret: secret:HOOK, private: yes }}",
        )
        for _ in range(2):
            assert (
                drip(root, "run", "--once", "--now", "2026-11-26 9:00", HOOK="s").code
                == 0
            )
    ((headers, body),) = taken.requests
    told = json.loads(body)
    assert told["subject"].startswith(
        "[drip] campaigns/broken.yaml cannot be read; it does not run."
    )
    assert "drip check" in told["text"] and told["headers"]["X-Drip-Alarm"] == "kept"
    assert headers["Idempotency-Key"] == told["id"]


def test_who_cannot_be_told_is_told_later_and_the_daemon_goes_on(
    tmp_path: Path,
) -> None:
    root = tmp_path / "shop"
    with MailServer() as mails:
        shop(
            root,
            f"{{ use: smtp, host: 127.0.0.1, port: {mails.port}, security: none, to: ops@example.com }}",
        )
        mails.faults = {("*", "CONNECT"): "554 go away"}
        first = drip(root, "run", "--once", "--now", "2026-11-26 9:00")
        assert first.code == 0 and "No alarm can be told" in first.err
        mails.faults = {}
        assert drip(root, "run", "--once", "--now", "2026-11-26 9:05").code == 0
        assert drip(root, "run", "--once", "--now", "2026-11-26 9:06").code == 0
    (mail,) = mails.texts
    assert b"Auto-Submitted: auto-generated" in mail and b"X-Drip-Alarm: kept" in mail
    assert b"To: ops@example.com" in mail


def test_a_running_daemon_tells_and_its_status_shows_it_until_it_is_over(
    tmp_path: Path,
) -> None:
    root = tmp_path / "shop"
    with server(204) as taken:
        shop(
            root,
            f"{{ use: apprise, url: 'json://127.0.0.1:{taken.port}/ops', private: yes }}",
        )
        daemon = subprocess.Popen(
            command(root, "run", "--every", "0.2"),
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        try:
            _until(lambda: bool(taken.requests))
            assert (
                "campaigns/broken.yaml cannot be read"
                in json.loads(taken.requests[0][1])["title"]
            )
            assert taken.lines[0].split()[1] == "/ops"
            assert re.search(
                r"Alarm .*: campaigns/broken.yaml cannot be read",
                drip(root, "status").out,
            )
            (root / "campaigns" / "broken.yaml").unlink()
            _until(lambda: ", over " in drip(root, "status").out)
        finally:
            daemon.terminate()
            daemon.wait()
    assert len(taken.requests) == 1


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("{ use: pigeon }", "there is no transport `pigeon`"),
        ("{ url: 'https://example.com' }", "`alarms` needs `use`"),
        ("{ use: smtp, host: localhost }", "need an address"),
        ("{ use: tasks, assign_to: desk }", "cannot be tasks"),
        (
            "{ use: webhook, url: 'https://example.com', secret: abc }",
            "must not stand in this file",
        ),
    ],
)
def test_alarms_that_cannot_be_told_are_explained_at_their_place(
    world: Worlds, target: str, said: str
) -> None:
    made = world({"letter": LETTER}, settings=f"alarms: {target}")
    (problem,) = [each for each in made.workspace.problems() if each.level == "error"]
    assert said in problem.sentence and "_settings.yaml" in str(problem.place)


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
