"""Metrics of a run with what they were measured on: the number of rows, and an interval over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from selectune.common.errors import UserError
from selectune.common.run_files import BEFORE
from selectune.costs.record import CostRecord, rows_evaluated
from selectune.report.numbers import count
from selectune.verdict.intervals import Difference, interval_of_metric, paired_difference
from selectune.verdict.row_metrics import Rows, as_tested, of_evaluation

ONE_SEED = "The intervals are over held-out rows, of one seed: another seed may differ by more."
ANSWERS = {"has_ans": "with an answer", "no_ans": "without an answer"}  # the questions that such a metric is of


@dataclass(frozen=True)
class Measured:
    """A metric and what it was measured on.

    Args:
        name: such as ``test/accuracy``.
        value: as it was measured.
        n_rows: of the split, None when unknown.
        bounds: of the 95 % interval over these rows; None where the metric does not follow from scores of rows.
        change: of an evaluation, by the training: its difference to the same rows before; None where that is unknown.
    """

    name: str
    value: float
    n_rows: int | None
    bounds: tuple[float, float] | None = None
    change: Difference | None = None

    @property
    def rows(self) -> str:
        """The rows of its split: "1,000 rows"."""
        return "an unknown number of rows" if self.n_rows is None else f"{count(self.n_rows)} rows"

    @property
    def over(self) -> str:
        """The rows that it is of: "1,000 rows", or "those of 1,000 rows with an answer"."""
        short = self.name.rpartition("/")[2]
        answers = next((words for prefix, words in ANSWERS.items() if short.startswith(prefix)), "")
        return f"those of {self.rows} {answers}" if answers else self.rows

    def sentence(self) -> str:
        """For the terminal: "test/accuracy: 0.7421 (95 % interval 0.7140 to 0.7702 over 1,000 rows)"."""
        value, *bounds = (f"{one:.4f}".replace("-", "\N{MINUS SIGN}") for one in (self.value, *(self.bounds or ())))
        interval = f"95 % interval {' to '.join(bounds)} " if bounds else ""
        return f"{self.name}: {value} ({interval}over {self.over})"


def measured(
    metrics: Mapping[str, float],
    scores: Rows,
    records: Sequence[CostRecord],
    evaluated: Mapping[str, int] | None = None,
    evaluations: Mapping[str, Rows] | None = None,
) -> dict[str, Measured]:
    """The metrics of a run on the validation split and on held-out data, by name.

    Args:
        metrics: of ``metrics.csv``.
        scores: columns of ``test_scores.parquet``.
        records: of the ledger, without repeated work.
        evaluated: rows of each split, by the prefix of its metrics; of earlier versions' runs the ledger has them.
        evaluations: columns of the rows of each evaluation of a language model, as `read_evaluations` gives them.

    Raises:
        UserError: the scores of the held-out rows are damaged.
    """
    names = [name for name in metrics if name.startswith(("val/", "test/"))]
    splits = {name.rpartition("/")[0] for name in names}
    unnamed = len({split.partition("/")[0] for split in splits}) == 1  # then all evaluations were of that kind
    n_rows = {"val": rows_evaluated(records, "validate", unnamed), "test": rows_evaluated(records, "test", unnamed)}
    further, every = splits - {"val", "test"}, n_rows["test"]
    if further:  # the ledger has the rows of all held-out splits as one number
        n_rows["test"] = None
    n_rows |= evaluated or {}
    if scores:
        n_rows["test"] = of_test = len(scores["row_id"])
        if len(further) == 1 and every is not None and not evaluated:
            n_rows[further.pop()] = every - of_test
    found = {}
    for name in names:
        split, _, short = name.rpartition("/")
        evaluation = name.removeprefix("test/")
        if split != "test" and (of_it := of_evaluation(evaluation, evaluations or {})):
            before = of_evaluation(f"{evaluation}{BEFORE}", {} if name.endswith(BEFORE) else evaluations or {})
            found[name] = _evaluated(name, metrics[name], of_it, before)
            continue
        bounds = interval_of_metric(short, [scores], metrics[name]) if split == "test" else None
        found[name] = Measured(name, metrics[name], n_rows.get(split), bounds)
    return found


def _evaluated(name: str, value: float, rows: Rows, before: Rows) -> Measured:
    """A metric of an evaluation, over the rows that it is of (the toxic prompts alone), and what the training did."""
    bounds = interval_of_metric(name, [rows], value)
    change = None
    if bounds and before and not name.endswith("majority_accuracy"):  # which is of the rows alone
        with suppress(UserError):  # other rows, or a model that was not finite before
            change = paired_difference(name, {0: rows}, {0: before})
    return Measured(name, value, len(as_tested(name, rows)[1]["row_id"]), bounds, change)
