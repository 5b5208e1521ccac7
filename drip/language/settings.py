"""`campaigns/_settings.yaml` to `Settings`.

What it says about programs outside is read in `connections`, what campaigns can name in
`declared` and `data`, the rest here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

from drip.core.caps import Cap
from drip.core.channels import CHANNELS
from drip.core.derived import Derived
from drip.core.fields import Field, parse_zone
from drip.core.settings import Settings
from drip.errors import nearest
from drip.language import phrases
from drip.language.conditions import Names
from drip.language.connections import (
    read_alarms,
    read_inbound,
    read_providers,
    read_transport_rates,
    read_transports,
    read_webhooks,
)
from drip.language.data import kind_of, read_data
from drip.language.declared import (
    check_names,
    read_counters,
    read_coupons,
    read_holidays,
    read_segments,
    read_surveys,
    read_topics,
)
from drip.language.models import read_model
from drip.language.reader import Document, Route
from drip.language.settings_models import PagesModel, SettingsModel

# RFC 3986: no question mark and no hash, since a path is put after it.
PUBLIC_URL = re.compile(r"https?://[^\s?#]+")
COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
# `name://user:password@`, as database addresses hold it.
WITH_PASSWORD = re.compile(r"[a-z+]+://[^/@]*:[^/@]*@")


def build_settings(document: Document) -> Settings | None:
    """The settings; None where there is a problem, which is then in `document`."""
    if not isinstance(document.data, dict):
        document.problem(
            (),
            "this file holds no settings",
            "begin with `business:`",
        )
        return None
    model = read_model(SettingsModel, document, document.data)
    if model is None:
        return None
    # CAN-SPAM (15 U.S.C. 7704) asks for a postal address in every marketing mail.
    if "business" not in document.data:
        document.problem(
            (),
            "`business` is missing",
            "add `business: { name: …, address: … }`: every mail names them",
        )
    check_names(document, model)
    settings = _built(document, model)
    return None if document.broken else settings


def _built(document: Document, model: SettingsModel) -> Settings:
    """The settings, which are good only if the document has no problem."""
    data = read_data(document, model.data)
    names = _names(data.fields, data.derived, model)
    return Settings(
        business_name=model.business.name if model.business else "",
        business_address=model.business.address if model.business else "",
        timezone=_zone(document, model.timezone),
        locale=model.locale,
        currency=model.currency,
        public_url=_url(document, model.public_url),
        colour=_colour(document, model.pages or PagesModel()),
        track_clicks=_tracks(document, model, "clicks"),
        track_opens=_tracks(document, model, "opens"),
        send_window=model.send_window,
        send_window_place=document.place(("send_window",), key=True),
        quiet_hours=model.quiet_hours,
        quiet_hours_place=document.place(("quiet_hours",), key=True),
        caps=_caps(document, model),
        wait_when_capped=model.when_capped,
        keep_reasons=model.keep_reasons,
        topics=read_topics(document, model),
        senders=model.senders,
        transports=read_transports(document, model),
        transport_places={
            channel: document.place(("transports", channel), key=True)
            for channel in model.transports
        },
        rates=read_transport_rates(document, model),
        inbound=read_inbound(document, model),
        inbound_place=document.place(("inbound",), key=True),
        providers=read_providers(document, model),
        providers_place=document.place(("providers",), key=True),
        webhooks=read_webhooks(document, model),
        alarms=read_alarms(document, model),
        alarms_place=document.place(("alarms",), key=True),
        fields=data.fields,
        derived=data.derived,
        holidays=read_holidays(document, model.holidays),
        counters=read_counters(document, model, data),
        segments=read_segments(document, model, names),
        coupons=read_coupons(document, model),
        surveys=read_surveys(document, model),
        database=_database(document, model.database),
        place=document.place(),
        version=sha256(document.text.encode()).hexdigest()[:16],
    )


# --- single values


def _zone(document: Document, name: str) -> str:
    """The workspace's zone; UTC while it is broken."""
    return document.attempt(("timezone",), lambda: parse_zone(name)) or "UTC"


def _url(document: Document, url: str | None) -> str | None:
    """The address of the workspace's pages, without a slash at its end."""
    if not url:
        return None
    if not PUBLIC_URL.fullmatch(url):
        example = "https://mail.maplestreet.example"
        document.problem(("public_url",), f"`{url}` is not an address like {example}")
    return url.rstrip("/")


def _colour(document: Document, pages: PagesModel) -> str:
    """Of buttons. It is put into styles, so nothing else may stand there."""
    if not COLOUR.fullmatch(pages.color):
        document.problem(
            ("pages", "color"), f"`{pages.color}` is not a colour like #1f4d3a"
        )
    return pages.color


def _tracks(
    document: Document, model: SettingsModel, what: Literal["clicks", "opens"]
) -> bool:
    """Nothing is tracked unless it is asked for, and only where there are pages."""
    if model.tracking is None or getattr(model.tracking, what) == "no":
        return False
    if model.public_url is None:
        document.problem(
            ("tracking",),
            "tracking needs `public_url`: links lead over your pages then",
            key=True,
        )
    return True


def _database(document: Document, url: str | None) -> str | None:
    """A file or a server, without a password."""
    if url is not None and WITH_PASSWORD.match(url):
        document.problem(
            ("database",),
            "a password does not belong into this file",
            "leave the line out, and set DRIP_DATABASE to the whole address",
        )
    return url


# --- caps


def _caps(document: Document, model: SettingsModel) -> tuple[Cap, ...]:
    """`frequency_caps:`, by `all`, channel or topic."""
    found: list[Cap] = []
    for name, data in model.frequency_caps.items():
        route: Route = ("frequency_caps", name)
        scope = _cap_scope(name, model)
        if scope is not None:
            found += caps_at(document, route, data, scope, name)
            continue
        names = ["all", *CHANNELS, *model.topics]
        document.problem(
            route,
            f"`{name}` is neither `all`, a channel nor a topic",
            nearest(name, names, what="caps can be set for"),
            key=True,
        )
    return tuple(found)


def caps_at(
    document: Document,
    route: Route,
    data: Any,
    scope: Any,
    name: str,
) -> list[Cap]:
    """The caps written at `route`, for one scope."""
    if not isinstance(data, str):
        document.problem(route, f"caps are written on one line: {phrases.HOW_CAPPED}")
        return []
    # Reasons name this line, so that whoever wonders finds the cap.
    place = document.place(route)
    read = document.attempt(route, lambda: phrases.caps(data))
    return [
        Cap(
            scope=scope,
            name=name,
            limit=phrase.limit,
            text=phrase.text,
            place=place,
            days=phrase.days,
            seconds=phrase.seconds,
        )
        for phrase in read or ()
    ]


def _cap_scope(name: str, model: SettingsModel) -> str | None:
    """What a name stands for; None for none of the three."""
    if name == "all":
        return "all"
    if name in CHANNELS:
        return "channel"
    return "topic" if name in model.topics else None


# --- what campaigns may name


def names_of(settings: Settings) -> Names:
    """What conditions of campaigns may speak of."""
    return _names(settings.fields, settings.derived, settings)


def _names(
    fields: Mapping[str, Mapping[str, Field]],
    derived: Mapping[str, Derived],
    declared: Settings | SettingsModel,
) -> Names:
    """The names of settings that are read, or are being read."""
    kinds = {name: kind_of(follows) for name, follows in derived.items()}
    return Names(
        fields=fields,
        derived=kinds,
        topics=frozenset(declared.topics),
        counters=frozenset(declared.counters),
        segments=frozenset(declared.segments),
        coupons=frozenset(declared.coupons),
    )
