"""One workspace as its pages know it: the files in force, the database, the clock; how a page is made."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from babel.dates import format_date
from jinja2 import Environment, FileSystemLoader
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse

from drip.core.message import TransportDown
from drip.core.settings import Settings
from drip.core.token import OWN_DATA, Link, verify
from drip.engine.campaign_set import CampaignSet
from drip.engine.repeating import Repeating
from drip.errors import DripError
from drip.inbound.providers import Provider
from drip.lint.contrast import contrast
from drip.storage.base.database import Database, link_keys
from drip.storage.people import erasing
from drip.storage.people.contacts import Contact
from drip.transports.posting import address_of, get
from drip.web.guard import Limit
from drip.web.visitors import customer, plain
from drip.web.words import catalogue, language_for, own_names
from drip.web.writing import Writer
from drip.workspace import Workspace

HERE = Path(__file__).parent
# Keys of links and files are looked at again after this.
FRESH_S = 2.0
# `/health` tells of what last went well so long ago. Opening the campaigns may have to wait for the database's lock.
KEYS_LATE_S, FILES_LATE_S = 10.0, 90.0
# Of one address in a minute: what is no link of ours; sign-ups; wrong tokens. Of one token: requests. Of one contact: choices.
WRONG_LINKS, SIGN_UPS, WRONG_TOKENS, REQUESTS, CHOICES = 60, 10, 20, 6_000, 20
FETCH_TIMEOUT_S, FETCHING = 10, 4
log = logging.getLogger("drip.web")
Result = TypeVar("Result")


class AppState:
    """Shared by all requests. `passed_s` is a stopwatch."""

    def __init__(
        self,
        workspace: Workspace,
        database: Database,
        clock: Callable[[], datetime],
        passed_s: Callable[[], float],
    ) -> None:
        self.workspace, self.database, self.clock, self.passed_s = (
            workspace,
            database,
            clock,
            passed_s,
        )
        self.writer = Writer(database, passed_s)
        self._keys_looked_at = Repeating(
            "Reading the keys of links from the database", passed_s, log, KEYS_LATE_S
        )
        self._files_looked_at = Repeating(
            "Looking at the files of campaigns and templates",
            passed_s,
            log,
            FILES_LATE_S,
        )
        self._writer_looked_at = Repeating(
            "Trying once more to store", passed_s, log, FILES_LATE_S
        )
        self.wrong_links = Limit(WRONG_LINKS, 60, passed_s)
        self.sign_ups = Limit(SIGN_UPS, 60, passed_s)
        self.choices = Limit(CHOICES, 60, passed_s)
        self.wrong_tokens = Limit(WRONG_TOKENS, 60, passed_s)
        self.requests = Limit(REQUESTS, 60, passed_s)
        self._seen: object = None
        self._told = ""
        # Fetching for providers has threads of its own.
        self.few = anyio.CapacityLimiter(FETCHING)
        self._keys: dict[str, bytes] = {}
        self.providers: Mapping[str, Provider] = {}
        self.campaign_set: CampaignSet
        self.style = self.style_address = ""
        self._pages: dict[str, Environment] = {}
        with database.read() as connection:
            self._keys = link_keys(connection)
        self._seen = workspace.fingerprint()
        self._take(workspace, workspace.providers(fetch))

    async def keep_fresh(self) -> None:
        """Looks after keys, files and the writer again and again, beside the requests. It never ends by itself."""
        async with anyio.create_task_group() as beside:
            beside.start_soon(
                self._repeat, self._keys_looked_at, _in_own_thread(self._look_at_keys)
            )
            beside.start_soon(
                self._repeat, self._files_looked_at, _in_own_thread(self._look_at_files)
            )
            beside.start_soon(self._repeat, self._writer_looked_at, self.writer.look)

    async def _repeat(
        self, task: Repeating, look: Callable[[], Awaitable[None]]
    ) -> None:
        task.begin()
        while True:
            await anyio.sleep(FRESH_S)
            with task.attempt():
                await look()

    def _look_at_keys(self) -> None:
        with self.database.read() as connection:
            self._keys = link_keys(connection)

    def _look_at_files(self) -> None:
        """Reads the files again where one has changed. Those with an error leave the last good ones in force, and are read again."""
        seen = self.workspace.fingerprint()
        if seen == self._seen:
            self._told = ""
            return
        try:
            fresh = Workspace(self.workspace.root, self.workspace.environment)
            providers = fresh.providers(fetch)
        except DripError as error:
            if str(error) != self._told:
                self._told = str(error)
                log.error(
                    "The last good files stay in force: %s",
                    error,
                    extra={"action": "kept"},
                )
            return
        self._take(fresh, providers)
        self._seen, self._told = seen, ""

    def troubles(self) -> list[str]:
        """What keeps the pages from being well, in sentences. They hold nothing that may not be shown to everybody.

        Nothing is asked for it: whoever wants to know has an answer, however busy threads and database are.
        """
        lates = [
            task.late
            for task in (
                self._keys_looked_at,
                self._files_looked_at,
                self._writer_looked_at,
            )
        ]
        return [each for each in (*lates, self.writer.trouble) if each]

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.workspace.settings

    def link(self, token: str, *purposes: str) -> Link | None:
        """The link that a token stands for, if it is ours and for one of these purposes."""
        link = verify(token, self._keys) if len(token) < 1000 else None
        return link if link and link.purpose in purposes else None

    def data_link(self, token: str) -> Link | None:
        """The link to somebody's data that a token stands for, over or not. A newer key ends it, whatever becomes of the old one."""
        newest = dict(list(self._keys.items())[-1:])
        link = verify(token, newest) if len(token) < 1000 else None
        return link if link and link.purpose == OWN_DATA else None

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` finds in a snapshot."""

        def look() -> Result:
            with self.database.read() as connection:
                return work(connection)

        return await run_sync(look)

    def forget(self, person: Contact) -> None:
        """Erases a person, under every key that has the same e-mail address: whoever reads its mail has shown that."""
        now = self.clock()
        with self.database.read() as connection:
            others = erasing.same_address(connection, person)
        for each in (person, *others):
            for paper in self.workspace.forget(self.database, each.id, now):
                said = "%s may still hold an erased person, and cannot be written: delete it by hand."
                log.error(said, paper, extra={"action": "uncleared"})
        if why := self.workspace.clear(self.database, now):
            log.warning(
                "Something is left in files of an erased person: %s.",
                why,
                extra={"action": "uncleared"},
            )

    def language(self, request: Request, locale: str | None = None) -> str:
        """The reader's: that of the contact, else the browser's, else the workspace's."""
        return language_for(
            locale,
            accepted=request.headers.get("accept-language", ""),
            else_=self.settings.locale,
        )

    def page(
        self, name: str, language: str, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """A page in a language."""
        return HTMLResponse(
            self.text(name, language, **values),
            status,
            headers={"Content-Language": language},
        )

    def text(self, name: str, language: str, **values: Any) -> str:
        """The HTML of a page."""
        shared = {
            "business": self.settings.business_name,
            "address": self.settings.business_address,
            "language": language,
            "languages": own_names(),
            "style": self.style_address,
        }
        if language not in self._pages:
            self._pages[language] = _environment(language)
        return self._pages[language].get_template(name).render(shared | values)

    def _take(self, fresh: Workspace, providers: Mapping[str, Provider]) -> None:
        """These files are in force from here on, or none of them. Raises DripError and Shortage."""
        campaign_set, sheet = (
            fresh.campaign_set(self.database, self.clock()),
            (HERE / "static" / "pages.css").read_text("utf-8"),
        )
        self.workspace, self.providers, self.campaign_set = (
            fresh,
            providers,
            campaign_set,
        )
        accent = self.settings.colour
        above = max("#ffffff", "#000000", key=lambda each: contrast(accent, each))
        colours = f":root {{ --accent: {accent}; --on-accent: {above}; }}\n"
        # The style sheet, in the business' colour; another one has another address, so that it can be kept for long.
        self.style = colours + sheet
        self.style_address = f"/static/pages.css?{digest(self.style)}"


def _in_own_thread(look: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    """In a thread that no request may have, so that slow requests put off no look."""
    return partial(run_sync, look, limiter=anyio.CapacityLimiter(1))


def _environment(language: str) -> Environment:
    """The pages in a language."""
    made = Environment(
        loader=FileSystemLoader(HERE / "pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_translations(catalogue(language), newstyle=True)  # type: ignore[attr-defined]  # the extension adds it
    made.filters["day"] = lambda at: format_date(at, format="long", locale=language)
    return made


def digest(text: str) -> str:
    """A short hash of a text."""
    return sha256(text.encode()).hexdigest()[:16]


def fetch(address: str) -> bytes:
    """What is at an address of Amazon's. Raises DripError."""
    try:
        answer = get(address_of(address, private=False), FETCH_TIMEOUT_S)
    except TransportDown as down:
        raise DripError(str(down), help=down.help) from None
    if answer.status != 200:
        raise DripError(f"{address.partition('?')[0]} answers {answer.status}.")
    return answer.body


def address_of_reader(request: Request) -> str:
    """The address that a request comes from: what is kept as a proof."""
    return plain(request.client.host) if request.client else ""


def whose(request: Request) -> str:
    """What floods are counted by."""
    return customer(address_of_reader(request))


async def form_of(request: Request, most: int = 10) -> list[tuple[str, str]]:
    """A form's fields in their order, without what no database holds: NUL, and half a character of UTF-16."""
    found = await request.form(max_files=0, max_fields=most)
    return [
        (_clean(name), _clean(value))
        for name, value in found.multi_items()
        if isinstance(value, str)
    ]


def _clean(text: str) -> str:
    """Whoever sends a form says how it is encoded."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
