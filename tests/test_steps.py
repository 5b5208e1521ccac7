"""Every step and trigger, told as the tests that campaign files carry themselves, and played by the same runner."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from drip.preview.testing import Stage
from tests.world import World

Worlds = Callable[..., World]
SETTINGS = """
holidays: [2026-12-25]
send_window: 9:00-19:00
topics:
  news: { title: News, opt_in: single }
  service: { title: Service, opt_in: implied }
  offers: { title: Offers, opt_in: single }
transports:
  email: { use: memory }
  sms: { use: memory }
  letter: { use: memory }
data:
  contact:
    first_name: text
    vip: yes or no
    birthday: birthday
    country: country
    orders: count of order.placed
    spent: sum of order.placed.total
    last_order: latest order.placed
  vehicle:
    model: text
    status: [active, sold]
    last_service: date
    odometer: number
    due: { earliest_of: [6 months after last_service, odometer reaches last_service_odometer + 5000] }
counters: { card: { add: coffee.bought, subtract: coffee.refunded, reset: reward.redeemed }, points: { add: order.placed, field: total } }
coupons: { treat: { offer: 15% off, prefix: T } }
segments:
  regulars: { orders: at least 2 }
  lapsed: { in_segment: regulars, last_order: more than 30 days ago }
"""
CASES: dict[str, str] = {}


def case(name: str, text: str) -> None:
    CASES[name] = text


case(
    "survey",
    """
name: Survey
topic: service
trigger: { event: service.completed }
grace: 2 days
frequency_caps: ignore
steps:
  - wait: until next business day at 10:00
  - send: ask
  - wait_for: survey.answered
    up_to: 10 days
    else: end
  - branch:
      - if: { survey.score: at most 2 }
        then:
          - tag: unhappy
          - task: "Call {{ contact.first_name }}: {{ survey.score }}, {{ survey.comment }}"
            assign_to: boss
            due: 1 business day
          - pause: [service]
            for: 14 days
          - wait_for: complaint.resolved
            up_to: 14 days
          - send: fixed
            transactional: true
      - if: { survey.score: 5 }
        then: [send: review]
      - else: [send: thanks]
tests:
  - name: Nobody answers
    happens: { 2026-12-24 15:00: service.completed }
    expect: { 2026-12-28 10:00: send ask by email }
  - name: Five of five, before anybody could say that it was the weekend
    happens:
      2026-12-04 15:00: service.completed
      2026-12-07 10:30: { event: survey.answered, score: 5 }
    expect:
      2026-12-07 10:00: send ask
      2026-12-07 10:30: send review
  - name: In between
    happens:
      2026-12-01 15:00: service.completed
      2026-12-02 20:30: { event: survey.answered, score: 3 }
    expect:
      2026-12-02 10:00: send ask
      2026-12-03 9:00: send thanks
  - name: Angry, and mended
    happens:
      2026-12-01 15:00: service.completed
      2026-12-02 11:00: { event: survey.answered, score: 1, comment: rude }
      2026-12-05 7:30: complaint.resolved
    expect:
      2026-12-02 10:00: send ask
      2026-12-02 11:00: task boss
      2026-12-05 7:30: send fixed
  - name: An answer after the limit does not count
    happens:
      2026-12-01 15:00: service.completed
      2026-12-20 11:00: { event: survey.answered, score: 5 }
    expect: { 2026-12-02 10:00: send ask }
""",
)
case(
    "paused",
    """
name: A pause of one campaign holds back another's topic, and the transactional passes
topic: service
trigger: { event: order.placed }
grace: 5 days
frequency_caps: ignore
steps:
  - pause: service
    for: 3 days
  - send: later
  - send: now
    transactional: true
tests:
  - name: Held back for three days
    happens: { 2026-12-01 12:00: order.placed }
    expect:
      2026-12-04 12:00: [send later, send now]
""",
)
case(
    "welcome",
    """
