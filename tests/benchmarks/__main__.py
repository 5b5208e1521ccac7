"""`python -m tests.benchmarks [NAME…]`: prints the figures of README.md; without names all of them.

`import`, `preview`, `check`, `conditions`: the real data and many files. `ticks`, `blast`, `preview-million`,
`import-million`: speed over size.
"""

from __future__ import annotations

import platform
import sys
import sysconfig
from collections.abc import Callable

from drip.process import unhurried
from tests.benchmarks import retail, scale

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
}


def main() -> None:
    wanted = sys.argv[1:] or list(BENCHMARKS)
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    how = "with PGO" if optimised else "without PGO"
    sys.stdout.write(f"CPython {platform.python_version()}, built {how}\n")
    unhurried()
    for name in wanted:
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
