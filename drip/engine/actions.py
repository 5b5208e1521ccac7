"""What steps do beside sending: tasks, coupons, points, consents, tags, fields, pauses.

Each is done in the transaction that moves the run on, and changes the facts at hand, so that the next condition of
the same run sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from drip.core.calendar import business_shift, later, local, shift, zone
from drip.core.campaign import Campaign
from drip.core.settings import Coupon, Settings
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
from drip.engine.deriving import date_fields, guess_zone, refresh
from drip.engine.facts import ContactFacts
from drip.storage.base.database import link_keys, workspace_id
from drip.storage.campaigns import tasks
from drip.storage.campaigns.runs import Run
from drip.storage.people import (
    change_marks,
    consents,
    contacts,
    counters,
    coupons,
    pauses,
    records,
    sign_ups,
    tags,
)
from drip.storage.people.consents import Consent
from drip.storage.people.contacts import PLAIN, Contact
from drip.storage.people.counters import Movement
from drip.storage.people.coupons import Code
from drip.storage.people.events import Event

# Fills `{{ … }}` of a task's title in; what is unknown reads as such.
Fill = Callable[[str, Mapping[str, Any]], str]


class Actions:
    """The actions of one batch. Rows that can be stored together wait until `store`."""

    def __init__(
        self, connection: Connection, facts: ContactFacts, fill: Fill, now: datetime
    ) -> None:
        self._connection, self._facts, self._fill, self._now = (
            connection,
            facts,
            fill,
            now,
        )
        self._settings: Settings = facts.settings
        self._tasks: list[dict[str, Any]] = []
        self._pauses: list[dict[str, Any]] = []
        self._codes: list[Code] = []
        self._touched: set[int] = set()
        self._woken: set[int] = set()
        self._secret: tuple[bytes, str] | None = None

    def do(
        self,
        step: Action,
        run: Run,
        campaign: Campaign,
        contact: Contact,
        heard: Mapping[str, Event],
    ) -> None:
        """Does what a step says, once, whatever happens around it."""
        match step:
            case Task():
                self._task(step, run, contact, heard)
            case IssueCoupon():
                self._coupon(step, run, contact)
            case AddPoints(counter=counter, amount=amount):
                self._points(step, run, contact, counter, amount)
            case SetConsent():
                self._consent(step, campaign, contact, heard)
            case SetTag(tags=names, on=on):
                self._tag(contact, names, on)
            case SetFields(values=values):
                self._set(run, contact, values)
            case PauseTopics():
                self._pause(step, contact)

    def wait_for_confirmation(self, run: Run, limit: datetime) -> None:
        """A sign-up can be confirmed as long as the run that asks for it waits."""
        sign_ups.wait_until(self._connection, run.contact_id, run.id, limit)

    def touched(self, contact_id: int) -> bool:
        """Whether something about the contact is new by what was done in this batch."""
        return contact_id in self._touched or contact_id in self._woken

    def _task(
        self, step: Task, run: Run, contact: Contact, heard: Mapping[str, Event]
    ) -> None:
        record = self._facts.records.get(run.record_id)
        values = self._facts.context(
            contact, record, heard, self._facts.codes.get(run.id, ())
        )
        where = zone(self._settings.timezone)
        due = None
        if step.due is not None:
            today = local(self._now, where).date()
            due = business_shift(
                shift(today, step.due), step.due.business, self._settings.holidays
            )
            if step.due.seconds:
                due = local(later(self._now, step.due, where), where).date()
        self._tasks.append(
            {
                "run_id": run.id,
                "step": step.id,
                "contact_id": contact.id,
                "title": self._fill(step.title, values),
                "assign_to": step.assign_to,
                "priority": step.priority,
                "created_at": self._now,
                "due": due.isoformat() if due else None,
                "state": "open",
                "place": str(step.place),
            }
        )

    def _coupon(self, step: IssueCoupon, run: Run, contact: Contact) -> None:
        if any(each.step == step.id for each in self._facts.codes.get(run.id, ())):
            return
        coupon = self._settings.coupons[step.coupon]
        # From when the step was due: a run that comes late has a coupon that has been running.
        expires = last_day(
            step, run.since, self._facts.zone_of(contact), self._settings
        )
        code = (
            self._made(step, coupon, run, expires)
            if coupon.codes == "unique"
            else self._taken(step, run, expires)
        )
        if code:
            self._facts.add_code(run, code)
            self._touched.add(contact.id)

    def _made(
        self, step: IssueCoupon, coupon: Coupon, run: Run, expires: str | None
    ) -> Code:
        """A code of the run's own: the same one on every try."""
        secret, workspace = self._keys()
        # A run's number never changes, while its occurrence moves with its date.
        text = coupon_code(coupon.prefix, f"{workspace}/{run.id}/{step.id}", secret)
        code = Code(
            step.coupon, text, run.contact_id, run.id, step.id, self._now, expires, None
        )
        self._codes.append(code)
        return code

    def _taken(self, step: IssueCoupon, run: Run, expires: str | None) -> Code | None:
        """One of the stock."""
        return coupons.take(
            self._connection,
            step.coupon,
            run.contact_id,
            run.id,
            step.id,
            self._now,
            expires,
        )

    def _keys(self) -> tuple[bytes, str]:
        if self._secret is None:
            secret = list(link_keys(self._connection).values())[-1]
            self._secret = (secret, workspace_id(self._connection))
        return self._secret

    def _points(
        self, step: AddPoints, run: Run, contact: Contact, counter: str, amount: int
    ) -> None:
        own = self._facts.balances(contact.id)
        if own.get(counter, 0) + amount < 0:
            return
        movement = Movement(contact.id, amount, self._now, run_id=run.id, step=step.id)
        for entry in counters.move(self._connection, counter, [movement]):
            own[counter] = entry.after
            self._touched.add(contact.id)

    def _consent(
        self,
        step: SetConsent,
        campaign: Campaign,
        contact: Contact,
        heard: Mapping[str, Event],
    ) -> None:
        said = [
            Consent(contact.id, step.topic, channel, step.given, self._now)
            for channel in step.channels
        ]
        proof = next(
            (
                dict(event.fields)
                for event in reversed(list(heard.values()))
                if event.fields
            ),
            None,
        )
        source = f"campaign {campaign.key}, step {step.id}"
        consents.record(
            self._connection,
            said,
            source,
            {contact.id: contact.email},
            self._now,
            proof,
        )
        self._woken.add(contact.id)
        for each in said:
            self._facts.say(each)

    def _tag(self, contact: Contact, names: tuple[str, ...], on: bool) -> None:
        own = self._facts.tags(contact.id)
        rows = [(contact.id, name) for name in names if (name in own) != on]
        self._touched |= {contact.id} if rows else set()
        if on:
            tags.add_tags(self._connection, rows)
            own.update(names)
        else:
            tags.remove_tags(self._connection, rows)
            own.difference_update(names)

    def _set(self, run: Run, contact: Contact, values: Mapping[str, Any]) -> None:
        record = self._facts.records.get(run.record_id)
        for full, value in values.items():
            owner, _, name = full.partition(".")
            if owner == "contact" and name in PLAIN:
                setattr(contact, name, value)
                contact.zone = guess_zone(contact)
                continue
            attributes = (
                contact.attributes
                if owner == "contact"
                else record.attributes
                if record
                else {}
            )
            if value is None:
                attributes.pop(name, None)
            else:
                attributes[name] = value
        contacts.save_contacts(
            self._connection, [contact], date_fields(self._settings, "contact")
        )
        if record:
            records.save_records(
                self._connection, [record], date_fields(self._settings, record.kind)
            )
        owners = [(contact.id, 0), *([(contact.id, record.id)] if record else [])]
        self._woken.add(contact.id)
        refresh(self._connection, self._settings, owners)
        self._facts.forget_kept()

    def _pause(self, step: PauseTopics, contact: Contact) -> None:
        until = later(
            self._now,
            step.duration,
            zone(self._facts.zone_of(contact)),
            self._settings.holidays,
        )
        for topic in step.topics:
            self._pauses.append(
                {
                    "contact_id": contact.id,
                    "topic": topic,
                    "until": until,
                    "place": str(step.place),
                }
            )
            self._facts.pause(contact, topic, until, str(step.place))

    def store(self) -> None:
        """Stores what waited to be stored together. Runs that were changed meanwhile have to be stored already."""
        tasks.add(self._connection, self._tasks)
        coupons.issue(self._connection, self._codes)
        pauses.pause(self._connection, self._pauses)
        change_marks.touch(self._connection, self._touched)
        # What a step set is new to the contact's other runs, and storing these took their marks away.
        change_marks.wake_runs(self._connection, self._woken)


def last_day(
    step: IssueCoupon, since: datetime, where: str, settings: Settings
) -> str | None:
    """The last day on which a code is good that is issued at an instant to somebody in a zone; None for ever."""
    if step.expires is None:
        return None
    today = local(since, zone(where)).date()
    return business_shift(
        shift(today, step.expires), step.expires.business, settings.holidays
    ).isoformat()
