"""A training that fails is reported: on the terminal, on the page, in training.json and by the exit code."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, get_args

import lightning.pytorch as pl
import pytest
import torch

from selectune import FineTuner, Random, TextClassification
from selectune.callbacks import CostLedger, Export, TrainingCheck
from selectune.callbacks.checkpoints import fit_callbacks
from selectune.callbacks.training_check import finite_weights
from selectune.common.errors import CheckpointError, TrainingError, UserError
from selectune.common.training_outcome import Kind, Problem, TrainingOutcome, ends, loss_problem, metric_problem
from selectune.costs.ledger import Ledger
from selectune.runs.directory import Run
from tests.conftest import REPOSITORY, Here
from tests.mistakes import mistake, names, warned
from tests.report.pages import Page
from tests.trainers import trainer_for


def test_the_page_on_failures_tells_of_every_kind() -> None:
    page = (REPOSITORY / "docs" / "failures.md").read_text()
    table = page[page.index("| `kind` in") :].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(get_args(Kind))


def trainer(*callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    return trainer_for(**{"max_epochs": 3, "num_sanity_val_steps": 0, "callbacks": list(callbacks), **options})


def check_of(made: pl.Trainer) -> TrainingCheck:
    (check,) = (callback for callback in made.callbacks if isinstance(callback, TrainingCheck))  # type: ignore[attr-defined]
    return check


@pytest.fixture
def data(data_folder: Path) -> TextClassification:
    return TextClassification(str(data_folder), max_length=32, selector=Random(), keep_rows=40, batch_size=8, seed=0)


class Spoilt(FineTuner):
    """Its loss is infinite at some steps; its gradients are not, as where loss scaling skips a step."""

    steps: tuple[int, ...] = ()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss + math.inf if self.global_step in self.steps else loss


def test_a_loss_that_is_nan_stops_the_fit_at_the_next_check(
    data: TextClassification, model_folder: Path, tmp_path: Path
) -> None:
    made = trainer(CostLedger(tmp_path), Export(tmp_path / "export"), log_every_n_steps=2, min_epochs=3)
    with warned(UserWarning, "model.learning_rate"):
        made.fit(FineTuner(str(model_folder), learning_rate=1e30), data)
    assert made.global_step == 2, "of 15"
    failure = check_of(made).failure
    assert failure is not None
    assert failure.kind == "not_finite"
    assert TrainingOutcome.read(tmp_path).failed  # type: ignore[union-attr]
    assert not (tmp_path / "export").exists()


def test_weights_that_the_last_step_spoilt_are_found_without_its_loss(
    data: TextClassification, model_folder: Path
) -> None:
    made = trainer(max_steps=1, limit_val_batches=0)
    module = FineTuner(str(model_folder), warmup=0)
    module.learning_rate = math.inf  # which a constructor refuses
    with warned(UserWarning, "model.learning_rate"):
        made.fit(module, data)
    assert check_of(made).failure is not None


def test_single_losses_that_are_infinite_are_no_failure(data: TextClassification, model_folder: Path) -> None:
    module = Spoilt(str(model_folder), learning_rate=1e-3)
    module.steps = (1, 2, 7, 14)
    made = trainer(log_every_n_steps=1)
    made.fit(module, data)
    assert made.global_step == 15
    assert check_of(made).failure is None
    assert finite_weights(module)


def test_a_loss_that_stays_infinite_is_a_failure(
    data: TextClassification, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selectune.callbacks.training_check.STUCK", 4)
    module = Spoilt(str(model_folder), learning_rate=1e-3)
    module.steps = tuple(range(3, 15))
    made = trainer(log_every_n_steps=1)
    with warned(UserWarning, 4):
        made.fit(module, data)
    assert made.global_step == 7


def test_losses_are_read_as_often_as_lightning_logs(
    data: TextClassification, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read = TrainingCheck._read

    def counting(self: TrainingCheck, *arguments: Any) -> None:
        reads.append(len(self._waiting))
        read(self, *arguments)

    monkeypatch.setattr(TrainingCheck, "_read", counting)
    made = trainer(log_every_n_steps=4, accumulate_grad_batches=2, max_epochs=1)
    made.fit(FineTuner(str(model_folder), learning_rate=1e-4), data)
    assert [n for n in reads if n] == [4, 1]
    outcome = check_of(made).outcome
    assert outcome.steps == 5
    assert outcome.first_loss == pytest.approx(math.log(2), abs=0.2), "a batch's own loss, not its share"


def test_a_resumed_training_remembers_its_start(data: TextClassification, model_folder: Path, tmp_path: Path) -> None:
    first = trainer(max_epochs=1)
    first.fit(FineTuner(str(model_folder), learning_rate=1e-3), data)
    first.save_checkpoint(tmp_path / "last.ckpt")
    second = trainer(max_epochs=2)
    second.fit(FineTuner(str(model_folder), learning_rate=1e-3), data, ckpt_path=tmp_path / "last.ckpt")
    assert check_of(second).outcome.steps == 10
    assert check_of(second)._first[:5] == check_of(first)._first


class SpoilAt(pl.Callback):
    """Makes a weight nan after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(pl_module.network.parameters())[:] = math.nan


