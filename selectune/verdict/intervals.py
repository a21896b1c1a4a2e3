"""The difference of a run's metric to that of an arm it is compared with, with a 95 % interval and p.

Both are tested on the same held-out rows with the same seeds, so the difference is taken row by row and seed by seed.
Two things in it are chance: which rows were held out, and which seeds were drawn. With values ``d[s, i]`` of S seeds
and n rows, the interval is the mean plus or minus

    sqrt(t(S - 1)^2 * seeds + t(n - 1)^2 * rows)

    seeds   variance over s of the mean over i, divided by S
    rows    variance over i of the mean over s, divided by n, less the noise of single runs that `seeds` has already

Where rows add nothing, that is the t interval over the seeds' means. It alone would take the held-out rows for all
there are: seeds share them, so what is particular in them does not show between seeds. Half widths of independent parts
are combined by their squares (Zou & Donner 2008) instead of by degrees of freedom for the sum (Satterthwaite 1946),
since the latter hold the truth too seldom with two or three seeds; a bootstrap over rows and seeds does so more seldom
still where seeds differ, and too often where they do not. `benchmarks/interval_coverage.py` measures it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from selectune.common.errors import UserError
from selectune.verdict.row_metrics import (
    IN_PERCENT,
    OF_TEXTS,
    Rows,
    Values,
    as_tested,
    by_row_id,
    row_values,
    smallest_class,
    what_differs,
)  # fmt: skip

Over = Literal["seeds and rows", "rows", "seeds"]
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """A run's metric less that of another, in the metric's unit: fractions, or 0 to 100 of EM and F1.

    Args:
        value: the mean over seeds.
        low: lower bound of the 95 % interval.
        high: upper bound.
        p: two-sided, that it is 0; by McNemar's exact test for the accuracy of one seed.
        n_seeds: that both have.
        n_rows: held-out rows, 0 where only the metric of each run is known.
        over: the chance that the interval covers; "rows" is that of one seed, and says nothing about another.
        p_holm: p corrected for the number of comparisons, see `corrected`; None when it was not.
    """

    value: float
    low: float
    high: float
    p: float
    n_seeds: int
    n_rows: int
    over: Over
    p_holm: float | None = None

    def __post_init__(self) -> None:
        numbers = (self.value, self.low, self.high, self.p, 0.0 if self.p_holm is None else self.p_holm)
        if not all(isinstance(number, int | float) and -math.inf < number < math.inf for number in numbers):
            raise UserError("A difference must have finite numbers for its value, its interval and p.")
        if not self.low <= self.value <= self.high:
            raise UserError(f"A difference of {self.value} lies outside its interval, {self.low} to {self.high}.")
        if not 0 <= self.p <= 1 or self.n_seeds < 1 or self.n_rows < 0 or self.over not in get_args(Over):
            raise UserError("A difference needs p from 0 to 1, at least one seed, and what its interval is over.")


@dataclass(frozen=True)
class ClassChange:
    """The change of accuracy on the smallest class.

    Args:
        name: of the class.
        difference: against the arm; its ``n_rows`` are those of the class.
    """

    name: str
    difference: Difference


def paired_difference(
    metric: str, run: Mapping[int, Rows], arm: Mapping[int, Rows], of_class: int | None = None
) -> Difference | None:
    """The difference of a metric between a run and an arm, paired by seed and by held-out row.

    Args:
        metric: its name, such as ``accuracy``, ``macro_f1``, ``em``, or ``web/loss`` of an evaluation.
        run: by seed, the columns of ``test_scores.parquet``, or of the rows of that evaluation.
        arm: the same of the other; seeds that only one of them has are left out.
        of_class: take the rows alone that have this label; of use for ``accuracy``.

    Returns:
        None where the metric does not follow from the rows; `difference_of_seeds` may know it then.

    Raises:
        UserError: no seed in common, other rows, other labels, fewer than two rows, or a value that is no number.
    """
    seeds = _common_seeds(run, arm)
    pairs = [(by_row_id(run[seed], "the run"), by_row_id(arm[seed], "the arm")) for seed in seeds]
    _check_same_rows([rows for pair in pairs for rows in pair])
    known_as = as_tested(metric, pairs[0][0])[0]
    pairs = [(as_tested(metric, ours)[1], as_tested(metric, theirs)[1]) for ours, theirs in pairs]
    if of_class is not None:
        pairs = [(_only(of_class, ours), _only(of_class, theirs)) for ours, theirs in pairs]
    if len(pairs[0][0]["row_id"]) < 2:
        raise UserError("At least two held-out rows are needed to compare runs; use a larger test split.")
    values = [(row_values(known_as, ours), row_values(known_as, theirs)) for ours, theirs in pairs]
    known = [(ours, theirs) for ours, theirs in values if ours is not None and theirs is not None]
    if len(known) < len(values):
        return None
    gaps = np.stack([ours.values - theirs.values for ours, theirs in known])
    difference = interval(gaps, floor=_floor(known))
    if len(seeds) == 1 and known_as in ("accuracy", "micro_f1"):
        return replace(difference, p=mcnemar(*pairs[0]))
    return difference


def interval(gaps: np.ndarray, floor: float = 0.0) -> Difference:
    """Mean, interval and p of differences that are random in seeds and in rows; see the module for the formula.

    Args:
        gaps: of each seed and row, float64, shape (n_seeds, n_rows), at least two rows.
        floor: least variance of the mean, however much the rows agree.
    """
    n_seeds, n_rows = gaps.shape
    gaps = gaps - (value := float(gaps.mean()))
    of_rows = gaps.mean(0)
    rows = float(of_rows @ of_rows) / (n_rows - 1) / n_rows
    if n_seeds == 1:
        return _t_interval(value, [(max(rows, floor), n_rows - 1)], n_seeds, n_rows, "rows")
    of_seeds = gaps.mean(1)
    seeds = float(of_seeds @ of_seeds) / (n_seeds - 1) / n_seeds
    noise = gaps - of_rows - of_seeds[:, None]
    rows -= float((noise * noise).sum()) / ((n_seeds - 1) * (n_rows - 1)) / (n_seeds * n_rows)
    parts = [(seeds, n_seeds - 1), (max(rows, floor - seeds, 0.0), n_rows - 1)]
    return _t_interval(value, parts, n_seeds, n_rows, "seeds and rows")


def interval_of_metric(metric: str, runs: Sequence[Rows], value: float) -> tuple[float, float] | None:
    """Bounds of the 95 % interval of a metric itself over held-out rows and seeds, cut where the metric's range ends.

    With one seed it is over rows alone, and says nothing about another seed.

    Args:
        metric: its name, as in `paired_difference`.
        runs: the columns of ``test_scores.parquet``, or of the rows of an evaluation, of each seed.
        value: the metric as it was measured, the mean over seeds.

    Returns:
        None where the metric does not follow from the rows, they are those of another test, fewer than two, or others
        for each seed, or where the model diverged, so that no interval is finite.

    Raises:
        UserError: a value is no number, or a row comes twice.
    """
    if not runs or not all(runs):
        return None
    ordered = [by_row_id(rows, "the run") for rows in runs]
    if any(not np.array_equal(rows["row_id"], ordered[0]["row_id"]) for rows in ordered):
        return None
    tested = [as_tested(metric, rows) for rows in ordered]
    known = [values for name, rows in tested if (values := row_values(name, rows)) is not None]
    if len(known) < len(runs) or len(known[0].values) < 2 or not all(map(_finite, known)):
        return None
    whole = interval(np.stack([one.values for one in known]), max(one.floor for one in known))
    if not math.isclose(whole.value, value, rel_tol=1e-4, abs_tol=1e-6):
        return None
    least = -1 if metric == "matthews" else 0
    most = 100 if metric in IN_PERCENT else math.inf if tested[0][0] in OF_TEXTS else 1
    return max(whole.low, least), min(whole.high, most)


def _finite(one: Values) -> bool:
    """Whether values of rows are numbers, and so is what an interval squares of them."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(one.values @ one.values))


