"""The report says what the ledger says, to people, and asks for nothing from outside."""

from __future__ import annotations

import html
import io
import json
import re
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from selectune.common.errors import UserError
from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import append, read_ledger
from selectune.costs.record import Total, totals
from selectune.costs.saving import UNITS, Saving
from selectune.report import RunData, print_summary, write_report
from selectune.selectors.base import Budget
from selectune.selectors.baselines import Random
from selectune.selectors.euds import IGSE
from tests.costs.records import record
from tests.mistakes import mistake, names
from tests.report.made_up_selection import choose, made_up_labels, made_up_signals, put
from tests.report.pages import NASTY, Page, a_run, a_warmed_up_run

OF_EVERY_RUN = {"cost_accuracy", "curves", "waterfall-flops", "waterfall-device_s"}


def test_the_page_asks_for_nothing_from_outside(tmp_path: Path):
    path = write_report(a_run(tmp_path / "run"))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert path == tmp_path / "run" / "report.html"
    assert page.fetched == page.links == []
    assert page.scripts == 0
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text
    assert not re.search(r"https?:", text.replace("https://example.org/docstrings", ""))


def test_every_picture_has_a_text_alternative(tmp_path: Path):
    page = Page(write_report(a_run(tmp_path / "run")).read_text(encoding="utf-8"))
    assert len(page.pictures) == 4
    assert page.without_words == []
    for alt in page.alts[1:3]:
        assert alt.startswith("Training on everything (estimated): ")
        assert "Difference: \N{MINUS SIGN}" in alt


@pytest.mark.draws
def test_the_page_shows_what_was_chosen(tmp_path: Path):
    run = a_run(tmp_path / "run")
    picked = choose(run, IGSE(), made_up_signals(600), labels=made_up_labels(600))
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    kinds = ["Accuracy", "Training", "Training", "Histograms", "Scatter", "Lengths", "Shares", "Learning"]
    assert [alt.split()[0] for alt in page.alts] == kinds
    assert page.without_words == []
    files = {f"data:image/png;base64,{b64encode(file.read_bytes()).decode()}" for file in run.glob("figures/*.png")}
    names = {"scores", "pairs", "lengths", "classes", *OF_EVERY_RUN}
    assert {file.name for file in run.glob("figures/*")} == {f"{name}.png" for name in names}
    assert {picture["src"] for picture in page.pictures} == files
    assert set(page.asked) == {"data:,", *files}
    assert page.rows == {"Kept": 10, "Dropped": 10}
    described = json.loads((run / "selection" / "examples.json").read_text())
    drawn = {
        row["text"]: row["value"] for s in described["signals"].values() for rows in s["rows"].values() for row in rows
    }
    shown = {row: value for row, value in drawn.items() if row in html.unescape(text)}
    assert len(shown) == 20
    assert set(shown.values()) <= set(page.figures)
    assert f"{len(picked.rows)} of 600 rows kept" in text.replace("\N{NO-BREAK SPACE}", " ")


def test_nasty_texts_and_names_are_escaped(tmp_path: Path):
    run = a_run(tmp_path / "run")
    signals = made_up_signals(60)
    picked = Random().select(signals, None, Budget(rows=30), 0)
    put(
        run,
        picked,
        {NASTY: signals["semantic_entropy"], "n_tokens": signals["n_tokens"]},
        np.arange(60) % 2,
        texts_of=lambda rows: [(NASTY, NASTY)] * len(rows),
        names=[NASTY, "$x"],
    )
    text = write_report(run).read_text(encoding="utf-8")
    assert "<script" not in text
    assert f"{NASTY} | <script>" in html.unescape(text)
    assert Page(text).scripts == 0


def test_an_older_run_has_pictures_without_examples(tmp_path: Path):
    run = a_run(tmp_path / "run")
    choose(run, IGSE(), made_up_signals(200), labels=made_up_labels(200), with_examples=False)
    text = write_report(run).read_text(encoding="utf-8")
    assert {file.stem for file in run.glob("figures/*")} - OF_EVERY_RUN == {"scores", "pairs", "lengths"}
    assert "<h3>Examples</h3>" not in text


