"""The pressure that caps put on campaigns: who displaces whom, who is at a limit, and what other caps would change."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from drip.core.caps import Cap, Scope
from drip.core.settings import CHANNELS
from drip.errors import DripError, Place, nearest
from drip.language import phrases
from drip.language.files import Loaded
from drip.storage.ledger import Entry

TRIED = Place("--try")


@dataclass
class Pressure:
    """What caps did in a time, from its ledger.

    `displaced` counts messages that a cap held back, by their campaign and a campaign that had filled it; one message can
    be displaced by several. `limits` are the people at each cap, by its place; `sent`, `skipped` and `deferred` count
    messages by campaign, the latter two those of caps only.
    """

    displaced: Counter[tuple[str, str]] = field(default_factory=Counter)
    limits: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    held_back: Counter[tuple[str, str]] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    deferred: Counter[str] = field(default_factory=Counter)


def pressure(entries: Iterable[Entry]) -> Pressure:
    """The pressure in a ledger."""
    found = Pressure()
    for each in entries:
        if each.outcome == "sent":
            found.sent[each.campaign] += 1
        if each.code != "cap" or each.outcome not in ("skipped", "deferred"):
            continue
        (found.skipped if each.outcome == "skipped" else found.deferred)[each.campaign] += 1
        place = each.place or ""
        found.limits[place].add(each.contact)
        found.held_back[place, each.outcome] += 1
        for campaign in (each.filled_by or "").split(","):
            if campaign:
                found.displaced[each.campaign, campaign] += 1
    return found


def tried(loaded: Loaded, text: str) -> Loaded:
    """The files with other caps: `promo: 1 per week`, `all: 2 per day`, `campaign news: ignore`.

    A name is `all`, a channel or a topic; else a campaign, which also `campaign NAME` is. Raises DripError.
    """
    assert loaded.settings
    name, colon, line = (part.strip() for part in text.partition(":"))
    if not colon:
        raise DripError(f"`{text}` says no caps.", help="write `--try 'promo: 1 per week'`")
    scopes: dict[str, Scope] = {"all": "all", **dict.fromkeys(CHANNELS, "channel")}
    scopes |= dict.fromkeys(loaded.settings.topics, "topic")
    campaign = name.removeprefix("campaign ").strip()
    if name in scopes:
        kept = [cap for cap in loaded.settings.caps if (cap.scope, cap.name) != (scopes[name], name)]
        caps = (*kept, *_caps(line, scopes[name], name))
        return replace(loaded, settings=replace(loaded.settings, caps=caps))
    if campaign not in loaded.campaigns:
        help = nearest(name, [*scopes, *loaded.campaigns], what="caps can be tried for")
        raise DripError(f"`{name}` is neither `all`, a channel, a topic nor a campaign.", help=help)
    ignores = line == "ignore"
    caps = () if ignores else _caps(line, "campaign", campaign)
    changed = replace(loaded.campaigns[campaign], caps=caps, obeys_caps=not ignores)
    return replace(loaded, campaigns={**loaded.campaigns, campaign: changed})


def _caps(line: str, scope: Scope, name: str) -> tuple[Cap, ...]:
    if line in ("", "none"):
        return ()
    try:
        read = phrases.caps(line)
    except ValueError as wrong:
        raise DripError(f"{wrong}.", help="write `--try 'promo: 1 per week'`, or `none` for no cap") from None
    return tuple(Cap(scope, name, each.limit, each.text, TRIED, each.days, each.seconds) for each in read)
