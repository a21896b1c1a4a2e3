"""Data sets and models are found where the user keeps them, and the description says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from selectune.common.errors import CheckpointError, DataError, EmptyDataError, MissingCheckpointError
from selectune.data.sources import find_data, find_model, weights_hash
from tests.conftest import sentences, write_split
from tests.mistakes import mistake


def make(folder: Path, rows: int = 20) -> Path:
    write_split(folder / "train.parquet", *sentences(rows, seed=0))
    return folder


@pytest.mark.parametrize(
    ("there", "name", "config", "local_name"),
    [
        ("org/reviews", "org/reviews", None, None),
        ("reviews", "org/reviews", None, None),
        ("reviews", "reviews", None, None),
        ("reviews/small", "org/reviews", "small", None),
        ("sst2", "nyu-mll/glue", "sst2", None),
        ("glue/sst2", "nyu-mll/glue", "sst2", None),
        ("other_name", "org/reviews", None, "other_name"),
    ],
)
def test_a_root_is_looked_into_first(
    there: str, name: str, config: str | None, local_name: str | None, tmp_path: Path
) -> None:
    make(tmp_path / there)
    found = find_data(name, config, tmp_path, local_name)
    assert found.described == f"local:{there} (20 rows)"
    assert len(found.splits["train"]) == 20


@pytest.mark.parametrize("shard", ["", "-00000-of-00001"])
def test_splits_are_called_as_their_files_are(shard: str, tmp_path: Path) -> None:
    splits = {"train": 20, "validation_matched": 5, "validation_mismatched": 6}
    for seed, (split, rows) in enumerate(splits.items()):
        write_split(tmp_path / f"{split}{shard}.parquet", *sentences(rows, seed))
    found = find_data(str(tmp_path))
    assert {split: len(part) for split, part in found.splits.items()} == splits


def test_usual_splits_are_recognised(tmp_path: Path) -> None:
    for name, rows in (("train-00000-of-00002", 4), ("train-00001-of-00002", 5), ("dev", 3), ("test", 2)):
        write_split(tmp_path / f"{name}.parquet", *sentences(rows, 1))
    found = find_data(str(tmp_path))
    assert {split: len(part) for split, part in found.splits.items()} == {"train": 9, "validation": 3, "test": 2}


def test_the_environment_names_a_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "reviews")
    monkeypatch.setenv("SELECTUNE_DATA", str(tmp_path))
    assert find_data("org/reviews").described == "local:reviews (20 rows)"
    monkeypatch.setenv("SELECTUNE_DATA", str(tmp_path / "nowhere"))
    with mistake(DataError, tmp_path / "nowhere", "data.root", "SELECTUNE_DATA"):
        find_data("org/reviews")


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "parquet"])
def test_one_file_of_any_kind(suffix: str, tmp_path: Path) -> None:
    texts, labels = sentences(12, seed=1)
    import pandas as pd

    frame, file = pd.DataFrame({"text": texts, "label": labels}), tmp_path / f"mine.{suffix}"
    {
        "csv": lambda: frame.to_csv(file, index=False),
        "json": lambda: frame.to_json(file, orient="records"),
        "jsonl": lambda: frame.to_json(file, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(file),
    }[suffix]()
    found = find_data(str(file))
    assert found.described == f"file:mine.{suffix} (12 rows)"
    assert found.splits["train"]["text"][:] == texts


def test_a_folder_with_several_splits(tmp_path: Path) -> None:
    make(tmp_path / "mine")
    write_split(tmp_path / "mine" / "test.parquet", *sentences(5, seed=2))
    found = find_data(str(tmp_path / "mine"))
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 20, "test": 5}


def test_an_unreadable_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"no parquet at all")
    with mistake(DataError, tmp_path / "bad.parquet", "ArrowInvalid"):
        find_data(str(tmp_path / "bad.parquet"))
    (tmp_path / "empty.csv").touch()
    with mistake(EmptyDataError, tmp_path / "empty.csv"):
        find_data(str(tmp_path / "empty.csv"))


def test_models_by_root_folder_and_name(model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_model(str(model_folder)).described == "local:tiny"
    monkeypatch.setenv("SELECTUNE_MODELS", str(model_folder.parent))
    assert find_model("someone/tiny").folder == model_folder
    assert len(weights_hash(model_folder)) == 32
    with mistake(MissingCheckpointError, "someone/else", "SELECTUNE_MODELS"):
        find_model("someone/else")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text('{"model_type": "bert"}')
    with mistake(CheckpointError, "local:old", "*.safetensors"):
        find_model(str(tmp_path / "old"))
