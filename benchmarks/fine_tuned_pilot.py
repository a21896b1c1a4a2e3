"""Pilots of full fine-tunings: how far off is the forecast, and what does the pick lose to the best plan?

    python benchmarks/fine_tuned_pilot.py --csv results/fine_tuned_pilot.csv   # an hour on one core

Pools of 20,000 rows of SST-2, clean or with one fault in 30 % of them, three epochs of the 22M model in bf16 autocast.
`python main.py pilot` may take a tenth of the full cost; its scorer is the same model cut after one of six layers, as a
whole pass would be more than a third of that. It judges by 1,000 other rows without the fault. Then all rows are
fitted, the pilot's pick, the diagnosis's first plan, and `--plans`, by the pilot's own overlays: `came` is the accuracy
on the rows that the pilot judged by, `test` that on 1,000 others, both in per cent, at the end of the training.

Runs lie in `--work`; what is there already is not run again, and what was stopped goes on. What came of a plan does not
depend on the pilot, so that a file of trainings can be compared with the pilots of another version: `--again` makes
pilots alone for the trainings of the file, and puts their forecasts and picks into it.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from _pools import CleanRows, clean_rows
from _table import Row, parser, read_records, table, write_records

from selectune.pilot.decision import Decision
from selectune.pilot.result import Pilot

MAIN = Path(__file__).resolve().parents[1] / "main.py"
SHARES = {"clean": 0.0, "label_flips": 0.3, "class_flips": 0.3, "rare_class": 0.3, "near_copies": 0.6}
HELD_OUT, ALL_ROWS, RANDOM, FEWER = 1000, "all_rows", "random", "fewer_epochs"


@dataclass(frozen=True)
class Outcome:
    """A plan of a pool beside what the pilot said of it; accuracies in per cent.

    Args:
        data: of the pool, as are fault, share and seed.
        plan: or ``all_rows``.
        forecast: by the pilot, with its 80 % interval.
        came: on the rows that the pilot judged by.
        test: on others.
        picked: 1 where the pilot recommends it, else 0.
        first: 1 where it is first by the diagnosis alone, else 0.
        pilot_share: of the full cost that the pilot took.
    """

    data: str
    fault: str
    share: float
    seed: int
    plan: str
    forecast: float
    low: float
    high: float
    came: float
    test: float
    picked: int
    first: int
    pilot_share: float


def again(options: argparse.Namespace) -> list[Outcome]:
    """The outcomes of the file beside pilots that are made anew.

    A plan that a pilot picks now and nobody has trained is left out of them; the next command trains it.
    """
    outcomes = read_records(Outcome, options.csv)
    for name, fault, seed in dict.fromkeys((one.data, one.fault, one.seed) for one in outcomes):
        rows = clean_rows(options.data, options.rows, seed, options.foreign)
        folder = options.work / f"{name}-{fault}-{seed}"
        pilot, decision = piloted(prepared(rows, fault, seed, folder, options), folder)
        for place, one in enumerate(outcomes):
            if (one.data, one.fault, one.seed) == (name, fault, seed):
                outcomes[place] = told(one, pilot, decision)
        write_records(outcomes, options.csv)
        print(f"{folder.name}: {pilot.plan}", file=sys.stderr, flush=True)
    return outcomes


def piloted(base: Path, folder: Path) -> tuple[Pilot, Decision]:
    """The pilot of a pool, and the plans that it had."""
    run(["pilot", "--config", base, "--share", "0.1", "--budget", "0.3", "--output", folder / "pilot"])
    return Pilot.read(folder / "pilot"), Decision.read(folder / "pilot")


def examine(options: argparse.Namespace) -> list[Outcome]:
    """The outcomes of all pools; the file is written after each."""
    outcomes = read_records(Outcome, options.csv)
    done = {(one.data, one.fault, one.seed, one.plan) for one in outcomes}
    name = options.data.rsplit("/", 1)[-1]
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        rows = clean_rows(options.data, options.rows, seed, options.foreign)
        for fault in options.faults:
            folder = options.work / f"{name}-{fault}-{seed}"
            base = prepared(rows, fault, seed, folder, options)
            pilot, decision = piloted(base, folder)
            first = decision.first
            tried = [*options.plans, pilot.plan, *([first.plan.name] if first else [])]
            for plan in (ALL_ROWS, *(one.gain.name for one in pilot.plans if one.gain.name in tried)):
                if (name, fault, seed, plan) not in done:
                    fitted(base, plan, decision, folder)
                    outcomes.append(outcome(name, fault, seed, plan, pilot, decision, folder / plan))
                    if options.csv:
                        write_records(outcomes, options.csv)
                    print(f"{folder.name}/{plan}: {outcomes[-1].test:.1f} %", file=sys.stderr, flush=True)
    return outcomes


def prepared(rows: CleanRows, fault: str, seed: int, folder: Path, options: argparse.Namespace) -> Path:
    """The config of a pool, whose files are written where they are not there yet."""
    base = folder / "base.yaml"
    if base.is_file():
        return base
    others = slice(-HELD_OUT, None)  # rows that no pool is filled with
    held_out = rows.spare[others], rows.spare_labels[others]
    rows = replace(rows, spare=rows.spare[:-HELD_OUT], spare_labels=rows.spare_labels[:-HELD_OUT])
    pool = rows.with_fault(fault, SHARES[fault])
    splits = {
        "train": (pool.texts, pool.labels),
        "validation": held_out,
        "test": (rows.held_out, rows.held_out_labels),
    }
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, (texts, labels) in splits.items():
        pq.write_table(
            pa.table({"text": list(texts), "label": list(map(int, labels))}), folder / "data" / f"{name}.parquet"
        )
    settings: dict[str, Any] = {
        "seed_everything": seed,
        "data": {
            "class_path": "TextClassification",
            "init_args": {"dataset": str(folder / "data"), "dev_split": "validation", "test_split": "test",
                          "max_length": 64, "batch_size": 32},
        },
        "model": {"checkpoint": options.model, "learning_rate": 1e-4},
        "trainer": {"max_epochs": 3, "precision": options.precision, "accelerator": "cpu",
                    "enable_progress_bar": False},
        "scorer": {"generative": {"head": "probe", "layers": [1]}},
    }  # fmt: skip
    base.write_text(yaml.safe_dump(settings, sort_keys=False))
    return base


def run(words: list[Any]) -> None:
    """A command of selectune; one whose run is finished is left."""
    output = Path(words[-1])
    if (output / "done.json").is_file() or (output / "pilot.json").is_file():
        return
    subprocess.run([sys.executable, str(MAIN), *map(str, words)], check=True)


def fitted(base: Path, plan: str, decision: Decision, folder: Path) -> None:
    """Fit a plan by the overlay that was made for it."""
    overlay: dict[str, Any] = {}
    if plan != ALL_ROWS:
        overlay = next(one.plan.overlay for one in decision.ranked if one.plan.name == plan)
    file = folder / f"{plan}.yaml"
    file.write_text(yaml.safe_dump(overlay | {"pilot": {"run": str(folder / "pilot"), "plan": plan}}))
    run(["fit", "--config", base, "--config", file, "--output", folder / plan])


def outcome(name: str, fault: str, seed: int, plan: str, pilot: Pilot, decision: Decision, folder: Path) -> Outcome:
    """What came of a plan."""
    with (folder / "metrics.csv").open(newline="") as file:
        came = [line["val/accuracy"] for line in csv.DictReader(file) if line.get("val/accuracy")][-1]
    test = json.loads((folder / "done.json").read_text())["metrics"]["test/accuracy"]
    found = Outcome(
        name, fault, SHARES[fault], seed, plan, 0.0, 0.0, 0.0, 100 * float(came), 100 * float(test), 0, 0, 0.0
    )  # fmt: skip
    return told(found, pilot, decision)


def told(outcome: Outcome, pilot: Pilot, decision: Decision) -> Outcome:
    """An outcome with what a pilot said of it."""
    forecasts = {one.gain.name: one.accuracy for one in pilot.plans} | {ALL_ROWS: pilot.all_rows}
    one, first = forecasts[outcome.plan], decision.first
    return replace(
        outcome, forecast=100 * one.value, low=100 * one.low, high=100 * one.high,
        picked=int(outcome.plan == pilot.plan), first=int(first is not None and outcome.plan == first.plan.name),
        pilot_share=pilot.spent_share,
    )  # fmt: skip


def summary(outcomes: list[Outcome]) -> list[Row]:
    """Of each pool: the forecast of all rows beside what came, and regrets in points."""
    made = []
    for key in dict.fromkeys((one.data, one.fault, one.seed) for one in outcomes):
        mine = [one for one in outcomes if (one.data, one.fault, one.seed) == key]
        whole = next((one for one in mine if one.plan == ALL_ROWS), None)
        plans = [one for one in mine if one.plan != ALL_ROWS]
        case = "/".join(map(str, key))
        if whole is not None:
            figures = {"forecast": whole.forecast, "came": whole.came, "error": abs(whole.forecast - whole.came)}
            figures |= {"covered": float(whole.low <= whole.came <= whole.high), "cost_share": whole.pilot_share}
            made += [Row(case, "all rows", *item) for item in figures.items()]
        best = max((one.test for one in plans), default=0.0)
        picks = {"pilot": [one for one in plans if one.picked], "diagnosis": [one for one in plans if one.first]}
        picks |= {name: [one for one in plans if one.plan == name] for name in (RANDOM, FEWER)}
        made += [Row(case, who, "regret", best - one.test) for who, of in picks.items() for one in of]
        made += [Row(case, one.plan, "test", one.test) for one in mine]
    return made


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--data", default="stanfordnlp/sst2")
    made.add_argument("--foreign", default="pool_wikipedia", help="the data set of texts that are off topic")
    made.add_argument("--model", default="minilm-l6-mlm")
    made.add_argument("--faults", nargs="+", choices=list(SHARES), default=["clean", "label_flips", "rare_class"])
    made.add_argument("--plans", nargs="+", default=[FEWER, RANDOM, "balanced", "label_issues"])
    made.add_argument("--rows", type=int, default=20_000)
    made.add_argument("--seeds", type=int, default=1)
    made.add_argument("--first_seed", type=int, default=0)
    made.add_argument("--again", action="store_true", help="make pilots alone, for the trainings that the file has")
    made.add_argument("--precision", default="bf16-mixed", help="32-true where the processor has no bfloat16")
    made.add_argument("--work", type=Path, default=Path("runs/fine_tuned_pilot"))
    options = made.parse_args()
    options.work = options.work.resolve()
    print(table(summary(again(options) if options.again else examine(options))))


if __name__ == "__main__":
    main()
