"""The two readers of conditions agree on everybody: SQL says who is in, Python says who is not and why."""

from __future__ import annotations

import random
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, text

from drip.core.asks import all_of, asks_of_conditions, entry_asks, text_asks
from drip.core.conditions import Condition, why_not
from drip.core.settings import Settings
from drip.engine.catch_up import follow
from drip.engine.fetching import facts_of
from drip.storage.base.schema import contacts, records
from drip.storage.campaigns import audience
from drip.storage.people import audience_sql, condition_sql, coupons, tags, zones
from drip.storage.people import contacts as contact_store
from drip.storage.people import records as record_store
from tests.world import World, at

NOW = at("2026-11-24 03:30")
SETTINGS = """
data:
  contact:
    first_name: text
    visits: number
    spent: money
    joined: date
    birthday: birthday
    vip: yes or no
    country: country
    size: [small, large]
    trial_ends: 14 days after joined
    quarter: 3 months after trial_ends
    orders: count of order.placed
    lately: count of order.placed in the last 60 days
    total: sum of order.placed.total
    last_order: latest order.placed
    first_order: first order.placed
    lapse: 30 days after last_order
    touched: { latest_of: [last_order, joined] }
  vehicle: { model: text, status: [active, sold], due: date }
counters: { stamps: { add: coffee.bought, subtract: coffee.refunded, reset: reward.redeemed } }
coupons: { treat: { offer: x }, cup: { offer: y } }
topics:
  news: { title: N, opt_in: single }
  service: { title: S, opt_in: implied }
  tips: { title: T, opt_in: implied, expires: 90 days }
segments:
  regulars: { visits: at least 3 }
  best: { total: top 30% }
  lapsed_best: { in_segment: best, last_order: more than 30 days ago }
"""
ZONES = ["", "Asia/Tokyo", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/Chicago"]
NAMES = ["Ana", "ÄNNE", "Straße", "ben", "o'Neil", "100%", "Ana Maria", "_x", "İpek"]
SPANS = ["30 days", "2 months", "1 year", "2 weeks"]


def phrases(chance: random.Random) -> tuple[str, Any]:
    """One random line of conditions."""
    number = chance.choice(["0", "1", "2", "3", "10.5", "-1", "100"])
    of_number = [
        number,
        f"at least {number}",
        f"at most {number}",
        f"more than {number}",
        f"less than {number}",
        f"between -5 and {number}",
        "known",
        "unknown",
        ["1", number],
        f"not at least {number}",
    ]
    day = (NOW + timedelta(days=chance.randint(-400, 60))).date().isoformat()
    span = chance.choice(SPANS)
    of_date = [
        f"before {day}",
        f"after {day}",
        f"more than {span} ago",
        f"less than {span} ago",
        f"in the last {span}",
        f"in the next {span}",
        "known",
        "unknown",
        day,
        f"not before {day}",
    ]
    name = chance.choice(NAMES)
    of_text = [
        name.upper(),
        f"not {name}",
        [name, "ben"],
        "known",
        "unknown",
        f"includes {name[:2]}",
        f"starts with {name[:1]}",
    ]
    kinds: dict[str, list[Any]] = {
        "first_name": of_text,
        "key": ["p1", "known"],
        "email": ["known", "unknown", "includes example"],
        "timezone": ["Asia/Tokyo", "America/Chicago", "known"],
        "country": ["US", ["US", "DE"], "unknown", "not US"],
        "size": ["small", "not small", "unknown"],
        "vip": ["yes", "no", "not yes", "known", "unknown"],
        "birthday": ["known", "unknown", "02-29", "1990-05-05"],
        **dict.fromkeys(
            ["visits", "spent", "orders", "lately", "total", "stamps"], of_number
        ),
        **dict.fromkeys(
            [
                "joined",
                "trial_ends",
                "quarter",
                "last_order",
                "first_order",
                "lapse",
                "touched",
            ],
            of_date,
        ),
        "subscribed": ["news", "service", "tips", ["news", "tips"]],
        "in_segment": ["regulars", "best", "lapsed_best"],
        "tagged": ["a", ["a", "b"]],
        "holds coupon": ["treat", "cup"],
        "did": [
            "order.placed",
            f"order.placed in the last {span}",
            "order.placed at least 2 times",
            f"coffee.bought at least 2 times in the last {span}",
            "order.placed in the last 5 hours",
        ],
        "did_not": [
            "order.placed",
            f"coffee.bought in the last {span}",
            ["order.placed", "coffee.bought"],
        ],
        "opened": ["any", "card", f"any in the last {span}"],
        "clicked": ["card"],
        "spent ": ["top 20%", "makes 80% of total"],
        "total ": ["top 50%", "makes 60% of total"],
        "stamps ": ["top 40%"],
    }
    key = chance.choice(list(kinds))
    return key.strip(), chance.choice(kinds[key])


def tree(chance: random.Random, depth: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(chance.randint(1, 3)):
        fate = chance.random() if depth < 3 else 1.0
        if fate < 0.15:
            made["any"] = [tree(chance, depth + 1) for _ in range(chance.randint(1, 3))]
        elif fate < 0.25:
            made["all"] = [tree(chance, depth + 1) for _ in range(2)]
        elif fate < 0.4:
            made["not"] = tree(chance, depth + 1)
        else:
            key, phrase = phrases(chance)
            made[key] = phrase
    return made


def populate(world: World, chance: random.Random, count: int) -> None:
    maybe = lambda text: text if chance.random() < 0.7 else ""  # noqa: E731
    rows = [
        "key,email,timezone,first_name,visits,spent,joined,birthday,vip,country,size,news,service,tips"
    ]
    vehicles, orders = (
        ["key,contact,model,status,due"],
        ["event,id,contact,at,total,template,campaign,vehicle"],
    )
    for n in range(count):
        joined = (NOW + timedelta(days=chance.randint(-400, 3))).date()
        cells = [
            f"p{n}",
            maybe(f"p{n}@example.com"),
            chance.choice(ZONES),
            maybe(chance.choice(NAMES)),
            maybe(str(chance.randint(0, 5))),
            maybe(chance.choice(["0", "9.99", "10.5", "250", "-3"])),
            maybe(joined.isoformat()),
            maybe(chance.choice(["1990-05-05", "02-29"])),
            maybe(chance.choice(["yes", "no"])),
            maybe(chance.choice(["US", "DE"])),
            maybe(chance.choice(["small", "large"])),
            *(chance.choice(["yes", "no", "", ""]) for _ in range(3)),
        ]
        rows.append(",".join(cells))
        vehicles += [
            f"v{n},p{n},{chance.choice(NAMES)},{chance.choice(['active', 'sold'])},{maybe(joined.isoformat())}"
        ]
        for m in range(chance.choice([0, 0, 1, 2, 5])):
            name = chance.choice(
                [
                    "order.placed",
                    "order.placed",
                    "coffee.bought",
                    "coffee.refunded",
                    "message.opened",
                ]
            )
            when = NOW - timedelta(
                minutes=chance.choice([0, 1, 200, 60 * 24 * chance.randint(0, 400), -9])
            )
            total = chance.choice(["10", "0.1", "0.2", "n/a", "1,000.50", ""])
            orders.append(
                f'{name},{n}-{m},p{n},{when.isoformat()},"{total}",{maybe("card")},x,{maybe(f"v{n}")}'
            )
    world.contacts(*rows, now="2026-11-01")
    world.vehicles(*vehicles)
    world.events(*orders)
    with world.database.write() as connection:
        ids = list(
            contact_store.contacts_by_key(
                connection, [f"p{n}" for n in range(count)]
            ).values()
        )
        tags.add_tags(
            connection,
            [(each.id, chance.choice("abc")) for each in ids if chance.random() < 0.5],
        )
        for n, each in enumerate(ids):
            for coupon in chance.sample(["treat", "cup"], chance.randint(0, 2)):
                expires = chance.choice(
                    [None, "2026-11-23", "2026-11-24", "2026-11-25"]
                )
                coupons.add_codes(connection, coupon, [f"{coupon}{n}"])
                connection.execute(
                    text(
                        "UPDATE coupons SET contact_id = :who, expires = :day, redeemed_at = :gone WHERE code = :code"
                    ),
                    {
                        "who": each.id,
                        "day": expires,
                        "gone": chance.choice([None, None, 1]),
                        "code": f"{coupon}{n}",
                    },
                )


def made(
    folder: str, chance: random.Random, conditions: list[dict[str, Any]], count: int
) -> tuple[World, list[Condition]]:
    campaigns = {
        f"c{n}": yaml.safe_dump(
            {
                "name": "C",
                "topic": "news",
                "trigger": {"event": "x.y"},
                "audience": each,
                "steps": [{"send": "a"}],
            },
            allow_unicode=True,
        )
        for n, each in enumerate(conditions)
    }
    world = World(Path(folder), campaigns, SETTINGS)
    problems = ["\n".join(each.lines()) for each in world.workspace.loaded.problems]
    assert not problems, problems[0]
    populate(world, chance, count)
    campaign_set = world.workspace.campaign_set(world.database, NOW)
    with world.database.write() as connection:
        follow(connection, campaign_set, NOW)
    loaded = world.workspace.loaded.campaigns
    audiences = [loaded[f"c{n}"].audience for n in range(len(conditions))]
    return world, [each for each in audiences if each]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9))
