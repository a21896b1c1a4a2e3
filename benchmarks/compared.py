"""The runs of a `compare` as a CSV, row by row of the held-out split, and the verdict that follows from it.

    python benchmarks/compared.py --run runs/planned --csv results/compared_quickstart.csv   # of a finished comparison
    python benchmarks/compared.py --csv results/compared_quickstart.csv                      # its table and its verdict

A line is a run: which arm, its seed, rows, epochs, costs and metrics, and the class of each held-out row and the one
that was predicted, a letter each in the order of the rows' ids. So intervals and verdict can be computed again.
"""

from __future__ import annotations

import argparse
import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _table import read_records, write_records

from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles
from selectune.costs.saving import Saving
from selectune.verdict.evidence import ARMS, Cost, Metric
from selectune.verdict.intervals import difference_of_seeds
from selectune.verdict.judge import judge_runs
from selectune.verdict.judged import Judged
from selectune.verdict.prose import arm_name
from selectune.verdict.row_metrics import by_row_id
from selectune.verdict.verdict import Verdict

RESULTS = Path(__file__).resolve().parent.parent / "results"
FIT = "selected"  # the run that is judged, also where it selects nothing
LETTERS = string.ascii_letters
ACCURACY = Metric("accuracy")
NATURAL = "natural"  # a further held-out split, with the classes as the pool has them


@dataclass(frozen=True)
class Compared:
    """A run of a comparison.

    Args:
        arm: the run that is judged, or one of `ARMS`.
        seed: of everything in it.
        rows: that it trained on.
        pool_rows: that there are.
        epochs: of its training.
        selection_flops: of choosing rows.
        training_flops: of training on them.
        device_s: of both, on a machine that did other work as well.
        accuracy: on the held-out rows.
        natural_accuracy: on held-out rows with the classes as the pool has them; nan where there are none.
        commit: of the code.
        labels: class of each held-out row, as a letter.
        predictions: predicted ones, likewise.
    """

    arm: str
    seed: int
    rows: int
    pool_rows: int
    epochs: float
    selection_flops: float
    training_flops: float
    device_s: float
    accuracy: float
    natural_accuracy: float
    commit: str
    labels: str
    predictions: str

    @classmethod
    def of(cls, folder: Path, arm: str, seed: int) -> Compared:
        """The run in a folder."""
        saving, done = Saving.read(folder), read_mapping(RunFiles(folder).done, "run it again", "metrics", "commit")
        judged = Judged.read(folder)
        rows = by_row_id(judged.rows, str(folder))
        device_s = (saving.device_s.selection or 0.0) + (saving.device_s.training or 0.0)
        if saving.flops.selection is None or saving.flops.training is None:
            raise SystemExit(f"The FLOPs of {folder} are not known.")
        return cls(
            arm, seed, saving.kept_rows, saving.pool_rows, saving.epochs or 0.0, saving.flops.selection,
            saving.flops.training, round(device_s, 1), float(np.mean(rows["label"] == rows["prediction"])),
            done["metrics"].get(f"test/{NATURAL}/accuracy", math.nan), done["commit"],
            *("".join(LETTERS[number] for number in rows[name]) for name in ("label", "prediction")),
        )  # fmt: skip

    @property
    def judged(self) -> Judged:
        """The run as a verdict needs it."""
        classes = [np.array([LETTERS.index(letter) for letter in text]) for text in (self.labels, self.predictions)]
        rows = {"row_id": np.arange(len(classes[0])), "label": classes[0], "prediction": classes[1]}
        return Judged(
            metrics={"accuracy": self.accuracy}, kept_rows=self.rows, pool_rows=self.pool_rows, rows=rows,
            cost=Cost(self.flops, self.device_s), epochs=self.epochs, n_rows=len(classes[0]),
        )  # fmt: skip

    @property
    def flops(self) -> float:
        """Of selection and training."""
        return self.selection_flops + self.training_flops


