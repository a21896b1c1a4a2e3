"""Speed of scoring rows, against the forward pass that it cannot do without.

    python benchmarks/scoring.py                          # both cases, under 30 minutes on two cores
    python benchmarks/scoring.py --cases imdb --rows 500  # one case, less of it
    python benchmarks/scoring.py --variants encoder exact probe_early  # only these
    python benchmarks/scoring.py --csv out.csv --check    # the numbers in long form too; exits with 1 on a missed bar

Cases: ``sst2`` (20,000 rows) and ``imdb`` (2,000 rows of 256 tokens), scored by ``minilm-l6-mlm``. Where these are not
in SELECTUNE_DATA and SELECTUNE_MODELS, the embedded corpus and model stand in, and no bar holds.

Variants, over the same planned batches but for the last:
    encoder      the encoder alone
    bare         and the masked-LM head's product, in blocks of 256 positions; nothing is made of it
    exact        this engine: generative entropy and embedding, as `select` computes them, written to disk
    probe        the same with the entropy probe on layers 2 and 6 (the first third and the last)
    probe_early  the same with layer 2 alone, where the encoder stops
    naive        batches of 32 as the rows come, whole logits (a tenth of the rows)

The batches are dealt into blocks, and each block goes through all variants, in turns from the first and from the last;
numbers are medians over blocks. `rows_per_s_with_fit` charges the probe's fit to all rows; `peak_rss_mb` is the most
that the process held within the variant's blocks.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _table import Row, finish, parser

from selectune.common.errors import UserError
from selectune.costs.ledger import Ledger
from selectune.data.batches import CPU_TOKENS, plan_batches
from selectune.data.sources import ModelSource, find_model
from selectune.datamodules import TextClassification
from selectune.lightning_modules.heads import before_output, network_inputs
from selectune.lightning_modules.scorers.language import load_language_model
from selectune.lightning_modules.scorers.settings import Generative, ScorerSettings
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.forward import forward_pass
from selectune.signals.probe import find_probe
from selectune.signals.store import SignalStore

CASES: dict[str, dict[str, Any]] = {
    "sst2": {"dataset": "stanfordnlp/sst2", "text_column": "sentence", "test_split": "validation", "max_length": 128},
    "imdb": {"dataset": "stanfordnlp/imdb", "text_column": "text", "max_length": 256},
}
ROWS = {"sst2": 20_000, "imdb": 2_000}
NAIVE_SHARE = {"sst2": 0.1, "imdb": 0.05}
VARIANTS = ("encoder", "bare", "exact", "probe", "probe_early", "naive")
SIGNALS = ("generative_entropy", "embedding")
BLOCKS = 5


@dataclass
class Measured:
    """Figures of a variant, one of each block."""

    seconds: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    fit_s: float = 0.0
    scores: dict[int, float] = field(default_factory=dict)


class Bench:
    """The rows of a data module, a model, and a function for each variant that scores some rows."""

    def __init__(
        self,
        data: TextClassification,
        source: ModelSource,
        folder: Path,
        device: str = "cpu",
        max_tokens: int = CPU_TOKENS,
    ) -> None:
        data.load()
        precision = "bf16" if device == "cuda" else "32"
        self.scoring = ScoringModel(source, ScorerSettings(precision=precision), data.max_length, max_tokens)
        self.rows = Rows(data.pool, data.tokenized("train", self.scoring.tokenizer))
        self.pad_id = int(self.scoring.tokenizer.pad_token_id or 0)
        self.network = load_language_model(source, "masked").eval().requires_grad_(False).to(device)
        self.folder, self.device = folder, device
        self.probes: dict[str, tuple[ScoringModel, Any, Any]] = {}

    @classmethod
    def of_case(cls, case: str, n_rows: int, folder: Path) -> Bench:
        """One of `CASES`, or what stands in for it."""
        try:
            source, arguments = find_model("minilm-l6-mlm"), CASES[case]
        except UserError:
            source, arguments = find_model("docstrings-bert"), {"dataset": "docstrings", "max_length": 96}
            print(f"{case}: the embedded corpus and model stand in")
        return cls(TextClassification(**arguments, max_train_rows=n_rows, seed=0), source, folder)

    def fit(self, variant: str, layers: list[int] | None) -> float:
        """Fit the probe of a variant, and give the seconds that it took."""
        scoring = replace(self.scoring, settings=ScorerSettings(generative=Generative(head="probe", layers=layers)))
        store = SignalStore(self.folder / variant)
        definitions = [scoring.define(name, self.rows.pool) for name in SIGNALS]
        began = time.perf_counter()
        probe, notes, _ = find_probe(definitions, self.rows, scoring, store, Ledger(), "fit")
        taken = time.perf_counter() - began
        print(f"{variant}: {notes}")
        self.probes[variant] = scoring, probe, notes
        return taken

    def engine(self, variant: str) -> Callable[[np.ndarray], np.ndarray]:
        """Score rows as `select` does."""
        scoring, probe, notes = self.probes.get(variant, (self.scoring, None, None))

        def score(ids: np.ndarray) -> np.ndarray:
            rows = self.rows.take(ids)
            definitions = [scoring.define(name, rows.pool) for name in SIGNALS]
            store = SignalStore(self.folder / variant)
            forward_pass(
                definitions, rows, scoring, store, partial(trainer_for, self.device), Ledger(), "fit", probe, notes
            )
            return np.asarray(store.read(definitions[0]))

        return score

    def encoder(self, ids: np.ndarray) -> None:
        """The encoder over planned batches."""
        for batch in self.batches(ids):
            self.network.base_model(**network_inputs(self.network, batch))

    def bare(self, ids: np.ndarray) -> None:
        """The encoder and the head's product over planned batches."""
        layer = self.network.get_output_embeddings()
        half = torch.bfloat16 if self.device == "cuda" else layer.weight.dtype  # cast once, as the engine's are
        weight, bias = layer.weight.to(half), layer.bias if layer.bias is None else layer.bias.to(half)
        for batch in self.batches(ids):
            content = ~batch["special"]

            def product(hidden: torch.Tensor, content: torch.Tensor = content) -> torch.Tensor:
                for block in hidden[content].split(256 if self.device == "cpu" else 2048):
                    F.linear(block, weight, bias)
                return hidden[:0]

            with before_output(self.network, product):
                self.network(**network_inputs(self.network, batch))

    def naive(self, ids: np.ndarray) -> np.ndarray:
        """Whole logits of batches of 32, in the order of the rows."""
        found = []
        for part in np.split(ids, range(32, len(ids), 32)):
            batch = self.rows.tokens.padded(part, self.pad_id)
            logs = self.network(**network_inputs(self.network, batch)).logits.log_softmax(-1)
            entropies, content = -(logs.exp() * logs).sum(-1), ~batch["special"]
            found.append(((entropies * content).sum(1) / content.sum(1)).numpy())
        return np.concatenate(found)

    def batches(self, ids: np.ndarray) -> Any:
        """Planned batches of some rows."""
        tokens = self.rows.tokens.take(ids)
        for part in plan_batches(tokens.lengths, self.scoring.max_batch_tokens):
            batch = tokens.padded(part, self.pad_id)
            yield {name: one.to(self.device) for name, one in batch.items()}


