"""What drip keeps of people is open to no other user of the machine: under every umask, from the first moment."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from drip import private

UMASKS = (0o000, 0o002, 0o022, 0o027, 0o077)
NOW = "2026-11-25 12:00"
LETTER = "name: Letter\ntopic: offers\ntrigger: { schedule: 2026-11-25 10:00 }\nsteps: [send: letter]\n"


def drip(root: Path, *words: str, umask: int = 0o022, ends: int = 0) -> str:
    """What a command prints, run under an umask."""
    done = subprocess.run(
        [sys.executable, "-m", "drip", "-w", str(root), *words],
        capture_output=True,
        text=True,
        check=False,
        umask=umask,
    )
    assert done.returncode == ends, done.stdout + done.stderr
    return done.stdout + done.stderr


def open_to_others(root: Path) -> list[str]:
    """Files and folders below one that anybody else may read, write or enter."""
    return sorted(
        str(path.relative_to(root))
        for path in private.exposed([root, *root.rglob("*")])
    )


class Watch:
    """Looks again and again, beside what goes on, for a file that is open to others for a moment."""

    def __init__(self, root: Path) -> None:
        self.seen: set[str] = set()
        self._root, self._ended = root, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.0005):
            for path in self._there():
                try:
                    if path.lstat().st_mode & private.OTHERS:
                        self.seen.add(str(path.relative_to(self._root)))
                except FileNotFoundError:
                    continue

    def _there(self) -> Iterator[Path]:
        for folder, _, names in os.walk(self._root):
            yield Path(folder)
            yield from (Path(folder, name) for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("umask", UMASKS, ids=oct)
def test_whatever_the_umask_is_people_are_open_to_nobody_else(
    tmp_path: Path, umask: int
) -> None:
    shop = tmp_path / "shop"
    drip(tmp_path, "init", str(shop), umask=umask)
    people, papers = shop / "people.csv", shop / "papers"
    people.write_text(
        "key,email,first_name,country,birthday,offers\nana,ana@example.com,Ana,US,1990-11-22,yes\nben,no address,Ben,,,\n"
    )
    (shop / "campaigns" / "letter.yaml").write_text(LETTER)
    (shop / "templates" / "letter.md").write_text("---\nsubject: Hello\n---\nHello.\n")
    (shop / ".drip").mkdir(private.FOLDER)
    papers.mkdir(private.FOLDER)
    with Watch(shop / ".drip") as watch, Watch(papers) as beside:
        drip(shop, "import", "contacts", str(people), umask=umask, ends=1)
        for clock in ("9:00", "10:30"):
            drip(shop, "run", "--once", "--now", f"2026-11-25 {clock}", umask=umask)
        drip(shop, "preview", "--html", str(papers / "page"), "--now", NOW, umask=umask)
        drip(shop, "tasks", "export", str(papers / "calls.csv"), umask=umask)
        drip(
            shop,
            "report",
            "--csv",
            str(papers / "report.csv"),
            "--now",
            NOW,
            umask=umask,
        )
    assert list((shop / ".drip" / "out").glob("*.eml"))
    assert open_to_others(shop / ".drip") == open_to_others(papers) == []
    assert watch.seen == beside.seen == set()
    assert not list(private.exposed([shop / "people.csv.rejected.csv"]))
    # What a marketer writes and shares is as ever.
    assert (shop / ".gitignore").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_folder_that_was_there_is_told_of_and_closed_by_one_command(
    tmp_path: Path,
) -> None:
    shop = tmp_path / "shop"
    drip(tmp_path, "init", str(shop))
    (shop / ".drip").mkdir(0o755)
    drip(shop, "status")
    drip(shop, "run", "--once", "--now", NOW)
    assert open_to_others(shop / ".drip") == ["."]
    (shop / ".drip" / "drip.db").chmod(0o644)
    assert "`drip db protect`" in drip(shop, "status")
    assert "warning: other users of this machine can read" in drip(shop, "check")
    assert "2 file(s) and folder(s) are closed" in drip(shop, "db", "protect")
    assert open_to_others(shop / ".drip") == []
    assert "drip db protect" not in drip(shop, "status") + drip(shop, "check")
    assert "Nothing was open" in drip(shop, "db", "protect")


def test_what_somebody_has_linked_into_an_open_folder_stays_as_it_is(
    tmp_path: Path,
) -> None:
    shop, theirs = tmp_path / "shop", tmp_path / "theirs"
    drip(tmp_path, "init", str(shop))
    theirs.write_text("for everybody")
    theirs.chmod(0o644)
    (shop / ".drip").mkdir()
    (shop / ".drip").chmod(0o777)
    (shop / ".drip" / "link").symlink_to(theirs)
    assert "1 file(s)" in drip(shop, "db", "protect")
    assert theirs.stat().st_mode & 0o777 == 0o644


def test_a_database_elsewhere_is_looked_at_where_it_lies(tmp_path: Path) -> None:
    shop, disk = tmp_path / "shop", tmp_path / "disk"
    drip(tmp_path, "init", str(shop))
    disk.mkdir(0o755)
    settings = shop / "campaigns" / "_settings.yaml"
    settings.write_text(settings.read_text() + "\ndatabase: link.db\n")
    (shop / "link.db").symlink_to(disk / "people.db")
    drip(shop, "status", umask=0)
    assert not list(private.exposed(disk.glob("people.db*")))
    (disk / "people.db").chmod(0o640)
    assert str(disk / "people.db") in drip(shop, "status")
    # The folder is not drip's.
    assert "1 file(s)" in drip(shop, "db", "protect")
    assert disk.stat().st_mode & 0o777 == 0o755


def test_a_link_in_the_way_of_a_message_is_replaced_and_not_followed(
    tmp_path: Path,
) -> None:
    theirs, own = tmp_path / "theirs", tmp_path / "message.writing"
    theirs.write_text("theirs")
    own.symlink_to(theirs)
    private.write(own, b"ours")
    assert (
        theirs.read_text() == "theirs"
        and own.read_bytes() == b"ours"
        and not own.is_symlink()
    )


def test_an_export_closes_the_file_that_it_replaces_before_it_writes(
    tmp_path: Path,
) -> None:
    before = tmp_path / "calls.csv"
    before.write_text("old")
    before.chmod(0o666)
    with open(before, "w", opener=private.opener) as file:
        assert not list(private.exposed([before])) and before.read_text() == ""
        file.write("people")


def test_copies_that_a_killed_process_left_are_swept_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"{private.SCRATCH}left"
    left.mkdir(private.FOLDER)
    (left / "rehearsal.db").write_text("people")
    with private.scratch() as used:
        (used / "rehearsal.db").write_text("people")
        private.sweep()
        assert not left.exists() and (used / "rehearsal.db").exists()
        assert not list(private.exposed([used]))
    assert not used.exists()
