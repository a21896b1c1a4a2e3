"""Model folders, places and files of runs that cannot be used are named, and left as they are."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from selectune.common.errors import CheckpointError, RunDirectoryError, SelectionError, UserError
from selectune.common.files import check_folder, read_mapping
from selectune.costs.ledger_file import LedgerError
from selectune.data.sources import ModelSource, check_files, find_model, n_positions
from selectune.data.tokens import load_tokenizer
from selectune.lightning_modules.heads.base import load_network
from selectune.runs.directory import Run
from selectune.selection.manifest import Selection
from tests.conftest import Here
from tests.mistakes import mistake, names


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def halve_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def drop_tokenizer(folder: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "half of the weights": (halve_weights, "model.safetensors"),
    "junk for weights": (write("model.safetensors", b"junk" * 100), "model.safetensors"),
    "no weights": (write("model.safetensors", b""), "model.safetensors"),
    "junk for a config": (write("config.json", b"junk"), "config.json"),
    "a config that is a list": (write("config.json", b"[]"), "config.json"),
    "a config of nothing": (write("config.json", b"{}"), "config.json"),
    "a tokenizer of nothing": (write("tokenizer.json", b"{}"), "tokenizer"),
    "junk for a tokenizer": (write("tokenizer.json", b"junk"), "tokenizer"),
    "junk for its settings": (write("tokenizer_config.json", b"{"), "tokenizer"),
    "half a tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
    "no tokenizer": (drop_tokenizer, "tokenizer"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_model_is_told_before_it_is_loaded(case: str, model_folder: Path, tmp_path: Path) -> None:
    damage, named = DAMAGES[case]
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    check_files(folder, "the model")
    damage(folder)
    with mistake(CheckpointError, named):
        load_tokenizer(find_model(str(folder)).folder)


def test_a_damaged_model_leaves_nothing_of_a_run(
    here: Here, selecting: list[str], model_folder: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(model_folder, bad)
    halve_weights(bad)
    for option in ("--model.checkpoint", "--scorer.checkpoint"):
        told = here("fit", *selecting, option, bad, "--output", tmp_path / "run", code=2)
        assert "model.safetensors" in told
        assert "usage:" not in told
        assert not (tmp_path / "run").exists()


def test_weights_of_another_model_are_not_taken_for_a_head_that_is_missing(model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "other")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other" / "model.safetensors", {"format": "pt"})
    with mistake(CheckpointError, "BertForSequenceClassification"):
        load_network("AutoModelForSequenceClassification", ModelSource(tmp_path / "other", "other"))
    _, missing = load_network("AutoModelForSequenceClassification", ModelSource(model_folder, "tiny"))
    assert missing, "a new head is expected"


def test_rows_are_no_longer_than_the_positions_where_the_tokenizer_does_not_say(
    here: Here, arguments: list[str], model_folder: Path, tmp_path: Path
) -> None:
    silent = tmp_path / "silent"
    shutil.copytree(model_folder, silent)
    settings = json.loads((silent / "tokenizer_config.json").read_text())
    del settings["model_max_length"]
    (silent / "tokenizer_config.json").write_text(json.dumps(settings))
    assert n_positions(silent) == load_tokenizer(silent).model_max_length == 512
    more = ["--model.checkpoint", silent, "--data.max_length", "513", "--output", tmp_path / "run"]
    assert names(here("fit", *arguments, *more, code=2), "data.max_length", 513, 512)


REFUSED = "Read-only file system"


def refuse(*_: object, **__: object) -> None:
    raise OSError(30, REFUSED)


def places(folder: Path) -> dict[str, str]:
    (folder / "file").write_text("years of work")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "dangling").symlink_to(folder / "nothing")
    return {
        "a file": str(folder / "file"),
        "under a file": str(folder / "file" / "deep" / "run"),
        "a loop": str(folder / "loop"),
        "under a loop": str(folder / "loop" / "run"),
        "a link to nothing": str(folder / "dangling"),
        "under a link to nothing": str(folder / "dangling" / "run"),
        "too long a name": str(folder / ("n" * 300)),
        "too long a path": str(folder / "/".join(["n" * 200] * 30)),
        "empty": "",
    }


def test_a_place_that_can_be_no_folder_is_refused_and_nothing_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in places(tmp_path).values():
        before = sorted(tmp_path.iterdir())
        with mistake(RunDirectoryError, option="--output"):
            check_folder(place, "--output", RunDirectoryError)
        assert sorted(tmp_path.iterdir()) == before
    check_folder(str(tmp_path / "new" / "run"), "--output")
    check_folder(str(tmp_path), "--output")
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with mistake(UserError, tmp_path, REFUSED, option="--output"):
        check_folder(str(tmp_path / "new" / "run"), "--output")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("option", ["--output", "--cache"])
def test_the_command_line_refuses_such_a_place(
    option: str, here: Here, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTUNE_CACHE", os.environ["SELECTUNE_CACHE"])  # which --cache sets
    bad = places(tmp_path)["under a file"]
    told = here("fit", *arguments, "--output", tmp_path / "run", option, bad, code=2)
    assert f"error: {option}" in told
    assert (tmp_path / "file").read_text() == "years of work"
    assert not (tmp_path / "run").exists()


def test_tables_and_reports_refuse_such_a_place(here: Here, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.claim("fit", {"a": 1}, None, overwrite=False)
    run.costs.write_text("")
    bad = places(tmp_path)["a loop"]
    assert names(here("report", run.path, "--output", bad, code=2), "--output")
    (tmp_path / "table.yaml").touch()
    table = ["table", "--config", "table.yaml"]
    assert "error: --output" in here(*table, "--output", bad, code=2)
    assert "error: --jobs" in here(*table, "--output", tmp_path / "table", "--jobs", "0", code=2)


def test_a_folder_that_cannot_be_written_after_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", refuse)
    with mistake(RunDirectoryError, tmp_path / "run", REFUSED):
        Run(tmp_path / "run").claim("fit", {}, None, overwrite=False)


RUN_FILES = {
    "config.yaml": (b"a: [", RunDirectoryError),
    "config.yaml of a list": (b"- 1\n", RunDirectoryError),
    "config.yaml of junk": (b"\xff\xfe\x00", RunDirectoryError),
    "cost.jsonl": (b"junk\n", LedgerError),
    "cost.jsonl of numbers": (b"5\n{}\n", LedgerError),
    "cost.jsonl of junk": (b"\xff\xfe\x00\n", LedgerError),
}


@pytest.mark.parametrize("case", RUN_FILES)
def test_a_damaged_run_is_told_and_left_as_it_is(case: str, tmp_path: Path) -> None:
    content, kind = RUN_FILES[case]
    name = case.partition(" ")[0]
    first = Run(tmp_path / "run")
    first.claim("fit", {"a": 1}, None, overwrite=False)
    first.release()
    (first.checkpoints).mkdir()
    first.last.write_bytes(b"weights")
    (first.path / name).write_bytes(content)
    before = {file: file.read_bytes() for file in first.path.rglob("*") if file.is_file() and file.name != ".lock"}
    run = Run(first.path)
    with mistake(kind, first.path / name):
        run.claim("fit", {"a": 1}, None, overwrite=False)
    run.release()
    assert {file: file.read_bytes() for file in before} == before
    again = Run(first.path)
    assert again.claim("fit", {"a": 1}, None, overwrite=True).attempt == 1, "--overwrite mends it"
    again.release()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"metrics": {}}', b"\xff\xfe"])
def test_a_damaged_file_is_named_with_what_mends_it(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "done.json"
    file.write_bytes(content)
    with mistake(UserError, file, "run again", path=file):
        read_mapping(file, "run again", "metrics", "commit")
    file.write_text('{"metrics": {}, "commit": ""}')
    assert read_mapping(file, "run again", "metrics", "commit") == {"metrics": {}, "commit": ""}


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"{")
    with mistake(SelectionError, path=tmp_path):
        Selection.read(tmp_path, None)  # type: ignore[arg-type]
    assert (tmp_path / "manifest.json").read_bytes() == b"{"
