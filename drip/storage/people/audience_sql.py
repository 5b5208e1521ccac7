"""The SQL reader of conditions: who is in. `core.conditions.why_not` is the Python reader; they agree on everyone.

Where an index can serve, a line becomes a comparison that it serves, or a subquery that begins with one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    Table,
    and_,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
)

from drip.core.calendar import first_source, local, zone
from drip.core.conditions import (
    FROM_TODAY,
    All,
    Condition,
    Did,
    FieldCondition,
    HoldsCoupon,
    Member,
    Not,
    Rank,
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
    PEOPLE,
    consents,
    contacts,
    counters,
    coupons,
    dates,
    events,
    ordinary,
    records,
    segment_members,
    sign_ups,
    tags,
)
from drip.storage.base.sql import (
    Prepared,
    folded,
    includes,
    json_flag,
    json_number,
    json_text,
    listed_in,
    numbers,
)
from drip.storage.people.history import amount
from drip.storage.people.people import COLUMNS

DAY = timedelta(days=1)
NUMERIC = ("number", "money")
# Nearly everybody's is another one, or there is an index already.
UNINDEXED = ("key", "email", "phone", "timezone")
# The last text that begins with a text.
LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads conditions at an instant, for contacts whose local day is `today`, about a kind of record or none.

    Of some contacts only (`among`, as `numbers` writes them), nobody else's rows are looked at.
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
                return and_(true(), *(self.where(part) for part in parts))
            case AnyOf(parts):
                return or_(false(), *(self.where(part) for part in parts))
            case Not(part):
                # What is unknown is not so.
                return not_(func.coalesce(self.where(part), false()))
            case FieldCondition():
                return self._line(condition)
            case Subscribed(topic):
                return self._subscribed(topic)
            case Member(name):
                return self._in(
                    select(segment_members.c.contact_id).where(
                        segment_members.c.segment == name
                    )
                )
            case Tagged(wanted):
                return self._in(select(tags.c.contact_id).where(tags.c.tag.in_(wanted)))
            case HoldsCoupon(coupon):
                good = or_(
                    coupons.c.expires.is_(None),
                    coupons.c.expires >= self.today.isoformat(),
                )
                where = (
                    coupons.c.coupon == coupon,
                    coupons.c.redeemed_at.is_(None),
                    good,
                )
                return self._in(
                    select(coupons.c.contact_id).where(
                        coupons.c.contact_id.is_not(None), *where
                    )
                )
            case Did():
                return self._did(condition)

    def _in(self, statement: Select[Any]) -> ColumnElement[bool]:
        if self.among is not None:
            statement = statement.where(
                statement.selected_columns[0].in_(_listed(self.among))
            )
        return contacts.c.id.in_(statement)

    # --- fields

    def _line(self, line: FieldCondition) -> ColumnElement[bool]:
        owner, _, name = line.field.partition(".")
        if owner == "counter":
            of_these = select(counters.c.contact_id).where(counters.c.counter == name)
            return self._numbered(line, of_these, counters.c.balance, None)
        derived = self.settings.derived.get(line.field)
        if isinstance(derived, Total):
            return self._total(line, owner, derived)
        if isinstance(derived, DateField):
            source = derived.field.partition(".")[2]
            if derived.field in self.settings.derived:
                return self._kept(line, derived)
            table = contacts if owner == "contact" else records
            return self._dated(
                line, json_text(table.c.attributes, source), derived.steps
            )
        if derived is not None:
            return self._kept(line, DateField(line.field, ()))
        if owner == "contact" and name in (*COLUMNS, "timezone"):
            home = func.coalesce(contacts.c.zone, self.settings.timezone)
            return self._text(line, home if name == "timezone" else contacts.c[name])
        if owner != "contact" and name == "key":
            return self._text(line, records.c.key)
        return self._declared(
            line,
            _attribute(contacts if owner == "contact" else records, name, line.kind),
        )

    def _declared(
        self, line: FieldCondition, value: ColumnElement[Any]
    ) -> ColumnElement[bool]:
        if line.comparison in ("known", "unknown"):
            return value.is_not(None) if line.comparison == "known" else value.is_(None)
        if line.kind in NUMERIC:
            return _compare(line, value)
        if line.kind == "yes or no":
            wanted = {1 if written.casefold() in YES else 0 for written in line.values}
            return value.in_(sorted(wanted))
        if line.kind == "date":
            return self._dated(line, value, ())
        return self._text(line, value)

    def _text(
        self, line: FieldCondition, value: ColumnElement[Any]
    ) -> ColumnElement[bool]:
        match line.comparison:
            case "known":
                return value.is_not(None)
            case "unknown":
                return value.is_(None)
            case "includes":
                return includes(folded(value), line.values[0].casefold())
            case "starts with":
                start = line.values[0].casefold()
                return and_(folded(value) >= start, folded(value) < start + LAST)
            case _:
                return folded(value).in_(
                    [written.casefold() for written in line.values]
                )

    def _dated(
        self, line: FieldCondition, value: ColumnElement[Any], steps: tuple[Any, ...]
    ) -> ColumnElement[bool]:
        match line.comparison:
            case "known":
                return value.is_not(None)
            case "unknown":
                return value.is_(None)
            case "is":
                days = [date.fromisoformat(written[:10]) for written in line.values]
                return or_(
                    false(), *(_between(value, day, day + DAY, steps) for day in days)
                )
        first, end = day_range(line, self.today)
        return _between(value, first, end, steps)

    def _kept(self, line: FieldCondition, derived: DateField) -> ColumnElement[bool]:
        """A derived date that is kept with the stored ones."""
        # Of a few contacts, their dates are looked through, and not all that are near a day.
        field = (
            dates.c.field if self.among is None else func.coalesce(dates.c.field, "")
        )
        of_field = select(dates.c.contact_id).where(field == derived.field)
        owner = self._owner(line.field.partition(".")[0], dates.c.record_id)
        if line.comparison in ("known", "unknown"):
            known = self._in(of_field.where(owner))
            return known if line.comparison == "known" else not_(known)
        return self._in(
            of_field.where(owner, self._dated(line, dates.c.day, derived.steps))
        )

    def _owner(self, owner: str, column: ColumnElement[int]) -> ColumnElement[bool]:
        # Nearly all dates are of no record: an index that begins with it finds nothing faster.
        return column + 0 == 0 if owner == "contact" else column == records.c.id

    def _total(
        self, line: FieldCondition, owner: str, total: Total
    ) -> ColumnElement[bool]:
        where = [events.c.name == total.event, events.c.at <= self.now]
        if total.span:
            where.append(
                events.c.at
                >= first_instant(total.span, self.now, self.settings.timezone)
            )
        if owner != "contact":
            where.append(events.c.record_id == records.c.id)
        grouped = (
            select(events.c.contact_id).where(*where).group_by(events.c.contact_id)
        )
        return self._numbered(line, grouped, None, amount(total))

    def _numbered(
        self,
        line: FieldCondition,
        rows: Select[Any],
        value: ColumnElement[Any] | None,
        grouped: ColumnElement[Any] | None,
    ) -> ColumnElement[bool]:
        """A number that is 0 for whoever has no row: those who have one and fit, or all but those who do not."""
        if line.comparison in ("known", "unknown"):
            return true() if line.comparison == "known" else false()
        number = value if value is not None else grouped
        assert number is not None
        fits = _compare(line, number)
        wanted = not_(fits) if _fits_zero(line) else fits
        found = rows.where(wanted) if value is not None else rows.having(wanted)
        return not_(self._in(found)) if _fits_zero(line) else self._in(found)

    # --- verbs

    def _subscribed(self, key: str) -> ColumnElement[bool]:
        topic = self.settings.topics[key]
        said = select(consents.c.contact_id).where(consents.c.topic == key)
        given = self._in(said.where(consents.c.given))
        if topic.opt_in != "implied":
            return given
        silent = not_(self._in(said.where(not_(consents.c.given))))
        # A sign-up for one topic implies no other.
        silent = and_(silent, contacts.c.id.not_in(select(sign_ups.c.contact_id)))
        if topic.expires:
            since = first_instant(topic.expires, self.now, self.settings.timezone)
            silent = and_(
                silent,
                self._in(select(events.c.contact_id).where(events.c.at >= since)),
            )
        return or_(given, silent)

    def _did(self, did: Did) -> ColumnElement[bool]:
        where = [events.c.name == did.event, events.c.at <= self.now]
        if did.span is not None:
            where.append(
                events.c.at >= first_instant(did.span, self.now, self.settings.timezone)
            )
        for name, value in did.matching:
            where.append(folded(json_text(events.c.fields, name)) == value.casefold())
        if self.record is not None:
            where.append(events.c.record_id.in_([literal(0), records.c.id]))
        found = select(events.c.contact_id).where(*where)
        if did.times > 1:
            found = found.group_by(events.c.contact_id).having(
                func.count() >= did.times
            )
        return self._in(found)


def _between(
    value: ColumnElement[Any],
    first: date | None,
    end: date | None,
    steps: tuple[Any, ...],
) -> ColumnElement[bool]:
    """Whether a date, once moved by `steps`, lies from `first` up to, not including, `end`."""
    bounds = []
    if first is not None:
        bounds.append(value >= first_source(first, steps).isoformat())
    if end is not None:
        bounds.append(value < first_source(end, steps).isoformat())
    return and_(value.is_not(None), *bounds)


_NUMBERS: Mapping[str, Callable[[Any, list[float]], Any]] = {
    "is": lambda value, wanted: value.in_(wanted),
    "at least": lambda value, wanted: value >= wanted[0],
    "at most": lambda value, wanted: value <= wanted[0],
    "more than": lambda value, wanted: value > wanted[0],
    "less than": lambda value, wanted: value < wanted[0],
    "between": lambda value, wanted: and_(value >= wanted[0], value <= wanted[1]),
}


def _compare(line: FieldCondition, value: ColumnElement[Any]) -> ColumnElement[bool]:
    compared: ColumnElement[bool] = _NUMBERS[line.comparison](
        value, [float(parse_number(each)) for each in line.values]
    )
    return compared


def _fits_zero(line: FieldCondition) -> bool:
    wanted = [parse_number(each) for each in line.values]
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


def hangs_on_today(condition: Condition) -> bool:
    """Whether what holds depends on which day it is for the contact."""
    return any(
        isinstance(each, HoldsCoupon)
        or (isinstance(each, FieldCondition) and each.comparison in FROM_TODAY)
        for each in leaves(condition)
    )


def _zones() -> CompoundSelect[Any]:
    """From each zone to the next one by the index, rather than through everybody."""
    zone = contacts.c.zone
    found = select(func.min(zone).label("zone")).cte("found", recursive=True)
    following = select(func.min(zone)).where(zone > found.c.zone).scalar_subquery()
    found = found.union_all(select(following).where(found.c.zone.is_not(None)))
    homeless = select(zone).where(zone.is_(None)).limit(1).subquery()
    return (
        select(found.c.zone)
        .where(found.c.zone.is_not(None))
        .union_all(select(homeless.c.zone))
    )


_ZONES = Prepared(_zones())


def zones(connection: Connection) -> list[str | None]:
    """The zones that contacts live in; None is the workspace's."""
    return [row[0] for row in _ZONES.rows(connection)]


