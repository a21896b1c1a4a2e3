"""Data as people have them: from files to texts, labels and pools, and class names through to what a run leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from selectune import LanguageModeling, QuestionAnswering, TextClassification
from selectune.common.errors import BadRowsError, DataError
from selectune.data.texts import Texts
from selectune.selectors import Nearest
from tests.conftest import Here, sentences
from tests.mistakes import mistake, warned


@pytest.fixture(autouse=True)
def _no_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selectune.datamodules.base.give_memory_back", lambda: None)  # it takes longer than a test


def write(file: Path, labels: list, texts: list[str] | None = None) -> Path:
    """Texts and labels in a file of the kind that its name says."""
    texts = texts or [f"text {i}" for i in range(len(labels))]
    if file.suffix == ".jsonl":
        rows = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels)]
        file.write_text("\n".join(rows))
    elif file.suffix == ".csv":
        written = ["" if label is None else label for label in labels]
        file.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in zip(texts, written)))
    else:
        pd.DataFrame({"text": texts, "label": labels}).to_parquet(file)
    return file


def load(file: Path, **arguments: Any) -> TextClassification:
    data = TextClassification(str(file), seed=0, **arguments)
    data.load()
    return data


WORDS = ["null", "NA", "None", "nan", "N/A"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_words_for_nothing_are_texts_and_class_names(kind: str, tmp_path: Path) -> None:
    data = load(write(tmp_path / f"words.{kind}", WORDS * 8, WORDS * 8))
    assert data.label_names == sorted(WORDS)
    for (text,), label in zip(data.pool.texts(), data.labels["train"]):
        assert text == data.label_names[label]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([1, 2, 3, 4, 5], ["1", "2", "3", "4", "5"]),
        ([9, 5], ["5", "9"]),
        ([1.0, 2.0], ["1", "2"]),
        ([True, False], ["False", "True"]),
        (["10", "9"], ["9", "10"]),
    ],
)
def test_classes_of_any_file(kind: str, labels: list, names: list[str], tmp_path: Path) -> None:
    data = load(write(tmp_path / f"labels.{kind}", labels * 10))
    assert data.label_names == names
    assert data.head().config()["id2label"] == dict(enumerate(names))
    said = [names.index(str(label).removesuffix(".0")) for label in labels]
    assert data.labels["train"].tolist() == [said[row % len(labels)] for row in data.pool.source_rows]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_row_without_a_label_is_refused(kind: str, tmp_path: Path) -> None:
    with mistake(DataError, 2, f"missing.{kind}", rows=[1, 3]):
        load(write(tmp_path / f"missing.{kind}", ["a", None, "b", None] + ["a"] * 9))


def test_the_same_content_is_one_pool_however_it_is_written(tmp_path: Path) -> None:
    for labels in ([5, 9] * 10, ["good", "bad"] * 10):
        prints = {
            load(write(tmp_path / f"same.{kind}", labels)).pool.fingerprint for kind in ("csv", "jsonl", "parquet")
        }
        assert len(prints) == 1
    other = load(write(tmp_path / "other.csv", ["good", "Bad"] * 10)).pool.fingerprint
    numbers = {load(write(tmp_path / f"n.{kind}", [1.5, 2] * 9), regression=True) for kind in ("csv", "parquet")}
    assert other not in prints
    assert len({data.pool.fingerprint for data in numbers}) == 1


@pytest.mark.parametrize(
    ("train", "test", "named"),
    [
        ([1, 2], ["1.0", "2"], None),
        (["1", "2"], [2, 2], None),
        ([1, 2], ["1", "x"], ["'x'"]),
        ([1, 2], [0, 1], ["'0'"]),
        ([0, 1], [-1, -1], [-1, "--data.test_split"]),
        (["a", "b"], [None, None], ["'test'", "--data.test_split"]),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_splits_whose_labels_differ_in_type(
    kind: str, train: list, test: list, named: list[object] | None, tmp_path: Path
) -> None:
    write(tmp_path / f"train.{kind}", train * 10)
    write(tmp_path / f"test.{kind}", test * 5)
    if named is not None:
        with mistake(DataError, *named):
            load(tmp_path)
        return
    data = load(tmp_path)
    names = [str(label).removesuffix(".0") for label in test * 5]
    assert [data.label_names[number] for number in data.labels["test"]] == names


def test_names_beside_numbers_that_do_not_begin_at_0(tmp_path: Path) -> None:
    rows = ["text,label,label_text", *(f"text {i},{2 + i % 2},{('world', 'sports')[i % 2]}" for i in range(30))]
    (tmp_path / "named.csv").write_text("\n".join(rows))
    data = load(tmp_path / "named.csv")
    assert data.label_names == ["world", "sports"]
    assert data.labels["train"].tolist() == (data.pool.source_rows % 2).tolist()


def test_a_column_of_mixed_types_is_refused(tmp_path: Path) -> None:
    """The reader of json files would take the text ``"null"`` in it for nothing."""
    with mistake(DataError, "mixed.jsonl", "'label'"):
        load(write(tmp_path / "mixed.jsonl", [1, "null", True] * 9))


@pytest.mark.parametrize(("content", "saved_in"), [('{"text": "é", "label": 1}\n', "latin-1"), ("{}", "utf-16")])
def test_the_encoding_of_json_files(content: str, saved_in: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_bytes((content * 9).encode(saved_in))
    with mistake(DataError, file, "--data.encoding"):
        load(file)
    file.write_bytes('{"text": "é", "label": 1}\n{"text": "null", "label": 0}\n'.encode(saved_in) * 9)
    if saved_in == "latin-1":
        assert set(load(file, encoding=saved_in).pool.texts()) == {("é",), ("null",)}


def test_csv_files_of_other_tasks_and_targets(tmp_path: Path) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("text;more\n" + "NA;1\nnull;2\n007;3\n" * 5)
    made = LanguageModeling([Texts(str(file), separator=";"), str(write(tmp_path / "b.csv", [1] * 9, ["5"] * 9))])
    made.load()
    assert {text for (text,) in made.pool.texts()} <= {"NA", "null", "007", "5"}
    task = load(write(tmp_path / "task.csv", [0, 1] * 9), target=Texts(str(file), separator=";"))
    task.selector = Nearest()
    request = task.request()
    assert request is not None
    assert request.target is not None
    assert request.target.texts()[:3] == [("NA",), ("null",), ("007",)]
    with mistake(DataError, "data.separator", "'both'"):
        Texts(str(file), separator="both")
    with mistake(DataError, option="data.separator"):
        LanguageModeling([str(file)], separator=";")
    file.write_text("id,question,context,answers\n" + "1,who,me,\"{'text': ['me'], 'answer_start': [0]}\"\n" * 9)
    with mistake(BadRowsError, "'answers'", rows=list(range(9))):
        QuestionAnswering(str(file)).load()


def test_class_names_flow_through_a_run(here: Here, model_folder: Path, tmp_path: Path) -> None:
    texts, labels = sentences(60, seed=4)
    rows = [f"{text};{('null', '5 stars ')[label]}" for text, label in zip(texts, labels)]
    (tmp_path / "reviews.csv").write_text("Review;Stars\n" + "\n".join(rows), encoding="utf-16")
    arguments = [
        "--data", "TextClassification", "--data.dataset", "reviews.csv", "--data.text_column", "Review",
        "--data.label_column", "Stars", "--data.separator", ";", "--data.encoding", "utf-16", "--data.max_length", "16",
        "--data.selector", "Random", "--data.keep", "0.5", "--model.checkpoint", model_folder,
        "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
    ]  # fmt: skip
    with warned(UserWarning, "'5 stars '"):
        here("fit", *arguments, "--output", "run")
    names = ["5 stars", "null"]
    config = json.loads((tmp_path / "run" / "export" / "config.json").read_text())
    assert config["id2label"] == {"0": "5 stars", "1": "null"}
    assert config["label2id"] == {"5 stars": 0, "null": 1}
    examples = json.loads((tmp_path / "run" / "selection" / "examples.json").read_text())
    assert examples["classes"]["names"] == names
    with warned(UserWarning, "'5 stars '"):
        here("predict", "--config", "run/config.yaml", "--output", "run")
    predicted = pq.read_table(tmp_path / "run" / "predictions.parquet")
    assert set(predicted["prediction"].to_pylist()) <= set(names)
    assert {f"probability_{name}" for name in names} <= set(predicted.column_names)
