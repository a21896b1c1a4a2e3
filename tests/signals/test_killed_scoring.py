"""Scoring that is killed again and again ends with the bits of scoring that never was."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.costs.ledger import Ledger, collect_open, read_ledger
from selectune.costs.record import add_up
from selectune.costs.uninterrupted import split_costs
from selectune.data.sources import ModelSource
from selectune.datamodules import TextClassification
from selectune.lightning_modules.scorers.language import LanguageScorer
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.signals import forward
from selectune.signals.compute import compute_signals
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.store import Shards, SignalStore
from tests.processes import fork
from tests.trainers import trainer_for

NAMES = ["generative_entropy", "loss", "embedding", "information_entropy", "semantic_entropy"]
MAX_BATCH_TOKENS = 256


def kill_before(owner: Any, name: str, when: Callable[..., Any]) -> None:
    """Let a call end this process, where its arguments are such."""
    found, static = getattr(owner, name), isinstance(vars(owner).get(name), staticmethod)

    def call(*args: Any, **kwargs: Any) -> Any:
        if when(*args):
            os.kill(os.getpid(), signal.SIGKILL)
        return found(*args, **kwargs)

    setattr(owner, name, staticmethod(call) if static else call)


def after(n_calls: int) -> Callable[..., bool]:
    calls = itertools.count()
    return lambda *_: next(calls) == n_calls


def sealing(signal_name: str) -> Callable[..., bool]:
    """Its values are written, and not yet what they are."""
    return lambda _, definition, *__: definition.name == signal_name


def one_shard_is_gone(folder: Path, *_: Any) -> bool:
    removed = Path(folder).name.startswith("pass-")
    if removed:
        next(folder.glob("*.npz")).unlink()
    return removed


MOMENTS: dict[str, tuple[Any, str, Callable[[], Callable[..., Any]]]] = {
    "in a batch": (LanguageScorer, "forward", lambda: after(2)),
    "between the charge of a batch and its shard": (Shards, "append", lambda: after(3)),
    "in the merge of the first signal": (SignalStore, "_seal", lambda: sealing("embedding")),
    "between two signals of a pass": (SignalStore, "_seal", lambda: sealing("loss")),
    "between the last signal and the end of its shards": (
        SignalStore, "sweep", lambda: lambda store, _: list(store.root.rglob("loss-*/meta.json")),
    ),
    "in the removal of the shards": (shutil, "rmtree", lambda: one_shard_is_gone),
    "in a signal of the text": (SignalStore, "_seal", lambda: sealing("information_entropy")),
    "in a derived signal": (SignalStore, "_seal", lambda: sealing("semantic_entropy")),
}  # fmt: skip


def score(data: Path, model: Path, cache: Path, run: Path, attempt: int, killed: str | None = None) -> None:
    """Bring all signals into the store, or as far as that moment."""
    if killed is not None:
        owner, name, when = MOMENTS[killed]
        kill_before(owner, name, when())
    os.environ["SELECTUNE_CACHE"] = str(cache)
    forward.FLUSH_SECONDS = 0.0  # a shard for each batch
    module = TextClassification(str(data), max_length=32, seed=0)
    module.load()
    scoring = ScoringModel(ModelSource(model, "local:tiny"), ScorerSettings(), 32, MAX_BATCH_TOKENS)
    rows = Rows(module.pool, module.tokenized("train", scoring.tokenizer))
    compute_signals(NAMES, rows, scoring, trainer_for, Ledger(run / "cost.jsonl", attempt=attempt), "fit")


def arrays(cache: Path) -> dict[str, np.ndarray]:
    return {file.parent.name: np.load(file) for file in sorted((cache / "signals").rglob("values.npy"))}


def test_no_kill_changes_a_bit(
    data_folder: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTUNE_CACHE", "restored")
    monkeypatch.setattr(forward, "FLUSH_SECONDS", 0.0)
    score(data_folder, model_folder, tmp_path / "uninterrupted", tmp_path / "reference", 1)
    expected = arrays(tmp_path / "uninterrupted")
    assert sorted(name.rsplit("-", 1)[0] for name in expected) == sorted(NAMES)

    run, cache = tmp_path / "run", tmp_path / "cache"
    for attempt, moment in enumerate(MOMENTS, start=1):
        process = fork(score, data_folder, model_folder, cache, run, attempt, moment)
        process.join()
        assert process.exitcode == -signal.SIGKILL, moment
        collect_open(run, before_attempt=attempt + 1)
    score(data_folder, model_folder, cache, run, len(MOMENTS) + 1)
    found = arrays(cache)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        assert found[name].tobytes() == values.tobytes(), name
    assert not list(cache.rglob("*.npz")), "no shard is left"
    assert not list(cache.rglob(".*-*")), "nothing half-written is left"
    scored = [record for record in read_ledger(run / "cost.jsonl") if record.stage == "score" and not record.cached]
    reference = [record for record in read_ledger(tmp_path / "reference" / "cost.jsonl") if record.stage == "score"]
    once, flops = (sum(getattr(record, name) for record in reference) for name in ("examples", "flops"))
    assert len([record for record in scored if not record.finished]) >= 2, "what a kill ended is charged too"
    examples = sum(record.examples for record in scored)
    assert once < examples <= once + MAX_BATCH_TOKENS, "all is charged, and one batch twice"
    assert sum(record.flops or 0 for record in scored) >= 0.999 * flops
    kept = add_up(r for r in split_costs(read_ledger(run / "cost.jsonl")).kept if r.stage == "score")
    assert kept.examples == once
    assert kept.flops == pytest.approx(flops, rel=1e-12), "what was done again is known to have been"
