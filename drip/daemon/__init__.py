"""`drip run`: `daemon` beats; `senders` are the processes that hand over, where there is more than one."""

from drip.daemon.daemon import Daemon, Doubt, Trust

__all__ = ["Daemon", "Doubt", "Trust"]