def trainer_for(device: str = "cpu", **settings: Any) -> Any:
    """A Trainer that says nothing."""
    import lightning.pytorch as pl

    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    accelerator = "gpu" if device == "cuda" else device
    return pl.Trainer(accelerator=accelerator, devices=1, enable_progress_bar=False, **quiet, **settings)


def measure(case: str, n_rows: int, variants: list[str]) -> dict[str, Measured]:
    """The variants of a case, block by block."""
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        bench = Bench.of_case(case, n_rows, Path(folder))
        early = bench.scoring.layers[0]
        found = {variant: Measured() for variant in variants}
        for variant, layers in (("probe", None), ("probe_early", [early])):
            if variant in variants:
                with torch.inference_mode(False):
                    found[variant].fit_s = bench.fit(variant, layers)
        work: dict[str, Callable[[np.ndarray], Any]] = {
            "encoder": bench.encoder,
            "bare": bench.bare,
            **{variant: bench.engine(variant) for variant in ("exact", "probe", "probe_early")},
            "naive": bench.naive,
        }
        work = {variant: work[variant] for variant in variants}
        plan = plan_batches(bench.rows.tokens.lengths, bench.scoring.max_batch_tokens)
        n_blocks = min(BLOCKS, len(plan))
        for block in range(n_blocks):
            ids = np.concatenate(plan[block::n_blocks])
            for variant in list(work)[:: 1 if block % 2 == 0 else -1]:
                some = ids
                if variant == "naive":
                    some = np.random.default_rng(block).permutation(ids)[: max(32, int(NAIVE_SHARE[case] * len(ids)))]
                reset_peak()
                began = time.perf_counter()
                scores = work[variant](some)
                one = found[variant]
                one.seconds.append(time.perf_counter() - began)
                one.peaks.append(peak_rss())
                one.rows.append(len(some))
                one.tokens.append(int(bench.rows.n_tokens[some].sum()))
                if scores is not None:
                    one.scores |= dict(zip(some.tolist(), scores.tolist()))
            print(f"{case}: block {block + 1} of {n_blocks}", flush=True)
    return found


