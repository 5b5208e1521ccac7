"""drip against real mail servers: everybody gets one message, whatever a server does in the middle; what comes back is understood."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.mailservers.bounces import BOUNCING, bounces
from tests.mailservers.debian import Debian
from tests.mailservers.matrix import SITUATIONS, Situation, run
from tests.mailservers.server import MailServer, Missing, cache, servers
from tests.servers import missing

# Two that take all that a client may write, and four that do not take more than one message at a time.
NAMES = ("Postfix", "Exim", "Courier", "chasquid", "Dovecot submission", "Haraka")
CHOSEN = [server for server in servers() if server.name in NAMES]
PLAIN = [server for server in CHOSEN if "none" in server.securities]
EACH = 30

pytestmark = pytest.mark.slow
Result = TypeVar("Result")


def where_it_can_run(server: MailServer, act: Callable[[], Result]) -> Result:
    """Done with the server fetched; where it cannot be had or run the test skips, or fails where it is meant to run."""
    try:
        if why := server.missing():
            raise Missing(why)
        server.prepare(cache())
        return act()
    except Missing as why_not:
        missing(str(why_not))


def test_these_servers_are_in_the_bench() -> None:
    assert {server.name for server in CHOSEN} == set(NAMES)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("server", CHOSEN, ids=lambda server: server.name)
def test_letters_and_receipts_arrive_once_over_tls(
    server: MailServer, situation: Situation, tmp_path: Path
) -> None:
    found = where_it_can_run(
        server, lambda: run(server, cache(), tmp_path, "starttls", situation, EACH)
    )
    assert found.good, found


@pytest.mark.parametrize("server", PLAIN, ids=lambda server: server.name)
def test_letters_and_receipts_arrive_once_without_encryption(
    server: MailServer, tmp_path: Path
) -> None:
    found = where_it_can_run(
        server, lambda: run(server, cache(), tmp_path, "none", "straight on", EACH)
    )
    assert found.good, found


@pytest.mark.parametrize("server", BOUNCING, ids=lambda server: server.name)
def test_what_a_server_sends_back_gives_up_dead_addresses_alone(
    server: Debian, tmp_path: Path
) -> None:
    came = where_it_can_run(server, lambda: bounces(server, cache(), tmp_path))
    assert [each for each in came if not each.good] == []
