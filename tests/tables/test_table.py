"""The verb ``table``, on the tiny model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from selectune.tables.results import write_rows
from selectune.verdict.verdict import Verdict
from tests.conftest import Cli, Here, manifest_of, metrics_of
from tests.mistakes import names
from tests.tables.conftest import Write
from tests.tables.reading import CELLS, lasting, read_csv, rows_of, touched


def test_a_table_is_made_of_whole_runs(finished_table: Path, cli: Cli, here: Here, write: Write) -> None:
    output = finished_table
    for cell in CELLS:
        run = output / "cells" / cell
        there = {file.name for file in run.iterdir()}
        assert there >= {
            "config.yaml",
            "cost.jsonl",
            "metrics.csv",
            "report.html",
            "saving.json",
            "selection",
            "done.json",
        }
        assert not there & {"checkpoints", "export"}
        figures = pq.read_table(run / "test_scores.parquet").to_pydict()
        right = [a == b for a, b in zip(figures["label"], figures["prediction"])]
        assert sum(right) / 60 == pytest.approx(metrics_of(run)["test/accuracy"], abs=1e-6)
    rows = rows_of(output)
    assert [f"{row['task']}-{row['method']}-{row['budget']}-{row['seed']}" for row in rows] == CELLS
    for row in rows:
        run = output / "cells" / f"{row['task']}-{row['method']}-{row['budget']}-{row['seed']}"
        assert float(row["test/accuracy"]) == pytest.approx(metrics_of(run)["test/accuracy"], abs=1e-6)
        assert int(row["rows"]) == manifest_of(run)["n_rows"]
        assert int(row["tokens_trained_on"]) == 2 * int(row["tokens_kept"])
        parts = [float(row[f"{step}_flops"]) for step in ("selection", "warm_up", "training")]
        assert float(row["total_flops"]) == pytest.approx(sum(parts))
    by_name = {(row["method"], row["seed"]): row for row in rows}
    for seed in "01":
        band, random, same = (by_name[name, seed] for name in ("band", "random", "same_cost"))
        assert float(band["selection_flops"]) > 0 == float(random["selection_flops"])
        assert random["rows"] == band["rows"]
        assert int(same["tokens_kept"]) > int(random["tokens_kept"])
        assert float(same["total_flops"]) == pytest.approx(float(band["total_flops"]), rel=0.1), (
            "to a row and the padding of its batches"
        )
    page = (output / "table.md").read_text()
    assert names(page, "6 runs")
    assert page.count("| band |") == 1
    assert page.count("- `band` against random rows of the same total cost (`same_cost`): ") == 1
    _summary_is_of_the_rows(output, rows)
    _verdicts_are_those_of_the_summary(output)
    assert (output / "table.png").read_bytes().startswith(b"\x89PNG")

    # Nothing is left to do: nothing is touched, and the same table is written.
    before = touched(output / "cells")
    told = here("table", "--config", write(), "--output", output)
    assert names(told, "6 runs", "0 to do")
    assert touched(output / "cells") == before
    assert (output / "table.md").read_text() == page
    assert rows_of(output) == rows

    # A dry run writes nothing; a cell of another seed is forecast from those that are done.
    before = touched(output)
    told = cli("table", "--config", write(seeds=[0, 1, 2]), "--output", output, "--dry_run").stdout
    assert told.count(" done ") == 6
    assert any(names(line, "reviews-same_cost-0.25-2", "reviews-band-0.25-2") for line in told.splitlines())
    assert "unknown" not in told.splitlines()[-1]
    assert touched(output) == before

    # Other cells are another table.
    other = {"random": {"set": {"data.selector": {"class_path": "Random"}, "model.learning_rate": 0.5}}}
    told = cli("table", "--config", write(methods=other), "--output", output, code=2).stderr
    assert names(told, output / "cells" / "reviews-random-0.25-0", "config.model.learning_rate")
    assert "Traceback" not in told


@pytest.mark.slow
def test_runs_are_forecast_before_any_is_done(write: Write, cli: Cli, tmp_path: Path) -> None:
    """As the verb estimate does, once for each kind; what waits for another run is unknown."""
    output = tmp_path / "out"
    listed = ["table", "--config", write(), "--output", output, "--dry_run"]
    assert "6 runs of unknown time" in cli(*listed).stdout.splitlines()[-1]
    *lines, last = cli(*listed, "--forecast").stdout.splitlines()
    times = {line.split()[0]: line.rsplit(", ", 1)[1] for line in lines}
    assert len(times) == 6
    for kind in ("random", "band"):
        assert times[f"reviews-{kind}-0.25-0"] == times[f"reviews-{kind}-0.25-1"]
        assert re.fullmatch(r"\d.*\sm?s", times[f"reviews-{kind}-0.25-0"])
    assert times["reviews-same_cost-0.25-0"] == "unknown until one run of its task is done"
    assert "and 2 runs of unknown time, one at a time" in last
    limited = cli(*listed, "--forecast", "--limit", "1").stdout.splitlines()[-1]
    assert "the next 1: " in limited
    assert "unknown" not in limited
    assert not output.exists()

    told = cli(
        "table", "--config", write(set={"model.checkpoint": "nowhere"}), "--output", output, "--dry_run", "--forecast"
    )
    assert "unknown: " in told.stdout
    assert "nowhere" in told.stdout


def _summary_is_of_the_rows(output: Path, rows: list[dict[str, str]]) -> None:
    summary = {line["method"]: line for line in read_csv(output / "summary.csv")}
    assert list(summary) == ["random", "same_cost", "band"]
    mean = {}
    for method, line in summary.items():
        found = [float(row["test/accuracy"]) for row in rows if row["method"] == method]
        mean[method] = float(line["mean"])
        assert mean[method] == pytest.approx(np.mean(found))
        assert float(line["sd"]) == pytest.approx(np.std(found, ddof=1), abs=1e-9)
        if method != "random":
            assert float(line["versus_random"]) == pytest.approx(mean[method] - mean["random"], abs=1e-7)
            assert float(line["low"]) <= float(line["versus_random"]) <= float(line["high"])
    assert summary["random"]["versus_random"] == summary["random"]["low"] == ""
    same = summary["same_cost"]
    assert (same["matches"], same["by"], summary["band"]["matches"]) == ("band", "cost", "")
    assert float(same["matched_versus_this"]) == pytest.approx(mean["band"] - mean["same_cost"], abs=1e-7)
    assert float(same["matched_low"]) <= float(same["matched_versus_this"]) <= float(same["matched_high"])


def _verdicts_are_those_of_the_summary(output: Path) -> None:
    (entry,) = json.loads((output / "verdicts.json").read_text())
    assert [entry.pop(name) for name in ("task", "budget", "method")] == ["reviews", "0.25", "band"]
    verdict = Verdict.from_json(entry["verdict"])
    assert verdict.to_json() == entry["verdict"]
    summary = {line["method"]: line for line in read_csv(output / "summary.csv")}
    assert [summary[method]["verdict"] for method in summary] == ["", "", verdict.word]
    assert f"| {verdict.headline} |" in (output / "table.md").read_text()
    band, same = summary["band"], summary["same_cost"]
    for ours, theirs in (("versus_random_rows", "matched_versus_this"), ("low_random_rows", "matched_low")):
        assert float(band[ours]) == pytest.approx(float(same[theirs]))
    assert verdict.evidence.cost.flops == pytest.approx(float(band["total_flops"]))
    assert band["versus_all_rows"] == ""
    assert verdict.evidence.all_rows.cost is not None
    assert verdict.evidence.all_rows.cost.estimated


def test_a_metric_that_no_run_has_is_told_when_all_else_is_done(
    finished_table: Path, write: Write, here: Here, grid: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished_table, out)
    before = [row["test/accuracy"] for row in rows_of(out)]
    wrong = {"reviews": grid["tasks"]["reviews"] | {"metric": "acuracy"}}
    told = here("table", "--config", write(tasks=wrong), "--output", out, code=2)
    assert names(told, "'reviews'", "'acuracy'", "accuracy")
    assert [row["test/accuracy"] for row in rows_of(out)] == before


def test_a_run_that_others_matched_is_not_changed_under_them(
    finished_table: Path, write: Write, here: Here, grid: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished_table, out)
    changed = grid["methods"] | {"band": {"set": {"data.selector": {"class_path": "IGSE"}}}}
    for seed in (0, 1):
        shutil.rmtree(out / "cells" / f"reviews-band-0.25-{seed}")
    told = here("table", "--config", write(methods=changed), "--output", out, code=2)
    assert names(told, out / "cells" / "reviews-same_cost-0.25-0", "needs")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e9, 0.25])
def test_whatever_a_figure_is_it_is_written(value: float, tmp_path: Path) -> None:
    write_rows(["figure", "lacking"], [{"figure": value}], tmp_path / "out.csv")
    (row,) = read_csv(tmp_path / "out.csv")
    assert float(row["figure"]) == pytest.approx(value, nan_ok=True)
    assert row["lacking"] == ""


def test_two_at_a_time_in_another_order_give_the_same(
    finished_table: Path, write: Write, here: Here, tmp_path: Path
) -> None:
    """Order of the methods, which is that of the lines, apart."""
    import yaml

    methods: dict[str, Any] = yaml.safe_load(write().read_text())["methods"]
    turned = {name: methods[name] for name in ("band", "same_cost")}
    two = tmp_path / "two"
    here("table", "--config", write("turned", methods=turned, seeds=[1, 0]), "--output", two, "--jobs", "2")
    key = ("method", "seed")

    def ordered(folder: Path) -> list[dict[str, str]]:
        return sorted(lasting(folder), key=lambda row: [row[name] for name in key])

    assert ordered(two) == [row for row in ordered(finished_table) if row["method"] in turned]


def test_a_cell_that_fails_is_told_and_the_rest_goes_on(write: Write, here: Here, tmp_path: Path) -> None:
    methods = {
        "broken": {"set": {"data.selector": {"class_path": "Random"}, "data.text_column": "body"}},
        "same": {"match": "broken", "by": "tokens"},
        "random": {"set": {"data.selector": {"class_path": "Random"}}},
    }
    file, out = write(methods=methods, seeds=[0]), tmp_path / "out"
    told = here("table", "--config", file, "--output", out, code=1)
    assert any(names(line, "reviews-broken-0.25-0", "'body'") for line in told.splitlines())
    assert any(names(line, "reviews-same-0.25-0", "reviews-broken-0.25-0") for line in told.splitlines())
    assert [row["method"] for row in rows_of(out)] == ["random"]
    assert names((out / "table.md").read_text(), "1 of 3 runs")

    # The mended table finds its place.
    methods["broken"] = {"set": {"data.selector": {"class_path": "Random"}}}
    here("table", "--config", write(methods=methods, seeds=[0]), "--output", out)
    assert len(rows_of(out)) == 3


def test_a_prepared_model_is_made_once_and_kept(write: Write, here: Here, tmp_path: Path, data_folder: Path) -> None:
    model = {"class_path": "LanguageModeling", "init_args": {"dataset": str(data_folder), "max_length": 32}}
    prepare = {"config": "reviews.yaml", "set": {"data": model, "trainer.max_epochs": 1}}
    methods = {"random": {"set": {"data.selector": {"class_path": "Random"}}}}
    out = tmp_path / "out"
    told = here("table", "--config", write(prepare=prepare, methods=methods), "--output", out, "--keep_models")
    assert told.count("prepare: started") == 1
    assert (out / "prepare" / "export" / "model.safetensors").is_file()
    assert (out / "cells" / "reviews-random-0.25-0" / "export" / "model.safetensors").is_file()
    assert len(rows_of(out)) == 2
    assert "prepared once for" in (out / "table.md").read_text()


@pytest.mark.parametrize(
    ("changes", "arguments", "named"),
    [
        ({"seeds": []}, [], ["table.yaml", "seeds"]),
        ({}, ["--jobs", "0"], ["--jobs", 0]),
        ({"set": {"data.kep": 0.1}}, [], ["reviews-random-0.25-0", "kep"]),
        ({"methods": {"a": {"set": {"data.selector": {"class_path": "Rendom"}}}}}, ["--dry_run"], ["Rendom"]),
        ({}, ["--forecast"], ["--forecast", "--dry_run"]),
    ],
)
def test_a_mistake_ends_in_a_sentence(
    changes: dict[str, Any], arguments: list[str], named: list[object], write: Write, here: Here, tmp_path: Path
) -> None:
    error = here("table", "--config", write(**changes), "--output", tmp_path / "out", *arguments, code=2)
    assert names(error, *named)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_told(write: Write, here: Here, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    error = here("table", "--config", write(), "--output", tmp_path / "taken", code=2)
    assert names(error, tmp_path / "taken", "--output")
