"""A selection that anything was done to is told, a sentence for each thing; an untouched one is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from selectune.common.run_files import SelectionFiles
from selectune.selection.manifest import hash_rows
from tests.conftest import Here
from tests.mistakes import names


def changed(file: Path, **columns: Callable[[Any], Any]) -> None:
    table = pq.read_table(file)
    for name, change in columns.items():
        table = table.set_column(table.column_names.index(name), name, change(table[name].combine_chunks()))
    pq.write_table(table, file)


def rehash(files: SelectionFiles) -> None:
    content = json.loads(files.manifest.read_text())
    rows = pq.read_table(files.rows)["row_id"].to_numpy()
    files.manifest.write_text(json.dumps(content | {"rows_hash": hash_rows(rows)}))


def other_row(files: SelectionFiles) -> None:
    changed(files.rows, row_id=lambda ids: pa.concat_arrays([ids[:-1], pa.array([ids[-1].as_py() - 1])]))


def row_twice(files: SelectionFiles) -> None:
    changed(files.rows, row_id=lambda ids: pa.concat_arrays([ids[:1], ids[:1], ids[2:]]))
    rehash(files)


def fewer_scores(files: SelectionFiles) -> None:
    pq.write_table(pq.read_table(files.scores)[:-1], files.scores)


DAMAGES: dict[str, tuple[Callable[[SelectionFiles], Any], list[object]]] = {
    "another row": (other_row, ["manifest"]),
    "a row twice": (row_twice, ["rows.parquet", "twice"]),
    "another mark": (lambda files: changed(files.scores, selected=pc.invert), ["scores.parquet", "selected"]),
    "another score": (
        lambda files: changed(files.scores, score=lambda s: pc.add(s, 1.0)),
        ["scores.parquet", "scores"],
    ),
    "fewer scores": (fewer_scores, ["scores.parquet", 215, 216]),
    "no scores": (lambda files: files.scores.unlink(), ["scores.parquet"]),
    "cut scores": (lambda files: files.scores.write_bytes(files.scores.read_bytes()[:99]), ["scores.parquet"]),
    "no rows": (lambda files: files.rows.unlink(), ["rows.parquet"]),
    "a manifest cut short": (lambda files: files.manifest.write_text("{"), ["selection"]),
}


def test_an_untouched_selection_is_all_right(finished: Path, here: Here) -> None:
    assert names(here("verify", finished), finished / "selection", "those of the manifest")


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_selection_is_told(case: str, copy_of_finished: Path, here: Here) -> None:
    damage, named = DAMAGES[case]
    damage(SelectionFiles(copy_of_finished / "selection"))
    told = here("verify", copy_of_finished, code=1)
    assert names(told, copy_of_finished / "selection", *named) or names(told, *named)
    assert "those of the manifest." not in told.replace("not those of its manifest", "")


def test_another_pool_and_each_mismatch_are_told(copy_of_finished: Path, here: Here, tmp_path: Path) -> None:
    config = yaml.safe_load((copy_of_finished / "config.yaml").read_text())
    data = Path(shutil.copytree(config["data"]["init_args"]["dataset"], tmp_path / "data"))
    config["data"]["init_args"]["dataset"] = str(data)
    (copy_of_finished / "config.yaml").write_text(yaml.safe_dump(config))
    here("verify", copy_of_finished)
    changed(data / "train.parquet", label=lambda labels: pc.subtract(1, labels))
    fewer_scores(SelectionFiles(copy_of_finished / "selection"))
    fingerprint = json.loads((copy_of_finished / "selection" / "manifest.json").read_text())["pool_fingerprint"]
    told = here("verify", copy_of_finished, code=1)
    assert names(told, "scores.parquet", 215)
    assert names(told, "another pool", fingerprint[:12])
    shutil.rmtree(data)
    assert names(here("verify", copy_of_finished, code=1), data, "data.dataset")
    (copy_of_finished / "config.yaml").write_text("model: [")
    assert names(here("verify", copy_of_finished, code=1), copy_of_finished / "config.yaml")


def test_a_changed_review_is_told(here: Here, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "review.csv").write_text("row_id,action,label\n1,drop,\n")
    review = ["--data.review", "review.csv", "--data.selector", "Random", "--data.keep", "0.1"]
    here("select", *arguments, *review, "--output", "run")
    here("verify", "run")
    (tmp_path / "review.csv").write_text("row_id,action,label\n1,drop,\n\n")
    assert names(here("verify", "run", code=1), "review.csv")


def test_a_folder_without_a_selection_is_a_mistake(here: Here, tmp_path: Path) -> None:
    assert names(here("verify", "nowhere", code=2), "nowhere")
    assert names(here("verify", tmp_path, code=2), tmp_path)
    assert names(here("verify", code=2), "RUN")
