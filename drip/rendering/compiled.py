"""A template in one locale, ready to be filled in, and what is known of it by having
been filled in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Template

from drip.core.message import Attachment, Pieced
from drip.errors import Place
from drip.rendering.limits import TooMuch
from drip.rendering.sandbox import Sandbox
from drip.rendering.specialising import Specialised, specialised

# After so many messages in a row that went past the limits and took so long, no more
# are tried until the file changes.
MOST_EXCEEDED = 3
COSTLY_S = 0.5
# From so many messages of one occurrence on a template is specialised for it, which
# takes as long as filling in some hundred.
WORTH_IT = 30
MOST_SPECIAL = 20


@dataclass(frozen=True, slots=True)
class CompiledText:
    """One text of a template: its source, and the template that was made of it."""

    source: str
    template: Template
    sandbox: Sandbox

    def specialised(self, known: Mapping[str, Any]) -> Specialised | None:
        """With what is the same for everybody filled in, if that can be done."""
        return specialised(self.sandbox, self.sandbox.parse(self.source), known)

    def filled(
        self,
        special: Specialised | None,
        values: dict[str, Any],
    ) -> Pieced:
        """For one contact, by the specialised template if there is one."""
        if special is None:
            return Pieced(self.sandbox.pieces(self.template, values))
        return Pieced(special.pieces(self.sandbox, values))


@dataclass(frozen=True, slots=True)
class _Special:
    """Both texts for one occurrence."""

    html: Specialised | None = None
    text: Specialised | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template in one locale. Headers are None where the template gives none.

    - `locale`: the language it is written in, None for the workspace's own.
    - `links`: those that it may ask for.
    - `pictures`: files of the folder that the HTML shows.
    """

    name: str
    place: Place
    html: CompiledText | None
    text: CompiledText
    subject: Template | None
    preheader: Template | None
    sender: str | None
    locale: str | None
    links: frozenset[str] = frozenset()
    pictures: tuple[Attachment, ...] = ()
    _exceeded: list[str] = field(default_factory=list, repr=False)
    _uses: Counter[str] = field(default_factory=Counter, repr=False)
    _special: dict[str, _Special] = field(default_factory=dict, repr=False)

    @property
    def html_bytes(self) -> int:
        """How large the page is before any name is filled in."""
        return len(self.html.source.encode()) if self.html else 0

    def pieces(
        self,
        values: dict[str, Any],
        known: Mapping[str, Any],
    ) -> tuple[Pieced | None, Pieced]:
        """HTML and text filled in.

        `known` are those of the values that are the same for everybody at this
        occurrence. Raises TooMuch past the limits, and what Jinja raises.
        """
        # Which values are known decides which template it is: two campaigns may send
        # the same file.
        special = self._special_for(known)
        html = None
        if self.html is not None:
            html = self.html.filled(special.html, values)
        return html, self.text.filled(special.text, values)

    def _special_for(self, known: Mapping[str, Any]) -> _Special:
        about = repr(sorted(known.items()))
        self._uses[about] += 1
        if self._uses[about] == WORTH_IT:
            if len(self._special) >= MOST_SPECIAL:
                self._special.clear()
            self._special[about] = _Special(
                self.html.specialised(known) if self.html else None,
                self.text.specialised(known),
            )
        return self._special.get(about, _PLAIN)

    def tried(
        self,
        exceeded: TooMuch | None,
        took_s: float = 0,
    ) -> None:
        """Remembers whether a message went past the limits.

        Each may take two seconds, and ten thousand may wait. What fails soon costs
        nothing, and may be one contact's fault, of whom a value is large.
        """
        if exceeded is None:
            self._exceeded.clear()
        elif took_s >= COSTLY_S:
            self._exceeded.append(str(exceeded))

    @property
    def given_up(self) -> str | None:
        """Why no more messages are tried by it; None as long as they are."""
        return self._exceeded[-1] if len(self._exceeded) >= MOST_EXCEEDED else None


_PLAIN = _Special()
