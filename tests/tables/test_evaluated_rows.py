"""A table's differences of evaluations: paired over prompts, questions and texts, as their files hold them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from selectune.common.run_files import RunFiles
from selectune.tables.grid import Cell
from selectune.tables.results import Result, read_result
from selectune.tables.summary import summarise
from selectune.verdict.intervals import Difference, interval
from selectune.verdict.judge import headline
from selectune.verdict.row_metrics import TOXIC
from selectune.verdict.verdict import Verdict

Columns = dict[str, np.ndarray]
Write = Callable[[str, int, Columns], Result]
N_ROWS = 90


def rows_of(method: str, seed: int) -> Columns:
    """Rows of all three kinds at once, the same ones for every method and seed."""
    draw = np.random.default_rng([len(method), seed])
    fixed = np.random.default_rng(7)
    label, tokens = fixed.integers(0, 2, N_ROWS), fixed.integers(5, 60, N_ROWS)
    return {
        "row_id": np.arange(N_ROWS),
        "text_hash": fixed.integers(0, 2**63, N_ROWS).astype(np.uint64),
        "kind": np.where(np.arange(N_ROWS) % 3, "toxic", "nontoxic"),
        "label": label,
        "tokens": tokens,
        "max_toxicity": draw.random(N_ROWS),
        "prediction_accuracy_norm": np.where(draw.random(N_ROWS) < 0.7, label, 1 - label),
        "loss_sum": tokens * (3 + 0.1 * len(method) + draw.normal(0, 0.2, N_ROWS)),
    }


def value(metric: str, rows: Columns) -> float:
    """The metric of some rows, by its definition."""
    kind = metric.partition("/")[2]
    if kind == "accuracy_norm":
        return float((rows["prediction_accuracy_norm"] == rows["label"]).mean())
    if kind in ("loss", "perplexity"):
        loss = float(rows["loss_sum"].sum() / rows["tokens"].sum())
        return loss if kind == "loss" else float(np.exp(loss))
    worst = rows["max_toxicity"][rows["kind"] == "toxic"] if kind.startswith("toxic_") else rows["max_toxicity"]
    return float((worst >= TOXIC).mean() if kind == "toxicity_probability" else worst.mean())


def by_hand(metric: str, rows: Columns) -> np.ndarray:
    """The part of each row in the metric, whose mean it is."""
    if (kind := metric.partition("/")[2]) in ("loss", "perplexity"):
        loss = rows["loss_sum"].sum() / rows["tokens"].sum()
        parts = loss + (rows["loss_sum"] - loss * rows["tokens"]) / rows["tokens"].mean()
        return np.asarray(parts if kind == "loss" else np.exp(loss) * (1 + parts - loss))
    one = [{name: column[[i]] for name, column in rows.items()} for i in range(N_ROWS)]
    kept = [row for row in one if not kind.startswith("toxic_") or row["kind"] == "toxic"]
    return np.array([value(metric, row) for row in kept])


@pytest.fixture
def write(finished: Path, tmp_path: Path) -> Callable[[str], Write]:
    """Writes a cell of a table, whose task has a metric of the evaluation ``made``, and reads its result."""

    def of_metric(metric: str) -> Write:
        def written(method: str, seed: int, rows: Columns) -> Result:
            folder = tmp_path / "cells" / f"made-{method}-0.5-{seed}"
            shutil.copytree(finished, folder)
            files = RunFiles(folder)
            files.row_metrics.unlink()
            done = json.loads(files.done.read_text())
            done["metrics"] = {f"test/{metric}": value(metric, rows) if rows else 0.1 * seed + len(method)}
            files.done.write_text(json.dumps(done))
            if rows:
                files.evaluations.mkdir()
                pq.write_table(pa.table(rows), files.evaluations / "made.parquet")
            config = {"data": {"selector": "GOTD"}}
            return read_result(Cell("made", method, "0.5", seed, folder, config, metric), tmp_path)

        return written

    return of_metric


def compared(results: list[Result]) -> tuple[Difference | None, Verdict | None]:
    """The difference of `gotd` to random rows, and its verdict."""
    (group,) = summarise(results)
    line = next(line for line in group.lines if line.method == "gotd")
    return line.versus_random, line.verdict


METRICS = [
    "made/expected_max_toxicity", "made/toxic_expected_max_toxicity", "made/toxicity_probability", "made/accuracy_norm",
    "made/loss", "made/perplexity",
]  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
def test_the_interval_of_one_seed_is_that_over_its_rows(metric: str, write: Callable[[str], Write]) -> None:
    ours, theirs = rows_of("gotd", 0), rows_of("random", 0)
    order = np.random.default_rng(1).permutation(N_ROWS)
    shuffled = {name: column[order] for name, column in theirs.items()}
    found, verdict = compared([write(metric)("gotd", 0, ours), write(metric)("random", 0, shuffled)])
    gaps = by_hand(metric, ours) - by_hand(metric, theirs)
    half = stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps))
    assert found is not None
    assert found.value == pytest.approx(value(metric, ours) - value(metric, theirs))
    assert (found.low, found.high) == pytest.approx((gaps.mean() - half, gaps.mean() + half))
    assert (found.over, found.n_seeds, found.n_rows) == ("rows", 1, len(gaps))
    assert found.p_holm == found.p
    if metric == "made/accuracy_norm":
        only = int((gaps > 0).sum()), int((gaps < 0).sum())
        assert found.p == pytest.approx(stats.binomtest(min(only), sum(only)).pvalue), "McNemar's, as of held-out rows"
    else:
        assert found.p == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue)
    assert verdict is not None
    assert verdict.evidence.random_rows.difference is not None
    assert verdict.evidence.random_rows.difference.low == found.low
    of_itself = verdict.evidence.score_interval
    assert of_itself is not None
    assert of_itself.n_rows == len(gaps)
    assert of_itself.low is not None
    assert of_itself.high is not None
    assert of_itself.low < value(metric, ours) < of_itself.high


@pytest.mark.parametrize("metric", METRICS)
def test_the_interval_of_several_seeds_is_over_them_and_their_rows(metric: str, write: Callable[[str], Write]) -> None:
    seeds = range(3)
    made = write(metric)
    found, _ = compared([made(method, seed, rows_of(method, seed)) for method in ("gotd", "random") for seed in seeds])
    gaps = np.stack([by_hand(metric, rows_of("gotd", i)) - by_hand(metric, rows_of("random", i)) for i in seeds])
    n_rows = gaps.shape[1]
    assert found is not None
    assert (found.over, found.n_seeds, found.n_rows) == ("seeds and rows", 3, n_rows)
    means = gaps.mean(1)
    noise = gaps - gaps.mean(0) - means[:, None] + gaps.mean()
    of_rows = gaps.mean(0).var(ddof=1) / n_rows - (noise**2).sum() / (2 * (n_rows - 1)) / (3 * n_rows)
    half = np.hypot(
        stats.t.ppf(0.975, 2) * means.std(ddof=1) / np.sqrt(3), stats.t.ppf(0.975, n_rows - 1) * max(of_rows, 0) ** 0.5
    )
    floor = 1 / n_rows**2 if metric.endswith(("accuracy_norm", "probability")) else 0.0
    assert (found.value, found.high) == pytest.approx((gaps.mean(), interval(gaps, floor).high))
    if means.var(ddof=1) / 3 > floor:
        assert found.high == pytest.approx(gaps.mean() + half)


def test_without_the_file_the_metric_is_compared_over_seeds(write: Callable[[str], Write]) -> None:
    made = write("made/loss")
    found, verdict = compared([made("gotd", 0, {}), made("random", 0, rows_of("random", 0))])
    assert found is None
    assert verdict is not None
    assert verdict.evidence.score_interval is None, "the rows of the data's own split are others"
    found, _ = compared(
        [made("gotd", seed, {}) for seed in (1, 2)] + [made("random", seed, rows_of("random", seed)) for seed in (1, 2)]
    )
    assert found is not None
    assert found.over == "seeds"


@pytest.mark.parametrize("metric", METRICS)
def test_the_untouched_model_is_compared_row_by_row(metric: str, write: Callable[[str], Write]) -> None:
    after, before = rows_of("random", 0), rows_of("before it", 0)
    result = write(metric)("random", 0, after)
    known = {**result.judged.metrics, f"{metric}_before": value(metric, before)}
    evaluated = {**result.judged.evaluated, "made_before": before}
    run = replace(result, row=result.row | {f"test/{name}": one for name, one in known.items()},
                  judged=replace(result.judged, metrics=known, evaluated=evaluated))  # fmt: skip
    line, random = summarise([run])[0].lines
    assert (line.method, line.mean, line.flops) == ("untouched", value(metric, before), 0)
    gap = line.versus_random
    assert gap is not None
    gaps = by_hand(metric, before) - by_hand(metric, after)
    assert (gap.value, gap.n_rows, gap.over) == (pytest.approx(gaps.mean()), len(gaps), "rows")
    half = stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps))
    assert (gap.low, gap.high) == pytest.approx((gaps.mean() - half, gaps.mean() + half))
    assert line.n_rows == random.n_rows == len(gaps), "those of the evaluation"


@pytest.mark.parametrize("metric", ["made/loss", "made/expected_max_toxicity"])
@pytest.mark.parametrize("column", ["row_id", "text_hash", "label", "tokens", "kind"])
def test_other_rows_are_not_paired(column: str, metric: str, write: Callable[[str], Write]) -> None:
    ours, theirs = rows_of("gotd", 0), rows_of("random", 0)
    changed = theirs[column].copy()
    changed[5] = "other" if column == "kind" else changed[5] + 100
    made = write(metric)
    assert compared([made("gotd", 0, ours), made("random", 0, theirs | {column: changed})])[0] is None


def test_rows_of_an_earlier_version_are_known_by_their_other_columns(write: Callable[[str], Write]) -> None:
    made = write("made/loss")
    earlier = {name: column for name, column in rows_of("random", 0).items() if name != "text_hash"}
    found, _ = compared([made("gotd", 0, rows_of("gotd", 0)), made("random", 0, earlier)])
    assert found is not None
    assert found.n_rows == N_ROWS


def test_a_zero_shot_accuracy_below_the_largest_class_is_no_failed_training(write: Callable[[str], Write]) -> None:
    rows = rows_of("gotd", 0)
    rows["prediction_accuracy_norm"] = 1 - rows["label"]
    judged = write("made/accuracy_norm")("gotd", 0, rows).judged
    metric = headline(["made/accuracy_norm"])
    assert judged.score(metric) == 0.0
    assert judged.majority(metric) is None
