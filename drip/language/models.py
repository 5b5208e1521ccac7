"""The shape of the files, as pydantic models: which keys there are and what their values look like.

What a value refers to (topics, fields, templates) is checked where campaigns and settings are built.
pydantic's own wording never leaves this file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from drip.core.calendar import ClockRange, Feb29
from drip.core.campaign import OnUnknown, OptIn, Status
from drip.core.message import Mailbox
from drip.core.schedule import Schedule
from drip.errors import nearest
from drip.language import phrases
from drip.language.phrases import DatePhrase, NotBuilt
from drip.language.reader import Data, Document, Route


def _text(data: Any) -> str:
    if not isinstance(data, str):
        kind = "a list" if isinstance(data, list) else "several lines with keys"
        raise ValueError(f"a text is expected here, and this is {kind}")
    if not data.strip():
        raise ValueError("there is no value here")
    return data


def _phrase(read: Callable[[str], Any]) -> BeforeValidator:
    return BeforeValidator(lambda data: read(_text(data)))


def _yes_no(text: str) -> bool:
    if text.casefold() in ("true", "yes"):
        return True
    if text.casefold() in ("false", "no"):
        return False
    raise ValueError(f"`{text}` is neither yes nor no")


def _mapping(data: Any) -> Any:
    if not isinstance(data, dict):
        raise ValueError("lines with keys are expected here, indented below")
    return data


def _list(data: Any) -> Any:
    if not isinstance(data, list):
        raise ValueError("a list is expected here, each item after a dash")
    return data


def _file_name(text: str) -> str:
    if not re.fullmatch(r"[\w-]+( ?[\w.-]+)*(/[\w-]+( ?[\w.-]+)*)*", text) or len(text) > 200 or ".." in text:
        raise ValueError(f"`{text[:60]}` is not the name of a template, like `birthday/card`")
    return text


def _re_entry(text: str) -> Any:
    if text in ("never", "always"):
        return text
    if text.startswith("after "):
        return phrases.duration(text[6:])
    raise ValueError(f"`{text}` is none of `never`, `always` or like `after 90 days`")


Text = Annotated[str, BeforeValidator(_text)]
FileName = Annotated[str, _phrase(_file_name)]
YesNo = Annotated[bool, _phrase(_yes_no)]
Grace = Annotated[timedelta, _phrase(phrases.span)]
Hours = Annotated[ClockRange, _phrase(phrases.clock_range)]
QuietHours = Annotated[ClockRange, _phrase(phrases.quiet_hours)]
WhenCapped = Annotated[timedelta | None, _phrase(phrases.when_capped)]
When = Annotated[Schedule, _phrase(phrases.schedule)]
DateOf = Annotated[DatePhrase, _phrase(phrases.date_phrase)]
Sender = Annotated[Mailbox, _phrase(phrases.mailbox)]
Priority = Annotated[int, _phrase(phrases.priority)]
Raw = Any
RawList = Annotated[list[Any], BeforeValidator(_list)]
RawMap = Annotated[dict[str, Any], BeforeValidator(_mapping)]


class Model(BaseModel):
    """Keys of `NOT_YET` belong to the language and are refused by name in this version."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    NOT_YET: ClassVar[frozenset[str]] = frozenset()


class TriggerModel(Model):
    NOT_YET = frozenset({"segment", "counter", "reaches"})
    date: DateOf | None = None
    repeat: Literal["yearly"] | None = None
    feb_29: Feb29 = "Feb 28"
    schedule: When | None = None
    event: Text | None = None
    where: Raw = None


class CampaignModel(Model):
    NOT_YET = frozenset({"goal", "reserve", "holdout", "when_late", "max_audience", "tests"})
    name: Text = ""
    topic: Text | None = None
    status: Annotated[Status, _phrase(str)] = "live"
    sender: Text | None = Field(default=None, alias="from")
    trigger: TriggerModel | None = None
    for_each: Text | None = None
    audience: Raw = None
    exit_when: Raw = None
    re_entry: Annotated[Any, _phrase(_re_entry)] = "always"
    priority: Priority = 50
    timezone: Text | None = None
    send_window: Hours | None = None
    grace: Grace | None = None
    frequency_caps: Text | None = None
    counted: YesNo = True
    when_capped: WhenCapped = Field(default=timedelta(days=2))
    transactional: YesNo = False
    on_unknown: Annotated[OnUnknown | None, _phrase(str)] = None
    steps: RawList = Field(default_factory=list)


class SendModel(Model):
    NOT_YET = frozenset({"only_if", "survey", "attach", "when_missing"})
    send: FileName
    id: Text | None = None
    channel: Raw = None
    subject: Text | None = None
    preheader: Text | None = None
    sender: Text | None = Field(default=None, alias="from")
    reply_to: Sender | None = None
    at: DateOf | None = None
    grace: Grace | None = None
    send_window: Hours | None = None
    priority: Priority | None = None
    content: FileName | None = None
    transactional: YesNo | None = None


