"""Which files belong to a folder of the workspace.

Those that lie in it when every link and every `..` has been followed.
"""

from __future__ import annotations

from pathlib import Path

# In bytes: no file system takes a longer name.
LONGEST = 255
COPY = "copy the file into the folder instead of linking to it"


def inside(path: Path, folder: Path) -> bool:
    """Whether a path leads to something within the folder.

    The folder itself may be a link.
    """
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        # A circle of links, a name that is too long, or one with a NUL: it leads
        # nowhere.
        return False


def within(folder: Path, name: str) -> Path | None:
    """The path of a name as somebody wrote it in a file.

    None for one that leads elsewhere, here or on another system.
    """
    foreign = "\\" in name or ":" in name.partition("/")[0]
    if (
        foreign
        or not 0 < len(name.encode("utf-8", "replace")) <= LONGEST
        or Path(name).is_absolute()
    ):
        return None
    path = folder / name
    return path if inside(path, folder) else None
