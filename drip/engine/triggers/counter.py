"""Runs that start when a counter comes up to a number."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from drip.core.campaign import Campaign, CounterTrigger
from drip.core.decide import Reason
from drip.engine.triggers.kind import Absentee, Ahead, Look, Start
from drip.storage.campaigns.cursors import Cursor
from drip.storage.people import counters


class StartByCounter:
    """Its cursor counts the movements of all counters."""

    def counts(self, campaign: Campaign) -> str:
        return f"counter {_trigger(campaign).counter}"

    def stands_at(self, connection: Connection, newest: Cursor) -> int:
        return counters.newest_entry(connection)

    def starts(self, look: Look) -> Iterable[list[Start]]:
        """Whose counter came up to one of the numbers since the look before.

        If it came up to several, the newest one counts.
        """
        trigger = _trigger(look.campaign)
        starts: dict[int, Start] = {}
        # Between two looks a counter can pass several numbers, and one message is
        # enough.
        for entry in counters.entries_after(
            look.connection, trigger.counter, look.after, look.since
        ):
            for number in trigger.reaches:
                if entry.before < number <= entry.after:
                    starts[entry.contact_id] = Start(
                        entry.contact_id,
                        0,
                        # A card that was redeemed can be filled once more: the movement
                        # tells the times apart.
                        look.occurrence(f"{number}/{entry.id}"),
                        entry.at,
                        event_id=entry.event_id,
                    )
        yield list(starts.values())

    def coming(self, ahead: Ahead) -> Iterable[datetime]:
        """Counters move by events, of which nobody knows, and by steps."""
        return ()

    def why_nobody(self, absentee: Absentee) -> Reason:
        trigger = _trigger(absentee.campaign)
        balances = absentee.facts.balances(absentee.contact.id)
        balance = balances.get(trigger.counter, 0)
        numbers = ", ".join(map(str, trigger.reaches))
        return absentee.because(
            f"{trigger.counter} stands at {balance}, and runs start at {numbers}"
        )


def _trigger(campaign: Campaign) -> CounterTrigger:
    assert isinstance(campaign.trigger, CounterTrigger)
    return campaign.trigger
