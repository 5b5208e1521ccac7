"""Links that lead over the pages: who followed them, where they lead, and that nobody else can have them lead anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from drip.core.message import Message
from drip.engine.composing import TRAP
from drip.rendering.links import tracked_links
from drip.storage.people import events
from drip.storage.sending import deliveries
from tests.web import Pages, pages
from tests.world import World, at

Worlds = Callable[..., World]
SENT = at("2026-11-26 16:00")
LETTER = """
name: Letter
topic: service
trigger: { schedule: 2026-11-26 10:00 }
steps:
  - send: letter
  - wait: 1 day
  - if: { clicked: letter }
    then: [{ send: more }]
"""
TEXT = """---
subject: Hello
---
[Shop](https://shop.example/a?x=1&y=2) and [yours](https://shop.example/{{ contact.key }})

<a href="{{ contact.home }}">home</a> <a href="https://far.example/x">far</a> [mail](mailto:a@b.example)
<a href="{{ unsubscribe_link }}">leave</a> {{ preferences_link }}
"""
SETTINGS = """
public_url: https://mail.maple.example
tracking: { clicks: yes, opens: yes }
data: { contact: { home: text } }
"""


@pytest.fixture
def site(world: Worlds) -> Iterator[Pages]:
    made = world({"letter": LETTER}, settings=SETTINGS)
    made.write("templates/letter.md", TEXT)
    made.contacts(
        "key,email,home",
        "ana,ana@example.com,https://ana.example/",
        "ben,ben@example.com,javascript:alert(1)",
    )
    made.tick("2026-11-26 09:00")
    made.tick(SENT)
    with pages(made, SENT + timedelta(minutes=5)) as served:
        yield served


def mail(site: Pages, who: str = "ana") -> Message:
    """What somebody was sent first."""
    return next(
        each
        for each in site.world.transport.messages
        if each.to.address == f"{who}@example.com"
    )


def paths(site: Pages, who: str = "ana") -> list[str]:
    """The links of a mail that lead over our pages, without their host."""
    found = re.findall(
        r'href="https://mail\.maple\.example(/c/[^"]+)"', mail(site, who).html or ""
    )
    assert TRAP in found[0]
    return found[1:]


def known(site: Pages) -> list[tuple[str, str, int]]:
    with site.world.database.read() as connection:
        return list(deliveries.counts(connection, at("2026-01-01")))


def heard(site: Pages, name: str = "message.clicked") -> list[dict[str, str]]:
    with site.world.database.read() as connection:
        return [
            dict(each.fields)
            for each in events.events_of(connection, [1], [name]).get(1, [])
        ]


def test_a_link_leads_on_to_where_it_led_and_the_click_is_known(site: Pages) -> None:
    found = [site.get(path) for path in paths(site)]
    assert {each.status_code for each in found} == {302}
    assert [each.headers["location"] for each in found] == [
        "https://shop.example/a?x=1&y=2",
        "https://shop.example/ana",
        "https://ana.example/",
        "https://far.example/x",
    ]
    assert all(
        each.headers["referrer-policy"] == "no-referrer" and not each.cookies
        for each in found
    )
    assert "ana@" not in "".join(paths(site)) and "shop.example" not in "".join(
        paths(site)
    )
    (first, *_) = heard(site)
    assert (first["campaign"], first["step"], first["template"]) == (
        "letter",
        "send letter",
        "letter",
    )


def test_what_is_no_web_address_and_what_is_ours_stays_as_it_is(site: Pages) -> None:
    html = mail(site, "ben").html or ""
    assert (
        'href="#"' in html
        and "javascript" not in html
        and 'href="mailto:a@b.example"' in html
    )
    assert 'href="https://mail.maple.example/unsubscribe/' in html
    assert "https://shop.example/a" in mail(site, "ben").text


def test_a_click_brings_the_next_step_about_for_who_clicked_alone(site: Pages) -> None:
    site.get(paths(site)[0])
    site.world.tick("2026-11-27 16:30")
    assert [each.to.address for each in site.world.transport.messages[2:]] == [
        "ana@example.com"
    ]


def test_a_click_counts_once_and_a_look_at_the_head_does_not(site: Pages) -> None:
    path = paths(site)[0]
    assert site.client.head(path).status_code == 302 and known(site) == []
    for _ in range(3):
        site.get(path)
    assert known(site) == [("clicked", "person", 1)] and len(heard(site)) == 1


def test_programs_that_look_for_viruses_are_not_taken_for_people(site: Pages) -> None:
    site.now = SENT + timedelta(seconds=1)
    site.get(paths(site)[0])
    assert known(site) == [("clicked", "machine", 1)] and heard(site) == []
    site.now = SENT + timedelta(minutes=9)
    for path in paths(site, "ben"):
        site.get(path)
        site.now += timedelta(seconds=1)
    site.now += timedelta(minutes=1)
    site.get(paths(site)[0])
    assert len(heard(site)) == 1


def test_who_follows_the_link_that_nobody_sees_is_a_program(site: Pages) -> None:
    html = mail(site).html or ""
    (trap,) = re.findall(
        rf'<a href="https://mail\.maple\.example(/c/{TRAP}/[^"]+)"[^>]*display:none',
        html,
    )
    assert site.get(trap).status_code == 204
    site.get(paths(site)[0])
    assert known(site) == [("clicked", "machine", 1)] and heard(site) == []
    site.now += timedelta(minutes=1)
    site.get(paths(site)[0])
    assert len(heard(site)) == 1
    # It is known again when it comes again.
    site.get(trap)
    site.get(paths(site)[1])
    assert len(heard(site)) == 1
    assert site.get(f"/c/{TRAP}/nothing").status_code == 204


def test_a_shown_mail_is_known_by_its_dot_where_that_is_wanted(
    site: Pages, world: Worlds
) -> None:
    found = re.findall(
        r'src="https://mail\.maple\.example(/o/[^"]+)"', mail(site).html or ""
    )
    answer = site.get(found[0])
    assert answer.headers["content-type"] == "image/gif" and answer.content.startswith(
        b"GIF89a"
    )
    assert site.get("/o/nothing").content == answer.content
    assert (
        known(site) == [("opened", "person", 1)]
        and len(heard(site, "message.opened")) == 1
    )


def test_nobody_can_have_our_pages_lead_anywhere_else(site: Pages) -> None:
    good = paths(site)[0].split("/")
    name, token = good[2], good[3]
    for path in (
        f"/c/https:%2f%2fevil.example/{token}",
        f"/c/{'0' * 20}/{token}",
        f"/c//{token}",
        f"/c/{name[:-1]}/{token}",
    ):
        assert site.get(path).status_code == 404, path
    # A link that was in a message leads on for whoever has it; nothing is known of it then.
    assert site.get(f"/c/{name}/{token[:-3]}xxx").status_code == 302
    assert site.get(f"/c/{name}/{site.token('unsubscribe')}").status_code == 302
    assert known(site) == []


def test_nothing_is_tracked_unless_it_is_asked_for(world: Worlds) -> None:
    made = world(
        {"letter": LETTER},
        settings=SETTINGS.replace("tracking: { clicks: yes, opens: yes }", ""),
    )
    made.write("templates/letter.md", TEXT)
    made.contacts("key,email,home", "ana,ana@example.com,https://ana.example/")
    made.tick("2026-11-26 09:00")
    made.tick(SENT)
    html = made.transport.messages[0].html or ""
    assert (
        "/c/" not in html
        and "/o/" not in html
        and 'href="https://ana.example/"' in html
    )


def test_tracking_without_pages_is_explained(world: Worlds) -> None:
    made = world({}, settings="tracking: { clicks: yes }")
    (problem,) = [
        each for each in made.workspace.loaded.problems if each.level == "error"
    ]
    assert "needs `public_url`" in problem.sentence


@pytest.mark.parametrize(
    ("html", "tracked"),
    [
        (
            '<a class="b" href="https://x.example/?a=1&amp;b=2">x</a>',
            '<a class="b" href="{{ tracked(\'https://x.example/?a=1&b=2\') }}">x</a>',
        ),
        ("<a href='{{ p.link }}'>x</a>", "<a href='{{ tracked((p.link)) }}'>x</a>"),
        (
            "<a href=\"https://x.example/{{ a }}?b={{ b|d('c') }}&amp;e\">x</a>",
            "<a href=\"{{ tracked('https://x.example/' ~ (a) ~ '?b=' ~ (b|d('c')) ~ '&e') }}\">x</a>",
        ),
        ('<a href="{{ a }}{{ b }}">x</a>', '<a href="{{ tracked((a) ~ (b)) }}">x</a>'),
        ('<a href="https://x.example/{% if a %}b{% endif %}">x</a>', None),
        ('<a href="mailto:{{ a }}">x</a>', None),
        (
            '<a href="https://x.example/?a=1&region=eu&copy=2">x</a>',
            "<a href=\"{{ tracked('https://x.example/?a=1&region=eu&copy=2') }}\">x</a>",
        ),
        ('<a href="/here">x</a><a name="https://x.example">y</a>', None),
        ('<link href="https://x.example/a.css">', None),
    ],
)
def test_which_links_are_tracked(html: str, tracked: str | None) -> None:
    assert tracked_links(html) == (tracked or html)
