"""A selection proves where it came from."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import datasets
import numpy as np
import pytest

from selectune import IGSE, Densest
from selectune.common.errors import SelectionError
from selectune.data.pool import Pool
from selectune.selection.manifest import Manifest, Selection, _by_public_names, describe, hash_rows, public_name
from selectune.selectors import Chain, Deduplicate
from tests.mistakes import mistake


def pool_of(texts: list[str], labels: list[int]) -> Pool:
    data = datasets.Dataset.from_dict({"text": texts, "label": labels})
    return Pool(data, ("text",), "local:made (4 rows)", np.arange(len(texts)) + 10, label_column="label")


POOL = pool_of(["a", "b", "c", "d"], [0, 1, 0, 1])


def selection(pool: Pool = POOL) -> Selection:
    rows = np.array([1, 3])
    manifest = Manifest(
        n_rows=2, rows_hash=hash_rows(rows), pool_fingerprint=pool.fingerprint, pool_rows=4, pool_tokens=4,
        pool_input_tokens=12, source=pool.source, revision=None, scorer="local:tiny", scorer_revision="main",
        weights_hash="w", tokenizer_hash="t", selector={"class": "Mine", "arguments": {}},
        budget={"asked": {"keep": 0.5}, "rows": 2, "tokens": 2}, seed=0, signals=[],
    )  # fmt: skip
    return Selection(rows, np.array([0.1, 0.3]), manifest)


WRITTEN = selection()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    WRITTEN.write(tmp_path, POOL, {"entropy": np.arange(4.0)}, np.arange(4, dtype=np.uint64))
    return tmp_path


def test_what_was_written_is_read(written: Path) -> None:
    read = Selection.read(written, POOL)
    assert read.rows.tolist() == [1, 3]
    assert read.scores.tolist() == [0.1, 0.3]
    assert read.manifest == WRITTEN.manifest


EARLIER = """{
  "n_rows": 2, "rows_hash": "%s", "pool_fingerprint": "%s", "pool_rows": 4, "pool_tokens": 4, "pool_input_tokens": 12,
  "source": "local:made (4 rows)", "revision": null, "model": "local:tiny", "model_revision": "main",
  "weights_hash": "w", "tokenizer_hash": "t", "selector": {"class": "Mine", "arguments": {}},
  "budget": {"asked": {"keep": 0.5}, "rows": 2, "tokens": 2}, "seed": 0, "signals": [], "target": null,
  "screened": null, "trained_on": null, "diagnostics": {}, "warnings": [], "costs": [], "versions": {"numpy": "2.3.0"},
  "commit": "0123abc", "model_parameters": 7, "created_at": "2026-01-02T03:04:05+00:00"
}"""


def test_a_manifest_of_an_earlier_version_is_read(written: Path) -> None:
    """It called the model that scored ``model``."""
    text = EARLIER % (WRITTEN.manifest.rows_hash, POOL.fingerprint)
    (written / "manifest.json").write_text(text)
    read = Selection.read(written, POOL).manifest
    changed = {"scorer_parameters": 7, "versions": {"numpy": "2.3.0"}, "commit": "0123abc"}
    assert read == replace(WRITTEN.manifest, **changed, created_at="2026-01-02T03:04:05+00:00")


@pytest.mark.parametrize("more", [{"model": "local:tiny"}, {"figure": 1}])
def test_a_manifest_with_an_unknown_name_is_refused(written: Path, more: dict[str, object]) -> None:
    content = json.loads((written / "manifest.json").read_text())
    assert "model" not in content
    (written / "manifest.json").write_text(json.dumps(content | more))
    with mistake(SelectionError, *more, path=written):
        Selection.read(written, POOL)


def test_source_rows_say_which_rows_of_the_file(written: Path) -> None:
    import pyarrow.parquet as pq

    assert pq.read_table(written / "rows.parquet")["source_row"].to_pylist() == [11, 13]


@pytest.mark.parametrize(
    "pool",
    [pool_of(["a", "b", "c", "x"], [0, 1, 0, 1]), pool_of(["b", "a", "c", "d"], [0, 1, 0, 1]),
     pool_of(["a", "b", "c", "d"], [0, 1, 1, 1]), pool_of(["a", "b", "c"], [0, 1, 0])],
)  # fmt: skip
def test_a_changed_pool_is_refused(written: Path, pool: Pool) -> None:
    with mistake(SelectionError, POOL.fingerprint[:12], pool.fingerprint[:12]):
        Selection.read(written, pool)


def test_rows_that_were_tampered_with_are_refused(written: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"row_id": [0, 3], "score": [0.0, 0.1]}), written / "rows.parquet")
    with mistake(SelectionError, path=written / "rows.parquet"):
        Selection.read(written, POOL)


def test_a_torn_manifest_is_refused(written: Path) -> None:
    text = (written / "manifest.json").read_text()
    (written / "manifest.json").write_text(text[: len(text) // 2])
    with mistake(SelectionError, path=written):
        Selection.read(written, POOL)


def test_the_fingerprint_is_of_the_content() -> None:
    data = POOL.dataset
    moved = data.select([3, 2, 1, 0]).select([3, 2, 1, 0]).add_column("more", [1, 2, 3, 4])
    same = Pool(moved, ("text",), "elsewhere", np.arange(4), label_column="label")
    assert same.fingerprint == POOL.fingerprint
    assert pool_of(["ab", "c", "d", "e"], [0] * 4).fingerprint != pool_of(["a", "bc", "d", "e"], [0] * 4).fingerprint


def test_a_selector_is_described_with_every_argument() -> None:
    described = describe(IGSE(combine="box", rule=Densest()))
    assert described["class"].endswith("IGSE")
    assert described["arguments"]["combine"] == "box"
    assert described["arguments"]["rule"]["class"].endswith("Densest")
    json.dumps(described)


def test_a_class_is_known_by_its_public_name_wherever_its_file_lies() -> None:
    """A selection that an earlier version made is the one that is asked for now, though its classes' files moved."""
    chain = Chain(Deduplicate(), IGSE(rule=Densest()))
    described = describe(chain)
    assert described["class"] == "selectune.selectors.Chain"
    assert described["arguments"]["selector"]["arguments"]["rule"]["class"] == "selectune.selectors.Densest"
    text = json.dumps(described)
    text = json.dumps(described).replace("selectors.Chain", "selectors.compose.Chain")
    earlier = json.loads(text.replace("selectors.Densest", "selectors.interval.Densest"))
    assert earlier != described
    assert _by_public_names(earlier) == described
    assert public_name("my_selectors.Mine") == "my_selectors.Mine"
    assert import_module("selectune.selectors.compose").Chain is Chain, "configs of earlier versions name it so"
