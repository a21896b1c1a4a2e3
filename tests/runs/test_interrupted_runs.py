"""A run that is interrupted, be it in scoring, in training or in evaluation, has the saving of one that was not."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from selectune import FineTuner
from selectune.callbacks.predictions import RowFigures
from selectune.costs.ledger import read_ledger
from selectune.costs.record import add_up
from selectune.costs.saving import Saving
from selectune.costs.uninterrupted import split_costs
from selectune.lightning_modules.scorers.language import LanguageScorer
from selectune.signals import forward
from tests.conftest import Here


class StopError(RuntimeError):
    """Ends a run where it stands."""


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    @contextmanager
    def stopped(kind: type, name: str, calls: int) -> Any:
        """Expect a run to end in its so-many-th call of a method."""
        method, left = getattr(kind, name), [calls]

        def counting(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                raise StopError
            return method(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(kind, name, counting)
            with pytest.raises(StopError):
                yield
        gc.collect()  # the run's lock goes with its frames

    return stopped


@pytest.mark.slow  # five runs
def test_three_interruptions_change_no_saving(
    here: Here, selecting: list[str], stopping: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "FLUSH_SECONDS", 0.0)  # a shard for each batch
    monkeypatch.setattr("selectune.runs.fit.write_report", lambda *_, **__: None)  # its pictures take long
    command = ["fit", *selecting, "--scorer.max_batch_tokens", "256", "--data.batch_size", "8", "--cache"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    here(*command, tmp_path / "cache1", "--output", whole)
    going_on = [*command, tmp_path / "cache2", "--output", run]
    for kind, name, calls in (
        (LanguageScorer, "forward", 6),
        (FineTuner, "training_step", 12),  # seven steps an epoch: in the second, after the checkpoint of the first
        (RowFigures, "on_test_batch_end", 1),
    ):
        with stopping(kind, name, calls):
            here(*going_on)
    told = here(*going_on)

    ours, theirs = Saving.read(run), Saving.read(whole)
    for term in ("score", "solve", "select", "selection", "training", "full_training", "evaluation", "saving"):
        assert getattr(ours.flops, term) == pytest.approx(getattr(theirs.flops, term), rel=1e-12), term
    assert ours.sentence().split(" of the FLOPs")[0] == theirs.sentence().split(" of the FLOPs")[0]
    assert theirs.flops.redone == theirs.device_s.redone == 0

    records = read_ledger(run / "cost.jsonl")
    costs = split_costs(records)
    spent = add_up(record for record in records if not record.cached)
    again = add_up(costs.redone)
    assert again.flops == pytest.approx(spent.flops - add_up(costs.kept).flops)
    assert ours.flops.redone == again.flops > 0
    assert ours.device_s.redone == again.device_s > 0
    assert {record.stage for record in costs.redone} >= {"train", "evaluate", "prepare"}
    trained = [record for record in records if record.stage == "train" and record.examples]
    assert [(record.attempt, record.finished) for record in trained] == [(2, False), (3, True)]
    kept = [sum(record.examples for record in part if record.stage == "train") for part in (costs.kept, costs.redone)]
    assert kept == [2 * 54, trained[0].examples - 54], "what came after the checkpoint of the first epoch is redone"
    assert "redone after an interruption: " in told
