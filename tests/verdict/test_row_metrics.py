from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassF1Score, MulticlassMatthewsCorrCoef

from selectune.common.errors import UserError
from selectune.verdict.row_metrics import Rows, by_row_id, row_values, smallest_class
from tests.mistakes import mistake


def classified(n_rows: int, seed: int = 0, n_classes: int = 4, accuracy: float = 0.7) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    label = random.integers(n_classes, size=n_rows)
    prediction = np.where(random.random(n_rows) < accuracy, label, random.integers(n_classes, size=n_rows))
    return {"row_id": np.arange(n_rows), "label": label, "prediction": prediction}


def values(metric: str, rows: Rows) -> np.ndarray:
    found = row_values(metric, rows)
    assert found is not None
    return found.values


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("metric", "reference"), [("macro_f1", "f1"), ("matthews", "mcc"), ("accuracy", "accuracy")])
def test_the_mean_of_the_rows_is_the_metric(metric: str, reference: str, seed: int) -> None:
    rows = classified(200, seed)
    label, prediction = (torch.from_numpy(rows[name]) for name in ("label", "prediction"))
    expected = {
        "f1": lambda: float(MulticlassF1Score(4, average="macro")(prediction, label)),
        "mcc": lambda: float(MulticlassMatthewsCorrCoef(4)(prediction, label)),
        "accuracy": lambda: float((rows["label"] == rows["prediction"]).mean()),
    }[reference]()
    assert values(metric, rows).mean() == pytest.approx(expected, abs=1e-6)


def test_classes_that_are_neither_label_nor_prediction_do_not_count() -> None:
    rows = classified(100, n_classes=2)
    far = {**rows, "label": rows["label"] * 7, "prediction": rows["prediction"] * 7}
    assert values("macro_f1", far) == pytest.approx(values("macro_f1", rows))


@pytest.mark.parametrize("metric", ["macro_f1", "matthews"])
def test_a_row_that_counts_a_little_more_moves_the_metric_by_its_value(metric: str) -> None:
    """Finite differences: 200 copies of the rows, and one row a 201st time."""
    rows = classified(40)
    ours, copies = values(metric, rows), 200
    for row in range(40):
        index = np.append(np.tile(np.arange(40), copies), row)
        more = values(metric, {name: column[index] for name, column in rows.items()}).mean()
        assert (more - ours.mean()) * len(index) == pytest.approx(ours[row] - ours.mean(), abs=0.02)


@pytest.mark.parametrize("metric", ["macro_f1", "matthews"])
def test_the_variance_is_that_of_a_bootstrap_over_rows(metric: str) -> None:
    rows, random = classified(500), np.random.default_rng(1)
    draws = []
    for _ in range(600):
        index = random.integers(500, size=500)
        draws.append(values(metric, {name: column[index] for name, column in rows.items()}).mean())
    assert np.std(draws) == pytest.approx(values(metric, rows).std() / np.sqrt(500), rel=0.12)


def test_one_class_everywhere_has_no_correlation() -> None:
    rows = classified(20)
    assert not values("matthews", {**rows, "prediction": np.zeros(20, dtype=np.int64)}).any()


def test_answers_are_from_0_to_100() -> None:
    rows = {"row_id": np.arange(4), "em": np.array([1.0, 0, 0, 1]), "f1": np.array([1.0, 0.5, 0, 1], dtype=np.float32)}
    assert values("em", rows).mean() == 50
    assert values("f1", rows).mean() == 62.5


@pytest.mark.parametrize("metric", ["perplexity", "f1", "em"])
def test_a_metric_that_rows_do_not_hold_is_not_known(metric: str) -> None:
    assert row_values(metric, classified(10)) is None


def test_the_smallest_class_has_the_fewest_rows() -> None:
    assert smallest_class({"label": np.array([5, 5, 2, 2, 2, 9, 9])}) == 5


def test_rows_come_in_the_order_of_their_ids() -> None:
    rows = {"row_id": np.array([3, 1, 2]), "em": np.array([0.3, 0.1, 0.2])}
    assert list(by_row_id(rows, "the run")["em"]) == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    "wrong",
    [
        {"em": np.zeros(3)},
        {"row_id": np.array([1, 1, 2]), "em": np.zeros(3)},
        {"row_id": np.arange(3), "em": np.zeros(4)},
        {"row_id": np.zeros((3, 2)), "em": np.zeros((3, 2))},
    ],
)
def test_rows_without_ids_of_their_own_are_refused(wrong: dict[str, np.ndarray]) -> None:
    with mistake(UserError, "the run"):
        by_row_id(wrong, "the run")


@pytest.mark.parametrize(
    ("metric", "column", "wrong"),
    [
        ("em", "em", [0.0, float("nan")]),
        ("f1", "f1", [0.0, 1.5]),
        ("accuracy", "prediction", [0.0, 1.0]),
        ("macro_f1", "label", [0, -1]),
    ],
)
def test_values_that_cannot_be_are_refused(metric: str, column: str, wrong: list[float]) -> None:
    with pytest.raises(UserError):
        row_values(metric, {**classified(2), column: np.array(wrong)})
