"""A comparison shows what each run's files hold, whatever the order of the runs, and says why they do not compare."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import append, read_ledger
from selectune.costs.saving import UNITS
from selectune.report import RunData, write_comparison
from selectune.report.caveats import caveats
from selectune.report.compared_runs import common_metric, compared_runs
from selectune.report.comparison import MAX_DRAWN
from selectune.report.comparison_plots import drawable, front_of, metric_against_cost
from selectune.report.drawing import png
from selectune.selectors.euds import IGSE
from tests.costs.records import record
from tests.mistakes import names
from tests.report.made_up_selection import choose, made_up_labels, made_up_signals
from tests.report.pages import CONFIG, NASTY, Page, a_run, a_warmed_up_run


def a_run_of(run: Path, accuracy: float, train_flops: float, **manifest: Any) -> Path:
    """A run that trained for so many FLOPs, a tenth of a second each TFLOP, and came to an accuracy."""
    a_run(run, **manifest)
    (run / "cost.jsonl").unlink()
    cost = {"flops": train_flops, "device_s": train_flops / 1e13, "wall_s": train_flops / 1e13, "examples": 19_200}
    append(run / "cost.jsonl", [record("score", flops=1e12, device_s=0.125), record("train", **cost)])
    compute_saving(read_ledger(run / "cost.jsonl"), 6_400, 40_000, 650_000, 4_100_000, epochs=3).write(run)
    (run / "metrics.csv").write_text(
        "epoch,step,train/loss,val/accuracy,test/accuracy,test/macro_f1,test/majority_accuracy\n"
        f"0,9,2.5,,,,\n0,19,2.25,,,,\n0,19,,0.5,,,\n1,39,,{accuracy},,,\n1,40,,,{accuracy},0.3125,0.1136\n"
    )
    return run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Cheap and poor, dear and good, dearer and no better."""
    figures = {"cheap": (0.6, 2e12), "good": (0.75, 9e12), "dear": (0.75, 2e13)}
    return [a_run_of(tmp_path / name, *given) for name, given in figures.items()]


def compared(runs: list[Path]):
    return compared_runs([RunData.read(run) for run in runs])


def caveats_of(runs: list[Path]) -> str:
    return " ".join(caveats(compared(runs)))


def change(run: Path, name: str, **changed: Any) -> None:
    (run / name).write_text(json.dumps(json.loads((run / name).read_text()) | changed))


def test_the_figures_are_those_of_the_runs(runs: list[Path], tmp_path: Path):
    text = write_comparison(runs, tmp_path / "out").read_text(encoding="utf-8")
    shown = set(Page(text).figures)
    for run in runs:
        saving = json.loads((run / "saving.json").read_text())
        for unit in UNITS:
            terms = saving[unit]
            assert {terms[name] for name in ("selection", "training", "saving", "shared")} <= shown
            assert terms["selection"] + terms["training"] in shown
        spent = {one.stage: one for one in read_ledger(run / "cost.jsonl")}
        assert {spent["train"].flops, spent["train"].device_s, spent["score"].flops} <= shown
        assert f"selectune fit --config {run / 'config.yaml'} --output NEW" in text
    assert {0.6, 0.75, 0.3125, 0.1136, 6_400, 650_000, 0} <= shown
    assert "IGSE (combine box)" in text
    assert "keep 0.16" in text
    assert "TextClassification on docstrings" in text


def test_the_front_is_named_whatever_the_order_of_the_runs(runs: list[Path], tmp_path: Path):
    for order in permutations(runs):
        for unit in UNITS:
            assert [run.name for run in front_of(compared(list(order)), unit, "test/accuracy")] == ["cheap", "good"]
    text = write_comparison(runs, tmp_path / "out").read_text(encoding="utf-8")
    assert Page(text).headline == ("grey", "Best for their cost: cheap and good in FLOPs and device time")
    assert "Pareto front in FLOPs, from cheap to expensive: 1 cheap: 60.0" in text


