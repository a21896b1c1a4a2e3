"""Each method of a table is judged against the runs of the table that do not select."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.tables.grid import Cell
from selectune.tables.results import Result
from selectune.tables.summary import summarise
from selectune.verdict.decision import Word
from selectune.verdict.evidence import ARMS, ArmName, Cost, ScoreInterval
from selectune.verdict.judged import Judged
from selectune.verdict.verdict import Verdict

SELECTING = {"data": {"selector": "IGSE"}, "trainer": {"max_epochs": 3}}
WHOLE = {"data": {"selector": None}, "trainer": {"max_epochs": 3}}
SHORTER = {"data": {"selector": None}, "trainer": {"max_epochs": 1}}
N_ROWS = 400


def method(name: str, accuracy: float, cost: float, config: dict[str, Any], **more: Any) -> list[Result]:
    """Runs at three seeds, right on other held-out rows at each."""
    results = []
    for seed in range(3):
        wrong = np.random.default_rng(seed).permutation(N_ROWS) >= accuracy * N_ROWS
        rows = {"row_id": np.arange(N_ROWS), "label": np.arange(N_ROWS) % 2}
        rows["prediction"] = np.where(wrong, 1 - rows["label"], rows["label"])
        kept = 2000 if config == SELECTING else 10_000
        judged = Judged(metrics={}, kept_rows=kept, pool_rows=10_000, cost=Cost(cost, cost), rows=rows)
        row = {"tokens_trained_on": cost, "total_flops": cost, "selection_flops": 0.0, "total_device_s": cost}
        cell = Cell("reviews", name, "none" if kept == 10_000 else "0.2", seed, Path(name), config, "accuracy", **more)
        results.append(Result(cell, {**row, "test/accuracy": accuracy, "warnings": ""}, 1.0, judged))
    return results


BAND = method("band", 0.8, 1.0, SELECTING)
FULL = method("full", 0.8, 4.0, WHOLE)
RANDOM = method("random", 0.7, 0.6, SELECTING)
SAME_COST = method("same_cost", 0.6, 1.0, SELECTING, match="band", by="cost")
FEWER = method("fewer", 0.6, 1.02, SHORTER)


def verdicts(*methods: list[Result]) -> dict[str, Verdict]:
    (group,) = summarise([result for results in methods for result in results])
    return {line.method: line.verdict for line in group.lines if line.verdict is not None}


def test_a_method_is_judged_against_all_rows_and_rows_of_the_same_cost() -> None:
    verdict = verdicts(BAND, FULL, RANDOM, SAME_COST, FEWER)["band"]
    gains = {name: difference.value for name, difference in verdict.evidence.differences()}
    assert gains == pytest.approx({"all_rows": 0, "random_rows": 0.2, "fewer_epochs": 0.2})
    assert verdict.evidence.saved() == pytest.approx(0.75)
    assert {verdict.evidence.arm(name).difference.n_rows for name in ARMS} == {N_ROWS}  # type: ignore[union-attr]
    assert verdict.word == Word.PAYS


@pytest.mark.parametrize(
    ("rivals", "missing"),
    [((RANDOM, SAME_COST, FEWER), "all_rows"), ((FULL, FEWER), "random_rows"), ((FULL, SAME_COST), "fewer_epochs")],
)
def test_a_rival_that_the_table_lacks_leaves_it_unknown(rivals: tuple[list[Result], ...], missing: ArmName) -> None:
    verdict = verdicts(BAND, *rivals)["band"]
    assert verdict.word == Word.NOT_KNOWN_YET
    assert verdict.evidence.arm(missing).difference is None
    assert verdict.evidence.arm(missing).score is None


def test_cheaper_random_rows_may_show_that_it_loses_and_never_that_it_pays() -> None:
    assert verdicts(BAND, FULL, RANDOM, FEWER)["band"].word == Word.NOT_KNOWN_YET
    better = method("random", 0.9, 0.6, SELECTING)
    assert verdicts(BAND, FULL, better, FEWER)["band"].word == Word.LOSES_TO_RANDOM
    dearer = method("random", 0.9, 2.0, SELECTING)
    assert verdicts(BAND, FULL, dearer, FEWER)["band"].word == Word.NOT_KNOWN_YET


def test_of_several_shorter_trainings_the_one_of_the_nearest_cost_is_taken() -> None:
    two = method("two", 0.9, 2.7, SHORTER | {"trainer": {"max_epochs": 2}})
    for methods in ((BAND, FULL, two, FEWER), (BAND, FULL, FEWER, two)):
        assert verdicts(*methods)["band"].evidence.fewer_epochs.cost == Cost(1.02, 1.02)


def test_a_longer_training_on_all_rows_is_none_of_fewer_epochs() -> None:
    longer = method("longer", 0.9, 9.0, SHORTER | {"trainer": {"max_epochs": 9}})
    assert verdicts(BAND, FULL, longer)["band"].evidence.fewer_epochs.difference is None


def test_runs_that_others_are_compared_with_are_not_judged() -> None:
    assert list(verdicts(BAND, FULL, RANDOM, SAME_COST, FEWER)) == ["band"]


def test_runs_tested_on_other_rows_are_compared_by_their_metrics() -> None:
    metrics = {"accuracy": 0.8}
    band = [replace(one, judged=replace(one.judged, metrics=metrics)) for one in BAND]
    full = [replace(one, judged=replace(one.judged, metrics=metrics, rows={})) for one in FULL]
    difference = verdicts(band, full)["band"].evidence.all_rows.difference
    assert difference is not None
    assert difference.over == "seeds"


def test_the_metric_of_a_method_has_its_interval_whatever_it_is_compared_with() -> None:
    def tested_on(*sizes: int, **changes: Any) -> ScoreInterval | None:
        results = [
            replace(one, judged=replace(one.judged, n_rows=n_rows, **changes)) for one, n_rows in zip(BAND, sizes)
        ]
        return verdicts(results)["band"].evidence.score_interval

    known = tested_on(N_ROWS, N_ROWS, N_ROWS)
    assert known is not None
    assert known.n_rows == N_ROWS
    assert known.low is not None
    assert known.high is not None
    assert known.low < 0.8 < known.high
    metrics = {"accuracy": 0.8}
    assert tested_on(50, 50, 50, rows={}, metrics=metrics) == ScoreInterval(50)
    assert tested_on(50, 50, 49, rows={}, metrics=metrics) is None


def test_of_one_held_out_row_the_metrics_are_compared() -> None:
    def tested_on_one(results: list[Result]) -> list[Result]:
        rows = {"row_id": np.arange(1), "label": np.arange(1), "prediction": np.arange(1)}
        metrics = {"accuracy": 1.0}
        return [replace(one, judged=replace(one.judged, rows=rows, metrics=metrics)) for one in results]

    difference = verdicts(tested_on_one(BAND), tested_on_one(FULL))["band"].evidence.all_rows.difference
    assert difference is not None
    assert difference.over == "seeds"


def test_warm_ups_are_judged_against_a_warm_up_on_all_rows_and_not_against_none() -> None:
    in_warm_up = {"selects_in": "warm_up.data"}
    gotd = method("gotd", 0.8, 1.0, {"warm_up": {"data": {"selector": "GOTD"}}}, **in_warm_up)
    whole = method("whole", 0.7, 4.0, {"warm_up": {"data": {"selector": None}}}, **in_warm_up)
    none = method("none", 0.6, 0.5, {"warm_up": None}, **in_warm_up)
    judged = verdicts(none, whole, gotd)
    assert list(judged) == ["gotd"]
    assert judged["gotd"].evidence.all_rows.score == pytest.approx(0.7)
