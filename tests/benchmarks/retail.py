"""The retail data through the command line, five hundred files, two thousand conditions."""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from datetime import date, timedelta
from pathlib import Path

from drip.cli.sample import copy_sample
from drip.language.files import load_folder
from drip.storage.base.database import index_contacts
from drip.storage.people import attribute_indexes, audience_sql
from tests.benchmarks.scale import folder, say
from tests.cli import drip
from tests.conftest import CORPORA
from tests.test_readers import plan
from tests.test_retail import CAMPAIGNS, DAY, SETTINGS, TEMPLATES
from tests.world import World, at

RUNS = 5


def workspace(root: Path) -> None:
    """The retail workspace: newsletter, birthday card, thank-you, caps `1 per day, 3 per week`."""
    for name in ("campaigns", "templates"):
        (root / name).mkdir(parents=True)
    (root / "campaigns" / "_settings.yaml").write_text(SETTINGS.format(port=25))
    for name, text in CAMPAIGNS.items():
        (root / "campaigns" / f"{name}.yaml").write_text(f"name: {name}\n{text}")
        (root / "templates" / f"{name}.md").write_text(
            f"---\nsubject: {TEMPLATES[name]}\n"
        )


def imported(root: Path) -> float:
    """Seconds for both files, into a fresh database."""
    shutil.rmtree(root / ".drip", ignore_errors=True)
    began = time.monotonic()
    drip(root, "import", "contacts", str(root / "contacts.csv"), "--now", "2011-11-01")
    drip(root, "import", "events", str(root / "orders.csv.gz"))
    return time.monotonic() - began


def previewed(root: Path) -> float:
    """Seconds for a preview of 30 days."""
    began = time.monotonic()
    drip(root, "preview", "--now", f"{DAY} 0:00")
    return time.monotonic() - began


def checked(root: Path) -> float:
    """Seconds for `drip check` of 500 campaign files, all of the gallery's kinds."""
    began = time.monotonic()
    done = drip(root, "check")
    assert done.code == 0, done.out
    return time.monotonic() - began


def five_hundred(root: Path) -> None:
    """The gallery, over and over."""
    copy_sample(root, date(2026, 11, 22))
    files = sorted((root / "campaigns").glob("[!_]*.yaml"))
    for n in range(500 - len(files)):
        path = files[n % len(files)]
        shutil.copy(path, path.with_name(f"{path.stem}-{n}.yaml"))


FIELDS = """
data:
  contact: { first_name: text, visits: number, spent: money, joined: date, vip: yes or no, size: [small, large],
             trial_ends: 14 days after joined, orders: count of order.placed }
"""
PEOPLE = """
INSERT INTO contacts (key, email, zone, attributes, change)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
SELECT 'p' || i, 'p' || i || '@example.com', NULL, json_object('first_name', 'name' || (i * 7919 % 50000),
  'visits', i * 104729 % 1000, 'spent', (i * 15485863 % 100000) / 100.0,
  'joined', date('2020-01-01', (i * 31 % 2500) || ' days'), 'size', CASE i % 500 WHEN 0 THEN 'small' ELSE 'large' END), 1 FROM n
"""
ORDERS = """
INSERT INTO events (contact_id, record_id, name, key, at, fields)
SELECT id, 0, 'order.placed', 'o' || id, 1700000000000 + id * 1000, '{}' FROM contacts WHERE id % 20 = 0
"""


def condition_of(chance: random.Random) -> dict[str, str]:
    day = date(2020, 1, 1) + timedelta(days=chance.randrange(2400))
    lines = {
        "first_name": f"name{chance.randrange(50_000)}",
        "visits": f"between {(n := chance.randrange(990))} and {n + 1}",
        "spent": f"more than {chance.randrange(990, 999)}",
        "joined": f"{day}",
        "size": "small",
        "trial_ends": f"{day}",
        "orders": "at least 2",
        "did": "order.placed at least 2 times",
        "tagged": "x",
    }
    first = chance.choice(list(lines))
    second = chance.choice(["visits", "spent", "size"])
    return {first: lines[first], second: lines[second]}


def conditions() -> None:
    """2,000 conditions over a million contacts: how long they take to read and compile, to find people, and how."""
    with folder() as root:
        _conditions(root)


def _conditions(root: Path) -> None:
    chance, now = random.Random(1), at("2026-11-24")
    texts = {
        f"c{n}": json.dumps(
            {
                "name": "C",
                "topic": "news",
                "trigger": {"event": "x.y"},
                "steps": [{"send": "a"}],
                "audience": condition_of(chance),
            }
        )
        for n in range(2_000)
    }
    world = World(root, {}, FIELDS)
    for key, text in texts.items():
        world.write(f"campaigns/{key}.yaml", text)
    began = time.monotonic()
    loaded = load_folder(root)
    assert loaded.settings is not None
    assert len(loaded.campaigns) == 2_000
    say("2,000 conditions read", [time.monotonic() - began])
    with world.database.write() as connection:
        connection.exec_driver_sql(PEOPLE.replace(":count", "1000000"))
        connection.exec_driver_sql(ORDERS)
    began = time.monotonic()
    with world.database.write() as connection:
        audiences = [
            each.audience for each in loaded.campaigns.values() if each.audience
        ]
        index_contacts(
            connection, attribute_indexes.attribute_indexes(loaded.settings, audiences)
        )
    say("their indexes over 1,000,000 contacts made", [time.monotonic() - began])
    compiled, asked, scans = [], [], 0
    with world.database.read() as connection:
        for n, audience in enumerate(audiences):
            began = time.monotonic()
            found = [
                each.compile(connection.engine)
                for each in audience_sql.statements(
                    connection, loaded.settings, audience, now
                )
            ]
            compiled.append(time.monotonic() - began)
            assert found
            scans += any(
                line.startswith("SCAN contacts")
                for line in plan(connection, loaded.settings, audience, now)
            )
            if n % 20 == 0:
                began = time.monotonic()
                audience_sql.matching(connection, loaded.settings, audience, now)
                asked.append(time.monotonic() - began)
    say("one compiled", compiled)
    say("one asked, of every twentieth", asked)
    sys.stdout.write(f"scans of contacts: {scans} of {len(audiences):,}\n")
    world.database.close()


def imports() -> None:
    """Both files by the command line."""
    with folder() as root:
        _retail(root)
        say("import", [imported(root) for _ in range(RUNS)])


def previews() -> None:
    """30 days over them."""
    with folder() as root:
        _retail(root)
        imported(root)
        say("preview of 30 days", [previewed(root) for _ in range(RUNS)])


def checks() -> None:
    """500 campaign files."""
    with folder() as root:
        five_hundred(root / "five-hundred")
        say(
            "check of 500 campaigns",
            [checked(root / "five-hundred") for _ in range(RUNS)],
        )


def _retail(root: Path) -> None:
    workspace(root)
    for name in ("contacts.csv", "orders.csv.gz"):
        shutil.copy(CORPORA / "retail" / name, root)
