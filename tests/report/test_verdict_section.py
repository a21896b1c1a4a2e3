"""The top of a page is the verdict: its colour, its words, and its numbers with their intervals."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np
import pytest

from selectune.costs.saving import Saving
from selectune.report import RunData, write_report
from selectune.report.verdict_plot import cost_accuracy
from selectune.report.verdict_section import in_metric
from selectune.selectors.euds import IGSE
from selectune.verdict.decision import Word
from selectune.verdict.evidence import ARMS, Evidence
from selectune.verdict.verdict import Verdict
from tests.mistakes import names
from tests.report.made_up_selection import choose, made_up_labels, made_up_signals
from tests.report.pages import Page, a_run, a_warmed_up_run
from tests.verdict.cases import CASES, PAYS, Case


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run whose verdict is made of the given evidence."""

    def make(evidence: Evidence) -> Path:
        monkeypatch.setattr("selectune.report.run_data.judge", lambda *_: Verdict(evidence))
        return a_run(tmp_path / "run")

    return make


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_headline_has_the_words_and_the_colour_of_the_verdict(judged, case: Case):
    text = write_report(judged(case.evidence)).read_text(encoding="utf-8")
    page = Page(text)
    assert page.headline == (case.colour, case.headline)
    assert (page.headline[0] == "green") == (case.word == Word.PAYS)
    header = text[text.index("<header>") : text.index("<section>")]
    assert "saved" not in header
    for name, difference in case.evidence.differences():
        assert {difference.value, difference.low, difference.high} <= set(page.figures), name
    for arm in map(case.evidence.arm, ARMS):
        if arm.difference is None and arm.command:
            assert arm.command in text


def test_the_numbers_at_the_top_are_those_of_the_verdict_file(judged):
    run = judged(PAYS)
    page = write_report(run).read_text(encoding="utf-8")
    top = Page(page[: page.index("<h2>Results")]).figures
    verdict = json.loads((run / "verdict.json").read_text())
    for arm in ("all_rows", "random_rows"):
        assert {verdict[arm]["difference"][bound] for bound in ("value", "low", "high")} <= set(top)
    assert verdict["cost"]["flops"] / verdict["all_rows"]["cost"]["flops"] - 1 in top


def test_the_plot_has_the_run_its_arms_and_their_intervals(judged):
    picture = cost_accuracy(RunData.read(judged(PAYS)))
    assert picture is not None
    (axis,) = picture.figure.axes
    points = {tuple(line.get_xydata()[0]) for line in axis.lines if len(line.get_xydata()) == 1}
    expected = {(PAYS.cost.flops, 100 * PAYS.score)} | {
        (arm.cost.flops, 100 * arm.score) for arm in map(PAYS.arm, ARMS) if arm.cost and arm.score
    }
    assert {tuple(np.round(point, 6)) for point in points} >= {tuple(np.round(point, 6)) for point in expected}
    assert names(picture.alt, "random rows: 60.0 %", "95 % interval +1.2 to +5.0")


def test_a_saving_stands_beside_what_it_cost(judged):
    run = RunData.read(judged(CASES["costs accuracy"].evidence))
    assert names(in_metric(run), "−36.1 points", "all rows")
    assert "is not known" in in_metric(RunData.read(a_run(run.run_dir / "another"), finished=False))


def test_all_rows_that_were_run_take_the_place_of_an_estimate_and_their_curve_is_drawn(tmp_path: Path):
    run = a_run(tmp_path / "run")
    whole = a_run(run / "compare" / "all_rows-0")
    (run / "compare" / "compare.json").write_text(json.dumps({"seeds": [0], "margin": 1.0}))
    for folder in (run, whole):
        (folder / "done.json").write_text(json.dumps({"metrics": {"test/accuracy": 0.7421}}))
    measured, own = Saving.read(whole).flops.training, Saving.read(run).flops
    data = RunData.read(run)
    assert data.saving is not None
    assert data.saving.flops.full_training == measured
    assert data.saving.flops.saving == 1 - (own.selection + own.training) / measured
    assert not data.saving.flops.full_is_estimated
    picture = cost_accuracy(data)
    assert picture is not None
    _, curves = picture.figure.axes
    for line in curves.lines:  # what the first seed cost when it was validated, of 600 steps
        at = [own.selection + own.training * step / 600 for step in (200, 400)]
        np.testing.assert_allclose(line.get_xydata(), np.column_stack([at, [61.0, 73.12]]))
    assert len(curves.lines) == 2


def test_what_cannot_be_judged_is_grey_and_says_what_is_not_known(tmp_path: Path):
    warmed_up = a_warmed_up_run(tmp_path / "warmed_up")
    unfinished, selected = a_run(tmp_path / "unfinished"), a_run(tmp_path / "selected")
    (unfinished / "done.json").unlink()
    for name in ("done.json", "saving.json", "metrics.csv"):
        (selected / name).unlink()
    for run in (warmed_up, unfinished, selected):
        text = write_report(run).read_text(encoding="utf-8")
        assert Page(text).headline == ("grey", "Not known yet")
        assert "not known" in html.unescape(text)
        assert not (run / "verdict.json").exists()


@pytest.mark.draws
def test_a_page_with_many_rows_is_below_a_megabyte(tmp_path: Path):
    run = a_run(tmp_path / "run")
    choose(run, IGSE(), made_up_signals(5000), labels=made_up_labels(5000))
    assert write_report(run).stat().st_size < 1_000_000
