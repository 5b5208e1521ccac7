"""The pages' words: in each language all of them, with what is filled in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from drip.web.words import FOLDER, OWN, catalogue, language_for, languages, own_names

PAGES = FOLDER.parent / "pages"


def wanted() -> set[str]:
    kinds = ("**.html", "**.txt")
    options = {each: {"newstyle_gettext": "true"} for each in kinds}
    found = extract_from_dir(PAGES, [(each, "jinja2") for each in kinds], options)
    return {str(message) for _, _, message, _, _ in found}


def test_there_are_four_languages_to_begin_with() -> None:
    assert set(languages()) == {"en", "de", "fr", "es"}


@pytest.mark.parametrize("language", [each for each in languages() if each != OWN])
def test_each_language_has_all_words_and_no_others(language: str) -> None:
    with (Path(FOLDER) / f"{language}.po").open("rb") as file:
        known = {str(each.id): str(each.string) for each in read_po(file) if each.id}
    assert set(known) == wanted()
    for word, said in known.items():
        assert said, word
        assert re.findall(r"%\(\w+\)s", word) == re.findall(r"%\(\w+\)s", said), word
    assert catalogue(language).ugettext("Save") != "Save"


@pytest.mark.parametrize(
    ("wanted", "accepted", "found"),
    [
        (("de-AT",), "fr", "de"),
        ((None,), "fr-CH,fr;q=0.9,en;q=0.5", "fr"),
        (("pt",), "es;q=0.1, de;q=0.8", "de"),
        ((), "ja, *;q=0.5", "en"),
        ((), ";;q=x,,=;q=0", "en"),
        (("zz_zz_zz",), "\u00fc", "en"),
        ((None, "es"), "", "es"),
        ((), "de;q=0, fr", "fr"),
    ],
)
def test_the_language_is_the_readers(
    wanted: tuple[str | None, ...], accepted: str, found: str
) -> None:
    assert language_for(*wanted, accepted=accepted) == found


def test_languages_are_called_by_their_own_names() -> None:
    assert list(own_names().values()) == ["English", "Deutsch", "Español", "Français"]
