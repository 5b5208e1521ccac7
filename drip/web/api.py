"""What other programs post: events and contacts, single or in batches, and codes that
were redeemed.

A request that names itself (`Idempotency-Key`) is answered once; a repeat gets the same
answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
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
from drip.web.app_state import AppState, state_of, whose
from drip.web.openapi import DESCRIPTION

# Things in one request: they are stored in one transaction, which others wait for.
MOST = 1_000
# What a request may call itself: printable ASCII, which every program can send.
NAME = re.compile(r"[!-~]{1,200}")
# Its status, and what it says.
Answer = tuple[int, dict[str, Any]]
Work = Callable[[Connection, AppState, Any], Answer]
# RFC 9110: section 11.6.1 wants the first, section 10.2.3 has the second.
HEADERS_OF = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "60"},
}


class RequestRefused(Exception):
    """A request that is not looked at: its status, a sentence and the remedy."""

    def __init__(
        self,
        status: int,
        sentence: str,
        help: str = "",
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.help = help

    def response(self) -> JSONResponse:
        body = {"error": self.sentence}
        if self.help:
            body["help"] = self.help
        return JSONResponse(body, self.status, headers=HEADERS_OF.get(self.status))


def taking(scope: str, work: Work) -> Callable[[Request], Awaitable[Response]]:
    """An address that takes JSON by POST from whoever has a token with this scope."""

    async def take(request: Request) -> Response:
        state = state_of(request)
        try:
            key = await _key(state, request, scope)
            asked = await _asked(request)
            answer = await _answer(state, asked, key, work)
        except RequestRefused as refused:
            return refused.response()
        return Response(answer.body, answer.status, media_type="application/json")

    return take


# --- who asks


async def _key(
    state: AppState,
    request: Request,
    scope: str,
) -> ApiKey:
    """Whose token it is. Raises RequestRefused."""
    key = await _known_key(state, request)
    if key is None:
        raise _unknown(state, request)
    if scope not in key.scopes:
        raise RequestRefused(
            403,
            f"This token is not good for {scope}.",
            f"make one with `drip keys add NAME --scope {scope}`",
        )
    if not state.requests.spend(key.name):
        raise RequestRefused(
            429,
            "There were too many requests with this token.",
            "send batches, and try again in a minute",
        )
    return key


async def _known_key(state: AppState, request: Request) -> ApiKey | None:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        return None
    return await state.read(api_keys.find, token.strip())


def _unknown(state: AppState, request: Request) -> RequestRefused:
    if not state.wrong_tokens.spend(whose(request)):
        return RequestRefused(
            429,
            "There were too many wrong tokens from your address.",
            "try again in a minute",
        )
    return RequestRefused(
        401,
        "The token is missing or not good.",
        "send `Authorization: Bearer …` with one of `drip keys add`",
    )


# --- what is asked


@dataclass(frozen=True, slots=True)
class _ApiRequest:
    """`name` is what it calls itself; `digest` tells it from others of that name."""

    name: str | None
    digest: str
    given: Mapping[str, Any]


async def _asked(request: Request) -> _ApiRequest:
    """Raises RequestRefused."""
    body = await request.body()
    # A code in the address needs no body beside it.
    empty = not body and "code" in request.path_params
    data = {} if empty else _data(body)
    name = request.headers.get("idempotency-key")
    if name is not None and not NAME.fullmatch(name):
        raise RequestRefused(
            400, "The Idempotency-Key is not one of 1 to 200 plain characters."
        )
    digest = sha256(request.url.path.encode() + b"\0" + body).hexdigest()
    return _ApiRequest(name, digest, {**request.path_params, "data": data})


def _data(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RequestRefused(400, "The body is not JSON.") from None


# --- what is answered


async def _answer(
    state: AppState,
    asked: _ApiRequest,
    key: ApiKey,
    work: Work,
) -> StoredResponse:
    """What is answered, now or when the same was asked before. Raises
    RequestRefused."""

    def take(connection: Connection) -> StoredResponse:
        before = _answered_before(connection, key, asked)
        if before:
            return before
        given = {**asked.given, "scopes": key.scopes, "by": key.name}
        status, body = work(connection, state, given)
        text = json.dumps(body, ensure_ascii=False)
        answer = StoredResponse(asked.digest, status, text)
        if asked.name:
            now = state.clock()
            api_keys.forget_answers(connection, now - api_keys.REMEMBERED)
            api_keys.remember(connection, key, asked.name, answer, now)
        return answer

    return await state.writer.do(take)


def _answered_before(
    connection: Connection,
    key: ApiKey,
    asked: _ApiRequest,
) -> StoredResponse | None:
    """Raises RequestRefused if the name was another request's."""
    if not asked.name:
        return None
    before = api_keys.answer_to(connection, key, asked.name)
    if before and before.digest != asked.digest:
        raise RequestRefused(
            422,
            "This Idempotency-Key was used for another request.",
            "give each request its own",
        )
    return before


