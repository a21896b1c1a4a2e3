"""Full fine-tuning on pools with one known fault: are a rule's rows worth more than random ones that cost as much?

    python benchmarks/fine_tuned_outcomes.py --csv results/faulty_pools_fine_tuned.csv          # hours on one core
    python benchmarks/fine_tuned_outcomes.py --csv results/faulty_pools_fine_tuned.csv --check  # 1 for unequal costs

Pools of 1,500 rows of SST-2 and AG News (`faulty_pools.py`), clean or with one fault. One budget: half of the FLOPs of
three epochs on all rows. Four arms spend it, each to within a batch, as the ledger measured it afterwards:

    random        random rows, three epochs
    fewer_epochs  all rows, for as many steps as the budget pays; the schedule ends there
    rule          the rule that answers the fault, three epochs; on a clean pool all three rules, one after the other
    euds          the three entropies of configs/euds (IGSE), with the probe where the pool is large enough for one

A rule's passes over the pool are charged to it. Where a filter leaves fewer rows than the budget pays, they are trained
on for longer. No checkpoint is chosen: the last weights are tested on 1,000 clean rows that were held out. These have
the classes as the data set has them; ``..._at_prior`` weighs them to the classes' shares in the pool.

The training is in bf16 autocast (`_fine_tuned.py`). AG News was cut to 32 tokens a row, SST-2 to 64, which cuts none:

    python benchmarks/fine_tuned_outcomes.py --data stanfordnlp/sst2 --csv results/faulty_pools_fine_tuned.csv
    python benchmarks/fine_tuned_outcomes.py --data ag_news --max_length 32 --csv results/faulty_pools_fine_tuned.csv

One line a run, written after each; a run that is in the file already is not done again.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from pathlib import Path

from _fine_tuned import Run, Settings, Training, quiet
from _pools import clean_rows
from _table import Row, parser, read_records, table, write_records

from selectune.selectors import IGSE, Balanced, Chain, Deduplicate, LabelIssues, Random, SemanticDuplicates
from selectune.selectors.base import Selector

SHARES = {"clean": 0.0, "label_flips": 0.3, "rare_class": 0.3, "near_copies": 0.6}  # a rare class is a tenth of it
RULES: dict[str, Selector] = {
    # by text: a chain of two filters that read embeddings pays for two passes, as it scores the rows left anew
    "clean": Chain(filters=[Deduplicate(), LabelIssues()], selector=Balanced()),
    "label_flips": Chain(filters=[LabelIssues()], selector=Random()),
    "rare_class": Balanced(),
    "near_copies": Chain(filters=[SemanticDuplicates()], selector=Random()),
}
ANSWERS = {  # the same by their names in `_outcomes.py`
    "clean": "all_three",
    "label_flips": "label_issues",
    "rare_class": "balanced",
    "near_copies": "semantic_duplicates",
}
ARMS = ("random", "fewer_epochs", "rule", "euds")
SAME = 0.02  # most that a run's cost may differ from the budget, as a share of it


def examine(options: argparse.Namespace) -> list[Run]:
    """Make the runs that the file lacks, and write the file after each."""
    runs = read_records(Run, options.csv)
    done = {run.key for run in runs}
    settings = Settings(options.model, options.max_length)
    for data in options.data:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            clean = None
            for fault in options.faults:
                name = data.rsplit("/", 1)[-1]
                todo = [arm for arm in options.arms if (name, fault, seed, arm) not in done]
                if not todo:
                    continue
                clean = clean or clean_rows(data, options.rows, seed, options.foreign)
                with tempfile.TemporaryDirectory() as folder:
                    training = Training(clean.with_fault(fault, SHARES[fault]), clean, Path(folder), settings)
                    selectors = {"random": Random(), "fewer_epochs": None, "rule": RULES[fault], "euds": IGSE()}
                    for arm in todo:
                        runs.append(training.run(arm, fault, SHARES[fault], selectors[arm]))
                        if options.csv:
                            write_records(runs, options.csv)
                        told = f"{runs[-1].accuracy:.3f}, {runs[-1].off_budget:+.1%} of the budget"
                        print(f"{'/'.join(map(str, runs[-1].key))}: {told}, {runs[-1].seconds} s", file=sys.stderr)
                        gc.collect()
    return runs


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--data", nargs="+", default=["stanfordnlp/sst2", "ag_news"])
    made.add_argument("--foreign", default="pool_wikipedia", help="as in faulty_pools.py, so that the pools are alike")
    made.add_argument("--model", default="minilm-l6-mlm")
    made.add_argument("--faults", nargs="+", choices=list(SHARES), default=list(SHARES))
    made.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--first_seed", type=int, default=0)
    made.add_argument("--rows", type=int, default=1500)
    made.add_argument("--max_length", type=int, default=64)
    options = made.parse_args()
    quiet()
    runs = examine(options)
    shown = ("rows", "epochs", "accuracy", "macro_f1", "off_budget")
    print(
        table(
            [Row("/".join(map(str, run.key[:3])), run.arm, name, getattr(run, name)) for run in runs for name in shown]
        )
    )
    unequal = [run for run in runs if abs(run.off_budget) > SAME]
    for run in unequal:
        print(f"missed: {'/'.join(map(str, run.key))} costs {run.off_budget:+.1%} of its budget", file=sys.stderr)
    sys.exit(1 if unequal and options.check else 0)


if __name__ == "__main__":
    main()
