"""What a worker is asked: messages as they would be written now, and simulations. Answers are JSON, or HTML as bytes."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from drip.core.calendar import local, zone
from drip.core.message import Message, with_pictures
from drip.core.segments import segments
from drip.core.steps import SendStep
from drip.engine.campaign_set import CampaignSet, campaign_set_of
from drip.engine.composing import nobody
from drip.engine.rerender import render_for, rerender
from drip.errors import DripError, Problem
from drip.preview.explaining import explained
from drip.preview.forecast import summed
from drip.preview.report import calendar_weeks, step_rows
from drip.rendering.templates import Compiled, Source, Templates
from drip.storage.base.database import Database
from drip.storage.base.opening import open_database
from drip.storage.people import contacts
from drip.storage.reading.pressure import Pressure
from drip.storage.reading.summary import Summary
from drip.worker.values import plain
from drip.workspace import Workspace, fingerprint_of

# Messages that were written last, so that both frames show the same.
KEPT = 32
# Shades of the heat map.
SHADES = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page shows. `locale` None is the contact's own."""

    campaign: str
    step: str
    contact: str
    channel: str
    locale: str | None


@dataclass(frozen=True, slots=True)
class Written:
    """A message, or why there is none: the problems of its campaign's file, or of its template. `version` is that of the files."""

    version: str
    message: Message | None
    problems: tuple[dict[str, Any], ...] = ()


class Noted(Templates):
    """Templates of which each is named before anything is done with it."""

    note: Callable[[str], None]

    def get(
        self,
        name: str,
        locale: str | None,
        channel: str = "email",
        content: Source | None = None,
    ) -> Compiled:
        self.note(f"the template `{name}`")
        return super().get(name, locale, channel, content)

    def fill(self, text: str, values: Mapping[str, Any]) -> str:
        self.note(f"the text `{text[:60]}`")
        return super().fill(text, values)


class Answers:
    """Reads the files whenever they have changed, and keeps what was compiled and written of this reading.

    `note` is told which template is about to be filled in.
    """

    def __init__(
        self, root: Path, environment: Mapping[str, str], note: Callable[[str], None]
    ) -> None:
        self._root, self._environment, self._note = root, environment, note
        self._fingerprint: object = None
        self._written: OrderedDict[Asked, Written] = OrderedDict()
        self._database: Database | None = None
        self._campaign_set: CampaignSet | None = None
        self._version = ""
        self._workspace: Workspace
        # The newest whose settings could be read.
        self._in_force: Workspace | None = None

    def look(self) -> None:
        """Reads the files again if they have changed. Raises DripError if there are none any more."""
        seen = fingerprint_of(self._root, self._environment)
        if seen == self._fingerprint:
            return
        workspace = Workspace(self._root, self._environment)
        workspace.templates = noted(workspace.templates, self._note)
        self._workspace, self._fingerprint, self._version = (
            workspace,
            seen,
            version_of(seen),
        )
        self._written.clear()
        if workspace.loaded.settings is not None:
            self._in_force, self._campaign_set = workspace, None

    def answer(self, what: str, **about: Any) -> dict[str, Any] | bytes:
        """One question, about the files as they were at the last look. Raises DripError."""
        match what:
            case "steps":
                return self._steps()
            case "message":
                return self._shown(
                    Asked(**about["asked"]), about["now"], anew=about["anew"]
                )
            case "page":
                return _page(self._wrote(Asked(**about["asked"]), about["now"]).message)
            case "view":
                return self._view(about["run"], about["step"], about["now"])
            case "timeline":
                return self._timeline(about["contact"], about["now"])
            case _:
                return self._forecast(about["now"], about["days"])

    # --- the live preview

    def _steps(self) -> dict[str, Any]:
        loaded = self._workspace.loaded
        steps = [
            {"campaign": key, "step": step.id, "channels": step.channels}
            for key, campaign in sorted(loaded.campaigns.items())
            for step in campaign.steps
            if isinstance(step, SendStep)
        ]
        own = [loaded.settings.locale] if loaded.settings else []
        variants = self._workspace.templates.variants().values()
        locales = sorted(
            {locale for each in variants for locale in each if locale} | set(own)
        )
        return {"steps": plain(steps), "locales": locales}

    def _shown(self, asked: Asked, now: str, *, anew: bool) -> dict[str, Any]:
        """`anew`: what is known of people may have changed."""
        if anew:
            self._written.clear()
        found = self._wrote(asked, now)
        message = _facts(found.message) if found.message else None
        return {
            "version": found.version,
            "problems": found.problems,
            "message": message,
        }

    def _wrote(self, asked: Asked, now: str) -> Written:
        if asked not in self._written:
            self._written[asked] = self._write(asked, datetime.fromisoformat(now))
            if len(self._written) > KEPT:
                self._written.popitem(last=False)
        return self._written[asked]

    def _write(self, asked: Asked, now: datetime) -> Written:
        workspace, loaded = self._workspace, self._workspace.loaded
        broken = [each for each in loaded.problems if each.level == "error"]
        campaign = loaded.campaigns.get(asked.campaign)
        if campaign is None or loaded.settings is None:
            own = [
                each
                for each in broken
                if each.place.file.endswith(
                    (f"/{asked.campaign}.yaml", "_settings.yaml")
                )
            ]
            return Written(
                self._version, None, tuple(_told(each) for each in own or broken)
            )
        step = next(
            (
                each
                for each in campaign.steps
                if isinstance(each, SendStep) and each.id == asked.step
            ),
            None,
        )
        if step is None:
            sentence = f"There is no step `{asked.step}` any more."
            return Written(
                self._version,
                None,
                ({"place": str(campaign.place), "sentence": sentence, "help": None},),
            )
        try:
            with self._opened(workspace, now).read() as connection:
                contact = contacts.contact_of_key(connection, asked.contact)
                contact = (
                    replace(contact, locale=asked.locale) if asked.locale else contact
                )
                about = (campaign, step, contact, asked.channel, now, nobody())
                message = render_for(
                    connection, loaded.settings, workspace.templates, *about
                )
                return Written(self._version, message)
        except DripError as error:
            if out_of_memory(error):
                raise
            place = str(error.place) if error.place else None
            return Written(
                self._version,
                None,
                ({"place": place, "sentence": error.sentence, "help": error.help},),
            )

    # --- the recipients' page

    def _view(self, run: int, step: str, at: str) -> bytes:
        """Empty, if there is no such message any more."""
        workspace, now = self._sound(), datetime.fromisoformat(at)
        with self._opened(workspace, now).read() as connection:
            if self._campaign_set is None:
                self._campaign_set = campaign_set_of(connection, workspace.loaded)
            return _page(
                rerender(
                    connection,
                    self._campaign_set,
                    workspace.templates,
                    run,
                    step,
                    "email",
                    now,
                )
            )

    # --- simulations

    def _timeline(self, contact: str, at: str) -> dict[str, Any]:
        """What a contact got and will get, and why nothing of the other campaigns."""
        workspace, now = self._sound(), datetime.fromisoformat(at)
        found = explained(workspace, self._opened(workspace, now), contact, None, now)
        nothing = [
            {
                "campaign": name,
                "code": each.code,
                "sentence": each.sentence,
                "place": each.place,
            }
            for name, each in found.nothing.items()
        ]
        return {
            "known_by": found.known_by(zone(workspace.settings.timezone)),
            "past": plain(found.past[::-1]),
            "coming": plain(found.coming),
            "nothing": plain(nothing),
        }

    def _forecast(self, at: str, days: int) -> dict[str, Any]:
        """What the coming days hold, as the calendar and the page of caps show it."""
        workspace, now = self._sound(), datetime.fromisoformat(at)
        until, timezone = now + timedelta(days=days), workspace.settings.timezone
        sums = summed(workspace, self._opened(workspace, now), now, until)
        return {
            "calendar": {"since": plain(now), "until": plain(until)}
            | _calendar(sums.summary, now, until, timezone),
            "pressure": plain(pressure_rows(sums.pressure)),
        }

    # --- what they share

    def _sound(self) -> Workspace:
        """The newest files whose settings could be read. Raises Problems if there are none."""
        if self._in_force is None:
            self._workspace.settings  # noqa: B018 - raises
        assert self._in_force
        return self._in_force

    def _opened(self, workspace: Workspace, now: datetime) -> Database:
        """Raises DripError."""
        if self._database is None:
            self._database = open_database(workspace.database_place(), now)
        return self._database


