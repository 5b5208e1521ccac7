"""Changing a campaign: diff says who is affected and by which line, tests and previews follow, people can be moved over."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli import drip
from tests.servers import missing
from tests.test_cli import NOW, complaint, stocked
from tests.world import World, at

__all__ = ["stocked"]
CHANGES = {
    "another day": (
        "newsletter",
        "every Thursday at 10:00",
        "every Wednesday at 10:00",
    ),
    "another text": (
        "oil-change",
        "- send: oil/due-soon",
        "- send: oil/follow-up\n    id: send oil/due-soon",
    ),
    "another wait": ("win-back", "  - wait: 10 days", "  - wait: 4 days"),
}


@pytest.fixture
def shop(stocked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stocked, tmp_path / "shop"))


def change(root: Path, campaign: str, old: str, new: str) -> int:
    """Changes a line; its number."""
    path = root / "campaigns" / f"{campaign}.yaml"
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")
    return text[: text.index(old)].count("\n") + 1


def rows(done: object) -> list[dict[str, object]]:
    return [json.loads(line) for line in getattr(done, "out").splitlines()]  # noqa: B009


def test_nothing_changes_for_anybody_when_nothing_is_changed(
    shop: Path, stocked: Path
) -> None:
    done = drip(shop, "diff", str(stocked), "--now", NOW, "--days", "10")
    assert (done.code, done.out) == (
        0,
        "Nothing changes for anybody until 2026-12-02.\n",
    )


def test_another_day_and_another_wait_are_told_with_their_lines(
    shop: Path, stocked: Path
) -> None:
    day = change(shop, *CHANGES["another day"])
    wait = change(shop, *CHANGES["another wait"])
    done = drip(shop, "diff", str(stocked), "--now", NOW, "--json", "--days", "20")
    assert done.code == 1
    found = rows(done)
    places = {
        (each["campaign"], each["place"])
        for each in found
        if each["campaign"] in ("newsletter", "win-back")
    }
    assert places == {
        ("newsletter", f"campaigns/newsletter.yaml:{day}"),
        ("win-back", f"campaigns/win-back.yaml:{wait}"),
    }
    offers = [each for each in found if each["step"] == "send win-back/offer"]
    assert offers
    assert {each["change"] for each in offers} <= {"moved", "capped"}
    assert all(
        str(each["after"]) < str(each["before"])
        for each in offers
        if each["change"] == "moved"
    )
    lost = [each for each in found if each["campaign"] == "newsletter"]
    assert all(each["change"] in ("lost", "moved", "capped") for each in lost)
    github = drip(
        shop, "diff", str(stocked), "--now", NOW, "--format", "github", "--days", "20"
    ).out
    assert (
        f"::notice file=campaigns/newsletter.yaml,line={day}::newsletter, send newsletter/issue:"
        in github
    )


def test_diff_against_a_revision_of_git(shop: Path) -> None:
    if shutil.which("git") is None:
        missing("git, whose revisions `drip diff` compares with")
    for command in (
        ["init", "-q"],
        ["add", "campaigns", "templates"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "before"],
    ):
        subprocess.run(
            ["git", "-C", str(shop), *command], check=True, capture_output=True
        )
    change(shop, *CHANGES["another wait"])
    done = drip(shop, "diff", "HEAD", "--now", NOW, "--days", "20")
    assert done.code == 1
    assert (
        "campaigns/win-back.yaml" in done.out.replace("\n", "")
        or "win-back" in done.out
    )
    complaint(
        drip(shop, "diff", "no-such-revision", "--now", NOW),
        "git cannot give the other files",
        "help:",
    )


def test_a_cap_that_is_tightened_shows_who_is_newly_held_back(
    shop: Path, stocked: Path
) -> None:
    path = shop / "campaigns" / "_settings.yaml"
    path.write_text(
        path.read_text("utf-8").replace(
            "all: 1 per day, 3 per week", "all: 1 per week"
        ),
        "utf-8",
    )
    found = rows(
        drip(shop, "diff", str(stocked), "--now", NOW, "--json", "--days", "14")
    )
    capped = [each for each in found if each["change"] == "capped"]
    assert capped
    assert all(
        "cap: the cap of 1 per week is full" in str(each["why"]) for each in capped
    )
    assert {each["place"] for each in capped} == {"campaigns/_settings.yaml:13"}


@pytest.mark.parametrize("name", CHANGES)
def test_the_commonest_changes_take_one_line_and_tests_follow(
    shop: Path, name: str
) -> None:
    change(shop, *CHANGES[name])
    assert drip(shop, "check").code == 0
    before = drip(shop, "test", "--json")
    for row in rows(before):
        assert row["passed"] == (
            row["campaign"] != "oil-change" or name != "another text"
        ), row
    if name == "another text":
        shown = drip(shop, "test", "oil-change")
        assert shown.code == 1
        assert "Expected" in shown.out
        assert "Observed" in shown.out
        assert drip(shop, "test", "oil-change", "--update").code == 0
        assert drip(shop, "test").code == 0
        assert "send oil/follow-up by email" in (
            shop / "campaigns" / "oil-change.yaml"
        ).read_text("utf-8")


CAMPAIGN = """
name: Two steps
topic: service
trigger: {{ event: x.y }}
steps:
  - send: a
  - wait: {wait}
    id: pause
  - send: {last}