def test_both_readers_agree_on_every_contact(seed: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world, found = made(folder, chance, [tree(chance) for _ in range(8)], 40)
        with world.database.read() as connection:
            ids = list(connection.scalars(select(contacts.c.id)))
            asks = asks_of_conditions(found)
            batch = facts_of(connection, world.workspace.settings, ids, NOW, asks)
            for condition in found:
                python = {
                    each
                    for each in ids
                    if why_not(condition, batch.facts(batch.contacts[each], None, {}))
                    is None
                }
                sql = audience_sql.matching(
                    connection, world.workspace.settings, condition, NOW
                )
                assert sql == python, (condition, sql ^ python)
        world.database.close()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**9))
def test_both_readers_agree_about_records_too(seed: int) -> None:
    chance = random.Random(seed)
    lines: dict[str, list[Any]] = {
        "vehicle.status": ["active", "not sold", "unknown"],
        "vehicle.model": ["known", "starts with a", "not Ana"],
        "vehicle.due": ["known", "more than 30 days ago", "in the next 14 days"],
        "visits": ["at least 2"],
        "did": ["order.placed", "order.placed at least 2 times"],
        "did_not": ["order.placed in the last 30 days"],
    }
    conditions = [
        {key: chance.choice(lines[key]) for key in chance.sample(list(lines), 2)}
        for _ in range(6)
    ]
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = made(folder, chance, [], 30)
        for n, each in enumerate(conditions):
            text_ = yaml.safe_dump(
                {
                    "name": "C",
                    "topic": "news",
                    "trigger": {"event": "x.y"},
                    "for_each": "vehicle",
                    "audience": each,
                    "steps": [{"send": "a"}],
                }
            )
            plain.write(f"campaigns/r{n}.yaml", text_)
        plain.reload()
        loaded, settings_ = plain.workspace.loaded, plain.workspace.settings
        assert not loaded.problems, loaded.problems[0].lines()
        with plain.database.read() as connection:
            things = record_store.records_by_id(
                connection, list(connection.scalars(select(records.c.id)))
            )
            batch = facts_of(
                connection,
                settings_,
                [each.contact_id for each in things.values()],
                NOW,
                all_of(entry_asks(each) for each in loaded.campaigns.values()),
                records=things,
            )
            for campaign in loaded.campaigns.values():
                assert campaign.audience
                python, sql = set(), set()
                for thing in things.values():
                    facts = batch.facts(batch.contacts[thing.contact_id], thing, {})
                    python |= (
                        {thing.id}
                        if why_not(campaign.audience, facts) is None
                        else set()
                    )
                for today, names in zones.days_of_zones(
                    settings_, audience.zones(connection), NOW
                ).items():
                    where = condition_sql.Reader(
                        settings_, NOW, today, "vehicle"
                    ).where(campaign.audience)
                    statement = select(records.c.id).join(
                        contacts, contacts.c.id == records.c.contact_id
                    )
                    sql |= set(
                        connection.scalars(
                            statement.where(where, zones.in_zones(names))
                        )
                    )
                assert sql == python, campaign.audience
        plain.database.close()


