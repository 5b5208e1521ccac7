"""The command line: parses, calls, prints. Decides nothing."""

from __future__ import annotations

import logging
import os
import signal
import sys

import click

from drip import __version__
from drip.cli.check import check
from drip.cli.context import App
from drip.cli.demo import demo, init
from drip.cli.diff import diff
from drip.cli.inbound import inbound
from drip.cli.keys import keys
from drip.cli.ledger import explain, log
from drip.cli.loyalty import counters, coupons, tasks
from drip.cli.migrate import migrate_runs
from drip.cli.operate import db, hold, release, status, stop, suppress
from drip.cli.operators import operators
from drip.cli.people import consent, export, forget, import_
from drip.cli.preview import preview
from drip.cli.report import report
from drip.cli.run import metrics, run, send
from drip.cli.schema import schema
from drip.cli.screen import complain, misused
from drip.cli.serve import serve
from drip.cli.test import test
from drip.core.shortage import shortage
from drip.errors import DripError
from drip.process import own_zones, unhurried

# EX_TEMPFAIL of sysexits.h: a mail server that gave a mail to `drip inbound -` keeps it, and gives it again.
AGAIN = 75


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
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

    A workspace is a folder with campaigns/ and templates/. Nothing is ever sent by any command but
    `run` and `send`.
    """
    context.obj = App(workspace or ".", dict(os.environ))


for command in (
    init,
    demo,
    check,
    import_,
    inbound,
    schema,
    test,
    preview,
    diff,
    explain,
    report,
    run,
    serve,
    status,
    metrics,
    hold,
    stop,
    release,
    suppress,
    consent,
    export,
    forget,
    migrate_runs,
    tasks,
    coupons,
    keys,
    operators,
    counters,
    send,
    log,
    db,
):
    drip.add_command(command)


def main() -> None:
    """The entry point: every error is a sentence and an exit code, never a traceback."""
    # What commands have to say they print; only the daemon has a log.
    logging.getLogger("drip").addHandler(logging.NullHandler())
    unhurried()
    own_zones()
    # An end from outside is cleaned up after as Ctrl-C is; `run` has a gentler way of its own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = drip(standalone_mode=False)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except click.Abort:
        code = complain(
            DripError(
                "Stopped.",
                help="what was finished before stays; run the command again to go on",
            )
        )
    except click.ClickException as error:
        code = misused(error)
    except DripError as error:
        code = complain(error)
    except KeyboardInterrupt:
        code = complain(
            DripError(
                "Stopped.",
                help="what was finished before stays; run the command again to go on",
            )
        )
    except BrokenPipeError:
        # The reader of our output (`| head`) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        code = _told(error)
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: Exception) -> int:
    """What ended a command. Returns the exit code."""
    if lack := shortage(error):
        complain(DripError(lack.sentence, help=lack.help))
        return AGAIN
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return complain(
            DripError(
                f"{where}{error.strerror or error}.",
                help="look at the file or folder named here",
            )
        )
    if os.environ.get("DRIP_DEBUG"):
        raise error
    sentence = f"Something went wrong inside drip: {type(error).__name__}: {error}"
    return complain(
        DripError(
            sentence, help="run it again with DRIP_DEBUG=1 and report what that prints"
        )
    )
