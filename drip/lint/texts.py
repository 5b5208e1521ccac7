"""Rules over templates: what they print, how they look to an inbox, a phone and a screen reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import product

from drip.core.campaign import Campaign, EventTrigger
from drip.core.channels import CHANNELS
from drip.core.conditions import FieldCondition, leaves
from drip.core.settings import Settings
from drip.core.steps import IssueCoupon, SendStep, Step, Task
from drip.errors import DripError, Place, Problem, nearest
from drip.lint.contrast import low_contrasts
from drip.lint.rules import finding
from drip.rendering.addresses import is_for_programs
from drip.rendering.compiled import Compiled
from drip.rendering.names import Used, names_in, names_in_text
from drip.rendering.pages import LAYOUT
from drip.rendering.shield import replace_tags
from drip.rendering.sources import Source
from drip.rendering.templates import Templates

GLOBALS = frozenset(
    (
        "business",
        "contact",
        "event",
        "issue",
        "locale",
        "preheader",
        "subject",
        "topic",
        "unsubscribe_link",
        "preferences_link",
        "confirm_link",
        "range",
        "dict",
        "namespace",
        "loop",
        "super",
        "self",
    )
)
FRONT_KEYS = ("subject", "preheader", "from", "layout")
LONGEST_SUBJECT = 70
LARGEST_BYTES = 100 * 1024
SELLING = re.compile(
    r"\b(\d+ ?% (off|discount)|discounts?|on sale|special offers?|promo(tion)? codes?|coupon|buy now|shop now|"
    r"limited time|best price|save \$?\d+)\b",
    re.I,
)
VAGUE = {
    "here",
    "click here",
    "click",
    "this",
    "link",
    "this link",
    "more",
    "read more",
    "hier",
    "ici",
    "aquí",
}
# A name of a length that hardly anybody's has, where the people are not known.
LONG_NAME = 20


@dataclass(frozen=True, slots=True)
class FieldStats:
    """What the database knows: for a field the share of people who lack it, and its longest value's length."""

    unknown: dict[str, float] = field(default_factory=dict)
    longest: dict[str, int] = field(default_factory=dict)


