"""A user's mistake ends in one sentence and exit code 2, with nothing half-written."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import Here, sentences, write_split
from tests.mistakes import names

Told = Callable[..., str]


@pytest.fixture
def told(here: Here) -> Told:
    """Run a command that is a mistake, and return what it printed."""
    return partial(here, code=2)


def made(folder: Path, train: dict[str, list], test: dict[str, list] | None = None) -> Path:
    folder.mkdir(parents=True)
    pq.write_table(pa.table(train), folder / "train.parquet")
    pq.write_table(pa.table(test or train), folder / "test.parquet")
    return folder


TEXTS, LABELS = sentences(40, seed=3)
BAD_DATA = {
    "no such column": ({"sentence": TEXTS, "label": LABELS}, ["'text'", "sentence, label"]),
    "no label column": ({"text": TEXTS, "klass": LABELS}, ["'label'", "text, klass"]),
    "decimal labels": ({"text": TEXTS, "label": [x + 0.5 for x in LABELS]}, ["--data.regression true"]),
    "numbers for texts": ({"text": list(range(40)), "label": LABELS}, ["'text'", "int"]),
    "missing label": ({"text": TEXTS, "label": [None, *LABELS[1:]]}, ["'train'", 1, 0]),
    "nan label": ({"text": TEXTS, "label": [float("nan"), *map(float, LABELS[1:])]}, ["'train'", 1, 0]),
    "empty texts": ({"text": ["", " ", *TEXTS[2:]], "label": LABELS}, ["'text'", 2, "0, 1"]),
    "empty split": ({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}, ["test.parquet"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(case: str, told: Told, arguments: list[str], tmp_path: Path) -> None:
    columns, named = BAD_DATA[case]
    folder = made(tmp_path / "data", columns)
    assert names(told("fit", *arguments, "--data.dataset", folder, "--output", tmp_path / "run"), *named)
    assert not (tmp_path / "run").exists()


def test_hidden_test_labels(told: Told, arguments: list[str], tmp_path: Path) -> None:
    folder = made(tmp_path / "data", {"text": TEXTS, "label": LABELS}, {"text": TEXTS, "label": [-1] * 40})
    sentence = told("fit", *arguments, "--data.dataset", folder, "--output", tmp_path / "run")
    assert names(sentence, 40, -1, "--data.test_split")


def test_a_checkpoint_without_the_head_that_a_signal_needs(
    told: Told, selecting: list[str], model_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    bare = tmp_path / "bare"
    AutoModelForSequenceClassification.from_pretrained(model_folder).save_pretrained(bare)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(bare)
    sentence = told("fit", *selecting, "--model.checkpoint", bare, "--output", tmp_path / "run")
    assert names(sentence, "masked-LM", "scorer.checkpoint")
    assert names(told("test", *selecting, "--output", tmp_path / "test"), "local:tiny", "--output")


def test_a_folder_that_is_no_run_is_left_alone(told: Told, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert names(told("fit", *arguments, "--overwrite", "--output", tmp_path), tmp_path, "config.yaml")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_directory_in_use(told: Told, arguments: list[str], tmp_path: Path) -> None:
    from selectune.runs.directory import Run

    holder = Run(tmp_path / "run")
    holder.claim("select", {"a": 1}, None, overwrite=False)
    assert names(told("fit", *arguments, "--output", tmp_path / "run"), tmp_path / "run", os.getpid())


def test_another_config_is_refused_and_says_where_it_differs(told: Told, arguments: list[str], tmp_path: Path) -> None:
    from selectune.runs.directory import Run

    run = Run(tmp_path / "run")
    run.claim("fit", {"seed_everything": 0, "model": {"learning_rate": 3.0}}, None, overwrite=False)
    run.release()
    sentence = told("fit", *arguments, "--output", tmp_path / "run")
    assert names(sentence, tmp_path / "run", "data", "model.learning_rate")


def test_a_selection_for_another_pool(finished: Path, told: Told, selecting: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_split(other / "train.parquet", *sentences(300, seed=9))
    write_split(other / "test.parquet", *sentences(30, seed=8))
    plain = selecting[: selecting.index("--data.selector")]
    sentence = told("fit", *plain, "--data.dataset", other, "--data.selection", finished, "--output", tmp_path / "run")
    assert names(sentence, finished / "selection", 216, 270)


def test_a_validation_that_never_comes(here: Here, arguments: list[str], tmp_path: Path) -> None:
    error = here("fit", *arguments, "--trainer.val_check_interval", "1000", "--output", tmp_path / "run", code=2)
    assert names(error, "trainer.val_check_interval", 1000, "trainer.check_val_every_n_epoch")
    assert not (tmp_path / "run").exists()
