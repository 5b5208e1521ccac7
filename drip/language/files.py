"""The folder `campaigns/`.

Which files there are, what each became, and every problem in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from drip.core.campaign import Campaign
from drip.core.characters import hidden_in
from drip.core.settings import Settings
from drip.errors import Place, Problem, Problems, position
from drip.folders import names_in
from drip.language.campaigns import build_campaign
from drip.language.reader import SETTINGS_FILE, Document, parse, read
from drip.language.settings import build_settings
from drip.paths import COPY, inside

FOLDER = "campaigns"


@dataclass
class Loaded:
    """What the files of a folder became.

    `settings` is None if they are broken; then no campaign could be read either.
    `campaigns` are the good ones; `broken` names the files that are not; `texts` keeps
    each good campaign's source, by version.
    """

    settings: Settings | None = None
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def load_folder(workspace: Path) -> Loaded:
    """Everything in the workspace's `campaigns/`.

    Raises nothing for what is wrong inside files; OSError for a folder that cannot be
    listed now, Shortage for a file that cannot be opened: both would look as if
    campaigns were gone.
    """
    loaded = Loaded()
    settings = _read(workspace / FOLDER / SETTINGS_FILE, loaded)
    if settings:
        loaded.settings = build_settings(settings)
        loaded.problems += settings.problems
    for path in campaign_files(workspace):
        _load_campaign(path, loaded)
    for path in _listed(workspace, ".yml"):
        place = Place(f"{FOLDER}/{path.name}")
        sentence, help = (
            "a campaign's file ends in `.yaml`",
            f"rename it to {path.stem}.yaml",
        )
        loaded.problems.append(Problem(place, sentence, help))
    # Files are read in the order of their dependence, and shown in that of their names.
    loaded.problems.sort(key=position)
    return loaded


def _load_campaign(path: Path, loaded: Loaded) -> None:
    """Reads one file, and puts what it became into `loaded`."""
    key = path.stem
    document = _read(path, loaded)
    if document is None:
        loaded.broken.add(key)
        return
    # Two files whose names look alike would be two campaigns that nobody tells apart.
    if hidden := hidden_in(key):
        document.report(
            Place(document.file),
            f"the file's name holds the character {hidden}, which nobody can see",
            "rename it",
        )
    campaign = None
    if loaded.settings:
        campaign = build_campaign(key, document, loaded.settings)
        loaded.problems += document.problems
    if campaign is None:
        loaded.broken.add(key)
        return
    loaded.campaigns[key] = campaign
    loaded.texts[campaign.version] = document.text


def load_text(key: str, text: str, settings: Settings) -> Campaign | None:
    """A campaign from a text kept earlier; None if today's settings do not fit it."""
    try:
        document = parse(text, f"{FOLDER}/{key}.yaml")
    except Problems:
        return None
    return build_campaign(key, document, settings)


def campaign_files(workspace: Path) -> list[Path]:
    """The campaign files in order of their names.

    Those that begin with `_` or `.` are none: settings, and what editors leave behind.
    """
    return [
        path
        for path in _listed(workspace, ".yaml")
        if not path.name.startswith(("_", "."))
    ]


def _listed(workspace: Path, ending: str) -> list[Path]:
    """The files of the folder with an ending, in order of their names."""
    names = names_in(workspace / FOLDER)
    return [workspace / FOLDER / name for name in names if name.endswith(ending)]


def _read(path: Path, loaded: Loaded) -> Document | None:
    """The document of a file.

    None where there is a problem, which is then in `loaded`.
    """
    name = f"{FOLDER}/{path.name}"
    problem = _not_a_file(path, Place(name))
    if problem:
        loaded.problems.append(problem)
        return None
    try:
        return read(path, name)
    except Problems as problems:
        loaded.problems += problems.problems
        return None


def _not_a_file(path: Path, place: Place) -> Problem | None:
    """Why a path is no file that can be read."""
    if not path.exists():
        return Problem(
            place,
            "the file is missing",
            "`drip init DIR` makes a workspace; -w DIR or DRIP_WORKSPACE names another "
            "one",
        )
    # A link that leads out would have drip read, and show, whatever its user can.
    if not inside(path, path.parent):
        return Problem(place, f"the file lies outside of {FOLDER}/", COPY)
    # A pipe or a device would be read for ever.
    if not path.is_file():
        return Problem(
            place, "this is no file with a text", "remove it, or give it another name"
        )
    return None
