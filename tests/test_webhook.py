"""The webhook transport against real HTTP servers, honest and not."""

from __future__ import annotations

import base64
import contextlib
import hmac
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from drip.core.message import Receipt, Refused, Sent, TransportDown, Unknown, Unsent
from drip.transports.webhook import WebhookTransport
from tests.test_delivery import MESSAGE

SECRET = "not-a-secret"


@dataclass
class Taken:
    """What a server got, and where it is."""

    port: int = 0
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@contextmanager
def server(
    status: int = 204,
    does: str = "answer",
    context: ssl.SSLContext | None = None,
    body: bytes = b"",
) -> Iterator[Taken]:
    """A server that answers so, or does something else: hang, close, garbage, endless."""
    answered = body
    taken = Taken()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.requests.append((dict(self.headers), body))
            taken.lines.append(self.requestline)
            if does == "hang":
                time.sleep(2)
            elif does == "garbage":
                self.wfile.write(b"\x00\xff\r\n\r\n")
            elif does == "endless":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000_000)
            elif does in ("trickle", "dribble"):
                self.wfile.write(
                    b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if does == "dribble" else b"")
                )
                # Whoever asked may have gone.
                with contextlib.suppress(OSError):
                    for n in range(40):
                        time.sleep(0.2)
                        self.wfile.write(b"X-%d: x\r\n" % n)
            elif does == "answer":
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()
                self.wfile.write(answered)

        def log_message(self, *_: Any) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        running.socket = context.wrap_socket(running.socket, server_side=True)
    running.daemon_threads = True
    taken.port = running.server_address[1]
    threading.Thread(
        target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    ).start()
    try:
        yield taken
    finally:
        running.shutdown()
        running.server_close()


def webhook(port: int, **options: str) -> WebhookTransport:
    given = {
        "url": f"http://127.0.0.1:{port}/in?from=drip",
        "secret": SECRET,
        "private": "yes",
        "timeout": "1",
        **options,
    }
    return WebhookTransport(given)


def test_a_message_arrives_whole_signed_and_recognisable() -> None:
    with server() as taken:
        for _ in range(2):
            assert isinstance(webhook(taken.port).send(MESSAGE), Sent)
    (head, body), (again, _) = taken.requests
    told = json.loads(body)
    assert told["to"] == {"name": "Ana Morales", "address": "ana@example.com"}
    assert (told["subject"], told["text"], told["html"]) == (
        MESSAGE.subject,
        MESSAGE.text,
        MESSAGE.html,
    )
    assert (
        head["Idempotency-Key"]
        == again["Idempotency-Key"]
        == told["id"]
        == MESSAGE.message_id
    )
    signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(SECRET.encode(), signed, "sha256")).decode()
    assert head["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Sent),
        (202, Sent),
        (400, Refused),
        (422, Refused),
        (408, Unsent),
        (429, Unsent),
        (503, Unsent),
    ],
)
def test_what_an_answer_means(status: int, kind: type[Receipt]) -> None:
    with server(status) as taken:
        assert isinstance(webhook(taken.port).send(MESSAGE), kind)
        assert len(taken.requests) == 1


@pytest.mark.parametrize(
    ("does", "kind"),
    [
        ("hang", Unknown),
        ("trickle", Unknown),
        ("dribble", Unknown),
        ("close", Unknown),
        ("garbage", Unknown),
        ("endless", Sent),
    ],
)
def test_a_server_that_does_not_answer_as_it_should(
    does: str, kind: type[Receipt]
) -> None:
    with server(does=does) as taken:
        assert isinstance(webhook(taken.port).send(MESSAGE), kind)


@pytest.mark.parametrize("status", [302, 404, 410])
def test_an_address_at_which_nothing_is_taken_closes_the_way(status: int) -> None:
    with (
        server(status) as taken,
        pytest.raises(TransportDown, match="is not where messages are taken"),
    ):
        webhook(taken.port).send(MESSAGE)


@pytest.mark.parametrize("status", [401, 403])
def test_one_that_does_not_know_us_closes_the_way(status: int) -> None:
    with (
        server(status) as taken,
        pytest.raises(TransportDown, match="does not know us"),
    ):
        webhook(taken.port).send(MESSAGE)


def test_one_that_is_not_there_is_explained() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(TransportDown, match="does not answer"):
            webhook(probe.getsockname()[1]).send(MESSAGE)
    with pytest.raises(TransportDown, match="cannot be looked up"):
        WebhookTransport({"url": "https://nowhere.invalid/", "secret": "x"}).send(
            MESSAGE
        )


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "[::1]",
        "[fe80::1]",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "100.64.0.1",
    ],
)
def test_nothing_is_sent_into_a_private_network(host: str) -> None:
    with pytest.raises(TransportDown, match="private network|cannot be looked up"):
        WebhookTransport({"url": f"https://{host}/", "secret": "x"}).send(MESSAGE)


def test_the_certificate_has_to_be_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with server(context=context) as taken:
        url = f"https://localhost:{taken.port}/"
        with pytest.raises(TransportDown, match="cannot be trusted"):
            webhook(taken.port, url=url).send(MESSAGE)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert isinstance(webhook(taken.port, url=url).send(MESSAGE), Sent)
        assert taken.requests[0][0]["Host"] == f"localhost:{taken.port}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"secret": "x"}, "needs a `url`"),
        ({"url": "https://a.example"}, "needs a `secret`"),
        ({"url": "http://a.example", "secret": "x"}, "https"),
        ({"url": "ftp://a.example", "secret": "x"}, "not an address"),
        ({"url": "https://u:p@a.example", "secret": "x"}, "not an address"),
        ({"url": "https://a:b/", "secret": "x"}, "not an addr"),
        ({"url": "https://a.example", "secret": "x", "timeout": "soon"}, "timeout"),
        ({"url": "https://a.example", "secret": "x", "uri": "y"}, "no option `uri`"),
    ],
)
def test_wrong_options_are_explained(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        WebhookTransport(options)
