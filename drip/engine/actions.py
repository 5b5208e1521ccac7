"""What steps do beside sending: tasks, coupons, points, consents, tags, fields, pauses.

Each is worked out here as a value, an effect. It is stored in the transaction that moves the run on, once, whatever
happens around it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any

from drip.core.calendar import business_shift, later, local, shift, zone
from drip.core.settings import Settings
from drip.core.steps import (
    Action,
    AddPoints,
    IssueCoupon,
    PauseTopics,
    SetConsent,
    SetFields,
    SetTag,
    Task,
)
from drip.core.token import coupon_code
from drip.engine.deriving import Owner, guess_zone, kept_dates
from drip.engine.effects import (
    CodeIssued,
    ConsentSaid,
    CounterMoved,
    FieldsSet,
    Retagged,
    StepEffect,
    TaskGiven,
    TopicsPaused,
)
from drip.engine.passages import Passage
from drip.storage.people.consents import Consent
from drip.storage.people.loyalty import HIGHEST, Code, Movement
from drip.storage.people.people import PLAIN, Contact, Record


def effect_of(step: Action, passage: Passage, now: datetime) -> StepEffect | None:
    """What a step does to the contact; None if there is nothing to do, or it was done before."""
    match step:
        case Task():
            return _task(step, passage, now)
        case IssueCoupon():
            return _code(step, passage, now)
        case AddPoints():
            return _points(step, passage, now)
        case SetConsent():
            return _consent(step, passage, now)
        case SetTag():
            return _tags(step, passage)
        case SetFields():
            return _fields(step, passage)
        case PauseTopics():
            return _pause(step, passage, now)


def _task(step: Task, passage: Passage, now: datetime) -> TaskGiven:
    run, contact, facts = passage.run, passage.contact, passage.facts
    codes = facts.codes.get(run.id, ())
    values = facts.context(contact, passage.record, passage.heard, codes)
    due = _due_day(step, facts.settings, now)
    row = {
        "run_id": run.id,
        "step": step.id,
        "contact_id": contact.id,
        "assign_to": step.assign_to,
        "priority": step.priority,
        "created_at": now,
        "due": due.isoformat() if due else None,
        "state": "open",
        "place": str(step.place),
    }
    return TaskGiven(step.title, values, row)


def _due_day(step: Task, settings: Settings, now: datetime) -> date | None:
    """Until when the work has to be done, on the workspace's calendar."""
    if step.due is None:
        return None
    where = zone(settings.timezone)
    if step.due.seconds:
        return local(later(now, step.due, where), where).date()
    today = local(now, where).date()
    return business_shift(shift(today, step.due), step.due.business, settings.holidays)


def _code(step: IssueCoupon, passage: Passage, now: datetime) -> CodeIssued | None:
    run, facts = passage.run, passage.facts
    if any(code.step == step.id for code in facts.codes.get(run.id, ())):
        return None
    taken = None
    if facts.settings.coupons[step.coupon].codes == "unique":
        text = _made(step, passage)
    else:
        stock = facts.stock[step.coupon]
        if not stock:
            return None
        taken = stock[0]
        text = taken.code
    # From when the step was due: a run that comes late has a coupon that has been running.
    where = facts.zone_of(passage.contact)
    expires = last_day(step, run.since, where, facts.settings)
    owner = passage.contact.id
    code = Code(step.coupon, text, owner, run.id, step.id, now, expires, None)
    return CodeIssued(run.id, owner, code, taken)


def _made(step: IssueCoupon, passage: Passage) -> str:
    """A code of the run's own: the same one on every try."""
    run, key = passage.run, passage.facts.code_key
    assert key, "a campaign that issues codes asks for the key"
    prefix = passage.facts.settings.coupons[step.coupon].prefix
    # A run's number never changes, while its occurrence moves with its date.
    return coupon_code(prefix, f"{key.workspace}/{run.id}/{step.id}", key.secret)


def _points(step: AddPoints, passage: Passage, now: datetime) -> CounterMoved | None:
    run, contact = passage.run, passage.contact
    stands = passage.facts.balances(contact.id).get(step.counter, 0)
    after = stands + step.amount
    if after < 0 or (run.id, step.id) in passage.facts.counted:
        return None
    movement = Movement(contact.id, step.amount, now, run_id=run.id, step=step.id)
    return CounterMoved(step.counter, movement, min(after, HIGHEST))


def _consent(step: SetConsent, passage: Passage, now: datetime) -> ConsentSaid:
    contact = passage.contact
    said = tuple(
        Consent(contact.id, step.topic, channel, step.given, now)
        for channel in step.channels
    )
    newest_first = reversed(list(passage.heard.values()))
    proofs = (dict(event.fields) for event in newest_first if event.fields)
    source = f"campaign {passage.campaign.key}, step {step.id}"
    return ConsentSaid(contact, said, source, next(proofs, None))


def _tags(step: SetTag, passage: Passage) -> Retagged | None:
    own = passage.facts.tags(passage.contact.id)
    new = tuple(tag for tag in step.tags if (tag in own) != step.on)
    return Retagged(passage.contact.id, new, step.on) if new else None


def _fields(step: SetFields, passage: Passage) -> FieldsSet:
    contact, record = passage.contact, passage.record
    contact = replace(contact, attributes=dict(contact.attributes))
    record = record and replace(record, attributes=dict(record.attributes))
    for full, value in step.values.items():
        owner, _, name = full.partition(".")
        if owner == "contact" and name in PLAIN:
            setattr(contact, name, value)
        elif owner == "contact":
            _put(contact.attributes, name, value)
        elif record:
            _put(record.attributes, name, value)
    contact.zone = guess_zone(contact) if _moves(step) else contact.zone
    return FieldsSet(contact, record, _kept(passage, contact, record))


def _moves(step: SetFields) -> bool:
    """Whether it sets what says where somebody lives."""
    return any(full in PLAIN_FIELDS for full in step.values)


PLAIN_FIELDS = frozenset(f"contact.{name}" for name in PLAIN)


def _put(attributes: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        attributes.pop(name, None)
    else:
        attributes[name] = value


def _kept(
    passage: Passage, contact: Contact, record: Record | None
) -> dict[Owner, dict[str, date]]:
    """The derived dates that follow from the fields as they are now, of those owners that have any."""
    settings, origins = passage.facts.settings, passage.facts.origins
    owned = {(contact.id, 0): ("contact", contact.attributes)}
    if record:
        owned[record.contact_id, record.id] = (record.kind, record.attributes)
    return {
        owner: kept_dates(
            settings,
            kind,
            replace(origins[owner], values=settings.load(kind, attributes)),
        )
        for owner, (kind, attributes) in owned.items()
        if owner in origins
    }


def _pause(step: PauseTopics, passage: Passage, now: datetime) -> TopicsPaused:
    holidays = passage.facts.settings.holidays
    until = later(now, step.duration, passage.zone, holidays)
    return TopicsPaused(passage.contact.id, step.topics, until, str(step.place))


def last_day(
    step: IssueCoupon, since: datetime, where: str, settings: Settings
) -> str | None:
    """The last day on which a code is good that is issued at an instant to somebody in a zone; None for ever."""
    if step.expires is None:
        return None
    today = local(since, zone(where)).date()
    good_until = business_shift(
        shift(today, step.expires), step.expires.business, settings.holidays
    )
    return good_until.isoformat()
