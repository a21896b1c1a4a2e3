"""Metrics by their names: the scale of their values, and whether more of them is better."""

from __future__ import annotations

from selectune.common.run_files import BEFORE
from selectune.verdict.evidence import Metric
from selectune.verdict.row_metrics import IN_PERCENT

REDUCTION = "data_reduction"  # share of the pool that a run leaves out
MEAN = "mean_over_tasks"  # of the headlines of several tasks
FRACTIONS = (
    "accuracy", "micro_f1", "macro_f1", "matthews", "pearson", "spearman", "accuracy_norm", "accuracy_calibrated",
    "toxicity_probability", REDUCTION, MEAN,
)  # fmt: skip
PLAIN = ("perplexity", "loss", "expected_max_toxicity")  # neither fractions nor from 0 to 100
LOWER_IS_BETTER = (*PLAIN, "toxicity_probability")
KINDS = (*FRACTIONS, *IN_PERCENT, *PLAIN)


def metric_of(name: str) -> Metric:
    """A metric with its scale and its better side; one of an unknown kind is taken as it is, and more is better."""
    kind = kind_of(name)
    scale = "fraction" if kind in FRACTIONS else "percent" if kind in IN_PERCENT else "plain"
    return Metric(name, scale, kind not in LOWER_IS_BETTER)  # type: ignore[arg-type]


def kind_of(name: str) -> str:
    """A metric without what it is of: the evaluation or further split (``web/``), the kind of prompts or questions
    (``toxic_``), and that the model was not trained yet (``_before``)."""
    last = name.rpartition("/")[2].removesuffix(BEFORE)
    if last in KINDS:
        return last
    return max((kind for kind in KINDS if last.endswith(f"_{kind}")), key=len, default=last)
