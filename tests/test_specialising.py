"""A specialised template says what the plain one says, character for character."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drip.rendering.sandbox import Sandbox
from drip.rendering.specialising import specialised

SANDBOXES = {
    escape: Sandbox(autoescape=escape, currency="USD") for escape in (True, False)
}
KNOWN: dict[str, Any] = {
    "locale": "de",
    "a": "<b>&amp;",
    "n": 3,
    "zero": 0,
    "nothing": None,
    "day": date(2026, 11, 26),
    "items": [
        {"name": "Öl", "price": 9.5, "tags": ["x", "y"]},
        {"name": "<Tee>", "price": 20, "tags": []},
    ],
    "pairs": [("one", 1), ("two", 2)],
    "empty": [],
    "word": "häuser",
    "map": {"k": "v", "w": 1},
}
PERSONAL = {
    "p": "Ana",
    "q": 7,
    "own": ["u", "v"],
    "contact": {"name": "Zoë & Co", "age": 3},
}


def told(pieces: Callable[[], list[str]]) -> tuple[str, int]:
    """What comes of it and of how many pieces it is made, or how it fails."""
    try:
        made = pieces()
    except Exception as error:
        return f"failed: {type(error).__name__}", -1
    return "".join(made), len(made)


def both(
    source: str, known: dict[str, Any], personal: dict[str, Any], escape: bool
) -> tuple[str, str, int]:
    """The plain result, the specialised one, and how many pieces the latter was made of."""
    sandbox = SANDBOXES[escape]
    plain = sandbox.from_string(source)
    made = specialised(sandbox, sandbox.parse(source), known)
    values = {**known, **personal}
    expected, _ = told(lambda: sandbox.pieces(plain, values))
    if made is None:
        return expected, expected, -1
    return expected, *told(lambda: made.pieces(sandbox, values))


CASES = [
    ("Hello {{ a }}, {{ n + 1 }}", 1),
    ("{% for each in items %}{{ each.name }} {{ each.price|money }}, {% endfor %}", 1),
    ("{% for each in items %}{{ each.name }}?c={{ p }} {% endfor %}.", 5),
    (
        "{{ p }}{{ p }} {{ contact.name }}{{ contact.name|upper }}{{ contact.age + n }}, {{ contact.name }}",
        None,
    ),
    (
        "p{{ 'q' if true else p }}r{{ 'z' or q }}s{{ false and p }}{{ 'a' }}{{ p }}",
        None,
    ),
    ("{{ p }}{{ missing.x }}{{ p }}", None),
    ("{{ p ~ n }}{{ p ~ n }}{{ '' }}{{ 'c' ~ 1 }}", None),
    ("{{ p if q else '' }}{{ p * q }}", None),
    (
        "{% for each in items %}{{ each[p]|default('none') }}{{ each.name if p else '' }}{% endfor %}",
        None,
    ),
    (
        "{% for k, v in pairs %}{{ loop.index }}/{{ loop.length }}{% if loop.last %}.{% endif %}{{ k }}{{ v }}{% endfor %}",
        1,
    ),
    ("{% for each in items %}{{ loop.cycle('a', 'b') }}{% endfor %}", None),
    (
        "{% for each in items if each.price > 10 %}{{ loop.index }}{{ each.name }}{% else %}none{% endfor %}",
        1,
    ),
    ("{% for each in empty %}x{% else %}{% set n = 9 %}{{ n }}{% endfor %}{{ n }}", 2),
    ("{% for each in own %}{{ each }}{{ a }}{{ loop.index }}{% endfor %}", None),
    ("{% set x = a ~ n %}{{ x }}{% set x = p %}{{ x }}", None),
    ("{% for i in [1, 2] %}{% set n = n + i %}{{ n }}{% endfor %}{{ n }}", None),
    ("{% if n > 2 %}{% set z = 'y' %}{{ z }}{% else %}{{ p }}{% endif %}{{ z }}", None),
    ("{% if p %}{% set n = 5 %}{% endif %}{{ n }}", None),
    (
        "{% if zero %}{{ missing.x }}{% elif p == 'Ana' %}A{% elif n %}B{% else %}C{% endif %}",
        None,
    ),
    (
        "{% macro m(x) %}[{{ x }}{{ n }}]{% endmacro %}{% set n = 4 %}{{ m(a) }}{{ m(p) }}",
        None,
    ),
    (
        "{% set ns = namespace(x=n) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
        None,
    ),
    ("{% with n = p %}{{ n }}{% endwith %}{{ n }}", None),
    ("{% filter upper %}{{ word }}{{ p }}{% endfilter %}", None),
    ("{% set block %}{{ a }}{{ p }}{% endset %}{{ block }}{{ block|length }}", None),
    ("{{ missing }}", None),
    ("{{ missing is defined }}{{ n is defined }}{{ p is defined }}", None),
    ("{{ day|date }} {{ day|date('short') }} {{ word|title|replace('ä', 'a') }}", 1),
    (
        "{{ items|map(attribute='name')|join(', ') }}{{ items|sum(attribute='price') }}",
        1,
    ),
    ("{{ items|map(attribute='name') }}", None),
    ("{% set locale = 'en' %}{{ day|date }}", None),
    ("{{ n // zero }}{{ p }}", None),
    (
        "{{ '<i>'|safe }}{{ a|e }}{{ a|striptags }}{{ map.k }}{{ map['w'] }}{{ word[0] }}",
        1,
    ),
    (
        "{% for x in items %}{% for y in x.tags %}{{ y }}{{ x.name }}{{ q }}{% endfor %}{% endfor %}",
        None,
    ),
    (
        "{% for x in items %}{% for y in x.tags %}{{ loop.index }}{{ y }}{% endfor %}{{ loop.index }}{% endfor %}",
        None,
    ),
    (
        "{{ word.upper() }}{{ n|string + 'x' }}{{ [1, a]|length }}{{ (a, 2)|last }}",
        None,
    ),
    ("{% for x in 'ab' %}{{ x }}{% endfor %}{% for x in map %}{{ x }}{% endfor %}", 1),
    ("{# no #}{% raw %}{{ a }}{% endraw %}", 1),
    ("{% for x in range(3) %}{{ x }}{{ p }}{% endfor %}", None),
    ("{{ p and n }}{{ n or p }}{{ not n }}", None),
    (
        "{% for x in items %}{{ x.name }}{% set p = x.price %}{{ p }}{% endfor %}{{ p }}",
        None,
    ),
    (
        "{% for x in range(100000) %}{% for y in range(100000) %}{% endfor %}{% endfor %}",
        None,
    ),
]


@pytest.mark.parametrize("escape", [True, False])
@pytest.mark.parametrize(("source", "pieces"), CASES)
def test_every_construct_says_the_same(
    source: str, pieces: int | None, escape: bool
) -> None:
    plain, special, count = both(source, KNOWN, PERSONAL, escape)
    assert special == plain
    assert pieces is None or count == pieces


NAMES = st.sampled_from(
    [
        "a",
        "n",
        "zero",
        "nothing",
        "word",
        "items",
        "pairs",
        "empty",
        "map",
        "p",
        "q",
        "own",
        "contact",
        "x",
        "y",
        "loop",
        "missing",
    ]
)
ATOMS = NAMES | st.sampled_from(
    ["1", "'<t>'", "[a, 2]", "{'k': p}", "loop.index", "x.name", "contact.name", "day"]
)
FILTERS = (
    "upper",
    "length",
    "join(',')",
    "default('d')",
    "money",
    "first",
    "list",
    "e",
    "safe",
    "string",
    "int",
    "sort",
    "map('upper')",
    "reverse",
    "date",
)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(FILTERS)).map(lambda t: f"({t[0]})|{t[1]}"),
        st.tuples(
            inner, st.sampled_from(["+", "~", "==", "and", "or", "<", "in", "*"]), inner
        ).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda e: f"(not {e})"),
        inner.map(lambda e: f"({e} is defined)"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.tuples(inner, st.sampled_from(["name", "price", "k", "upper", "0"])).map(
            lambda t: f"({t[0]})['{t[1]}']"
        ),
    )


EXPRESSIONS = st.recursive(ATOMS, larger, max_leaves=4)


def statements(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    targets = st.sampled_from(["x", "y", "n", "p", "x, y"])
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(targets, EXPRESSIONS, inner, inner).map(
            lambda t: (
                f"{{% for {t[0]} in {t[1]} %}}{t[2]}{{% else %}}{t[3]}{{% endfor %}}"
            )
        ),
        st.tuples(EXPRESSIONS, inner, EXPRESSIONS, inner, inner).map(
            lambda t: (
                f"{{% if {t[0]} %}}{t[1]}{{% elif {t[2]} %}}{t[3]}{{% else %}}{t[4]}{{% endif %}}"
            )
        ),
        st.tuples(st.sampled_from(["x", "n", "p"]), EXPRESSIONS, inner).map(
            lambda t: f"{{% set {t[0]} = {t[1]} %}}{t[2]}"
        ),
        st.tuples(st.sampled_from(["x", "n"]), inner).map(
            lambda t: f"{{% set {t[0]} %}}{t[1]}{{% endset %}}"
        ),
        st.tuples(EXPRESSIONS, inner).map(
            lambda t: f"{{% with x = {t[0]} %}}{t[1]}{{% endwith %}}"
        ),
        inner.map(
            lambda t: (
                f"{{% macro m(y) %}}{t}{{% endmacro %}}{{{{ m(a) }}}}{{{{ m(p) }}}}"
            )
        ),
    )


LEAVES = EXPRESSIONS.map(lambda e: f"{{{{ {e} }}}}") | st.sampled_from(
    ["text ", "<p>", "\n", "ü&"]
)
TEMPLATES = st.recursive(LEAVES, statements, max_leaves=8)


@settings(max_examples=400)
@given(TEMPLATES, st.booleans())
def test_random_templates_say_the_same(source: str, escape: bool) -> None:
    plain, special, _ = both(source, KNOWN, PERSONAL, escape)
    if " at 0x" not in plain:
        assert special == plain
