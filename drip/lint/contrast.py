"""How well text stands out from its background: WCAG 2.2, success criterion 1.4.3."""

from __future__ import annotations

import re
from collections.abc import Iterator

# For text of ordinary size (1.4.3, AA); large text would do with 3.
ENOUGH = 4.5
COLOUR = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})\b", re.I)
# A `style` attribute, or a rule of a style sheet.
RULES_OF_STYLE = re.compile(r"style\s*=\s*\"([^\"]*)\"|\{([^{}]*)\}", re.I)
HIDDEN = re.compile(r"display: ?none")
# The weights of WCAG's relative luminance: eyes take green for bright, blue for dark.
RED, GREEN, BLUE = 0.2126, 0.7152, 0.0722


def low_contrasts(page: str) -> Iterator[tuple[int, str]]:
    """For each style whose text is too close to its background: its line, a sentence.

    Only styles that set both are judged; what lies beneath the others nobody knows
    here.
    """
    for found in RULES_OF_STYLE.finditer(page):
        style = found[1] or found[2] or ""
        sentence = _too_close(style)
        # What is hidden is not read.
        if sentence and not HIDDEN.search(style):
            yield page.count("\n", 0, found.start()) + 1, sentence


def _too_close(style: str) -> str | None:
    """A sentence about a style whose text is hard to read."""
    text = _declared(style, "color")
    ground = _declared(style, "background(?:-color)?")
    if not text or not ground:
        return None
    ratio = contrast(text, ground)
    if ratio >= ENOUGH:
        return None
    return f"{text} on {ground} stands out {ratio:.1f} to 1 only"


def _declared(style: str, name: str) -> str | None:
    """The colour that a style gives to a property."""
    declaration = rf"(?:^|[;\s]){name}\s*:\s*({COLOUR.pattern})"
    found = re.search(declaration, style, re.I)
    return found[1] if found else None


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours like #1f4d3a, from 1 to 21."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    # 0.05 is the light that a screen throws back by WCAG's definition.
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it, from 0 (black) to 1 (white)."""
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    red = _linear(digits[0:2])
    green = _linear(digits[2:4])
    blue = _linear(digits[4:6])
    return RED * red + GREEN * green + BLUE * blue


def _linear(digits: str) -> float:
    """How bright a channel of sRGB is.

    Its numbers are not proportional to the light.
    """
    channel = int(digits, 16) / 255
    # WCAG had 0.03928 here until 2021; no 8-bit value lies between the two.
    if channel <= 0.04045:
        return channel / 12.92
    return float(((channel + 0.055) / 1.055) ** 2.4)
