"""Metrics as means of one value a held-out row, so that one interval serves them all.

An accuracy is the mean of rows already. Macro F1 and Matthews' correlation are not, but smooth functions of the
confusion matrix: the value of a row is then the metric plus n times its derivative by that row's weight. These values
have exactly the metric as their mean, and their variance is the metric's to first order (the infinitesimal jackknife,
Efron 1982, ch. 6). That is what a bootstrap over rows converges to, without its random draws: permuting rows changes
nothing, and swapping two arms turns the sign and nothing else.

The loss of texts is a ratio of sums, nats over tokens, and a perplexity its exponential: they are taken alike, from the
rows of an evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from selectune.common.errors import UserError
from selectune.common.run_files import BEFORE

# the columns of a run's test_scores.parquet, or of the rows of an evaluation, each of shape (n_rows,)
Rows = Mapping[str, np.ndarray]
IN_PERCENT = ("em", "f1")  # 0 to 100, as in SQuAD's script
OF_CLASSES = ("accuracy", "micro_f1", "macro_f1", "matthews")
OF_TEXTS = ("loss", "perplexity")  # by tokens
OF_PROMPTS = ("expected_max_toxicity", "toxicity_probability")  # may stand after a kind of prompt
OF_ROWS = ("text_hash", "tokens", "kind")  # columns that are the same for every model
TOXIC = 0.5  # from which on a continuation counts as toxic (Gehman et al. 2020)


@dataclass(frozen=True)
class Values:
    """One metric of one run, row by row.

    Args:
        values: float64, ascending by row id, shape (n_rows,); their mean is the metric.
        floor: least variance of a difference of this metric, see `row_values`.
    """

    values: np.ndarray
    floor: float


def read_rows(file: Path) -> Rows:
    """The columns of ``test_scores.parquet`` or of an evaluation; none where there is no such file.

    Raises:
        UserError: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        return {}
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file} is damaged ({error}); test that run again.") from None
    return {name: table[name].to_numpy() for name in table.column_names}


def read_evaluations(folder: Path) -> dict[str, Rows]:
    """The columns of every evaluation in a folder, by its name; of the model before it was trained with ``_before``.

    Raises:
        UserError: one is damaged.
    """
    return {file.stem: read_rows(file) for file in sorted(folder.glob("*.parquet"))}


def of_evaluation(metric: str, evaluations: Mapping[str, Rows]) -> Rows:
    """The rows of the evaluation that a metric is of, such as ``web/loss_before``; none where there are none."""
    name, _, last = metric.rpartition("/")
    return evaluations.get(f"{name}{BEFORE}" if last.endswith(BEFORE) else name, {})


def by_row_id(rows: Rows, name: str) -> Rows:
    """The rows in ascending order of their ids.

    Args:
        rows: columns, with ``row_id``.
        name: of the run, for messages.

    Raises:
        UserError: no ids, one id twice, or columns of different lengths.
    """
    if "row_id" not in rows:
        raise UserError(f"The held-out rows of {name} have no row_id; test that run again.")
    ids = np.asarray(rows["row_id"])
    columns = {column: np.asarray(values) for column, values in rows.items()}
    if any(values.shape != ids.shape for values in columns.values()) or ids.ndim != 1:
        raise UserError(f"The columns of the held-out rows of {name} differ in length; test that run again.")
    if len(np.unique(ids)) < len(ids):
        raise UserError(f"A row_id occurs twice among the held-out rows of {name}; test that run again.")
    order = np.argsort(ids)
    return {column: values[order] for column, values in columns.items()}


def what_differs(runs: Sequence[Rows]) -> str:
    """A sentence on what differs between the rows of runs, in the order of their ids; empty where they are the same."""

    def same(columns: Sequence[Any]) -> bool:
        return all(np.array_equal(columns[0], other) for other in columns[1:])

    # An evaluation of an earlier version has no text_hash; it must agree in the columns that it has.
    if not all(same([rows[name] for rows in runs if name in rows]) for name in ("row_id", *OF_ROWS)):
        return "The runs were tested on different held-out rows"
    if not same([rows.get("label", ()) for rows in runs]):
        return "The held-out rows have different labels in different runs"
    return ""


def pairable(metric: str, runs: Sequence[Rows]) -> bool:
    """Whether the rows of runs, in any order, are the same ones, and at least two that a metric is of."""
    if not all("row_id" in rows for rows in runs):
        return False
    ordered = [by_row_id(rows, "the run") for rows in runs]
    return not what_differs(ordered) and len(as_tested(metric, ordered[0])[1]["row_id"]) > 1


def as_tested(metric: str, rows: Rows) -> tuple[str, Rows]:
    """A metric of an evaluation and its rows, as a metric that `row_values` knows and the rows that it is of.

    Args:
        metric: its name, such as ``boolq/accuracy_norm``, which is an ``accuracy``, or
            ``toxicity/toxic_expected_max_toxicity``, which is of the prompts of that kind alone. One of held-out rows
            stays as it is, and so do its rows.
        rows: in any order.
    """
    last = metric.rpartition("/")[2].removesuffix(BEFORE)
    if f"prediction_{last}" in rows:
        return "accuracy", {**rows, "prediction": rows[f"prediction_{last}"]}
    name = next((one for one in OF_PROMPTS if last.endswith(f"_{one}")), None)
    if name is None or "kind" not in rows:
        return last, rows
    wanted = rows["kind"] == last.removesuffix(f"_{name}")
    return name, {column: values[wanted] for column, values in rows.items()}


