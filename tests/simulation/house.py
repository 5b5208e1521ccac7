"""A random workspace, the people in it, and everybody who acts on it: daemons, recipients, a shop, an operator."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection

from drip.core.channels import CHANNELS
from drip.core.message import (
    DeliverySession,
    Message,
    Receipt,
    Refused,
    Sent,
    TransportDown,
    Unknown,
    Unsent,
)
from drip.core.shortage import Shortage
from drip.core.token import message_name
from drip.engine.dispatcher import Dispatcher
from drip.engine.entry import Enroller
from drip.engine.outbox_session import LeaseLost
from drip.engine.tick import tick
from drip.errors import DripError
from drip.importing.event_rows import take_events
from drip.preview.simulator import Nowhere, rehearsal, simulate
from drip.storage.base.database import Database
from drip.storage.operating import daemons, holds
from drip.storage.people import consents, contacts
from drip.storage.people.consents import Consent
from drip.storage.reading.ledger import LedgerRow, entries
from drip.storage.sending import outbox, relays
from drip.workspace import Workspace
from tests.simulation.machine import Killed, Machine
from tests.world import World, at

START = at("2026-03-06 03:00")
TROUBLED, QUIET = timedelta(days=2, hours=6), timedelta(hours=40)
ZONES = ("", "Asia/Tokyo", "Europe/London", "America/St_Johns", "America/Chicago")
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
QUIET_HOURS = (21, 8)
# How long a server waits for a sender that fell silent, RFC 5321 section 4.5.3.2.7.
SERVER_WAITS = timedelta(minutes=5)
# Steps of every other kind, some of which send too.
BETWEEN = (
    "  - if: { did: order.placed ever }\n    then:\n      - send: x\n      - wait: 3 hours\n    else:\n      - tag: quiet",
    "  - split:\n      - share: 50%\n        then: [send: y]\n      - share: 50%\n        then: [wait: 1 hour]",
    "  - wait_for: order.placed\n    up_to: 1 day\n    else:\n      - send: z",
    "  - coupon: treat\n    expires: in 3 days",
    "  - task: Call {{ contact.key }}",
    "  - pause: news\n    for: 1 day",
    "  - branch:\n      - if: { card: at least 2 }\n        then: [end]\n      - else: [tag: seen]",
    "  - wait: until next business day at 10:00",
    "  - points: 1\n    counter: card",
    "  - send: w",
)
TRIGGERS = (
    "{ date: contact.birthday, repeat: yearly }",
    "{ event: order.placed }",
    "{ event: order.placed }",
    "{ schedule: every day at 9:00 }",
    "{ schedule: 0 */7 * * * }",
    "{ schedule: 55 20 * * * }",
    "{ segment: busy }",
    "{ counter: card, reaches: [1, 3] }",
    "{ date: 1 day before contact.birthday }",
)
MORE = """
segments: { busy: { did: order.placed in the last 2 days }, few: { in_segment: busy, card: at least 1 } }
counters: { card: { add: order.placed } }
coupons: { treat: { offer: x } }
"""
TEMPLATES = (
    "---\nsubject: Hello\n---\nA short text.\n",
    "---\nsubject: Hello\n---\nDear {{ contact.first_name }}.\n",
)


@dataclass
class Delivery:
    """A message that the server took: whose it is, when its sending began and when its final dot came, by the clock."""

    message_id: str
    to: str
    began: datetime
    dot: datetime
    order: int


@dataclass
class Trace:
    """What really happened, whatever the database says."""

    began: dict[str, list[tuple[datetime, int]]] = field(default_factory=dict)
    delivered: list[Delivery] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    # Who took consent back, in which turn, and which messages were on their way just then.
    withdrawn: dict[tuple[str, str], tuple[int, set[int]]] = field(default_factory=dict)
    # Whether the server has taken a recipient, and the messages that it refused for good after it had.
    accepts: bool = False
    proven: set[str] = field(default_factory=set)
    turn: int = 0

    def next(self) -> int:
        self.turn += 1
        return self.turn


class Wire:
    """An honest transport to a server at which anything can go wrong."""

    channels = frozenset(CHANNELS)

    def __init__(self, machine: Machine, trace: Trace) -> None:
        self._machine, self._trace = machine, trace

    def send(self, message: Message) -> Receipt:
        began = self._begin(message)
        for stage in ("connect", "mail", "data"):
            failed = self._stage(stage, message)
            if failed:
                return failed
        return self._text(message, began)

    def _begin(self, message: Message) -> datetime:
        began = self._machine.reading()
        self._trace.began.setdefault(message.message_id, []).append(
            (began, self._trace.next())
        )
        return began

    def _text(self, message: Message, began: datetime) -> Receipt:
        machine, trace, key = self._machine, self._trace, message.message_id
        failed = self._stage("body", message)
        if failed:
            return failed
        order = trace.next()
        trace.delivered.append(
            Delivery(key, message.to.address, began, machine.reading(), order)
        )
        trace.unknown.add(key)
        if self._idle("dot") or self._fate(0.04, "link died after the dot"):
            return Unknown("the link died")
        machine.pause("answer")
        trace.unknown.discard(key)
        return Sent("250 ok")

    def _stage(self, stage: str, message: Message) -> Receipt | None:
        if self._idle(stage):
            return Unsent("421 timeout")
        if stage == "connect" and self._fate(0.02, "transport down"):
            raise TransportDown("nobody answers", "look at the server")
        if stage == "mail" and self._fate(0.06, "451 later"):
            return Unsent("451 later")
        if stage == "mail" and not self._relays():
            return Refused("550 no such user", "address", at_recipient=True)
        bad = self._machine.faulty and message.to.address.startswith("refused")
        if stage == "mail" and (bad or self._fate(0.02, "550 no")):
            if self._trace.accepts:
                self._trace.proven.add(message.message_id)
            return Refused("550 no such user", at_recipient=True)
        if self._fate(0.01, f"link died at {stage}"):
            return Unsent("the link died")
        return None

    def _relays(self) -> bool:
        """Whether the server takes anybody from us."""
        return True

    def _idle(self, stage: str) -> bool:
        """Whether the server has waited too long; it may be slow itself."""
        before = self._machine.true
        self._machine.pause(stage)
        if self._fate(0.02, "slow server"):
            self._machine.sleep(
                timedelta(seconds=self._machine.chance.randint(10, 240))
            )
        return self._machine.true - before > SERVER_WAITS

    def _fate(self, chance: float, name: str) -> bool:
        if not self._machine.faulty or self._machine.chance.random() >= chance:
            return False
        self._machine.injected[name] += 1
        return True

    def close(self) -> None:
        """Nothing is kept open."""


class Lanes(Wire):
    """The same with several connections: envelopes first, then the texts of all that may go begin at once."""

    WIDTH = 3
    # In some workspaces it has to be told first that we may send through it.
    relay_name = "mail.example"

    def _relays(self) -> bool:
        return self._machine.true >= START + self._machine.relays_after

    def deliver(self, messages: Iterator[Message], session: DeliverySession) -> None:
        ended: list[tuple[Message, Receipt]] = []
        while lot := list(islice(messages, self.WIDTH)):
            ready = []
            try:
                for message in lot:
                    failed = next(
                        filter(
                            None,
                            (
                                self._stage(each, message)
                                for each in ("connect", "mail", "data")
                            ),
                        ),
                        None,
                    )
                    if failed:
                        ended.append((message, failed))
                    else:
                        ready.append(message)
            except TransportDown:
                session.turn(ended, [])
                raise
            self._trace.accepts |= bool(ready)
            may = session.turn(ended, ready)
            since = self._machine.true
            going = [
                (message, self._begin(message))
                for message, permitted in zip(ready, may, strict=True)
                if permitted
            ]
            ended = [
                (message, self._rest(message, began, since)) for message, began in going
            ]
        session.turn(ended, [])

    def _rest(self, message: Message, began: datetime, since: datetime) -> Receipt:
        """The server waits for the rest of a text only for so long, whatever this side is busy with."""
        return (
            Unsent("421 timeout")
            if self._machine.true - since > SERVER_WAITS
            else self._text(message, began)
        )


@dataclass
class Rules:
    """A campaign as the model knows it: what it was made of, not what the reader of the language says."""

    trigger: str
    topic: str
    resend: bool
    ignores_caps: bool


@dataclass
class House:
    """One seed's workspace, machine and trace."""

    seed: int
    folder: Path

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)
        self.rules: dict[str, Rules] = {}
        files = {
            f"c{n}": self._campaign(f"c{n}", chance)
            for n in range(chance.randint(2, 5))
        }
        caps = f"frequency_caps: {{ all: '{chance.choice(CAPS)}', news: '{chance.choice(CAPS)}' }}"
        settings = f"quiet_hours: {QUIET_HOURS[0]}:00-{QUIET_HOURS[1]}:00\n{caps}\n"
        settings += (
            f"when_capped: wait up to {chance.choice(['1 day', '3 days'])}{MORE}"
        )
        self.world = World(self.folder, files, settings, chance.choice(TEMPLATES))
        problems = [
            "\n".join(each.lines())
            for each in self.world.workspace.loaded.problems
            if each.level == "error"
        ]
        assert not problems, problems
        self.path = self.world.database.path
        self._people(chance)
        self.machine = Machine(self.seed, START)
        self.trace = Trace()
        self.orders: list[tuple[str, str, datetime]] = []
        self.foreseen: list[LedgerRow] = []
        self.happened: list[LedgerRow] = []
        self.granted_before: set[int] = set()

    def _campaign(self, key: str, chance: random.Random) -> str:
        trigger, topic = chance.choice(TRIGGERS), chance.choice(["news", "service"])
        lines = [
            f"name: {key}",
            f"topic: {topic}",
            f"trigger: {trigger}",
            f"priority: {chance.randint(0, 100)}",
        ]
        lines += chance.sample(
            [
                "frequency_caps: 1 per week",
                "send_window: 10:00-12:00",
                "grace: 3 days",
                "when_capped: skip",
            ],
            2,
        )
        resend, ignores = chance.random() < 0.2, chance.random() < 0.1
        lines += ["on_unknown: resend"] if resend else []
        if ignores and not any(line.startswith("frequency_caps") for line in lines):
            lines.append("frequency_caps: ignore")
        steps = [
            "  - send: a",
            f"  - wait: {chance.choice(['5 hours', '1 day', '2 days'])}",
            "  - send: b",
        ]
        steps = [
            *chance.sample(BETWEEN, chance.choice([0, 0, 1, 2])),
            *steps[: chance.choice([1, 3])],
        ]
        self.rules[key] = Rules(
            trigger, topic, resend, "frequency_caps: ignore" in lines
        )
        return "\n".join([*lines, "steps:", *steps]) + "\n"

    def _people(self, chance: random.Random) -> None:
        rows = ["key,email,first_name,timezone,birthday,news"]
        self.count = chance.randint(3, 7)
        for n in range(self.count):
            day = (START + timedelta(days=chance.randint(0, 5))).date()
            email = (
                ""
                if chance.random() < 0.05
                else f"{'refused' if chance.random() < 0.1 else 'p'}{n}@example.com"
            )
            name = "" if chance.random() < 0.1 else f"P{n}"
            consent = chance.choice(["yes", "yes", "yes", "no", ""])
            rows.append(
                f"p{n},{email},{name},{chance.choice(ZONES)},{day:%m-%d},{consent}"
            )
        self.world.contacts(*rows)

    # --- the run

    def run(self) -> None:
        """Days full of trouble, then quiet ones, of which a preview is made first."""
        machine = self.machine
        for number in range(machine.chance.choice([1, 2, 2, 3])):
            machine.spawn(
                f"daemon {number}", self._daemon, timedelta(minutes=number), mortal=True
            )
        for actor in (self._recipient, self._shop, self._operator):
            machine.spawn(actor.__name__, actor, timedelta(hours=1))
        machine.run(START + TROUBLED)
        machine.end()
        self._settle()
        self._quiet()

    def _daemon(self) -> None:
        machine = self.machine
        database = machine.database(self.path)
        wire = self._wire()
        try:
            enroller = Enroller()
            workspace = Workspace(self.folder, {})
            dispatcher = Dispatcher(
                database, workspace.templates, {"email": wire}, machine.now, fence=0
            )
            while True:
                with contextlib.suppress(DripError, Shortage, LeaseLost):
                    now = machine.now()
                    with database.write() as connection:
                        if not daemons.renew(connection, dispatcher.fence, now):
                            dispatcher.fence = daemons.start_daemon(
                                connection, 1, now, alone=False
                            )
                    workspace.reload()
                    tick(workspace.campaign_set(database, now), enroller, dispatcher)
                machine.sleep_until_next(machine.chance.choice([5, 30, 120, 240, 480]))
        except Killed:
            if machine.faulty:
                machine.spawn(
                    "daemon again",
                    self._daemon,
                    timedelta(minutes=machine.chance.choice([1, 20, 300])),
                    mortal=True,
                )
        finally:
            database.close()

    def _wire(self) -> Wire:
        """Half of all workspaces have a transport with several messages under way."""
        return (Lanes if self.seed % 2 else Wire)(self.machine, self.trace)

    def _recipient(self) -> None:
        """Somebody takes a consent back, or gives it again; at best just when a message is about to leave."""
        machine, database = self.machine, self.machine.database(self.path)
        with contextlib.suppress(Killed):
            while True:
                machine.sleep_until_next(machine.chance.choice([60, 240]))
                key = (
                    self._about_to_get_something(database)
                    or f"p{machine.chance.randrange(self.count)}"
                )
                given = machine.chance.random() < 0.5
                with database.write() as connection:
                    contact = contacts.contacts_by_key(connection, [key])[key]
                    said = [
                        Consent(contact.id, "news", "email", given, machine.reading())
                    ]
                    if not consents.record(
                        connection, said, "page", {}, machine.reading()
                    ):
                        continue
                    sql = "SELECT id FROM messages WHERE state = 'sending' AND contact_id = ? AND topic = 'news'"
                    on_their_way = {
                        row[0] for row in connection.exec_driver_sql(sql, (contact.id,))
                    }
                if given:
                    self.trace.withdrawn.pop((key, "news"), None)
                else:
                    self.trace.withdrawn[key, "news"] = (
                        self.trace.next(),
                        on_their_way,
                    )

    def _about_to_get_something(self, database: Database) -> str | None:
        """Whose message is granted and has not left, in a few looks at a time when daemons are at work."""
        sql = "SELECT c.key FROM messages m JOIN contacts c ON c.id = m.contact_id WHERE m.state = 'pending'"
        for _ in range(6):
            self.machine.sleep(
                timedelta(milliseconds=self.machine.chance.randint(0, 9))
            )
            with database.read() as connection:
                found: str | None = connection.exec_driver_sql(sql).scalar()
            if found:
                return found
        return None

    def _shop(self) -> None:
        """Orders come in."""
        machine, database = self.machine, self.machine.database(self.path)
        with contextlib.suppress(Killed):
            for number in range(1000):
                machine.sleep(timedelta(minutes=machine.chance.randint(10, 500)))
                if machine.chance.random() < 0.5:
                    machine.sleep_until_next(30)
                self._order(
                    database, f"p{machine.chance.randrange(self.count)}", f"o{number}"
                )

    def _order(self, database: Database, key: str, number: str) -> None:
        now = self.machine.reading()
        with database.write() as connection:
            contact = contacts.contacts_by_key(connection, [key])[key]
            row = {
                "contact_id": contact.id,
                "record_id": 0,
                "name": "order.placed",
                "key": number,
                "at": now,
                "fields": {},
            }
            take_events(connection, self.world.workspace.settings, [row])
        self.orders.append((key, number, now))

    def _operator(self) -> None:
        """Holds a campaign and lets it go, settles what is held, edits a file."""
        machine, database = self.machine, self.machine.database(self.path)
        with contextlib.suppress(Killed):
            while True:
                machine.sleep(timedelta(minutes=machine.chance.randint(120, 900)))
                key = machine.chance.choice(sorted(self.rules))
                match machine.chance.choice(["hold", "let go", "settle", "edit"]):
                    case "hold":
                        with database.write() as connection:
                            holds.hold(connection, key, machine.reading())
                    case "let go":
                        with database.write() as connection:
                            holds.let_go(connection, key)
                            outbox.wake_paused(connection, key, machine.reading())
                    case "settle":
                        with database.write() as connection:
                            self._release(connection)
                    case "edit":
                        path = self.folder / "campaigns" / f"{key}.yaml"
                        text = path.read_text("utf-8")
                        if "edited" not in text:
                            path.write_text(
                                text.rstrip("\n")
                                + "\n  - wait: 1 hour\n  - send: edited\n",
                                "utf-8",
                            )
                            self.world.write("templates/edited.md", TEMPLATES[0])

    def _release(self, connection: Connection) -> None:
        """Settles unknown messages as it was: the operator has asked the server."""
        taken = {each.message_id for each in self.trace.delivered}
        for held in outbox.held(connection):
            if held.code == "unknown":
                state = (
                    "sent"
                    if message_id_of(self.path, held.run_id, held.step, held.channel)
                    in taken
                    else "deferred"
                )
                outbox.release(connection, [held.id], state, self.machine.reading())

    def _settle(self) -> None:
        """The clocks are right again, nothing is held back, and a daemon has done what was due."""
        machine = self.machine
        machine.offset = timedelta(0)
        with self.world.database.write() as connection:
            for key in self.rules:
                holds.let_go(connection, key)
            outbox.wake_paused(connection, None, machine.true)
            # A preview knows of no server that takes nobody.
            for channel, server in relays.servers(connection).items():
                relays.accepted(connection, channel, server, machine.true)
            sql = "SELECT id FROM messages WHERE state IN ('pending', 'sending')"
            self.granted_before = set(connection.exec_driver_sql(sql).scalars())
            self.judged_before = (
                connection.exec_driver_sql("SELECT max(id) FROM judgements").scalar()
                or 0
            )
        self.world.reload()

    def _quiet(self) -> None:
        machine, database = self.machine, self.world.database
        start, end = machine.true, machine.true + QUIET
        templates = self.world.workspace.templates
        for key in list(self.rules)[:1]:
            self._order(
                database, f"p{machine.chance.randrange(self.count)}", f"last-{key}"
            )
        with rehearsal(database, start) as copy:
            simulate(
                copy,
                self.world.workspace.campaign_set(copy, start),
                templates,
                {"email": Nowhere()},
                start,
                end,
                each_step=1,
            )
            self.foreseen = _ledger(copy, start, end)
        honest = self._wire()
        clock = _Follows(machine)
        simulate(
            database,
            self.world.workspace.campaign_set(database, start),
            templates,
            {"email": honest},
            start,
            end,
            clock,
        )
        self.happened = _ledger(database, start, end)
        self.end = end

    def close(self) -> None:
        self.world.database.close()


class _Follows:
    """Has the machine's clock follow that of a simulation."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __call__(self, now: datetime) -> None:
        self._machine.true = now


def _ledger(database: Database, start: datetime, end: datetime) -> list[LedgerRow]:
    with database.read() as connection:
        return list(entries(connection, since=start, until=end))


def message_id_of(path: Path, run_id: int, step: str, channel: str) -> str:
    """The Message-ID of a step's message."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute(
            "SELECT value FROM meta WHERE name = 'workspace'"
        ).fetchone()
    return f"{message_name(found.decode(), run_id, step, channel)}@maplestreet.example"
