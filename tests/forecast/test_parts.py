"""Laws of what a forecast is made of: planned batches, lent signals, break-even, sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest

from selectune import CostLedger, FineTuner, TextClassification
from selectune.errors import UserError
from selectune.forecast import Forecast, Machine, plans
from selectune.forecast.result import advice, break_even_keep
from selectune.forecast.sample import lent, on_sample, scaled
from selectune.forecast.tally import Tally, rated
from selectune.savings import Saving, compute_saving
from selectune.scorer_ratio import ScorerRatio
from selectune.selectors import Budget, Picked, Signals
from tests.selectors import pool_of
from tests.test_savings import record


@pytest.mark.parametrize(
    ("options", "schedule"),
    [
        ({"max_epochs": 2}, plans.Schedule(2)),
        ({"max_epochs": 3, "max_steps": 9}, plans.Schedule(3, 9)),
        ({"max_epochs": 2, "accumulate_grad_batches": 3}, plans.Schedule(2, accumulate=3)),
        ({"max_epochs": 2, "limit_train_batches": 4}, plans.Schedule(2, limit=4)),
        ({"max_epochs": 1, "limit_train_batches": 0.5}, plans.Schedule(1, limit=0.5)),
    ],
)
def test_a_planned_fit_is_the_fit(
    options: dict[str, Any], schedule: plans.Schedule, data_folder: Path, model_folder: Path
) -> None:
    """To the last token and FLOP, with batches that are cut into micro-batches."""
    data = TextClassification(str(data_folder), max_length=32, seed=3, max_batch_tokens=200)
    data.load()
    mine = data.trained_on(np.arange(0, 216, 3), FineTuner(str(model_folder)).source)
    costs, module = CostLedger(), FineTuner(str(model_folder), seed=3)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=[costs], limit_val_batches=0, **options,
    )  # fmt: skip
    trainer.fit(module, mine)
    (spent,) = [one for one in costs.ledger.records if one.stage == "train"]
    assert module.head is not None
    forward, both = (module.head.flops(module.network, backward) for backward in (False, True))
    weights = sum(each.numel() for each in module.network.parameters())
    planned, epochs = plans.training(mine, mine.train_rows, schedule, 1, forward, both, 14 * weights)
    assert planned.flops == pytest.approx(spent.flops, rel=1e-12)
    assert (planned.examples, planned.tokens) == (spent.examples, spent.tokens)
    assert planned.padded_tokens == spent.padded_tokens
    assert planned.steps == trainer.global_step
    assert epochs == pytest.approx(planned.examples / len(mine.train_rows), abs=0.2)
    assert plans.training(mine, mine.train_rows, schedule, 1, None, both, 1.0)[0].flops is None, "unknown stays unknown"


def test_two_ranks_share_a_batch_and_both_step(data_folder: Path, model_folder: Path) -> None:
    data = TextClassification(str(data_folder), max_length=32, seed=3)
    data.load()
    data.source = FineTuner(str(model_folder)).source
    data.setup("fit")
    rows = np.arange(100)
    one, _ = plans.training(data, rows, plans.Schedule(1), 1, None, None, None)
    two, _ = plans.training(data, rows, plans.Schedule(1), 2, None, None, None)
    assert (one.examples, one.tokens, one.steps) == (two.examples, two.tokens, two.steps)
    assert two.padded_tokens <= one.padded_tokens, "each rank pads its own share"


def test_measured_rows_keep_their_signals_and_others_get_those_of_rows_as_long() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(3, 100, size=2000).astype(float)
    truth = np.log(lengths) + 0.05 * random.normal(size=2000)
    sample = np.sort(random.choice(2000, size=200, replace=False))
    found = lent(lengths[:, None], sample, {"a": truth[sample], "b": np.stack([truth[sample]] * 2, axis=1)}, seed=1)
    np.testing.assert_array_equal(found["a"][sample], truth[sample])
    np.testing.assert_array_equal(found["b"][:, 0], found["a"])
    assert set(found["a"]) <= set(truth[sample])
    assert np.corrcoef(found["a"], truth)[0, 1] > 0.95
    again = lent(lengths[:, None], sample, {"a": truth[sample]}, seed=1)
    np.testing.assert_array_equal(again["a"], found["a"])
    only = lent(np.ones((5, 1)), np.array([2]), {"a": np.array([7.0])}, seed=0)
    np.testing.assert_array_equal(only["a"], np.full(5, 7.0))


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_work_on_a_sample_is_taken_to_grow_as_a_power_of_its_rows(power: float) -> None:
    def select(signals: Signals, budget: Budget) -> tuple[Picked, float]:
        assert budget.rows == round(0.1 * signals.n_rows)
        rows = np.arange(budget.rows or 0)
        return Picked(rows, np.zeros(signals.n_rows), {}, 3.0 * signals.n_rows**power, "made up"), 0.1

    found = on_sample(select, pool_of(200), Budget(rows=10_000), 100_000)
    assert found.flops == pytest.approx(3.0 * 100_000**power, rel=1e-6)
    assert len(found.picked.rows) == 20
    assert f"power {power:.2f}" in found.note


def test_a_budget_is_scaled_with_the_rows() -> None:
    assert scaled(Budget(rows=100), 0.1) == Budget(rows=10)
    assert scaled(Budget(tokens=100), 0.001) == Budget(tokens=1)
    assert not scaled(Budget(), 0.5).is_set


def a_saving(score: float, keep: float, epochs: int = 1) -> Saving:
    """Training on everything takes 1,000 FLOPs an epoch."""
    records = [
        record("score", flops=score, tokens=1000, device_s=score),
        record("train", flops=epochs * 1000 * keep, tokens=int(epochs * 1000 * keep), device_s=epochs * 1000 * keep),
    ]
    return compute_saving(records, round(100 * keep), 100, round(1000 * keep), 1000, epochs=None)


def test_the_break_even_is_where_training_on_the_rest_costs_what_selecting_does() -> None:
    for score, epochs, most in ((300, 1, 0.7), (300, 3, 0.9), (0, 1, 1.0)):
        saving = a_saving(score, 0.5, epochs)
        assert break_even_keep(lambda keep: keep, saving, "flops") == pytest.approx(most, abs=1e-3)
        assert break_even_keep(lambda keep: keep**0.5, saving, "flops") == pytest.approx(most**2, abs=1e-3)
    assert break_even_keep(lambda keep: keep, a_saving(1300, 0.5), "flops") == 0
    assert break_even_keep(lambda keep: keep if keep < 0.2 else None, a_saving(1, 0.1), "flops") == pytest.approx(
        0.2, abs=1e-3
    )
    assert break_even_keep(lambda keep: keep, replace_flops(a_saving(1, 0.1), None), "flops") is None


def replace_flops(saving: Saving, full: float | None) -> Saving:
    return replace(saving, flops=replace(saving.flops, full_training=full))


def a_forecast(saving: Saving, keep: float, epochs: float, scorer: ScorerRatio | None = None) -> Forecast:
    return Forecast([], saving, 0.4, 1_000_000, keep, epochs, scorer, [], "cpu")


def test_a_loss_is_said_as_plainly_as_a_gain() -> None:
    bert = ScorerRatio("bert-base", "bert-base", 110, 110, 0.4)
    assert a_forecast(a_saving(1300, 0.5), 0.5, 1, bert).sentence() == (
        "Selection will NOT pay: selecting from 1.0M rows with bert-base costs 1.3 times one epoch of training on all "
        "of them: with 1 epoch at keep 0.5 you lose 0.8 times the FLOPs of training on everything."
    )
    told = a_forecast(a_saving(300, 0.1, 3), 0.1, 3).sentence()
    assert told.startswith("Selection will pay: selecting from 1.0M rows costs 0.3 times one epoch")
    assert told.endswith("with 3 epochs at keep 0.1 you save 80 % of the FLOPs of training on everything.")


def test_a_smaller_scorer_is_proposed_where_it_is_not_small() -> None:
    large = ScorerRatio("a", "b", 100_000_000, 100_000_000, 0.4)
    told = advice(large, a_saving(1300, 0.5))
    assert "is as large as the model" in told
    assert "5 to 10 times smaller (Yin & Rush 2025)" in told
    assert "about 20.0M weights in scorer.checkpoint" in told
    assert "about 24 % of the FLOPs would be saved" in told  # 1 - 1300 / 5 / 1000 - 0.5
    assert "has 3 times the weights of the model" in advice(
        replace(large, scorer_parameters=300_000_000), a_saving(9, 0.5)
    )
    assert advice(replace(large, scorer_parameters=20_000_000), a_saving(1300, 0.5)) == ""
    assert advice(None, a_saving(1300, 0.5)) == ""


def test_seconds_follow_flops_or_tokens_or_another_machine() -> None:
    work = plans.Work(10, 90, 100, 1000.0)
    assert rated(work, seconds=2.0, flops=500.0, tokens=10) == 4.0
    assert rated(replace(work, flops=None), seconds=2.0, flops=500.0, tokens=10) == 20.0
    assert rated(work, seconds=0.0, flops=None, tokens=0) == 0.0
    tally = Tally("cuda:0", world_size=4, speed=50.0)
    tally.charge("train", "fit", work, 7.0, "by hand")
    tally.charge("solve", "fit", work, 7.0, "by hand")
    tally.charge("select", "fit", replace(work, flops=0.0), 7.0, "no arithmetic")
    assert [(each.device_s, each.wall_s) for each in tally.records] == [(20.0, 5.0), (20.0, 20.0), (7.0, 7.0)]
    assert len({each.identity for each in tally.records}) == 3


def test_a_machine_that_cannot_be_is_refused() -> None:
    assert Machine.of(None, None) is None
    assert Machine.of(1e12, 1.0) == Machine(1e12, 1.0)
    for given in ((1e12, None), (None, 0.5), (-1.0, 0.5), (float("inf"), 0.5), (1e12, 0.0), (1e12, float("nan"))):
        with pytest.raises(UserError):
            Machine.of(*given)


def test_work_adds_up() -> None:
    one, two = plans.Work(1, 2, 3, 4.0, 5), plans.Work(10, 20, 30, None, 50)
    assert one + one == one.times(2)
    assert (one + two).flops is None
