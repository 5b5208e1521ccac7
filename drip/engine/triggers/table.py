"""Which kind of trigger is for which trigger of a campaign."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drip.core.campaign import (
    Campaign,
    CounterTrigger,
    DateTrigger,
    EventTrigger,
    ScheduleTrigger,
    SegmentTrigger,
)
from drip.engine.triggers.counter import StartByCounter
from drip.engine.triggers.date import StartByDate
from drip.engine.triggers.event import StartByEvent
from drip.engine.triggers.kind import TriggerKind
from drip.engine.triggers.schedule import StartBySchedule
from drip.engine.triggers.segment import StartBySegment

# A campaign whose trigger has no line here ends the first tick with a KeyError.
TRIGGERS: Mapping[type, Callable[[], TriggerKind]] = {
    CounterTrigger: StartByCounter,
    DateTrigger: StartByDate,
    EventTrigger: StartByEvent,
    ScheduleTrigger: StartBySchedule,
    SegmentTrigger: StartBySegment,
}


class TriggerKinds:
    """One of each kind, made when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[type, TriggerKind] = {}

    def of(self, campaign: Campaign) -> TriggerKind:
        """That of a campaign."""
        trigger = type(campaign.trigger)
        if trigger not in self._made:
            self._made[trigger] = TRIGGERS[trigger]()
        return self._made[trigger]
