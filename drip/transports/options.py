"""A transport's options, which come as texts: what is wrong with one is said in
a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping


def only(
    options: Mapping[str, str],
    transport: str,
    known: Collection[str],
) -> None:
    """Raises ValueError for an option that the transport does not have."""
    unknown = sorted(set(options) - set(known))
    if unknown:
        has = ", ".join(sorted(known))
        raise ValueError(
            f"the transport `{transport}` has no option `{unknown[0]}`; it has {has}"
        )


def number(
    options: Mapping[str, str],
    name: str,
    usual: int,
    most: int,
) -> int:
    """A number from 1 to `most`. Raises ValueError."""
    text = options.get(name, str(usual))
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) <= most:
        raise ValueError(f"`{name}: {text}` is not a number from 1 to {most}")
    return int(text)
