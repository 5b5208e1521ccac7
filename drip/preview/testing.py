"""The `tests:` of a campaign, played on the real planner with a virtual clock: nothing is sent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
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
from drip.core.settings import Settings
from drip.core.steps import SendStep, Task
from drip.engine.campaign_set import CampaignSet, open_campaign_set
from drip.engine.deriving import date_fields, guess_zone, refresh, take_readings
from drip.errors import DripError, Place
from drip.importing.event_rows import take_events
from drip.language.files import Loaded
from drip.preview.simulator import Nowhere, simulate
from drip.rendering.compiled import Compiled, CompiledText
from drip.rendering.sources import Source
from drip.rendering.templates import Templates
from drip.storage.base.database import Database
from drip.storage.base.opening import create_database
from drip.storage.base.sqlite import SqliteDatabase
from drip.storage.people import consents, contacts, counters, coupons, records, tags
from drip.storage.people.consents import Consent
from drip.storage.people.contacts import PLAIN, Contact
from drip.storage.people.counters import Movement
from drip.storage.people.records import Record
from drip.storage.reading import ledger
from drip.storage.reading.ledger import LedgerRow

SAMPLE = "sample"
# How far a test looks beyond the last line it names.
BEYOND = timedelta(days=30)
# How long before that line the sample contact is known: long enough for every step of one date, and for one
# birthday but not two.
BEFORE_DATE, BEFORE_BIRTHDAY = timedelta(days=400), timedelta(days=180)
MOMENT = timedelta(milliseconds=1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of a timeline, on the sample contact's clock. `why` is the reason that was written down."""

    wall: datetime
    text: str
    why: str | None = None
    place: Place | None = None

    def fits(self, expected: TimelineEntry) -> bool:
        """Whether this is what was expected, which may leave out the channel or the reason."""
        same = self.text == expected.text or self.text.startswith(
            (f"{expected.text} by ", f"{expected.text} (")
        )
        return self.wall == expected.wall and same


@dataclass(frozen=True, slots=True)
class Result:
    """What a test expected and what was observed, both in order."""

    test: CampaignTest
    expected: tuple[TimelineEntry, ...]
    observed: tuple[TimelineEntry, ...]

    @property
    def passed(self) -> bool:
        return not any(left is None or right is None for left, right in self.pairs())

    def pairs(self) -> list[tuple[TimelineEntry | None, TimelineEntry | None]]:
        """Expected and observed side by side: pairs that fit, and what has no partner."""
        rest = list(self.observed)
        pairs: list[tuple[TimelineEntry | None, TimelineEntry | None]] = []
        for line in self.expected:
            found = next((each for each in rest if each.fits(line)), None)
            if found:
                rest.remove(found)
            pairs.append((line, found))
        pairs += [(None, each) for each in rest]
        return sorted(pairs, key=lambda pair: min(line.wall for line in pair if line))


class Stage:
    """Where the tests of a workspace are played: one empty database is made once, and copied for each."""

    def __init__(self, settings: Settings, templates: Templates) -> None:
        self._settings = settings
        self._templates = _Forgiving(templates.workspace, templates.currency)
        self._folder = tempfile.TemporaryDirectory(prefix="drip-test-")
        self._empty = Path(self._folder.name) / "empty.db"
        create_database(self._empty, LONG_AGO, durable=False).close()

    def close(self) -> None:
        self._folder.cleanup()

    def play(self, campaign: Campaign, test: CampaignTest) -> Result:
        """Plays one test of a campaign."""
        path = Path(self._folder.name) / "stage.db"
        shutil.copyfile(self._empty, path)
        database = SqliteDatabase(path, durable=False)
        try:
            observed = _Play(
                database, self._staged(test), self._templates, campaign, test
            ).observed()
        finally:
            database.close()
            path.unlink()
        expected = sorted(
            (
                TimelineEntry(each.wall, each.text, place=each.place)
                for each in test.expect
            ),
            key=lambda line: line.wall,
        )
        return Result(test, tuple(expected), tuple(observed))

    def _staged(self, test: CampaignTest) -> Settings:
        """The settings with the given segments open to everybody."""
        segments = {
            key: replace(each, condition=All(())) if key in test.segments else each
            for key, each in self._settings.segments.items()
        }
        return replace(
            self._settings,
            segments=segments,
            version=f"{self._settings.version}/{test.name}",
        )


