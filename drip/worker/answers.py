"""What a worker is asked: messages as they would be written now, and simulations.
Answers are JSON, or HTML as bytes."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from drip.core.calendar import local, zone
from drip.core.campaign import Campaign
from drip.core.channels import CHANNELS
from drip.core.decide import Reason
from drip.core.message import Message, with_pictures
from drip.core.settings import Settings
from drip.core.steps import SendStep
from drip.engine.campaign_set import CampaignSet, campaign_set_of
from drip.engine.composing import nobody
from drip.engine.rerender import render_for, rerender
from drip.errors import DripError, Problem
from drip.preview.explaining import Explained, explained
from drip.preview.forecast import summed
from drip.preview.report import calendar_weeks, step_rows
from drip.rendering.compiled import Compiled
from drip.rendering.sources import Source
from drip.rendering.templates import Templates
from drip.storage.base.database import Database
from drip.storage.base.opening import open_database
from drip.storage.people import contacts
from drip.storage.reading.pressure import Pressure
from drip.storage.reading.summary import Summary
from drip.worker.values import plain, problem_row
from drip.workspace import Workspace, fingerprint_of

# Messages that were written last, so that both frames show the same.
KEPT = 32
# Shades of the heat map.
SHADES = 4
# So few messages are no heat.
HANDFUL = 5


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
    """A message, or why there is none: the problems of its campaign's file, or of its
    template. `version` is that of the files."""

    version: str
    message: Message | None
    problems: tuple[dict[str, str | None], ...] = ()


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
    """Reads the files whenever they have changed, and keeps what was compiled and
    written of this reading.

    `note` is called with which template is about to be filled in.
    """

    def __init__(
        self,
        root: Path,
        environment: Mapping[str, str],
        note: Callable[[str], None],
    ) -> None:
        self._root = root
        self._environment = environment
        self._note = note
        self._fingerprint: object = None
        self._written: OrderedDict[Asked, Written] = OrderedDict()
        self._database: Database | None = None
        self._campaign_set: CampaignSet | None = None
        self._version = ""
        self._workspace: Workspace
        # The newest whose settings could be read.
        self._in_force: Workspace | None = None

    def close(self) -> None:
        """Closes the database, if it was opened."""
        if self._database is not None:
            self._database.close()

    def look(self) -> None:
        """Reads the files again if they have changed. Raises DripError if there are
        none any more."""
        seen = fingerprint_of(self._root, self._environment)
        if seen != self._fingerprint:
            workspace = Workspace(self._root, self._environment)
            workspace.templates = noted(workspace.templates, self._note)
            self._take(workspace)
            self._fingerprint = seen
            self._version = version_of(seen)

    def _take(self, workspace: Workspace) -> None:
        """Settings that cannot be read leave the last good ones in force."""
        self._workspace = workspace
        self._written.clear()
        if workspace.loaded.settings is not None:
            self._in_force = workspace
            self._campaign_set = None

    def answer(self, what: str, **about: Any) -> dict[str, Any] | bytes:
        """One question, about the files as they were at the last look. `now` is ISO
        8601. Raises DripError.

        `steps`: which there are, and in which languages (`steps`, `locales`).
        `message` (`asked`, `now`, `anew`): its facts, or the problems that it has.
        `page` (`asked`, `now`): its HTML, empty if it has none.
        `view` (`run`, `step`, `now`): that of one that was sent.
        `timeline` (`contact`, `now`): what a contact got, will get and does not get.
        `forecast` (`now`, `days`): `calendar` and `pressure` of the coming days.
        """
        match what:
            case "steps":
                return self._steps()
            case "message":
                asked = Asked(**about["asked"])
                return self._shown(asked, about["now"], anew=about["anew"])
            case "page":
                asked = Asked(**about["asked"])
                return _page(self._wrote(asked, about["now"]).message)
            case _:
                return self._answer_about_people(what, **about)

    def _answer_about_people(self, what: str, **about: Any) -> dict[str, Any] | bytes:
        match what:
            case "view":
                return self._view(about["run"], about["step"], about["now"])
            case "timeline":
                return self._timeline(about["contact"], about["now"])
            case _:
                return self._forecast(about["now"], about["days"])

    # --- the live preview

    def _steps(self) -> dict[str, Any]:
        steps = [
            {
                "campaign": key,
                "step": step.id,
                "channels": step.channels,
            }
            for key, campaign in sorted(self._workspace.loaded.campaigns.items())
            for step in campaign.steps
            if isinstance(step, SendStep)
        ]
        return {"steps": plain(steps), "locales": sorted(self._locales())}

    def _locales(self) -> set[str]:
        """Those in which there are templates, and the workspace's own."""
        variants = self._workspace.templates.variants().values()
        locales = {locale for variant in variants for locale in variant if locale}
        settings = self._workspace.loaded.settings
        return locales | {settings.locale} if settings else locales

    def _shown(
        self,
        asked: Asked,
        now: str,
        *,
        anew: bool,
    ) -> dict[str, Any]:
        """`anew`: what is known of people may have changed."""
        if anew:
            self._written.clear()
        written = self._wrote(asked, now)
        return {
            "version": written.version,
            "problems": written.problems,
            "message": _facts(written.message) if written.message else None,
        }

    def _wrote(self, asked: Asked, now: str) -> Written:
        if asked not in self._written:
            self._written[asked] = self._write(asked, datetime.fromisoformat(now))
        # The one that was written first goes.
        if len(self._written) > KEPT:
            self._written.popitem(last=False)
        return self._written[asked]

    def _write(self, asked: Asked, now: datetime) -> Written:
        loaded = self._workspace.loaded
        campaign = loaded.campaigns.get(asked.campaign)
        if campaign is None or loaded.settings is None:
            return self._not_written(*self._why_no_campaign(asked.campaign))
        step = _send_step(campaign, asked.step)
        if step is None:
            sentence = f"There is no step `{asked.step}` any more."
            return self._not_written(DripError(sentence, place=campaign.place))
        try:
            message = self._rendered(loaded.settings, campaign, step, asked, now)
        except DripError as error:
            # It ends the process, which one template too many must not outlive.
            if out_of_memory(error):
                raise
            return self._not_written(error)
        return Written(self._version, message)

    def _rendered(
        self,
        settings: Settings,
        campaign: Campaign,
        step: SendStep,
        asked: Asked,
        now: datetime,
    ) -> Message:
        """Raises DripError."""
        workspace = self._workspace
        with self._opened(workspace, now).read() as connection:
            contact = contacts.contact_of_key(connection, asked.contact)
            if asked.locale:
                contact = replace(contact, locale=asked.locale)
            about = (campaign, step, contact, asked.channel, now, nobody())
            return render_for(connection, settings, workspace.templates, *about)

    def _not_written(self, *problems: Problem | DripError) -> Written:
        """What a page shows instead of the message."""
        rows = tuple(problem_row(problem) for problem in problems)
        return Written(self._version, None, rows)

    def _why_no_campaign(self, key: str) -> Sequence[Problem]:
        """What is wrong with its own file and the settings; else with all files."""
        files = (f"/{key}.yaml", "_settings.yaml")
        problems = self._workspace.loaded.problems
        errors = [problem for problem in problems if problem.level == "error"]
        own = [problem for problem in errors if problem.place.file.endswith(files)]
        return own or errors

    # --- the recipients' page

    def _view(
        self,
        run: int,
        step: str,
        at: str,
    ) -> bytes:
        """Empty, if there is no such message any more."""
        workspace = self._sound()
        now = datetime.fromisoformat(at)
        with self._opened(workspace, now).read() as connection:
            if self._campaign_set is None:
                self._campaign_set = campaign_set_of(connection, workspace.loaded)
            about = (run, step, "email", now)
            message = rerender(
                connection, self._campaign_set, workspace.templates, *about
            )
            return _page(message)

    # --- simulations

    def _timeline(self, contact: str, at: str) -> dict[str, Any]:
        """What a contact got and will get, and why nothing of the other campaigns."""
        workspace = self._sound()
        now = datetime.fromisoformat(at)
        database = self._opened(workspace, now)
        explanation = explained(workspace, database, contact, None, now)
        here = zone(workspace.settings.timezone)
        return {
            "known_by": explanation.known_by(here),
            "past": plain(explanation.past[::-1]),
            "coming": plain(explanation.coming),
            "nothing": plain(_nothing(explanation)),
        }

    def _forecast(self, at: str, days: int) -> dict[str, Any]:
        """What the coming days hold, as the calendar and the page of caps show it."""
        workspace = self._sound()
        now = datetime.fromisoformat(at)
        until = now + timedelta(days=days)
        sums = summed(workspace, self._opened(workspace, now), now, until)
        span = {"since": plain(now), "until": plain(until)}
        timezone = workspace.settings.timezone
        return {
            "calendar": span | _calendar(sums.summary, now, until, timezone),
            "pressure": plain(pressure_rows(sums.pressure)),
        }

    # --- what they share

    def _sound(self) -> Workspace:
        """The newest files whose settings could be read. Raises Problems if there are
        none."""
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
    """Whether that is at the bottom of it, whatever it was translated into."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _send_step(campaign: Campaign, name: str) -> SendStep | None:
    """None if it is gone, or sends nothing any more."""
    for step in campaign.steps:
        if isinstance(step, SendStep) and step.id == name:
            return step
    return None


def _nothing(explanation: Explained) -> list[dict[str, Any]]:
    """Why a contact gets nothing of a campaign, as rows."""
    return [_reason_row(name, why) for name, why in explanation.nothing.items()]


def _reason_row(campaign: str, why: Reason) -> dict[str, Any]:
    return {
        "campaign": campaign,
        "code": why.code,
        "sentence": why.sentence,
        "place": why.place,
    }


# --- the pressure of caps


def pressure_rows(pressure: Pressure) -> dict[str, Any]:
    """As rows: counters with two keys are no JSON."""
    losers, winners = _sides(pressure)
    return {
        "losers": losers,
        "winners": winners,
        "displaced": _displaced_rows(pressure),
        "limits": _limit_rows(pressure),
        "campaigns": _campaign_rows(pressure),
    }


def _sides(pressure: Pressure) -> tuple[list[str], list[str]]:
    """Who was displaced by anybody, and who displaced anybody."""
    losers = {loser for loser, _ in pressure.displaced}
    winners = {winner for _, winner in pressure.displaced}
    return sorted(losers), sorted(winners)


def _displaced_rows(pressure: Pressure) -> list[dict[str, Any]]:
    """How many messages of whom gave way to whose; `shade` is from 0 to `SHADES`."""
    pairs = sorted(pressure.displaced.items())
    most = max([HANDFUL, *pressure.displaced.values()])
    return [
        {
            "displaced": loser,
            "by": winner,
            "messages": count,
            "shade": round(count / most * SHADES),
        }
        for (loser, winner), count in pairs
    ]


def _limit_rows(pressure: Pressure) -> list[dict[str, Any]]:
    """The caps by how many people are at them, and how many messages each kept back."""
    rows = [
        {
            "cap": cap,
            "people": people,
            "skipped": pressure.held_back[cap, "skipped"],
            "deferred": pressure.held_back[cap, "deferred"],
        }
        for cap, people in pressure.limits.items()
    ]
    return sorted(rows, key=itemgetter("people"), reverse=True)


def _campaign_rows(pressure: Pressure) -> list[dict[str, Any]]:
    """What became of the messages of each campaign that has any."""
    names = Counter(pressure.sent) | pressure.skipped | pressure.deferred
    return [
        {
            "campaign": name,
            "sent": pressure.sent[name],
            "skipped": pressure.skipped[name],
            "deferred": pressure.deferred[name],
        }
        for name in sorted(names)
    ]


# --- the calendar, a message


def _calendar(
    summary: Summary,
    now: datetime,
    until: datetime,
    timezone: str,
) -> dict[str, Any]:
    here = zone(timezone)
    first = local(now, here).date()
    last = local(until, here).date()
    most_first = partial(sorted, key=attrgetter("count"), reverse=True)
    rows: dict[str, Any] = plain(
        {
            "people": summary.people,
            "messages": sum(sent.count for sent in summary.sent),
            "campaigns": sorted(summary.campaigns),
            "weeks": calendar_weeks(summary, first, last, timezone),
            "steps": step_rows(summary, timezone),
            "reasons": most_first(summary.refused),
            "waits": most_first(summary.waits),
        }
    )
    return rows


def _facts(message: Message) -> dict[str, Any]:
    """A message as the page of the live preview has it; its HTML comes by itself."""
    count = CHANNELS[message.channel].segments
    return {
        "channel": message.channel,
        "subject": message.subject,
        "from": f"{message.sender.name} <{message.sender.address}>",
        "to": message.to.address,
        "text": message.text,
        "html": message.html is not None,
        "html_bytes": len((message.html or "").encode()),
        "attachments": _attachments(message),
        "segments": count(message.text) if count else None,
    }


def _attachments(message: Message) -> list[str]:
    """The names of the files; pictures that the HTML shows are none."""
    return [file.name for file in message.attachments if not file.content_id]


def _page(message: Message | None) -> bytes:
    """The HTML with its pictures; empty, if there is no message or it has none."""
    html = with_pictures(message) if message else None
    return (html or "").encode()
