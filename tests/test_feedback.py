"""What follows from mails that came back: about a message of ours, once, and nothing from what anybody could have made up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from drip.core.message import Message, Unknown
from drip.core.token import message_name
from drip.engine.feedback import MOST_TEMPORARY, Feedback, FeedbackReport
from drip.inbound.reading import identity_of, read
from drip.storage.base.database import workspace_id
from drip.storage.operating import holds
from drip.storage.sending import outbox
from tests.cli import drip, everybody, shop
from tests.imap_server import PASSWORD, ImapServer
from tests.mail_server import MailServer
from tests.test_delivery import smtp
from tests.test_inbound import mail, report
from tests.world import SETTINGS, World, at

Worlds = Callable[..., World]
LETTER = """
name: Letter
topic: service
trigger: { schedule: every day at 10:00 }
steps: [send: letter]
"""


def sent(world: Worlds, people: int = 1, **more: str) -> World:
    made = world({"letter": LETTER}, **more)
    made.contacts("key,email", *(f"p{n},p{n}@example.com" for n in range(people)))
    made.tick("2026-11-25 12:00")
    made.tick("2026-11-25 16:00")
    assert len(made.transport.messages) == people
    return made


def take(made: World, *mails: bytes, now: str = "2026-11-25 18:00") -> FeedbackReport:
    feedback = Feedback(made.database, at(now))
    for each in mails:
        feedback.take(read(each), identity_of(each))
    return feedback.report


def bounce(
    message: Message, diagnostic: str = "550 5.1.1 user unknown", number: int = 1
) -> bytes:
    data = report(diagnostic, diagnostic.split()[1], who=message.to.address)
    data = data.replace(
        b"7b.0123456789abcdef0123456789abcdef@maple.example",
        message.message_id.encode(),
    )
    return data.replace(
        b"Subject: Undelivered",
        b"Message-ID: <%d@mx>\nSubject: Undelivered" % number,
        1,
    )


def suppressed(made: World) -> list[str]:
    with made.database.read() as connection:
        return [
            row[0]
            for row in connection.execute(text("SELECT reason FROM suppressions"))
        ]


def test_a_dead_address_is_never_written_to_again(world: Worlds) -> None:
    made = sent(world, 2)
    report = take(made, bounce(made.transport.messages[0]))
    assert report.counts == {"bounce": 1} and report.suppressed == 1
    made.tick("2026-11-26 16:00")
    codes = {
        each.contact: (each.outcome, each.code)
        for each in made.ledger()
        if each.occurrence == "2026-11-26"
    }
    assert codes["p0"] == ("skipped", "suppressed")
    assert codes["p1"] == ("sent", None)


def test_reading_a_mail_twice_changes_nothing(world: Worlds) -> None:
    made = sent(world)
    one = bounce(made.transport.messages[0])
    assert take(made, one, one).known == 1
    assert take(made, one).known == 1
    assert len(suppressed(made)) == 1


def test_nobody_can_make_up_a_bounce(world: Worlds) -> None:
    made = sent(world)
    name = made.transport.messages[0].message_id
    forged = [
        report("550 5.1.1 user unknown", "5.1.1", who="p0@example.com"),
        bounce(made.transport.messages[0]).replace(
            name.encode(), name.replace(name[5:9], "0000").encode()
        ),
        bounce(made.transport.messages[0]).replace(
            name.encode(), b"f" * 15 + name[name.index(".") :].encode()
        ),
    ]
    report_ = take(made, *forged)
    assert len(report_.unmatched) == 3
    assert not suppressed(made)


def test_temporary_failures_count_until_something_arrives(world: Worlds) -> None:
    made = sent(world)
    for day in range(26, 26 + MOST_TEMPORARY - 2):
        made.tick(f"2026-11-{day} 16:00")
    full = [
        bounce(each, "552 5.2.2 mailbox full", n)
        for n, each in enumerate(made.transport.messages)
    ]
    assert take(made, *full, now="2026-11-30 12:00").suppressed == 0
    arrived = bounce(made.transport.messages[-1], "250 2.0.0 delivered", 77).replace(
        b"Action: failed", b"Action: delivered"
    )
    assert take(made, arrived, now="2026-11-30 13:00").counts == {"delivered": 1}
    made.tick("2026-12-01 16:00")
    assert (
        take(
            made,
            bounce(made.transport.messages[-1], "552 5.2.2 full", 78),
            now="2026-12-01 18:00",
        ).suppressed
        == 0
    )
    for day in range(2, 2 + MOST_TEMPORARY - 1):
        made.tick(f"2026-12-0{day} 16:00")
    later = [
        bounce(each, "552 5.2.2 mailbox full", 100 + n)
        for n, each in enumerate(made.transport.messages[-4:])
    ]
    assert take(made, *later, now="2026-12-07 12:00").suppressed == 1
    assert "messages came back" in suppressed(made)[0]


def test_policy_and_what_is_about_a_forwarded_address_suppress_nobody(
    world: Worlds,
) -> None:
    made = sent(world)
    message = made.transport.messages[0]
    take(made, bounce(message, "550 5.7.1 spam"))
    forwarded = bounce(message, number=2).replace(
        b"rfc822; p0@example.com", b"rfc822; other@elsewhere.example"
    )
    take(made, forwarded)
    assert not suppressed(made)


@pytest.mark.parametrize("said", ["550 5.1.1 user unknown", "552 5.2.2 mailbox full"])
def test_what_bounces_for_a_member_of_a_list_counts_for_nothing(
    world: Worlds, said: str
) -> None:
    made = sent(world)
    for day in range(26, 26 + MOST_TEMPORARY):
        made.tick(f"2026-11-{day} 16:00")
    for n, each in enumerate(made.transport.messages):
        take(
            made,
            bounce(each, said, n).replace(
                b"rfc822; p0@example.com", b"rfc822; paul@elsewhere.example"
            ),
        )
    assert not suppressed(made)


@pytest.mark.parametrize(("hours", "given_up"), [(1, False), (23, False), (24, True)])
def test_a_domain_is_gone_if_it_is_said_twice_a_day_apart(
    world: Worlds, hours: int, given_up: bool
) -> None:
    made = sent(world)
    said = "550 5.1.2 Domain example.com does not exist"
    first = at("2026-11-25 18:00")
    assert take(made, bounce(made.transport.messages[0], said, 1)).suppressed == 0
    made.tick("2026-11-26 16:00")
    later = first + timedelta(hours=hours)
    take(
        made,
        bounce(made.transport.messages[-1], said, 2),
        now=f"{later:%Y-%m-%d %H:%M}",
    )
    expected = (
        ["its domain does not exist (550 5.1.2 Domain example.com does not exist)"]
        if given_up
        else []
    )
    assert suppressed(made) == expected


def test_a_domain_that_took_something_between_is_not_gone(world: Worlds) -> None:
    made = sent(world)
    said = "550 5.1.2 Domain example.com does not exist"
    take(made, bounce(made.transport.messages[0], said, 1))
    made.tick("2026-11-26 16:00")
    arrived = bounce(made.transport.messages[-1], "250 2.0.0 delivered", 2).replace(
        b"Action: failed", b"Action: delivered"
    )
    take(made, arrived, now="2026-11-26 18:00")
    take(made, bounce(made.transport.messages[-1], said, 3), now="2026-11-28 18:00")
    assert not suppressed(made)


def test_explain_says_what_an_address_was_given_up_for(world: Worlds) -> None:
    made = sent(world)
    take(made, bounce(made.transport.messages[0]))
    made.database.close()
    reason = "the address is dead (550 5.1.1 user unknown)"
    shown = drip(made.root, "explain", "p0", "--now", "2026-11-26 12:00")
    assert (
        f"p0@example.com is never written to again since Wed 25 Nov 2026 12:00: {reason}"
        in " ".join(shown.out.split())
    )
    told = drip(made.root, "explain", "p0", "--json", "--now", "2026-11-26 12:00").rows[
        -1
    ]
    assert (told["code"], told["channel"], told["sentence"]) == (
        "suppressed",
        "email",
        reason,
    )


def test_how_much_we_send_is_not_laid_to_the_recipients_charge(world: Worlds) -> None:
    made = sent(world)
    for day in range(26, 26 + MOST_TEMPORARY):
        made.tick(f"2026-11-{day} 16:00")
    said = "550 5.1.1 shop@maple.example has sent to too many recipients this hour"
    take(
        made, *(bounce(each, said, n) for n, each in enumerate(made.transport.messages))
    )
    assert not suppressed(made)


def test_what_came_back_has_left(world: Worlds) -> None:
    made = sent(world)
    made.answer = lambda message: Unknown("the link died")
    made.tick("2026-11-26 16:00")
    made.answer = None
    with made.database.read() as connection:
        (held,) = outbox.held(connection)
        name = message_name(
            workspace_id(connection), held.run_id, held.step, held.channel
        )
    data = bounce(made.transport.messages[0], "552 5.2.2 full", 9)
    take(
        made,
        data.replace(
            made.transport.messages[0].message_id.encode(),
            f"{name}@maplestreet.example".encode(),
        ),
    )
    assert [
        each.outcome
        for each in made.ledger()
        if each.occurrence == "2026-11-26" and each.step
    ] == ["sent"]


def complaint(message: Message, kind: str = "abuse", number: int = 1) -> bytes:
    body = f"""\
        --b
        Content-Type: message/feedback-report

        Feedback-Type: {kind}
        Version: 1

        --b
        Content-Type: message/rfc822

        From: hello@maple.example
        Message-ID: <{message.message_id}>

        Hello
        --b--
        """
    headers = {
        "Content_Type": "multipart/report; report-type=feedback-report; boundary=b",
        "Message_ID": f"<{number}@fbl>",
    }
    return mail(body, "Complaint", **headers)


def test_who_complains_is_never_written_to_again_and_too_many_hold_the_campaign(
    world: Worlds,
) -> None:
    made = sent(world, 5)
    first, *more = [
        complaint(each, number=n) for n, each in enumerate(made.transport.messages[:3])
    ]
    assert take(made, first).alarms == []
    report = take(made, *more)
    assert report.suppressed == 2
    assert report.alarms == [
        "3 of 5 people complained of letter in 30 days (60.00%); it is held"
    ]
    with made.database.read() as connection:
        assert "letter" in holds.held_scopes(connection)
    assert (
        take(made, complaint(made.transport.messages[3], "auth-failure", 9)).suppressed
        == 0
    )


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "virus", "dmarc"])
def test_reports_that_are_no_complaints_count_in_no_rate(
    world: Worlds, kind: str
) -> None:
    made = sent(world, 5)
    report = take(
        made,
        *[complaint(each, kind, n) for n, each in enumerate(made.transport.messages)],
    )
    assert report.counts == {"feedback": 5} and report.suppressed == 0
    found = take(made, complaint(made.transport.messages[0], number=9))
    assert found.alarms == [] and found.counts == {"complaint": 1}
    with made.database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM deliveries")).scalar() == 1


@pytest.mark.parametrize("by", ["opt-out", "subject"])
def test_unsubscribe_mails_switch_the_topic_off(world: Worlds, by: str) -> None:
    made = sent(world, 2)
    message = made.transport.messages[0]
    if by == "opt-out":
        data = complaint(message, "opt-out")
    else:
        subject = (
            message.headers["List-Unsubscribe"]
            .partition("subject=")[2]
            .rstrip(">")
            .replace("%20", " ")
        )
        data = mail("Please\n", subject, From="Somebody <x@elsewhere.example>")
    assert take(made, data).counts == {"unsubscribe": 1}
    made.tick("2026-11-26 16:00")
    codes = {
        each.contact: each.code
        for each in made.ledger()
        if each.occurrence == "2026-11-26" and each.step
    }
    assert codes == {"p0": "no-consent", "p1": None}
    assert take(
        made, mail("x\n", "unsubscribe eyJ.k1.forged", From="p1@example.com")
    ).unmatched


def test_bounces_go_to_an_address_of_each_message(world: Worlds) -> None:
    made = sent(world)
    with MailServer() as server:
        made.transports = {"email": smtp(server, bounces="back@maple.example")}
        made.tick("2026-11-26 16:00")
        made.transports["email"].close()
        (sender,) = server.senders
    assert sender.startswith("back+") and sender.endswith("@maple.example")
    notice = mail(
        """\
        The mailbox p0@example.com does not exist (550 5.1.1).
        """,
        To=sender,
    )
    assert take(made, notice).counts == {"bounce": 1}
    assert len(suppressed(made)) == 1


def test_what_is_older_than_its_span_does_not_count(world: Worlds) -> None:
    made = sent(world)
    now = at("2026-11-25 18:00")
    for n in range(MOST_TEMPORARY):
        made.tick(now + timedelta(days=40 * n, hours=-2))
        take(
            made,
            bounce(made.transport.messages[-1], "552 5.2.2 full", n),
            now=f"{now + timedelta(days=40 * n):%Y-%m-%d %H:%M}",
        )
    assert not suppressed(made)


# --- where mails are fetched from


def daily(root: Path, port: int) -> None:
    """A shop that has sent one message, whose bounces come to a mailbox."""
    inbound = f"inbound: {{ host: 127.0.0.1, port: '{port}', user: back, password: secret:BACK, security: none }}"
    files = {
        "campaigns/_settings.yaml": f"{SETTINGS}{inbound}\n",
        "campaigns/letter.yaml": LETTER,
        "templates/letter.md": "---\nsubject: Hello\n---\nHello\n",
    }
    shop(root, files, everybody(1))


def test_a_mailbox_is_emptied_by_imap_and_what_was_taken_stays_seen(
    imap: ImapServer, tmp_path: Path
) -> None:
    root = tmp_path / "shop"
    daily(root, imap.port)
    for n in range(3):
        (imap.mailbox / "new" / f"{n}.mail").write_bytes(
            report("550 5.1.1 user unknown", "5.1.1", who=f"x{n}@example.com")
        )
    first = drip(root, "inbound", "--json", BACK=PASSWORD)
    assert first.code == 0, first.err
    assert first.rows[0]["mails"] == 3 and first.rows[0]["unmatched"] == 3
    assert [each["recipient"] for each in first.rows[0]["about_no_message"]] == [
        f"x{n}@example.com" for n in range(3)
    ]
    assert drip(root, "inbound", "--json", BACK=PASSWORD).rows[0]["mails"] == 0
    assert len(list((imap.mailbox / "cur").iterdir())) == 3


@pytest.mark.parametrize(
    ("password", "said"),
    [("wrong", "cannot be opened"), (None, "secret BACK is not set")],
)
def test_a_mailbox_that_cannot_be_opened_is_explained(
    imap: ImapServer, tmp_path: Path, password: str | None, said: str
) -> None:
    root = tmp_path / "shop"
    daily(root, imap.port)
    made = drip(root, "inbound", **({"BACK": password} if password else {}))
    assert made.code == 2
    assert said in made.err and "help:" in made.err


def test_what_came_back_is_in_the_status(world: Worlds) -> None:
    made = sent(world)
    now = datetime.now(UTC)
    feedback = Feedback(made.database, now.replace(microsecond=0))
    feedback.take(read(bounce(made.transport.messages[0])), "x")
    made.database.close()
    shown = drip(made.root, "status")
    assert "Came back in the last 30 days: 1 bounce (address-dead)." in shown.out
    told = drip(made.root, "status", "--json").rows[0]["came_back"]
    assert told == [{"kind": "bounce", "class": "address-dead", "messages": 1}]


def test_a_maildir_is_read_once(tmp_path: Path) -> None:
    root, box = tmp_path / "shop", tmp_path / "Maildir"
    daily(root, 1)
    for name in ("new", "cur", "tmp"):
        (box / name).mkdir(parents=True)
    (box / "new" / "1.mail").write_bytes(report("550 5.1.1 user unknown", "5.1.1"))
    assert drip(root, "inbound", str(box), "--json").rows[0]["mails"] == 1
    assert drip(root, "inbound", str(box), "--json").rows[0]["mails"] == 0
    assert [path.name for path in (box / "cur").iterdir()] == ["1.mail:2,S"]


def test_without_a_mailbox_it_is_said_what_to_name(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    daily(root, 1)
    settings = root / "campaigns" / "_settings.yaml"
    settings.write_text(SETTINGS, "utf-8")
    made = drip(root, "inbound")
    assert made.code == 2 and "inbound:" in made.err
    settings.write_text(
        f"{SETTINGS}inbound: {{ host: x, pasword: secret:A }}\n", "utf-8"
    )
    checked = drip(root, "check")
    assert "`inbound` has no `pasword`" in checked.out + checked.err
