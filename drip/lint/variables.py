"""Rules over the names that templates print: what nobody has, and what some lack."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from drip.core.campaign import Campaign, EventTrigger
from drip.core.conditions import FieldCondition, leaves
from drip.core.settings import Settings
from drip.core.steps import IssueCoupon, SendStep
from drip.errors import Problem, nearest
from drip.lint.rules import finding
from drip.rendering.names import Used

# What every template knows: Jinja's own words and what each message has.
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
FIELDS_OF: Mapping[str, frozenset[str]] = {
    "coupon": frozenset(("code", "offer", "expires")),
    "business": frozenset(("name", "address")),
}


@dataclass(frozen=True, slots=True)
class FieldStats:
    """What the database knows of fields, by full name.

    `unknown` is the share of people who lack one (0 to 1), `longest` how many
    characters its longest value has.
    """

    unknown: dict[str, float] = field(default_factory=dict)
    longest: dict[str, int] = field(default_factory=dict)


def unknown_name(settings: Settings, campaign: Campaign, used: Used) -> Problem | None:
    """That nobody has what a template of the campaign prints."""
    roots = GLOBALS | roots_of(settings, campaign)
    if used.root not in roots:
        return _unknown_root(roots, used)
    known = fields_of(settings, used.root)
    # Of an event only the event knows what it holds.
    if used.name is None or not known or used.name in known:
        return None
    remedy = "declare it under `data:` in _settings.yaml"
    return finding(
        "unknown-variable",
        used.place,
        f"there is no field `{used.root}.{used.name}`",
        help=nearest(used.name, known, what="fields") or remedy,
        source=used.source,
    )


def _unknown_root(roots: Collection[str], used: Used) -> Problem:
    """That a template knows nothing by a name."""
    # `_` and digits begin names that Jinja makes for itself.
    names = [root for root in roots if not root.startswith(("_", "0"))]
    known = "`contact`, the record, `event`, `issue`, `business`"
    return finding(
        "unknown-variable",
        used.place,
        f"`{used.root}` does not exist here",
        help=nearest(used.root, names) or f"a template knows {known}",
        source=used.source,
    )


def roots_of(settings: Settings, campaign: Campaign) -> set[str]:
    """The names that templates of a campaign know besides those of every template."""
    return {"contact", *campaign.event_prefixes(), *_roots_of(settings, campaign)}


def _roots_of(settings: Settings, campaign: Campaign) -> Iterator[str]:
    """The names that a campaign gives its templates."""
    if campaign.for_each:
        yield campaign.for_each
    if isinstance(campaign.trigger, EventTrigger):
        yield "event"
    if any(isinstance(step, IssueCoupon) for step in campaign.steps):
        yield "coupon"
    sends = [step for step in campaign.steps if isinstance(step, SendStep)]
    if any(step.survey for step in sends):
        yield "survey_link"
    # Without pages of our own there is nowhere to show a message.
    if settings.public_url:
        yield "view_link"


def fields_of(settings: Settings, root: str) -> set[str]:
    """What a name has; nothing where it is not known what it could have."""
    if root in FIELDS_OF:
        return set(FIELDS_OF[root])
    if root not in settings.fields:
        return set()
    found = {*settings.fields[root]}
    for full in settings.derived:
        owner, _, name = full.partition(".")
        if owner == root:
            found.add(name)
    if root == "contact":
        found |= {"age", *settings.counters}
    return found


def maybe_unknown(stats: FieldStats, campaign: Campaign, used: Used) -> Problem | None:
    """That some lack what a template prints without asking."""
    full = f"{used.root}.{used.name}"
    share = stats.unknown.get(full, 0.0)
    if used.guarded or not share or _is_asked(campaign, full):
        return None
    lacking = f"`{full}` is unknown for {share:.0%} of the people"
    with_default = f'write `{{{{ {full}|default("…") }}}}`'
    return finding(
        "maybe-unknown",
        used.place,
        f"{lacking}, and printed as if it were not",
        help=f"{with_default}, or ask for it in the audience (`{used.name}: known`)",
        source=used.source,
    )


def _is_asked(campaign: Campaign, full: str) -> bool:
    """Whether the audience has a condition on the field."""
    if campaign.audience is None:
        return False
    return any(
        isinstance(leaf, FieldCondition) and leaf.field == full
        for leaf in leaves(campaign.audience)
    )
