"""Runs, one of each case of the verdict, with what must be said of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from selectune.verdict.decision import Word
from selectune.verdict.evidence import Arm, Cost, Evidence, Metric, ScoreInterval
from selectune.verdict.intervals import ClassChange, Difference

COMMAND = "python main.py compare --config runs/a/config.yaml --seeds 3"
NOT_RUN = Arm(command=COMMAND)
ALL_ROWS = Cost(1e13, 100.0)
COST = Cost(5.8e12, 62.0)


def difference(value: float, low: float, high: float, n_seeds: int = 3, n_rows: int = 1000) -> Difference:
    """In points of a fraction."""
    over = "rows" if n_seeds == 1 else "seeds and rows"
    return Difference(value / 100, low / 100, high / 100, 0.04, n_seeds, n_rows, over)


def arm(value: float, low: float, high: float, cost: Cost = COST, n_seeds: int = 3) -> Arm:
    """Of that difference; its own metric follows from it nowhere."""
    return Arm(difference(value, low, high, n_seeds), cost, score=0.6, command=COMMAND)


PAYS = Evidence(
    metric=Metric("accuracy"),
    score=0.679,
    majority=0.103,
    loss_failed=False,
    kept_rows=1600,
    pool_rows=10_000,
    n_seeds=3,
    cost=COST,
    all_rows=arm(0.2, -0.5, 0.9, ALL_ROWS),
    random_rows=arm(3.1, 1.2, 5.0),
    fewer_epochs=arm(1.0, 0.3, 1.7),
    score_interval=ScoreInterval(1000, 0.65, 0.708),
)
FAR_BELOW_ALL_ROWS = arm(-36.1, -39.0, -33.1, ALL_ROWS)
ONE_SEED = replace(
    PAYS,
    n_seeds=1,
    all_rows=arm(0.2, -0.5, 0.9, ALL_ROWS, 1),
    random_rows=arm(3.1, 1.2, 5.0, n_seeds=1),
    fewer_epochs=arm(1.0, 0.3, 1.7, n_seeds=1),
)


@dataclass(frozen=True)
class Case:
    """A run, and what must be said of it."""

    evidence: Evidence
    word: Word
    colour: str
    headline: str
    sentence: str


TOOK = (
    "selecting 1,600 of 10,000 rows and training on them took 42 % fewer FLOPs than training on all rows and 38 % less "
    "device time, and "
)
OVER = "the ranges are 95 % intervals over 3 seeds and 1,000 held-out rows"
CASES = {
    "pays": Case(
        PAYS,
        Word.PAYS,
        "green",
        "Pays",
        f"Pays: {TOOK}accuracy is 67.9 %, 0.2 points higher than with all rows (between 0.5 lower and 0.9 higher); at "
        "the same total cost, it is 3.1 points higher than with random rows (between 1.2 and 5.0 higher) and 1.0 point "
        f"higher than with all rows for fewer epochs (between 0.3 and 1.7 higher); {OVER}; up to 1 point worse than "
        "all rows counts as no loss.",
    ),
    "costs accuracy": Case(
        replace(
            PAYS,
            score=0.316,
            score_interval=ScoreInterval(1000, 0.28, 0.35),
            all_rows=FAR_BELOW_ALL_ROWS,
            random_rows=arm(0.4, -2.0, 3.0),
            fewer_epochs=arm(0.6, -3.0, 4.0),
            smallest_class=ClassChange("scikit-learn", difference(-12.0, -20.0, -4.0, n_rows=52)),
        ),
        Word.COSTS_ACCURACY,
        "red",
        "Costs accuracy",
        f"Costs accuracy: {TOOK}accuracy is 31.6 %, 36.1 points lower than with all rows (between 33.1 and 39.0 "
        "lower); at the same total cost, it is 0.4 points higher than with random rows (between 2.0 lower and 3.0 "
        "higher) and 0.6 points higher than with all rows for fewer epochs (between 3.0 lower and 4.0 higher); on "
        "the smallest class, scikit-learn (52 held-out rows), accuracy is 12.0 points lower than with all rows "
        f"(between 4.0 and 20.0 lower); {OVER}.",
    ),
    "no difference": Case(
        replace(
            PAYS,
            all_rows=arm(0.01, -0.6, 0.6, ALL_ROWS),
            random_rows=arm(-0.1, -0.8, 0.5),
            fewer_epochs=arm(0.3, -0.4, 0.9),
        ),
        Word.NO_DIFFERENCE,
        "grey",
        "No difference that could be seen",
        f"No difference that could be seen: {TOOK}accuracy is 67.9 %, level with all rows (between 0.6 lower and 0.6 "
        "higher); at the same total cost, it is 0.1 points lower than with random rows (between 0.8 lower and 0.5 "
        "higher) and 0.3 points higher than with all rows for fewer epochs (between 0.4 lower and 0.9 higher); "
        f"{OVER}; a difference of up to 1 point counts as none.",
    ),
    "loses to random": Case(
        replace(
            PAYS,
            score=0.316,
            score_interval=ScoreInterval(1000, 0.28, 0.35),
            all_rows=FAR_BELOW_ALL_ROWS,
            random_rows=arm(-3.4, -5.9, -1.0, Cost(5.9e12, None)),
            fewer_epochs=NOT_RUN,
        ),
        Word.LOSES_TO_RANDOM,
        "red",
        "Loses to random rows",
        f"Loses to random rows: {TOOK}accuracy is 31.6 %, 36.1 points lower than with all rows (between 33.1 and "
        "39.0 lower); at about the same total cost, it is 3.4 points lower than with random rows (between 1.0 and "
        f"5.9 lower); {OVER}; not run yet: at the same total cost, all rows for fewer epochs (`{COMMAND}` runs this).",
    ),
    "loses to fewer epochs": Case(
        replace(PAYS, random_rows=arm(2.0, 1.0, 3.0), fewer_epochs=arm(-2.0, -4.0, -0.5)),
        Word.LOSES_TO_FEWER_EPOCHS,
        "red",
        "Loses to fewer epochs on all rows",
        f"Loses to fewer epochs on all rows: {TOOK}accuracy is 67.9 %, 0.2 points higher than with all rows (between "
        "0.5 lower and 0.9 higher); at the same total cost, it is 2.0 points higher than with random rows (between 1.0 "
        "and 3.0 higher) and 2.0 points lower than with all rows for fewer epochs (between 0.5 and 4.0 lower); "
        f"{OVER}.",
    ),
    "training failed": Case(
        replace(
            PAYS,
            score=0.101,
            score_interval=ScoreInterval(1000, 0.082, 0.12),
            all_rows=arm(-57.0, -60.0, -54.0, ALL_ROWS),
            random_rows=NOT_RUN,
            fewer_epochs=NOT_RUN,
        ),
        Word.TRAINING_FAILED,
        "red",
        "Training failed (not above the majority class)",
        f"Training failed (not above the majority class): {TOOK}accuracy is 10.1 % (always answering the largest "
        f"class: 10.3 %), 57.0 points lower than with all rows (between 54.0 and 60.0 lower); {OVER}.",
    ),
    "loss not a number": Case(
        replace(
            PAYS,
            score=None,
            score_interval=None,
            loss_failed=True,
            all_rows=Arm(cost=Cost(1e13, 100.0, estimated=True), command=COMMAND),
            random_rows=Arm(problem="its loss was not a number", command=COMMAND),
            fewer_epochs=Arm(),
        ),
        Word.TRAINING_FAILED,
        "red",
        "Training failed (loss not a number)",
        "Training failed (loss not a number): selecting 1,600 of 10,000 rows and training on them took an estimated "
        "42 % fewer FLOPs than training on all rows and 38 % less device time, and accuracy is not known.",
    ),
    "not known yet": Case(
        replace(
            PAYS,
            n_seeds=1,
            cost=Cost(5.8e12, None),
            all_rows=Arm(cost=Cost(1e13, 100.0, estimated=True), command=COMMAND),
            random_rows=NOT_RUN,
            fewer_epochs=NOT_RUN,
        ),
        Word.NOT_KNOWN_YET,
        "grey",
        "Not known yet",
        "Not known yet, as comparisons are missing: selecting 1,600 of 10,000 rows and training on them took an "
        "estimated 42 % fewer FLOPs than training on all rows, and accuracy is 67.9 %, with a 95 % interval of 65.0 to "
        "70.8 % over 1,000 held-out rows of one seed; not run yet: all rows, and at the same total cost, random rows "
        f"and all rows for fewer epochs (`{COMMAND}` runs these).",
    ),
    "one seed": Case(
        ONE_SEED,
        Word.NOT_KNOWN_YET,
        "grey",
        "Not known yet",
        f"Not known yet, as one seed cannot show that it pays: {TOOK}accuracy is 67.9 %, 0.2 points higher than with "
        "all rows (between 0.5 lower and 0.9 higher); at the same total cost, it is 3.1 points higher than with "
        "random rows (between 1.2 and 5.0 higher) and 1.0 point higher than with all rows for fewer epochs (between "
        "0.3 and 1.7 higher); the ranges are 95 % intervals over 1,000 held-out rows; with one seed, they do not "
        "say what another seed would give.",
    ),
    "nothing selected": Case(
        replace(PAYS, kept_rows=10_000, cost=Cost(1.4e13, 100.1)),
        Word.NOTHING_SELECTED,
        "grey",
        "Nothing was selected",
        "Nothing was selected: all 10,000 rows were kept, so this is training on all rows; with the selection it took "
        "40 % more FLOPs than training on all rows and as much device time; accuracy is 67.9 %, with a 95 % interval "
        "of 65.0 to 70.8 % over 3 seeds and 1,000 held-out rows.",
    ),
    "all rows for fewer epochs": Case(
        replace(
            PAYS,
            kept_rows=10_000,
            shortened=True,
            all_rows=arm(-3.0, -4.5, -1.5, ALL_ROWS),
            random_rows=arm(1.0, -0.5, 2.5),
            fewer_epochs=Arm(),
        ),
        Word.COSTS_ACCURACY,
        "red",
        "Costs accuracy",
        "Costs accuracy: training on all 10,000 rows for fewer epochs took 42 % fewer FLOPs than training for all "
        "epochs and 38 % less device time, and accuracy is 67.9 %, 3.0 points lower than with all epochs (between 1.5 "
        "and 4.5 lower); at the same total cost, it is 1.0 point higher than with random rows (between 0.5 lower and "
        f"2.5 higher); {OVER}.",
    ),
    "fewer epochs at one seed": Case(
        replace(
            ONE_SEED, kept_rows=10_000, shortened=True, random_rows=replace(NOT_RUN, cost=COST), fewer_epochs=Arm()
        ),
        Word.NOT_KNOWN_YET,
        "grey",
        "Not known yet",
        "Not known yet, as comparisons are missing: training on all 10,000 rows for fewer epochs took 42 % fewer FLOPs "
        "than training for all epochs and 38 % less device time, and accuracy is 67.9 %, 0.2 points higher than with "
        "all epochs (between 0.5 lower and 0.9 higher); the ranges are 95 % intervals over 1,000 held-out rows; with "
        "one seed, they do not say what another seed would give; not run yet: at the same total cost, random rows "
        f"(`{COMMAND}` runs this).",
    ),
}
