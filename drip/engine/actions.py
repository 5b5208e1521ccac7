"""What steps do beside sending: tasks, coupons, points, consents, tags, fields, pauses.

Each is worked out here as a value, an effect. It is stored in the transaction that
moves the run on, once, whatever happens around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from drip.core.calendar import business_shift, later, local, shift, zone
from drip.core.fields import Stored
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
from drip.storage.people.contacts import PLAIN, Contact
from drip.storage.people.counters import HIGHEST, Movement
from drip.storage.people.coupons import Code, InStock
from drip.storage.people.records import Record

# Fields of a contact that are columns of their own, by full name.
PLAIN_FIELDS = {f"contact.{name}": name for name in PLAIN}


def effect_of(
    step: Action,
    passage: Passage,
    now: datetime,
) -> StepEffect | None:
    """What a step does to the contact; None if there is nothing to do, or it was done
    before."""
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


def _task(
    step: Task,
    passage: Passage,
    now: datetime,
) -> TaskGiven:
    due = _due_day(step, passage.facts.settings, now)
    row = {
        "run_id": passage.run.id,
        "step": step.id,
        "contact_id": passage.contact.id,
        "assign_to": step.assign_to,
        "priority": step.priority,
        "created_at": now,
        "due": due.isoformat() if due else None,
        "state": "open",
        "place": str(step.place),
    }
    return TaskGiven(step.title, _title_values(passage), row)


def _title_values(passage: Passage) -> dict[str, Any]:
    """What the title of a task can name: the same as texts."""
    facts = passage.facts
    return facts.context(
        passage.contact,
        passage.record,
        passage.heard,
        facts.codes.get(passage.run.id, ()),
    )


def _due_day(
    step: Task,
    settings: Settings,
    now: datetime,
) -> date | None:
    """Until when the work has to be done, on the workspace's calendar."""
    if step.due is None:
        return None
    where = zone(settings.timezone)
    if step.due.seconds:
        return local(later(now, step.due, where), where).date()
    today = local(now, where).date()
    return business_shift(shift(today, step.due), step.due.business, settings.holidays)


def _code(
    step: IssueCoupon,
    passage: Passage,
    now: datetime,
) -> CodeIssued | None:
    if _has_code(step, passage):
        return None
    coupon = passage.facts.settings.coupons[step.coupon]
    if coupon.codes == "unique":
        return _issued(
            step,
            passage,
            _made(step, passage),
            now,
        )
    stock = passage.facts.stock[step.coupon]
    if not stock:
        return None
    return _issued(
        step,
        passage,
        stock[0].code,
        now,
        stock[0],
    )


def _has_code(step: IssueCoupon, passage: Passage) -> bool:
    codes = passage.facts.codes.get(passage.run.id, ())
    return any(code.step == step.id for code in codes)


def _issued(
    step: IssueCoupon,
    passage: Passage,
    text: str,
    now: datetime,
    taken: InStock | None = None,
) -> CodeIssued:
    run, facts, owner = passage.run, passage.facts, passage.contact
    # From when the step was due: a run that comes late has a coupon that has been
    # running.
    expires = last_day(
        step,
        run.since,
        facts.zone_of(owner),
        facts.settings,
    )
    code = Code(
        coupon=step.coupon,
        code=text,
        contact_id=owner.id,
        run_id=run.id,
        step=step.id,
        issued_at=now,
        expires=expires,
        redeemed_at=None,
    )
    return CodeIssued(
        run.id,
        owner.id,
        code,
        taken,
    )


def _made(step: IssueCoupon, passage: Passage) -> str:
    """A code of the run's own: the same one on every try."""
    run, key = passage.run, passage.facts.code_key
    assert key, "a campaign that issues codes asks for the key"
    prefix = passage.facts.settings.coupons[step.coupon].prefix
    # A run's number never changes, while its occurrence moves with its date.
    return coupon_code(prefix, f"{key.workspace}/{run.id}/{step.id}", key.secret)