def test_a_random_selection_has_lengths_and_examples_alone(tmp_path: Path):
    run = a_run(tmp_path / "run")
    signals = made_up_signals(200)
    picked = Random().select(signals, None, Budget(rows=30), 0)
    put(run, picked, {"n_tokens": signals["n_tokens"]})
    text = write_report(run).read_text(encoding="utf-8")
    assert {file.stem for file in run.glob("figures/*")} - OF_EVERY_RUN == {"lengths"}
    assert Page(text).rows == {"Kept": 10, "Dropped": 10}


def test_a_run_without_a_selection_has_no_pictures_of_one(tmp_path: Path):
    run = a_run(tmp_path / "run")
    (run / "selection" / "manifest.json").unlink()
    assert "There is no selection in this run" in write_report(run).read_text(encoding="utf-8")
    assert {file.stem for file in run.glob("figures/*")} == OF_EVERY_RUN


def test_the_figures_are_those_of_the_ledger(tmp_path: Path):
    run = a_run(tmp_path / "run")
    page = Page(write_report(run).read_text(encoding="utf-8"))
    sums = totals(read_ledger(run / "cost.jsonl")).spent
    for total in (*sums.values(), sum(sums.values(), Total())):
        assert {total.flops, total.device_s, total.wall_s} <= set(page.figures)
    saving = json.loads((run / "saving.json").read_text())
    for unit in ("flops", "device_s"):
        terms = {value for name, value in saving[unit].items() if name != "full_is_estimated"}
        assert terms <= set(page.figures)
    assert {6_400, 40_000, 650_000, 4_100_000, 0.7421, 0.7102, 0.1136, 0.7312} <= set(page.figures)


def test_what_people_wrote_is_escaped(tmp_path: Path):
    run = a_run(tmp_path / NASTY.replace("/", ""), source=NASTY, selector={"class": NASTY, "arguments": {NASTY: NASTY}})
    (run / "config.yaml").write_text(NASTY)
    (run / "metrics.csv").write_text(f"test/{NASTY.replace(chr(34), '')}\n0.5\n")
    append(run / "cost.jsonl", [record("score", flops_method=NASTY, device=NASTY, commit=NASTY, energy_source=NASTY)])
    text = write_report(run).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_a_choice_for_the_warm_up_alone_is_told_the_same_way_everywhere(tmp_path: Path):
    run = a_warmed_up_run(tmp_path / "run")
    text = html.unescape(write_report(run).read_text(encoding="utf-8")).replace("\N{NO-BREAK SPACE}", " ")
    page = Page(text)
    assert page.headline == ("grey", "Not known yet")
    assert "Warm-up rows" in text
    assert {500, 40_000, 50_000, 4_000_000} <= set(page.figures)
    assert "(100.0 %)" not in text
    for described in page.alts[:2]:
        assert described.startswith("Warming up on the whole pool (estimated): ")
        words = [
            "Scoring the pool: ",
            "Warming up on the selected rows: ",
            "Selecting and warming up: ",
            "Difference: ",
        ]
        assert sorted(words, key=described.index) == words
        assert "Fine-tuning, for comparison: " in described
        assert "Training on" not in described
    saving = Saving.read(run)
    assert {saving.main.flops.saving, saving.main.flops.full_training, saving.flops.training} <= set(page.figures)
    assert text.count("Saving = 1 - (selection + warming up on the subset)") == 1
    assert "Saving = 1 - (selection + training" not in text
    assert "which training on everything needs as well" not in text
    console = Console(file=io.StringIO(), width=100)
    print_summary(run, console)
    assert "Warm-up rows kept: 500 of 40,000" in console.file.getvalue()


def test_before_anything_is_trained_the_manifest_tells_what_to_warm_up_on(tmp_path: Path):
    run = a_warmed_up_run(tmp_path / "run")
    (run / "saving.json").unlink()
    assert RunData.read(run).sizes == {"Warm-up rows": (500, 40_000), "Warm-up tokens": (50_000, 4_100_000)}


def test_a_warm_ups_choice_beside_a_selection_has_a_waterfall_of_its_own(tmp_path: Path):
    run = a_warmed_up_run(tmp_path / "run")
    warm_up = Saving.read(run).warm_up
    append(run / "cost.jsonl", [record("score", flops=2e12, device_s=3.0)])
    records = read_ledger(run / "cost.jsonl")
    replace(compute_saving(records, 6_400, 40_000, 650_000, 4_100_000), warm_up=warm_up).write(run)
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert [alt.partition(" (")[0] for alt in page.alts[1:5]] == [
        "Training on everything", "Training on everything",
        "Warming up on the whole pool", "Warming up on the whole pool",
    ]  # fmt: skip
    assert {f"waterfall-warm_up-{unit}" for unit in UNITS} < {file.stem for file in run.glob("figures/*")}
    assert {6_400, 40_000} <= set(page.figures)
    assert len(page.ids) == len(set(page.ids))


