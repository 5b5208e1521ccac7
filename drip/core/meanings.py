"""Events to which drip itself gives a meaning.

And the scope that a program's token needs to post them.

Whoever may say that an order was placed may not say for somebody else that they
consent, clicked, answered or redeemed.
"""

from __future__ import annotations

from drip.core.settings import Settings

# What is said by the links of messages and at the till. A redemption names its `code`.
ANSWERED, CLICKED, OPENED, REDEEMED = (
    "survey.answered",
    "message.clicked",
    "message.opened",
    "coupon.redeemed",
)
# Each behind a topic: somebody asks for it, and says yes to it.
REQUESTED, CONFIRMED = "requested", "confirmed"
CONSENT = "consent"
SCOPES = {ANSWERED: "answers", CLICKED: "clicks", OPENED: "clicks", REDEEMED: "coupons"}


def scope_of(event: str, settings: Settings) -> str | None:
    """The scope that an event of this name needs beside `events`.

    None for one that means what campaigns make of it.
    """
    topic, _, said = event.rpartition(".")
    # Whoever may report what happened may not say yes for somebody.
    if said in (REQUESTED, CONFIRMED) and topic in settings.topics:
        return CONSENT
    return SCOPES.get(event)
