"""Steps that change something: coupons, points, consents, tags, fields, pauses; tasks.

A new one is a row of `ACTIONS` and a function that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from drip.core.channels import CHANNELS
from drip.core.fields import Field, parse
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
from drip.language.conditions import owner_and_name
from drip.language.reader import Route, declare, items_at
from drip.language.step_context import StepContext, plain

DECLARE_ONE = "declare one under `counters:` in _settings.yaml"
# Who someone is comes from files of contacts, not from a campaign.
UNSETTABLE = ("key", "email", "phone")
USUAL_PRIORITY = 50


def task(context: StepContext, route: Route, model: models.TaskModel) -> Step:
    """Work for a person."""
    return Task(
        id="",
        place=context.place(route),
        title=model.task,
        assign_to=model.assign_to,
        at=context.point((*route, "at"), model.at, context.opens),
        due=model.due,
        priority=USUAL_PRIORITY if model.priority is None else model.priority,
    )


def action(context: StepContext, route: Route, model: models.StepModel) -> Step | None:
    """The step of a model; None where it cannot be, which is a problem then."""
    return ACTIONS[type(model)](context, route, model)


def _coupon(context: StepContext, route: Route, model: models.IssueCouponModel) -> Step:
    """`coupon: birthday-treat`: a code, good for as long as `expires:` says."""
    coupons = context.settings.coupons
    if model.coupon not in coupons:
        context.document.unknown(
            (*route, "coupon"),
            "coupon",
            model.coupon,
            coupons,
            declare("coupons"),
        )
    expires = None
    if model.expires is not None:
        expires = context.attempt(
            (*route, "expires"), lambda: phrases.expires(plain(model.expires))
        )
    # From here on steps may hang on `coupon.expires`.
    context.issued.append(model.coupon)
    return IssueCoupon(
        id="",
        place=context.place(route),
        coupon=model.coupon,
        expires=expires,
    )


def _points(
    context: StepContext, route: Route, model: models.PointsModel
) -> Step | None:
    """`points: 50` or `points: redeem 100`, to one of the counters."""
    # Both are looked at, so that one look finds both problems.
    amount = context.attempt((*route, "points"), lambda: phrases.points(model.points))
    counter = _counter(context, route, model)
    if amount is None or counter is None:
        return None
    return AddPoints(
        id="",
        place=context.place(route),
        counter=counter,
        amount=amount,
    )


def _counter(
    context: StepContext, route: Route, model: models.PointsModel
) -> str | None:
    """The counter that is meant: it need not be named where there is but one."""
    counters = context.settings.counters
    name = model.counter
    if name is None and len(counters) == 1:
        return next(iter(counters))
    if name is None:
        context.problem(
            route,
            "`counter:` is missing: which one is meant?",
            nearest("", counters, what="counters") or DECLARE_ONE,
        )
    elif name not in counters:
        context.document.unknown(
            (*route, "counter"),
            "counter",
            name,
            counters,
            declare("counters"),
        )
    return name


def _subscribe(
    context: StepContext, route: Route, model: models.SubscribeModel
) -> Step:
    """`subscribe: newsletter`: consent that a campaign records."""
    _check_topic(context, (*route, "subscribe"), model.subscribe)
    channels = context.channels((*route, "channel"), model.channel)
    return SetConsent(
        id="",
        place=context.place(route),
        topic=model.subscribe,
        # A yes is taken for no more than was said.
        channels=channels or ("email",),
        given=True,
    )


def _unsubscribe(
    context: StepContext, route: Route, model: models.UnsubscribeModel
) -> Step:
    """`unsubscribe: newsletter`: consent taken back."""
    _check_topic(context, (*route, "unsubscribe"), model.unsubscribe)
    channels = context.channels((*route, "channel"), model.channel)
    return SetConsent(
        id="",
        place=context.place(route),
        topic=model.unsubscribe,
        # A no is taken for all that it may mean.
        channels=channels or tuple(CHANNELS),
        given=False,
    )


def _tag(context: StepContext, route: Route, model: models.TagModel) -> Step:
    """`tag: unhappy`, or several."""
    return SetTag(
        id="",
        place=context.place(route),
        tags=context.words((*route, "tag"), model.tag, "a tag"),
        on=True,
    )


def _untag(context: StepContext, route: Route, model: models.UntagModel) -> Step:
    """`untag: unhappy`, or several."""
    return SetTag(
        id="",
        place=context.place(route),
        tags=context.words((*route, "untag"), model.untag, "a tag"),
        on=False,
    )


def _pause(context: StepContext, route: Route, model: models.PauseModel) -> Step:
    """`pause: [offers]` with `for: 14 days`: topics that rest for a while."""
    topics = context.words((*route, "pause"), model.pause, "a topic")
    for topic_route, topic in items_at((*route, "pause"), model.pause):
        # What is no word has been said by then.
        if topic in topics:
            _check_topic(context, topic_route, str(topic))
    return PauseTopics(
        id="",
        place=context.place(route),
        topics=topics,
        duration=model.duration,
    )


def _end(context: StepContext, route: Route, model: models.EndModel) -> Step:
    """`end`: the run is over."""
    return End(id="", place=context.place(route))


def _check_topic(context: StepContext, route: Route, topic: str) -> None:
    """That the settings declare a topic."""
    topics = context.settings.topics
    if topic not in topics:
        context.document.unknown(
            route,
            "topic",
            topic,
            topics,
            declare("topics"),
        )


# --- setting fields


def _set(context: StepContext, route: Route, model: models.SetModel) -> Step:
    """`set: { vehicle.status: sold }`: fields that get a value."""
    here: Route = (*route, "set")
    if not model.set:
        context.problem(
            here,
            "there is nothing to set",
            "write `set: { vehicle.status: sold }`",
        )
    return SetFields(
        id="",
        place=context.place(route),
        values=_values(context, here, model.set),
    )


def _values(
    context: StepContext, route: Route, data: Mapping[str, Any]
) -> dict[str, Any]:
    """The values by full name; None where a field becomes unknown."""
    settable = _settable(context)
    values: dict[str, Any] = {}
    for key, text in data.items():
        here: Route = (*route, key)
        full = ".".join(owner_and_name(key))
        if full not in settable:
            _cannot_set(context, here, key, settable)
        elif not isinstance(text, str):
            context.problem(here, "a plain value is expected here, or `unknown`")
        elif text == "unknown":
            values[full] = None
        else:
            read = partial(parse, settable[full], text)
            values[full] = context.attempt(here, read)
    return values


def _settable(context: StepContext) -> dict[str, Field]:
    """The fields of the contact, and of the record that the campaign is about."""
    found: dict[str, Field] = {}
    for owner in ("contact", context.model.for_each):
        for name, known in context.settings.fields.get(owner or "", {}).items():
            if name not in UNSETTABLE:
                found[f"{owner}.{name}"] = known
    return found


def _cannot_set(
    context: StepContext,
    route: Route,
    key: str,
    settable: Mapping[str, Field],
) -> None:
    """Says which fields a campaign can set, where one cannot be."""
    names = [name.removeprefix("contact.") for name in settable]
    context.problem(
        route,
        f"there is no field `{key}` to set here",
        nearest(key, names, what="fields"),
        key=True,
    )


ActionReader = Callable[[StepContext, Route, Any], Step | None]
ACTIONS: dict[type[models.StepModel], ActionReader] = {
    models.IssueCouponModel: _coupon,
    models.PointsModel: _points,
    models.SubscribeModel: _subscribe,
    models.UnsubscribeModel: _unsubscribe,
    models.TagModel: _tag,
    models.UntagModel: _untag,
    models.SetModel: _set,
    models.PauseModel: _pause,
    models.EndModel: _end,
}
