from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from selectune.common.errors import UserError
from selectune.tables.grid import BUDGETS, Cell
from selectune.tables.layers import setting, with_settings
from selectune.tables.listing import length_of
from selectune.tables.reading import check_configs, read_table
from selectune.tables.remaining_time import remaining_rows
from tests.mistakes import mistake
from tests.tables.conftest import Write

METHODS = {
    "full": {"budgets": "none", "set": {"data.selector": None}},
    "random": {"set": {"data.selector": {"class_path": "Random"}}},
    "same": {"match": "box", "by": "tokens"},
    "box": {"budgets": [0.25]},
}


def cells_of(file: Path, output: Path) -> dict[str, Cell]:
    return {cell.name: cell for cell in read_table(file).cells(output)}


def test_a_grid_has_each_cell_once_after_what_it_needs(write: Write, tmp_path: Path) -> None:
    tasks = {"reviews": {"config": "reviews.yaml", "metric": "accuracy", "budgets": [0.25, 0.5], "seeds": [0, 1, 2]}}
    methods = METHODS | {"same": {"match": "box", "by": "tokens", "budgets": [0.25]}}
    cells = read_table(write(tasks=tasks, methods=methods)).cells(tmp_path / "out")
    names = [cell.name for cell in cells]
    assert len(set(names)) == len(names) == 3 * (1 + 2 + 1 + 1)
    for place, cell in enumerate(cells):
        assert all(folder.name in names[:place] for folder in cell.needs)
    by_name = dict(zip(names, cells))
    assert by_name["reviews-same-0.25-2"].needs == (by_name["reviews-box-0.25-2"].folder,)


def test_a_cell_has_its_budget_seed_and_selector(write: Write, tmp_path: Path) -> None:
    cells = cells_of(write(methods=METHODS), tmp_path / "out")
    full, box, same = (cells[f"reviews-{name}-1"].config for name in ("full-none", "box-0.25", "same-0.25"))
    assert {config["seed_everything"] for config in (full, box, same)} == {1}
    assert setting(full, "data.keep") is None, "the base config's budget is not that of the table"
    assert setting(full, "data.selector") is None
    assert setting(box, "data.keep") == 0.25
    assert setting(box, "data.selector.class_path") == "IGSE"
    assert setting(same, "data.keep") is None, "its budget is that of the run that it matches"
    assert setting(same, "data.selector.match") == str(tmp_path / "out" / "cells" / "reviews-box-0.25-1")


def test_no_method_is_named_as_the_untouched_model(write: Write) -> None:
    with mistake(UserError, "'untouched'", "name it otherwise"):
        read_table(write(methods=METHODS | {"untouched": {"set": {"data.selector": "Random"}}}))


def test_a_method_without_a_budget_of_the_table_may_have_one_of_its_own(write: Write, tmp_path: Path) -> None:
    more = {"set": {"data.selector": "Random", "data": {"keep_rows": 70}}, "budgets": "none"}
    changed = {"set": {"data.selector": "Random"}, "budgets": "none", "changes": [{"set": {"data.keep_tokens": 900}}]}
    file = write(methods=METHODS | {"more": more, "changed": changed})
    cells = cells_of(file, tmp_path / "out")
    for name, own, value in (("more", "keep_rows", 70), ("changed", "keep_tokens", 900)):
        config = cells[f"reviews-{name}-none-0"].config
        kept = {budget: setting(config, f"data.{budget}") for budget in BUDGETS}
        assert kept == dict.fromkeys(BUDGETS) | {own: value}, "and the base config's is none of it"
    table = read_table(file)
    assert remaining_rows(cells["reviews-more-none-0"], table, []) is None, "the table's budget is a share of the rows"
    by_rows = replace(table, budget="data.keep_rows")
    assert remaining_rows(cells["reviews-more-none-0"], by_rows, []) == 70


@pytest.mark.parametrize(
    ("trainer", "told"),
    [
        ({"max_epochs": 3}, "3 epochs"),
        ({"max_epochs": -1, "max_steps": 250}, "250 steps"),
        ({"max_epochs": 3, "max_steps": 9}, "3 epochs or 9 steps"),
        ({"max_epochs": None}, "the Trainer's own length"),
    ],
)
def test_a_list_of_cells_says_how_long_each_trains(trainer: dict[str, Any], told: str, tmp_path: Path) -> None:
    assert length_of(Cell("a", "b", "1", 0, tmp_path, {"trainer": trainer})) == told


