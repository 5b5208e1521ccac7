"""Addresses, numbers and times as people write them, in their normal form."""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from drip.core.fields import Field, parse, parse_zone

# What needs no second look: words of letters, digits and a few signs, with dots between
# them, and not long.
PLAIN_LOCAL_PART = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*")
LONGEST_PLAIN = 64


def parse_plain(
    name: str,
    text: str,
    country: str,
) -> str:
    """What every contact has a column for, in its normal form. Raises ValueError with a
    sentence."""
    if name == "email":
        return parse_email(text)
    if name == "phone":
        return parse_phone(text, country)
    if name == "country":
        return str(parse(Field("country", "country"), text))
    if name == "timezone":
        return parse_zone(text)
    return _parse_locale(text)


def _parse_locale(text: str) -> str:
    # RFC 5646 section 2.1: a language, and what follows it. Many programs write `_`.
    if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*", text):
        raise ValueError(f"`{text}` is not a language like en or de-AT")
    return text.replace("_", "-")


def parse_email(text: str) -> str:
    """The address in its normal form. Raises ValueError with a sentence."""
    local_part, _, domain = text.rpartition("@")
    is_plain = PLAIN_LOCAL_PART.fullmatch(local_part) and len(text) < LONGEST_PLAIN
    if is_plain and (known := _domain(domain)):
        return f"{local_part}@{known}"
    return _checked_email(text)


def _checked_email(text: str) -> str:
    try:
        found = validate_email(text, check_deliverability=False)
        # A domain of other letters has an ASCII form that every server takes (RFC
        # 5891).
        return found.ascii_email or found.normalized
    except EmailNotValidError as error:
        raise ValueError(f"`{text}` is not an e-mail address: {error}") from None


@lru_cache(maxsize=10_000)
def _domain(domain: str) -> str | None:
    """A domain in its normal form, looked at once however many people have it; None if
    it is none."""
    try:
        return validate_email(f"a@{domain}", check_deliverability=False).ascii_domain
    except EmailNotValidError:
        return None


def parse_phone(text: str, country: str) -> str:
    """The number as +15551234567 (ITU-T E.164). Raises ValueError with a sentence."""
    number = _phone_number(text, country)
    # Not whether it is valid: plans of numbers change faster than anybody's copy of
    # them, and a number that is in use would be set aside.
    if not phonenumbers.is_possible_number(number):
        wrong = "it is too short or too long"
        raise ValueError(f"`{text}` cannot be a phone number: {wrong}")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _phone_number(text: str, country: str) -> phonenumbers.PhoneNumber:
    try:
        return phonenumbers.parse(text, country.upper() or None)
    except phonenumbers.NumberParseException:
        raise ValueError(f"`{text}` is not a phone number like +15551234567") from None
