"""The kept rows leave a run as they are in the pool, in every form, and others can open and read them again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard

from selectune import LanguageModeling, TextClassification
from selectune.data.sources import find_data
from selectune.selection.manifest import Selection
from selectune.sharing.chosen import Chosen
from tests.conftest import Here, manifest_of, sentences
from tests.mistakes import names
from tests.squad_data import squad_rows, write_squad


@pytest.fixture
def run(here: Here, model_folder: Path, tmp_path: Path) -> Path:
    """A selection from a csv file whose classes have names with signs of Markdown and YAML in them."""
    texts, numbers = sentences(60, seed=4)
    rows = [f'"{text}, ""so""",{("null", "5 | all: *")[number]}' for text, number in zip(texts, numbers)]
    (tmp_path / "reviews.csv").write_text("Review,Stars\n" + "\n".join(rows) + "\n")
    here(
        "select", "--data", "TextClassification", "--data.dataset", "reviews.csv", "--data.text_column", "Review",
        "--data.label_column", "Stars", "--data.max_length", "16", "--data.selector", "IGSE", "--data.keep", "0.5",
        "--model.checkpoint", model_folder, "--scorer.max_batch_tokens", "512", "--trainer.accelerator", "cpu",
        "--trainer.enable_progress_bar", "false", "--seed_everything", "5", "--output", "run",
    )  # fmt: skip
    return tmp_path / "run"


def opened(folder: Path, kind: str) -> datasets.Dataset:
    if kind == "hf":
        return datasets.load_from_disk(str(folder))
    return datasets.load_dataset(str(folder), split="train")


def test_the_rows_are_those_that_were_kept(run: Path, here: Here, tmp_path: Path) -> None:
    data = TextClassification(str(tmp_path / "reviews.csv"), text_column="Review", label_column="Stars", seed=5)
    data.load()
    for kind in ("jsonl", "parquet", "csv", "hf"):
        told = here("export_selection", run, "--to", kind, "--output", f"kept/{kind}")
        assert told.endswith(f"kept/{kind}")
        _is_kept(run, data, tmp_path / "kept" / kind, kind)


def _is_kept(run: Path, data: TextClassification, folder: Path, kind: str) -> None:
    selection, rows = Selection.read(run, data.pool), opened(folder, kind)
    assert rows.column_names == ["Review", "Stars", "row_id", "source_row", "score"]
    assert rows["row_id"][:] == selection.rows.tolist()
    assert rows["Review"][:] == [text for (text,) in data.pool.texts(selection.rows)]
    np.testing.assert_allclose(rows["score"][:], selection.scores, rtol=1e-12)
    labels = [data.label_names[number] for number in data.labels["train"][selection.rows]]
    if kind != "csv":  # whose reader in `datasets` takes the word null for a missing value
        assert rows["Stars"][:] == labels
    source = pq.read_table(run / "selection" / "rows.parquet")["source_row"].to_pylist()
    assert rows["source_row"][:] == source
    if kind != "hf":
        split = find_data(str(folder)).splits["train"]
        assert split["Stars"][:] == labels
        assert split["Review"][:] == rows["Review"][:]


def test_the_card_says_what_was_asked_kept_and_dropped(run: Path, here: Here, tmp_path: Path) -> None:
    here("export_selection", run, "--to", "ids", "--output", "deep/in/ids")
    lines = (tmp_path / "deep" / "in" / "ids" / "row_ids.csv").read_text().splitlines()
    rows = pq.read_table(run / "selection" / "rows.parquet")
    assert lines[0].replace('"', "") == "row_id,source_row"
    assert [line.split(",") for line in lines[1:]] == [
        [str(row), str(place)] for row, place in zip(rows["row_id"].to_pylist(), rows["source_row"].to_pylist())
    ]  # ids are a table of places
    here("export_selection", run, "--to", "parquet", "--output", "kept")
    card, manifest = DatasetCard.load(tmp_path / "kept" / "README.md"), manifest_of(run)
    metadata = card.data.to_dict()
    assert metadata["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}]}
    ]
    assert metadata["size_categories"] == ["n<1K"]
    assert "license" not in metadata, "is left to the user"
    kept, pool = manifest["n_rows"], manifest["pool_rows"]
    assert f"| rows | {pool} | {kept} | {pool - kept} |" in card.text
    assert names(
        card.text, "IGSE", '"keep": 0.5', "file:reviews.csv", manifest["rows_hash"], manifest["pool_fingerprint"]
    )
    assert "| 5 \\| all: * |" in card.text
    assert str(tmp_path) not in card.text, "no path of this machine"
    assert "license:" in card.text


