"""The gallery's mails as mail programs and spam filters see them."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
from datetime import timedelta
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import cast

import pytest

from drip.core.channels import CHANNELS
from drip.core.message import Message
from drip.preview.simulator import Nowhere, rehearsal, simulate
from drip.transports.mime import to_bytes
from drip.workspace import Workspace
from tests.benchmarks.scale import NOW, gallery
from tests.servers import missing

PEOPLE = 500
# Gmail cuts a page that is longer.
MOST_BYTES = 102 * 1024


@pytest.fixture(scope="session")
def mails(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One mail of each step of the gallery, as it leaves."""
    root = tmp_path_factory.mktemp("gallery") / "shop"
    gallery(root, PEOPLE)
    workspace = Workspace(root, {})
    found: dict[str, Message] = {}
    with workspace.database(NOW) as database, rehearsal(database, NOW) as copy:
        simulate(
            copy,
            workspace.campaign_set(copy, NOW),
            workspace.templates,
            {channel: Nowhere() for channel in CHANNELS},
            NOW,
            NOW + timedelta(days=60),
            seen=lambda ready, message: found.setdefault(ready.step.template, message),
        )
    return {
        name: to_bytes(message)
        for name, message in found.items()
        if message.channel == "email"
    }


def test_every_mail_has_a_text_a_language_and_words_for_its_pictures(
    mails: dict[str, bytes],
) -> None:
    assert len(mails) >= 12
    for name, data in mails.items():
        message = cast(EmailMessage, email.message_from_bytes(data, policy=default))
        text, page = message.get_body(("plain",)), message.get_body(("html",))
        assert text is not None and page is not None, name
        assert len(str(text.get_content()).split()) > 10, name
        html = str(page.get_content())
        assert re.search(r"<html[^>]*\blang=\"[a-z]{2}", html), name
        assert all(
            "alt=" in picture for picture in re.findall(r"<img\b[^>]*>", html)
        ), name
        assert len(html.encode()) < MOST_BYTES, name


@pytest.mark.slow
def test_a_spam_filter_lets_every_mail_through(
    mails: dict[str, bytes], tmp_path: Path
) -> None:
    program = shutil.which("spamassassin")
    if program is None:
        missing("no SpamAssassin")
    for name, data in mails.items():
        said = subprocess.run(
            [program, "-L", "-t"], input=data, capture_output=True, check=False
        ).stdout
        found = re.search(rb"score=(-?[0-9.]+)", said)
        assert found is not None, name
        assert float(found[1]) < 1, (name, said[-1500:].decode("utf-8", "replace"))
