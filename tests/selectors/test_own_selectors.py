"""Faulty selectors of one's own, through the command line, the library and a forecast."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest

from selectune import FineTuner, TextClassification
from selectune.common.errors import SelectionError
from selectune.selectors import Chain, EntropyInterval, Picked, Random, Selector, Signals
from selectune.selectors.base import Budget
from tests.conftest import Here
from tests.mistakes import mistake, names

FAULTY = """
import numpy as np
from selectune.selectors import Picked, Selector

class Twice(Selector):
    def select(self, pool, target, budget, seed):
        return Picked(np.zeros(budget.rows, dtype=int), np.zeros(pool.n_rows))

class Raises(Selector):
    def select(self, pool, target, budget, seed):
        return pool["colour"]

class NoSelect(Selector):
    pass

class NotMade(Selector):
    def __init__(self, colour: str = "red"):
        raise RuntimeError("no such colour")
    def select(self, pool, target, budget, seed): ...

class NoSelector:
    pass
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "faulty_selectors.py").write_text(FAULTY)
    (tmp_path / "faulty_import.py").write_text("import nothing_of_the_kind")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("faulty_selectors", "faulty_import"):
        sys.modules.pop(name, None)


CASES = {
    "faulty_selectors.Twice": ("Twice", 0),
    "faulty_selectors.Raises": ("Raises", "KeyError: 'colour'", "faulty_selectors.py", 11),
    "faulty_selectors.NoSelect": ("faulty_selectors.NoSelect", "abstract"),
    "faulty_selectors.NotMade": ("faulty_selectors.NotMade", "RuntimeError: no such colour"),
    "faulty_selectors.NoSelector": ("faulty_selectors.NoSelector", "Selector"),
    "faulty_selectors.Missing": ("faulty_selectors.Missing", "data.selector"),
    "faulty_import.Any": ("faulty_import.Any", "nothing_of_the_kind"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_command_line_says_one_sentence(
    name: str, faulty: None, here: Here, arguments: list[str], tmp_path: Path
) -> None:
    verb = "fit" if name.endswith("Twice") else "select"
    run = tmp_path / "run"
    printed = here(verb, *arguments, "--data.selector", name, "--data.keep", "0.1", "--output", run, code=2)
    assert names(printed, *CASES[name])
    assert printed.count("error: ") == 1
    assert "usage:" not in printed
    assert not run.exists(), "the mended command finds its place"


def test_the_traceback_is_shown_where_it_is_asked_for(
    faulty: None, here: Here, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from selectune.cli import main

    monkeypatch.setenv("SELECTUNE_TRACEBACK", "1")
    monkeypatch.setattr("sys.argv", ["main.py"])
    named = ["--data.selector", "faulty_selectors.Raises", "--data.keep", "0.1"]
    with pytest.raises(SystemExit):
        main(["select", *arguments, *named, "--dry_run"])
    assert 'return pool["colour"]' in capfd.readouterr().err


class Own(Selector):
    """Picks as many rows as it is asked to, whatever the budget."""

    def __init__(self, n_rows: int, requires: frozenset[str] = frozenset()) -> None:
        self.n_rows, self._requires = n_rows, requires

    @property
    def requires(self) -> frozenset[str]:
        return self._requires

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        return Picked(np.arange(self.n_rows), np.zeros(pool.n_rows))


@pytest.mark.parametrize(
    ("selector", "named"),
    [
        (Own(3), [3, 5]),
        (Chain(Own(3), Random(), 0.5), [3, 108]),
        (Chain(Random(), Own(3), 0.5), [3, 5]),
        (Own(5, frozenset({"temperature"})), ["requires", "temperature"]),
    ],
)
def test_the_library_raises_the_same_sentence(
    selector: Selector, named: list[object], data_folder: Path, model_folder: Path
) -> None:
    data = TextClassification(str(data_folder), max_length=32, selector=selector, keep_rows=5)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(**quiet, accelerator="cpu", max_epochs=1, enable_model_summary=False)
    with mistake(SelectionError, "Own", *named):
        trainer.fit(FineTuner(str(model_folder)), data)


def test_a_class_in_the_place_of_an_object_is_told(data_folder: Path) -> None:
    with mistake(SelectionError, "EntropyInterval", option="data.selector"):
        TextClassification(str(data_folder), selector=EntropyInterval, keep=0.5)  # type: ignore[arg-type]


def test_a_forecast_checks_it_too(faulty: None, here: Here, arguments: list[str]) -> None:
    named = ["--data.selector", "faulty_selectors.Twice", "--data.keep", "0.1"]
    assert names(here("estimate", *arguments, *named, code=2), "Twice", 0)
