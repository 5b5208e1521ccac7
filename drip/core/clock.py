"""Whether a clock can be believed.

A jump of more than a day would look like a day of arrears.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

# What the time is (UTC); how many seconds have passed since some moment, whatever is
# done to the clock. Both are passed in: only entries read them.
Clock = Callable[[], datetime]
Stopwatch = Callable[[], float]
MOST = timedelta(days=1)
Jump = Literal["forward", "back"]


def jump(before: datetime, now: datetime, passed: timedelta) -> Jump | None:
    """How far a clock has jumped.

    It showed `before` and shows `now`, after so much time has really passed.
    """
    wrong = now - before - passed
    if wrong > MOST:
        return "forward"
    return "back" if wrong < -MOST else None
