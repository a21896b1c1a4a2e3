"""``selectune quickstart``: a plan for half of the cost, the training that it recommends, and the verdict.

On data and a model that are made on this machine: ``selectune configs --print quickstart``.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from selectune.common.errors import RunDirectoryError
from selectune.common.files import check_folder
from selectune.common.parser_errors import FirstParser

DESCRIPTION = (
    "Plan what half of the cost is best spent on, train by that plan and beside its rivals, and judge it; on data and "
    "a model that are made on this machine, in some minutes on two cores."
)
BUDGET = "0.5"


def commands(args: list[str]) -> list[list[str]]:
    """The commands that the quickstart consists of, each a verb and its arguments; a folder of its own is told.

    Raises:
        UserError: an option that there is not, or an ``--output`` that cannot be written.
    """
    parser = FirstParser("quickstart", description=DESCRIPTION)
    parser.add_argument("--output", default=None, help="Folder for both runs; default runs/quickstart-<time>.")
    given = parser.parse_args(args)
    folder = Path(given.output or f"runs/quickstart-{datetime.now():%Y%m%d-%H%M%S}")
    check_folder(str(folder), "--output", RunDirectoryError)
    if given.output is None:
        print(f"Into {folder}; should it be stopped, `selectune quickstart --output {folder}` goes on there.")
    task = ["--config", "quickstart"]
    planned = str(folder / "plan")
    return [
        ["plan", *task, "--budget", BUDGET, "--output", planned],
        ["compare", *task, "--plan", planned, "--seeds", "1", "--jobs", "2", "--output", str(folder / "fit")],
    ]
