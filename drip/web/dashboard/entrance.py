"""Who may come in: a login with a password, a session in a cookie, a token against
forged forms; programs by a key."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from urllib.parse import quote, unquote, urlsplit

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)

from drip.storage.operating import api_keys, operators
from drip.storage.operating.operators import Operator
from drip.web.app_state import address_of_reader, digest, form_of, whose
from drip.web.dashboard import tries
from drip.web.dashboard.passwords import LONGEST, fits
from drip.web.dashboard.state import DashboardState, dashboard_of, wants_json
from drip.web.dashboard.tries import cookie_for, known_browser

COOKIE = "drip_session"
LASTS = timedelta(hours=12)
SCOPE = "dashboard"
# Letters of a name that the log has.
SHOWN = 60
log = logging.getLogger("drip.web")
Page = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is logged in. `csrf` is in every form of theirs, and known to nobody
    else."""

    operator: Operator
    csrf: str


def staff(page: Page) -> Page:
    """A page for those who are logged in, and for programs with a key for the
    dashboard, who only look."""

    async def answer(request: Request) -> Response:
        dashboard = dashboard_of(request)
        if "\0" in unquote(str(request.url)):
            # No database holds it.
            return PlainTextResponse("There is no such page.\n", 404)
        # Anything else is for the web server before us.
        if request.headers.get("authorization", "").lower().startswith("bearer"):
            refused = await _program(dashboard, request)
            return refused or await page(request)
        session = await session_of(dashboard, request)
        if session is None:
            return _log_in_first(request)
        if request.method == "POST":
            form = dict(await form_of(request))
            if not _is_ours(request) or not hmac.compare_digest(
                form.get("csrf", "").encode(), session.csrf.encode()
            ):
                return _forged(request)
            request.state.form = form
        request.state.session = session
        return await page(request)

    return answer


async def session_of(dashboard: DashboardState, request: Request) -> Session | None:
    """Whose browser this is."""
    token = request.cookies.get(COOKIE, "")
    if not token or len(token) > 100:
        return None
    now = dashboard.state.clock()
    found = await dashboard.state.read(
        lambda connection: operators.logged_in(connection, token, now)
    )
    return Session(found, _csrf(token)) if found else None


async def log_in(request: Request) -> Response:
    """GET asks, POST looks. The answer is the same, and as slow, for a wrong name and a
    wrong password.

    The log has whom it was tried as, cut and with its control characters escaped, and
    from where.
    """
    dashboard, to = (
        dashboard_of(request),
        _own_path(request.query_params.get("next", "/")),
    )
    if request.method != "POST":
        return await _form(dashboard, to)
    if not _is_ours(request):
        return _forged(request)
    form = dict(await form_of(request))
    name, password = form.get("name", "")[:200], form.get("password", "")[: LONGEST + 1]
    to = _own_path(form.get("next", "/"))
    known = await dashboard.state.read(
        lambda connection: operators.find(connection, name)
    )
    browser, who = (
        known_browser(known, request.cookies.get(tries.COOKIE, "")),
        (name[:SHOWN], address_of_reader(request)),
    )
    if not dashboard.tries.may(name, whose(request), browser):
        if dashboard.tries.tell():
            log.warning(
                "Too many logins: as %r from %s none is tried.",
                *who,
                extra={"action": "login-refused"},
            )
        return await _form(dashboard, to, "Too many tries. Wait a minute.", 429)
    fitting = await run_sync(
        fits, known.password if known else None, password, limiter=dashboard.state.few
    )
    if known is None or not fitting:
        log.warning(
            "A login as %r from %s failed.", *who, extra={"action": "login-failed"}
        )
        return await _form(
            dashboard, to, "That name and that password do not belong together.", 403
        )
    token, now = secrets.token_urlsafe(32), dashboard.state.clock()
    await dashboard.state.writer.do(
        lambda connection: operators.log_in(connection, known, token, now + LASTS, now)
    )
    log.info("Operator %r has logged in from %s.", *who, extra={"action": "logged-in"})
    answer = RedirectResponse(to, 303)
    for cookie, value, lasts_s in (
        (COOKIE, token, int(LASTS.total_seconds())),
        (tries.COOKIE, cookie_for(known), tries.LASTS_S),
    ):
        answer.set_cookie(
            cookie,
            value,
            max_age=lasts_s,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    return answer


async def log_out(request: Request) -> Response:
    """The session is over, here and for whoever copied the cookie."""
    token = request.cookies.get(COOKIE, "")
    await dashboard_of(request).state.writer.do(
        lambda connection: operators.log_out(connection, token)
    )
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


async def _form(
    dashboard: DashboardState, to: str, wrong: str | None = None, status: int = 200
) -> Response:
    anybody = await dashboard.state.read(operators.listed)
    values = {
        "business": dashboard.state.settings.business_name,
        "next": to,
        "wrong": wrong,
        "anybody": bool(anybody),
        "style": f"/static/dashboard.css?{digest(dashboard.style)}",
    }
    return HTMLResponse(
        dashboard.pages.get_template("login.html").render(values), status
    )


async def _program(dashboard: DashboardState, request: Request) -> Response | None:
    """Why a program may not look, if so."""
    state = dashboard.state
    kind, _, token = request.headers["authorization"].partition(" ")
    known = await state.read(
        lambda connection: api_keys.find(connection, token.strip())
    )
    if kind.lower() != "bearer" or known is None or SCOPE not in known.scopes:
        status = 401 if state.wrong_tokens.spend(whose(request)) else 429
        help = f"make a key with `drip keys add NAME --scope {SCOPE}`"
        return JSONResponse(
            {"error": "This token is not good for the dashboard.", "help": help}, status
        )
    if request.method != "GET":
        return JSONResponse(
            {"error": "Programs only look.", "help": "the command line changes things"},
            403,
        )
    if not state.requests.spend(known.name):
        return JSONResponse(
            {"error": "There were too many requests with this token."}, 429
        )
    request.scope["query_string"] += b"&format=json"
    return None


def _log_in_first(request: Request) -> Response:
    if wants_json(request):
        return JSONResponse(
            {
                "error": "Nobody is logged in.",
                "help": "send a token of `drip keys add`",
            },
            401,
        )
    if request.method == "GET" and "hx-request" not in request.headers:
        to = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(to, safe='')}", 303)
    # What a page asks for by itself leads there as a whole.
    return HTMLResponse("Log in again.\n", 401, headers={"HX-Redirect": "/login"})


def _forged(request: Request) -> Response:
    log.warning("A form came from elsewhere.", extra={"action": "forged-form"})
    said = "This form did not come from the dashboard, or is too old. Go back, load the page again, and try once more."
    return (
        JSONResponse({"error": said}, 403)
        if wants_json(request)
        else HTMLResponse(f"<p>{said}</p>\n", 403)
    )


def _is_ours(request: Request) -> bool:
    """Whether a browser sent this from a page of ours (Fetch Metadata; else RFC
    6454)."""
    sent_from = request.headers.get("sec-fetch-site")
    if sent_from is not None:
        return sent_from in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or _netloc(origin) == request.headers.get("host", "")


def _csrf(token: str) -> str:
    """Nobody who does not have the cookie can tell it."""
    return hmac.new(token.encode(), b"csrf", sha256).hexdigest()


def _own_path(asked: str) -> str:
    """Where to go on: a path here, never another site."""
    here = (
        asked.startswith("/")
        and not asked.startswith(("//", "/\\"))
        and not _netloc(asked)
        and asked.isprintable()
    )
    return asked if here and "\\" not in asked else "/"


def _netloc(address: str) -> str | None:
    """Host and port of an address; None for what is none."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return None
