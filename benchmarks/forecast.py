"""The forecast against the run that follows it, and what the ledger itself takes.

    python benchmarks/forecast.py                          # all cases; some 20 minutes on two cores
    python benchmarks/forecast.py --cases docstrings       # one of them
    python benchmarks/forecast.py --csv out.csv --check    # exits with 1 when a bar is missed

Each case runs `estimate` and then `fit`, in processes of their own with a fresh cache each. `quickstart` is
configs/quickstart.yaml, without a plan; `docstrings` is configs/euds/docstrings.yaml; `sst2` is configs/euds/sst2.yaml
on 4,000 rows with the 22M model minilm-l6-mlm, which are found in the folders that SELECTUNE_DATA and SELECTUNE_MODELS
name.

`forecast` and `measured` are the sums over all stages: FLOPs may differ by 5 %, wall time by 25 %. `ledger` are the
seconds of the fit inside the hooks of its ledger, FLOP counting included (`hook_s`), of those of training (`train_s`):
at most 1 %. `difference` (`train_s`) is training with the ledger less training without it, in one more fit (not of
`quickstart`); it is reported, and no bar, as it drowns in the noise of a busy machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from _table import Row, finish, parser

REPOSITORY = Path(__file__).resolve().parent.parent
COMMON = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
CASES = {
    "quickstart": ["--config", "configs/quickstart.yaml"],
    "docstrings": ["--config", "configs/euds/docstrings.yaml"],
    "sst2": [
        "--config", "configs/euds/sst2.yaml", "--data.max_train_rows", "4000", "--model.checkpoint", "minilm-l6-mlm",
    ],
}  # fmt: skip
BARS = {"flops": 0.05, "wall_s": 0.25}
HOOK_BAR = 0.01


def child(mode: str, file: Path, arguments: list[str]) -> None:
    """The command line in this process, watched: seconds inside the ledger's hooks, and seconds of the main fit.

    Args:
        mode: ``watched``, or ``bare``: without what the ledger does while training.
        file: where the seconds are written, as JSON.
        arguments: of the command line.
    """
    sys.path.insert(0, str(REPOSITORY))
    import lightning.pytorch as pl

    from selectune.callbacks import CostLedger
    from selectune.cli import main

    seconds = {"hook_s": 0.0, "fit_s": 0.0}
    for name in [name for name in vars(CostLedger) if name.startswith("on_")]:
        hook = getattr(CostLedger, name) if mode == "watched" else _nothing
        setattr(CostLedger, name, _timed(hook, seconds, "hook_s"))
    fit = pl.Trainer.fit

    def timed_fit(trainer: Any, model: Any, *more: Any, **given: Any) -> None:
        began = time.perf_counter()
        fit(trainer, model, *more, **given)
        seconds["fit_s"] += (time.perf_counter() - began) * (model.stage == "train")

    pl.Trainer.fit = timed_fit
    main(arguments)
    file.write_text(json.dumps(seconds))


def _nothing(*given: Any, **more: Any) -> None:
    """In place of a hook."""


def _timed(function: Callable[..., Any], seconds: dict[str, float], name: str) -> Callable[..., Any]:
    @wraps(function)
    def timed(*given: Any, **more: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*given, **more)
        finally:
            seconds[name] += time.perf_counter() - began

    return timed


def run(command: list[str], cache: Path) -> None:
    environment = os.environ | {"SELECTUNE_CACHE": str(cache), "HF_DATASETS_CACHE": str(cache / "datasets")}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")


def measure(case: str, folder: Path) -> tuple[list[Row], list[str]]:
    """Rows of a case, and a sentence for each bar that was missed."""
    from selectune.costs.ledger import read_ledger
    from selectune.costs.record import Total, totals

    settings, me = [*CASES[case], *COMMON], [sys.executable, str(Path(__file__).resolve()), "--child"]
    run([sys.executable, "main.py", "estimate", *settings, "--output", str(folder / "forecast")], folder / "cache-1")
    fits: dict[str, dict[str, float]] = {}
    # with nothing but a training there would be no ledger without its hooks
    modes = ("watched",) if case == "quickstart" else ("watched", "bare")
    for mode in modes:  # the second finds the signals of the first, and so does no more than train
        file = folder / f"{mode}.json"
        run([*me, mode, str(file), "fit", *settings, "--output", str(folder / mode)], folder / "cache-2")
        fits[mode] = json.loads(file.read_text())
    forecast = json.loads((folder / "forecast" / "forecast.json").read_text())["total"]
    spent = totals(read_ledger(folder / "watched" / "cost.jsonl")).spent
    measured = sum(spent.values(), Total())
    training = sum(spent[stage].wall_s for stage in ("train", "warm_up") if stage in spent)
    hooks = fits["watched"]["hook_s"]

    rows, missed = [], []
    for metric, bar in BARS.items():
        told_value, true_value = forecast[metric], getattr(measured, metric)
        rows += [Row(case, "forecast", metric, told_value), Row(case, "measured", metric, true_value)]
        if abs(told_value / true_value - 1) > bar:
            missed.append(f"{case}: {metric} is forecast as {told_value / true_value:.2f} times what it is ({bar:.0%})")
    rows += [Row(case, "ledger", "hook_s", hooks), Row(case, "ledger", "train_s", training)]
    if hooks > HOOK_BAR * training:
        missed.append(f"{case}: the ledger takes {hooks / training:.1%} of training, and may take {HOOK_BAR:.0%}")
    if "bare" in fits:
        rows.append(Row(case, "difference", "train_s", fits["watched"]["fit_s"] - fits["bare"]["fit_s"]))
    return rows, missed


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
        return
    made = parser(__doc__)
    made.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    options = made.parse_args()
    sys.path.insert(0, str(REPOSITORY))
    rows: list[Row] = []
    missed: list[str] = []
    for case in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            more_rows, more_missed = measure(case, Path(folder))
        rows += more_rows
        missed += more_missed
    finish(rows, missed, options)


if __name__ == "__main__":
    main()
