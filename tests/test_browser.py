"""The pages in a real browser (Chromium): what a person does there, by keyboard and pointer; axe-core finds nothing wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest

from drip.storage.people import consents, events
from tests.test_pages import NOW, shop
from tests.web import Pages, pages
from tests.world import World

pytestmark = pytest.mark.slow
Worlds = Callable[..., World]
WIDTHS = (320, 375, 1280)


@pytest.fixture
def site(world: Worlds) -> Iterator[Pages]:
    with pages(shop(world, "en"), NOW) as served:
        yield served


def every_page(site: Pages) -> dict[str, str]:
    preferences = site.token("preferences")
    return {
        "unsubscribe": f"/unsubscribe/{site.token('unsubscribe')}",
        "confirm": f"/confirm/{site.token('confirm')}",
        "preferences": f"/preferences/{preferences}",
        "preferences in German": f"/preferences/{site.token('preferences', contact=2)}",
        "erase": f"/preferences/{preferences}/erase",
        "survey": f"/survey/{site.token('survey', detail='satisfaction:2')}",
        "sign up": "/sign-up/news",
        "nothing": "/nothing",
    }


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_no_page_breaks_a_rule_of_accessibility_or_scrolls_sideways(
    site: Pages, chromium: object, colours: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    wrong = []
    for width in WIDTHS:
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=colours
        )  # type: ignore[attr-defined]
        page = context.new_page()
        for name, path in every_page(site).items():
            page.goto(site.url + path)
            found = Axe().run(page)
            if found.violations_count:
                wrong.append(f"{name} at {width}: {found.generate_report()}")
            if page.evaluate("document.documentElement.scrollWidth") > width:
                wrong.append(f"{name} is wider than {width}")
        context.close()
    assert wrong == []


def test_a_person_unsubscribes_and_is_told(site: Pages, chromium: object) -> None:
    page = chromium.new_page()  # type: ignore[attr-defined]
    page.goto(f"{site.url}/unsubscribe/{site.token('unsubscribe')}")
    page.get_by_role("button", name="Unsubscribe", exact=True).click()
    assert (
        "no more messages about “Thursday news”"
        in page.get_by_role("status").inner_text()
    )
    with site.world.database.read() as connection:
        assert not consents.log_of(connection, 1)[-1].given
    assert page.context.cookies() == []


def test_a_person_confirms_by_the_keyboard(site: Pages, chromium: object) -> None:
    page = chromium.new_page()  # type: ignore[attr-defined]
    page.goto(f"{site.url}/confirm/{site.token('confirm', contact=2, run=1)}")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    with site.world.database.read() as connection:
        assert consents.log_of(connection, 2)[-1].given


def test_a_person_changes_preferences(site: Pages, chromium: object) -> None:
    page = chromium.new_page()  # type: ignore[attr-defined]
    page.goto(f"{site.url}/preferences/{site.token('preferences')}")
    page.get_by_role("group", name="Offers").get_by_label("by e-mail").uncheck()
    page.get_by_role("group", name="Thursday news").get_by_label("by SMS").check()
    page.get_by_label("Language").select_option("fr")
    page.get_by_role("button", name="Save").click()
    assert page.get_by_role("status").inner_text() == "Enregistré."
    assert (
        page.get_by_role("group", name="Thursday news")
        .get_by_label("par SMS")
        .is_checked()
    )
    assert (
        not page.get_by_role("group", name="Offers")
        .get_by_label("par e-mail")
        .is_checked()
    )


def answered(site: Pages) -> list[dict[str, str]]:
    with site.world.database.read() as connection:
        found = events.events_of(connection, [1], ["survey.answered"]).get(1, [])
    return [dict(each.fields) for each in found]


def _soon(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + 5
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()


def test_a_click_answers_a_survey_once_a_person_is_seen(
    site: Pages, chromium: object
) -> None:
    path = f"{site.url}/survey/{site.token('survey', run=3, detail='satisfaction:2')}"
    scanner = chromium.new_page()  # type: ignore[attr-defined]
    scanner.goto(path)
    scanner.wait_for_timeout(500)
    scanner.close(run_before_unload=True)
    time.sleep(0.5)
    assert answered(site) == [], "who only looks has not answered"
    page = chromium.new_page()  # type: ignore[attr-defined]
    page.goto(path)
    page.mouse.move(50, 60)
    page.get_by_label(re.compile("tell us more")).fill("It was cold")
    page.goto("about:blank")
    left = {
        "survey": "satisfaction",
        "score": "2",
        "comment": "It was cold",
        "unfinished": "yes",
    }
    assert _soon(lambda: answered(site) == [left])


def test_a_survey_works_without_scripts(site: Pages, chromium: object) -> None:
    context = chromium.new_context(java_script_enabled=False)  # type: ignore[attr-defined]
    page = context.new_page()
    page.goto(
        f"{site.url}/survey/{site.token('survey', run=3, detail='satisfaction:2')}"
    )
    page.get_by_label("4", exact=True).check()
    page.get_by_role("button", name="Send").click()
    assert "4 of 5" in page.get_by_role("status").inner_text()
    assert answered(site) == [{"survey": "satisfaction", "score": "4"}]


def test_a_person_signs_up(site: Pages, chromium: object) -> None:
    page = chromium.new_page()  # type: ignore[attr-defined]
    page.goto(f"{site.url}/sign-up/news")
    page.get_by_label("E-mail address").fill("new@example.com")
    page.get_by_role("button", name="Yes, send me Thursday news").click()
    assert "We have sent you a message" in page.get_by_role("status").inner_text()
