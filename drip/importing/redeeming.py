"""Redeeming a code, once: at the till, or by the shop's own program."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from drip.core.calendar import local, zone
from drip.core.meanings import REDEEMED
from drip.core.settings import Settings
from drip.errors import DripError
from drip.importing.importer import take_events
from drip.storage.campaigns import runs
from drip.storage.people import coupons, sign_ups


@dataclass(frozen=True, slots=True)
class Redeemed:
    """A code that is redeemed now: of which coupon, good for what, given to whom (the contact's key)."""

    code: str
    coupon: str
    offer: str
    contact: str


def redeem(
    connection: Connection, settings: Settings, code: str, now: datetime
) -> Redeemed:
    """Raises DripError for a code that there is not, that was redeemed before, or that is good no more."""
    found = coupons.code(connection, code.strip())
    if found is None or found[0].contact_id is None:
        raise DripError(
            f"There is no code `{code}` that was given to anybody.",
            help="look at its letters again",
        )
    known, contact = found
    here = zone(settings.timezone)
    if known.redeemed_at:
        when = f"{local(known.redeemed_at, here):%Y-%m-%d %H:%M}"
        raise DripError(
            f"`{known.code}` was redeemed on {when}.", help="a code is good once"
        )
    if known.expires and known.expires < local(now, here).date().isoformat():
        raise DripError(
            f"`{known.code}` was good until {known.expires}.",
            help="issue another one if you want to",
        )
    of_run = runs.runs_by_id(connection, [known.run_id or 0]).get(known.run_id or 0)
    event = {
        "contact_id": known.contact_id,
        "record_id": of_run.record_id if of_run else 0,
        "name": REDEEMED,
        "key": known.code,
        "at": now,
        "fields": {"code": known.code, "coupon": known.coupon},
    }
    take_events(connection, settings, [event])
    sign_ups.make_ordinary(connection, [known.contact_id or 0])
    offer = settings.coupons.get(known.coupon)
    return Redeemed(
        known.code, known.coupon, offer.offer if offer else known.coupon, contact or ""
    )
