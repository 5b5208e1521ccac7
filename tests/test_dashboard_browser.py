"""The dashboard in a real browser (Chromium): logging in, the live preview, Stop; axe-core finds nothing wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from drip.storage.operating import holds
from tests.test_browser import WIDTHS
from tests.test_dashboard import PAGES, PASSWORD, made_desk
from tests.web import Pages, served_dashboard
from tests.world import World, at

pytestmark = pytest.mark.slow
Worlds = Callable[..., World]
NOW = at("2026-11-26 16:00")


@pytest.fixture
def dashboard(world: Worlds) -> Iterator[Pages]:
    with served_dashboard(made_desk(world), NOW) as served:
        yield served


def logged_in(dashboard: Pages, chromium: Any, **options: Any) -> Any:
    """A page of a browser in which an operator is logged in."""
    page = chromium.new_context(**options).new_page()
    page.goto(dashboard.url + "/")
    page.get_by_label("Name").fill("ana")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="What is coming").wait_for()
    return page


def test_an_operator_logs_in_and_out(dashboard: Pages, chromium: Any) -> None:
    page = chromium.new_page()
    page.goto(dashboard.url + "/health")
    page.get_by_label("Name").fill("ana")
    page.get_by_label("Password").fill("not the password")
    page.keyboard.press("Enter")
    assert "do not belong together" in page.get_by_role("alert").inner_text()
    page.get_by_label("Name").fill("ana")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Health").wait_for()
    page.get_by_role("button", name="Log out ana").click()
    page.get_by_role("button", name="Log in").wait_for()
    page.goto(dashboard.url + "/campaigns")
    assert "/login" in page.url


def test_the_calendar_comes_by_itself_once_it_is_simulated(
    dashboard: Pages, chromium: Any
) -> None:
    page = logged_in(dashboard, chromium)
    page.get_by_role("cell", name="Promotion").first.wait_for(timeout=60_000)
    assert "messages to 2 people" in page.locator("#coming .lead").inner_text()


def test_everything_is_stopped_by_one_click_and_goes_on_by_another(
    dashboard: Pages, chromium: Any
) -> None:
    page = logged_in(dashboard, chromium)
    page.get_by_role("button", name="Stop everything").click()
    assert "Everything is stopped" in page.get_by_role("status").inner_text()
    with dashboard.world.database.read() as connection:
        assert holds.EVERYTHING in holds.held_scopes(connection)
    page.get_by_role("button", name="Let everything go on").click()
    page.get_by_role("button", name="Stop everything").wait_for()
    with dashboard.world.database.read() as connection:
        assert holds.held_scopes(connection) == {}


def test_the_live_preview_follows_every_edit(dashboard: Pages, chromium: Any) -> None:
    page = logged_in(dashboard, chromium)
    page.goto(dashboard.url + "/live")
    page.get_by_label("Message").select_option(label="letter: send letter")
    page.get_by_label("Contact").fill("ana")
    page.get_by_role("button", name="Show").click()
    on_phone = page.frame_locator("iframe.phone").locator("body")
    assert "A short text" in on_phone.inner_text()
    for n in range(2):
        dashboard.world.write(
            "templates/letter.md",
            f"---\nsubject: Edit {n}\n---\nWords of edit {n} for {{{{ contact.first_name }}}}.\n",
        )
        page.frame_locator("iframe.phone").get_by_text(
            f"Words of edit {n} for Ana."
        ).wait_for(timeout=10_000)
        assert page.locator(".subject").inner_text() == f"Edit {n}"
    dashboard.world.write(
        "templates/letter.md", "---\nsubject: x\n---\n{{ contact.first_name\n"
    )
    page.get_by_role("alert").filter(has_text="templates/letter.md").wait_for(
        timeout=10_000
    )
    dashboard.world.write("templates/letter.md", "---\nsubject: x\n---\nMended\n")
    page.frame_locator("iframe.desktop").get_by_text("Mended").wait_for(timeout=10_000)


def test_contacts_are_found_while_one_types(dashboard: Pages, chromium: Any) -> None:
    page = logged_in(dashboard, chromium)
    page.goto(dashboard.url + "/contacts")
    page.get_by_role("link", name="ben").wait_for()
    page.get_by_role("searchbox").press_sequentially("ana@")
    page.get_by_role("link", name="ben").wait_for(state="detached")
    page.get_by_role("link", name="ana").click()
    page.get_by_role("heading", name="So far").wait_for()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_no_page_of_the_dashboard_breaks_a_rule_of_accessibility_or_scrolls_sideways(
    dashboard: Pages, chromium: Any, colours: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = logged_in(dashboard, chromium, color_scheme=colours)
    page.locator("#coming .calendar").wait_for(timeout=60_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    wrong = []
    for path in PAGES:
        page.goto(dashboard.url + path)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            found = Axe().run(page)
            if found.violations_count:
                wrong.append(f"{path} at {width}: {found.generate_report()}")
            if page.evaluate("document.documentElement.scrollWidth") > width:
                wrong.append(f"{path} is wider than {width}")
    assert (wrong, said) == ([], [])
