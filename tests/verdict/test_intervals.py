from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from selectune.common.errors import UserError
from selectune.verdict.intervals import (
    Difference,
    change_of_smallest_class,
    corrected,
    difference_of_seeds,
    interval,
    interval_of_metric,
    mcnemar,
    paired_difference,
)
from selectune.verdict.row_metrics import row_values
from tests.mistakes import mistake

METRICS = ["accuracy", "micro_f1", "macro_f1", "matthews", "em", "f1"]
Runs = dict[int, dict[str, np.ndarray]]


def made(n_seeds: int, n_rows: int, better: float = 0.1, seed: int = 0) -> tuple[Runs, Runs]:
    """Two arms on the same rows, the first of them right more often."""
    random = np.random.default_rng([seed, n_rows])
    label = random.choice(3, p=[0.6, 0.3, 0.1], size=n_rows)
    sides: tuple[Runs, Runs] = ({}, {})
    for number in range(n_seeds):
        for side, share in zip(sides, (0.7 + better, 0.7)):
            right = random.random(n_rows) < share
            side[number] = {
                "row_id": np.arange(n_rows),
                "label": label,
                "prediction": np.where(right, label, (label + 1) % 3),
                "em": right.astype(np.float64),
                "f1": np.where(right, 1.0, random.random(n_rows)),
            }
    return sides


def paired(metric: str, run: Runs, arm: Runs) -> Difference:
    found = paired_difference(metric, run, arm)
    assert found is not None
    return found


@pytest.mark.parametrize("n_seeds", [1, 2, 3])
@pytest.mark.parametrize("metric", METRICS)
def test_swapping_the_arms_turns_the_sign_and_nothing_else(metric: str, n_seeds: int) -> None:
    run, arm = made(n_seeds, 200)
    there, back = paired(metric, run, arm), paired(metric, arm, run)
    assert (back.value, back.low, back.high, back.p) == (-there.value, -there.high, -there.low, there.p)
    assert there.low < there.value < there.high


@pytest.mark.parametrize("n_seeds", [1, 3])
@pytest.mark.parametrize("metric", METRICS)
def test_equal_arms_differ_by_0(metric: str, n_seeds: int) -> None:
    run, _ = made(n_seeds, 200)
    found = paired(metric, run, run)
    assert (found.value, found.p) == (0.0, 1.0)
    assert found.low == -found.high < 0


@pytest.mark.parametrize("n_seeds", [1, 3])
@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_rows_and_of_seeds_changes_nothing(metric: str, n_seeds: int) -> None:
    run, arm = made(n_seeds, 200)
    order = np.random.default_rng(0).permutation(200)
    shuffled = {seed: {name: column[order] for name, column in run[seed].items()} for seed in reversed(list(run))}
    assert paired(metric, shuffled, arm) == paired(metric, run, arm)
    renamed = [{10 - seed: rows for seed, rows in side.items()} for side in (run, arm)]
    assert astuple(paired(metric, *renamed))[:4] == pytest.approx(astuple(paired(metric, run, arm))[:4], rel=1e-9)


@pytest.mark.parametrize("n_seeds", [1, 5])
@pytest.mark.parametrize("metric", METRICS)
def test_more_rows_narrow_the_interval(metric: str, n_seeds: int) -> None:
    few, many = (paired(metric, *made(n_seeds, n_rows)) for n_rows in (100, 10_000))
    assert many.high - many.low < (few.high - few.low) / 4
    assert (few.n_rows, many.n_rows, few.n_seeds) == (100, 10_000, n_seeds)


def test_equal_arms_are_known_the_better_the_more_rows_agree() -> None:
    few, many = (paired("accuracy", run, run) for run in (made(3, 20)[0], made(3, 2000)[0]))
    assert few.high > 0.05
    assert many.high < 0.01


def test_more_seeds_narrow_the_interval() -> None:
    widths = [found.high - found.low for found in (paired("accuracy", *made(n, 500)) for n in (2, 3, 10))]
    assert widths == sorted(widths, reverse=True)


def test_one_seed_is_the_paired_t_test_over_rows() -> None:
    run, arm = made(1, 300)
    found, reference = paired("f1", run, arm), stats.ttest_rel(100 * run[0]["f1"], 100 * arm[0]["f1"])
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval()), rel=1e-9)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-9)
    assert found.over == "rows"


