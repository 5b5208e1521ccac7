"""What the settings declare for campaigns to name.

Topics, coupons, surveys, counters, segments, and the days on which nobody works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any

from drip.core.channels import CHANNELS
from drip.core.conditions import Condition, Member, leaves
from drip.core.fields import parse_date
from drip.core.settings import Counter, Coupon, Segment, Survey, Topic
from drip.language import phrases
from drip.language.conditions import VERBS, Names, Scope, condition
from drip.language.data import NAME, DataSection
from drip.language.public_holidays import public_holidays
from drip.language.reader import Document, Spot
from drip.language.settings_models import CounterModel, SettingsModel, SurveyModel

# These names are put into addresses of pages and into links, and stay readable there.
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
PLAIN_NAMED = ("topics", "coupons", "surveys", "senders")
# `frequency_caps:` means these by them.
TAKEN_TOPICS = ("all", *CHANNELS)
# What tests and conditions mean by these already.
TAKEN_COUNTERS = {"today", "contact", "topics", *VERBS}
# Segments of segments are looked up one within the other.
DEEPEST = 32
# Holidays are worked out for these years.
HOLIDAY_YEARS = range(2020, 2051)
COUNTRY = re.compile(r"[A-Za-z]{2}(-[A-Za-z0-9]{1,6})?")
SCORES = re.compile(r"([0-9]{1,3})-([0-9]{1,3})")
HIGHEST_SCORE = 100


def check_names(document: Document, model: SettingsModel) -> None:
    """That what is declared has a name that can stand in an address."""
    for section in PLAIN_NAMED:
        for name in getattr(model, section):
            taken = section == "topics" and name in TAKEN_TOPICS
            if taken or not PLAIN_NAME.fullmatch(name):
                document.problem(
                    (section, name),
                    f"`{name}` cannot be a name here: letters, digits, - and _",
                    "put what people see into its own key, as `title:`",
                    key=True,
                )


def read_topics(document: Document, model: SettingsModel) -> dict[str, Topic]:
    """What people can switch on and off."""
    return {
        key: Topic(
            key=key,
            title=topic.title,
            opt_in=topic.opt_in,
            expires=topic.expires,
            place=document.place(("topics", key), key=True),
        )
        for key, topic in model.topics.items()
    }


def read_coupons(document: Document, model: SettingsModel) -> dict[str, Coupon]:
    """Codes that are good for something."""
    return {
        key: Coupon(
            key=key,
            offer=coupon.offer,
            codes=coupon.codes,
            prefix=coupon.prefix,
            place=document.place(("coupons", key), key=True),
        )
        for key, coupon in model.coupons.items()
    }


def read_surveys(document: Document, model: SettingsModel) -> dict[str, Survey]:
    """Questions with their range of answers."""
    found: dict[str, Survey] = {}
    for key, own in model.surveys.items():
        survey = _survey(document.at("surveys", key), key, own)
        if survey:
            found[key] = survey
    return found


def _survey(spot: Spot, key: str, model: SurveyModel) -> Survey | None:
    """One survey; None where its scores are no range."""
    found = SCORES.fullmatch(model.scores)
    lowest, highest = (int(found[1]), int(found[2])) if found else (0, 0)
    # Each answer is a link of its own in the mail.
    if not lowest < highest <= HIGHEST_SCORE:
        spot.at("scores").problem(
            f"`{model.scores}` is not a range of scores like 1-5 or 0-10",
        )
        return None
    return Survey(
        key=key,
        question=model.question,
        lowest=lowest,
        highest=highest,
        place=spot.place(key=True),
    )


# --- counters


def read_counters(
    document: Document, model: SettingsModel, data: DataSection
) -> dict[str, Counter]:
    """Stamps and points, with the events that change them."""
    found: dict[str, Counter] = {}
    for key, counter in model.counters.items():
        # Conditions name counters and fields alike, and could not tell them apart.
        taken = key in TAKEN_COUNTERS or _is_field(key, data)
        if taken or not NAME.fullmatch(key):
            sentence = f"`{key}` cannot name a counter: small letters, digits and _"
            document.problem(
                ("counters", key),
                f"{sentence}, and no name that is taken",
                key=True,
            )
        found[key] = _counter(document.at("counters", key), key, counter)
    return found


def _counter(spot: Spot, key: str, model: CounterModel) -> Counter:
    """One counter with the events that change it."""
    return Counter(
        key=key,
        add=_events(spot.at("add"), model.add),
        subtract=_events(spot.at("subtract"), model.subtract),
        reset=_events(spot.at("reset"), model.reset),
        field=model.field,
        place=spot.place(key=True),
    )


def _is_field(key: str, data: DataSection) -> bool:
    """Whether a field of contacts or a kind of record is called so."""
    own = key in data.fields["contact"] or f"contact.{key}" in data.derived
    return own or key in data.fields


def _events(spot: Spot, data: Any) -> tuple[str, ...]:
    """The events of a key, one or a list."""
    found: list[str] = []
    for _, item in spot.items(data):
        try:
            found.append(phrases.event_name(str(item)))
        except ValueError as wrong:
            spot.problem(str(wrong))
    return tuple(found)


# --- segments


def read_segments(
    document: Document, model: SettingsModel, names: Names
) -> dict[str, Segment]:
    """The segments, each after those that it is made of."""
    read: dict[str, Condition] = {}
    for key, data in model.segments.items():
        spot = document.at("segments", key)
        if not NAME.fullmatch(key):
            spot.problem(
                f"`{key}` cannot name a segment: small letters, digits and _",
                key=True,
            )
        if found := condition(document, spot.route, data, Scope(names)):
            read[key] = found
    ordering = _SegmentOrdering(document, read)
    for key in read:
        ordering.put(key, ())
    return ordering.ordered


@dataclass
class _SegmentOrdering:
    """Puts segments behind those that they are made of."""

    document: Document
    read: Mapping[str, Condition]
    ordered: dict[str, Segment] = field(default_factory=dict)

    def put(self, key: str, above: tuple[str, ...]) -> None:
        """Puts a segment, and before it what it is made of.

        `above` are the segments that are made of it, outermost first.
        """
        if key in above:
            # Membership of either would have to be known before the other's.
            chain = " → ".join([*above[above.index(key) :], key])
            self._problem(key, f"these segments are made of one another: {chain}")
        elif len(above) > DEEPEST:
            self._problem(key, f"this segment is more than {DEEPEST} segments deep")
        elif key not in self.ordered and key in self.read:
            for name in self._parts(key):
                self.put(name, (*above, key))
            place = self.document.place(("segments", key), key=True)
            self.ordered[key] = Segment(key, self.read[key], place)

    def _parts(self, key: str) -> Iterator[str]:
        """The segments that a segment names."""
        for leaf in leaves(self.read[key]):
            if isinstance(leaf, Member) and leaf.rank is None:
                yield leaf.name

    def _problem(self, key: str, sentence: str) -> None:
        self.document.at("segments", key).problem(sentence, key=True)


# --- holidays


def read_holidays(document: Document, data: Any) -> frozenset[date]:
    """Those of a country (`US`, or with its part `DE-BY`), and single dates."""
    found: set[date] = set()
    for spot, item in document.at("holidays").items(data):
        if isinstance(item, str) and COUNTRY.fullmatch(item):
            found |= _of_country(spot, item)
            continue
        help = "a country of two letters, or dates like 2026-12-24"
        day = spot.attempt(partial(parse_date, str(item)), help)
        if day:
            found.add(day)
    return frozenset(found)


def _of_country(spot: Spot, code: str) -> set[date]:
    country, _, part = code.upper().partition("-")
    try:
        return public_holidays(country, part or None, HOLIDAY_YEARS)
    except NotImplementedError:
        # The library's word for a country that it does not have.
        spot.problem(
            f"the holidays of `{code}` are not known",
            "name a country like US, or dates",
        )
        return set()
