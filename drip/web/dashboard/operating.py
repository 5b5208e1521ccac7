"""What an operator does: looks how the house is, stops everything, settles held
messages and tasks."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from anyio.to_thread import run_sync
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from drip.commands import holding
from drip.commands.orders import Order
from drip.commands.releasing import SETTLEMENTS, Settlement, release
from drip.commands.settling import TASK_ENDS, TaskEnd, settle_task
from drip.engine.health import ALARM_SPAN, BACK_SPAN, SILENT, Health
from drip.engine.health import health as health_of
from drip.errors import DripError
from drip.storage.campaigns import tasks as store
from drip.storage.operating import audit
from drip.storage.operating import holds as hold_store
from drip.storage.people import contacts
from drip.storage.sending import outbox
from drip.web.dashboard.holds import hold_values
from drip.web.dashboard.ordering import order_of
from drip.web.dashboard.state import back, dashboard_of

MOST = 200
# In characters, of what came of a task.
LONGEST_OUTCOME = 1_000
# How many orders the page of health shows, the newest first.
ORDERS = 20
STATES = ("pending", "deferred", "sending", "held", "sent", "skipped", "failed")


async def health(request: Request) -> Response:
    """Heartbeat, queues and their age, what came back, alarms, what is held and who
    ordered what. 503 if the daemon, or what this server does again and again, has not
    gone well for long."""
    dashboard = dashboard_of(request)
    state = dashboard.state
    found = await run_sync(partial(health_of, state.database, state.clock()))
    orders = await state.read(partial(audit.newest, count=ORDERS))
    holders = await state.read(audit.holders)
    troubles = state.troubles()
    if found.silent:
        minutes = SILENT.total_seconds() / 60
        troubles.append(f"The daemon has not beaten for {minutes:.0f} minutes.")
    values = {
        "troubles": troubles,
        **_values(found),
        "holds": [
            {"scope": scope, **hold_values(hold, holders.get(scope))}
            for scope, hold in found.holds.items()
            if scope != hold_store.EVERYTHING
        ],
        "orders": [order._asdict() for order in orders],
    }
    # By the status alone, so that a monitor needs to read no page.
    return await dashboard.show(
        request, "health.html", values, 503 if troubles else 200
    )


def _values(found: Health) -> dict[str, Any]:
    return {
        "daemon": found.daemon,
        "running": found.running,
        "silent": found.silent,
        "stopped": found.stopped,
        "alarms": found.alarms,
        "alarm_span": ALARM_SPAN,
        "back_days": BACK_SPAN.days,
        "queues": found.queues,
        "left_alone": found.left_alone,
        "doubted": found.doubted,
        "back": [
            {"kind": kind, "class": meaning, "messages": count}
            for kind, meaning, count in found.back
        ],
        "messages": {state: found.waiting(state) for state in STATES},
    }


async def stop(request: Request) -> Response:
    """Stops everything within a beat of the daemon, or lets everything go on."""
    order, off = order_of(request), request.state.form.get("do") == "go-on"

    def work(connection: Connection) -> None:
        if off:
            holding.go_on(connection, order)
        else:
            holding.stop(connection, order)

    await dashboard_of(request).state.writer.do(work)
    return back(request, "/health")


async def tasks(request: Request) -> Response:
    """Work for people: the most urgent first. POST settles one."""
    dashboard, wrong = dashboard_of(request), None
    if request.method == "POST":
        wrong = await _settled(request)
        if wrong is None:
            return back(request, "/tasks")
    whose = request.query_params.get("assign_to") or None

    def look(connection: Connection) -> dict[str, Any]:
        found = store.listed(connection, ("open",), whose)
        every = store.listed(connection, ("open",))
        return {
            "tasks": found[:MOST],
            "count": len(found),
            "assign_to": whose,
            "desks": sorted({task.assign_to for task in every}),
            "wrong": wrong,
        }

    values = await dashboard.state.read(look)
    return await dashboard.show(request, "tasks.html", values, 422 if wrong else 200)


async def _settled(request: Request) -> str | None:
    """Settles a task; what is wrong, if anything is."""
    state, form, order = (
        dashboard_of(request).state,
        request.state.form,
        order_of(request),
    )
    number, end = form.get("task", ""), form.get("do", "")
    outcome = form.get("outcome", "").strip()[:LONGEST_OUTCOME] or None
    # A number of more bits than a column has is an error there, and no unknown task.
    if not (number.isdecimal() and len(number) < 10 and end in TASK_ENDS):
        return "That is no task that is done or dropped."
    ended, settings = cast(TaskEnd, end), state.settings
    try:
        await state.writer.do(
            lambda connection: settle_task(
                connection, settings, order, int(number), ended, outcome
            )
        )
    except DripError as error:
        return error.sentence
    return None


async def held(request: Request) -> Response:
    """Messages of which it is not known whether they left, or that could not be
    rendered. POST settles some."""
    dashboard = dashboard_of(request)
    if request.method == "POST":
        form = request.state.form
        settlement, number = form.get("do", ""), form.get("message", "")
        if settlement in SETTLEMENTS:
            order = order_of(request)
            work = partial(_release, order, number, cast(Settlement, settlement))
            await dashboard.state.writer.do(work)
        return back(request, "/held")
    return await dashboard.show(request, "held.html", await dashboard.state.read(_held))


def _release(
    order: Order, number: str, settlement: Settlement, connection: Connection
) -> None:
    """Settles one message, or `all`. One that somebody else has settled meanwhile stays
    as it is."""
    waiting = {message.id for message in outbox.held(connection)}
    if number == "all":
        release(connection, order, None, settlement)
    elif number.isdecimal() and int(number) in waiting:
        release(connection, order, [int(number)], settlement)


def _held(connection: Connection) -> dict[str, Any]:
    found = outbox.held(connection)
    shown = found[:MOST]
    whose = contacts.contacts_by_id(
        connection, {message.contact_id for message in shown}
    )
    rows = [
        {
            "message": message.id,
            "contact": whose[message.contact_id].key,
            "campaign": message.campaign,
            "step": message.step,
            "channel": message.channel,
            "code": message.code,
            "sentence": message.sentence,
        }
        for message in shown
    ]
    return {"held": rows, "count": len(found)}
