"""Letters as PDF: batches that are whole, addresses where the window is, and what cannot be printed."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pypdf import PageObject, PdfReader

from drip.core.message import (
    Attachment,
    Mailbox,
    Message,
    Receipt,
    Refused,
    Sent,
    TransportDown,
    Unsent,
)
from drip.core.shortage import Shortage
from drip.transports.pdf import PdfTransport
from tests.cli import drip
from tests.cli import shop as made_of
from tests.servers import missing
from tests.test_templates import PNG
from tests.test_transports import MESSAGE
from tests.world import SETTINGS

ADDRESS = "12 Elm Street\n62701 Springfield"
LETTER = replace(
    MESSAGE,
    channel="letter",
    to=Mailbox("Ana Morales", ADDRESS),
    html='<html lang="en"><body><p>Dear Ana</p></body></html>',
)
MM = 72 / 25.4


def transport(folder: Path, **options: str) -> PdfTransport:
    try:
        return PdfTransport({"folder": str(folder), **options})
    except ValueError as error:
        if "Pango" not in str(error):
            raise
        missing("no Pango")


def letters(count: int, **changes: object) -> list[Message]:
    return [
        replace(LETTER, message_id=f"{n}@maple.example", **changes)
        for n in range(count)
    ]  # type: ignore[arg-type]


def batch(folder: Path) -> tuple[list[PageObject], list[dict[str, str]]]:
    """The pages of the one batch, and its list."""
    (pdf,), (listed,) = folder.glob("*.pdf"), folder.glob("*.csv")
    assert len(list(folder.iterdir())) == 2
    rows = csv.DictReader(io.StringIO(listed.read_text("utf-8-sig"), newline=""))
    return list(PdfReader(pdf).pages), list(rows)


def where(page: PageObject, word: str) -> tuple[float, float]:
    """Millimetres from the left and from the top at which a word begins."""
    found: list[tuple[float, float]] = []

    def look(
        text: str, matrix: Sequence[float], at: Sequence[float], *_: object
    ) -> None:
        if text.strip().startswith(word):
            x, y = at[4] * matrix[0] + matrix[4], at[5] * matrix[3] + matrix[5]
            found.append((x / MM, (float(page.mediabox.height) - y) / MM))

    page.extract_text(visitor_text=look)
    return found[0]


@dataclass
class Clerk:
    """A session that lets everybody begin but these, and notes how each ended."""

    refuses: frozenset[str] = frozenset()
    ended: dict[str, Receipt] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    looks: Callable[[], None] = lambda: None

    def turn(
        self, ended: Sequence[tuple[Message, Receipt]], ready: Sequence[Message]
    ) -> list[bool]:
        self.looks()
        self.ended |= {message.message_id: receipt for message, receipt in ended}
        good = [each.message_id not in self.refuses for each in ready]
        self.begun += [
            each.message_id for each, may in zip(ready, good, strict=True) if may
        ]
        return good


@pytest.mark.parametrize(
    ("window", "size", "left"), [("din", (210, 297), 25), ("us", (215.9, 279.4), 26)]
)
def test_a_letter_without_its_address_gets_it_where_the_window_is(
    tmp_path: Path, window: str, size: tuple[float, float], left: float
) -> None:
    assert isinstance(transport(tmp_path, window=window).send(LETTER), Sent)
    pages, _ = batch(tmp_path)
    (page,) = pages
    assert (
        float(page.mediabox.width) / MM,
        float(page.mediabox.height) / MM,
    ) == pytest.approx(size, abs=0.1)
    x, y = where(page, "Ana")
    assert x == pytest.approx(left, abs=1) and 62 <= y <= 72
    assert where(page, "Dear")[1] > 100


def test_a_letter_that_prints_its_address_is_left_as_it_is(tmp_path: Path) -> None:
    own = f"<html><head><style>@page {{ size: A5 }}</style></head><body><p>{ADDRESS}</p><p>Dear Ana</p></body></html>"
    transport(tmp_path).send(replace(LETTER, html=own))
    ((page,), _) = batch(tmp_path)
    assert float(page.mediabox.width) / MM == pytest.approx(148, abs=0.1)
    assert page.extract_text().count("Elm Street") == 1 and where(page, "Dear")[1] < 60


def test_all_that_leave_together_are_one_batch_with_a_list(tmp_path: Path) -> None:
    long = replace(
        LETTER,
        html="<p>" + "Some text. " * 1500 + "</p>",
        message_id="long@maple.example",
        to=Mailbox("=cmd()", "1 Oak Avenue"),
    )
    clerk = Clerk()
    transport(tmp_path, duplex="yes").deliver(
        iter([*letters(2), long, *letters(1, html=None)]), clerk
    )
    pages, rows = batch(tmp_path)
    assert {type(each) for each in clerk.ended.values()} == {Sent}
    firsts = [int(row["first_page"]) for row in rows]
    # Both sides are printed, so that each begins on an odd page.
    assert all(first % 2 == 1 for first in firsts) and firsts == sorted(set(firsts))
    for row, first in zip(rows, firsts, strict=True):
        assert row["address"].split("\n")[0] in pages[first - 1].extract_text()
    assert (
        rows[2]["name"] == "'=cmd()"
        and rows[0]["address"] == ADDRESS
        and int(rows[2]["pages"]) > 2
    )


def test_who_may_not_go_any_more_is_in_no_batch(tmp_path: Path) -> None:
    clerk = Clerk(refuses=frozenset({"1@maple.example"}))
    transport(tmp_path).deliver(iter(letters(3)), clerk)
    _, rows = batch(tmp_path)
    assert (
        [row["message"] for row in rows]
        == ["0@maple.example", "2@maple.example"]
        == clerk.begun
    )
    transport(tmp_path / "none").deliver(
        iter(letters(2)),
        Clerk(refuses=frozenset({"0@maple.example", "1@maple.example"})),
    )
    assert list((tmp_path / "none").iterdir()) == []


def test_a_batch_is_in_its_place_only_when_it_is_whole_and_before_it_is_said_to_be_sent(
    tmp_path: Path,
) -> None:
    def looks() -> None:
        seen.append(
            (bool(clerk.ended), sorted(path.suffix for path in tmp_path.iterdir()))
        )

    seen: list[tuple[bool, list[str]]] = []
    clerk = Clerk(looks=looks)
    transport(tmp_path).deliver(iter(letters(2)), clerk)
    assert seen == [
        (False, []),
        (False, [".writing", ".writing"]),
        (False, [".csv", ".pdf"]),
    ]


@pytest.mark.parametrize(
    "html",
    [
        "<img src='file:///etc/passwd'>",
        "<img src='http://127.0.0.1:1/a.png'>",
        "<link rel='stylesheet' href='http://127.0.0.1:1/a.css'>",
        "<style>@import url(file:///etc/hosts);</style>",
        "<object data='file:///etc/passwd'></object>",
    ],
)
def test_nothing_is_fetched_for_a_letter_and_the_others_go(
    tmp_path: Path, html: str
) -> None:
    clerk = Clerk()
    bad = replace(LETTER, html=html, message_id="bad@maple.example")
    transport(tmp_path).deliver(iter([bad, *letters(1)]), clerk)
    assert isinstance(clerk.ended["0@maple.example"], Sent)
    refused = clerk.ended["bad@maple.example"]
    assert (
        isinstance(refused, Refused) and "is not part of the letter" in refused.answer
    )


@pytest.mark.parametrize(
    "html",
    [
        "<p>x <a rel='attachment' href='{}'>y</a></p>",
        "<link rel=attachment href='{}'><p>x</p>",
        "<p>x <a href='{}' rel='noopener ATTACHMENT'>y</a></p>",
    ],
)
@pytest.mark.parametrize("send", [True, False])
def test_no_file_of_this_machine_gets_into_a_letter(
    tmp_path: Path, html: str, send: bool
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret of this machine")
    bad = replace(
        LETTER, html=html.format(secret.as_uri()), message_id="bad@maple.example"
    )
    clerk = Clerk()
    if send:
        transport(tmp_path / "out").send(bad)
    else:
        transport(tmp_path / "out").deliver(iter([bad, *letters(1)]), clerk)
        assert isinstance(clerk.ended["bad@maple.example"], Refused)
    for path in (tmp_path / "out").glob("*.pdf"):
        assert PdfReader(path).attachments == {}


def test_a_list_does_not_stay_without_its_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if target.suffix == ".pdf":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(Shortage):
        transport(tmp_path).send(LETTER)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_goes_along_is_printed(tmp_path: Path) -> None:
    shown = replace(
        LETTER,
        html='<img alt="x" src="cid:1@drip">',
        attachments=(Attachment("a.png", "image/png", PNG, "1@drip"),),
    )
    assert isinstance(transport(tmp_path).send(shown), Sent)
    ((page,), _) = batch(tmp_path)
    assert len(page.images) == 1


def test_a_folder_that_cannot_be_written_closes_the_way_and_nothing_has_begun(
    tmp_path: Path,
) -> None:
    (tmp_path / "out").write_text("a file")
    clerk = Clerk()
    with pytest.raises(TransportDown, match="cannot be written"):
        transport(tmp_path / "out").deliver(iter(letters(2)), clerk)
    assert clerk.begun == []


def test_a_folder_that_goes_at_the_last_moment_leaves_nothing_in_doubt(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "out"

    def looks() -> None:
        if folder.is_dir() and list(folder.glob("*.writing")):
            for path in folder.iterdir():
                path.unlink()

    clerk = Clerk(looks=looks)
    with pytest.raises(TransportDown):
        transport(folder).deliver(iter(letters(2)), clerk)
    assert {type(each) for each in clerk.ended.values()} == {Unsent} and len(
        clerk.ended
    ) == 2


@pytest.mark.parametrize(
    "options", [{}, {"folder": "x", "window": "c4"}, {"folder": "x", "paper": "A4"}]
)
def test_options_that_cannot_be_are_refused(options: dict[str, str]) -> None:
    transport(Path(os.devnull).parent)
    with pytest.raises(ValueError, match=r"`folder`|`window|`paper`"):
        PdfTransport(options)


def test_a_shop_prints_its_letters(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    transport(root / "x")
    files = {
        "campaigns/_settings.yaml": SETTINGS.replace(
            "email: { use: memory }", "letter: { use: pdf, folder: out }"
        ),
        "campaigns/spring.yaml": "name: Spring\ntopic: service\ntrigger: { schedule: 2026-11-26 10:00 }\n"
        "steps: [{ send: spring, channel: letter }]\n",
        "templates/spring.md": "---\nsubject: Spring\n---\nDear {{ contact.first_name }}, spring is here.\n",
    }
    people = 'key,first_name,postal_address\nana,Ana,"1 Elm Street\n62701 Springfield"\nben,Ben,2 Oak Avenue\n'
    made_of(root, files, people)
    assert drip(root, "run", "--once", "--now", "2026-11-26 9:00").code == 0
    assert drip(root, "run", "--once", "--now", "2026-11-26 10:30").code == 0
    pages, rows = batch(root / "out")
    assert [row["name"] for row in rows] == ["Ana", "Ben"]
    assert "Dear Ana, spring is here." in pages[0].extract_text()
    log: Iterator[dict[str, object]] = iter(drip(root, "log", "--json").rows)
    assert [row["outcome"] for row in log].count("sent") == 2
