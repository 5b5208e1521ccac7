"""The `tests:` of a campaign, played on the real planner with a virtual clock: nothing
is sent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from drip.core.calendar import instant, local, zone
from drip.core.campaign import (
    Campaign,
    CampaignTest,
    DateTrigger,
    Happening,
    ScheduleTrigger,
)
from drip.core.channels import CHANNELS
from drip.core.conditions import All
from drip.core.fields import parse
from drip.core.settings import Segment, Settings
from drip.core.steps import SendStep, Step, Task
from drip.engine.campaign_set import CampaignSet, open_campaign_set
from drip.engine.deriving import date_fields, guess_zone, refresh, take_readings
from drip.errors import DripError, Place
from drip.importing.event_rows import take_events
from drip.language.files import Loaded
from drip.preview.comparing import why_of
from drip.preview.simulator import Nowhere, simulate
from drip.rendering.compiled import Compiled, CompiledText
from drip.rendering.sources import Source
from drip.rendering.templates import Templates
from drip.storage.base.database import Database
from drip.storage.base.opening import create_database
from drip.storage.base.sqlite import SqliteDatabase
from drip.storage.people import consents, counters, coupons, tags
from drip.storage.people import contacts as contact_store
from drip.storage.people import records as record_store
from drip.storage.people.consents import Consent
from drip.storage.people.contacts import PLAIN, Contact
from drip.storage.people.counters import Movement
from drip.storage.people.records import Record
from drip.storage.reading import ledger
from drip.storage.reading.ledger import LedgerRow

SAMPLE = "sample"
# The sample contact, unless a test says otherwise.
REACHABLE: Mapping[str, str] = {
    **{way.address_field: way.sample_address for way in CHANNELS.values()},
    "first_name": "Sam",
    "last_name": "Sample",
}
# How far a test looks beyond the last line it names.
BEYOND = timedelta(days=30)
# How long before that line the sample contact is known: long enough for every step of
# one date, and for one birthday but not two.
BEFORE_DATE, BEFORE_BIRTHDAY = timedelta(days=400), timedelta(days=180)
MOMENT = timedelta(milliseconds=1)
DAY = timedelta(days=1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# Where a test that names no time begins.
NO_DAY = date(2026, 1, 1)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of a timeline, on the sample contact's clock. `why` is the reason that
    was written down."""

    wall: datetime
    text: str
    why: str | None = None
    place: Place | None = None

    def fits(self, expected: TimelineEntry) -> bool:
        """Whether this is what was expected, which may leave out the channel or the
        reason."""
        if self.wall != expected.wall:
            return False
        longer = (f"{expected.text} by ", f"{expected.text} (")
        return self.text == expected.text or self.text.startswith(longer)


# What was expected and what was observed: None where one has no partner.
Pair = tuple[TimelineEntry | None, TimelineEntry | None]


def _earliest(pair: Pair) -> datetime:
    return min(line.wall for line in pair if line)


@dataclass(frozen=True, slots=True)
class Result:
    """What a test expected and what was observed, both in order."""

    test: CampaignTest
    expected: tuple[TimelineEntry, ...]
    observed: tuple[TimelineEntry, ...]

    @property
    def passed(self) -> bool:
        return not any(left is None or right is None for left, right in self.pairs())

    def pairs(self) -> list[Pair]:
        """Expected and observed side by side: pairs that fit, and what has no
        partner."""
        rest = list(self.observed)
        pairs: list[Pair] = []
        for expected in self.expected:
            found = next((line for line in rest if line.fits(expected)), None)
            if found:
                # Each line fits one that is expected: who expects it twice has to see
                # it twice.
                rest.remove(found)
            pairs.append((expected, found))
        pairs += [(None, line) for line in rest]
        return sorted(pairs, key=_earliest)


class Stage:
    """Where the tests of a workspace are played: one empty database is made once, and
    copied for each."""

    def __init__(self, settings: Settings, templates: Templates) -> None:
        self._settings = settings
        self._templates = _Forgiving(templates.workspace, templates.currency)
        self._folder = tempfile.TemporaryDirectory(prefix="drip-test-")
        self._empty = Path(self._folder.name) / "empty.db"
        create_database(
            self._empty,
            LONG_AGO,
            # Nobody misses it after a power cut, and waiting for the disk takes long.
            durable=False,
        ).close()

    def close(self) -> None:
        self._folder.cleanup()

    def play(self, campaign: Campaign, test: CampaignTest) -> Result:
        """Plays one test of a campaign."""
        path = Path(self._folder.name) / "stage.db"
        shutil.copyfile(self._empty, path)
        database = SqliteDatabase(path, durable=False)
        settings = self._staged(test)
        try:
            played = _Play(
                database,
                settings,
                self._templates,
                campaign,
                test,
            )
            observed = played.observed()
        finally:
            database.close()
            path.unlink()
        expected = [
            TimelineEntry(
                line.wall,
                line.text,
                place=line.place,
            )
            for line in test.expect
        ]
        expected.sort(key=attrgetter("wall"))
        return Result(
            test,
            tuple(expected),
            tuple(observed),
        )

    def _staged(self, test: CampaignTest) -> Settings:
        """The settings with the given segments open to everybody."""
        settings = self._settings
        opened = _opened(settings.segments, test.segments)
        return replace(
            settings,
            segments={**settings.segments, **opened},
            version=f"{settings.version}/{test.name}",
        )