# --- what there is


def events(
    connection: Connection,
    state: AppState,
    given: Any,
) -> Answer:
    """Events: of a contact each, now unless they say when."""
    now = state.clock().isoformat()
    items = [
        {"at": now, **event} if isinstance(event, dict) else event
        for event in _items(given["data"], "events")
    ]
    return _imported(take_event_rows, connection, state, items, given["scopes"])


def contacts(
    connection: Connection,
    state: AppState,
    given: Any,
) -> Answer:
    """Contacts: new ones and changes, by key. What is not named stays."""

    def take(
        connection: Connection,
        settings: Any,
        table: Any,
        scopes: Any,
    ) -> ImportReport:
        now = state.clock()
        return take_contacts(connection, settings, table, "API", now, scopes)

    items = _items(given["data"], "contacts")
    return _imported(take, connection, state, items, given["scopes"])


def coupon(
    connection: Connection,
    state: AppState,
    given: Any,
) -> Answer:
    """Redeems a code, once."""
    try:
        order = Order(given["by"], state.clock())
        done = redeem(connection, state.settings, order, given["code"])
    except DripError as error:
        raise RequestRefused(409, error.sentence, error.help or "") from None
    return 200, {
        "code": done.code,
        "coupon": done.coupon,
        "offer": done.offer,
        "contact": done.contact,
    }


def _items(data: Any, name: str) -> list[Any]:
    """One, a list, or a list under its name. Raises RequestRefused."""
    named = data.get(name) if isinstance(data, dict) else None
    items = named if isinstance(named, list) else data
    if not isinstance(items, list):
        items = [items]
    if len(items) > MOST:
        raise RequestRefused(
            413,
            f"There are {len(items):,} in one request, and {MOST:,} may be.",
            "send several",
        )
    return items


def _imported(
    take: Callable[..., ImportReport],
    connection: Connection,
    state: AppState,
    items: list[Any],
    scopes: frozenset[str],
) -> Answer:
    """What became of each: the good ones are stored, the others named by their place in
    the request. Raises RequestRefused."""
    try:
        report = take(connection, state.settings, table_of(items), scopes)
    except DripError as error:
        sentence = error.sentence.replace("The file has", "None of them has")
        raise RequestRefused(422, sentence) from None
    all_rejected = bool(report.rejected) and len(report.rejected) == len(items)
    return 422 if all_rejected else 200, _report_row(report)


def _report_row(report: ImportReport) -> dict[str, Any]:
    row: dict[str, Any] = {
        "new": report.new,
        "changed": report.changed,
        "same": report.same,
        "rejected": [
            {"index": row.line, "reason": why} for row, why in report.rejected
        ],
    }
    if report.notes:
        row["notes"] = report.notes
    return row


async def description(request: Request) -> Response:
    """OpenAPI 3.1."""
    return JSONResponse(DESCRIPTION)