def test_the_picture_has_a_dot_for_each_run_and_the_front_as_a_line(runs: list[Path]):
    figure, alt = metric_against_cost(compared(runs), "test/accuracy")
    for axis, unit in zip(figure.axes, UNITS):
        front, *dots = axis.lines
        points = [(run.total(unit), 100 * run.data.metrics["test/accuracy"]) for run in compared(runs)]
        assert [tuple(dot.get_xydata()[0]) for dot in dots] == points
        assert [tuple(point) for point in front.get_xydata()] == points[:2]
        assert [text.get_text() for text in axis.texts] == ["1", "2", "3"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Pareto front", "1 cheap", "2 good"]
    assert "3 dear 75.0 % (over an unknown number of rows) for 21.0" in alt.replace("\N{NO-BREAK SPACE}", " ")
    assert alt.count("from cheap to expensive: 1 cheap and 2 good.") == 2
    assert png(figure).startswith(b"\x89PNG")


def test_less_of_a_loss_is_better(runs: list[Path]):
    for run, loss in zip(runs, (3.0, 2.0, 2.5)):
        (run / "metrics.csv").write_text(f"epoch,step,test/loss\n0,9,{loss}\n")
    assert common_metric(compared(runs)) == "test/loss"
    assert [run.name for run in front_of(compared(runs), "flops", "test/loss")] == ["cheap", "good"]
    metric_against_cost(compared(runs), "test/loss")


def test_every_picture_has_words_and_a_file_and_nothing_is_fetched(runs: list[Path], tmp_path: Path):
    choose(runs[0], IGSE(), made_up_signals(200), labels=made_up_labels(200))
    out = tmp_path / "out"
    text = write_comparison(runs, out).read_text(encoding="utf-8")
    page = Page(text)
    files = {file.stem for file in out.glob("figures/*.png")}
    assert files >= {"curves", "figure_against_cost", "run1-scores", "run1-classes"}
    assert files >= {f"run{number}-waterfall-{unit}" for number in (1, 2, 3) for unit in UNITS}
    assert len(page.pictures) == len(files)
    assert page.without_words == page.fetched == []
    assert page.scripts == 0
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"@import|url\((?!#)|https?:", text)


def test_links_to_the_runs_reports_are_relative_and_lead_there(runs: list[Path], tmp_path: Path):
    (runs[0] / "report.html").write_text("its own")
    page = Page(write_comparison(runs, tmp_path / "a" / "b").read_text(encoding="utf-8"))
    assert page.links == ["../../cheap/report.html"]
    assert (tmp_path / "a" / "b" / page.links[0]).read_text() == "its own"


def test_pictures_of_many_selections_are_left_to_the_runs_own_reports(tmp_path: Path):
    runs = [a_run_of(tmp_path / f"run{number}", 0.5, 1e12) for number in range(MAX_DRAWN + 1)]
    choose(runs[0], IGSE(), made_up_signals(100))
    text = write_comparison(runs, tmp_path / "all").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("all/figures/*scores.png"))
    assert f"<pre>selectune report {runs[0]}</pre>" in text
    write_comparison(runs[:-1], tmp_path / "most")
    assert list(tmp_path.glob("most/figures/*scores.png"))


def test_runs_that_are_alike_have_no_caveats(runs: list[Path], tmp_path: Path):
    assert caveats_of(runs) == ""
    assert "Nothing that is known speaks against comparing these runs." in write_comparison(
        runs, tmp_path / "out"
    ).read_text("utf-8")


