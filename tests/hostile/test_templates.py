"""Whatever a template does, it ends in bounded time and memory: programs by hand, and by chance over all that is allowed."""

from __future__ import annotations

import os
import random
import signal
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drip.core.message import Mailbox
from drip.errors import DripError
from drip.rendering import compiled as compiling
from drip.rendering import limits
from drip.rendering.attributes import OF_TEXTS
from drip.rendering.compiled import MOST_EXCEEDED
from drip.rendering.filters import LISTED_FILTERS, LISTED_TESTS
from drip.rendering.limits import LONGEST_S, TooMuch
from drip.rendering.messages import RenderError, Request, render
from drip.rendering.sandbox import Sandbox
from drip.rendering.templates import Templates

# An hour of `.ci/nightly` asks for more.
PROGRAMS = int(os.environ.get("DRIP_HOSTILE_EXAMPLES", "300"))
# Between two looks at the clock, and for what is done once a limit is met; tracemalloc makes all of it several times slower.
MARGIN_S = 3.0
MOST_BYTES = 100_000_000
SANDBOXES = {
    escape: Sandbox(autoescape=escape, currency="USD") for escape in (True, False)
}
VALUES: dict[str, Any] = {
    "word": "häuser & <b>gärten</b>",
    "emoji": "\U0001f600" * 50,
    "number": 7,
    "price": 9.5,
    "nothing": None,
    "day": datetime(2026, 11, 26, 9, 30),
    "list": ["b", "a", "c"],
    "rows": [{"name": "x", "price": 2}, {"name": "y", "price": 1}],
    "map": {"k": "v", "w": 1},
    "locale": "de",
}


class OutOfBounds(BaseException):
    """No error of a template, so that nothing takes it for one."""


@contextmanager
def bounded() -> Iterator[None]:
    """Fails when what is done within takes too much time or memory."""

    def ring(*_: object) -> None:
        raise OutOfBounds("it did not end")

    before = signal.signal(signal.SIGALRM, ring)
    tracemalloc.start()
    # Of this process alone: the machine may have other work.
    began = time.process_time()
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        yield
        took = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        tracemalloc.stop()
    if took > LONGEST_S + MARGIN_S or peak > MOST_BYTES:
        raise OutOfBounds(f"{took:.1f} s, {peak:,} bytes")


def run(source: str, escape: bool = True) -> str:
    """What comes of a program, or the name of its error."""
    sandbox = SANDBOXES[escape]
    try:
        template = sandbox.from_string(source)
        with bounded():
            return sandbox.render(template, VALUES)
    except Exception as error:
        return type(error).__name__


# --- each kind of growth, by hand

GROWING = {
    "lists of lists": "{% set n.x = [n.x, n.x] %}",
    "lists in lists": "{% set n.x = [n.x] %}",
    "tuples": "{% set n.x = (n.x, n.x) %}",
    "dictionaries": "{% set n.x = dict(a=n.x, b=n.x) %}",
    "written dictionaries": "{% set n.x = {'a': n.x, 'b': n.x} %}",
    "added lists": "{% set n.x = [n.x] + [n.x, n.x] %}",
    "repeated by batch": "{% set n.x = [n.x]|batch(9, n.x)|list %}",
    "mapped": "{% set n.x = range(2)|map('default', n.x, true)|list %}",
    "joined texts": "{% set n.x = n.x ~ n.x %}",
    "replaced texts": "{% set n.x = (n.x|string)|replace('1', '11111111') %}",
    "captured texts": "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}",
    "numbers": "{% set n.x = n.x * 999999 %}",
    "differences": "{% set n.x = n.x - (0 - n.x) %}",
}


@pytest.mark.parametrize("kind", GROWING)
@pytest.mark.parametrize(
    "use",
    [
        "{{ n.x|length }}",
        "{{ n.x == n.x|default(1) }}",
        "{{ [n.x]|unique|list|length }}",
        "{{ n.x }}",
    ],
)
def test_what_grows_is_stopped_while_it_is_small(kind: str, use: str) -> None:
    source = (
        "{% set n = namespace(x=1) %}{% for i in range(900) %}"
        + GROWING[kind]
        + "{% endfor %}"
        + use
    )
    assert run(source) in ("TooMuch", "SecurityError", "OverflowError", "ValueError")


@pytest.mark.parametrize(
    "text",
    [
        "{{ rows }}",
        "{{ list }}",
        "{{ map }}",
        "{{ map.items }}",
        "{{ list|string }}",
        "{{ 'a' ~ rows }}",
        "{{ namespace(x=1) }}",
        "{{ range }}",
        "{{ rows|map(attribute='name') }}",
        "{% macro m() %}{% endmacro %}{{ m }}",
        "{% for x in list %}{{ loop }}{% endfor %}",
    ],
)
def test_only_texts_numbers_and_dates_are_printed(text: str) -> None:
    assert run(text) == "SecurityError"


