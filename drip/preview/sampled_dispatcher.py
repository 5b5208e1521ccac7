"""Handing over in a rehearsal, where nothing leaves: some messages are rendered, and
those that are alike follow.

Whether a text can be filled in hangs on which values there are. So it is rendered for
the first messages of every step, for the first message of every kind (the same step,
channel, locale, and the same fields known), and for the longest name. A kind that could
not be rendered is rendered, and held, one by one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from drip.core.campaign import Campaign, step_of
from drip.core.message import Message
from drip.core.steps import SendStep
from drip.engine.campaign_set import CampaignSet
from drip.engine.composing import name_of
from drip.engine.dispatch_result import DispatchResult
from drip.engine.dispatcher import BATCH, Dispatcher
from drip.engine.last_check import Ready
from drip.engine.left_behind import reap
from drip.storage.base.converters import parsed
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
    """The dispatcher for transports that send nowhere.

    `each_step` messages of each step are rendered in any case.
    """

    each_step: int = EACH_STEP
    _chosen: dict[int, Kind] = field(default_factory=dict, repr=False)
    _tried: set[Kind] = field(default_factory=set, repr=False)
    _good: set[Kind] = field(default_factory=set, repr=False)
    _looked_at: Counter[tuple[str, str]] = field(
        default_factory=Counter,
        repr=False,
    )
    # The longest name so far, by campaign.
    _longest: dict[str, int] = field(default_factory=dict, repr=False)

    def dispatch(self, campaign_set: CampaignSet) -> DispatchResult:
        """Hands over everything that is granted and due."""
        result = DispatchResult()
        while result.trouble is None:
            with self.database.write() as connection:
                passed = self._pass(connection, campaign_set)
            result.sent += passed
            if self._chosen:
                result.add(super().dispatch(campaign_set))
            elif not passed:
                break
        return result

    def _waiting(
        self,
        connection: Connection,
        channel: str,
        now: datetime,
        in_hand: set[int],
    ) -> list[OutboxMessage]:
        """Those that were chosen to be rendered."""
        return [
            message
            for message in outbox.still_pending(connection, self._chosen)
            if message.channel == channel and message.id not in in_hand
        ]

    def _saw(self, ready: Ready, message: Message) -> None:
        self._good.add(self._chosen[ready.id])
        super()._saw(ready, message)

    def _pass(self, connection: Connection, campaign_set: CampaignSet) -> int:
        """Marks messages that are like others as sent; how many.

        And chooses those to be rendered.
        """
        now = self.clock()
        reap(
            connection,
            campaign_set,
            self.fence,
            now,
        )
        self._chosen = {}
        fresh: set[Kind] = set()
        alike: list[Granted] = []
        for granted in sampled.granted(
            connection,
            now,
            PAGE,
        ):
            attributes = parsed(granted.attributes)
            _, step = _step_of(
                connection,
                campaign_set,
                granted,
            )
            kind, length = (
                _kind(
                    granted,
                    attributes,
                    step,
                ),
                len(name_of(attributes)),
            )
            if not self._to_be_looked_at(
                granted,
                kind,
                length,
            ):
                alike.append(granted)
            elif len(self._chosen) < BATCH and kind not in fresh:
                # The others of a kind that is new wait for what comes of the first.
                fresh |= {kind} - self._tried
                self._choose(granted, kind, length)
        self._tried |= fresh
        self._let_go(
            connection,
            campaign_set,
            alike,
            now,
        )
        return len(alike)

    def _to_be_looked_at(self, granted: Granted, kind: Kind, length: int) -> bool:
        # What happened to somebody since the grant needs the last check.
        if kind not in self._good or not granted.sure:
            return True
        looked_at = self._looked_at[granted.campaign, granted.step]
        # A longer name is where a text first has no room.
        longest = self._longest.get(granted.campaign, 0)
        return looked_at < self.each_step or length > longest

    def _choose(self, granted: Granted, kind: Kind, length: int) -> None:
        campaign = granted.campaign
        self._chosen[granted.id] = kind
        self._looked_at[campaign, granted.step] += 1
        self._longest[campaign] = max(
            length,
            self._longest.get(campaign, 0),
        )

    def _let_go(
        self,
        connection: Connection,
        campaign_set: CampaignSet,
        alike: Sequence[Granted],
        now: datetime,
    ) -> None:
        """These are sent, and their runs go on.

        Those that are through are ended here and now.
        """
        ids = [granted.id for granted in alike]
        sampled.sent(
            connection,
            ids,
            self.fence,
            now,
        )
        through: dict[int, list[int]] = defaultdict(list)
        going_on: list[int] = []
        for granted in alike:
            campaign, step = _step_of(
                connection,
                campaign_set,
                granted,
            )
            assert campaign and step, "a kind is good only once one of it was rendered"
            if _is_last(granted, campaign, step):
                through[step.next].append(granted.run_id)
            elif granted.active:
                going_on.append(granted.run_id)
        for position, run_ids in through.items():
            sampled.through(
                connection,
                run_ids,
                position,
                now,
            )
        runs.wake(connection, going_on)


def _step_of(
    connection: Connection,
    campaign_set: CampaignSet,
    granted: Granted,
) -> tuple[Campaign | None, SendStep | None]:
    campaign = campaign_set.version(
        connection,
        granted.campaign,
        granted.version,
    )
    return campaign, step_of(campaign, granted.step)


def _is_last(granted: Granted, campaign: Campaign, step: SendStep) -> bool:
    """Whether its run is at this step, after which nothing comes."""
    steps = campaign.steps
    if not granted.active or granted.position >= len(steps):
        return False
    return steps[granted.position] is step and step.next == len(steps)


def _kind(granted: Granted, attributes: dict[str, Any], step: SendStep | None) -> Kind:
    """Messages of one kind have the same text but for the values in it."""
    # A text of its own for each occurrence.
    has_content = step is not None and step.content is not None
    return (
        granted.campaign,
        granted.version,
        granted.step,
        granted.occurrence if has_content else None,
        granted.channel,
        granted.locale,
        granted.no_email,
        granted.no_phone,
        granted.no_country,
        granted.days,
        granted.record_kind,
        _names(attributes),
        _names(granted.record_attributes),
        granted.event,
        _names(granted.event_fields),
        _names(granted.heard),
        granted.coupons > 0,
    )


def _names(fields: str | dict[str, Any] | None) -> tuple[str, ...] | None:
    return tuple(sorted(parsed(fields))) if fields is not None else None
