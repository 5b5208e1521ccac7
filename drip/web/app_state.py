"""One workspace as its pages know it: the files in force, the database, the clock; how
a page is made."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
from anyio.to_thread import run_sync
from babel.dates import format_date
from jinja2 import Environment, FileSystemLoader
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse

from drip.commands.forgetting import BY_THEMSELVES, forget
from drip.commands.orders import Order
from drip.core.clock import Clock, Stopwatch
from drip.core.message import TransportDown
from drip.core.settings import Settings
from drip.core.token import OWN_DATA, Link, verify
from drip.engine.campaign_set import CampaignSet
from drip.engine.repeating import Repeating
from drip.errors import DripError
from drip.inbound.providers.protocol import Provider
from drip.lint.contrast import contrast
from drip.storage.base.database import Database, link_keys
from drip.storage.people import erasing
from drip.storage.people.contacts import Contact
from drip.transports.posting import address_of, get
from drip.web.guard import Limit
from drip.web.visitors import customer, plain
from drip.web.words import catalogue, language_for, own_names
from drip.web.writing import Writer
from drip.workspace import OWN, Workspace

HERE = Path(__file__).parent
# In characters. Ours have some hundred; nobody has us check a book.
LONGEST_TOKEN = 1_000
# Keys of links and files are looked at again after this.
FRESH_S = 2.0
# `/health` tells of what last went well so long ago.
KEYS_LATE_S = 10.0
# Opening the campaigns may have to wait for the database's lock.
FILES_LATE_S = 90.0
# Of one address in a minute. A link of ours is not counted: many people can have one
# address.
WRONG_LINKS = 60
SIGN_UPS = 10
WRONG_TOKENS = 20
# Of one token in a minute.
REQUESTS = 6_000
# Of one contact in a minute.
CHOICES = 20
FETCH_TIMEOUT_S = 10
# Certificates that are fetched at once.
FETCHING = 4
log = logging.getLogger("drip.web")
Result = TypeVar("Result")
Given = ParamSpec("Given")


class AppState:
    """Shared by all requests. `passed_s` is a stopwatch."""

    def __init__(
        self,
        workspace: Workspace,
        database: Database,
        clock: Clock,
        passed_s: Stopwatch,
    ) -> None:
        self.workspace = workspace
        self.database = database
        self.clock = clock
        self.passed_s = passed_s
        self.writer = Writer(database, passed_s)
        self._make_limits()
        # Fetching for providers has threads of its own.
        self.few = anyio.CapacityLimiter(FETCHING)
        self._pages: dict[str, Environment] = {}
        self._keys: dict[str, bytes] = {}
        # Why the files cannot be read, as it was said last.
        self._wrong = ""
        self.providers: Mapping[str, Provider] = {}
        self.campaign_set: CampaignSet
        self.style = self.style_address = ""
        self._make_tasks()
        self._look_at_keys()
        self._seen: object = workspace.fingerprint()
        self._take(workspace, workspace.providers(fetch))

    def _make_limits(self) -> None:
        per_minute = partial(Limit, in_s=60, passed_s=self.passed_s)
        self.wrong_links = per_minute(WRONG_LINKS)
        self.sign_ups = per_minute(SIGN_UPS)
        self.choices = per_minute(CHOICES)
        self.wrong_tokens = per_minute(WRONG_TOKENS)
        self.requests = per_minute(REQUESTS)

    def _make_tasks(self) -> None:
        """What is repeated, each with what one turn of it does."""
        self._looks: dict[Repeating, Callable[[], Awaitable[None]]] = {
            self._task(
                "Reading the keys of links from the database", KEYS_LATE_S
            ): _in_own_thread(self._look_at_keys),
            self._task(
                "Looking at the files of campaigns and templates", FILES_LATE_S
            ): _in_own_thread(self._look_at_files),
            self._task("Trying once more to store", FILES_LATE_S): self.writer.look,
        }

    def _task(self, name: str, late_s: float) -> Repeating:
        return Repeating(name, self.passed_s, log, late_s)

    async def keep_fresh(self) -> None:
        """Looks after keys, files and the writer again and again, beside the requests.
        It never ends by itself."""
        async with anyio.create_task_group() as beside:
            for task, look in self._looks.items():
                beside.start_soon(self._repeat, task, look)

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
        """Reads the files again where one has changed. Those with an error leave the
        last good ones in force, and are read again."""
        seen = self.workspace.fingerprint()
        if seen == self._seen:
            self._wrong = ""
            return
        try:
            fresh = Workspace(self.workspace.root, self.workspace.environment)
            providers = fresh.providers(fetch)
        except DripError as error:
            self._say_once(error)
            return
        self._take(fresh, providers)
        self._seen = seen
        self._wrong = ""

    def _say_once(self, error: DripError) -> None:
        if str(error) != self._wrong:
            self._wrong = str(error)
            log.error(
                "The last good files stay in force: %s",
                error,
                extra={"action": "kept"},
            )

    def troubles(self) -> list[str]:
        """What keeps the pages from being well, in sentences. They hold nothing that
        may not be shown to everybody.

        Nothing is asked for it: whoever wants to know has an answer, however busy
        threads and database are.
        """
        sentences = [task.late for task in self._looks]
        return list(filter(None, (*sentences, self.writer.trouble)))

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.workspace.settings

    def link(self, token: str, *purposes: str) -> Link | None:
        """The link that a token stands for, if it is ours and for one of these
        purposes."""
        link = verify(token, self._keys) if len(token) < LONGEST_TOKEN else None
        return link if link and link.purpose in purposes else None

    def data_link(self, token: str) -> Link | None:
        """The link to somebody's data that a token stands for, over or not. A newer key
        ends it, whatever becomes of the old one."""
        if len(token) >= LONGEST_TOKEN:
            return None
        newest = dict(list(self._keys.items())[-1:])
        link = verify(token, newest)
        return link if link and link.purpose == OWN_DATA else None

    async def read(
        self,
        work: Callable[Concatenate[Connection, Given], Result],
        *given: Given.args,
        **named: Given.kwargs,
    ) -> Result:
        """What `work(connection, …)` finds in a snapshot."""

        def look() -> Result:
            with self.database.read() as connection:
                return work(connection, *given, **named)

        return await run_sync(look)

    def forget(self, person: Contact) -> None:
        """Erases a person, under every key that has the same e-mail address: whoever
        reads its mail has shown that."""
        now = self.clock()
        order, own = Order(BY_THEMSELVES, now), self.workspace.root / OWN
        with self.database.read() as connection:
            others = erasing.same_address(connection, person)
        for contact in (person, *others):
            for paper in forget(self.database, own, order, contact.id):
                log.error(
                    "%s may still hold an erased person, and cannot be written: "
                    "delete it by hand.",
                    paper,
                    extra={"action": "uncleared"},
                )
        if why := self.workspace.clear(self.database, now):
            log.warning(
                "Something is left in files of an erased person: %s.",
                why,
                extra={"action": "uncleared"},
            )

    def language(self, request: Request, locale: str | None = None) -> str:
        """The reader's: that of the contact, else the browser's, else the
        workspace's."""
        return language_for(
            locale,
            accepted=request.headers.get("accept-language", ""),
            else_=self.settings.locale,
        )

    def page(
        self,
        name: str,
        language: str,
        status: int = 200,
        **values: Any,
    ) -> HTMLResponse:
        """A page in a language."""
        return HTMLResponse(
            self.text(name, language, **values),
            status,
            headers={"Content-Language": language},
        )

    def text(
        self,
        name: str,
        language: str,
        **values: Any,
    ) -> str:
        """The HTML of a page."""
        if language not in self._pages:
            self._pages[language] = _environment(language)
        template = self._pages[language].get_template(name)
        return template.render(
            {
                "business": self.settings.business_name,
                "address": self.settings.business_address,
                "language": language,
                "languages": own_names(),
                "style": self.style_address,
                **values,
            }
        )

    def _take(self, fresh: Workspace, providers: Mapping[str, Provider]) -> None:
        """These files are in force from here on, or none of them. Raises DripError and
        Shortage."""
        campaign_set = fresh.campaign_set(self.database, self.clock())
        style = _style(fresh.settings.colour)
        self.workspace = fresh
        self.providers = providers
        self.campaign_set = campaign_set
        # Another sheet has another address, so that it can be kept for long.
        self.style = style
        self.style_address = f"/static/pages.css?{digest(style)}"


def _style(accent: str) -> str:
    """The style sheet, in the business' colour, with letters that can be read on it."""
    above = max("#ffffff", "#000000", key=partial(contrast, accent))
    colours = f":root {{ --accent: {accent}; --on-accent: {above}; }}\n"
    return colours + (HERE / "static" / "pages.css").read_text("utf-8")


def state_of(request: Request) -> AppState:
    """The workspace whose page is asked for."""
    state: AppState = request.app.state.app_state
    return state


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
    # The extension adds the method.
    made.install_gettext_translations(catalogue(language), newstyle=True)  # type: ignore[attr-defined]
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
    """A form's fields in their order, without what no database holds: NUL, and half a
    character of UTF-16."""
    found = await request.form(max_files=0, max_fields=most)
    return [
        (_clean(name), _clean(value))
        for name, value in found.multi_items()
        if isinstance(value, str)
    ]


def _clean(text: str) -> str:
    """Whoever sends a form says how it is encoded."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
