"""Addresses of links and pictures that data fills in: only what leads to a
page, a mail or a telephone stays.

A template is looked at once, when it is made ready: where an expression stands
at the beginning of an address, it is given to the filter `LEADING`; what stands
behind the scheme, or in any other place, costs nothing. How browsers find the
scheme: WHATWG URL Standard, "basic URL parser".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

from jinja2 import TemplateSyntaxError, nodes

# No template can write this name.
LEADING = "0leading"
SCHEMES = frozenset(("http", "https", "mailto", "tel", "sms", "cid"))
# Of nearly all: looking at the rest takes five times as long.
USUAL = ("https://", "http://")
# Browsers leave out what is at most a space, before an address or within its
# scheme.
UNSEEN = re.compile(r"[\0- ]+")
SCHEME = re.compile(r"([^:/?#]*):")
NOWHERE = "#"
# What stands for a value that is filled in.
FILLED = "\ufffc"
# As much of what was written before as can matter, and of a tag without its
# complete attributes.
KEPT = 4_000
# A tag that is not closed yet, its quotes taken in pairs or, where they do not
# pair, for letters; a value that is open in it.
TAG = re.compile(
    r"""<[a-z](?:(?:[^"'<>]|"[^"]*"|'[^']*')*(?:"[^"]*|'[^']*)?|[^<>]*)\Z""", re.I
)
OPEN = re.compile(
    r"""(?<![\w-])(?:href|src|action|formaction|background|poster|cite|data|longdesc|ping)\s*=\s*"""
    r"""(?:"([^"]*)|'([^']*)|([^\s"'>]*))\Z""",
    re.I,
)
# Attributes that are complete, and one whose value is open: neither matters but
# for an address that begins.
COMPLETE = re.compile(r"""(?<!\s)\s+[\w:-]+\s*=\s*(?:"[^"]*"|'[^']*')""")
OPEN_TAG = re.compile("<[a-z][^>]*", re.I)
BEGUN = re.compile(r"""=\s*["']([^"']+)\Z""")
# As many ways through the branches within one tag are followed.
MOST_WAYS = 64
# What ends it, in quotes of either kind and without.
ENDS = {1: '"', 2: "'", 3: " \t\n\r\f>"}
States = frozenset[str]
NOTHING_OPEN: States = frozenset(("",))


@dataclass(frozen=True, slots=True)
class _Value:
    """What there is of an address so far, and the characters that end it."""

    text: str
    ends: str


def leading(value: Any) -> Any:
    """The beginning of an address; of one that leads to anything but `SCHEMES`, however
    it is spelt, nothing but a `#`, behind which whatever follows leads nowhere.
    """
    if not isinstance(value, str) or value.startswith(USUAL):
        return value
    scheme = _scheme(unescape(value))
    return value if scheme is None or scheme in SCHEMES else NOWHERE


def is_for_programs(address: str) -> bool:
    """Whether an address that a template itself names is one of those that run, or
    hold a page.
    """
    return _scheme(address) in ("javascript", "vbscript", "data")


def _scheme(address: str) -> str | None:
    """What stands before the colon, as browsers read it; None without one."""
    found = SCHEME.match(address)
    return UNSEEN.sub("", found[1]).lower() if found else None


def guard_addresses(tree: nodes.Template) -> None:
    """Puts the filter into a template.

    Raises TemplateSyntaxError for an address that is put together beyond
    recognition.
    """
    _body(tree.body, NOTHING_OPEN)


def _body(
    statements: list[nodes.Node],
    states: States,
) -> States:
    """Goes through statements.

    `states` are the tags that may be open: one for each way through the
    branches before.
    """
    for node in statements:
        states = _statement(node, states)
        if len(states) > MOST_WAYS:
            raise TemplateSyntaxError(
                "there are too many `{% if %}` within one tag: `{% set %}` a value before it",
                node.lineno,
            )
    return states


def _statement(
    node: nodes.Node,
    states: States,
) -> States:
    """What may be open behind a statement."""
    match node:
        case nodes.Output():
            return _output(node, states)
        case nodes.If():
            return _branches(node, states)
        case nodes.For():
            return states | _body(node.body, states) | _body(node.else_, states)
        case nodes.Macro() | nodes.AssignBlock():
            _check_whole(node)
        case nodes.CallBlock() | nodes.FilterBlock():
            if _undecided(states):
                raise TemplateSyntaxError(
                    "an address in a link cannot begin with a `{% call %}` or"
                    " `{% filter %}`",
                    node.lineno,
                )
            _check_whole(node)
        case nodes.With() | nodes.Block() | nodes.Scope():
            return _body(node.body, states)
        case nodes.ScopedEvalContextModifier():
            return _body(node.body, states)
    return states


def _branches(node: nodes.If, states: States) -> States:
    """All that may be open behind any of them."""
    return frozenset().union(*(_body(body, states) for body in _bodies(node)))


def _bodies(node: nodes.If) -> list[list[nodes.Node]]:
    return [node.body, *(branch.body for branch in node.elif_), node.else_]


def _check_whole(
    node: nodes.Macro | nodes.AssignBlock | nodes.CallBlock | nodes.FilterBlock,
) -> None:
    """What is written elsewhere may not begin an address that goes on there."""
    if _undecided(_body(node.body, NOTHING_OPEN)):
        raise TemplateSyntaxError(
            "an address in a link begins here and goes on elsewhere: write all of it in"
            " one place",
            node.lineno,
        )


def _output(node: nodes.Output, states: States) -> States:
    """Gives beginnings of addresses to the filter; what may be open behind it."""
    written: list[nodes.Expr] = []
    coming = node.nodes[::-1]
    while coming:
        expression = coming.pop()
        values = _undecided(states)
        if isinstance(expression, nodes.TemplateData):
            _look(expression, values)
            written.append(expression)
            text = expression.data
        elif values:
            value = min(values, key=_length)
            address = [expression, *_rest(coming, value)]
            before = _cut(written, value)
            written.append(_filtered([*before, *address], expression.lineno))
            text = _as_text(address)
        else:
            written.append(expression)
            text = FILLED
        states = _after(states, text, expression.lineno)
    node.nodes = written
    return states


def _length(value: _Value) -> int:
    return len(value.text)


def _filtered(
    parts: list[nodes.Expr],
    line: int,
) -> nodes.Filter:
    """The beginning of an address as one expression, looked at by `leading`."""
    whole = _joined(parts, line)
    return nodes.Filter(whole, LEADING, [], [], None, None, lineno=line)


def _joined(parts: list[nodes.Expr], line: int) -> nodes.Expr:
    return parts[0] if len(parts) == 1 else nodes.Concat(parts, lineno=line)


def _as_text(parts: list[nodes.Expr]) -> str:
    """With something else for each value that is filled in."""
    return "".join(
        part.data if isinstance(part, nodes.TemplateData) else FILLED for part in parts
    )


def _undecided(states: States) -> list[_Value]:
    """The addresses that may be open and whose scheme is still to come."""
    found = []
    for state in states:
        value = OPEN.search(state)
        if value is None:
            continue
        kind = value.lastindex or 0
        if not re.search("[:/?#]", unescape(value[kind])):
            found.append(_Value(value[kind], ENDS[kind]))
    return found


def _after(
    states: States,
    more: str,
    line: int,
) -> States:
    """The tags that are open once this was written.

    Raises TemplateSyntaxError for one that is too long to be looked through.
    """
    tags = (TAG.search(_end_of(state + more, line)) for state in states)
    return frozenset(_short(tag[0]) if tag else "" for tag in tags)


def _end_of(text: str, line: int) -> str:
    """As much of a text as can matter."""
    begins = max(text.rfind("<"), 0)
    if len(text) - begins <= KEPT:
        return text[-KEPT:]
    tag = COMPLETE.sub("", text[begins:])
    if len(tag) > KEPT and OPEN_TAG.fullmatch(tag):
        raise TemplateSyntaxError(
            f"a tag has more than {KEPT:,} characters: is its end (`>`) missing?", line
        )
    return tag[-KEPT:]


def _short(tag: str) -> str:
    """The same tag without what does not matter, so that most branches lead to
    the same.
    """
    tag = re.sub(r"\s+", " ", COMPLETE.sub("", tag))
    if (begun := BEGUN.search(tag)) and not _undecided(frozenset((tag,))):
        return tag[: begun.start(1)] + "/"
    return tag


def _look(
    text: nodes.TemplateData,
    values: list[_Value],
) -> None:
    """A scheme whose name was filled in is not recognised once its colon follows in
    another statement.
    """
    said = unescape(text.data)
    for value in values:
        goes_on = re.match(f"[^/?#{value.ends}]*:", said)
        if goes_on and FILLED in value.text:
            raise TemplateSyntaxError(
                "an address in a link has its scheme (`https:`) from a value: write the"
                " scheme into the template",
                text.lineno,
            )


def _cut(
    written: list[nodes.Expr],
    value: _Value,
) -> list[nodes.Expr]:
    """The part of the text before that belongs to the address, taken away from it."""
    before = written[-1] if written and value.text else None
    if not isinstance(before, nodes.TemplateData):
        return []
    written.pop()
    at = max(len(before.data) - len(value.text), 0)
    left, address = _split(before, at)
    written += left
    return address


def _split(
    text: nodes.TemplateData,
    at: int,
) -> tuple[list[nodes.Expr], list[nodes.Expr]]:
    """What stands before a place of a text and behind it; nothing for an empty one."""
    line = text.lineno
    return _text(text.data[:at], line), _text(text.data[at:], line)


def _text(data: str, line: int) -> list[nodes.Expr]:
    return [nodes.TemplateData(data, lineno=line)] if data else []


def _rest(
    coming: list[nodes.Expr],
    value: _Value,
) -> list[nodes.Expr]:
    """What else belongs to the beginning of the address, taken away from what is to
    come: all up to what shows its scheme.
    """
    taken: list[nodes.Expr] = []
    while coming:
        part = coming.pop()
        if not isinstance(part, nodes.TemplateData):
            taken.append(part)
            continue
        at, over = _up_to_its_scheme(part.data, value.ends)
        address, behind = _split(part, at)
        taken += address
        coming += behind
        if over:
            break
    return taken


def _up_to_its_scheme(
    text: str,
    ends: str,
) -> tuple[int, bool]:
    """How much of a text within an address has to be looked at with what stands before,
    and whether that is all.
    """
    found = re.search(f"[:/?#&{ends}]", text)
    if found is None:
        return len(text), False
    if found[0] == "&":
        # It can stand for any of the others.
        end = re.search(f"[{ends}]", text)
        return (len(text), False) if end is None else (end.start(), True)
    # Anything but a colon says that there is no scheme.
    return (found.end() if found[0] == ":" else 0), True
