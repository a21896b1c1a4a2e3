"""Select, warm up, fine-tune and evaluate by one `fit`, or by two."""

from __future__ import annotations

from pathlib import Path

import pytest

from selectune.costs.ledger import read_ledger
from tests.conftest import Cli, manifest_of, metrics_of


def test_one_fit_is_two(cli: Cli, warming: list[str], selecting: list[str], tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    cli("fit", *warming, *selecting, "--output", one)
    warm_up = one / "warm_up"
    assert (warm_up / "export" / "model.safetensors").is_file()
    assert manifest_of(warm_up)["n_rows"] == 75
    assert manifest_of(one)["weights_hash"] != manifest_of(warm_up)["weights_hash"], "the warmed-up model scores"
    assert manifest_of(one)["tokenizer_hash"] == manifest_of(warm_up)["tokenizer_hash"]
    assert manifest_of(one)["trained_on"]["rows_hash"] == manifest_of(warm_up)["rows_hash"]
    assert manifest_of(warm_up)["trained_on"] is None
    assert "val/perplexity" in metrics_of(warm_up)
    stages = [(record.part, record.stage) for record in read_ledger(one / "cost.jsonl")]
    order = [("warm_up", "score"), ("warm_up", "select"), ("warm_up", "warm_up"), ("fit", "score"), ("fit", "train")]
    assert [stage for stage in stages if stage in order] == order, "one ledger, in the order of what was done"

    cli("fit", *selecting, "--model.checkpoint", warm_up / "export", "--output", two)
    for name in ("test/loss", "test/accuracy", "val/loss"):
        assert metrics_of(two)[name] == pytest.approx(metrics_of(one)[name], abs=1e-5)
    assert manifest_of(two)["rows_hash"] == manifest_of(one)["rows_hash"]
    assert manifest_of(two)["weights_hash"] == manifest_of(one)["weights_hash"]
