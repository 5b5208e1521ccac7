"""Draws the pictures of the README: `python -m tests.pictures`. A test holds the preview's to what this draws."""

from __future__ import annotations

import re
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from drip.cli.demo import import_people
from drip.cli.preview import looking_ahead
from drip.cli.sample import copy_sample, write_people
from drip.cli.show import Shown, picture
from drip.core.token import Link, sign
from drip.storage.base.database import link_keys
from drip.storage.operating import operators
from drip.web import make_app
from drip.web.dashboard import make_dashboard
from drip.web.dashboard.passwords import hash_of
from drip.workspace import Workspace
from tests.browser import browser
from tests.web import serving

PASSWORD = "correct horse battery staple"

FOLDER = Path(__file__).parent.parent / ".readme"
PICTURE = FOLDER / "preview.svg"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAYS = 30


def draw() -> str:
    """The preview of the sample workspace and its invented people, as SVG; always the same."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = _sample(Path(folder))
        with workspace.database(NOW) as database:
            import_people(
                workspace, database, write_people(Path(folder), date(2026, 11, 22)), NOW
            )
            end = NOW + timedelta(days=DAYS)
            with looking_ahead(workspace, database, NOW, end) as found:
                sums = found.sums().summary
        titles = {
            key: campaign.title for key, campaign in workspace.loaded.campaigns.items()
        }
        console = Console(
            record=True,
            width=100,
            file=StringIO(),
            force_terminal=True,
            highlight=False,
        )
        console.print(
            picture(Shown(titles, NOW, end, workspace.settings.timezone), sums)
        )
    plain = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.S)
    svg = console.export_svg(title="drip preview", code_format=plain, unique_id="drip")
    return svg.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")


def take() -> None:
    """Pictures of two pages, of the same workspace: the dashboard on a desktop, the preference page on a phone."""
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        workspace = _sample(Path(folder))
        settings = Path(folder) / "campaigns" / "_settings.yaml"
        settings.write_text(
            f"{settings.read_text('utf-8')}\npublic_url: https://mail.maplestreet.example\n",
            "utf-8",
        )
        workspace.reload()
        with workspace.database(NOW) as database:
            import_people(
                workspace, database, write_people(Path(folder), date(2026, 11, 22)), NOW
            )
            with database.write() as connection:
                operators.add(connection, "ana", hash_of(PASSWORD), NOW)
                key_id, secret = list(link_keys(connection).items())[-1]
            arguments = (workspace, database, lambda: NOW, time.monotonic)
            with serving(make_dashboard(*arguments)) as url:
                page = chromium.new_page(viewport={"width": 1280, "height": 800})
                page.goto(url)
                page.get_by_label("Name").fill("ana")
                page.get_by_label("Password").fill(PASSWORD)
                page.get_by_role("button", name="Log in").click()
                page.locator("#coming .calendar").wait_for(timeout=120_000)
                page.screenshot(path=FOLDER / "dashboard.png")
            with serving(make_app(*arguments)) as url:
                page = chromium.new_page(viewport={"width": 375, "height": 760})
                page.goto(
                    f"{url}/preferences/{sign(Link('preferences', 1, 'newsletter'), key_id, secret)}"
                )
                page.screenshot(path=FOLDER / "preferences.png")


def _sample(folder: Path) -> Workspace:
    copy_sample(folder, date(2026, 11, 22))
    return Workspace(folder, {})


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    PICTURE.write_text(draw(), "utf-8")
    take()
