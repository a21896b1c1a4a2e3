"""Learning curves are the cells of metrics.csv, by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selectune.common.errors import UserError
from selectune.report.drawing import png
from selectune.report.learning_curves import learning_curves, read_metrics
from tests.mistakes import mistake

HEAD = "epoch,step,train/loss,val/accuracy,val/loss,test/f1\n"


def curves_of(tmp_path: Path, lines: str):
    (tmp_path / "metrics.csv").write_text(HEAD + lines)
    return read_metrics(tmp_path / "metrics.csv")


def test_the_last_value_of_a_metric_counts(tmp_path: Path):
    last, _ = curves_of(tmp_path, "0,1,,0.5,,\n1,2,,0.75,,\n1,2,,,,0.25\n")
    assert last == {"val/accuracy": 0.75, "test/f1": 0.25}
    assert read_metrics(tmp_path / "none.csv") == ({}, {})


def test_a_curve_has_each_step_once_in_order(tmp_path: Path):
    _, curves = curves_of(tmp_path, "0,9,2.0,,,\n0,19,1.5,,,\n0,9,3.0,,,\n0,14,x,,,\n0,15,nan,,,\n")
    assert curves["train/loss"].steps.tolist() == [9, 19]
    assert curves["train/loss"].values.tolist() == [3.0, 1.5]  # a resumed run did step 9 again


def test_the_picture_draws_the_cells_and_its_words_say_them(tmp_path: Path):
    _, curves = curves_of(tmp_path, "0,9,2.5,,,\n0,19,1.25,,,\n0,19,,0.5,1.9,\n1,39,,0.625,2.0,\n1,59,,0.6,,\n")
    figure, alt = learning_curves({"one": curves}, "test/accuracy")
    alt = alt.replace("\N{NO-BREAK SPACE}", " ")
    loss, accuracy = figure.axes
    assert loss.lines[0].get_xydata().tolist() == [[9, 2.5], [19, 1.25]]
    assert accuracy.lines[0].get_xydata().tolist() == [[19, 50.0], [39, 62.5], [59, 60.0]]
    assert "Loss, training: 2.5000 at step 9, 1.2500 at step 19, lowest 1.2500 at step 19" in alt
    assert "Accuracy, validation: 50.0 % at step 19, 60.0 % at step 59, highest 62.5 % at step 39" in alt.replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_runs_are_told_apart_by_more_than_colour(tmp_path: Path):
    _, curves = curves_of(tmp_path, "0,9,2.5,,,\n0,19,1.25,0.5,,\n")
    figure, alt = learning_curves({f"run {number}": curves for number in range(16)}, None)
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 16
    assert all(f"run {number}: " in alt for number in range(16))
    assert png(figure).startswith(b"\x89PNG")


def test_without_the_headline_another_metric_of_validation_is_drawn(tmp_path: Path):
    _, curves = curves_of(tmp_path, "0,19,,0.5,1.9,\n")
    assert "Accuracy, validation" in learning_curves({"one": curves}, "test/em")[1]
    _, curves = curves_of(tmp_path, "0,19,,,1.9,\n")
    assert "Loss, validation" in learning_curves({"one": curves}, "test/em")[1]
    assert "Nothing was logged by two" in learning_curves({"one": curves, "two": {}}, None)[1]
    assert learning_curves({"one": {}}, None) is None


def test_a_file_that_is_no_text_is_a_sentence(tmp_path: Path):
    (tmp_path / "metrics.csv").write_bytes(np.arange(256, dtype=np.uint8).tobytes())
    with mistake(UserError, tmp_path / "metrics.csv"):
        read_metrics(tmp_path / "metrics.csv")