def rows_of(case: str, found: dict[str, Measured]) -> list[Row]:
    """The medians over blocks."""
    from scipy.stats import spearmanr

    rows = []
    for variant, one in found.items():
        per_s = statistics.median(n / s for n, s in zip(one.rows, one.seconds))
        whole = sum(one.rows) / (sum(one.rows) / per_s + one.fit_s)
        rows.append(Row(case, variant, "rows_per_s", per_s))
        rows.append(Row(case, variant, "rows_per_s_with_fit", whole))
        tokens = statistics.median(n / s for n, s in zip(one.tokens, one.seconds))
        rows.append(Row(case, variant, "tokens_per_s", tokens))
        rows.append(Row(case, variant, "peak_rss_mb", max(one.peaks) / 2**20))
        if one.fit_s:
            rows.append(Row(case, variant, "fit_s", one.fit_s))
        if one.scores and variant != "exact" and "exact" in found:
            pairs = [(score, found["exact"].scores[row]) for row, score in one.scores.items()]
            rows.append(Row(case, variant, "spearman_to_exact", float(spearmanr(pairs).statistic)))
    return rows


def missed_bars(rows: list[Row]) -> list[str]:
    """A sentence for each bar that was missed."""
    values = {(row.case, row.variant, row.metric): row.value for row in rows}
    bars = [
        ("exact", "rows_per_s", "bare", 0.9, ("sst2", "imdb")),
        ("exact", "rows_per_s", "naive", 2.5, ("sst2",)),
        ("probe", "rows_per_s", "encoder", 0.9, ("sst2", "imdb")),
        ("probe", "rows_per_s_with_fit", "encoder", 0.6, ("sst2", "imdb")),
        ("probe_early", "rows_per_s", "encoder", 1.8, ("sst2", "imdb")),
    ]
    agreements = [("probe", 0.94, "sst2"), ("probe", 0.95, "imdb"), ("probe_early", 0.9, "sst2")]
    agreements.append(("probe_early", 0.9, "imdb"))
    missed = []
    for variant, metric, base, bar, cases in bars:
        for case in cases:
            if (case, variant, metric) in values and (case, base, "rows_per_s") in values:
                ratio = values[case, variant, metric] / values[case, base, "rows_per_s"]
                print(f"{case}: {variant} ({metric}) is {ratio:.2f} of {base}; the bar is {bar}")
                if ratio < bar:
                    missed.append(f"{case}: {variant} ({metric}) is {ratio:.2f} of {base}, under {bar}")
    for variant, bar, case in agreements:
        if values.get((case, variant, "spearman_to_exact"), 1.0) < bar:
            missed.append(f"{case}: {variant} ranks with Spearman under {bar}")
    return missed


def reset_peak() -> None:
    """Let the peak of resident memory begin anew, where the kernel allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_rss() -> int:
    """Bytes, since the last `reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    made.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    made.add_argument("--rows", type=int, help="rows of each case, instead of 20,000 and 2,000")
    options = made.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    rows = [
        row
        for case in options.cases
        for row in rows_of(case, measure(case, options.rows or ROWS[case], options.variants))
    ]
    finish(rows, missed_bars(rows), options)


if __name__ == "__main__":
    main()