def difference_of_seeds(run: Mapping[int, float], arm: Mapping[int, float]) -> Difference | None:
    """The difference of a metric that no rows are known of, such as a correlation: a paired t interval over seeds.

    Args:
        run: the metric by seed.
        arm: the same of the other.

    Returns:
        None with one seed in common, which has no interval.

    Raises:
        UserError: no seed in common, or a value that is not finite.
    """
    seeds = _common_seeds(run, arm)
    gaps = np.array([run[seed] - arm[seed] for seed in seeds], dtype=np.float64)
    if not np.isfinite(gaps).all():
        raise UserError("A metric of the runs to compare is not a finite number; leave out the run that failed.")
    if len(gaps) == 1:
        return None
    variance = float(gaps.var(ddof=1)) / len(gaps)
    return _t_interval(float(gaps.mean()), [(variance, len(gaps) - 1)], len(gaps), 0, "seeds")


def change_of_smallest_class(
    run: Mapping[int, Rows], arm: Mapping[int, Rows], names: Sequence[str]
) -> ClassChange | None:
    """The difference of accuracy on the class with the fewest held-out rows, which is the mean of that class's rows.

    Args:
        run: by seed, the columns of ``test_scores.parquet``.
        arm: the same of the other.
        names: of the classes, in the order of their numbers.

    Returns:
        None without classes, or with fewer than two rows of the smallest one.

    Raises:
        UserError: as `paired_difference`.
    """
    rows = run[_common_seeds(run, arm)[0]]
    if "label" not in rows:
        return None
    smallest = smallest_class(rows)
    if (np.asarray(rows["label"]) == smallest).sum() < 2:
        return None
    difference = paired_difference("accuracy", run, arm, of_class=smallest)
    name = names[smallest] if smallest < len(names) else str(smallest)
    return None if difference is None else ClassChange(name, difference)