name: Welcome
topic: offers
trigger: { event: order.placed }
audience: { orders: 1 }
re_entry: never
goal: { event: order.placed, within: 30 days }
exit_when: goal
steps:
  - wait: 2 hours
  - send: thanks
  - wait: 3 days
  - branch:
      - if: { order.category: coffee }
        then: [send: brew]
      - if: { order.total: at least 100 }
        then:
          - send: note
          - task: Write {{ contact.first_name }} a card
            assign_to: manager
      - else: [send: best]
  - wait: 7 days
  - split:
      - share: 50%
        then: [send: discount]
      - share: 50%
        then: [send: story]
tests:
  - name: Coffee
    happens: { 2026-12-01 8:00: { event: order.placed, category: Coffee, total: 120 } }
    expect:
      2026-12-01 10:00: send thanks
      2026-12-04 10:00: send brew
      2026-12-11 10:00: send story
  - name: A large order, and a second one that is the goal
    happens:
      2026-12-01 8:00: { event: order.placed, category: home, total: "1,200.50" }
      2026-12-05 8:00: { event: order.placed, total: 3 }
    expect:
      2026-12-01 10:00: send thanks
      2026-12-04 10:00: [send note, task manager]
      2026-12-05 8:00: exit (goal-met)
  - name: A second order in the night after the first one ends it before it began to matter
    happens:
      2026-12-01 8:00: order.placed
      2026-12-01 8:30: order.placed
    expect: { 2026-12-01 8:30: exit (goal-met) }
""",
)
case(
    "opened",
    """
name: Opened or not
topic: offers
trigger: { segment: lapsed }
re_entry: after 1 year
steps:
  - send: miss-you
  - wait: 10 days
  - coupon: treat
    expires: in 21 days
  - send: offer
  - wait: 14 days
  - if: { opened: any }
    then:
      - send: last
        channel: [sms, email]
    else:
      - send: card
        channel: letter
  - tag: lost
tests:
  - name: Nothing was opened
    given: { in_segment: lapsed, today: 2026-12-01 }
    expect:
      2026-12-01 9:00: send miss-you by email
      2026-12-11 9:00: send offer by email
      2026-12-25 9:00: send card by letter
  - name: The second one was
    given: { in_segment: lapsed, today: 2026-12-01 }
    happens: { 2026-12-12 8:00: { event: message.opened, campaign: opened, template: offer } }
    expect:
      2026-12-01 9:00: send miss-you
      2026-12-11 9:00: send offer
      2026-12-25 9:00: send last by sms
  - name: Coming into the segment by the calendar alone, thirty days after the last of two orders
    given: { today: 2026-11-01 }
    happens:
      2026-11-01 9:00: order.placed
      2026-11-02 9:00: order.placed
    until: 2026-12-05
    expect: { 2026-12-03 9:00: send miss-you }
""",
)
case(
    "opt-in",
    """
name: Sign-up
topic: news
transactional: true
trigger: { event: newsletter.requested }
steps:
  - send: confirm
  - wait_for: newsletter.confirmed
    up_to: 7 days
    else: end
  - subscribe: news
  - send: welcome
    transactional: no
tests:
  - name: Confirmed, so that marketing may follow
    given: { topics: { news: no } }
    happens:
      2026-12-01 22:00: newsletter.requested
      2026-12-01 23:10: newsletter.confirmed
    expect:
      2026-12-01 22:00: send confirm
      2026-12-02 9:00: send welcome
  - name: Never confirmed
    given: { topics: { news: no } }
    happens: { 2026-12-01 22:00: newsletter.requested }
    expect: { 2026-12-01 22:00: send confirm }
""",
)
case(
    "card",
    """
name: Punch card
topic: offers
trigger: { counter: card, reaches: [2, 3] }
frequency_caps: ignore
steps:
  - if: { card: 2 }
    then:
      - send: nearly
      - end
  - send: full
  - points: redeem 100
    counter: points
    only_if: { points: at least 100 }
  - if: { points: at least 1 }
    then: [send: rest]
tests:
  - name: Up, down and up again
    given: { card: 1, points: 150 }
    happens:
      2026-12-01 10:00: coffee.bought
      2026-12-01 10:05: coffee.refunded
      2026-12-02 10:00: coffee.bought
      2026-12-03 10:00: coffee.bought
    expect:
      2026-12-01 10:00: send nearly
      2026-12-02 10:00: send nearly
      2026-12-03 10:00: [send full, send rest]
  - name: A reset and two at once
    given: { card: 9 }
    happens:
      2026-12-01 10:00: [reward.redeemed, coffee.bought, coffee.bought, coffee.bought]
    expect: { 2026-12-01 10:00: send full }
