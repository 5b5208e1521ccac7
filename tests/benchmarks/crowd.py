"""Crowds of any size, made by SQL: contacts with dates, consents, vehicles, leases, orders and a history of messages."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from drip.core.calendar import millis

ZONES = "NULL, 'America/New_York', 'America/Denver', 'America/Los_Angeles', NULL, 'Europe/London', 'Asia/Tokyo'"
CONTACTS = f"""
INSERT INTO contacts (key, email, phone, country, timezone, zone, attributes, change)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
SELECT 'p' || i, 'p' || i || '@example.com', NULL, NULL, z, z,
  json_object('first_name', 'Name' || (i * 7919 % 5000), 'birthday', strftime('%m-%d', '2000-01-01', (i * 31 % 366) || ' days')), 1
FROM (SELECT i, CASE i % 7 {" ".join(f"WHEN {n} THEN {name.strip()}" for n, name in enumerate(ZONES.split(",")))} END AS z FROM n)
"""
BIRTHDAYS = """
INSERT INTO dates (contact_id, record_id, field, day, month_day)
SELECT id, 0, 'contact.birthday', json_extract(attributes, '$.birthday'), json_extract(attributes, '$.birthday') FROM contacts
"""
CONSENTS = """
INSERT INTO consents (contact_id, topic, channel, given, at)
SELECT id, :topic, 'email', 1, 1700000000000 FROM contacts WHERE id % 100 < :percent
"""
RECORDS = """
INSERT INTO records (contact_id, kind, key, attributes, change)
SELECT id, :kind, :kind || id, json_set(:attributes, '$.' || :field, date(:first, (id * 37 % :spread) || ' days')), 1
FROM contacts WHERE id % 100 < :percent
"""
RECORD_DATES = """
INSERT INTO dates (contact_id, record_id, field, day, month_day)
SELECT contact_id, id, :kind || '.' || :name, d, substr(d, 6) FROM (
  SELECT contact_id, id, date(json_extract(attributes, '$.' || :field), :shift) AS d FROM records WHERE kind = :kind)
"""
ORDERS = """
INSERT INTO events (contact_id, record_id, name, key, at, fields)
SELECT id, 0, :name, :name || id, :now - (id * 7919 % 300) * 86400000, json_object('total', CAST(id % 400 AS TEXT)) FROM contacts
WHERE id % 100 < :percent
"""
OLD_RUNS = """
INSERT INTO runs (campaign, version, contact_id, record_id, occurrence, position, since, active, started_at, ended_at)
SELECT 'earlier', 'v', id, 0, 'once', 9, 0, 0, 0, 0 FROM contacts
"""
# Messages of the last five weeks, at hours that differ from contact to contact.
HISTORY = """
INSERT INTO messages (run_id, step, campaign, contact_id, topic, channel, counted, priority, state, planned_at, due_at,
  granted_at, attempts, sent_at, settled_at)
SELECT r.id, 's' || k, 'earlier', r.contact_id, 'newsletter', 'email', 1, 50, 'sent', t, t, t, 1, t, t FROM (
  SELECT r.id, r.contact_id, k, :now - (3 + k * 6 + r.contact_id % 4) * 86400000 - (r.contact_id * 31 % 36000) * 1000 AS t
  FROM (SELECT id, contact_id FROM runs WHERE campaign = 'earlier') r, (SELECT 0 AS k UNION ALL SELECT 1 UNION ALL SELECT 2
    UNION ALL SELECT 3 UNION ALL SELECT 4) WHERE k < :each) r
"""


def people(connection: Connection, count: int) -> None:
    """Contacts with birthdays over the whole year, in seven zones."""
    connection.execute(text(CONTACTS), {"count": count})
    connection.execute(text(BIRTHDAYS))


def consent(connection: Connection, topic: str, percent: int) -> None:
    """So many of a hundred said yes to a topic."""
    connection.execute(text(CONSENTS), {"topic": topic, "percent": percent})


def vehicles(connection: Connection, percent: int, now: datetime) -> None:
    """Cars whose services lie in the year before `now`; the oil is due half a year after."""
    first = f"{now:%Y}-01-01"
    about = {
        "kind": "vehicle",
        "attributes": '{"model": "Golf", "status": "active"}',
        "field": "last_service",
    }
    connection.execute(
        text(RECORDS), {**about, "first": first, "spread": 365, "percent": percent}
    )
    dates = {"kind": "vehicle", "field": "last_service"}
    connection.execute(
        text(RECORD_DATES), {**dates, "name": "last_service", "shift": "0 days"}
    )
    connection.execute(
        text(RECORD_DATES), {**dates, "name": "oil_change_due", "shift": "6 months"}
    )


def leases(connection: Connection, percent: int, now: datetime) -> None:
    """Leases that end within the year after `now`."""
    about = {
        "kind": "lease",
        "attributes": '{"unit": "4B", "status": "active"}',
        "field": "lease_end",
    }
    connection.execute(
        text(RECORDS),
        {**about, "first": f"{now:%Y-%m-%d}", "spread": 365, "percent": percent},
    )
    connection.execute(
        text(RECORD_DATES),
        {"kind": "lease", "field": "lease_end", "name": "lease_end", "shift": "0 days"},
    )


def events(connection: Connection, name: str, percent: int, now: datetime) -> None:
    """Something that happened to so many of a hundred, once within 300 days."""
    connection.execute(
        text(ORDERS), {"name": name, "percent": percent, "now": millis(now)}
    )


def history(connection: Connection, each: int, now: datetime) -> None:
    """So many messages for each contact within the last five weeks."""
    connection.execute(text(OLD_RUNS))
    connection.execute(text(HISTORY), {"each": each, "now": millis(now)})
