"""Sending: from the outbox to `sent`, over SMTP to a sink in another process, beside the obvious way and beside SMTP alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import smtplib
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import jinja2

from drip.cli.context import read_clock
from drip.core.message import Mailbox, Message, Pieced, Receipt, Sent
from drip.daemon.senders import Senders
from drip.engine.entry import Enroller
from drip.engine.planner import plan
from drip.storage.operating import daemons
from drip.transports.mime import to_bytes
from drip.transports.smtp import SmtpTransport
from tests.benchmarks import crowd
from tests.benchmarks.scale import (
    BLAST,
    BLAST_AT,
    NOW,
    RUNS,
    SETTINGS,
    folder,
    say,
    timed,
)
from tests.benchmarks.sink import Running, sink
from tests.world import World

SIZE = 20_000
SIZES = (10_000, 100_000, 1_000_000)
ALONE = 20_000
SENDERS = 2
# Of each process: a turn at the database is for all that are ready, so that more of them cost less each.
CONNECTIONS = 32
ALONE_CONNECTIONS = 10
PRODUCTS = [
    {
        "name": f"Product {n}",
        "text": "A fine thing for every day. " * 12,
        "price": 10.9 + n,
        "link": f"https://shop.example/p/{n}",
    }
    for n in range(10)
]
ROW = """<tr><td style="padding:16px;border-bottom:1px solid #dddddd;font-family:Helvetica,Arial,sans-serif;font-size:16px;line-height:1.5;color:#333333">
<a href="{{ product.link }}?c={{ contact.key }}" style="color:#0b5394;text-decoration:none;font-weight:bold">{{ product.name }}</a><br>{{ product.text }}<br>
<strong>{{ product.price|money }}</strong>{% if product.price < 15 %} <em>Only this week</em>{% endif %}</td></tr>
"""
PAGE = (
    '<!DOCTYPE html><html lang="en"><body><table role="presentation" width="600">\n'
    "<tr><td>Dear {{ contact.first_name|default('friend') }}, here are ten things for you.</td></tr>\n"
    f"{{% set products = {PRODUCTS!r} %}}{{% for product in products %}}{ROW}{{% endfor %}}\n"
    f"<tr><td>{'Nothing in this letter is advice. ' * 240}</td></tr>\n"
    '<tr><td>{{ business.name }}, {{ business.address }} <a href="{{ unsubscribe_link }}">Unsubscribe</a></td></tr>\n'
    "</table></body></html>\n"
)
SUBJECT = "{{ contact.first_name|default('Hello') }}, ten new things"
# Filters write by `locale`, so that a template which sets it is not specialised.
PLAIN = "{% set locale = locale %}"


def sending(runs: int = RUNS) -> None:
    """Messages of 18 KB with ten products: plain and specialised templates, the obvious way, SMTP alone, and memory over size."""
    _from_the_outbox(SIZE, runs)
    _alone(runs)
    for size in SIZES:
        with folder() as root, sink() as server:
            _outbox(root, size, server.port)
            sent = _sent(root, size, server)
            say(
                f"sending {size:,} messages: memory of the largest process",
                [sent.memory_mb],
                "MB",
            )


def _from_the_outbox(size: int, runs: int) -> None:
    with folder() as root, sink() as server:
        file = _outbox(root, size, server.port)
        rates: dict[str, list[float]] = {"specialised": [], "plain": [], "obvious": []}
        costs: dict[str, list[float]] = {name: [] for name in rates}
        for _ in range(runs):
            for name, page in (("specialised", PAGE), ("plain", PLAIN + PAGE)):
                _write_page(root, page)
                _put_back(file, root)
                sent = _sent(root, size, server)
                rates[name].append(size / sent.seconds)
                costs[name].append(1e6 * sent.cpu_s / size)
            shutil.copy(file, root / "obvious.db")
            some = size // 20
            rates["obvious"].append(
                some
                / timed(
                    partial(_the_obvious_way, root / "obvious.db", server.port, some)
                )
            )
        for name, found in rates.items():
            say(f"sending, {name}: messages a second", found, "")
        for name in ("specialised", "plain"):
            say(
                f"  beside the obvious way, {name}",
                _ratios(rates[name], rates["obvious"]),
                "times",
            )
            say(f"  CPU for each message, all processes, {name}", costs[name], "µs")


def _ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    return [this / that for this, that in zip(these, those, strict=True)]


def _outbox(root: Path, size: int, port: int) -> Path:
    """A workspace with so many granted messages; a copy of its database."""
    options = f"use: smtp, host: 127.0.0.1, port: '{port}', security: none, connections: '{CONNECTIONS}'"
    world = World(root, BLAST, f"{SETTINGS}transports: {{ email: {{ {options} }} }}\n")
    _write_page(root, PAGE)
    world.reload()
    with world.database.write() as connection:
        crowd.people(connection, size)
        crowd.consent(connection, "newsletter", 100)
    campaign_set = world.workspace.campaign_set(world.database, NOW)
    for at in (NOW, BLAST_AT):
        plan(world.database, campaign_set, world.workspace.templates, Enroller(), at)
    with world.database.write() as connection:
        assert daemons.start_daemon(connection, 1, BLAST_AT) == 1
    world.database.close()
    file = root / ".drip" / "drip.db"
    with contextlib.closing(sqlite3.connect(file)) as connected:
        connected.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(file, root / "outbox.db")
    return root / "outbox.db"


def _put_back(file: Path, root: Path) -> None:
    """The database is that of the beginning again, without anything that was not written into it yet."""
    for name in ("drip.db-wal", "drip.db-shm"):
        (root / ".drip" / name).unlink(missing_ok=True)
    shutil.copy(file, root / ".drip" / "drip.db")


def _write_page(root: Path, page: str) -> None:
    for path in (root / "templates").glob("blast.*"):
        path.unlink()
    (root / "templates" / "blast.html").write_text(
        f'---\nsubject: "{SUBJECT}"\n---\n{page}', "utf-8"
    )


@dataclass(frozen=True)
class _Sent:
    """How long it took, what it cost the processors, and the most memory that one of the processes had."""

    seconds: float
    cpu_s: float
    memory_mb: float


def _sent(root: Path, size: int, server: Running) -> _Sent:
    """Everything from the outbox to `sent`, in processes that have been started before."""
    senders = Senders(root, {}, partial(read_clock, BLAST_AT - read_clock()), SENDERS)
    senders.start()
    before, used = server.taken(), resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    more = True
    while more:
        more = senders.hand_over(1, lambda: False).more
    seconds = time.perf_counter() - began
    memory_mb = max(
        _most_memory(process.pid) for process in multiprocessing.active_children()
    )
    senders.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert server.taken() - before == size
    return _Sent(
        seconds,
        after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime,
        memory_mb,
    )


def _most_memory(pid: int | None) -> float:
    """In megabytes. What `getrusage` says of a process counts what started it, too."""
    line = next(
        each
        for each in Path(f"/proc/{pid}/status").read_text().splitlines()
        if each.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024


def _the_obvious_way(file: Path, port: int, some: int) -> None:
    """A row at a time: read, render, build with the standard library, send, mark, commit."""
    page, subject = (
        jinja2.Template(PAGE.replace("|money", ""), autoescape=True),
        jinja2.Template(SUBJECT),
    )
    with (
        contextlib.closing(sqlite3.connect(file)) as database,
        smtplib.SMTP("127.0.0.1", port) as server,
    ):
        assert server.sock
        server.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(some):
            number, key, address = database.execute(
                "SELECT m.id, c.key, c.email FROM messages m JOIN contacts c ON c.id = m.contact_id "
                "WHERE m.state = 'pending' LIMIT 1"
            ).fetchone()
            values = {
                "contact": {"key": key, "first_name": key},
                "business": {"name": "Maple", "address": "1 Maple Street"},
                "unsubscribe_link": f"https://shop.example/unsubscribe/{key}",
            }
            message = EmailMessage()
            message["From"], message["To"], message["Subject"] = (
                "hello@maple.example",
                address,
                subject.render(values),
            )
            message.set_content("Ten things for you.")
            message.add_alternative(page.render(values), subtype="html")
            server.send_message(message)
            database.execute(
                "UPDATE messages SET state = 'sent' WHERE id = ?", (number,)
            )
            database.commit()


# --- SMTP alone


class _Book:
    """A desk that counts what was sent."""

    accepts = False

    sent = 0

    def turn(
        self, ended: Sequence[tuple[Message, Receipt]], ready: Sequence[Message]
    ) -> list[bool]:
        self.sent += sum(isinstance(receipt, Sent) for _, receipt in ended)
        return [True] * len(ready)

    def wants(self, message: Message) -> bool:
        return True

    def waits(self, sentence: str | None) -> None:
        raise AssertionError(sentence)


def _alone(runs: int) -> None:
    """The transport by itself, near and far, beside `smtplib` and (where Postfix is here) `smtp-source`."""
    html = Pieced(["<p>Hello, these are ten things for you.</p>\n" * 430])
    message = Message(
        "email",
        Mailbox("Ana", "ana@example.com"),
        Mailbox("Maple", "hello@maple.example"),
        "Hello",
        "Dear Ana\n",
        html,
        "abc@maple.example",
        datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
    )
    for delay_s, count in ((0.0, ALONE), (0.01, 500)):
        rates, ratios, source, postfix = [], [], [], []
        with sink(delay_s) as server:
            for _ in range(runs):
                rates.append(
                    count
                    / timed(
                        partial(
                            _delivered, server.port, message, count, ALONE_CONNECTIONS
                        )
                    )
                )
                one = (
                    count
                    / timed(partial(_delivered, server.port, message, count // 10, 1))
                    / 10
                )
                few = max(count // 20, 20)
                obvious = few / timed(partial(_by_smtplib, server.port, message, few))
                ratios.append(one / obvious)
                if not delay_s and shutil.which("smtp-source"):
                    source.append(
                        rates[-1]
                        / (count / timed(partial(_by_smtp_source, server.port, count)))
                    )
                if not delay_s and shutil.which("smtp-sink"):
                    with _smtp_sink() as port:
                        postfix.append(
                            count
                            / timed(
                                partial(
                                    _delivered, port, message, count, ALONE_CONNECTIONS
                                )
                            )
                        )
        where = "near" if not delay_s else f"at {delay_s * 1000:.0f} ms"
        say(
            f"SMTP alone, {ALONE_CONNECTIONS} connections, {where}: messages a second",
            rates,
            "",
        )
        say(f"  one connection beside smtplib, {where}", ratios, "times")
        if source:
            say("  beside smtp-source at as many connections", source, "times")
        if postfix:
            say("  to smtp-sink instead of the benchmark's own sink", postfix, "")


def _delivered(port: int, message: Message, count: int, connections: int) -> None:
    options = {
        "host": "127.0.0.1",
        "port": str(port),
        "security": "none",
        "connections": str(connections),
    }
    transport = SmtpTransport(options)
    campaign_set = _Book()
    transport.deliver(_copies(message, count), campaign_set)
    transport.close()
    assert campaign_set.sent == count


def _copies(message: Message, count: int) -> Iterator[Message]:
    for _ in range(count):
        yield message


def _by_smtplib(port: int, message: Message, count: int) -> None:
    raw = to_bytes(message)
    with smtplib.SMTP("127.0.0.1", port) as server:
        assert server.sock
        server.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            server.sendmail("hello@maple.example", "ana@example.com", raw)


def _by_smtp_source(port: int, count: int) -> None:
    options = ["-s", str(ALONE_CONNECTIONS), "-m", str(count), "-l", "18000", "-d"]
    addresses = ["-f", "a@maple.example", "-t", "ana@example.com"]
    subprocess.run(
        ["smtp-source", *options, *addresses, f"inet:127.0.0.1:{port}"], check=True
    )


@contextlib.contextmanager
def _smtp_sink() -> Iterator[int]:
    """Postfix' sink, which knows pipelining: its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    with subprocess.Popen(
        ["smtp-sink", *user, f"inet:127.0.0.1:{port}", "100"]
    ) as process:
        while True:
            assert process.poll() is None
            with (
                contextlib.suppress(ConnectionRefusedError),
                socket.create_connection(("127.0.0.1", port)),
            ):
                break
            time.sleep(0.01)
        yield port
        process.terminate()
