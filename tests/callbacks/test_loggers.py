"""All costs reach every logger, and the size of the scorer every run."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from selectune.costs.ledger import read_ledger
from selectune.costs.record import Total, totals
from selectune.costs.saving import Saving
from selectune.costs.scorer_ratio import ScorerRatio, n_parameters
from tests.conftest import Here, manifest_of, metrics_of
from tests.costs.records import record


def test_the_totals_of_the_ledger_reach_every_logger(here: Here, selecting: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    boards = ["--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", str(tmp_path / "boards")]
    printed = here("fit", *selecting, *boards, "--output", run)
    saving, spent = Saving.read(run), totals(read_ledger(run / "cost.jsonl")).spent
    total = sum(spent.values(), Total())
    expected = {
        "cost/flops": total.flops, "cost/device_s": total.device_s, "cost/train/flops": spent["train"].flops,
        "cost/score/device_s": spent["score"].device_s, "cost/evaluate/flops": spent["evaluate"].flops,
        "cost/saving/flops": saving.flops.saving, "cost/saving/device_s": saving.device_s.saving,
    }  # fmt: skip
    logged = metrics_of(run)
    assert "cost/energy_j" not in logged, "it was not measured"
    for name, value in expected.items():
        assert logged[name] == pytest.approx(value, rel=1e-6), name
    stages = [f"cost/{stage}/flops" for stage in spent]
    assert sum(logged[name] for name in stages) == pytest.approx(logged["cost/flops"])

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = {file.parent for file in (tmp_path / "boards").rglob("events.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    for name, value in expected.items():
        assert events.Scalars(name)[-1].value == pytest.approx(value, rel=1e-5), name
    assert events.Scalars("test/accuracy"), "and so do metrics"
    assert {f"{name}/text_summary" for name in ("verdict", "costs", "selection")} <= set(events.Tags()["tensors"])
    assert events.Scalars("selection/rows")[-1].value == saving.kept_rows

    # The model scored, so the scorer is as large but for its head.
    assert saving.scorer_ratio is not None
    ratio = saving.scorer_ratio
    assert ratio.scorer == manifest_of(run)["scorer"]
    assert ratio.scorer_parameters == manifest_of(run)["scorer_parameters"]
    assert ratio.parameters == pytest.approx(1, abs=0.1)
    mine, theirs = spent["score"], spent["train"]
    assert ratio.flops_per_token == pytest.approx((mine.flops / mine.tokens) / (theirs.flops / theirs.tokens))  # type: ignore[operator]
    assert ratio.sentence() in printed
    with (run / "metrics.csv").open(newline="") as file:
        assert any(row["val/accuracy"] for row in csv.DictReader(file)), "earlier columns stay"


def test_weights_are_counted_in_the_headers_of_files(model_folder: Path) -> None:
    from transformers import AutoModelForMaskedLM

    network = AutoModelForMaskedLM.from_pretrained(model_folder)
    assert n_parameters(model_folder) == sum(weight.numel() for weight in network.parameters())


def test_the_ratio_is_that_of_this_task_alone() -> None:
    records = [
        record("score", flops=50, tokens=100),
        record("score", flops=9, tokens=1, part="warm_up"),
        record("train", flops=600, tokens=200),
        record("train", flops=1, tokens=1, cached=True),
    ]
    ratio = ScorerRatio.of(records, "small", "large", 10, 40)
    assert ratio is not None
    assert (ratio.parameters, ratio.flops_per_token) == (0.25, pytest.approx(0.5 / 3))
    assert ScorerRatio.of(records[2:], "small", "large", 10, 40) is None, "nothing was scored by a model"
    unknown = ScorerRatio.of([record("score", flops=None), record("train")], "small", "large", None, 40)
    assert unknown is not None
    assert (unknown.parameters, unknown.flops_per_token) == (None, None)
