"""Trainings whose course is a signal: what they say of rows, and that they are charged in full, and done once."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from selectune.common.errors import SelectionError, UserError
from selectune.costs.ledger import Ledger, read_ledger
from selectune.costs.record import CostRecord, add_up
from selectune.costs.saving import SELECTION
from selectune.costs.uninterrupted import split_costs
from selectune.datamodules import TextClassification
from selectune.lightning_modules import FineTuner
from selectune.lightning_modules.scorers.settings import Dynamics, ScorerSettings
from selectune.selection.manifest import Selection
from selectune.selection.stage import select_rows
from selectune.selectors import Budget, Chain, Picked, Random, Selector, Signals, TopK
from selectune.signals.dynamics import TRAINED_FOR
from tests.conftest import Here, Ranks, Shared, manifest_of, sentences, write_split
from tests.mistakes import mistake
from tests.trainers import trainer_for

EPOCHS = 3
POOL_ROWS, DEV_ROWS = 216, 24  # of the small task
FLIPPED_ROWS, CLEAN_DEV_ROWS = 480, 240
COMMAND = [
    "--data.selector", "TopK", "--data.selector.signal", "rho_loss", "--data.keep", "0.25",
    "--scorer.dynamics.epochs", "2", "--scorer.dynamics.learning_rate", "5e-3",
]  # fmt: skip


class Reader(Selector):
    """Reads all signals of training dynamics, and keeps any rows."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset(TRAINED_FOR)

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        return Picked(np.arange(budget.rows or 0), np.asarray(pool["el2n"]))


@pytest.fixture(scope="module")
def flipped(shared: Shared) -> Path:
    """A task on short texts, with the label of every fifth one flipped, and a ``dev`` of its own that is clean."""

    def make(folder: Path) -> None:
        texts, labels = sentences(FLIPPED_ROWS, seed=1, length=(1, 4))
        flips = [1 - label if row % 5 == 0 else label for row, label in enumerate(labels)]
        write_split(folder / "train.parquet", texts, flips)
        write_split(folder / "validation.parquet", *sentences(CLEAN_DEV_ROWS, seed=3, length=(1, 4)))
        write_split(folder / "test.parquet", *sentences(60, seed=2, length=(1, 4)))

    return shared("flipped", make)


