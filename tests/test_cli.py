"""The commands, each in a process of its own."""

from __future__ import annotations

import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drip.cli.sample import copy_sample, write_people
from tests.cli import Done, command, drip, environment
from tests.smtp_sink import start
from tests.test_transports import free_port
from tests.world import at

NOW = "2026-11-22 12:00"
SAMPLE_DAY = at(NOW).date()


@pytest.fixture
def shop(tmp_path: Path, stocked: Path) -> Path:
    """The sample workspace with its invented people, to do with as one likes."""
    return Path(shutil.copytree(stocked, tmp_path / "shop"))


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stocked")
    root = folder / "shop"
    root.mkdir()
    copy_sample(root, SAMPLE_DAY)
    people = write_people(folder, SAMPLE_DAY)
    assert (
        drip(root, "import", "contacts", str(people.contacts), "--now", NOW).code == 0
    )
    assert drip(root, "import", "vehicle", str(people.vehicles), "--now", NOW).code == 0
    assert drip(root, "import", "lease", str(people.leases), "--now", NOW).code == 0
    assert drip(root, "import", "events", str(people.events), "--now", NOW).code == 0
    return root


@pytest.fixture
def mail_server(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    file = tmp_path / "taken.jsonl"
    file.touch()
    controller = start(free_port(), file)
    yield controller.port, file
    controller.stop()


def use_smtp(root: Path, port: int, extra: str = "") -> None:
    path = root / "campaigns" / "_settings.yaml"
    line = f"  email: {{ use: smtp, host: 127.0.0.1, port: {port}, security: none{extra} }}"
    path.write_text(
        re.sub(r"(?m)^  email: \{ use: files.*$", line, path.read_text("utf-8")),
        "utf-8",
    )


def complaint(done: Done, *said: str) -> None:
    assert done.code == 2, (done.code, done.out, done.err)
    for each in said:
        assert each in done.err, done.err


def test_check_says_that_the_sample_is_clean(shop: Path) -> None:
    """With people in it, what they have never done is worth a note."""
    shutil.rmtree(shop / ".drip")
    done = drip(shop, "check")
    assert (done.code, done.out) == (0, "9 campaign(s), 28 template(s): no problems.\n")


def test_check_reports_in_three_formats_and_ends_with_1(shop: Path) -> None:
    path = shop / "campaigns" / "birthday.yaml"
    path.write_text(
        path.read_text("utf-8").replace("topic: offers", "topic: ofers"), "utf-8"
    )
    text, json, github = (
        drip(shop, "check", "--format", style) for style in ("text", "json", "github")
    )
    assert {each.code for each in (text, json, github)} == {1}
    assert "campaigns/birthday.yaml:2:8: error: there is no topic `ofers`" in text.out
    assert "help: did you mean `offers`?" in text.out
    assert json.rows[0]["line"] == 2
    assert github.out.startswith("::error file=campaigns/birthday.yaml,line=2,col=8::")


def test_check_finds_unknown_variables_and_missing_templates(shop: Path) -> None:
    card = shop / "templates" / "birthday" / "card.md"
    card.write_text(
        card.read_text("utf-8")
        + "{{ contact.first_nmae }} {{ vehicle.model }} {{ nonsense }}\n",
        "utf-8",
    )
    (shop / "templates" / "oil" / "due.md").unlink()
    out = drip(shop, "check").out
    for said in (
        "there is no field `contact.first_nmae`",
        "did you mean `first_name`",
        "`vehicle` does not exist here",
        "`nonsense` does not exist here",
        "the template `oil/due` has no text for email",
    ):
        assert said in out
    assert re.search(r"templates/birthday/card\.md:\d+: error: there is no field", out)


def test_preview_shows_calendar_and_reasons_and_changes_nothing(shop: Path) -> None:
    before = (shop / ".drip" / "drip.db").read_bytes()
    done = drip(shop, "preview", "--now", NOW)
    assert done.code == 0
    for said in (
        "Nothing was sent.",
        "│ Mon",
        "What goes out",
        "What does not, and why",
        "newsletter.yaml:",
    ):
        assert said in done.out
    assert (shop / ".drip" / "drip.db").read_bytes() == before
    assert not list((shop / ".drip").glob("out/*"))


def test_what_a_rehearsal_logs_is_printed_nowhere(shop: Path) -> None:
    text = (
        "name: Sale\ntopic: reminders\nmax_audience: 20\n"
        "trigger: { schedule: 2026-11-23 9:00 }\nsteps: [{ task: Call, assign_to: desk }]\n"
    )
    (shop / "campaigns" / "sale.yaml").write_text(text)
    for about in (
        ("preview", "sale"),
        ("preview", "sale", "--json"),
        ("explain", "ana"),
    ):
        done = drip(shop, *about, "--now", NOW)
        assert (done.code, done.err) == (0, ""), about


def test_preview_and_log_give_the_same_rows(shop: Path) -> None:
    keys = (
        "campaign",
        "step",
        "contact",
        "record",
        "occurrence",
        "channel",
        "outcome",
        "code",
    )
    window = ("--now", NOW, "--days", "1", "--json")
    foreseen = drip(shop, "preview", *window).rows
    for hour in range(25):
        day, clock = 22 + (12 + hour) // 24, (12 + hour) % 24
        assert drip(
            shop, "run", "--once", "--now", f"2026-11-{day} {clock}:00"
        ).code in (0, 1)
    done = drip(shop, "log", "--json").rows
    assert len(done) > 40
    assert {tuple(row[key] for key in keys) for row in done} == {
        tuple(row[key] for key in keys) for row in foreseen
    }


def test_preview_of_one_contact_and_of_one_campaign(shop: Path) -> None:
    rows = drip(shop, "preview", "--contact", "ana", "--json", "--now", NOW).rows
    assert {row["contact"] for row in rows} == {"ana"}
    assert {row["campaign"] for row in rows} == {"birthday", "newsletter", "oil-change"}
    assert {
        row["campaign"]
        for row in drip(shop, "preview", "birthday", "--json", "--now", NOW).rows
    } == {"birthday"}
    assert {
        "at",
        "local",
        "campaign",
        "step",
        "contact",
        "record",
        "occurrence",
        "channel",
        "outcome",
        "code",
        "sentence",
        "place",
        "until",
    } == set(rows[0])


def test_explain_names_the_line_that_stands_in_the_way(shop: Path) -> None:
    path = shop.parent / "one.csv"
    path.write_text("key,email,newsletter\nzoe,zoe@example.com,no\n")
    drip(shop, "import", "contacts", str(path), "--now", NOW)
    done = drip(shop, "explain", "zoe", "--now", NOW)
    assert (
        "newsletter: nothing. not-in-audience: not subscribed to newsletter [campaigns/newsletter.yaml:9]"
        in re.sub(r"\s+", " ", done.out)
    )
    assert "contact.birthday is unknown" in done.out or "no-consent" in done.out


def test_a_car_without_its_date_is_in_nobodys_way_and_explain_says_what_is_missing(
    shop: Path,
) -> None:
    people, path = shop.parent / "one.csv", shop.parent / "cars.csv"
    people.write_text("key,email\nzoe,zoe@example.com\n")
    drip(shop, "import", "contacts", str(people), "--now", NOW)
    path.write_text("key,contact,model,status,last_service\nnew-1,zoe,Golf,active,\n")
    assert "1 new" in drip(shop, "import", "vehicle", str(path), "--now", NOW).out
    assert drip(shop, "preview", "oil-change", "--json", "--now", NOW).rows
    done = drip(shop, "explain", "zoe", "oil-change", "--now", NOW)
    assert "vehicle.oil_change_due is unknown" in re.sub(r"\s+", " ", done.out)


def test_the_daemon_sends_to_a_real_server_and_a_second_one_waits(
    shop: Path, mail_server: tuple[int, Path]
) -> None:
    port, taken = mail_server
    use_smtp(shop, port)
    arguments = command(shop, "run", "--every", "0.2", "--now", "2026-11-26 15:59:59")
    first = subprocess.Popen(
        arguments, env=environment(), stderr=subprocess.PIPE, text=True
    )
    started = [first]
    try:
        wait_for(lambda: _runs(shop))
        second = subprocess.Popen(
            arguments, env=environment(), stderr=subprocess.PIPE, text=True
        )
        started.append(second)
        assert second.stderr
        assert "Waiting for it to end" in second.stderr.readline()
        complaint(
            drip(shop, "run", "--once"), "A daemon is running on this database already"
        )
        wait_for(lambda: len(taken.read_text().splitlines()) > 5)
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0
        assert "Started as daemon" in second.stderr.readline()
        second.send_signal(signal.SIGINT)
        assert second.wait(30) == 0
    finally:
        for process in started:
            process.kill()
            process.communicate()
    sent = sum(
        (row["outcome"], row["channel"]) == ("sent", "email")
        for row in drip(shop, "log", "--json").rows
    )
    lines = taken.read_text().splitlines()
    assert sent == len(lines) == len(set(lines))


def _runs(shop: Path) -> bool:
    daemon = drip(shop, "status", "--json").rows[0]["daemon"]
    return bool(daemon and daemon["running"])


def wait_for(true: object, seconds: float = 30) -> None:
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def test_a_test_copy_is_marked_and_outside_of_the_ledger(
    shop: Path, mail_server: tuple[int, Path]
) -> None:
    port, taken = mail_server
    use_smtp(shop, port)
    done = drip(
        shop,
        "send",
        "oil-change",
        "send oil/due",
        "--as",
        "ana",
        "--to",
        "me@example.com",
        "--now",
        NOW,
    )
    assert done.code == 0, done.err
    assert '"subject": "[Test] Today is oil change day' in taken.read_text()
    assert '"to": ["me@example.com"]' in taken.read_text()
    assert drip(shop, "log", "--json").out == ""


def test_trouble_with_the_server_is_one_sentence_and_nothing_is_lost(
    shop: Path,
) -> None:
    use_smtp(shop, free_port())
    complaint(
        drip(shop, "run", "--once", "--now", NOW[:10] + " 16:00"),
        "There is no connection to the mail server",
        "help:",
    )
    waiting = drip(shop, "status", "--json").rows[0]["campaigns"]["oil-change"][
        "pending"
    ]
    assert waiting > 10
    by_other_channels = len([*(shop / ".drip" / "out").glob("*.txt")])
    assert by_other_channels > 0
    use_smtp_again = shop / "campaigns" / "_settings.yaml"
    use_smtp_again.write_text(
        re.sub(
            r"(?m)^  email: .*$",
            "  email: { use: files, folder: out }",
            use_smtp_again.read_text("utf-8"),
            count=1,
        )
    )
    done = drip(shop, "run", "--once", "--now", NOW[:10] + " 16:01")
    assert int(done.out.split()[0]) >= waiting
    written = [*(shop / "out").glob("*.eml"), *(shop / ".drip" / "out").glob("*.txt")]
    assert len(written) == int(done.out.split()[0]) + by_other_channels


def test_a_secret_that_is_not_set_is_named(shop: Path) -> None:
    use_smtp(shop, 25, ", user: maple, password: secret:NO_SUCH_SECRET")
    complaint(
        drip(shop, "run", "--once"),
        "The secret NO_SUCH_SECRET is not set",
        "campaigns/_settings.yaml",
    )


def test_hold_and_stop_keep_everything_back(shop: Path) -> None:
    assert drip(shop, "hold", "oil-change").code == 0
    assert drip(shop, "stop").code == 0
    done = drip(shop, "run", "--once", "--now", NOW[:10] + " 16:00")
    assert "0 sent" in done.out
    assert "everything" in done.out
    drip(shop, "stop", "--off")
    drip(shop, "hold", "oil-change", "--off")
    assert not drip(shop, "run", "--once", "--now", NOW[:10] + " 16:01").out.startswith(
        "0 sent"
    )
    complaint(drip(shop, "hold", "oil-chnge"), "did you mean `oil-change`")


def test_a_suppressed_address_gets_nothing_more(shop: Path) -> None:
    address = next(
        row["contact"]
        for row in drip(shop, "preview", "--json", "--now", NOW).rows
        if row["outcome"] == "sent"
    )
    assert address == "ana"
    assert (
        drip(shop, "suppress", "ANAMORALES.0@example.com", "--why", "hard bounce").code
        == 0
    )
    rows = drip(shop, "preview", "--contact", "ana", "--json", "--now", NOW).rows
    assert not [row for row in rows if row["outcome"] == "sent"]
    assert {row["sentence"] for row in rows if row["code"] == "suppressed"} == {
        "the address is suppressed: hard bounce"
    }
    complaint(drip(shop, "suppress", "no address"), "is not an e-mail address")


def test_a_broken_settings_file_does_not_keep_anybody_from_stopping(shop: Path) -> None:
    with (shop / "campaigns" / "_settings.yaml").open("a") as file:
        file.write("nonsense: yes\n")
    assert drip(shop, "stop").code == 0
    assert drip(shop, "status").code == 0
    complaint(drip(shop, "preview"), "there is no key `nonsense` here")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("preview", "birthdy"), "did you mean `birthday`"),
        (("preview", "--contact", "nobody"), "There is no contact `nobody`"),
        (("preview", "--now", "tomorrow"), "is not a time like"),
        (("explain", "nobody"), "There is no contact"),
        (("send", "birthday", "--as", "ana", "--to", "me"), "not an e-mail address"),
        (("import", "boats", "x.csv"), "cannot be read"),
        (("import", "contacts", "none.csv"), "cannot be read"),
        (("release", "7", "--as", "sent"), "Message 7 is not held"),
        (("nonsense",), "No such command"),
    ],
)
def test_wrong_calls_are_explained_with_exit_code_2(
    shop: Path, arguments: tuple[str, ...], said: str
) -> None:
    complaint(drip(shop, *arguments), said)


