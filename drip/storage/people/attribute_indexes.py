"""The indexes over contacts' attributes by which audiences are found."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement

from drip.core.conditions import Condition, FieldCondition, Member, leaves
from drip.core.derived import DateField
from drip.core.settings import Settings
from drip.storage.base.schema import contacts
from drip.storage.base.sql import folded, json_text
from drip.storage.people.condition_sql import attribute
from drip.storage.people.contacts import COLUMNS

# Nearly everybody's is another one, or there is an index already.
UNINDEXED = ("key", "email", "phone", "timezone")


def attribute_indexes(
    settings: Settings, conditions: Iterable[Condition]
) -> dict[str, ColumnElement[Any]]:
    """The expressions over contacts by which these conditions are served.

    They are by the names of their indexes.
    """
    wanted: dict[str, ColumnElement[Any]] = {}
    for leaf in chain.from_iterable(map(leaves, conditions)):
        name = _indexed(settings, _ranked_or_compared(leaf))
        if name is not None:
            index, expression = _index(leaf, name)
            wanted[index] = expression
    return wanted


def _indexed(settings: Settings, field: str) -> str | None:
    """The attribute of a contact that a field is read from, if an index helps."""
    # A total is of events, and a derived date is kept among the dates: they have their
    # own.
    owner, _, name = field.partition(".")
    derived = settings.derived.get(field)
    if isinstance(derived, DateField) and derived.field not in settings.derived:
        name = derived.field.partition(".")[2]
    elif derived is not None:
        return None
    return None if owner != "contact" or name in UNINDEXED else name


def _index(leaf: Condition, name: str) -> tuple[str, ColumnElement[Any]]:
    if name in COLUMNS:
        return _folded(name, contacts.c[name])
    kind = leaf.kind if isinstance(leaf, FieldCondition) else "number"
    if kind in ("text", "country", "choice", "birthday"):
        return _folded(name, json_text(contacts.c.attributes, name))
    index = f"attribute_{name}_{kind.replace(' ', '_')}"
    return index, attribute(contacts, name, kind)


def _folded(name: str, text: ColumnElement[Any]) -> tuple[str, ColumnElement[Any]]:
    return f"attribute_{name}_folded", folded(text)


def _ranked_or_compared(condition: Condition) -> str:
    """The field that a line is about; nothing for verbs."""
    if isinstance(condition, FieldCondition):
        return condition.field
    if isinstance(condition, Member) and condition.rank:
        return condition.rank.field
    return ""
