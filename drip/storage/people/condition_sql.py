"""The SQL reader of conditions. `core.conditions.why_not` is the Python reader.

The two agree on everyone. Where an index can serve, a line becomes a comparison that
it serves, or a subquery that begins with one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    and_,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)

from drip.core.calendar import Duration, first_source
from drip.core.conditions import (
    FROM_TODAY,
    All,
    Condition,
    Did,
    FieldCondition,
    HoldsCoupon,
    Member,
    Not,
    Subscribed,
    Tagged,
    day_range,
    first_instant,
    leaves,
)
from drip.core.conditions import Any as AnyOf
from drip.core.derived import DateField, Total
from drip.core.fields import YES, FieldKind, parse_number
from drip.core.settings import Settings
from drip.storage.base.schema import (
    consents,
    contacts,
    counters,
    coupons,
    dates,
    events,
    records,
    segment_members,
    sign_ups,
    tags,
)
from drip.storage.base.sql import (
    folded,
    includes,
    json_flag,
    json_number,
    json_text,
    listed_in,
)
from drip.storage.people.contacts import COLUMNS
from drip.storage.people.events import amount

_consent = consents.c
_coupon = coupons.c
_date = dates.c
_event = events.c
_record = records.c

DAY = timedelta(days=1)
NUMERIC = ("number", "money")
# The last text that begins with a text.
LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads conditions at an instant, for contacts whose local day is `today`.

    They are about a kind of record or none. Of some contacts only (`among`, as
    `numbers` writes them), nobody else's rows are looked at.
    """

    settings: Settings
    now: datetime
    today: date
    record: str | None = None
    among: str | None = None

    def where(self, condition: Condition) -> ColumnElement[bool]:
        """The condition over `contacts` (and `records`)."""
        match condition:
            case All(parts):
                return and_(true(), *map(self.where, parts))
            case AnyOf(parts):
                return or_(false(), *map(self.where, parts))
            case Not(part):
                # What is unknown is not so.
                return not_(func.coalesce(self.where(part), false()))
            case FieldCondition():
                return self._line(condition)
            case Subscribed(topic):
                return self._subscribed(topic)
            case Member(segment):
                return self._member(segment)
            case Tagged(wanted):
                return self._in(select(tags.c.contact_id).where(tags.c.tag.in_(wanted)))
            case HoldsCoupon(coupon):
                return self._holds(coupon)
            case Did():
                return self._did(condition)

    def _in(self, statement: Select[Any]) -> ColumnElement[bool]:
        if self.among is not None:
            (owner,) = statement.selected_columns
            statement = statement.where(owner.in_(listed(self.among)))
        return contacts.c.id.in_(statement)

    def _since(self, span: Duration) -> ColumnElement[bool]:
        first = first_instant(
            span,
            self.now,
            self.settings.timezone,
        )
        return _event.at >= first

    # --- fields

    def _line(self, line: FieldCondition) -> ColumnElement[bool]:
        owner, _, name = line.field.partition(".")
        if owner == "counter":
            return self._counter(line, name)
        if line.field in self.settings.derived:
            return self._derived(line, owner)
        column = self._column(owner, name)
        if column is not None:
            return _text(line, column)
        return self._declared(line, attribute(_table(owner), name, line.kind))

    def _column(self, owner: str, name: str) -> ColumnElement[Any] | None:
        """What a field has of its own; None for one that is among the attributes."""
        if owner != "contact":
            return _record.key if name == "key" else None
        if name == "timezone":
            return func.coalesce(contacts.c.zone, self.settings.timezone)
        return contacts.c[name] if name in COLUMNS else None

    def _derived(self, line: FieldCondition, owner: str) -> ColumnElement[bool]:
        derived = self.settings.derived[line.field]
        if isinstance(derived, Total):
            return self._total(line, owner, derived)
        if not isinstance(derived, DateField):
            return self._kept(line, DateField(line.field, ()))
        if derived.field in self.settings.derived:
            return self._kept(line, derived)
        source = derived.field.partition(".")[2]
        stored = json_text(_table(owner).c.attributes, source)
        return self._dated(line, stored, derived.steps)

    def _declared(
        self,
        line: FieldCondition,
        value: ColumnElement[Any],
    ) -> ColumnElement[bool]:
        if line.comparison in ("known", "unknown"):
            return _known(line, value)
        if line.kind in NUMERIC:
            return _compare(line, value)
        if line.kind == "yes or no":
            wanted = {1 if written.casefold() in YES else 0 for written in line.values}
            return value.in_(sorted(wanted))
        if line.kind == "date":
            return self._dated(line, value, ())
        return _text(line, value)

    def _dated(
        self,
        line: FieldCondition,
        value: ColumnElement[Any],
        steps: tuple[Any, ...],
    ) -> ColumnElement[bool]:
        if line.comparison in ("known", "unknown"):
            return _known(line, value)
        if line.comparison == "is":
            days = [date.fromisoformat(written[:10]) for written in line.values]
            on_days = (_between(value, day, day + DAY, steps) for day in days)
            return or_(false(), *on_days)
        first, end = day_range(line, self.today)
        return _between(value, first, end, steps)

    def _kept(self, line: FieldCondition, derived: DateField) -> ColumnElement[bool]:
        """A derived date that is kept with the stored ones."""
        field: ColumnElement[Any] = _date.field
        if self.among is not None:
            # Of a few contacts, their dates are looked through, and not all that are
            # near a day.
            field = func.coalesce(field, "")
        owner = _owned_by(line.field.partition(".")[0])
        of_field = select(_date.contact_id).where(field == derived.field, owner)
        if line.comparison == "known":
            return self._in(of_field)
        if line.comparison == "unknown":
            return not_(self._in(of_field))
        wanted = self._dated(line, _date.day, derived.steps)
        return self._in(of_field.where(wanted))

    # --- numbers: 0 for whoever has no row

    def _counter(self, line: FieldCondition, counter: str) -> ColumnElement[bool]:
        of_counter = select(counters.c.contact_id).where(counters.c.counter == counter)
        wanted = _wanted(line, counters.c.balance)
        return self._numbered(line, of_counter.where(wanted))

    def _total(
        self,
        line: FieldCondition,
        owner: str,
        total: Total,
    ) -> ColumnElement[bool]:
        counted = [
            _event.name == total.event,
            _event.at <= self.now,
        ]
        if total.span:
            counted.append(self._since(total.span))
        if owner != "contact":
            counted.append(_event.record_id == _record.id)
        contact = _event.contact_id
        by_contact = select(contact).where(*counted).group_by(contact)
        return self._numbered(line, by_contact.having(_wanted(line, amount(total))))

    def _numbered(
        self,
        line: FieldCondition,
        found: Select[Any],
    ) -> ColumnElement[bool]:
        """Those who have a row and fit; if 0 fits, all but those who do not."""
        if line.comparison == "known":
            return true()
        if line.comparison == "unknown":
            return false()
        return not_(self._in(found)) if _fits_zero(line) else self._in(found)

    # --- verbs

    def _member(self, segment: str) -> ColumnElement[bool]:
        own = segment_members.c.segment == segment
        return self._in(select(segment_members.c.contact_id).where(own))

    def _holds(self, coupon: str) -> ColumnElement[bool]:
        good = or_(_coupon.expires.is_(None), _coupon.expires >= self.today.isoformat())
        held = select(_coupon.contact_id).where(
            _coupon.contact_id.is_not(None),
            _coupon.coupon == coupon,
            _coupon.redeemed_at.is_(None),
            good,
        )
        return self._in(held)

    def _subscribed(self, key: str) -> ColumnElement[bool]:
        topic = self.settings.topics[key]
        said = select(_consent.contact_id).where(_consent.topic == key)
        given = self._in(said.where(_consent.given))
        if topic.opt_in != "implied":
            return given
        silent = not_(self._in(said.where(not_(_consent.given))))
        return or_(given, self._implied(topic.expires, silent))

    def _implied(
        self,
        expires: Duration | None,
        silent: ColumnElement[bool],
    ) -> ColumnElement[bool]:
        # A sign-up for one topic implies no other.
        known = contacts.c.id.not_in(select(sign_ups.c.contact_id))
        implied = and_(silent, known)
        if not expires:
            return implied
        lately = select(_event.contact_id).where(self._since(expires))
        return and_(implied, self._in(lately))

    def _did(self, did: Did) -> ColumnElement[bool]:
        found = select(_event.contact_id).where(*self._such(did))
        if did.times > 1:
            by_contact = found.group_by(_event.contact_id)
            found = by_contact.having(func.count() >= did.times)
        return self._in(found)

    def _such(self, did: Did) -> list[ColumnElement[bool]]:
        such = [
            _event.name == did.event,
            _event.at <= self.now,
        ]
        if did.span is not None:
            such.append(self._since(did.span))
        for name, value in did.matching:
            said = folded(json_text(_event.fields, name))
            such.append(said == value.casefold())
        if self.record is not None:
            # What names no record counts for each of them.
            such.append(_event.record_id.in_([literal(0), _record.id]))
        return such


