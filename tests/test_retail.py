"""The main job on real data: 4,372 people and 22,190 orders, a real daemon process, a real SMTP server.

The times are upper bounds that only a broken program exceeds; the figures are in README.md beside this file.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import shutil
import sys
import time
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from drip.importing import importer
from drip.importing.rows import open_table
from drip.storage.people import contacts
from drip.storage.people import segments as segment_store
from tests.cli import drip
from tests.smtp_sink import start
from tests.test_transports import free_port
from tests.world import World, at

SETTINGS = """
business: {{ name: Gift House, address: "1 High Street, London" }}
timezone: Europe/London
public_url: https://drip.gifthouse.example
send_window: 9:00-19:00
quiet_hours: 21:00-8:00
frequency_caps: {{ all: "1 per day, 3 per week" }}
topics:
  newsletter: {{ title: Newsletter, opt_in: double }}
  offers: {{ title: Offers, opt_in: single }}
  orders: {{ title: About your orders, opt_in: implied }}
senders: {{ default: Gift House <hello@gifthouse.example> }}
transports:
  email: {{ use: smtp, host: 127.0.0.1, port: {port}, security: none }}
data:
  contact: {{ first_name: text, last_name: text, birthday: birthday }}
"""
CAMPAIGNS = {
    "newsletter": "topic: newsletter\ntrigger: { schedule: every Thursday at 10:00 }\naudience: { subscribed: newsletter }\npriority: low\nsteps: [send: newsletter]\n",
    "birthday": "topic: offers\ntrigger: { date: contact.birthday, repeat: yearly }\npriority: high\nsteps: [send: birthday]\n",
    "thanks": "topic: orders\ntrigger: { event: order.placed }\nsteps: [wait: 3 days, send: thanks]\n",
}
TEMPLATES = {
    "newsletter": "News of the week\n---\n# News\n\nHello {{ contact.first_name|default('there') }}, **new things** came in.",
    "birthday": "Happy birthday\n---\n# Happy birthday{% if contact.age %}, {{ contact.age }} years{% endif %}!",
    "thanks": "Thank you\n---\nfor your order of {{ order.items }} items, {{ order.total|money('GBP') }}.",
}
# A Thursday with its newsletter, in the middle of the busiest month.
DAY = date(2011, 11, 24)
KEYS = (
    "campaign",
    "step",
    "contact",
    "record",
    "occurrence",
    "channel",
    "outcome",
    "code",
)


@pytest.mark.slow
def test_the_retail_data_goes_through_the_whole_house(
    tmp_path: Path, corpora: Path
) -> None:
    retail, root, taken = (
        corpora / "retail",
        tmp_path / "shop",
        tmp_path / "taken.jsonl",
    )
    taken.touch()
    controller = start(free_port(), taken)
    (root / "campaigns").mkdir(parents=True)
    (root / "templates").mkdir()
    (root / "campaigns" / "_settings.yaml").write_text(
        SETTINGS.format(port=controller.port)
    )
    for name, text in CAMPAIGNS.items():
        (root / "campaigns" / f"{name}.yaml").write_text(f"name: {name}\n{text}")
        (root / "templates" / f"{name}.md").write_text(
            f"---\nsubject: {TEMPLATES[name]}\n"
        )
    for name in ("contacts.csv", "orders.csv.gz"):
        shutil.copy(retail / name, tmp_path)

    began = time.monotonic()
    people = drip(
        root,
        "import",
        "contacts",
        str(tmp_path / "contacts.csv"),
        "--json",
        "--now",
        "2011-11-01",
    ).rows[0]
    orders = drip(
        root, "import", "events", str(tmp_path / "orders.csv.gz"), "--json"
    ).rows[0]
    imported = time.monotonic() - began
    assert (people["new"], people["rejected"], orders["new"], orders["rejected"]) == (
        4372,
        [],
        22190,
        [],
    )

    began = time.monotonic()
    month = drip(root, "preview", "--json", "--now", f"{DAY} 0:00", "--days", "30").rows
    previewed = time.monotonic() - began
    assert sum(row["outcome"] == "sent" for row in month) > 10_000

    # Each hour of the day once, as the daemon's process finds it: what is due then goes out.
    hours = [
        datetime.combine(DAY, datetime.min.time()) + timedelta(hours=n)
        for n in range(25)
    ]
    began = time.monotonic()
    for hour in hours:
        assert drip(root, "run", "--once", "--now", f"{hour:%Y-%m-%d %H:%M}").code == 0
    ran = time.monotonic() - began
    controller.stop()
    log = [
        row
        for row in drip(root, "log", "--json").rows
        if row["at"] < f"{DAY + timedelta(days=1)}T00:00:30Z"
    ]
    midnight = f"{DAY + timedelta(days=1)}T00:00:00Z"
    foreseen = [row for row in month if row["at"] < midnight]

    def sent(rows: list[dict[str, object]]) -> set[tuple[object, ...]]:
        return {
            tuple(row[key] for key in KEYS) for row in rows if row["outcome"] == "sent"
        }

    assert sent(log) == sent(foreseen)
    arrived = [json.loads(line) for line in taken.read_text().splitlines()]
    addresses = Counter(line["to"][0] for line in arrived)
    assert addresses == Counter(
        f"customer-{row['contact']}@example.com"
        for row in log
        if row["outcome"] == "sent"
    )
    assert all(line["unsubscribe"] for line in arrived)
    assert max(addresses.values()) == 1, "more than one a day"

    per_contact: dict[str, list[date]] = defaultdict(list)
    for row in month:
        if row["outcome"] == "sent":
            per_contact[row["contact"]].append(
                datetime.fromisoformat(row["local"]).date()
            )
    for days in per_contact.values():
        assert max(Counter(days).values()) == 1
        assert all(
            sum(day <= other < day + timedelta(days=7) for other in days) <= 3
            for day in days
        )
    sys.stdout.write(
        f"\nimport {imported:.1f} s, preview of 30 days {previewed:.1f} s, "
        f"{len(arrived)} sent in {ran:.1f} s\n"
    )
    assert imported < 60
    assert previewed < 60


@pytest.mark.slow
def test_the_best_of_the_retail_data_are_those_of_a_plain_sort(
    tmp_path: Path, corpora: Path
) -> None:
    """80/20: the fifth that spends most, and the fewest who together make 80% of what is spent."""
    trigger = "name: X\ntopic: service\ntrigger: {{ segment: {} }}\nsteps: [send: x]\n"
    segments = "data: { contact: { spent: sum of order.placed.total } }\n"
    segments += (
        "segments: { fifth: { spent: top 20% }, makers: { spent: makes 80% of total } }"
    )
    made = World(
        tmp_path, {name: trigger.format(name) for name in ("fifth", "makers")}, segments
    )
    for name, take in (("contacts.csv", "contacts"), ("orders.csv.gz", "events")):
        table = open_table(corpora / "retail" / name)
        if take == "contacts":
            importer.import_contacts(
                made.database,
                made.workspace.settings,
                table,
                {},
                name,
                at("2011-12-10"),
            )
        else:
            importer.import_events(made.database, made.workspace.settings, table, {})
    made.tick("2011-12-10 12:00")
    spent: dict[str, list[float]] = defaultdict(list)
    with gzip.open(
        corpora / "retail" / "orders.csv.gz", "rt", encoding="utf-8", newline=""
    ) as file:
        for row in csv.DictReader(file):
            if row["event"] == "order.placed":
                spent[row["contact"]].append(float(row["total"]))
    totals = {
        who: math.fsum(each) for who, each in spent.items() if math.fsum(each) > 0
    }
    with made.database.read() as connection:
        known = contacts.contacts_by_key(connection, list(totals))
        by_id = {each.id: key for key, each in known.items()}
        members = {
            name: {by_id[each] for each in segment_store.members(connection, name)}
            for name in ("fifth", "makers")
        }
    best = sorted(known, key=lambda key: (-totals[key], known[key].id))
    assert members["fifth"] == set(best[: round(len(best) * 0.2)])
    wanted, reached, makers = math.fsum(totals[key] for key in known) * 0.8, 0.0, set()
    for key in best:
        if reached >= wanted:
            break
        makers.add(key)
        reached += totals[key]
    assert members["makers"] == makers
    made.database.close()
