"""Memory of a selection, on ten thousand rows and on a million: it does not grow with the pool.

    python benchmarks/memory.py                          # the table; some 10 minutes on two cores
    python benchmarks/memory.py --rows 10000 100000      # smaller
    python benchmarks/memory.py --csv out.csv --check    # exits with 1 when the largest takes over 200 MB more

`python main.py select` with all three entropies (so embeddings are among the signals) on made-up short rows, by a tiny
random model, in a process of its own. `peak_rss_anon_mb` is the most anonymous resident memory (RssAnon) seen in
samples every 50 ms; pages of memory-mapped files, which the kernel can drop, are not in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _table import Row, finish, parser

REPOSITORY = Path(__file__).resolve().parent.parent
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]
BAR_MB = 200


def make_model(folder: Path) -> None:
    """A random BERT of 2 layers and 64 dimensions, with its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*special, *WORDS])}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special))
    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(special) + len(WORDS), hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=128, max_position_embeddings=64,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)


def make_data(file: Path, n_rows: int) -> None:
    """Rows of 3 to 8 words with a label, written in pieces."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random, words = np.random.default_rng(0), np.array(WORDS)
    with pq.ParquetWriter(file, pa.schema([("text", pa.string()), ("label", pa.int64())])) as writer:
        for start in range(0, n_rows, 50_000):
            n = min(50_000, n_rows - start)
            texts = [" ".join(words[random.integers(len(words), size=random.integers(3, 9))]) for _ in range(n)]
            writer.write_table(pa.table({"text": texts, "label": random.integers(2, size=n)}))


def measure(n_rows: int, folder: Path) -> tuple[float, float]:
    """Peak of anonymous memory, MB, and seconds."""
    make_data(folder / f"rows{n_rows}.parquet", n_rows)
    command = [
        sys.executable, "main.py", "select", "--data", "TextClassification",
        "--data.dataset", str(folder / f"rows{n_rows}.parquet"), "--data.selector", "IGSE", "--data.keep", "0.1",
        "--data.max_length", "16", "--model.checkpoint", str(folder / "model"), "--trainer.accelerator", "cpu",
        "--trainer.enable_progress_bar", "false", "--output", str(folder / f"run{n_rows}"),
    ]  # fmt: skip
    environment = os.environ | {"SELECTUNE_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets")}
    began, peak = time.monotonic(), 0
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, rss_anon(process.pid))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return peak / 2**20, time.monotonic() - began


def rss_anon(pid: int) -> int:
    """Anonymous resident memory of a process, bytes; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--rows", type=int, nargs=2, default=[10_000, 1_000_000], help="of the two pools")
    options = made.parse_args()
    rows, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder) / "model")
        for n_rows in options.rows:
            peak, seconds = measure(n_rows, Path(folder))
            peaks.append(peak)
            rows.append(Row("select", f"{n_rows:,} rows", "peak_rss_anon_mb", peak))
            rows.append(Row("select", f"{n_rows:,} rows", "wall_s", seconds))
    more = peaks[1] - peaks[0]
    rows.append(Row("select", "difference", "peak_rss_anon_mb", more))
    missed = [f"the larger pool takes {more:.0f} MB more, and may take {BAR_MB}"] if more > BAR_MB else []
    finish(rows, missed, options)


if __name__ == "__main__":
    main()
