"""Nothing that a template does goes round the counting: what its arguments are, what Jinja does with texts, and what is worked
out before a message is made."""

from __future__ import annotations

import time

import pytest
from jinja2 import TemplateSyntaxError
from jinja2.exceptions import SecurityError
from markupsafe import Markup

from drip.rendering import limits
from drip.rendering.limits import LONGEST_SOUGHT, TooMuch
from drip.rendering.sandbox import GUARDS, MOST_NODES, Sandbox
from drip.rendering.specialising import specialised

SANDBOX = Sandbox(autoescape=True, currency="USD")


def filled(source: str, **values: object) -> str:
    return SANDBOX.render(SANDBOX.from_string(source), values)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_STEPS", 1_000)


@pytest.mark.parametrize("name", GUARDS)
def test_no_template_can_use_what_counts(name: str) -> None:
    with pytest.raises(SecurityError):
        filled(f"{{{{ [-1]|map('{name}')|list|length }}}}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ '%9d' is odd }}",
        "{{ '%9d' is even }}",
        "{{ '%9d' is divisibleby(3) }}",
        "{{ ['%9d']|select('odd')|list|length }}",
        "{{ 'x'|round(1, 'ceil') }}",
    ],
)
def test_a_text_is_no_number_to_what_works_on_numbers(source: str) -> None:
    with pytest.raises(SecurityError, match="works on numbers only"):
        filled(source)


def test_numbers_are_tested_and_rounded() -> None:
    assert (
        filled("{{ 3 is odd }} {{ 4 is divisibleby(2) }} {{ 2.35|round(1, 'ceil') }}")
        == "True True 2.4"
    )


@pytest.mark.parametrize(
    "source",
    [
        "{{ word|trim(chars) }}",
        "{{ word.strip(chars) }}",
        "{{ word.rfind(chars) }}",
        "{{ word.rsplit(chars)|length }}",
        "{{ 5|money(chars) }}",
        "{{ day|date(chars) }}",
    ],
)
def test_what_is_looked_for_in_a_text_is_short(source: str) -> None:
    with pytest.raises(TooMuch):
        filled(source, word="word", chars="x" * (LONGEST_SOUGHT + 1), day="2026-11-28")


def test_every_argument_of_a_call_counts(few_steps: None) -> None:
    many = list(range(2_000))
    for source in (
        "{% macro m() %}{% endmacro %}{{ m(*many) }}",
        "{% set n = namespace(**named) %}",
    ):
        with pytest.raises(TooMuch):
            filled(source, many=many, named={f"k{each}": each for each in many})


def test_a_list_counts_whose_values_are_counted(few_steps: None) -> None:
    with pytest.raises(TooMuch):
        filled("{{ many.count(1) }}", many=list(range(2_000)))


def test_a_namespace_in_a_loop_is_nothing_that_a_macro_is_given() -> None:
    source = "{% macro m() %}x{% endmacro %}{% for a in [1, 2] %}{% set n = namespace(y=1) %}{{ m() }}{% endfor %}"
    assert filled(source) == "xx"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(9) if 1" + " == 1 == a" * 100 + " %}{% endfor %}",
        "{% for a in range(9) %}{% for b in [] %}{% else %}{% if a"
        + " == a" * 200
        + " %}{% endif %}{% endfor %}{% endfor %}",
        "{% macro m(a=(x"
        + " == x" * 200
        + ")) %}{% endmacro %}{% for a in range(9) %}{{ m() }}{% endfor %}",
    ],
)
def test_what_is_worked_out_in_every_round_counts_wherever_it_stands(
    few_steps: None, source: str
) -> None:
    with pytest.raises(TooMuch):
        filled(source, x=1)


def test_a_loop_with_a_condition_goes_through_what_meets_it() -> None:
    assert (
        filled(
            "{% for a in range(9) if a is odd %}{{ loop.index }}:{{ a }} {% endfor %}"
        )
        == "1:1 2:3 3:5 4:7 "
    )


@pytest.mark.parametrize(
    "use",
    [
        "map(attribute='{}')|list|length",
        "sort(attribute='{}')|length",
        "max(attribute='{}')",
    ],
)
def test_names_that_are_looked_up_count_in_a_text_too(
    few_steps: None, use: str
) -> None:
    with pytest.raises(TooMuch):
        filled("{{ word|" + use.format(".".join("0" * 200)) + " }}", word="abcdefghij")


def test_the_letters_of_what_is_sorted_count(few_steps: None) -> None:
    with pytest.raises(TooMuch):
        filled("{{ words|max|length }}", words=["x" * 60_000, "y" * 60_000])


@pytest.mark.parametrize(
    "source", ["{% set a = word[1:] %}", "{% set a = word ~ '' %}"]
)
def test_a_part_of_a_text_counts_as_made(few_steps: None, source: str) -> None:
    with pytest.raises(TooMuch):
        filled(source, word="x" * 50_000)


def test_a_text_is_no_longer_than_a_message_once_it_is_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("drip.rendering.limits.not_too_long.__defaults__", (1_000,))
    assert (
        filled("{% set a = word ~ safe %}done", word="&" * 150, safe=Markup("a"))
        == "done"
    )
    with pytest.raises(TooMuch):
        filled("{% set a = word ~ safe %}done", word="&" * 900, safe=Markup("a"))


def test_a_number_that_is_written_out_has_an_end() -> None:
    with pytest.raises(TemplateSyntaxError, match="a number this large"):
        filled("{{ 0x1" + "0" * 100 + " }}")


def test_a_template_is_made_of_so_many_parts_that_it_is_soon_ready() -> None:
    assert SANDBOX.from_string("{{ a }}" * (MOST_NODES // 4))
    with pytest.raises(
        TemplateSyntaxError, match=f"more than {MOST_NODES:,} tags, values and texts"
    ):
        SANDBOX.from_string("{{ a }}" * MOST_NODES)


@pytest.mark.parametrize(
    "source", ["{{ [[1, 2]]|join }}", "{{ 'ab'|join([1]) }}", "{{ 'a'|int([1, 2]) }}"]
)
def test_a_list_is_not_written_out_in_a_roundabout_way(source: str) -> None:
    with pytest.raises(SecurityError):
        filled(source)


def test_texts_of_a_template_are_the_same_objects_in_every_message_in_whatever_language() -> (
    None
):
    template = SANDBOX.from_string("Grüße {{ name }}!")
    first, second = (
        SANDBOX.pieces(template, {"name": name}) for name in ("Ana", "half \ud800")
    )
    assert (
        first[0] is second[0]
        and first == ["Grüße ", "Ana", "!"]
        and second[1] == "half ?"
    )


@pytest.mark.parametrize("limit", ["LONGEST_S", "MOST_CHARACTERS"])
def test_what_is_worked_out_beforehand_ends_as_soon(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    source = (
        "{% if a %}{% for b in [1, 2, 3] %}"
        + "x" * 100
        + "{{ b }}{% endfor %}{% endif %}"
    )
    known = {"locale": "en"}
    assert specialised(SANDBOX, SANDBOX.parse(source), known) is not None
    monkeypatch.setattr(limits, limit, 0)
    began = time.monotonic()
    assert specialised(SANDBOX, SANDBOX.parse(source), known) is None
    assert time.monotonic() - began < 2
