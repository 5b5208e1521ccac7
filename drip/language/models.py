"""What the models of the files share: kinds of values, and reading a part of a file.

A part is read with every problem in it. What a value refers to (topics, fields,
templates) is checked where campaigns and settings are built. pydantic's own wording
never leaves this file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from drip.core.calendar import ClockRange, Duration, SendWindow
from drip.core.characters import plain_key
from drip.core.fields import parse_date
from drip.core.message import Mailbox
from drip.core.schedule import Schedule
from drip.errors import nearest
from drip.language import phrases
from drip.language.phrases import DatePhrase
from drip.language.reader import Data, Document, Route


@dataclass(frozen=True, slots=True)
class EditorKind:
    """Marks a value's kind for the editors' schema (`schema.KINDS`)."""

    name: str


def key(default: Any, text: str, *examples: Any, alias: str | None = None) -> Any:
    """A key of a file, as editors show it: what it is for, and how it may look."""
    if callable(default):
        return Field(
            default_factory=default,
            description=text,
            examples=list(examples),
            alias=alias,
        )
    return Field(
        default=default,
        description=text,
        examples=list(examples),
        alias=alias,
    )


def phrase(read: Callable[[str], Any]) -> BeforeValidator:
    """A value that `read` makes of a text, or raises ValueError for."""
    return BeforeValidator(lambda data: read(_text(data)))


def _text(data: Any) -> str:
    """A text that is not empty. Raises ValueError for a list or a mapping."""
    if not isinstance(data, str):
        kind = "a list" if isinstance(data, list) else "several lines with keys"
        raise ValueError(f"a text is expected here, and this is {kind}")
    # `topic:` with nothing behind it is a line that somebody meant to fill in.
    if not data.strip():
        raise ValueError("there is no value here")
    return data


def _yes_no(text: str) -> bool:
    """YAML 1.1 has more words for them (`on`, `y`); these are what people write."""
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


# Longer paths are refused by file systems (255 bytes a name on most).
LONGEST_FILE_NAME = 200
FILE_NAME_PART = re.compile(r"[\w-][\w. -]*")


def _file_name(text: str) -> str:
    """The name of a template, with folders: `birthday/card`."""
    # The name is joined to a folder, and comes from a file that several people edit.
    good = all(_is_file_name_part(part) for part in text.split("/"))
    if not good or len(text) > LONGEST_FILE_NAME:
        example = "`birthday/card`"
        raise ValueError(f"`{text[:60]}` is not the name of a template, like {example}")
    return text


def _is_file_name_part(part: str) -> bool:
    """Whether a file or folder can be called so on every system."""
    # `..` would lead out of `templates/`; Windows drops dots and spaces at a name's
    # end.
    if ".." in part or "  " in part or part.endswith((" ", ".")):
        return False
    return FILE_NAME_PART.fullmatch(part) is not None


def read_re_entry(text: str) -> Any:
    """`never`, `always` or `after 90 days`."""
    if text in ("never", "always"):
        return text
    if text.startswith("after "):
        return phrases.duration(text.removeprefix("after "))
    raise ValueError(f"`{text}` is none of `never`, `always` or like `after 90 days`")


Text = Annotated[str, BeforeValidator(_text), EditorKind("text")]
Key = Annotated[str, phrase(lambda text: plain_key(text, "id")), EditorKind("text")]
FileName = Annotated[str, phrase(_file_name), EditorKind("template")]
FolderName = Annotated[str, phrase(_file_name), EditorKind("folder")]
YesNo = Annotated[bool, phrase(_yes_no), EditorKind("yes or no")]
Grace = Annotated[timedelta, phrase(phrases.span), EditorKind("duration")]
Long = Annotated[Duration, phrase(phrases.duration), EditorKind("duration")]
Window = Annotated[SendWindow, phrase(phrases.send_window), EditorKind("window")]
QuietHours = Annotated[ClockRange, phrase(phrases.quiet_hours), EditorKind("hours")]
WhenCapped = Annotated[
    timedelta | None, phrase(phrases.when_capped), EditorKind("when capped")
]
When = Annotated[Schedule, phrase(phrases.schedule), EditorKind("schedule")]
DateOf = Annotated[DatePhrase, phrase(phrases.date_phrase), EditorKind("date")]
Day = Annotated[date, phrase(parse_date), EditorKind("day")]
Sender = Annotated[Mailbox, phrase(phrases.mailbox), EditorKind("mailbox")]
Priority = Annotated[int, phrase(phrases.priority), EditorKind("priority")]
Percent = Annotated[float, phrase(phrases.percent), EditorKind("percent")]
Count = Annotated[int, phrase(phrases.count), EditorKind("count")]
Topic = Annotated[str, BeforeValidator(_text), EditorKind("topic")]
SenderName = Annotated[str, BeforeValidator(_text), EditorKind("sender")]
Event = Annotated[str, phrase(phrases.event_name), EditorKind("event")]
SegmentName = Annotated[str, BeforeValidator(_text), EditorKind("segment")]
CouponName = Annotated[str, BeforeValidator(_text), EditorKind("coupon")]
CounterName = Annotated[str, BeforeValidator(_text), EditorKind("counter")]
SurveyName = Annotated[str, BeforeValidator(_text), EditorKind("survey")]
RecordKind = Annotated[str, BeforeValidator(_text), EditorKind("record kind")]
Zone = Annotated[str, BeforeValidator(_text), EditorKind("timezone")]
Caps = Annotated[str, BeforeValidator(_text), EditorKind("caps")]
Channels = Annotated[Any, EditorKind("channels")]
Condition = Annotated[Any, EditorKind("condition")]
Exits = Annotated[Any, EditorKind("exits")]
Steps = Annotated[list[Any], BeforeValidator(_list), EditorKind("steps")]
RawList = Annotated[list[Any], BeforeValidator(_list)]
RawMap = Annotated[dict[str, Any], BeforeValidator(_mapping), EditorKind("mapping")]


# A misspelt key that is passed over is a rule that nobody keeps.
class Model(BaseModel):
    """Keys that are not declared are refused, with the nearest one that is."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
    )


