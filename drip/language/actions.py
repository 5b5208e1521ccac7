"""Steps that change something: tasks, coupons, points, consents, tags, fields, pauses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from drip.core.channels import CHANNELS
from drip.core.fields import parse
from drip.core.steps import (
    AddPoints,
    End,
    IssueCoupon,
    PauseTopics,
    SetConsent,
    SetFields,
    SetTag,
    Step,
    Task,
)
from drip.errors import nearest
from drip.language import campaign_models as models
from drip.language import phrases
from drip.language.reader import Route
from drip.language.step_context import StepContext, plain

# Who someone is comes from files of contacts, not from a campaign.
UNSETTABLE = ("key", "email", "phone")


def task(around: StepContext, route: Route, model: models.TaskModel) -> Step:
    return Task(
        id="",
        place=around.document.place(route),
        title=model.task,
        assign_to=model.assign_to,
        at=around.point((*route, "at"), model.at, around.opens),
        due=model.due,
        priority=50 if model.priority is None else model.priority,
    )


def action(around: StepContext, route: Route, model: models.StepModel) -> Step | None:
    place = around.document.place(route)
    match model:
        case models.IssueCouponModel():
            return _coupon(around, route, model)
        case models.PointsModel():
            return _points(around, route, model)
        case models.SubscribeModel(subscribe=topic):
            _topic(around, (*route, "subscribe"), topic)
            channels = around.channels((*route, "channel"), model.channel) or ("email",)
            return SetConsent(
                id="", place=place, topic=topic, channels=channels, given=True
            )
        case models.UnsubscribeModel(unsubscribe=topic):
            _topic(around, (*route, "unsubscribe"), topic)
            channels = around.channels((*route, "channel"), model.channel)
            return SetConsent(
                id="",
                place=place,
                topic=topic,
                channels=channels or tuple(CHANNELS),
                given=False,
            )
        case models.TagModel(tag=data):
            return SetTag(
                id="",
                place=place,
                tags=around.words((*route, "tag"), data, "a tag"),
                on=True,
            )
        case models.UntagModel(untag=data):
            return SetTag(
                id="",
                place=place,
                tags=around.words((*route, "untag"), data, "a tag"),
                on=False,
            )
        case models.SetModel(set=data):
            return SetFields(
                id="", place=place, values=_values(around, (*route, "set"), data)
            )
        case models.PauseModel(pause=data, duration=long):
            topics = around.words((*route, "pause"), data, "a topic")
            for n, topic in enumerate(topics):
                _topic(
                    around,
                    (*route, "pause", n)
                    if isinstance(data, list)
                    else (*route, "pause"),
                    topic,
                )
            return PauseTopics(id="", place=place, topics=topics, duration=long)
        case _:
            return End(id="", place=place)


def _coupon(around: StepContext, route: Route, model: models.IssueCouponModel) -> Step:
    coupons = around.settings.coupons
    if model.coupon not in coupons:
        help = (
            nearest(model.coupon, coupons, what="coupons")
            or "declare it under `coupons:` in _settings.yaml"
        )
        around.problem((*route, "coupon"), f"there is no coupon `{model.coupon}`", help)
    good = None
    if model.expires is not None:
        good = around.attempt(
            (*route, "expires"), lambda: phrases.expires(plain(model.expires))
        )
    around.issued.append(model.coupon)
    return IssueCoupon(
        id="", place=around.document.place(route), coupon=model.coupon, expires=good
    )


def _points(
    around: StepContext, route: Route, model: models.PointsModel
) -> Step | None:
    counters = around.settings.counters
    amount = around.attempt((*route, "points"), lambda: phrases.points(model.points))
    name = model.counter or (next(iter(counters)) if len(counters) == 1 else None)
    if name is None:
        help = (
            nearest("", counters, what="counters")
            or "declare one under `counters:` in _settings.yaml"
        )
        around.problem(route, "`counter:` is missing: which one is meant?", help)
    elif name not in counters:
        help = (
            nearest(name, counters, what="counters")
            or "declare it under `counters:` in _settings.yaml"
        )
        around.problem((*route, "counter"), f"there is no counter `{name}`", help)
    if amount is None or name is None:
        return None
    return AddPoints(
        id="", place=around.document.place(route), counter=name, amount=amount
    )


def _topic(around: StepContext, route: Route, topic: str) -> None:
    topics = around.settings.topics
    if topic not in topics:
        help = (
            nearest(topic, topics, what="topics")
            or "declare it under `topics:` in _settings.yaml"
        )
        around.problem(route, f"there is no topic `{topic}`", help)


def _values(
    around: StepContext, route: Route, data: Mapping[str, Any]
) -> dict[str, Any]:
    settings, record = around.settings, around.model.for_each
    owners = ["contact", *([record] if record in settings.fields else [])]
    names = [
        f"{each}.{name}".removeprefix("contact.")
        for each in owners
        for name in settings.fields[str(each)]
        if name not in UNSETTABLE
    ]
    values: dict[str, Any] = {}
    for name, text in data.items():
        owner, dot, bare = name.partition(".")
        owner, bare = (owner, bare) if dot else ("contact", name)
        known = settings.fields.get(owner, {}).get(bare)
        if known is None or owner not in owners or bare in UNSETTABLE:
            help = nearest(name, names, what="fields")
            around.problem(
                (*route, name),
                f"there is no field `{name}` to set here",
                help,
                key=True,
            )
        elif not isinstance(text, str):
            around.problem(
                (*route, name), "a plain value is expected here, or `unknown`"
            )
        elif text == "unknown":
            values[f"{owner}.{bare}"] = None
        else:
            values[f"{owner}.{bare}"] = around.attempt(
                (*route, name), partial(parse, known, text)
            )
    if not data:
        around.problem(
            route, "there is nothing to set", "write `set: { vehicle.status: sold }`"
        )
    return values
