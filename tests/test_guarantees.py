"""Random workspaces, contacts, clocks and faults; a small separate model says whether a guarantee broke.

G1 nothing lost, G2 nothing twice, G3 no cap exceeded in any window, G4 nobody without consent, G5 nothing in quiet
hours or early, G6 a bad contact delays nobody, G8 preview equals run.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from drip.core.message import Message, Receipt, Refused, Sent, Unknown, Unsent
from drip.preview.simulator import Nowhere, rehearsal, simulate
from drip.storage.ledger import Entry, entries
from tests.world import World, at

ZONES = ("", "Asia/Tokyo", "Europe/London", "America/St_Johns", "Pacific/Auckland")
CAPS = (
    "1 per day",
    "2 per day, 3 per week",
    "1 per 36 hours",
    "at least 5 hours apart",
    "2 per week",
    "1 per day",
    "2 per day",
    "0 per week",
)
START = at("2026-03-02 03:00")
QUIET = (21, 8)


# Steps of every other kind, some of which send too.
BETWEEN = (
    "  - if: { did: order.placed ever }\n    then:\n      - send: x\n      - wait: 3 hours\n    else:\n      - tag: quiet",
    "  - split:\n      - share: 50%\n        then: [send: y]\n      - share: 50%\n        then: [wait: 1 hour]",
    "  - wait_for: order.placed\n    up_to: 1 day\n    else:\n      - send: z",
    "  - coupon: treat\n    expires: in 3 days", "  - task: Call {{ contact.key }}", "  - pause: news\n    for: 1 day",
    "  - branch:\n      - if: { card: at least 2 }\n        then: [end]\n      - else: [tag: seen]",
    "  - wait: until next business day at 10:00",
)  # fmt: skip
MORE = """
segments: { busy: { did: order.placed in the last 2 days }, few: { in_segment: busy, card: at least 1 } }
counters: { card: { add: order.placed } }
coupons: { treat: { offer: x } }
"""


class Killed(BaseException):
    """The process dies here."""


def campaigns(chance: random.Random) -> dict[str, str]:
    """Some of each trigger, with caps, windows and priorities of their own."""
    made = {}
    for n in range(chance.randint(1, 4)):
        trigger = chance.choice(
            ["{ date: contact.birthday, repeat: yearly }", "{ event: order.placed }", "{ schedule: every day at 9:00 }",
             "{ schedule: 0 */7 * * * }", "{ schedule: 55 20 * * * }", "{ schedule: every day at 9:00 }",
             "{ segment: busy }", "{ counter: card, reaches: [1, 3] }", "{ date: 1 day before contact.birthday }"]
        )  # fmt: skip
        topic = chance.choice(["news", "service"])
        lines = [f"name: C{n}", f"topic: {topic}", f"trigger: {trigger}", f"priority: {chance.randint(0, 100)}"]
        lines += chance.sample(
            ["frequency_caps: 1 per week", "send_window: 10:00-12:00", "grace: 3 days", "when_capped: skip"], 2
        )
        steps = ["  - send: a", f"  - wait: {chance.choice(['5 hours', '1 day', '2 days'])}", "  - send: b"]
        steps = [*chance.sample(BETWEEN, chance.choice([0, 0, 1, 2])), *steps[: chance.choice([1, 3])]]
        made[f"c{n}"] = "\n".join([*lines, "steps:", *steps]) + "\n"
    return made


def make(seed: int, folder: str) -> World:
    chance = random.Random(seed)
    caps = f"frequency_caps: {{ all: '{chance.choice(CAPS)}', news: '{chance.choice(CAPS)}' }}"
    options = f"quiet_hours: {QUIET[0]}:00-{QUIET[1]}:00\n{caps}\nwhen_capped: wait up to {chance.choice(['1 day', '3 days'])}"
    world = World(Path(folder), campaigns(chance), options + MORE)
    assert not [each.text() for each in world.workspace.loaded.problems if each.level == "error"]
    people, orders = ["key,email,timezone,birthday,news"], ["event,id,contact,at"]
    for n in range(chance.randint(1, 8)):
        day = (START + timedelta(days=chance.randint(0, 9))).date()
        email = "" if chance.random() < 0.05 else f"p{n}@example.com"
        people.append(
            f"p{n},{email},{chance.choice(ZONES)},{day:%m-%d},{chance.choice(['yes', 'yes', 'yes', 'no', ''])}"
        )
        for m in range(chance.randint(0, 3)):
            when = START + timedelta(minutes=chance.randint(0, 60 * 24 * 8))
            orders.append(f"order.placed,{n}-{m},p{n},{when.isoformat()}")
    world.contacts(*people)
    world.events(*orders)
    return world


def check(world: World) -> None:
    """Everything that must be true of what is written down."""
    settings_ = world.workspace.settings
    with world.database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT c.key, c.zone, c.email, m.topic, m.campaign, m.state, m.sent_at, m.run_id, m.step, m.code "
            "FROM messages m JOIN contacts c ON c.id = m.contact_id"
        ).all()
        no = {row[0] for row in connection.exec_driver_sql(
            "SELECT c.key FROM contacts c LEFT JOIN consents k ON k.contact_id = c.id AND k.topic = 'news' "
            "WHERE k.given IS NOT 1").all()}  # fmt: skip
    ends = {"sent", "skipped", "failed", "held", "deferred", "pending"}
    assert {row.state for row in rows} <= ends
    assert len({(row.run_id, row.step) for row in rows}) == len(rows)
    counted: dict[str, list[tuple[datetime, str, str]]] = {}
    for row in rows:
        if row.state != "sent" and (row.state, row.code) != ("held", "unknown"):
            continue
        when = at("1970-01-01") + timedelta(milliseconds=row.sent_at)
        wall = when.astimezone(ZoneInfo(row.zone or settings_.timezone))
        assert not (wall.hour >= QUIET[0] or wall.hour < QUIET[1]), f"{row.key} in quiet hours: {wall}"
        assert not (row.topic == "news" and row.key in no), f"{row.key} without consent"
        counted.setdefault(row.key, []).append((when, row.topic, row.campaign))
    zones = {row.key: row.zone or settings_.timezone for row in rows}
    rules = [*settings_.caps, *(cap for each in world.workspace.loaded.campaigns.values() for cap in each.caps)]
    for key, uses in counted.items():
        for rule in rules:
            times = sorted(when for when, topic, campaign in uses if rule.counts("email", topic, campaign))
            assert fullest(times, rule.days, rule.seconds, ZoneInfo(zones[key])) <= rule.limit, (key, rule.text)


def fullest(times: list[datetime], days: int, seconds: int, zone: ZoneInfo) -> int:
    """The most messages in any window, by trying every window that begins with one."""
    most = 0
    for first in times:
        if days:
            start = first.astimezone(zone).date()
            inside = [t for t in times if start <= t.astimezone(zone).date() < start + timedelta(days=days)]
        else:
            inside = [t for t in times if first <= t < first + timedelta(seconds=seconds)]
        most = max(most, len(inside))
    return most


def faulty(chance: random.Random, left: Counter[str], allow_kill: bool) -> Callable[[Message], Receipt]:
    """A transport that fails at every stage, and at times takes the process with it."""

    def answer(message: Message) -> Receipt:
        fate = chance.random()
        if fate < 0.3:
            return Unsent("451 later")
        if fate < 0.34:
            return Refused("550 no")
        if fate < 0.37 and allow_kill:
            raise Killed
        left[message.message_id] += 1
        if fate < 0.42:
            return Unknown("the link died after the dot")
        if fate < 0.45 and allow_kill:
            raise Killed
        return Sent("ok")

    return answer


@settings(max_examples=40)
@given(st.integers(0, 10**9))
def test_with_crashes_faults_and_an_uneven_clock_no_guarantee_breaks(seed: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = make(seed, folder)
        left: Counter[str] = Counter()
        world.answer = faulty(chance, left, allow_kill=True)
        now = START
        while now < START + timedelta(days=5):
            # A new daemon begins where the dead one stopped: its first beat settles what was left in the middle.
            with contextlib.suppress(Killed):
                world.beat(now)
            now += timedelta(minutes=chance.choice([1, 1, 2, 5, 9, 9, 30, 120, 400]))
            if chance.random() < 0.05:
                now -= timedelta(hours=chance.randint(1, 20))
        # The last daemon may have died in the middle too.
        world.answer = None
        world.beat(now)
        assert all(count == 1 for count in left.values()), "sent twice under on_unknown: hold"
        check(world)
        world.database.close()


@settings(max_examples=25)
@given(st.integers(0, 10**9))
def test_the_preview_is_what_the_daemon_does(seed: int) -> None:
    end = START + timedelta(days=9)
    with tempfile.TemporaryDirectory() as folder:
        world = make(seed, folder)
        with rehearsal(world.database, START) as copy:
            simulate(
                copy, world.workspace.book(copy, START), world.workspace.templates, {"email": Nowhere()}, START, end
            )
            with copy.read() as connection:
                foreseen = list(entries(connection, until=end))
        assert world.ledger() == []
        world.run(START.strftime("%Y-%m-%d %H:%M"), end.strftime("%Y-%m-%d %H:%M"))
        assert [entry for entry in world.ledger() if entry.at <= end] == foreseen
        check(world)
        world.database.close()


@settings(max_examples=15)
@given(st.integers(0, 10**9))
def test_one_contacts_preview_is_its_part_of_everybodys(seed: int) -> None:
    end = START + timedelta(days=5)
    with tempfile.TemporaryDirectory() as folder:
        world = make(seed, folder)

        def foreseen(contact_id: int | None) -> list[Entry]:
            with rehearsal(world.database, START, contact_id) as copy:
                book = world.workspace.book(copy, START)
                simulate(copy, book, world.workspace.templates, {"email": Nowhere()}, START, end)
                with copy.read() as connection:
                    return list(entries(connection, until=end, contact="p0"))

        def shown(found: list[Entry]) -> list[tuple[object, ...]]:
            return [(e.at, e.outcome, e.campaign, e.step, e.code, e.until) for e in found]

        assert shown(foreseen(1)) == shown(foreseen(None))
        world.database.close()
