"""`pdf`: letters as print-ready PDF (WeasyPrint, extra `drip[pdf]`), with a CSV
of whom they go to.

All letters that leave together are one batch: `2026-11-26_0930_1f3a….pdf` and
the same name with `.csv`. A batch that is there is whole, and never changes.
"""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from drip import private
from drip.core.message import (
    DeliverySession,
    Message,
    Receipt,
    Refused,
    Sent,
    TransportDown,
    Unsent,
    with_pictures,
)
from drip.core.sheets import ENCODING, write_sheet
from drip.core.shortage import Shortage, said, shortage
from drip.core.token import NAME
from drip.transports.options import only

# Laying one out takes some 50 ms, and while a batch is made no other channel
# has its turn.
MOST = 300
# So often the desk is told that the sender is alive.
BREATH = 20
# Where an address shows through an envelope's window however the letter slips
# in it: left, top and width in millimetres, from the sheet's corner. DIN 5008
# form B for DL and C6/5; No. 10 with a left window for letters folded in three.
WINDOWS = {"din": ("A4", 25, 63, 80), "us": ("Letter", 26, 62, 80)}
# The text begins below the window.
BELOW = 105
BODY = re.compile(r"<body\b[^>]*>", re.I)
COLUMNS = ("letter", "first_page", "pages", "name", "address", "message")
# The library says how it likes the CSS, with pieces of the letter in it.
logging.getLogger("weasyprint").addHandler(logging.NullHandler())
logging.getLogger("weasyprint").propagate = False


@dataclass(frozen=True, slots=True)
class Letter:
    """One message laid out."""

    message: Message
    pages: Sequence[Any]
    blank: Sequence[Any] = ()


