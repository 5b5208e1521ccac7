"""Erasing a person: out of the papers that were written here, and out of the
database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from drip import papers
from drip.commands.orders import Order, note
from drip.storage.base.database import Database
from drip.storage.people import erasing
from drip.storage.people.contacts import contacts_by_id

BY_THEMSELVES = "the person"


def forget(
    database: Database,
    own_folder: Path,
    order: Order,
    contact_id: int,
) -> list[Path]:
    """Erases a person. `own_folder` is the workspace's `.drip`, which knows the papers.

    Returns papers that cannot be written anew. What is left in other files is cleared
    afterwards (`Workspace.clear`)."""
    with database.read() as connection:
        contact = contacts_by_id(connection, [contact_id])[contact_id]
        addresses = erasing.addresses_of(connection, contact)
    left = papers.strike(own_folder, papers.Named(contact.key, addresses))
    why = erasing.without_names(order.why or "", contact.key, addresses)
    with database.write() as connection:
        if erasing.erase(connection, contact_id, order.at):
            unnamed = replace(order, why=why)
            note(connection, unnamed, "forget", contact_id=contact_id)
    return left
