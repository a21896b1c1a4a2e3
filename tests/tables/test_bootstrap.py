from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassF1Score

from selectune.tables import bootstrap
from selectune.tables.bootstrap import (
    REPLICATES,
    Difference,
    RowMetrics,
    difference,
    replicated,
    row_counts,
    seed_counts,
)


def made(n_seeds: int, n_rows: int, better: float, seed: int = 0) -> tuple[list[float], list[float], list]:
    """Two classifiers on the same rows, the first of them right more often."""
    random = np.random.default_rng(seed)
    label = random.integers(3, size=n_rows)
    pairs = []
    for _ in range(n_seeds):
        row_metrics = []
        for share in (0.7 + better, 0.7):
            prediction = np.where(random.random(n_rows) < share, label, (label + 1) % 3)
            row_metrics.append({"row_id": np.arange(n_rows), "label": label, "prediction": prediction})
        pairs.append(tuple(row_metrics))
    accuracy = [[float((one["label"] == one["prediction"]).mean()) for one in side] for side in zip(*pairs)]
    return accuracy[0], accuracy[1], pairs


def found(n_seeds: int, n_rows: int, better: float, seed: int = 0, metric: str = "accuracy") -> Difference:
    gap = difference(metric, *made(n_seeds, n_rows, better, seed))
    assert gap is not None
    return gap


def test_a_method_does_not_differ_from_itself() -> None:
    ours, _, pairs = made(3, 100, 0.1)
    gap = difference("accuracy", ours, ours, [(one, one) for one, _ in pairs])
    assert gap == Difference(0.0, 0.0, 0.0, 3, True)


def test_it_is_the_same_each_time_and_turns_its_sign_with_the_methods() -> None:
    ours, theirs, pairs = made(3, 200, 0.1)
    gap, again = (difference("accuracy", ours, theirs, pairs) for _ in range(2))
    back = difference("accuracy", theirs, ours, [(b, a) for a, b in pairs])
    assert gap == again
    assert gap is not None
    assert back is not None
    assert (back.value, back.low, back.high) == pytest.approx((-gap.value, -gap.high, -gap.low), abs=1e-6)


def test_the_interval_holds_the_value_and_shrinks_with_rows() -> None:
    few, many = found(3, 100, 0.1), found(3, 10_000, 0.1)
    for gap in (few, many):
        assert gap.low <= gap.value <= gap.high
    assert many.high - many.low < (few.high - few.low) / 4
    assert many.low > 0


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    gaps = [found(8, 150, 0.1, seed) for seed in range(60)]
    covered = sum(gap.low <= 0.1 <= gap.high for gap in gaps)
    assert 50 <= covered <= 60


@pytest.mark.parametrize("metric", ["accuracy", "micro_f1", "macro_f1"])
def test_it_equals_a_slow_loop(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    n_seeds, n_rows, few = 2, 12, 200
    drawn_rows, drawn_seeds = row_counts(n_rows)[:few], seed_counts(n_seeds)[:few]
    monkeypatch.setattr(bootstrap, "row_counts", lambda _: drawn_rows)
    monkeypatch.setattr(bootstrap, "seed_counts", lambda _: drawn_seeds)
    ours, theirs, pairs = made(n_seeds, n_rows, 0.2)
    gap = difference(metric, ours, theirs, pairs)
    means = []
    for rows, seeds in zip(drawn_rows, drawn_seeds):
        drawn = np.repeat(np.arange(n_rows), rows)
        total = 0.0
        for (a, b), times in zip(pairs, seeds):
            total += times * (slow(metric, a, drawn) - slow(metric, b, drawn))
        means.append(total / n_seeds)
    assert gap is not None
    assert (gap.low, gap.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=1e-6)


def slow(metric: str, row_metrics: RowMetrics, rows: np.ndarray) -> float:
    label, prediction = row_metrics["label"][rows], row_metrics["prediction"][rows]
    if metric != "macro_f1":
        return float((label == prediction).mean())
    measured = MulticlassF1Score(3, average="macro")(torch.from_numpy(prediction), torch.from_numpy(label))
    return float(measured)


def test_it_is_near_what_all_draws_of_a_tiny_case_give() -> None:
    label, right = np.array([0, 1, 0]), np.array([[[1, 1, 0], [0, 1, 0]], [[1, 0, 1], [0, 0, 1]]])
    pairs = [
        tuple({"row_id": np.arange(3), "label": label, "prediction": np.where(one, label, 1 - label)} for one in pair)
        for pair in right
    ]
    gaps = right[:, 0] - right[:, 1]
    all_means = [
        gaps[np.ix_(seeds, rows)].mean()
        for seeds in product(range(2), repeat=2)
        for rows in product(range(3), repeat=3)
    ]
    counts = row_counts(3)
    per_seed = np.stack([replicated("accuracy", a, counts) - replicated("accuracy", b, counts) for a, b in pairs])
    means = (seed_counts(2).T * per_seed).sum(0) / 2
    assert means.mean() == pytest.approx(np.mean(all_means), abs=0.02)
    assert means.std() == pytest.approx(np.std(all_means), rel=0.1)
    ours, theirs = right[:, 0].mean(1), right[:, 1].mean(1)
    gap = difference("accuracy", list(ours), list(theirs), pairs)
    assert gap is not None
    assert gap.low == pytest.approx(np.quantile(all_means, 0.025), abs=1e-6)
    assert gap.high == pytest.approx(np.quantile(all_means, 0.975), abs=1e-6)


def test_without_row_metrics_of_the_same_rows_seeds_alone_are_drawn() -> None:
    ours, theirs, pairs = made(3, 50, 0.2)
    other_rows = [(a, dict(b) | {"row_id": b["row_id"] + 1}) for a, b in pairs]
    for metric, row_metrics in (("accuracy", [({}, {})] * 3), ("matthews", pairs), ("accuracy", other_rows)):
        gap = difference(metric, ours, theirs, row_metrics)
        assert gap is not None
        assert not gap.over_rows
        gaps = np.subtract(ours, theirs)
        assert gaps.min() - 1e-9 <= gap.low <= gap.value <= gap.high <= gaps.max() + 1e-9
    assert difference("accuracy", ours[:1], theirs[:1], [({}, {})]) is None
    assert difference("accuracy", [], [], []) is None


def test_answers_are_drawn_by_their_row_metrics() -> None:
    row_metrics = {"row_id": np.arange(4), "em": np.array([1.0, 0, 0, 1]), "f1": np.array([1.0, 0.5, 0, 1])}
    counts = row_counts(4)
    for metric in ("em", "f1"):
        expected = (counts * row_metrics[metric]).sum(1) / 4
        np.testing.assert_allclose(replicated(metric, row_metrics, counts), expected, atol=1e-6)
    assert replicated("accuracy", row_metrics, counts) is None


def test_each_replicate_has_as_many_rows_and_seeds_as_there_are() -> None:
    assert row_counts(7).shape == (REPLICATES, 7)
    assert (row_counts(7).sum(1) == 7).all()
    assert (seed_counts(3).sum(1) == 3).all()
