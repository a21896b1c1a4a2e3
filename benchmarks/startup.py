"""Time until the command line prints anything, against the import that it cannot do without.

    python benchmarks/startup.py                          # the table, of 7 pairs
    python benchmarks/startup.py --csv results/startup.csv  # the numbers in long form too
    python benchmarks/startup.py --check                  # exits with 1 when the ratio of the medians is over 1.5

Each pair runs both commands one after the other, in turns first and second, after one pair that is not counted: so a
machine that is busy or gets slower meets both alike. Wall time, of a fresh process each.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from _table import Row, finish, parser

REPOSITORY = Path(__file__).resolve().parent.parent
COMMANDS = {
    "python main.py fit --help.all": [sys.executable, "main.py", "fit", "--help.all"],
    'python -c "import lightning.pytorch.cli"': [sys.executable, "-c", "import lightning.pytorch.cli"],
}
BAR = 1.5


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(pairs: int) -> dict[str, list[float]]:
    """Seconds of each run of each command."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for pair in range(pairs + 1):
        for name in list(COMMANDS)[:: 1 if pair % 2 else -1]:
            spent = seconds(COMMANDS[name])
            if pair:
                taken[name].append(spent)
    return taken


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--pairs", type=int, default=7, help="counted pairs of runs")
    options = made.parse_args()
    taken = measure(options.pairs)
    rows = []
    for name, spent in taken.items():
        rows += [Row("startup", name, "median_s", statistics.median(spent)), Row("startup", name, "min_s", min(spent))]
    ours, theirs = (statistics.median(spent) for spent in taken.values())
    ratio = ours / theirs
    rows.append(Row("startup", "ratio of medians", "median_s", ratio))
    missed = [f"the ratio is {ratio:.2f}, and may be {BAR} at most"] if ratio > BAR else []
    finish(rows, missed, options)


if __name__ == "__main__":
    main()
