"""Whether a training worked, read from and written to ``training.json`` of a run.

outcome = TrainingOutcome.read(run)          # None where no training left one
outcome.failed                               # nothing that was measured on this model means anything
[problem.message for problem in outcome.problems]
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from selectune.common.errors import UserError
from selectune.common.files import write_json
from selectune.common.run_files import RunFiles

ENDS = 50  # steps at either end of a training, at most, whose mean losses are compared
LEAST_STEPS = 20  # with fewer, a loss that rises may be chance
TOLERANCE = 1e-6  # metrics are float32

Kind = Literal["not_finite", "no_better_than_constant", "loss_did_not_fall", "chosen_on_test"]
FAILURES: tuple[Kind, ...] = ("not_finite", "no_better_than_constant")


@dataclass(frozen=True)
class Problem:
    """A sign that a training did not work, in one sentence.

    Kinds are ``not_finite``: losses or weights are nan or inf; ``no_better_than_constant``: the held-out metric is at
    or below that of a constant answer; ``loss_did_not_fall``: the training loss ended no lower than it began;
    ``chosen_on_test``: the held-out rows chose the checkpoint, so that its metrics there are too good.
    """

    kind: Kind
    message: str


@dataclass(frozen=True)
class TrainingOutcome:
    """The outcome of a training."""

    steps: int  # batches trained on, over all attempts
    first_loss: float | None  # mean training loss of the first steps, None where no loss was finite
    last_loss: float | None  # of as many last steps
    problems: tuple[Problem, ...] = ()  # none for a training that worked
    evaluated: dict[str, int] = field(default_factory=dict)  # rows of its last evaluations, by the metrics' prefix
    model: str = ""  # where the model that it began with was found, such as local:minilm; earlier versions noted none
    data: str = ""  # where the rows were found, likewise

    @property
    def failed(self) -> bool:
        """Whether the model is of no use: not finite, or no better than a constant answer."""
        return any(problem.kind in FAILURES for problem in self.problems)

    @property
    def not_finite(self) -> Problem | None:
        """The problem for which ``fit`` ends with exit code 3, if there is one."""
        return next((problem for problem in self.problems if problem.kind == "not_finite"), None)

    def write(self, folder: Path) -> None:
        """Write ``training.json``."""
        write_json(RunFiles(folder).training, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> TrainingOutcome | None:
        """The outcome in ``training.json`` of a folder; None where there is none.

        Raises:
            UserError: it is damaged.
        """
        file = RunFiles(folder).training
        try:
            content = json.loads(file.read_text())
            return cls(**content | {"problems": tuple(Problem(**problem) for problem in content["problems"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{file} is damaged ({error}); remove it, or run again into a new folder.") from None


def ends(first: Sequence[float], last: Sequence[float], steps: int) -> tuple[float | None, float | None]:
    """Mean losses of the first and of the last fifth of a training, of at most 50 steps each.

    Args are the finite losses of the first 50 steps, those of the last 50, and the number of steps.
    """
    n = max(1, min(ENDS, steps // 5))
    means = [math.fsum(some) / len(some) if some else None for some in (first[:n], last[-n:])]
    return means[0], means[1]


def loss_problem(first_loss: float | None, last_loss: float | None, steps: int) -> Problem | None:
    """The problem that the training loss did not fall; None where it did, or the training is too short to tell."""
    if steps < LEAST_STEPS or first_loss is None or last_loss is None or last_loss < first_loss:
        return None
    return Problem(
        "loss_did_not_fall",
        f"The training loss did not fall: it was {first_loss:.4g} at the start and {last_loss:.4g} at the end of "
        f"{steps:,} steps; try another learning rate.",
    )


def metric_problem(name: str, value: float, constant: float, n_rows: int | None = None) -> Problem | None:
    """The problem that a metric is no better than that of a constant answer; None where it is.

    Args:
        name: of the metric, such as ``test/accuracy``; more is better.
        value: of the model.
        constant: of the best constant answer; 1 cannot be surpassed, and so says nothing.
        n_rows: that both were measured on, None where unknown.
    """
    if constant >= 1 or value > constant + TOLERANCE:
        return None
    over = "" if n_rows is None else f" (both over {n_rows:,} held-out rows)"
    return Problem(
        "no_better_than_constant",
        f"The model is no better than a constant answer: {name} is {value:.4g}, and always answering the same gives "
        f"{constant:.4g}{over}.",
    )
