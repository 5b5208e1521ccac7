"""Moving the people in a campaign to its newest version."""

from __future__ import annotations

from sqlalchemy import Connection

from drip.commands.orders import Order, note
from drip.core.campaign import Campaign
from drip.engine.campaign_set import CampaignSet
from drip.engine.migrating import Plan, plan_moves


def migrate_runs(
    connection: Connection,
    order: Order,
    campaign_set: CampaignSet,
    campaign: Campaign,
) -> Plan:
    """Moves those who can be moved, by the ids of their steps; what was moved, and who
    is stuck."""
    plan = plan_moves(connection, campaign_set, campaign)
    plan.carry_out(connection)
    note(connection, order, "migrate-runs", campaign.key)
    return plan