def test_the_budget_may_be_that_of_a_warm_up(write: Write, tmp_path: Path) -> None:
    warm_up = {"data": {"class_path": "LanguageModeling", "init_args": {"dataset": "pool", "keep": 0.5}}}
    methods = {
        "none": {"budgets": "none", "set": {"warm_up": None}},
        "random": {"set": {"warm_up.data.selector": {"class_path": "Random"}}},
        "same": {"match": "random", "by": "tokens"},
    }
    tasks = {"reviews": {"config": "reviews.yaml", "metric": "accuracy", "budgets": [100]}}
    file = write(budget="warm_up.data.keep_rows", set={"warm_up": warm_up}, methods=methods, tasks=tasks)
    cells = cells_of(file, tmp_path / "out")
    plain, random = cells["reviews-none-none-0"].config, cells["reviews-random-100-0"].config
    run = str(tmp_path / "out" / "cells" / "reviews-random-100-1" / "warm_up")
    assert setting(cells["reviews-same-100-1"].config, "warm_up.data.selector.match") == run
    assert plain["warm_up"] is None
    assert setting(random, "warm_up.data.keep_rows") == 100
    assert setting(random, "warm_up.data.keep") is None
    assert setting(random, "warm_up.data.selector.class_path") == "Random"


def test_all_cells_start_from_a_prepared_model(write: Write, tmp_path: Path) -> None:
    file = write(prepare={"config": "reviews.yaml", "set": {"data.selector": None, "data.keep": None}})
    first, *others = read_table(file).cells(tmp_path / "out")
    assert first.folder == tmp_path / "out" / "prepare"
    assert first.keeps_models
    for cell in others:
        assert first.folder in cell.needs
        assert setting(cell.config, "model.checkpoint") == str(first.folder / "export")


