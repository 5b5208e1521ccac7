"""`send:` to its step: template, channels, sender, hours and how late it may be."""

from __future__ import annotations

from datetime import timedelta

from drip.core.calendar import SendWindow
from drip.core.message import Mailbox
from drip.core.steps import SendStep
from drip.errors import Place
from drip.language.campaign_models import SendModel
from drip.language.reader import Route, declare
from drip.language.step_context import StepContext


def send(context: StepContext, route: Route, model: SendModel) -> SendStep:
    """One message.

    What the step does not say, its campaign does, and then the settings.
    """
    campaign = context.model
    transactional = _transactional(context, route, model)
    window, window_place = _window(context, route, model)
    opens = window.hours.opens if window else context.opens
    channels = context.channels((*route, "channel"), model.channel)
    return SendStep(
        id="",
        place=context.place(route),
        template=model.send,
        channels=channels or ("email",),
        sender=_sender(context, route, model.sender),
        subject=model.subject,
        preheader=model.preheader,
        reply_to=model.reply_to,
        at=context.point((*route, "at"), model.at, opens),
        content=model.content,
        attach=context.words((*route, "attach"), model.attach, "a file of templates/"),
        survey=_survey(context, route, model.survey),
        priority=campaign.priority if model.priority is None else model.priority,
        grace=None if transactional else _grace(context, model),
        window=None if transactional else window,
        window_place=window_place,
        opens=opens,
        transactional=transactional,
    )


def _transactional(context: StepContext, route: Route, model: SendModel) -> bool:
    """Whether it goes out outside of caps, windows and topics."""
    campaign = context.model
    own = model.transactional
    transactional = campaign.transactional if own is None else own
    # Without a topic there would be nothing that people could switch off.
    if campaign.transactional and campaign.topic is None and not transactional:
        context.problem(
            route, "this step is not transactional, so the campaign needs a `topic`"
        )
    return transactional


def _window(
    context: StepContext, route: Route, model: SendModel
) -> tuple[SendWindow | None, Place]:
    """The window that holds, and the line that says so."""
    document, settings = context.document, context.settings
    if model.send_window:
        place = document.place((*route, "send_window"), key=True)
        return model.send_window, place
    if context.model.send_window:
        place = document.place(("send_window",), key=True)
        return context.model.send_window, place
    return settings.send_window, settings.send_window_place


def _grace(context: StepContext, model: SendModel) -> timedelta:
    """How late it may be."""
    return model.grace or context.model.grace or context.grace


def _sender(context: StepContext, route: Route, own: str | None) -> Mailbox | None:
    """The mailbox that is named.

    None where none is, and the template's own may count.
    """
    senders = context.settings.senders
    named = own or context.model.sender
    name = named or "default"
    if name in senders:
        return senders[name] if named else None
    where: Route = (*route, "from") if own else ("from",)
    context.document.unknown(
        where,
        "sender",
        name,
        senders,
        declare("senders"),
    )
    return None


def _survey(context: StepContext, route: Route, name: str | None) -> str | None:
    """The survey that `survey_link` answers."""
    surveys = context.settings.surveys
    # Where none is declared, any name will do: it only tells answers apart.
    if name is not None and surveys and name not in surveys:
        context.document.unknown(
            (*route, "survey"),
            "survey",
            name,
            surveys,
        )
    return name
