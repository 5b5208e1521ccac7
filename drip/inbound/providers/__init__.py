"""What providers of mail post about messages, a module for each provider.

A new one is a class as `protocol.Provider` has it, in a module of its own, a row here,
and a row in `drip.core.providers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drip.inbound.providers.mailgun import Mailgun
from drip.inbound.providers.postmark import Postmark
from drip.inbound.providers.protocol import Fetch, Provider
from drip.inbound.providers.sendgrid import SendGrid
from drip.inbound.providers.ses import Ses

OPENING: Mapping[str, Callable[[Mapping[str, str], Fetch], Provider]] = {
    "postmark": Postmark.open,
    "mailgun": Mailgun.open,
    "sendgrid": SendGrid.open,
    "ses": Ses.open,
}


def open_provider(
    name: str,
    options: Mapping[str, str],
    fetch: Fetch,
) -> Provider:
    """A provider with its options as `drip.core.providers` lists them, secrets filled
    in.

    Raises ValueError for a key that is none.
    """
    return OPENING[name](options, fetch)