def test_what_does_not_compare_is_told_with_who_has_what(runs: list[Path]):
    (runs[1] / "config.yaml").write_text(CONFIG.replace("max_eval_rows: null", "max_eval_rows: 500"))
    assert names(caveats_of(runs), "held-out", "data.max_eval_rows", "none in 1 cheap and 3 dear", "500 in 2 good")
    (runs[1] / "config.yaml").write_text(CONFIG + "warm_up: {max_epochs: 1}\n")
    assert names(caveats_of(runs), "warm-ups")
    (runs[1] / "config.yaml").write_text(CONFIG.replace("seed_everything: 0", "seed_everything: 1"))
    change(runs[1] / "selection", "manifest.json", pool_fingerprint="77aa" * 8)
    told = caveats_of(runs)
    assert names(told, "pools", "c4d1e88bc4d1 in 1 cheap and 3 dear", f"{'77aa' * 3} in 2 good")
    assert names(told, "seed", "0 in 1 cheap and 3 dear", "1 in 2 good")


def test_other_held_out_rows_show_in_their_largest_class(runs: list[Path]):
    file = runs[2] / "metrics.csv"
    file.write_text(file.read_text().replace("0.1136", "0.25"))
    assert names(caveats_of(runs), "largest class", "0.1136 in 1 cheap and 2 good", "0.25 in 3 dear")


def test_other_epochs_devices_and_versions_are_told(runs: list[Path]):
    change(runs[0], "saving.json", epochs=1.5)
    (runs[1] / "cost.jsonl").unlink()
    append(runs[1] / "cost.jsonl", [record("train", device="cuda:0", commit="1" * 40)])
    told = caveats_of(runs)
    assert names(told, "epochs", "1.5 in 1 cheap", "3 in 2 good and 3 dear")
    assert names(told, "1 x cpu in 1 cheap and 3 dear", "1 x cuda in 2 good")
    assert names(told, "versions", "code")


def test_an_unfinished_run_is_told_and_left_out_of_the_front(runs: list[Path], tmp_path: Path):
    (runs[1] / "done.json").unlink()
    assert names(caveats_of(runs), "2 good", "done.json")
    assert [run.name for run in front_of(compared(runs), "flops", "test/accuracy")] == ["cheap", "dear"]
    text = write_comparison(runs, tmp_path / "out").read_text(encoding="utf-8")
    assert "2 good<small>not finished</small>" in text
    assert any(names(note, "Not drawn", "2 good") for note in text.split("<p"))


def test_a_run_that_has_only_begun_has_its_place(runs: list[Path], tmp_path: Path):
    begun = tmp_path / "begun"
    append(begun / "cost.jsonl", [record("prepare")])
    text = write_comparison([begun, *runs], tmp_path / "out").read_text(encoding="utf-8")
    assert names(text, "1 begun")
    assert any(names(note, "config.yaml", "1 begun") for note in text.split("<p"))
    assert not drawable(compared([begun]), "flops", "test/accuracy")
    assert "Not known" in write_comparison([begun], tmp_path / "x").read_text("utf-8")


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path):
    runs = [a_run_of(tmp_path / folder / "sst2", 0.5, 1e12) for folder in ("monday", "tuesday")]
    assert [run.label for run in compared(runs)] == ["1 monday/sst2", "2 tuesday/sst2"]


@pytest.fixture
def warmed_up(tmp_path: Path) -> list[Path]:
    """A choice to warm up on, one at random of as many tokens, and no warm-up; the last is much worse."""
    gotd = a_warmed_up_run(tmp_path / "gotd", "GOTD", 50_000, 0.75)
    plain = a_warmed_up_run(tmp_path / "random", "Random", 50_000, 0.7)
    bare = a_warmed_up_run(tmp_path / "bare", accuracy=0.5)
    for run, lost in ((plain, ("score", "solve")), (bare, ("score", "solve", "warm_up"))):
        records = [one for one in read_ledger(run / "cost.jsonl") if one.part == "fit" or one.stage not in lost]
        (run / "cost.jsonl").unlink()
        append(run / "cost.jsonl", records)
        whole = compute_saving(records, 6_400, 6_400, 650_000, 650_000, epochs=3)
        warm_up = compute_saving(records, 500, 40_000, 50_000, 4_000_000, part="warm_up")
        replace(whole, warm_up=warm_up if run is plain else None).write(run)
    (bare / "warm_up" / "selection" / "manifest.json").unlink()
    (bare / "config.yaml").write_text(CONFIG.replace(", keep: 0.16", ""))
    return [gotd, plain, bare]