def test_a_warm_up_exports_its_segments_with_their_domains(here: Here, model_folder: Path, data_folder: Path,
                                                           tmp_path: Path) -> None:  # fmt: skip
    for name in ("news", "papers"):
        (tmp_path / f"{name}.txt").write_text("\n".join(sentences(40, seed=len(name))[0]))
    pool = {
        "dataset": ["news.txt", "papers.txt"], "window": 8, "max_length": 16, "max_train_rows": 50,
        "selector": {"class_path": "DSIR"}, "keep": 0.2,
    }  # fmt: skip
    config = {"warm_up": {"data": {"class_path": "LanguageModeling", "init_args": pool}}}
    (tmp_path / "warm_up.yaml").write_text(yaml.safe_dump(config))
    here(
        "select", "--config", "warm_up.yaml", "--data", "TextClassification", "--data.dataset", data_folder,
        "--data.max_length", "16", "--data.selector", "Random", "--data.keep", "0.5", "--model.checkpoint",
        model_folder, "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--output", "run",
    )  # fmt: skip
    assert "2 rows" not in here("verify", "run")
    shutil.rmtree(tmp_path / "run" / "selection")
    here("export_selection", "run", "--to", "jsonl", "--output", "kept")
    rows = [json.loads(line) for line in (tmp_path / "kept" / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 10
    texts = {name: (tmp_path / f"{name}.txt").read_text().splitlines() for name in ("news", "papers")}
    for row in rows:
        assert row["last_source_row"] == row["source_row"]
        assert row["text"] in texts[row["domain"]][row["source_row"]]
    data = LanguageModeling(str(tmp_path / "kept"))
    data.load()
    assert len(data.pool) == 8


def test_an_empty_folder_is_filled_and_stays_where_it_is(
    finished: Path, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("inside", "aside", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    monkeypatch.chdir(tmp_path / "inside")
    assert here("export_selection", finished, "--to", "csv", "--output", ".").endswith("inside")
    assert (Path.cwd() / "train.csv").is_file(), "the shell's folder is the one that was filled"
    here("export_selection", finished, "--to", "hf", "--output", "../aside")
    here("export_selection", finished, "--to", "csv", "--output", "../link")
    for name in ("inside", "elsewhere"):
        assert {file.name for file in (tmp_path / name).iterdir()} == {"README.md", "train.csv"}
    assert len(opened(tmp_path / "aside", "hf")) == manifest_of(finished)["n_rows"]
    assert names(here("export_selection", finished, "--to", "csv", "--output", "", code=2), "--output")


def mistakes_of(run: Path, folder: Path) -> dict[str, tuple[list[Any], list[object]]]:
    export = ["export_selection", run, "--output", "out", "--to"]
    return {
        "no such run": (["export_selection", "nowhere", "--to", "csv", "--output", "out"], ["nowhere"]),
        "no selection": (["export_selection", folder, "--to", "csv", "--output", "out"], [folder, "selection"]),
        "no such kind": ([*export, "jsnl"], ["--to", "jsonl"]),
        "no kind": (export[:-1], ["--to"]),
        "no output": (["export_selection", run, "--to", "csv"], ["--output"]),
        "a folder with files": ([*export[:3], run, "--to", "csv"], ["--output", run]),
        "a file": ([*export[:3], "reviews.csv", "--to", "csv"], ["--output", "reviews.csv"]),
    }


def test_mistakes_are_told_and_nothing_is_written(run: Path, here: Here, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for words, named in mistakes_of(run, tmp_path / "empty").values():
        assert names(here(*words, code=2), *named)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "reviews.csv").write_text((tmp_path / "reviews.csv").read_text().replace("fine", "FINE"))
    manifest = manifest_of(run)
    told = here("export_selection", run, "--to", "csv", "--output", "out", code=2)
    assert names(told, "another pool", manifest["pool_fingerprint"][:12])
    (tmp_path / "reviews.csv").unlink()
    assert names(here("export_selection", run, "--to", "csv", "--output", "out", code=2), "reviews.csv")
    assert not (tmp_path / "out").exists()


def test_columns_that_cannot_be_written_are_told(here: Here, model_folder: Path, tmp_path: Path) -> None:
    write_squad(tmp_path / "squad", squad_rows(40, seed=5), squad_rows(10, seed=6))
    data = ["--data.dataset", "./squad", "--data.max_length", "48", "--data.max_question_tokens", "12",
            "--data.doc_stride", "8", "--data.selector", "Random", "--data.keep", "0.5"]  # fmt: skip
    model = ["--model.checkpoint", model_folder, "--trainer.accelerator", "cpu"]
    here("select", "--data", "QuestionAnswering", *data, *model, "--output", "asked")
    assert names(here("export_selection", "asked", "--to", "csv", "--output", "out", code=2), "'answers'", "jsonl")
    here("export_selection", "asked", "--to", "jsonl", "--output", "out")
    row = json.loads((tmp_path / "out" / "train.jsonl").read_text().splitlines()[0])
    assert set(row["answers"]) == {"text", "answer_start"}
    (tmp_path / "scored.csv").write_text(
        "text,label,score\na,b,c\n" * 1 + "".join(f"t {i},{i % 2},c\n" for i in range(30))
    )
    here("select", "--data", "TextClassification", "--data.dataset", "scored.csv", "--data.text_column", "score",
         "--data.selector", "Random", "--data.keep", "0.5", *model, "--output", "scored")  # fmt: skip
    assert names(here("export_selection", "scored", "--to", "jsonl", "--output", "o", code=2), "'score'")


def test_labels_are_named_where_the_data_set_numbers_them(finished: Path) -> None:
    chosen = Chosen.read(finished)
    assert set(chosen.rows()["label"][:]) == {"0", "1"}
    assert sum(pool for pool, _ in chosen.classes.values()) == 216
    assert sum(kept for _, kept in chosen.classes.values()) == 54
