"""Agreement of the cheap estimate of generative entropy with masking: `masked` against `masked_pseudo`.

    python benchmarks/agreement.py                              # 1,000 rows each of SST-2 and AG News
    python benchmarks/agreement.py --csv results/agreement.csv  # the numbers in long form too
    python benchmarks/agreement.py --check                      # exits with 1 when a Spearman is under 0.7

`masked` is one pass with nothing masked, `masked_pseudo` seven passes that each mask every seventh token. The model is
`minilm-l6-mlm`; where it or the data are not in SELECTUNE_MODELS and SELECTUNE_DATA, the embedded ones stand in.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _table import Row, finish, parser

from selectune.common.errors import UserError
from selectune.costs.ledger import Ledger
from selectune.data.batches import CPU_TOKENS
from selectune.data.sources import find_model
from selectune.datamodules import TextClassification
from selectune.lightning_modules.scorers.settings import Generative, ScorerSettings
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.forward import forward_pass
from selectune.signals.store import SignalStore

CASES: dict[str, dict[str, Any]] = {
    "sst2": {"dataset": "stanfordnlp/sst2", "text_column": "sentence", "test_split": "validation", "max_length": 128},
    "ag_news": {"dataset": "fancyzhx/ag_news", "max_length": 128},
}
ESTIMATORS = {"masked": Generative("masked"), "masked_pseudo": Generative("masked_pseudo", k=7)}
BAR = 0.7


def trainer_for(**settings: Any) -> Any:
    """A Trainer on the CPU that says nothing."""
    import lightning.pytorch as pl

    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    return pl.Trainer(accelerator="cpu", devices=1, enable_progress_bar=False, **quiet, **settings)


def measure(case: str, n_rows: int) -> list[Row]:
    """Spearman of the two estimators, and what each takes."""
    from scipy.stats import spearmanr

    try:
        source, arguments = find_model("minilm-l6-mlm"), CASES[case]
        data = TextClassification(**arguments, max_train_rows=n_rows, seed=0)
        data.load()
    except UserError:
        print(f"{case}: the embedded corpus and model stand in")
        source = find_model("docstrings-bert")
        data = TextClassification("docstrings", max_length=96, max_train_rows=n_rows, seed=0)
        data.load()
    found: dict[str, np.ndarray] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in ESTIMATORS.items():
            scoring = ScoringModel(source, ScorerSettings(generative=settings), data.max_length, CPU_TOKENS)
            pool = Rows(data.pool, data.tokenized("train", scoring.tokenizer))
            definition = scoring.define("generative_entropy", pool.pool)
            store = SignalStore(Path(folder))
            began = time.perf_counter()
            forward_pass([definition], pool, scoring, store, trainer_for, Ledger(), "fit")
            rows.append(Row(case, name, "seconds", time.perf_counter() - began))
            found[name] = np.array(store.read(definition))
            rows.append(Row(case, name, "mean_nats", float(found[name].mean())))
    agreement = float(spearmanr(found["masked"], found["masked_pseudo"]).statistic)
    rows.append(Row(case, "masked", "spearman_to_masked_pseudo", agreement))
    return rows


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--rows", type=int, default=1000, help="rows of each case")
    options = made.parse_args()
    torch.manual_seed(0)
    rows = [row for case in CASES for row in measure(case, options.rows)]
    low = [row for row in rows if row.metric.startswith("spearman") and row.value < BAR]
    missed = [f"{row.case}: masked ranks with Spearman {row.value:.2f} to masked_pseudo, under {BAR}" for row in low]
    finish(rows, missed, options)


if __name__ == "__main__":
    main()
