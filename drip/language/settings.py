"""`campaigns/_settings.yaml` to `Settings`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, get_args

from drip.core.calendar import Duration
from drip.core.campaign import CHANNELS, DateField, Settings, Topic
from drip.core.caps import Cap
from drip.core.fields import KINDS, Field, FieldKind, parse_zone
from drip.errors import nearest
from drip.language import phrases
from drip.language.models import SettingsModel, read_model
from drip.language.phrases import NotBuilt
from drip.language.reader import Document, Route

SECRETS = re.compile(r"password|secret|token|api_?key", re.I)
BUILT_IN = (
    Field("key", "text"),
    Field("email", "text"),
    Field("phone", "text"),
    Field("locale", "text"),
    Field("country", "country"),
    Field("timezone", "timezone"),
)


def build_settings(document: Document) -> Settings | None:
    """The settings; None where there is a problem, which is then in `document`."""
    if not isinstance(document.data, dict):
        document.problem((), "this file holds no settings", "begin with `business:`")
        return None
    model = read_model(SettingsModel, document, document.data)
    if model is None:
        return None
    if "business" not in document.data:
        document.problem((), "`business` is missing", "add `business: { name: …, address: … }`: every mail names them")
    fields, derived = _data(document, model)
    settings = Settings(
        business_name=model.business.name if model.business else "",
        business_address=model.business.address if model.business else "",
        timezone=_zone(document, model.timezone),
        locale=model.locale,
        currency=model.currency,
        public_url=_url(document, model.public_url),
        send_window=model.send_window,
        send_window_place=document.place(("send_window",), key=True),
        quiet_hours=model.quiet_hours,
        quiet_hours_place=document.place(("quiet_hours",), key=True),
        caps=_caps(document, model),
        wait_when_capped=model.when_capped,
        topics={
            key: Topic(key, topic.title, topic.opt_in, document.place(("topics", key), key=True))
            for key, topic in model.topics.items()
        },
        senders=model.senders,
        transports=_transports(document, model),
        transport_places={key: document.place(("transports", key), key=True) for key in model.transports},
        fields=fields,
        derived=derived,
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
        document.problem(("public_url",), f"`{url}` is not an address like https://mail.maplestreet.example")
    return url.rstrip("/") if url else None


def _database(document: Document, url: str | None) -> str | None:
    if url is not None and url.startswith("postgres"):
        document.problem(("database",), "PostgreSQL is not built yet", "leave the line out to use SQLite")
    return url


def _caps(document: Document, model: SettingsModel) -> tuple[Cap, ...]:
    found: list[Cap] = []
    for name, data in model.frequency_caps.items():
        route: Route = ("frequency_caps", name)
        scope = _scope(name, model)
        if scope is None:
            names = ["all", *CHANNELS, "sms", *model.topics]
            help = nearest(name, names, what="caps can be set for")
            document.problem(route, f"`{name}` is neither `all`, a channel nor a topic", help, key=True)
            continue
        found += caps_at(document, route, data, scope, name)
    return tuple(found)


def caps_at(document: Document, route: Route, data: Any, scope: Any, name: str) -> list[Cap]:
    """The caps written at `route`, for one scope."""
    try:
        if not isinstance(data, str):
            raise ValueError(f"caps are written on one line: {phrases.HOW_CAPPED}")
        read = phrases.caps(data)
    except ValueError as wrong:
        document.problem(route, str(wrong))
        return []
    place = document.place(route)
    return [Cap(scope, name, each.limit, each.text, place, each.days, each.seconds) for each in read]


def _scope(name: str, model: SettingsModel) -> str | None:
    if name == "all":
        return "all"
    if name in (*CHANNELS, "sms", "push", "letter"):
        return "channel"
    return "topic" if name in model.topics else None


def _transports(document: Document, model: SettingsModel) -> dict[str, Mapping[str, str]]:
    for channel, options in model.transports.items():
        route = ("transports", channel)
        if channel in ("sms", "push", "letter", "webhook"):
            document.problem(route, f"the channel `{channel}` is not built yet", "leave it out for now", key=True)
        elif channel not in CHANNELS:
            document.problem(route, f"there is no channel `{channel}`", nearest(channel, CHANNELS), key=True)
        for name, value in options.items():
            if not isinstance(value, str):
                document.problem((*route, name), "a plain value is expected here")
            elif SECRETS.search(name) and not value.startswith("secret:"):
                document.problem(
                    (*route, name),
                    f"the {name} itself must not stand in this file",
                    f"write `{name}: secret:SMTP_PASSWORD` and put it into the environment variable SMTP_PASSWORD",
                )
    return dict(model.transports)


def _data(document: Document, model: SettingsModel) -> tuple[dict[str, dict[str, Field]], dict[str, DateField]]:
    fields: dict[str, dict[str, Field]] = {"contact": {field.name: field for field in BUILT_IN}}
    written: dict[str, str] = {}
    for owner, declared in model.data.items():
        own = fields.setdefault(owner, {} if owner == "contact" else {"key": Field("key", "text")})
        for name, data in declared.items():
            field = _field(document, ("data", owner, name), name, data)
            if isinstance(field, str):
                written[f"{owner}.{name}"] = field
            elif field:
                own[name] = field
    return fields, _derived(document, fields, written)


def _field(document: Document, route: Route, name: str, data: Any) -> Field | str | None:
    """A declared field, or the phrase of a derived one."""
    if isinstance(data, list):
        choices = tuple(str(each) for each in data if isinstance(each, str))
        return Field(name, "choice", choices)
    if isinstance(data, dict):
        document.problem(route, f"a field derived by `{next(iter(data), '')}` is not built yet", "leave it out for now")
        return None
    if data in get_args(FieldKind) and data != "choice":
        return Field(name, data)
    if re.fullmatch(r".+ (after|before) .+", data):
        return str(data)
    if re.match(r"(count|sum|latest|first|earliest) ", data):
        document.problem(route, f"a field derived by `{data}` is not built yet", "leave it out for now")
        return None
    kinds = nearest(data, KINDS, what="types") or f"types: {', '.join(KINDS)}, or a list of choices"
    document.problem(route, f"there is no type `{data}`", kinds)
    return None


def _derived(document: Document, fields: dict[str, dict[str, Field]], written: dict[str, str]) -> dict[str, DateField]:
    derived: dict[str, DateField] = {}
    for full, text in written.items():
        owner, _, name = full.partition(".")
        route: Route = ("data", owner, name)
        try:
            phrase = phrases.date_phrase(text)
        except NotBuilt as missing:
            document.problem(route, f"{missing} is not built yet", "leave it out for now")
            continue
        except ValueError as wrong:
            document.problem(route, str(wrong))
            continue
        source = phrase.field.removeprefix(f"{owner}.")
        base = fields[owner].get(source)
        if base is None or base.kind != "date":
            dates = [each for each, field in fields[owner].items() if field.kind == "date"]
            document.problem(route, f"`{source}` is not a date of {owner}", nearest(source, dates, what="dates"))
            continue
        steps = () if phrase.offset == Duration() else (phrase.offset,)
        derived[full] = DateField(f"{owner}.{source}", steps)
    return derived
