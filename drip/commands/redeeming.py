"""Codes: redeeming one, once, at the till or by the shop's own program; and adding a
list of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from drip.commands.orders import Order, note
from drip.core.calendar import local, zone
from drip.core.characters import hidden_in
from drip.core.fields import ERASED
from drip.core.meanings import REDEEMED
from drip.core.settings import Settings
from drip.errors import DripError, nearest
from drip.importing.event_rows import take_events
from drip.storage.campaigns import runs
from drip.storage.people import coupons, sign_ups
from drip.storage.people.coupons import Code

LONGEST_CODE = 100


@dataclass(frozen=True, slots=True)
class Redeemed:
    """A code that is redeemed now: of which coupon, good for what, given to whom (the
    contact's key)."""

    code: str
    coupon: str
    offer: str
    contact: str


def redeem(
    connection: Connection,
    settings: Settings,
    order: Order,
    code: str,
) -> Redeemed:
    """Raises DripError for a code that there is not, that was redeemed before, or that
    is good no more."""
    found = coupons.code(connection, code.strip())
    if found is None or found[0].contact_id is None:
        raise DripError(
            f"There is no code `{code}` that was given to anybody.",
            help="look at its letters again",
        )
    known, contact = found
    _refuse_spent(known, settings, order.at)
    take_events(connection, settings, [_event(connection, known, order.at)])
    # Whoever buys something is known by more than a sign-up.
    sign_ups.make_ordinary(connection, [known.contact_id or 0])
    note(connection, order, "coupons redeem", known.coupon, known.contact_id)
    # A coupon may be gone from the settings, and codes of it are still out there.
    coupon = settings.coupons.get(known.coupon)
    offer = coupon.offer if coupon else known.coupon
    return Redeemed(known.code, known.coupon, offer, contact or "")


def _refuse_spent(code: Code, settings: Settings, now: datetime) -> None:
    """Raises DripError for a code that was good once."""
    here = zone(settings.timezone)
    if code.redeemed_at:
        when = f"{local(code.redeemed_at, here):%Y-%m-%d %H:%M}"
        raise DripError(
            f"`{code.code}` was redeemed on {when}.", help="a code is good once"
        )
    # Its last day is a whole one, where the shop is.
    if code.expires and code.expires < local(now, here).date().isoformat():
        raise DripError(
            f"`{code.code}` was good until {code.expires}.",
            help="issue another one if you want to",
        )


def _event(connection: Connection, code: Code, now: datetime) -> dict[str, object]:
    """What campaigns see: `coupon.redeemed`, of the record that the run which gave it
    was about."""
    number = code.run_id or 0
    run = runs.runs_by_id(connection, [number]).get(number)
    return {
        "contact_id": code.contact_id,
        "record_id": run.record_id if run else 0,
        "name": REDEEMED,
        "key": code.code,
        "at": now,
        "fields": {"code": code.code, "coupon": code.coupon},
    }


def add_codes(
    connection: Connection,
    settings: Settings,
    order: Order,
    coupon: str,
    codes: Collection[str],
) -> int:
    """Adds codes to a coupon with `codes: list`; how many are new. Raises DripError for
    another coupon."""
    _refuse_coupon(coupon, settings)
    fresh = coupons.add_codes(connection, coupon, codes)
    # In the transaction of the change, so that neither is there without the other.
    note(connection, order, "coupons import", coupon)
    return fresh


def _refuse_coupon(coupon: str, settings: Settings) -> None:
    known = settings.coupons
    if coupon not in known:
        raise _no_coupon(coupon, known)
    if known[coupon].codes != "list":
        raise DripError(
            f"The codes of `{coupon}` are made, not imported.",
            help="write `codes: list` in _settings.yaml",
        )


def _no_coupon(coupon: str, known: Iterable[str]) -> DripError:
    help = nearest(coupon, known, what="coupons")
    return DripError(f"There is no coupon `{coupon}`.", help=help)


def can_be_code(text: str) -> bool:
    """Whether a text of a list can be a code: not too long, nothing hidden, and none of
    the words that stand for erased ones."""
    return (
        0 < len(text) <= LONGEST_CODE
        and not hidden_in(text)
        and not text.casefold().startswith(ERASED)
    )
