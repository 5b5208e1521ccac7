"""`drip run`: `daemon` beats by the `files` in force; `senders` are the processes that
hand over, if there are several."""

from drip.daemon.daemon import ClockOrRestoreSuspected, Daemon, Trust

__all__ = ["ClockOrRestoreSuspected", "Daemon", "Trust"]