class WaitModel(Model):
    NOT_YET = frozenset({"only_if"})
    wait: Text
    id: Text | None = None


class EndModel(Model):
    NOT_YET = frozenset({"only_if"})
    end: Text | None = None
    id: Text | None = None


class BusinessModel(Model):
    name: Text
    address: Text


class TopicModel(Model):
    NOT_YET = frozenset({"expires"})
    title: Text
    opt_in: Annotated[OptIn, _phrase(str)]


class SettingsModel(Model):
    NOT_YET = frozenset({"holidays", "counters", "segments", "coupons", "surveys"})
    business: BusinessModel | None = None
    timezone: Text = "UTC"
    locale: Text = "en"
    currency: Text = "USD"
    public_url: Text | None = None
    send_window: Hours | None = None
    quiet_hours: QuietHours | None = None
    frequency_caps: RawMap = Field(default_factory=dict)
    when_capped: WhenCapped = Field(default=timedelta(days=2))
    topics: dict[str, TopicModel] = Field(default_factory=dict)
    senders: dict[str, Sender] = Field(default_factory=dict)
    transports: dict[str, RawMap] = Field(default_factory=dict)
    data: dict[str, RawMap] = Field(default_factory=dict)
    database: Text | None = None


# Leaving out a wrong line can make the lines around it wrong.
MOST_ROUNDS = 5
Kind = TypeVar("Kind", bound=Model)


def read_model(model: type[Kind], document: Document, data: Data, route: Route = ()) -> Kind | None:
    """The model of a part of a file, with what is wrong left out; every problem is then in `document`.

    Reading goes on without the wrong lines so that one look finds all problems. None if nothing is left.
    """
    rest, told = data, False
    for _ in range(MOST_ROUNDS):
        try:
            return model.model_validate(rest)
        except ValidationError as error:
            errors: list[dict[str, Any]] = [dict(each) for each in error.errors(include_url=False)]
        if not told:
            for each in errors:
                _translate(model, document, route, each)
            rest, told = deepcopy(data), True
        for each in errors:
            # What lacks something is left out whole.
            _leave_out(rest, each["loc"][:-1] if each["type"] == "missing" else each["loc"])
    return None


def _leave_out(data: Data, location: tuple[str | int, ...]) -> None:
    """Removes the innermost keyed value that `location` leads to."""
    owner: dict[str, Data] | None = None
    last = ""
    for part in location:
        if not isinstance(data, dict) or part not in data:
            break
        owner, last = data, str(part)
        data = data[last]
    if owner is not None:
        del owner[last]


def _translate(model: type[Model], document: Document, route: Route, error: Mapping[str, Any]) -> None:
    location: tuple[str | int, ...] = error["loc"]
    here = (*route, *_in_file(location, document, route))
    name = str(location[-1]) if location else ""
    match error["type"]:
        case "missing":
            document.problem(here[:-1], f"`{name}` is missing here", f"add a line `{name}: …`", key=True)
        case "extra_forbidden":
            _unknown_key(_owner(model, location), document, here, name)
        case "value_error":
            cause = error["ctx"]["error"]
            if isinstance(cause, NotBuilt):
                document.problem(here, f"{cause} is not built yet", "leave it out for now")
            else:
                document.problem(here, str(cause))
        case "literal_error":
            given, choices = str(error["input"]), str(error["ctx"]["expected"]).replace("'", "")
            options = choices.replace(" or ", ", ").split(", ")
            document.problem(here, f"`{given}` is none of {', '.join(options)}", nearest(given, options))
        case "dict_type" | "model_type" | "model_attributes_type":
            document.problem(here, "lines with keys are expected here, indented below")
        case _:
            document.problem(here, "this value does not fit here")


def _in_file(location: tuple[str | int, ...], document: Document, route: Route) -> Route:
    """The part of pydantic's location that is in the file (a union adds the names of its members)."""
    known: Route = ()
    for part in location:
        if (*route, *known, part) in document.values or part == location[-1]:
            known = (*known, part)
    return known


def _owner(model: type[Model], location: tuple[str | int, ...]) -> type[Model]:
    for part in location[:-1]:
        field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
        if field is None:
            continue
        for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, Model):
                model = candidate
    return model


def _unknown_key(model: type[Model], document: Document, here: Route, name: str) -> None:
    if name in model.NOT_YET:
        document.problem(here, f"`{name}` is not built yet", "leave it out for now", key=True)
        return
    names = [field.alias or key for key, field in model.model_fields.items()]
    document.problem(here, f"there is no key `{name}` here", nearest(name, [*names, *model.NOT_YET]), key=True)
