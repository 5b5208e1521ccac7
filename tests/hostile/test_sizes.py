"""One file of a workspace, or one mail, that was made to stop everybody: it is refused or passed over, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from drip.errors import DripError, Problems
from drip.folders import content
from drip.inbound.sources import mails_in
from drip.language.files import load_folder
from drip.language.reader import LONGEST_TEXT, MOST_BYTES, parse
from drip.language.steps import MOST_STEPS
from drip.rendering.templates import Templates
from drip.storage.people import consents
from drip.storage.people.consents import Consent
from tests.hostile.test_sign_ups import contact_of, shop, sign_up
from tests.world import LETTER, World, at

Worlds = Callable[..., World]
HEAD = "name: C\ntopic: service\ntrigger: { event: order.placed }\nsteps:\n"


def problems_of(made: World, text: str) -> list[str]:
    (made.root / "campaigns" / "odd.yaml").write_text(text)
    loaded = load_folder(made.root)
    assert "letter" in loaded.campaigns
    return [
        f"{each.place}: {each.sentence}"
        for each in loaded.problems
        if each.level == "error"
    ]


def test_a_campaign_of_thousands_of_steps_is_refused(world: Worlds) -> None:
    made = world({"letter": LETTER})
    told = problems_of(made, HEAD + "  - wait: 1 day\n" * (MOST_STEPS + 1))
    assert [each for each in told if f"there are more than {MOST_STEPS} steps" in each]


def test_a_schedule_of_thousands_of_characters_is_refused_with_its_line(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER})
    line = "*/1," * LONGEST_TEXT + "* * * * *"
    told = problems_of(
        made,
        f'name: C\ntopic: service\ntrigger: {{ schedule: "{line}" }}\nsteps: [{{ send: letter }}]\n',
    )
    assert told == [
        f"campaigns/odd.yaml:3: this text has more than {LONGEST_TEXT:,} characters"
    ]


def test_a_campaign_s_file_has_a_size_at_most_and_is_read_no_further(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER})
    told = problems_of(made, HEAD + "# " + "x" * MOST_BYTES)
    assert told == [f"campaigns/odd.yaml: the file has more than {MOST_BYTES:,} bytes"]
    assert len(content(made.root / "campaigns" / "odd.yaml", 10)) == 11


def test_a_long_text_is_refused_wherever_it_stands() -> None:
    with pytest.raises(Problems):
        parse(f"name: {'x' * (LONGEST_TEXT + 1)}", "campaigns/odd.yaml")


def test_a_template_that_is_no_text_is_refused_before_it_is_read_whole(
    tmp_path: Path,
) -> None:
    (tmp_path / "templates").mkdir()
    with (tmp_path / "templates" / "big.md").open("wb") as file:
        file.truncate(3 * 1024 * 1024)
    with pytest.raises(DripError, match="more than 2,097,152 bytes"):
        Templates(tmp_path).get("big", None)


def test_a_mail_of_many_parts_keeps_back_no_other_mail(tmp_path: Path) -> None:
    for name in ("new", "cur", "tmp"):
        (tmp_path / name).mkdir()
    parts = "".join(
        f"--b{n}\nContent-Type: multipart/mixed; boundary=b{n + 1}\n\n"
        for n in range(1, 200)
    )
    (tmp_path / "new" / "1").write_text(
        "From: a@example.net\nContent-Type: multipart/mixed; boundary=b1\n\n" + parts
    )
    plain = EmailMessage()
    plain["From"] = "b@example.net"
    plain.set_content("hello")
    (tmp_path / "cur" / "2:2,F").write_bytes(bytes(plain))
    (tmp_path / "cur" / "3:2,S").write_bytes(bytes(plain))
    found = list(mails_in(tmp_path))
    assert [each.name for each in found] == ["1", "2"]
    for each in found:
        each.taken()
        each.taken()
    assert sorted(each.name for each in (tmp_path / "cur").iterdir()) == [
        "1:2,S",
        "2:2,FS",
        "3:2,S",
    ]
    assert list(mails_in(tmp_path)) == []


def test_a_no_is_not_turned_into_a_yes_by_a_stranger(world: Worlds) -> None:
    made = shop(world)
    sign_up(made, "eve@example.com", "2026-11-20 13:00", topic="offers")
    eve = contact_of(made, "eve@example.com")
    assert eve is not None
    no = Consent(eve.id, "offers", "email", False, at("2026-11-21 09:00"))
    with made.database.write() as connection:
        consents.record(connection, [no], "preferences", {eve.id: eve.email}, no.at)
    sign_up(made, "eve@example.com", "2026-11-22 09:00", topic="offers")
    with made.database.read() as connection:
        said = consents.of_contacts(connection, [eve.id])[eve.id]
    assert [each.given for each in said if each.topic == "offers"] == [False]
