"""The public holidays of a country, of the library `holidays`."""

from __future__ import annotations

import sys
from collections.abc import Collection
from datetime import date
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec


def public_holidays(
    country: str, part: str | None, years: Collection[int]
) -> set[date]:
    """Those of a country (`US`), or of a part of it (`DE`, `BY`). Raises
    NotImplementedError where the library has none."""
    # Slow to import, and few workspaces want it.
    import holidays

    _hold_back_countries(holidays.__path__[0])
    return set(holidays.country_holidays(country, part, years=years))


def _hold_back_countries(folder: str) -> None:
    """Has Python find the modules of countries without importing them all: the
    package's `__init__` does that, and 250 modules take
    0.1 s on the machine this was measured on, a tenth of `drip check`."""
    name = "holidays.countries"
    if name not in sys.modules:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [f"{folder}/countries"]
        sys.modules[name] = module_from_spec(spec)
