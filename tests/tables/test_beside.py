"""Made-up tables beside made-up published figures: by budget, by metric of a task, and as means over tasks."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selectune.common.errors import UserError
from selectune.tables.beside import Comparison, beside, compared, write_comparisons
from selectune.tables.blocks import Block, Bullets, Cells, Heading, Text
from selectune.tables.formats import SYMBOLS, html, latex, markdown
from selectune.tables.grid import NO_BUDGET, Cell
from selectune.tables.page import cells_of, page
from selectune.tables.published import COLUMNS, Figures, Published, check_figures, read_published
from selectune.tables.reading import read_table
from selectune.tables.results import Result
from selectune.tables.summary import Group, summarise
from selectune.tables.task_mean import mean_over_tasks
from selectune.verdict.evidence import Cost
from selectune.verdict.judged import Judged
from selectune.verdict.metric_kinds import MEAN
from tests.conftest import REPOSITORY, Here
from tests.mistakes import mistake
from tests.tables.conftest import Write
from tests.tables.reading import read_csv

TOXIC, LIKELY, WEB = "tox/toxic_expected_max_toxicity", "tox/toxic_toxicity_probability", "web/perplexity"
# setting, row, column, value, unit
LINES = [
    ("10K", "Ours", "EMT", "0.45", "of 1"),
    ("20K", "Ours", "EMT", "0.41", "of 1"),
    ("10K", "Ours", "P", "0.36", "of 1"),
    ("10K", "Ours", "share", "36", "%"),
    ("10K", "Ours", "PPL", "33.0", "perplexity"),
    ("10K", "Random", "EMT", "0.57", "of 1"),
]
GLUE = [
    ("all", row, column, value, unit)
    for row in ("Ours", "Random")
    for column, value, unit in (
        ("A", "50", "accuracy, %"),
        ("B", "70", "F1, %"),
        ("mean", "60", "mean of several metrics, %"),
    )
]


def file_of(folder: Path, lines: list[tuple[str, ...]]) -> Path:
    with (folder / "figures.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow([*COLUMNS, "caveat"])
        for setting, row, column, value, unit in lines:
            writer.writerow(["made up", "1", setting, row, column, value, "", unit, "Nobody 2000", f"{column} & more."])
    return folder / "figures.csv"


def runs(task: str, method: str, budget: str, by_seed: Mapping[int, Mapping[str, float]]) -> list[Result]:
    """A run a seed with some metrics, the first of which is the headline."""
    made = []
    for seed, metrics in by_seed.items():
        headline, *further = metrics
        row: dict[str, Any] = dict.fromkeys(("tokens_trained_on", "total_flops", "selection_flops"), 2e12)
        row |= {"total_device_s": 30.0, "warnings": "It is 50 % of_it." if method == "gotd" else ""}
        row |= {f"test/{name}": value for name, value in metrics.items()}
        cell = Cell(task, method, budget, seed, Path("nowhere"), {}, headline, further=tuple(further))
        judged = Judged(metrics=metrics, kept_rows=1, pool_rows=4, cost=Cost(2e12, 30.0), n_rows=500)
        made.append(Result(cell, row, 1.0, judged))
    return made


def toxicity() -> list[Result]:
    """Two methods at two budgets, two seeds."""
    return [
        one
        for method, shift in (("random", 0.0), ("gotd", -0.25))
        for budget in ("10000", "20000")
        for one in runs(
            "toxicity", method, budget,
            {seed: {TOXIC: 0.75 + shift + seed / 100, LIKELY: 0.5 + shift, WEB: 31.25 - shift} for seed in (0, 1)},
        )
    ]  # fmt: skip


BY_METRIC = Published(
    "figures.csv", "1", {"toxicity": {TOXIC: "EMT", LIKELY: "P", WEB: "PPL"}}, {"gotd": "Ours", "random": "Random"},
    {10000: "10K", 20000: "20K"},
)  # fmt: skip


@pytest.fixture
def figures(tmp_path: Path) -> Figures:
    return read_published(BY_METRIC, file_of(tmp_path, LINES))


def all_of(groups: list[Group], figures: Figures) -> list[Comparison]:
    return [one for group in groups for one in compared(group, figures)]


def test_each_metric_of_a_task_and_each_budget_has_its_own_figure(figures: Figures) -> None:
    found = {
        (one.group.budget, one.group.metric, one.line.method): one.figure.value
        for one in all_of(summarise(toxicity()), figures)
    }
    assert found == {
        ("10000", TOXIC, "random"): 0.57,
        ("10000", TOXIC, "gotd"): 0.45,
        ("20000", TOXIC, "gotd"): 0.41,
        ("10000", LIKELY, "gotd"): 0.36,
        ("10000", WEB, "gotd"): 33.0,
    }


def test_a_budget_without_a_setting_of_its_own_has_no_figures(figures: Figures) -> None:
    published = replace(BY_METRIC, setting={20000: "20K"})
    found = all_of(summarise(toxicity()), replace(figures, published=published))
    assert {one.group.budget for one in found} == {"20000"}


def test_a_method_without_a_budget_stands_beside_the_figures_of_each(figures: Figures) -> None:
    results = toxicity() + runs("toxicity", "none", NO_BUDGET, {0: {TOXIC: 0.5, LIKELY: 0.5, WEB: 30.0}})
    published = replace(BY_METRIC, methods={"none": "Ours"})
    found = all_of(summarise(results), replace(figures, published=published))
    assert [one.figure.value for one in found if one.group.metric == TOXIC] == [0.45, 0.41]


def test_the_untouched_model_stands_beside_the_figures_of_its_own_setting(tmp_path: Path) -> None:
    before = {f"{name}_before": value for name, value in ((TOXIC, 0.9), (WEB, 34.0))}  # LIKELY was not measured then
    results = [
        replace(one, row=one.row | {f"test/{name}": value for name, value in before.items()},
                judged=replace(one.judged, metrics={**one.judged.metrics, **before}))
        for one in toxicity()
    ]  # fmt: skip
    lines = [*LINES, ("0", "GPT", "EMT", "0.62", "of 1"), ("0", "GPT", "PPL", "34.2", "perplexity")]
    published = replace(BY_METRIC, methods={"untouched": "GPT", "gotd": "Ours"}, untouched="0")
    figures = read_published(published, file_of(tmp_path, lines))
    groups = summarise(results)
    for group in groups:
        first, *others = group.lines
        assert (first.method, first.n, first.flops, first.verdict) == ("untouched", 2, 0.0, None)
        assert first.mean == pytest.approx(0.9)
        assert first.versus_random is not None
        assert first.versus_random.value == pytest.approx(0.9 - 0.755)
        assert first.versus_random.p_holm is None
        assert others[1].versus_random is not None
        assert others[1].versus_random.p_holm == others[1].versus_random.p, "one method alone is compared"
        heads, *cells = cells_of(group)
        assert heads[1:4] == [TOXIC, f"{LIKELY} (%)", WEB]
        assert [row[2] for row in cells] == ["–", "50.0 ± 0.0", "25.0 ± 0.0"]
        assert cells[0][:6] == ["untouched", "0.9 ± 0", "–", "34 ± 0", "2", "0"]
    found = {(one.group.metric, one.line.method): one.figure.value for one in compared(groups[0], figures)}
    assert found == {
        (TOXIC, "untouched"): 0.62, (TOXIC, "gotd"): 0.45, (LIKELY, "gotd"): 0.36, (WEB, "untouched"): 34.2,
        (WEB, "gotd"): 33.0,
    }  # fmt: skip
    said = beside(compared(groups[0], figures))[0]
    assert isinstance(said, Text)
    assert "Nobody 2000, 0 and 10K." in said.text
    trained = runs("reviews", "random", "10000", {0: {"accuracy": 0.5}})
    tasks = [(group.task, group.lines[0].method) for group in summarise(trained + results)]
    assert tasks == [("reviews", "random"), ("toxicity", "untouched"), ("toxicity", "untouched")], (
        "in the table's order"
    )
    for config in ({"warm_up": {"max_epochs": 1}}, {"model": {"checkpoint": "another"}}):
        first = replace(results[0], cell=replace(results[0].cell, config=config))
        assert summarise([first, *results[1:]])[0].lines[0].method == "random", "they do not all start from it"


def test_the_difference_is_ours_less_theirs_in_the_unit_of_theirs(tmp_path: Path) -> None:
    published = replace(BY_METRIC, tasks={"toxicity": {LIKELY: "P"}}, setting="10K")
    of_one = read_published(published, file_of(tmp_path, LINES))
    of_hundred = read_published(replace(published, tasks={"toxicity": {LIKELY: "share"}}), tmp_path / "figures.csv")
    group = summarise(toxicity())[0]
    (fraction,), (percent,) = compared(group, of_one), compared(group, of_hundred)
    assert (fraction.ours, fraction.less) == pytest.approx((0.25, 0.25 - 0.36))
    assert (percent.ours, percent.less) == pytest.approx((25.0, 25.0 - 36))
    rows = [one.row("") for one in (fraction, percent)]
    for row, scale in zip(rows, (1, 100)):
        assert row["difference"] == pytest.approx(row["ours"] - row["published"])
        assert row["versus_random"] == pytest.approx(scale * -0.25)
        assert row["low"] <= row["versus_random"] <= row["high"]
        assert row["n"] == 2
        assert row["n_rows"] is None, "the test split's rows are not those of an evaluation"


def test_p_is_that_of_the_metric_corrected_among_its_methods() -> None:
    results = toxicity() + [
        one
        for one in runs("toxicity", "dsir", "10000", {s: {TOXIC: 0.6 + s / 9, LIKELY: 0.4, WEB: 30} for s in (0, 1)})
    ]
    for group in (first := summarise(results)[0], *first.further):
        gaps = [line.versus_random for line in group.lines if line.versus_random is not None]
        smallest, largest = sorted(gaps, key=lambda gap: gap.p)
        assert smallest.p_holm == pytest.approx(min(1.0, 2 * smallest.p))
        assert largest.p_holm == pytest.approx(max(largest.p, min(1.0, 2 * smallest.p)))


def blocks_of(figures: Figures) -> tuple[list[Block], list[Comparison]]:
    groups = summarise(toxicity())
    under = [beside(compared(group, figures)) for group in groups]
    told = "Protocol `published`: the checkpoint of {it} is chosen on test, 100 %."
    return page(groups, None, 8, 8, "data.keep_rows", "", under, told), all_of(groups, figures)


def test_all_formats_say_the_same(figures: Figures, tmp_path: Path) -> None:
    blocks, found = blocks_of(figures)
    in_markdown, in_latex, in_html = markdown(blocks), latex(blocks), html(blocks)

    def as_latex(text: str) -> str:
        for letter in "{}_%&#$":
            text = text.replace(letter, f"\\{letter}")
        for symbol, command in SYMBOLS.items():
            text = text.replace(symbol, command)
        return text

    for block in blocks:
        match block:
            case Cells(head, rows):
                for cells in [head, *rows]:
                    assert f"| {' | '.join(cells)} |" in in_markdown
                    assert " & ".join(map(as_latex, cells)) in in_latex
                    for cell in cells:
                        assert f">{cell}<" in in_html
            case Text(text) | Heading(text):
                words = text.replace("`", "")
                assert text in in_markdown
                assert as_latex(words) in in_latex.replace(r"\texttt{published}", "published")
                told = in_html.replace("<code>", "").replace("</code>", "")
                assert words.replace("&", "&amp;") in told
            case Bullets(items):
                assert in_html.count("<li>") == in_latex.count(r"\item ") >= len(items)
    write_comparisons(found, tmp_path / "published.csv", "published")
    lines = read_csv(tmp_path / "published.csv")
    assert len(lines) == len(found) == 5
    for line, one in zip(lines, found):
        assert (line["caveat"], line["protocol"]) == (one.figure.caveat, "published")
        shown = one.shown()
        digits = 3 if line["unit"] == "of 1" else 1
        assert shown[1].startswith(f"{float(line['ours']):.{digits}f} ±")
        assert float(shown[4].replace("\N{MINUS SIGN}", "-")) == pytest.approx(float(line["difference"]), abs=0.051)
        assert f"| {' | '.join(shown)} |" in in_markdown


def glue(random_b: bool = True) -> list[Result]:
    """Two tasks, one of which is in per cent already, with a method that is done on one alone."""
    accuracy, f1 = {0: 0.4, 1: 0.5}, {0: 60.0, 1: 70.0}
    made = [
        *runs("a", "gotd", "0.5", {seed: {"accuracy": value} for seed, value in accuracy.items()}),
        *runs("a", "random", "0.5", {seed: {"accuracy": value - 0.1} for seed, value in accuracy.items()}),
        *runs("a", "dsir", "0.5", {0: {"accuracy": 0.3}}),
        *runs("b", "gotd", "0.5", {seed: {"f1": value} for seed, value in f1.items()}),
    ]
    return made + (runs("b", "random", "0.5", {seed: {"f1": value} for seed, value in f1.items()}) if random_b else [])


MEANS = Published(
    "figures.csv", "1", {"a": "A", "b": "B"}, {"gotd": "Ours", "random": "Random", "dsir": "Ours"}, "all", "mean"
)


def test_a_mean_over_tasks_is_that_of_each_seed_and_its_costs_are_sums(tmp_path: Path) -> None:
    (group,) = mean_over_tasks(glue(), ["a", "b"])
    lines = {line.method: line for line in group.lines}
    assert lines.keys() == {"gotd", "random"}, "a mean is there only where all of its tasks are"
    assert lines["gotd"].mean == pytest.approx((0.5 + 0.6) / 2)
    assert (lines["gotd"].n, lines["gotd"].flops) == (2, 4e12)
    gap = lines["gotd"].versus_random
    assert gap is not None
    assert (gap.value, gap.over) == (pytest.approx(0.05), "seeds")
    (ours, _) = compared(group, read_published(MEANS, file_of(tmp_path, GLUE)))
    assert (ours.ours, ours.figure.value, ours.less) == pytest.approx((55.0, 60.0, -5.0))


def test_a_mean_takes_the_seeds_that_all_tasks_have() -> None:
    results = [one for one in glue() if (one.cell.task, one.cell.seed) != ("b", 0)]
    (group,) = mean_over_tasks(results, ["a", "b"])
    assert [line.n for line in group.lines] == [1, 1]
    assert group.lines[0].mean == pytest.approx((0.5 + 0.7) / 2)
    assert [line.method for line in mean_over_tasks(glue(random_b=False), ["a", "b"])[0].lines] == ["gotd"]
    assert mean_over_tasks([one for one in glue() if one.cell.task == "a"], ["a", "b"]) == []
    assert group.metric == MEAN


WRONG = {
    "per cent of a loss": (replace(MEANS, tasks={"a": "A"}, mean=""), {"a": "web/loss"}, ["A", "accuracy, %"]),
    "another kind of metric": (replace(MEANS, tasks={"a": "B"}, mean=""), {"a": "accuracy"}, ["B", "F1, %"]),
    "a mean over fewer tasks": (replace(MEANS, tasks={"a": "A"}), {"a": "accuracy"}, ["mean", "B"]),
    "a mean of a loss": (replace(MEANS, tasks={}), {"a": "accuracy", "b": "b/loss"}, ["b/loss", "mean"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_figures_that_do_not_compare_are_refused(kind: str, tmp_path: Path) -> None:
    published, headlines, named = WRONG[kind]
    figures = read_published(published, file_of(tmp_path, GLUE))
    with mistake(UserError, *named):
        check_figures(figures, headlines)


def test_a_figure_that_is_no_number_and_a_mean_that_is_not_there_are_refused(tmp_path: Path) -> None:
    file = file_of(tmp_path, [*GLUE, ("all", "Ours", "C", "many", "%")])
    with mistake(UserError, file, "many", "C"):
        read_published(MEANS, file)
    with mistake(UserError, "average", "mean"):
        read_published(replace(MEANS, mean="average"), file_of(tmp_path, GLUE))


def test_a_mean_alone_is_compared_without_figures_of_tasks(tmp_path: Path) -> None:
    figures = read_published(replace(MEANS, tasks={}), file_of(tmp_path, [one for one in GLUE if one[2] == "mean"]))
    check_figures(figures, {"a": "accuracy", "b": "f1"})
    assert [one.less for one in compared(mean_over_tasks(glue(), ["a", "b"])[0], figures)] == pytest.approx([-5, -10])


def test_a_table_writes_its_comparisons_in_every_format(
    finished_table: Path, write: Write, here: Here, grid: dict[str, Any], tmp_path: Path
) -> None:
    """The finished table, to which figures, a further metric and a protocol are added: no run is done again."""
    out = tmp_path / "copy"
    shutil.copytree(finished_table, out)
    lines = [("all", "Band", "A", "50", "accuracy, %"), ("all", "Band", "mean", "50", "mean, %")]
    lines += [("all", "Band", "R", "70", "data reduction, %")]
    file = file_of(tmp_path, lines)
    names = {"figures": str(file), "table": "1", "methods": {"band": "Band"}}
    published = [
        names | {"tasks": {"reviews": {"accuracy": "A", "data_reduction": "R"}}, "setting": {0.25: "all"}},
        names | {"mean": "mean"},
    ]
    tasks = {"reviews": grid["tasks"]["reviews"] | {"more_metrics": ["macro_f1"]}}
    protocols = {"theirs": {"says": "the moon is full.", "changes": [{"set": {"data.keep": 0.25}}]}}
    told = here("table", "--config", write(tasks=tasks, published=published[:1], protocols=protocols), "--output", out)
    assert "0 to do" in told
    (accuracy, reduction) = read_csv(out / "published.csv")
    summary = {(line["method"], line["metric"]): line for line in read_csv(out / "summary.csv")}
    assert summary.keys() == {
        (name, one) for name in ("random", "same_cost", "band") for one in ("accuracy", "macro_f1")
    }
    band = summary["band", "accuracy"]
    assert float(accuracy["ours"]) == pytest.approx(100 * float(band["mean"]))
    assert float(accuracy["difference"]) == pytest.approx(100 * float(band["mean"]) - 50)
    assert float(accuracy["versus_random"]) == pytest.approx(100 * float(band["versus_random"]), abs=1e-6)
    assert (accuracy["p_holm"], accuracy["n"], accuracy["n_rows"]) == (band["p_holm"], "2", "60")
    assert accuracy["total_flops"] == band["total_flops"]
    assert float(reduction["ours"]) == pytest.approx(75, abs=1)
    pages = [(out / f"table.{kind}").read_text() for kind in ("md", "tex", "html")]
    for text in pages:
        for said in ("Nobody 2000", "A ", "moon", "same total cost", f"{float(accuracy['ours']):.1f}", "more."):
            assert said in text
    wrong = {"reviews": grid["tasks"]["reviews"] | {"more_metrics": ["macro_fl"]}}
    assert "'macro_fl'" in here("table", "--config", write(tasks=wrong), "--output", out, code=2)
    with mistake(UserError, "average"):
        read_table(write(published=[published[0], published[1] | {"mean": "average"}])).figures  # noqa: B018
    with mistake(UserError, "mean", "A"):
        read_table(write(published=published[1])).figures  # noqa: B018


TABLES = sorted((REPOSITORY / "configs" / "tables").rglob("*.yaml"))


def test_every_published_table_is_named_by_a_table_of_ours_and_can_be_compared() -> None:
    named = set()
    for file in TABLES:
        for figures in read_table(file).figures:
            named.add((Path(figures.published.figures).name, figures.published.table))
    for file in (REPOSITORY / "results" / "published").iterdir():
        assert {(file.name, line["table"]) for line in read_csv(file)} <= named


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.name)
def test_figures_of_a_checkpoint_that_was_chosen_on_test_come_with_a_switch_and_a_word(file: Path) -> None:
    table = read_table(file)
    caveats = [figure.caveat for figures in table.figures for figure in figures.by_place.values()]
    if any("on the test set" in caveat for caveat in caveats):
        assert table.protocols["published"].changes[0].set == {"data.choose_on_test": True}