TASK = {"config": "reviews.yaml", "metric": "accuracy", "budgets": [0.25]}
BAD: dict[str, tuple[dict[str, Any], list[object]]] = {
    "unknown setting": ({"methds": {}}, ["'methds'", "methods"]),
    "no seeds": ({"seeds": []}, ["seeds"]),
    "seeds that are no numbers": ({"seeds": ["one"]}, ["seeds"]),
    "a seed twice": ({"seeds": [1, 1]}, ["seeds"]),
    "no tasks": ({"tasks": {}}, ["tasks"]),
    "a name with a slash": ({"tasks": {"a/b": TASK}}, ["'a/b'", "tasks"]),
    "a name with a hyphen": ({"methods": {"a-b": {}}}, ["'a-b'", "methods"]),
    "no metric": ({"tasks": {"a": {"config": "reviews.yaml"}}}, ["'a'", "metric"]),
    "no config": ({"tasks": {"a": {"metric": "accuracy"}}}, ["'a'", "config"]),
    "no budgets": ({"tasks": {"a": TASK | {"budgets": []}}}, ["'a'", "budgets"]),
    "unknown budget": ({"methods": {"random": {"budgets": [0.3]}}}, [0.3]),
    "unknown task": ({"methods": {"random": {"tasks": ["b"]}}}, ["'b'", "reviews"]),
    "unknown match": ({"methods": {"a": {"match": "b"}}}, ["'b'", "a"]),
    "match of a match": ({"methods": {"a": {"match": "b"}, "b": {"match": "a"}}}, ["'b'"]),
    "by without match": ({"methods": {"a": {"by": "cost"}}}, ["'a'"]),
    "several matches": ({"methods": {"a": {}, "b": {"match": ["a"]}}}, ["match"]),
    "cost of a warm-up": (
        {"budget": "warm_up.data.keep", "methods": {"a": {}, "b": {"match": "a", "by": "cost"}}},
        ["'b'", "cost"],
    ),
    "unknown by": ({"methods": {"a": {"match": "a", "by": "time"}}}, ["rows, tokens or cost"]),
    "a budget that is no setting": ({"budget": "keep"}, ["budget"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_told_in_a_sentence(case: str, write: Write) -> None:
    changes, named = BAD[case]
    with mistake(UserError, *named):
        read_table(write(**changes))


PROTOCOLS = {
    "published": {
        "says": "The checkpoint is chosen on the test rows.",
        "changes": [
            {"set": {"data.choose_on_test": True}},
            {"methods": ["band"], "tasks": ["reviews"], "set": {"model.checkpoint": "another"}},
        ],
    }
}


def test_a_protocol_changes_the_cells_that_it_names(write: Write, tmp_path: Path) -> None:
    table = read_table(write(protocols=PROTOCOLS))
    ours, theirs = (
        {cell.name: cell.config for cell in one.cells(tmp_path / "out")} for one in (table, table.under("published"))
    )
    assert ours.keys() == theirs.keys()
    for name, config in theirs.items():
        changed = {"data.choose_on_test": True} | ({"model.checkpoint": "another"} if "band" in name else {})
        assert config == with_settings(ours[name], changed)
    assert "--protocol published" in table.protocol_told
    assert "The checkpoint is chosen" in table.under("published").protocol_told
    with mistake(UserError, "another", "published", option="--protocol"):
        table.under("another")


def test_a_method_has_changes_of_some_tasks(write: Write, tmp_path: Path) -> None:
    task = {"config": "reviews.yaml", "metric": "accuracy", "budgets": [0.25]}
    changes = [{"tasks": ["others"], "set": {"data.dataset": "their own", "data.max_length": 16}}]
    method = {"set": {"data.dataset": "a pool"}, "changes": changes}
    cells = cells_of(write(tasks={"reviews": task, "others": task}, methods={"own": method}), tmp_path / "out")
    read = {name: setting(cells[f"{name}-own-0.25-0"].config, "data.dataset") for name in ("reviews", "others")}
    assert read == {"reviews": "a pool", "others": "their own"}
    assert setting(cells["reviews-own-0.25-0"].config, "data.max_length") == 32


@pytest.mark.parametrize("changes", [[{"tasks": ["nowhere"]}], {"tasks": ["reviews"]}, [{"name": 1}], ["reviews"]])
def test_bad_changes_of_a_method_are_told_in_a_sentence(changes: Any, write: Write) -> None:
    with mistake(UserError, "method 'own': changes" if "nowhere" not in str(changes) else "nowhere"):
        read_table(write(methods={"own": {"changes": changes}}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"says": None}, ["says"]),
        ({"changes": []}, ["changes"]),
        ({"changes": [{"tasks": ["news"]}]}, ["news", "reviews"]),
        ({"changes": [{"methods": ["all"]}]}, ["all", "random"]),
        ({"changes": [{"model": "another"}]}, ["model"]),
    ],
)
def test_a_bad_protocol_is_told_in_a_sentence(change: dict[str, Any], named: list[str], write: Write) -> None:
    with mistake(UserError, "published", *named):
        read_table(write(protocols={"published": PROTOCOLS["published"] | change}))


def test_checking_configs_leaves_them_as_they_are(write: Write, tmp_path: Path) -> None:
    """The parser turns what is in a list into objects of its own, which no cell could be written with."""
    evaluation = {"class_path": "Perplexity", "init_args": {"dataset": "texts"}}
    cells = read_table(write(set={"evaluations": [evaluation]})).cells(tmp_path / "out")
    check_configs(cells)
    assert all(cell.config["evaluations"] == [evaluation] for cell in cells)
    assert yaml.safe_dump(cells[0].config)


def test_a_missing_config_and_a_match_elsewhere_are_told(write: Write, tmp_path: Path) -> None:
    with mistake(UserError, "nowhere.yaml"):
        read_table(write(tasks={"a": TASK | {"config": "nowhere.yaml"}})).cells(tmp_path)
    methods: dict[str, Any] = {"none": {"set": {"data": None}}}
    with mistake(UserError, "'none'", "budgets: none"):
        read_table(write(methods=methods)).cells(tmp_path)
    methods = {"box": {"budgets": [0.25]}, "same": {"match": "box"}}
    tasks = {"a": TASK | {"budgets": [0.25, 0.5]}}
    with mistake(UserError, "'same'", "'box'", 0.5):
        read_table(write(methods=methods, tasks=tasks)).cells(tmp_path)
