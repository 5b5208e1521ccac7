"""Links whose addresses come from data lead to pages, mails and telephones, and to nothing else, wherever they stand."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateSyntaxError

from drip.rendering.addresses import KEPT, SCHEMES, is_for_programs, leading
from drip.rendering.sandbox import Sandbox
from drip.rendering.specialising import specialised

SANDBOX = Sandbox(autoescape=True, currency="USD")
GOOD = (
    "https://x.example/a?b=c:d&e=f",
    "HTTP://x.example",
    "mailto:ana@example.com",
    "tel:+15550100",
    "sms:+15550100",
    "/here",
    "?a=b:c",
    "#there",
    "page.html",
    "//x.example/a",
    "",
    "a/b:c",
    "x.example/b?to=data:x",
)
BAD = (
    "javascript:go()",
    "JavaScript:go()",
    " javascript:go()",
    "java\tscript:go()",
    "java\nscript:go()",
    "\x01javascript:go()",
    "javascript\r:go()",
    "data:text/html,hello",
    "vbscript:go()",
    "file:///etc/hosts",
    "blob:x",
    "view-source:x",
    ":go()",
    "x:y",
    "C:\\x",
)
# Every place in which an address begins with what is filled in.
BEGINNINGS = (
    '<a href="{{ x }}">y</a>',
    "<a href='{{ x }}'>y</a>",
    "<a href={{ x }}>y</a>",
    '<a href = " {{ x }}">y</a>',
    '<A\nHREF="{{ x }}">y</A>',
    '<a title="a > b" href="{{ x }}">y</a>',
    '<a title=it\'s href="{{ x }}">y</a>',
    '<a title="{{ y }}" href="{{ x }}">y</a>',
    '<img src="{{ x }}">',
    '<form action="{{ x }}">',
    '<td background="{{ x }}">',
    '<button formaction="{{ x }}">y</button>',
    '<svg><a xlink:href="{{ x }}">y</a></svg>',
    '<object data="{{ x }}"></object>',
    '<a href="{% if y %}{{ x }}{% else %}https://y.example{% endif %}">y</a>',
    '<a href="{{ x|trim }}">y</a>',
    '<a href="{% for z in [x] %}{{ z }}{% endfor %}">y</a>',
    '<a href="{{ x|safe }}">y</a>',
    '<a {% if y %}href="{% endif %}{{ x }}">y</a>',
    '{% macro m(z) %}<a href="{{ z }}">y</a>{% endmacro %}{{ m(x) }}',
    '{% set z = x %}<a href="{{ z }}">y</a>',
    '{% set z %}{{ x }}{% endset %}<a href="{{ z }}">y</a>',
    '{% with z = x %}<a href="{{ z }}">y</a>{% endwith %}',
    '{% autoescape false %}<a href="{{ x }}">y</a>{% endautoescape %}',
    '<a href="{{ x }}{{ y }}">y</a>',
    '<a href="{{ x }}#{{ y }}">y</a>',
    '{% for z in [1, 2] %}<a href="{{ x }}">y</a>{% endfor %}',
    '<a/href="{{ x }}">y</a>',
    '<a href="&#32;{{ x }}">y</a>',
)


class _Read(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        where = (
            "href",
            "src",
            "action",
            "formaction",
            "background",
            "xlink:href",
            "data",
        )
        self.found += [value or "" for name, value in attrs if name in where]


def addresses(template: str, **values: Any) -> list[str]:
    """The addresses of a filled-in page, as a browser has them."""
    reader = _Read()
    reader.feed(SANDBOX.render(SANDBOX.from_string(template), {"y": "z", **values}))
    reader.close()
    return reader.found


def runs(address: str) -> bool:
    """Whether a browser would find a scheme that we do not want: what it leaves out left out."""
    bare = "".join(char for char in address if char > " ")
    scheme, colon, _ = bare.partition(":")
    return (
        bool(colon) and not set(scheme) & set("/?#") and scheme.lower() not in SCHEMES
    )


@pytest.mark.parametrize("template", BEGINNINGS)
def test_an_address_from_data_runs_nothing_wherever_it_stands(template: str) -> None:
    for bad in BAD:
        found = addresses(template, x=bad)
        assert found and not any(map(runs, found)), (bad, found)
        assert not any("go()" in each or "hello" in each for each in found), (
            bad,
            found,
        )
    assert any(
        "x.example" in each for each in addresses(template, x="https://x.example/a")
    )


@pytest.mark.parametrize("good", GOOD)
def test_what_leads_to_a_page_a_mail_or_a_telephone_stays(good: str) -> None:
    assert (
        addresses('<a href="{{ x }}">y</a>', x=good) == [good] and leading(good) == good
    )


def test_an_address_put_together_is_judged_as_a_whole() -> None:
    assert addresses('<a href="{{ x }}{{ z }}">y</a>', x="java", z="script:go()") == [
        "#"
    ]
    assert addresses('<a href="{{ x }}:{{ z }}">y</a>', x="x", z="javascript:go()") == [
        "#javascript:go()"
    ]
    assert addresses('<a href="java{{ x }}">y</a>', x="script:go()") == ["#"]
    assert addresses(
        '<a href="{{ x }}&#58;{{ z }}">y</a>', x="javascript", z="go()"
    ) == ["#"]
    assert addresses('<a href="{{ x }}-{{ z }}/a">y</a>', x="b", z="c") == ["b-c/a"]
    assert addresses(
        '<a href="{{ x }}?a={{ z }}&amp;b">y</a>', x="https://x.example", z="&"
    ) == ["https://x.example?a=&&b"]
    assert addresses(
        '<a href="{{ x }}&amp;b={{ z }}">y</a>', x="https://x.example/?a", z="c"
    ) == ["https://x.example/?a&b=c"]
    assert addresses('<a href="{{ x }}">{{ x }}: y</a>', x="data:x") == ["#"]


def test_a_long_tag_hides_no_address() -> None:
    long = " ".join(f'data-{each}="{"x" * 100}"' for each in range(100))
    for tag in (
        f'<a {long} href="{{{{ x }}}}">',
        f'<a title="{"x" * KEPT}" href="{{{{ x }}}}">',
    ):
        assert SANDBOX.render(SANDBOX.from_string(tag), {"x": "javascript:1"}).endswith(
            'href="#">'
        )
    with pytest.raises(
        TemplateSyntaxError, match="a tag has more than 4,000 characters"
    ):
        SANDBOX.from_string(f'<a href="{" " * KEPT}{{{{ x }}}}">')
    assert SANDBOX.from_string(
        f'<p class="a">{"1 < 2, and so on. " * KEPT}<a href="{{{{ x }}}}">'
    )


@pytest.mark.parametrize(
    "whole",
    [
        '{% set a %}<a href="{% endset %}{{ a }}{{ x }}',
        "{% macro a() %}<a href='{% endmacro %}{{ a() }}{{ x }}",
    ],
)
def test_an_address_begins_and_goes_on_in_one_place(whole: str) -> None:
    with pytest.raises(TemplateSyntaxError, match="begins here and goes on elsewhere"):
        SANDBOX.from_string(whole)


def test_only_the_beginning_of_an_address_is_looked_at() -> None:
    """Where the template says the scheme, and in any other place, what is filled in stays as it is."""
    for template in (
        '<a href="https://x.example/{{ x }}">y</a>',
        '<a href="/{{ x }}">y</a>',
        '<a href="?{{ x }}">y</a>',
        '<a href="tel:{{ x }}">y</a>',
        '<p title="{{ x }}">{{ x }}</p>',
        "Your data = {{ x }}",
        "<p>href={{ x }}</p>",
        '<p data-src="{{ x }}">',
        "<style>a{color:{{ x }}}</style>",
    ):
        tree = SANDBOX.parse(template)
        assert "0leading" not in repr(tree), template


@pytest.mark.parametrize(
    "template",
    [
        '<a href="{% if y %}{{ x }}{% endif %}:{{ z }}">y</a>',
        '<a href="{% filter lower %}{{ x }}{% endfilter %}">y</a>',
        '{% macro m() %}{{ caller() }}{% endmacro %}<a href="{% call m() %}{{ x }}{% endcall %}">y</a>',
    ],
)
def test_an_address_that_is_put_together_beyond_recognition_is_refused(
    template: str,
) -> None:
    with pytest.raises(TemplateSyntaxError, match="an address in a link"):
        SANDBOX.from_string(template)


# More of them at night.
EXAMPLES = int(os.environ.get("DRIP_HOSTILE_EXAMPLES", "150"))
SCHEME_LIKE = st.text(st.sampled_from("javscriptdahtp:/?# \t\n&;0\\"), max_size=14)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(SCHEME_LIKE, min_size=1, max_size=3),
    st.sampled_from(("", "-", "java", ":", "&#9;", "&amp;", " ")),
    st.booleans(),
)
def test_whatever_is_put_together_nothing_runs(
    parts: list[str], between: str, split: bool
) -> None:
    written = [f"{{{{ p{n} }}}}" for n in range(len(parts))]
    if split:
        written = [f"{{% if 1 %}}{each}{{% endif %}}" for each in written]
    values = {f"p{n}": part for n, part in enumerate(parts)}
    try:
        found = addresses(f'<a href="{between.join(written)}">y</a>', **values)
    except TemplateSyntaxError:
        assert split and ":" in between
        return
    assert not any(map(runs, found)), found


@pytest.mark.parametrize(
    "within",
    [
        '{{% if x %}}class="a{n}"{{% endif %}} ',
        "{{% if x %}}data-{n}=\"b\" id='c'{{% endif %}} ",
    ],
)
def test_many_branches_within_a_tag_take_no_long_time(within: str) -> None:
    many = "".join(within.format(n=n) for n in range(300))
    styles = "".join(f"{{% if x %}}color{n};{{% endif %}}" for n in range(300))
    assert addresses(
        f'<a {many} style="{styles}" href="{{{{ x }}}}">y</a>', x="javascript:go()"
    ) == ["#"]


def test_more_branches_than_can_be_followed_are_refused() -> None:
    many = "".join(f"{{% if x %}}a{n} {{% endif %}}" for n in range(30))
    with pytest.raises(TemplateSyntaxError, match="too many"):
        SANDBOX.from_string(f'<a {many} href="{{{{ x }}}}">y</a>')


def test_a_template_that_is_specialised_writes_the_same() -> None:
    source = '{% for each in many %}<a href="{{ each }}">{{ x }}</a>{% endfor %}<a href="{{ x }}/b">y</a><a href="{{ x }}">y</a>'
    for bad in (*BAD, *GOOD):
        known, values = (
            {"locale": "en", "many": ["https://x.example", bad]},
            {"locale": "en", "many": ["https://x.example", bad], "x": bad},
        )
        special = specialised(SANDBOX, SANDBOX.parse(source), known)
        assert special is not None
        plain = SANDBOX.render(SANDBOX.from_string(source), values)
        assert "".join(special.pieces(SANDBOX, values)) == plain


def test_what_a_template_itself_names_is_told_by_lint() -> None:
    assert (
        is_for_programs("javascript:go()")
        and is_for_programs(" Java\nScript:x")
        and is_for_programs("data:text/html,x")
    )
    assert not is_for_programs(
        "https://x.example/?javascript:"
    ) and not is_for_programs("")