def test_a_selection_that_cost_more_than_all_rows_says_so_without_judging(tmp_path: Path):
    run = a_run(tmp_path / "run")
    append(run / "cost.jsonl", [record("score", flops=1e15, device_s=9e4)])
    compute_saving(read_ledger(run / "cost.jsonl"), 6_400, 40_000, 650_000, 4_100_000).write(run)
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    assert page.headline == ("grey", "Not known yet")
    assert "Difference: +" in "".join(page.alts)
    assert Saving.read(run).flops.full_training is not None


def test_avoided_costs_stand_below_the_sum(tmp_path: Path):
    run = a_run(tmp_path / "run")
    append(run / "cost.jsonl", [record("tune_scorer", cached=True, flops=123_456_789)])
    text = write_report(run).read_text(encoding="utf-8")
    assert text.index("Total spent") < text.index("Avoided, not spent") < text.index('<data value="123456789">')


def test_energy_that_was_measured_is_added_up(tmp_path: Path):
    run = a_run(tmp_path / "run")
    assert "Energy of" not in write_report(run).read_text(encoding="utf-8")
    measured = [
        record(stage, energy_j=joules, energy_source="a meter")
        for stage, joules in (("score", 250.5), ("train", 1000.25))
    ]
    append(run / "cost.jsonl", [*measured, record("solve", energy_j=9.0, cached=True)])
    text = write_report(run).read_text(encoding="utf-8")
    assert 'Energy of scoring the pool, training: <data value="1250.75">' in text
    assert "(a meter)" in text


def test_caveats_stand_in_the_page(tmp_path: Path):
    run = a_run(tmp_path / "run")
    killed = record("train", finished=False, flops=None, commit="abc-dirty")
    append(run / "cost.jsonl", [killed])
    with (run / "cost.jsonl").open("a") as file:
        file.write('{"schema": 1, "sta')
    text = write_report(run).read_text(encoding="utf-8")
    torn = (run / "cost.jsonl", "torn")
    for named in (
        ("Training", "attempt 1", "rank 0"),
        ("FLOPs", "unknown"),
        (killed.commit, record("train").commit),
        torn,
    ):
        assert any(names(line, *named) for line in text.splitlines()), named
    append(run / "cost.jsonl", [record("evaluate", device="cuda:1")])
    assert not names(write_report(run).read_text(encoding="utf-8"), *torn)


@pytest.mark.parametrize(
    "missing", ["saving.json", "cost.jsonl", "metrics.csv", "config.yaml", "selection/manifest.json"]
)
def test_what_is_missing_is_left_out_with_a_sentence(tmp_path: Path, missing: str):
    run = a_run(tmp_path / "run")
    (run / missing).unlink()
    assert missing.rpartition("/")[2].partition(".")[0] in write_report(run).read_text(encoding="utf-8").lower()
    print_summary(run, Console(file=io.StringIO()))


def test_an_empty_run_has_a_report(tmp_path: Path):
    assert "is not known" in write_report(tmp_path).read_text(encoding="utf-8")


def test_a_run_that_is_not_there_is_a_sentence(tmp_path: Path):
    with mistake(UserError, tmp_path / "nowhere"):
        write_report(tmp_path / "nowhere")


def test_the_terminal_says_the_same_in_80_columns(tmp_path: Path):
    run = a_run(tmp_path / "run", warnings=["[bold]brackets[/bold]"])
    out = io.StringIO()
    print_summary(run, Console(file=out, width=80))
    told = out.getvalue()
    assert max(map(len, told.splitlines())) <= 80
    assert "…" not in told
    for words in (
        "Scoring the pool",
        "6.30 TFLOP",
        "6,400 of 40,000 (16.0 %)",
        "test/accuracy: 0.7421",
        "Not known yet",
    ):
        assert words in told.replace("\N{NO-BREAK SPACE}", " ")
    assert "[bold]brackets[/bold]" in told
