"""What an operator does: looks how the house is, stops everything, settles held messages and tasks."""

from __future__ import annotations

from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from drip.engine.health import ALARM_SPAN, BACK_SPAN, SILENT
from drip.engine.health import health as health_of
from drip.importing.settling import settle_task
from drip.storage.campaigns import tasks as store
from drip.storage.operating import holds
from drip.storage.people import contacts
from drip.storage.sending import outbox
from drip.web.dashboard.state import back, dashboard_of

MOST = 200
# What an operator says of a held message, and the state it has then.
SETTLED = {"sent": "sent", "again": "deferred", "dropped": "failed"}


async def health(request: Request) -> Response:
    """Heartbeat, queues and their age, what came back, alarms, what is held. 503 if the daemon, or what this server does again
    and again, has not gone well for long."""
    dashboard = dashboard_of(request)
    state = dashboard.state
    found = await run_sync(partial(health_of, state.database, state.clock()))
    troubles = state.troubles()
    if found.silent:
        troubles.append(
            f"The daemon has not beaten for {SILENT.total_seconds() / 60:.0f} minutes."
        )
    values = {
        "troubles": troubles,
        "daemon": found.daemon,
        "running": found.running,
        "silent": found.silent,
        "stopped": found.stopped,
        "holds": [
            {"scope": scope, "at": each.at, "reason": each.reason}
            for scope, each in found.holds.items()
            if scope != holds.EVERYTHING
        ],
        "alarms": found.alarms,
        "alarm_span": ALARM_SPAN,
        "back_days": BACK_SPAN.days,
        "queues": [
            {"channel": each.channel, "count": each.count, "oldest": each.oldest}
            for each in found.queues
        ],
        "left_alone": [
            {
                "channel": each.channel,
                "domain": each.domain,
                "until": each.until,
                "reason": each.reason,
            }
            for each in found.left_alone
        ],
        "doubted": [
            {"channel": each.channel, "server": each.server, "messages": each.messages}
            for each in found.doubted
        ],
        "back": [
            {"kind": kind, "class": meaning, "messages": count}
            for kind, meaning, count in found.back
        ],
        "messages": {
            state: found.waiting(state)
            for state in (
                "pending",
                "deferred",
                "sending",
                "held",
                "sent",
                "skipped",
                "failed",
            )
        },
    }
    return await dashboard.show(
        request, "health.html", values, 503 if troubles else 200
    )


async def stop(request: Request) -> Response:
    """Stops everything within a beat of the daemon, or lets everything go on."""
    dashboard = dashboard_of(request)
    now, off = dashboard.state.clock(), request.state.form.get("do") == "go-on"

    def work(connection: Connection) -> None:
        if off:
            holds.let_go(connection, holds.EVERYTHING)
            outbox.wake_paused(connection, None, now)
        else:
            holds.hold(connection, holds.EVERYTHING, now)

    await dashboard.state.writer.do(work)
    return back(request, "/health")


async def tasks(request: Request) -> Response:
    """Work for people: the most urgent first. POST settles one."""
    dashboard = dashboard_of(request)
    wrong = None
    if request.method == "POST":
        form, settings, now = (
            request.state.form,
            dashboard.state.settings,
            dashboard.state.clock(),
        )
        number, state = form.get("task", ""), form.get("do", "")
        outcome = form.get("outcome", "").strip()[:1000] or None
        if not (
            number.isdecimal() and len(number) < 10 and state in ("done", "dropped")
        ):
            wrong = "That is no task that is done or dropped."
        else:
            wrong = await dashboard.state.writer.do(
                lambda connection: settle_task(
                    connection, settings, int(number), state, outcome, now
                )
            )
        if wrong is None:
            return back(request, "/tasks")
    whose = request.query_params.get("assign_to") or None
    found = await dashboard.state.read(
        lambda connection: store.listed(connection, ("open",), whose)
    )
    every = await dashboard.state.read(
        lambda connection: store.listed(connection, ("open",))
    )
    values = {
        "tasks": found[:MOST],
        "count": len(found),
        "assign_to": whose,
        "desks": sorted({each.assign_to for each in every}),
        "wrong": wrong,
    }
    return await dashboard.show(request, "tasks.html", values, 422 if wrong else 200)


async def held(request: Request) -> Response:
    """Messages of which it is not known whether they left, or that could not be rendered. POST settles some."""
    dashboard = dashboard_of(request)
    if request.method == "POST":
        form, now = request.state.form, dashboard.state.clock()
        state, number = SETTLED.get(form.get("do", "")), form.get("message", "")

        def work(connection: Connection) -> int:
            known = {each.id for each in outbox.held(connection)}
            chosen = (
                known
                if number == "all"
                else known & {int(number) if number.isdecimal() else 0}
            )
            return outbox.release(connection, chosen, state, now) if state else 0

        await dashboard.state.writer.do(work)
        return back(request, "/held")

    def look(connection: Connection) -> dict[str, Any]:
        found = outbox.held(connection)
        keys = contacts.contacts_by_id(
            connection, {each.contact_id for each in found[:MOST]}
        )
        rows = [
            {
                "message": each.id,
                "contact": keys[each.contact_id].key,
                "campaign": each.campaign,
                "step": each.step,
                "channel": each.channel,
                "code": each.code,
                "sentence": each.sentence,
            }
            for each in found[:MOST]
        ]
        return {"held": rows, "count": len(found)}

    return await dashboard.show(request, "held.html", await dashboard.state.read(look))
