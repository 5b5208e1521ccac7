"""Runs that start when a contact comes into a segment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from drip.core.campaign import Campaign, SegmentTrigger
from drip.core.decide import Reason
from drip.engine.triggers.kind import Absentee, Ahead, Look, Start
from drip.storage.campaigns.cursors import Cursor
from drip.storage.people import segments


class StartBySegment:
    """Its cursor counts those who came into any segment."""

    def counts(self, campaign: Campaign) -> str:
        return f"segment {_trigger(campaign).segment}"

    def stands_at(self, connection: Connection, newest: Cursor) -> int:
        return segments.newest_number(connection)

    def starts(self, look: Look) -> Iterable[list[Start]]:
        """Who came in since the look before; at the first look everybody who is in
        it."""
        segment = _trigger(look.campaign).segment
        entrants = segments.entrants(
            look.connection,
            segment,
            look.after,
        )
        yield [
            Start(
                entrant.contact_id,
                0,
                # By the minute, as people read it; who leaves and comes back has
                # another one.
                look.occurrence(f"{entrant.since:%Y-%m-%dT%H:%M}"),
                entrant.since,
            )
            for entrant in entrants
        ]

    def coming(self, ahead: Ahead) -> Iterable[datetime]:
        """Whoever looks ahead looks at each midnight, when segments are made anew."""
        return ()

    def why_nobody(self, absentee: Absentee) -> Reason:
        name = _trigger(absentee.campaign).segment
        inside = name in absentee.facts.sets(absentee.contact.id)
        return absentee.because(
            f"entered {name} before" if inside else f"not in the segment {name}"
        )


def _trigger(campaign: Campaign) -> SegmentTrigger:
    assert isinstance(campaign.trigger, SegmentTrigger)
    return campaign.trigger
