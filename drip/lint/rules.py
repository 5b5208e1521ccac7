"""Every rule: its code, its level, why it matters, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from drip.errors import Level, Place, Problem


@dataclass(frozen=True, slots=True)
class LintRule:
    """`why` is read by `drip check --explain CODE`."""

    code: str
    level: Level
    why: str
    remedy: str


_ALL = (
    LintRule(
        "invalid",
        "error",
        "The file says something that drip cannot carry out: a misspelt key, a value "
        "of the wrong kind, a name that "
        "exists nowhere. The campaign does not run with it; a running daemon keeps "
        "the last good version.",
        "Change the line under the caret as the help line says.",
    ),
    LintRule(
        "text-lost",
        "warning",
        "In YAML a `#` after a space begins a comment, so `subject: We are #1` reads "
        "as `We are`.",
        "Put quotes around the whole text, or a space after the `#` if it is meant "
        "as a comment.",
    ),
    LintRule(
        "unknown-variable",
        "error",
        "The template prints a field that nobody has. Every message of it would be "
        "held with `render-error`.",
        "Correct the name, or declare the field under `data:` in _settings.yaml.",
    ),
    LintRule(
        "maybe-unknown",
        "warning",
        "The template prints a field that is unknown for some of the people. Their "
        "messages would be held with "
        "`render-error`.",
        'Write `{{ contact.first_name|default("there") }}`, ask with `{% if … %}`, '
        "or ask for it in the audience "
        "(`first_name: known`).",
    ),
    LintRule(
        "unreachable-step",
        "warning",
        "No way through the campaign leads to this step, so it never happens.",
        "Remove it, or move the `end` before it.",
    ),
    LintRule(
        "never-open",
        "error",
        "The send window lies wholly within the quiet hours, so there is no moment "
        "at which the message may go.",
        "Change `send_window` of the campaign or `quiet_hours` of the settings.",
    ),
    LintRule(
        "weekend-lost",
        "warning",
        "The send window opens on business days only, and what is due at a weekend "
        "makes no sense any more by Monday: it is "
        "skipped.",
        "Lengthen `grace` (4 days outlast most holidays), or let the window open at "
        "weekends.",
    ),
    LintRule(
        "wait-beyond-grace",
        "warning",
        "`when_capped` lets a message wait longer than `grace` lets it make sense, "
        "so it never waits that long.",
        "Shorten `when_capped`, or lengthen `grace`.",
    ),
    LintRule(
        "cap-starves",
        "warning",
        "The campaign sends more often than a cap allows, so some of its messages "
        "are always skipped.",
        "Send less often, raise the cap, or write `frequency_caps: ignore` if its "
        "messages must go.",
    ),
    LintRule(
        "reserve-starves",
        "warning",
        "`reserve` keeps slots free for this campaign, and by the caps that is a long "
        "time in which nothing of a lower "
        "priority leaves to these people.",
        "Shorten `reserve`, raise the cap, or accept it: the preview shows how many "
        "messages it costs.",
    ),
    LintRule(
        "cap-of-none",
        "warning",
        "A cap of 0 means never: no message of this campaign ever leaves.",
        "Raise the cap, or write `frequency_caps: ignore`.",
    ),
    LintRule(
        "reminder-may-drop",
        "warning",
        "A reminder of something due is skipped when promotions have filled the cap "
        "before it.",
        "Give it a higher `priority` than the promotions, `when_capped: wait up to "
        "…`, or `frequency_caps: ignore`.",
    ),
    LintRule(
        "before-confirmation",
        "warning",
        "Anybody can type anybody's address into the form for a topic. Until somebody "
        "confirms it, steps that give or change "
        "something do nothing for it.",
        "Put the step behind the `wait_for` that waits for the confirmation.",
    ),
    LintRule(
        "event-unknown",
        "note",
        "No such event has ever come in, so what waits for it waits for ever.",
        "Check the name, or import the events.",
    ),
    LintRule(
        "leap-day",
        "note",
        "People born on February 29 have no birthday in three years of four; drip "
        "takes February 28.",
        "Say what you want: `feb_29: Feb 28`, `Mar 1` or `skip`.",
    ),
    LintRule(
        "transactional-sells",
        "warning",
        "A transactional message goes out without consent, at night and outside of "
        "the caps. One that advertises is "
        "marketing by law (CAN-SPAM, PECR, GDPR), whatever the file calls it.",
        "Take the selling out of the text, or `transactional` out of the campaign.",
    ),
    LintRule(
        "unused-template",
        "note",
        "No campaign sends this template.",
        "Remove it, or use it.",
    ),
    LintRule(
        "no-subject",
        "error",
        "A mail without a subject looks like spam, and is.",
        "Begin the template with `---`, a line `subject: …`, and `---`.",
    ),
    LintRule(
        "long-subject",
        "warning",
        "Phones show some 40 characters of a subject, mail programs some 70.",
        "Say it in fewer words; put the rest into `preheader:`.",
    ),
    LintRule(
        "loud-subject",
        "warning",
        "A subject in capitals or with several !! is what spam filters look for.",
        "Write it as you would say it.",
    ),
    LintRule(
        "no-preheader",
        "note",
        "Without a preheader the inbox shows whatever the mail begins with beside "
        "its subject.",
        "Add a line `preheader: …` to the front matter, or to the step.",
    ),
    LintRule(
        "too-large",
        "warning",
        "Gmail cuts mails off at 102 KB, the way to unsubscribe with the rest.",
        "Shorten the text, or move styles into the layout.",
    ),
    LintRule(
        "sms-parts",
        "warning",
        "The text with the longest names does not fit one SMS (160 characters, 70 "
        "with letters like ł or emoji), and "
        "each part costs.",
        "Shorten it.",
    ),
    LintRule(
        "no-alt",
        "warning",
        "A picture without a text is nothing to a screen reader, or where pictures "
        "are off.",
        'Write `![What it shows](…)`, or `alt=""` for pure decoration.',
    ),
    LintRule(
        "no-lang",
        "warning",
        "Without a language a screen reader reads in the wrong one.",
        'Write `<html lang="{{ locale }}">`.',
    ),
    LintRule(
        "low-contrast",
        "warning",
        "The text stands out too little from its background to be read by everybody "
        "(WCAG 2.2, 1.4.3: 4.5 to 1).",
        "Make the text darker, or the background lighter.",
    ),
    LintRule(
        "vague-link",
        "warning",
        "“Click here” says nothing when links are read out one by one (WCAG 2.2, "
        "2.4.4).",
        "Say in the link where it leads.",
    ),
    LintRule(
        "link-runs",
        "error",
        "A link with `javascript:` or `data:` does nothing in a mail, and makes it "
        "look like an attack.",
        "Link to a page (https://…).",
    ),
    LintRule(
        "no-postal-address",
        "warning",
        "Marketing mail has to carry a postal address at which you can be reached.",
        "Write street, number and town into `business.address`.",
    ),
    LintRule(
        "free-mail-sender",
        "warning",
        "Gmail, Yahoo and others refuse mail that claims to come from their domains "
        "and does not (DMARC).",
        "Send from a domain of your own.",
    ),
    LintRule(
        "no-reply",
        "note",
        "People answer mails. An address that nobody reads loses what they say.",
        "Send from an address that someone reads.",
    ),
    LintRule(
        "not-sent-by",
        "error",
        "Nothing says how messages by this channel leave.",
        "Name a transport for it under `transports:`, or another channel.",
    ),
    LintRule(
        "exposed",
        "warning",
        "Files that hold people's data are open to other users of this machine. drip "
        "makes them for its own user alone; these "
        "were made otherwise, or opened afterwards.",
        "`drip db protect` closes them.",
    ),
)
RULES = {rule.code: rule for rule in _ALL}


def finding(
    code: str,
    place: Place,
    sentence: str,
    *,
    help: str | None = None,
    source: str | None = None,
) -> Problem:
    """A problem found by a rule, with the rule's level and remedy."""
    rule = RULES[code]
    return Problem(place, sentence, help or rule.remedy, source, rule.level, code)
