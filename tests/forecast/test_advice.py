"""The sentences of a forecast: break-even and advice."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from selectune.costs.compute_saving import compute_saving
from selectune.costs.saving import Saving
from selectune.costs.scorer_ratio import ScorerRatio
from selectune.forecast import Forecast
from selectune.forecast.result import PRICE, break_even_keep
from tests.costs.records import record
from tests.mistakes import names


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
        assert break_even_keep(lambda keep: keep, saving) == pytest.approx(most, abs=1e-3)
        assert break_even_keep(lambda keep: keep**0.5, saving) == pytest.approx(most**2, abs=1e-3)
    assert break_even_keep(lambda keep: keep, a_saving(1300, 0.5)) == 0
    assert break_even_keep(lambda keep: keep if keep < 0.2 else None, a_saving(1, 0.1)) == pytest.approx(0.2, abs=1e-3)
    assert break_even_keep(lambda keep: keep, replace_flops(a_saving(1, 0.1), None)) is None


def replace_flops(saving: Saving, full: float | None) -> Saving:
    return replace(saving, flops=replace(saving.flops, full_training=full))


def a_forecast(saving: Saving, keep: float, epochs: float, scorer: ScorerRatio | None = None) -> Forecast:
    sizes = {"pool_rows": 1_000_000, "kept_rows": round(keep * 1_000_000)}
    return Forecast([], replace(saving, epochs=epochs, **sizes), 0.4, scorer, [], "cpu")


def test_a_loss_is_said_as_plainly_as_a_gain() -> None:
    bert = ScorerRatio("bert-base", "bert-base", 110, 110, 0.4)
    sentence = a_forecast(a_saving(1300, 0.5), 0.5, 1, bert).sentence()
    loss = ["1.0M rows", "bert-base", "1.30 times one epoch", "1 epoch", "keep 0.5", "lose 0.800 times the FLOPs"]
    assert names(sentence, "NOT", *loss)
    assert PRICE not in sentence
    sentence = a_forecast(a_saving(300, 0.1, 3), 0.1, 3).sentence()
    assert names(sentence, "1.0M rows", "0.300 times one epoch", "3 epochs", "keep 0.1", "save 80 % of the FLOPs")
    assert not names(sentence, "NOT")
    assert sentence.endswith(PRICE)  # no gain without its price


def advice(scorer: ScorerRatio | None, saving: Saving) -> str:
    return Forecast([], saving, None, scorer, [], "cpu").advice


def test_a_smaller_scorer_is_proposed_where_it_is_not_small() -> None:
    large = ScorerRatio("a", "b", 100_000_000, 100_000_000, 0.4)
    sentence = advice(large, a_saving(1300, 0.5))
    assert names(sentence, "Yin & Rush 2025", "20.0M weights", "scorer.checkpoint")
    assert names(sentence, "24 % of the FLOPs")  # 1 - 1300 / 5 / 1000 - 0.5
    assert names(advice(replace(large, scorer_parameters=300_000_000), a_saving(9, 0.5)), "3.00 times the weights")
    assert advice(replace(large, scorer_parameters=20_000_000), a_saving(1300, 0.5)) == ""
    assert advice(None, a_saving(1300, 0.5)) == ""


def devices_disagree(flops: float, seconds: float) -> Saving:
    """Training on half of the rows, where scoring takes so many of 1,000 FLOPs and of 1,000 seconds."""
    records = [
        record("score", flops=flops, tokens=1000, device_s=seconds),
        record("train", flops=500, tokens=500, device_s=500),
    ]
    return compute_saving(records, 50, 100, 500, 1000)


def test_where_flops_and_time_disagree_both_are_said() -> None:
    made = a_forecast(devices_disagree(100, 700), 0.5, 1)
    assert names(made.sentence(), "NOT in device time", "save 40 % of the FLOPs", "lose 0.200 times the device time")
    assert names(made.sentence(), "In device time", "2 uses")
    up_to, uses = made.break_even().split(". ")
    assert names(up_to, "In FLOPs", "keep 0.40")
    assert names(uses, "In FLOPs", "first use")
    made = a_forecast(devices_disagree(700, 100), 0.5, 1)
    assert names(made.sentence(), "NOT in FLOPs", "In FLOPs", "2 uses")
    for flops, seconds in ((100, 200), (700, 800)):
        made = a_forecast(devices_disagree(flops, seconds), 0.5, 1)
        assert made.saving.losing is None
        assert not names(made.sentence(), "device time")


def test_advice_promises_no_loss() -> None:
    scorer = ScorerRatio("a", "b", 100, 100, 0.4)
    without_costs = advice(scorer, a_saving(0, 0.7))
    assert "%" not in without_costs
    for score in range(250, 5000, 250):
        sentence, gain = advice(scorer, a_saving(score, 0.7)), 100 * (0.3 - score / 5 / 1000)
        assert "-" not in sentence
        promised = [float(number) for number in re.findall(r"([\d.]+)\s% of the FLOPs", sentence)]
        assert promised == pytest.approx([gain] if gain > 1e-9 else [], abs=0.5)
        assert sentence.startswith(without_costs.removesuffix("."))
        assert sentence != without_costs, "that it will not pay is said as well"