@pytest.fixture
def select(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Select 20 rows of a task; gives the selection, its costs, and every scalar signal that was used, by name."""
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / "cache"))

    def run(
        data: Path, selector: Selector, folder: str = "selection", epochs: int = EPOCHS, rows: int | None = None
    ) -> tuple[Selection, list[CostRecord], dict[str, np.ndarray]]:
        module = TextClassification(str(data), max_length=32, selector=selector, seed=0, keep_rows=20, batch_size=8)
        module.load()
        request = module.request(ScorerSettings(dynamics=Dynamics(epochs, 5e-3, rows)))
        assert request is not None
        ledger, tuner = Ledger(), FineTuner(str(model_folder), 1e-3, seed=0)
        selection = select_rows(request, tuner, trainer_for, ledger, folder=tmp_path / folder)
        scores = pq.read_table(tmp_path / folder / "scores.parquet").to_pydict()
        return selection, ledger.records, {name: np.array(values) for name, values in scores.items()}

    return run


def of_stage(records: list[CostRecord], *stages: str) -> list[CostRecord]:
    return [record for record in records if record.stage in stages]


def test_rows_with_a_wrong_label_stand_out(select: Any, flipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    selection, records, signals = select(flipped, Reader())
    wrong = np.arange(FLIPPED_ROWS) % 5 == 0
    # a model that learned from other rows cannot reduce the loss of a wrong label, so it is not worth learning
    for name, sign in (("el2n", 1), ("forgetting", 1), ("confidence", -1), ("correctness", -1), ("rho_loss", -1)):
        assert sign * (signals[name][wrong].mean() - signals[name][~wrong].mean()) > 0, name

    # both trainings and each of their passes are costs of the selection
    trained, passes = of_stage(records, "tune_scorer"), of_stage(records, "score")
    assert sorted(one.examples for one in trained) == [EPOCHS * CLEAN_DEV_ROWS, EPOCHS * FLIPPED_ROWS]
    assert [one.examples for one in passes] == [FLIPPED_ROWS] * (EPOCHS + 1), (
        "of the held-out model the end alone is read"
    )
    assert all(one.flops for one in trained + passes)
    assert {one.identity for one in trained + passes} <= {
        (cost["stage"], cost["part"], cost["started_at"], cost["rank"]) for cost in selection.manifest.costs
    }

    monkeypatch.setattr(FineTuner, "training_step", None)  # nothing is trained again, and all of it is charged
    again, avoided, _ = select(flipped, TopK("rho_loss"), "again")
    assert all(one.cached for one in of_stage(avoided, "tune_scorer", "score"))
    assert add_up(of_stage(avoided, "tune_scorer", "score")).flops == add_up(trained + passes).flops
    np.testing.assert_allclose(again.scores, signals["rho_loss"][again.rows], atol=1e-9)
    _, cheaper, _ = select(flipped, TopK("el2n"), "alone")
    assert [one.examples for one in of_stage(cheaper, "tune_scorer")] == [EPOCHS * FLIPPED_ROWS], (
        "without the held-out model"
    )


def test_a_training_is_on_the_rows_that_are_left_or_on_some_of_them(select: Any, data_folder: Path) -> None:
    half = POOL_ROWS // 2
    selection, records, signals = select(data_folder, Chain(Random(), TopK("el2n"), 0.5), epochs=1)
    assert [one.examples for one in of_stage(records, "tune_scorer", "score")] == [half, half]
    assert np.isfinite(signals["el2n"]).sum() == half
    assert np.isfinite(signals["el2n"][selection.rows]).all()
    _, records, signals = select(data_folder, TopK("el2n"), "some", epochs=1, rows=50)
    assert add_up(of_stage(records, "tune_scorer")).examples == 50
    assert np.isfinite(signals["el2n"]).all(), "all rows are read, also those that were not trained on"


def test_an_interrupted_training_changes_neither_signal_nor_cost(
    here: Here, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["select", *arguments, *COMMAND, "--cache"]
    here(*command, tmp_path / "cache1", "--output", tmp_path / "whole")
    step, left = FineTuner.training_step, [12]

    def stopped(*args: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("killed here")
        return step(*args)

    monkeypatch.setattr(FineTuner, "training_step", stopped)
    with pytest.raises(RuntimeError, match="killed here"):
        here(*command, tmp_path / "cache2", "--output", tmp_path / "run")
    gc.collect()  # the run's lock goes with its frames
    here(*command, tmp_path / "cache2", "--output", tmp_path / "run")
    scores = [pq.read_table(tmp_path / name / "selection" / "scores.parquet") for name in ("whole", "run")]
    assert scores[0].equals(scores[1])
    records = read_ledger(tmp_path / "run" / "cost.jsonl")
    for stage in SELECTION:
        once = add_up(of_stage(read_ledger(tmp_path / "whole" / "cost.jsonl"), stage))
        assert add_up(of_stage(split_costs(records).kept, stage)).flops == once.flops, stage
    assert (add_up(split_costs(records).redone).flops or 0) > 0
    kept = manifest_of(tmp_path / "run")["costs"]
    assert add_up(map(CostRecord.from_json, kept)).flops == add_up(split_costs(records).kept).flops


@pytest.mark.slow  # two processes
def test_two_ranks_read_each_row_once(
    ranks: Ranks, here: Here, arguments: list[str], model_folder: Path, tmp_path: Path
) -> None:
    # without dropout, which ranks draw apart
    model = shutil.copytree(model_folder, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(
        json.dumps(config | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    )
    command = ["select", *arguments, *COMMAND, "--model.checkpoint", model, "--output"]
    ranks(*command, tmp_path / "two")
    here(*command, tmp_path / "one", "--cache", tmp_path / "other")
    for stage, examples in (("score", 3 * POOL_ROWS), ("tune_scorer", 2 * (POOL_ROWS + DEV_ROWS))):
        for run in ("one", "two"):
            assert add_up(of_stage(read_ledger(tmp_path / run / "cost.jsonl"), stage)).examples == examples
    one, two = (
        pq.read_table(tmp_path / run / "selection" / "scores.parquet")["rho_loss"].to_numpy() for run in ("one", "two")
    )
    assert one.std() > 1e-5
    np.testing.assert_allclose(one, two, atol=0.1 * one.std())


def test_rows_without_classes_and_too_few_epochs_are_refused(
    select: Any, data_folder: Path, model_folder: Path
) -> None:
    with mistake(UserError, "variability", 1, option="scorer.dynamics.epochs"):
        select(data_folder, TopK("variability"), epochs=1)
    module = TextClassification(str(data_folder), regression=True, selector=TopK("el2n"), seed=0, keep_rows=20)
    module.load()
    request = module.request()
    assert request is not None
    tuner = FineTuner(str(model_folder), seed=0)
    with mistake(SelectionError, "el2n", "classes"):
        select_rows(request, tuner, trainer_for, Ledger())


@pytest.mark.parametrize("given", [{"epochs": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"rows": 0}])
def test_settings_out_of_range_are_refused(given: dict[str, Any]) -> None:
    ((name, value),) = given.items()
    with mistake(UserError, value, option=f"scorer.dynamics.{name}"):
        Dynamics(**given)