def _opened(segments: Mapping[str, Segment], keys: Iterable[str]) -> dict[str, Segment]:
    return {
        key: replace(segments[key], condition=All(()))
        for key in keys
        if key in segments
    }


class _Forgiving(Templates):
    """A text that is not written yet is no reason for a test to fail: `drip check` says
    that it is missing."""

    def _compile(
        self,
        name: str,
        locale: str | None,
        channel: str,
        content: Source | None,
    ) -> Compiled:
        try:
            return super()._compile(
                name,
                locale,
                channel,
                content,
            )
        except DripError:
            if name in self.names():
                raise
        return self._named_only(name)

    def _named_only(self, name: str) -> Compiled:
        """An empty message with the text's name as its subject."""
        text = CompiledText("", self.plain.from_string(""), self.plain)
        subject = self.plain.from_string(name)
        return Compiled(
            name,
            Place(name),
            html=None,
            text=text,
            subject=subject,
            preheader=None,
            sender=None,
            locale=None,
        )


@dataclass
class _Play:
    database: Database
    settings: Settings
    templates: Templates
    campaign: Campaign
    test: CampaignTest

    def observed(self) -> list[TimelineEntry]:
        """The timeline that comes of it."""
        self.zone = zone(self.test.contact.get("timezone") or self.settings.timezone)
        start, end = self._start(), self._end()
        campaign_set = self._set_up(start)
        at = start
        happens = sorted(self.test.happens, key=attrgetter("wall"))
        for number, happening in enumerate(happens):
            when = instant(happening.wall, self.zone)
            if when > at:
                self._simulate(
                    campaign_set,
                    at,
                    when - MOMENT,
                )
            with self.database.write() as connection:
                self._happens(
                    connection,
                    happening,
                    number,
                    when,
                )
            at = max(at, when)
        self._simulate(
            campaign_set,
            at,
            max(at, end),
        )
        with self.database.read() as connection:
            lines = [
                self._line(
                    row,
                    start,
                )
                for row in ledger.entries(connection)
            ]
        return [line for line in lines if line]

    def _simulate(
        self,
        campaign_set: CampaignSet,
        start: datetime,
        end: datetime,
    ) -> None:
        transports = {channel: Nowhere() for channel in CHANNELS}
        simulate(
            self.database,
            campaign_set,
            self.templates,
            transports,
            start,
            end,
        )

    # --- when

    def _named(self) -> list[datetime]:
        """The times that the test names, by the sample contact's clock."""
        happens = [line.wall for line in self.test.happens]
        return happens + [line.wall for line in self.test.expect]

    def _midnight(self, day: date) -> datetime:
        return instant(datetime.combine(day, time()), self.zone)

    def _start(self) -> datetime:
        """`today:`; else the day of the first line, and for dates long enough before
        it."""
        if self.test.today:
            return self._midnight(self.test.today)
        first = min((wall.date() for wall in self._named()), default=NO_DAY)
        trigger = self.campaign.trigger
        if isinstance(trigger, DateTrigger):
            first -= BEFORE_BIRTHDAY if trigger.yearly else BEFORE_DATE
        return self._midnight(first)

    def _end(self) -> datetime:
        """`until:`; else 30 days after the last line, or for a schedule the end of its
        day."""
        if self.test.until:
            return self._midnight(self.test.until + DAY)
        last = max(self._named(), default=None)
        if last is None:
            return self._start() + BEYOND
        if isinstance(self.campaign.trigger, ScheduleTrigger):
            return self._midnight(last.date() + DAY)
        return instant(last, self.zone) + BEYOND

    # --- what is given

    def _loaded(self) -> Loaded:
        # Whether a draft does what it should is what its tests are for.
        campaign = replace(
            self.campaign,
            status="live",
            holdout=0.0,
            max_audience=None,
        )
        return Loaded(
            settings=self.settings,
            campaigns={campaign.key: campaign},
            texts={campaign.version: ""},
        )

    def _set_up(self, start: datetime) -> CampaignSet:
        loaded = self._loaded()
        with self.database.write() as connection:
            self.contact = self._contact(connection, start)
            self.record = self._record(
                connection,
                self.contact,
                start,
            )
            self._give(connection)
            return open_campaign_set(connection, loaded, start)

    def _give(self, connection: Connection) -> None:
        """Counters, tags, codes in stock, and what is derived from all that is
        given."""
        number = self.contact.id
        for counter, balance in self.test.counters.items():
            counters.move(
                connection,
                counter,
                [Movement(number, balance, LONG_AGO)],
            )
        tags.add_tags(
            connection,
            [(number, tag) for tag in self.test.tags],
        )
        for coupon in self.settings.coupons.values():
            if coupon.codes == "list":
                codes = [f"{coupon.key}-{n}" for n in range(20)]
                coupons.add_codes(
                    connection,
                    coupon.key,
                    codes,
                )
        whose = [(number, 0)]
        if self.record:
            whose.append((number, self.record.id))
        refresh(connection, self.settings, whose)

    def _contact(self, connection: Connection, start: datetime) -> Contact:
        """Someone who can be reached every way and has agreed to everything.

        Unless the test says otherwise.
        """
        contact = Contact(SAMPLE)
        known = self.settings.fields["contact"]
        for name, value in self._contact_values().items():
            if name in PLAIN:
                setattr(contact, name, value)
            elif value is not None and name in known:
                contact.attributes[name] = value
        contact.timezone = contact.timezone or None
        guessed = guess_zone(Contact(SAMPLE, country=contact.country))
        contact.zone = contact.timezone or guessed
        dates = date_fields(self.settings, "contact")
        contact_store.save_contacts(
            connection,
            [contact],
            dates,
        )
        self._agree(connection, contact, start)
        return contact

    def _contact_values(self) -> dict[str, Any]:
        given = {
            name: self._parsed("contact", name, text)
            for name, text in self.test.contact.items()
        }
        return {**REACHABLE, "locale": self.settings.locale} | given

    def _said(self, contact: Contact) -> list[Consent]:
        """The sample contact agrees to every topic of which the test says nothing."""
        return [
            Consent(
                contact.id,
                topic,
                channel,
                self.test.topics.get(topic, True),
                LONG_AGO,
            )
            for topic in self.settings.topics
            for channel in CHANNELS
        ]

    def _agree(self, connection: Connection, contact: Contact, now: datetime) -> None:
        addresses = {contact.id: contact.email}
        consents.record(
            connection,
            self._said(contact),
            "test",
            addresses,
            now,
        )

    def _record(
        self,
        connection: Connection,
        contact: Contact,
        start: datetime,
    ) -> Record | None:
        kind = self.campaign.for_each
        if kind is None:
            return None
        given = {
            name: self._parsed(kind, name, text)
            for name, text in self.test.record.items()
            if name != "key"
        }
        known = {name: value for name, value in given.items() if value is not None}
        key = self.test.record.get("key", SAMPLE)
        record = Record(
            kind,
            key,
            contact.id,
            known,
        )
        record_store.save_records(
            connection,
            [record],
            date_fields(self.settings, kind),
        )
        reading = (kind, record.id, record.attributes, start)
        take_readings(
            connection,
            self.settings,
            [reading],
        )
        return record

    def _parsed(self, owner: str, name: str, text: str) -> Any:
        return (
            parse(
                self.settings.fields[owner][name],
                text,
            )
            if text
            else None
        )

    def _happens(
        self,
        connection: Connection,
        happening: Happening,
        number: int,
        when: datetime,
    ) -> None:
        row: Mapping[str, Any] = {
            "contact_id": self.contact.id,
            "record_id": self.record.id if self.record else 0,
            "name": happening.event,
            "key": f"test-{number}",
            "at": when,
            "fields": dict(happening.fields),
        }
        take_events(
            connection,
            self.settings,
            [row],
        )

    # --- what is seen

    def _line(self, row: LedgerRow, start: datetime) -> TimelineEntry | None:
        text = self._text(row)
        # What was over before the test begins is no part of it.
        over = row.code == "too-late" and row.at == start
        if text is None or over:
            return None
        return TimelineEntry(
            local(row.at, self.zone),
            text,
            why_of(row),
        )

    def _text(self, row: LedgerRow) -> str | None:
        """A line as `expect:` writes it; None for what it does not speak of."""
        step = self._step_of(row)
        name = step.template if isinstance(step, SendStep) else row.step
        match row.outcome:
            case "sent":
                return f"send {name} by {row.channel}"
            case "skipped":
                return f"skip {name} ({row.code})"
            case "held" | "failed":
                return f"hold {name} ({row.code})"
            case "task":
                assigned = step.assign_to if isinstance(step, Task) else ""
                return f"task {assigned or row.sentence}"
            case "exited":
                return f"exit ({_exit(row)})"
            case _:
                return None

    def _step_of(self, row: LedgerRow) -> Step | None:
        position = self.campaign.position_of(row.step) if row.step else None
        return None if position is None else self.campaign.steps[position]


def _exit(row: LedgerRow) -> str | None:
    """The event that a run ended with, or the code."""
    sentence = row.sentence or ""
    if row.code == "exited" and sentence.endswith(" happened"):
        return sentence.removesuffix(" happened")
    return row.code
