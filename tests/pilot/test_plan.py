"""The verb ``plan`` on small tasks: its files, its costs, and the fit that its overlay asks for."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles
from selectune.common.typed_json import from_json
from selectune.costs.ledger import read_ledger
from selectune.costs.record import totals
from selectune.diagnose.diagnosis import read_diagnosis
from selectune.diagnose.mending import Gain
from selectune.diagnose.page import read_findings
from selectune.forecast import measure
from selectune.pilot import plan as verb
from selectune.pilot.decision import Decision
from selectune.pilot.plans import GOTD_MEASURED
from selectune.pilot.recipes import DROPPED, NO_CLASSES
from tests.conftest import REPOSITORY, Here, manifest_of, sentences, write_split
from tests.mistakes import mistake, names
from tests.pilot.made_up import gain
from tests.squad_data import squad_rows, write_squad

SCORER = ("--scorer.max_batch_tokens", "512")
BUDGET = ("--budget", "0.4")
TABLE = (
    gain("label_issue", "label_issues", 6.0, 2.0, share=0.05),
    gain("label_issue", "label_issues", 5.0, 2.0, "fewer_epochs", share=0.05),
)


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not tested here."""
    monkeypatch.setattr(measure, "STEPS", 6)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> list[Gain]:
    """Measured gains; of nothing, until a test adds some."""
    gains: list[Gain] = []
    monkeypatch.setattr(verb, "measured_gains", lambda: tuple(gains))
    return gains


@pytest.fixture
def config(tmp_path: Path, data_folder: Path, model_folder: Path) -> list[str]:
    """The small task as a file, which chooses rows in another way."""
    content = {
        "data": {
            "class_path": "TextClassification",
            "init_args": {"dataset": str(data_folder), "max_length": 32, "batch_size": 16, "keep": 0.25,
                          "selector": {"class_path": "IGSE", "init_args": {"combine": "sum", "weights": [1, 1, 1]}}},
        },
        "model": {"checkpoint": str(model_folder), "learning_rate": 1e-3},
        "trainer": {"max_epochs": 4, "accelerator": "cpu", "enable_progress_bar": False},
        "scorer": {"max_batch_tokens": 512},
    }  # fmt: skip
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(content))
    return ["--config", str(tmp_path / "task.yaml")]


def spent_on(run: Path) -> float:
    """FLOPs of choosing and training in a run."""
    spent = totals(record for record in read_ledger(run / "cost.jsonl") if record.part == "fit").spent
    return sum(total.flops or 0.0 for stage, total in spent.items() if stage not in ("prepare", "evaluate"))


def test_the_overlays_run_and_cost_what_was_planned(
    here: Here, config: list[str], tmp_path: Path, table: list[Gain], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = here("plan", *config, *BUDGET, "--output", "run")
    decision, files = Decision.read(tmp_path / "run"), RunFiles(tmp_path / "run")
    assert decision.first is not None
    assert decision.first.plan.name == "fewer_epochs"
    assert {one.plan.name for one in decision.ranked} >= {"random", "balanced", "label_issues", "euds"}
    assert names(printed, "plan.yaml", "plan.json")
    assert decision.sentence() in printed
    assert all(one.why in printed for one in decision.ranked)
    content = read_diagnosis(tmp_path / "run")
    assert {fault.name for fault in decision.faults} == {
        name for name, finding in content["findings"].items() if finding["rows"]
    }
    assert yaml.safe_load(files.plan_overlay.read_text()) == decision.first.plan.overlay
    # each from nothing, as what the cache spares is no part of the ledger's costs
    for name in ("fewer_epochs", "label_issues", "euds"):
        planned = next(one.plan for one in decision.ranked if one.plan.name == name)
        assert not planned.unfit, name
        monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / name / "cache"))
        overlay = tmp_path / f"{name}.yaml" if name != "fewer_epochs" else files.plan_overlay
        if name != "fewer_epochs":
            overlay.write_text(yaml.safe_dump(planned.overlay))
        here("fit", *config, "--config", overlay, "--output", tmp_path / name / "fit")
        assert spent_on(tmp_path / name / "fit") == pytest.approx(
            decision.share * (decision.full.cost.flops or 0), rel=0.1
        )
        if name != "fewer_epochs":
            assert manifest_of(tmp_path / name / "fit")["n_rows"] == planned.rows


def test_planning_again_costs_no_diagnosis_and_a_changed_file_is_refused(
    here: Here, config: list[str], tmp_path: Path, table: list[Gain]
) -> None:
    here("diagnose", *config, "--output", "run")
    diagnosed = read_ledger(tmp_path / "run" / "cost.jsonl")
    here("plan", *config, *BUDGET, "--output", "run")
    first = Decision.read(tmp_path / "run")
    assert first.diagnosed_before
    assert first.diagnosis.device_s == pytest.approx(sum(record.device_s for record in diagnosed))
    table += TABLE
    here("plan", *config, "--budget", "150rows", "--output", "run")
    second = Decision.read(tmp_path / "run")
    assert read_ledger(tmp_path / "run" / "cost.jsonl") == diagnosed, "nothing was diagnosed or forecast at a cost"
    assert second.share == pytest.approx(150 / second.full.rows)
    assert (second.faults, second.diagnosis) == (first.faults, first.diagnosis)
    assert any(fault.name == "label_issue" and fault.counts for fault in second.faults)
    assert second.first is not None
    assert second.first.plan.name == "label_issues"
    file = RunFiles(tmp_path / "run").plan
    whole = json.loads(file.read_text())
    for spoilt in (whole | {"schema": 2}, whole | {"share": "much"}, {"schema": 1}):
        file.write_text(json.dumps(spoilt))
        with mistake(UserError, file, path=file):
            Decision.read(tmp_path / "run")


