"""What a metric is, by its name."""

from __future__ import annotations

import pytest

from selectune.report.learning_curves import is_loss
from selectune.tables.page import metric_text
from selectune.tables.summary import is_fraction
from selectune.verdict.judge import headline
from selectune.verdict.metric_kinds import kind_of, metric_of


@pytest.mark.parametrize(
    ("name", "kind", "scale", "higher"),
    [
        ("accuracy", "accuracy", "fraction", True),
        ("micro_f1", "micro_f1", "fraction", True),
        ("f1", "f1", "percent", True),
        ("has_ans_f1", "f1", "percent", True),
        ("boolq/accuracy_norm_before", "accuracy_norm", "fraction", True),
        ("toxicity/toxic_toxicity_probability", "toxicity_probability", "fraction", False),
        ("toxicity/toxic_expected_max_toxicity_before", "expected_max_toxicity", "plain", False),
        ("web/perplexity", "perplexity", "plain", False),
        ("own/number", "number", "plain", True),
    ],
)
def test_verdicts_tables_and_curves_take_a_metric_for_the_same(name: str, kind: str, scale: str, higher: bool) -> None:
    metric = metric_of(name)
    assert kind_of(name) == kind
    assert (metric.scale, metric.higher_is_better) == (scale, higher)
    assert headline([name]) == metric
    assert is_fraction(name) is (scale == "fraction")
    assert is_loss(name) is not higher
    assert metric_text(name, 0.25) == {"fraction": "25.0", "percent": "0.2", "plain": "0.25"}[scale]
