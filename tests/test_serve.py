"""`drip serve` and `drip run --serve` as processes; `drip consent` and `drip forget`."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from drip.core.token import Link, sign
from drip.storage.base.database import link_keys
from drip.storage.base.sqlite import SqliteDatabase
from tests.cli import command, drip, environment
from tests.cli import shop as made_of
from tests.world import LETTER, SETTINGS


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    files = {
        "campaigns/_settings.yaml": SETTINGS.replace(
            "use: memory", "use: files, folder: out"
        )
        + "public_url: http://x.example\n",
        "campaigns/letter.yaml": LETTER,
        "templates/letter.md": "---\nsubject: Hello\n---\nHello\n",
    }
    made_of(
        root,
        files,
        "key,email,first_name,news\nana,ana@example.com,Ana,yes\nben,ben@example.com,Ben,\n",
    )
    return root


def port_of() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    root: Path, *arguments: str, port: int
) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    process = subprocess.Popen(
        command(root, *arguments), env=environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            until = time.monotonic() + 30
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/health").status_code == 200:
                        break
                assert time.monotonic() < until and process.poll() is None
                time.sleep(0.1)
            yield process, client
    finally:
        process.terminate()
        process.communicate()


def token(root: Path, contact: int) -> str:
    database = SqliteDatabase(root / ".drip" / "drip.db")
    with database.read() as connection:
        key_id, secret = list(link_keys(connection).items())[-1]
    database.close()
    return sign(Link("unsubscribe", contact, "service"), key_id, secret)


def test_pages_are_served_beside_the_daemon_and_end_with_it(shop: Path) -> None:
    port, who = port_of(), token(shop, 1)
    arguments = (
        "run",
        "--every",
        "0.3",
        "--serve",
        str(port),
        "--dashboard",
        "off",
        "--now",
        "2026-11-26 9:59:50",
    )
    with running(shop, *arguments, port=port) as (process, client):
        assert client.post(f"/unsubscribe/{who}").status_code == 200
        until = time.monotonic() + 40
        while not list((shop / "out").glob("*.eml")) and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr and "Traceback" not in process.stderr.read()
    assert [path.name.split("_")[2] for path in (shop / "out").glob("*.eml")] == [
        "ben@example.com"
    ]


def test_pages_are_served_alone_and_keep_no_token_or_address_in_their_log(
    shop: Path,
) -> None:
    port, who = port_of(), token(shop, 1)
    with running(
        shop, "serve", "--listen", str(port), "--dashboard", "off", port=port
    ) as (process, client):
        client.post(f"/unsubscribe/{who}")
        client.post(
            "/sign-up/news",
            data={"email": "canary@example.com", "first_name": "Canary"},
        )
        client.get("/preferences/canary-token")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr
        log = process.stderr.read().lower()
    assert "pages are served at" in log
    assert "canary" not in log and who.lower() not in log and "ana@" not in log
    assert [row["given"] for row in drip(shop, "consent", "ana", "--json").rows] == [
        True,
        False,
    ]


def test_a_port_that_is_taken_and_a_missing_address_are_explained(shop: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = drip(
            shop, "serve", "--listen", str(taken.getsockname()[1]), "--dashboard", "off"
        )
    assert (
        done.code == 2
        and "Nothing can be served" in done.err
        and "another port" in done.err
    )
    settings = shop / "campaigns" / "_settings.yaml"
    settings.write_text(
        settings.read_text().replace("public_url: http://x.example\n", "")
    )
    done = drip(shop, "serve", "--dashboard", "off")
    assert done.code == 2 and "`public_url` is missing" in done.err


def test_what_somebody_said_is_shown_with_its_source(shop: Path) -> None:
    assert "yes news by email (people.csv)" in drip(shop, "consent", "ana").out
    assert "has said nothing" in drip(shop, "consent", "ben").out
    assert drip(shop, "consent", "eve").code == 2


def test_a_person_is_erased_once_it_is_confirmed(shop: Path) -> None:
    asked = subprocess.run(
        command(shop, "forget", "ana"),
        input="n\n",
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert asked.returncode != 0 and drip(shop, "consent", "ana").code == 0
    assert drip(shop, "forget", "ana", "--yes").code == 0
    assert drip(shop, "consent", "ana").code == 2
    made_of(shop, {}, "key,email,first_name,news\nana,ana@example.com,Ana,yes\n")
    for clock in ("9:00", "10:30"):
        drip(shop, "run", "--once", "--now", f"2026-11-26 {clock}")
    assert [path.name.split("_")[2] for path in (shop / "out").glob("*.eml")] == [
        "ben@example.com"
    ]


def let_in(
    root: Path, *arguments: str, password: str = "correct horse battery staple"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(root, "operators", *arguments),
        env=environment(),
        input=f"{password}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_operators_are_let_in_listed_and_removed_and_no_password_is_kept(
    shop: Path,
) -> None:
    assert "ana may log in" in let_in(shop, "add", "ana").stdout
    again = let_in(shop, "add", "ana")
    assert again.returncode == 2 and "drip operators password" in again.stderr
    short = let_in(shop, "add", "ben", password="short")
    assert short.returncode == 2 and "15 to 200 letters" in short.stderr
    assert (
        let_in(shop, "password", "ana", password="a password that is new").returncode
        == 0
    )
    assert [row["name"] for row in drip(shop, "operators", "--json").rows] == ["ana"]
    assert b"correct horse" not in (shop / ".drip" / "drip.db").read_bytes()
    assert drip(shop, "operators", "remove", "ana").code == 0
    nobody = drip(shop, "operators", "remove", "ana")
    assert nobody.code == 2 and "There is no operator" in nobody.err


def test_the_dashboard_is_on_a_port_of_its_own_of_this_machine_alone(
    shop: Path,
) -> None:
    let_in(shop, "add", "ana")
    pages, dashboard = port_of(), port_of()
    arguments = ("serve", "--listen", str(pages), "--dashboard", str(dashboard))
    with running(shop, *arguments, port=pages) as (process, client):
        assert client.get("/login").status_code == 404
        with httpx.Client(base_url=f"http://127.0.0.1:{dashboard}") as browser:
            assert browser.get("/").headers["location"] == "/login?next=%2F"
            assert browser.get("/unsubscribe/x").status_code == 404
            data = {"name": "ana", "password": "correct horse battery staple"}
            assert browser.post("/login", data=data).status_code == 303
            assert "Letter" in browser.get("/campaigns").text
        # Whoever listens at all addresses of the machine answers at this one too.
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.2:{dashboard}/login")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert (
            process.stderr
            and f"The dashboard is at http://127.0.0.1:{dashboard}."
            in process.stderr.read()
        )


def test_the_dashboard_needs_no_public_address(shop: Path) -> None:
    settings = shop / "campaigns" / "_settings.yaml"
    settings.write_text(
        settings.read_text().replace("public_url: http://x.example\n", "")
    )
    pages, dashboard = port_of(), port_of()
    process = subprocess.Popen(
        command(shop, "serve", "--listen", str(pages), "--dashboard", str(dashboard)),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        assert "Pages are not served" in process.stderr.readline()
        assert "The dashboard is at" in process.stderr.readline()
        assert (
            "drip operators add"
            in httpx.get(f"http://127.0.0.1:{dashboard}/login").text
        )
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_keys_of_links_are_rotated_and_old_links_stay_good_unless_they_leaked(
    shop: Path,
) -> None:
    port, old = port_of(), token(shop, 1)
    with running(
        shop, "serve", "--listen", str(port), "--dashboard", "off", port=port
    ) as (_, client):
        assert "signed by a new key" in drip(shop, "keys", "rotate").out
        new = token(shop, 2)
        assert new.split(".")[1] != old.split(".")[1]
        for each in (old, new):
            client.post(f"/unsubscribe/{each}")
        time.sleep(2.5)
        client.post(f"/unsubscribe/{new}")
        said = {
            who: drip(shop, "consent", who, "--json").rows[-1]["given"]
            for who in ("ana", "ben")
        }
        assert said == {"ana": False, "ben": False}
    drip(shop, "keys", "rotate", "--leaked")
    database = SqliteDatabase(shop / ".drip" / "drip.db")
    with database.read() as connection:
        keys = link_keys(connection)
    database.close()
    assert len(keys) == 1 and not {old.split(".")[1], new.split(".")[1]} & set(keys)


def test_a_person_under_two_keys_is_named_and_erased_by_one_command(shop: Path) -> None:
    (shop / "more.csv").write_text(
        "key,email\nana-2,ANA@example.com\nerased-1,eve@example.com\n"
    )
    refused = drip(shop, "import", "contacts", str(shop / "more.csv"))
    assert refused.code == 1 and "give it another key" in refused.err
    one = drip(shop, "forget", "ben", "--yes")
    assert (
        one.code == 0 and "ben is erased" in one.out and "same address" not in one.out
    )
    both = drip(shop, "forget", "ana", "--same-address", "--yes")
    assert both.out.startswith("ana, ana-2 are erased.")
    assert "left in files" not in both.out + drip(shop, "status").out
    again = drip(shop, "forget", "erased-1", "--yes")
    assert again.code == 2 and "erased already" in again.err
    assert drip(shop, "db", "scrub").out == "Nothing is left of erased people.\n"
    assert b"@example.com" not in (shop / ".drip" / "drip.db").read_bytes()


def test_what_is_left_in_files_is_told_until_it_is_cleared(shop: Path) -> None:
    with contextlib.closing(sqlite3.connect(shop / ".drip" / "drip.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM contacts").fetchone()
        told = drip(shop, "forget", "ana", "--yes")
        assert told.code == 0 and "Something is left in files" in told.out
        assert "`drip db scrub`" in drip(shop, "status").out
        assert drip(shop, "db", "scrub").code == 2
    assert drip(shop, "run", "--once").code == 0
    assert "left in files" not in drip(shop, "status").out
