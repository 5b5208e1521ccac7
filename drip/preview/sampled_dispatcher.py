"""Handing over in a rehearsal, where nothing leaves: of messages that are alike, some are rendered and the others follow.

Whether a text can be filled in hangs on which values there are. So it is rendered for the first messages of every step,
for the first message of every kind (the same step, channel, locale, and the same fields known), and for the longest name.
A kind that could not be rendered is rendered, and held, one by one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from drip.core.campaign import step_of
from drip.core.message import Message
from drip.engine.campaign_set import CampaignSet
from drip.engine.composing import name_of
from drip.engine.dispatch_result import DispatchResult
from drip.engine.dispatcher import BATCH, Dispatcher, reap
from drip.engine.outbox_session import Ready
from drip.storage.base.sql import parsed
from drip.storage.campaigns import runs
from drip.storage.sending import outbox, sampled
from drip.storage.sending.outbox import OutboxMessage
from drip.storage.sending.sampled import Granted

PAGE = 5_000
# So many messages of each step are rendered, whatever they are like.
EACH_STEP = 100
Kind = tuple[Any, ...]


@dataclass
class SampledDispatcher(Dispatcher):
    """The dispatcher for transports that send nowhere. `each_step` messages of each step are rendered in any case."""

    each_step: int = EACH_STEP
    _chosen: dict[int, Kind] = field(default_factory=dict, repr=False)
    _tried: set[Kind] = field(default_factory=set, repr=False)
    _good: set[Kind] = field(default_factory=set, repr=False)
    _looked_at: Counter[tuple[str, str]] = field(default_factory=Counter, repr=False)
    _longest: dict[str, int] = field(default_factory=dict, repr=False)

    def dispatch(self, campaign_set: CampaignSet) -> DispatchResult:
        """Hands over everything that is granted and due."""
        tally = DispatchResult()
        while tally.trouble is None:
            with self.database.write() as connection:
                passed = self._pass(connection, campaign_set)
            tally.sent += passed
            if self._chosen:
                tally.add(super().dispatch(campaign_set))
            elif not passed:
                break
        return tally

    def _waiting(
        self, connection: Connection, channel: str, now: datetime, in_hand: set[int]
    ) -> list[OutboxMessage]:
        """Those that were chosen to be rendered."""
        chosen = outbox.still_pending(connection, self._chosen)
        return [
            each
            for each in chosen
            if each.channel == channel and each.id not in in_hand
        ]

    def _saw(self, each: Ready, message: Message) -> None:
        self._good.add(self._chosen[each.outgoing.id])
        super()._saw(each, message)

    def _pass(self, connection: Connection, campaign_set: CampaignSet) -> int:
        """Marks messages that are like others as sent, and chooses those to be rendered; how many it marked."""
        now = self.clock()
        reap(connection, campaign_set, self.fence, now)
        self._chosen = {}
        fresh: set[Kind] = set()
        alike: list[Granted] = []
        for each in sampled.granted(connection, now, PAGE):
            attributes = parsed(each.attributes)
            kind, length = (
                _kind(each, attributes, _content(connection, campaign_set, each)),
                len(name_of(attributes)),
            )
            if not self._to_be_looked_at(each, kind, length):
                alike.append(each)
            elif len(self._chosen) < BATCH and kind not in fresh:
                # The others of a kind that is new wait for what comes of the first.
                fresh |= {kind} - self._tried
                self._chosen[each.id] = kind
                self._looked_at[each.campaign, each.step] += 1
                self._longest[each.campaign] = max(
                    length, self._longest.get(each.campaign, 0)
                )
        self._tried |= fresh
        self._let_go(connection, campaign_set, alike, now)
        return len(alike)

    def _to_be_looked_at(self, each: Granted, kind: Kind, length: int) -> bool:
        first = self._looked_at[each.campaign, each.step] < self.each_step
        longest = length > self._longest.get(each.campaign, 0)
        return kind not in self._good or first or longest or not each.sure

    def _let_go(
        self,
        connection: Connection,
        campaign_set: CampaignSet,
        alike: list[Granted],
        now: datetime,
    ) -> None:
        """These are sent, and their runs go on; those that are through are ended here and now."""
        sampled.sent(connection, [each.id for each in alike], self.fence, now)
        through: dict[int, list[int]] = defaultdict(list)
        on: list[int] = []
        for each in alike:
            campaign = campaign_set.version(connection, each.campaign, each.version)
            step = step_of(campaign, each.step)
            assert campaign and step, "a kind is good only once one of it was rendered"
            steps = campaign.steps
            at_step = (
                each.active
                and each.position < len(steps)
                and steps[each.position] is step
            )
            if at_step and step.next == len(steps):
                through[step.next].append(each.run_id)
            elif each.active:
                on.append(each.run_id)
        for position, ids in through.items():
            sampled.through(connection, ids, position, now)
        runs.wake(connection, on)


def _content(
    connection: Connection, campaign_set: CampaignSet, each: Granted
) -> str | None:
    """The occurrence whose content the text has; None if it has none of its own."""
    step = step_of(
        campaign_set.version(connection, each.campaign, each.version), each.step
    )
    return each.occurrence if step and step.content is not None else None


def _kind(each: Granted, attributes: dict[str, Any], content: str | None) -> Kind:
    """Messages of one kind have the same text but for the values in it."""
    channel, locale, *known, record, event, fields, heard, codes = each.told
    return (
        each.campaign,
        each.version,
        each.step,
        content,
        channel,
        locale,
        *known,
        _names(attributes),
        _names(record),
        event,
        _names(fields),
        _names(heard),
        codes > 0,
    )


def _names(fields: str | dict[str, Any] | None) -> tuple[str, ...] | None:
    return tuple(sorted(parsed(fields))) if fields is not None else None