@pytest.mark.parametrize("percent", [20, 50, 80])
def test_ranks_are_what_a_plain_sort_gives(tmp_path: Path, percent: int) -> None:
    chance = random.Random(7)
    conditions = [{"total": f"top {percent}%"}, {"total": f"makes {percent}% of total"}]
    world, found = made(str(tmp_path), chance, conditions, 60)
    with world.database.read() as connection:
        batch = facts_of(
            connection,
            world.workspace.settings,
            list(connection.scalars(select(contacts.c.id))),
            NOW,
            text_asks(world.workspace.settings),
        )
        totals = {
            each.id: batch.fields(each)["total"] for each in batch.contacts.values()
        }
        best = sorted(
            (each for each in totals if totals[each] > 0),
            key=lambda each: (-totals[each], each),
        )
        top = set(best[: max(1, round(len(best) * percent / 100 + 1e-9))])
        assert (
            audience_sql.matching(connection, world.workspace.settings, found[0], NOW)
            == top
        )
        reached, makers = 0.0, set()
        for each in best:
            if reached >= sum(totals[one] for one in best) * percent / 100:
                break
            makers.add(each)
            reached += totals[each]
        assert (
            audience_sql.matching(connection, world.workspace.settings, found[1], NOW)
            == makers
        )


SERVED: list[dict[str, Any]] = [
    {"first_name": "Ana"},
    {"first_name": "starts with A"},
    {"visits": "at least 3"},
    {"visits": "between 1 and 2"},
    {"joined": "before 2026-01-01"},
    {"joined": "in the last 30 days"},
    {"trial_ends": "in the next 14 days"},
    {"country": "US"},
    {"vip": "yes"},
    {"size": "small"},
    {"birthday": "02-29"},
    {"orders": "at least 3"},
    {"total": "more than 100"},
    {"last_order": "more than 30 days ago"},
    {"last_order": "known"},
    {"lapse": "in the next 14 days"},
    {"stamps": "at least 2"},
    {"subscribed": "news"},
    {"in_segment": "best"},
    {"tagged": "a"},
    {"holds coupon": "treat"},
    {"did": "order.placed in the last 30 days"},
    {"opened": "any"},
    {"spent": "top 20%"},
    {"visits": "at least 3", "first_name": "not Ana"},
    {"any": [{"visits": "3"}, {"country": "US"}]},
]


def plan(
    connection: Connection, settings_: Settings, condition: Condition, now: datetime
) -> list[str]:
    """How the database says that it will find the contacts."""
    lines = []
    for statement in audience_sql.statements(connection, settings_, condition, now):
        asked = statement.compile(
            connection.engine, compile_kwargs={"render_postcompile": True}
        )
        values = [asked.params[name] for name in asked.positiontup or []]
        plain = tuple(0 if hasattr(value, "isoformat") else value for value in values)
        lines += [
            row[3]
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", plain)
        ]
    return lines


def test_no_scan_where_an_index_can_serve(tmp_path: Path) -> None:
    world, found = made(str(tmp_path), random.Random(3), SERVED, 30)
    with world.database.read() as connection:
        for condition, written in zip(found, SERVED, strict=True):
            lines = plan(connection, world.workspace.settings, condition, NOW)
            assert lines
            assert not [
                line
                for line in lines
                if line.startswith(("SCAN contacts", "SCAN events"))
            ], (written, lines)
            assert not [line for line in lines if "contacts_by_zone" in line], (
                written,
                lines,
            )