""",
)
case(
    "oil",
    """
name: Oil
topic: service
for_each: vehicle
trigger: { date: vehicle.due }
audience: { vehicle.status: active }
exit_when: [booking.created, { vehicle.status: sold }]
steps:
  - send: soon
    at: 14 days before vehicle.due
  - send: due
    at: vehicle.due
    channel: [sms, email]
  - wait: 10 days
  - set: { vehicle.status: sold }
  - send: never
tests:
  - name: By the calendar
    given: { vehicle: { status: active, last_service: 2026-01-05 } }
    expect:
      2026-06-21 9:00: send soon by email
      2026-07-05 9:00: send due by sms
      2026-07-15 9:00: exit (not-in-audience)
  - name: By mileage, estimated from the readings
    given:
      today: 2026-01-05
      vehicle: { status: active, last_service: 2026-01-05, odometer: 10000 }
    happens:
      2026-02-04 12:00: { event: odometer.read, odometer: 11500 }
      2026-03-06 12:00: { event: odometer.read, odometer: 13000 }
      2026-04-03 12:00: booking.created
    until: 2026-08-01
    expect:
      2026-04-01 9:00: send soon
      2026-04-03 12:00: exit (booking.created)
  - name: A newer service moves everything
    given: { vehicle: { status: sold, last_service: 2026-01-05 }, today: 2026-06-01 }
    expect: {}
""",
)
case(
    "until",
    """
name: Waits
topic: service
trigger: { event: x.y }
frequency_caps: ignore
send_window: 0:00-24:00
grace: 2 days
steps:
  - wait: until Friday at 9:00
  - send: friday
  - wait: until tomorrow at 7:00
  - send: tomorrow
  - wait: until 18:00
  - send: evening
  - wait: 2 business days
  - send: business
  - wait: until 2026-12-30 6:15
  - send: fixed
  - wait: until 2026-12-01 6:15
  - send: passed
tests:
  - name: On a Friday too late for Friday
    happens: { 2026-12-04 10:00: x.y }
    expect:
      2026-12-11 9:00: send friday
      2026-12-12 7:00: send tomorrow
      2026-12-12 18:00: send evening
      2026-12-15 18:00: send business
      2026-12-30 6:15: [send fixed, send passed]
""",
)
case(
    "change",
    """
name: Changes
topic: service
trigger: { event: x.y }
frequency_caps: ignore
steps:
  - set: { vip: yes, country: DE }
  - tag: [a, b]
  - untag: b
  - if: { vip: yes, country: DE, tagged: a, not: { tagged: b } }
    then: [send: all-of-it]
  - coupon: treat
    expires: in 10 days
  - if: { holds coupon: treat }
    then: [send: holds]
  - wait: until 3 days before coupon.expires
  - send: remind
    only_if: { did_not: coupon.redeemed }
  - unsubscribe: service
  - send: nothing
tests:
  - name: One sees what the one before did
    happens: { 2026-12-01 10:00: x.y }
    expect:
      2026-12-01 10:00: [send all-of-it, send holds]
      2026-12-08 9:00: send remind
      2026-12-08 9:00 : skip nothing (no-consent)
  - name: Redeemed in between
    happens:
      2026-12-01 10:00: x.y
      2026-12-05 10:00: coupon.redeemed
    expect:
      2026-12-01 10:00: [send all-of-it, send holds]
      2026-12-08 9:00: [skip remind (only-if), skip nothing (no-consent)]
""".replace(
        "      2026-12-08 9:00: send remind\n      2026-12-08 9:00 : skip nothing (no-consent)\n",
        "      2026-12-08 9:00: [send remind, skip nothing (no-consent)]\n",
    ),
)
case(
    "before",
    """
