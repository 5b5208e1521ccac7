"""Imports run one way: a room imports only from rooms below it, and siblings do not know one another."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.density import AIM, density

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "drip"
FLOORS = (
    {"errors", "folders", "papers", "paths", "private", "process"},
    {"core"},
    {"network"},
    {"language", "storage", "rendering", "transports", "inbound"},
    {"engine", "lint"},
    {"importing"},
    {"commands"},
    {"workspace"},
    {"preview", "daemon"},
    {"worker"},
    {"web"},
    {"cli", "pytest_plugin"},
)
FLOOR = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
# The clock, the environment, the arguments.
OF_ENTRIES = (
    "datetime.now(",
    "date.today(",
    "utcnow(",
    "time.time(",
    "os.environ",
    "sys.argv",
)
TOP_LEVEL = {
    "pyproject.toml",
    "README.md",
    "campaigns",
    "templates",
    "drip",
    "tests",
    "findings",
    "LICENSE",
    "CHANGELOG.md",
    # In the source archive.
    "PKG-INFO",
}
WRITERS = {
    *(
        ("click", name)
        for name in (
            "echo",
            "secho",
            "style",
            "confirm",
            "prompt",
            "progressbar",
            "echo_via_pager",
            "pause",
        )
    ),
    *(
        (stream, "write")
        for stream in (
            "sys.stdout",
            "sys.stderr",
            "sys.stdout.buffer",
            "sys.stderr.buffer",
        )
    ),
    ("logging", "StreamHandler"),
}
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.name not in ("__main__.py",)
)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("drip.")}


def test_a_room_imports_only_from_rooms_below_it() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {room}"
        for path in FILES
        if (own := room_of(path)) != "__init__"
        for room in imported_rooms(path) - {own}
        if FLOOR[room] >= FLOOR[own]
    ]
    assert wrong == []


def test_only_entries_read_the_clock() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} reads {reading}"
        for path in FILES
        if room_of(path) not in ("cli", "daemon", "pytest_plugin")
        for reading in OF_ENTRIES
        if reading in path.read_text("utf-8")
    ]
    assert wrong == []


def test_only_storage_speaks_sql() -> None:
    for path in FILES:
        rooms = {
            name
            for name in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(name, ast.ImportFrom)
        }
        imported = {
            alias.name
            for node in rooms
            if node.module == "sqlalchemy"
            for alias in node.names
        }
        assert room_of(path) == "storage" or imported <= {"Connection"}, path


def test_no_process_that_serves_pages_fills_templates_in() -> None:
    """Workers do; `drip.worker.worker` is how they are asked."""
    fills = {
        "Answers",
        "Dispatcher",
        "Templates",
        "compose",
        "compose_for_run",
        "explained",
        "foreseen",
        "plan",
        "simulate",
        "summed",
        "written_again",
        "written_for",
    }
    for path in (PACKAGE / "web").rglob("*.py"):
        rooms = {
            node
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom)
        }
        assert not {alias.name for node in rooms for alias in node.names} & fills, path
        assert "rendering" not in imported_rooms(path), path


def test_only_one_module_writes_to_the_terminal() -> None:
    for path in FILES:
        if room_of(path) not in ("cli", "daemon", "preview") or path.name in (
            "screen.py",
            "tables.py",
        ):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                owner = ast.unparse(node.value)
                assert (owner, node.attr) not in WRITERS, (
                    f"{path.name} has {owner}.{node.attr}"
                )
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "Text"), (
                    f"{path.name} calls {node.func.id}"
                )
            elif isinstance(node, ast.Import | ast.ImportFrom):
                assert "rich" not in ast.unparse(node).replace(".", " ").split(), (
                    f"{path.name} imports rich"
                )


def test_no_module_is_long() -> None:
    long = {
        path.name: count
        for path in FILES
        if "migrations" not in path.parts
        and (count := len(path.read_text("utf-8").splitlines())) > 600
    }
    assert not long


def test_the_code_is_no_denser_than_people_can_read() -> None:
    """`python -m tests.density` prints the figures, of one folder if it is named."""
    found = density(PACKAGE)
    assert found.nodes_per_line <= AIM.nodes_per_line
    assert found.nodes_per_function <= AIM.nodes_per_function
    assert found.width <= AIM.width
    assert found.kept_from_the_formatter <= AIM.kept_from_the_formatter
    assert found.comments_per_100_lines >= AIM.comments_per_100_lines
    assert found.names_used_twice == ()


def test_the_top_level_is_as_agreed() -> None:
    tracked = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert tracked <= TOP_LEVEL


# What reads the table of contacts and does not ask `schema.ordinary`, so that it finds sign-ups nobody has confirmed, and why
# that shows them to nobody.
OF_GIVEN_CONTACTS = "whose numbers or keys are given, or of a key that somebody names"
OF_WHAT_HAPPENED = "the ledger: the one confirmation that was sent is in it"
JUDGED_LATER = (
    "who may enter is asked of each in engine.entry, and who is in a set by "
    "audience_sql.statements"
)
ABOUT_ROWS = "how rows are kept: nobody is listed, counted or chosen"
WITHIN = "within `audience_sql.where` and `audience_sql.statements`, or beside them"
READS_CONTACTS = {
    "audit": {"_ROWS": OF_WHAT_HAPPENED, "orders": OF_WHAT_HAPPENED},
    "attribute_indexes": {"_index": ABOUT_ROWS},
    "audience": {
        "_DATED": JUDGED_LATER,
        "_CHANGED_CONTACTS": JUDGED_LATER,
        "_DATED_OF_CHANGED_CONTACTS": JUDGED_LATER,
        "zones_of": OF_GIVEN_CONTACTS,
        "zones": ABOUT_ROWS,
        "contacts_in": WITHIN,
        "events_after": JUDGED_LATER,
    },
    "audience_sql": {"_lives_in": WITHIN},
    "change_marks": {"_LAST_CHANGE": ABOUT_ROWS, "_TOUCH": OF_GIVEN_CONTACTS},
    "condition_sql": {"Reader": WITHIN, "_table": WITHIN},
    "contacts": {
        "_EVERYBODY": "begins the others",
        "_BY_ID": OF_GIVEN_CONTACTS,
        "_includes": "within `search`, which asks for people",
        "contacts_by_key": OF_GIVEN_CONTACTS,
        "contact_by_email": OF_GIVEN_CONTACTS,
        "save_contacts": ABOUT_ROWS,
        "leave_zones": ABOUT_ROWS,
        "_PLACED": ABOUT_ROWS,
        "_HOMELESS": ABOUT_ROWS,
        "without_zone": ABOUT_ROWS,
        "move_to_zone": OF_GIVEN_CONTACTS,
    },
    "copying": {"_where": ABOUT_ROWS},
    "counters": {"events_to_count": JUDGED_LATER},
    "coupons": {"code": OF_GIVEN_CONTACTS},
    "cursors": {"_NEWEST": ABOUT_ROWS},
    "date_index": {"everyone": "whose derived dates are worked out"},
    "erasing": {
        "PERSONAL": ABOUT_ROWS,
        "_empty": OF_GIVEN_CONTACTS,
        "_forget_domain": "whoever has an address there, known or not",
        "same_address": "whoever has it, to be named or erased as well",
    },
    "field_stats": {
        "_living": "beside `_people`, which asks for them",
        "_field": ABOUT_ROWS,
        "_table": ABOUT_ROWS,
        "_whose": ABOUT_ROWS,
    },
    "ledger": {
        "_OF_RUN": OF_WHAT_HAPPENED,
        "_LedgerLines": OF_WHAT_HAPPENED,
        "_with_contact": OF_WHAT_HAPPENED,
        "_answered": OF_WHAT_HAPPENED,
    },
    "sampled": {"_of_text": OF_WHAT_HAPPENED, "_joined": OF_WHAT_HAPPENED},
    "segments": {"changed": JUDGED_LATER},
    "sign_ups": {"_WITH_ADDRESS": OF_GIVEN_CONTACTS, "_HIDDEN": OF_GIVEN_CONTACTS},
    "starts": {"start_everybody": WITHIN, "_starting": WITHIN},
    "summary": {
        "_sent": OF_WHAT_HAPPENED,
        "_first_line": OF_WHAT_HAPPENED,
        "busiest": OF_WHAT_HAPPENED,
    },
    "tasks": {"_WORK": "of a campaign's step, which does nothing for them"},
    "zones": {"_zones": ABOUT_ROWS, "in_zones": WITHIN},
}


def test_whatever_reads_contacts_asks_for_people_or_says_why_it_need_not() -> None:
    found = {}
    for path in sorted((PACKAGE / "storage").rglob("*.py")):
        text = path.read_text("utf-8")
        readers = {
            name
            for name, names in _parts(text)
            if {"contacts", "_contact"} & names
            and name != "_contact"
            and not {"ordinary", "PEOPLE"} & names
        }
        if readers and "schema" not in path.parts:
            found[path.stem] = readers
    assert found == {room: set(reasons) for room, reasons in READS_CONTACTS.items()}


def _parts(text: str) -> list[tuple[str, set[str]]]:
    """What a module defines, and which names each part of it uses."""
    found = []
    for node in ast.parse(text).body:
        names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append((node.name, names))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.append((node.targets[0].id, names))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.append((node.target.id, names))
    return found
