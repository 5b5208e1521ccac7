"""What the database says of earlier messages, beside what the caps make of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from drip.core.caps import Cap, first_full, longest_memory
from drip.errors import Place
from drip.storage.base.database import Database
from drip.storage.base.opening import create_database
from drip.storage.base.schema import messages
from drip.storage.operating.daemons import LEASE
from drip.storage.sending import usage

NOW = datetime(
    2026, 11, 2, 15, 0, tzinfo=UTC
)  # the day after the clocks of New York were set back
SINCE = NOW - timedelta(days=33)
HERE = Place("campaigns/_settings.yaml", 1)
CAPS = st.builds(
    lambda limit, window, scope: Cap(
        scope, "news" if scope == "topic" else "all", limit, "", HERE, **window
    ),
    st.integers(0, 4),
    st.sampled_from(
        [
            {"days": 1},
            {"days": 7},
            {"days": 30},
            {"seconds": 3_600},
            {"seconds": 36 * 3_600},
        ]
    ),
    st.sampled_from(["all", "topic"]),
)
# Around the edges of the windows, a few minutes more or less.
AGO = st.builds(
    lambda hours, minutes: NOW - timedelta(hours=hours, minutes=minutes),
    st.sampled_from([-30, 0, 1, 20, 36, 7 * 24, 30 * 24]),
    st.integers(-15, 15),
)
SENT = st.builds(
    lambda sent, took, topic: {
        "state": "sent",
        "sent_at": sent,
        "settled_at": sent + timedelta(seconds=took),
        "topic": topic,
    },
    AGO,
    st.integers(0, 1_500),
    st.sampled_from(["news", "offers"]),
)
OTHERS = st.builds(
    lambda state, at, maybe, code: {
        "state": state,
        "granted_at": at,
        "sent_at": at if state != "pending" else None,
        "settled_at": at,
        "maybe_left_at": maybe,
        "code": code,
        "topic": "news",
    },
    st.sampled_from(["sent", "pending", "sending", "held", "failed", "deferred"]),
    AGO,
    st.none() | AGO,
    st.sampled_from([None, "unknown"]),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    made = create_database(
        tmp_path_factory.mktemp("usage") / "drip.db", NOW, durable=False
    )
    yield made
    made.close()


def stored(database: Database, told: list[dict[str, Any]]) -> None:
    """These are the messages of contact 1."""
    fixed = {
        "step": "send a",
        "campaign": "a",
        "contact_id": 1,
        "channel": "email",
        "counted": True,
        "priority": 0,
        "planned_at": NOW,
        "due_at": NOW,
        "attempts": 0,
        "granted_at": None,
        "maybe_left_at": None,
        "code": None,
    }
    with database.write() as connection:
        connection.execute(delete(messages))
        for n, each in enumerate(told):
            connection.execute(insert(messages), {**fixed, **each, "run_id": n})


@given(
    st.lists(st.one_of(SENT, SENT, SENT, OTHERS), max_size=6),
    st.lists(CAPS, min_size=1, max_size=3),
    st.sampled_from(
        ["UTC", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago"]
    ),
)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whoever_is_not_near_a_limit_has_no_cap_that_is_full(
    database: Database, told: list[dict[str, Any]], caps: list[Cap], where: str
) -> None:
    stored(database, told)
    limits = {
        NOW - longest_memory([cap]): cap.limit
        for cap in sorted(caps, key=lambda cap: -cap.limit)
    }
    with database.read() as connection:
        near = usage.near_a_limit(connection, [1], SINCE, limits)
        uses = usage.uses_of(connection, [1], SINCE, NOW).get(1, [])
    full = first_full([cap for cap in caps if cap.limit], uses, NOW, ZoneInfo(where))
    assert full is None or near == [1]


def test_whoever_has_had_little_is_not_near_a_limit(database: Database) -> None:
    sent = [
        {
            "state": "sent",
            "sent_at": NOW - timedelta(days=n),
            "settled_at": NOW - timedelta(days=n),
        }
        for n in (4, 6)
    ]
    stored(database, sent)
    with database.read() as connection:
        of_week = {NOW - timedelta(days=9): 3}
        assert usage.near_a_limit(connection, [1], SINCE, of_week) == []
        assert usage.near_a_limit(
            connection, [1], SINCE, of_week | {NOW - timedelta(days=5): 1}
        ) == [1]
        assert usage.near_a_limit(connection, [1], SINCE, {}) == []


def test_what_left_as_late_as_its_daemon_s_lease_allowed_is_near(
    database: Database,
) -> None:
    hours, began = timedelta(hours=36), NOW - timedelta(hours=36) - LEASE / 2
    stored(database, [{"state": "sent", "sent_at": began, "settled_at": began + LEASE}])
    with database.read() as connection:
        assert usage.near_a_limit(connection, [1], SINCE, {NOW - hours: 1}) == [1]


def test_what_may_have_left_at_the_edge_of_the_longest_window_is_looked_at(
    database: Database,
) -> None:
    since = NOW - timedelta(hours=1000)
    stored(
        database,
        [
            {
                "state": "sent",
                "sent_at": since - LEASE / 2,
                "settled_at": since + LEASE / 2,
            }
        ],
    )
    with database.read() as connection:
        assert usage.near_a_limit(connection, [1], since, {since: 1}) == [1]
        assert len(usage.uses_of(connection, [1], since, NOW)[1]) == 1
