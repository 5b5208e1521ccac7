"""JSON Schemas (draft-07) for editors.

They are made from the models that the reader uses, with this workspace's own names.

An editor takes `yes` and `5` for what YAML 1.2 says they are, where drip takes every
scalar for text: so wherever a text is expected, the schema lets numbers and truth
values pass too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from drip.core.campaign import PRIORITIES
from drip.core.channels import CHANNELS
from drip.core.fields import KINDS as FIELD_KINDS
from drip.core.fields import Field, FieldKind
from drip.core.settings import Settings
from drip.language import campaign_models
from drip.language.campaign_models import ArmModel, CampaignModel, ShareModel, TestModel
from drip.language.conditions import Scope, field_names, owner_and_name
from drip.language.connections import INBOUND, PROVIDERS
from drip.language.models import EditorKind, Model
from drip.language.phrases import EVENT_NAME
from drip.language.settings import names_of
from drip.language.settings_models import SettingsModel
from drip.language.step_context import COUPON_EXPIRES

Schema = dict[str, Any]
# yaml-language-server, which most editors use, supports JSON Schema 7 and below.
DRAFT = "http://json-schema.org/draft-07/schema#"
SCALAR = ["string", "number", "boolean"]
# ECMA 262's regular expressions, not Python's: JSON Schema has those.
LENGTH = r"\d{1,5} +(business +)?(minute|hour|day|week|month|year)s?"
CLOCK = r"\d{1,2}:\d\d"
EVENT = EVENT_NAME.pattern
DAY = r"\d{4}-\d\d-\d\d"
CAP = rf"(\d{{1,6}} per (day|week|month|{LENGTH})|at least \d+ (hour|minute)s? apart)"
# There are no flags, so small letters are written out.
WEEKDAY = "(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun|mon|tues|wednes|thurs|fri|satur|sun)day"
NUMBER = r"[$€£¥]?[+-]?[\d.,]+[$€£¥]?"
COMPARED = (
    rf"((at least|at most|more than|less than) {NUMBER}"
    rf"|between {NUMBER} and {NUMBER}|known|unknown"
)
DATED = (
    rf"((before|after) {DAY}|(more|less) than \d+ \w+ ago"
    rf"|in the (last|next) \d+ [\w ]+|known|unknown|{DAY})"
)


@dataclass(frozen=True, slots=True)
class EditorNames:
    """The names that an editor completes.

    `templates` and `folders` are those of `templates/`, `events` those known.
    """

    settings: Settings
    templates: Collection[str] = ()
    folders: Collection[str] = ()
    events: Collection[str] = ()


def campaign_schema(workspace: EditorNames) -> Schema:
    """The schema of a campaign file."""
    made = _Maker(workspace)
    schema = made.model(CampaignModel)
    schema |= {"required": ["name", "trigger", "steps"]}
    return {
        "$schema": DRAFT,
        "title": "A campaign",
        **schema,
        "definitions": made.definitions(),
    }


def settings_schema(workspace: EditorNames) -> Schema:
    """The schema of `_settings.yaml`."""
    made = _Maker(workspace)
    schema = made.model(SettingsModel) | {"required": ["business"]}
    return {
        "$schema": DRAFT,
        "title": "Settings",
        **schema,
        "definitions": made.definitions(),
    }


def _pattern(text: str) -> Schema:
    """A text of which all of it fits a pattern."""
    return {"type": "string", "pattern": f"^({text})$"}


def _names(names: Collection[str]) -> Schema:
    """One of the workspace's names; any text where there are none to choose from."""
    return {"enum": sorted(names)} if names else {"type": SCALAR}


def _or_list(one: Schema) -> Schema:
    """One of something, or a list of them."""
    return {"anyOf": [one, {"type": "array", "items": one}]}


def _of_pattern(text: str) -> Callable[[_Maker], Schema]:
    """The maker of a kind that does not depend on the workspace."""
    return lambda maker: _pattern(text)