@dataclass
class TextRules:
    """The rules over the templates of one workspace."""

    settings: Settings
    templates: Templates
    people: FieldStats
    _seen: set[tuple[str, str]] = field(default_factory=set)
    # Many campaigns send the same texts: each is read and taken apart once.
    _sources_of: dict[tuple[str, str | None, tuple[str, ...]], Source | None] = field(
        default_factory=dict
    )
    _names_of: dict[str, list[Used]] = field(default_factory=dict)
    _variants: dict[str, list[str | None]] = field(default_factory=dict)

    def problems(self, campaigns: Iterable[Campaign]) -> Iterator[Problem]:
        """Everything about the texts that these campaigns send, and those that none sends."""
        used: set[str] = set()
        self._variants = self.templates.variants()
        for campaign in campaigns:
            for step in campaign.steps:
                if isinstance(step, SendStep):
                    used.add(step.template)
                    yield from self._step(campaign, step)
                yield from self._lines(campaign, step)
        yield from self._layout()
        for name in self.templates.names():
            if name not in used:
                try:
                    for source in self.templates.files(name)[:1]:
                        yield finding(
                            "unused-template",
                            Place(source.name),
                            f"no campaign sends `{name}`",
                        )
                except DripError as error:
                    yield Problem(
                        error.place or Place(name), error.sentence, error.help
                    )

    def _lines(self, campaign: Campaign, step: Step) -> Iterator[Problem]:
        """The texts that stand in the campaign itself: subjects, preheaders, tasks' titles."""
        texts = [step.title] if isinstance(step, Task) else []
        texts += (
            [text for text in (step.subject, step.preheader) if text]
            if isinstance(step, SendStep)
            else []
        )
        for text in texts:
            try:
                for used in names_in_text(self.templates, text, step.place):
                    problem = self._unknown(campaign, used)
                    if problem:
                        yield replace(problem, source=None)
            except DripError as error:
                yield Problem(error.place or step.place, error.sentence, error.help)

    def _step(self, campaign: Campaign, step: SendStep) -> Iterator[Problem]:
        locales: list[str | None] = self._variants.get(step.template) or [None]
        channels = [
            channel for channel in step.channels if channel in self.settings.transports
        ] or step.channels[:1]
        try:
            for locale, channel in product(locales, channels):
                compiled = self.templates.get(step.template, locale, channel)
                yield from self._compiled(campaign, step, compiled, channel)
                yield from self._sources(campaign, step, locale, channel)
            for source in self.templates.contents(step.content) if step.content else ():
                yield from self._names(campaign, source)
                yield from self._looks(source)
            for name in step.attach:
                self.templates.attachment(name)
        except DripError as error:
            yield Problem(error.place or step.place, error.sentence, error.help)

    def _layout_names(self, campaign: Campaign) -> Iterator[Problem]:
        path = self.templates.folder / LAYOUT
        source = (
            self._source(LAYOUT.removesuffix(".html"), None, (".html",))
            if path.is_file()
            else None
        )
        if source:
            yield from self._names(campaign, source)

    def _source(
        self, name: str, locale: str | None, endings: tuple[str, ...]
    ) -> Source | None:
        key = (name, locale, endings)
        if key not in self._sources_of:
            self._sources_of[key] = self.templates.source(name, locale, endings)
        return self._sources_of[key]

    # --- names

    def _sources(
        self, campaign: Campaign, step: SendStep, locale: str | None, channel: str
    ) -> Iterator[Problem]:
        for endings in (CHANNELS[channel].endings, (".txt",)):
            source = self._source(step.template, locale, endings)
            if source:
                yield from self._names(
                    campaign, source, CHANNELS[channel].address_field
                )
                yield from self._looks(source)
                yield from self._front_keys(source)
                if channel == "email":
                    yield from self._layout_names(campaign)
                if step.transactional:
                    yield from self._selling(source)
                if count := CHANNELS[channel].segments:
                    yield from self._segments(source, count)

    def _names(
        self, campaign: Campaign, source: Source, addressed_by: str = ""
    ) -> Iterator[Problem]:
        if source.name not in self._names_of:
            self._names_of[source.name] = names_in(self.templates, source)
        for used in self._names_of[source.name]:
            problem = self._unknown(campaign, used) or self._maybe_unknown(
                campaign, used
            )
            # Whoever has no address gets no message.
            if problem and (
                used.name != addressed_by or problem.code != "maybe-unknown"
            ):
                yield problem

    def roots(self, campaign: Campaign) -> set[str]:
        """The names that templates of a campaign know."""
        found = {"contact", *campaign.event_prefixes()} | (
            {campaign.for_each} if campaign.for_each else set()
        )
        found |= {"event"} if isinstance(campaign.trigger, EventTrigger) else set()
        found |= (
            {"coupon"}
            if any(isinstance(step, IssueCoupon) for step in campaign.steps)
            else set()
        )
        found |= (
            {"survey_link"}
            if any(
                isinstance(step, SendStep) and step.survey for step in campaign.steps
            )
            else set()
        )
        return found | ({"view_link"} if self.settings.public_url else set())

    def _unknown(self, campaign: Campaign, used: Used) -> Problem | None:
        roots = self.roots(campaign)
        if used.root not in GLOBALS | roots:
            names = sorted(
                each for each in GLOBALS | roots if not each.startswith(("_", "0"))
            )
            help = (
                nearest(used.root, names)
                or "a template knows `contact`, the record, `event`, `issue`, `business`"
            )
            return finding(
                "unknown-variable",
                used.place,
                f"`{used.root}` does not exist here",
                help=help,
                source=used.source,
            )
        known = self._fields(used.root)
        if used.name is None or not known or used.name in known:
            return None
        help = (
            nearest(used.name, known, what="fields")
            or "declare it under `data:` in _settings.yaml"
        )
        sentence = f"there is no field `{used.root}.{used.name}`"
        return finding(
            "unknown-variable", used.place, sentence, help=help, source=used.source
        )

    def _fields(self, root: str) -> set[str]:
        fields = self.settings.fields
        if root == "coupon":
            return {"code", "offer", "expires"}
        if root == "business":
            return {"name", "address"}
        if root not in fields:
            return set()
        derived = {
            name.partition(".")[2]
            for name in self.settings.derived
            if name.startswith(f"{root}.")
        }
        return {
            *fields[root],
            *derived,
            *(["age", *self.settings.counters] if root == "contact" else []),
        }

    def _maybe_unknown(self, campaign: Campaign, used: Used) -> Problem | None:
        full = f"{used.root}.{used.name}"
        share = self.people.unknown.get(full, 0.0)
        asked = campaign.audience and any(
            isinstance(each, FieldCondition) and each.field == full
            for each in leaves(campaign.audience)
        )
        if used.guarded or not share or asked:
            return None
        help = f'write `{{{{ {full}|default("…") }}}}`, or ask for it in the audience (`{used.name}: known`)'
        sentence = f"`{full}` is unknown for {share:.0%} of the people, and printed as if it were not"
        return finding(
            "maybe-unknown", used.place, sentence, help=help, source=used.source
        )

    # --- looks

    def _compiled(
        self, campaign: Campaign, step: SendStep, compiled: Compiled, channel: str
    ) -> Iterator[Problem]:
        if compiled.sender and compiled.sender not in self.settings.senders:
            help = nearest(compiled.sender, self.settings.senders, what="senders")
            yield Problem(
                compiled.place, f"there is no sender `{compiled.sender}`", help
            )
        if channel != "email":
            return
        if compiled.subject is None and step.subject is None:
            yield finding("no-subject", compiled.place, "the mail has no subject")
        if compiled.preheader is None and step.preheader is None:
            yield finding("no-preheader", compiled.place, "the mail has no preheader")
        if compiled.html_bytes > LARGEST_BYTES:
            size = compiled.html_bytes / 1024
            yield finding(
                "too-large",
                compiled.place,
                f"the mail has {size:.0f} KB before any name is filled in",
            )

    def _looks(self, source: Source) -> Iterator[Problem]:
        if (source.name, "looks") in self._seen:
            return
        self._seen.add((source.name, "looks"))
        subject = source.front.get("subject", "")
        bare = replace_tags(subject, lambda _: "").strip()
        line = Place(source.name, source.front_line("subject"))
        if len(bare) > LONGEST_SUBJECT:
            yield finding(
                "long-subject",
                line,
                f"the subject has {len(bare)} characters and what is filled in",
            )
        letters = [char for char in bare if char.isalpha()]
        if "!!" in bare or (
            len(letters) > 8 and all(char.isupper() for char in letters)
        ):
            yield finding("loud-subject", line, "the subject shouts")
        if source.name.endswith(".md"):
            yield from _markdown(source)
        elif source.name.endswith((".html", ".mjml")):
            yield from _html(source)

    def _front_keys(self, source: Source) -> Iterator[Problem]:
        """Front matter has four keys; a misspelt one would be silently without effect."""
        for name in source.front:
            if name not in FRONT_KEYS:
                help = nearest(name, FRONT_KEYS, what="keys")
                yield Problem(
                    Place(source.name, source.front_line(name)),
                    f"there is no key `{name}` in the front matter",
                    help,
                    None,
                    "warning",
                )

    def _layout(self) -> Iterator[Problem]:
        path = self.templates.folder / LAYOUT
        source = (
            self.templates.source(LAYOUT.removesuffix(".html"), None)
            if path.is_file()
            else None
        )
        if source:
            yield from self._looks(source)

    def _selling(self, source: Source) -> Iterator[Problem]:
        if (source.name, "selling") in self._seen:
            return
        self._seen.add((source.name, "selling"))
        for number, line in enumerate(
            source.path.read_text("utf-8-sig").splitlines(), 1
        ):
            found = SELLING.search(line)
            if found:
                sentence = f"“{found[0]}” advertises, and this message is transactional"
                yield finding(
                    "transactional-sells",
                    Place(source.name, number, found.start() + 1),
                    sentence,
                    source=line,
                )
                return

    def _segments(
        self, source: Source, segments: Callable[[str], int]
    ) -> Iterator[Problem]:
        if (source.name, "segments") in self._seen:
            return
        self._seen.add((source.name, "segments"))
        text = replace_tags(source.body, self._longest).strip()
        parts = segments(text)
        if parts > 1:
            sentence = f"with the longest names it has {len(text)} characters, which is {parts} SMS"
            yield finding("sms-parts", Place(source.name, source.first_line), sentence)

    def _longest(self, tag: str) -> str:
        if not tag.startswith("{{"):
            return ""
        name = re.match(r"\{\{-?\s*([\w.]+)", tag)
        full = name[1] if name else ""
        if full == "coupon.code":
            return "X" * (
                max(
                    (len(each.prefix) for each in self.settings.coupons.values()),
                    default=0,
                )
                + 11
            )
        if "|date" in tag:
            return "X" * (8 if "short" in tag else 18)
        return "X" * self.people.longest.get(full, LONG_NAME)


