"""The pages' words in the languages there are: catalogues as translators edit them
(`locales/*.po`), read at the start."""

from __future__ import annotations

import io
from functools import cache, lru_cache
from pathlib import Path

from babel import Locale, UnknownLocaleError, negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

from drip.folders import names_in

FOLDER = Path(__file__).parent / "locales"
# The words in the pages themselves.
OWN = "en"


@cache
def languages() -> tuple[str, ...]:
    """Those that there are, our own first."""
    files = [name for name in names_in(FOLDER) if name.endswith(".po")]
    return (OWN, *(name.removesuffix(".po") for name in files))


@cache
def catalogue(language: str) -> NullTranslations:
    """The words of a language."""
    if language == OWN:
        return NullTranslations()
    with (FOLDER / f"{language}.po").open("rb") as file:
        found = read_po(file, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, found)
    compiled.seek(0)
    return Translations(compiled)


@cache
def own_names() -> dict[str, str]:
    """What each language is called by those who speak it."""
    return {
        language: (Locale(language).get_display_name() or language).capitalize()
        for language in languages()
    }


def language_for(
    *wanted: str | None,
    accepted: str = "",
    else_: str = OWN,
) -> str:
    """The first of these that there is; else the best of an Accept-Language header (RFC
    9110 section 12.5.4); else that."""
    for tag in (*wanted, *_accepted(accepted), else_):
        known = _known(tag) if tag else None
        if known:
            return known
    return OWN


@lru_cache(1_000)
def _known(tag: str) -> str | None:
    try:
        return negotiate_locale([tag.replace("-", "_")], list(languages()), sep="_")
    except (ValueError, UnknownLocaleError):
        return None


def _accepted(header: str) -> list[str]:
    """Its languages, the preferred ones first."""
    parts = [_weighed(part) for part in header[:500].split(",")]
    wanted = [(tag, weight) for tag, weight in parts if tag and weight > 0]
    # Those that are wanted as much stay in their order.
    return [tag for tag, _ in sorted(wanted, key=lambda part: -part[1])]


def _weighed(part: str) -> tuple[str, float]:
    """`de;q=0.8`; a weight that is none counts as 0, which means not wanted."""
    tag, _, weight = part.strip().partition(";q=")
    try:
        return tag, float(weight or 1)
    except ValueError:
        return tag, 0.0
