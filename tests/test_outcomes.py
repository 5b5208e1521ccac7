"""Reports: what came of a campaign, and how sure it is."""

from __future__ import annotations

import csv
from collections.abc import Callable
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drip.core.lift import Lift, Share
from drip.engine.feedback import Feedback
from drip.engine.reporting import CampaignReport, report
from drip.inbound.reading import Finding
from drip.storage.reading.outcomes import Period
from tests.cli import drip
from tests.world import World, at

Worlds = Callable[..., World]
NOW = at("2026-12-20 12:00")
OFFER = """
name: Offer
topic: service
trigger: { schedule: 2026-11-26 10:00 }
goal: { event: order.placed, within: 14 days }
holdout: 30%
steps:
  - split:
      - share: 50%
        then: [{ send: offer, id: one }]
      - share: 50%
        then: [{ send: offer, id: two }]
"""


def made(world: Worlds, people: int = 200) -> World:
    shop = world({"offer": OFFER})
    shop.contacts("key,email", *(f"p{n},p{n}@example.com" for n in range(people)))
    shop.tick("2026-11-26 09:00")
    shop.tick("2026-11-26 16:00")
    return shop


def of(shop: World, since: str = "2026-11-01") -> CampaignReport:
    campaign = shop.workspace.loaded.campaigns["offer"]
    with shop.database.read() as connection:
        return report(
            connection,
            shop.workspace.settings,
            campaign,
            Period("offer", at(since), NOW),
            "total",
            NOW,
        )


def bought(shop: World, *who: str, on: str = "2026-11-30", total: str = "20") -> None:
    shop.events(
        "event,contact,at,total",
        *(f"order.placed,{each},{on}T12:00:00Z,{total}" for each in who),
    )


def test_who_got_it_is_counted_beside_who_was_held_out(world: Worlds) -> None:
    shop = made(world)
    got = sorted(each.to.address.partition("@")[0] for each in shop.transport.messages)
    out = sorted({f"p{n}" for n in range(200)} - set(got))
    assert 35 <= len(out) <= 85
    bought(shop, *got[:60], *out[:3])
    bought(shop, got[0], on="2026-12-01")
    bought(shop, got[61], on="2026-12-15")
    bought(shop, got[62], on="2026-11-20")
    found = of(shop)
    assert found.treated and found.held_out and found.lift
    assert (found.treated.goals, found.treated.value) == (Share(60, len(got)), 1200.0)
    assert found.held_out.goals == Share(3, len(out))
    assert found.lift.sure and found.lift.difference > 0.25
    assert sum(each.ends["sent"] for each in found.steps) == len(got)
    assert [each.step for each in found.steps] == ["one", "two"]
    assert sum(each.side.goals.count for each in found.arms) == len(got)
    assert sum(each.side.goals.met for each in found.arms) == 60
    assert of(shop, since="2026-12-01").began == 0


def test_what_came_back_and_what_was_not_sent_is_counted(world: Worlds) -> None:
    shop = made(world, 40)
    message = shop.transport.messages[0]
    Feedback(shop.database, NOW).take(
        [
            Finding(
                "bounce",
                message.to.address,
                "5.1.1",
                "address-dead",
                "unknown",
                (message.message_id,),
            )
        ]
        * 2,
        "x",
    )
    assert sum(each.back.get("bounce", 0) for each in of(shop).steps) == 1
    shop = world(
        {
            "offer": OFFER.replace("holdout: 30%\n", "").replace(
                "topic: service", "topic: news"
            )
        }
    )
    shop.contacts("key,email", "eve,eve@example.com")
    shop.tick("2026-11-26 09:00")
    shop.tick("2026-11-26 16:00")
    assert of(shop).not_sent == (("no-consent", 1),)
    assert of(shop).held_out is None and of(shop).lift is None