class _Maker:
    """Makes the parts of one schema.

    What contains itself (steps, conditions) is a definition.
    """

    def __init__(self, workspace: EditorNames) -> None:
        self.workspace, self.names = workspace, names_of(workspace.settings)

    def definitions(self) -> Schema:
        """What the parts refer to by name."""
        made: Schema = {
            "condition": self._condition(),
            "step": self._step(),
            "way": self.model(ArmModel),
            "share": self.model(ShareModel),
            "test": self.model(TestModel),
        }
        for verb, model in campaign_models.STEPS.items():
            made[f"step {verb}"] = self.model(model)
        return made

    def model(self, model: type[Model]) -> Schema:
        """Every key with its description and examples, and no other."""
        shown = {
            field.alias or name: field for name, field in model.model_fields.items()
        }
        required = [name for name, field in shown.items() if field.is_required()]
        schema: Schema = {
            "type": "object",
            "properties": {name: self._field(field) for name, field in shown.items()},
            "additionalProperties": False,
        }
        # Draft-07 allows an empty list there; some editors do not.
        return schema | ({"required": required} if required else {})

    def _field(self, field: FieldInfo) -> Schema:
        """A key with what editors show of it."""
        schema = self._marked(field.metadata)
        made = dict(schema or self._annotation(field.annotation))
        if field.description:
            made["description"] = field.description
        if field.examples:
            made["examples"] = field.examples
        return made

    def _marked(self, metadata: Iterable[Any]) -> Schema | None:
        """The schema of the kind that a value is marked with, the last one said."""
        marks = [mark for mark in metadata if isinstance(mark, EditorKind)]
        return KINDS[marks[-1].name](self) if marks else None

    def _annotation(self, annotation: Any) -> Schema:
        """The schema of a type that is not marked by itself."""
        marked = self._marked(getattr(annotation, "__metadata__", ()))
        if marked is not None:
            return marked
        if isinstance(annotation, type) and issubclass(annotation, Model):
            return self.model(annotation)
        parts = get_args(annotation)
        if get_origin(annotation) is Literal:
            return {"enum": list(parts)}
        if get_origin(annotation) is dict:
            return {
                "type": "object",
                "additionalProperties": self._annotation(parts[1]),
            }
        # `X | None`: a key that need not be there.
        known = [part for part in parts if part is not type(None)]
        return self._annotation(known[0]) if known else {}

    # --- what contains itself

    def _step(self) -> Schema:
        """A verb and its value, each verb with its own keys.

        So that a wrong key is found in its own line.
        """
        verbs = campaign_models.STEPS
        return {
            "description": "A step: a verb and its value",
            # A word of VS Code's; others ignore what they do not know.
            "defaultSnippets": SNIPPETS,
            "if": {"type": "object"},
            "then": {
                "properties": {
                    verb: {"description": _description(model, verb)}
                    for verb, model in verbs.items()
                },
                "anyOf": [{"required": [verb]} for verb in verbs],
                "allOf": [
                    {
                        "if": {"required": [verb]},
                        "then": {"$ref": f"#/definitions/step {verb}"},
                    }
                    for verb in verbs
                ],
            },
            "else": {"enum": ["end"]},
        }

    def _condition(self) -> Schema:
        """A mapping of conditions."""
        owners = "|".join(self.names.fields)
        return {
            "type": "object",
            "properties": self._tests() | self._verbs(),
            "additionalProperties": False,
            "minProperties": 1,
            # The fields of an event, of which only the event knows what there is.
            "patternProperties": {
                rf"^(?!({owners})\.)[\w-]+\.[\w.-]+$": {"type": [*SCALAR, "array"]}
            },
            "description": "Conditions, all of which must hold",
        }

    def _tests(self) -> Schema:
        """Every field that a condition can ask for, whatever the campaign is about."""
        tests: Schema = {}
        own = self.names.fields["contact"]
        for owner in self.names.fields:
            for name in field_names(Scope(self.names, owner)):
                tests.setdefault(name, self._test(name))
                if owner == "contact" and name in own:
                    tests.setdefault(f"contact.{name}", self._test(name))
        return tests

    def _verbs(self) -> Schema:
        """The words of conditions that are no fields."""
        # Which tags and events there are nobody declares.
        word = _or_list({"type": "string"})
        return {
            "any": {
                "type": "array",
                "items": CONDITION,
                "description": "One of these must hold",
            },
            "all": {
                "type": "array",
                "items": CONDITION,
                "description": "All of these must hold",
            },
            "not": {**CONDITION, "description": "These must not hold"},
            "subscribed": _or_list(_names(self.names.topics)),
            "in_segment": _or_list(_names(self.names.segments)),
            "holds coupon": _or_list(_names(self.names.coupons)),
            "tagged": word,
            "did": word,
            "did_not": word,
            "opened": word,
            "clicked": word,
        }

    def _test(self, key: str) -> Schema:
        """The phrases that fit a field."""
        owner, name = owner_and_name(key)
        full = f"{owner}.{name}"
        known = self.names.fields.get(owner, {}).get(name)
        usual: FieldKind = "number" if key in self.names.counters else "text"
        kind = self.names.derived.get(full) or (known.kind if known else usual)
        one = _of_kind(kind, known)
        return {**_or_list(one), "description": f"{full}, a {kind}"}

    # --- what refers to the workspace

    def dates(self) -> Schema:
        """A date of the workspace, or one that is moved."""
        names = sorted([*self.workspace.settings.dates, COUPON_EXPIRES])
        # In a pattern a dot stands for any character.
        either = "|".join(names).replace(".", r"\.")
        return {
            "anyOf": [
                {"enum": names},
                _pattern(rf"{LENGTH} (before|after) ({either})"),
            ]
        }

    def events(self) -> Schema:
        """An event that has come in, or any name that one can have."""
        known = sorted(self.workspace.events)
        return {"anyOf": [*([{"enum": known}] if known else []), _pattern(EVENT)]}

    def templates(self) -> Schema:
        """A template of the workspace."""
        return _names(self.workspace.templates)

    def folders(self) -> Schema:
        """A folder of dated texts."""
        return _names(self.workspace.folders)


