"""The preview as a page: self-contained, with the samples that matter, and safe whatever people are called."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from tests.cli import drip
from tests.world import World

Worlds = Callable[..., World]
CAMPAIGNS = {
    "card": "name: Birthday <b>card</b>\ntopic: service\ntrigger: { date: contact.birthday, repeat: yearly }\nsteps: [send: card]\n",
    "letter": "name: Letter\ntopic: news\ntrigger: { schedule: every Thursday at 10:00 }\nsteps: [send: letter, wait: 1 day, send: after]\n",
}
LONG = "Maximiliana-Theodora Wolfeschlegelsteinhausenbergerdorff"
HOSTILE = '"><script>alert(1)</script>'


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def made(world: Worlds) -> World:
    made = world(CAMPAIGNS, settings="frequency_caps: { all: 2 per week }")
    rows = [f"p{n},p{n}@example.com,Name{n},12-{n + 1:02d},yes" for n in range(15)]
    quoted = HOSTILE.replace('"', '""')
    made.contacts(
        "key,email,first_name,birthday,news",
        *rows,
        f"long,long@example.com,{LONG},12-20,yes",
        "bare,bare@example.com,,,yes",
        f'"{quoted}",x@example.com,"{quoted}",12-21,yes',
    )
    return made


def page_of(made: World, *more: str) -> tuple[str, Page]:
    done = drip(
        made.root,
        "preview",
        "--html",
        str(made.root / "out"),
        "--now",
        "2026-11-25 8:00",
        *more,
    )
    assert done.code == 0, done.err
    text = (made.root / "out" / "preview.html").read_text("utf-8")
    return text, Page(text)


def test_the_page_loads_nothing_and_runs_nothing(made: World) -> None:
    text, page = page_of(made)
    assert not page.all("script")
    assert not page.all("link")
    assert all((each["href"] or "").startswith("#") for each in page.all("a"))
    assert all("sandbox" in each for each in page.all("iframe"))
    assert "default-src 'none'" in text
    assert "<script" not in re.sub(r'srcdoc="[^"]*"', "", text)


def test_ten_samples_of_each_campaign_with_the_longest_name_and_the_emptiest(
    made: World,
) -> None:
    text, page = page_of(made)
    articles = text.count('<article class="sample">')
    assert 10 < articles <= 20
    assert len(page.all("iframe")) == 2 * articles, "on a computer and on a phone"
    assert f"letter to {LONG} (long) by email: the longest name" in page.text
    assert "(bare) by email: the fewest known fields" in page.text
    assert "after to" in page.text, "every step is shown"


def test_who_gets_nothing_and_who_displaces_whom_is_said(made: World) -> None:
    _, page = page_of(made)
    assert "Birthday <b>card</b>" in page.text, "titles are text"
    assert re.search(r"the cap of 2 per week is full \(letter on", page.text)
    assert "_settings.yaml:" in page.text
    assert "Rows give way to columns" in page.text


def test_one_campaigns_page_shows_that_one(made: World) -> None:
    text, page = page_of(made, "letter")
    assert "Birthday" not in page.text
    assert text.count('<article class="sample">') <= 10
