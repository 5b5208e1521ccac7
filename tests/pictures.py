"""Draws the picture of the README: `python -m tests.pictures`. A test holds the file to what this draws."""

from __future__ import annotations

import re
import tempfile
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from drip.cli.demo import import_people
from drip.cli.preview import looking_ahead
from drip.cli.sample import copy_sample, write_people
from drip.cli.show import Shown, picture
from drip.workspace import Workspace

PICTURE = Path(__file__).parent.parent / ".readme" / "preview.svg"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAYS = 30


def draw() -> str:
    """The preview of the sample workspace and its invented people, as SVG; always the same."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = _sample(Path(folder))
        with workspace.database(NOW) as database:
            import_people(workspace, database, write_people(Path(folder), date(2026, 11, 22)), NOW)
            end = NOW + timedelta(days=DAYS)
            with looking_ahead(workspace, database, NOW, end) as found:
                sums = found.sums().summary
        titles = {key: campaign.title for key, campaign in workspace.loaded.campaigns.items()}
        console = Console(record=True, width=100, file=StringIO(), force_terminal=True, highlight=False)
        console.print(picture(Shown(titles, NOW, end, workspace.settings.timezone), sums))
    plain = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.S)
    svg = console.export_svg(title="drip preview", code_format=plain, unique_id="drip")
    return svg.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")


def _sample(folder: Path) -> Workspace:
    copy_sample(folder, date(2026, 11, 22))
    return Workspace(folder, {})


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(), "utf-8")
