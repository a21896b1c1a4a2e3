"""Selections of one pool beside each other: what they share is counted as sets are."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from selectune.sharing import compare_selections
from tests.conftest import Here, sentences, write_split
from tests.mistakes import names


@pytest.fixture
def other(here: Here, arguments: list[str], tmp_path: Path) -> Path:
    """Random rows of the pool of the finished run."""
    here("select", *arguments, "--data.selector", "Random", "--data.keep", "0.5", "--output", "random")
    return tmp_path / "random"


def row_ids(run: Path) -> set[int]:
    return set(pq.read_table(run / "selection" / "rows.parquet")["row_id"].to_pylist())


def test_what_they_share_is_counted_as_sets_are(finished: Path, other: Path, here: Here,
                                                capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    compare_selections.main([str(finished), str(other), "--to", "csv"])
    one, two = csv.DictReader(io.StringIO(capfd.readouterr().out))
    a, b = row_ids(finished), row_ids(other)
    assert (one["run"], two["run"]) == ("run", "random")
    assert (one["selector"], two["selector"]) == ("IGSE", "Random")
    assert (int(one["rows"]), int(two["rows"])) == (len(a), len(b)) == (54, 108)
    assert (float(one["rows_share"]), float(two["rows_share"])) == (0.25, 0.5)
    assert int(one["rows shared with random"]) == int(two["rows shared with run"]) == len(a & b)
    assert float(one["Jaccard with random"]) == pytest.approx(len(a & b) / len(a | b), abs=1e-4)
    for line in (one, two):
        assert float(line["class 0"]) + float(line["class 1"]) == pytest.approx(1, abs=1e-3)
    scores = pq.read_table(finished / "selection" / "scores.parquet").to_pandas()
    band = scores.loc[scores.selected, "generative_entropy"]
    assert float(one["generative_entropy from"]) <= band.min() + 1e-4
    assert float(one["generative_entropy to"]) >= band.max() - 1e-4
    assert two["generative_entropy from"] == ""
    told = here("compare_selections", finished, other)
    assert names(told, "rows shared with random", "Jaccard with run", len(a & b), "generative_entropy from", "class 1")


def test_what_cannot_be_compared_is_told(finished: Path, here: Here, arguments: list[str], tmp_path: Path) -> None:
    assert names(here("compare_selections", finished, code=2), "two")
    assert names(here("compare_selections", finished, finished.parent / "run", code=2), finished, "twice")
    assert names(here("compare_selections", finished, "nowhere", code=2), "nowhere")
    assert names(here("compare_selections", finished, tmp_path, "--to", "xlsx", code=2), "--to", "csv")
    write_split(tmp_path / "data" / "train.parquet", *sentences(50, seed=9))
    random = ["--data.selector", "Random", "--data.keep", "0.5"]
    here("select", *arguments, "--data.dataset", "./data", *random, "--output", "new")
    assert names(here("compare_selections", finished, "new", code=2), 216, 41, "pools")
