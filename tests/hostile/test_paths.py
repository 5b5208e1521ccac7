"""No file outside of `templates/` or `campaigns/` is read, by whatever name or link somebody reaches for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from drip.errors import DripError
from drip.language.files import load_folder
from drip.paths import inside, within
from drip.rendering.templates import Templates
from tests.world import LETTER, World

SECRET = "the till holds 300"
Worlds = Callable[..., World]
NAMES = (
    "../outside.md",
    "x/../../outside.md",
    "/etc/hostname",
    "..\\outside.md",
    "C:\\outside.md",
    "C:outside.md",
    "\\\\server\\outside.md",
    "x\0y",
    "link.md",
    "link/outside.md",
    "circle.md",
    "circle2.md/x",
    "a" * 5_000,
    "",
    "..",
    ".",
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """`templates/` with links that lead out by a file and by a folder, in a circle, and to a file of its own."""
    outside = tmp_path / "elsewhere"
    for folder in (
        tmp_path / "shop" / "templates" / "issues",
        tmp_path / "shop" / "campaigns",
        outside,
    ):
        folder.mkdir(parents=True)
    templates = tmp_path / "shop" / "templates"
    for name in ("outside.md", "2026-11-26-outside.md"):
        (outside / name).write_text(f"---\nsubject: x\n---\n{SECRET}\n")
    (outside / "outside.html").write_text(SECRET + "{% block body %}{% endblock %}")
    (outside / "outside.png").write_bytes(b"\x89PNG")
    (tmp_path / "shop" / "outside.md").write_text(SECRET)
    links = {
        "link.md": outside / "outside.md",
        "link.html": outside / "outside.html",
        "link.png": outside / "outside.png",
        "link": outside,
        "circle.md": templates / "circle.md",
        "circle2.md": templates / "circle2.md",
        "issues/2026-11-26-letter.md": outside / "2026-11-26-outside.md",
    }
    for name, target in links.items():
        (templates / name).symlink_to(target)
    return tmp_path / "shop"


def refused(work: Callable[[], object]) -> bool:
    try:
        return not work()
    except DripError as error:
        return SECRET not in error.sentence


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out(name: str, workspace: Path) -> None:
    templates = Templates(workspace)
    path = within(templates.folder, name)
    assert path is None or inside(path, templates.folder)
    bare = name.removesuffix(".md")
    assert refused(lambda: templates.attachment(name))
    assert refused(lambda: templates.source(bare, None))
    assert refused(lambda: templates.content(bare, "2026-11-26"))
    assert refused(lambda: templates.contents(bare))
    assert refused(lambda: templates.newest_content(bare))


@pytest.mark.parametrize(
    "body",
    [
        "{% extends '../outside.md' %}x",
        "{% extends 'link.html' %}x",
        "![x](link.png)",
        "![x](../../elsewhere/outside.png)",
        "![x](..%2F..%2Felsewhere%2Foutside.png)",
        "![x](link/outside.png)",
        '<img src="..\\outside.png">',
        f"![x]({'a' * 5_000})",
    ],
)
def test_neither_a_layout_nor_a_picture_leads_out(body: str, workspace: Path) -> None:
    ending = "html" if "extends" in body or "<" in body else "md"
    (workspace / "templates" / f"card.{ending}").write_text(
        f"---\nsubject: x\n---\n{body}\n"
    )
    with pytest.raises(DripError, match="there is no (layout|file)"):
        Templates(workspace).get("card", None)


def test_a_style_sheet_outside_is_not_read(workspace: Path) -> None:
    (workspace.parent / "elsewhere" / "x.css").write_text("p { color: #abcdef }")
    page = f'<html><head><link rel="stylesheet" href="{workspace.parent}/elsewhere/x.css"><style>b{{}}</style></head><body><p>x'
    (workspace / "templates" / "card.html").write_text(f"---\nsubject: x\n---\n{page}")
    assert "#abcdef" not in (Templates(workspace).get("card", None).html.source or "")


def test_dated_files_that_are_links_are_none(workspace: Path) -> None:
    templates = Templates(workspace)
    assert templates.content("issues", "2026-11-26") is None
    assert (
        templates.newest_content("issues") is None
        and templates.contents("issues") == []
    )
    assert templates.content_folders() == []
    own = workspace / "templates" / "issues" / "2026-11-27-own.md"
    own.write_text("hello")
    (workspace / "templates" / "issues" / "2026-11-28-again.md").symlink_to(own)
    assert [each.body for each in templates.contents("issues")] == ["hello", "hello"]
    assert templates.newest_content("issues") == "2026-11-28"


def test_templates_that_are_a_link_as_a_whole_are_read(workspace: Path) -> None:
    (workspace / "templates" / "card.md").write_text("---\nsubject: x\n---\nhello\n")
    other = workspace.parent / "other"
    other.mkdir()
    (other / "templates").symlink_to(workspace / "templates")
    assert Templates(other).get("card", None).text.source.strip() == "hello"


def test_a_campaign_and_the_settings_that_lie_elsewhere_are_told(
    world: Callable[..., World], tmp_path: Path
) -> None:
    made = world({"letter": LETTER})
    elsewhere = made.root.parent / f"{made.root.name}-elsewhere"
    elsewhere.mkdir()
    for name in ("letter.yaml", "_settings.yaml"):
        (made.root / "campaigns" / name).rename(elsewhere / name)
        (made.root / "campaigns" / name).symlink_to(elsewhere / name)
    loaded = load_folder(made.root)
    assert loaded.settings is None and loaded.campaigns == {}
    assert {problem.sentence for problem in loaded.problems} == {
        "the file lies outside of campaigns/"
    }


def test_what_is_no_file_is_told_and_never_waited_for(
    world: Callable[..., World],
) -> None:
    made = world({"letter": LETTER})
    os.mkfifo(made.root / "campaigns" / "pipe.yaml")
    os.mkfifo(made.root / "templates" / "pipe.md")
    loaded = load_folder(made.root)
    assert [(str(each.place), each.sentence) for each in loaded.problems] == [
        ("campaigns/pipe.yaml", "this is no file with a text")
    ]
    assert (
        list(loaded.campaigns) == ["letter"]
        and "pipe" not in Templates(made.root).names()
    )


def test_check_names_a_template_that_lies_elsewhere(world: Worlds) -> None:
    made = world({"letter": LETTER})
    (made.root / "secret.md").write_text(SECRET)
    (made.root / "templates" / "stray.md").symlink_to(made.root / "secret.md")
    (made.root / "templates" / ".#lock.md").symlink_to("/nowhere/an-editor's-lock")
    made.reload()
    told = [each for each in made.workspace.problems() if each.level == "error"]
    assert [str(each.place) for each in told] == ["templates/stray.md"]
    assert "stray" not in made.workspace.templates.names()
