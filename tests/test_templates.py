"""Templates: found by locale, compiled once, filled in a sandbox, complete with what marketing mail must carry."""

from __future__ import annotations

import base64
import email
import email.policy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drip.core.message import Mailbox, Message, with_pictures
from drip.errors import DripError
from drip.rendering.limits import TooMuch
from drip.rendering.messages import Letterhead, RenderError, Request, render
from drip.rendering.sandbox import Sandbox
from drip.rendering.shield import shielded_html
from drip.rendering.templates import Templates
from drip.rendering.text import text_of_html, text_of_markdown
from drip.transports.mime import to_bytes

Write = Callable[[str, str], None]
HELLO = "---\nsubject: Hello {{ contact.first_name }}\n---\nDear **{{ contact.first_name }}**,\n\n[Book]({{ link }})\n"


@pytest.fixture
def templates(tmp_path: Path) -> Templates:
    (tmp_path / "templates").mkdir()
    return Templates(tmp_path)


@pytest.fixture
def write(templates: Templates) -> Write:
    def put(name: str, text: str) -> None:
        path = templates.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        templates._compiled.clear()

    return put


def filled(
    templates: Templates,
    name: str,
    *,
    marketing: bool = True,
    locale: str | None = None,
    **values: Any,
) -> Message:
    request = Request(
        template=name,
        content=None,
        channel="email",
        locale=locale,
        own_locale="en",
        to=Mailbox("Ana", "ana@example.com"),
        sender=Mailbox("Maple", "hello@maple.example"),
        reply_to=None,
        subject=None,
        preheader=None,
        values={
            "contact": {"first_name": "Ana"},
            "link": "https://x.example/b?a=1&b=2",
            "business": {"name": "Maple"},
            **values,
        },
        message_id="1@maple.example",
        date=datetime(2026, 11, 22, tzinfo=UTC),
        letterhead=Letterhead("Maple", "12 Maple Street", "News")
        if marketing
        else None,
        topic="news",
        attach=(),
        unsubscribe_url="https://maple.example/unsubscribe/t0ken",
        unsubscribe_mail="mailto:hello@maple.example?subject=u",
    )
    return render(templates, request)


def test_markdown_becomes_html_and_text(templates: Templates, write: Write) -> None:
    write("hello.md", HELLO)
    message = filled(templates, "hello")
    assert message.subject == "Hello Ana"
    assert "<strong>Ana</strong>" in (message.html or "")
    assert 'href="https://x.example/b?a=1&amp;b=2"' in (message.html or "")
    assert message.text.startswith("Dear Ana,\n\nBook: https://x.example/b?a=1&b=2")


def test_every_marketing_mail_has_address_and_unsubscribe_even_without_a_layout(
    templates: Templates, write: Write
) -> None:
    write("hello.md", HELLO)
    message = filled(templates, "hello")
    for part in (message.html or "", message.text):
        assert "12 Maple Street" in part
        assert "https://maple.example/unsubscribe/t0ken" in part
    assert message.headers["List-Unsubscribe"].startswith(
        "<https://maple.example/unsubscribe/t0ken>, <mailto:"
    )
    assert message.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_a_transactional_mail_has_neither(templates: Templates, write: Write) -> None:
    write("hello.md", HELLO)
    message = filled(templates, "hello", marketing=False)
    assert "unsubscribe" not in (message.html or "") + message.text
    assert not any(name.startswith("List-") for name in message.headers)


def test_the_layout_carries_the_text_and_its_styles_are_inlined(
    templates: Templates, write: Write
) -> None:
    write(
        "_layout.html",
        "<html><head><style>strong { color: red }</style></head><body>{% block body %}{% endblock %}</body></html>",
    )
    write("hello.md", HELLO)
    assert '<strong style="color: red;">Ana</strong>' in (
        filled(templates, "hello").html or ""
    )


def test_the_nearest_locale_wins(templates: Templates, write: Write) -> None:
    for name, text in (
        ("card.md", "plain"),
        ("card.de.md", "deutsch"),
        ("card.de-AT.md", "österreichisch"),
    ):
        write(name, f"---\nsubject: x\n---\n{text}")
    found = {
        locale: filled(templates, "card", locale=locale).text.split("\n")[0]
        for locale in ("en", "de", "de-CH", "de-AT")
    }
    assert found == {
        "en": "plain",
        "de": "deutsch",
        "de-CH": "deutsch",
        "de-AT": "österreichisch",
    }
    assert templates.names() == ["card"]


def test_html_is_escaped_and_text_is_not(templates: Templates, write: Write) -> None:
    write("hello.md", HELLO)
    message = filled(
        templates, "hello", contact={"first_name": "<script>alert(1)</script>"}
    )
    assert "<script>" not in (message.html or "")
    assert "Dear <script>alert(1)</script>" in message.text


