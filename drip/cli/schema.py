"""`drip schema`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from drip.cli.context import App, pass_app, read_clock
from drip.cli.screen import say
from drip.errors import DripError
from drip.language import schema as schemas
from drip.storage.base.places import is_missing
from drip.storage.people import field_stats
from drip.workspace import Workspace

FOLDER = ".vscode"
CAMPAIGN = f"{FOLDER}/drip-campaign.schema.json"
SETTINGS = f"{FOLDER}/drip-settings.schema.json"
EDITOR = {
    "files.associations": {"**/templates/**/*.md": "markdown"},
    "yaml.validate": True,
    "yaml.schemas": {
        CAMPAIGN: ["campaigns/*.yaml", "!campaigns/_settings.yaml"],
        SETTINGS: "campaigns/_settings.yaml",
    },
    "[yaml]": {
        "editor.insertSpaces": True,
        "editor.tabSize": 2,
        "editor.quickSuggestions": {"strings": True},
    },
}
EXTENSIONS = {"recommendations": ["redhat.vscode-yaml"]}
# Of VS Code; what somebody has set there already stays.
ONCE = {f"{FOLDER}/settings.json": EDITOR, f"{FOLDER}/extensions.json": EXTENSIONS}


@click.command()
@pass_app
def schema(app: App) -> None:
    """Writes the JSON Schemas by which an editor completes and checks this workspace's
    files.

    Example: drip schema

    They know your topics, segments, coupons, fields, events and templates: run it again
    when those change. `drip init` has set VS Code up to use them; it needs the
    extension YAML by Red Hat."""
    for path in write_schemas(app.workspace()):
        say(f"{path} is written.")


def write_schemas(workspace: Workspace) -> list[Path]:
    """The schemas' files, and VS Code's settings where there are none. Raises DripError
    if they cannot be written."""
    root = workspace.root
    files = _schemas(workspace)
    for name, text in ONCE.items():
        # Whoever has settings of their own would lose them.
        if not (root / name).exists():
            files[name] = text
    try:
        (root / FOLDER).mkdir(exist_ok=True)
        for name, text in files.items():
            _write_json(root / name, text)
    except OSError as error:
        sentence = f"{error.filename} cannot be written: {error.strerror}."
        raise DripError(sentence) from None
    return [root / name for name in files]


def _write_json(path: Path, text: object) -> None:
    written = json.dumps(text, indent=2, ensure_ascii=False)
    path.write_text(f"{written}\n", "utf-8")


def _schemas(workspace: Workspace) -> dict[str, object]:
    templates = workspace.templates
    known = schemas.EditorNames(
        workspace.settings,
        templates.names(),
        templates.content_folders(),
        _events(workspace),
    )
    return {
        CAMPAIGN: schemas.campaign_schema(known),
        SETTINGS: schemas.settings_schema(known),
    }


def _events(workspace: Workspace) -> set[str]:
    """The events that counters count and that have come in, if there is a database."""
    found: set[str] = set()
    for counter in workspace.settings.counters.values():
        found |= {*counter.add, *counter.subtract, *counter.reset}
    # Without one the schemas are still good: completing a file must not make a
    # database.
    if is_missing(workspace.database_place()):
        return found
    with workspace.database(read_clock()) as database, database.read() as connection:
        return found | field_stats.event_names(connection)
