"""The API's own description: OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from drip import __version__

Part = dict[str, Any]
TEXT: Part = {"type": "string"}
VALUE: Part = {"type": ["string", "number", "boolean", "null"]}


def _json(schema: Part, description: str) -> Part:
    return {
        "description": description,
        "content": {"application/json": {"schema": schema}},
    }


def _ref(name: str) -> Part:
    return {"$ref": f"#/components/schemas/{name}"}


ERROR: Part = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": TEXT, "help": TEXT},
}
REPORT: Part = {
    "type": "object",
    "required": ["new", "changed", "same", "rejected"],
    "properties": {
        "new": {"type": "integer"},
        "changed": {"type": "integer"},
        "same": {
            "type": "integer",
            "description": "Known already: nothing was changed.",
        },
        "rejected": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "reason"],
                "properties": {
                    "index": {
                        "type": "integer",
                        "description": "Its place in the request, from 0.",
                    },
                    "reason": TEXT,
                },
            },
        },
        "notes": {"type": "array", "items": TEXT},
    },
}
EVENT: Part = {
    "type": "object",
    "required": ["event", "contact"],
    "properties": {
        "event": {
            **TEXT,
            "description": "As `order.placed`. Some mean something to drip, and need a scope beside `events`: `consent` for "
            "`TOPIC.requested` and `TOPIC.confirmed`, `answers` for `survey.answered`, `clicks` for `message.clicked` and "
            "`message.opened`, `coupons` for `coupon.redeemed`.",
            "examples": ["order.placed"],
        },
        "contact": {**TEXT, "description": "The contact's key."},
        "at": {**TEXT, "description": "ISO 8601; now if it is left out."},
        "id": {
            **TEXT,
            "description": "What tells it from others of its name: the same one again changes nothing.",
        },
        "fields": {
            "type": "object",
            "additionalProperties": VALUE,
            "description": "What campaigns and templates may use.",
        },
    },
    "additionalProperties": VALUE,
}
CONTACT: Part = {
    "type": "object",
    "required": ["key"],
    "properties": {
        "key": TEXT,
        "email": TEXT,
        "phone": TEXT,
        "locale": TEXT,
        "country": TEXT,
        "timezone": TEXT,
    },
    "additionalProperties": VALUE,
    "description": "Fields as the settings declare them. One named after a topic (`news`, `news.sms`) is consent to it: yes, "
    "no, or the date; it needs the scope `consent` beside `contacts`.",
}
REDEEMED: Part = {
    "type": "object",
    "required": ["code", "coupon", "offer", "contact"],
    "properties": dict.fromkeys(("code", "coupon", "offer", "contact"), TEXT),
}
PROBLEMS = {
    "400": "The body is no JSON.",
    "401": "The token is missing or not good.",
    "403": "The token is not good for this.",
    "413": "The body, or the number of things in it, is too large.",
    "422": "Nothing of it could be taken.",
    "429": "Too many requests; `Retry-After` says for how long.",
}
IDEMPOTENCY: Part = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
    "description": "A repeat within a day gets the same answer, and nothing is done again.",
}


def _taking(
    summary: str,
    scope: str,
    schema: Part | None,
    answer: str,
    more: dict[str, str] | None = None,
) -> Part:
    problems = {
        status: _json(_ref("Error"), said)
        for status, said in {**PROBLEMS, **(more or {})}.items()
    }
    if answer == "Report":
        either = {"anyOf": [_ref("Report"), _ref("Error")]}
        problems["422"] = _json(either, PROBLEMS["422"])
    made: Part = {
        "summary": summary,
        "description": f"Needs a token with the scope `{scope}`.",
        "security": [{"token": []}],
        "parameters": [IDEMPOTENCY],
        "responses": {"200": _json(_ref(answer), "Done."), **problems},
    }
    if schema is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return made


def _one_or_many(name: str, key: str) -> Part:
    many = {
        "type": "array",
        "items": _ref(name),
        "maxItems": 1000,
    }
    return {
        "oneOf": [
            _ref(name),
            many,
            {
                "type": "object",
                "required": [key],
                "properties": {key: many},
            },
        ]
    }


CODE: Part = {
    "name": "code",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
}
REDEEM = _taking(
    "Redeem a code, once",
    "coupons",
    None,
    "Redeemed",
    {"409": "There is no such code, or it is good no more."},
)
REDEEM["parameters"] = [CODE, IDEMPOTENCY]
DESCRIPTION: Part = {
    "openapi": "3.1.0",
    "info": {
        "title": "drip",
        "version": __version__,
        "description": "What happens to contacts, as it happens.",
    },
    "paths": {
        "/api/events": {
            "post": _taking(
                "Events, single or many",
                "events",
                _one_or_many("Event", "events"),
                "Report",
            )
        },
        "/api/contacts": {
            "post": _taking(
                "Contacts, new or changed",
                "contacts",
                _one_or_many("Contact", "contacts"),
                "Report",
            )
        },
        "/api/coupons/{code}/redeem": {"post": REDEEM},
    },
    "components": {
        "schemas": {
            "Error": ERROR,
            "Report": REPORT,
            "Event": EVENT,
            "Contact": CONTACT,
            "Redeemed": REDEEMED,
        },
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}