def listed(among: str) -> Select[Any]:
    """These contacts, as `numbers` writes them."""
    return listed_in("among").params(among=among)


def hangs_on_today(condition: Condition) -> bool:
    """Whether what holds depends on which day it is for the contact."""
    return any(map(_hangs_on_today, leaves(condition)))


def _hangs_on_today(leaf: Condition) -> bool:
    if isinstance(leaf, FieldCondition):
        return leaf.comparison in FROM_TODAY
    return isinstance(leaf, HoldsCoupon)


def attribute(table: Table, name: str, kind: FieldKind) -> ColumnElement[Any]:
    """A declared field, as its kind is compared."""
    if kind in NUMERIC:
        return json_number(table.c.attributes, name)
    if kind == "yes or no":
        return json_flag(table.c.attributes, name)
    return json_text(table.c.attributes, name)


def _table(owner: str) -> Table:
    return contacts if owner == "contact" else records


def _owned_by(owner: str) -> ColumnElement[bool]:
    if owner != "contact":
        return _date.record_id == _record.id
    # Nearly all dates are of no record: an index that begins with it finds nothing
    # faster, and by a sum none serves.
    return _date.record_id + 0 == 0


def _known(line: FieldCondition, value: ColumnElement[Any]) -> ColumnElement[bool]:
    return value.is_not(None) if line.comparison == "known" else value.is_(None)


