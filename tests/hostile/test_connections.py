"""Connections that keep a server waiting, too many of them, and requests that are none: by real sockets, with shorter limits."""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from drip.cli import drip as drip_group
from drip.errors import DripError
from drip.web import connections, protocol, server
from drip.web.app_state import whose
from drip.web.guard import RequestGuard
from drip.web.server import listen, serving
from tests.cli import drip, environment
from tests.cli import shop as made_of
from tests.world import SETTINGS

LARGE = 8 * 1024 * 1024
LET_GO = threading.Event()
OPEN: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _all_closed_at_the_end() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


async def _echo(request: Request) -> Response:
    body = await request.body()
    return PlainTextResponse(f"{len(body)} from {whose(request)}")


async def _large(request: Request) -> Response:
    return PlainTextResponse("x" * LARGE)


async def _waits(request: Request) -> Response:
    while not LET_GO.is_set():
        await anyio.sleep(0.02)
    return PlainTextResponse("waited")


async def _fields(request: Request) -> Response:
    await request.body()
    return PlainTextResponse(" ".join(sorted(request.headers)))


def _failed(scope: object, error: Exception) -> Response:
    logging.getLogger("drip.web").error("failed: %s", type(error).__name__)
    return PlainTextResponse("failed", 500)


APP = Starlette(
    routes=[
        Route("/echo", _echo, methods=["GET", "POST"]),
        Route("/large", _large),
        Route("/waits", _waits),
        Route("/fields", _fields, methods=["POST"]),
    ],
    middleware=[Middleware(RequestGuard, failed=_failed)],
)


class Client:
    """A socket that says what a test wants to be said."""

    def __init__(
        self,
        port: int,
        said: str | bytes = b"",
        *,
        own: str = "127.0.0.2",
        reads: int | None = None,
    ) -> None:
        self.socket = socket.socket()
        OPEN.append(self.socket)
        if reads:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, reads)
        self.socket.bind((own, 0))
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", port))
        self.say(said)

    def say(self, said: str | bytes) -> None:
        self.socket.sendall(said.encode() if isinstance(said, str) else said)

    def heard(self, until: bytes = b"") -> bytes:
        """What comes, up to these words; to the end where there are none."""
        came = b""
        with contextlib.suppress(ConnectionResetError):
            while (not until or until not in came) and (
                more := self.socket.recv(65536)
            ):
                came += more
        return came

    def is_open(self) -> bool:
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        finally:
            self.socket.settimeout(20)

    def ends_within(self, seconds: float) -> bool:
        return _becomes(lambda: not self.is_open(), seconds)


def _becomes(true: Callable[[], bool], within_s: float) -> bool:
    until = time.monotonic() + within_s
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def post(length: int, body: str = "", path: str = "/echo", *fields: str) -> str:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *fields]
    return "\r\n".join(lines) + "\r\n\r\n" + body