# Leaving out a wrong line can make the lines around it wrong.
MOST_ROUNDS = 5
Read = TypeVar("Read", bound=Model)
# Keys and numbers of lists, as pydantic names a place.
Location = tuple[str | int, ...]


class _Error(NamedTuple):
    """One of pydantic's errors. `given` is what was written."""

    type: str
    location: Location
    given: Any
    context: Mapping[str, Any]


def read_model(
    model: type[Read],
    document: Document,
    data: Data,
    route: Route = (),
) -> Read | None:
    """The model of a part of a file, with what is wrong left out.

    Every problem is then in `document`. Reading goes on without the wrong lines so that
    one look finds all problems. None if nothing is left.
    """
    rest, reported = data, False
    for _ in range(MOST_ROUNDS):
        try:
            return model.model_validate(rest)
        except ValidationError as invalid:
            errors = _errors_of(invalid)
        if not reported:
            for error in errors:
                _report(
                    model,
                    document,
                    route,
                    error,
                )
            # The document keeps what was written: other parts still look into it.
            rest, reported = deepcopy(data), True
        for error in errors:
            _leave_out(rest, error)
    return None


def _errors_of(invalid: ValidationError) -> list[_Error]:
    """What pydantic found, in order of the model's keys."""
    return [
        _Error(
            type=error["type"],
            location=error["loc"],
            given=error["input"],
            context=error.get("ctx", {}),
        )
        for error in invalid.errors(include_url=False)
    ]


def _leave_out(data: Data, error: _Error) -> None:
    """Removes the innermost keyed value that the error is about."""
    # What lacks something is left out whole.
    missing = error.type == "missing"
    location = error.location[:-1] if missing else error.location
    owner: dict[str, Data] | None = None
    last = ""
    for part in location:
        if not isinstance(data, dict) or part not in data:
            break
        owner, last = data, str(part)
        data = data[last]
    if owner is not None:
        del owner[last]


def _report(
    model: type[Model],
    document: Document,
    route: Route,
    error: _Error,
) -> None:
    """Adds pydantic's error as a problem in our own words."""
    location = error.location
    here = (*route, *_in_file(location, document, route))
    name = str(location[-1]) if location else ""
    match error.type:
        case "missing":
            sentence, help = f"`{name}` is missing here", f"add a line `{name}: …`"
            document.problem(
                here[:-1],
                sentence,
                help,
                key=True,
            )
        case "extra_forbidden":
            _unknown_key(_owner(model, location), document, here, name)
        case "value_error":
            document.problem(here, str(error.context["error"]))
        case "literal_error":
            _no_choice(document, here, error)
        case "dict_type" | "model_type" | "model_attributes_type":
            document.problem(here, "lines with keys are expected here, indented below")
        case _:
            document.problem(here, "this value does not fit here")


def _no_choice(document: Document, here: Route, error: _Error) -> None:
    """Says which words a key can have."""
    # pydantic lists them as `'a', 'b' or 'c'`.
    expected = str(error.context["expected"]).replace("'", "")
    options = expected.replace(" or ", ", ").split(", ")
    given = str(error.given)
    document.problem(
        here,
        f"`{given}` is none of {', '.join(options)}",
        nearest(given, options),
    )


def _in_file(location: Location, document: Document, route: Route) -> Route:
    """The part of pydantic's location that is in the file.

    A union adds the names of its members to it.
    """
    known: Route = ()
    for part in location:
        if (*route, *known, part) in document.values or part == location[-1]:
            known = (*known, part)
    return known


def _owner(model: type[Model], location: Location) -> type[Model]:
    """The innermost model that a location lies in."""
    for part in location[:-1]:
        field = next(_fields_called(model, part), None)
        if field is not None:
            model = _model_of(field) or model
    return model


def _fields_called(model: type[Model], part: str | int) -> Iterator[FieldInfo]:
    """The fields of a name, or of an alias as `from`."""
    for name, field in model.model_fields.items():
        if part in (name, field.alias):
            yield field


def _model_of(field: FieldInfo) -> type[Model] | None:
    """The model that a field holds, itself, in a mapping, or as one of a union."""
    found: type[Model] | None = None
    for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, Model):
            found = kind
    return found


def _unknown_key(
    model: type[Model],
    document: Document,
    here: Route,
    name: str,
) -> None:
    """Says which key may have been meant."""
    names = [field.alias or key for key, field in model.model_fields.items()]
    document.problem(
        here,
        f"there is no key `{name}` here",
        nearest(name, names),
        key=True,
    )