def test_questions_have_the_plans_that_need_no_classes(here: Here, model_folder: Path, tmp_path: Path) -> None:
    folder = write_squad(tmp_path / "squad", squad_rows(80, seed=5), squad_rows(20, seed=6))
    task = (
        "--data", "QuestionAnswering", "--data.dataset", folder, "--data.max_length", "48", "--data.doc_stride", "8",
        "--data.max_question_tokens", "12", "--data.batch_size", "8", "--model.checkpoint", model_folder,
        "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
    )  # fmt: skip
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]  # it is measured in one process all the same
    here("plan", *task, *two, *SCORER, "--budget", "0.5", "--output", "run")
    decision = Decision.read(tmp_path / "run")
    assert {one.name for one in decision.left_out if one.why == NO_CLASSES} == {
        "balanced", "deduplicate_balanced", "label_issues",
    }  # fmt: skip
    assert {one.plan.name for one in decision.ranked} >= {"fewer_epochs", "random", "euds"}
    assert decision.prior == ""


def test_a_warm_up_gets_a_plan_for_its_rows(
    here: Here, arguments: list[str], warming: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "warm_up.yaml"
    content = json.loads(file.read_text())
    del content["warm_up"]["data"]["init_args"]["selector"], content["warm_up"]["data"]["init_args"]["keep"]
    file.write_text(json.dumps(content))
    here("plan", *arguments, *warming, *SCORER, *BUDGET, "--output", "run")
    plans = {one.plan.name: one.plan for one in Decision.read(tmp_path / "run").ranked}
    assert plans["gotd"].unfit or plans["gotd"].overlay["warm_up"]["data"]["init_args"]["keep_rows"] < 150
    assert plans["gotd"].rows == plans["random"].rows


def test_rows_that_no_filter_finds_are_dropped_by_a_review(
    here: Here, arguments: list[str], data_folder: Path, tmp_path: Path
) -> None:
    texts, labels = sentences(120, seed=1)
    empty = [f"... {'!' * row}" for row in range(40)]
    write_split(tmp_path / "data" / "train.parquet", [*texts, *empty], [*labels, *[0, 1] * 20])
    shutil.copy(data_folder / "test.parquet", tmp_path / "data")
    task = [*arguments, *SCORER, "--data.dataset", str(tmp_path / "data")]
    here("plan", *task, *BUDGET, "--output", "run")
    decision, files = Decision.read(tmp_path / "run"), RunFiles(tmp_path / "run")
    counting = {fault.name for fault in decision.faults if fault.counts}
    assert "empty" in counting
    chain = next(one.plan for one in decision.ranked if one.plan.name == "chain")
    assert "empty" in chain.answers
    named = read_findings(files, decision.pool_fingerprint)
    dropped = np.unique(np.concatenate([named[name] for name in counting if name in DROPPED]))
    assert pq.read_table(files.plan_review)["row_id"].to_pylist() == dropped.tolist()
    (tmp_path / "chain.yaml").write_text(yaml.safe_dump(chain.overlay))
    here("fit", *task, "--config", "chain.yaml", "--output", "fit")
    assert manifest_of(tmp_path / "fit")["review"]["dropped"] == len(dropped)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--budget", "30%"], "--budget"),
        (["--budget", "9999rows"], "--budget"),
        (["--budget", "0.3", "--trainer.limit_train_batches", "0.5"], "trainer.limit_train_batches"),
        (["--budget", "0.3", "--trainer.max_epochs", "-1"], "trainer.max_epochs"),
    ],
)
def test_a_mistake_leaves_no_run(
    here: Here, arguments: list[str], tmp_path: Path, options: list[str], told: str
) -> None:
    assert names(here("plan", *arguments, *SCORER, *options, "--output", "run", code=2), told)
    assert not (tmp_path / "run").exists()


def test_what_is_said_of_gotd_is_what_was_measured() -> None:
    with (REPOSITORY / "results" / "small_gotd_summary.csv").open(newline="") as file:
        lines = {(row["task"], row["method"]): row for row in csv.DictReader(file)}
    for task in ("chemprot", "sciie"):
        line, random = lines[task, "gotd"], lines[task, "random"]
        shown = [
            f"{100 * float(line[name]):+.1f}".replace("-", "\N{MINUS SIGN}")
            for name in ("versus_random", "low", "high")
        ]
        assert f"{shown[0]} [{shown[1]}, {shown[2]}]" in GOTD_MEASURED
        assert float(random["total_flops"]) < 0.5 * float(line["total_flops"])


def test_a_decision_is_read_as_it_was_written(here: Here, config: list[str], tmp_path: Path) -> None:
    with mistake(UserError, RunFiles(tmp_path).plan, path=RunFiles(tmp_path).plan):
        Decision.read(tmp_path)
    assert from_json(dict[str, int], {"a": 1}) == {"a": 1}
    with pytest.raises(UserError):
        from_json(dict[str, int], [1], "overlay")