def mcnemar(run: Rows, arm: Rows) -> float:
    """McNemar's exact p, two-sided, that two classifiers are right equally often; rows in the same order.

    The rows that only one of them gets right fall to either with probability 1/2 (McNemar 1947).
    """
    from scipy.special import bdtr

    right, theirs = (np.asarray(rows["label"]) == np.asarray(rows["prediction"]) for rows in (run, arm))
    only_run, only_arm = int((right & ~theirs).sum()), int((theirs & ~right).sum())
    return min(1.0, 2 * float(bdtr(min(only_run, only_arm), only_run + only_arm, 0.5)))


def corrected(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """The differences with ``p_holm``: p times the comparisons that are left, from the smallest p on (Holm 1979).

    Taken for all arms that are compared with one run: at 0.05, the chance of one false alarm or more is 5 %.
    """
    order = sorted(range(len(differences)), key=lambda i: differences[i].p)
    result, at_least = list(differences), 0.0
    for rank, i in enumerate(order):
        at_least = max(at_least, min(1.0, (len(order) - rank) * differences[i].p))
        result[i] = replace(differences[i], p_holm=at_least)
    return tuple(result)


def _common_seeds(run: Mapping[int, object], arm: Mapping[int, object]) -> list[int]:
    if not (seeds := sorted(run.keys() & arm.keys())):
        raise UserError(
            f"The run (seeds {sorted(run)}) and the arm (seeds {sorted(arm)}) have no seed in common; run both with "
            "the same seeds."
        )
    return seeds


def _check_same_rows(runs: Sequence[Rows]) -> None:
    if problem := what_differs(runs):
        raise UserError(f"{problem}; test them on the same split.")


def _only(of_class: int, rows: Rows) -> Rows:
    wanted = rows["label"] == of_class
    return {name: column[wanted] for name, column in rows.items()}


def _floor(pairs: Sequence[tuple[Values, Values]]) -> float:
    return max(values.floor for pair in pairs for values in pair)


def _t_interval(value: float, parts: Sequence[tuple[float, int]], n_seeds: int, n_rows: int, over: Over) -> Difference:
    """The interval from variances of the mean with their degrees of freedom, and the p at which it ends at 0."""
    from scipy.special import stdtrit  # lazy: half a second

    def half_width(p: float) -> float:
        # a quantile of one degree of freedom may be 1e299, whose square is no float
        return math.hypot(*(float(stdtrit(freedom, p / 2)) * math.sqrt(variance) for variance, freedom in parts))

    low, high = -300.0, 0.0  # log10 p, halved until no number lies between
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if half_width(10**middle) > abs(value) else (low, middle)
    half = half_width(1 - LEVEL)
    return Difference(value, value - half, value + half, 10**high if value else 1.0, n_seeds, n_rows, over)
