"""The same files under other caps, to see what these would change."""

from __future__ import annotations

from dataclasses import replace

from drip.core.caps import Cap, Scope
from drip.core.channels import CHANNELS
from drip.core.settings import Settings
from drip.errors import DripError, Place, nearest
from drip.language import phrases
from drip.language.files import Loaded

TRIED = Place("--try")


def tried(loaded: Loaded, text: str) -> Loaded:
    """The files with other caps: `promo: 1 per week`, `all: 2 per day`, `campaign news:
    ignore`.

    A name is `all`, a channel or a topic; else a campaign, which also `campaign NAME`
    is. Raises DripError.
    """
    assert loaded.settings
    name, colon, line = (part.strip() for part in text.partition(":"))
    if not colon:
        raise DripError(
            f"`{text}` says no caps.", help="write `--try 'promo: 1 per week'`"
        )
    scopes = _scopes(loaded.settings)
    if name in scopes:
        settings = _with_caps(
            loaded.settings,
            scopes[name],
            name,
            line,
        )
        return replace(loaded, settings=settings)
    campaign = name.removeprefix("campaign ").strip()
    if campaign in loaded.campaigns:
        return _of_campaign(loaded, campaign, line)
    raise DripError(
        f"`{name}` is neither `all`, a channel, a topic nor a campaign.",
        help=nearest(
            name,
            [*scopes, *loaded.campaigns],
            what="caps can be tried for",
        ),
    )


def _scopes(settings: Settings) -> dict[str, Scope]:
    """What the settings' caps can be about, by name; topics come before channels."""
    return {
        "all": "all",
        **dict.fromkeys(CHANNELS, "channel"),
        **dict.fromkeys(settings.topics, "topic"),
    }


def _with_caps(settings: Settings, scope: Scope, name: str, line: str) -> Settings:
    others = [cap for cap in settings.caps if (cap.scope, cap.name) != (scope, name)]
    return replace(
        settings,
        caps=(
            *others,
            *_caps(
                line,
                scope,
                name,
            ),
        ),
    )


def _of_campaign(loaded: Loaded, key: str, line: str) -> Loaded:
    ignores = line == "ignore"
    changed = replace(
        loaded.campaigns[key],
        caps=()
        if ignores
        else _caps(
            line,
            "campaign",
            key,
        ),
        obeys_caps=not ignores,
    )
    return replace(loaded, campaigns={**loaded.campaigns, key: changed})


def _caps(line: str, scope: Scope, name: str) -> tuple[Cap, ...]:
    if line in ("", "none"):
        return ()
    try:
        phrase = phrases.caps(line)
    except ValueError as wrong:
        raise DripError(
            f"{wrong}.", help="write `--try 'promo: 1 per week'`, or `none` for no cap"
        ) from None
    return tuple(
        Cap(
            scope,
            name,
            cap.limit,
            cap.text,
            TRIED,
            cap.days,
            cap.seconds,
        )
        for cap in phrase
    )
