"""Importing people: any dialect, bad rows set aside, twice is once, a no stays a no."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import strategies as st
from sqlalchemy import select

from drip.errors import DripError
from drip.importing import importer
from drip.importing.rows import RowFile, open_table, write_rejected
from drip.importing.values import parse_email
from drip.storage.base.schema import consent_log
from drip.storage.people import consents, contacts
from drip.storage.people import events as event_store
from tests.world import World, at

Worlds = Callable[..., World]


def contact(world: World, key: str) -> contacts.Contact:
    with world.database.read() as connection:
        return contacts.contacts_by_key(connection, [key])[key]


def given(world: World, key: str) -> dict[str, bool]:
    with world.database.read() as connection:
        number = contacts.contacts_by_key(connection, [key])[key].id
        return {
            each.topic: each.given
            for each in consents.of_contacts(connection, [number])[number]
        }


def rows_of(table: RowFile) -> list[dict[str, str]]:
    return [row.cells for row in table.rows if not row.wrong]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_any_dialect_and_encoding_is_read(
    tmp_path: Path, delimiter: str, encoding: str
) -> None:
    text = (
        "\r\n".join(
            delimiter.join(cells)
            for cells in (("key", "name"), ("1", '"Zoë; Ann, | B"'), ("2", "Café"))
        )
        + "\r\n"
    )
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode(encoding))
    table = open_table(path)
    assert table.columns == ("key", "name")
    assert rows_of(table) == [
        {"key": "1", "name": "Zoë; Ann, | B"},
        {"key": "2", "name": "Café"},
    ]


def test_gzip_and_json_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    lines = [
        {"key": "1", "ok": True, "n": 5, "none": None},
        {"key": "2", "fields": {"total": 9.5}},
    ]
    path.write_bytes(
        gzip.compress("\n".join(json.dumps(line) for line in lines).encode())
    )
    assert rows_of(open_table(path)) == [
        {"key": "1", "ok": "yes", "n": "5", "none": ""},
        {"key": "2", "total": "9.5"},
    ]


def test_the_csv_spectrum_is_read_as_its_answers_say(corpora: Path) -> None:
    for path in sorted((corpora / "csv-spectrum" / "csvs").glob("*.csv")):
        # newlines_crlf.csv has lost its CRLF on the way here, its answer has not.
        answer = (
            (corpora / "csv-spectrum" / "json" / f"{path.stem}.json")
            .read_text("utf-8")
            .replace("\\r\\n", "\\n")
        )
        expected = json.loads(answer)
        found = rows_of(open_table(path))
        assert found == expected, path.name


def test_bad_rows_are_set_aside_with_their_reason_and_the_good_ones_kept(
    world: Worlds,
) -> None:
    made = world({})
    report = made.contacts(
        "key,email,phone,birthday,country,timezone,news",
        "ana,ana@example.com,+13125550123,1990-02-28,US,,yes",
        ",no-key@example.com,,,,,",
        "ben,not an address,,,,,",
        "cy,cy@example.com,12,,,,",
        "di,di@example.com,,1990-02-30,,,",
        "ed,ed@example.com,,,Germany,,",
        "fi,fi@example.com,,,,Mars,",
        "gus,gus@example.com,,,,,perhaps",
        "ana,again@example.com,,,,,",
        "hal,hal@example.com",
    )
    assert (report.new, len(report.rejected)) == (1, 9)
    reasons = {row.line: why for row, why in report.rejected}
    for line, said in (
        (3, "no key"),
        (4, "not an e-mail address"),
        (5, "phone"),
        (6, "no day of the calendar"),
        (7, "country code"),
        (8, "not a time zone"),
        (9, "neither yes, no nor a date"),
        (10, "earlier row"),
        (11, "2 cells and the header 7"),
    ):
        assert said in reasons[line], (line, reasons[line])


def test_importing_twice_changes_nothing(world: Worlds) -> None:
    made = world({})
    lines = ("key,email,first_name,birthday,news", "ana,ana@example.com,Ana,02-29,yes")
    assert made.contacts(*lines).new == 1
    again = made.contacts(*lines)
    assert (again.new, again.changed, again.same, again.consents) == (0, 0, 1, 0)
    events = ("event,id,contact,at,total", "order.placed,1,ana,2026-11-20 10:00,9.50")
    assert made.events(*events).new == 1
    assert (made.events(*events).new, made.events(*events).same) == (0, 1)
    without_id = ("event,contact,at", "order.placed,ana,2026-11-21 10:00")
    assert [made.events(*without_id).new for _ in range(2)] == [1, 0]


def test_an_empty_cell_and_a_missing_column_change_nothing(world: Worlds) -> None:
    made = world({})
    made.contacts("key,email,first_name", "ana,ana@example.com,Ana")
    made.contacts("key,first_name", "ana,")
    assert contact(made, "ana").attributes == {"first_name": "Ana"}
    assert contact(made, "ana").email == "ana@example.com"


def test_a_no_stays_a_no_when_an_old_list_is_imported_again(world: Worlds) -> None:
    made = world({})
    lines = ("key,email,news", "ana,ana@example.com,yes")
    made.contacts(*lines, now="2026-01-01")
    made.contacts("key,news", "ana,no", now="2026-02-01")
    made.contacts(*lines, now="2026-03-01")
    assert given(made, "ana") == {"news": False}
    made.contacts("key,news", "ana,2026-02-15", now="2026-03-02")
    assert given(made, "ana") == {"news": True}
    with made.database.read() as connection:
        log = connection.execute(
            select(consent_log.c.given, consent_log.c.source).order_by(consent_log.c.id)
        ).all()
    assert [tuple(row) for row in log] == [
        (True, "test"),
        (False, "test"),
        (True, "test"),
    ]


def test_a_dated_yes_older_than_the_no_changes_nothing(world: Worlds) -> None:
    made = world({})
    made.contacts("key,email,news", "ana,ana@example.com,no", now="2026-02-01")
    made.contacts("key,news", "ana,2026-01-15", now="2026-03-02")
    assert given(made, "ana") == {"news": False}


@pytest.mark.parametrize(
    ("country", "phone", "timezone", "expected"),
    [
        ("FR", "", "", "Europe/Paris"),
        ("DE", "", "", "Europe/Berlin"),
        ("US", "", "", None),
        ("US", "+13125550123", "", "America/Chicago"),
        ("US", "312 555 0123", "", "America/Chicago"),
        ("FR", "", "Asia/Tokyo", "Asia/Tokyo"),
        ("", "", "", None),
    ],
)
def test_the_zone_is_the_contacts_own_or_found_out(
    world: Worlds, country: str, phone: str, timezone: str, expected: str | None
) -> None:
    made = world({})
    made.contacts(
        "key,email,country,phone,timezone",
        f"a,a@example.com,{country},{phone},{timezone}",
    )
    assert contact(made, "a").zone == expected


def test_a_file_without_its_key_column_is_refused_with_the_remedy(
    world: Worlds,
) -> None:
    made = world({})
    with pytest.raises(
        DripError, match="no column `key`; its columns are `id` and `email`"
    ) as error:
        made.contacts("id,email", "1,a@example.com")
    assert error.value.help == "name the column that holds it: --map COLUMN=key"
    with pytest.raises(DripError, match="is empty"):
        made.contacts("")


def test_suspect_birthdays_and_unknown_columns_are_noted(world: Worlds) -> None:
    report = world({}).contacts(
        "key,email,frist_name,birthday", "a,a@example.com,Ana,1900-01-01"
    )
    assert any("did you mean `first_name`" in note for note in report.notes)
    assert any("placeholder" in note for note in report.notes)


def test_records_and_events_need_their_contact(world: Worlds) -> None:
    made = world({})
    made.contacts("key,email", "ana,ana@example.com", "ben,ben@example.com")
    vehicles = made.vehicles(
        "key,contact,model,status",
        "v1,ana,Golf,active",
        "v2,zoe,Golf,active",
        "v3,ana,Golf,broken",
    )
    assert [why for _, why in vehicles.rejected] == [
        "there is no contact `zoe`",
        "`broken` is none of active, sold",
    ]
    events = made.events(
        "event,contact,at,vehicle",
        "booking.created,ana,2026-11-20 10:00,v1",
        "booking.created,ben,2026-11-20 10:00,v1",
        "booking.created,ana,yesterday,",
        "booking,ana,2026-11-20,",
    )
    assert events.new == 1
    assert [why.split("`")[0] for _, why in events.rejected] == [
        "this contact has no vehicle ",
        "",
        "",
    ]


def test_a_time_without_offset_is_the_workspaces_clock(world: Worlds) -> None:
    made = world({})
    made.contacts("key,email", "ana,ana@example.com")
    made.events(
        "event,id,contact,at",
        "a.b,1,ana,2026-07-01 10:00",
        "a.b,2,ana,2026-07-01T10:00:00+02:00",
    )
    with made.database.read() as connection:
        found = event_store.events_of(connection, [1], ["a.b"])[1]
    assert [f"{each.at:%H:%M}" for each in found] == ["08:00", "15:00"]


def test_rejected_rows_are_written_beside_their_file(
    tmp_path: Path, world: Worlds
) -> None:
    report = world({}).contacts("key,email", ",x@example.com", 'a,"b,c"')
    path = write_rejected(tmp_path / "people.csv", report.rejected)
    assert path.name == "people.csv.rejected.csv"
    rows = rows_of(open_table(path))
    assert [row["line"] for row in rows] == ["2", "3"]
    assert rows[1]["email"] == "b,c"


def test_an_open_quote_swallows_nobody_in_silence(world: Worlds) -> None:
    report = world({}).contacts(
        "key,email,first_name",
        'ana,ana@example.com,"Ana',
        "ben,ben@example.com,Ben",
        "cy,cy@example.com,Cy",
    )
    assert report.new == 0
    ((row, why),) = report.rejected
    assert row.line == 2
    assert "never closed" in why


def test_half_a_character_is_set_aside(world: Worlds, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"key": "a", "email": "a@example.com", "first_name": "\\ud800"}\n')
    (row,) = open_table(path).rows
    assert row.wrong == "a value holds a character that text cannot have"
    assert write_rejected(path, [(row, row.wrong)]).exists()


def test_an_empty_json_file_and_a_damaged_archive_are_explained(
    world: Worlds, tmp_path: Path
) -> None:
    made = world({})
    (tmp_path / "x.jsonl").write_text("")
    with pytest.raises(DripError, match="no column `key`"):
        importer.import_contacts(
            made.database,
            made.workspace.settings,
            open_table(tmp_path / "x.jsonl"),
            {},
            "x",
            at("2026-01-01"),
        )
    (tmp_path / "x.csv.gz").write_bytes(
        gzip.compress(b"key,email\n" * 100)[:40] + b"damage" * 9
    )
    with pytest.raises(DripError, match="cannot be read"):
        open_table(tmp_path / "x.csv.gz")


def test_a_domain_of_other_letters_is_kept_in_its_ascii_form(world: Worlds) -> None:
    made = world({})
    made.contacts("key,email", "a,a@bücher.de")
    assert contact(made, "a").email == "a@xn--bcher-kva.de"


@hypothesis.given(
    st.from_regex(r"[A-Za-z0-9_+.\-]{1,70}", fullmatch=True),
    st.sampled_from(
        [
            "example.com",
            "Example.COM",
            "müller.example",
            "a.test",
            "localhost",
            "-x.com",
            "x..com",
            "example.com.",
        ]
    ),
)
def test_addresses_that_need_no_second_look_come_out_as_with_one(
    local_part: str, domain: str
) -> None:
    text = f"{local_part}@{domain}"
    try:
        found = validate_email(text, check_deliverability=False)
        expected: str | None = found.ascii_email or found.normalized
    except EmailNotValidError:
        expected = None
    try:
        assert parse_email(text) == expected
    except ValueError:
        assert expected is None