def test_rows_that_add_nothing_leave_the_t_interval_over_seeds() -> None:
    """Each row is worth the same for all seeds, and each seed the same on all rows."""
    means = np.array([0.01, 0.05, 0.03])
    found = interval(np.repeat(means[:, None], 50, axis=1))
    reference = stats.ttest_1samp(means, 0)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval()), rel=1e-9)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-9)


def test_seeds_that_agree_leave_the_t_interval_over_rows() -> None:
    gaps = np.random.default_rng(0).standard_normal(80)
    found, reference = interval(np.stack([gaps] * 4)), stats.ttest_1samp(gaps, 0)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval()), rel=1e-9)


def test_the_interval_is_never_narrower_than_that_over_seeds_alone() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        gaps = random.standard_normal((3, 40)) + random.standard_normal((3, 1)) + random.standard_normal(40)
        low, high = stats.ttest_1samp(gaps.mean(1), 0).confidence_interval()
        found = interval(gaps)
        assert found.high - found.low >= (high - low) * (1 - 1e-9)


def test_p_is_under_5_per_cent_just_where_0_lies_outside() -> None:
    for seed in range(30):
        found = paired("f1", *made(3, 100, better=0.05, seed=seed))
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)


def test_a_great_difference_has_a_tiny_p() -> None:
    run, arm = made(1, 5000, better=0.3)
    assert 0 < paired("f1", run, arm).p < 1e-100


def test_the_value_is_the_mean_of_what_the_runs_reached() -> None:
    run, arm = made(3, 100)
    reached = [np.mean([(rows["label"] == rows["prediction"]).mean() for rows in side.values()]) for side in (run, arm)]
    assert paired("accuracy", run, arm).value == pytest.approx(reached[0] - reached[1])


@pytest.mark.parametrize(("only_run", "only_arm"), [(0, 0), (1, 0), (5, 0), (7, 3), (30, 50)])
def test_mcnemar_is_the_exact_binomial_test(only_run: int, only_arm: int) -> None:
    label = np.zeros(100, dtype=np.int64)
    run, arm = (np.zeros(100, dtype=np.int64) for _ in range(2))
    arm[:only_run], run[only_run : only_run + only_arm] = 1, 1
    rows = [{"row_id": np.arange(100), "label": label, "prediction": one} for one in (run, arm)]
    n = only_run + only_arm
    expected = stats.binomtest(only_run, n).pvalue if n else 1.0
    assert mcnemar(*rows) == pytest.approx(expected)
    assert paired("accuracy", {0: rows[0]}, {0: rows[1]}).p == pytest.approx(expected)


def test_seeds_that_one_side_lacks_are_left_out() -> None:
    run, arm = made(4, 100)
    del run[1], arm[3]
    found = paired("accuracy", run, arm)
    assert found.n_seeds == 2
    both = [{seed: side[seed] for seed in (0, 2)} for side in (run, arm)]
    assert found == paired("accuracy", *both)


def test_a_metric_without_rows_is_not_known_from_them() -> None:
    assert paired_difference("perplexity", *made(2, 50)) is None


def test_a_metric_of_runs_has_the_t_interval_over_seeds() -> None:
    run, arm = {0: 12.1, 1: 12.5, 2: 12.0}, {0: 12.9, 1: 13.0, 2: 13.1, 9: 1.0}
    found, reference = difference_of_seeds(run, arm), stats.ttest_rel([12.1, 12.5, 12.0], [12.9, 13.0, 13.1])
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval()), rel=1e-9)
    assert (found.n_seeds, found.n_rows, found.over) == (3, 0, "seeds")
    assert difference_of_seeds({0: 1.0}, {0: 2.0}) is None


def test_the_smallest_class_is_compared_on_its_own_rows() -> None:
    run, arm = made(3, 400)
    change = change_of_smallest_class(run, arm, ["a", "b", "rare"])
    own = run[0]["label"] == 2
    assert change is not None
    assert (change.name, change.difference.n_rows) == ("rare", own.sum())
    gaps = [(run[s]["em"][own] - arm[s]["em"][own]).mean() for s in run]
    assert change.difference.value == pytest.approx(np.mean(gaps))