def _text(line: FieldCondition, value: ColumnElement[Any]) -> ColumnElement[bool]:
    if line.comparison in ("known", "unknown"):
        return _known(line, value)
    wanted = [written.casefold() for written in line.values]
    if line.comparison == "includes":
        return includes(folded(value), wanted[0])
    if line.comparison == "starts with":
        return _begins_with(folded(value), wanted[0])
    return folded(value).in_(wanted)


def _begins_with(value: ColumnElement[Any], beginning: str) -> ColumnElement[bool]:
    # A range, which an index serves.
    after_last = beginning + LAST
    return and_(
        value >= beginning,
        value < after_last,
    )


def _between(
    value: ColumnElement[Any],
    first: date | None,
    end: date | None,
    steps: tuple[Any, ...],
) -> ColumnElement[bool]:
    """Whether a date, once moved by `steps`, lies from `first` on and before `end`."""
    bounds: list[ColumnElement[bool]] = [value.is_not(None)]
    if first is not None:
        bounds.append(value >= first_source(first, steps).isoformat())
    if end is not None:
        bounds.append(value < first_source(end, steps).isoformat())
    return and_(*bounds)


_NUMBERS: Mapping[str, Callable[[Any, list[float]], Any]] = {
    "is": lambda value, wanted: value.in_(wanted),
    "at least": lambda value, wanted: value >= wanted[0],
    "at most": lambda value, wanted: value <= wanted[0],
    "more than": lambda value, wanted: value > wanted[0],
    "less than": lambda value, wanted: value < wanted[0],
    "between": lambda value, wanted: and_(
        value >= wanted[0],
        value <= wanted[1],
    ),
}


def _compare(line: FieldCondition, value: ColumnElement[Any]) -> ColumnElement[bool]:
    wanted = [float(parse_number(written)) for written in line.values]
    compared: ColumnElement[bool] = _NUMBERS[line.comparison](value, wanted)
    return compared


def _wanted(line: FieldCondition, number: ColumnElement[Any]) -> ColumnElement[bool]:
    """Rows that fit; where 0 fits, those that do not, to be left out."""
    if line.comparison in ("known", "unknown"):
        return true()
    fits = _compare(line, number)
    return not_(fits) if _fits_zero(line) else fits


def _fits_zero(line: FieldCondition) -> bool:
    wanted = [parse_number(written) for written in line.values]
    match line.comparison:
        case "is":
            return 0 in wanted
        case "at least":
            return wanted[0] <= 0
        case "at most":
            return wanted[0] >= 0
        case "more than":
            return wanted[0] < 0
        case "less than":
            return wanted[0] > 0
        case _:
            return wanted[0] <= 0 <= wanted[1]
