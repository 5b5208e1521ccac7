"""A workspace: the folder with `campaigns/` and `templates/`, its database and its transports, put together."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path

from drip.core.campaign import Campaign, EventTrigger
from drip.core.message import Transport
from drip.core.settings import Settings
from drip.core.steps import IssueCoupon, Send
from drip.engine.book import Book, open_book
from drip.errors import DripError, Place, Problem, Problems, nearest
from drip.language.files import FOLDER as CAMPAIGNS
from drip.language.files import Loaded, load_folder
from drip.rendering.names import Used, names_in
from drip.rendering.templates import FOLDER as TEMPLATES
from drip.rendering.templates import LAYOUT, Source, Templates, endings_of
from drip.storage.database import Database, open_database

GLOBALS = frozenset(
    ("business", "contact", "event", "issue", "locale", "preheader", "subject", "topic", "unsubscribe_link",
     "preferences_link", "confirm_link", "range", "dict", "namespace", "loop", "super", "self", "0round", "0join")
)  # fmt: skip
TRANSPORTS_NOT_YET = ("apprise", "pdf", "webhook", "twilio")
HOW_SUBJECT = "begin the template with `---`, a line `subject: …`, and `---`"


@dataclass
class Workspace:
    """Opened once per command. `environment` is where secrets come from."""

    root: Path
    environment: Mapping[str, str]
    loaded: Loaded = field(init=False)
    templates: Templates = field(init=False)

    def __post_init__(self) -> None:
        if not (self.root / CAMPAIGNS).is_dir():
            raise DripError(
                f"There is no workspace in {self.root}: the folder `{CAMPAIGNS}/` is missing.",
                help="`drip init DIR` makes one; `-w DIR` or DRIP_WORKSPACE names another folder",
            )
        self.reload()

    def reload(self) -> None:
        """Reads all files anew."""
        self.loaded = load_folder(self.root)
        self.templates = Templates(self.root, self.loaded.settings.currency if self.loaded.settings else "USD")

    def fingerprint(self) -> tuple[tuple[str, float, int], ...]:
        """Changes when a file of the workspace does."""
        paths = [path for folder in (CAMPAIGNS, TEMPLATES) for path in (self.root / folder).rglob("*")]
        found = []
        for path in sorted(paths):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((str(path), status.st_mtime, status.st_size))
        return tuple(found)

    @property
    def settings(self) -> Settings:
        """Raises Problems if `_settings.yaml` is broken."""
        if self.loaded.settings is None:
            raise Problems(problem for problem in self.loaded.problems if problem.level == "error")
        return self.loaded.settings

    @property
    def timezone(self) -> str:
        """The workspace's zone; UTC while the settings are broken."""
        return self.loaded.settings.timezone if self.loaded.settings else "UTC"

    def database_path(self) -> Path:
        """DRIP_DATABASE, else `database:` of the settings, else `.drip/drip.db`."""
        # A broken settings file must not keep anybody from stopping a daemon.
        settings = self.loaded.settings
        given = self.environment.get("DRIP_DATABASE") or (settings and settings.database) or ".drip/drip.db"
        if re.match(r"postgres(ql)?\b", given):
            raise DripError("PostgreSQL is not built yet.", help="leave DRIP_DATABASE out to use SQLite")
        if "://" in given and not given.startswith("sqlite:///"):
            raise DripError(f"`{given}` is no database of drip.", help="name a file, as `.drip/drip.db`")
        return self.root / given.removeprefix("sqlite:///")

    @contextlib.contextmanager
    def database(self, now: datetime) -> Iterator[Database]:
        """The workspace's database, closed afterwards."""
        opened = open_database(self.database_path(), now)
        try:
            yield opened
        finally:
            opened.close()

    def book(self, database: Database, now: datetime) -> Book:
        """The campaigns in force; a broken file leaves its last good version in force."""
        self.settings  # noqa: B018 - raises if they are broken
        with database.write() as connection:
            book = open_book(connection, self.loaded, now)
            book.refresh(connection)
        return book

    def transports(self) -> dict[str, Transport]:
        """The transports of the settings, by channel. Raises DripError for one that cannot be set up."""
        return {channel: self._transport(channel, options) for channel, options in self.settings.transports.items()}

    def _transport(self, channel: str, options: Mapping[str, str]) -> Transport:
        place = self.settings.transport_places[channel]
        known = {entry.name: entry for entry in entry_points(group="drip.transports")}
        use = options.get("use", "")
        if use in TRANSPORTS_NOT_YET:
            raise DripError(
                f"The transport `{use}` is not built yet.", help="`use: files` writes into a folder", place=place
            )
        if use not in known:
            help = nearest(use, known, what="transports")
            raise DripError(f"There is no transport `{use}`.", help=help, place=place)
        filled = {name: self._secret(value, place) for name, value in options.items() if name not in ("use", "rate")}
        if "rate" in options:
            raise DripError("`rate` is not built yet.", help="leave it out for now", place=place)
        if "\0" in "".join(filled.values()):
            raise DripError("An option holds a character that text cannot have.", place=place)
        if "folder" in filled:
            filled["folder"] = str(self.root / filled["folder"])
        made = known[use].load()
        if channel not in made.channels:
            raise DripError(f"The transport `{use}` cannot send by {channel}.", help=nearest("", known), place=place)
        try:
            transport: Transport = made(filled)
        except ValueError as wrong:
            raise DripError(f"{wrong}.", place=place) from None
        return transport

    def _secret(self, value: str, place: Place) -> str:
        """`secret:NAME` from the environment, or from a file in the systemd or Docker secrets folder."""
        if not value.startswith("secret:"):
            return value
        name = value.removeprefix("secret:")
        if not re.fullmatch(r"[A-Za-z0-9_.-]*[A-Za-z0-9_-]", name):
            raise DripError(f"`{name}` cannot be a secret's name.", help="use letters, digits and _", place=place)
        if name in self.environment:
            return self.environment[name]
        for folder in (self.environment.get("CREDENTIALS_DIRECTORY"), "/run/secrets"):
            path = Path(folder or "/nonexistent") / name
            if path.is_file():
                return path.read_text("utf-8").strip()
        help = f"set the environment variable {name}, or put it into a file of that name in the secrets folder"
        raise DripError(f"The secret {name} is not set.", help=help, place=place)

    def problems(self) -> list[Problem]:
        """Everything that is wrong with campaigns, settings and templates, in order of their places."""
        found = list(self.loaded.problems)
        for campaign in self.loaded.campaigns.values():
            found += self._template_problems(campaign)
        found += self._transport_problems()
        return sorted(dict.fromkeys(found), key=lambda p: (p.place.file, p.place.line or 0, p.place.column or 0))

    def _transport_problems(self) -> list[Problem]:
        if self.loaded.settings is None:
            return []
        place = self.settings.place
        if self.loaded.campaigns and "email" not in self.settings.transports:
            help = "add `transports:` with `email: { use: files, folder: out }`, or `use: smtp`"
            return [Problem(place, "nothing says how e-mails leave", help)]
        return []

    def _template_problems(self, campaign: Campaign) -> list[Problem]:
        found: list[Problem] = []
        for step in campaign.steps:
            if not isinstance(step, Send):
                continue
            locales: list[str | None] = [*self.templates.variants(step.template)] or [None]
            try:
                for locale, channel in itertools.product(locales, step.channels):
                    compiled = self.templates.get(step.template, locale, channel)
                    if channel == "email" and compiled.subject is None and step.subject is None:
                        found.append(Problem(compiled.place, "the mail has no subject", HOW_SUBJECT))
                    if compiled.sender and compiled.sender not in self.settings.senders:
                        help = nearest(compiled.sender, self.settings.senders, what="senders")
                        found.append(Problem(compiled.place, f"there is no sender `{compiled.sender}`", help))
                    found += self._name_problems(campaign, step.template, locale, channel)
                for source in self.templates.contents(step.content) if step.content else ():
                    named = (self._name_problem(campaign, used, source) for used in names_in(self.templates, source))
                    found += [problem for problem in named if problem]
                self.templates.line(step.subject, str(step.place))
            except DripError as error:
                found.append(Problem(error.place or step.place, error.sentence, error.help))
        return found

    def _name_problems(self, campaign: Campaign, template: str, locale: str | None, channel: str) -> list[Problem]:
        endings = endings_of(channel)
        sources = [self.templates.source(template, locale, endings), self.templates.source(template, locale, (".txt",))]
        layout = self.templates.folder / LAYOUT
        if layout.is_file():
            sources.append(self.templates.source(LAYOUT.removesuffix(".html"), None))
        problems = []
        for source in sources:
            for used in names_in(self.templates, source) if source else ():
                problem = self._name_problem(campaign, used, source)
                problems += [problem] if problem else []
        return problems

    def _name_problem(self, campaign: Campaign, used: Used, source: Source | None) -> Problem | None:
        fields = self.settings.fields
        prefixes = campaign.event_prefixes()
        event = "event" if isinstance(campaign.trigger, EventTrigger) else None
        coupon = "coupon" if any(isinstance(step, IssueCoupon) for step in campaign.steps) else None
        survey = "survey_link" if any(isinstance(step, Send) and step.survey for step in campaign.steps) else None
        view = "view_link" if self.settings.public_url else None
        roots = {"contact", campaign.for_each, *prefixes, event, coupon, survey, view} - {None}
        if used.root not in GLOBALS | roots:
            names = sorted(str(each) for each in GLOBALS | roots if not str(each).startswith("_"))
            help = nearest(used.root, names) or "a template knows `contact`, the record, `event`, `issue`, `business`"
            return Problem(used.place, f"`{used.root}` does not exist here", help, used.source)
        if used.name is None or used.root not in fields:
            return None
        derived = {name.partition(".")[2] for name in self.settings.derived if name.startswith(f"{used.root}.")}
        known = {*fields[used.root], *derived, *(["age", *self.settings.counters] if used.root == "contact" else [])}
        if used.name in known:
            return None
        help = nearest(used.name, known, what="fields") or "declare it under `data:` in _settings.yaml"
        sentence = f"there is no field `{used.root}.{used.name}`"
        return Problem(used.place, sentence, help, used.source, code="unknown-variable")