def days_of_zones(
    settings: Settings, names: Iterable[str | None], now: datetime
) -> dict[date, list[str | None]]:
    """The zones by the day that it is there."""
    found: dict[date, list[str | None]] = {}
    for name in names:
        found.setdefault(local(now, zone(name or settings.timezone)).date(), []).append(
            name
        )
    return found


def in_zones(names: Collection[str | None]) -> ColumnElement[bool]:
    """Contacts who live in one of these zones; None stands for the workspace's."""
    listed = contacts.c.zone.in_([name for name in names if name is not None])
    return or_(listed, contacts.c.zone.is_(None)) if None in names else listed


def where(
    settings: Settings, condition: Condition | None, now: datetime
) -> ColumnElement[bool]:
    """The people, and a condition that hangs on nobody's day, or none at all, over `contacts`."""
    if condition is None:
        return PEOPLE
    return and_(
        PEOPLE,
        Reader(settings, now, local(now, zone(settings.timezone)).date()).where(
            condition
        ),
    )


def matching(
    connection: Connection,
    settings: Settings,
    condition: Condition,
    now: datetime,
    among: Collection[int] | None = None,
) -> set[int]:
    """The contacts for whom a condition holds, of all or `among` some."""
    few = numbers(among) if among is not None else None
    found: set[int] = set()
    for statement in statements(connection, settings, condition, now, few):
        found.update(connection.scalars(statement).all())
    return found


