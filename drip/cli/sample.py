"""The sample workspace that `init` and `demo` copy, and 200 invented people for the
demo."""

from __future__ import annotations

import csv
import random
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from drip.core.calendar import Birthday, Duration, shift
from drip.errors import DripError

# Chance's, so that the same day invents the same people.
SEED, PEOPLE = 20261122, 200
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

# Of leases, until they end.
LEASE_DAYS = (30, 45, 60, 75, 90, 100, 120)
NEWSLETTER, OFFERS = ("yes", "no", "2024-05-17", ""), ("yes", "no", "")
CONTACT_COLUMNS = (
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
)
VEHICLE_COLUMNS = ("key", "contact", "model", "status", "last_service", "odometer")
LEASE_COLUMNS = ("key", "contact", "unit", "status", "lease_end")
EVENT_COLUMNS = ("event", "id", "contact", "at", "vehicle", "total", "category")


def copy_sample(target: Path, today: date) -> None:
    """Writes the sample workspace into a new or empty folder, its newsletter issues
    dated from this week on."""
    source = _sample()
    for folder in ("campaigns", "templates"):
        shutil.copytree(
            source / folder,
            target / folder,
            ignore=shutil.ignore_patterns("__pycache__", ".*"),
        )
    # Issues of last year would be over, and the newsletter would have nothing to send.
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
    """Invented contacts, what they own and what happened to them, as CSV files; the
    same for the same day."""
    chance = random.Random(SEED)
    made = _Invented()
    for n in range(PEOPLE):
        contact = _contact(chance, n, today)
        made.contacts.append(contact)
        _invent_vehicles(made, chance, n, contact[0], today)
        if n % 12 == 5:
            made.leases.append(_lease(chance, n, contact[0], today))
        made.events += _orders(chance, n, contact[0], today)
    return SampleFiles(
        _write(folder / "contacts.csv", CONTACT_COLUMNS, made.contacts),
        _write(folder / "vehicles.csv", VEHICLE_COLUMNS, made.vehicles),
        _write(folder / "leases.csv", LEASE_COLUMNS, made.leases),
        _write(folder / "events.csv", EVENT_COLUMNS, made.events),
    )


@dataclass(slots=True)
class _Invented:
    """Rows of each of the files."""

    contacts: list[Cells] = field(default_factory=list)
    vehicles: list[Cells] = field(default_factory=list)
    leases: list[Cells] = field(default_factory=list)
    events: list[Cells] = field(default_factory=list)


def _invent_vehicles(
    made: _Invented,
    chance: random.Random,
    n: int,
    contact: str,
    today: date,
) -> None:
    """None, one or two, some of which are booked for a service or have just had one."""
    count = chance.choices((0, 1, 2), (30, 55, 15))[0] or (n == 0)
    for m in range(count):
        vehicle = _vehicle(chance, contact, m, today)
        made.vehicles.append(vehicle)
        key = vehicle[0]
        if chance.random() < 0.06:
            when = f"{_days_ago(today, chance.randint(1, 3))} 11:30"
            booked = _event("booking.created", f"b{n}-{m}", contact, when, key)
            made.events.append(booked)
        if chance.random() < 0.04:
            when = f"{today} 8:20"
            serviced = _event("service.completed", f"s{n}-{m}", contact, when, key)
            made.events.append(serviced)


def _days_ago(today: date, days: int) -> date:
    return today - timedelta(days=days)


def _lease(chance: random.Random, n: int, contact: str, today: date) -> Cells:
    ends = today + timedelta(days=chance.choice(LEASE_DAYS))
    unit = f"{n % 9 + 1}{chance.choice('ABC')}"
    return (f"lease-{n}", contact, unit, "active", ends.isoformat())


def _event(
    name: str,
    key: str,
    contact: str,
    when: str,
    vehicle: str = "",
    total: str = "",
    category: str = "",
) -> Cells:
    return (name, key, contact, when, vehicle, total, category)


def _orders(chance: random.Random, n: int, contact: str, today: date) -> list[Cells]:
    """Some buy often and have stopped, some buy their coffee here, a few have ordered
    for the first time."""
    found: list[Cells] = []
    count = chance.choices((0, 1, 4, 9), (50, 15, 25, 10))[0]
    last = chance.choice((2, 20, 60, 130, 150)) if n % 25 else 0
    for m in range(count):
        when = f"{_days_ago(today, last + 21 * m)} 10:15"
        total = f"{chance.choice((12, 28, 45, 90, 140))}.50"
        category = chance.choice(("coffee", "home"))
        key = f"o{n}-{m}"
        order = _event("order.placed", key, contact, when, "", total, category)
        found.append(order)
    for m in range(chance.choice((0, 0, 3, 7, 9)) if chance.random() < 0.2 else 0):
        when = f"{_days_ago(today, m * 2)} 8:10"
        found.append(_event("coffee.bought", f"k{n}-{m}", contact, when))
    return found


def _contact(chance: random.Random, n: int, today: date) -> Cells:
    """The first is Ana Morales, who has everything; the others are whoever chance makes
    them."""
    ana = n == 0
    first, last = ("Ana", "Morales") if ana else _name(chance)
    country, zone, locale = HOMES[0] if ana else chance.choice(HOMES[:4] * 3 + HOMES)
    birthday = str(_birthday(chance, n, today) or "")
    newsletter = "yes" if ana else _answer(chance, NEWSLETTER, (55, 15, 15, 15))
    offers = "yes" if ana else _answer(chance, OFFERS, (60, 10, 30))
    at_home = country == "US"
    phone = f"+1312555{n:04d}" if at_home and chance.random() < 0.6 else ""
    street = f"{n + 1} Elm Street, Springfield, IL 62701"
    return (
        "ana" if ana else f"c{n:03d}",
        f"{_mailbox(first, last)}.{n}@{DOMAIN}",
        phone,
        first,
        last,
        country,
        zone or "",
        locale,
        birthday,
        street if at_home and chance.random() < 0.7 else "",
        newsletter,
        offers,
    )


def _name(chance: random.Random) -> tuple[str, str]:
    return chance.choice(FIRST), chance.choice(LAST)


def _answer(
    chance: random.Random,
    answers: Sequence[str],
    weights: Sequence[int],
) -> str:
    return chance.choices(answers, weights)[0]


# RFC 2606 section 3: nobody has an address there, whom the demo could write to.
DOMAIN = "example.com"


def _mailbox(first: str, last: str) -> str:
    plain = f"{first}{last}".casefold().encode("ascii", "ignore").decode()
    return re.sub("[^a-z]", "", plain)


def _birthday(chance: random.Random, n: int, today: date) -> Birthday | None:
    """Some are unknown, some come without their year, some fall on February 29; Ana's
    is next week."""
    if n == 0:
        day = today + timedelta(days=7)
        return Birthday(day.month, day.day, 1990)
    # Three years in four they are congratulated on another day.
    if n % 41 == 7:
        return Birthday(2, 29, 1992)
    if chance.random() < 0.15:
        return None
    day = date(2001, 1, 1) + timedelta(days=chance.randrange(365))
    year = None if chance.random() < 0.2 else chance.randint(1948, 2005)
    return Birthday(day.month, day.day, year)


def _vehicle(chance: random.Random, contact: str, m: int, today: date) -> Cells:
    """Serviced some time in the last seven months, so that many are due about now."""
    ana = contact == "ana"
    back = 175 if ana else chance.randint(140, 186)
    last_service = shift(today, Duration(days=-back))
    status = "active" if ana or chance.random() < 0.92 else "sold"
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
    # `newline=""`, or on Windows each line would end twice.
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path
