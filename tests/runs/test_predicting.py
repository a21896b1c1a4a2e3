"""``predict`` on rows of one's own: without labels, by the run alone, into a file of any kind."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from selectune.data.row_files import write_rows
from selectune.data.texts import Texts
from selectune.runs.finished import same_rows, with_config_of_run
from tests.conftest import Here, sentences
from tests.mistakes import names

TEXTS = [f'{text}, "null"' if i % 3 else text for i, text in enumerate(sentences(30, seed=11)[0])]


def rows_in(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        return list(pq.read_table(file).to_pylist())
    if file.suffix == ".csv":
        with file.open(newline="") as handle:
            return list(csv.DictReader(handle))
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def unlabelled(here: Here, tmp_path: Path) -> Path:
    with (tmp_path / "new.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["text"], *([text] for text in TEXTS)])
    return tmp_path / "new.csv"


def by_transformers(export: Path) -> np.ndarray:
    """Probabilities of the classes by the exported model, without a line of ours, shape (30, 2)."""
    model, tokenizer = (kind.from_pretrained(export) for kind in (AutoModelForSequenceClassification, AutoTokenizer))
    with torch.no_grad():
        inputs = [tokenizer(text, return_tensors="pt", max_length=32, truncation=True) for text in TEXTS]
        logits = [model(**one).logits for one in inputs]
    return torch.cat(logits).softmax(-1).numpy()


@pytest.mark.parametrize("name", ["p.csv", "folder/p.jsonl", "p.parquet", None])
def test_every_row_gets_what_the_exported_model_says(
    name: str | None, copy_of_finished: Path, unlabelled: Path, here: Here, tmp_path: Path
) -> None:
    option = [] if name is None else ["--file", name]
    told = here("predict", "--output", copy_of_finished, "--data.dataset", unlabelled, *option)
    file = copy_of_finished / "predictions.parquet" if name is None else tmp_path / name
    assert names(told, file if name is None else name)
    rows = rows_in(file)
    assert [int(row["row_id"]) for row in rows] == list(range(30))
    probabilities = np.array([[float(row["probability_0"]), float(row["probability_1"])] for row in rows])
    np.testing.assert_allclose(probabilities, by_transformers(copy_of_finished / "export"), atol=1e-5)
    assert [int(row["prediction"]) for row in rows] == probabilities.argmax(1).tolist()
    assert (copy_of_finished / "predictions.parquet").exists() == (name is None)


def test_rows_of_other_classes_than_the_models_are_refused(copy_of_finished: Path, here: Here, tmp_path: Path) -> None:
    for name, labels in (("named.csv", ["good", "bad"]), ("numbered.csv", [0, 1])):
        lines = [["text", "label"], *([text, labels[i % 2]] for i, text in enumerate(TEXTS))]
        with (tmp_path / name).open("w", newline="") as handle:
            csv.writer(handle).writerows(lines)
    told = here("test", "--output", copy_of_finished, "--data.dataset", tmp_path / "named.csv", code=2)
    assert names(told, "0, 1", "bad, good")
    here("test", "--output", copy_of_finished, "--data.dataset", tmp_path / "numbered.csv")


def test_the_run_alone_says_how_its_held_out_rows_are_read(copy_of_finished: Path, here: Here) -> None:
    config = (copy_of_finished / "config.yaml").read_bytes()
    here("predict", "--output", copy_of_finished)
    alone = pq.read_table(copy_of_finished / "predictions.parquet")
    assert alone.num_rows == 60
    here("predict", "--config", copy_of_finished / "config.yaml", "--output", copy_of_finished)
    assert pq.read_table(copy_of_finished / "predictions.parquet").equals(alone)
    assert names(here("test", "--output", copy_of_finished), "test/accuracy")
    assert (copy_of_finished / "config.yaml").read_bytes() == config


def test_options_of_the_rows_of_a_run_are_not_those_of_others(
    copy_of_finished: Path, unlabelled: Path, here: Here
) -> None:
    config = yaml.safe_load((copy_of_finished / "config.yaml").read_text())
    changes = {"test_split": "test", "review": "nowhere.csv", "separator": ";", "max_eval_rows": 7, "local_name": "x"}
    config["data"]["init_args"] |= changes | {"more_test_splits": ["more"]}
    (copy_of_finished / "config.yaml").write_text(yaml.safe_dump(config))
    here("predict", "--output", copy_of_finished, "--data.dataset", unlabelled)
    assert pq.read_metadata(copy_of_finished / "predictions.parquet").num_rows == 30
    here("predict", "--output", copy_of_finished, f"--data.dataset={unlabelled}", "--data.max_eval_rows", "5")
    few = pq.read_table(copy_of_finished / "predictions.parquet")["row_id"].to_pylist()
    assert len(few) == 5
    assert few == sorted(few) != list(range(5))


def test_dropped_rows_leave_the_ids_of_the_others(copy_of_finished: Path, here: Here, tmp_path: Path) -> None:
    (tmp_path / "gaps.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in ("", "the cat", " ", "a dog")))
    told = here("predict", "--output", copy_of_finished, "--data.dataset", "gaps.jsonl", code=2)
    assert names(told, "0, 2", "'text'")
    with pytest.warns(UserWarning, match="2 of 4"):
        here("predict", "--output", copy_of_finished, "--data.dataset", "gaps.jsonl", "--data.drop_empty", "true")
    assert pq.read_table(copy_of_finished / "predictions.parquet")["row_id"].to_pylist() == [1, 3]


def test_rows_of_a_text_file_are_known_by_their_lines(copy_of_finished: Path, here: Here, tmp_path: Path) -> None:
    lines = ["", "the cat", " ", "a dog", "", "the bird", ""]
    (tmp_path / "gaps.txt").write_text("".join(line + "\n" for line in lines))
    (tmp_path / "folder").mkdir()
    shutil.copy(tmp_path / "gaps.txt", tmp_path / "folder" / "test.txt")
    for dataset, expected in (
        ("gaps.txt", [1, 3, 5]),
        ("./folder", [1, 3, 5]),
        ("[gaps.txt, gaps.txt]", [1, 3, 5, 8, 10, 12]),
    ):
        here("predict", "--output", copy_of_finished, "--data.dataset", dataset)
        assert pq.read_table(copy_of_finished / "predictions.parquet")["row_id"].to_pylist() == expected, dataset


def test_rows_of_several_splits_must_say_which(copy_of_finished: Path, here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("train", "validation"):
        (folder / f"{name}.txt").write_text(f"the {name}\nof it\n\n")
    predict = ["predict", "--output", copy_of_finished, "--data.dataset", "./folder"]
    assert names(here(*predict, code=2), "data.test_split", "train, validation")
    here(*predict, "--data.test_split", "validation")
    assert pq.read_metadata(copy_of_finished / "predictions.parquet").num_rows == 2


def test_mistakes_are_told_before_anything_is_predicted(copy_of_finished: Path, unlabelled: Path, here: Here) -> None:
    before = set(copy_of_finished.iterdir())
    predict = ["predict", "--output", copy_of_finished, "--data.dataset", unlabelled]
    assert names(here(*predict, "--file", "p.xlsx", code=2), "--file", ".csv", ".jsonl", ".parquet")
    assert names(here(*predict, "--file", f"{unlabelled}/p.csv", code=2), "--file", unlabelled)
    (copy_of_finished / "folder.csv").mkdir()
    assert names(here(*predict, "--file", copy_of_finished / "folder.csv", code=2), "--file", "folder")
    shutil.rmtree(copy_of_finished / "export")
    last = copy_of_finished / "checkpoints" / "last.ckpt"
    assert names(here(*predict, "--ckpt_path", last, code=2), "--ckpt_path", copy_of_finished / "export")
    unlabelled.write_text("body\na\n")
    assert names(here(*predict, code=2), "'text'", "body")
    (copy_of_finished / "config.yaml").write_text("data: [\n")
    assert names(here(*predict, code=2), copy_of_finished / "config.yaml")
    assert set(copy_of_finished.iterdir()) - before == {copy_of_finished / "folder.csv"}


def test_the_config_of_a_run_stands_in_where_none_is_named(finished: Path) -> None:
    config = str(finished / "config.yaml")
    for words in (
        [],
        ["predict"],
        ["predict", "--output", "nowhere"],
        ["fit", "--output", str(finished)],
        ["test", "--output", str(finished), "-c", "x"],
        ["test", f"--output={finished}", "--config=x"],
    ):
        assert with_config_of_run(words) == words
    assert with_config_of_run(["test", f"--output={finished}"]) == ["test", "--config", config, f"--output={finished}"]


def test_the_files_of_a_run_are_its_own_however_they_are_written(
    copy_of_finished: Path, here: Here, tmp_path: Path
) -> None:
    for name, seed in (("a.csv", 3), ("b.csv", 4)):
        rows = "".join(f"{text};{number}\n" for text, number in zip(*sentences(30, seed=seed)))
        (tmp_path / name).write_text(f"text;label\n{rows}")
    shutil.copy(tmp_path / "a.csv", tmp_path / "other.csv")
    config, file = yaml.safe_load((copy_of_finished / "config.yaml").read_text()), copy_of_finished / "config.yaml"

    def settings_of_rows(own: Any, *words: str) -> list[str]:
        config["data"]["init_args"] |= {"dataset": own, "separator": ";"}
        file.write_text(yaml.safe_dump(config))
        return with_config_of_run(["predict", "--output", str(copy_of_finished), *words])[3 : -2 - len(words)]

    several, dropped = ["a.csv", "b.csv"], ["--data.separator", "null"]
    for option in ("--data.dataset", "--data.init_args.dataset"):
        for own, word in (
            (several, "[a.csv,b.csv]"),
            (several, f"[./a.csv, {tmp_path / 'b.csv'}]"),
            ("a.csv", "./a.csv"),
            (str(tmp_path / "a.csv"), "a.csv"),
            ("org/name", "org/name"),
        ):
            assert settings_of_rows(own, option, word) == [], (own, word)
            assert settings_of_rows(own, f"{option}={word}") == [], (own, word)
        for own, word in ((several, "[b.csv,a.csv]"), (several, "a.csv"), ("a.csv", "other.csv"), ("a.csv", "[a.csv")):
            assert settings_of_rows(own, option, word) == dropped, (own, word)
    assert same_rows([Texts("a.csv")], [{"dataset": "./a.csv", "split": None}])
    assert not same_rows([Texts("a.csv", split="test")], [{"dataset": "a.csv"}])

    settings_of_rows(several)
    here("predict", "--output", copy_of_finished, "--data.dataset", "[./a.csv,b.csv]")
    assert pq.read_metadata(copy_of_finished / "predictions.parquet").num_rows == 6, "its held-out rows"


def test_texts_and_missing_values_come_back_from_a_file(tmp_path: Path) -> None:
    import pyarrow as pa

    from selectune.data.sources import find_data

    table = pa.table({"text": ["null", 'a "b", c', "two\r\nlines\r", "é😀"], "more": ["x", None, "NA", "1"]})
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        found = find_data(str(write_rows(tmp_path / name, table))).splits["train"]
        assert found[:] == table.to_pydict()