def _markdown(source: Source) -> Iterator[Problem]:
    for number, line in enumerate(source.body.splitlines(), source.first_line):
        for found in re.finditer(r"!\[\s*\]\(", line):
            place = Place(source.name, number, found.start() + 1)
            yield finding("no-alt", place, "this picture has no text", source=line)
        for found in re.finditer(r"(?<!!)\[([^\]]{0,200}+)\]\(([^)\s]*)", line):
            said = found[1].strip("*_ ").casefold()
            place = Place(source.name, number, found.start() + 1)
            if said in VAGUE or not said:
                yield finding(
                    "vague-link", place, f"the link says “{found[1]}”", source=line
                )
            if is_for_programs(found[2]):
                yield finding(
                    "link-runs", place, f"the link leads to `{found[2]}`", source=line
                )


def _html(source: Source) -> Iterator[Problem]:
    reader = _Page(source)
    reader.feed(replace_tags(source.body, lambda tag: "x" + "\n" * tag.count("\n")))
    reader.close()
    yield from reader.problems
    whole = "<html" in source.body.lower()
    if whole and not re.search(r"<html[^<>]*\slang\s*=", source.body, re.I):
        yield finding(
            "no-lang",
            Place(source.name, source.first_line),
            "the page does not say its language",
        )
    for number, sentence in low_contrasts(source.body):
        yield finding(
            "low-contrast", Place(source.name, source.first_line + number - 1), sentence
        )