def test_runs_that_differ_in_their_warm_up_are_charged_for_it(warmed_up: list[Path], tmp_path: Path):
    found = compared(warmed_up)
    train, warming = 9.2e12, 2e8 * 50_000
    assert [run.total("flops") for run in found] == [train + 6.3e12 + 3.1e10 + warming, train + warming, train]
    assert [run.selector for run in found] == ["GOTD in the warm-up", "Random in the warm-up", "none"]
    assert [run.budget for run in found] == [
        *["everything, keep rows 500 in the warm-up"] * 2,
        "everything, no warm-up",
    ]
    assert [run.left_out("device_s") for run in found] == [6.1] * 3
    assert [run.name for run in front_of(found, "flops", "test/accuracy")] == ["bare", "random", "gotd"]
    text = write_comparison(warmed_up, tmp_path / "out").read_text(encoding="utf-8")
    assert {run.total(unit) for run in found for unit in UNITS} <= set(Page(text).figures)
    assert {run.warm_up(unit) for run in found for unit in UNITS} <= set(Page(text).figures)
    assert "The total is selection, warm-up and training." in text
    assert "GOTD in the warm-up" in text
    assert names(text, "warm-ups", "(1 gotd; 2 random; 3 bare)")
    assert not names(caveats_of(warmed_up), "pools")


def test_a_warm_up_that_all_share_is_in_no_total(warmed_up: list[Path], tmp_path: Path):
    for alike in (warmed_up[:1], [warmed_up[0]] * 2, warmed_up[2:]):
        assert {run.total("flops") for run in compared(alike)} == {9.2e12}
        assert not names(caveats_of(alike), "warm-ups")
    text = write_comparison([warmed_up[0]] * 2, tmp_path / "out").read_text(encoding="utf-8")
    assert "The total is selection and training." in text
    assert "GOTD in the warm-up" in text


def test_a_spared_choice_for_the_warm_up_is_charged_and_an_unknown_one_is_unknown(warmed_up: list[Path]):
    records = read_ledger(warmed_up[0] / "cost.jsonl")
    before = [run.total("flops") for run in compared(warmed_up)]
    (warmed_up[0] / "cost.jsonl").unlink()
    append(warmed_up[0] / "cost.jsonl", [replace(one, cached=one.stage == "score") for one in records])
    assert [run.total("flops") for run in compared(warmed_up)] == before
    (warmed_up[1] / "cost.jsonl").unlink()
    assert [run.total("flops") for run in compared(warmed_up)] == [before[0], None, before[2]]


def test_settings_that_differ_are_listed(runs: list[Path], tmp_path: Path):
    (runs[2] / "config.yaml").write_text(CONFIG.replace("keep: 0.16", "keep: 0.5"))
    text = write_comparison(runs, tmp_path / "out").read_text(encoding="utf-8")
    assert "<td>0.16 in 1 cheap and 2 good; 0.5 in 3 dear</td>" in text
    assert "Their settings are the same." not in text


def test_what_people_wrote_is_escaped(runs: list[Path], tmp_path: Path):
    nasty = NASTY.replace("/", "")
    (runs[0] / "config.yaml").write_text(json.dumps({"data": {"class_path": nasty, "init_args": {nasty: nasty}}}))
    change(runs[1] / "selection", "manifest.json", selector={"class": NASTY, "arguments": {NASTY: NASTY}})
    runs[2] = runs[2].rename(tmp_path / nasty)
    text = write_comparison(runs, tmp_path / "out").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
