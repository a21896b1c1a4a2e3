"""The whole job with a tiny model, on one and on two processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from selectune.costs.ledger import read_ledger, totals
from selectune.costs.saving import Saving
from tests.conftest import Cli, Here, Ranks, manifest_of, metrics_of
from tests.mistakes import names

TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


def rows_of(run: Path) -> list[int]:
    return pq.read_table(run / "selection" / "rows.parquet")["row_id"].to_pylist()


def scores_of(run: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(run / "selection" / "scores.parquet")
    return {name: table[name].to_numpy() for name in table.column_names}


def test_one_command_leaves_a_whole_run(finished: Path) -> None:
    there = {file.name for file in finished.iterdir()}
    assert there >= {
        "config.yaml", "metrics.csv", "cost.jsonl", "saving.json", "report.html", "done.json", "checkpoints", "export",
        "selection",
    }  # fmt: skip
    pool_rows = 240 - 24  # a tenth is dev
    manifest = manifest_of(finished)
    assert manifest["pool_rows"] == pool_rows
    assert manifest["n_rows"] == len(rows_of(finished)) == round(pool_rows * 0.25)
    metrics = metrics_of(finished)
    assert {"val/accuracy", "val/macro_f1", "test/accuracy", "test/macro_f1", "test/majority_accuracy"} <= set(metrics)
    stages = {record.stage for record in read_ledger(finished / "cost.jsonl")}
    assert stages == {"prepare", "score", "solve", "select", "train", "evaluate"}
    _saving_is_what_the_ledger_gives(finished)
    _igse_is_what_its_definition_gives(finished, keep=54)

    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    network = AutoModelForSequenceClassification.from_pretrained(finished / "export")
    assert network.config.num_labels == 2
    AutoTokenizer.from_pretrained(finished / "export")


def test_a_finished_run_is_not_touched(copy_of_finished: Path, here: Here, selecting: list[str]) -> None:
    assert names(here("fit", *selecting, "--output", copy_of_finished, code=2), copy_of_finished, "--overwrite")


def test_the_config_of_a_run_gives_it_again(finished: Path, here: Here, tmp_path: Path) -> None:
    again = tmp_path / "again"
    here("fit", "--config", finished / "config.yaml", "--cache", finished.parent / "cache", "--output", again)
    assert rows_of(again) == rows_of(finished)
    ours, theirs = metrics_of(again), metrics_of(finished)
    for name in ("test/accuracy", "test/macro_f1", "test/loss", "val/loss"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-6)
    replayed = read_ledger(again / "cost.jsonl")
    assert {record.stage for record in replayed if record.cached} == {"score", "solve"}, "signals were there already"


def test_other_verbs_add_to_a_finished_run(copy_of_finished: Path, here: Here) -> None:
    run = copy_of_finished
    accuracy = metrics_of(run)["test/accuracy"]
    here("test", "--config", run / "config.yaml", "--output", run)
    assert metrics_of(run)["test/accuracy"] == pytest.approx(accuracy, abs=1e-6)
    here("predict", "--config", run / "config.yaml", "--output", run)
    predicted = pq.read_table(run / "predictions.parquet").to_pydict()
    assert predicted["row_id"] == list(range(60))


def _saving_is_what_the_ledger_gives(run: Path) -> None:
    """The definition, computed again from the lines of the ledger."""
    lines = [json.loads(line) for line in (run / "cost.jsonl").read_text().splitlines()]
    saving = Saving.read(run)
    for unit in ("flops", "device_s"):
        selection = sum(line[unit] for line in lines if line["stage"] in ("tune_scorer", "score", "solve", "select"))
        training = sum(line[unit] for line in lines if line["stage"] == "train")
        everything = training * saving.pool_tokens / saving.kept_tokens
        assert getattr(saving, unit).saving == pytest.approx(1 - (selection + training) / everything, rel=1e-6)


def _igse_is_what_its_definition_gives(run: Path, keep: int) -> None:
    """IGSE by box, computed again in a plain way from ``scores.parquet`` alone."""
    scores = scores_of(run)
    n = len(scores["row_id"])
    distance = np.zeros(n)
    for name in ("information_entropy", "generative_entropy", "semantic_entropy"):
        s = np.round(scores[name], 9)
        ordered = np.sort(s)
        windows = [(ordered[i + keep - 1] - ordered[i], i) for i in range(n - keep + 1)]
        shortest = min(width for width, _ in windows)
        middle = [(ordered[i] + ordered[i + keep - 1]) / 2 for width, i in windows if width <= shortest + 1e-9]
        midpoint = min(middle, key=lambda value: (abs(value - np.median(s)), value))
        centre = (s < midpoint).mean() + (s == midpoint).mean() / 2
        rank = np.array([(s < value).sum() + ((s == value).sum() + 1) / 2 for value in s])
        distance = np.maximum(distance, np.abs((rank - 0.5) / n - centre))
    order = sorted(range(n), key=lambda i: (round(distance[i], 9), int(scores["tie_key"][i]), i))
    assert sorted(order[:keep]) == rows_of(run)


def test_two_processes_give_what_one_gives(
    finished: Path, cli: Cli, ranks: Ranks, selecting: list[str], tmp_path: Path
) -> None:
    two = tmp_path / "two"
    cli("fit", *selecting, *TWO, "--output", two, SELECTUNE_CACHE=str(tmp_path / "other"))
    one_scores, two_scores = scores_of(finished), scores_of(two)
    for name in ("information_entropy", "generative_entropy", "semantic_entropy"):
        np.testing.assert_allclose(one_scores[name], two_scores[name], atol=1e-5, rtol=0)
    _same_rows_but_at_a_bound(finished, two)
    records = read_ledger(two / "cost.jsonl")
    for stage in ("score", "train"):
        mine = [record for record in records if record.stage == stage]
        assert sorted(record.rank for record in mine) == [0, 1]
        assert sum(record.examples for record in mine) == sum(
            record.examples for record in read_ledger(finished / "cost.jsonl") if record.stage == stage
        )
    alone, both_ranks = (totals(read_ledger(run / "cost.jsonl")).spent for run in (finished, two))
    assert both_ranks["score"].flops == pytest.approx(alone["score"].flops, rel=1e-9), "the same batches, in two parts"
    for stage, total in both_ranks.items():
        mine = [record for record in records if record.stage == stage and not record.cached]
        assert total.device_s == pytest.approx(sum(record.device_s for record in mine)), "both held a device"
        assert total.flops == pytest.approx(sum(record.flops or 0 for record in mine))
        assert total.wall_s <= total.device_s + 1e-9
    for stage in ("solve", "select"):
        worked, waited = ([r for r in records if r.stage == stage and r.rank == rank] for rank in (0, 1))
        assert worked
        assert [record.work for record in waited] == [record.work for record in worked], "while rank 0 works, 1 waits"
        assert all((record.flops, record.examples) == (0, 0) for record in waited)
        assert both_ranks[stage].flops == pytest.approx(alone[stage].flops, rel=1e-9)
    assert both_ranks["score"].wall_s == max(record.wall_s for record in records if record.stage == "score")
    for run in (finished, two):
        rows = pq.read_table(run / "test_scores.parquet").to_pydict()
        assert rows["row_id"] == list(range(60)), "each held-out row is there once"
        right = np.equal(rows["label"], rows["prediction"])
        assert right.mean() == pytest.approx(metrics_of(run)["test/accuracy"], abs=1e-6)
    # The same weights are evaluated alike: no row repeated, none dropped.
    shutil.copytree(finished, tmp_path / "copy")
    ranks("test", "--config", finished / "config.yaml", "--output", tmp_path / "copy")
    one, both = metrics_of(finished), metrics_of(tmp_path / "copy")
    for name in ("test/accuracy", "test/macro_f1", "test/loss"):
        assert both[name] == pytest.approx(one[name], abs=1e-6)


def _same_rows_but_at_a_bound(a: Path, b: Path) -> None:
    """A box's scores are ranks, so a row that changes places with a neighbour moves by one rank."""
    one, two = (pq.read_table(run / "selection" / "rows.parquet").to_pydict() for run in (a, b))
    bound, rank = max(one["score"]), 1 / len(scores_of(a)["row_id"])
    scores = dict(zip(one["row_id"], one["score"])) | dict(zip(two["row_id"], two["score"]))
    for row in set(one["row_id"]) ^ set(two["row_id"]):
        assert abs(scores[row] - bound) <= 1e-5 + rank


