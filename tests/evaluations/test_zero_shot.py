"""Zero-shot classification: fixed labels, choices of each row, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selectune.common.errors import DataError
from selectune.evaluations import ZeroShot
from selectune.evaluations.language_model import CausalModel
from tests.conftest import BAD, GOOD, sentences
from tests.evaluations.test_language_model import harness
from tests.mistakes import mistake

TEMPLATE, LABELS = "{text} is", [BAD[0], GOOD[0]]


def test_zero_shot_decides_by_the_likelihood_of_labels(model: CausalModel, reviews: Path) -> None:
    made = ZeroShot(str(reviews), TEMPLATE, LABELS, max_rows=12)
    made.check(None)
    found = made.run(model)
    prompts = made.prompts
    assert len(prompts) == 12
    assert len({tuple(model.tokens_of(f" {label}")) for label in LABELS}) == 2, "else all are ties"
    sums = np.array([[harness(model, prompt, f" {label}") for label in LABELS] for prompt in prompts])
    alone = np.array([harness(model, " is", f" {label}") for label in LABELS])
    np.testing.assert_allclose(np.stack([found.rows[f"log_probability_{i}"] for i in (0, 1)], 1), sums, atol=1e-4)
    for name, values in (("", sums), ("_norm", sums / [len(label) for label in LABELS]), ("_calibrated", sums - alone)):
        guessed = values.argmax(axis=1)
        assert found.rows[f"prediction_accuracy{name}"].tolist() == guessed.tolist()
        assert found.metrics[f"accuracy{name}"] == pytest.approx((guessed == made.true).mean())
    assert found.metrics["majority_accuracy"] >= 0.5


@pytest.mark.parametrize("own", ["list", "columns"])
def test_zero_shot_decides_among_the_choices_of_each_row(model: CausalModel, tmp_path: Path, own: str) -> None:
    texts, _ = sentences(9, seed=6)
    choices = [[f"{GOOD[row % 3]} film", f"{BAD[row % 3]}", f"{GOOD[(row + 1) % 3]}"] for row in range(9)]
    table: dict[str, Any] = {"text": texts, "answer": ["ABC"[row % 3] for row in range(9)]}
    if own == "list":  # as many as each has: every third row has two
        choices = [few[: 2 if row % 3 == 0 else 3] for row, few in enumerate(choices)]
        table["choices"] = [{"text": few, "label": ["A", "B", "C"][: len(few)]} for few in choices]
        labels: str | list[str] = "choices.text"
    else:
        table |= {f"choice{i}": [few[i] for few in choices] for i in range(3)}
        labels = ["{choice0}", "{choice1}", "{choice2}"]
    pq.write_table(pa.table(table), tmp_path / "exam.parquet")
    made = ZeroShot(str(tmp_path / "exam.parquet"), "{text} is", labels, label_column="answer")
    made.check(None)
    found = made.run(model)
    assert made.choices == choices
    assert made.true.tolist() == [row % 3 for row in range(9)]
    for row, (text, few) in enumerate(zip(texts, choices)):
        sums = np.array([harness(model, f"{text} is", f" {choice}") for choice in few])
        alone = np.array([harness(model, " is", f" {choice}") for choice in few])
        told = [found.rows[f"log_probability_{i}"][row] for i in range(3)]
        np.testing.assert_allclose(told, [*sums, *[np.nan] * (3 - len(few))], atol=1e-4)
        decisions = {"": sums, "_norm": sums / [len(choice) for choice in few], "_calibrated": sums - alone}
        for name, values in decisions.items():
            assert found.rows[f"prediction_accuracy{name}"][row] == values.argmax()
    other = ZeroShot(
        str(tmp_path / "exam.parquet"), "{text} is", ["{text}", "{answer}"], label_column="answer", max_rows=9
    )
    with mistake(DataError, "class 2", "has 2 labels"):
        other.check(None)


@pytest.mark.parametrize("labels", ["choices", ["{a}", "{b}"]])
def test_other_choices_or_classes_are_another_evaluation(tmp_path: Path, labels: str | list[str]) -> None:
    def key_of(a: str, b: str, label: int) -> list[Any]:
        columns = {"text": ["one"], "a": [a], "b": [b], "choices": [[a, b]], "label": [label]}
        pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
        made = ZeroShot(str(tmp_path / "rows.parquet"), "{text}", labels)
        made.check(None)
        return made.key

    keys = [key_of("x", "y", 0), key_of("x", "z", 0), key_of("y", "x", 0), key_of("x", "y", 1)]
    assert len({str(key) for key in keys}) == 4
    assert key_of("x", "y", 0) == keys[0]


@pytest.mark.parametrize(
    ("template", "labels", "rows", "told"),
    [
        ("{text", LABELS, {}, ("'{text'", "brace")),
        ("{text}", ["{}", "b"], {}, ("'{}' of", "brace")),
        ("{text}", "endings", {}, ("no column 'endings'",)),
        ("{text!r}", LABELS, {}, ("'{text!r}'", "brace")),
        ("{text:{label}}", LABELS, {}, ("brace",)),
        ("{text}", "text", {}, ("are 'one'", "row 0", "list of two different texts")),
        ("{text}", "choices", {"choices": [["a", "b"], ["a", "a"]]}, ("['a', 'a']", "row 1")),
        ("{text}", "choices", {"choices": [["a", "b"], ["a", None]]}, ("['a', None]", "row 1")),
        ("{text}", "choices", {"choices": [["a", "b"], ["a", " "]]}, ("['a', ' ']", "row 1")),
        ("{text}", ["{text}", "{same}"], {"same": ["1", "two"]}, ("['two', 'two']", "row 1")),
        ("{text}", ["{text}", "{none}"], {"none": [None, "2"]}, ("['one', None]", "row 0")),
        ("{text}", LABELS, {"label": [0.0, 0.9]}, ("0.9 in its row 1", "numbers from 0 on")),
        ("{text}", LABELS, {"label": [float("inf"), 0.0]}, ("inf in its row 0",)),
        ("{text}", LABELS, {"label": ["A", "1"]}, ("'1' in its row 1", "of one kind")),
        ("{text}", LABELS, {"label": ["0", "good"]}, ("'good' in its row 1", "numbers from 0 on")),
        ("{text}", LABELS, {"label": [None, 1]}, ("None in its row 0",)),
        ("{text}", LABELS, {"label": [1, -1]}, ("class -1 in its row 1",)),
    ],
)  # fmt: skip
def test_choices_and_classes_that_are_none_are_refused(
    tmp_path: Path, template: str, labels: Any, rows: dict[str, list], told: tuple[str, ...]
) -> None:
    pq.write_table(pa.table({"text": ["one", "two"], "label": [0, 1]} | rows), tmp_path / "rows.parquet")
    with mistake(DataError, *told):
        ZeroShot(str(tmp_path / "rows.parquet"), template, labels).check(None)