def noted(templates: Templates, note: Callable[[str], None]) -> Noted:
    """The same templates, none of them compiled yet."""
    made = Noted(templates.workspace, templates.currency, templates.tracks)
    made.note = note
    return made


def version_of(fingerprint: object) -> str:
    """A name for a state of the files."""
    return sha256(repr(fingerprint).encode()).hexdigest()[:16]


def out_of_memory(error: BaseException | None) -> bool:
    """Whether that is at the bottom of it, in whatever words it was told."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def pressure_rows(found: Pressure) -> dict[str, Any]:
    """As rows: counters with two keys are no JSON."""
    # A handful is no heat.
    most = max(5, *found.displaced.values()) if found.displaced else 1
    return {
        "losers": sorted({loser for loser, _ in found.displaced}),
        "winners": sorted({winner for _, winner in found.displaced}),
        "displaced": [
            {
                "displaced": loser,
                "by": winner,
                "messages": count,
                "shade": round(count / most * SHADES),
            }
            for (loser, winner), count in sorted(found.displaced.items())
        ],
        "limits": [
            {
                "cap": place,
                "people": people,
                "skipped": found.held_back[place, "skipped"],
                "deferred": found.held_back[place, "deferred"],
            }
            for place, people in sorted(found.limits.items(), key=lambda each: -each[1])
        ],
        "campaigns": [
            {
                "campaign": name,
                "sent": found.sent[name],
                "skipped": found.skipped[name],
                "deferred": found.deferred[name],
            }
            for name in sorted(Counter(found.sent) | found.skipped | found.deferred)
        ],
    }


def _calendar(
    found: Summary, now: datetime, until: datetime, timezone: str
) -> dict[str, Any]:
    start, end = (local(at, zone(timezone)).date() for at in (now, until))
    values = {
        "people": found.people,
        "messages": sum(each.count for each in found.sent),
        "campaigns": sorted(found.campaigns),
        "weeks": calendar_weeks(found, start, end, timezone),
        "steps": step_rows(found, timezone),
        "reasons": sorted(found.refused, key=lambda each: -each.count),
        "waits": sorted(found.waits, key=lambda each: -each.count),
    }
    told: dict[str, Any] = plain(values)
    return told


def _facts(message: Message) -> dict[str, Any]:
    """A message as the page of the live preview has it; its HTML comes by itself."""
    return {
        "channel": message.channel,
        "subject": message.subject,
        "from": f"{message.sender.name} <{message.sender.address}>",
        "to": message.to.address,
        "text": message.text,
        "html": message.html is not None,
        "html_bytes": len((message.html or "").encode()),
        "attachments": [
            each.name for each in message.attachments if not each.content_id
        ],
        "segments": segments(message.text) if message.channel == "sms" else None,
    }


def _page(message: Message | None) -> bytes:
    return ((message and with_pictures(message)) or "").encode()


def _told(problem: Problem) -> dict[str, Any]:
    return {
        "place": str(problem.place),
        "sentence": problem.sentence,
        "help": problem.help,
    }