class _Page(HTMLParser):
    """Pictures without text, links that say nothing, and links that run."""

    def __init__(self, source: Source) -> None:
        super().__init__(convert_charrefs=True)
        self._source = source
        self.problems: list[Problem] = []
        self._link: tuple[Place, list[str]] | None = None

    def _place(self) -> Place:
        line, column = self.getpos()
        return Place(self._source.name, self._source.first_line + line - 1, column + 1)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("img", "mj-image") and "alt" not in values:
            self.problems.append(
                finding("no-alt", self._place(), "this picture has no text")
            )
        if tag == "img" and self._link and values.get("alt"):
            self._link[1].append(str(values["alt"]))
        if tag == "a":
            self._link = (self._place(), [])
        for name in ("href", "action", "formaction"):
            if is_for_programs(values.get(name) or ""):
                self.problems.append(
                    finding(
                        "link-runs",
                        self._place(),
                        f"the link leads to `{values[name]}`",
                    )
                )

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._link:
            place, said = self._link
            text = " ".join("".join(said).split())
            if text.casefold() in VAGUE or not text:
                self.problems.append(
                    finding("vague-link", place, f"the link says “{text}”")
                )
            self._link = None

    def handle_data(self, data: str) -> None:
        if self._link:
            self._link[1].append(data)
