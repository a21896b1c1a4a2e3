"""A damaged file gives one sentence or a valid result: no traceback, no hang, and nothing is written elsewhere."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from selectune.common.errors import UserError
from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles, SelectionFiles
from selectune.common.training_outcome import TrainingOutcome
from selectune.costs.ledger import read_ledger
from selectune.costs.saving import Saving
from selectune.data.data_files import FileFormat, load_file
from selectune.runs.directory import Run
from selectune.selection.manifest import Selection
from selectune.signals.store import Definition, SignalStore
from selectune.verdict.judge import read_verdict
from tests.fuzz.examples import EXAMPLES, changed, damaged, for_examples
from tests.selection.test_selection import POOL, WRITTEN


def told_or_read(read: Callable[[], Any]) -> Any:
    """The result, or the sentence of a mistake."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read()
        except UserError as error:
            told = str(error)
    assert "\n" not in told
    return told


def holds(examples: int, file: Path, contents: Any, read: Callable[[], Any], *may_become: bytes) -> None:
    """Reading a file gives a result or a sentence, and changes nothing, whatever the file holds."""
    beside = {path: path.read_bytes() for path in file.parent.rglob("*") if path.is_file() and path != file}

    def law(content: bytes) -> None:
        file.write_bytes(content)
        told_or_read(read)
        assert file.read_bytes() in (content, *may_become)
        now = {path: path.read_bytes() for path in file.parent.rglob("*") if path.is_file() and path != file}
        assert now == beside

    for_examples(examples, contents, law)


OF_RUN: dict[str, Callable[[Path], Any]] = {
    "training": TrainingOutcome.read,
    "saving": Saving.read,
    "verdict": read_verdict,
}


@EXAMPLES
@pytest.mark.parametrize("name", OF_RUN)
def test_a_json_file_of_a_run(name: str, examples: int, finished: Path, tmp_path: Path) -> None:
    content = json.loads(getattr(RunFiles(finished), name).read_text())
    holds(examples, getattr(RunFiles(tmp_path), name), changed(content), lambda: OF_RUN[name](tmp_path))


@EXAMPLES
def test_a_ledger(examples: int, finished: Path, tmp_path: Path) -> None:
    content = b"\n".join(RunFiles(finished).costs.read_bytes().splitlines()[:3]) + b"\n"
    file = RunFiles(tmp_path).costs
    holds(examples, file, damaged(content) | changed(json.loads(content.splitlines()[0])), lambda: read_ledger(file))


@EXAMPLES
def test_the_manifest_of_a_selection(examples: int, tmp_path: Path) -> None:
    WRITTEN.write(tmp_path, POOL, {"entropy": np.arange(4.0)}, np.arange(4, dtype=np.uint64))
    file = SelectionFiles(tmp_path).manifest
    holds(examples, file, changed(json.loads(file.read_text())), lambda: Selection.read(tmp_path, POOL))


@EXAMPLES
def test_the_rows_of_a_selection(examples: int, tmp_path: Path) -> None:
    WRITTEN.write(tmp_path, POOL, {"entropy": np.arange(4.0)}, np.arange(4, dtype=np.uint64))
    file = SelectionFiles(tmp_path).rows
    read = []

    def law() -> None:
        read.append(Selection.read(tmp_path, POOL))
        assert read[-1].rows.tolist() == WRITTEN.rows.tolist(), "rows are those of the manifest, or refused"

    holds(examples, file, damaged(file.read_bytes()), law)
    assert read, "the whole file is among the examples"


def test_what_ten_thousand_examples_found_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in some ten thousand; so they are kept here."""
    WRITTEN.write(tmp_path, POOL, {"entropy": np.arange(4.0)}, np.arange(4, dtype=np.uint64))
    file = SelectionFiles(tmp_path).manifest
    whole = file.read_text()
    for name in ("pool_fingerprint", "rows_hash", "weights_hash", "tokenizer_hash"):
        file.write_text(json.dumps(json.loads(whole) | {name: None}))
        assert f"{name} is None" in told_or_read(lambda: Selection.read(tmp_path, POOL))
    file.write_text(whole)

    def unknown(*_: Any) -> None:
        raise pa.ArrowNotImplementedError("Integers with more than 64 bits not implemented")

    monkeypatch.setattr(pq, "read_table", unknown)
    assert "more than 64 bits" in told_or_read(lambda: Selection.read(tmp_path, POOL))


@EXAMPLES
def test_a_config(examples: int, tmp_path: Path) -> None:
    content = yaml.safe_dump({"data": {"class_path": "X", "init_args": {"dataset": "d"}}, "model": {"lr": 1.0}})
    file = tmp_path / "config.yaml"
    holds(examples, file, damaged(content.encode()), lambda: read_mapping(file, "mend it"))


@EXAMPLES
def test_the_config_of_a_run_that_is_begun_again(examples: int, tmp_path: Path) -> None:
    config = {"model": {"learning_rate": 1.0}, "seed_everything": 0}
    file = RunFiles(tmp_path).config
    file.write_text(yaml.safe_dump(config))

    def read() -> None:
        run = Run(tmp_path)
        try:
            run.claim("fit", config, None, overwrite=False)
        finally:
            run.release()
            run.lock.unlink(missing_ok=True)

    whole = file.read_bytes()  # a config that lacks what a later version added is completed
    holds(min(examples, 1000), file, damaged(whole), read, whole)


@EXAMPLES
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet", "txt", "csv.gz"])
def test_a_file_of_rows(kind: str, examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"text": f'a "thing", {i}', "label": i % 2} for i in range(4)]
    file = tmp_path / "rows" / f"rows.{kind}"
    file.parent.mkdir()
    content = {
        "csv": b'text,label\n"a ""thing"", 1",0\nb,1\n',
        "tsv": b'text\tlabel\n"a ""thing""\t1",0\nb\t1\n',
        "jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "json": json.dumps(rows).encode(),
        "txt": b'a "thing"\n\nb\n',
        "csv.gz": gzip.compress(b'text,label\n"a ""thing"", 1",0\nb,1\n', mtime=0),
    }.get(kind)
    if content is None:
        pq.write_table(pa.Table.from_pylist(rows), file)
        content = file.read_bytes()
    few = examples // 10 if kind not in ("csv", "tsv") else examples  # datasets takes long with each
    holds(few, file, damaged(content), lambda: load_file(file, FileFormat()))


@EXAMPLES
@pytest.mark.parametrize("name", ["values.npy", "meta.json"])
def test_a_stored_signal(name: str, examples: int, tmp_path: Path) -> None:
    definition = Definition("generative_entropy", "forward", "pool" * 8, "model" * 6, {})
    store, values = SignalStore(tmp_path), np.arange(5.0)
    store.write(definition, values, [])
    folder = store.folder(definition)
    file = folder / name
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}

    def law(content: bytes) -> None:
        folder.mkdir(exist_ok=True)
        for each, stored in whole.items():
            (folder / each).write_bytes(stored)
        file.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if store.has(definition):
                np.testing.assert_array_equal(store.read(definition), values)
            else:
                assert not folder.exists(), "it is computed again"

    contents = damaged(whole[name]) if name == "values.npy" else changed(json.loads(whole[name]))
    for_examples(examples, contents, law)
