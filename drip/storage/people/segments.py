"""Who is in each segment and rank."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import contacts, events, meta, segment_members
from drip.storage.base.sql import listed_in, numbers

CHUNK = 5_000
NUMBER = "segment-number"
_NUMBER = select(meta.c.value).where(meta.c.name == NUMBER)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contact who came into a segment."""

    contact_id: int
    since: datetime
    number: int


def sets_of(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, set[str]]:
    """The segments and ranks that these contacts are in."""
    found: dict[int, set[str]] = defaultdict(set)
    statement = select(segment_members.c.contact_id, segment_members.c.segment)
    own = statement.where(segment_members.c.contact_id.in_(contact_ids))
    for contact, segment in connection.execute(own).all():
        found[contact].add(segment)
    return found


def members(
    connection: Connection, segment: str, among: Collection[int] | None = None
) -> set[int]:
    """Who is in a segment, of all or `among` some."""
    statement = select(segment_members.c.contact_id).where(
        segment_members.c.segment == segment
    )
    if among is not None:
        statement = statement.where(
            segment_members.c.contact_id.in_(
                listed_in("among").params(among=numbers(among))
            )
        )
    return set(connection.scalars(statement).all())


def replace(
    connection: Connection,
    segment: str,
    now_in: Collection[int],
    now: datetime,
    among: Collection[int] | None = None,
) -> tuple[set[int], set[int]]:
    """Makes these the members (of all, or `among` some); who came in and who went out."""
    before = members(connection, segment, among)
    fresh, gone = set(now_in) - before, before - set(now_in)
    for chunk in _chunks(gone):
        where = (
            segment_members.c.segment == segment,
            segment_members.c.contact_id.in_(chunk),
        )
        connection.execute(delete(segment_members).where(*where))
    number = newest_number(connection)
    rows = [
        {"segment": segment, "contact_id": contact, "since": now, "number": number + n}
        for n, contact in enumerate(sorted(fresh), 1)
    ]
    if rows:
        connection.execute(insert(segment_members), rows)
        statement = insert_or(meta).values(
            name=NUMBER, value=str(number + len(rows)).encode()
        )
        set_ = {"value": statement.excluded.value}
        connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_=set_)
        )
    return fresh, gone


def newest_number(connection: Connection) -> int:
    """The number of whoever came into any segment last, even if gone since."""
    found = connection.execute(_NUMBER).scalar()
    return int(bytes(found)) if found else 0


def entrants(connection: Connection, segment: str, after: int) -> list[Entrant]:
    """Who came into a segment after number `after` and is in it, in that order."""
    where = (segment_members.c.segment == segment, segment_members.c.number > after)
    columns = (
        segment_members.c.contact_id,
        segment_members.c.since,
        segment_members.c.number,
    )
    return [
        Entrant(*row)
        for row in connection.execute(
            select(*columns).where(*where).order_by(columns[2])
        )
    ]


def forget_others(connection: Connection, segments: Collection[str]) -> None:
    """Drops the sets that no file asks for any more."""
    connection.execute(
        delete(segment_members).where(segment_members.c.segment.not_in(segments))
    )


def changed(connection: Connection, after_change: int, after_event: int) -> set[int]:
    """The contacts about whom something is new."""
    found = set(
        connection.scalars(
            select(contacts.c.id).where(contacts.c.change > after_change)
        ).all()
    )
    found.update(
        connection.scalars(
            select(events.c.contact_id).where(events.c.id > after_event)
        ).all()
    )
    return found


def _chunks(ids: Collection[int]) -> list[list[int]]:
    ordered = sorted(ids)
    return [ordered[n : n + CHUNK] for n in range(0, len(ordered), CHUNK)]