def read_runs(folder: Path) -> list[Compared]:
    """All runs of a finished comparison."""
    files = RunFiles(folder)
    seeds = read_mapping(files.comparison, "run compare again", "seeds")["seeds"]
    places = {(FIT, seed): folder if seed == seeds[0] else files.rival(FIT, seed) for seed in seeds}
    places |= {(arm, seed): files.rival(arm, seed) for arm in ARMS for seed in seeds}
    return [Compared.of(place, *key) for key, place in places.items() if RunFiles(place).finished]


def runs_in(name: str) -> list[Compared]:
    """The runs of ``results/compared_<name>.csv``."""
    return read_records(Compared, RESULTS / f"compared_{name}.csv")


def verdict_of(runs: Sequence[Compared]) -> Verdict:
    """The verdict that ``compare`` came to."""
    by_arm = {arm: {run.seed: run.judged for run in runs if run.arm == arm} for arm in (FIT, *ARMS)}
    return judge_runs(ACCURACY, by_arm[FIT], {arm: by_arm[arm] for arm in ARMS})


def table_of(runs: Sequence[Compared]) -> str:
    """A Markdown table: each arm's rows, epochs, cost and accuracy, and the difference of the judged run to it."""
    evidence = verdict_of(runs).evidence
    natural = not any(math.isnan(run.natural_accuracy) for run in runs)
    fit = [run for run in runs if run.arm == FIT]
    names = {FIT: "**the plan**"} | {arm: arm_name(evidence, arm) for arm in ARMS}
    head = ["run", "rows", "epochs", "total cost", "accuracy (%)", "the plan less it"]
    head += ["accuracy at the pool's shares (%)", "the plan less it"] if natural else []
    lines = [
        f"| {' | '.join(head)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |" + (" ---: | ---: |" if natural else ""),
    ]
    for arm in (FIT, *ARMS):
        if not (of_arm := [run for run in runs if run.arm == arm]):
            continue
        cells = [names[arm], f"{np.mean([run.rows for run in of_arm]):,.0f}", f"{_mean(of_arm, 'epochs'):.1f}"]
        cells += [f"{_mean(of_arm, 'flops') / 1e12:.2f} TFLOP", _spread(of_arm, "accuracy")]
        difference = None if arm == FIT else evidence.arm(arm).difference
        bounds = None if difference is None else (difference.value, difference.low, difference.high)
        cells.append("–" if bounds is None else in_points(*bounds))
        if natural:
            cells += [
                _spread(of_arm, "natural_accuracy"),
                "–" if arm == FIT else in_points(*natural_difference(fit, of_arm)),
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def natural_difference(fit: Sequence[Compared], other: Sequence[Compared]) -> tuple[float, float, float]:
    """The difference of accuracy at the pool's shares, with its t interval over seeds."""
    ours, theirs = ({run.seed: run.natural_accuracy for run in some} for some in (fit, other))
    found = difference_of_seeds(ours, theirs)
    return found.value, found.low, found.high


def in_points(value: float, low: float, high: float) -> str:
    """Such as "+6.2 [+4.3, +8.1]"."""
    shown = f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return shown.replace("-", "\N{MINUS SIGN}")


def _mean(runs: Sequence[Compared], name: str) -> float:
    return float(np.mean([getattr(run, name) for run in runs]))


def _spread(runs: Sequence[Compared], name: str) -> str:
    """Mean and standard deviation over seeds, in per cent."""
    values = [100 * getattr(run, name) for run in runs]
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def main() -> None:
    """Write the CSV of a comparison if one is given, and print what the CSV says."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--csv", type=Path, required=True, metavar="PATH", help="the file to write or to read")
    made.add_argument("--run", type=Path, metavar="RUN", help="a finished comparison, whose runs are written")
    options = made.parse_args()
    if options.run:
        write_records(read_runs(options.run), options.csv)
    runs = read_records(Compared, options.csv)
    print(f"{table_of(runs)}\n\n{verdict_of(runs).sentence}")


if __name__ == "__main__":
    main()
