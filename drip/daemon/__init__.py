"""`drip run`: `daemon` ticks by the `files` in force; `senders` are the processes that
hand over, if there are several."""

from drip.daemon.daemon import Daemon
from drip.daemon.trust import ClockOrRestoreSuspected, Trust

__all__ = ["ClockOrRestoreSuspected", "Daemon", "Trust"]
