"""The folder `campaigns/`: which files there are, what each became, and every problem in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from drip.core.campaign import Campaign
from drip.core.characters import hidden_in
from drip.core.settings import Settings
from drip.errors import Place, Problem, Problems
from drip.folders import names_in
from drip.language.campaigns import build_campaign
from drip.language.reader import Document, parse, read
from drip.language.settings import build_settings
from drip.paths import COPY, inside

FOLDER = "campaigns"
SETTINGS = "_settings.yaml"


@dataclass
class Loaded:
    """`settings` is None if they are broken; then no campaign could be read either.

    `campaigns` are the good ones; `broken` names the files that are not; `texts` keeps each good
    campaign's source, by version.
    """

    settings: Settings | None = None
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def load_folder(workspace: Path) -> Loaded:
    """Everything in the workspace's `campaigns/`. Raises nothing for what is wrong inside files; OSError for a folder that
    cannot be listed now, Shortage for a file that cannot be opened: both would look as if campaigns were gone."""
    loaded = Loaded()
    settings = _read(workspace / FOLDER / SETTINGS, loaded)
    if settings:
        loaded.settings = build_settings(settings)
        loaded.problems += settings.problems
    for path in campaign_files(workspace):
        document = _read(path, loaded)
        if document and (hidden := hidden_in(path.stem)):
            document.report(
                Place(document.file),
                f"the file's name holds the character {hidden}, which nobody can see",
                "rename it",
            )
        campaign = None
        if document and loaded.settings:
            campaign = build_campaign(path.stem, document, loaded.settings)
            loaded.problems += document.problems
        if campaign and document:
            loaded.campaigns[path.stem] = campaign
            loaded.texts[campaign.version] = document.text
        else:
            loaded.broken.add(path.stem)
    for path in _listed(workspace, ".yml"):
        place = Place(f"{FOLDER}/{path.name}")
        loaded.problems.append(
            Problem(
                place,
                "a campaign's file ends in `.yaml`",
                f"rename it to {path.stem}.yaml",
            )
        )
    loaded.problems.sort(
        key=lambda problem: (
            problem.place.file,
            problem.place.line or 0,
            problem.place.column or 0,
        )
    )
    return loaded


def load_text(key: str, text: str, settings: Settings) -> Campaign | None:
    """A campaign from a text kept earlier; None if today's settings do not fit it any more."""
    try:
        return build_campaign(key, parse(text, f"{FOLDER}/{key}.yaml"), settings)
    except Problems:
        return None


def campaign_files(workspace: Path) -> list[Path]:
    """The campaign files, in order of their names; those that begin with `_` or `.` are none."""
    return [
        path
        for path in _listed(workspace, ".yaml")
        if not path.name.startswith(("_", "."))
    ]


def _listed(workspace: Path, ending: str) -> list[Path]:
    return [
        workspace / FOLDER / name
        for name in names_in(workspace / FOLDER)
        if name.endswith(ending)
    ]


def _read(path: Path, loaded: Loaded) -> Document | None:
    name = f"{FOLDER}/{path.name}"
    if not path.exists():
        help = "`drip init DIR` makes a workspace; -w DIR or DRIP_WORKSPACE names another one"
        loaded.problems.append(Problem(Place(name), "the file is missing", help))
        return None
    if not inside(path, path.parent):
        loaded.problems.append(
            Problem(Place(name), f"the file lies outside of {FOLDER}/", COPY)
        )
        return None
    if not path.is_file():
        loaded.problems.append(
            Problem(
                Place(name),
                "this is no file with a text",
                "remove it, or give it another name",
            )
        )
        return None
    try:
        return read(path, name)
    except Problems as problems:
        loaded.problems += problems.problems
        return None
