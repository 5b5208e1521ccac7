"""What the settings say about programs outside.

How messages leave, and what comes back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from drip.core.channels import CHANNELS
from drip.core.providers import PROVIDERS as MAIL_PROVIDERS
from drip.core.rates import Rates, read_rates
from drip.core.settings import NOTICES, Webhook
from drip.errors import nearest
from drip.language.reader import Document, Spot
from drip.language.settings_models import SettingsModel, WebhookModel

# Options by these names are never written out: files are read, shared and kept in git.
SECRETS = re.compile(r"password|secret|token|api_?key", re.I)
RATES = ("rate", "rate_per_domain")
HOW_RATES = (
    "write `rate: 20 per second`, or "
    "`rate_per_domain: 2 per second, gmail.com 10 per second`"
)
INBOUND = ("host", "port", "user", "password", "folder", "security")
# Without these nobody can look into the mailbox.
INBOUND_NEEDS = ("host", "user", "password")
# What is needed to check what a provider of mail posts.
PROVIDERS = {name: provider.options for name, provider in MAIL_PROVIDERS.items()}


def read_transports(
    document: Document, model: SettingsModel
) -> dict[str, Mapping[str, str]]:
    """The options of each channel's transport."""
    for channel, options in model.transports.items():
        spot = document.at("transports", channel)
        if channel not in CHANNELS:
            spot.problem(
                f"there is no channel `{channel}`",
                nearest(channel, CHANNELS),
                key=True,
            )
        check_options(spot, options)
    return dict(model.transports)


def check_options(spot: Spot, options: Mapping[str, Any]) -> None:
    """Options are plain values, and no secrets."""
    for name, value in options.items():
        if not isinstance(value, str):
            spot.at(name).problem("a plain value is expected here")
        elif SECRETS.search(name) and not value.startswith("secret:"):
            variable = f"{spot.route[-1]}_{name}".upper()
            spot.at(name).problem(
                f"the {name} itself must not stand in this file",
                f"write `{name}: secret:{variable}` and put it into the environment "
                f"variable {variable}",
            )


def read_transport_rates(document: Document, model: SettingsModel) -> dict[str, Rates]:
    """How fast messages may leave, by channel."""
    found: dict[str, Rates] = {}
    for channel, options in model.transports.items():
        values = [options.get(name) for name in RATES]
        # What is no text has been said by `check_options`.
        given = [value if isinstance(value, str) else None for value in values]
        try:
            found[channel] = read_rates(*given)
        except ValueError as wrong:
            name = next(name for name in RATES if name in options)
            spot = document.at("transports", channel, name)
            spot.problem(str(wrong), HOW_RATES)
    return found


def read_inbound(document: Document, model: SettingsModel) -> Mapping[str, str]:
    """The mailbox that bounces come back to."""
    options = model.inbound
    for name in options:
        if name not in INBOUND:
            document.problem(
                ("inbound", name),
                f"`inbound` has no `{name}`",
                nearest(name, INBOUND),
                key=True,
            )
    missing = [name for name in INBOUND_NEEDS if name not in options]
    if options and missing:
        document.problem(
            ("inbound",),
            f"`inbound` needs `{missing[0]}`",
            key=True,
        )
    check_options(document.at("inbound"), options)
    return dict(options)


def read_providers(
    document: Document, model: SettingsModel
) -> Mapping[str, Mapping[str, str]]:
    """What is needed to check what each provider of mail posts."""
    for provider, options in model.providers.items():
        spot = document.at("providers", provider)
        if provider not in PROVIDERS:
            document.unknown(
                spot.route,
                "provider",
                provider,
                PROVIDERS,
                key=True,
            )
            continue
        needed = PROVIDERS[provider]
        # With less anybody could post in the provider's name; more would do nothing.
        for name in sorted(set(options) ^ set(needed)):
            what = "has no" if name in options else "needs"
            spot.problem(
                f"`{provider}` {what} `{name}`",
                f"it takes {', '.join(needed)}",
                key=True,
            )
        check_options(spot, options)
    return dict(model.providers)


def read_webhooks(document: Document, model: SettingsModel) -> dict[str, Webhook]:
    """The programs that hear of what happens."""
    return {
        name: _webhook(document.at("webhooks", name), name, webhook)
        for name, webhook in model.webhooks.items()
    }


def _webhook(spot: Spot, name: str, model: WebhookModel) -> Webhook:
    """One program, with what it wants to hear."""
    kinds = _kinds(spot.at("on"), model.on)
    if not model.secret.startswith("secret:"):
        variable = f"{name.upper()}_HOOK"
        spot.at("secret").problem(
            "the secret itself must not stand in this file",
            f"write `secret: secret:{variable}` and put it into that environment "
            "variable",
        )
    return Webhook(
        key=name,
        url=model.url,
        secret=model.secret,
        kinds=kinds,
        private=model.private == "yes",
        place=spot.place(key=True),
    )


def _kinds(spot: Spot, data: Any) -> frozenset[str]:
    """What another program hears of, from a list or `sent, bounced`."""
    asked = data if isinstance(data, list) else str(data).split(",")
    # One line is what people write; a list is what programs write.
    kinds = frozenset(str(kind).strip() for kind in asked)
    for kind in sorted(kinds - set(NOTICES)):
        spot.problem(
            f"nobody can be told of `{kind}`",
            nearest(kind, NOTICES, what="kinds"),
        )
    return kinds


def read_alarms(document: Document, model: SettingsModel) -> Mapping[str, str]:
    """The transport that tells an operator, and whom."""
    check_options(document.at("alarms"), model.alarms)
    if model.alarms and "use" not in model.alarms:
        document.problem(
            ("alarms",),
            "`alarms` needs `use`: how is it told?",
            "write `use: webhook`",
            key=True,
        )
    return dict(model.alarms)
