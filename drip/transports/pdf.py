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
# So often the session is told that the sender is alive.
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


def _weasyprint() -> tuple[Any, Any]:
    """The library, and its module that fetches. Raises ValueError where it is
    missing."""
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
    return weasyprint, urls


def _fetchers(urls: Any) -> tuple[Any, Any]:
    """What fetches while a letter is laid out, and while it is written."""

    class OfLetter(urls.URLFetcher):  # type: ignore[misc]  # it has no types
        """What the letter does not hold itself is not fetched: neither files of this
        machine nor the network.
        """

        def fetch(self, url: str, headers: Any = None) -> Any:
            if not url.startswith("data:"):
                raise urls.FatalURLFetchingError(
                    f"{url[:100]} is not part of the letter"
                )
            return super().fetch(url, headers)

    class NothingFetched(urls.URLFetcher):  # type: ignore[misc]  # it has no types
        """When letters are written there is nothing left to be fetched."""

        def fetch(self, url: str, headers: Any = None) -> Any:
            raise ValueError("nothing is fetched here")

    return OfLetter(), NothingFetched()


class PdfTransport:
    """Options: `folder`, `window: din` (A4, DIN 5008) or `us` (Letter, No. 10),
    and `duplex: yes` to begin each letter on a sheet of its own where both
    sides are printed.

    A letter whose template does not print the address gets it where the window
    is.
    """

    channels = frozenset({"letter"})

    def __init__(self, options: Mapping[str, str]) -> None:
        self._library, urls = _weasyprint()
        only(options, "pdf", {"folder", "window", "duplex"})
        if "folder" not in options:
            raise ValueError(
                "the transport `pdf` needs a `folder`: where the letters go"
            )
        window = options.get("window", "din")
        if window not in WINDOWS:
            raise ValueError(
                f"`window: {window}` is none that is known; write `din` or `us`"
            )
        self._folder = Path(options["folder"])
        self._window = WINDOWS[window]
        self._duplex = options.get("duplex", "no") == "yes"
        self._fatal = urls.FatalURLFetchingError
        self._fetcher, self._nothing = _fetchers(urls)

    def send(self, message: Message) -> Receipt:
        """Writes a batch of one.

        Raises TransportDown for a folder that cannot be written.
        """
        letter = self._laid_out(message)
        if not isinstance(letter, Letter):
            return letter
        return self._batch([letter]).put_in_place()

    def deliver(
        self,
        messages: Iterator[Message],
        session: DeliverySession,
    ) -> None:
        """Batches of at most `MOST`.

        Raises TransportDown for a folder that cannot be written, Shortage if there is
        no room; nothing has begun then.
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
            if letters:
                self._deliver(letters, refused, session)
            else:
                session.turn(refused, [])

    def _deliver(
        self,
        letters: list[Letter],
        refused: list[tuple[Message, Receipt]],
        session: DeliverySession,
    ) -> None:
        """The file is written before the last check, so that little is left to do after
        it.
        """
        batch = self._batch(letters)
        permissions = session.turn(refused, [letter.message for letter in letters])
        pairs = zip(letters, permissions, strict=True)
        permitted = [letter for letter, may in pairs if may]
        if not permitted:
            batch.drop()
            return
        try:
            if len(permitted) < len(letters):
                batch.drop()
                batch = self._batch(permitted)
            receipt: Receipt = batch.put_in_place()
        except TransportDown as down:
            _end_all(permitted, Unsent(str(down), "transport"), session)
            raise
        except Shortage as lack:
            _end_all(permitted, Unsent(str(lack), "machine"), session)
            raise
        _end_all(permitted, receipt, session)

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
        """The pages, or why there are none."""
        try:
            document = self._document(message)
        except (Exception, self._fatal) as error:
            # The library is given whatever a template makes, and has no exception of
            # its own.
            if lack := shortage(error):
                raise lack from None
            return Refused(f"it cannot be printed: {error}"[:300])
        if _has_files(document):
            # These would be read when the letter is written, and be in it.
            return Refused("it cannot be printed: files cannot be attached to a letter")
        pages = document.pages
        odd = self._duplex and len(pages) % 2
        return Letter(message, pages, self._blank(pages[-1]) if odd else ())

    def _document(self, message: Message) -> Any:
        """As the library has it, with nothing fetched from anywhere."""
        html = with_pictures(message)
        page = html if html is not None else _page_of(message.text)
        sheet = self._library.CSS(string=self._sheet(page, message))
        laid_out = self._library.HTML(
            string=self._addressed(page, message), url_fetcher=self._fetcher
        )
        return laid_out.render(stylesheets=[sheet])

    def _blank(self, like: Any) -> Sequence[Any]:
        """An empty page of the same size, for the back of the last one."""
        sheet = self._library.CSS(
            string=f"@page {{ size: {like.width}px {like.height}px }}"
        )
        pages: Sequence[Any] = self._empty(stylesheets=[sheet]).pages
        return pages

    def _has_address(
        self,
        html: str,
        message: Message,
    ) -> bool:
        """Whether the template prints the address itself, in whichever lines."""
        plain = "".join(str(Markup(html).striptags()).split())
        return "".join(message.to.address.split()) in plain

    def _addressed(self, html: str, message: Message) -> str:
        """The page with the address where the window is, if it does not print it."""
        if self._has_address(html, message):
            return html
        to = message.to
        lines = (line.strip() for line in (to.name, *to.address.splitlines()))
        address = "<br>".join(str(escape(line)) for line in lines if line)
        # Before everything else: it belongs onto the first page.
        found = BODY.search(html)
        at = found.end() if found else 0
        return f'{html[:at]}<p class="drip-address">{address}</p>{html[at:]}'

    def _sheet(self, html: str, message: Message) -> str:
        """The sheet of paper, where the template says nothing else; the first page
        begins below the window.
        """
        paper, left, top, width = self._window
        sheet = f"@page {{ size: {paper}; margin: 20mm 20mm 20mm 25mm }}"
        if self._has_address(html, message):
            return sheet
        return (
            f"{sheet}@page :first {{ margin-top: {BELOW}mm !important }}"
            f".drip-address {{ position: absolute; top: {top - BELOW}mm;"
            f" left: {left - 25}mm; width: {width}mm;"
            " margin: 0; font: 10pt/1.35 sans-serif; color: #000 }"
        )

    def _empty(self, **options: Any) -> Any:
        """A document of one empty page, into which others are put."""
        return self._library.HTML(string="<p></p>", url_fetcher=self._nothing).render(
            **options
        )

    def _batch(self, letters: Sequence[Letter]) -> Batch:
        """Printed, and written beside its place. Raises TransportDown, Shortage."""
        pages = [page for letter in letters for page in (*letter.pages, *letter.blank)]
        pdf: bytes = self._empty().copy(pages).write_pdf()
        return Batch(self._folder, letters, pdf)


def _end_all(
    letters: Sequence[Letter],
    receipt: Receipt,
    session: DeliverySession,
) -> None:
    """Tells the session that all of them ended in the same way."""
    session.turn([(letter.message, receipt) for letter in letters], [])


class Batch:
    """A batch that is written beside its place and then put there: the list
    first, so that letters never lack theirs.
    """

    def __init__(
        self,
        folder: Path,
        letters: Sequence[Letter],
        pdf: bytes,
    ) -> None:
        names = "\0".join(letter.message.message_id for letter in letters)
        digest = sha256(names.encode()).hexdigest()[:10]
        self._name = f"{letters[0].message.date:%Y-%m-%d_%H%M}_{digest}"
        self._files = {
            folder / f"{self._name}.csv": _listed(letters).encode(ENCODING),
            folder / f"{self._name}.pdf": pdf,
        }
        try:
            private.folder(folder)
            for path, content in self._files.items():
                _write_through(_making(path), content)
        except OSError as error:
            self.drop()
            raise _down(folder, error) from None

    def put_in_place(self) -> Sent:
        """From here on it is there. Raises TransportDown."""
        try:
            for path in self._files:
                _making(path).replace(path)
            _keep_names(path.parent)
        except OSError as error:
            self.drop()
            # Whatever of it is in place is not whole.
            for written in self._files:
                with contextlib.suppress(OSError):
                    written.unlink()
            raise _down(path, error) from None
        return Sent(f"printed in {self._name}.pdf")

    def drop(self) -> None:
        """It is not needed after all."""
        for path in self._files:
            with contextlib.suppress(OSError):
                _making(path).unlink()


def _making(path: Path) -> Path:
    """Where a file is written before it is put in its place."""
    return path.with_name(f"{path.name}.writing")


def _write_through(path: Path, content: bytes) -> None:
    """What is in it outlives a power cut."""
    with os.fdopen(private.create(path), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _keep_names(folder: Path) -> None:
    """What is said to be sent outlives a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _down(
    path: Path,
    error: OSError,
) -> TransportDown | Shortage:
    """Why nothing can be written there."""
    sentence = f"Letters cannot be written to {path}: {error.strerror}."
    return shortage(error, str(path)) or TransportDown(sentence, "make it writable")


