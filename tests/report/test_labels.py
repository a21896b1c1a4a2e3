"""Names of metrics on pages and pictures."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.report.labels import axis_label, factor, median, metric, metric_name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test/accuracy", "Accuracy"),
        ("accuracy", "Accuracy"),
        ("val/loss", "Loss"),
        ("natural/accuracy", "Accuracy, natural"),
        ("test/natural/macro_f1", "Macro-F1, natural"),
        ("test/boolq/accuracy_norm_before", "Accuracy by label length, boolq, before the training"),
        ("toxicity/toxic_expected_max_toxicity", "Expected maximum toxicity, toxic prompts, toxicity"),
    ],
)
def test_a_metric_says_which_data_it_is_of(name: str, words: str) -> None:
    assert metric_name(name) == words


def test_fractions_are_in_per_cent_also_before_the_training_and_of_other_data() -> None:
    for name in ("test/accuracy", "test/boolq/accuracy_norm", "test/boolq/accuracy_before"):
        assert factor(name) == 100
        assert metric(name, 0.5) == metric("accuracy", 0.5)
        assert axis_label(name).endswith("(%)")
    assert factor("test/web/perplexity_before") == 1


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("values", [2, 1000])
def test_a_median_is_that_of_numpy(n: int, values: int) -> None:
    numbers = np.random.default_rng(n).integers(0, values, n) * 0.1
    assert median(numbers) == np.median(numbers)
