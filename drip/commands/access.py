"""Who comes in: programs by tokens, operators by passwords, and links by the keys that
sign them."""

from __future__ import annotations

import secrets
from collections.abc import Collection

from sqlalchemy import Connection

from drip.commands.orders import Order, note
from drip.core.characters import hidden_in
from drip.errors import DripError
from drip.storage.base.database import add_link_key, drop_link_keys
from drip.storage.operating import api_keys, operators

LONGEST_NAME = 80
# In bytes: 256 bits, as much as the hash that is kept of it.
TOKEN_BYTES = 32


def add_key(
    connection: Connection,
    order: Order,
    name: str,
    scopes: Collection[str],
) -> str:
    """A new token, of which only a hash is kept. Raises DripError for a name that is
    taken or hides a character."""
    if hidden := hidden_in(name):
        raise DripError(
            f"The name holds the character {hidden}, which nobody can see.",
            help="type it anew",
        )
    # Begins with a word of its own, by which scanners find a token in public code.
    token = f"drip_{secrets.token_urlsafe(TOKEN_BYTES)}"
    if not api_keys.add(connection, name, token, tuple(scopes), order.at):
        raise DripError(
            f"There is a key `{name}` already.",
            help="name it otherwise; revoked ones keep their names",
        )
    note(connection, order, "keys add", name)
    return token


def revoke_key(connection: Connection, order: Order, name: str) -> None:
    """A token is good no more. Raises DripError where there is none that is good."""
    if not api_keys.revoke(connection, name, order.at):
        raise DripError(
            f"There is no key `{name}` that is good.", help="`drip keys` lists them"
        )
    note(connection, order, "keys revoke", name)


def rotate_link_keys(connection: Connection, order: Order, *, leaked: bool) -> int:
    """New links are signed by a new key. Those signed by the old ones stay good, unless
    these have `leaked`; how many are gone."""
    gone = drop_link_keys(connection) if leaked else 0
    add_link_key(connection, order.at)
    note(connection, order, "keys rotate --leaked" if leaked else "keys rotate")
    return gone


def add_operator(
    connection: Connection,
    order: Order,
    name: str,
    password_hash: str,
) -> None:
    """Lets somebody in. Raises DripError for a name that cannot be one, or is taken."""
    refuse_name(name)
    if not operators.add(connection, name, password_hash, order.at):
        raise DripError(
            f"There is an operator `{name}` already.",
            help="`drip operators password NAME` sets another password",
        )
    note(connection, order, "operators add", name)


def refuse_name(name: str) -> None:
    """Raises DripError for what cannot be an operator's name."""
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise DripError(
            "That cannot be a name.", help=f"use up to {LONGEST_NAME} letters"
        )


def set_password(
    connection: Connection,
    order: Order,
    name: str,
    password_hash: str,
) -> None:
    """Sets another password; whoever is logged in by the old one is logged out. Raises
    DripError for a name that is unknown."""
    _refuse_unknown(operators.set_password(connection, name, password_hash), name)
    note(connection, order, "operators password", name)


def remove_operator(connection: Connection, order: Order, name: str) -> None:
    """Lets somebody in no more, and logs them out. Raises DripError for a name that is
    unknown."""
    _refuse_unknown(operators.remove(connection, name), name)
    note(connection, order, "operators remove", name)


def _refuse_unknown(known: bool, name: str) -> None:
    if not known:
        raise DripError(
            f"There is no operator `{name}`.", help="`drip operators` lists them"
        )
