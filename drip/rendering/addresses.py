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


def leading(value: Any) -> Any:
    """The beginning of an address; of one that leads to anything but `SCHEMES`,
    however it is spelt, nothing but a `#`, behind which whatever follows leads
    nowhere.
    """
    if not isinstance(value, str) or value.startswith(USUAL):
        return value
    found = SCHEME.match(unescape(value))
    if found is None or UNSEEN.sub("", found[1]).lower() in SCHEMES:
        return value
    return NOWHERE


def is_for_programs(address: str) -> bool:
    """Whether an address that a template itself names is one of those that run,
    or hold a page.
    """
    found = SCHEME.match(UNSEEN.sub("", address))
    return found is not None and found[1].lower() in ("javascript", "vbscript", "data")


def guard_addresses(tree: nodes.Template) -> None:
    """Puts the filter into a template.

    Raises TemplateSyntaxError for an address that is put together beyond
    recognition.
    """
    _body(tree.body, frozenset(("",)))


def _body(statements: list[nodes.Node], states: States) -> States:
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


def _statement(node: nodes.Node, states: States) -> States:
    match node:
        case nodes.Output():
            return _output(node, states)
        case nodes.If():
            branches = [node.body, *(each.body for each in node.elif_), node.else_]
            return frozenset().union(*(_body(each, states) for each in branches))
        case nodes.For():
            return states | _body(node.body, states) | _body(node.else_, states)
        case (
            nodes.With()
            | nodes.Block()
            | nodes.Scope()
            | nodes.ScopedEvalContextModifier()
        ):
            return _body(node.body, states)
        case nodes.CallBlock() | nodes.FilterBlock() if _undecided(states):
            raise TemplateSyntaxError(
                "an address in a link cannot begin with a `{% call %}` or `{% filter %}`",
                node.lineno,
            )
        case (
            nodes.Macro()
            | nodes.CallBlock()
            | nodes.FilterBlock()
            | nodes.AssignBlock()
        ):
            if _undecided(_body(node.body, frozenset(("",)))):
                sentence = "an address in a link begins here and goes on elsewhere: write all of it in one place"
                raise TemplateSyntaxError(sentence, node.lineno)
    return states


def _output(node: nodes.Output, states: States) -> States:
    written: list[nodes.Expr] = []
    coming = node.nodes[::-1]
    while coming:
        each, values = coming.pop(), _undecided(states)
        if isinstance(each, nodes.TemplateData):
            _look(each, values)
            written.append(each)
            states = _after(states, each.data, each.lineno)
        elif not values:
            written.append(each)
            states = _after(states, FILLED, each.lineno)
        else:
            value = min(values, key=lambda each: len(each.text))
            before, more = _cut(written, value), [each, *_rest(coming, value)]
            whole = (
                nodes.Concat([*before, *more], lineno=each.lineno)
                if before or len(more) > 1
                else each
            )
            written.append(
                nodes.Filter(whole, LEADING, [], [], None, None, lineno=each.lineno)
            )
            said = (
                part.data if isinstance(part, nodes.TemplateData) else FILLED
                for part in more
            )
            states = _after(states, "".join(said), each.lineno)
    node.nodes = written
    return states


@dataclass(frozen=True, slots=True)
class _Value:
    """What there is of an address so far, and the characters that end it."""

    text: str
    ends: str


def _undecided(states: States) -> list[_Value]:
    """The addresses that may be open and whose scheme is still to come."""
    found = []
    for state in states:
        if match := OPEN.search(state):
            kind = match.lastindex or 0
            if not re.search("[:/?#]", unescape(match[kind])):
                found.append(_Value(match[kind], ENDS[kind]))
    return found


def _after(states: States, more: str, line: int) -> States:
    """The tags that are open once this was written.

    Raises TemplateSyntaxError for one that is too long to be looked through.
    """
    found = (TAG.search(_end_of(state + more, line)) for state in states)
    return frozenset(_short(each[0]) if each else "" for each in found)


def _end_of(text: str, line: int) -> str:
    """As much of a text as can matter."""
    last = text[max(text.rfind("<"), 0) :]
    if len(last) <= KEPT:
        return text[-KEPT:]
    last = COMPLETE.sub("", last)
    if len(last) > KEPT and OPEN_TAG.fullmatch(last):
        raise TemplateSyntaxError(
            f"a tag has more than {KEPT:,} characters: is its end (`>`) missing?", line
        )
    return last[-KEPT:]


def _short(tag: str) -> str:
    """The same tag without what does not matter, so that most branches lead to
    the same.
    """
    tag = re.sub(r"\s+", " ", COMPLETE.sub("", tag))
    if (begun := BEGUN.search(tag)) and not _undecided(frozenset((tag,))):
        return tag[: begun.start(1)] + "/"
    return tag


def _look(text: nodes.TemplateData, values: list[_Value]) -> None:
    """A scheme whose name was filled in cannot be told from others once its
    colon follows in another statement.
    """
    if any(
        FILLED in each.text and re.match(f"[^/?#{each.ends}]*:", unescape(text.data))
        for each in values
    ):
        sentence = "an address in a link has its scheme (`https:`) from a value: write the scheme into the template"
        raise TemplateSyntaxError(sentence, text.lineno)


def _cut(written: list[nodes.Expr], value: _Value) -> list[nodes.Expr]:
    """The part of the text before that belongs to the address, taken away from it."""
    before = written[-1] if written and value.text else None
    if not isinstance(before, nodes.TemplateData):
        return []
    written.pop()
    at = max(len(before.data) - len(value.text), 0)
    written += (
        [nodes.TemplateData(before.data[:at], lineno=before.lineno)] if at else []
    )
    return [nodes.TemplateData(before.data[at:], lineno=before.lineno)]


def _rest(coming: list[nodes.Expr], value: _Value) -> list[nodes.Expr]:
    """What else belongs to the beginning of the address, taken away from what
    is to come: all up to what shows its scheme.
    """
    taken: list[nodes.Expr] = []
    while coming:
        each = coming.pop()
        if not isinstance(each, nodes.TemplateData):
            taken.append(each)
            continue
        at, over = _up_to_its_scheme(each.data, value.ends)
        taken += [nodes.TemplateData(each.data[:at], lineno=each.lineno)] if at else []
        coming += (
            [nodes.TemplateData(each.data[at:], lineno=each.lineno)]
            if at < len(each.data)
            else []
        )
        if over:
            break
    return taken


def _up_to_its_scheme(text: str, ends: str) -> tuple[int, bool]:
    """How much of a text within an address has to be looked at with what stands
    before, and whether that is all.
    """
    found = re.search(f"[:/?#&{ends}]", text)
    if found is None:
        return len(text), False
    if found[0] == "&":
        # It can stand for any of the others.
        end = re.search(f"[{ends}]", text)
        return (end.start() if end else len(text)), end is not None
    # Anything but a colon says that there is no scheme.
    return (found.end() if found[0] == ":" else 0), True
