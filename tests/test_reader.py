"""Reading YAML: strings stay what was written, every value knows its place, bad files are refused in plain words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drip.errors import Problem, Problems
from drip.language.reader import Document, parse, read


def problems_of(text: str) -> list[Problem]:
    try:
        return parse(text, "campaigns/x.yaml").problems
    except Problems as error:
        return list(error.problems)


@pytest.mark.parametrize(
    "written",
    [
        "10:30",
        "NO",
        "01234",
        "+15551234",
        "1e3",
        "2026-11-22",
        "null",
        "0x10",
        "~",
        "yes",
    ],
)
def test_values_stay_what_was_written(written: str) -> None:
    assert parse(f"key: {written}", "x").data == {"key": written}


def test_a_hash_or_a_colon_inside_a_text_is_text() -> None:
    assert parse(
        "a: Nr#1\nb: 'We are #1: the best'\nc: http://x.example", "x"
    ).data == {
        "a": "Nr#1",
        "b": "We are #1: the best",
        "c": "http://x.example",
    }


def test_text_lost_after_a_hash_is_told() -> None:
    found = problems_of("subject: We are #1 in town")
    assert [each.code for each in found] == ["text-lost"]
    assert problems_of("subject: We are here  # in town") == []


def test_a_second_colon_is_explained_with_its_place() -> None:
    (found,) = problems_of("name: Hello\nsubject: Sale: today")
    assert (found.place.line, found.place.column) == (2, 14)
    assert "second colon" in found.sentence
    assert "quotes" in (found.help or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\tname: x", "tab"),
        ("name:\n\tkey: x", "tab"),
        ("a: 1\na: 2", "second time"),
        ("a: &x 1\nb: 2", "anchors"),
        ("a: *x", "aliases"),
        ("<<: 1", "merge keys"),
        ("a: !!python/object:os.system x", "tags"),
        ("a: {{ contact.x }}", "must be a word"),
        ("a: 'open", "never closed"),
        ("a: [1, 2", "bracket"),
        ("a: 1\n b: 2", "indent"),
        ("a: 1\n---\nb: 2", "second document"),
        ("a: \x00", "character"),
        ("[" * 100, "nested more than 32"),
        ("a: @x", "cannot begin a text"),
    ],
)
def test_what_is_refused_is_explained(text: str, said: str) -> None:
    found = problems_of(text)
    assert found
    assert any(said in each.sentence for each in found)
    assert all(each.place.line for each in found)


def test_a_billion_laughs_is_refused_at_once() -> None:
    laughs = "a: &a [x, x]\n" + "".join(
        f"{n}: &{n} [*a, *a, *a, *a]\n" for n in "bcdefghij"
    )
    (found,) = problems_of(laughs)
    assert "anchors" in found.sentence


def test_files_that_are_no_text_of_ours_are_refused(tmp_path: Path) -> None:
    for name, content, said in (
        ("utf16.yaml", "name: x".encode("utf-16"), "UTF-8"),
        ("latin.yaml", "name: Café".encode("latin-1"), "UTF-8"),
        ("big.yaml", b"# " + b"x" * 1024 * 1024, "more than 262,144 bytes"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Problems, match=said):
            read(tmp_path / name, name)
    with pytest.raises(Problems, match="cannot be read"):
        read(tmp_path, "folder")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfname: x")
    assert read(tmp_path / "bom.yaml", "bom.yaml").data == {"name": "x"}


def test_every_value_knows_its_place() -> None:
    document: Document = parse("steps:\n  - send: card\n    subject: Hello\n", "x.yaml")
    place = document.place(("steps", 0, "subject"))
    assert (place.line, place.column) == (3, 14)
    assert document.place(("steps", 0, "subject"), key=True).column == 5


@given(st.text(max_size=200))
def test_no_text_at_all_breaks_the_reader(text: str) -> None:
    for found in problems_of(text):
        assert found.sentence
        assert "\n".join(found.lines())
