"""Rules over the templates that campaigns send, and over the lines in their own files.

What is said about a text is in `variables` (names) and `looks`; which texts there are,
and that each is looked at once, here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from drip.core.campaign import Campaign
from drip.core.channels import CHANNELS
from drip.core.segments import segments
from drip.core.settings import Settings
from drip.core.steps import SendStep, Step, Task
from drip.errors import DripError, Place, Problem, nearest
from drip.lint.looks import front_keys, looks, selling
from drip.lint.rules import finding
from drip.lint.variables import FieldStats, maybe_unknown, unknown_name
from drip.rendering.compiled import Compiled
from drip.rendering.names import Used, names_in, names_in_text
from drip.rendering.pages import LAYOUT
from drip.rendering.shield import replace_tags
from drip.rendering.sources import Source
from drip.rendering.templates import Templates

# Gmail cuts mails off at 102 KB; headers and longer names need the rest.
LARGEST_BYTES = 100 * 1024
# A name of a length that hardly anybody's has, where the people are not known.
LONG_NAME = 20
# Made codes: a hyphen and ten characters after their prefix.
CODE_LENGTH = 11
SHORT_DATE, LONG_DATE = 8, 18
FILLED_IN = re.compile(r"\{\{-?\s*([\w.]+)")
# A rule that looks at one file.
SourceRule = Callable[[Source], Iterator[Problem]]


@dataclass
class TextRules:
    """The rules over the templates of one workspace."""

    settings: Settings
    templates: Templates
    people: FieldStats
    # Many campaigns send the same texts: each is read and taken apart once.
    _seen: set[tuple[str, SourceRule]] = field(default_factory=set)
    _sources_of: dict[tuple[str, str | None, tuple[str, ...]], Source | None] = field(
        default_factory=dict
    )
    _names_of: dict[str, list[Used]] = field(default_factory=dict)
    _variants: dict[str, list[str | None]] = field(default_factory=dict)

    def problems(self, campaigns: Iterable[Campaign]) -> Iterator[Problem]:
        """Everything about the texts of these campaigns, and those that none sends."""
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
                yield from self._unused(name)

    def _unused(self, name: str) -> Iterator[Problem]:
        """A template that no campaign sends."""
        try:
            for source in self.templates.files(name)[:1]:
                yield finding(
                    "unused-template",
                    Place(source.name),
                    f"no campaign sends `{name}`",
                )
        except DripError as error:
            yield _of_error(error, Place(name))

    # --- lines of campaigns

    def _lines(self, campaign: Campaign, step: Step) -> Iterator[Problem]:
        """The texts of the campaign itself: subjects, preheaders, tasks' titles."""
        for text in _texts_of(step):
            try:
                for used in names_in_text(self.templates, text, step.place):
                    problem = unknown_name(self.settings, campaign, used)
                    if problem:
                        # The place is the step's, where the text may not stand.
                        yield replace(problem, source=None)
            except DripError as error:
                yield _of_error(error, step.place)

    # --- templates

    def _step(self, campaign: Campaign, step: SendStep) -> Iterator[Problem]:
        """Everything about the texts that one step sends."""
        locales: list[str | None] = self._variants.get(step.template) or [None]
        try:
            for locale, channel in product(locales, self._channels(step)):
                compiled = self.templates.get(step.template, locale, channel)
                yield from self._compiled(step, compiled, channel)
                yield from self._sources(campaign, step, locale, channel)
            yield from self._contents(campaign, step)
            for name in step.attach:
                self.templates.attachment(name)
        except DripError as error:
            yield _of_error(error, step.place)

    def _channels(self, step: SendStep) -> list[str]:
        """The channels that messages of the step can leave by."""
        transports = self.settings.transports
        sent = [channel for channel in step.channels if channel in transports]
        # Where there are none, the texts are still worth a look.
        return sent or [*step.channels[:1]]

    def _contents(self, campaign: Campaign, step: SendStep) -> Iterator[Problem]:
        """The dated texts of a folder, as issues of a newsletter."""
        if step.content is None:
            return
        # Those to come too: an issue that is wrong is found before its day.
        for source in self.templates.contents(step.content):
            yield from self._names(campaign, source)
            yield from self._once(looks, source)

    def _compiled(
        self,
        step: SendStep,
        compiled: Compiled,
        channel: str,
    ) -> Iterator[Problem]:
        """What a template is made of with its layout and its front matter."""
        senders = self.settings.senders
        if compiled.sender and compiled.sender not in senders:
            yield Problem(
                place=compiled.place,
                sentence=f"there is no sender `{compiled.sender}`",
                help=nearest(compiled.sender, senders, what="senders"),
            )
        if channel == "email":
            yield from _mail(step, compiled)

    def _sources(
        self,
        campaign: Campaign,
        step: SendStep,
        locale: str | None,
        channel: str,
    ) -> Iterator[Problem]:
        """Everything about the files of a template in one language."""
        # A mail may have a file of its own for programs that show no HTML.
        for endings in (CHANNELS[channel].endings, (".txt",)):
            source = self._source(step.template, locale, endings)
            if source is None:
                continue
            # Whoever has no address gets no message.
            addressed_by = CHANNELS[channel].address_field
            yield from self._names(campaign, source, addressed_by)
            yield from self._once(looks, source)
            yield from front_keys(source)
            if channel == "email":
                yield from self._layout_names(campaign)
            if step.transactional:
                yield from self._once(selling, source)
            if CHANNELS[channel].segments:
                yield from self._once(self._sms, source)

    def _layout(self) -> Iterator[Problem]:
        """The layout's looks, whether a campaign uses it or not."""
        source = self._layout_source()
        if source:
            yield from self._once(looks, source)

    def _layout_names(self, campaign: Campaign) -> Iterator[Problem]:
        """The names that the layout prints in mails of a campaign."""
        source = self._layout_source()
        if source:
            yield from self._names(campaign, source)

    def _layout_source(self) -> Source | None:
        if not (self.templates.folder / LAYOUT).is_file():
            return None
        name, ending = LAYOUT.removesuffix(".html"), ".html"
        return self._source(name, None, (ending,))

    def _source(
        self,
        name: str,
        locale: str | None,
        endings: tuple[str, ...],
    ) -> Source | None:
        """A template's file, read once."""
        key = (name, locale, endings)
        if key not in self._sources_of:
            self._sources_of[key] = self.templates.source(name, locale, endings)
        return self._sources_of[key]

    def _once(self, rule: SourceRule, source: Source) -> Iterator[Problem]:
        """What a rule says of a file, the first time that it is asked."""
        if (source.name, rule) not in self._seen:
            self._seen.add((source.name, rule))
            yield from rule(source)

    # --- names

    def _names(
        self,
        campaign: Campaign,
        source: Source,
        addressed_by: str = "",
    ) -> Iterator[Problem]:
        """Names that nobody has, or some lack."""
        if source.name not in self._names_of:
            self._names_of[source.name] = names_in(self.templates, source)
        for used in self._names_of[source.name]:
            problem = unknown_name(self.settings, campaign, used)
            # Whoever has no address gets no message.
            if problem is None and used.name != addressed_by:
                problem = maybe_unknown(self.people, campaign, used)
            if problem:
                yield problem

    # --- length of an SMS

    def _sms(self, source: Source) -> Iterator[Problem]:
        """A text that costs more than one SMS."""
        text = replace_tags(source.body, self._longest).strip()
        parts = segments(text)
        if parts > 1:
            length = f"with the longest names it has {len(text)} characters"
            yield finding(
                "sms-parts",
                Place(source.name, source.first_line),
                f"{length}, which is {parts} SMS",
            )

    def _longest(self, tag: str) -> str:
        """As long a text as a tag of Jinja may become."""
        if not tag.startswith("{{"):
            return ""
        found = FILLED_IN.match(tag)
        full = found[1] if found else ""
        if full == "coupon.code":
            coupons = self.settings.coupons.values()
            prefix = max((len(coupon.prefix) for coupon in coupons), default=0)
            return "X" * (prefix + CODE_LENGTH)
        if "|date" in tag:
            return "X" * (SHORT_DATE if "short" in tag else LONG_DATE)
        return "X" * self.people.longest.get(full, LONG_NAME)


def _texts_of(step: Step) -> list[str]:
    """The texts of a step that are not in a template."""
    if isinstance(step, Task):
        return [step.title]
    if isinstance(step, SendStep):
        return [text for text in (step.subject, step.preheader) if text]
    return []


def _mail(step: SendStep, compiled: Compiled) -> Iterator[Problem]:
    """What a mail has besides its text, from the template or the step."""
    place = compiled.place
    if compiled.subject is None and step.subject is None:
        yield finding(
            "no-subject",
            place,
            "the mail has no subject",
        )
    if compiled.preheader is None and step.preheader is None:
        yield finding(
            "no-preheader",
            place,
            "the mail has no preheader",
        )
    if compiled.html_bytes > LARGEST_BYTES:
        size = f"{compiled.html_bytes / 1024:.0f} KB"
        yield finding(
            "too-large",
            place,
            f"the mail has {size} before any name is filled in",
        )


def _of_error(error: DripError, place: Place) -> Problem:
    """What a template cannot be read for, as a problem."""
    return Problem(error.place or place, error.sentence, error.help)
