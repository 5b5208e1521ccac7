"""Who may come in: a login with a password, a session in a cookie, a token against
forged forms; programs by a key."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
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
from drip.web.app_state import AppState, address_of_reader, digest, form_of, whose
from drip.web.dashboard import tries
from drip.web.dashboard.passwords import LONGEST, fits
from drip.web.dashboard.state import DashboardState, dashboard_of, wants_json
from drip.web.dashboard.tries import cookie_for, known_browser

COOKIE = "drip_session"
# A working day: whoever leaves a browser open does not leave it open for ever.
LASTS = timedelta(hours=12)
SCOPE = "dashboard"
# Letters of a name that the log has: it is whatever a stranger types.
SHOWN = 60
FORGED = (
    "This form did not come from the dashboard, or is too old. Go back, load the page "
    "again, and try once more."
)
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
        else:
            refused = await _person(dashboard, request)
        return refused or await page(request)

    return answer


async def _person(dashboard: DashboardState, request: Request) -> Response | None:
    """Why a person may not come in, if so. A page finds `session` and `form` in the
    request's state."""
    session = await session_of(dashboard, request)
    if session is None:
        return _log_in_first(request)
    request.state.session = session
    return await _take_form(request, session) if request.method == "POST" else None


async def _take_form(request: Request, session: Session) -> Response | None:
    """Why a form is not taken, if so."""
    form = dict(await form_of(request))
    csrf = form.get("csrf", "")
    # As bytes: of texts `compare_digest` takes ASCII alone, and raises TypeError.
    same = hmac.compare_digest(csrf.encode(), session.csrf.encode())
    if not same or not _is_ours(request):
        return _forged(request)
    request.state.form = form
    return None


async def session_of(dashboard: DashboardState, request: Request) -> Session | None:
    """Whose browser this is: None for a cookie that we have not given out, or whose
    session is over."""
    token = request.cookies.get(COOKIE, "")
    # Ours have 43 characters: a longer one is not worth a question of the database.
    if not token or len(token) > 100:
        return None
    now = dashboard.state.clock()
    operator = await dashboard.state.read(operators.logged_in, token, now)
    return Session(operator, _csrf(token)) if operator else None


async def log_in(request: Request) -> Response:
    """GET asks, POST looks. The answer is the same, and as slow, for a wrong name and a
    wrong password.

    The log has whom it was tried as, cut and with its control characters escaped, and
    from where.
    """
    dashboard = dashboard_of(request)
    if request.method != "POST":
        to = _own_path(request.query_params.get("next", "/"))
        return await _form(dashboard, to)
    if not _is_ours(request):
        return _forged(request)
    attempt = _LoginAttempt.of(dict(await form_of(request)), address_of_reader(request))
    known = await dashboard.state.read(operators.find, attempt.name)
    browser = known_browser(known, request.cookies.get(tries.COOKIE, ""))
    if not dashboard.tries.may(attempt.name, whose(request), browser):
        return await _too_many(dashboard, attempt)
    fitting = await run_sync(
        fits,
        known.password if known else None,
        attempt.password,
        limiter=dashboard.state.few,
    )
    if known is None or not fitting:
        return await _wrong(dashboard, attempt)
    return await _let_in(dashboard, request, known, attempt)


@dataclass(frozen=True, slots=True)
class _LoginAttempt:
    """A try to log in: as whom, from where, and which page to go on to."""

    name: str
    password: str
    address: str
    to: str

    @classmethod
    def of(cls, form: Mapping[str, str], address: str) -> _LoginAttempt:
        """Cut: a password without end would take long to try."""
        name = form.get("name", "")[:200]
        # One more than a password may have: cut to that, a longer one would fit.
        password = form.get("password", "")[: LONGEST + 1]
        return cls(name, password, address, _own_path(form.get("next", "/")))

    @property
    def who(self) -> tuple[str, str]:
        """As the log has it."""
        return self.name[:SHOWN], self.address


async def _too_many(dashboard: DashboardState, attempt: _LoginAttempt) -> Response:
    if dashboard.tries.may_be_said():
        log.warning(
            "Too many logins: as %r from %s none is tried.",
            *attempt.who,
            extra={"action": "login-refused"},
        )
    sentence = "Too many tries. Wait a minute."
    return await _form(dashboard, attempt.to, sentence, 429)


async def _wrong(dashboard: DashboardState, attempt: _LoginAttempt) -> Response:
    log.warning(
        "A login as %r from %s failed.", *attempt.who, extra={"action": "login-failed"}
    )
    sentence = "That name and that password do not belong together."
    return await _form(dashboard, attempt.to, sentence, 403)


