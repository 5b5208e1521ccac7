"""A workspace for tests: files written, people added, the stages run at a given time, the ledger read."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from textwrap import dedent

from drip import private
from drip.core.message import Message, Receipt
from drip.engine.dispatch_result import DispatchResult
from drip.engine.dispatcher import Dispatcher
from drip.engine.entry import Enroller
from drip.engine.tick import tick
from drip.importing import importer
from drip.importing.batches import ImportReport
from drip.importing.rows import open_table
from drip.preview.simulator import simulate
from drip.storage.base.database import Database
from drip.storage.base.opening import create_database, open_database
from drip.storage.base.places import server
from drip.storage.base.sqlite import SqliteDatabase
from drip.storage.operating import daemons
from drip.storage.reading.ledger import LedgerRow, entries
from drip.transports.memory import MemoryTransport
from drip.workspace import Workspace

SETTINGS = """
business: { name: Maple Street, address: "12 Maple Street, Springfield" }
timezone: America/Chicago
topics:
  news: { title: News, opt_in: single }
  service: { title: Service, opt_in: implied }
senders: { default: Maple Street <hello@maplestreet.example> }
transports:
  email: { use: memory }
data:
  contact: { first_name: text, last_name: text, birthday: birthday, visits: number, joined: date }
  vehicle:
    model: text
    status: [active, sold]
    last_service: date
    due: 6 months after last_service
"""
# When the databases of worlds were made.
MADE = datetime(2020, 1, 1, tzinfo=UTC)
# One message to everybody who may be written to about `service`.
LETTER = """
name: Letter
topic: service
trigger: { schedule: 2026-11-26 10:00 }
steps: [send: letter]
"""
TEMPLATE = "---\nsubject: Hello {{ contact.first_name|default('there') }}\n---\nA *short* text.\n"


def at(text: str) -> datetime:
    """An instant in UTC: `at("2026-11-22 10:00")`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _opened(folder: Path, address: str | None) -> Database:
    """A fresh database: a file that is copied from the first one, or that of the server, made by whoever gave its address."""
    if address:
        return open_database(server(address, folder), MADE)
    private.folder(folder)
    path = folder / "drip.db"
    shutil.copy(_template(), path)
    return SqliteDatabase(path)


@cache
def _template() -> Path:
    """A fresh database; to make one takes 74 statements, to copy one a file of 400 KB."""
    folder = tempfile.mkdtemp(prefix="drip-template-")
    atexit.register(shutil.rmtree, folder)
    path = Path(folder) / "drip.db"
    create_database(path, MADE).close()
    return path


class World:
    """One workspace in a folder. `settings` are lines added to (or replacing) the plain ones above.

    Its database is a file, or the one at `address`.
    """

    def __init__(
        self,
        root: Path,
        campaigns: Mapping[str, str],
        settings: str = "",
        templates: str = TEMPLATE,
        address: str | None = None,
    ) -> None:
        self.root = root
        self.write(
            "campaigns/_settings.yaml",
            _merged(settings) + (f"database: {address}\n" if address else ""),
        )
        for name, text in campaigns.items():
            self.write(f"campaigns/{name}.yaml", dedent(text))
        self._templates = templates
        self.transport = MemoryTransport()
        self.transports: dict[str, MemoryTransport] = {}
        self.answer: Callable[[Message], Receipt] | None = None
        self.workspace = self._workspace()
        self.database = _opened(root / ".drip", address)
        self._enroller = Enroller()

    def _workspace(self) -> Workspace:
        workspace = Workspace(self.root, {})
        names = {
            step.template
            for each in workspace.loaded.campaigns.values()
            for step in each.steps
            if hasattr(step, "template")
        }
        for name in names:
            if not list((self.root / "templates").glob(f"{name}.*")):
                self.write(f"templates/{name}.md", self._templates)
        return workspace

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def reload(self) -> None:
        self.workspace = self._workspace()

    def contacts(self, *rows: str, now: str = "2026-01-01") -> ImportReport:
        """CSV lines, the first of which names the columns."""
        return self._import(
            "contacts.csv",
            rows,
            lambda table: importer.import_contacts(
                self.database, self.workspace.settings, table, {}, "test", at(now)
            ),
        )

    def vehicles(self, *rows: str, now: str = "2026-01-01") -> ImportReport:
        return self._import(
            "vehicles.csv",
            rows,
            lambda table: importer.import_records(
                self.database, self.workspace.settings, "vehicle", table, {}, at(now)
            ),
        )

    def events(self, *rows: str) -> ImportReport:
        return self._import(
            "events.csv",
            rows,
            lambda table: importer.import_events(
                self.database, self.workspace.settings, table, {}
            ),
        )

    def _import(
        self,
        name: str,
        rows: tuple[str, ...],
        take: Callable[..., ImportReport],
    ) -> ImportReport:
        self.write(name, "\n".join(rows) + "\n")
        return take(open_table(self.root / name))

    def tick(self, now: str | datetime) -> DispatchResult:
        """Plans and dispatches once."""
        when = at(now) if isinstance(now, str) else now
        campaign_set = self.workspace.campaign_set(self.database, when)
        transport = (
            MemoryTransport(answer=self.answer) if self.answer else self.transport
        )
        transports = self.transports or {"email": transport}
        with self.database.write() as connection:
            number = daemons.start_daemon(connection, 1, when)
        dispatcher = Dispatcher(
            self.database, self.workspace.templates, transports, lambda: when, number
        )
        result = tick(campaign_set, self._enroller, dispatcher)
        if transport is not self.transport:
            self.transport.messages += transport.messages
        return result

    def run(self, start: str, end: str) -> None:
        """Everything from `start` to `end`, at the instants at which something is due."""
        campaign_set = self.workspace.campaign_set(self.database, at(start))
        simulate(
            self.database,
            campaign_set,
            self.workspace.templates,
            {"email": self.transport},
            at(start),
            at(end),
        )

    def ledger(self) -> list[LedgerRow]:
        with self.database.read() as connection:
            return list(entries(connection))

    def timeline(
        self,
        contact: str | None = None,
        outcomes: tuple[str, ...] = ("sent", "skipped", "exited"),
    ) -> list[str]:
        """`2026-02-28 14:00 sent send card` for each line, in UTC; skips and exits with their code."""
        return [
            " ".join(
                part
                for part in (
                    f"{each.at:%Y-%m-%d %H:%M}",
                    each.outcome,
                    each.step or each.campaign,
                    f"({each.code})" if each.code else "",
                )
                if part
            )
            for each in self.ledger()
            if each.outcome in outcomes and contact in (None, each.contact)
        ]

    def sent(self, contact: str | None = None) -> list[str]:
        return [line[:16] for line in self.timeline(contact, ("sent",))]


def _merged(settings: str) -> str:
    """The plain settings with top-level keys replaced by those of `settings`."""
    lines = dedent(settings).strip("\n")
    keys = {
        line.split(":")[0]
        for line in lines.splitlines()
        if line and not line.startswith((" ", "#"))
    }
    kept, keep = [], True
    for line in SETTINGS.strip("\n").splitlines():
        if not line.startswith(" "):
            keep = line.split(":")[0] not in keys
        if keep:
            kept.append(line)
    return "\n".join([*kept, lines]) + "\n"
