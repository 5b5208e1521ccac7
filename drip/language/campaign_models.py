"""The keys of a campaign and of its steps, and what their values look like."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from drip.core.calendar import Feb29
from drip.core.campaign import OnUnknown, Status
from drip.core.decide import WhenLate
from drip.language.models import (
    Caps,
    Channels,
    Condition,
    Count,
    CounterName,
    CouponName,
    DateOf,
    Day,
    EditorKind,
    Event,
    Exits,
    FileName,
    FolderName,
    Grace,
    Key,
    Long,
    Model,
    Percent,
    Priority,
    RawList,
    RawMap,
    RecordKind,
    SegmentName,
    Sender,
    SenderName,
    Steps,
    SurveyName,
    Text,
    Topic,
    WhenCapped,
    Window,
    YesNo,
    Zone,
    key,
    phrase,
    read_re_entry,
)
from drip.language.models import When as Schedule

Tests = Annotated[RawList, EditorKind("tests")]
Ways = Annotated[RawList, EditorKind("ways")]
Shares = Annotated[RawList, EditorKind("shares")]
Values = Annotated[RawMap, EditorKind("values")]


class TriggerModel(Model):
    """`trigger:`, with one of five keys that say what starts a run."""

    date: DateOf | None = key(
        None,
        "A date of the contact or record",
        "contact.birthday",
        "6 months after vehicle.last_service",
    )
    repeat: Literal["yearly"] | None = key(None, "Every year on this date", "yearly")
    # Whoever was born on that day has no birthday in three years of four otherwise.
    feb_29: Feb29 = key(
        "Feb 28", "What February 29 becomes in other years", "Feb 28", "Mar 1", "skip"
    )
    schedule: Schedule | None = key(
        None,
        "A cron line, a phrase, or one date and time",
        "every Thursday at 10:00",
        "2026-12-01 9:00",
    )
    event: Event | None = key(None, "Something that happened", "order.placed")
    where: Condition = key(
        None, "Conditions on the event's fields", {"order.total": "at least 100"}
    )
    segment: SegmentName | None = key(
        None, "Starts when a contact comes into this segment", "lapsed_best"
    )
    counter: CounterName | None = key(
        None, "A counter that comes up to a number", "coffee_card"
    )
    # Counted from below: one that is topped up and spent again starts a run each time.
    reaches: Annotated[Any, EditorKind("counts")] = key(
        None, "The numbers that start a run", [7, 9]
    )


class GoalModel(Model):
    """`goal:`, which reports count and `exit_when: goal` ends at."""

    event: Event = key(..., "What success is", "order.placed")
    where: Condition = key(
        None, "Conditions on the event's fields", {"order.total": "at least 20"}
    )
    # Without an end a purchase after a year would be the doing of a mail.
    within: Long | None = key(
        None, "How long after the run began it still counts", "30 days"
    )


class CampaignModel(Model):
    """A file of `campaigns/`."""

    name: Text = key("", "What people call it", "Oil change reminder")
    topic: Topic | None = key(
        None, "What a contact can switch off; from _settings.yaml", "reminders"
    )
    # A pause keeps everybody at their step; what waits longer than its grace is
    # skipped.
    status: Annotated[Status, phrase(str)] = key(
        "live", "A paused campaign holds its people in place", "live"
    )
    sender: SenderName | None = key(
        None, "A sender of _settings.yaml", "service", alias="from"
    )
    trigger: TriggerModel | None = key(
        None, "What starts a run", {"event": "order.placed"}
    )
    for_each: RecordKind | None = key(
        None, "One run for each record of this kind", "vehicle"
    )
    # Between entry and message weeks may pass in which somebody sells the car.
    audience: Condition = key(
        None,
        "Who may enter, and is asked again before every message",
        {"vehicle.status": "active"},
    )
    exit_when: Exits = key(
        None, "Events, conditions or `goal`: they end the run", ["booking.created"]
    )
    goal: GoalModel | None = key(
        None,
        "What success is, for reports and `exit_when: goal`",
        {"event": "order.placed", "within": "30 days"},
    )
    # Occurrences are kept by a unique key, so that `always` sends nothing twice.
    re_entry: Annotated[Any, phrase(read_re_entry), EditorKind("re-entry")] = key(
        "always",
        "Whether someone may come again; an occurrence never comes twice",
        "never",
        "after 90 days",
    )
    priority: Priority = key(50, "Who wins when a cap is tight", "high", "0 to 100")
    # A yearly reminder would lose its only day to a newsletter of the day before.
    reserve: Grace | None = key(
        None,
        "Keeps its slot in the caps free this long ahead, from what has a lower "
        "priority",
        "7 days",
    )
    # Who is held out is drawn by a hash of the contact, so it is the same every time.
    holdout: Percent = key(
        0.0, "A share that gets nothing, so that the difference can be measured", "10%"
    )
    # A wrong file of contacts is noticed by this, and not by the last mail.
    max_audience: Count | None = key(
        None,
        "The brake: more people than this in a day, and the campaign is held",
        "5000",
    )
    timezone: Zone | None = key(
        None, "`recipient`, or one zone for all", "recipient", "Europe/London"
    )
    send_window: Window | None = key(
        None,
        "Hours in which messages go out, on the recipient's clock",
        "8:00-12:00",
        "9:00-17:00 on business days",
    )
    grace: Grace | None = key(
        None, "Later than this a message makes no sense any more", "2 days"
    )
    # A daemon that was down on Friday night sends the dinner offer on Sunday otherwise.
    when_late: Annotated[WhenLate, phrase(str)] = key(
        "send",
        "What becomes of a message that drip was too busy, or not there, to send in "
        "time",
        "skip",
        "next window",
    )
    frequency_caps: Caps | None = key(
        None, "Caps on top of the settings', or `ignore`", "1 per month", "ignore"
    )
    counted: YesNo = key(True, "`no`: its messages use up nobody's caps", "yes", "no")
    when_capped: WhenCapped = key(
        timedelta(days=2), "What a full cap does", "wait up to 2 days", "skip"
    )
    transactional: YesNo = key(
        False, "Outside of caps, windows, quiet hours and topics", "yes", "no"
    )
    # Neither is right for all: `resend` may send twice, `hold` not at all until
    # somebody looks.
    on_unknown: Annotated[OnUnknown | None, phrase(str)] = key(
        None, "When nobody knows whether a message left", "hold", "resend"
    )
    steps: Steps = key(
        list, "What happens, one after the other", [{"send": "birthday/card"}]
    )
    tests: Tests = key(list, "What must come of it, for `drip test`")


class TestModel(Model):
    """One of `tests:`, played by `drip test`."""

    name: Text = key("", "What is tested", "Born on February 29")
    given: RawMap = key(
        dict,
        "`contact:`, the record, counters, `today:`; the rest is a reachable sample "
        "contact",
    )
    happens: RawMap = key(
        dict, "Events by their time", {"2026-07-08 15:10": "booking.created"}
    )
    expect: RawMap = key(
        dict, "The whole timeline", {"2027-02-28 8:00": "send birthday/card"}
    )
    until: Day | None = key(
        None, "How far to look; else 30 days after the last line", "2027-06-01"
    )


# What runs keep is the id of the step they are at: a file that is edited must not move
# them, so a step keeps its id wherever it goes.
class StepModel(Model):
    """What every step can have beside its verb."""

    id: Key | None = key(
        None, "The step's name across edits; else its verb and value", "first-reminder"
    )
    only_if: Condition = key(
        None, "Passes the step over when this fails", {"did_not": "coupon.redeemed"}
    )


class SendModel(StepModel):
    """`- send: birthday/card`."""

    # Rendered when it is sent, so that an edit reaches those who wait.
    send: FileName = key(..., "A template", "birthday/card")
    channel: Channels = key(
        None,
        "One channel, or a list of which the first reachable is used",
        ["sms", "email"],
    )
    subject: Text | None = key(None, "Before the template's own", "Still there?")
    preheader: Text | None = key(
        None, "What the inbox shows beside the subject", "We kept your place"
    )
    sender: SenderName | None = key(
        None, "A sender of _settings.yaml", "service", alias="from"
    )
    # People answer mails; an answer to an address that nobody reads is lost.
    reply_to: Sender | None = key(
        None, "Where answers go", "Front desk <desk@maplestreet.example>"
    )
    at: DateOf | None = key(
        None, "The date it hangs on", "14 days before vehicle.oil_change_due"
    )
    grace: Grace | None = key(
        None, "Later than this it makes no sense any more", "2 days"
    )
    send_window: Window | None = key(
        None, "Hours in which it goes out", "8:00-12:00", "9:00-17:00 on business days"
    )
    priority: Priority | None = key(None, "Who wins when a cap is tight", "high")
    # An issue not written in time is skipped: nobody can call an empty mail back.
    content: FolderName | None = key(
        None, "Folder of dated texts; none for the day: not sent", "newsletter/issues"
    )
    when_missing: Literal["skip"] | None = key(
        None, "What happens when there is no text for the day", "skip"
    )
    survey: SurveyName | None = key(
        None, "The survey that `survey_link` answers", "satisfaction"
    )
    attach: Annotated[Any, EditorKind("files")] = key(
        None, "Files of `templates/` to send along", "prices.pdf"
    )
    transactional: YesNo | None = key(
        None, "Outside of caps, windows, quiet hours and topics", "yes"
    )


class WaitModel(StepModel):
    """`- wait: 3 days`, `- wait: until Friday at 9:00`."""

    wait: Annotated[str, phrase(str), EditorKind("wait")] = key(
        ...,
        "How long, or `until` when",
        "3 days",
        "until Friday at 9:00",
        "until 5 days before coupon.expires",
    )


class WaitForModel(StepModel):
    """`- wait_for: survey.answered`, at most `up_to:` and then `else:`."""

    # Events since the run began count: somebody may have answered before this step.
    wait_for: Event = key(..., "The event that is waited for", "survey.answered")
    where: Condition = key(
        None, "Conditions on the event's fields", {"survey.score": "at most 2"}
    )
    # Without it whoever never answers stays in the campaign for good.
    up_to: Long | None = key(None, "How long at most", "10 days")
    otherwise: Annotated[Any, EditorKind("else")] = key(
        None, "What then: `end`, or steps", "end", alias="else"
    )


class IfModel(StepModel):
    """`- if: { opened: any }` with `then:` and `else:`."""

    condition: Condition = key(..., "The condition", {"opened": "any"}, alias="if")
    then: Steps = key(list, "Steps if it holds", [{"send": "thanks"}])
    otherwise: Steps = key(
        list, "Steps if it does not", [{"send": "reminder"}], alias="else"
    )


class BranchModel(StepModel):
    """`- branch:` with a list of ways."""

    branch: Ways = key(
        ...,
        "Several ways; the first that holds is taken",
        [{"if": {}, "then": []}, {"else": []}],
    )


class ArmModel(Model):
    """A way of a branch: `if:` with `then:`, or `else:`."""

    condition: Condition = key(
        None, "The condition", {"survey.score": "at most 2"}, alias="if"
    )
    then: Steps = key(list, "Steps if it holds", [{"tag": "unhappy"}])
    otherwise: Steps = key(
        list, "Steps if none before held", [{"send": "thanks"}], alias="else"
    )


class SplitModel(StepModel):
    """`- split:` with a list of shares."""

    # An arm is drawn by a hash of contact and step: a second run takes the same one.
    split: Shares = key(
        ..., "A/B arms; a contact stays in its arm", [{"share": "50%", "then": []}]
    )
    # Before it is known who wins, everybody stays in the arm that was drawn.
    winner: Annotated[str | None, phrase(str), EditorKind("winner")] = key(
        None, "When the arm with most goals takes all", "goal after 14 days"
    )


class ShareModel(Model):
    """An arm of a split: `share:` with `then:`."""

    share: Percent = key(..., "How many of the people", "50%")
    then: Steps = key(list, "What they get", [{"send": "offer"}])


class TaskModel(StepModel):
    """`- task: Call {{ contact.first_name }}`."""

    task: Text = key(
        ...,
        "Work for a person; may hold {{ contact.first_name }}",
        "Call {{ contact.first_name }}",
    )
    assign_to: Text = key("", "Who does it", "service-desk")
    at: DateOf | None = key(
        None, "The date it hangs on", "21 days before lease.lease_end"
    )
    due: Long | None = key(
        None, "Until when, counted from the day it is given", "2 business days"
    )
    priority: Priority | None = key(None, "How urgent", "high")


class IssueCouponModel(StepModel):
    """`- coupon: birthday-treat`."""

    coupon: CouponName = key(..., "Issues a code of this coupon", "birthday-treat")
    # Until the end of a day: a code that ends at noon is a quarrel at the till.
    expires: Annotated[Any, EditorKind("expires")] = key(
        None, "How long it is good", "in 30 days"
    )


class PointsModel(StepModel):
    """`- points: 50`."""

    points: Annotated[str, phrase(str), EditorKind("points")] = key(
        ..., "Adds to a counter, or redeems", "50", "redeem 100"
    )
    counter: CounterName | None = key(
        None, "Which counter, if there are several", "loyalty"
    )


class SubscribeModel(StepModel):
    """`- subscribe: newsletter`."""

    subscribe: Topic = key(
        ..., "Consent to a topic, recorded with its proof", "newsletter"
    )
    channel: Channels = key(None, "On which channels; else email", "email")


class UnsubscribeModel(StepModel):
    """`- unsubscribe: newsletter`."""

    unsubscribe: Topic = key(..., "Takes consent back", "newsletter")
    channel: Channels = key(None, "On which channels; else all", "email")


class TagModel(StepModel):
    """`- tag: unhappy`."""

    tag: Annotated[Any, EditorKind("tags")] = key(
        ..., "Puts a tag on the contact", "unhappy"
    )


class UntagModel(StepModel):
    """`- untag: unhappy`."""

    untag: Annotated[Any, EditorKind("tags")] = key(..., "Takes a tag off", "unhappy")


class SetModel(StepModel):
    """`- set: { vehicle.status: sold }`."""

    set: Values = key(
        ..., "Changes fields of the contact or the record", {"vehicle.status": "sold"}
    )


class PauseModel(StepModel):
    """`- pause: [offers]` with `for: 14 days`."""

    # A pause is no withdrawal of consent: it ends by itself.
    pause: Annotated[Any, EditorKind("topics")] = key(
        ..., "Holds topics back for this contact", ["offers"]
    )
    duration: Long = key(..., "For how long", "14 days", alias="for")


class EndModel(StepModel):
    """`- end`."""

    end: Text | None = Field(default=None, description="Ends the run")


STEPS: dict[str, type[StepModel]] = {
    "send": SendModel,
    "wait": WaitModel,
    "wait_for": WaitForModel,
    "if": IfModel,
    "branch": BranchModel,
    "split": SplitModel,
    "task": TaskModel,
    "coupon": IssueCouponModel,
    "points": PointsModel,
    "subscribe": SubscribeModel,
    "unsubscribe": UnsubscribeModel,
    "tag": TagModel,
    "untag": UntagModel,
    "set": SetModel,
    "pause": PauseModel,
    "end": EndModel,
}
