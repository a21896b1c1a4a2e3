"""A metric never stands without what it was measured on: rows, and an interval where it follows from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles
from selectune.common.training_outcome import TrainingOutcome
from selectune.report import RunData, print_metrics, write_report
from selectune.report.measured import measured
from selectune.verdict.row_metrics import read_evaluations
from tests.costs.records import record
from tests.mistakes import mistake, names
from tests.report.pages import Page, a_run

ROWS = 1000


def scored(folder: Path, accuracy: float = 0.7421) -> Path:
    """Scores of held-out rows, of which a share is right."""
    label = np.arange(ROWS) % 2
    right = np.arange(ROWS) < round(accuracy * ROWS)
    columns = {"row_id": np.arange(ROWS), "label": label, "prediction": np.where(right, label, 1 - label)}
    pq.write_table(pa.table(columns), folder / "test_scores.parquet")
    return folder


def evaluated(kind: str, examples: int, rank: int = 0, attempt: int = 1):
    return record("evaluate", work=f"train: {kind} after 8 batches", examples=examples, rank=rank, attempt=attempt)


def test_every_held_out_metric_of_the_page_has_its_rows_and_its_interval(tmp_path: Path):
    run = scored(a_run(tmp_path / "run"), 0.742)
    text = (run / "metrics.csv").read_text()
    (run / "metrics.csv").write_text(text.replace("0.7421", "0.742").replace("0.1136", "0.5"))
    known = RunData.read(run).measured
    low, high = known["test/accuracy"].bounds or (1.0, 0.0)
    assert low < 0.742 < high
    assert high - low == pytest.approx(2 * 1.962 * np.sqrt(0.742 * 0.258 / (ROWS - 1)), abs=1e-3)
    assert known["test/majority_accuracy"].bounds is not None
    page = write_report(run).read_text(encoding="utf-8")
    assert {low, high, *(known["test/majority_accuracy"].bounds or ())} <= set(Page(page).figures)
    assert "<td>1,000 rows</td>" in page
    assert write_report(run).read_text(encoding="utf-8") == page


def test_scores_of_another_test_give_no_interval(tmp_path: Path):
    known = RunData.read(scored(a_run(tmp_path / "run"), 0.5)).measured
    assert known["test/accuracy"].bounds is None
    assert known["test/accuracy"].over == "1,000 rows"


def test_rows_without_scores_are_counted_by_the_ledger_over_all_processes():
    metrics = {"val/loss": 1.0, "test/loss": 2.0}
    records = [evaluated("validate", 9), evaluated("validate", 12, attempt=2), evaluated("validate", 11, 1, 2)]
    records += [evaluated("test", 30), evaluated("test", 29, rank=1)]
    assert {name: one.n_rows for name, one in measured(metrics, {}, records).items()} == {
        "val/loss": 23,
        "test/loss": 59,
    }
    assert measured({"test/loss": 2.0}, {}, [record("evaluate", work="", examples=7)])["test/loss"].n_rows == 7
    assert measured(metrics, {}, [record("evaluate", work="", examples=7)])["test/loss"].over == (
        "an unknown number of rows"
    )


def test_each_held_out_split_has_its_own_rows():
    rows = {"row_id": np.arange(10), "label": np.zeros(10, np.int64), "prediction": np.zeros(10, np.int64)}
    metrics = {"test/accuracy": 1.0, "test/other/accuracy": 1.0}
    known = measured(metrics, rows, [evaluated("test", 25)])
    assert [one.n_rows for one in known.values()] == [10, 15]
    assert [one.bounds is None for one in known.values()] == [False, True]
    assert [one.n_rows for one in measured(metrics, {}, [evaluated("test", 25)]).values()] == [None, None]


def test_several_further_splits_have_the_rows_that_the_training_noted(tmp_path: Path):
    metrics = {"val/loss": 1.0, "test/accuracy": 1.0, "test/other/accuracy": 1.0, "test/third/accuracy": 0.5}
    rows = {"row_id": np.arange(10), "label": np.zeros(10, np.int64), "prediction": np.zeros(10, np.int64)}
    noted = {"val": 7, "test": 10, "test/other": 15, "test/third": 20}
    known = measured(metrics, rows, [evaluated("test", 45)], noted)
    assert [one.n_rows for one in known.values()] == [7, 10, 15, 20]
    run = a_run(tmp_path / "run")
    outcome = TrainingOutcome.read(run) or TrainingOutcome(8, 1.0, 0.5)
    replace(outcome, evaluated={"val": 7, "test": 78}).write(run)
    assert {one.n_rows for name, one in RunData.read(run).measured.items() if name.startswith("test/")} == {78}


def test_sizes_of_splits_that_are_known_go_before_those_of_the_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = scored(a_run(tmp_path / "run"))
    for n_rows, told in (({"val": 77}, 1000), ({"test": 78}, 78)):
        print_metrics(run, "test", n_rows)
        printed = capsys.readouterr().out
        assert names(printed, "test/accuracy", f"{told:,} rows")
        assert "val/" not in printed


def test_a_metric_of_answers_says_which_rows_it_is_of():
    known = measured({"test/has_ans_f1": 51.4, "test/f1": 40.0}, {}, [evaluated("test", 50)])
    assert known["test/has_ans_f1"].over == "those of 50 rows with an answer"
    assert known["test/f1"].sentence() == "test/f1: 40.0000 (over 50 rows)"


def test_an_evaluation_has_its_rows_its_interval_and_what_the_training_did(tmp_path: Path):
    rng = np.random.default_rng(3)
    ids, kind = np.arange(40), np.array(["toxic", "nontoxic"] * 20)
    before, after = rng.uniform(0.3, 0.9, 40), rng.uniform(0.1, 0.7, 40)
    run = a_run(tmp_path / "run")
    folder = RunFiles(run).evaluations
    folder.mkdir()
    for end, worst in (("", after), ("_before", before)):
        pq.write_table(
            pa.table({"row_id": ids, "kind": kind, "max_toxicity": worst}), folder / f"toxicity{end}.parquet"
        )
    toxic = kind == "toxic"
    metrics = {
        "test/accuracy": 0.5, "val/loss": 1.0,
        "test/toxicity/expected_max_toxicity": after.mean(),
        "test/toxicity/expected_max_toxicity_before": before.mean(),
        "test/toxicity/toxic_toxicity_probability": (after[toxic] >= 0.5).mean(),
        "test/toxicity/unheard_of": 7.0,
    }  # fmt: skip
    known = measured(metrics, {}, [], {"val": 7, "test": 10}, read_evaluations(folder))
    assert [one.n_rows for one in known.values()] == [10, 7, 40, 40, 20, 40]
    whole, untouched, share, other = list(known.values())[2:]
    gaps = after - before
    assert whole.change is not None
    assert whole.change.value == pytest.approx(gaps.mean())
    half = 2.0227 * gaps.std(ddof=1) / np.sqrt(40)  # the t quantile of 39 degrees of freedom
    assert (whole.change.low, whole.change.high) == pytest.approx((gaps.mean() - half, gaps.mean() + half), abs=1e-4)
    assert whole.bounds is not None
    assert whole.bounds[0] < after.mean() < whole.bounds[1]
    assert share.change is not None
    assert share.change.value == pytest.approx(share.value - (before[toxic] >= 0.5).mean())
    assert untouched.bounds is not None
    assert untouched.change is other.change is other.bounds is None

    lines = [line for line in (run / "metrics.csv").read_text().splitlines() if line]
    added = {name: value for name, value in metrics.items() if name.startswith("test/toxicity")}
    (run / "metrics.csv").write_text(
        "\n".join([",".join([lines[0], *added]), *(line + "," * len(added) for line in lines[1:-1]),
                   ",".join([lines[-1], *map(str, added.values())])]) + "\n"
    )  # fmt: skip
    page = write_report(run).read_text(encoding="utf-8")
    assert names(page, "Change by training", "Probability of a toxic continuation, toxic prompts, toxicity")
    assert {whole.change.value, whole.change.low, share.change.high} <= set(Page(page).figures)


@pytest.mark.parametrize("nats", [400.0, np.inf, np.nan])
def test_a_model_that_diverged_has_no_interval_and_its_run_a_page(tmp_path: Path, nats: float):
    run = a_run(tmp_path / "run")
    folder = RunFiles(run).evaluations
    folder.mkdir()
    for end, loss in (("", nats), ("_before", 3.0)):
        rows = {"row_id": np.arange(20), "tokens": np.full(20, 10), "loss_sum": np.linspace(9, 11, 20) * loss}
        pq.write_table(pa.table(rows), folder / f"web{end}.parquet")
    for now, before in ((np.exp(min(nats, 700)), np.exp(3.0)), (np.exp(3.0), np.exp(min(nats, 700)))):
        metrics = {"test/web/perplexity": float(now), "test/web/perplexity_before": float(before)}
        known = measured(metrics, {}, [], {}, read_evaluations(folder))
        assert known["test/web/perplexity"].change is None
        assert known["test/web/perplexity"].n_rows == 20
        (folder / "web.parquet").rename(tmp_path / "now")  # and the other way round
        (folder / "web_before.parquet").rename(folder / "web.parquet")
        (tmp_path / "now").rename(folder / "web_before.parquet")
    header, *lines = (run / "metrics.csv").read_text().splitlines()
    lines = [line + "," for line in lines[:-1]] + [f"{lines[-1]},{np.exp(min(nats, 700))}"]
    (run / "metrics.csv").write_text("\n".join([f"{header},test/web/perplexity", *lines]) + "\n")
    assert write_report(run).is_file()


def test_damaged_scores_are_a_sentence(tmp_path: Path):
    run = a_run(tmp_path / "run")
    (run / "test_scores.parquet").write_bytes(b"no parquet")
    with mistake(UserError, run / "test_scores.parquet"):
        write_report(run)
