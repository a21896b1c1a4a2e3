"""The command line: ``selectune VERB ...``."""

from __future__ import annotations

import sys

from selectune.tables.server import start_early


def main(args: list[str] | None = None) -> None:
    """Entry point of ``selectune`` and ``main.py``; exits as `selectune.verbs.run` says."""
    if args is not None:
        sys.argv = [sys.argv[0], *args]
    start_early(sys.argv[1:])  # imports for seconds, as the next line does
    from selectune.verbs import run

    run()
