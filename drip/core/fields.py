"""The types of contact and record fields.

What may be written, what is kept, what it means.

Values are kept as JSON: text and numbers as they are, dates and birthdays as ISO text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfoNotFoundError

from drip.core.calendar import Birthday, zone
from drip.core.shortage import shortage

# "any" is the field of an event, of which only the event knows what it holds.
FieldKind = Literal[
    "text",
    "number",
    "money",
    "date",
    "birthday",
    "yes or no",
    "country",
    "timezone",
    "choice",
    "any",
]
KINDS: tuple[str, ...] = (
    "text",
    "number",
    "money",
    "date",
    "birthday",
    "yes or no",
    "country",
    "timezone",
)
Stored = str | int | float | bool
Value = str | int | float | bool | date | datetime | Birthday

# Keys that begin so are those of people who were erased.
ERASED = "erased-"
# Far enough from the calendar's ends for every length of time that the language can
# write.
FIRST_YEAR, LAST_YEAR = 1800, 2200
ISO_DAY = len("2026-11-22")
# What programs export: spreadsheets, CRMs and databases each have their own words.
YES = {"yes", "y", "true", "1", "on"}
NO = {"no", "n", "false", "0", "off"}


@dataclass(frozen=True, slots=True)
class Field:
    """A declared field. `choices` only for a choice."""

    name: str
    kind: FieldKind
    choices: tuple[str, ...] = ()

    @property
    def is_date(self) -> bool:
        return self.kind in ("date", "birthday")


def parse(field: Field, text: str) -> Stored:
    """What a cell of a file means for this field, as it is kept.

    Raises ValueError with a plain sentence.
    """
    text = text.strip()
    match field.kind:
        case "number" | "money":
            return parse_number(text)
        case "date":
            return parse_date(text).isoformat()
        case "birthday":
            return str(parse_birthday(text))
        case "yes or no":
            return parse_yes_no(text)
        case "country":
            if not re.fullmatch("[A-Za-z]{2}", text):
                raise ValueError(
                    f"`{text}` is not a country code of two letters, like US or DE"
                )
            return text.upper()
        case "timezone":
            return parse_zone(text)
        case "choice":
            for choice in field.choices:
                if choice.casefold() == text.casefold():
                    return choice
            raise ValueError(f"`{text}` is none of {', '.join(field.choices)}")
        case _:
            return text


def load(field: Field, stored: Stored) -> Value | None:
    """The value that conditions and templates see.

    None for one that the field's type cannot have (any more).
    """
    try:
        if field.kind == "date":
            return parse_date(str(stored)) if len(str(stored)) == ISO_DAY else None
        # A field whose type was changed keeps what was stored before.
        if field.kind == "birthday":
            return parse_birthday(str(stored))
    except ValueError:
        return None
    return stored if _fits(field.kind, stored) else None


def _fits(kind: FieldKind, stored: Stored) -> bool:
    if kind == "yes or no":
        return isinstance(stored, bool)
    if kind in ("number", "money"):
        return isinstance(stored, int | float) and not isinstance(stored, bool)
    return isinstance(stored, str)


# Sums over events meet the same prices again and again.
@lru_cache(maxsize=10_000)
def parse_number(text: str) -> int | float:
    """1,234.50 and 1234.5, with or without a currency sign. Raises ValueError."""
    bare = bare_number(text)
    # Whole numbers beyond 2^53 are not exact everywhere (JSON, databases), so nowhere.
    return float(bare) if "." in bare or abs(int(bare)) > 2**53 else int(bare)


def bare_number(text: str) -> str:
    """The digits of a number, with its sign and its point. Raises ValueError."""
    # ASCII digits alone: Python takes `٣` for a number, and databases do not.
    bare = re.sub(r"^[$€£¥]\s*|\s*[$€£¥]$", "", text, flags=re.ASCII)
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", bare, re.ASCII):
        bare = bare.replace(",", "")
    # Longer ones would take time with the square of their length (CVE-2020-10735).
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)", bare, re.ASCII) or len(bare) > 30:
        raise ValueError(f"`{text}` is not a number")
    return bare


def parse_date(text: str) -> date:
    """2026-11-22, or an ISO date-time of which the date is taken. Raises ValueError."""
    try:
        day = (
            date.fromisoformat(text[:10])
            if re.match(r"\d{4}-\d\d-\d\d($|[T ])", text)
            else None
        )
    except ValueError:
        day = None
    if day is None:
        raise ValueError(f"`{text}` is not a date like 2026-11-22")
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(
            f"the year of `{text}` is not between {FIRST_YEAR} and {LAST_YEAR}"
        )
    return day


def parse_birthday(text: str) -> Birthday:
    """1990-02-29, 02-29 and --02-29 are taken, whatever the year was.

    Raises ValueError.
    """
    found = re.fullmatch(r"(?:(\d{4})-|--)?(\d\d)-(\d\d)", text)
    if not found:
        raise ValueError(
            f"`{text}` is not a birthday like 1990-02-28, or 02-28 when the year is "
            "unknown"
        )
    month, day = int(found[2]), int(found[3])
    try:
        date(2000, month, day)
    except ValueError:
        raise ValueError(f"`{text}` is no day of the calendar") from None
    year = int(found[1]) if found[1] else None
    if year is not None and not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(
            f"the year of `{text}` is not between {FIRST_YEAR} and {LAST_YEAR}"
        )
    return Birthday(month, day, year)


def suspect_birthday(birthday: Birthday) -> bool:
    """Whether it looks like a placeholder that some system wrote for "unknown"."""
    return birthday.year == 1900 or (birthday.year, birthday.month, birthday.day) == (
        1970,
        1,
        1,
    )


def parse_yes_no(text: str) -> bool:
    """Raises ValueError."""
    if text.casefold() in YES:
        return True
    if text.casefold() in NO:
        return False
    raise ValueError(f"`{text}` is neither yes nor no")


def parse_zone(text: str) -> str:
    """A name of the tz database, as Europe/London.

    Raises ValueError, and Shortage if its file cannot be opened now.
    """
    try:
        zone(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        said = f"`{text}` is not a time zone like Europe/London or America/Chicago"
        raise shortage(error) or ValueError(said) from None
    return text


def own_key(key: str) -> str:
    """A key as it may come in.

    Raises ValueError for one that only erased people have.
    """
    if key.casefold().startswith(ERASED):
        raise ValueError(
            f"`{key}` begins with `{ERASED}`, as only keys of erased people do; give "
            "it another key"
        )
    return key