def _listed(among: str) -> Select[Any]:
    return listed_in("among").params(among=among)


def statements(
    connection: Connection,
    settings: Settings,
    condition: Condition,
    now: datetime,
    among: str | None = None,
) -> Iterator[Select[Any]]:
    """What asks for the contacts for whom a condition holds: one question, or one for each day that it is somewhere."""
    of_all = select(contacts.c.id).where(PEOPLE)
    if among is not None:
        of_all = of_all.where(contacts.c.id.in_(_listed(among)))
    if not hangs_on_today(condition):
        today = local(now, zone(settings.timezone)).date()
        yield of_all.where(Reader(settings, now, today, among=among).where(condition))
        return
    groups = days_of_zones(settings, zones(connection), now)
    for today, names in sorted(groups.items()):
        where = Reader(settings, now, today, among=among).where(condition)
        everybody = len(groups) == 1
        # A day is that of most contacts, so the index of zones is kept out of the way of better ones.
        here = func.coalesce(contacts.c.zone, settings.timezone).in_(
            [name or settings.timezone for name in names]
        )
        yield of_all.where(where) if everybody else of_all.where(where, here)


def standings(
    connection: Connection, settings: Settings, field: str, now: datetime
) -> Sequence[tuple[int, float]]:
    """All contacts and their number where that is above zero, the highest first; of equals the one known longer."""
    return [
        (row[0], row[1])
        for row in connection.execute(_numbers(settings, field, now)).all()
    ]