class PdfTransport:
    """Options: `folder`, `window: din` (A4, DIN 5008) or `us` (Letter, No. 10),
    and `duplex: yes` to begin each letter on a sheet of its own where both
    sides are printed.

    A letter whose template does not print the address gets it where the window
    is.
    """

    channels = frozenset({"letter"})

    def __init__(self, options: Mapping[str, str]) -> None:
        try:
            import weasyprint
            import weasyprint.urls as urls
        except ImportError:
            raise ValueError(
                "the transport `pdf` needs an extra package: pip install 'drip[pdf]'"
            ) from None
        except OSError as error:
            if lack := shortage(error) or said(str(error)):
                raise lack from None
            # It is a library of C that is missing.
            raise ValueError(
                "the transport `pdf` needs Pango, for Debian: apt install libpangoft2-1.0-0"
            ) from None
        only(options, "pdf", {"folder", "window", "duplex"})
        if "folder" not in options:
            raise ValueError(
                "the transport `pdf` needs a `folder`: where the letters go"
            )
        window, self._duplex = (
            options.get("window", "din"),
            options.get("duplex", "no") == "yes",
        )
        if window not in WINDOWS:
            raise ValueError(
                f"`window: {window}` is none that is known; write `din` or `us`"
            )
        self._folder, self._window = Path(options["folder"]), WINDOWS[window]
        self._library: Any = weasyprint

        class Own(urls.URLFetcher):  # type: ignore[misc]  # it has no types
            """What the letter does not hold itself is not fetched: neither
            files of this machine nor the network.
            """

            def fetch(self, url: str, headers: Any = None) -> Any:
                if not url.startswith("data:"):
                    raise urls.FatalURLFetchingError(
                        f"{url[:100]} is not part of the letter"
                    )
                return super().fetch(url, headers)

        class Nothing(urls.URLFetcher):  # type: ignore[misc]  # it has no types
            """When letters are written there is nothing left to be fetched."""

            def fetch(self, url: str, headers: Any = None) -> Any:
                raise ValueError("nothing is fetched here")

        self._fetcher, self._fatal, self._nothing = (
            Own(),
            urls.FatalURLFetchingError,
            Nothing(),
        )

    def send(self, message: Message) -> Receipt:
        """Writes a batch of one.

        Raises TransportDown for a folder that cannot be written.
        """
        letter = self._laid_out(message)
        if not isinstance(letter, Letter):
            return letter
        batch = Batch(self._folder, [letter], self._bytes([letter]))
        return batch.put_in_place()

    def deliver(self, messages: Iterator[Message], session: DeliverySession) -> None:
        """Batches of at most `MOST`.

        Raises TransportDown for a folder that cannot be written, Shortage if
        there is no room; nothing has begun then.
        """
        while some := list(islice(messages, MOST)):
            letters: list[Letter] = []
            refused: list[tuple[Message, Receipt]] = []
            for number, message in enumerate(some):
                if number % BREATH == 0:
                    session.turn([], [])
                made = self._laid_out(message)
                if isinstance(made, Letter):
                    letters.append(made)
                else:
                    refused.append((message, made))
            self._deliver(letters, refused, session)

    def _deliver(
        self,
        letters: list[Letter],
        refused: list[tuple[Message, Receipt]],
        session: DeliverySession,
    ) -> None:
        """The file is written before the last check, so that little is left to
        do after it.
        """
        # An empty batch still says how the refused ones ended.
        batch = Batch(self._folder, letters, self._bytes(letters)) if letters else None
        may = session.turn(refused, [each.message for each in letters])
        go = [each for each, good in zip(letters, may, strict=True) if good]
        if batch is None or not go:
            if batch:
                batch.drop()
            return
        try:
            if len(go) < len(letters):
                batch.drop()
                batch = Batch(self._folder, go, self._bytes(go))
            receipt = batch.put_in_place()
        except TransportDown as down:
            session.turn(
                [(each.message, Unsent(str(down), "transport")) for each in go], []
            )
            raise
        except Shortage as lack:
            session.turn(
                [(each.message, Unsent(str(lack), "machine")) for each in go], []
            )
            raise
        session.turn([(each.message, receipt) for each in go], [])

    def close(self) -> None:
        """Nothing is kept open."""

    @staticmethod
    def forget(folder: Path, runs: Collection[int]) -> None:
        """In a folder's batches there are empty pages in place of the letters
        of these runs, and in the lists empty lines. Raises OSError.
        """
        for listing in sorted((*folder.glob("*.csv"), *folder.glob("*.csv.writing"))):
            _forget_letters(listing, runs)

    def _laid_out(self, message: Message) -> Letter | Refused:
        html = with_pictures(message)
        page = html if html is not None else _page_of(message.text)
        try:
            document = self._library.HTML(
                string=self._addressed(page, message), url_fetcher=self._fetcher
            ).render(stylesheets=[self._library.CSS(string=self._sheet(page, message))])
        except (Exception, self._fatal) as error:
            # The library is given whatever a template makes, and has no
            # exception of its own.
            if lack := shortage(error):
                raise lack from None
            return Refused(f"it cannot be printed: {error}"[:300])
        pages = document.pages
        # These would be read when the letter is written, and be in it.
        if document.metadata.attachments or any(
            link[0] == "attachment" for page in pages for link in page.links
        ):
            return Refused("it cannot be printed: files cannot be attached to a letter")
        return Letter(
            message,
            pages,
            self._blank(pages[-1]) if self._duplex and len(pages) % 2 else (),
        )

    def _blank(self, like: Any) -> Sequence[Any]:
        """An empty page of the same size, for the back of the last one."""
        sheet = self._library.CSS(
            string=f"@page {{ size: {like.width}px {like.height}px }}"
        )
        pages: Sequence[Any] = self._empty(stylesheets=[sheet]).pages
        return pages

    def _has_address(self, html: str, message: Message) -> bool:
        """Whether the template prints the address itself, in whichever lines."""
        plain = "".join(str(Markup(html).striptags()).split())
        return "".join(message.to.address.split()) in plain

    def _addressed(self, html: str, message: Message) -> str:
        if self._has_address(html, message):
            return html
        lines = [
            each.strip()
            for each in (message.to.name, *message.to.address.splitlines())
            if each.strip()
        ]
        block = f'<p class="drip-address">{"<br>".join(str(escape(each)) for each in lines)}</p>'
        # Before everything else: it belongs onto the first page.
        found = BODY.search(html)
        at = found.end() if found else 0
        return f"{html[:at]}{block}{html[at:]}"

    def _sheet(self, html: str, message: Message) -> str:
        """The sheet of paper, where the template says nothing else; the first
        page begins below the window.
        """
        paper, left, top, width = self._window
        sheet = f"@page {{ size: {paper}; margin: 20mm 20mm 20mm 25mm }}"
        if self._has_address(html, message):
            return sheet
        return sheet + (
            f"@page :first {{ margin-top: {BELOW}mm !important }}"
            f".drip-address {{ position: absolute; top: {top - BELOW}mm; left: {left - 25}mm; width: {width}mm;"
            f" margin: 0; font: 10pt/1.35 sans-serif; color: #000 }}"
        )

    def _empty(self, **options: Any) -> Any:
        return self._library.HTML(string="<p></p>", url_fetcher=self._nothing).render(
            **options
        )

    def _bytes(self, letters: Sequence[Letter]) -> bytes:
        pages = [page for each in letters for page in (*each.pages, *each.blank)]
        made: bytes = self._empty().copy(pages).write_pdf()
        return made


