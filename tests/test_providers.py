"""What providers of mail post: the signature is checked, what they say is judged, and only our messages count."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from drip.core import providers
from drip.engine.feedback import Feedback
from drip.inbound.providers import OPENING
from drip.inbound.providers.mailgun import Mailgun
from drip.inbound.providers.postmark import Postmark
from drip.inbound.providers.protocol import Forged, Posted, Provider, ProviderEvent
from drip.inbound.providers.sendgrid import SendGrid
from drip.inbound.providers.ses import Ses
from drip.transports.smtp import SmtpTransport
from tests.test_feedback import sent
from tests.test_transports import MESSAGE
from tests.world import World, at

Worlds = Callable[..., World]
Make = Callable[[Any], Posted]
NAME = "00000000000000ff.abc@maple.example"
TOPIC = "arn:aws:sns:us-east-1:123456789012:bounces"
CERTIFICATE = (
    "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123abc.pem"
)


NOW = at("2026-11-26 16:00")
SIGNED_AT = str(int(NOW.timestamp()) - 60)

# --- what each one posts, signed as it signs


def by_postmark(told: Any) -> Posted:
    login = base64.b64encode(b"drip:secret").decode()
    return Posted({"authorization": f"Basic {login}"}, json.dumps(told).encode())


def by_mailgun(told: Any) -> Posted:
    token = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:50]
    signature = hmac.new(b"key", f"{SIGNED_AT}{token}".encode(), "sha256").hexdigest()
    signed = {"timestamp": SIGNED_AT, "token": token, "signature": signature}
    return Posted({}, json.dumps({"signature": signed, "event-data": told}).encode())


ECDSA = ec.generate_private_key(ec.SECP256R1())
PUBLIC = base64.b64encode(
    ECDSA.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
).decode()


def by_sendgrid(told: Any) -> Posted:
    body = json.dumps(told if isinstance(told, list) else [told]).encode()
    signature = ECDSA.sign(b"1770146431" + body, ec.ECDSA(hashes.SHA256()))
    name = "x-twilio-email-event-webhook"
    return Posted(
        {
            f"{name}-timestamp": "1770146431",
            f"{name}-signature": base64.b64encode(signature).decode(),
        },
        body,
    )


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(common: str = "sns.amazonaws.com", until: int = 2030) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(RSA.public_key())
    )
    made = (
        made.serial_number(1)
        .not_valid_before(dt.datetime(2020, 1, 1))
        .not_valid_after(dt.datetime(until, 1, 1))
    )
    return made.sign(RSA, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


PEM = certificate()


def by_ses(told: Any, version: str = "2", **changes: str) -> Posted:
    note = {
        "Type": "Notification",
        "MessageId": "22b80b92",
        "TopicArn": TOPIC,
        "Message": json.dumps(told),
        "Timestamp": "2026-11-26T16:00:00.000Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE,
        **changes,
    }
    names = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
    if note["Type"] != "Notification":
        names = (
            "Message",
            "MessageId",
            "SubscribeURL",
            "Timestamp",
            "Token",
            "TopicArn",
            "Type",
        )
    text = "".join(f"{name}\n{note[name]}\n" for name in names if name in note)
    kind = hashes.SHA256() if version == "2" else hashes.SHA1()
    note["Signature"] = base64.b64encode(
        RSA.sign(text.encode(), padding.PKCS1v15(), kind)
    ).decode()
    return Posted({}, json.dumps(note).encode())


def fetch(address: str) -> bytes:
    assert address == CERTIFICATE
    return PEM


PROVIDERS: dict[str, tuple[Provider, Make]] = {
    "postmark": (Postmark("drip", "secret"), by_postmark),
    "mailgun": (Mailgun("key"), by_mailgun),
    "sendgrid": (SendGrid(PUBLIC), by_sendgrid),
    "ses": (Ses(TOPIC, fetch), by_ses),
}


def heard(provider: str, told: Any) -> list[ProviderEvent]:
    made, post = PROVIDERS[provider]
    return made.events(post(told), NOW)


def test_whatever_the_settings_know_can_be_opened_and_is_tested() -> None:
    assert set(OPENING) == set(providers.PROVIDERS) == set(PROVIDERS)


# --- what is said

WHO = "ana@example.com"
DEAD = "550 5.1.1 The email account that you tried to reach does not exist"
FULL = "452 4.2.2 The email account that you tried to reach is over quota"
SPAM = "550 5.7.1 Message rejected as spam"


def postmark(record: str, kind: str = "", details: str = "") -> dict[str, Any]:
    return {
        "RecordType": record,
        "ID": 42,
        "Type": kind,
        "Email": WHO,
        "Details": details,
        "Metadata": {"drip": NAME},
    }


def mailgun(event: str, text: str = "", code: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "event": event,
        "id": "G9Bn5sl1TC6nu79C8C0bwg",
        "recipient": WHO,
        "delivery-status": {"code": code, "message": text},
        "message": {"headers": {"message-id": NAME}},
        **more,
    }


def sendgrid(event: str, reason: str = "", **more: str) -> dict[str, Any]:
    return {
        "event": event,
        "email": WHO,
        "reason": reason,
        "drip": NAME,
        "sg_event_id": "x",
        "timestamp": 1,
        **more,
    }


def ses(kind: str, inside: str, **more: Any) -> dict[str, Any]:
    return {"notificationType": kind, "mail": {"source": f"back+{NAME}"}, inside: more}


def bounced(
    text: str, status: str = "", kind: str = "Permanent", sub: str = "General"
) -> dict[str, Any]:
    recipients = [
        {"emailAddress": WHO, "status": status, "diagnosticCode": f"smtp; {text}"}
    ]
    return ses(
        "Bounce",
        "bounce",
        bounceType=kind,
        bounceSubType=sub,
        bouncedRecipients=recipients,
    )


SAID = [
    ("postmark", postmark("Bounce", "HardBounce", DEAD), "bounce", "address-dead"),
    ("postmark", postmark("Bounce", "HardBounce"), "bounce", "address-dead"),
    ("postmark", postmark("Bounce", "HardBounce", SPAM), "bounce", "policy"),
    ("postmark", postmark("Bounce", "SoftBounce", FULL), "bounce", "temporary"),
    ("postmark", postmark("Bounce", "Blocked", "ISP block"), "bounce", "policy"),
    ("postmark", postmark("Bounce", "AutoResponder"), "auto-reply", "unknown"),
    ("postmark", postmark("SpamComplaint", "SpamComplaint"), "complaint", "unknown"),
    ("postmark", postmark("Delivery"), "delivered", "unknown"),
    (
        "mailgun",
        mailgun("failed", DEAD[4:], 550, severity="permanent"),
        "bounce",
        "address-dead",
    ),
    (
        "mailgun",
        mailgun("failed", "", 605, severity="permanent", reason="suppress-bounce"),
        "bounce",
        "address-dead",
    ),
    (
        "mailgun",
        mailgun("failed", FULL[4:], 452, severity="temporary"),
        "delayed",
        "temporary",
    ),
    (
        "mailgun",
        mailgun("failed", SPAM[4:], 550, severity="permanent"),
        "bounce",
        "policy",
    ),
    ("mailgun", mailgun("complained"), "complaint", "unknown"),
    ("mailgun", mailgun("unsubscribed"), "unsubscribe", "unknown"),
    ("mailgun", mailgun("delivered"), "delivered", "unknown"),
    (
        "sendgrid",
        sendgrid("bounce", DEAD, status="5.1.1", type="bounce"),
        "bounce",
        "address-dead",
    ),
    (
        "sendgrid",
        sendgrid("bounce", "", type="bounce", bounce_classification="Invalid Address"),
        "bounce",
        "address-dead",
    ),
    (
        "sendgrid",
        sendgrid("bounce", "", type="blocked", bounce_classification="Invalid Address"),
        "bounce",
        "policy",
    ),
    ("sendgrid", sendgrid("bounce", SPAM, type="blocked"), "bounce", "policy"),
    ("sendgrid", sendgrid("dropped", "Bounced Address"), "bounce", "address-dead"),
    ("sendgrid", sendgrid("dropped", "Spam Content"), "bounce", "policy"),
    ("sendgrid", sendgrid("deferred", response=FULL), "delayed", "temporary"),
    ("sendgrid", sendgrid("spamreport"), "complaint", "unknown"),
    ("sendgrid", sendgrid("group_unsubscribe"), "unsubscribe", "unknown"),
    ("ses", bounced(DEAD, "5.1.1"), "bounce", "address-dead"),
    (
        "ses",
        bounced(
            "Amazon SES has suppressed sending to this address",
            kind="Permanent",
            sub="Suppressed",
        ),
        "bounce",
        "address-dead",
    ),
    ("ses", bounced(FULL, "4.2.2", "Transient", "MailboxFull"), "bounce", "temporary"),
    (
        "ses",
        bounced("too large", kind="Transient", sub="MessageTooLarge"),
        "bounce",
        "policy",
    ),
    ("ses", bounced("", kind="Undetermined", sub="Undetermined"), "bounce", "unknown"),
    (
        "ses",
        ses("Complaint", "complaint", complainedRecipients=[{"emailAddress": WHO}]),
        "complaint",
        "unknown",
    ),
    ("ses", ses("Delivery", "delivery", recipients=[WHO]), "delivered", "unknown"),
]


@pytest.mark.parametrize(("provider", "told", "kind", "meaning"), SAID)
def test_what_a_provider_says(
    provider: str, told: dict[str, Any], kind: str, meaning: str
) -> None:
    (event,) = heard(provider, told)
    assert (event.finding.kind, event.finding.meaning, event.finding.recipient) == (
        kind,
        meaning,
        WHO,
    )
    assert any(NAME in each for each in event.finding.about)
    assert heard(provider, told) == [event], "told twice it is the same event"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_nothing_to_us_is_nothing(provider: str) -> None:
    for told in (
        {"event": "open"},
        {"RecordType": "Open"},
        {"notificationType": "Hello"},
        {},
    ):
        assert heard(provider, told) == []


def test_several_recipients_are_several_events() -> None:
    told = bounced(DEAD, "5.1.1")
    told["bounce"]["bouncedRecipients"].append(
        {"emailAddress": "ben@example.com", "diagnosticCode": f"smtp; {FULL}"}
    )
    first, second = heard("ses", told)
    assert first.source != second.source
    assert [each.finding.meaning for each in (first, second)] == [
        "address-dead",
        "temporary",
    ]


# --- forged


def altered(posted: Posted) -> Iterator[Posted]:
    """The same without what signs it, with another body, with another signature."""
    yield Posted({}, posted.body)
    yield Posted(
        {name: value[:-6] + "AAAA==" for name, value in posted.headers.items()},
        posted.body,
    )
    yield Posted(dict.fromkeys(posted.headers, "é"), posted.body)


@pytest.mark.parametrize("provider", ["postmark", "sendgrid"])
def test_what_is_not_signed_by_the_provider_is_not_looked_at(provider: str) -> None:
    made, post = PROVIDERS[provider]
    for each in altered(post(SAID[0][1])):
        with pytest.raises(Forged):
            made.events(each, NOW)


def test_what_was_changed_after_signing_is_not_looked_at() -> None:
    posted = by_sendgrid(sendgrid("spamreport"))
    with pytest.raises(Forged):
        PROVIDERS["sendgrid"][0].events(
            Posted(posted.headers, posted.body.replace(b"spamreport", b"delivered!")),
            NOW,
        )
    posted = by_mailgun(mailgun("complained"))
    with pytest.raises(Forged):
        PROVIDERS["mailgun"][0].events(
            Posted({}, posted.body.replace(SIGNED_AT.encode(), b"1770146432")), NOW
        )
    with pytest.raises(Forged):
        Mailgun("other").events(posted, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"TopicArn": "arn:aws:sns:us-east-1:999:other"},
        {"SigningCertURL": "https://sns.evil.example/SimpleNotificationService-1.pem"},
        {
            "SigningCertURL": "http://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem"
        },
        {"SigningCertURL": "https://sns.us-east-1.amazonaws.com.evil.example/a.pem"},
        {"SigningCertURL": "https://x@sns.us-east-1.amazonaws.com/a.pem"},
        {"SigningCertURL": "https://sns.us-east-1.amazonaws.com/../bucket/a.pem"},
        {
            "SigningCertURL": "https://sns.s3.amazonaws.com/SimpleNotificationService-1.pem"
        },
        {
            "SigningCertURL": "https://sns.s3-eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"
        },
        {"SigningCertURL": f"{CERTIFICATE}?key=mine"},
    ],
)
def test_amazon_is_believed_by_its_own_certificate_and_about_our_topic_alone(
    changes: dict[str, str],
) -> None:
    with pytest.raises(Forged):
        Ses(TOPIC, lambda address: PEM).events(by_ses(bounced(DEAD), **changes), NOW)


@pytest.mark.parametrize(
    "pem",
    [
        certificate("evil.example"),
        certificate("sns.evil.amazonaws.com.example"),
        certificate(until=2025),
        b"",
    ],
)
def test_a_certificate_of_somebody_else_or_of_long_ago_proves_nothing(
    pem: bytes,
) -> None:
    with pytest.raises(Forged):
        Ses(TOPIC, lambda address: pem).events(by_ses(bounced(DEAD)), NOW)


def test_a_signature_of_mailguns_is_good_for_a_while_and_for_one_thing() -> None:
    provider, posted = Mailgun("key"), by_mailgun(mailgun("complained"))
    assert provider.events(posted, NOW) == provider.events(posted, NOW)
    with pytest.raises(Forged):
        provider.events(posted, NOW + dt.timedelta(hours=1))
    other = {**json.loads(posted.body), "event-data": mailgun("unsubscribed")}
    with pytest.raises(Forged):
        provider.events(Posted({}, json.dumps(other).encode()), NOW)


def test_amazons_older_signature_and_its_subscription_are_known() -> None:
    provider = Ses(TOPIC, fetch)
    assert len(provider.events(by_ses(bounced(DEAD), version="1"), NOW)) == 1
    asked: list[str] = []
    provider = Ses(TOPIC, lambda address: (asked.append(address), PEM)[1])
    confirm = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=x"
    assert (
        provider.events(
            by_ses(
                "hello",
                Type="SubscriptionConfirmation",
                SubscribeURL=confirm,
                Token="x",
            ),
            NOW,
        )
        == []
    )
    assert asked == [CERTIFICATE, confirm]
    with pytest.raises(Forged):
        provider.events(
            by_ses(
                "hello",
                Type="SubscriptionConfirmation",
                SubscribeURL="https://evil.example/",
                Token="x",
            ),
            NOW,
        )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["bounce", "Bounce", "failed"]),
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "event",
                    "RecordType",
                    "Type",
                    "notificationType",
                    "bounce",
                    "bouncedRecipients",
                    "delivery-status",
                    "email",
                    "code",
                    "reason",
                    "complaint",
                    "recipients",
                    "delivery",
                    "status",
                ]
            )
            | st.text(max_size=5),
            inside,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_is_signed_raises_nothing_but_what_it_may(told: Any) -> None:
    for provider, (made, post) in PROVIDERS.items():
        try:
            for event in made.events(post(told), NOW):
                assert event.source.startswith(provider)
        except ValueError as wrong:
            assert str(wrong)


@given(st.binary(max_size=100))
def test_whatever_is_posted_unsigned_is_forged_or_no_json(body: bytes) -> None:
    for made, _ in PROVIDERS.values():
        with pytest.raises((Forged, ValueError)):
            made.events(Posted({}, body), NOW)


# --- what follows


def test_a_provider_that_says_an_address_is_dead_is_believed_about_our_messages_alone(
    world: Worlds,
) -> None:
    made = sent(world)
    name = made.transport.messages[0].message_id
    who = made.transport.messages[0].to.address
    told = {
        "RecordType": "Bounce",
        "ID": 1,
        "Type": "HardBounce",
        "Email": who,
        "Details": DEAD,
    }
    feedback = Feedback(made.database, at("2026-11-27 10:00"))
    for metadata in (
        {},
        {"drip": "ff.0000"},
        {"drip": name.partition("@")[0]},
        {"drip": name.partition("@")[0]},
    ):
        for event in PROVIDERS["postmark"][0].events(
            by_postmark({**told, "Metadata": metadata}), NOW
        ):
            feedback.take([event.finding], event.source)
    assert feedback.report.counts == {"bounce": 1} and feedback.report.suppressed == 1
    assert len(feedback.report.unmatched) == 2 and feedback.report.known == 1


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        ("postmark", b"X-PM-Metadata-drip: abc\r\n"),
        ("sendgrid", b'X-SMTPAPI: {"unique_args": {"drip": "abc"}}\r\n'),
        ("mailgun", b'X-Mailgun-Variables: {"drip": "abc"}\r\n'),
    ],
)
def test_a_mail_has_the_field_that_its_provider_gives_back(
    provider: str, field: bytes
) -> None:
    options = {"host": "localhost", "provider": provider}
    assert field in SmtpTransport(options).written(MESSAGE)
    with pytest.raises(ValueError, match="provider"):
        SmtpTransport({**options, "provider": "pigeon"})


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("{ pigeon: { key: x } }", "there is no provider `pigeon`"),
        ("{ postmark: { user: drip } }", "needs `password`"),
        ("{ postmark: { user: drip, password: abc } }", "must not stand in this file"),
        ("{ ses: { topic: x, key: y } }", "has no `key`"),
    ],
)
def test_providers_that_cannot_be_are_explained_at_their_place(
    world: Worlds, lines: str, said: str
) -> None:
    made = world({}, settings=f"providers: {lines}")
    (problem,) = [
        each for each in made.workspace.loaded.problems if each.level == "error"
    ]
    assert said in problem.sentence
