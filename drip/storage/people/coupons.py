"""Coupons: single-use codes, made for a run or taken from a stock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.columns import to_ms
from drip.storage.base.schema import (
    contacts,
    coupons,
)
from drip.storage.base.sql import Prepared


@dataclass(frozen=True, slots=True)
class Code:
    """A coupon's code as it was issued. `expires` is the last day on which it is good, None for ever."""

    coupon: str
    code: str
    contact_id: int | None
    run_id: int | None
    step: str | None
    issued_at: datetime | None
    expires: str | None
    redeemed_at: datetime | None


# --- coupons

_COLUMNS = (
    coupons.c.coupon,
    coupons.c.code,
    coupons.c.contact_id,
    coupons.c.run_id,
    coupons.c.step,
    coupons.c.issued_at,
    coupons.c.expires,
    coupons.c.redeemed_at,
)
_ISSUE = Prepared(
    insert(coupons)
    .values(
        {
            name: bindparam(name)
            for name in (
                "coupon",
                "code",
                "contact_id",
                "run_id",
                "step",
                "issued_at",
                "expires",
            )
        }
    )
    .inline()
)
_NEXT_IN_STOCK = Prepared(
    select(coupons.c.id, coupons.c.code)
    .where(coupons.c.coupon == bindparam("coupon"), coupons.c.contact_id.is_(None))
    .order_by(coupons.c.id)
    .limit(1)
)
_TAKE = Prepared(
    update(coupons)
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("contact_id", "run_id", "step", "issued_at", "expires")
        }
    )
    .where(coupons.c.id == bindparam("number"))
)


def issue(connection: Connection, issued: Collection[Code]) -> None:
    """Stores codes that were made for a run's step. Raises IntegrityError if a code or a step has one already."""
    _ISSUE.many(
        connection,
        [
            (
                c.coupon,
                c.code,
                c.contact_id,
                c.run_id,
                c.step,
                to_ms(c.issued_at),
                c.expires,
            )
            for c in issued
        ],
    )


def take(
    connection: Connection,
    coupon: str,
    contact_id: int,
    run_id: int,
    step: str,
    issued_at: datetime,
    expires: str | None,
) -> Code | None:
    """The next code of the stock, now this run's step's; None if the stock is empty."""
    found = _NEXT_IN_STOCK.rows(connection, coupon=coupon)
    if not found:
        return None
    number, code = found[0]
    values = (contact_id, run_id, step, to_ms(issued_at), expires, number)
    _TAKE.many(connection, [values])
    return Code(coupon, code, contact_id, run_id, step, issued_at, expires, None)


def codes_of_runs(
    connection: Connection, run_ids: Collection[int]
) -> dict[int, list[Code]]:
    """The codes issued in these runs, in the order in which they were."""
    found: dict[int, list[Code]] = defaultdict(list)
    statement = (
        select(*_COLUMNS)
        .where(coupons.c.run_id.in_(run_ids))
        .order_by(coupons.c.issued_at, coupons.c.id)
    )
    for row in connection.execute(statement).all():
        found[row.run_id].append(Code(*row))
    return found


def codes_of_contacts(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, list[Code]]:
    """The codes that these contacts have."""
    found: dict[int, list[Code]] = defaultdict(list)
    statement = (
        select(*_COLUMNS)
        .where(coupons.c.contact_id.in_(contact_ids))
        .order_by(coupons.c.id)
    )
    for row in connection.execute(statement).all():
        found[row.contact_id].append(Code(*row))
    return found


def add_codes(connection: Connection, coupon: str, codes: Iterable[str]) -> int:
    """Adds imported codes to the stock; how many were new."""
    before = connection.execute(select(func.count()).select_from(coupons)).scalar_one()
    rows = [{"coupon": coupon, "code": code} for code in codes]
    if rows:
        connection.execute(insert_or(coupons).on_conflict_do_nothing(), rows)
    return int(
        connection.execute(select(func.count()).select_from(coupons)).scalar_one()
        - before
    )


def code(connection: Connection, text: str) -> tuple[Code, str | None] | None:
    """A code, whatever its case, and the key of the contact who has it."""
    statement = select(*_COLUMNS, contacts.c.key).outerjoin(
        contacts, contacts.c.id == coupons.c.contact_id
    )
    row = connection.execute(
        statement.where(coupons.c.code.in_([text, text.upper()]))
    ).first()
    return (Code(*row[:-1]), row[-1]) if row else None


def redeem(connection: Connection, text: str, now: datetime) -> bool:
    """Whether the code was still there to be redeemed; it is not any more."""
    where = (coupons.c.code == text, coupons.c.redeemed_at.is_(None))
    return (
        connection.execute(
            update(coupons).where(*where).values(redeemed_at=now)
        ).rowcount
        == 1
    )


def coupon_counts(connection: Connection) -> dict[str, tuple[int, int, int]]:
    """For each coupon: how many codes are in stock, issued, redeemed."""
    issued = func.count(coupons.c.contact_id)
    columns = (
        coupons.c.coupon,
        func.count() - issued,
        issued,
        func.count(coupons.c.redeemed_at),
    )
    rows = connection.execute(
        select(*columns).group_by(coupons.c.coupon).order_by(coupons.c.coupon)
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}