def _listed(letters: Sequence[Letter]) -> str:
    """Whom the letters go to, in their order, for whoever folds and posts them."""
    rows = []
    first_page = 1
    for number, letter in enumerate(letters, 1):
        message, pages = letter.message, len(letter.pages)
        to = message.to
        rows.append(
            (number, first_page, pages, to.name, to.address, message.message_id)
        )
        first_page += pages + len(letter.blank)
    made = io.StringIO(newline="")
    write_sheet(made, COLUMNS, rows)
    return made.getvalue()


def _page_of(text: str) -> str:
    """A text without HTML as a page."""
    style = "font: 11pt/1.5 serif; white-space: pre-wrap"
    return f'<html><body style="{style}">{escape(text)}</body></html>'


def _has_files(document: Any) -> bool:
    """Whether a page or the whole of it has files attached, or links to some."""
    links = (link for page in document.pages for link in page.links)
    attached = any(link[0] == "attachment" for link in links)
    return attached or bool(document.metadata.attachments)


def _forget_letters(
    listing: Path,
    runs: Collection[int],
) -> None:
    """Takes letters out of one batch.

    The list goes last: it says which pages they are.
    """
    text = listing.read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    if not rows or tuple(rows[0]) != COLUMNS:
        return
    own = [row for row in rows if _run_of(row["message"]) in runs]
    if not own:
        return
    printed = listing.with_name(listing.name.replace(".csv", ".pdf"))
    if listing.suffix == ".writing":
        # Nobody knows that it is there; it is what a power cut has left.
        printed.unlink(missing_ok=True)
        listing.unlink(missing_ok=True)
        return
    if printed.exists():
        gone = {page for row in own for page in _pages_of(row)}
        _put(printed, _without_pages(printed, gone))
    for row in own:
        row |= {"name": "", "address": "", "message": ""}
    made = io.StringIO()
    writer = csv.DictWriter(made, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    _put(listing, made.getvalue().encode("utf-8-sig"))


def _run_of(message: str) -> int | None:
    """The run that a message's name holds."""
    found = NAME.match(message)
    return int(found[1], 16) if found else None


def _pages_of(row: Mapping[str, str]) -> range:
    """The numbers of a letter's pages within its batch."""
    first = int(row["first_page"])
    return range(first, first + int(row["pages"]))


def _without_pages(
    printed: Path,
    gone: Collection[int],
) -> bytes:
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
