"""Wrong labels, rare classes, and groups that a probe fails on."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.data.class_prior import ClassPrior
from selectune.diagnose.classes import hard_groups, label_issues, rare_classes
from selectune.diagnose.findings import Finding, wilson

NAMES = ["art", "sports", "news"]


def noisy(noise: float, n: int = 900, knows: float = 0.97, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Labels of which some are wrong, probabilities of a probe that learned from them, and which are wrong."""
    random = np.random.default_rng(seed)
    true = random.integers(3, size=n)
    wrong = random.random(n) < noise
    labels = np.where(wrong, (true + random.integers(1, 3, size=n)) % 3, true)
    clean = np.eye(3)[true] * knows + (1 - knows) / 3
    channel = np.full((3, 3), noise / 2)
    np.fill_diagonal(channel, 1 - noise)
    return labels, clean @ channel, wrong


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_wrong_labels_are_named_and_counted(noise: float) -> None:
    labels, probabilities, wrong = noisy(noise)
    found = label_issues(labels, probabilities, NAMES, seed=0)
    assert wrong[found.rows].mean() > 0.9
    assert wrong[found.rows].sum() > 0.9 * wrong.sum()
    assert found.share == pytest.approx(wrong.mean(), abs=0.05)
    assert found.low < found.share < found.high
    assert np.sum(found.details["joint"]) == pytest.approx(1, abs=1e-2)
    assert found.details["classes"] == NAMES


def test_correct_labels_are_not_accused() -> None:
    labels, probabilities, _ = noisy(0.0)
    found = label_issues(labels, probabilities, NAMES, seed=0)
    assert len(found.rows) == 0
    assert found.share < 0.02


def test_a_probe_no_better_than_the_largest_class_accuses_nobody() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(600) < 0.2).astype(np.int64)
    guesses = random.dirichlet([1.0, 1.0], size=600)
    found = label_issues(labels, guesses, NAMES[:2], seed=0)
    assert not found.details["able"]
    assert len(found.rows) == 0
    assert found.details["largest_class"] == pytest.approx((labels == 0).mean())


def test_intervals_of_large_pools_are_as_those_of_small_ones() -> None:
    labels, probabilities, _ = noisy(0.2, n=20_000)
    by_draws = label_issues(labels, probabilities, NAMES, seed=0)
    more, few = np.append(labels, labels[:1]), np.append(probabilities, probabilities[:1], axis=0)
    by_formula = label_issues(more, few, NAMES, seed=0)
    width = by_draws.high - by_draws.low
    assert by_formula.high - by_formula.low == pytest.approx(width, rel=0.3)


def test_rare_classes_have_less_than_a_fifth_of_an_even_share() -> None:
    labels = np.repeat([0, 1, 2], [500, 460, 40])
    found = rare_classes(labels, [*NAMES, "weather"])
    assert found.rows.tolist() == list(range(960, 1000))
    assert found.details["rare"] == ["news"]
    assert found.details["missing"] == ["weather"]
    assert found.scores[-1] > found.scores[600] > found.scores[0] == 0
    assert len(rare_classes(np.repeat([0, 1, 2], [500, 400, 100]), NAMES).rows) == 0


def test_a_class_is_rare_by_the_prior_that_is_assumed() -> None:
    labels = np.repeat([0, 1, 2], [500, 460, 40])
    assert rare_classes(labels, NAMES).details["prior"] == "balanced"
    as_in_train = rare_classes(labels, NAMES, ClassPrior("train", (0.5, 0.46, 0.04)))
    assert len(as_in_train.rows) == 0
    assert np.ptp(as_in_train.scores) == pytest.approx(0)
    # a class that nearly all rows will be of is rare where it has a tenth of them
    labels = np.repeat([0, 1, 2], [100, 450, 450])
    given = rare_classes(labels, NAMES, ClassPrior("given", (0.9, 0.1, 0.0)))
    assert given.details["rare"] == ["art"]
    assert given.details["expected"] == {"art": 0.9, "sports": 0.1, "news": 0.0}
    assert given.scores[0] > given.scores[150] == given.scores[999] == 0


def test_hard_groups_are_where_the_probe_fails() -> None:
    random = np.random.default_rng(0)
    group = random.integers(6, size=900)
    embeddings = random.normal(size=(900, 8)) * 0.2 + 4 * np.eye(8)[group]
    labels = random.integers(2, size=900)
    right = random.random(900) < np.where(group == 3, 0.4, 0.95)
    probabilities = np.eye(2)[np.where(right, labels, 1 - labels)]
    keys = np.arange(900, dtype=np.uint64)
    found = hard_groups(embeddings, labels, probabilities, keys, seed=0)
    assert found
    for one in found:
        assert (group[one["rows"]] == 3).mean() > 0.9
        assert one["low"] > (~right).mean()
        assert one["low"] <= one["error"] <= one["high"]
    assert [one["low"] for one in found] == sorted((one["low"] for one in found), reverse=True)
    even = np.eye(2)[np.where(random.random(900) < 0.9, labels, 1 - labels)]
    assert hard_groups(embeddings, labels, even, keys, seed=0) == []


def test_intervals_of_counted_shares_are_inside_0_and_1() -> None:
    for count in range(0, 21):
        low, high = wilson(count, 20)
        assert 0 <= low <= count / 20 <= high <= 1
    assert wilson(0, 20)[0] == 0.0
    assert wilson(20, 20)[1] == 1.0
    found = Finding.counted("empty", np.zeros(10), np.array([], dtype=np.int64), more=1)
    assert (found.share, found.low, found.details) == (0.0, 0.0, {"more": 1})