name: Some days before a birthday, over the turn of the year
topic: offers
trigger: { date: 5 days before contact.birthday, feb_29: Mar 1 }
steps: [send: early]
tests:
  - name: January 2
    given: { contact: { birthday: 01-02 }, today: 2026-12-01 }
    until: 2027-12-31
    expect:
      2026-12-28 9:00: send early
      2027-12-28 9:00: send early
  - name: February 29
    given: { contact: { birthday: 02-29 }, today: 2026-12-01 }
    until: 2028-04-01
    expect:
      2027-02-24 9:00: send early
      2028-02-24 9:00: send early
""",
)
case(
    "weeks",
    """
name: Every other week
topic: news
trigger: { schedule: every 2 weeks on Monday at 10:00 from 2026-11-30 }
grace: 4 hours
steps: [send: issue]
tests:
  - name: Two of four Mondays
    given: { today: 2026-11-28 }
    until: 2026-12-22
    expect:
      2026-11-30 10:00: send issue
      2026-12-14 10:00: send issue
""",
)
case(
    "waits-with-steps",
    """
name: Waits for what is large enough, and does something else otherwise
topic: service
trigger: { event: x.y }
frequency_caps: ignore
steps:
  - wait_for: order.placed
    where: { order.total: at least 50 }
    up_to: 3 days
    else:
      - send: nudge
      - wait: 1 day
      - end
  - send: thanks
tests:
  - name: Small orders do not count
    happens:
      2026-12-01 10:00: x.y
      2026-12-02 10:00: { event: order.placed, total: 10 }
      2026-12-03 10:00: { event: order.placed, total: 60 }
    expect: { 2026-12-03 10:00: send thanks }
  - name: Nothing comes
    happens: { 2026-12-01 10:00: x.y }
    expect: { 2026-12-04 10:00: send nudge }
""",
)


case(
    "dated-task",
    """
name: What follows a dated task counts from its date
topic: service
trigger: { date: contact.birthday, feb_29: skip }
frequency_caps: ignore
steps:
  - send: early
    at: 60 days before contact.birthday
  - task: Call
    assign_to: desk
    at: 14 days before contact.birthday
  - wait: 2 days
  - send: after
tests:
  - name: In order
    given: { contact: { birthday: 06-30 } }
    expect:
      2026-05-01 9:00: send early
      2026-06-16 9:00: task desk
      2026-06-18 9:00: send after
""",
)
case(
    "twice",
    """
name: One event counts for one wait
topic: service
trigger: { event: x.y }
frequency_caps: ignore
steps:
  - wait_for: order.placed
  - wait_for: order.shipped
  - wait_for: order.placed
    up_to: 5 days
    else: end
  - send: again
tests:
  - name: One order
    happens:
      2026-12-01 10:00: x.y
      2026-12-01 11:00: order.placed
      2026-12-01 12:00: order.shipped
    expect: {}
  - name: Two orders
    happens:
      2026-12-01 10:00: x.y
      2026-12-01 11:00: order.placed
      2026-12-01 12:00: order.shipped
      2026-12-02 12:00: order.placed
    expect: { 2026-12-02 12:00: send again }
""",
)
case(
    "unknown-date",
    """
name: A message that hangs on an unknown date
topic: service
for_each: vehicle
trigger: { event: x.y }
steps:
  - send: later
    at: 6 months after vehicle.last_service
tests:
  - name: Is not sent at once
    given: { vehicle: { status: active } }
    happens: { 2026-12-01 10:00: x.y }
    expect: { 2026-12-01 10:00: skip later (no-date) }
""",
)


@pytest.mark.parametrize("name", CASES)
def test_what_comes_of_a_campaign(world: Worlds, name: str) -> None:
    made = world({name: CASES[name]}, settings=SETTINGS)
    assert not [
        "\n".join(each.lines())
        for each in made.workspace.loaded.problems
        if each.level == "error"
    ]
    campaign = made.workspace.loaded.campaigns[name]
    assert campaign.tests
    with closing(Stage(made.workspace.settings, made.workspace.templates)) as stage:
        for test in campaign.tests:
            result = stage.play(campaign, test)
            shown = "\n".join(
                f"{left and (left.wall, left.text)!s:60} | {right and (right.wall, right.text, right.why)}"
                for left, right in result.pairs()
            )
            assert result.passed, f"{test.name}\n{shown}"
