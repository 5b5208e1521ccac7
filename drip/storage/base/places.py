"""Where a database is: a file, or a PostgreSQL server. Known without the libraries that
open one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drip.errors import DripError

if TYPE_CHECKING:
    from sqlalchemy import URL


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """A database of a PostgreSQL server; `notes` is the file that says until when it
    was worked on."""

    url: URL
    notes: Path


def server(address: str, notes: Path) -> DatabaseServer:
    """The database of this address, with its notes in that folder. Raises DripError for
    one that cannot be read."""
    # Slow to import (0.2 s), and `drip check` needs no database where there is no file.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        help = "write `postgresql://user:password@host/database`"
        raise DripError(
            "The address of the database cannot be read.", help=help
        ) from None
    # Not in the database: a backup put back must not bring its own note along.
    name = url.database or url.username or "postgresql"
    return DatabaseServer(url, notes / f"{name}.daemon")


def is_missing(place: Path | DatabaseServer) -> bool:
    """Whether there is no file yet. What a server has is known by asking it."""
    if not isinstance(place, Path):
        return False
    return not place.exists() or (place.is_file() and place.stat().st_size == 0)
