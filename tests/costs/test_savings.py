"""The saving equals a computation by hand, and a loss is called a loss."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selectune.common.errors import UserError
from selectune.costs.compute_saving import compute_saving
from selectune.costs.record import CostRecord, totals
from selectune.costs.saving import Saving
from tests.costs.records import an_honest_run, record
from tests.mistakes import mistake


def saving_of(records: list[CostRecord], kept: int = 250, pool: int = 1000, **epochs: float) -> Saving:
    return compute_saving(records, kept // 10, pool // 10, kept, pool, **epochs)


def test_the_saving_is_the_one_computed_by_hand():
    saving = saving_of(an_honest_run())
    # 1 - (100 + 200) / (200 * 1000 / 250) = 1 - 300 / 800; it is paid back by 100 / (800 - 200) of a use.
    flops = saving.flops
    assert (flops.tune_scorer, flops.score, flops.solve, flops.select) == (60, 30, 7, 3)
    assert (flops.selection, flops.training, flops.full_training) == (100, 200, 800)
    assert flops.saving == pytest.approx(0.625)
    assert flops.break_even_uses == pytest.approx(1 / 6)
    assert flops.full_is_estimated
    assert saving.device_s.saving == pytest.approx(0.625)
    assert saving.sentence() == (
        "Selection saved 62 % of the FLOPs and 62 % of the device time of training on everything (estimated)."
    )
    assert "pays for itself in its first use" in saving.break_even_sentence()


def test_shared_start_up_and_evaluation_stand_apart():
    flops = saving_of(an_honest_run()).flops
    assert flops.shared == 5000 + 9000 + 8000
    assert flops.evaluation == 400


def test_proxy_trainings_are_a_cost_of_the_selection():
    flops = saving_of([*an_honest_run(), record("search", flops=40)]).flops
    assert (flops.search, flops.select, flops.selection, flops.training) == (40, 3, 140, 200)
    assert flops.saving == pytest.approx(1 - 340 / 800)


@pytest.mark.parametrize("stage", ["diagnose", "pilot", "reference", "generate"])
def test_reserved_stages_are_shown_and_in_no_term(stage: Any):
    more = record(stage, flops=1e9, device_s=1e9)
    assert saving_of([*an_honest_run(), more]) == saving_of(an_honest_run())
    assert totals([more]).spent[stage].flops == 1e9


def test_a_saving_of_schema_1_has_its_proxies_under_select():
    saving = saving_of(an_honest_run())
    content = saving.to_json()
    for unit in ("flops", "device_s"):
        del content[unit]["search"]
    assert Saving.from_json(content) == saving


def test_a_loss_is_called_a_loss_with_its_break_even():
    """One epoch, nine tenths kept, an expensive scorer."""
    saving = saving_of([record("score", flops=1000, device_s=100), record("train", flops=900, device_s=9)], kept=900)
    assert saving.flops.saving == pytest.approx(1 - 1900 / 1000)
    assert saving.flops.break_even_uses == pytest.approx(10)
    assert saving.sentence().startswith("Selection cost more than it saved: selecting and training on the subset took ")
    assert "1.90 times the FLOPs and 10.90 times the device time of training on everything" in saving.sentence()
    assert "pays from 11 uses on" in saving.sentence()  # with ten it costs as much as it saves


def test_a_gain_in_one_unit_does_not_hide_a_loss_in_the_other():
    saving = saving_of([record("score", flops=10, device_s=100), record("train", flops=100, device_s=10)])
    assert "saved 72 % of the FLOPs" in saving.sentence()
    assert "but took 2.75 times the device time of it" in saving.sentence()
    assert "In device time it pays from 4 uses on" in saving.sentence()


def test_no_reuse_pays_when_the_subset_is_no_cheaper():
    saving = saving_of([record("score"), record("train")], kept=1000, pool=1000)
    assert saving.flops.break_even_uses is None
    assert saving.flops.saving == pytest.approx(-1)
    assert not saving.flops.full_is_estimated
    assert "no reuse would pay for it" in saving.sentence()


def test_a_run_on_everything_saves_nothing_and_says_so():
    saving = saving_of([record("train")], kept=1000, pool=1000)
    assert saving.flops.saving == 0
    assert saving.flops.full_training == saving.flops.training
    assert saving.sentence().startswith("Nothing was selected")


def test_a_cached_selection_is_charged_as_if_it_had_been_spent():
    spent = an_honest_run()
    avoided = [replace(each, cached=each.stage in ("score", "tune_scorer")) for each in spent]
    assert saving_of(avoided).flops.saving == saving_of(spent).flops.saving
    assert saving_of(avoided).flops.selection_avoided == 90 + 0


def test_what_a_later_attempt_found_cached_is_charged_once():
    spent = an_honest_run()
    again = [
        replace(each, cached=True, attempt=attempt) for each in spent if each.stage == "score" for attempt in (2, 3)
    ]
    assert saving_of(spent + again).flops == saving_of(spent).flops


def test_unknown_flops_are_not_zero_flops():
    saving = saving_of([record("score", flops=None), record("train", device_s=1.0)])
    assert saving.flops.saving is None
    assert saving.device_s.saving == pytest.approx(0.5)
    assert saving.sentence().endswith("The FLOPs are not known.")
    assert "device time" in saving.break_even_sentence()


def test_nothing_trained_is_nothing_known():
    saving = saving_of([record("score")])
    assert saving.flops.saving is None
    assert saving.sentence() == "What selection saved is not known: there was no training."


def test_work_done_twice_stands_apart_in_a_ledger_that_does_not_say_so():
    broken = [record("train", examples=50, finished=False, flops=50), record("train", examples=50, attempt=2, flops=50)]
    # Two epochs of 25 rows are 50 rows; the other 50 had been lost in the kill.
    assert saving_of(broken, epochs=2).flops.full_training == pytest.approx(50 * 1000 / 250)
    assert (saving_of(broken, epochs=2).flops.training, saving_of(broken, epochs=2).flops.redone) == (50, 50)
    assert saving_of(broken).flops.full_training == pytest.approx(100 * 1000 / 250), "how much was done is not known"


def test_a_saving_survives_its_file(tmp_path: Path):
    saving = saving_of(an_honest_run())
    saving.write(tmp_path)
    assert Saving.read(tmp_path) == saving
    assert json.loads((tmp_path / "saving.json").read_text())["sentence"] == saving.sentence()


def test_a_damaged_saving_is_named(tmp_path: Path):
    (tmp_path / "saving.json").write_text('{"flops": {}}')
    with mistake(UserError, tmp_path / "saving.json"):
        Saving.read(tmp_path)


@pytest.mark.parametrize("wrong", ["words", [1], True, {"a": 1}, math.nan])
@pytest.mark.parametrize(
    "name", ["kept_rows", "pool_tokens", "epochs", "definition", "part", "scorer_ratio", "warm_up", "flops", "score",
             "saving", "full_is_estimated"],
)  # fmt: skip
def test_a_value_of_another_kind_is_a_sentence(tmp_path: Path, name: str, wrong: Any):
    content = saving_of(an_honest_run()).to_json()
    fits = (name == "full_is_estimated" and wrong is True) or (name == "definition" and wrong == "words")
    (content if name in content and name != "saving" else content["device_s"])[name] = wrong
    for stored in (content, saving_of(an_honest_run()).to_json() | {"warm_up": content}):
        (tmp_path / "saving.json").write_text(json.dumps(stored))
        with contextlib.nullcontext() if fits else mistake(UserError, tmp_path / "saving.json"):
            Saving.read(tmp_path)


def test_a_warm_up_has_a_saving_of_its_own() -> None:
    """Against warming up on the whole pool; and what it took on top of plain fine-tuning is told."""
    records = [
        record("score", part="warm_up", flops=10, device_s=1.0),
        record("solve", part="warm_up", flops=2, device_s=0.2),
        record("warm_up", part="warm_up", flops=20, device_s=2.0),
        record("train", part="fit", flops=64, device_s=8.0),
    ]
    warm_up = compute_saving(records, 10, 100, 50, 500, part="warm_up")
    assert warm_up.flops.full_training == pytest.approx(200)
    assert warm_up.flops.saving == pytest.approx(1 - 32 / 200)
    assert warm_up.flops.shared == 0
    assert "warming up on the whole pool (estimated)" in warm_up.sentence()
    whole = replace(compute_saving(records, 70, 70, 500, 500), warm_up=warm_up)
    assert whole.main is warm_up
    assert whole.flops.shared == 32
    assert "On top of plain fine-tuning, choosing and warming up took 0.500 times its FLOPs" in whole.sentence()
    assert "Nothing was selected" not in whole.sentence()
    assert Saving.from_json(whole.to_json()) == whole
    both = replace(compute_saving([*records, record("score", flops=5)], 7, 70, 50, 500), warm_up=warm_up)
    assert both.main is both


def test_a_selection_that_several_trainings_share_is_charged_by_parts() -> None:
    saving = saving_of(an_honest_run())  # selection 100, training 200, everything 800
    assert saving.flops.saving == 1 - 300 / 800
    sentence = saving.shared_sentence()
    assert (
        "shared over 2 trainings 69 % less, over 5 trainings 72 % less, over 10 trainings 74 % less FLOPs" in sentence
    )
    nothing = [record("train", flops=200, tokens=250, device_s=2.0)]
    assert saving_of(nothing).shared_sentence() == ""
