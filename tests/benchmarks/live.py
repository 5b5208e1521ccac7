"""The live preview: how long after an edit a browser shows it."""

from __future__ import annotations

import shutil
import time

from drip.cli.demo import import_people
from drip.cli.sample import copy_sample, write_people
from drip.storage.operating import operators
from drip.web.dashboard import make_dashboard
from drip.web.dashboard.passwords import hash_of
from drip.workspace import Workspace
from tests.benchmarks.scale import RUNS, folder, say
from tests.browser import browser
from tests.web import serving
from tests.world import at

NOW = at("2026-11-22 12:00")
PASSWORD = "correct horse battery staple"
QUERY = "campaign=birthday&step=send+birthday%2Fcard&contact=ana"


def live(runs: int = RUNS) -> None:
    """The gallery, whose birthday card is edited: seconds from the file's new text to its words in the frame (Chromium)."""
    with folder() as root, browser() as chromium:
        shutil.rmtree(root)
        root.mkdir()
        copy_sample(root, NOW.date())
        workspace = Workspace(root, {})
        with workspace.database(NOW) as database:
            import_people(workspace, database, write_people(root, NOW.date()), NOW)
            with database.write() as connection:
                operators.add(connection, "ana", hash_of(PASSWORD), NOW)
            with serving(
                make_dashboard(workspace, database, lambda: NOW, time.monotonic)
            ) as url:
                page = chromium.new_page()
                page.goto(f"{url}/login?next=/health")
                page.get_by_label("Name").fill("ana")
                page.get_by_label("Password").fill(PASSWORD)
                page.get_by_role("button", name="Log in").click()
                page.goto(f"{url}/live?{QUERY}")
                card = root / "templates" / "birthday" / "card.md"
                text, took = card.read_text("utf-8"), []
                for n in range(runs + 1):
                    card.write_text(f"{text}\n\nEdit number {n}.\n", "utf-8")
                    began = time.monotonic()
                    page.frame_locator("iframe.phone").get_by_text(
                        f"Edit number {n}."
                    ).wait_for(timeout=30_000)
                    took.append(time.monotonic() - began)
        # The first has to write everything for the first time.
        say("live preview: from an edit to the browser", took[1:], "s")
