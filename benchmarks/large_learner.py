"""A learner six times as large as the scorer: are the rows that the scorer chooses worth more than random ones?

    python benchmarks/large_learner.py --model FOLDER --csv results/large_learner.csv  # an hour on two cores

The learner is SmolLM2-135M with a classification head, in full fine-tuning with bf16 autocast; the scorer is the 22M
model of the other benchmarks, with the probe. Pools of 2,000 clean rows of SST-2; the budget is half of the FLOPs of
one epoch on all of them, so that random rows are 1,000. A pass of so small a scorer is a sixth of what one by the
learner would be. Each arm spends the same to within a batch, its passes over the pool included; the last weights are
tested on 1,000 other rows.

    random    random rows; one epoch of them is also what fewer epochs on all rows are
    densest   the three entropies of configs/euds, in the densest band (`Densest`)
    anchored  two of them, in the band of 100 trusted rows (`Anchored`)
    balanced  the same number of rows of each class
    all_rows  all rows, at twice the budget: what half of them lose

One line a run, written after each; a run that is in the file already is not done again.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from pathlib import Path

from _fine_tuned import SCORER, Run, Settings, Training, quiet
from _pools import TRUSTED, clean_rows
from _table import Row, parser, read_records, table, write_records

from selectune.lightning_modules.scorers.settings import Generative, ScorerSettings
from selectune.selectors import IGSE, Anchored, Balanced, Random
from selectune.selectors.base import Selector
from selectune.verdict.intervals import difference_of_seeds

RANDOM, ALL_ROWS = "random", "all_rows"
ARMS: dict[str, Selector | None] = {
    RANDOM: Random(),
    "densest": IGSE(),
    "anchored": IGSE(("information_entropy", "generative_entropy"), Anchored()),
    "balanced": Balanced(),
    ALL_ROWS: None,
}


def examine(options: argparse.Namespace) -> list[Run]:
    """Make the runs that the file lacks, and write the file after each."""
    runs = read_records(Run, options.csv)
    done = {run.key for run in runs}
    scorer = ScorerSettings(
        checkpoint=options.scorer, generative=Generative(head="probe"), max_batch_tokens=SCORER.max_batch_tokens
    )
    settings = Settings(options.model, options.max_length, 1, options.batch_size, scorer, TRUSTED)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        clean = clean_rows(options.data, options.rows, seed, options.foreign)
        for arm in (arm for arm in options.arms if (clean.name, "clean", seed, arm) not in done):
            with tempfile.TemporaryDirectory() as folder:
                training = Training(clean.with_fault("clean", 0.0), clean, Path(folder), settings)
                if arm == ALL_ROWS:
                    training.budget *= 2
                runs.append(training.run(arm, "clean", 0.0, ARMS[arm]))
            if options.csv:
                write_records(runs, options.csv)
            print(f"{arm}/{seed}: {runs[-1].accuracy:.3f}, {runs[-1].seconds} s", file=sys.stderr, flush=True)
            gc.collect()
    return runs


def summary(runs: list[Run]) -> list[Row]:
    """Of each arm: rows, part of the budget for choosing, accuracy, and its gain over random rows in points."""
    rows = []
    for arm in ARMS:
        mine = {run.seed: run for run in runs if run.arm == arm}
        theirs = {run.seed: 100 * run.accuracy for run in runs if run.arm == RANDOM and run.seed in mine}
        if not mine:
            continue
        means = {
            "rows": sum(run.rows for run in mine.values()) / len(mine),
            "selection_share": sum(run.selection_flops / run.budget_flops for run in mine.values()) / len(mine),
            "accuracy": 100 * sum(run.accuracy for run in mine.values()) / len(mine),
        }
        gain = difference_of_seeds({seed: 100 * mine[seed].accuracy for seed in theirs}, theirs)
        if arm != RANDOM and gain is not None:
            means |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
        rows += [Row(arm, f"{len(mine)} seeds", *item) for item in means.items()]
    return rows


def markdown(runs: list[Run]) -> str:
    """The same as a Markdown table."""
    lines = [
        "| arm | rows | of the budget for choosing | accuracy (%) | over random rows |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    by_arm: dict[str, dict[str, float]] = {}
    for row in summary(runs):
        by_arm.setdefault(row.case, {})[row.metric] = row.value
    for arm, of in by_arm.items():
        gain = "\N{EN DASH}"
        if "gain" in of:
            gain = f"{of['gain']:+.1f} [{of['gain_low']:+.1f}, {of['gain_high']:+.1f}]".replace("-", "\N{MINUS SIGN}")
        seeds = len({run.seed for run in runs if run.arm == arm})
        told = f"{of['accuracy']:.1f} ({seeds} seed{'' if seeds == 1 else 's'})"
        lines.append(f"| {arm} | {of['rows']:,.0f} | {100 * of['selection_share']:.0f} % | {told} | {gain} |")
    return "\n".join(lines)


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--data", default="stanfordnlp/sst2")
    made.add_argument("--foreign", default="pool_wikipedia", help="the data set of texts that are off topic")
    made.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct", help="the learner")
    made.add_argument("--scorer", default="minilm-l6-mlm")
    made.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--first_seed", type=int, default=0)
    made.add_argument("--rows", type=int, default=2000)
    made.add_argument("--batch_size", type=int, default=8)
    made.add_argument("--max_length", type=int, default=64)
    options = made.parse_args()
    quiet()
    print(table(summary(examine(options))))


if __name__ == "__main__":
    main()
