"""`campaigns/_settings.yaml` to `Settings`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from typing import Any, Literal

from drip.core.caps import Cap
from drip.core.conditions import Condition, Member, leaves
from drip.core.derived import Derived
from drip.core.fields import Field, parse_date, parse_zone
from drip.core.rates import Rates, read_rates
from drip.core.settings import (
    CHANNELS,
    NOTICES,
    Counter,
    Coupon,
    Segment,
    Settings,
    Survey,
    Topic,
    Webhook,
)
from drip.errors import nearest
from drip.language import phrases
from drip.language.conditions import VERBS, Names, Scope, condition
from drip.language.data import NAME, DataSection, kind_of, read_data
from drip.language.models import read_model
from drip.language.public_holidays import public_holidays
from drip.language.reader import Document, Route
from drip.language.settings_models import PagesModel, SettingsModel

SECRETS = re.compile(r"password|secret|token|api_?key", re.I)
RATES = ("rate", "rate_per_domain")
INBOUND = ("host", "port", "user", "password", "folder", "security")
# What is needed to check what a provider of mail posts.
PROVIDERS = {
    "postmark": ("user", "password"),
    "mailgun": ("secret",),
    "sendgrid": ("public_key",),
    "ses": ("topic",),
}
# Holidays are worked out for these years.
HOLIDAY_YEARS = range(2020, 2051)
DEEPEST = 32
# What tests and conditions mean by these already.
TAKEN_COUNTERS = {"today", "contact", "topics", *VERBS}


def build_settings(document: Document) -> Settings | None:
    """The settings; None where there is a problem, which is then in `document`."""
    if not isinstance(document.data, dict):
        document.problem((), "this file holds no settings", "begin with `business:`")
        return None
    model = read_model(SettingsModel, document, document.data)
    if model is None:
        return None
    if "business" not in document.data:
        document.problem(
            (),
            "`business` is missing",
            "add `business: { name: …, address: … }`: every mail names them",
        )
    for section in ("topics", "coupons", "surveys", "senders"):
        for key in getattr(model, section):
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) or (
                section == "topics" and key in ("all", *CHANNELS)
            ):
                sentence = f"`{key}` cannot be a name here: letters, digits, - and _"
                document.problem(
                    (section, key),
                    sentence,
                    "put what people see into its own key, as `title:`",
                    key=True,
                )
    data = read_data(document, model.data)
    names = _names(data.fields, data.derived, model)
    settings = Settings(
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
        topics={
            key: Topic(
                key,
                topic.title,
                topic.opt_in,
                topic.expires,
                document.place(("topics", key), key=True),
            )
            for key, topic in model.topics.items()
        },
        senders=model.senders,
        transports=_transports(document, model),
        transport_places={
            key: document.place(("transports", key), key=True)
            for key in model.transports
        },
        rates=_rates(document, model),
        inbound=_inbound(document, model),
        inbound_place=document.place(("inbound",), key=True),
        providers=_providers(document, model),
        providers_place=document.place(("providers",), key=True),
        webhooks=_webhooks(document, model),
        alarms=_alarms(document, model),
        alarms_place=document.place(("alarms",), key=True),
        fields=data.fields,
        derived=data.derived,
        holidays=_holidays(document, model.holidays),
        counters=_counters(document, model, data),
        segments=_segments(document, model, names),
        coupons={
            key: Coupon(
                key,
                each.offer,
                each.codes,
                each.prefix,
                document.place(("coupons", key), key=True),
            )
            for key, each in model.coupons.items()
        },
        surveys=_surveys(document, model),
        database=_database(document, model.database),
        place=document.place(),
        version=sha256(document.text.encode()).hexdigest()[:16],
    )
    return None if document.broken else settings


def _zone(document: Document, name: str) -> str:
    try:
        return parse_zone(name)
    except ValueError as wrong:
        document.problem(("timezone",), str(wrong))
        return "UTC"


def _url(document: Document, url: str | None) -> str | None:
    if url is not None and not re.fullmatch(r"https?://[^\s?#]+", url):
        document.problem(
            ("public_url",),
            f"`{url}` is not an address like https://mail.maplestreet.example",
        )
    return url.rstrip("/") if url else None


def _colour(document: Document, pages: PagesModel) -> str:
    if not re.fullmatch("#[0-9a-fA-F]{6}", pages.color):
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
    if url is not None and re.match(r"[a-z+]+://[^/@]*:[^/@]*@", url):
        help = "leave the line out, and set DRIP_DATABASE to the whole address"
        document.problem(
            ("database",), "a password does not belong into this file", help
        )
    return url


def _caps(document: Document, model: SettingsModel) -> tuple[Cap, ...]:
    found: list[Cap] = []
    for name, data in model.frequency_caps.items():
        route: Route = ("frequency_caps", name)
        scope = _scope(name, model)
        if scope is None:
            names = ["all", *CHANNELS, *model.topics]
            help = nearest(name, names, what="caps can be set for")
            document.problem(
                route,
                f"`{name}` is neither `all`, a channel nor a topic",
                help,
                key=True,
            )
            continue
        found += caps_at(document, route, data, scope, name)
    return tuple(found)


def caps_at(
    document: Document, route: Route, data: Any, scope: Any, name: str
) -> list[Cap]:
    """The caps written at `route`, for one scope."""
    try:
        if not isinstance(data, str):
            raise ValueError(f"caps are written on one line: {phrases.HOW_CAPPED}")
        read = phrases.caps(data)
    except ValueError as wrong:
        document.problem(route, str(wrong))
        return []
    place = document.place(route)
    return [
        Cap(scope, name, each.limit, each.text, place, each.days, each.seconds)
        for each in read
    ]


def _scope(name: str, model: SettingsModel) -> str | None:
    if name == "all":
        return "all"
    if name in CHANNELS:
        return "channel"
    return "topic" if name in model.topics else None


def _transports(
    document: Document, model: SettingsModel
) -> dict[str, Mapping[str, str]]:
    for channel, options in model.transports.items():
        route = ("transports", channel)
        if channel not in CHANNELS:
            document.problem(
                route,
                f"there is no channel `{channel}`",
                nearest(channel, CHANNELS),
                key=True,
            )
        _plain_options(document, route, options)
    return dict(model.transports)


def _plain_options(
    document: Document, route: Route, options: Mapping[str, Any]
) -> None:
    for name, value in options.items():
        if not isinstance(value, str):
            document.problem((*route, name), "a plain value is expected here")
        elif SECRETS.search(name) and not value.startswith("secret:"):
            variable = f"{route[-1]}_{name}".upper()
            document.problem(
                (*route, name),
                f"the {name} itself must not stand in this file",
                f"write `{name}: secret:{variable}` and put it into the environment variable {variable}",
            )


def _rates(document: Document, model: SettingsModel) -> dict[str, Rates]:
    """How fast messages may leave, by channel."""
    found = {}
    for channel, options in model.transports.items():
        given = [
            value if isinstance(value, str) else None
            for value in map(options.get, RATES)
        ]
        try:
            found[channel] = read_rates(*given)
        except ValueError as wrong:
            name = next(name for name in RATES if name in options)
            help = "write `rate: 20 per second`, or `rate_per_domain: 2 per second, gmail.com 10 per second`"
            document.problem(("transports", channel, name), str(wrong), help)
    return found


def _inbound(document: Document, model: SettingsModel) -> Mapping[str, str]:
    """The mailbox that bounces come back to."""
    options = model.inbound
    for name in options:
        if name not in INBOUND:
            document.problem(
                ("inbound", name),
                f"`inbound` has no `{name}`",
                nearest(name, INBOUND),
                key=True,
            )
    missing = [
        name for name in ("host", "user", "password") if options and name not in options
    ]
    if missing:
        document.problem(("inbound",), f"`inbound` needs `{missing[0]}`", key=True)
    _plain_options(document, ("inbound",), options)
    return dict(options)


def _providers(
    document: Document, model: SettingsModel
) -> Mapping[str, Mapping[str, str]]:
    """What is needed to check what each provider posts."""
    for provider, options in model.providers.items():
        route, needed = ("providers", provider), PROVIDERS.get(provider)
        if needed is None:
            help = nearest(provider, PROVIDERS, what="providers")
            document.problem(
                route, f"there is no provider `{provider}`", help, key=True
            )
            continue
        for name in sorted(set(options) ^ set(needed)):
            what = "has no" if name in options else "needs"
            document.problem(
                route,
                f"`{provider}` {what} `{name}`",
                f"it takes {', '.join(needed)}",
                key=True,
            )
        _plain_options(document, route, options)
    return dict(model.providers)


def _webhooks(document: Document, model: SettingsModel) -> dict[str, Webhook]:
    """The programs that are told of what happens."""
    found = {}
    for name, each in model.webhooks.items():
        route: Route = ("webhooks", name)
        asked = each.on if isinstance(each.on, list) else str(each.on).split(",")
        kinds = {str(kind).strip() for kind in asked}
        for kind in sorted(kinds - set(NOTICES)):
            document.problem(
                (*route, "on"),
                f"nobody can be told of `{kind}`",
                nearest(kind, NOTICES, what="kinds"),
            )
        if not each.secret.startswith("secret:"):
            help = f"write `secret: secret:{name.upper()}_HOOK` and put it into that environment variable"
            document.problem(
                (*route, "secret"),
                "the secret itself must not stand in this file",
                help,
            )
        place = document.place(route, key=True)
        found[name] = Webhook(
            name, each.url, each.secret, frozenset(kinds), each.private == "yes", place
        )
    return found


def _alarms(document: Document, model: SettingsModel) -> Mapping[str, str]:
    """The transport that tells an operator, and whom."""
    _plain_options(document, ("alarms",), model.alarms)
    if model.alarms and "use" not in model.alarms:
        document.problem(
            ("alarms",),
            "`alarms` needs `use`: how is it told?",
            "write `use: webhook`",
            key=True,
        )
    return dict(model.alarms)


def _holidays(document: Document, data: Any) -> frozenset[date]:
    """Those of a country (`US`, or with its part `DE-BY`), and single dates."""
    if data is None:
        return frozenset()
    found: set[date] = set()
    items = data if isinstance(data, list) else [data]
    for n, item in enumerate(items):
        route: Route = ("holidays", n) if isinstance(data, list) else ("holidays",)
        if isinstance(item, str) and re.fullmatch(
            "[A-Za-z]{2}(-[A-Za-z0-9]{1,6})?", item
        ):
            country, _, part = item.upper().partition("-")
            try:
                found |= public_holidays(country, part or None, HOLIDAY_YEARS)
                continue
            except NotImplementedError:
                # The library's word for a country that it does not have.
                document.problem(
                    route,
                    f"the holidays of `{item}` are not known",
                    "name a country like US, or dates",
                )
                continue
        try:
            found.add(parse_date(str(item)))
        except ValueError as wrong:
            document.problem(
                route, str(wrong), "a country of two letters, or dates like 2026-12-24"
            )
    return frozenset(found)


def _counters(
    document: Document, model: SettingsModel, data: DataSection
) -> dict[str, Counter]:
    found = {}
    for key, each in model.counters.items():
        route: Route = ("counters", key)
        taken = (
            key in data.fields["contact"]
            or f"contact.{key}" in data.derived
            or key in data.fields
        )
        if not NAME.fullmatch(key) or taken or key in TAKEN_COUNTERS:
            document.problem(
                route,
                f"`{key}` cannot name a counter: small letters, digits and _, and no name that is taken",
                key=True,
            )
        add, subtract, reset = (
            _events(document, (*route, name), getattr(each, name))
            for name in ("add", "subtract", "reset")
        )
        found[key] = Counter(
            key, add, subtract, reset, each.field, document.place(route, key=True)
        )
    return found


def _events(document: Document, route: Route, data: Any) -> tuple[str, ...]:
    items = data if isinstance(data, list) else [] if data is None else [data]
    found = []
    for item in items:
        try:
            found.append(phrases.event_name(str(item)))
        except ValueError as wrong:
            document.problem(route, str(wrong))
    return tuple(found)


def _segments(
    document: Document, model: SettingsModel, names: Names
) -> dict[str, Segment]:
    """The segments, each after those that it is made of."""
    read: dict[str, Condition] = {}
    for key, data in model.segments.items():
        if not NAME.fullmatch(key):
            document.problem(
                ("segments", key),
                f"`{key}` cannot name a segment: small letters, digits and _",
                key=True,
            )
        found = condition(document, ("segments", key), data, Scope(names))
        if found:
            read[key] = found
    ordered: dict[str, Segment] = {}

    def put(key: str, above: tuple[str, ...]) -> None:
        if key in above:
            chain = " → ".join([*above[above.index(key) :], key])
            document.problem(
                ("segments", key),
                f"these segments are made of one another: {chain}",
                key=True,
            )
        elif len(above) > DEEPEST:
            document.problem(
                ("segments", key),
                f"this segment is more than {DEEPEST} segments deep",
                key=True,
            )
        elif key not in ordered and key in read:
            for each in leaves(read[key]):
                if isinstance(each, Member) and each.rank is None:
                    put(each.name, (*above, key))
            ordered[key] = Segment(
                key, read[key], document.place(("segments", key), key=True)
            )

    for key in read:
        put(key, ())
    return ordered


def _surveys(document: Document, model: SettingsModel) -> dict[str, Survey]:
    found = {}
    for key, each in model.surveys.items():
        route: Route = ("surveys", key)
        lowest, _, highest = each.scores.partition("-")
        if (
            not re.fullmatch("[0-9]{1,3}-[0-9]{1,3}", each.scores)
            or not int(lowest) < int(highest) <= 100
        ):
            document.problem(
                (*route, "scores"),
                f"`{each.scores}` is not a range of scores like 1-5 or 0-10",
            )
            continue
        found[key] = Survey(
            key,
            each.question,
            int(lowest),
            int(highest),
            document.place(route, key=True),
        )
    return found


def names_of(settings: Settings) -> Names:
    """What conditions of campaigns may speak of."""
    return _names(settings.fields, settings.derived, settings)


def _names(
    fields: Mapping[str, Mapping[str, Field]],
    derived: Mapping[str, Derived],
    declared: Settings | SettingsModel,
) -> Names:
    return Names(
        fields,
        {full: kind_of(each) for full, each in derived.items()},
        frozenset(declared.topics),
        frozenset(declared.counters),
        frozenset(declared.segments),
        frozenset(declared.coupons),
    )
