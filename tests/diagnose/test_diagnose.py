"""The verb ``diagnose``, on a small pool with planted copies, leakage, empty and truncated rows."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from selectune.costs.ledger import read_ledger
from selectune.diagnose import copies
from selectune.diagnose.diagnosis import read_diagnosis
from selectune.diagnose.findings import NAMES
from tests.conftest import Here, Ranks, Shared, sentences
from tests.mistakes import names, warned
from tests.processes import run_main
from tests.squad_data import squad_rows, write_squad

ROWS, HELD_OUT, MAX_LENGTH = 120, 30, 20
EMPTY = 40
POOL = ("--data.max_length", str(MAX_LENGTH), "--scorer.max_batch_tokens", "512")
COPIES = {50: 10, 51: 10, 52: 11}  # rows that are copies of others


def write_csv(file: Path, texts: list[str], labels: list[Any]) -> None:
    with file.open("w", newline="") as handle:
        csv.writer(handle).writerows([("text", "label"), *zip(texts, labels)])


@pytest.fixture(scope="session")
def faulty(shared: Shared) -> Path:
    """A pool of known faults; row ids are lines of ``train.csv``, as it has a ``validation.csv``."""

    def make(folder: Path) -> None:
        texts, labels = sentences(ROWS, seed=1, length=(6, 26))
        for row, copied in COPIES.items():
            texts[row] = texts[copied].upper() if row == 52 else texts[copied]
        texts[EMPTY] = "... !"
        held_out, held_out_labels = sentences(HELD_OUT, seed=2, length=(6, 26))
        held_out[:3] = [texts[20], f"  {texts[21]} ", texts[22]]
        write_csv(folder / "train.csv", texts, labels)
        write_csv(folder / "test.csv", held_out, held_out_labels)
        write_csv(folder / "validation.csv", *sentences(HELD_OUT, seed=3))

    return shared("faulty", make)


@pytest.fixture
def diagnosing(arguments: list[str], faulty: Path) -> list[str]:
    return [*arguments, *POOL, "--data.dataset", str(faulty)]


def findings(run: Path) -> dict[str, dict[int, float]]:
    """Rows and scores of each finding in ``findings.parquet``."""
    table = pq.read_table(run / "findings.parquet").to_pylist()
    named: dict[str, dict[int, float]] = {}
    for line in table:
        named.setdefault(line["finding"], {})[line["row_id"]] = line["score"]
    return named


def texts_of(file: Path) -> list[str]:
    with file.open(newline="") as handle:
        return [row["text"] for row in csv.DictReader(handle)]


@pytest.fixture(scope="session")
def diagnosed(shared: Shared, faulty: Path, small_task: tuple[str, ...]) -> Path:
    """A finished diagnosis of the faulty pool, to be read."""

    def make(folder: Path) -> None:
        options = (
            "--data.dataset",
            str(faulty),
            "--data.max_length",
            str(MAX_LENGTH),
            "--scorer.max_batch_tokens",
            "512",
        )
        environment = os.environ | {"SELECTUNE_CACHE": str(folder / "cache"), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        done = run_main(["diagnose", *small_task, *options, "--output", str(folder / "run")], folder, environment)
        assert done.returncode == 0, done.stderr[-6000:]
        (folder / "stdout.txt").write_text(done.stdout)

    return shared("diagnosed", make) / "run"


def test_a_diagnosis_names_the_planted_rows(diagnosed: Path, faulty: Path) -> None:
    named = findings(diagnosed)
    texts = [copies.plain(text) for text in texts_of(faulty / "train.csv")]
    held_out = {copies.plain(text) for text in texts_of(faulty / "test.csv")}
    assert set(named["exact_copy"]) == {row for row, text in enumerate(texts) if texts.count(text) > 1}
    assert set(named["exact_copy"]) >= {*COPIES, *COPIES.values()}
    assert set(named["near_copy"]) >= set(named["exact_copy"])
    assert {row for row, score in named["leakage"].items() if score == 1} == {
        row for row, text in enumerate(texts) if text in held_out
    }
    assert set(named["leakage"]) >= {20, 21, 22}
    assert set(named["empty"]) == {EMPTY}
    words = [len(text.replace("...", "... ").split()) for text in texts]
    assert set(named["truncated"]) == {row for row, count in enumerate(words) if count + 2 > MAX_LENGTH}


def test_the_files_of_a_diagnosis_agree(diagnosed: Path, faulty: Path) -> None:
    content, named = read_diagnosis(diagnosed), findings(diagnosed)
    assert content["n_rows"] == ROWS
    assert set(content["findings"]) | set(content["skipped"]) == set(NAMES)
    metadata = pq.read_schema(diagnosed / "findings.parquet").metadata
    assert metadata[b"pool_fingerprint"].decode() == content["pool_fingerprint"]
    texts = texts_of(faulty / "train.csv")
    for name, finding in content["findings"].items():
        assert finding["rows"] == len(named.get(name, {}))
        assert 0 <= finding["low"] <= finding["high"] <= 1
        worst = sorted(named.get(name, {}).values(), reverse=True)[:5]
        assert [example["score"] for example in finding["examples"]] == pytest.approx(worst, abs=1e-5)
        for example in finding["examples"]:
            assert texts[example["row_id"]].startswith(example["text"].removesuffix("…"))
    printed = (diagnosed.parent / "stdout.txt").read_text()
    assert names(printed, ROWS)
    charged = read_ledger(diagnosed / "cost.jsonl")
    assert {record.part for record in charged} == {"diagnosis"}
    assert content["device_s"] <= content["wall_s"]


def test_two_processes_find_what_one_finds(
    ranks: Ranks, diagnosed: Path, diagnosing: list[str], tmp_path: Path
) -> None:
    ranks("diagnose", *diagnosing, "--output", "two")
    one, two = findings(diagnosed), findings(tmp_path / "two")
    assert {name: set(rows) for name, rows in two.items()} == {name: set(rows) for name, rows in one.items()}
    for name, rows in one.items():
        assert two[name] == pytest.approx(rows, abs=1e-3)


def test_trusted_rows_are_what_the_pool_is_compared_with(here: Here, diagnosing: list[str], tmp_path: Path) -> None:
    here("diagnose", *diagnosing, "--data.trusted", "validation", "--output", "run")
    content = read_diagnosis(tmp_path / "run")
    assert content["trusted"]
    assert content["findings"]["off_topic"]["details"]["trusted_rows"] == HELD_OUT
    # fewer rows than can be learned from are no reference
    few = tmp_path / "few.csv"
    write_csv(few, *sentences(9, seed=5))
    here("diagnose", *diagnosing, "--data.trusted", few, "--output", "with_few")
    assert read_diagnosis(tmp_path / "with_few")["findings"]["off_topic"]["details"]["trusted_rows"] == 0


def test_an_interrupted_diagnosis_goes_on_from_the_cache(
    here: Here, diagnosed: Path, diagnosing: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(copies, "near_copies", stop)
        here("diagnose", *diagnosing, "--output", "run", code=130)
    assert not (tmp_path / "run" / "diagnosis.json").exists()
    here("diagnose", *diagnosing, "--output", "run")
    assert findings(tmp_path / "run").keys() == findings(diagnosed).keys()
    again = [record for record in read_ledger(tmp_path / "run" / "cost.jsonl") if record.attempt == 2]
    assert not any(record.examples for record in again if record.stage == "score" and not record.cached)
    assert [record.finished for record in again if record.stage == "diagnose"] == [True]


@pytest.mark.parametrize("selector", ["KCenter", pytest.param("IGSE", marks=pytest.mark.slow)])
def test_a_fit_in_the_folder_of_a_diagnosis_has_the_saving_that_it_has_elsewhere(
    here: Here, diagnosing: list[str], tmp_path: Path, selector: str
) -> None:
    options = [*diagnosing, "--trainer.max_epochs", "1", "--data.selector", selector, "--data.keep", "0.5"]
    here("diagnose", *options, "--output", "both")
    told = here("fit", *options, "--output", "both")
    assert names(told, "Diagnosis")  # its costs stand apart
    here("fit", *options, "--output", "alone", "--cache", tmp_path / "another")
    both, alone = (json.loads((tmp_path / run / "saving.json").read_text())["flops"] for run in ("both", "alone"))
    of_cache = both.pop("selection_avoided"), alone.pop("selection_avoided")
    assert of_cache[0] >= of_cache[1] == 0
    assert both == pytest.approx(alone)
    assert (tmp_path / "both" / "diagnosis.json").is_file()
    assert (tmp_path / "both" / "done.json").is_file()


def test_a_fit_on_all_rows_is_charged_with_no_selection_after_a_diagnosis(
    here: Here, diagnosing: list[str], diagnosed: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(diagnosed, tmp_path / "run"))
    here("fit", *diagnosing, "--output", run)
    saving = json.loads((run / "saving.json").read_text())["flops"]
    assert (saving["selection"], saving["saving"], saving["redone"]) == (0, 0, 0)


def test_reviewed_findings_go_into_the_next_fit(
    here: Here, diagnosing: list[str], diagnosed: Path, tmp_path: Path
) -> None:
    table = pq.read_table(diagnosed / "findings.parquet")
    action = ["drop" if name == "empty" else None for name in table["finding"].to_pylist()]
    (tmp_path / "run").mkdir()
    pq.write_table(table.append_column("action", [action]), tmp_path / "run" / "findings.parquet")
    reviewed = [*diagnosing, "--data.review", "run/findings.parquet"]
    with warned(UserWarning, 1, ROWS):
        here("fit", *reviewed, "--trainer.max_epochs", "1", "--output", "fit")
    told = here("fit", *reviewed, "--data.train_split", "test", "--data.test_split", "train", "--output", "no", code=2)
    assert names(told, read_diagnosis(diagnosed)["pool_fingerprint"][:12])
    # nor does a new diagnosis write over it
    told = here("diagnose", *diagnosing, "--output", "run", code=2)
    assert names(told, "action")


def test_pools_without_classes_are_diagnosed_too(
    here: Here, arguments: list[str], faulty: Path, tmp_path: Path
) -> None:
    squad = write_squad(tmp_path / "squad", squad_rows(40, seed=1), squad_rows(8, seed=2))
    windows = ("--data.max_length", 64, "--data.doc_stride", 8, "--data.max_question_tokens", 16)
    settings = arguments[arguments.index("--model.checkpoint") :]
    questions = ["--data", "QuestionAnswering", "--data.dataset", squad, *windows, *settings]
    texts = ["--data", "LanguageModeling", "--data.dataset", faulty / "train.csv", *POOL, *settings]
    for name, task in {"questions": questions, "texts": texts}.items():
        here("diagnose", *task, "--output", name)
        content = read_diagnosis(tmp_path / name)
        assert {"label_issue", "rare_class", "off_topic"} <= set(content["skipped"])
        assert set(content["findings"]) >= {"empty", "exact_copy", "near_copy", "truncated", "not_language"}
    told = here("diagnose", *questions, "--data.trusted", "train", "--output", "pairs", code=2)
    assert names(told, "data.trusted")


def test_sources_and_lengths_of_a_pool_to_warm_up_on(
    here: Here, arguments: list[str], faulty: Path, tmp_path: Path
) -> None:
    near, far = tmp_path / "near.csv", tmp_path / "far.csv"
    write_csv(near, *sentences(60, seed=7))
    write_csv(far, ["zebra zebra zebra"] * 20 + ["zebra lovely zebra"] * 10, ["x"] * 30)
    settings = arguments[arguments.index("--model.checkpoint") :]
    texts = ["--data", "LanguageModeling", "--data.dataset", f"[{far}, {near}]", *POOL, *settings]
    told = here("diagnose", *texts, "--output", "alone")
    content = read_diagnosis(tmp_path / "alone")
    assert [one["name"] for one in content["sources"]] == ["near", "far"]  # the one of most rows first
    assert sum(one["rows"] for one in content["sources"]) == content["n_rows"]
    assert sum(one["share"] for one in content["sources"]) == pytest.approx(1)
    assert sum(one["token_share"] for one in content["sources"]) == pytest.approx(1)
    assert [one["distance"] for one in content["sources"]] == [None, None]
    assert names(told, "near", "far", *(one["rows"] for one in content["sources"]))
    for option in ("trusted", "target"):  # rows that are known to be good, either way
        told = here("diagnose", *texts, f"--data.{option}", faulty / "validation.csv", "--output", option)
        content = read_diagnosis(tmp_path / option)
        assert [one["name"] for one in content["sources"]] == ["near", "far"]
        assert content["sources"][0]["distance"] < content["sources"][1]["distance"]
        assert content["trusted"]
        assert "off_topic" in content["findings"]
        assert names(told, "distance")
    page = (tmp_path / "alone" / "diagnosis.html").read_text()
    assert "<h2>Sources</h2>" in page
    assert "<h2>Lengths</h2>" in page


def test_a_pool_of_copies_of_one_text_is_diagnosed(here: Here, arguments: list[str], tmp_path: Path) -> None:
    for split, n in (("train", 20), ("validation", 6), ("test", 6)):
        write_csv(tmp_path / f"{split}.csv", ["the big cat sleeps"] * n, ["a", "b"] * (n // 2))
    here("diagnose", *arguments, "--data.dataset", tmp_path, "--output", "run")
    named = findings(tmp_path / "run")
    assert set(named["exact_copy"]) == set(named["leakage"]) == set(range(20))
    assert "not_language" not in named
    assert np.isfinite([score for rows in named.values() for score in rows.values()]).all()


def test_what_cannot_be_diagnosed_is_told_in_a_sentence(here: Here, diagnosing: list[str], tmp_path: Path) -> None:
    told = here("diagnose", *diagnosing, "--data.max_train_rows", "19", "--output", "few", code=2)
    assert names(told, 19, 20)
    assert not (tmp_path / "few").exists()
    told = here("diagnose", *diagnosing, "--data.trusted", "nowhere.csv", "--output", "none", code=2)
    assert names(told, "nowhere.csv")
    assert not (tmp_path / "none").exists()
