"""Templates that take too long or too much memory where pages show them: they freeze nobody, and nothing of them is left."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from drip.storage.operating import operators
from drip.worker.worker import GB, MESSAGES, TIMELINES, Limits
from tests.cli import command, environment
from tests.test_dashboard import CAMPAIGNS, NOW, SETTINGS, as_json, kept, log_in
from tests.test_serve import port_of
from tests.web import Pages, pages, served_dashboard
from tests.world import World

Worlds = Callable[..., World]


def long(times: int) -> str:
    """As much as one may be made of, 2,200 times, takes seconds to be compiled, and a hundred megabytes."""
    some = (
        f"{{% if a %}}{{% set a{each},b{each},c{each},d{each}=1 %}}{{% endif %}}"
        for each in range(times)
    )
    return "---\nsubject: Long\n---\n" + "".join(some)


LONG = long(2_200)
SHORT = "---\nsubject: Short\n---\nHello {{ contact.first_name }}\n"
LETTER, PROMO = (
    f"campaign={name}&step=send+{name}&contact=ana" for name in ("letter", "promo")
)
SOON = Limits(answer_s=1.0)
# What another page may take where everything else wants the processors too: 0.1 s by itself.
STILL_S = 4.0


def shop(world: Worlds) -> World:
    made = world(CAMPAIGNS, settings=SETTINGS)
    made.contacts(
        "key,email,first_name,news",
        "ana,ana@example.com,Ana,yes",
        "ben,ben@example.com,Ben,yes",
    )
    made.run("2026-11-25 09:00", "2026-11-26 15:00")
    with made.database.write() as connection:
        operators.add(connection, "ana", kept(), NOW)
    return made


@contextlib.contextmanager
def dashboard(
    world: World, messages: Limits = MESSAGES, timelines: Limits = TIMELINES
) -> Iterator[Pages]:
    """Its dashboard, somebody logged in."""
    with served_dashboard(world, NOW, messages, timelines) as served:
        assert log_in(served).status_code == 303
        yield served


def asked(served: Pages, query: str) -> tuple[str, float]:
    """What the live preview says, or the subject that it shows; and the seconds that this took."""
    began = time.monotonic()
    with httpx.Client(
        base_url=served.url, cookies=served.client.cookies, timeout=90
    ) as client:
        answer = client.get(
            f"/live/message?{query}", headers={"Accept": "application/json"}
        )
    found = answer.json()
    said = (
        found["message"]["subject"]
        if found["message"]
        else found["problems"][0]["sentence"]
    )
    return said, time.monotonic() - began


def slowest(served: Pages, path: str, meanwhile: list[Future[object]]) -> float:
    """The longest that a page took while something else is going on, in seconds."""
    took = []
    while not all(each.done() for each in meanwhile):
        began = time.monotonic()
        assert served.get(path).status_code == 200
        took.append(time.monotonic() - began)
        time.sleep(0.02)
    return max(took)


def link(served: Pages) -> str:
    """What leads to the letter as a page."""
    with served.world.database.read() as connection:
        run = connection.exec_driver_sql(
            "SELECT id FROM runs WHERE campaign = 'letter' AND contact_id = 1"
        ).scalar_one()
    return served.token("view", topic="service", run=run, detail="send letter")


def workers() -> list[int]:
    """The processes that write messages for the servers of this process."""
    return [
        each.pid
        for each in multiprocessing.active_children()
        if each.name == "drip-worker" and each.pid
    ]


def gone(number: int) -> bool:
    """Whether a process has ended, reaped or not."""
    with contextlib.suppress(OSError):
        return (
            Path(f"/proc/{number}/stat")
            .read_text("utf-8")
            .rpartition(")")[2]
            .split()[0]
            == "Z"
        )
    return True


def test_a_template_that_takes_too_long_is_ended_and_holds_up_nobody(
    world: Worlds,
) -> None:
    made = shop(world)
    with dashboard(made, SOON) as served, ThreadPoolExecutor(2) as visitors:
        assert asked(served, PROMO)[0] == "Hello Ana"
        made.write("templates/letter.md", LONG)
        first = visitors.submit(asked, served, LETTER)
        time.sleep(0.3)
        second = visitors.submit(asked, served, PROMO)
        assert slowest(served, "/health", [first, second]) < STILL_S
        said, _ = first.result()
        assert (
            said
            == "The message takes longer than 1 seconds; it was at the template `letter`."
        )
        said, took = second.result()
        assert said == "Hello Ana" and took < SOON.turn_s + SOON.answer_s + 10


def test_what_was_ended_is_not_tried_again_until_a_file_has_changed_or_a_minute_has_passed(
    world: Worlds,
) -> None:
    made = shop(world)
    with dashboard(made, SOON) as served:
        made.write("templates/letter.md", LONG)
        assert "longer than 1 seconds" in asked(served, LETTER)[0]
        again = asked(served, f"{LETTER}&contact=ben")
        assert (
            "longer than 1 seconds" in again[0]
            and again[1] < SOON.answer_s
            and workers() == []
        )
        served.passed += SOON.rest_s
        assert asked(served, LETTER)[1] >= SOON.answer_s
        made.write("templates/letter.md", SHORT)
        assert asked(served, LETTER)[0] == "Short"


def test_a_template_that_takes_too_much_memory_is_ended(world: Worlds) -> None:
    made = shop(world)
    with dashboard(made, Limits(answer_s=60.0, memory_bytes=GB // 8)) as served:
        made.write("templates/letter.md", LONG)
        said, _ = asked(served, LETTER)
        assert (
            said
            == "The message takes more than 0.125 GB of memory; it was at the template `letter`."
        )
        assert asked(served, PROMO)[0] == "Hello Ana"


def test_the_page_around_it_says_which_template_it_is_and_what_to_do(
    world: Worlds,
) -> None:
    made = shop(world)
    made.write("templates/letter.md", LONG)
    with dashboard(made, SOON) as served:
        page = served.get(f"/live?{LETTER}")
        assert page.status_code == 200
        assert (
            "it was at the template `letter`" in page.text
            and "make that or its loops shorter" in page.text
        )
        assert served.get(f"/live/page?{LETTER}").status_code == 404


def test_a_contact_s_timeline_is_simulated_where_it_holds_up_nobody(
    world: Worlds,
) -> None:
    made = shop(world)
    made.write("templates/letter.md", LONG)
    with dashboard(made, timelines=SOON) as served, ThreadPoolExecutor(1) as visitors:
        simulated = visitors.submit(served.get, "/contacts/ana")
        assert asked(served, PROMO)[0] == "Hello Ana"
        answer = simulated.result()
        assert (
            answer.status_code == 503
            and "The simulation takes longer than 1 seconds" in answer.text
        )
        assert served.get("/contacts/nobody").status_code == 404


def test_forty_views_of_a_template_that_takes_too_long_hold_up_no_other_page(
    world: Worlds,
) -> None:
    made = shop(world)
    made.write("templates/letter.md", LONG)
    with pages(made, NOW, SOON) as served, ThreadPoolExecutor(40) as visitors:
        path = f"/view/{link(served)}"
        views = [visitors.submit(served.get, path) for _ in range(40)]
        token = served.token("unsubscribe", topic="service")
        assert slowest(served, f"/unsubscribe/{token}", list(views)) < STILL_S
        assert {each.result().status_code for each in views} == {503}
        made.write("templates/letter.md", SHORT)
        served.passed += SOON.rest_s
        assert "Hello Ana" in served.get(path).text


def test_a_worker_that_is_killed_is_begun_anew_and_nobody_notices(
    world: Worlds,
) -> None:
    made = shop(world)
    with dashboard(made) as served, ThreadPoolExecutor(1) as visitors:
        assert asked(served, PROMO)[0] == "Hello Ana"
        os.kill(*workers(), signal.SIGKILL)
        assert asked(served, PROMO)[0] == "Hello Ana"
        made.write("templates/letter.md", long(400))
        answer = visitors.submit(asked, served, LETTER)
        time.sleep(0.05)
        os.kill(*workers(), signal.SIGKILL)
        assert answer.result()[0] == "Long"


def test_what_kills_each_worker_that_tries_is_told(world: Worlds) -> None:
    made = shop(world)
    made.write("templates/letter.md", LONG)
    with (
        dashboard(made, Limits(answer_s=60.0)) as served,
        ThreadPoolExecutor(1) as visitors,
    ):
        answer = visitors.submit(asked, served, LETTER)
        while not answer.done():
            for number in workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.01)
        assert "has ended the process that it is made in" in answer.result()[0]


def test_nothing_is_left_once_the_server_has_ended(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop(world)
    folder = made.root / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with dashboard(made) as served:
        assert (
            asked(served, PROMO)[0] == "Hello Ana"
            and as_json(served, "/contacts/ana")["coming"]
        )
        running = workers()
        assert len(running) == 2
    assert all(gone(number) for number in running) and list(folder.iterdir()) == []


def test_a_server_that_is_killed_leaves_no_process_behind_in_the_middle_of_a_template(
    world: Worlds,
) -> None:
    made = shop(world)
    made.write("templates/letter.md", LONG)
    with pages(made, NOW) as served:
        token = link(served)
    port = port_of()
    arguments = (
        "serve",
        "--listen",
        str(port),
        "--dashboard",
        "off",
        "--now",
        "2026-11-26 16:00",
    )
    with subprocess.Popen(
        command(made.root, *arguments), env=environment(), stderr=subprocess.DEVNULL
    ) as server:
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{port}/health").is_success)
        viewer = threading.Thread(
            target=get_quietly, args=(f"http://127.0.0.1:{port}/view/{token}",)
        )
        viewer.start()
        # It leads a group of its own by the time that it works.
        wait_for(
            lambda: any(
                os.getpgid(number) == number for number in children_of(server.pid)
            )
        )
        time.sleep(0.5)
        begun = children_of(server.pid)
        assert not all(gone(number) for number in begun)
        server.kill()
        server.wait()
        wait_for(lambda: all(gone(number) for number in begun), at_most_s=2)
        viewer.join()


def wait_for(sign: Callable[[], bool], at_most_s: float = 30) -> None:
    until = time.monotonic() + at_most_s
    while True:
        with contextlib.suppress(httpx.TransportError, ProcessLookupError):
            if sign():
                return
        assert time.monotonic() < until
        time.sleep(0.05)


def get_quietly(address: str) -> None:
    """A visitor whom it does not surprise that the server goes away."""
    with contextlib.suppress(httpx.TransportError):
        httpx.get(address, timeout=60)


def children_of(number: int) -> list[int]:
    """The processes that a process has started, from any of its threads (proc(5))."""
    lists = Path(f"/proc/{number}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text("utf-8").split()]