@pytest.mark.parametrize("step", [7, 10])
def test_the_checkpoints_stay_those_from_before_the_failure(
    step: int, data: TextClassification, model_folder: Path, tmp_path: Path
) -> None:
    """Of three epochs of five steps, in the middle of the second, and with its last step."""
    run = Run(tmp_path)
    callbacks = fit_callbacks(run, Ledger(), "val/loss", "min")
    made = trainer(SpoilAt(step), *callbacks, enable_checkpointing=True, log_every_n_steps=2)
    made.fit(FineTuner(str(model_folder), learning_rate=1e-3), data)
    assert step <= made.global_step <= step + 2
    for file in (run.best, run.last):
        checkpoint = torch.load(file, weights_only=True)
        assert checkpoint["global_step"] == 5
        assert all(values.isfinite().all() for values in checkpoint["state_dict"].values())


def test_a_checkpoint_that_is_not_finite_is_refused(data: TextClassification, broken: Path) -> None:
    with pytest.raises(CheckpointError):
        trainer(num_sanity_val_steps=2).fit(FineTuner(str(broken)), data)


@pytest.fixture(scope="module")
def broken(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a weight that is nan."""
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("broken") / "tiny"
    shutil.copytree(model_folder, folder)
    weights = load_file(folder / "model.safetensors")
    next(values for name, values in weights.items() if "layer.1.output.dense.weight" in name)[0, 0] = math.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


# The command line.


def test_a_failed_fit_ends_with_3_and_everything_is_written(here: Here, arguments: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit = ["fit", *arguments, "--data.selector", "Random", "--data.keep_rows", "40", "--model.learning_rate", "1e30"]
    printed = here(*fit, "--output", run, code=3)
    assert "model.learning_rate" in printed
    for name in ("metrics.csv", "cost.jsonl", "saving.json", "report.html", "done.json", "test_scores.parquet"):
        assert (run / name).is_file()
    assert not (run / "export").exists()
    assert not list(run.glob("checkpoints/*")), "no checkpoint is worth keeping"
    assert "step 2" in json.loads((run / "done.json").read_text())["failure"]
    for _ in range(2):
        text = (run / "report.html").read_text()
        assert Page(text).headline[0] == "red"
        assert "The training failed at step 2" in text
        here("report", run)
    assert names(here(*fit, "--output", run, code=2), run, "--overwrite"), "it does not begin again by itself"


def test_a_failed_warm_up_stops_the_run_and_stays_so(
    here: Here, arguments: list[str], data_folder: Path, tmp_path: Path
) -> None:
    texts = {"class_path": "LanguageModeling", "init_args": {"dataset": str(data_folder), "max_length": 16}}
    (tmp_path / "warm_up.yaml").write_text(json.dumps({"warm_up": {"data": texts, "learning_rate": 1e30}}))
    fit = ["fit", "--config", tmp_path / "warm_up.yaml", *arguments, "--output", tmp_path / "run"]
    for _ in range(2):
        printed = here(*fit, code=3)
        assert "warm_up.learning_rate" in printed
    assert not (tmp_path / "run" / "warm_up" / "export").exists()
    assert not (tmp_path / "run" / "done.json").exists()
    text = (tmp_path / "run" / "report.html").read_text()
    assert Page(text).headline == ("red", "Training failed")
    assert "The warm-up failed" in text


def test_a_scorer_that_cannot_be_tuned_stops_the_run(here: Here, arguments: list[str], tmp_path: Path) -> None:
    tuned = ["--scorer.tune.rows", "40", "--scorer.tune.learning_rate", "1e30", "--scorer.max_batch_tokens", "512"]
    margin = ["--data.selector", "TopK", "--data.selector.signal", "margin", "--data.keep", "0.2"]
    printed = here("select", *arguments, *margin, *tuned, "--output", tmp_path / "run", code=3)
    assert names(printed, "scorer.tune.learning_rate")
    assert not list((tmp_path / "cache" / "scorers").glob("*/export"))


def test_signals_of_a_broken_checkpoint_are_a_mistake(
    here: Here, selecting: list[str], broken: Path, tmp_path: Path
) -> None:
    own = ["--data.selector", "EntropyInterval", "--model.checkpoint", broken, "--output", tmp_path / "run"]
    assert names(here("fit", *selecting, *own, code=2), "generative_entropy", 216, "scorer.checkpoint")
    assert not (tmp_path / "run").exists(), "the corrected command finds its place"


# What is a problem.


def test_the_ends_of_a_training_are_its_first_and_last_fifth() -> None:
    losses = [float(step) for step in range(20)]
    assert ends(losses, losses, 20) == (1.5, 17.5)
    assert ends(losses[:1], losses[:1], 1) == (0.0, 0.0)
    assert ends([], [], 0) == (None, None)


@pytest.mark.parametrize(
    ("first", "last", "steps", "is_problem"),
    [
        (0.7, 0.6, 100, False),
        (0.7, 0.7, 100, True),
        (0.7, 9.0, 100, True),
        (0.7, 9.0, 19, False),
        (None, None, 0, False),
    ],
)
def test_a_loss_that_did_not_fall(first: float | None, last: float | None, steps: int, is_problem: bool) -> None:
    assert (loss_problem(first, last, steps) is not None) == is_problem


@pytest.mark.parametrize(
    ("value", "constant", "is_problem"),
    [(0.51, 0.5, False), (0.5, 0.5, True), (0.5166666507720947, 31 / 60, True), (math.nan, 0.0, True),
     (-0.1, 0.0, True), (1.0, 1.0, False)],
)  # fmt: skip
def test_a_metric_that_a_constant_answer_reaches(value: float, constant: float, is_problem: bool) -> None:
    problem = metric_problem("test/accuracy", value, constant, 1060)
    assert (problem is not None) == is_problem
    assert problem is None or names(problem.message, "test/accuracy", f"{constant:.4g}", "1,060")


def test_the_metrics_of_a_constant_answer_are_those_of_the_largest_class(data_folder: Path) -> None:
    metrics = ["accuracy", "macro_f1", "micro_f1", "matthews"]
    data = TextClassification(str(data_folder), metrics=metrics, seed=0)
    data.load()
    found, share = data.constant_metrics(), data.references()["majority_accuracy"]
    assert found["accuracy"] == found["micro_f1"] == pytest.approx(share)
    assert found["macro_f1"] == pytest.approx(share / (1 + share)), "the mean of 2 p / (1 + p) and 0"
    assert found["matthews"] == pytest.approx(0, abs=0.05), "torchmetrics adds a little where it is not defined"


def test_an_outcome_is_read_as_it_was_written(tmp_path: Path) -> None:
    outcome = TrainingOutcome(7, 0.5, None, (Problem("loss_did_not_fall", "It did not."),))
    outcome.write(tmp_path)
    assert TrainingOutcome.read(tmp_path) == outcome
    assert not outcome.failed
    (tmp_path / "training.json").write_text("{")
    with mistake(UserError, tmp_path / "training.json"):
        TrainingOutcome.read(tmp_path)
    assert TrainingOutcome.read(tmp_path / "nowhere") is None


def test_a_training_that_failed_is_demanded_back() -> None:
    from types import SimpleNamespace

    from selectune.callbacks.training_check import demand_trained

    check = TrainingCheck()
    demand_trained(SimpleNamespace(callbacks=[check]))
    check._of_fit.append(Problem("not_finite", "It failed."))
    with mistake(TrainingError, "It failed."):
        demand_trained(SimpleNamespace(callbacks=[check]))
