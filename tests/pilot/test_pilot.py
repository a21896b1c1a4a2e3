"""The verb ``pilot`` on a small task: its limit, its files, its resume, and the fit that it is compared with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles, SelectionFiles
from selectune.costs.ledger import read_ledger
from selectune.costs.record import BESIDE
from selectune.costs.uninterrupted import split_costs
from selectune.forecast import measure
from selectune.pilot import design, trying
from selectune.pilot import pilot as verb
from selectune.pilot import plan as planning
from selectune.pilot.decision import Decision
from selectune.pilot.learning_curve import at_chance
from selectune.pilot.result import Pilot
from selectune.pilot.small_trainings import SmallTrainings
from selectune.pilot.trying import Heads
from selectune.verdict.expected import Expected
from tests.conftest import Here, Shared, sentences, write_split
from tests.mistakes import mistake, names
from tests.pilot.made_up import gain

ROWS, FLIPPED, EPOCHS = 800, 0.3, 8
TABLE = (
    gain("label_issue", "label_issues", 6.0, 2.0, share=0.05),
    gain("label_issue", "label_issues", 5.0, 2.0, "fewer_epochs", share=0.05),
)
LIMITS = ("--share", "0.5", "--budget", "0.7")
QUICK = measure.Effort(0.1, 16, 1)


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not tested here, and what was measured on other pools is given."""
    monkeypatch.setattr(verb, "QUICK", QUICK)
    monkeypatch.setattr(planning, "measured_gains", lambda: TABLE)


@pytest.fixture(scope="session")
def flipped_folder(shared: Shared) -> Path:
    """Reviews, a part of which have a wrong label; ``validation`` and ``test`` have none."""

    def make(folder: Path) -> None:
        texts, labels = sentences(ROWS, seed=11)
        wrong = np.random.default_rng(0).random(ROWS) < FLIPPED
        write_split(folder / "train.parquet", texts, [int(one != bad) for one, bad in zip(labels, wrong)])
        write_split(folder / "validation.parquet", *sentences(150, seed=12))
        write_split(folder / "test.parquet", *sentences(60, seed=13))

    return shared("flipped_for_pilots", make)


@pytest.fixture(scope="session")
def flipped_alone(shared: Shared, flipped_folder: Path) -> Path:
    """The same without a split for ``dev``, which is split off the reviews then."""

    def make(folder: Path) -> None:
        for name in ("train.parquet", "test.parquet"):
            shutil.copy(flipped_folder / name, folder / name)

    return shared("flipped_without_dev", make)


@pytest.fixture
def task(flipped_folder: Path, model_folder: Path) -> list[str]:
    """The options of the small task."""
    return [
        "--data", "TextClassification", "--data.dataset", str(flipped_folder), "--data.max_length", "32",
        "--data.batch_size", "32", "--data.dev_split", "validation", "--model.checkpoint", str(model_folder),
        "--model.learning_rate", "3e-3", "--trainer.max_epochs", str(EPOCHS), "--trainer.accelerator", "cpu",
        "--trainer.enable_progress_bar", "false", "--scorer.max_batch_tokens", "512",
    ]  # fmt: skip


def costs_of(run: Path) -> float:
    """FLOPs of a pilot as if it had not been interrupted, what a cache spared it included."""
    records = split_costs(read_ledger(run / "cost.jsonl")).kept
    once = {(record.stage, record.started_at): record.flops or 0.0 for record in records if record.part in BESIDE}
    return sum(once.values())


def as_json(run: Path, *without: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "pilot.json").read_text())
    return {name: value for name, value in content.items() if name not in without}


