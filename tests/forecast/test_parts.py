"""Laws of what a forecast is made of: planned batches, extrapolated signals, rates, validations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest

from selectune import CostLedger, FineTuner, TextClassification
from selectune.callbacks.batch_costs import BatchCosts
from selectune.common.errors import UserError
from selectune.costs.flops import FlopModel
from selectune.costs.record import Total
from selectune.data.batches import plan_batches
from selectune.forecast import measure, plans
from selectune.forecast.estimate import speed_of
from selectune.forecast.extrapolate import extrapolated, on_sample, share_of
from selectune.forecast.ledger import EstimatedCosts, at_pace_of
from selectune.selectors import Budget, Picked, Signals
from tests.mistakes import mistake
from tests.selectors import pool_of

WORK: dict[str, Any] = {"examples": 10, "tokens": 90, "padded_tokens": 100, "flops": 1000.0}


def trainer_of(*callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quiet: dict[str, Any] = dict.fromkeys(names, False)
    return pl.Trainer(accelerator="cpu", num_sanity_val_steps=0, callbacks=[*callbacks], **quiet, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 2},
        {"max_epochs": 3, "max_steps": 9},
        {"max_steps": 9},
        {"max_epochs": 2, "accumulate_grad_batches": 3},
        {"max_epochs": 2, "limit_train_batches": 4},
        {"max_epochs": 1, "limit_train_batches": 0.5},
    ],
)
def test_a_planned_fit_is_the_fit(
    options: dict[str, Any], data_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last token and FLOP, with batches that are cut into micro-batches, of which some are computed twice."""
    monkeypatch.setattr("selectune.data.batches.CPU_TOKENS", 100)
    data = TextClassification(str(data_folder), max_length=32, seed=3, max_batch_tokens=200)
    data.load()
    mine = data.trained_on(np.arange(0, 216, 3), FineTuner(str(model_folder)).source)
    costs, module = CostLedger(), FineTuner(str(model_folder), seed=3)
    trainer = trainer_of(costs, limit_val_batches=0, **options)
    trainer.fit(module, mine)
    (spent,) = [one for one in costs.ledger.records if one.stage == "train"]
    assert module.head is not None
    forward, both = (module.head.flops(module.network, backward) for backward in (False, True))
    weights = sum(each.numel() for each in module.network.parameters())
    planned, epochs, _ = plans.training(mine, mine.train_rows, trainer, 1, forward, both, 14 * weights)
    assert planned.flops == pytest.approx(spent.flops, rel=1e-12)
    assert (planned.examples, planned.tokens) == (spent.examples, spent.tokens)
    assert planned.padded_tokens == spent.padded_tokens
    batches = trainer.fit_loop.epoch_loop.batch_progress.total.processed
    assert epochs == pytest.approx(batches / trainer.num_training_batches), "as the saving counts them"
    assert plans.training(mine, mine.train_rows, trainer, 1, None, both, 1.0)[0].flops is None, "unknown stays so"


def test_two_ranks_share_a_batch_and_both_step(data_folder: Path, model_folder: Path) -> None:
    data = TextClassification(str(data_folder), max_length=32, seed=3)
    data.load(FineTuner(str(model_folder)).source)
    data.setup("fit")
    rows, nothing = np.arange(100), FlopModel(0.0, 0.0, 0.0, "free")
    trainer = trainer_of(max_epochs=1)
    one, two = (plans.training(data, rows, trainer, ranks, nothing, nothing, 1.0)[0] for ranks in (1, 2))
    assert (one.examples, one.tokens) == (two.examples, two.tokens)
    assert two.flops == 2 * (one.flops or 0) > 0, "of the steps"
    assert two.padded_tokens <= one.padded_tokens, "each rank pads its own share"