def test_the_report_is_printed_written_and_told_as_json(world: Worlds) -> None:
    shop = made(world, 60)
    bought(shop, "p1", "p2", "p3")
    shop.database.close()
    told = ("report", "--now", "2026-12-20 6:00", "--since", "2026-11-20")
    printed = drip(shop.root, *told).out
    assert (
        "60 came in." in printed
        and "Lift:" in printed
        and "that may be chance" in printed
    )
    (row,) = drip(shop.root, *told, "--json").rows
    assert (
        row["began"] == 60
        and row["treated"]["people"] + row["held_out"]["people"] == 60
    )
    file = shop.root / "report.csv"
    assert drip(shop.root, *told, "--csv", str(file)).code == 0
    rows = list(csv.DictReader(file.read_text("utf-8-sig").splitlines()))
    assert sum(int(each["sent"]) for each in rows) == row["treated"]["people"]
    assert drip(shop.root, "report", "nothing").code == 2
    assert "Nobody" in drip(shop.root, "report", "--now", "2026-01-05 12:00").out


# --- how sure it is


def test_the_intervals_are_those_of_the_papers() -> None:
    """Newcombe 1998, table II: 56/70 beside 48/80; 9/10 beside 3/10; 10/10 beside 0/20."""
    for one, other, low, high in (
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ):
        assert Lift(Share(*one), Share(*other)).interval == pytest.approx(
            (low, high), abs=0.0001
        )
    assert Share(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=0.0001)


@given(
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.integers(0, 50),
)
def test_an_interval_holds_its_rate_and_shrinks_with_the_count(
    both: tuple[int, int], more: int
) -> None:
    share = Share(*both)
    low, high = share.interval
    assert 0 <= low <= share.rate <= high <= 1
    wider = Share(both[0] * (1 + more), both[1] * (1 + more)).interval
    assert wider[1] - wider[0] <= high - low + 1e-9
    lift = Lift(share, Share(both[1] - both[0], both[1]))
    assert lift.interval[0] <= lift.difference <= lift.interval[1]


def test_ninety_five_of_a_hundred_intervals_hold_the_truth() -> None:
    for n, p in ((40, 0.1), (100, 0.03), (200, 0.5)):
        covered = sum(
            comb(n, k) * p**k * (1 - p) ** (n - k)
            for k in range(n + 1)
            if Share(k, n).interval[0] <= p <= Share(k, n).interval[1]
        )
        assert 0.92 < covered < 0.99


def test_of_nobody_nothing_is_known() -> None:
    assert Share(0, 0).rate == 0 and Share(0, 0).interval == (0.0, 1.0)
    assert not Lift(Share(0, 0), Share(0, 0)).sure


def test_the_report_says_what_caps_held_back_and_for_whom(world: Worlds) -> None:
    shop = world(
        {
            "daily": "name: Daily\ntopic: service\ntrigger: { schedule: every day at 10:00 }\nsteps: [send: a]\n",
            "offer": "name: Offer\ntopic: service\npriority: low\ntrigger: { schedule: every day at 11:00 }\nsteps: [send: b]\n",
        },
        settings="frequency_caps: { all: 1 per day }\nwhen_capped: skip\n",
    )
    shop.contacts("key,email", "ana,ana@example.com")
    shop.run("2026-12-01 00:00", "2026-12-18 00:00")
    caps = of(shop, "2026-12-01").caps
    assert (caps.skipped, caps.deferred, caps.displaced_by) == (17, 0, (("daily", 17),))
    assert [(each.start, each.skipped) for each in caps.weeks] == [
        (at("2026-12-01"), 7),
        (at("2026-12-08"), 7),
        (at("2026-12-15"), 3),
    ]
    done = drip(
        shop.root,
        "report",
        "offer",
        "--since",
        "2026-12-01 00:00",
        "--now",
        "2026-12-20 12:00",
    )
    assert (
        "Caps: 17 skipped, 0 put off (by daily 17); week by week 7, 7, 3." in done.out
    )