GET = "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = "GET /echo HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second instead of ten, and a look at all connections every twentieth."""
    for name in ("HEAD_S", "GRACE_S", "KEEP_ALIVE_S"):
        monkeypatch.setattr(protocol, name, 0.5)
    monkeypatch.setattr(server, "LOOK_S", 0.05)


@contextlib.contextmanager
def served(
    most: int = 100, behind: str = "127.0.0.1", host: str = "127.0.0.1"
) -> Iterator[int]:
    listening = listen(host, 0)
    port: int = listening.getsockname()[1]
    LET_GO.clear()
    with serving(APP, listening, behind, most):
        try:
            yield port
        finally:
            LET_GO.set()


# --- whoever keeps the server waiting


@pytest.mark.usefixtures("quick")
def test_a_head_that_does_not_come_to_its_end_is_not_waited_for_however_steadily_it_trickles() -> (
    None
):
    with served() as port:
        silent, half, trickling = Client(port), Client(port, HALF), Client(port, HALF)

        def says_more() -> bool:
            with contextlib.suppress(OSError):
                trickling.say("X: y\r\n")
            return not trickling.is_open()

        assert _becomes(says_more, 2)
        assert silent.ends_within(1) and half.ends_within(1)


@pytest.mark.usefixtures("quick")
def test_a_connection_stays_open_for_another_request_but_not_for_long() -> None:
    with served() as port:
        client = Client(port, GET)
        assert b"0 from" in client.heard(b"127.0.0.2")
        client.say(GET)
        assert b"0 from" in client.heard(b"127.0.0.2")
        assert client.ends_within(2)


@pytest.mark.usefixtures("quick")
def test_the_web_server_before_us_keeps_its_connections_for_longer() -> None:
    with served(behind="127.0.0.2") as port:
        client = Client(port, GET)
        client.heard(b"127.0.0.2")
        assert not client.ends_within(1.5)


@pytest.mark.usefixtures("quick")
def test_a_body_that_stops_is_not_waited_for_and_one_that_comes_steadily_is() -> None:
    with served() as port:
        stopped = Client(port, post(10_000, "x" * 9_000))
        slow = Client(port, post(4_000))
        for _ in range(8):
            slow.say("x" * 500)
            time.sleep(0.2)
        assert b"4000 from" in slow.heard(b"127.0.0.2")
        assert not stopped.is_open()


@pytest.mark.usefixtures("quick")
def test_an_answer_that_nobody_takes_is_dropped_and_one_that_is_taken_slowly_is_not() -> (
    None
):
    with served() as port:
        asked = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
        never, slow = Client(port, asked, reads=4096), Client(port, asked)
        came = 0
        while came < LARGE:
            came += len(slow.socket.recv(400_000))
            time.sleep(0.05)
        # What lies in the kernel still comes; the rest does not.
        assert 0 < len(never.heard()) < LARGE


@pytest.mark.usefixtures("quick")
def test_the_rest_of_an_upload_that_was_answered_already_is_not_read_for_long() -> None:
    with served() as port:
        client = Client(port, post(10_000_000, "x" * 1_000))
        assert b" 413 " in client.heard(b"too large")

        def says_more() -> bool:
            with contextlib.suppress(OSError):
                client.say("x" * 1_000)
            return not client.is_open()

        assert _becomes(says_more, 2)


# --- too many


def test_for_a_new_connection_the_one_is_closed_that_has_been_longest_without_a_complete_head() -> (
    None
):
    with served(most=8) as port:
        first, second, *others = [
            Client(port, HALF, own=f"127.0.0.{n}") for n in range(2, 10)
        ]
        time.sleep(0.2)
        new = Client(port, GET, own="127.0.0.99")
        assert b"0 from 127.0.0.99" in new.heard(b"127.0.0.99")
        assert (
            not first.is_open()
            and second.is_open()
            and all(each.is_open() for each in others)
        )


def test_whoever_asked_again_has_not_been_waiting_since_the_first_time() -> None:
    with served(most=3) as port:
        first, second, third = (
            Client(port, GET, own=f"127.0.0.{n}") for n in (2, 3, 4)
        )
        for each in (first, second, third):
            each.heard(b" from ")
        first.say(GET)
        first.heard(b" from ")
        Client(port, GET, own="127.0.0.5").heard(b" from ")
        assert first.is_open() and not second.is_open() and third.is_open()


def test_one_address_that_opens_most_connections_makes_room_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "LEAST_SHARE", 8)
    with served(most=40) as port:
        visitor = Client(port, HALF, own="127.0.0.3")
        crowd = [Client(port, HALF, own="127.0.0.4") for _ in range(100)]
        assert _becomes(lambda: sum(each.is_open() for each in crowd) == 39, 5)
        visitor.say("\r\n")
        assert b"0 from 127.0.0.3" in visitor.heard(b"127.0.0.3")


def test_unfinished_bodies_make_room_after_unfinished_heads_and_what_is_being_answered_never_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "SPARED_S", 0.1)
    with served(most=3) as port:
        answered = Client(
            port, "GET /waits HTTP/1.1\r\nHost: x\r\n\r\n", own="127.0.0.2"
        )
        body = Client(port, post(100, "x"), own="127.0.0.3")
        head = Client(port, HALF, own="127.0.0.4")
        time.sleep(0.2)
        news = [Client(port, post(100, "x"), own=f"127.0.0.{n}") for n in (5, 6)]
        assert head.ends_within(1) and body.ends_within(1)
        LET_GO.set()
        assert b"waited" in answered.heard(b"waited") and all(
            each.is_open() for each in news
        )


def test_whoever_has_only_just_come_is_spared_where_others_have_waited_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "SPARED_S", 0.3)
    with served(most=4) as port:
        bodies = [Client(port, post(100, "x"), own=f"127.0.0.{n}") for n in range(2, 6)]
        time.sleep(0.4)
        heads = [Client(port, HALF, own=f"127.0.0.{n}") for n in range(6, 9)]
        assert _becomes(
            lambda: [each.is_open() for each in bodies] == [False, False, False, True],
            2,
        )
        assert all(each.is_open() for each in heads)


def test_where_all_are_being_answered_a_new_one_waits_for_its_turn() -> None:
    with served(most=2) as port:
        busy = [
            Client(port, "GET /waits HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            for _ in range(2)
        ]
        time.sleep(0.2)
        new = Client(port, GET)
        new.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            new.socket.recv(1)
        new.socket.settimeout(20)
        LET_GO.set()
        assert b"0 from" in new.heard(b" from ")
        assert all(b"waited" in each.heard() for each in busy)


def test_bodies_that_are_not_answered_yet_have_a_bound_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "BODIES_BYTES", 100_000)
    with served() as port:
        first, second = (Client(port, post(60_000, "x" * 40_000)) for _ in range(2))
        time.sleep(0.2)
        third = Client(port, post(60_000, "x" * 40_000))
        assert first.ends_within(1) and second.is_open() and third.is_open()
        for each in (second, third):
            each.say("x" * 20_000)
            time.sleep(0.2)
        assert b"60000 from" in third.heard(b" from ")


def test_without_files_nobody_is_let_in_the_processor_rests_and_it_goes_on_by_itself() -> (
    None
):
    """In a process of its own, which has fewer files than places."""
    program = (
        "import resource, sys, time\n"
        "from drip.web.server import listen, serving\n"
        "from tests.hostile.test_connections import APP\n"
        "listening = listen('127.0.0.1', 0)\n"
        "with serving(APP, listening, most=1000):\n"
        "    time.sleep(0.5)\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 20000))\n"
        "    print(listening.getsockname()[1], flush=True)\n"
        "    while line := sys.stdin.readline():\n"
        "        print(time.process_time(), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(PYTHONPATH=":".join(sys.path)),
    ) as process:
        assert process.stdin and process.stdout and process.stderr

        def used_s() -> float:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return float(process.stdout.readline())  # type: ignore[union-attr]

        port = int(process.stdout.readline())
        crowd = [Client(port, HALF) for _ in range(60)]
        time.sleep(0.5)
        before = used_s()
        time.sleep(2)
        assert used_s() - before < 0.5
        for each in crowd:
            each.socket.close()
        assert b"0 from" in Client(port, GET).heard(b" from ")
        process.stdin.close()
        told = process.stderr.read()
    assert told.count("Nobody can be let in") == 1 and "Traceback" not in told


class Silent:
    """A connection that is none."""

    address, was_cut = "", False

    def __init__(self, among: connections.Connections) -> None:
        self._among = among
        among.enter(self)
        among.move(self, connections.Phase.BODY)

    def cut(self) -> None:
        self.was_cut = True
        self._among.leave(self)


def test_nothing_counts_of_a_body_that_goes_on_after_its_connection_was_closed() -> (
    None
):
    """What was read at once is parsed to its end, and would take the room of all others for good."""
    among = connections.Connections(10, time.monotonic)
    for _ in range(connections.BODIES_BYTES // protocol.PART + 1):
        silent = Silent(among)
        among.hold(silent, connections.OWN_BODIES_BYTES + 1)
        assert silent.was_cut
        among.hold(silent, protocol.PART)
    good = Silent(among)
    among.hold(good, 1)
    assert not good.was_cut


# --- the file limit


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    made_of(
        tmp_path,
        {"campaigns/_settings.yaml": SETTINGS + "public_url: http://x.example\n"},
        "key,email\na,a@example.com\n",
    )
    return tmp_path


def test_too_few_files_are_refused_at_the_start_and_the_remedy_is_named(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["drip.cli.serve"], "raise_file_limit", lambda: 100)
    for asked in (["serve"], ["run"]):
        done = CliRunner().invoke(drip_group, ["-w", str(shop), *asked])
        assert isinstance(done.exception, DripError)
        assert (
            "may have 100 files open at once, and drip needs 192"
            in done.exception.sentence
        )
        assert "LimitNOFILE" in (done.exception.help or "")


def test_the_file_limit_is_raised_as_far_as_it_goes() -> None:
    program = "from drip.process import raise_file_limit; import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (70, 300)); print(raise_file_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["300", "300", "300"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 300


# --- requests that are none, or odd


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (f"GET /echo HTTP/1.1\r\nHost: x\r\nCookie: {'x' * 70_000}\r\n\r\n", b"431"),
        (f"GET /echo HTTP/1.1\r\nHost: x\r\nCookie: {'x' * 700_000}", b"431"),
        (f"GET /{'x' * 70_000} HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (
            "GET /echo HTTP/1.1\r\n"
            + "".join(f"X-{n}: y\r\n" for n in range(101))
            + "\r\n",
            b"431",
        ),
        (f"GET /echo HTTP/1.1\r\nHost: x\r\nCookie: {'x' * 50_000}\r\n\r\n", b"200"),
        (
            "GET /echo HTTP/1.1\r\n"
            + "".join(f"X-{n}: y\r\n" for n in range(90))
            + "\r\n",
            b"200",
        ),
        ("HELO x\r\n\r\n", b"400"),
        ("GET /echo HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
        (
            "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnot a length\r\n",
            b"400",
        ),
        (
            f"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x={'x' * 100_000}",
            b"400",
        ),
        (
            f"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: {'x' * 100_000}",
            b"400",
        ),
    ],
    ids=[
        "cookie",
        "endless",
        "address",
        "fields",
        "50 KB",
        "90 fields",
        "no HTTP",
        "no length",
        "no chunk",
        "extension",
        "trailer",
    ],
)
def test_heads_have_bounds_and_what_is_no_request_is_refused_without_a_word_in_the_log(
    said: str, status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with served() as port:
        client = Client(port)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.say(said)
        heard = client.heard(b"\r\n\r\n")
        assert heard.startswith(b"HTTP/1.1 " + status) or (
            not heard and status != b"200"
        )
        assert b"200" in Client(port, GET).heard(b"\r\n\r\n")
    assert not caplog.records


def test_requests_that_come_at_once_are_answered_in_their_order_and_not_too_many_wait() -> (
    None
):
    with served() as port:
        client = Client(port, "".join(post(n, "x" * n) for n in range(1, 9)))
        heard = client.heard(b"8 from 127.0.0.2")
        assert [
            line.split()[0] for line in heard.splitlines() if b" from " in line
        ] == [b"%d" % n for n in range(1, 9)]
        many = Client(port, GET * 1_000)
        assert many.heard().count(b" from ") < 20
        assert not many.is_open()
        upgrades = Client(
            port, (GET[:-2] + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n") * 1_000
        )
        assert upgrades.heard().count(b" from ") < 20


def test_a_client_that_asks_first_is_told_to_go_on_unless_its_body_is_too_large() -> (
    None
):
    with served() as port:
        client = Client(port, post(5, "", "/echo", "Expect: 100-continue"))
        assert client.heard(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.say("12345")
        assert b"5 from" in client.heard(b" from ")
        large = Client(port, post(100_000, "", "/echo", "Expect: 100-continue"))
        assert large.heard(b"\r\n\r\n").startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("wanted", ["websocket", "h2c"])
def test_nothing_but_http_1_is_spoken(
    wanted: str, caplog: pytest.LogCaptureFixture
) -> None:
    with served() as port:
        head = (
            GET[:-2]
            + f"Connection: Upgrade\r\nUpgrade: {wanted}\r\nSec-WebSocket-Key: x\r\n\r\n"
        )
        client = Client(port, head)
        assert client.heard(b" from ").startswith(b"HTTP/1.1 200 ")
        client.say("\x81\x05hello")
        assert client.heard().startswith(b"HTTP/1.1 400 ")
        posted = Client(
            port,
            post(
                5,
                "12345",
                "/echo",
                "Connection: Upgrade, HTTP2-Settings",
                "Upgrade: h2c",
            ),
        )
        assert b"5 from" in posted.heard(b" from ")
        posted.say(GET)
        assert b"0 from" in posted.heard(b" from ")
        assert (
            b" 405 "
            in Client(port, "CONNECT x.example:443 HTTP/1.1\r\nHost: x\r\n\r\n").heard()
        )
    assert not caplog.records


def test_http_1_0_gets_its_answer_and_the_end() -> None:
    with served() as port:
        assert (
            Client(port, "GET /echo HTTP/1.0\r\n\r\n")
            .heard()
            .endswith(b"0 from 127.0.0.2")
        )


def test_what_follows_a_body_in_chunks_is_no_field_of_the_head() -> None:
    with served() as port:
        client = Client(
            port,
            "POST /fields HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nAuthorization: y\r\n\r\n",
        )
        heard = client.heard(b"transfer-encoding")
        assert b"host transfer-encoding" in heard and b"authorization" not in heard
        client.say(GET)
        assert b"0 from" in client.heard(b" from ")


def test_an_upload_that_is_broken_off_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with served() as port:
        for path in ("/echo", "/fields"):
            Client(port, post(1_000, "x" * 10, path)).socket.close()
        time.sleep(0.3)
        assert b"200" in Client(port, GET).heard(b"\r\n\r\n")
    assert not caplog.records


def test_a_slash_too_many_leads_nowhere_else_whatever_the_request_says_that_our_name_is() -> (
    None
):
    with served() as port:
        for path in ("/echo/", "/echo//", "/none/"):
            heard = Client(
                port, f"GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n"
            ).heard(b"\r\n\r\n")
            assert b"evil" not in heard and b"\r\nlocation" not in heard
            assert heard.startswith(
                b"HTTP/1.1 200" if "echo" in path else b"HTTP/1.1 404"
            )


# --- who it is


def test_the_word_of_the_web_server_before_us_is_taken_and_nobody_elses() -> None:
    with served(behind="127.0.0.2, 10.0.0.0/8") as port:
        head = GET[:-2] + "X-Forwarded-For: 192.0.2.7, 198.51.100.9\r\n\r\n"
        assert b"0 from 198.51.100.9" in Client(port, head, own="127.0.0.2").heard(
            b" from 198.51.100.9"
        )
        assert b"0 from 127.0.0.3" in Client(port, head, own="127.0.0.3").heard(
            b" from 127.0.0.3"
        )


def test_behind_a_web_server_one_visitor_makes_room_for_itself_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "LEAST_SHARE", 8)
    monkeypatch.setattr(connections, "SPARED_S", 0.0)
    with served(most=40, behind="127.0.0.2") as port:

        def uploads(visitor: str) -> Client:
            return Client(
                port,
                post(10, "x", "/echo", f"X-Forwarded-For: {visitor}"),
                own="127.0.0.2",
            )

        visitor = uploads("198.51.100.1")
        time.sleep(0.2)
        crowd = [uploads("198.51.100.2") for _ in range(80)]
        assert _becomes(lambda: sum(each.is_open() for each in crowd) == 39, 5)
        visitor.say("x" * 9)
        assert b"10 from 198.51.100.1" in visitor.heard(b" from 198.51.100.1")
        # What is idle again belongs to nobody, and serves the next visitor.
        visitor.say(post(1, "x", "/echo", "X-Forwarded-For: 198.51.100.3"))
        assert b"1 from 198.51.100.3" in visitor.heard(b" from 198.51.100.3")


@pytest.mark.parametrize("text", ["localhost", "*", "", "127.0.0.1,", "10.0.0.0/40"])
def test_who_is_before_us_is_an_address(text: str) -> None:
    listening = listen("127.0.0.1", 0)
    with (
        listening,
        pytest.raises(DripError, match="no address of a web server"),
        serving(APP, listening, text),
    ):
        pass


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 on this machine")
def test_by_ipv6_too_and_whoever_comes_by_ipv4_is_told_apart_there() -> None:
    with served(host="::") as port:
        assert b"0 from 127.0.0.7" in Client(port, GET, own="127.0.0.7").heard(
            b" from 127.0.0.7"
        )
        # The web server before us, which is trusted by its address of IPv4.
        head = GET[:-2] + "X-Forwarded-For: 198.51.100.9\r\n\r\n"
        assert b" from 198.51.100.9" in Client(port, head, own="127.0.0.1").heard(
            b" from 198.51.100.9"
        )
        with socket.create_connection(("::1", port), timeout=20) as six:
            six.sendall(GET.encode())
            assert b"from ::/64" in six.recv(65536)


@pytest.mark.usefixtures("quick")
def test_what_takes_us_long_is_answered_behind_a_web_server_too() -> None:
    with served(behind="127.0.0.2") as port:
        head = "GET /waits HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n"
        client = Client(port, head)
        time.sleep(1.5)
        LET_GO.set()
        assert b"waited" in client.heard(b"waited")


# --- the end


def test_the_end_does_not_wait_for_those_who_keep_it_waiting() -> None:
    with served() as port:
        waiting = [
            Client(port),
            Client(port, HALF),
            Client(port, post(10, "x")),
            Client(port, GET),
        ]
        waiting.append(
            Client(port, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n", reads=4096)
        )
        time.sleep(1.5)
        ends = time.monotonic()
    assert time.monotonic() - ends < 3.5


def test_at_the_end_what_is_being_answered_gets_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "HURRY_S", 0.1)
    listening = listen("127.0.0.1", 0)
    LET_GO.clear()
    with serving(APP, listening):
        client = Client(
            listening.getsockname()[1], "GET /waits HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        time.sleep(0.2)
        threading.Timer(1.5, LET_GO.set).start()
    assert b"waited" in client.heard()


def test_drip_takes_no_name_for_the_web_server_before_it(shop: Path) -> None:
    done = drip(shop, "serve", "--behind", "localhost")
    assert (
        done.code == 2
        and "`localhost` is no address of a web server" in done.err
        and "--behind" in done.err
    )