def test_measured_rows_keep_their_signals_and_others_get_those_of_rows_as_long() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(3, 100, size=2000).astype(float)
    truth = np.log(lengths) + 0.05 * random.normal(size=2000)
    sample = np.sort(random.choice(2000, size=200, replace=False))
    found = extrapolated(
        lengths[:, None], sample, {"a": truth[sample], "b": np.stack([truth[sample]] * 2, axis=1)}, seed=1
    )
    np.testing.assert_array_equal(found["a"][sample], truth[sample])
    np.testing.assert_array_equal(found["b"][:, 0], found["a"])
    assert set(found["a"]) <= set(truth[sample])
    assert np.corrcoef(found["a"], truth)[0, 1] > 0.95
    again = extrapolated(lengths[:, None], sample, {"a": truth[sample]}, seed=1)
    np.testing.assert_array_equal(again["a"], found["a"])
    only = extrapolated(np.ones((5, 1)), np.array([2]), {"a": np.array([7.0])}, seed=0)
    np.testing.assert_array_equal(only["a"], np.full(5, 7.0))


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_work_on_a_sample_is_taken_to_grow_as_a_power_of_its_rows(power: float) -> None:
    def select(signals: Signals, budget: Budget) -> tuple[Picked, float]:
        assert budget.rows == round(0.1 * signals.n_rows)
        rows = np.arange(budget.rows or 0)
        return Picked(rows, np.zeros(signals.n_rows), {}, 3.0 * signals.n_rows**power, "made up"), 0.1

    picked, seconds = on_sample(select, pool_of(200), Budget(rows=10_000), 100_000)
    assert picked.flops == pytest.approx(3.0 * 100_000**power, rel=1e-6)
    assert seconds == pytest.approx(0.1 * 500**power, rel=1e-6)
    assert len(picked.rows) == 20


def test_a_budget_is_scaled_with_the_rows() -> None:
    assert share_of(Budget(rows=100), 0.1) == Budget(rows=10)
    assert share_of(Budget(tokens=100), 0.001) == Budget(tokens=1)
    assert not share_of(Budget(), 0.5).is_set


def test_seconds_follow_flops_or_tokens_or_another_machine() -> None:
    work, sample = Total(**WORK), Total(device_s=2.0, flops=500.0, padded_tokens=10, peak_rss_bytes=7)
    assert at_pace_of(sample, work) == replace(work, device_s=4.0, peak_rss_bytes=7)
    assert at_pace_of(sample, replace(work, flops=None)).device_s == 20.0
    assert at_pace_of(Total(flops=None), work).device_s == 0.0
    estimated = EstimatedCosts("cuda:0", world_size=4, speed=50.0)
    estimated.charge("train", "fit", work, parallel=True)
    estimated.charge("solve", "fit", work)
    estimated.charge("select", "fit", replace(work, flops=0.0, device_s=7.0))
    assert [(each.device_s, each.wall_s) for each in estimated.records] == [(20.0, 5.0), (20.0, 20.0), (7.0, 7.0)]
    assert len({each.identity for each in estimated.records}) == 3


def test_what_is_charged_is_what_a_ledger_holds() -> None:
    estimated = EstimatedCosts("cpu", world_size=2)
    estimated.charge("train", "warm_up", Total(**WORK, peak_rss_bytes=10**15))
    estimated.charge("solve", "fit", Total(flops=None))
    train, solve = estimated.records
    assert {name: getattr(train, name) for name in WORK} == WORK
    assert (train.part, train.world_size, train.cached, train.finished) == ("warm_up", 2, False, True)
    assert solve.flops is None
    assert train.peak_rss_bytes == solve.peak_rss_bytes == 10**15, "peaks count from a process's start"


def test_a_machine_that_cannot_be_is_refused() -> None:
    assert speed_of(None, None) is None
    assert speed_of(1e12, 0.5) == 5e11
    for given in ((1e12, None), (None, 0.5), (-1.0, 0.5), (float("inf"), 0.5), (1e12, 0.0), (1e12, float("nan"))):
        with pytest.raises(UserError):
            speed_of(*given)