def test_a_class_of_one_row_has_no_change() -> None:
    run, arm = made(1, 50)
    for side in (run, arm):
        side[0]["label"] = np.array([1] + [0] * 49)
    assert change_of_smallest_class(run, arm, ["a", "b"]) is None


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_other_rows_are_a_mistake_in_one_sentence(n_seeds: int) -> None:
    run, arm = made(n_seeds, 50)
    arm[n_seeds - 1] = {name: column[:-1] for name, column in arm[n_seeds - 1].items()}
    with mistake(UserError, "held-out rows") as told:
        paired_difference("accuracy", run, arm)
    assert str(told.value).count(". ") == 0


def test_other_labels_are_a_mistake() -> None:
    run, arm = made(1, 50)
    arm[0]["label"] = 1 - np.minimum(arm[0]["label"], 1)
    with mistake(UserError, "labels"):
        paired_difference("accuracy", run, arm)


def test_no_common_seed_is_a_mistake() -> None:
    run, arm = made(2, 50)
    for compare, seeds in (
        (lambda: paired_difference("accuracy", {0: run[0]}, {1: arm[1]}), ["seeds [0]", "seeds [1]"]),
        (lambda: paired_difference("accuracy", {}, {}), ["seeds []"]),
        (lambda: difference_of_seeds({0: 1.0}, {1: 1.0}), ["seeds [0]", "seeds [1]"]),
    ):
        with mistake(UserError, *seeds):
            compare()


def test_one_row_is_too_few() -> None:
    with mistake(UserError, "two", "test split"):
        paired_difference("accuracy", *made(3, 1))


def test_a_metric_that_is_no_number_is_a_mistake() -> None:
    with mistake(UserError, "metric", "finite"):
        difference_of_seeds({0: 1.0, 1: float("nan")}, {0: 1.0, 1: 1.0})


def test_holm_multiplies_the_smallest_p_most_and_keeps_their_order() -> None:
    gaps = [Difference(0.0, -1.0, 1.0, p, 3, 10, "seeds and rows") for p in (0.02, 0.01, 0.6, 0.03)]
    assert [one.p_holm for one in corrected(gaps)] == pytest.approx([0.06, 0.04, 0.6, 0.06])
    assert [one.p for one in corrected(gaps)] == [one.p for one in gaps]
    assert corrected([]) == ()
    assert corrected(gaps[:1])[0].p_holm == 0.02


@pytest.mark.parametrize("metric", METRICS)
def test_the_interval_of_a_metric_holds_it_and_narrows_with_more_rows(metric: str) -> None:
    widths = []
    for n_rows in (200, 800):
        rows = made(1, n_rows)[0][0]
        values = row_values(metric, rows)
        assert values is not None
        bounds = interval_of_metric(metric, [rows], float(values.values.mean()))
        assert bounds is not None
        assert bounds[0] < values.values.mean() < bounds[1]
        back = {name: column[::-1] for name, column in rows.items()}
        assert interval_of_metric(metric, [back], float(values.values.mean())) == bounds
        widths.append(bounds[1] - bounds[0])
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.25)


def test_the_interval_of_a_perfect_metric_has_a_width_and_stays_in_its_range() -> None:
    rows = made(1, 50)[0][0] | {"em": np.ones(50)}
    assert interval_of_metric("em", [rows], 100.0) == (pytest.approx(96.0, abs=0.1), 100)
    assert interval_of_metric("em", [rows], 90.0) is None, "the rows are of another test"
    assert interval_of_metric("loss", [rows], 0.5) is interval_of_metric("accuracy", [{}], 0.5) is None


@pytest.mark.parametrize("metric", METRICS)
def test_the_interval_of_a_metric_over_several_seeds_is_that_of_one_where_they_agree(metric: str) -> None:
    runs = list(made(3, 200)[0].values())
    known = [values.values.mean() for rows in runs if (values := row_values(metric, rows)) is not None]
    same = interval_of_metric(metric, runs[:1] * 3, float(known[0]))
    assert same == pytest.approx(interval_of_metric(metric, runs[:1], float(known[0])))
    bounds = interval_of_metric(metric, runs, float(np.mean(known)))
    assert bounds is not None
    assert bounds[0] < np.mean(known) < bounds[1]
    others = {name: column[1:] for name, column in runs[2].items()}
    assert interval_of_metric(metric, [*runs[:2], others], float(np.mean(known))) is None, "seeds have other rows"
