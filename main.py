"""Run selectune from a checkout: ``python main.py fit --config configs/quickstart.yaml --output runs/first``."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def refuse_other_pythons() -> None:
    """Exit with one sentence where this is not the Python that selectune was installed for."""
    if sys.version_info < (3, 11):  # noqa: UP036  (an older one comes as far as here)
        problem = f"Python {sys.version.split()[0]} is too old, and selectune needs 3.11 or later: "
    elif missing := [name for name in ("torch", "lightning", "transformers") if find_spec(name) is None]:
        problem = f"This Python ({sys.executable}) has no {missing[0]}, which selectune needs: "
    else:
        return
    print(f"error: {problem}say `make install`, `source .venv/bin/activate`, and the same again.", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    refuse_other_pythons()
    from selectune.cli import main

    main()
