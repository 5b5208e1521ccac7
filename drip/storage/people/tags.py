"""Tags that campaigns put on contacts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import tags
from drip.storage.base.sql import typed_rows


class ContactTag(NamedTuple):
    """A tag of a contact."""

    contact_id: int
    tag: str


def tags_of(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, set[str]]:
    """The tags of these contacts."""
    own = select(tags).where(tags.c.contact_id.in_(contact_ids))
    found: dict[int, set[str]] = defaultdict(set)
    for row in typed_rows(connection, own, into=ContactTag):
        found[row.contact_id].add(row.tag)
    return found


def add_tags(connection: Connection, rows: Collection[tuple[int, str]]) -> None:
    """Puts tags on contacts; those that are there stay."""
    values = [{"contact_id": contact, "tag": tag} for contact, tag in rows]
    # A step that is walked twice puts it on once: the key is contact and tag.
    if values:
        connection.execute(insert_or(tags).on_conflict_do_nothing(), values)


def remove_tags(connection: Connection, rows: Iterable[tuple[int, str]]) -> None:
    """Takes tags off contacts."""
    # One by one: SQLite takes no list of pairs after IN.
    for contact, tag in rows:
        same = (
            tags.c.contact_id == contact,
            tags.c.tag == tag,
        )
        connection.execute(delete(tags).where(*same))
