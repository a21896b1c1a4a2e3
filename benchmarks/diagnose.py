"""Time of a diagnosis beside that of the encoder's forward pass alone, and its memory, on a large pool.

    python benchmarks/diagnose.py --data fancyzhx/ag_news --model minilm-l6-mlm --csv results/diagnose.csv --check

The pool's rows are made of halves of two rows of the data set, so that they are as long and all distinct. The forward
pass is timed on 1,000 of them, before and after, and counted for all. Everything else that `diagnose` does runs on the
whole pool: tokens, copies, leakage, cross-fitted probes, damaged texts. Its embeddings are those of the 1,000 rows,
drawn again with noise, since their values change no time. `peak_rss_anon_mb` is the most anonymous memory of the run
in samples every 50 ms, as in `memory.py`; `ratio` is that of forward and everything else to forward. MB are 10^6 bytes.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from _table import Row, finish, parser
from memory import rss_anon

from selectune.data.batches import CPU_TOKENS, plan_batches
from selectune.data.pool import Pool
from selectune.data.sources import find_data, find_model
from selectune.datamodules import TextClassification
from selectune.diagnose import corruption
from selectune.diagnose.diagnose import Examination, joined
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.selection.request import cached_tokens
from selectune.selectors.base import Signals, tie_keys
from selectune.signals.cross_fit import cross_fit
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.forward import make_scorer

BAR_RATIO, BAR_MB = 1.3, 2000
TIMED_ROWS = 1000
NAMES = ["embedding", "middle_embedding"]


def make_pool(data: str, column: str, n_rows: int, file: Path) -> None:
    """Rows whose first half is one row's and whose second half is another's, with the first one's label."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = find_data(data).splits["train"]
    texts, labels = [text.split() for text in rows[column]], np.asarray(rows["label"])
    rng = np.random.default_rng(0)
    one, two = rng.integers(len(texts), size=(2, n_rows))
    made = [" ".join(texts[i][: len(texts[i]) // 2] + texts[j][len(texts[j]) // 2 :]) for i, j in zip(one, two)]
    pq.write_table(pa.table({"text": made, "label": labels[one]}), file)


def forward(rows: Rows, scoring: ScoringModel) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds of a pass over rows, and their embeddings."""
    scorer = make_scorer(NAMES, scoring)
    plan = plan_batches(rows.tokens.lengths, scoring.max_batch_tokens)
    values = {name: np.zeros((len(rows), scorer.network.config.hidden_size), np.float32) for name in NAMES}
    began = time.perf_counter()
    with torch.no_grad():
        for ids in plan:
            batch = dict(rows.tokens.padded(ids, int(scoring.tokenizer.pad_token_id)))
            for name, states in scorer(batch).items():
                values[name][ids] = states.numpy()
    return time.perf_counter() - began, values


def stored(file: Path, values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Rows drawn from some, with noise, as a memory map, as signals are stored."""
    rng = np.random.default_rng(3)
    made = np.lib.format.open_memmap(file, "w+", np.float32, (len(drawn), values.shape[1]))
    for start in range(0, len(drawn), 10_000):
        part = values[drawn[start : start + 10_000]]
        made[start : start + 10_000] = part + rng.normal(scale=0.05, size=part.shape)
    made.flush()
    del made
    return np.load(file, mmap_mode="r")


def watch(peaks: list[float]) -> None:
    """Keep the most anonymous memory of this process, MB."""
    while True:
        peaks[0] = max(peaks[0], rss_anon(os.getpid()) / 1e6)
        time.sleep(0.05)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--data", default="fancyzhx/ag_news")
    made.add_argument("--column", default="text")
    made.add_argument("--model", default="minilm-l6-mlm")
    made.add_argument("--rows", type=int, default=100_000)
    options = made.parse_args()
    peaks = [0.0]
    threading.Thread(target=watch, args=(peaks,), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pool.parquet"
        make_pool(options.data, options.column, options.rows, file)
        source = find_model(options.model)
        data = TextClassification(str(file), seed=0)
        data.load(source)
        scoring = ScoringModel(source, ScorerSettings(), data.max_length, CPU_TOKENS)
        some = np.sort(np.random.default_rng(1).permutation(len(data.pool))[:TIMED_ROWS])
        began = time.perf_counter()
        rows = Rows(data.pool, cached_tokens(data.pool, scoring.tokenizer, data.max_length), data.labels["train"])
        tokens_s = time.perf_counter() - began
        sample = rows.take(some)
        before, states = forward(sample, scoring)
        drawn = np.random.default_rng(2).integers(len(some), size=len(rows))
        arrays = {name: stored(Path(folder) / f"{name}.npy", values, drawn) for name, values in states.items()}

        began = time.perf_counter()
        hashes = data.pool.text_hash
        arrays["class_probabilities"] = cross_fit(arrays["embedding"], rows.labels, hashes).probabilities
        texts = corruption.damaged(joined(data.pool), np.argsort(tie_keys(hashes, 0), kind="stable"), 0)
        everything = [text for one in texts for text in one.texts]
        damaged_pool = _pool(everything)
        damaged_s, damaged = forward(
            Rows(damaged_pool, cached_tokens(damaged_pool, scoring.tokenizer, data.max_length)), scoring
        )
        parts = np.split(damaged["middle_embedding"], np.cumsum([len(one.texts) for one in texts])[:-1])
        examples = {one.kind: (part, one.rows) for one, part in zip(texts, parts)}
        signals = Signals(arrays | rows.always)
        diagnosis, _ = Examination(data, rows, scoring, signals, None, examples).diagnosis()
        rest = time.perf_counter() - began + tokens_s
        after, _ = forward(sample, scoring)

    whole = (before + after) / 2 / len(some) * len(rows)
    ratio = (whole + rest) / whole
    peak = peaks[0]
    case = f"{len(rows):,} rows"
    rows_out = [
        Row(case, "diagnose", "forward_s", whole),
        Row(case, "diagnose", "rest_s", rest),
        Row(case, "diagnose", "of_it_damaged_forward_s", damaged_s),
        Row(case, "diagnose", "ratio", ratio),
        Row(case, "diagnose", "peak_rss_anon_mb", peak),
    ]
    missed = [f"ratio {ratio:.2f} over {BAR_RATIO}"] if ratio > BAR_RATIO else []
    missed += [f"{peak:.0f} MB over {BAR_MB}"] if peak > BAR_MB else []
    print({name: len(finding.rows) for name, finding in diagnosis.findings.items() if len(finding.rows)})
    finish(rows_out, missed, options)


def _pool(texts: list[str]) -> Pool:
    from datasets import Dataset

    return Pool(Dataset.from_dict({"text": texts}), ("text",), "damaged", np.arange(len(texts)))


if __name__ == "__main__":
    main()
