"""How well text stands out from its background: WCAG 2.2, success criterion 1.4.3."""

from __future__ import annotations

import re
from collections.abc import Iterator

ENOUGH = 4.5
COLOUR = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})\b", re.I)
RULES = re.compile(r"style\s*=\s*\"([^\"]*)\"|\{([^{}]*)\}", re.I)


def low_contrasts(page: str) -> Iterator[tuple[int, str]]:
    """For each style that sets text and background and sets them too close: its line, and a sentence."""
    for found in RULES.finditer(page):
        declared = found[1] or found[2] or ""
        text, ground = (
            _declared(declared, "color"),
            _declared(declared, "background(?:-color)?"),
        )
        if text and ground and (ratio := contrast(text, ground)) < ENOUGH:
            line = page.count("\n", 0, found.start()) + 1
            # What is hidden is not read.
            if "display: none" not in declared and "display:none" not in declared:
                yield line, f"{text} on {ground} stands out {ratio:.1f} to 1 only"


def _declared(style: str, name: str) -> str | None:
    found = re.search(rf"(?:^|[;\s]){name}\s*:\s*({COLOUR.pattern})", style, re.I)
    return found[1] if found else None


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours like #1f4d3a, from 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    channels = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
