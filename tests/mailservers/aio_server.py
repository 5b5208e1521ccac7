"""aiosmtpd (pip), which the tests have anyway."""

from __future__ import annotations

import sys
from importlib.metadata import version

from tests.mailservers.loopback import PROGRAMS, OnLoopback

SERVERS = [
    OnLoopback(
        "aiosmtpd",
        version("aiosmtpd"),
        lambda place: [sys.executable, PROGRAMS / "aio.py", *place.arguments()],
    )
]