@pytest.fixture
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The rows that each plan is rehearsed with, by name."""
    kept: dict[str, np.ndarray] = {}
    judge = Heads.judge

    def noted(self: Any, name: str, rows: np.ndarray, *arguments: Any) -> Any:
        kept[name] = rows
        return judge(self, name, rows, *arguments)

    monkeypatch.setattr(Heads, "judge", noted)
    return kept


def test_a_pilot_keeps_its_limit_and_its_plans_are_what_a_fit_does(
    here: Here, task: list[str], tmp_path: Path, rehearsed: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(design, "ENOUGH", 16)  # rows of the largest subset, from which on two plans are tried
    monkeypatch.setattr(trying, "WORTH", 1000)  # no larger subset in place of the smaller ones
    printed = here("pilot", *task, *LIMITS, "--output", "run")
    run, pilot, decision = tmp_path / "run", Pilot.read(tmp_path / "run"), Decision.read(tmp_path / "run")
    assert costs_of(run) <= 0.5 * (pilot.full.flops or 0)
    assert pilot.spent.flops == pytest.approx(costs_of(run))
    assert pilot.spent_share > 0.45, "a pilot uses what it may"
    assert pilot.sentence() in printed
    assert names(printed, "plan.yaml", "pilot.html")
    assert RunFiles(run).pilot_page.stat().st_size > 5_000
    subsets = [one for one in pilot.tried if one.kind == "subset"]
    assert [one.rows for one in subsets] == list(pilot.sizes)
    assert [one.passes for one in subsets] == [EPOCHS * one.rows for one in subsets]
    first = [one.plan.name for one in decision.ranked if one.plan.name != "random"][:2]
    assert {one.plan for one in pilot.tried if one.kind == "arm"} == set(first)
    assert not pilot.split_off
    assert pilot.sound == pilot.held_out
    euds = next(one for one in pilot.plans if one.gain.name == "euds")
    assert euds.trials == ()
    assert euds.why_not

    overlay = yaml.safe_load(RunFiles(run).plan_overlay.read_text())
    planned = {one.plan.name: one.plan for one in decision.ranked}
    assert overlay == planned[pilot.plan].overlay | {"pilot": {"run": str(run.resolve()), "plan": pilot.plan}}
    for name in ("random", "balanced", "label_issues"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(planned[name].overlay))
        here("select", *task, "--config", tmp_path / f"{name}.yaml", "--output", name)
        selected = pq.read_table(SelectionFiles(tmp_path / name / "selection").rows)["row_id"].to_numpy()
        assert np.array_equal(np.sort(selected), rehearsed[name]), name

    printed = here("fit", *task, "--config", RunFiles(run).plan_overlay, "--output", "fit")
    expected = Expected.read(tmp_path / "fit")
    assert expected is not None
    assert (expected.value, expected.low, expected.high) == tuple(vars(pilot.picked.accuracy).values())
    assert names(printed, f"the plan {pilot.plan}", "points off")
    _refused(here, task, tmp_path)


def _refused(here: Here, task: list[str], folder: Path) -> None:
    """A fit beside a pilot that is missing, damaged, of another pool, or without such a plan."""
    fit, run, file = ["fit", *task, "--output", "other"], str(folder / "run"), folder / "run" / "pilot.json"
    assert names(here(*fit, "--pilot.run", str(folder / "none"), code=2), folder / "none" / "pilot.json")
    assert names(here(*fit, "--pilot.run", run, "--pilot.plan", "everything", code=2), "everything", "pilot.plan")
    assert names(here(*fit, "--data.max_train_rows", "100", "--pilot.run", run, code=2), "pilot.json", "another pool")
    whole = json.loads(file.read_text())
    for spoilt in (whole | {"schema": 2}, whole | {"plans": "many"}, {"schema": 1}):
        file.write_text(json.dumps(spoilt))
        with mistake(UserError, file, path=file):
            Pilot.read(folder / "run")
    assert names(here(*fit, "--pilot.run", run, code=2), file)


@pytest.mark.slow
def test_a_pilot_goes_on_where_it_was_stopped(
    here: Here, task: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here("pilot", *task, *LIMITS, "--output", "whole")
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / "another"))
    trained = SmallTrainings._trained
    left = [2]

    def stopped(self: Any, *arguments: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return trained(self, *arguments)

    monkeypatch.setattr(SmallTrainings, "_trained", stopped)
    here("pilot", *task, *LIMITS, "--output", "run", code=130)
    assert not (tmp_path / "run" / "pilot.json").exists()
    left[0] = 100
    here("pilot", *task, *LIMITS, "--output", "run")
    assert left[0] == 100 - 2, "two of the four were kept"
    timed = ("spent", "diagnosis", "full", "sentence")
    assert as_json(tmp_path / "run", *timed) == as_json(tmp_path / "whole", *timed)
    assert costs_of(tmp_path / "run") == pytest.approx(costs_of(tmp_path / "whole"), rel=0.02)
    here("pilot", *task, *LIMITS, "--output", "run")
    assert left[0] == 100 - 2, "a third time nothing is trained"


def test_a_model_at_chance_gets_all_that_is_left_as_one_larger_subset(
    here: Here, task: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.resize([True, False], 150)

    def guesses(wrong: np.ndarray, chance_of: float) -> bool:
        return True

    monkeypatch.setattr(trying, "at_chance", guesses)
    assert at_chance(chance, 0.5)
    assert not at_chance(chance & (np.arange(150) % 3 > 0), 0.5)
    printed = here("pilot", *task, *LIMITS, "--output", "run")
    pilot = Pilot.read(tmp_path / "run")
    smaller, larger = pilot.sizes
    assert larger >= trying.WORTH * smaller
    assert costs_of(tmp_path / "run") <= 0.5 * (pilot.full.flops or 0)
    assert pilot.spent_share > 0.42
    assert not [one for one in pilot.tried if one.kind == "arm"]
    assert names(printed, "had not left chance", f"{smaller:,} rows")


def test_held_out_rows_that_were_split_off_the_pool_are_not_believed_as_they_are(
    here: Here, task: list[str], flipped_folder: Path, flipped_alone: Path, tmp_path: Path
) -> None:
    given = [name for name in task if name not in ("--data.dev_split", "validation")]
    given[given.index(str(flipped_folder))] = str(flipped_alone)
    printed = here("pilot", *given, *LIMITS, "--output", "run")
    pilot = Pilot.read(tmp_path / "run")
    assert pilot.split_off
    assert 0 < pilot.sound < pilot.held_out
    assert 0.5 * ROWS < pilot.unseen < 0.9 * ROWS, "rows of the pool whose labels look right"
    assert names(printed, f"{pilot.unseen:,} such rows of the pool")
    assert costs_of(tmp_path / "run") <= 0.5 * (pilot.full.flops or 0)
    rehearsed = {one.plan: one for one in pilot.tried if one.kind == "rehearsal"}
    assert all(one.sound > one.accuracy for one in rehearsed.values()), "faulty rows are not what is judged"
    best = max(rehearsed, key=lambda name: rehearsed[name].sound)
    assert rehearsed["label_issues"].sound >= rehearsed["random"].sound, best


MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    "a share of nothing": (["--share", "0"], ["--share"]),
    "more than everything": (["--share", "1.5"], ["--share"]),
    "too little for a diagnosis": (["--share", "0.01"], ["--share"]),
    "as much as the plans may cost": (["--share", "0.6", "--budget", "0.5"], ["--share", "--budget"]),
    "no budget": (["--budget", "much"], ["--budget"]),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_shares_that_cannot_be_are_refused(kind: str, here: Here, task: list[str], tmp_path: Path) -> None:
    given, named = MISTAKES[kind]
    assert names(here("pilot", *task, *given, "--output", "run", code=2), *named)
    assert not (tmp_path / "run").exists()


def test_too_small_a_share_is_refused_before_anything_is_diagnosed(
    here: Here, task: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "diagnosed", lambda job: pytest.fail("it was diagnosed"))
    assert names(here("pilot", *task, "--share", "0.05", "--output", "run", code=2), "--share", "scorer.checkpoint")


def test_tasks_that_cannot_be_judged_are_refused(here: Here, task: list[str], tmp_path: Path) -> None:
    warm_up = ["--warm_up.data", "LanguageModeling", "--warm_up.data.dataset", str(tmp_path)]
    assert names(here("pilot", *task, *warm_up, "--output", "run", code=2), "warm_up", "model.checkpoint")
    assert names(here("pilot", *task, "--data.regression", "true", "--output", "run", code=2), "classes", "plan")


def test_a_forecast_says_how_far_off_it_was() -> None:
    expected = Expected("runs/p", "all_rows", 0.90, 0.88, 0.93, 0.8)
    assert names(expected.sentence(0.91), "1.0 points off", "within", "all rows", "80%")
    assert names(expected.sentence(0.87), "3.0 points off", "outside")
    assert names(expected.sentence(None), "not known")
