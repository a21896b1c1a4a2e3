"""Metrics of a logistic head on frozen embeddings that learns from the rows of each rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache

import numpy as np
from _pools import CleanRows, Encoder, text_hash
from _table import Row
from pool_faults import FaultyPool

from selectune.selectors import Balanced, LabelIssues, Random, SemanticDuplicates
from selectune.selectors.base import Budget, Selector, Signals
from selectune.selectors.filtering import Filter
from selectune.signals.cross_fit import cross_fit
from selectune.verdict.intervals import difference_of_seeds

RANDOM, ALL_ROWS = "random", "all rows"
RULES: dict[str, tuple[Filter | None, Selector]] = {
    RANDOM: (None, Random()),
    "balanced": (None, Balanced()),
    "drop copies": (SemanticDuplicates(), Random()),
    "drop label issues": (LabelIssues(), Random()),
}
PENALTY = 1e-2  # inverse strength of the head's ridge penalty
METRICS = ("accuracy", "macro_f1")


def outcomes(case: str, pool: FaultyPool, clean: CleanRows, encoder: Encoder, keep: float) -> list[Row]:
    """Accuracy and macro F1 on held-out rows of heads on the rows that each rule chooses, and on all rows.

    Beside each stands a head on random rows, as many as the rule chose, or as the budget has where all rows are used.
    """
    embeddings, _ = encoder.states(pool.texts)
    held_out, _ = encoder.states(clean.held_out)
    signals = _signals(pool, embeddings, encoder, clean.seed)
    n, seed = len(pool.texts), clean.seed
    budget = round(keep * n)

    def score(rows: np.ndarray) -> tuple[float, float]:
        return _head(embeddings[rows], pool.labels[rows], held_out, clean.held_out_labels)

    @cache
    def at_random(n_rows: int) -> tuple[float, float]:
        return score(Random().select(signals, None, Budget(rows=n_rows), seed).rows)

    rows = []
    chosen = {rule: _chosen(rule, signals, budget, seed) for rule in RULES} | {ALL_ROWS: np.arange(n)}
    for rule, picked in chosen.items():
        rows.append(Row(case, rule, "rows", len(picked)))
        pairs = zip(METRICS, score(picked), at_random(min(len(picked), budget)), strict=True)
        for metric, value, random in pairs:
            rows += [Row(case, rule, metric, value), Row(case, rule, f"{metric}_of_random", random)]
    return rows


def intervals(rows: Iterable[Row]) -> list[Row]:
    """Means over seeds, and the differences from random rows with t intervals over seeds."""
    values: dict[tuple[str, str], dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        case, seed = row.case.rsplit("/", 1)
        values[case, row.variant][row.metric][int(seed)] = row.value
    made = []
    for (case, rule), of in values.items():
        made.append(Row(case, rule, "rows", float(np.mean(list(of["rows"].values())))))
        for metric in METRICS:
            made.append(Row(case, rule, metric, float(np.mean(list(of[metric].values())))))
            difference = difference_of_seeds(of[metric], of[f"{metric}_of_random"])
            if rule != RANDOM and difference is not None:
                gaps = (("vs_random", difference.value), ("low", difference.low), ("high", difference.high))
                made += [Row(case, rule, f"{metric}_{name}", value) for name, value in gaps]
    return made


def _signals(pool: FaultyPool, embeddings: np.ndarray, encoder: Encoder, seed: int) -> Signals:
    hashes, tokens = text_hash(pool.texts), encoder.tokens(pool.texts)
    return Signals(
        {
            "text_hash": hashes,
            "n_tokens": tokens.n_tokens(),
            "input_tokens": tokens.lengths,
            "label": pool.labels,
            "embedding": embeddings,
            "class_probabilities": cross_fit(embeddings, pool.labels, hashes, seed).probabilities,
        }
    )


def _chosen(rule: str, signals: Signals, budget: int, seed: int) -> np.ndarray:
    """Rows of the budget, or as many as a filter leaves."""
    leave, selector = RULES[rule]
    left = np.arange(signals.n_rows) if leave is None else leave.kept(signals, None, seed).rows
    picked = selector.select(signals.take(left), None, Budget(rows=min(budget, len(left))), seed)
    return left[picked.rows]


def _head(known: np.ndarray, labels: np.ndarray, held_out: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Accuracy and macro F1 of logistic regression on standardised embeddings."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=500)).fit(known, labels)
    guessed = head.predict(held_out)
    return float(accuracy_score(true, guessed)), float(f1_score(true, guessed, average="macro"))
