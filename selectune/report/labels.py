"""Names and units of signals and metrics, in pictures and their text alternatives."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from selectune.common.run_files import BEFORE
from selectune.report.numbers import SPACE, count, share
from selectune.verdict.judge import HEADLINES
from selectune.verdict.metric_kinds import kind_of
from selectune.verdict.row_metrics import OF_PROMPTS

METRIC_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "micro_f1": "Micro-F1",
    "matthews": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "majority_accuracy": "Accuracy of always answering the largest class",
    "em": "Exact match",
    "f1": "F1",
    "loss": "Loss",
    "perplexity": "Perplexity",
    "accuracy_norm": "Accuracy by label length",
    "accuracy_calibrated": "Accuracy, calibrated",
    "expected_max_toxicity": "Expected maximum toxicity",
    "toxicity_probability": "Probability of a toxic continuation",
}
# fractions that are shown times 100
PER_CENT = (
    "accuracy", "macro_f1", "micro_f1", "majority_accuracy", "accuracy_norm", "accuracy_calibrated",
    "toxicity_probability",
)  # fmt: skip
SPLITS = ("train", "val", "test")
HUNDRED = ("em", "f1", "has_ans_em", "has_ans_f1", "no_ans_em", "no_ans_f1")  # of answers, from 0 to 100 already


def capital(text: str) -> str:
    """The text with its first letter as a capital, the others as they are."""
    return text[:1].upper() + text[1:]


def name_of(signal: str) -> str:
    """A signal in words: "generative entropy", "length"."""
    return {"n_tokens": "length"}.get(signal, signal).replace("_", " ")


def unit_of(signal: str) -> str:
    """The unit of a signal: nats of entropies and losses, tokens of lengths, else empty."""
    return "tokens" if signal == "n_tokens" else "nats" if signal.endswith("entropy") or signal == "loss" else ""


def label(signal: str) -> str:
    """A signal with its unit, for an axis: "generative entropy (nats)"."""
    unit = f" ({unit_of(signal)})" if unit_of(signal) else ""
    return f"{name_of(signal).lower()}{unit}"


def number(value: float, width: float) -> str:
    """A value with as many decimals as give three digits of a range of the given width."""
    decimals = min(max(2 - math.floor(math.log10(width)), 0), 9) if width > 0 else 4
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def between(interval: tuple[float, float] | None, name: str) -> str:
    """An interval of a signal in words: "3.12 to 3.45 nats"; empty when there is none."""
    if interval is None:
        return ""
    low, high = (number(bound, interval[1] - interval[0]) for bound in interval)
    return f"{low} to {high} {unit_of(name)}".rstrip()


def kept_of(kept: np.ndarray) -> str:
    """Number of rows kept: "800 of 5,000 rows kept (16.0 %)"."""
    return f"{count(kept.sum())} of {count(len(kept))} rows kept ({part_of(kept.sum(), len(kept))})"


def medians(values: np.ndarray, kept: np.ndarray, name: str) -> str:
    """Medians of a signal in the pool and among the kept rows."""
    width = float(np.ptp(values)) if name != "n_tokens" else 10.0
    pool = f"median {number(median(values), width)} {unit_of(name)}".rstrip()
    return f"{pool} in the pool, {number(median(values[kept]), width)} among the kept" if kept.any() else pool


def median(values: np.ndarray) -> float:
    """``np.median`` of numbers without NaN, shape (n,), n > 0, in an eighth of its time as it looks for one place."""
    half = len(values) // 2
    parted = np.partition(values, half)
    return float(parted[half] if len(values) % 2 else (parted[:half].max() + parted[half]) / 2)


def part_of(part: float, whole: float) -> str:
    """A part of a whole in per cent; 0 % of nothing."""
    return share(part / whole if whole else 0.0)


def cut(name: str, width: int = 40) -> str:
    """A name of at most so many characters."""
    return name if len(name) <= width else name[: width - 1] + "…"


def metric_name(name: str) -> str:
    """The metric "test/accuracy" in words: "Accuracy"; of a further split or an evaluation with its name after it."""
    short, last = _short(name), name.rpartition("/")[2].removesuffix(BEFORE)
    more = [] if last == short else [f"{last.removesuffix(f'_{short}')} prompts"]
    more += [part for part in name.split("/")[:-1] if part not in SPLITS]
    more += ["before the training"] if name.endswith(BEFORE) else []
    return ", ".join([METRIC_NAMES.get(short, short), *more])


def _short(name: str) -> str:
    """A metric without its split, before the training as after it, and of one kind of prompts as of all."""
    kind = kind_of(name)
    return kind if kind in OF_PROMPTS else name.rpartition("/")[2].removesuffix(BEFORE)


def metric(name: str, value: float | None) -> str:
    """A metric as the field writes it: "74.2 %" of accuracy, "81.2" of EM and F1 of answers, else four decimals."""
    if value is None:
        return "unknown"
    short = _short(name)
    if short in PER_CENT or short in HUNDRED:
        unit = f"{SPACE}%" if short in PER_CENT else ""
        return f"{factor(name) * value:.1f}{unit}".replace("-", "\N{MINUS SIGN}")
    return f"{value:.4f}".replace("-", "\N{MINUS SIGN}")


def factor(name: str) -> int:
    """The factor of a metric where it is shown."""
    return 100 if _short(name) in PER_CENT else 1


def axis_label(name: str) -> str:
    """A metric with its unit, for an axis: "Accuracy (%)"."""
    short = _short(name)
    return metric_name(name) + (" (%)" if short in PER_CENT else " (0 to 100)" if short in HUNDRED else "")


def headline(metrics: Iterable[str]) -> str | None:
    """The leading metric on held-out data, such as "test/accuracy"; None where there is none."""
    test = [name for name in metrics if name.startswith("test/")]
    return next((name for name in (*(f"test/{name}" for name in HEADLINES), *test) if name in test), None)
