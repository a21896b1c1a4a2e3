"""The verdict of a run in a folder, from its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from selectune.common.run_files import RunFiles
from selectune.report.measured import Measured
from selectune.report.run_data import RunData
from selectune.verdict.evidence import ScoreInterval
from selectune.verdict.judge import headline, judge, read_verdict


def test_the_metric_of_a_run_that_was_not_compared_has_the_interval_of_its_page(finished: Path) -> None:
    known: Measured = RunData.read(finished).measured["test/accuracy"]
    assert known.n_rows is not None
    assert known.bounds is not None
    assert judge(finished).evidence.score_interval == ScoreInterval(known.n_rows, *known.bounds)


def test_without_scores_of_rows_the_ledger_says_how_many_there_were(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    RunFiles(run).row_metrics.unlink()
    assert judge(run).evidence.score_interval == ScoreInterval(60)
    done = json.loads(RunFiles(run).done.read_text())
    several = done["metrics"] | {"test/other/accuracy": 0.5}
    assert judge(run, several).evidence.score_interval is None, "the ledger has the rows of both splits as one number"
    RunFiles(run).costs.unlink()
    assert judge(run).evidence.score_interval is None


def test_the_file_of_a_run_says_what_is_judged(finished: Path) -> None:
    assert read_verdict(finished) == judge(finished)


@pytest.mark.parametrize(
    ("name", "scale", "higher"),
    [
        ("accuracy", "fraction", True),
        ("chemprot/loss", "plain", False),
        ("web/perplexity", "plain", False),
        ("toxicity/expected_max_toxicity", "plain", False),
        ("toxicity/toxic_toxicity_probability", "fraction", False),
        ("ag_news/accuracy_norm", "fraction", True),
    ],
)
def test_less_is_better_of_losses_and_toxicity_whatever_they_are_of(name: str, scale: str, higher: bool) -> None:
    metric = headline([name])
    assert (metric.scale, metric.higher_is_better) == (scale, higher)
