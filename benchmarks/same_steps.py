"""Nested subsets of a pilot, trained for the same epochs or for the same steps: which forecasts a full training better?

    python benchmarks/same_steps.py --csv results/same_steps.csv  # half an hour on one core

The pools of `outgrown.py`, and as the outcome its trainings on all 8,192 rows, three epochs, in results/outgrown.csv.
Both ways pay for as many row passes in all: ``epochs`` sees three nested subsets of 128, 256 and 512 rows for three
epochs each, as a pilot does; ``steps`` sees three, the largest of 298 rows, each for the steps of three epochs of that
one, so twelve epochs of the smallest. The forecast is made as a pilot makes it: by the learner's curve ``alone``, or
``beside`` a linear head on the embeddings of a diagnosis, which is rehearsed with the same rows and passes. Subsets are
trained in float32; the outcomes were in bfloat16 autocast. ``off`` is the root mean square of the errors in units of
the standard deviations that the intervals say, where the largest subset has left chance. Trainings are in `--work`.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist

import numpy as np
from _fine_tuned import LEARNING_RATE, quiet, trainer
from _pools import CleanRows, clean_rows
from _table import Row, parser, read_records, table, write_records
from outgrown import EPOCHS, MAX_LENGTH, SMALL_BATCH, Embedded
from outgrown import SIZES as OUTGROWN

from selectune.callbacks.epoch_logits import EpochLogits
from selectune.common.files import atomic_file
from selectune.data.sources import find_model
from selectune.datamodules import TextClassification
from selectune.lightning_modules import FineTuner
from selectune.pilot.learning_curve import Measured, at_chance, forecast_curve
from selectune.pilot.reference import Reference
from selectune.pilot.rehearsal import losses_and_errors

SIZES = (128, 256, 512)
SHARED = sum(SIZES) // len(SIZES)  # rows of the largest subset where all get its steps
WAYS = {  # subsets, and row passes of each
    "epochs": tuple((size, size * EPOCHS) for size in SIZES),
    "steps": tuple((SHARED * size // max(SIZES), SHARED * EPOCHS) for size in SIZES),
}
Judged = tuple[np.ndarray, np.ndarray]  # losses and errors of held-out rows
RESULTS = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True)
class Forecast:
    """A forecast of the accuracy after all rows, with its 80 % interval, beside what came; per cent.

    `left_chance` is 1 where the learner had left chance after the largest subset, else 0.
    """

    data: str
    fault: str
    seed: int
    way: str
    by: str
    left_chance: int
    forecast: float
    low: float
    high: float
    came: float

    @property
    def error(self) -> float:
        """Points that the forecast is off."""
        return abs(self.forecast - self.came)

    @property
    def off(self) -> float:
        """The error in standard deviations."""
        return self.error / ((self.high - self.low) / (2 * NormalDist().inv_cdf(0.9)))


def outcomes() -> dict[tuple[str, str, int], float]:
    """Accuracy after a fine-tuning on all rows, per cent, by pool."""
    with (RESULTS / "outgrown.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if int(line["rows"]) == max(OUTGROWN)]
    return {(line["data"], line["fault"], int(line["seed"])): 100 - 100 * float(line["learner"]) for line in lines}


def examine(options: argparse.Namespace) -> list[Forecast]:
    """The forecasts that the file lacks; it is written after each pool."""
    known = read_records(Forecast, options.csv)
    for (name, fault, seed), came in outcomes().items():
        if any((one.data, one.fault, one.seed) == (name, fault, seed) for one in known):
            continue
        data = next((one for one in options.data if one.rsplit("/", 1)[-1] == name), None)
        if data is None:
            continue
        clean = clean_rows(data, max(OUTGROWN), seed, options.foreign)
        with tempfile.TemporaryDirectory() as folder:
            known += both(clean, fault, came, Path(folder), options)
        if options.csv:
            write_records(known, options.csv)
        told = ", ".join(f"{one.way} {one.by} {one.forecast:.1f}" for one in known[-2 * len(WAYS) :])
        print(f"{name}/{fault}/{seed}: {told}; came {came:.1f}", file=sys.stderr, flush=True)
    return known


def both(clean: CleanRows, fault: str, came: float, folder: Path, options: argparse.Namespace) -> list[Forecast]:
    """Forecasts of a pool by both ways."""
    pool = Embedded.of(clean, fault, folder, options.model)
    data = TextClassification(
        dataset=str(folder), dev_split="validation", test_split="test", max_length=MAX_LENGTH[clean.name],
        seed=clean.seed, batch_size=SMALL_BATCH,
    )  # fmt: skip
    data.load(find_model(options.model))
    n_rows, n_classes = len(pool.labels), pool.n_classes
    whole = pool.head(np.arange(n_rows), n_rows * EPOCHS)[1]
    made = []
    for way, trainings in WAYS.items():
        subsets = [(np.sort(pool.nested[:size]), passes) for size, passes in trainings]
        learner = [
            kept(
                options.work / f"{clean.name}-{fault}-{clean.seed}-{way}-{len(rows)}.npz",
                partial(fine_tuned, data, rows, passes, options.model, clean),
            )
            for rows, passes in subsets
        ]
        losses, wrong = (np.stack(of)[None] for of in zip(*learner))
        cheap = [np.stack(of) for of in zip(*(pool.head(*one) for one in subsets))]
        measured = Measured(tuple(len(rows) for rows, _ in subsets), losses, wrong)
        references = {"alone": None, "beside": Reference(cheap[0], cheap[1], whole, outgrown=True)}
        for by, reference in references.items():
            told = forecast_curve(measured, n_rows, n_classes, clean.seed, reference).accuracy
            value, low, high = (100 * part for part in (told.value, told.low, told.high))
            left = int(not at_chance(wrong[0, -1], 1 - 1 / n_classes))
            made.append(Forecast(clean.name, fault, clean.seed, way, by, left, value, low, high, came))
    return made


def kept(file: Path, train: Callable[[], Judged]) -> Judged:
    """The outcome of a training, which a file keeps."""
    if not file.is_file():
        losses, wrong = train()
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as partial_file, partial_file.open("wb") as opened:
            np.savez(opened, losses=losses, wrong=wrong)
    with np.load(file) as arrays:
        return arrays["losses"], arrays["wrong"]


def fine_tuned(data: TextClassification, rows: np.ndarray, passes: int, model: str, clean: CleanRows) -> Judged:
    """Losses and errors of the held-out rows after a fine-tuning on some rows."""
    source, logits = find_model(model), EpochLogits()
    subset = data.trained_on(rows, source)
    learner = FineTuner(model, learning_rate=LEARNING_RATE, seed=clean.seed)
    trainer(max_epochs=-1, max_steps=max(1, passes // SMALL_BATCH), limit_val_batches=0).fit(learner, subset)
    trainer(callbacks=[logits]).validate(learner, subset, verbose=False)
    return losses_and_errors(logits.logits()[:, 0], clean.held_out_labels)


def summary(known: list[Forecast]) -> list[Row]:
    """Each forecast beside what came, and the median error and coverage of each way."""
    rows = []
    for one in known:
        case, variant = f"{one.data}/{one.fault}/{one.seed}", f"{one.way} {one.by}"
        figures = {"forecast": one.forecast, "low": one.low, "high": one.high, "came": one.came, "error": one.error}
        rows += [Row(case, variant, *figure) for figure in figures.items()]
    for way, by in dict.fromkeys((one.way, one.by) for one in known):
        mine = [one for one in known if (one.way, one.by) == (way, by)]
        rows.append(Row("median", f"{way} {by}", "error", float(np.median([one.error for one in mine]))))
        rows.append(Row("mean", f"{way} {by}", "error", float(np.mean([one.error for one in mine]))))
        held = float(np.mean([one.low <= one.came <= one.high for one in mine]))
        rows.append(Row("held by the interval", f"{way} {by}", "share", held))
        off = [one.off**2 for one in mine if one.left_chance]
        rows.append(Row("root mean square", f"{way} {by}", "off", float(np.sqrt(np.mean(off)))))
    return rows


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--data", nargs="+", default=["stanfordnlp/sst2", "ag_news"])
    made.add_argument("--foreign", default="pool_wikipedia", help="the data set of texts that are off topic")
    made.add_argument("--model", default="minilm-l6-mlm")
    made.add_argument("--work", type=Path, default=Path("runs/same_steps"))
    options = made.parse_args()
    quiet()
    print(table(summary(examine(options))))


if __name__ == "__main__":
    main()
