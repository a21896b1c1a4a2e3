"""A small table on the tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Write = Callable[..., Path]


@pytest.fixture
def grid(data_folder: Path, model_folder: Path, tmp_path: Path) -> dict[str, Any]:
    """A table's config: random rows, a selector, and random rows of the selector's cost, at two seeds."""
    base = {
        "data": {
            "class_path": "TextClassification",
            "init_args": {
                "dataset": str(data_folder),
                "max_length": 32,
                "selector": {"class_path": "IGSE"},
                "keep": 1.0,
            },
        },
        "model": {"checkpoint": str(model_folder), "learning_rate": 1.0e-3},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False},
        "scorer": {"max_batch_tokens": 512},
    }
    (tmp_path / "reviews.yaml").write_text(yaml.safe_dump(base))
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
def write(grid: dict[str, Any], tmp_path: Path) -> Write:
    """Writes the table's config, changed."""

    def written(name: str = "table", **changes: Any) -> Path:
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(grid | changes, sort_keys=False))
        return file

    return written
