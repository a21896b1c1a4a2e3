from __future__ import annotations

from copy import deepcopy

import pytest

from selectune.common.errors import UserError
from selectune.tables.layers import laid_over, read_config, setting, with_settings
from tests.mistakes import mistake

CONFIG = {
    "data": {
        "class_path": "TextClassification",
        "init_args": {"keep": 0.1, "selector": {"class_path": "IGSE", "init_args": {"combine": "box"}}},
    },
    "trainer": {"max_epochs": 3},
    "warm_up": None,
}


def test_a_dotted_name_finds_its_way_into_arguments() -> None:
    changed = with_settings(CONFIG, {"data.selector.combine": "sum", "trainer.max_epochs": 5, "data.keep": 0.5})
    assert changed["data"]["init_args"] == {
        "keep": 0.5,
        "selector": {"class_path": "IGSE", "init_args": {"combine": "sum"}},
    }
    assert changed["trainer"]["max_epochs"] == 5
    assert setting(changed, "data.selector.combine") == "sum"


def test_nested_and_dotted_settings_say_the_same() -> None:
    nested = with_settings(CONFIG, {"data": {"keep": 0.5, "selector": {"combine": "sum"}}})
    assert nested == with_settings(CONFIG, {"data.keep": 0.5, "data.selector.combine": "sum"})
    assert nested == with_settings(CONFIG, {"data.init_args": {"keep": 0.5, "selector.init_args.combine": "sum"}})


def test_another_class_starts_afresh_and_the_same_one_keeps_its_arguments() -> None:
    another = with_settings(CONFIG, {"data.selector": {"class_path": "Random"}})
    assert setting(another, "data.selector") == {"class_path": "Random"}
    same = with_settings(CONFIG, {"data.selector": {"class_path": "IGSE"}})
    assert setting(same, "data.selector.combine") == "box"
    overlay = {"data": {"init_args": {"selector": {"class_path": "Random"}}}}
    assert laid_over(CONFIG, overlay) == another


def test_a_class_by_its_name_alone_takes_arguments() -> None:
    named = with_settings({"data": {"selector": "IGSE"}}, {"data.selector.combine": "sum"})
    assert named["data"]["selector"] == {"class_path": "IGSE", "init_args": {"combine": "sum"}}


def test_what_is_laid_under_stays_as_it_is() -> None:
    before = deepcopy(CONFIG)
    changed = with_settings(CONFIG, {"data.selector.combine": "sum", "warm_up": {"max_epochs": 2}})
    laid_over(CONFIG, changed)["data"]["init_args"]["keep"] = 0.9
    assert before == CONFIG
    assert changed["warm_up"] == {"max_epochs": 2}
    assert setting(CONFIG, "warm_up.data.keep") is None


@pytest.mark.parametrize(("text", "named"), [("- a list", []), ("a: [", ["YAML"]), (None, ["No such file"])])
def test_a_file_that_is_no_config_is_told(text: str | None, named: list[str], tmp_path) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    with mistake(UserError, tmp_path / "config.yaml", *named):
        read_config(tmp_path / "config.yaml")