"""


def test_a_run_finishes_on_its_version_until_someone_moves_it(tmp_path: Path) -> None:
    made = World(tmp_path, {"two": CAMPAIGN.format(wait="10 days", last="b")})
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,contact,at", "x.y,ana,2026-12-01T16:00:00Z")
    made.tick("2026-12-01 16:00")
    made.write("campaigns/two.yaml", CAMPAIGN.format(wait="2 days", last="c"))
    made.reload()
    made.tick("2026-12-03 20:00")
    assert made.sent() == ["2026-12-01 16:00"]
    shown = drip(tmp_path, "migrate-runs", "two", "--now", "2026-12-03 20:00")
    assert shown.code == 0
    assert "1 at `pause` of version" in shown.out
    assert "1 run(s) to be moved; add --yes" in shown.out
    made.tick("2026-12-03 20:10")
    assert len(made.sent()) == 1
    assert (
        drip(tmp_path, "migrate-runs", "two", "--yes", "--now", "2026-12-03 20:20").code
        == 0
    )
    made.tick("2026-12-03 20:30")
    assert made.timeline(outcomes=("sent",))[1:] == ["2026-12-03 20:30 sent send c"]
    made.database.close()


def test_runs_whose_step_is_gone_are_named_and_stay(tmp_path: Path) -> None:
    made = World(tmp_path, {"two": CAMPAIGN.format(wait="10 days", last="b")})
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,contact,at", "x.y,ana,2026-12-01T16:00:00Z")
    made.tick("2026-12-01 16:00")
    made.write(
        "campaigns/two.yaml",
        CAMPAIGN.format(wait="2 days", last="c").replace("id: pause", "id: rest"),
    )
    made.reload()
    done = drip(tmp_path, "migrate-runs", "two", "--yes", "--now", "2026-12-05 16:00")
    assert done.code == 1
    assert "cannot be moved: there is no such step now" in done.err
    assert "give the step that replaces it `id: pause`" in done.err
    made.run("2026-12-05 16:00", "2026-12-20 16:00")
    assert made.sent() == ["2026-12-01 16:00", "2026-12-11 16:00"]
    made.database.close()


def test_tasks_are_listed_exported_settled_and_heard_of(tmp_path: Path) -> None:
    text = """
    name: Calls
    topic: service
    trigger: { event: x.y }
    steps:
      - task: Call {{ contact.first_name }} about {{ x.what }} and {{ x.nothing }}
        assign_to: desk
        due: 1 business day
        priority: high
      - wait_for: task.done
        up_to: 9 days
        else: end
      - send: called
    """
    made = World(tmp_path, {"calls": text})
    made.contacts(
        "key,email,first_name,phone",
        "ana,ana@example.com,Ana,+13125550100",
        "ben,ben@example.com,=1+1,",
    )
    made.events(
        "event,contact,at,what",
        "x.y,ana,2026-12-04T16:00:00Z,oil",
        "x.y,ben,2026-12-04T16:00:00Z,oil",
    )
    made.tick("2026-12-04 16:00")
    listed = rows(drip(tmp_path, "tasks", "--json"))
    assert [(each["title"], each["due"], each["assign_to"]) for each in listed] == [
        ("Call Ana about oil and ?", "2026-12-07", "desk"),
        ("Call =1+1 about oil and ?", "2026-12-07", "desk"),
    ]
    assert "+13125550100" in drip(tmp_path, "tasks", "--assign-to", "desk").out
    done = drip(
        tmp_path,
        "tasks",
        "done",
        "1",
        "--outcome",
        "booked",
        "--now",
        "2026-12-04 17:00",
    )
    assert done.code == 0
    complaint(drip(tmp_path, "tasks", "done", "1"), "Task 1 is done already")
    complaint(drip(tmp_path, "tasks", "drop", "99"), "There is no task 99")
    made.tick("2026-12-04 23:30")
    assert [line[17:] for line in made.timeline("ana", ("sent", "task"))] == [
        "task task desk",
        "sent send called",
    ]
    assert drip(tmp_path, "tasks", "export", str(tmp_path / "calls.csv")).code == 0
    with (tmp_path / "calls.csv").open(encoding="utf-8-sig", newline="") as file:
        exported = list(csv.DictReader(file))
    assert len(exported) == 1
    exported[0]["outcome"] = "no answer"
    with (tmp_path / "back.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, exported[0].keys())
        writer.writeheader()
        writer.writerows(exported)
    assert (
        "1 task(s) settled"
        in drip(tmp_path, "tasks", "import", str(tmp_path / "back.csv")).out
    )
    assert rows(drip(tmp_path, "tasks", "--all", "--json"))[1]["outcome"] == "no answer"
    assert drip(tmp_path, "tasks", "import", str(tmp_path / "back.csv")).code == 1
    made.database.close()


LOYAL = """
coupons: { treat: { offer: 15% off, prefix: T }, partner: { offer: 10% off, codes: list } }
counters: { card: { add: coffee.bought, reset: reward.redeemed } }
"""


def test_coupons_are_issued_once_and_redeemed_once(tmp_path: Path) -> None:
    text = """
    name: Codes
    topic: service
    trigger: { event: x.y }
    steps:
      - coupon: treat
        expires: in 5 days
      - coupon: partner
      - send: codes
      - wait_for: coupon.redeemed
        up_to: 30 days
        else: end
      - send: thanks
    """
    made = World(tmp_path, {"codes": text}, LOYAL)
    made.write(
        "templates/codes.md",
        "---\nsubject: s\n---\n{{ coupon.code }} {{ coupon.offer }}\n",
    )
    (tmp_path / "list.csv").write_text("code\nAAA\nBBB\nAAA\n")
    assert drip(
        tmp_path, "coupons", "import", "partner", str(tmp_path / "list.csv")
    ).out.startswith("2 code(s) are new")
    complaint(
        drip(tmp_path, "coupons", "import", "treat", str(tmp_path / "list.csv")),
        "are made, not imported",
    )
    made.contacts(
        "key,email", "ana,ana@example.com", "ben,ben@example.com", "cy,cy@example.com"
    )
    made.events(
        "event,contact,at",
        *(f"x.y,{who},2026-12-01T16:00:00Z" for who in ("ana", "ben", "cy")),
    )
    made.tick("2026-12-01 16:00")
    codes = {
        message.to.address[:3]: message.text.split()[0]
        for message in made.transport.messages
    }
    # The stock holds two codes for three people: the third has the one that was made.
    assert sorted(codes.values())[:2] == ["AAA", "BBB"]
    assert codes["cy@"].startswith("T-")
    assert len(codes["cy@"]) == 12
    counts = {
        row["coupon"]: (row["stock"], row["issued"], row["redeemed"])
        for row in rows(drip(tmp_path, "coupons", "--json"))
    }
    assert counts == {"treat": (0, 3, 0), "partner": (0, 2, 0)}
    done = drip(
        tmp_path, "coupons", "redeem", codes["cy@"].lower(), "--now", "2026-12-03 10:00"
    )
    assert done.code == 0, done.err
    assert "15% off, given to cy" in done.out
    complaint(
        drip(tmp_path, "coupons", "redeem", codes["cy@"], "--now", "2026-12-03 11:00"),
        "was redeemed on 2026-12-03",
    )
    complaint(drip(tmp_path, "coupons", "redeem", "T-NOTHING"), "There is no code")
    made.tick("2026-12-03 18:00")
    assert [line[17:] for line in made.timeline("cy", ("sent",))] == [
        "sent send codes",
        "sent send thanks",
    ]
    complaint(drip(tmp_path, "coupons", "redeem", "AAAA"), "There is no code")
    lines = [
        "event,id,contact,at,code",
        "coupon.redeemed,r1,ana,2026-12-04T10:00:00Z,AAA",
        "coupon.redeemed,r2,ben,2026-12-04T10:00:00Z,AAA",
        "coupon.redeemed,r3,ben,2026-12-04T10:00:00Z,NOPE",
    ]
    assert [why for _, why in made.events(*lines[:2]).rejected] == []
    rejected = [why for _, why in made.events(*lines).rejected]
    assert rejected == [
        "`AAA` was redeemed before, and a code is good once",
        "there is no code `NOPE`",
    ]
    made.database.close()


def test_a_code_that_has_expired_is_refused(tmp_path: Path) -> None:
    text = "name: C\ntopic: service\ntrigger: { event: x.y }\nsteps:\n  - coupon: treat\n    expires: in 5 days\n  - send: a\n"
    made = World(
        tmp_path, {"c": text}, LOYAL, "---\nsubject: s\n---\n{{ coupon.code }}\n"
    )
    made.contacts("key,email", "ana,ana@example.com")
    made.events("event,contact,at", "x.y,ana,2026-12-01T16:00:00Z")
    made.tick("2026-12-01 16:00")
    code = made.transport.messages[0].text.split()[0]
    complaint(
        drip(tmp_path, "coupons", "redeem", code, "--now", "2026-12-07 10:00"),
        "was good until 2026-12-06",
    )
    assert (
        drip(tmp_path, "coupons", "redeem", code, "--now", "2026-12-06 10:00").code == 0
    )
    made.database.close()


def test_a_counter_is_a_ledger(tmp_path: Path) -> None:
    text = "name: C\ntopic: service\ntrigger: { counter: card, reaches: 2 }\nsteps: [send: a]\n"
    made = World(tmp_path, {"c": text}, LOYAL)
    made.contacts("key,email", "ana,ana@example.com")
    made.events(
        "event,contact,at",
        *(f"coffee.bought,ana,2026-12-01T1{n}:00:00Z" for n in range(3)),
        "reward.redeemed,ana,2026-12-01T15:00:00Z",
    )
    made.tick(at("2026-12-01 16:00"))
    made.tick(at("2026-12-01 16:01"))
    found = rows(drip(tmp_path, "counters", "ana", "--json"))
    assert [(row["amount"], row["balance"]) for row in found] == [
        (1, 1),
        (1, 2),
        (1, 3),
        (-3, 0),
    ]
    assert made.sent() == ["2026-12-01 16:00"]
    complaint(drip(tmp_path, "counters", "zoe"), "There is no contact `zoe`")
    made.database.close()


def test_codes_are_explained(tmp_path: Path) -> None:
    done = drip(tmp_path, "check", "--explain", "maybe-unknown")
    assert done.code == 0
    assert "What to do:" in done.out
    complaint(
        drip(tmp_path, "check", "--explain", "maybe-unknwn"),
        "did you mean `maybe-unknown`",
    )
