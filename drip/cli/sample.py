"""The sample workspace that `init` and `demo` copy, and 200 invented people for the demo."""

from __future__ import annotations

import csv
import random
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from drip.core.calendar import Birthday, Duration, shift
from drip.errors import DripError

PEOPLE = 200
Cells = tuple[str, ...]
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
    ("US", "America/Chicago", "en"),
    ("US", None, "en"),
    ("US", "America/New_York", "en"),
    ("US", "America/Los_Angeles", "en"),
    ("US", "America/Denver", "en"),
    ("CA", "America/Toronto", "en"),
    ("MX", "America/Mexico_City", "es"),
    ("GB", None, "en"),
    ("IE", None, "en"),
    ("DE", None, "de"),
    ("AT", None, "de"),
    ("FR", None, "fr"),
    ("ES", "Europe/Madrid", "es"),
    ("IN", None, "en"),
    ("JP", None, "en"),
    ("AU", "Australia/Sydney", "en"),
    ("NZ", "Pacific/Auckland", "en"),
    ("BR", "America/Sao_Paulo", "en"),
    ("ZA", None, "en"),
    ("NP", "Asia/Kathmandu", "en"),
)
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
        shutil.copytree(
            source / folder,
            target / folder,
            ignore=shutil.ignore_patterns("__pycache__", ".*"),
        )
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
    raise DripError(
        "The sample workspace is missing from this installation.",
        help="install drip again",
    )


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """The files of the invented people."""

    contacts: Path
    vehicles: Path
    leases: Path
    events: Path


def write_people(folder: Path, today: date) -> SampleFiles:
    """Invented contacts, what they own and what happened to them, as CSV files; the same for the same day."""
    chance = random.Random(20261122)
    contacts: list[Cells] = []
    vehicles: list[Cells] = []
    leases: list[Cells] = []
    events: list[Cells] = []
    for n in range(PEOPLE):
        contact = _contact(chance, n, today)
        key = contact[0]
        contacts.append(contact)
        for m in range(chance.choices((0, 1, 2), (30, 55, 15))[0] or (n == 0)):
            vehicle = _vehicle(chance, key, m, today)
            vehicles.append(vehicle)
            if chance.random() < 0.06:
                when = today - timedelta(days=chance.randint(1, 3))
                events.append(
                    (
                        "booking.created",
                        f"b{n}-{m}",
                        key,
                        f"{when} 11:30",
                        vehicle[0],
                        "",
                        "",
                    )
                )
            if chance.random() < 0.04:
                events.append(
                    (
                        "service.completed",
                        f"s{n}-{m}",
                        key,
                        f"{today} 8:20",
                        vehicle[0],
                        "",
                        "",
                    )
                )
        if n % 12 == 5:
            ends = today + timedelta(days=chance.choice((30, 45, 60, 75, 90, 100, 120)))
            leases.append(
                (
                    f"lease-{n}",
                    key,
                    f"{n % 9 + 1}{chance.choice('ABC')}",
                    "active",
                    ends.isoformat(),
                )
            )
        events += _orders(chance, n, key, today)
    columns = [
        "key",
        "email",
        "phone",
        "first_name",
        "last_name",
        "country",
        "timezone",
        "locale",
        "birthday",
        "postal_address",
        "newsletter",
        "offers",
    ]
    vehicle_columns = ["key", "contact", "model", "status", "last_service", "odometer"]
    event_columns = ["event", "id", "contact", "at", "vehicle", "total", "category"]
    return SampleFiles(
        _write(folder / "contacts.csv", columns, contacts),
        _write(folder / "vehicles.csv", vehicle_columns, vehicles),
        _write(
            folder / "leases.csv",
            ["key", "contact", "unit", "status", "lease_end"],
            leases,
        ),
        _write(folder / "events.csv", event_columns, events),
    )


def _orders(chance: random.Random, n: int, key: str, today: date) -> list[Cells]:
    """Some buy often and have stopped, some buy their coffee here, a few have ordered for the first time."""
    found: list[Cells] = []
    count = chance.choices((0, 1, 4, 9), (50, 15, 25, 10))[0]
    last = chance.choice((2, 20, 60, 130, 150)) if n % 25 else 0
    for m in range(count):
        when = today - timedelta(days=last + 21 * m)
        total, category = (
            f"{chance.choice((12, 28, 45, 90, 140))}.50",
            chance.choice(("coffee", "home")),
        )
        found.append(
            ("order.placed", f"o{n}-{m}", key, f"{when} 10:15", "", total, category)
        )
    for m in range(chance.choice((0, 0, 3, 7, 9)) if chance.random() < 0.2 else 0):
        when = today - timedelta(days=m * 2)
        found.append(("coffee.bought", f"k{n}-{m}", key, f"{when} 8:10", "", "", ""))
    return found


def _contact(chance: random.Random, n: int, today: date) -> tuple[str, ...]:
    first, last = (
        ("Ana", "Morales") if n == 0 else (chance.choice(FIRST), chance.choice(LAST))
    )
    country, zone, locale = HOMES[0] if n == 0 else chance.choice(HOMES[:4] * 3 + HOMES)
    key = "ana" if n == 0 else f"c{n:03d}"
    mailbox = re.sub(
        "[^a-z]", "", f"{first}{last}".casefold().encode("ascii", "ignore").decode()
    )
    birthday = str(_birthday(chance, n, today) or "")
    newsletter = (
        "yes"
        if n == 0
        else chance.choices(("yes", "no", "2024-05-17", ""), (55, 15, 15, 15))[0]
    )
    offers = "yes" if n == 0 else chance.choices(("yes", "no", ""), (60, 10, 30))[0]
    email = f"{mailbox}.{n}@example.com"
    phone = f"+1312555{n:04d}" if country == "US" and chance.random() < 0.6 else ""
    home = (
        f"{n + 1} Elm Street, Springfield, IL 62701"
        if country == "US" and chance.random() < 0.7
        else ""
    )
    return (
        key,
        email,
        phone,
        first,
        last,
        country,
        zone or "",
        locale,
        birthday,
        home,
        newsletter,
        offers,
    )


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
    return Birthday(
        day.month,
        day.day,
        None if chance.random() < 0.2 else chance.randint(1948, 2005),
    )


def _vehicle(
    chance: random.Random, contact: str, m: int, today: date
) -> tuple[str, ...]:
    """Serviced some time in the last seven months, so that many are due about now."""
    back = 175 if contact == "ana" else chance.randint(140, 186)
    last_service = shift(today, Duration(days=-back))
    status = "active" if contact == "ana" or chance.random() < 0.92 else "sold"
    odometer = str(chance.randint(9, 160) * 1000)
    return (
        f"{contact}-{m + 1}",
        contact,
        chance.choice(MODELS),
        status,
        last_service.isoformat(),
        odometer,
    )


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path
