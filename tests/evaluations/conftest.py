"""A causal model and a file of reviews to try it at."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selectune.evaluations.language_model import CausalModel
from tests.conftest import sentences
from tests.evaluations.test_language_model import opened


@pytest.fixture
def model(causal_folder: Path) -> CausalModel:
    return opened(causal_folder)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A file of reviews."""
    texts, labels = sentences(30, seed=5)
    file = tmp_path / "reviews.parquet"
    kinds = ["toxic" if label else "nontoxic" for label in labels]
    pq.write_table(
        pa.table({"text": texts, "label": labels, "prompt": [text[:20] for text in texts], "kind": kinds}), file
    )
    return file
