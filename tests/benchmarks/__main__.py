"""`python -m tests.benchmarks [NAME…]`: prints the figures of README.md; without names all of them.

`import`, `preview`, `check`, `conditions`: the real data and many files. `ticks`, `blast`, `preview-million`,
`import-million`: speed over size. `send`: from the outbox over SMTP. `pages`: unsubscribing and events; `live`: the live preview.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import sysconfig
from collections.abc import Callable

from drip.process import own_zones, unhurried
from tests.benchmarks import live, pages, retail, scale, send

BENCHMARKS: dict[str, Callable[[], None]] = {
    "import": retail.imports,
    "preview": retail.previews,
    "check": retail.checks,
    "conditions": retail.conditions,
    "ticks": scale.ticks,
    "blast": scale.blast,
    "ledger": scale.ledger,
    "preview-million": scale.preview,
    "import-million": scale.imports,
    "send": send.sending,
    "pages": pages.pages,
    "live": live.live,
}


def main() -> None:
    wanted = sys.argv[1:] or list(BENCHMARKS)
    if len(wanted) > 1:
        # Each in a process of its own, so that its memory is its own.
        for name in wanted:
            subprocess.run([sys.executable, "-m", "tests.benchmarks", name], check=True)
        return
    optimised = "--enable-optimizations" in (
        sysconfig.get_config_var("CONFIG_ARGS") or ""
    )
    how = "with PGO" if optimised else "without PGO"
    sys.stdout.write(f"CPython {platform.python_version()}, built {how}\n")
    unhurried()
    own_zones()
    BENCHMARKS[wanted[0]]()


if __name__ == "__main__":
    main()
