"""Coverage of the verdict's 95 % interval on simulated held-out scores: how often it holds the true difference.

    python benchmarks/interval_coverage.py                                     # 1,000 draws a cell, some minutes
    python benchmarks/interval_coverage.py --csv results/interval_coverage.csv
    python benchmarks/interval_coverage.py --check   # exits with 1 when a cell of 3 or 5 seeds is outside 92 to 98 %

Two classifiers, right on 70 and 68 % of all rows, are tested on the same 1,000 rows with the same seeds. A row is right
when difficulty (shared by both), taste of the arm (shared by its seeds, in the cases `rows differ`), the seed's luck
and noise add up to more than 0. The seed's luck moves an arm's accuracy by a standard deviation of 0, 1, 2 or 4 points.
The true difference is that over all rows and all seeds.

Variants: `verdict` is the interval in use, `satterthwaite` has the same variances with degrees of freedom for their
sum, `t_over_seeds` takes the held-out rows for all there are, `bootstrap` draws rows and seeds anew. `macro_f1` and
`smallest_class` are the verdict's intervals of these metrics in four classes, of which the smallest has 4 % of
the rows. With one seed the interval is over rows alone: it says nothing of other seeds, and how wrong it is then
stands here too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from _table import Row, finish, parser
from scipy.special import stdtrit
from scipy.stats import norm

from selectune.verdict.intervals import interval, paired_difference

SEED_SDS = (0, 1, 2, 4)  # points of accuracy
SEEDS = (1, 2, 3, 5)
BAR = (0.92, 0.98)  # of cells with 3 or 5 seeds
N_ROWS = 1000
REPLICATES = 500
RIVALS = ("satterthwaite", "t_over_seeds", "bootstrap")
ACCURACIES = (0.70, 0.68)
DIFFICULTY, TASTE = 2.0, 0.7  # standard deviations beside noise of 1
SHARES = (0.5, 0.3, 0.16, 0.04)  # of the classes


@dataclass(frozen=True)
class World:
    """The random part of two compared runs.

    Args:
        taste: standard deviation of what makes a row easier for one arm than for the other, whatever the seed.
        seed_sd: of an arm's accuracy, in points.
    """

    taste: float
    seed_sd: float

    @property
    def luck(self) -> float:
        """Standard deviation of a seed's luck that moves the accuracy by `seed_sd`, to first order."""
        spread = math.sqrt(1 + DIFFICULTY**2 + self.taste**2)
        return self.seed_sd / 100 * spread / norm.pdf(norm.ppf(ACCURACIES[0]))

    def right(self, n_seeds: int, n_rows: int, random: np.random.Generator) -> np.ndarray:
        """Whether each run is right on each row with each seed, bool, shape (2, n_seeds, n_rows)."""
        spread = math.sqrt(1 + DIFFICULTY**2 + self.taste**2 + self.luck**2)
        level = np.array([norm.ppf(accuracy) * spread for accuracy in ACCURACIES])[:, None, None]
        shared = DIFFICULTY * random.standard_normal((1, 1, n_rows))
        taste = self.taste * random.standard_normal((2, 1, n_rows))
        luck = self.luck * random.standard_normal((2, n_seeds, 1))
        return level + shared + taste + luck + random.standard_normal((2, n_seeds, n_rows)) > 0


class Coverage:
    """Counts intervals that hold the truth, and adds up their widths."""

    def __init__(self) -> None:
        self.held, self.width, self.draws = 0, 0.0, 0

    def add(self, low: float, high: float, truth: float) -> None:
        """Count an interval."""
        self.held += low <= truth <= high
        self.width += high - low
        self.draws += 1

    def rows(self, case: str, variant: str) -> Iterator[Row]:
        """Coverage, and mean width in points."""
        yield Row(case, variant, "coverage", self.held / self.draws)
        yield Row(case, variant, "mean_width_points", 100 * self.width / self.draws)


def accuracy_cell(world: World, n_seeds: int, draws: int, case: str) -> Iterator[Row]:
    """Coverage of the three intervals of accuracy."""
    random = np.random.default_rng([n_seeds, int(10 * world.taste), int(world.seed_sd)])
    counts = {name: Coverage() for name in ("verdict", *(RIVALS if n_seeds > 1 else ()))}
    rows_drawn = random.multinomial(N_ROWS, np.full(N_ROWS, 1 / N_ROWS), size=REPLICATES) / N_ROWS
    seeds_drawn = random.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=REPLICATES) / n_seeds
    truth = ACCURACIES[0] - ACCURACIES[1]
    for _ in range(draws):
        right = world.right(n_seeds, N_ROWS, random).astype(np.float64)
        gaps = right[0] - right[1]
        ours = interval(gaps, floor=1 / N_ROWS**2)
        counts["verdict"].add(ours.low, ours.high, truth)
        if n_seeds > 1:
            for rival, half in half_widths(gaps).items():
                counts[rival].add(gaps.mean() - half, gaps.mean() + half, truth)
            replicates = ((rows_drawn @ gaps.T) * seeds_drawn).sum(1)
            counts["bootstrap"].add(*np.quantile(replicates, [0.025, 0.975]), truth)
    for variant, count in counts.items():
        yield from count.rows(case, variant)


