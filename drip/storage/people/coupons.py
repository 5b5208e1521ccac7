"""Coupons: single-use codes, made for a run or taken from a stock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.columns import to_ms
from drip.storage.base.schema import contacts, coupons
from drip.storage.base.sql import (
    Prepared,
    count_changed,
    first_row,
    one_row,
    select_as,
    typed_rows,
)

_coupon = coupons.c


@dataclass(frozen=True, slots=True)
class Code:
    """A coupon's code as it was issued.

    `expires` is the last day on which it is good, None for ever.
    """

    coupon: str
    code: str
    contact_id: int | None
    run_id: int | None
    step: str | None
    issued_at: datetime | None
    expires: str | None
    redeemed_at: datetime | None


class InStock(NamedTuple):
    """A code that nobody has yet, and its number in the table."""

    number: int
    code: str


class _CouponCounts(NamedTuple):
    coupon: str
    in_stock: int
    issued: int
    redeemed: int


# What a run gives a code, in the order of the columns.
_GIVEN = ("contact_id", "run_id", "step", "issued_at", "expires")
_ISSUED = ("coupon", "code", *_GIVEN)
_CODES = select_as(coupons, Code)
_ISSUE = Prepared(
    insert(coupons).values({name: bindparam(name) for name in _ISSUED}).inline()
)
# By the number, so that codes leave in the order in which they were imported.
_NEXT_IN_STOCK = Prepared(
    select(_coupon.id.label("number"), _coupon.code)
    .where(_coupon.coupon == bindparam("coupon"), _coupon.contact_id.is_(None))
    .order_by(_coupon.id)
    .limit(bindparam("most")),
    into=InStock,
)
_TAKE = Prepared(
    update(coupons)
    .values({name: bindparam(f"new_{name}") for name in _GIVEN})
    .where(_coupon.id == bindparam("number"))
)


_N_ISSUED = func.count(_coupon.contact_id)
_COUNTS = (
    select(
        _coupon.coupon,
        (func.count() - _N_ISSUED).label("in_stock"),
        _N_ISSUED.label("issued"),
        func.count(_coupon.redeemed_at).label("redeemed"),
    )
    .group_by(_coupon.coupon)
    .order_by(_coupon.coupon)
)


def issue(connection: Connection, issued: Collection[Code]) -> None:
    """Stores codes that were made for a run's step.

    Raises IntegrityError if a code or a step has one already.
    """
    rows = [(code.coupon, code.code, *_given(code)) for code in issued]
    _ISSUE.many(connection, rows)


def _given(code: Code) -> tuple[Any, ...]:
    """What a run gives a code, in the order of `_GIVEN`."""
    return (
        code.contact_id,
        code.run_id,
        code.step,
        to_ms(code.issued_at),
        code.expires,
    )


def stock(connection: Connection, coupon: str, most: int) -> list[InStock]:
    """The next codes of a coupon's stock, in the order in which they are handed out."""
    return _NEXT_IN_STOCK.rows(connection, coupon=coupon, most=most)


def hand_out(connection: Connection, taken: Sequence[tuple[int, Code]]) -> None:
    """These codes of the stock are now of a run's step.

    They are named by their numbers in the table.
    """
    _TAKE.many(connection, [(*_given(code), number) for number, code in taken])


def codes_of_runs(
    connection: Connection, run_ids: Collection[int]
) -> dict[int, list[Code]]:
    """The codes issued in these runs, in the order in which they were."""
    issued = _CODES.where(_coupon.run_id.in_(run_ids))
    in_order = issued.order_by(_coupon.issued_at, _coupon.id)
    found: dict[int, list[Code]] = defaultdict(list)
    for code in typed_rows(connection, in_order, into=Code):
        if code.run_id is not None:
            found[code.run_id].append(code)
    return found


def codes_of_contacts(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, list[Code]]:
    """The codes that these contacts have."""
    held = _CODES.where(_coupon.contact_id.in_(contact_ids))
    found: dict[int, list[Code]] = defaultdict(list)
    for code in typed_rows(connection, held.order_by(_coupon.id), into=Code):
        if code.contact_id is not None:
            found[code.contact_id].append(code)
    return found


def add_codes(connection: Connection, coupon: str, codes: Iterable[str]) -> int:
    """Adds imported codes to the stock; how many were new."""
    count = select(func.count()).select_from(coupons)
    before = one_row(connection, count, into=int)
    rows = [{"coupon": coupon, "code": code} for code in codes]
    if rows:
        connection.execute(insert_or(coupons).on_conflict_do_nothing(), rows)
    return one_row(connection, count, into=int) - before


def code(connection: Connection, text: str) -> tuple[Code, str | None] | None:
    """A code, whatever its case, and the key of the contact who has it."""
    # Made ones are in capitals, imported ones as they were given; people type either.
    same = _coupon.code.in_([text, text.upper()])
    found = first_row(connection, _CODES.where(same), into=Code)
    if found is None:
        return None
    holder = select(contacts.c.key).where(contacts.c.id == found.contact_id)
    return found, first_row(connection, holder, into=str)


def redeem(connection: Connection, text: str, now: datetime) -> bool:
    """Whether the code was still there to be redeemed; it is not any more."""
    # In one statement: of two tills that ask at once one is told no.
    still = (
        _coupon.code == text,
        _coupon.redeemed_at.is_(None),
    )
    redeemed = update(coupons).where(*still).values(redeemed_at=now)
    return count_changed(connection, redeemed) == 1


def coupon_counts(connection: Connection) -> dict[str, tuple[int, int, int]]:
    """For each coupon: how many codes are in stock, issued, redeemed."""
    counted = typed_rows(connection, _COUNTS, into=_CouponCounts)
    return {row.coupon: (row.in_stock, row.issued, row.redeemed) for row in counted}
