"""Published figures beside those of a table, and tables in other formats."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from selectune.common.errors import UserError
from selectune.tables.beside import beside, compared
from selectune.tables.formats import html, latex, markdown
from selectune.tables.page import group_blocks
from selectune.tables.published import CAVEAT, COLUMNS, Published, read_published
from selectune.tables.reading import read_table
from selectune.tables.summary import Group, Line
from tests.conftest import REPOSITORY
from tests.mistakes import mistake

PUBLISHED = REPOSITORY / "results" / "published"
GOTD = Published("", "3", {"chemprot": "ChemProt"}, {"none": "BERT", "gotd": "GOT-D"})
OFF = {"3": 0.08, "4": 0.26}  # most that a mean is off that a table prints, its own figures averaged
GROUP = Group(
    "chemprot", "1000", "micro_f1",
    [Line(name, "1000", mean, 0.01, 3, 900.0, 1e9, 0.0, 10.0, None) for name, mean in (("none", 0.7), ("gotd", 0.83))],
)  # fmt: skip


def test_ours_stand_beside_theirs_with_the_difference_and_the_source() -> None:
    figures = read_published(GOTD, PUBLISHED / "gotd.csv")
    text = markdown(beside(compared(GROUP, figures)))
    assert "| none | 70.0 ± 1.0 | 3 | 79.33 ± 0.66 | \N{MINUS SIGN}9.3 |" in text
    assert "| gotd | 83.0 ± 1.0 | 3 | 81.34 ± 0.68 | +1.7 |" in text
    assert "Table 3" in text
    assert "choose the checkpoint on the test set" in text
    assert "50K selected" in text
    assert beside(compared(replace(GROUP, task="other"), figures)) == []


@pytest.mark.parametrize("file", sorted(PUBLISHED.iterdir()), ids=lambda file: file.name)
def test_each_published_number_has_its_place_and_its_source(file: Path) -> None:
    with file.open(newline="") as handle:
        lines = list(csv.DictReader(handle))
    assert tuple(lines[0]) == (*COLUMNS, CAVEAT)
    places = [(line["table"], line["setting"], line["row"], line["column"]) for line in lines]
    assert len(set(places)) == len(places)
    for line in lines:
        float(line["value"])
        assert all(line[name] for name in ("table", "setting", "row", "column", "unit"))
        assert "20" in line["source"], "a year"


def test_means_over_the_tasks_of_a_published_table_are_those_of_its_figures() -> None:
    with (PUBLISHED / "gotd.csv").open(newline="") as handle:
        lines = [line for line in csv.DictReader(handle) if line["table"] in "234"]
    checked = 0
    for line in (line for line in lines if line["column"] == "mean"):
        key = [line[name] for name in ("table", "setting", "row")]
        of = [float(one["value"]) for one in lines if [one[name] for name in ("table", "setting", "row")] == key]
        values = of[:-1] if of[-1] == float(line["value"]) else of
        off = OFF.get(line["table"], 0.01)
        assert sum(values) / len(values) == pytest.approx(float(line["value"]), abs=off), key
        checked += 1
    assert checked == 17


MISTAKES = {
    "no such table": (replace(GOTD, table="99"), ["99"]),
    "no such column": (replace(GOTD, tasks={"chemprot": "Chem"}), ["Chem", "ChemProt"]),
    "no such row": (replace(GOTD, methods={"none": "ELMo"}), ["ELMo", "BERT"]),
    "several settings": (replace(GOTD, table="4", tasks={"a": "CoLA"}), ["50K selected, all labels"]),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_figures_that_are_not_there_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    published, named = MISTAKES[kind]
    with mistake(UserError, *named):
        read_published(published, PUBLISHED / "gotd.csv")
    with mistake(UserError, tmp_path / "none.csv"):
        read_published(published, tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with mistake(UserError, tmp_path / "other.csv", "columns"):
        read_published(published, tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("{table: '3'}", ["figures"]),
        ("{figures: a.csv, table: 3}", ["table"]),
        ("{figures: a.csv, table: '3', tasks: {other: X}, methods: {random: Y}}", ["other", "sciie"]),
        ("{figures: a.csv, table: '3', tasks: {sciie: X}, methods: {}}", ["methods"]),
        ("{figures: a.csv, table: '3', rows: {sciie: X}}", ["rows"]),
        ("{figures: a.csv, table: '3', tasks: {sciie: 3}, methods: {random: Y}}", ["sciie", "3"]),
        ("{figures: a.csv, table: '3', tasks: {sciie: {accuracy: X}}, methods: {random: Y}}", ["accuracy", "macro_f1"]),
        ("{figures: a.csv, table: '3', tasks: {sciie: X}, methods: {random: 7}}", ["random", "7"]),
        ("{figures: a.csv, table: '3', tasks: {sciie: X}, methods: {random: Y}, setting: {9: a}}", ["9", "1000"]),
        ("{figures: a.csv, table: '3', tasks: {sciie: X}, methods: {random: Y}, setting: [a]}", ["setting", "'a'"]),
        ("{figures: a.csv, table: '3', tasks: {sciie: X}, methods: {random: Y}, mean: [a]}", ["mean", "'a'"]),
        ("[{figures: a.csv, table: '3'}]", ["tasks"]),
        ("{figures: a.csv, table: '3', tasks: {sciie: X}, methods: {random: Y}, untouched: a}", ["untouched: ROW"]),
        (
            "{figures: a.csv, table: '3', tasks: {sciie: X}, methods: {random: Y, untouched: Y}}",
            ["random and untouched", "same figures"],
        ),
    ],
)
def test_a_table_that_names_figures_wrongly_is_refused(given: str, named: list[str], tmp_path: Path) -> None:
    text = (REPOSITORY / "configs" / "tables" / "small" / "gotd.yaml").read_text()
    file = tmp_path / "table.yaml"
    file.write_text(text[: text.index("published:")] + f"published: {given}\n")
    with mistake(UserError, file, *named):
        read_table(file)


def test_latex_and_html_have_every_cell() -> None:
    group = replace(GROUP, lines=[replace(line, method=f"{line.method}_50%") for line in GROUP.lines])
    text = latex([*group_blocks(group), *group_blocks(GROUP)])
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert r"none\_50\%" in text
    assert "±" not in text
    assert r"70.0 $\pm$ 1.0" in text
    page = html(group_blocks(replace(GROUP, lines=[replace(GROUP.lines[0], method="<b>")])))
    assert "<td>&lt;b&gt;</td>" in page
    assert "<td>70.0 ± 1.0</td>" in page