def _of_kind(kind: FieldKind, field: Field | None) -> Schema:
    """What may be asked of a field of a kind."""
    if kind in ("number", "money"):
        phrases = rf"{COMPARED}|top \d{{1,3}}%|makes \d{{1,3}}% of total|{NUMBER})"
        return {"anyOf": [{"type": "number"}, _pattern(rf"(not )?({phrases})")]}
    if kind == "date":
        return _pattern(rf"(not )?{DATED}")
    # An editor completes the choices; phrases pass as well.
    if kind == "choice" and field:
        return {
            "anyOf": [
                {"enum": [*field.choices, "known", "unknown"]},
                _pattern("(not|includes|starts with) .+"),
            ]
        }
    return {"type": SCALAR}


def _description(model: type[Model], verb: str) -> str:
    """What a step's own key is for."""
    for name, field in model.model_fields.items():
        if verb in (name, field.alias):
            return field.description or verb
    raise AssertionError(f"no step is called {verb}")


STEPS: Schema = {"type": "array", "items": {"$ref": "#/definitions/step"}}
CONDITION: Schema = {"$ref": "#/definitions/condition"}
TEXT: Schema = {"type": SCALAR}
ANY_OBJECT: Schema = {"type": "object"}

KINDS: Mapping[str, Callable[[_Maker], Schema]] = {
    "text": lambda maker: TEXT,
    "template": _Maker.templates,
    "folder": _Maker.folders,
    "files": lambda maker: _or_list(TEXT),
    "yes or no": lambda maker: {"enum": ["yes", "no", True, False]},
    "duration": _of_pattern(LENGTH),
    "hours": _of_pattern(rf"{CLOCK}-{CLOCK}"),
    "window": _of_pattern(rf"{CLOCK}-{CLOCK}( on business days)?"),
    "when capped": _of_pattern(rf"skip|wait up to {LENGTH}"),
    "schedule": _of_pattern(
        r"\S+ \S+ \S+ \S+ \S+"
        rf"|every (day|weekday|{WEEKDAY}) at {CLOCK}"
        rf"|every \d{{1,2}} weeks on {WEEKDAY} at {CLOCK}( from {DAY})?"
        rf"|the (\d{{1,2}}(st|nd|rd|th)|last (day|{WEEKDAY})) of every month at {CLOCK}"
        rf"|{DAY}[ T]{CLOCK}"
    ),
    "date": _Maker.dates,
    "day": _of_pattern(DAY),
    "mailbox": _of_pattern(r".*\S@\S.*"),
    "priority": lambda maker: {
        "anyOf": [
            {"enum": list(PRIORITIES)},
            {"type": "integer", "minimum": 0, "maximum": 100},
        ]
    },
    "percent": _of_pattern(r"\d{1,3}(\.\d{1,3})?\s*%"),
    "count": lambda maker: {"type": "integer", "minimum": 0},
    "counts": lambda maker: _or_list({"type": "integer", "minimum": 1}),
    "topic": lambda maker: _names(maker.names.topics),
    "topics": lambda maker: _or_list(_names(maker.names.topics)),
    "sender": lambda maker: _names(maker.workspace.settings.senders),
    "event": _Maker.events,
    "events": lambda maker: _or_list(maker.events()),
    "segment": lambda maker: _names(maker.names.segments),
    "coupon": lambda maker: _names(maker.names.coupons),
    "counter": lambda maker: _names(maker.names.counters),
    "survey": lambda maker: _names(maker.workspace.settings.surveys),
    "record kind": lambda maker: _names(maker.workspace.settings.kinds),
    "timezone": _of_pattern(r"recipient|UTC|[A-Za-z_]+/[A-Za-z_/+-]+[0-9]*"),
    "caps": _of_pattern(rf"ignore|{CAP}( *, *{CAP})*"),
    "caps by scope": lambda maker: {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: _pattern(rf"{CAP}( *, *{CAP})*")
            for name in ("all", *CHANNELS, *maker.names.topics)
        },
    },
    "channels": lambda maker: _or_list({"enum": list(CHANNELS)}),
    "condition": lambda maker: CONDITION,
    "exits": lambda maker: _or_list(
        {"anyOf": [{"enum": ["goal"]}, maker.events(), CONDITION]}
    ),
    "steps": lambda maker: STEPS,
    "else": lambda maker: {"anyOf": [{"enum": ["end"]}, STEPS]},
    "ways": lambda maker: {
        "type": "array",
        "items": {"$ref": "#/definitions/way"},
        "minItems": 1,
    },
    "shares": lambda maker: {
        "type": "array",
        "items": {"$ref": "#/definitions/share"},
        "minItems": 1,
    },
    "tests": lambda maker: {"type": "array", "items": {"$ref": "#/definitions/test"}},
    "mapping": lambda maker: ANY_OBJECT,
    "values": lambda maker: {"type": "object", "minProperties": 1},
    "wait": _of_pattern(rf"{LENGTH}|until .+"),
    "winner": _of_pattern(rf"goal after {LENGTH}"),
    "points": lambda maker: {
        "anyOf": [{"type": "integer"}, _pattern(r"(add|redeem) \d+|-?\d+")]
    },
    "expires": _of_pattern(rf"never|(in )?{LENGTH}"),
    "tags": lambda maker: _or_list(TEXT),
    "re-entry": _of_pattern(rf"never|always|after {LENGTH}"),
    "holidays": lambda maker: _or_list({"type": "string"}),
    "segments": lambda maker: {"type": "object", "additionalProperties": CONDITION},
    "notices": lambda maker: _or_list(TEXT),
    "colour": _of_pattern(r"#[0-9a-fA-F]{6}"),
    "scores": _of_pattern(r"\d+-\d+"),
    "senders": lambda maker: {
        "type": "object",
        "additionalProperties": _pattern(r".*\S@\S.*"),
    },
    "transports": lambda maker: {
        "type": "object",
        "additionalProperties": False,
        "properties": dict.fromkeys(CHANNELS, ANY_OBJECT),
    },
    "inbound": lambda maker: {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: {"type": "string"} for key in INBOUND},
        "required": ["host", "user", "password"],
    },
    "providers": lambda maker: {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            provider: {
                "type": "object",
                "additionalProperties": False,
                "properties": dict.fromkeys(needed, TEXT),
                "required": list(needed),
            }
            for provider, needed in PROVIDERS.items()
        },
    },
    "alarms": lambda maker: {
        "type": "object",
        "additionalProperties": TEXT,
        "required": ["use"],
    },
    "data": lambda maker: {
        "type": "object",
        "additionalProperties": {"type": "object", "additionalProperties": DATA},
    },
}

