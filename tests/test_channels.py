"""What a channel is stands in one table."""

from __future__ import annotations

from pathlib import Path

import pytest

from drip.core.channels import CHANNELS
from drip.core.segments import segments

PACKAGE = Path(__file__).parent.parent / "drip"


def test_channels_are_known_by_their_own_names() -> None:
    assert list(CHANNELS) == ["email", "sms", "push", "letter"]
    assert all(channel.name == name for name, channel in CHANNELS.items())


def test_a_channel_without_pages_begins_with_files_of_its_own() -> None:
    for channel in CHANNELS.values():
        if not channel.has_pages:
            assert channel.endings[0] == f".{channel.name}"


def test_only_an_sms_is_paid_for_by_the_segment() -> None:
    counted = {name for name, channel in CHANNELS.items() if channel.segments}
    assert counted == {"sms"}
    assert CHANNELS["sms"].segments is segments


@pytest.mark.parametrize("field", ["push_token", "postal_address"])
def test_where_an_address_stands_is_known_in_one_place(field: str) -> None:
    saying = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if f'"{field}"' in path.read_text("utf-8")
    }
    # The sample workspace declares its own fields.
    assert saying <= {"core/channels.py", "cli/sample.py"}