def test_select_then_fit_uses_the_selection(here: Here, selecting: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    told = here("select", *selecting, "--dry_run")
    assert "54 of 216" in told
    assert told.count("kept") >= 10
    assert told.count("dropped") >= 10
    here("select", *selecting, "--output", run)
    made = manifest_of(run)["created_at"]
    assert not (run / "metrics.csv").exists()
    here("fit", *selecting, "--output", run)
    assert manifest_of(run)["created_at"] == made
    # By path, it is charged to the run that uses it as a cost that was avoided.
    other = tmp_path / "other"
    arguments = [*selecting[: selecting.index("--data.selector")], "--data.selection", run]
    here("fit", *arguments, "--output", other)
    assert {record.stage for record in read_ledger(other / "cost.jsonl") if record.cached} >= {"select"}
    assert Saving.read(other).kept_rows == 54


def test_a_mistake_ends_two_processes_at_once(cli: Cli, selecting: list[str], tmp_path: Path) -> None:
    """Found before the launch of the second process, on every rank, and by rank 0 alone."""
    wrong_column = [*arguments_of(selecting), "--data.text_column", "body"]
    assert "no column 'body'" in cli("fit", *wrong_column, *TWO, "--output", tmp_path / "a", code=2).stderr
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").touch()
    told = cli("fit", *selecting, *TWO, "--output", tmp_path / "b", code=2).stderr
    assert told.count("it is no run") == 1, "rank 0 found it, and it alone tells"
    assert "Traceback" not in told


def arguments_of(selecting: list[str]) -> list[str]:
    return selecting[: selecting.index("--data.selector")]


def test_processes_that_are_started_from_outside(ranks: Ranks, selecting: list[str], tmp_path: Path) -> None:
    ranks("select", *selecting, "--output", tmp_path / "run")
    assert len(rows_of(tmp_path / "run")) == 54
    assert "name the run directory" in "".join(ranks("select", *selecting, code=2))
