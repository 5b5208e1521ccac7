"""The providers of mail that drip can listen to, and what each has to be given.

What they post is read in `drip.inbound.providers`, a module each.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class MailProvider:
    """- `options`: what the settings have to say, so that its posts can be checked.
    - `name_field`: the header field, and the form of its value, by which it gives the
      message's name back. Those that need one put a Message-ID of their own.
    """

    options: tuple[str, ...]
    name_field: tuple[str, str] | None = None


PROVIDERS = MappingProxyType(
    {
        "postmark": MailProvider(
            options=("user", "password"),
            name_field=("X-PM-Metadata-drip", "{}"),
        ),
        "mailgun": MailProvider(
            options=("secret",),
            name_field=("X-Mailgun-Variables", '{{"drip": "{}"}}'),
        ),
        "sendgrid": MailProvider(
            options=("public_key",),
            name_field=("X-SMTPAPI", '{{"unique_args": {{"drip": "{}"}}}}'),
        ),
        "ses": MailProvider(options=("topic",)),
    }
)
