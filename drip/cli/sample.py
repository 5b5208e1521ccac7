"""The sample workspace that `init` and `demo` copy, and 200 invented people for the demo."""

from __future__ import annotations

import csv
import random
import re
import shutil
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

from drip.core.calendar import Birthday, Duration, shift
from drip.errors import DripError

PEOPLE = 200
FIRST = [
    "Ben",
    "Chloé",
    "Dmitri",
    "Emeka",
    "Fatima",
    "Giulia",
    "Hiro",
    "Ines",
    "Jamal",
    "Katarzyna",
    "Lars",
    "Mei",
    "Nadia",
    "Olu",
    "Priya",
    "Quentin",
    "Rosa",
    "Sven",
    "Tomás",
    "Uma",
    "Viktor",
    "Wanjiru",
    "Ximena",
    "Yuki",
    "Zoë",
    "Aoife",
    "Bjørn",
    "Carmen",
    "Deniz",
    "Elif",
    "Freya",
    "Goran",
    "Hana",
    "Ivo",
    "Jade",
    "Kofi",
]
LAST = [
    "Nguyen",
    "O'Brien",
    "Müller",
    "García",
    "Kowalski",
    "Rossi",
    "Tanaka",
    "Okafor",
    "Svensson",
    "D'Angelo",
    "Petrov",
    "Haddad",
    "Sharma",
    "Dubois",
    "Fernández",
    "Kim",
    "Jensen",
    "Silva",
    "Novák",
    "Yılmaz",
    "Andersson",
    "Mwangi",
    "Costa",
    "Lindqvist",
    "Papadopoulos",
    "Murphy",
    "Weiß",
    "Ferrari",
]
# Country, zone (None: to be found out), locale; the first ones are the neighbourhood.
HOMES = (
    ("US", "America/Chicago", "en"), ("US", None, "en"), ("US", "America/New_York", "en"),
    ("US", "America/Los_Angeles", "en"), ("US", "America/Denver", "en"), ("CA", "America/Toronto", "en"),
    ("MX", "America/Mexico_City", "es"), ("GB", None, "en"), ("IE", None, "en"), ("DE", None, "de"),
    ("AT", None, "de"), ("FR", None, "fr"), ("ES", "Europe/Madrid", "es"), ("IN", None, "en"), ("JP", None, "en"),
    ("AU", "Australia/Sydney", "en"), ("NZ", "Pacific/Auckland", "en"), ("BR", "America/Sao_Paulo", "en"),
    ("ZA", None, "en"), ("NP", "Asia/Kathmandu", "en"),
)  # fmt: skip
MODELS = (
    "Golf",
    "Civic",
    "Model 3",
    "Outback",
    "Corolla",
    "F-150",
    "Fiesta",
    "Octavia",
    "Yaris",
    "CX-5",
    "500",
    "Leaf",
)


def copy_sample(target: Path, today: date) -> None:
    """Writes the sample workspace into a new or empty folder, its newsletter issues dated from this week on."""
    source = _sample()
    for folder in ("campaigns", "templates"):
        shutil.copytree(source / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    issues = target / "templates" / "newsletter" / "issues"
    thursday = today + timedelta(days=(3 - today.weekday()) % 7)
    for n, path in enumerate(sorted(issues.glob("*.md"))):
        day = thursday + timedelta(weeks=n)
        # Two steps, so that no new name meets an old one.
        path.rename(path.with_name(f"new-{day.isoformat()}{path.name[10:]}"))
    for path in issues.glob("new-*.md"):
        path.rename(path.with_name(path.name.removeprefix("new-")))


def _sample() -> Path:
    """Inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    for folder in (package / "_sample", package.parent):
        if (folder / "campaigns" / "_settings.yaml").is_file():
            return folder
    raise DripError("The sample workspace is missing from this installation.", help="install drip again")


def write_people(folder: Path, today: date) -> tuple[Path, Path, Path]:
    """Invented contacts, vehicles and bookings as CSV files; the same for the same day."""
    chance = random.Random(20261122)
    contacts, vehicles, bookings = [], [], []
    for n in range(PEOPLE):
        contact = _contact(chance, n, today)
        contacts.append(contact)
        for m in range(chance.choices((0, 1, 2), (30, 55, 15))[0] or (n == 0)):
            vehicle = _vehicle(chance, contact[0], m, today)
            vehicles.append(vehicle)
            if chance.random() < 0.06:
                when = today - timedelta(days=chance.randint(1, 3))
                bookings.append(("booking.created", f"b{n}-{m}", contact[0], f"{when} 11:30", vehicle[0]))
    columns = [
        "key",
        "email",
        "first_name",
        "last_name",
        "country",
        "timezone",
        "locale",
        "birthday",
        "newsletter",
        "offers",
    ]
    return (
        _write(folder / "contacts.csv", columns, contacts),
        _write(folder / "vehicles.csv", ["key", "contact", "model", "status", "last_service"], vehicles),
        _write(folder / "bookings.csv", ["event", "id", "contact", "at", "vehicle"], bookings),
    )


def _contact(chance: random.Random, n: int, today: date) -> tuple[str, ...]:
    first, last = ("Ana", "Morales") if n == 0 else (chance.choice(FIRST), chance.choice(LAST))
    country, zone, locale = HOMES[0] if n == 0 else chance.choice(HOMES[:4] * 3 + HOMES)
    key = "ana" if n == 0 else f"c{n:03d}"
    mailbox = re.sub("[^a-z]", "", f"{first}{last}".casefold().encode("ascii", "ignore").decode())
    birthday = str(_birthday(chance, n, today) or "")
    newsletter = "yes" if n == 0 else chance.choices(("yes", "no", "2024-05-17", ""), (55, 15, 15, 15))[0]
    offers = "yes" if n == 0 else chance.choices(("yes", "no", ""), (60, 10, 30))[0]
    email = f"{mailbox}.{n}@example.com"
    return key, email, first, last, country, zone or "", locale, birthday, newsletter, offers


def _birthday(chance: random.Random, n: int, today: date) -> Birthday | None:
    """Some are unknown, some come without their year, some fall on February 29; Ana's is next week."""
    if n == 0:
        day = today + timedelta(days=7)
        return Birthday(day.month, day.day, 1990)
    if n % 41 == 7:
        return Birthday(2, 29, 1992)
    if chance.random() < 0.15:
        return None
    day = date(2001, 1, 1) + timedelta(days=chance.randrange(365))
    return Birthday(day.month, day.day, None if chance.random() < 0.2 else chance.randint(1948, 2005))


def _vehicle(chance: random.Random, contact: str, m: int, today: date) -> tuple[str, ...]:
    """Serviced some time in the last seven months, so that many are due about now."""
    back = 175 if contact == "ana" else chance.randint(140, 186)
    last_service = shift(today, Duration(days=-back))
    status = "active" if contact == "ana" or chance.random() < 0.92 else "sold"
    return f"{contact}-{m + 1}", contact, chance.choice(MODELS), status, last_service.isoformat()


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path