def test_an_html_file_is_escaped_too_and_gets_a_text_part(
    templates: Templates, write: Write
) -> None:
    write(
        "page.html",
        "---\nsubject: s\n---\n<h1>Hi</h1><p>Dear {{ contact.first_name }}, <a href='{{ link }}'>book</a></p>",
    )
    message = filled(templates, "page", contact={"first_name": "<b>"})
    assert "&lt;b&gt;" in (message.html or "")
    assert "book: https://x.example/b?a=1&b=2" in message.text


def test_a_loop_over_table_rows_stays_in_the_table(
    templates: Templates, write: Write
) -> None:
    page = "<html><head><style>td { color: red }</style></head><body><table>{% for n in range(2) %}<tr><td>{{ n }}</td></tr>{% endfor %}</table></body></html>"
    write("list.html", f"---\nsubject: s\n---\n{page}")
    html = filled(templates, "list").html or ""
    assert html.count('<td style="color: red;">') == 2
    assert html.index("<table") < html.index("<td") < html.index("</table")


@given(
    st.lists(
        st.sampled_from(
            [
                "<p>",
                "</p>",
                "{{ x }}",
                "{% if y %}",
                "{% endif %}",
                "<td a='{{ x }}'>",
                "text ",
                "{# c #}",
            ]
        )
    )
)
def test_shielding_gives_back_what_it_hid(parts: list[str]) -> None:
    source = "".join(parts)
    assert shielded_html(source, lambda text: text) == source


def test_an_unknown_value_may_be_asked_for_but_not_printed(
    templates: Templates, write: Write
) -> None:
    write(
        "age.md",
        "---\nsubject: s\n---\n{% if contact.age %}{{ contact.age }}{% else %}young{% endif %}",
    )
    assert filled(templates, "age").text.startswith("young")
    write("bad.md", "---\nsubject: s\n---\nfirst\n\n{{ contact.age }}")
    with pytest.raises(RenderError, match="`age` is not known") as error:
        filled(templates, "bad")
    assert str(error.value.place) == "templates/bad.md:6"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nsubject: s\n---\n{{ contact.first_name }", "unexpected"),
        ("---\nsubject: s\n---\na\n\n{% if x %}", "Unexpected end|unexpected"),
        ("---\nsubject: [a]\n---\n", "plain texts"),
        ("---\nsubject: a: b\n---\n", "cannot be read"),
        ("---\nsubject: s\nlayout: none-such.html\n---\nx", "no layout"),
        ("---\nsubject: s\n---\n{% include 'x' %}", "not built yet"),
        (
            "---\nsubject: s\n---\n" + "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
            "nested too deep",
        ),
    ],
)
def test_a_wrong_template_is_explained_with_its_place(
    templates: Templates, write: Write, text: str, said: str
) -> None:
    write("wrong.md", text)
    with pytest.raises(DripError, match=said) as error:
        filled(templates, "wrong")
    assert error.value.place is not None
    assert error.value.place.file == "templates/wrong.md"


def test_a_missing_template_names_the_nearest_one(
    templates: Templates, write: Write
) -> None:
    write("birthday/card.md", HELLO)
    with pytest.raises(DripError, match="no template") as error:
        templates.get("birthday/crad", None)
    assert error.value.help == "did you mean `birthday/card`?"


def test_no_file_outside_of_the_folder_is_a_template(
    templates: Templates, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "secret.md").write_text("secret")
    with pytest.raises(DripError, match="no template"):
        templates.get("../secret", None)


ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% set l = range(99999)|list %}{% for a in l %}{% for b in l %}x{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{{ 'x' ~ ('y'|upper) ~ big }}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "{% macro _round() %}{% endmacro %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) if (range(99999)|list|length) < 0 %}{% endfor %}",
    "{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{{ range(9)|slice(1000000000000)|map('length')|sum }}",
    "{{ [1]|batch(1000000000, 'x')|list|length }}",
    "{{ range(99999)|join(big)|length }}",
    "{{ 1.5|round(300000000, 'ceil') }}",
    "{{ (range(99999)|join('<!---->'))|striptags|length }}",
    "{{ range(99999)|map('string')|map('replace', '', big)|list|length }}",
    "{% set a = 'a' * 1 if false else 'aaaaaaaaaa' %}"
    + "{% set a = 'aaaaaaaaaa'|replace('a', a) %}" * 12,
)


