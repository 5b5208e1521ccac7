"""One tick: planning and handing over, until nothing is due any more. The daemon's and
the simulator's."""

from __future__ import annotations

from drip.engine.campaign_set import CampaignSet
from drip.engine.dispatch_result import DispatchResult
from drip.engine.dispatcher import Dispatcher
from drip.engine.entry import Enroller
from drip.engine.planner import has_news, is_due, plan

# A message can be given back and judged again at one instant, and a run can send
# several in a row. More than this is a loop, and the next tick goes on with it.
MOST_ROUNDS = 100


def tick(
    campaign_set: CampaignSet,
    enroller: Enroller,
    dispatcher: Dispatcher,
) -> DispatchResult:
    """Does all that is due by the dispatcher's clock.

    Ends early if nothing can leave, or when told to stop.
    """
    total = DispatchResult()
    for _ in range(MOST_ROUNDS):
        plan(
            dispatcher.database,
            campaign_set,
            dispatcher.templates,
            enroller,
            dispatcher.clock(),
        )
        result = dispatcher.dispatch(campaign_set)
        total.add(result)
        # By one channel nothing may leave while another one has much to do.
        if dispatcher.stop() or (total.trouble and not result.more):
            break
        if not result.more and not _is_more_due(
            campaign_set,
            dispatcher,
            result,
        ):
            break
    return total


def _is_more_due(
    campaign_set: CampaignSet,
    dispatcher: Dispatcher,
    result: DispatchResult,
) -> bool:
    """Whether anything is due at this very moment that was not a moment ago."""
    # What a step did (a tag, points, a date) can bring somebody in.
    if campaign_set.acts() and has_news(dispatcher.database, campaign_set):
        return True
    return result.moved and is_due(dispatcher.database, dispatcher.clock())
