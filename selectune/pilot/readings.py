"""Signals of a pool and of held-out rows that a pilot reads: those that its diagnosis left, and what costs no pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.common.files import default_cache
from selectune.data.pool import Pool
from selectune.pilot.plan_rows import compares, needed
from selectune.pilot.recipes import Recipe
from selectune.pilot.small_trainings import PART
from selectune.runs.job import Job
from selectune.selection.request import cached_tokens
from selectune.selectors.base import Signals
from selectune.signals.compute import compute_signals, read_signals
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.store import SignalStore

FREE = ("text", "derived")  # kinds of signals that take no pass of a model


def available(job: Job, recipes: Mapping[str, Recipe], scoring: ScoringModel) -> dict[str, Recipe]:
    """The recipes whose rows can be chosen without another pass over the pool."""
    store, made = SignalStore(default_cache()), {}
    for name, recipe in recipes.items():
        wanted = [scoring.define(signal, job.data.pool) for signal in scoring.with_sources(needed(recipe))]
        if not compares(recipe) and all(one.kind in FREE or store.has(one) for one in wanted):
            made[name] = recipe
    return made


def read_pool(job: Job, scoring: ScoringModel, recipes: Iterable[Recipe]) -> Signals:
    """The signals of the pool that recipes read, its embeddings, and what unseen rows are judged by."""
    data = job.data
    names = frozenset({"embedding", "class_probabilities", "text_hash"}).union(*(needed(recipe) for recipe in recipes))
    return _read(job, scoring, names, data.pool, data.labels["train"])


def read_held_out(job: Job, scoring: ScoringModel, rows: np.ndarray) -> np.ndarray:
    """Embeddings of some rows of ``dev``, shape (n_rows, width)."""
    split = job.data.splits["dev"]
    dev = Pool(split, job.data.text_columns, f"dev of {job.data.pool.source}", np.arange(len(split))).take(rows)
    return np.asarray(_read(job, scoring, frozenset({"embedding"}), dev)["embedding"])


def _read(job: Job, scoring: ScoringModel, names: frozenset[str], pool: Pool, labels: Any = None) -> Signals:
    def trainer_for(**settings: Any) -> pl.Trainer:
        return job.make_trainer(logger=False, enable_checkpointing=False, **settings)

    prior = job.data.prior if labels is not None else None
    rows = Rows(pool, cached_tokens(pool, scoring.tokenizer, job.data.max_length), labels, prior=prior)
    return read_signals(compute_signals(names, rows, scoring, trainer_for, job.ledger, PART), rows)
