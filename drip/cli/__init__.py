"""The command line: parses, calls, prints. Decides nothing."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import click

from drip import __version__
from drip.cli.lazy import lazy_commands

if TYPE_CHECKING:
    from drip.errors import DripError

# EX_TEMPFAIL of sysexits.h: a mail server that gave a mail to `drip inbound -` keeps
# it, and gives it again.
AGAIN = 75


@click.group(
    commands=lazy_commands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-w",
    "--workspace",
    metavar="DIR",
    envvar="DRIP_WORKSPACE",
    help="The workspace; else this folder.",
)
@click.version_option(__version__, prog_name="drip")
@click.pass_context
def drip(context: click.Context, workspace: str | None) -> None:
    """Drip campaigns from YAML and Markdown: judged, previewed, sent.

    A workspace is a folder with campaigns/ and templates/. Nothing is ever sent by any
    command but `run` and `send`."""
    import logging

    from drip.cli.context import App

    # A rehearsal logs what would happen, and that is no news: `run` and `serve` alone
    # have a log. Without any handler `logging` would print it on standard error.
    logging.getLogger("drip").addHandler(logging.NullHandler())
    context.obj = App(workspace or ".", dict(os.environ))


def main() -> None:
    """The entry point: every error is a sentence and an exit code, never a
    traceback."""
    _set_up()
    try:
        code = drip(standalone_mode=False)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except BrokenPipeError:
        # The reader of our output (`| head`) has seen enough. Python flushes once more
        # as it ends, and would print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (Exception, KeyboardInterrupt) as error:
        code = _exit_code(error)
    sys.exit(code if isinstance(code, int) else 0)


def _set_up() -> None:
    """The process, before anything large is imported: collecting garbage meanwhile
    would take a tenth of the time."""
    from drip.process import own_zones, unhurried

    unhurried()
    own_zones()
    # systemd and Docker end a process by SIGTERM, which Python does not clean up after.
    # An end from outside is cleaned up after as Ctrl-C is; `run` has a gentler way of
    # its own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _system_error(error: OSError) -> DripError:
    from drip.errors import DripError

    where = f"{error.filename}: " if error.filename else ""
    sentence = f"{where}{error.strerror or error}."
    return DripError(sentence, help="look at the file or folder named here")


def _exit_code(error: Exception | KeyboardInterrupt) -> int:
    """Says what ended a command. Raises it again under DRIP_DEBUG, if it is a mistake
    of ours."""
    from drip.cli.screen import complain, misused
    from drip.core.shortage import shortage
    from drip.errors import DripError

    if isinstance(error, KeyboardInterrupt | click.Abort):
        help = "what was finished before stays; run the command again to go on"
        return complain(DripError("Stopped.", help=help))
    if isinstance(error, click.ClickException):
        return misused(error)
    if isinstance(error, DripError):
        return complain(error)
    if lack := shortage(error):
        complain(DripError(lack.sentence, help=lack.help))
        return AGAIN
    if isinstance(error, OSError):
        return complain(_system_error(error))
    # A traceback holds values of people's data: only whoever asks for it gets it.
    if os.environ.get("DRIP_DEBUG"):
        raise error
    sentence = f"Something went wrong inside drip: {type(error).__name__}: {error}"
    help = "run it again with DRIP_DEBUG=1 and report what that prints"
    return complain(DripError(sentence, help=help))
