"""Who is in each segment and rank."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from drip.storage.base.facts import fact, set_fact
from drip.storage.base.schema import contacts, events, segment_members
from drip.storage.base.sql import listed_in, numbers, select_as, typed_rows
from drip.storage.people.change_marks import chunks

_member = segment_members.c

# Under it stands the number of whoever came into any segment last. It is no maximum of
# the table, since whoever goes out takes theirs along, and a campaign that has looked
# up to there would miss the next one.
NUMBER = "segment-number"


class Entrant(NamedTuple):
    """A contact who came into a segment."""

    contact_id: int
    since: datetime
    number: int


class _Membership(NamedTuple):
    contact_id: int
    segment: str


def sets_of(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, set[str]]:
    """The segments and ranks that these contacts are in."""
    own = select_as(segment_members, _Membership).where(
        _member.contact_id.in_(contact_ids)
    )
    found: dict[int, set[str]] = defaultdict(set)
    for row in typed_rows(connection, own, into=_Membership):
        found[row.contact_id].add(row.segment)
    return found


def members(
    connection: Connection,
    segment: str,
    among: Collection[int] | None = None,
) -> set[int]:
    """Who is in a segment, of all or `among` some."""
    who = _member.contact_id
    inside = select(who).where(_member.segment == segment)
    if among is not None:
        some = listed_in("among").params(among=numbers(among))
        inside = inside.where(who.in_(some))
    return set(typed_rows(connection, inside, into=int))


def replace(
    connection: Connection,
    segment: str,
    now_in: Collection[int],
    now: datetime,
    among: Collection[int] | None = None,
) -> tuple[set[int], set[int]]:
    """Makes these the members (of all, or `among` some); who came in, who went out."""
    before = members(connection, segment, among)
    fresh, gone = set(now_in) - before, before - set(now_in)
    _take_out(connection, segment, gone)
    if fresh:
        _let_in(connection, segment, fresh, now)
    return fresh, gone


def _take_out(connection: Connection, segment: str, gone: Collection[int]) -> None:
    own = _member.segment == segment
    for chunk in chunks(sorted(gone)):
        some = _member.contact_id.in_(chunk)
        connection.execute(delete(segment_members).where(own, some))


def _let_in(
    connection: Connection,
    segment: str,
    fresh: Collection[int],
    now: datetime,
) -> None:
    """In the order of their ids, each with a number higher than all before."""
    newest = newest_number(connection)
    rows = [
        {
            "segment": segment,
            "contact_id": contact,
            "since": now,
            "number": number,
        }
        for number, contact in enumerate(sorted(fresh), newest + 1)
    ]
    connection.execute(insert(segment_members), rows)
    set_fact(connection, NUMBER, str(newest + len(rows)).encode())


def newest_number(connection: Connection) -> int:
    """The number of whoever came into any segment last, even if gone since."""
    return int(fact(connection, NUMBER) or 0)


def entrants(connection: Connection, segment: str, after: int) -> list[Entrant]:
    """Who came into a segment after number `after` and is in it, in that order."""
    own = (
        _member.segment == segment,
        _member.number > after,
    )
    came = select_as(segment_members, Entrant).where(*own)
    in_order = came.order_by(_member.number)
    return typed_rows(connection, in_order, into=Entrant)


def forget_others(connection: Connection, segments: Collection[str]) -> None:
    """Drops the sets that no file asks for any more."""
    # One that comes back begins anew: everybody in it comes in, and campaigns that
    # begin with that see them.
    others = _member.segment.not_in(segments)
    connection.execute(delete(segment_members).where(others))


def changed(connection: Connection, after_change: int, after_event: int) -> set[int]:
    """The contacts about whom something is new."""
    touched = select(contacts.c.id).where(contacts.c.change > after_change)
    did = select(events.c.contact_id).where(events.c.id > after_event)
    return {
        *typed_rows(connection, touched, into=int),
        *typed_rows(connection, did, into=int),
    }
