"""Evidence of a verdict: costs, metrics and differences of a run and of the arms that it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from selectune.common.errors import UserError
from selectune.verdict.intervals import ClassChange, Difference

Scale = Literal["fraction", "percent", "plain"]
ArmName = Literal["all_rows", "random_rows", "fewer_epochs"]
ARMS: tuple[ArmName, ...] = get_args(ArmName)
SAME = 0.002  # costs that differ by less are the same
LARGEST = 1e300  # whole numbers over it are no floats
FAIR = 0.05  # what the cost of an arm "at the same total cost" may differ by


@dataclass(frozen=True)
class Metric:
    """The metric that decides.

    Args:
        name: such as ``accuracy``.
        scale: of its values: ``fraction`` (accuracy and F1 of classes, correlations), ``percent`` (0 to 100: EM and F1
            of answers) or ``plain``, which has no points (perplexity, loss).
        higher_is_better: False of perplexity and loss.
    """

    name: str
    scale: Scale = "fraction"
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if not self.name or self.scale not in get_args(Scale):
            raise UserError(f"A metric needs a name, and a scale of {', '.join(get_args(Scale))}, not {self.scale!r}.")

    @property
    def unit(self) -> float:
        """One point in values of the metric; 1 where it has no points."""
        return 0.01 if self.scale == "fraction" else 1.0


@dataclass(frozen=True)
class Cost:
    """Total cost of a run, the selection included; the mean over its seeds.

    Args:
        flops: floating-point operations, None when unknown.
        device_s: seconds that devices were held, None when unknown.
        estimated: whether it was taken from another run's cost a token instead of measured.
    """

    flops: float | None
    device_s: float | None
    estimated: bool = False

    def __post_init__(self) -> None:
        _check_numbers("cost", self.flops, self.device_s)
        if min(self.flops or 0.0, self.device_s or 0.0) < 0:
            raise UserError("A cost must not be negative.")

    def ratios_to(self, other: Cost) -> dict[str, float]:
        """This cost as a multiple of the other, by unit, FLOPs first; units that are not known of both are left out."""
        both = {"flops": (self.flops, other.flops), "device_s": (self.device_s, other.device_s)}
        return {unit: mine / theirs for unit, (mine, theirs) in both.items() if mine is not None and theirs}


@dataclass(frozen=True)
class ScoreInterval:
    """The 95 % interval of a run's own metric: over its held-out rows, and over its seeds where it has several.

    Args:
        n_rows: held-out rows.
        low: lower bound, None where the metric does not follow from scores of rows.
        high: upper bound.
    """

    n_rows: int
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        _check_numbers("bound", self.low, self.high)
        bounds = [bound for bound in (self.low, self.high) if bound is not None]
        if self.n_rows < 1 or len(bounds) == 1 or bounds != sorted(bounds):
            raise UserError("An interval of a metric needs held-out rows, and both of its bounds or none, in order.")


@dataclass(frozen=True)
class Arm:
    """A way to train without selecting, that the run is compared with.

    Args:
        difference: the run less this arm; None where it is not known.
        cost: of the arm, None when unknown. Of all rows it may be an estimate where that was not run.
        score: the metric, the mean over seeds, None where it was not run.
        problem: why there is no difference though the arm was run, such as "its loss was not a number".
        command: that runs it, for the reader.
    """

    difference: Difference | None = None
    cost: Cost | None = None
    score: float | None = None
    problem: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        _check_numbers("score", self.score)
        if self.difference is not None and self.problem:
            raise UserError("An arm has either a difference or a problem, not both.")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a verdict depends on.

    Args:
        metric: that decides.
        score: of the run, the mean over its seeds; None where it has none.
        majority: the same metric of always answering the largest class; None without classes.
        loss_failed: whether the training loss of a seed was not a finite number.
        kept_rows: rows that were selected.
        pool_rows: rows that they were selected from.
        n_seeds: that the run was trained with.
        cost: of the run.
        all_rows: the arm (a), the same epochs on the whole pool.
        random_rows: the arm (b), random rows at the total cost of the run.
        fewer_epochs: the arm (c), all rows for fewer epochs, its schedule compressed, at the total cost of the run.
        smallest_class: what became of it against all rows, None without classes.
        margin: points that do not matter; of a plain metric in its own unit, where None is 0. Default 1 point.
        score_interval: of `score`; None where its held-out rows are not known, as in files of earlier versions.
        shortened: whether the run itself trains on all rows for fewer epochs than `all_rows`. It is what `fewer_epochs`
            would be then, so that arm is not run.
    """

    metric: Metric
    score: float | None
    majority: float | None
    loss_failed: bool
    kept_rows: int
    pool_rows: int
    n_seeds: int
    cost: Cost
    all_rows: Arm
    random_rows: Arm
    fewer_epochs: Arm
    smallest_class: ClassChange | None = None
    margin: float | None = None
    score_interval: ScoreInterval | None = None
    shortened: bool = False

    def __post_init__(self) -> None:
        _check_numbers("score", self.score, self.majority, self.margin)
        if self.margin is not None and self.margin < 0:
            raise UserError(f"The margin must not be negative, and is {self.margin}.")
        if not 1 <= self.kept_rows <= self.pool_rows:
            raise UserError(f"{self.kept_rows:,} rows cannot be selected from a pool of {self.pool_rows:,}.")
        if self.n_seeds < 1 or any(0 < arm.n_seeds > self.n_seeds for _, arm in self.differences()):
            raise UserError("A run needs at least one seed, and as many as each of its differences.")
        if self.shortened and self.kept_rows < self.pool_rows:
            raise UserError("A run that selected rows is not one on all rows for fewer epochs.")

    @property
    def margin_points(self) -> float:
        """The margin m in points; of a plain metric in its own unit."""
        return self.margin if self.margin is not None else 0.0 if self.metric.scale == "plain" else 1.0

    @property
    def rivals(self) -> tuple[ArmName, ...]:
        """The arms that the run has to be compared with."""
        return ARMS[:2] if self.shortened else ARMS

    def arm(self, name: ArmName) -> Arm:
        """One of the three arms."""
        arm: Arm = getattr(self, name)
        return arm

    def differences(self) -> Iterator[tuple[ArmName, Difference]]:
        """Those that are known, with the arm that each is against."""
        for name in ARMS:
            if (difference := self.arm(name).difference) is not None:
                yield name, difference

    def gain(self, name: ArmName) -> tuple[float, float] | None:
        """Bounds L and U of the interval of (run - arm) in points, turned so that more is better; None: not known."""
        if (difference := self.arm(name).difference) is None:
            return None
        low, high = difference.low / self.metric.unit, difference.high / self.metric.unit
        return (low, high) if self.metric.higher_is_better else (-high, -low)

    def saved(self) -> float | None:
        """Part of the cost of all rows that the run spared, in FLOPs, else in device time; None where it is unknown."""
        ratios = self.cost.ratios_to(self.all_rows.cost) if self.all_rows.cost else {}
        return 1 - next(iter(ratios.values())) if ratios else None

    def relative_cost(self, name: ArmName) -> float:
        """The cost of an arm over that of the run, in FLOPs, else in device time; 1 where it is unknown."""
        cost = self.arm(name).cost
        ratios = cost.ratios_to(self.cost) if cost else {}
        return next(iter(ratios.values()), 1.0)


def _check_numbers(name: str, *numbers: float | None) -> None:
    for number in numbers:
        if number is not None and (not isinstance(number, int | float) or not -LARGEST < number < LARGEST):
            raise UserError(f"A {name} must be a finite number, and is {number}; leave out what is not known.")