def test_what_several_devices_share_ends_sooner() -> None:
    estimated = EstimatedCosts("cpu", world_size=4)
    estimated.charge("select", "fit", Total(device_s=8.0), parallel=True)
    estimated.charge("solve", "fit", Total(device_s=8.0))
    assert [(each.device_s, each.wall_s) for each in estimated.records] == [(8.0, 2.0), (8.0, 8.0)]


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 3},
        {"max_epochs": 2, "limit_train_batches": 0.5},
        {"max_epochs": 2, "limit_train_batches": 4, "val_check_interval": 2},
        {"max_epochs": 3, "val_check_interval": 0.3, "limit_val_batches": 1},
        {"max_epochs": 4, "check_val_every_n_epoch": 2},
        {"max_epochs": 3, "max_steps": 16, "check_val_every_n_epoch": None, "val_check_interval": 3},
        {"max_epochs": 3, "max_steps": 16, "limit_val_batches": 0.5},
        {"max_epochs": 2, "limit_val_batches": 0},
    ],
)
def test_validations_are_those_of_the_fit(options: dict[str, Any], data_folder: Path, model_folder: Path) -> None:
    data = TextClassification(str(data_folder), max_length=32, seed=3, batch_size=12, max_batch_tokens=100, pad_to=8)
    data.load()
    mine = data.trained_on(np.arange(72), FineTuner(str(model_folder)).source)
    costs, module = CostLedger(), FineTuner(str(model_folder), seed=3)
    trainer = trainer_of(costs, **options)
    trainer.fit(module, mine)
    work, _, validations = plans.training(mine, mine.train_rows, trainer, 1, None, None, None)
    planned = plans.evaluating([mine.tokens["dev"]], 100, 1, None, trainer.limit_val_batches)
    spent = [one for one in costs.ledger.records if one.stage == "evaluate"]
    assert validations * planned.examples == sum(one.examples for one in spent)
    assert validations * planned.padded_tokens == sum(one.padded_tokens for one in spent)
    trained = sum(one.examples for one in costs.ledger.records if one.stage == "train")
    assert work.examples == trained


def test_a_limit_is_of_each_rank_and_of_all_splits_in_turn(data_folder: Path, model_folder: Path) -> None:
    data = TextClassification(str(data_folder), max_length=32, seed=3)
    data.load(FineTuner(str(model_folder)).source)
    data.setup("fit")
    dev = data.tokens["dev"]
    whole = plans.evaluating([dev, dev], 100, 2, None)
    assert whole.examples == 2 * len(dev)
    n_batches = len(plan_batches(dev.lengths, 100, 2))
    first = plans.evaluating([dev, dev], 100, 2, None, n_batches // 2)
    assert abs(first.examples - len(dev)) <= len(dev) / 2
    assert plans.evaluating([dev], 100, 2, None, 0).examples == 0
    with mistake(UserError, 0.01):
        plans.evaluating([dev], 10_000, 1, None, 0.01)
    with mistake(UserError, "trainer.val_check_interval", 500):
        plans.training(data, np.arange(72), trainer_of(max_epochs=1, val_check_interval=500), 1, None, None, None)


def test_a_timer_counts_steps_of_the_optimizer(
    data_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TextClassification(str(data_folder), max_length=32, seed=3, batch_size=8)
    data.load()
    module = FineTuner(str(model_folder), seed=3)
    timer = measure._FewBatches(measure.Effort(measure.SECONDS, 1, 9))
    monkeypatch.setattr(BatchCosts, "flops_of", lambda *_: FlopModel(0.0, 0.0, 0.0, "free"))
    trainer = trainer_of(timer, max_epochs=1, limit_val_batches=0, accumulate_grad_batches=3)
    trainer.fit(module, data.trained_on(np.arange(200), module.source))
    (sample,) = timer.ledger.records
    assert sample.examples == 9 * 8, "without the first batches"
    weights = sum(each.numel() for each in module.network.parameters())
    assert sample.flops == 3 * 14 * weights


def test_a_peak_of_before_is_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    for peaks, now, expected in (
        ((900, 900), (300, 300), 900),  # loading a model took 900 once; the batches take nothing more
        ((900, 900), (300, 400), 900),
        ((900, 900), (300, 500), 300 + 200 * 8),
        ((900, 1000), (300, 300), 300 + 700 * 8),
    ):
        readings = iter(peaks)
        monkeypatch.setattr(measure, "peak_rss", lambda readings=readings: next(readings))
        held = iter(SimpleNamespace(rss=rss) for rss in now)
        process = SimpleNamespace(memory_info=lambda held=held: next(held))
        monkeypatch.setattr(measure.psutil, "Process", lambda process=process: process)
        memory = measure.Memory()
        assert memory.peak(8.0 if expected != 900 else 2.0) == expected
