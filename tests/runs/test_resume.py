"""A run that was interrupted ends as if it had not been."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from selectune import CostLedger, FineTuner, TextClassification
from selectune.costs.ledger import read_ledger, totals
from selectune.costs.record import add_up
from selectune.costs.saving import Saving
from selectune.costs.uninterrupted import split_costs
from tests.conftest import REPOSITORY, Cli, metrics_of
from tests.trainers import SaveAt


def test_a_killed_run_goes_on_by_itself(cli: Cli, selecting: list[str], tmp_path: Path) -> None:
    def killing(name: str) -> list[str]:
        marker = tmp_path / f"{name}.killed"
        return [
            *selecting, "--trainer.max_epochs", "3", "--trainer.callbacks+", "EarlyStopping",
            "--trainer.callbacks.monitor", "val/accuracy", "--trainer.callbacks+", "tests.killing.KillOnce",
            "--trainer.callbacks.marker", str(marker), "--trainer.callbacks.step", "5",
        ]  # fmt: skip

    (tmp_path / "uninterrupted.killed").touch()
    cli("fit", *killing("uninterrupted"), "--output", tmp_path / "uninterrupted", PYTHONPATH=str(REPOSITORY))
    cli("fit", *killing("run"), "--output", tmp_path / "run", code=-9, PYTHONPATH=str(REPOSITORY))
    assert not (tmp_path / "run" / "done.json").exists()
    cli("fit", *killing("run"), "--output", tmp_path / "run", PYTHONPATH=str(REPOSITORY))
    uninterrupted, resumed = metrics_of(tmp_path / "uninterrupted"), metrics_of(tmp_path / "run")
    for name in ("val/loss", "test/loss", "test/accuracy"):
        assert resumed[name] == pytest.approx(uninterrupted[name], abs=1e-6)
    records = read_ledger(tmp_path / "run" / "cost.jsonl")
    training = [record for record in records if record.stage == "train" and record.examples]
    assert [(record.attempt, record.finished) for record in training] == [(1, False), (2, True)]
    assert sum(record.stage == "score" for record in records) == 1, "the selection is not made twice"
    assert {record.attempt for record in records if not record.cached} == {1, 2}
    spent = totals(records).spent
    for unit in ("flops", "device_s", "wall_s"):
        mine = [record for record in records if not record.cached]
        assert sum(getattr(total, unit) for total in spent.values()) == pytest.approx(
            sum(getattr(record, unit) for record in mine)
        ), "the stages of both attempts add up to the total"
    lost = next(record for record in training if record.attempt == 1)
    assert spent["train"].flops == pytest.approx(lost.flops + training[1].flops)
    assert min(lost.flops, lost.examples, lost.wall_s) > 0
    saving, whole = Saving.read(tmp_path / "run").flops, Saving.read(tmp_path / "uninterrupted").flops
    apart = {"redone": 0.0, "selection_avoided": 0.0}  # the second run found the first one's signals
    assert vars(replace(saving, **apart)) == pytest.approx(vars(replace(whole, **apart)), rel=1e-12)


@pytest.mark.parametrize("step", [3, 7, 10])
def test_going_on_in_mid_epoch_gives_the_same_weights(
    step: int, data_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    def fit(callbacks: list[pl.Callback], checkpoint: Path | None = None) -> FineTuner:
        module = FineTuner(str(model_folder), learning_rate=1e-3, seed=3)
        trainer = pl.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, callbacks=callbacks,
        )  # fmt: skip
        data = TextClassification(str(data_folder), max_length=32, seed=3)
        if checkpoint:
            trainer.ckpt_path = checkpoint  # before the callbacks' setup, which learns of no `fit(ckpt_path=...)`
        trainer.fit(module, data, weights_only=True)
        return module

    torch.manual_seed(1)
    uninterrupted = fit([CostLedger(tmp_path), SaveAt(tmp_path / "middle.ckpt", step)])
    (whole,) = (record for record in read_ledger(tmp_path / "cost.jsonl") if record.stage == "train")
    torch.manual_seed(2)
    resumed = fit([CostLedger(tmp_path)], tmp_path / "middle.ckpt")
    for name, weights in uninterrupted.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weights, atol=1e-6, rtol=0)
    records = read_ledger(tmp_path / "cost.jsonl")
    (rest,) = (record for record in records if record.stage == "train" and record.attempt == 2)
    assert rest.examples < 2 * 216 == whole.examples, "only the rest was trained"
    costs = split_costs(records)
    kept, again = (add_up(record for record in some if record.stage == "train") for some in (costs.kept, costs.redone))
    assert (kept.examples, kept.flops) == (whole.examples, pytest.approx(whole.flops, rel=1e-12))
    assert (again.examples, again.flops) == (rest.examples, pytest.approx(rest.flops, rel=1e-12))
    evaluated = {record.attempt: set[str | None]() for record in records}
    for record in records:
        evaluated[record.attempt] |= {record.work} if record.stage == "evaluate" else set()
    assert set() != evaluated[2] <= evaluated[1], "an evaluation that is done again is known again"