def test_a_folder_that_is_no_workspace_and_databases_that_are_none(
    tmp_path: Path, shop: Path
) -> None:
    complaint(drip(tmp_path, "check"), "There is no workspace", "drip init")
    (tmp_path / "text.db").write_text("not a database at all, but a text " * 50)
    complaint(
        drip(shop, "status", DRIP_DATABASE=str(tmp_path / "text.db")),
        "is not a database of drip",
    )
    complaint(
        drip(shop, "status", DRIP_DATABASE="postgresql://u:secret@localhost:1/x"),
        "does not answer",
        "DRIP_DATABASE",
    )
    with sqlite3.connect(shop / ".drip" / "drip.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    complaint(drip(shop, "preview"), "newer version of drip")
    complaint(drip(shop, "db", "upgrade"), "newer version of drip")


def test_init_writes_a_workspace_once(tmp_path: Path) -> None:
    done = drip(tmp_path, "init", str(tmp_path / "new"), "--now", NOW)
    assert done.code == 0
    assert drip(tmp_path / "new", "check").code == 0
    issues = sorted(
        path.name for path in (tmp_path / "new/templates/newsletter/issues").iterdir()
    )
    assert issues == ["2026-11-26-winter-tyres.md", "2026-12-03-battery.md"]
    complaint(drip(tmp_path, "init", str(tmp_path / "new")), "is there already")


def test_the_demo_shows_it_all(tmp_path: Path) -> None:
    done = drip(tmp_path, "demo", "--dir", str(tmp_path / "demo"), "--now", NOW)
    assert done.code == 0, done.err
    assert "What does not, and why" in done.out
    count = int(re.search(r"(\d+) messages are in", done.out)[1])  # type: ignore[index]
    mails = list((tmp_path / "demo" / ".drip" / "out").glob("*"))
    assert len(mails) == count > 300
    assert f"{count} messages to" in done.out