async def _let_in(
    dashboard: DashboardState,
    request: Request,
    operator: Operator,
    attempt: _LoginAttempt,
) -> Response:
    # 256 bits. Whoever guesses a session's name is in, so at least 64 are asked for
    # (OWASP, Session Management Cheat Sheet, "Session ID Entropy").
    token = secrets.token_urlsafe(32)
    now = dashboard.state.clock()
    await dashboard.state.writer.do(operators.log_in, operator, token, now + LASTS, now)
    log.info(
        "Operator %r has logged in from %s.",
        *attempt.who,
        extra={"action": "logged-in"},
    )
    answer = RedirectResponse(attempt.to, 303)
    _set_cookie(request, answer, COOKIE, token, int(LASTS.total_seconds()))
    _set_cookie(request, answer, tries.COOKIE, cookie_for(operator), tries.LASTS_S)
    return answer


def _set_cookie(
    request: Request,
    answer: Response,
    name: str,
    value: str,
    lasts_s: int,
) -> None:
    """No script reads it, and no other site has it sent."""
    answer.set_cookie(
        name,
        value,
        max_age=lasts_s,
        httponly=True,
        samesite="strict",
        # Browsers drop such a cookie where there is no TLS (RFC 6265bis), and nobody
        # could log in there.
        secure=request.url.scheme == "https",
    )


async def log_out(request: Request) -> Response:
    """The session is over, here and for whoever copied the cookie."""
    token = request.cookies.get(COOKIE, "")
    await dashboard_of(request).state.writer.do(operators.log_out, token)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


async def _form(
    dashboard: DashboardState,
    to: str,
    wrong: str | None = None,
    status: int = 200,
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
    key = await state.read(api_keys.find, token.strip())
    if kind.lower() != "bearer" or key is None or SCOPE not in key.scopes:
        return _wrong_token(state, request)
    # An order stands in the records under an operator's name, and a key is nobody.
    if request.method != "GET":
        return _refusal(403, "Programs only look.", "the command line changes things")
    if not state.requests.spend(key.name):
        return _refusal(429, "There were too many requests with this token.")
    # A program that accepts anything would get pages for people else.
    request.scope["query_string"] += b"&format=json"
    return None


def _wrong_token(state: AppState, request: Request) -> Response:
    return _refusal(
        401 if state.wrong_tokens.spend(whose(request)) else 429,
        "This token is not good for the dashboard.",
        f"make a key with `drip keys add NAME --scope {SCOPE}`",
    )


def _refusal(
    status: int,
    error: str,
    help: str | None = None,
) -> Response:
    return JSONResponse(
        {"error": error, "help": help} if help else {"error": error}, status
    )


def _log_in_first(request: Request) -> Response:
    if wants_json(request):
        help = "send a token of `drip keys add`"
        return _refusal(401, "Nobody is logged in.", help)
    if request.method == "GET" and "hx-request" not in request.headers:
        query = f"?{request.url.query}" if request.url.query else ""
        to = quote(request.url.path + query, safe="")
        return RedirectResponse(f"/login?next={to}", 303)
    # What a page asks for by itself leads there as a whole.
    return HTMLResponse("Log in again.\n", 401, headers={"HX-Redirect": "/login"})


def _forged(request: Request) -> Response:
    log.warning("A form came from elsewhere.", extra={"action": "forged-form"})
    if wants_json(request):
        return _refusal(403, FORGED)
    return HTMLResponse(f"<p>{FORGED}</p>\n", 403)


def _is_ours(request: Request) -> bool:
    """Whether a browser sent this from a page of ours (Fetch Metadata; else RFC
    6454)."""
    sent_from = request.headers.get("sec-fetch-site")
    if sent_from is not None:
        return sent_from in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or _netloc(origin) == request.headers.get("host", "")


def _csrf(token: str) -> str:
    """Nobody who does not have the cookie can tell it: another site can have the cookie
    sent, and cannot read it."""
    return hmac.new(token.encode(), b"csrf", sha256).hexdigest()


def _own_path(asked: str) -> str:
    """Where to go on: a path here, never another site (CWE-601: a link to our login
    would lead wherever a stranger likes)."""
    # Browsers take a backslash for a slash (URL standard, "relative slash state").
    elsewhere = asked.startswith("//") or "\\" in asked or _netloc(asked)
    if asked.startswith("/") and not elsewhere and asked.isprintable():
        return asked
    return "/"


def _netloc(address: str) -> str | None:
    """Host and port of an address; None for what is none."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return None
