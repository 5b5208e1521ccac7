"""`drip schema`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from drip.cli.context import App, pass_app, read_clock
from drip.cli.screen import say
from drip.errors import DripError
from drip.language import schema as schemas
from drip.storage.base.opening import is_missing
from drip.storage.people import field_stats
from drip.workspace import Workspace

FOLDER = ".vscode"
CAMPAIGN, SETTINGS = (
    f"{FOLDER}/drip-campaign.schema.json",
    f"{FOLDER}/drip-settings.schema.json",
)
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


@click.command()
@pass_app
def schema(app: App) -> None:
    """Writes the JSON Schemas by which an editor completes and checks this workspace's files.

    Example: drip schema

    They know your topics, segments, coupons, fields, events and templates: run it again when those change.
    `drip init` has set VS Code up to use them; it needs the extension YAML by Red Hat.
    """
    for path in write_schemas(app.workspace()):
        say(f"{path} is written.")


def write_schemas(workspace: Workspace) -> list[Path]:
    """The schemas' files, and VS Code's settings where there are none. Raises DripError if they cannot be written."""
    settings, templates = workspace.settings, workspace.templates
    known = schemas.EditorNames(
        settings, templates.names(), templates.content_folders(), _events(workspace)
    )
    files: dict[str, object] = {
        CAMPAIGN: schemas.campaign_schema(known),
        SETTINGS: schemas.settings_schema(known),
    }
    editor: dict[str, object] = {
        f"{FOLDER}/settings.json": EDITOR,
        f"{FOLDER}/extensions.json": EXTENSIONS,
    }
    files |= {
        name: text
        for name, text in editor.items()
        if not (workspace.root / name).exists()
    }
    try:
        (workspace.root / FOLDER).mkdir(exist_ok=True)
        for name, text in files.items():
            (workspace.root / name).write_text(
                json.dumps(text, indent=2, ensure_ascii=False) + "\n", "utf-8"
            )
    except OSError as error:
        raise DripError(
            f"{error.filename} cannot be written: {error.strerror}."
        ) from None
    return [workspace.root / name for name in files]


def _events(workspace: Workspace) -> set[str]:
    """The events that counters count and that have come in, if there is a database."""
    found = {
        name
        for each in workspace.settings.counters.values()
        for name in (*each.add, *each.subtract, *each.reset)
    }
    if not is_missing(workspace.database_place()):
        with (
            workspace.database(read_clock()) as database,
            database.read() as connection,
        ):
            found |= field_stats.event_names(connection)
    return found
