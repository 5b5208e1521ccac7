"""The operator's dashboard: an application of its own, on a port of its own, which
nobody but this machine reaches by default."""

from drip.web.dashboard.app import make_dashboard

__all__ = ["make_dashboard"]
