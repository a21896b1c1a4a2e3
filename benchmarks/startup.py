"""Time until the command line prints or trains anything, against the imports that it cannot do without.

    python benchmarks/startup.py                          # the table, of 7 rounds; some 6 minutes on two cores
    python benchmarks/startup.py --csv results/startup.csv  # the numbers in long form too
    python benchmarks/startup.py --check                  # exits with 1 where a bar is missed

    help            `main.py fit --help`
    mistake         `main.py fit` with a config that is no YAML
    all options     `main.py fit --help.all`, which builds the parser
    first step      `main.py fit` of the embedded corpus and model, whose rows and tokens are cached, until its first
                    step is done
    lightning       the import of Lightning's command line
    stack           the imports of Lightning, transformers' models and datasets

Each round runs all commands one after the other, in turns from the first and from the last, after one round that is not
counted: so a machine that is busy or gets slower meets all alike. Wall time, of a fresh process each; a ratio is the
median of those within a round.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _table import Row, finish, parser

REPOSITORY = Path(__file__).resolve().parent.parent
STACK = "import lightning.pytorch.cli, datasets; from transformers import AutoModelForSequenceClassification"
COMMANDS = {
    "help": ["main.py", "fit", "--help"],
    "mistake": ["main.py", "fit", "--config", "README.md"],
    "all options": ["main.py", "fit", "--help.all"],
    "first step": [__file__, "--child"],
    "lightning": ["-c", "import lightning.pytorch.cli"],
    "stack": ["-c", STACK],
}
MOST_S = {"help": 2.0, "mistake": 2.0}
MOST_RATIOS = {("all options", "lightning"): 1.5, ("first step", "stack"): 1.3}


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True)
    taken = time.perf_counter() - started
    if done.returncode != (2 if "README.md" in command else 0):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    return taken


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each run of each command."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(rounds + 1):
        for name in list(COMMANDS)[:: 1 if turn % 2 else -1]:
            spent = seconds(COMMANDS[name])
            if turn:
                taken[name].append(spent)
    return taken


def until_first_step() -> None:
    """Fit, and end this process with its first step."""
    sys.path.insert(0, str(REPOSITORY))
    from selectune.cli import main

    def ended(*_: object) -> None:
        os._exit(0)  # at once: what an exit has to clean up is not measured

    with tempfile.TemporaryDirectory() as folder:
        from selectune.lightning_modules import FineTuner

        FineTuner.on_train_batch_end = ended  # type: ignore[method-assign]
        data = ["--data", "TextClassification", "--data.dataset", "docstrings", "--data.max_length", "96"]
        main(["fit", *data, "--model.checkpoint", "docstrings-bert", "--output", f"{folder}/run"])


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=7, help="that are counted")
    made.add_argument("--child", action="store_true", help="used by the script itself")
    options = made.parse_args()
    if options.child:
        until_first_step()
        return
    taken = measure(options.rounds)
    rows, missed = [], []
    for name, spent in taken.items():
        median = statistics.median(spent)
        rows += [Row("startup", name, "median_s", median), Row("startup", name, "min_s", min(spent))]
        if median > MOST_S.get(name, median):
            missed.append(f"{name} takes {median:.1f} s, and may take {MOST_S[name]:.0f}")
    for (name, base), bar in MOST_RATIOS.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(taken[name], taken[base], strict=True))
        rows.append(Row("startup", f"{name} over {base}", "ratio", ratio))
        if ratio > bar:
            missed.append(f"{name} takes {ratio:.2f} times as long as {base}, and may take {bar}")
    finish(rows, missed, options)


if __name__ == "__main__":
    main()
