"""A year of virtual time over the retail data: no cap is ever over, and what was foreseen on day 0 is what happened."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from drip.importing import importer
from drip.importing.rows import open_table
from drip.preview.simulator import Nowhere, rehearsal, simulate
from drip.storage.base.database import Database
from drip.storage.reading.ledger import LedgerRow, entries
from tests.simulation.model import fullest
from tests.world import World, at

SETTINGS = """
timezone: Europe/London
send_window: 9:00-19:00
quiet_hours: 21:00-8:00
frequency_caps: { all: "1 per day, 3 per week", offers: 1 per month }
when_capped: wait up to 2 days
topics:
  newsletter: { title: Newsletter, opt_in: double }
  offers: { title: Offers, opt_in: single }
  orders: { title: About your orders, opt_in: implied }
data: { contact: { first_name: text, last_name: text, birthday: birthday, last_order: latest order.placed } }
"""
CAMPAIGNS = {
    "newsletter": "topic: newsletter\npriority: low\ntrigger: { schedule: every 2 weeks on Thursday at 10:00 }\naudience: { subscribed: newsletter }\nsteps: [send: newsletter]\n",
    "birthday": "topic: offers\npriority: high\nreserve: 3 days\ntrigger: { date: contact.birthday, repeat: yearly }\nsteps: [send: birthday]\n",
    "miss-you": "topic: orders\ntrigger: { date: 60 days after contact.last_order }\nsteps: [send: miss-you, wait: 5 days, send: come-back, wait: 1 day, send: last-word]\n",
    "monthly": "topic: offers\ntrigger: { schedule: the 1st of every month at 9:00 }\naudience: { subscribed: offers }\nfrequency_caps: at least 40 hours apart\nsteps: [send: monthly]\n",
}
# The day after the last order: nothing new arrives from here on.
START, DAYS = at("2011-12-10 00:00"), 365


def ledger(database: Database, start: datetime, end: datetime) -> list[LedgerRow]:
    with database.read() as connection:
        return list(entries(connection, since=start, until=end))


@pytest.mark.slow
def test_a_year_keeps_every_cap_and_is_what_day_0_foresaw(
    tmp_path: Path, corpora: Path
) -> None:
    made = World(
        tmp_path,
        {key: f"name: {key}\n{text}" for key, text in CAMPAIGNS.items()},
        SETTINGS,
    )
    settings, end = made.workspace.settings, START + timedelta(days=DAYS)
    table = open_table(corpora / "retail" / "contacts.csv")
    importer.import_contacts(made.database, settings, table, {}, "contacts.csv", START)
    importer.import_events(
        made.database, settings, open_table(corpora / "retail" / "orders.csv.gz"), {}
    )
    nowhere, templates = {"email": Nowhere()}, made.workspace.templates
    with rehearsal(made.database, START) as copy:
        simulate(
            copy,
            made.workspace.campaign_set(copy, START),
            templates,
            nowhere,
            START,
            end,
        )
        foreseen = ledger(copy, START, end)

    # The daemon, begun anew every day.
    for day in range(DAYS):
        now = START + timedelta(days=day)
        campaign_set = made.workspace.campaign_set(made.database, now)
        simulate(
            made.database,
            campaign_set,
            templates,
            nowhere,
            now,
            now + timedelta(days=1),
        )
    happened = ledger(made.database, START, end)
    made.database.close()
    assert happened == foreseen

    sent: dict[str, list[LedgerRow]] = defaultdict(list)
    for each in happened:
        if each.outcome == "sent":
            sent[each.contact].append(each)
    assert sum(map(len, sent.values())) > 30_000
    assert sum(each.code == "cap" for each in happened) > 1_000, (
        "the caps have something to do"
    )
    topics = {
        key: campaign.topic for key, campaign in made.workspace.loaded.campaigns.items()
    }
    rules = [
        *settings.caps,
        *(
            cap
            for each in made.workspace.loaded.campaigns.values()
            for cap in each.caps
        ),
    ]
    for contact, own in sent.items():
        where = ZoneInfo(own[0].zone or settings.timezone)
        for rule in rules:
            times = [
                each.at
                for each in own
                if rule.counts("email", topics[each.campaign], each.campaign)
            ]
            assert fullest(times, rule.days, rule.seconds, where) <= rule.limit, (
                contact,
                rule.text,
            )