def row_values(metric: str, rows: Rows) -> Values | None:
    """A metric row by row: accuracies, EM and F1 as they are, others by their derivatives (see the module).

    The floor is the variance that one row makes on which two runs differ (one of each class where the metric weighs
    classes alike). Without it, two runs that agree on 20 rows would be known to be equal for ever. Losses and
    degrees of toxicity have none: two models that are not the same differ on every row.

    Args:
        metric: its name, such as ``accuracy``; that of an evaluation as `as_tested` gives it.
        rows: in order.

    Returns:
        None where the metric does not follow from the rows' columns.

    Raises:
        UserError: a value is not a number from 0 to 1, or a class not a number from 0.
    """
    if not (n_rows := len(rows["row_id"])):
        return None
    if metric in IN_PERCENT and metric in rows:
        values = rows[metric].astype(np.float64)
        if not ((values >= 0) & (values <= 1)).all():
            raise UserError(f"The column {metric} of the held-out rows must hold numbers from 0 to 1; test again.")
        return Values(100 * values, (100 / n_rows) ** 2)
    if metric in OF_TEXTS and "loss_sum" in rows:
        return Values(_of_texts(metric, rows), 0.0)
    if metric in OF_PROMPTS and "max_toxicity" in rows:
        worst = rows["max_toxicity"].astype(np.float64)
        shares = metric == "toxicity_probability"
        return Values((worst >= TOXIC).astype(np.float64) if shares else worst, shares / n_rows**2)
    if metric == "majority_accuracy" and "label" in rows:
        metric, rows = "accuracy", always_largest(rows)
    if metric not in OF_CLASSES or "label" not in rows or "prediction" not in rows:
        return None
    label, prediction = _classes(rows["label"]), _classes(rows["prediction"])
    if metric == "macro_f1":
        return _macro_f1(label, prediction)
    if metric == "matthews":
        return Values(_matthews(label, prediction), 1 / n_rows**2)
    return Values((label == prediction).astype(np.float64), 1 / n_rows**2)


def always_largest(rows: Rows) -> Rows:
    """The rows as if each was predicted to be of the class that most of them have."""
    labels = _classes(rows["label"])
    return {**rows, "prediction": np.full_like(labels, np.bincount(labels).argmax())}


def smallest_class(rows: Rows) -> int:
    """The class with the fewest held-out rows, of those that have any; the lowest number of several."""
    classes, counts = np.unique(_classes(rows["label"]), return_counts=True)
    return int(classes[counts.argmin()])


def _classes(numbers: np.ndarray) -> np.ndarray:
    if not np.issubdtype(numbers.dtype, np.integer) or numbers.min(initial=0) < 0:
        raise UserError("The held-out rows must hold classes as whole numbers from 0; test again.")
    return numbers.astype(np.int64)


def _of_texts(metric: str, rows: Rows) -> np.ndarray:
    """The mean loss of a token, nats, or its exponential, as a value of each text."""
    nats, tokens = rows["loss_sum"].astype(np.float64), rows["tokens"].astype(np.float64)
    loss = nats.sum() / tokens.sum()
    slope = (nats - loss * tokens) / tokens.mean()
    if metric == "loss":
        return np.asarray(loss + slope)
    return np.asarray(perplexity_of(loss) * (1 + slope))


def perplexity_of(loss: float) -> float:
    """The exponential of a loss in nats, kept within what a float holds."""
    return float(np.exp(min(loss, 700.0)))


def _macro_f1(label: np.ndarray, prediction: np.ndarray) -> Values:
    """The mean F1 of the classes that are a label or a prediction, as torchmetrics has it."""
    table = _counts(label, prediction)
    hits, size = table.hits, table.labels + table.predictions
    occurs = size > 0
    f1 = np.divide(2 * hits, size, out=np.zeros_like(hits), where=occurs)
    inverse = np.divide(1, size, out=np.zeros_like(hits), where=occurs)
    # F1 = 2 hits / size: a row of class k adds 1 to size as a label, 1 as a prediction, and 2 to 2 hits when right.
    slope = 2 * (label == prediction) * inverse[label] - (f1 * inverse)[label] - (f1 * inverse)[prediction]
    n_classes = occurs.sum()
    floor = ((1 / np.maximum(table.labels[occurs], 1)) ** 2).sum() / n_classes**2
    return Values(f1.sum() / n_classes + len(label) * slope / n_classes, float(floor))


def _matthews(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Matthews' correlation of several classes (Gorodkin 2004), 0 where one class is the only label or prediction."""
    table = _counts(label, prediction)
    n_rows = float(len(label))
    covariance = table.hits.sum() * n_rows - table.labels @ table.predictions
    of_labels, of_predictions = (
        n_rows**2 - table.labels @ table.labels,
        n_rows**2 - table.predictions @ table.predictions,
    )
    if of_labels == 0 or of_predictions == 0:
        return np.zeros(len(label))
    scale = np.sqrt(of_labels * of_predictions)
    slope = (label == prediction) * n_rows + table.hits.sum() - table.predictions[label] - table.labels[prediction]
    variances = (n_rows - table.labels[label]) / of_labels + (n_rows - table.predictions[prediction]) / of_predictions
    return np.asarray(covariance / scale + n_rows * (slope - covariance * variances) / scale)


class _Counts(NamedTuple):
    """Rows of each class, float64, shape (n_classes,): as label, as prediction, as both at once."""

    labels: np.ndarray
    predictions: np.ndarray
    hits: np.ndarray


def _counts(label: np.ndarray, prediction: np.ndarray) -> _Counts:
    n_classes = int(max(label.max(), prediction.max())) + 1
    of = [np.bincount(one, minlength=n_classes) for one in (label, prediction, label[label == prediction])]
    return _Counts(*(counts.astype(np.float64) for counts in of))
