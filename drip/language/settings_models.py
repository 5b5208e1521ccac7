"""The keys of `_settings.yaml`, and what their values look like."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from drip.core.settings import OptIn
from drip.language.models import (
    EditorKind,
    Grace,
    Long,
    Model,
    QuietHours,
    RawMap,
    Sender,
    Text,
    WhenCapped,
    Window,
    Zone,
    key,
    phrase,
)


class BusinessModel(Model):
    """`business:`, who writes."""

    name: Text = key(..., "Who writes", "Maple Street Garage")
    # CAN-SPAM asks for it in every marketing mail (15 U.S.C. 7704(a)(5)(A)(iii)).
    address: Text = key(
        ...,
        "The postal address, printed in every marketing mail",
        "12 Maple Street, Springfield",
    )


class PagesModel(Model):
    """`pages:`, what links lead to."""

    color: Annotated[str, phrase(str), EditorKind("colour")] = key(
        "#1f4d3a", "Of buttons, as six digits", "#1f4d3a"
    )


YesNo = Annotated[Literal["yes", "no"], phrase(str)]


class TrackingModel(Model):
    """`tracking:`, off unless it is switched on."""

    # Links that lead over another domain than the text says look like phishing, so they
    # lead over the workspace's own pages or nowhere.
    clicks: YesNo = key(
        "yes",
        "Links of mails lead over your pages, so that clicks are known",
        "yes",
        "no",
    )
    # Apple's Mail fetches all pictures by itself, whether anybody looks or not.
    opens: YesNo = key(
        "no",
        "A picture of one dot says that a mail was shown: weak evidence",
        "yes",
        "no",
    )


class WebhookModel(Model):
    """One of `webhooks:`."""

    url: Text = key(
        ..., "Where it is posted, signed", "https://crm.maplestreet.example/drip"
    )
    # Without a signature anybody could tell the other program anything.
    secret: Text = key(..., "What it is signed with", "secret:CRM_HOOK")
    on: Annotated[Any, EditorKind("notices")] = key(
        ..., "What it is told of", "sent, bounced, unsubscribed, goal"
    )
    # An address within one's own network is refused otherwise: who may edit a file must
    # not reach what only the server can.
    private: YesNo = key("no", "Whether it is within your own network", "yes", "no")


class TopicModel(Model):
    """One of `topics:`, about which people say yes or no."""

    title: Text = key(..., "What people see", "Thursday newsletter")
    # GDPR, article 7(1): who says that there was consent has to prove it.
    opt_in: Annotated[OptIn, phrase(str)] = key(
        ...,
        "`implied` is open until someone says no; the others only after a yes",
        "double",
        "single",
        "implied",
    )
    # Canada's CASL gives an implied consent two years (section 10(10)).
    expires: Long | None = key(
        None, "How long an implied consent holds after the last event", "2 years"
    )


class CounterModel(Model):
    """One of `counters:`, with the events that change it."""

    add: Annotated[Any, EditorKind("events")] = key(
        None, "Events that add", "coffee.bought"
    )
    subtract: Annotated[Any, EditorKind("events")] = key(
        None, "Events that take back", "coffee.refunded"
    )
    reset: Annotated[Any, EditorKind("events")] = key(
        None, "Events that set it to zero", "reward.redeemed"
    )
    field: Text | None = key(
        None, "The event's field that is added, else one", "points"
    )


class CouponSettingsModel(Model):
    """One of `coupons:`."""

    offer: Text = key(..., "What it is good for; {{ coupon.offer }}", "15% off")
    # A shop that knows only its own codes takes those of a `list`.
    codes: Annotated[Literal["unique", "list"], phrase(str)] = key(
        "unique",
        "`unique` codes are made, those of a `list` are imported",
        "unique",
        "list",
    )
    prefix: Text = key("", "What made codes begin with", "BDAY")


class SurveyModel(Model):
    """One of `surveys:`."""

    question: Text = key(..., "What is asked", "How did we do?")
    scores: Annotated[str, phrase(str), EditorKind("scores")] = key(
        "1-5", "The lowest and the highest answer", "1-5", "0-10"
    )


class SettingsModel(Model):
    """`_settings.yaml` as a whole."""

    business: BusinessModel | None = key(None, "Name and postal address")
    # Nine in the morning by UTC is the middle of the night for half of the world.
    timezone: Zone = key(
        "UTC",
        "The business' zone; for contacts whose own is unknown",
        "America/Chicago",
    )
    locale: Text = key("en", "The language of templates that name none", "en")
    currency: Text = key("USD", "What the filter `money` prints", "USD")
    public_url: Text | None = key(
        None, "Where links of mails lead", "https://mail.maplestreet.example"
    )
    pages: PagesModel | None = key(None, "How the pages look that links lead to")
    tracking: TrackingModel | None = key(
        None, "What is known of mails once they are read"
    )
    send_window: Window | None = key(
        None,
        "Hours in which messages go out, on the recipient's clock",
        "9:00-19:00",
        "9:00-17:00 on business days",
    )
    # No telephone solicitation before 8:00 and after 21:00 (47 CFR 64.1200(c)(1)).
    quiet_hours: QuietHours | None = key(
        None, "Nothing but transactional messages leaves then", "21:00-8:00"
    )
    holidays: Annotated[Any, EditorKind("holidays")] = key(
        None, "A country, or dates: they are no business days", "US", ["2026-12-24"]
    )
    # Counted over all campaigns: each of them alone knows nothing of the others.
    frequency_caps: Annotated[RawMap, EditorKind("caps by scope")] = key(
        dict, "By `all`, channel or topic", {"all": "1 per day, 3 per week"}
    )
    # Longer waits pile up: what is put off on Friday competes with all of Monday.
    when_capped: WhenCapped = key(
        timedelta(days=2), "What a full cap does", "wait up to 2 days", "skip"
    )
    topics: dict[str, TopicModel] = key(dict, "What people can switch on and off")
    senders: Annotated[dict[str, Sender], EditorKind("senders")] = key(
        dict,
        "Who mails come from",
        {"default": "Maple Street <hello@maplestreet.example>"},
    )
    transports: Annotated[dict[str, RawMap], EditorKind("transports")] = key(
        dict, "How messages leave, by channel", {"email": {"use": "files"}}
    )
    # An address that does not exist is written to for ever where bounces go unread, and
    # providers close the account.
    inbound: Annotated[RawMap, EditorKind("inbound")] = key(
        dict,
        "The mailbox (IMAP) that bounces and complaints come back to",
        {"host": "imap.maplestreet.example"},
    )
    providers: Annotated[dict[str, RawMap], EditorKind("providers")] = key(
        dict,
        "Whose webhooks are taken in",
        {"postmark": {"user": "drip", "password": "secret:POSTMARK_HOOK"}},
    )
    webhooks: dict[str, WebhookModel] = key(
        dict,
        "Programs that are told of what happens",
        {"crm": {"url": "https://crm.example", "on": "sent"}},
    )
    alarms: Annotated[RawMap, EditorKind("alarms")] = key(
        dict,
        "Who is told when an operator has to look",
        {"use": "webhook", "url": "https://hooks.maplestreet.example"},
    )
    data: Annotated[dict[str, RawMap], EditorKind("data")] = key(
        dict, "Fields of contacts and records, with their types"
    )
    counters: dict[str, CounterModel] = key(
        dict, "Stamps and points", {"coffee_card": {"add": "coffee.bought"}}
    )
    segments: Annotated[
        dict[str, Annotated[Any, EditorKind("condition")]], EditorKind("segments")
    ] = key(dict, "Named audiences", {"best_customers": {"spent": "top 20%"}})
    coupons: dict[str, CouponSettingsModel] = key(
        dict, "Codes that are good for something", {"treat": {"offer": "15% off"}}
    )
    surveys: dict[str, SurveyModel] = key(
        dict, "Questions", {"satisfaction": {"question": "How did we do?"}}
    )
    # They are about people, so they do not stay longer than anybody asks (GDPR,
    # 5(1)(e)).
    keep_reasons: Grace = key(
        timedelta(days=730),
        "How long the reasons why messages did not go are kept",
        "2 years",
    )
    # Its password stands in DRIP_DATABASE alone: this file is shared and kept in git.
    database: Text | None = key(
        None, "A file, or a PostgreSQL server; else .drip/drip.db", ".drip/drip.db"
    )
