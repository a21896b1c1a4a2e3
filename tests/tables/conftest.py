"""A small table on the tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from selectune.cli import main
from tests.conftest import Shared
from tests.processes import start_server

Write = Callable[..., Path]


def grid_of(folder: Path, data: Path, model: Path) -> dict[str, Any]:
    """A table's config: random rows, a selector, and random rows of the selector's cost, at two seeds."""
    arguments = {"dataset": str(data), "max_length": 32, "selector": {"class_path": "IGSE"}, "keep": 1.0}
    base = {
        "data": {"class_path": "TextClassification", "init_args": arguments},
        "model": {"checkpoint": str(model), "learning_rate": 1.0e-3},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False},
        "scorer": {"max_batch_tokens": 512},
    }
    (folder / "reviews.yaml").write_text(yaml.safe_dump(base))
    return {
        "seeds": [0, 1],
        "tasks": {"reviews": {"config": "reviews.yaml", "metric": "accuracy", "budgets": [0.25]}},
        "methods": {
            "random": {"set": {"data.selector": {"class_path": "Random"}}},
            "same_cost": {"match": "band", "by": "cost"},
            "band": {"set": {"data.selector": {"class_path": "EntropyInterval"}}},
        },
    }


@pytest.fixture
def grid(data_folder: Path, model_folder: Path, tmp_path: Path) -> dict[str, Any]:
    return grid_of(tmp_path, data_folder, model_folder)


@pytest.fixture
def write(grid: dict[str, Any], tmp_path: Path) -> Write:
    """Writes the table's config, changed."""

    def written(name: str = "table", **changes: Any) -> Path:
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(grid | changes, sort_keys=False))
        return file

    return written


@pytest.fixture(scope="session")
def finished_table(shared: Shared, data_folder: Path, model_folder: Path) -> Path:
    """The folder of the table, all of it done; to be read."""

    def make(folder: Path) -> None:
        file = folder / "table.yaml"
        file.write_text(yaml.safe_dump(grid_of(folder, data_folder, model_folder), sort_keys=False))
        start_server()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SELECTUNE_CACHE", str(folder / "cache"))
            patch.setenv("OMP_NUM_THREADS", "1")
            patch.setattr("sys.argv", ["main.py"])
            main(["table", "--config", str(file), "--output", str(folder / "out")])

    return shared("table", make) / "out"