def test_a_captured_text_is_no_longer_than_a_message() -> None:
    captured = "{% set y %}{% for i in range(2500) %}{{ z }}{% endfor %}{% endset %}{% set x = y %}done"
    source = f"{{% set z = '{'z' * 1000}' %}}{captured}"
    assert run(source) == "TooMuch"
    assert run(source.replace("range(2500)", "range(500)")) == "done"


def test_the_clock_ends_what_steps_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "{% for i in range(30000) %}{{ i|money }}{% endfor %}"
    monkeypatch.setattr(limits, "LONGEST_S", 0.05)
    assert run(source) == "TooMuch"


def test_a_list_that_is_printed_says_what_to_write() -> None:
    sandbox = SANDBOXES[True]
    with pytest.raises(
        Exception,
        match=r"a list \(`\|join\(', '\)` makes a text of it\) cannot be written out",
    ):
        sandbox.render(sandbox.from_string("{{ list }}"), VALUES)
    assert run("{{ list|join(', ') }}") == "b, a, c"


@pytest.mark.parametrize(
    "method",
    [
        "format",
        "format_map",
        "ljust",
        "zfill",
        "expandtabs",
        "translate",
        "join",
        "encode",
        "maketrans",
    ],
)
def test_a_method_that_is_not_listed_does_not_exist(method: str) -> None:
    assert run(f"{{{{ word.{method} }}}}") == "SecurityError"
    assert run(f"{{{{ word['{method}']('a') }}}}") == "SecurityError"


@pytest.mark.parametrize(
    "name",
    [
        "attr",
        "format",
        "center",
        "indent",
        "pprint",
        "random",
        "tojson",
        "urlize",
        "wordwrap",
        "xmlattr",
    ],
)
def test_a_filter_that_is_not_listed_does_not_exist(name: str) -> None:
    assert run(f"{{{{ word|{name} }}}}") == "TemplateAssertionError"
    assert run(f"{{{{ list|map('{name}')|list|length }}}}") == "TemplateRuntimeError"


def test_a_field_that_is_called_like_a_method_is_read() -> None:
    sandbox = SANDBOXES[True]
    template = sandbox.from_string(
        "{{ order.update }} {{ order.pop }} {{ order['copy'] }} {{ order.items }}"
    )
    assert (
        sandbox.render(
            template, {"order": {"update": 1, "pop": 2, "copy": 3, "items": 4}}
        )
        == "1 2 3 4"
    )
    template = sandbox.from_string(
        "{% for name, value in order.items() %}{{ name }}{{ value }}{% endfor %}"
    )
    assert sandbox.render(template, {"order": {"a": 1}}) == "a1"


def test_what_people_write_is_far_from_the_limits() -> None:
    rows = [{"name": f"Product {n}", "price": n} for n in range(500)]
    sandbox = SANDBOXES[True]
    template = sandbox.from_string(
        "{% for row in rows|sort(attribute='price')|selectattr('price', 'gt', 3) %}{{ row.name|upper }} {{ row.price|money }}"
        "{% if not loop.last %}, {% endif %}{% endfor %}{% for group in rows|groupby('price') %}{{ group.grouper }}{% endfor %}"
    )
    assert sandbox.render(template, {"rows": rows, "locale": "en"}).startswith(
        "PRODUCT 4 $4.00, PRODUCT 5"
    )


# --- by chance

NAMES = [*VALUES, "n.x", "n.y", "a", "b"]
ATOMS = [
    "1",
    "'ab'",
    "'<i>'",
    "''",
    "none",
    "true",
    "9.5",
    "[1, 2]",
    "{'a': 1}",
    "range(9)",
    "range(90000)",
]
ARGUMENTS = {
    "default": "({0}, true)",
    "d": "({0})",
    "replace": "('a', {0})",
    "join": "({0})",
    "map": "('{1}')",
    "select": "('{2}', {0})",
    "reject": "('{2}', {0})",
    "selectattr": "('price', '{2}', {0})",
    "rejectattr": "('name')",
    "slice": "(9, {0})",
    "batch": "(9, {0})",
    "groupby": "('price')",
    "truncate": "(9, true, {0})",
    "round": "(3, 'ceil')",
    "trim": "({0})",
    "int": "(0, 16)",
    "sum": "(attribute='price')",
    "sort": "(attribute='name')",
}