class Batch:
    """A batch that is written beside its place and then put there: the list
    first, so that letters never lack theirs.
    """

    def __init__(self, folder: Path, letters: Sequence[Letter], pdf: bytes) -> None:
        first = letters[0].message
        digest = sha256(
            "\0".join(each.message.message_id for each in letters).encode()
        ).hexdigest()[:10]
        self._name = f"{first.date:%Y-%m-%d_%H%M}_{digest}"
        self._files = {
            folder / f"{self._name}.csv": _listed(letters).encode(ENCODING),
            folder / f"{self._name}.pdf": pdf,
        }
        try:
            private.folder(folder)
            for path, content in self._files.items():
                with os.fdopen(
                    private.create(path.with_name(f"{path.name}.writing")), "wb"
                ) as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            self.drop()
            raise _down(folder, error) from None

    def put_in_place(self) -> Sent:
        """From here on it is there. Raises TransportDown."""
        try:
            for path in self._files:
                path.with_name(f"{path.name}.writing").replace(path)
            # What is said to be sent outlives a power cut.
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            self.drop()
            # Whatever of it is in place is not whole.
            for each in self._files:
                with contextlib.suppress(OSError):
                    each.unlink()
            raise _down(path, error) from None
        return Sent(f"printed in {self._name}.pdf")

    def drop(self) -> None:
        """It is not needed after all."""
        for path in self._files:
            with contextlib.suppress(OSError):
                path.with_name(f"{path.name}.writing").unlink()


def _down(path: Path, error: OSError) -> TransportDown | Shortage:
    sentence = f"Letters cannot be written to {path}: {error.strerror}."
    return shortage(error, str(path)) or TransportDown(sentence, "make it writable")


def _listed(letters: Sequence[Letter]) -> str:
    """Whom the letters go to, in their order, for whoever folds and posts them."""
    made, page, rows = io.StringIO(newline=""), 1, []
    for number, each in enumerate(letters, 1):
        to = each.message.to
        rows.append(
            (
                number,
                page,
                len(each.pages),
                to.name,
                to.address,
                each.message.message_id,
            )
        )
        page += len(each.pages) + len(each.blank)
    write_sheet(made, COLUMNS, rows)
    return made.getvalue()


def _page_of(text: str) -> str:
    """A text without HTML as a page."""
    return f'<html><body style="font: 11pt/1.5 serif; white-space: pre-wrap">{escape(text)}</body></html>'


def _forget_letters(listing: Path, runs: Collection[int]) -> None:
    """Takes letters out of one batch.

    The list goes last: it says which pages they are.
    """
    rows = list(csv.DictReader(io.StringIO(listing.read_text("utf-8-sig"), newline="")))
    if not rows or tuple(rows[0]) != COLUMNS:
        return
    own = [
        row
        for row in rows
        if (found := NAME.match(row["message"])) and int(found[1], 16) in runs
    ]
    if not own:
        return
    printed = listing.with_name(listing.name.replace(".csv", ".pdf"))
    if listing.suffix == ".writing":
        # Nobody was told that it is there; it is what a power cut has left.
        printed.unlink(missing_ok=True)
        listing.unlink(missing_ok=True)
        return
    if printed.exists():
        first = [(int(row["first_page"]), int(row["pages"])) for row in own]
        _put(
            printed,
            _without_pages(
                printed,
                {
                    page
                    for start, count in first
                    for page in range(start, start + count)
                },
            ),
        )
    for row in own:
        row |= {"name": "", "address": "", "message": ""}
    made = io.StringIO()
    writer = csv.DictWriter(made, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    _put(listing, made.getvalue().encode("utf-8-sig"))


def _without_pages(printed: Path, gone: Collection[int]) -> bytes:
    """The batch with empty pages for those that are gone, counted from 1."""
    from pypdf import PdfReader, PdfWriter

    made, writer = io.BytesIO(), PdfWriter()
    for number, page in enumerate(PdfReader(printed).pages, 1):
        if number in gone:
            writer.add_blank_page(page.mediabox.width, page.mediabox.height)
        else:
            writer.add_page(page)
    writer.write(made)
    return made.getvalue()


def _put(path: Path, content: bytes) -> None:
    """Puts a file in place, whole or not at all."""
    making = path.with_name(f"{path.name}.writing")
    private.write(making, content)
    making.replace(path)