@pytest.mark.parametrize("text", ENDLESS)
def test_a_template_without_end_is_stopped(text: str) -> None:
    sandbox = Sandbox(autoescape=True, currency="USD")
    with pytest.raises(TooMuch):
        sandbox.render(sandbox.from_string(text), {"big": "z" * 1000})


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 100000000 }}",
        "{{ 'x'.ljust(9000000000) }}",
        "{{ '{:>900000000}'.format(1) }}",
        "{{ 5|dictsort }}",
        "{{ 5|date }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set n = namespace(x=9) %}{% for a in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%99999999d' % 1 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ contact.update({}) }}",
        "{{ ''.join.__globals__ }}",
        "{{ self.__init__ }}",
        "{{ range(10000000)|list }}",
        "{{ [[1], [2]]|sum(start=[]) }}",
    ],
)
def test_the_sandbox_holds(templates: Templates, write: Write, text: str) -> None:
    write("evil.md", f"---\nsubject: s\n---\n{text}")
    with pytest.raises(RenderError):
        filled(templates, "evil")


def test_filters_speak_the_language_of_the_template(
    templates: Templates, write: Write
) -> None:
    text = "---\nsubject: s\n---\n{{ 1234.5|money('EUR') }} / {{ '2026-06-05'|date }} / {{ 1|plural('day', 'days') }}"
    write("f.md", text)
    write("f.de.md", text)
    assert filled(templates, "f", locale="de").text.startswith(
        "1.234,50\xa0€ / 5. Juni 2026 / 1 day"
    )
    for locale in ("en", "fr"):
        assert filled(templates, "f", locale=locale).text.startswith(
            "€1,234.50 / June 5, 2026 / 1 day"
        )


@pytest.mark.parametrize("filter", ["date", "number", "money"])
def test_a_filter_of_what_is_not_known_names_it(
    templates: Templates, write: Write, filter: str
) -> None:
    write("f.md", f"---\nsubject: s\n---\n{{{{ contact.joined|{filter} }}}}")
    with pytest.raises(RenderError, match="`joined` is not known for this contact"):
        filled(templates, "f")


def test_a_date_of_what_is_none_says_so(templates: Templates, write: Write) -> None:
    write("f.md", "---\nsubject: s\n---\n{{ 5|date }}")
    with pytest.raises(RenderError, match="`5` is no date"):
        filled(templates, "f")


def test_text_of_markdown_and_html() -> None:
    assert text_of_markdown(
        "# Hi\n\n**Bold** and *thin* [x](https://y.example) ![alt](z.png)"
    ) == ("Hi\n\nBold and thin x: https://y.example alt\n")
    assert (
        text_of_html("<style>x</style><h1>Hi</h1><ul><li>a</li><li>b</li></ul>")
        == "Hi\n\n- a\n- b\n"
    )


def test_a_link_whose_text_holds_jinja_with_brackets_is_written_out() -> None:
    written = text_of_markdown(
        '[{{ n }}: {{ ["a", "b"][n] }}]({{ survey_link(n) }}) and [x](https://y.example)'
    )
    assert (
        written
        == '{{ n }}: {{ ["a", "b"][n] }}: {{ survey_link(n) }} and x: https://y.example\n'
    )


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_a_picture_that_is_a_file_goes_along_and_is_shown(
    templates: Templates, write: Write
) -> None:
    write(
        "news/card.md",
        "---\nsubject: x\n---\n![A logo](logo%20two.png) ![Far](https://x.example/a.png)\n",
    )
    write(
        "_layout.html",
        '<html lang="en"><body><img alt="Top" src="top.png">{% block body %}{% endblock %}</body></html>',
    )
    (templates.folder / "news" / "logo two.png").write_bytes(PNG)
    (templates.folder / "top.png").write_bytes(PNG + b"x")
    message = filled(templates, "news/card")
    assert [each.name for each in message.attachments] == ["top.png", "logo two.png"]
    assert message.html is not None
    for each in message.attachments:
        assert f'src="cid:{each.content_id}"' in message.html
    assert "https://x.example/a.png" in message.html
    mail = email.message_from_bytes(to_bytes(message), policy=email.policy.default)
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "image/png",
    ]
    assert with_pictures(message).count("data:image/png;base64,") == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        ("none.png", "there is no file `none.png` to show"),
        ("card.md", "is no picture"),
        ("../../secret.png", "there is no file"),
    ],
)
def test_a_picture_that_cannot_be_shown_is_explained(
    templates: Templates, write: Write, picture: str, said: str
) -> None:
    write("card.md", f"---\nsubject: x\n---\n![x]({picture})\n")
    (templates.folder.parent / "secret.png").write_bytes(PNG)
    with pytest.raises(RenderError, match=said) as raised:
        filled(templates, "card")
    assert str(raised.value.place).startswith("templates/card.md:4")


def test_a_message_that_nobody_asked_for_by_hand_wants_no_auto_reply(
    templates: Templates, write: Write
) -> None:
    write("hello.md", HELLO)
    assert filled(templates, "hello", marketing=False).headers == {
        "Auto-Submitted": "auto-generated"
    }
    assert "List-Id" in filled(templates, "hello").headers