def half_widths(gaps: np.ndarray) -> dict[str, float]:
    """Of the intervals by other formulas, for differences of shape (n_seeds, n_rows)."""
    n_seeds, n_rows = gaps.shape
    of_seeds, of_rows = gaps.mean(1), gaps.mean(0)
    noise = gaps - of_rows - of_seeds[:, None] + gaps.mean()
    noise_of_mean = (noise**2).sum() / ((n_seeds - 1) * (n_rows - 1)) / gaps.size
    seeds, rows = of_seeds.var(ddof=1) / n_seeds, max(of_rows.var(ddof=1) / n_rows - noise_of_mean, 0.0)
    if seeds + rows == 0:
        return {"satterthwaite": 0.0, "t_over_seeds": 0.0}
    freedom = (seeds + rows) ** 2 / (seeds**2 / (n_seeds - 1) + rows**2 / (n_rows - 1))
    return {
        "satterthwaite": float(stdtrit(freedom, 0.975)) * math.sqrt(seeds + rows),
        "t_over_seeds": float(stdtrit(n_seeds - 1, 0.975)) * math.sqrt(seeds),
    }


def classes_of(right: np.ndarray, label: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Predictions that are the label where right, and else another class, the more likely the larger it is."""
    wrong = random.choice(len(SHARES), p=SHARES, size=right.shape)
    return np.where(right, label, np.where(wrong == label, (label + 1) % len(SHARES), wrong))


def class_cell(world: World, n_seeds: int, draws: int, case: str) -> Iterator[Row]:
    """Coverage of the intervals of macro F1 and of the smallest class's accuracy."""
    random = np.random.default_rng([n_seeds, int(10 * world.taste), int(world.seed_sd), 1])
    small = len(SHARES) - 1
    found, counts = {"macro_f1": [], "smallest_class": []}, {"macro_f1": Coverage(), "smallest_class": Coverage()}
    for _ in range(draws):
        label = random.choice(len(SHARES), p=SHARES, size=N_ROWS)
        predictions = classes_of(world.right(n_seeds, N_ROWS, random), label, random)
        rows = [
            {seed: {"row_id": np.arange(N_ROWS), "label": label, "prediction": one} for seed, one in enumerate(arm)}
            for arm in predictions
        ]
        for name, metric, of_class in (("macro_f1", "macro_f1", None), ("smallest_class", "accuracy", small)):
            found[name].append(paired_difference(metric, *rows, of_class=of_class))
    for name, count in counts.items():
        # What macro F1 is on average at this number of rows: it has no formula. Rights of rows do not depend on labels.
        truth = np.mean([one.value for one in found[name]]) if name == "macro_f1" else ACCURACIES[0] - ACCURACIES[1]
        for one in found[name]:
            count.add(one.low, one.high, float(truth))
        yield from count.rows(case, name)


def measure(draws: int) -> Iterator[Row]:
    for differ in (True, False):
        for seed_sd in SEED_SDS:
            for n_seeds in SEEDS:
                world = World(TASTE if differ else 0.0, seed_sd)
                seeds = "1 seed" if n_seeds == 1 else f"{n_seeds} seeds"
                case = f"rows {'differ' if differ else 'alike'}, seed sd {seed_sd}, {seeds}"
                yield from accuracy_cell(world, n_seeds, draws, case)
                if differ and seed_sd in (0, 2):
                    yield from class_cell(world, n_seeds, draws, case)


def outside(rows: list[Row]) -> list[str]:
    """A sentence for each cell of 3 or 5 seeds whose coverage misses the bar."""
    judged = [row for row in rows if row.metric == "coverage" and row.variant not in RIVALS]
    judged = [row for row in judged if row.case.endswith((" 3 seeds", " 5 seeds"))]
    return [
        f"{row.case}: the interval of {row.variant} holds the truth in {row.value:.1%} of the draws"
        for row in judged
        if not BAR[0] <= row.value <= BAR[1]
    ]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--draws", type=int, default=1000, help="simulated experiments of each cell")
    options = made.parse_args()
    rows = list(measure(options.draws))
    finish(rows, outside(rows), options)


if __name__ == "__main__":
    main()
