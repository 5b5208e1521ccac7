"""Pages for recipients, and what other programs post: an ASGI application over one
workspace's database."""

from drip.web.app import make_app

__all__ = ["make_app"]
