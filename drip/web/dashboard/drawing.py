"""A campaign's steps as `charts.flow` draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from drip.core.campaign import Campaign
from drip.core.conditions import All, Condition, FieldCondition, Not
from drip.core.steps import (
    Branch,
    End,
    SendStep,
    Split,
    Step,
    Task,
    Wait,
    WaitFor,
    WaitUntil,
    leads_to,
)

# What a step is drawn as; any other one does something.
KINDS: Mapping[type[Step], str] = {
    SendStep: "send",
    Task: "task",
    Wait: "wait",
    WaitUntil: "wait",
    WaitFor: "wait",
    Branch: "branch",
    Split: "split",
    End: "end",
}


def drawn(campaign: Campaign, people: Counter[str]) -> list[dict[str, Any]]:
    """The steps as `charts.flow` has them."""
    return [
        {
            "id": step.id,
            "kind": KINDS.get(type(step), "action"),
            "depth": depth,
            "people": people[step.id],
            "only_if": _said(step.only_if),
            "place": str(step.place),
            "leads": _leads(step),
            "href": _live_page(campaign, step),
        }
        for step, depth in zip(campaign.steps, _depths(campaign), strict=True)
    ]


def _depths(campaign: Campaign) -> list[int]:
    """In how many arms each step lies."""
    depths = [0] * len(campaign.steps)
    for n, step in enumerate(campaign.steps):
        if len(leads_to(step)) > 1:
            # Arms lie between a step and the one that follows them all.
            for inner in range(n + 1, min(step.next, len(depths))):
                depths[inner] += 1
    return depths


def _live_page(campaign: Campaign, step: Step) -> str | None:
    """Where its message can be looked at, if it sends one."""
    if not isinstance(step, SendStep):
        return None
    return f"/live?campaign={quote(campaign.key)}&step={quote(step.id)}"


def _leads(step: Step) -> list[tuple[int, str]]:
    """Where a run goes on after a step, and when it goes there."""
    match step:
        case Branch(arms=arms, otherwise=otherwise):
            leads = [(to, f"if {_said(condition)}") for condition, to in arms]
            return [*leads, (otherwise, "else")]
        case Split(arms=shares):
            return [(to, f"{part:.0%}") for part, to in shares]
        case WaitFor(next=after, otherwise=otherwise) if after != otherwise:
            return [(after, f"after {step.event}"), (otherwise, "if it does not come")]
        case _:
            return [(to, "") for to in dict.fromkeys(leads_to(step))]


def _said(condition: Condition | None) -> str | None:
    """A condition as it was written."""
    match condition:
        case None:
            return None
        case All(parts=parts):
            return " and ".join(_said(part) or "" for part in parts)
        case FieldCondition(field=field, text=text):
            return f"{field}: {text}"
        case Not(text=text):
            return f"not {text}"
        case _:
            return condition.text
