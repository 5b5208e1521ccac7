"""What other programs post: events and contacts, single or in batches, and codes that were redeemed.

A request that names itself (`Idempotency-Key`) is answered once; a repeat gets the same answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from drip.commands.orders import Order
from drip.commands.redeeming import redeem
from drip.errors import DripError
from drip.importing.batches import ImportReport
from drip.importing.importer import take_contacts, take_event_rows
from drip.importing.rows import table_of
from drip.storage.operating import api_keys
from drip.storage.operating.api_keys import ApiKey, StoredResponse
from drip.web.app_state import AppState, whose
from drip.web.openapi import DESCRIPTION

MOST = 1_000
NAME = re.compile(r"[!-~]{1,200}")
Work = Callable[[Connection, AppState, Any], tuple[int, dict[str, Any]]]


class RequestRefused(Exception):
    """A request that is not looked at: its status, a sentence and the remedy."""

    def __init__(self, status: int, sentence: str, help: str = "") -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.help = status, sentence, help

    def response(self) -> JSONResponse:
        payload = {"error": self.sentence} | ({"help": self.help} if self.help else {})
        more = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        more |= {"Retry-After": "60"} if self.status == 429 else {}
        return JSONResponse(payload, self.status, headers=more)


def taking(scope: str, work: Work) -> Callable[[Request], Awaitable[Response]]:
    """An address that takes JSON by POST from whoever has a token with this scope."""

    async def take(request: Request) -> Response:
        site: AppState = request.app.state.site
        try:
            key = await _key(site, request, scope)
            body = await request.body()
            data = _data(body) if body or "code" not in request.path_params else {}
            answer = await _answer(site, request, key, body, data, work)
        except RequestRefused as refused:
            return refused.response()
        return Response(answer.body, answer.status, media_type="application/json")

    return take


async def _key(site: AppState, request: Request, scope: str) -> ApiKey:
    """Whose token it is. Raises RequestRefused."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    known = (
        await site.read(lambda connection: api_keys.find(connection, token.strip()))
        if token
        else None
    )
    if kind.lower() != "bearer" or known is None:
        if not site.wrong_tokens.spend(whose(request)):
            raise RequestRefused(
                429,
                "There were too many wrong tokens from your address.",
                "try again in a minute",
            )
        raise RequestRefused(
            401,
            "The token is missing or not good.",
            "send `Authorization: Bearer …` with one of `drip keys add`",
        )
    if scope not in known.scopes:
        raise RequestRefused(
            403,
            f"This token is not good for {scope}.",
            f"make one with `drip keys add NAME --scope {scope}`",
        )
    if not site.requests.spend(known.name):
        raise RequestRefused(
            429,
            "There were too many requests with this token.",
            "send batches, and try again in a minute",
        )
    return known


def _data(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RequestRefused(400, "The body is not JSON.") from None


async def _answer(
    site: AppState, request: Request, key: ApiKey, body: bytes, data: Any, work: Work
) -> StoredResponse:
    """What is answered, now or when the same was asked before. Raises RequestRefused."""
    name = request.headers.get("idempotency-key")
    if name is not None and not NAME.fullmatch(name):
        raise RequestRefused(
            400, "The Idempotency-Key is not one of 1 to 200 plain characters."
        )
    asked = sha256(request.url.path.encode() + b"\0" + body).hexdigest()
    about = {"data": data, "scopes": key.scopes, "by": key.name}
    given = {**request.path_params, **about}

    def take(connection: Connection) -> StoredResponse:
        before = api_keys.answer_to(connection, key, name) if name else None
        if before:
            if before.digest != asked:
                raise RequestRefused(
                    422,
                    "This Idempotency-Key was used for another request.",
                    "give each request its own",
                )
            return before
        status, payload = work(connection, site, given)
        answer = StoredResponse(asked, status, json.dumps(payload, ensure_ascii=False))
        if name:
            now = site.clock()
            api_keys.forget_answers(connection, now - api_keys.REMEMBERED)
            api_keys.remember(connection, key, name, answer, now)
        return answer

    return await site.writer.do(take)


# --- what there is


def events(
    connection: Connection, site: AppState, given: Any
) -> tuple[int, dict[str, Any]]:
    """Events: of a contact each, now unless they say when."""
    now = site.clock().isoformat()
    items = [
        {"at": now, **item} if isinstance(item, dict) else item
        for item in _items(given["data"], "events")
    ]
    return _taken(take_event_rows, connection, site, items, given["scopes"])


def contacts(
    connection: Connection, site: AppState, given: Any
) -> tuple[int, dict[str, Any]]:
    """Contacts: new ones and changes, by key. What is not named stays."""

    def take(
        connection: Connection, settings: Any, table: Any, scopes: Any
    ) -> ImportReport:
        return take_contacts(connection, settings, table, "API", site.clock(), scopes)

    return _taken(
        take, connection, site, _items(given["data"], "contacts"), given["scopes"]
    )


def coupon(
    connection: Connection, site: AppState, given: Any
) -> tuple[int, dict[str, Any]]:
    """Redeems a code, once."""
    try:
        order = Order(given["by"], site.clock())
        done = redeem(connection, site.settings, order, given["code"])
    except DripError as error:
        raise RequestRefused(409, error.sentence, error.help or "") from None
    return 200, {
        "code": done.code,
        "coupon": done.coupon,
        "offer": done.offer,
        "contact": done.contact,
    }


def _items(data: Any, name: str) -> list[Any]:
    """One, a list, or a list under its name."""
    items = (
        data[name]
        if isinstance(data, dict) and isinstance(data.get(name), list)
        else data
    )
    items = items if isinstance(items, list) else [items]
    if len(items) > MOST:
        raise RequestRefused(
            413,
            f"There are {len(items):,} in one request, and {MOST:,} may be.",
            "send several",
        )
    return items


def _taken(
    take: Callable[..., ImportReport],
    connection: Connection,
    site: AppState,
    items: list[Any],
    scopes: frozenset[str],
) -> tuple[int, dict[str, Any]]:
    """What became of each: the good ones are stored, the others named by their place in the request."""
    try:
        report = take(connection, site.settings, table_of(items), scopes)
    except DripError as error:
        raise RequestRefused(
            422, error.sentence.replace("The file has", "None of them has"), ""
        ) from None
    rejected = [{"index": row.line, "reason": why} for row, why in report.rejected]
    payload: dict[str, Any] = {
        "new": report.new,
        "changed": report.changed,
        "same": report.same,
        "rejected": rejected,
    }
    if report.notes:
        payload["notes"] = report.notes
    return (422 if rejected and len(rejected) == len(items) else 200), payload


async def description(request: Request) -> Response:
    """OpenAPI 3.1."""
    return JSONResponse(DESCRIPTION)