class Programmer:
    """Writes programs of everything that templates may use, with a liking for what grows."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def program(self) -> str:
        body = "".join(self.statement(3) for _ in range(self.random.randint(2, 6)))
        times = self.random.choice((3, 30, 900, 90_000))
        growth = self.statement(2) + f"{{% set n.x = {self.growth()} %}}"
        show = "{{ n.x|length }}{{ n.x == n.y }}{{ n.y|default('') }}{{ n.x }}"
        macro = f"{{% macro m(a, b) %}}{self.statement(2)}{{% endmacro %}}"
        return f"{{% set n = namespace(x=1, y='ab') %}}{macro}{body}{{% for i in range({times}) %}}{growth}{{% endfor %}}{show}"

    def growth(self) -> str:
        ways = (
            "[n.x, n.x]",
            "(n.x, n.y)",
            "n.x ~ n.x",
            "n.x + n.x",
            "dict(a=n.x, b=n.y)",
            "[n.x] + [n.x]",
            "n.x|list",
            "n.x|batch(2)|list",
            "n.y|replace('a', n.y)",
            "m(n.x, n.y)",
            "[n.x]|map('default', n.x)|list",
            "n.y|join(n.y)",
            "(n.y ~ n.y)|title",
            "n.x|string|list",
        )
        return self.random.choice((*ways, self.expression(3)))

    def statement(self, depth: int) -> str:
        inside = (lambda: self.statement(depth - 1)) if depth else (lambda: "x")
        match self.random.randrange(9):
            case 0:
                return f"{{{{ {self.expression(depth)} }}}}"
            case 1:
                return f"{{% set n.{self.random.choice('xy')} = {self.expression(depth)} %}}"
            case 2:
                return f"{{% for a in {self.expression(depth)} %}}{inside()}{{% else %}}{inside()}{{% endfor %}}"
            case 3:
                return f"{{% if {self.expression(depth)} %}}{inside()}{{% elif {self.expression(depth)} %}}{inside()}{{% endif %}}"
            case 4:
                return f"{{% set b %}}{inside()}{{{{ n.y }}}}{{% endset %}}"
            case 5:
                return f"{{% filter {self.random.choice(['upper', 'title', 'e', 'striptags', 'trim'])} %}}{inside()}{{% endfilter %}}"
            case 6:
                return f"{{% for a in {self.expression(depth)} if {self.expression(depth)} %}}{{{{ loop.changed(a) }}}}{inside()}{{% endfor %}}"
            case 7:
                return f"{{% with b = {self.expression(depth)} %}}{inside()}{{% endwith %}}"
            case _:
                return f"{{% call m({self.expression(depth)}, n.x) %}}{inside()}{{% endcall %}}"

    def expression(self, depth: int) -> str:
        if depth == 0:
            return self.random.choice(NAMES + ATOMS)
        one, two = self.expression(depth - 1), self.expression(depth - 1)
        match self.random.randrange(10):
            case 0:
                return f"({one} {self.random.choice(['+', '-', '*', '/', '//', '%', '**', '~', '~', 'and', 'or'])} {two})"
            case 1:
                return f"({one} {self.random.choice(['==', '!=', '<', '>=', 'in', 'not in'])} {two})"
            case 2:
                return f"[{one}, {two}, {one}]"
            case 3:
                return f"({one}, {two})"
            case 4:
                return f"dict(a={one}, b={two})"
            case 5:
                return f"({one}).{self.random.choice(OF_TEXTS)}({self.random.choice(['', two])})"
            case 6:
                return f"({one})[{self.random.choice(['0', '-1', '1:', '::2', two])}]"
            case 7:
                return f"({one} is {self.random.choice(['defined', 'string', 'sequence', 'odd', 'mapping'])})"
            case 8:
                return f"({one} if {two} else {one})"
            case _:
                name = self.random.choice(LISTED_FILTERS)
                told = ARGUMENTS.get(name, "").format(
                    two,
                    self.random.choice(LISTED_FILTERS),
                    self.random.choice(LISTED_TESTS),
                )
                return f"({one}|{name}{told})"


@given(st.integers(0, 2**40), st.booleans())
@settings(max_examples=PROGRAMS, deadline=None)
def test_any_program_over_the_allowed_grammar_ends_in_bounded_time_and_memory(
    seed: int, escape: bool
) -> None:
    run(Programmer(seed).program(), escape)


# --- what follows for messages


def request(template: str) -> Request:
    return Request(
        template=template,
        content=None,
        channel="email",
        locale="en",
        own_locale="en",
        to=Mailbox("", "ana@example.com"),
        sender=Mailbox("", "us@example.com"),
        reply_to=None,
        subject=None,
        preheader=None,
        values={},
        message_id="1@example.com",
        date=datetime(2026, 11, 28, tzinfo=UTC),
        letterhead=None,
        topic=None,
        attach=(),
        unsubscribe_url=None,
        unsubscribe_mail="mailto:us@example.com",
    )


def test_after_three_messages_past_the_limits_a_template_is_not_tried_until_its_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_STEPS", 1_000)
    monkeypatch.setattr(compiling, "COSTLY_S", 0)
    file = tmp_path / "templates" / "wild.md"
    file.parent.mkdir()
    file.write_text("---\nsubject: s\n---\n{% for a in range(99) %}{{ a }}{% endfor %}")
    templates = Templates(tmp_path)
    for _ in range(MOST_EXCEEDED):
        with pytest.raises(
            RenderError, match="cannot be filled in: it takes more than"
        ):
            render(templates, request("wild"))
    with pytest.raises(RenderError, match="is not tried any more") as refused:
        render(templates, request("wild"))
    assert "a changed file is tried at once" in str(refused.value.help)
    file.write_text("---\nsubject: s\n---\ntame")
    assert render(Templates(tmp_path), request("wild")).text == "tame\n"


def test_people_of_whom_a_value_is_large_stop_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "own.md").write_text(
        "---\nsubject: s\n---\n{{ many|upper }}"
    )
    templates = Templates(tmp_path)
    for _ in range(2 * MOST_EXCEEDED):
        with pytest.raises(RenderError, match="more than 100,000 characters"):
            render(templates, request_with(many="x" * 200_000))
    assert render(templates, request_with(many="x")).text == "X\n"


def test_one_message_past_the_limits_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_STEPS", 1_000)
    monkeypatch.setattr(compiling, "COSTLY_S", 0)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "own.md").write_text(
        "---\nsubject: s\n---\n{% for a in many %}{{ a }}{% endfor %}"
    )
    templates = Templates(tmp_path)
    for _ in range(2 * MOST_EXCEEDED):
        with pytest.raises(RenderError):
            render(templates, request_with(many=list(range(99))))
        assert render(templates, request_with(many=[1, 2])).text == "12\n"


def request_with(**values: Any) -> Request:
    made = request("own")
    return Request(
        **{name: getattr(made, name) for name in Request.__slots__} | {"values": values}
    )


# --- making ready

MANY = 20_000
OPENINGS = (
    "[",
    "![",
    "{{",
    "{%",
    "{#",
    "[{{ a }}",
    "**a ",
    "[a](",
    "![a](",
    "<a ",
    "<img ",
    '<a href="',
    "<!--",
    "</",
    "<p>",
    "<b>",
    "<div><p>",
    "<body ",
    "{% block body %}",
    "_a",
    "w",
    "a  ",
    "|-|\n",
    "> ",
    "`",
    "\\",
    "- a\n",
    "&",
    "(",
    "{{ a[",
)


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("ending", [".md", ".html"])
@pytest.mark.parametrize("end", ["", "}} --> >"])
def test_a_text_that_opens_by_the_thousand_and_closes_nothing_is_soon_ready_or_refused(
    tmp_path: Path, opening: str, ending: str, end: str
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / f"odd{ending}").write_text(
        opening * (MANY // len(opening)) + end
    )
    templates = Templates(tmp_path, tracks=True)
    with bounded():
        try:
            templates.get("odd", None)
        except DripError as refused:
            assert refused.sentence


def test_tags_nested_by_the_hundred_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "deep.html").write_text("<p>\n" + "<b>\n" * 300)
    with pytest.raises(DripError, match="nested more than 250 deep") as refused:
        Templates(tmp_path).get("deep", None)
    assert str(refused.value.place) == "templates/deep.html:252"


@pytest.mark.parametrize(
    "front", ["x:\n" + "- " * 5_000, "x: " + "{" * 900, "x: " + "a" * 30_000]
)
def test_what_stands_between_the_lines_is_refused_with_its_file_if_it_is_no_list_of_texts(
    tmp_path: Path, front: str
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "odd.md").write_text(f"---\n{front}\n---\nHello")
    with pytest.raises(DripError) as refused:
        Templates(tmp_path).get("odd", None)
    assert str(refused.value.place).startswith("templates/odd.md")


def test_a_wild_template_is_stopped_in_every_thread_that_shares_it() -> None:
    sandbox = SANDBOXES[True]
    template = sandbox.from_string(
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
    )
    with pytest.raises(TooMuch):
        sandbox.render(template, {})
    assert sandbox.render(sandbox.from_string("{{ 'a'|upper }}"), {}) == "A"