def stands_still(
    connection: Connection,
    settings: Settings,
    rank: Rank,
    before: datetime,
    now: datetime,
) -> bool:
    """Whether a rank is the same at `now` as it was `before`, if no event has come in since.

    That of a total is, unless events have grown too old for it, or happened only now.
    """
    total = settings.derived.get(rank.field)
    if not isinstance(total, Total):
        return False
    turned = [(before, now)]
    if total.span:
        earlier, later = (
            first_instant(total.span, at, settings.timezone) for at in (before, now)
        )
        turned.append((earlier, later))
    # Asked one by one, so that each is a look-up in the index.
    return not any(
        connection.execute(
            select(events.c.id)
            .where(events.c.name == total.event, events.c.at.between(first, last))
            .limit(1)
        ).first()
        for first, last in turned
    )


def ranked(rank: Rank, rows: Sequence[tuple[int, float]]) -> set[int]:
    """The best of these `standings`: so many heads, or as many as make that share of the sum."""
    if rank.kind == "top":
        # Half a head counts as one, and somebody is always best.
        heads = max(1, int(len(rows) * rank.percent / 100 + 0.5)) if rows else 0
        return {contact_id for contact_id, _ in rows[:heads]}
    wanted = sum(number for _, number in rows) * rank.percent / 100
    found: set[int] = set()
    reached = 0.0
    for contact_id, number in rows:
        if reached >= wanted:
            break
        found.add(contact_id)
        reached += number
    return found


def _numbers(settings: Settings, field: str, now: datetime) -> Select[Any]:
    """Contacts and their number, the highest first; of equals the one known longer."""
    owner, _, name = field.partition(".")
    derived = settings.derived.get(field)
    if owner == "counter":
        number: Any = counters.c.balance
        statement = select(counters.c.contact_id, number).where(
            counters.c.counter == name, number > 0
        )
        statement = statement.where(ordinary(counters.c.contact_id))
        return statement.order_by(number.desc(), counters.c.contact_id)
    if isinstance(derived, Total):
        where = [events.c.name == derived.event, events.c.at <= now]
        if derived.span:
            where.append(
                events.c.at >= first_instant(derived.span, now, settings.timezone)
            )
        number = amount(derived)
        statement = (
            select(events.c.contact_id, number.label("number"))
            .where(*where)
            .group_by(events.c.contact_id)
        )
        # Of each contact once, and not of each event.
        statement = statement.having(number > 0, ordinary(events.c.contact_id))
        return statement.order_by(literal_column("number").desc(), events.c.contact_id)
    number = json_number(contacts.c.attributes, name)
    statement = select(contacts.c.id, number).where(number > 0, PEOPLE)
    return statement.order_by(number.desc(), contacts.c.id)


def attribute_indexes(
    settings: Settings, conditions: Iterable[Condition]
) -> dict[str, ColumnElement[Any]]:
    """The expressions over contacts by which these conditions are served, by the names of their indexes."""
    wanted: dict[str, ColumnElement[Any]] = {}
    for condition in conditions:
        for each in leaves(condition):
            field = _ranked_or_compared(each)
            owner, _, name = field.partition(".")
            derived = settings.derived.get(field)
            if isinstance(derived, DateField) and derived.field not in settings.derived:
                name = derived.field.partition(".")[2]
            elif derived is not None:
                continue
            if owner != "contact" or name in UNINDEXED:
                continue
            kind = each.kind if isinstance(each, FieldCondition) else "number"
            if name in COLUMNS:
                wanted[f"attribute_{name}_folded"] = folded(contacts.c[name])
            elif kind in ("text", "country", "choice", "birthday"):
                wanted[f"attribute_{name}_folded"] = folded(
                    json_text(contacts.c.attributes, name)
                )
            else:
                wanted[f"attribute_{name}_{kind.replace(' ', '_')}"] = _attribute(
                    contacts, name, kind
                )
    return wanted


def _attribute(table: Table, name: str, kind: FieldKind) -> ColumnElement[Any]:
    """A declared field, as its kind is compared."""
    if kind in NUMERIC:
        return json_number(table.c.attributes, name)
    return (json_flag if kind == "yes or no" else json_text)(table.c.attributes, name)


def _ranked_or_compared(condition: Condition) -> str:
    """The field that a line is about; nothing for verbs."""
    if isinstance(condition, FieldCondition):
        return condition.field
    return (
        condition.rank.field if isinstance(condition, Member) and condition.rank else ""
    )