class _Forgiving(Templates):
    """A text that is not written yet is no reason for a test to fail: `drip check` says that it is missing."""

    def _compile(
        self, name: str, locale: str | None, channel: str, content: Source | None
    ) -> Compiled:
        try:
            return super()._compile(name, locale, channel, content)
        except DripError:
            if name in self.names():
                raise
        stub = CompiledText("", self.plain.from_string(""), self.plain)
        return Compiled(
            name,
            Place(name),
            None,
            stub,
            self.plain.from_string(name),
            None,
            None,
            None,
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
        transports = {channel: Nowhere() for channel in CHANNELS}
        at = start
        for n, happening in enumerate(
            sorted(self.test.happens, key=lambda each: each.wall)
        ):
            when = instant(happening.wall, self.zone)
            if when > at:
                simulate(
                    self.database,
                    campaign_set,
                    self.templates,
                    transports,
                    at,
                    when - MOMENT,
                )
            with self.database.write() as connection:
                self._happens(connection, happening, n, when)
            at = max(at, when)
        simulate(
            self.database, campaign_set, self.templates, transports, at, max(at, end)
        )
        with self.database.read() as connection:
            return [
                line
                for entry in ledger.entries(connection)
                if (line := self._line(entry, start))
            ]

    # --- when

    def _named(self) -> list[datetime]:
        return [each.wall for each in self.test.happens] + [
            each.wall for each in self.test.expect
        ]

    def _start(self) -> datetime:
        """`today:`; else the day of the first line, and for dates long enough before it."""
        if self.test.today:
            return instant(datetime.combine(self.test.today, time()), self.zone)
        first = min((wall.date() for wall in self._named()), default=date(2026, 1, 1))
        trigger = self.campaign.trigger
        if isinstance(trigger, DateTrigger):
            first -= BEFORE_BIRTHDAY if trigger.yearly else BEFORE_DATE
        return instant(datetime.combine(first, time()), self.zone)

    def _end(self) -> datetime:
        """`until:`; else 30 days after the last line, or for a schedule the end of its day."""
        if self.test.until:
            return instant(
                datetime.combine(self.test.until, time()) + timedelta(days=1), self.zone
            )
        last = max(self._named(), default=None)
        if last is None:
            return self._start() + BEYOND
        if isinstance(self.campaign.trigger, ScheduleTrigger):
            return instant(
                datetime.combine(last.date(), time()) + timedelta(days=1), self.zone
            )
        return instant(last, self.zone) + BEYOND

    # --- what is given

    def _set_up(self, start: datetime) -> CampaignSet:
        campaign = replace(self.campaign, status="live", holdout=0.0, max_audience=None)
        loaded = Loaded(
            settings=self.settings,
            campaigns={campaign.key: campaign},
            texts={campaign.version: ""},
        )
        with self.database.write() as connection:
            contact = self._contact(connection, start)
            record = self._record(connection, contact, start)
            for counter, balance in self.test.counters.items():
                counters.move(
                    connection, counter, [Movement(contact.id, balance, LONG_AGO)]
                )
            tags.add_tags(connection, [(contact.id, tag) for tag in self.test.tags])
            for coupon in self.settings.coupons.values():
                if coupon.codes == "list":
                    coupons.add_codes(
                        connection, coupon.key, [f"{coupon.key}-{n}" for n in range(20)]
                    )
            refresh(
                connection,
                self.settings,
                [(contact.id, 0), *([(contact.id, record.id)] if record else [])],
            )
            campaign_set = open_campaign_set(connection, loaded, start)
        self.contact, self.record = contact, record
        return campaign_set

    def _contact(self, connection: Connection, start: datetime) -> Contact:
        """Someone who can be reached every way and has agreed to everything, unless the test says otherwise."""
        values: dict[str, Any] = {
            **{each.address_field: each.sample_address for each in CHANNELS.values()},
            "locale": self.settings.locale,
            "first_name": "Sam",
            "last_name": "Sample",
        }
        given = {
            name: self._parsed("contact", name, text)
            for name, text in self.test.contact.items()
        }
        values |= given
        contact = Contact(SAMPLE)
        for name, value in values.items():
            if name in PLAIN:
                setattr(contact, name, value)
            elif value is not None and name in self.settings.fields["contact"]:
                contact.attributes[name] = value
        contact.timezone = contact.timezone or None
        contact.zone = contact.timezone or (
            guess_zone(Contact(SAMPLE, country=contact.country))
        )
        contacts.save_contacts(
            connection, [contact], date_fields(self.settings, "contact")
        )
        said = [
            Consent(
                contact.id, topic, channel, self.test.topics.get(topic, True), LONG_AGO
            )
            for topic in self.settings.topics
            for channel in CHANNELS
        ]
        consents.record(connection, said, "test", {contact.id: contact.email}, start)
        return contact

    def _record(
        self, connection: Connection, contact: Contact, start: datetime
    ) -> Record | None:
        kind = self.campaign.for_each
        if kind is None:
            return None
        given = {
            name: self._parsed(kind, name, text)
            for name, text in self.test.record.items()
            if name != "key"
        }
        attributes = {name: value for name, value in given.items() if value is not None}
        record = Record(
            kind, self.test.record.get("key", SAMPLE), contact.id, attributes
        )
        records.save_records(connection, [record], date_fields(self.settings, kind))
        take_readings(
            connection, self.settings, [(kind, record.id, record.attributes, start)]
        )
        return record

    def _parsed(self, owner: str, name: str, text: str) -> Any:
        return parse(self.settings.fields[owner][name], text) if text else None

    def _happens(
        self, connection: Connection, happening: Happening, number: int, when: datetime
    ) -> None:
        row: Mapping[str, Any] = {
            "contact_id": self.contact.id,
            "record_id": self.record.id if self.record else 0,
            "name": happening.event,
            "key": f"test-{number}",
            "at": when,
            "fields": dict(happening.fields),
        }
        take_events(connection, self.settings, [row])

    # --- what is seen

    def _line(self, entry: LedgerRow, start: datetime) -> TimelineEntry | None:
        text = self._text(entry)
        if text is None or (entry.code == "too-late" and entry.at == start):
            # What was over before the test begins is no part of it.
            return None
        why = f"{entry.code}: {entry.sentence}" if entry.code else None
        return TimelineEntry(local(entry.at, self.zone), text, why)

    def _text(self, entry: LedgerRow) -> str | None:
        position = self.campaign.position_of(entry.step) if entry.step else None
        step = self.campaign.steps[position] if position is not None else None
        name = step.template if isinstance(step, SendStep) else entry.step
        match entry.outcome:
            case "sent":
                return f"send {name} by {entry.channel}"
            case "skipped":
                return f"skip {name} ({entry.code})"
            case "held" | "failed":
                return f"hold {name} ({entry.code})"
            case "task":
                return f"task {(step.assign_to if isinstance(step, Task) else '') or entry.sentence}"
            case "exited":
                happened = entry.code == "exited" and (entry.sentence or "").endswith(
                    " happened"
                )
                return f"exit ({(entry.sentence or '').removesuffix(' happened') if happened else entry.code})"
            case _:
                return None
