"""The words for where a run stands: why the planner looks at it next."""

from __future__ import annotations

from enum import StrEnum


class Wake(StrEnum):
    """Why an active run is looked at next. One that has ended has none.

    A run that is `new`, `due` or `held` is looked at when its `due_at` has come; no other has one.
    """

    # It has just been started, by a question who is in the audience.
    NEW = "new"
    # Something about its contact or record is new, so that everything is worked out again.
    LOOKS_AGAIN = "looks-again"
    # Its message has its end: it goes on at once, even if the clock was set back meanwhile.
    GOES_ON = "goes-on"
    # It waits for an instant: of a message, a `wait`, or the end of a `wait_for`.
    DUE = "due"
    # Its message was granted or deferred, and the outbox says when it is looked at.
    WAITS_FOR_MESSAGE = "waits-for-message"
    # It stands at a `wait_for` that never runs out: only what is new wakes it.
    WAITS_FOR_EVENT = "waits-for-event"
    # Today's settings do not fit its version: it is tried again later.
    HELD = "held"


# These are looked at as soon as the planner comes by, and the timed ones when they are due.
AT_ONCE = (Wake.LOOKS_AGAIN, Wake.GOES_ON)
TIMED = (Wake.NEW, Wake.DUE, Wake.HELD)
UNTIMED = (Wake.WAITS_FOR_MESSAGE, Wake.WAITS_FOR_EVENT, *AT_ONCE)
