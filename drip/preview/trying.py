"""The same files under other caps, to see what these would change."""

from __future__ import annotations

from dataclasses import replace

from drip.core.caps import Cap, Scope
from drip.core.channels import CHANNELS
from drip.errors import DripError, Place, nearest
from drip.language import phrases
from drip.language.files import Loaded

TRIED = Place("--try")


def tried(loaded: Loaded, text: str) -> Loaded:
    """The files with other caps: `promo: 1 per week`, `all: 2 per day`, `campaign news: ignore`.

    A name is `all`, a channel or a topic; else a campaign, which also `campaign NAME` is. Raises DripError.
    """
    assert loaded.settings
    name, colon, line = (part.strip() for part in text.partition(":"))
    if not colon:
        raise DripError(
            f"`{text}` says no caps.", help="write `--try 'promo: 1 per week'`"
        )
    scopes: dict[str, Scope] = {"all": "all", **dict.fromkeys(CHANNELS, "channel")}
    scopes |= dict.fromkeys(loaded.settings.topics, "topic")
    campaign = name.removeprefix("campaign ").strip()
    if name in scopes:
        kept = [
            cap
            for cap in loaded.settings.caps
            if (cap.scope, cap.name) != (scopes[name], name)
        ]
        caps = (*kept, *_caps(line, scopes[name], name))
        return replace(loaded, settings=replace(loaded.settings, caps=caps))
    if campaign not in loaded.campaigns:
        help = nearest(name, [*scopes, *loaded.campaigns], what="caps can be tried for")
        raise DripError(
            f"`{name}` is neither `all`, a channel, a topic nor a campaign.", help=help
        )
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
        raise DripError(
            f"{wrong}.", help="write `--try 'promo: 1 per week'`, or `none` for no cap"
        ) from None
    return tuple(
        Cap(scope, name, each.limit, each.text, TRIED, each.days, each.seconds)
        for each in read
    )
