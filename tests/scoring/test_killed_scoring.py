"""Scoring that is killed again and again ends with the bits of scoring that never was."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.costs import add_up
from selectune.datamodules import TextClassification
from selectune.ledger import Ledger, collect_open, read_ledger
from selectune.lightning_modules.language_scorer import LanguageScorer
from selectune.paths import default_cache
from selectune.scoring import forward
from selectune.scoring.compute import compute_signals
from selectune.scoring.definitions import Rows, ScoringModel
from selectune.scoring.settings import ScorerSettings
from selectune.signals import SignalStore
from selectune.sources import ModelSource
from selectune.unbroken import split_costs
from tests.test_choosing import trainer_for

NAMES = ["generative_entropy", "loss", "embedding", "information_entropy", "semantic_entropy"]
MAX_BATCH_TOKENS = 64
PAUSE_S = 0.02  # in each batch, so that there is a while to be killed in


def score(data: Path, model: Path, cache: Path, run: Path, attempt: int, kill_after: float | None) -> None:
    """Bring all signals into the store; killed so many seconds after the scoring began."""
    os.environ["SELECTUNE_CACHE"] = str(cache)
    forward.FLUSH_SECONDS = 0.0  # a shard for each batch
    forwards = LanguageScorer.forward

    def slowly(scorer: LanguageScorer, batch: dict[str, Any]) -> Any:
        time.sleep(PAUSE_S)
        return forwards(scorer, batch)

    LanguageScorer.forward = slowly  # type: ignore[method-assign]
    module = TextClassification(str(data), max_length=32, seed=0)
    module.load()
    scoring = ScoringModel(ModelSource(model, "local:tiny"), ScorerSettings(), 32, MAX_BATCH_TOKENS)
    rows = Rows(module.pool, module.tokenized("train", scoring.tokenizer))
    if kill_after is not None:
        threading.Timer(kill_after, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
    try:
        compute_signals(NAMES, rows, scoring, trainer_for, Ledger(run / "cost.jsonl", attempt=attempt), "fit")
    finally:
        LanguageScorer.forward = forwards  # type: ignore[method-assign]


def arrays(cache: Path) -> dict[str, np.ndarray]:
    return {file.parent.name: np.load(file) for file in sorted((cache / "signals").rglob("values.npy"))}


def test_five_kills_change_no_bit(
    data_folder: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / "unbroken"))
    monkeypatch.setattr(forward, "FLUSH_SECONDS", 0.0)
    began = time.monotonic()
    score(data_folder, model_folder, tmp_path / "unbroken", tmp_path / "reference", 1, None)
    lasts = time.monotonic() - began
    expected = arrays(tmp_path / "unbroken")
    assert sorted(name.rsplit("-", 1)[0] for name in expected) == sorted(NAMES)

    spawn = multiprocessing.get_context("spawn")
    run, cache = tmp_path / "run", tmp_path / "cache"
    moments = np.random.default_rng(0).uniform(0.1, 0.7, size=5) * lasts
    killed = 0
    for attempt, moment in enumerate(moments, start=1):
        arguments = (data_folder, model_folder, cache, run, attempt, float(moment))
        process = spawn.Process(target=score, args=arguments)
        process.start()
        process.join(timeout=300)
        killed += process.exitcode == -signal.SIGKILL
        collect_open(run, before_attempt=attempt + 1)
    assert killed >= 2, "it was killed while there was something left to do"
    os.environ["SELECTUNE_CACHE"] = str(cache)
    score(data_folder, model_folder, cache, run, 6, None)
    found = arrays(default_cache())
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        assert found[name].tobytes() == values.tobytes(), name
    assert not list(cache.rglob("*.npz")), "no shard is left"
    assert not list(cache.rglob(".*-*")), "nothing half-written is left"
    scored = [record for record in read_ledger(run / "cost.jsonl") if record.stage == "score"]
    reference = [r for r in read_ledger(tmp_path / "reference" / "cost.jsonl") if r.stage == "score"]
    done_once, flops_once = (sum(getattr(r, name) for r in reference) for name in ("examples", "flops"))
    assert len([record for record in scored if not record.finished]) >= 1, "what a kill ended is charged too"
    more = killed * MAX_BATCH_TOKENS  # a kill between a charge and its shard
    assert done_once <= sum(record.examples for record in scored) <= done_once + more, "nothing kept is uncharged"
    assert sum(record.flops or 0 for record in scored) >= 0.999 * flops_once
    kept = add_up(r for r in split_costs(read_ledger(run / "cost.jsonl")).kept if r.stage == "score")
    assert kept.examples == done_once
    assert kept.flops == pytest.approx(flops_once, rel=1e-12), "what was done again is known to have been"
    assert SignalStore(cache).root.is_dir()