DATA: Schema = {
    "anyOf": [
        {"enum": list(FIELD_KINDS)},
        {"type": "array", "items": TEXT, "minItems": 1},
        _pattern(
            r"(count|sum) of .+|(latest|first|earliest) .+"
            r"|.+ (before|after) .+|.+ reaches .+"
        ),
        {
            "type": "object",
            "properties": {
                "earliest_of": {"type": "array"},
                "latest_of": {"type": "array"},
            },
            "additionalProperties": False,
            "minProperties": 1,
        },
    ]
}

SNIPPETS: list[Schema] = [
    {"label": "send", "description": "One message", "body": {"send": "${1:template}"}},
    {"label": "wait", "description": "Wait a while", "body": {"wait": "${1:3 days}"}},
    {
        "label": "wait_for",
        "description": "Wait for an event, at most so long",
        "body": {
            "wait_for": "${1:order.placed}",
            "up_to": "${2:7 days}",
            "else": "end",
        },
    },
    {
        "label": "if",
        "description": "Two ways",
        "body": {
            "if": {"${1:opened}": "${2:any}"},
            "then": [{"send": "${3:template}"}],
        },
    },
    {
        "label": "branch",
        "description": "Several ways",
        "body": {
            "branch": [
                {
                    "if": {"${1:field}": "${2:value}"},
                    "then": [{"send": "${3:template}"}],
                },
                {"else": [{"send": "${4:template}"}]},
            ]
        },
    },
    {
        "label": "split",
        "description": "An A/B test",
        "body": {
            "split": [
                {"share": "50%", "then": [{"send": "${1:template}"}]},
                {"share": "50%", "then": [{"send": "${2:template}"}]},
            ]
        },
    },
    {
        "label": "task",
        "description": "Work for a person",
        "body": {
            "task": "Call {{ contact.first_name }}",
            "assign_to": "${1:service-desk}",
            "due": "${2:2 business days}",
        },
    },
    {
        "label": "coupon",
        "description": "A code",
        "body": {"coupon": "${1:coupon}", "expires": "in ${2:30 days}"},
    },
]