def _points(
    step: AddPoints,
    passage: Passage,
    now: datetime,
) -> CounterMoved | None:
    run, contact = passage.run, passage.contact
    stands = passage.facts.balances(contact.id).get(step.counter, 0)
    after = stands + step.amount
    # Nobody owes points; and a step that is judged again counts once.
    if after < 0 or (run.id, step.id) in passage.facts.counted:
        return None
    movement = Movement(
        contact.id,
        step.amount,
        now,
        run_id=run.id,
        step=step.id,
    )
    return CounterMoved(step.counter, movement, min(after, HIGHEST))


def _consent(
    step: SetConsent,
    passage: Passage,
    now: datetime,
) -> ConsentSaid:
    contact = passage.contact
    said = tuple(
        Consent(
            contact.id,
            step.topic,
            channel,
            step.given,
            now,
        )
        for channel in step.channels
    )
    # Consent has to be proved (GDPR, Art. 7(1)): by what the person said last.
    newest_first = reversed(list(passage.heard.values()))
    proofs = (dict(event.fields) for event in newest_first if event.fields)
    source = f"campaign {passage.campaign.key}, step {step.id}"
    return ConsentSaid(
        contact,
        said,
        source,
        next(proofs, None),
    )


def _tags(step: SetTag, passage: Passage) -> Retagged | None:
    own = passage.facts.tags(passage.contact.id)
    new = tuple(tag for tag in step.tags if (tag in own) != step.on)
    return Retagged(passage.contact.id, new, step.on) if new else None


def _fields(step: SetFields, passage: Passage) -> FieldsSet:
    contact, record = passage.contact, passage.record
    contact = _with(contact, step.values)
    if record:
        attributes = _set(record.attributes, record.kind, step.values)
        record = replace(record, attributes=attributes)
    return FieldsSet(contact, record, _kept(passage, contact, record))


def _with(contact: Contact, values: Mapping[str, Stored | None]) -> Contact:
    """The contact with these fields set; where it lives follows from some of them."""
    plain = {full: value for full, value in values.items() if full in PLAIN_FIELDS}
    others = {full: value for full, value in values.items() if full not in plain}
    attributes = _set(contact.attributes, "contact", others)
    contact = replace(contact, attributes=attributes)
    for full, value in plain.items():
        setattr(contact, PLAIN_FIELDS[full], value)
    if plain:
        contact.zone = guess_zone(contact)
    return contact


def _set(
    attributes: Mapping[str, Stored],
    owner: str,
    values: Mapping[str, Stored | None],
) -> dict[str, Stored]:
    """An owner's attributes with those of these fields that are its own; what is None
    is unknown from now on."""
    found = dict(attributes)
    for full, value in values.items():
        kind, _, name = full.partition(".")
        if kind != owner:
            continue
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    return found


def _kept(
    passage: Passage,
    contact: Contact,
    record: Record | None,
) -> dict[Owner, dict[str, date]]:
    """The derived dates that follow from the fields as they are now, of those owners
    that have any."""
    kept = _kept_of(
        passage,
        (contact.id, 0),
        "contact",
        contact.attributes,
    )
    if record:
        owner = (record.contact_id, record.id)
        kept |= _kept_of(
            passage,
            owner,
            record.kind,
            record.attributes,
        )
    return kept


def _kept_of(
    passage: Passage,
    owner: Owner,
    kind: str,
    attributes: Mapping[str, Stored],
) -> dict[Owner, dict[str, date]]:
    settings = passage.facts.settings
    origin = passage.facts.origins.get(owner)
    if origin is None:
        return {}
    known = replace(origin, values=settings.load(kind, attributes))
    return {owner: kept_dates(settings, kind, known)}


def _pause(
    step: PauseTopics,
    passage: Passage,
    now: datetime,
) -> TopicsPaused:
    until = later(
        now,
        step.duration,
        passage.zone,
        passage.facts.settings.holidays,
    )
    return TopicsPaused(
        passage.contact.id,
        step.topics,
        until,
        str(step.place),
    )


def last_day(
    step: IssueCoupon,
    since: datetime,
    where: str,
    settings: Settings,
) -> str | None:
    """The last day on which a code is good that is issued at an instant to somebody in
    a zone; None for ever."""
    if step.expires is None:
        return None
    today = local(since, zone(where)).date()
    good_until = business_shift(
        shift(today, step.expires), step.expires.business, settings.holidays
    )
    return good_until.isoformat()
