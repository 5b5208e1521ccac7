"""Under which rules derived dates and zones were worked out.

Under other ones they are worked out anew.
"""

from __future__ import annotations

from sqlalchemy import Connection

from drip.storage.base.facts import fact, set_fact

# The definitions of the derived dates, and the version of the tz database.
KEPT_DATES = "kept-dates"
KEPT_ZONES = "kept-zones"


def kept_rules(connection: Connection, what: str) -> str:
    """Under which rules something was kept; empty if never."""
    return (fact(connection, what) or b"").decode()


def set_kept_rules(connection: Connection, what: str, rules: str) -> None:
    """Remembers it."""
    set_fact(connection, what, rules.encode())
