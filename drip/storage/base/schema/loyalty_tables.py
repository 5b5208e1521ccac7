"""The tables of counters and coupons."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    UniqueConstraint,
)

from drip.storage.base.columns import KEY_ALONE, Instant, Number, Words
from drip.storage.base.schema.metadata import metadata

# Where each counter of each contact stands.
counters = Table(
    "counters",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("counter", Words, primary_key=True),
    Column("balance", Number, nullable=False),
    Index("counters_by_balance", "counter", "balance"),
    CheckConstraint("balance >= 0", name="balance_is_no_debt"),
    **KEY_ALONE,
)

# Append-only: what made each counter what it is. An event and a step count once.
counter_entries = Table(
    "counter_entries",
    metadata,
    Column("id", Number, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("counter", Words, nullable=False),
    Column("amount", Number, nullable=False),
    Column("balance", Number, nullable=False),
    Column("at", Instant, nullable=False),
    Column("event_id", ForeignKey("events.id")),
    Column("run_id", ForeignKey("runs.id")),
    Column("step", Words),
    UniqueConstraint("counter", "event_id"),
    UniqueConstraint("run_id", "step"),
    Index("counter_entries_by_contact", "contact_id", "counter"),
    Index("counter_entries_by_counter", "counter", "id"),
)

# Codes: made for a run, or imported and waiting for one. `expires` is the last day on
# which it is good.
coupons = Table(
    "coupons",
    metadata,
    Column("id", Number, primary_key=True),
    Column("coupon", Words, nullable=False),
    Column("code", Words, nullable=False, unique=True),
    Column("contact_id", ForeignKey("contacts.id")),
    Column("run_id", ForeignKey("runs.id")),
    Column("step", Words),
    Column("issued_at", Instant),
    Column("expires", Words),
    Column("redeemed_at", Instant),
    UniqueConstraint("run_id", "step"),
    Index("coupons_by_contact", "contact_id", "coupon"),
    Index("coupons_in_stock", "coupon", "contact_id"),
)
