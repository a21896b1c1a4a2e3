"""Detect a training that fails: stop it where its loss is not finite, and warn where it did not learn."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch

from selectune.callbacks.cost_ledger import CostLedger
from selectune.common.errors import CheckpointError, TrainingError
from selectune.common.run_files import RunFiles
from selectune.common.training_outcome import ENDS, Problem, TrainingOutcome, ends, loss_problem, metric_problem

EVERY = 50  # steps between two checks of the losses, where the Trainer logs nothing
STUCK = 100  # losses in a row that are not finite, with finite weights: loss scaling recovers within far fewer
STAGES = {  # of FineTuner: their names in a message, and their learning rates
    "train": ("The training", "model.learning_rate"),
    "warm_up": ("The warm-up", "warm_up.learning_rate"),
    "tune_scorer": ("Tuning the scorer", "scorer.tune.learning_rate"),
    "dynamics": ("The training for training dynamics", "scorer.dynamics.learning_rate"),
    "proxy": ("A proxy training of the search", "its learning rate"),
}


class TrainingCheck(pl.Callback):
    """Stops a fit whose weights or losses are not finite, and warns of one that did not learn.

    `FineTuner` adds one to every Trainer that fits it. Losses stay on the device and are read every
    ``log_every_n_steps`` steps, before each validation and at the end, by all ranks at the same steps, so that all of
    them stop at the same one. A loss that is not finite is a failure only if the weights are not finite either, or if
    it does not recover: with loss scaling (``16-mixed``), a step that overflows is skipped, and training goes on.

    With a `CostLedger` that has a folder, the outcome is written there as ``training.json``.

    Warns:
        UserWarning: a problem was found.
    """

    def __init__(self) -> None:
        self._fitted = False
        self._reset()

    def _reset(self) -> None:
        self._waiting: list[torch.Tensor] = []  # losses on the device that were not read yet
        self._first: list[float] = []
        self._last: list[float] = []
        self._steps = self._not_finite = 0
        self._of_fit: list[Problem] = []
        self._of_test: list[Problem] = []
        self._evaluated: dict[str, int] = {}

    @property
    def failure(self) -> Problem | None:
        """The problem for which the fit was stopped, or its test is meaningless; None where there is none."""
        return self.outcome.not_finite

    @property
    def outcome(self) -> TrainingOutcome:
        """Mean losses at either end, and all problems, so far."""
        first, last = ends(self._first, self._last, self._steps)
        return TrainingOutcome(self._steps, first, last, (*self._of_fit, *self._of_test), dict(self._evaluated))

    def state_dict(self) -> dict[str, Any]:
        """Losses at either end, so that a resumed training is compared with its start."""
        return {"first": self._first, "last": self._last, "steps": self._steps}

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add the losses that were not read yet; on all ranks, as all of them save."""
        self._read(trainer, pl_module)
        if "callbacks" in checkpoint:  # where Lightning put `state_dict` before these losses were read
            checkpoint["callbacks"][self.state_key] = self.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the losses of a checkpoint."""
        self._first, self._last, self._steps = state_dict["first"], state_dict["last"], state_dict["steps"]

    # Lightning calls these, in this order.

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Forget an earlier fit."""
        if stage == "fit":
            self._reset()
            self._fitted = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Refuse weights that are not finite before anything is trained.

        Raises:
            CheckpointError: on every rank, since all of them have the same weights.
        """
        if finite_weights(pl_module):
            return
        if trainer.ckpt_path:  # it was saved between the failure and the check that would have found it
            self._stop(trainer, pl_module, "its weights are not finite")
        else:
            raise CheckpointError(
                f"The weights of {pl_module.source.described} are not all finite: it is damaged, or its own training "
                "failed; name another checkpoint."
            )

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Store the loss on its device, and read the stored ones from time to time."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, torch.Tensor):
            self._waiting.append(loss.detach())
        if len(self._waiting) >= (trainer.log_every_n_steps or EVERY):  # type: ignore[attr-defined]
            self._read(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Check before a checkpoint may be made of the weights that are validated."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Check the losses, and the weights too, which the last step may have spoilt after its loss was computed."""
        self._read(trainer, pl_module)
        if self.failure is None and not finite_weights(pl_module):
            self._stop(trainer, pl_module, "its weights are not finite")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Compare the loss at the end with that at the start."""
        outcome = self.outcome
        problem = loss_problem(outcome.first_loss, outcome.last_loss, outcome.steps)
        if problem is not None and self.failure is None:
            self._of_fit.append(problem)
        self._report(trainer, pl_module, self._of_fit)

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Compare the held-out metric of the model that was fitted with that of a constant answer."""
        if not self._fitted:
            return
        self._evaluated = pl_module.evaluated
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        loss, monitor = metrics.get("test/loss", 0.0), pl_module.head.monitor.partition("/")[2]
        self._of_test = []
        if not math.isfinite(loss):
            message = f"The loss on the held-out split is {loss}, so its metrics mean nothing."
            self._of_test.append(Problem("not_finite", message))
        if getattr(trainer.datamodule, "choose_on_test", False):  # type: ignore[attr-defined]
            message = "The held-out rows chose the checkpoint (data.choose_on_test), so its metrics there are too good."
            self._of_test.append(Problem("chosen_on_test", message))
        if (name := f"test/{monitor}") in metrics:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            constant, n_rows = data.constant_metrics().get(monitor), pl_module.evaluated.get("test")
            if constant is not None and (problem := metric_problem(name, metrics[name], constant, n_rows)) is not None:
                self._of_test.append(problem)
        self._report(trainer, pl_module, self._of_test)

    def _read(self, trainer: pl.Trainer, module: Any) -> None:
        """Check the losses that were not read yet."""
        if not self._waiting:
            return
        # one copy to the host for all of them; over ranks the mean, which one nan makes nan on every rank
        stacked = torch.stack(self._waiting).float() * trainer.accumulate_grad_batches
        losses = trainer.strategy.reduce(stacked, reduce_op="mean").cpu().tolist()
        self._waiting = []
        self._steps += len(losses)
        for loss in losses:
            self._not_finite = 0 if math.isfinite(loss) else self._not_finite + 1
        finite = [loss for loss in losses if math.isfinite(loss)]
        self._first = (self._first + finite)[:ENDS]
        self._last = (self._last + finite)[-ENDS:]
        if self._not_finite and self.failure is None and (self._not_finite >= STUCK or not finite_weights(module)):
            self._stop(trainer, module, f"its loss is {losses[-1]}", self._not_finite - 1)

    def _stop(self, trainer: pl.Trainer, module: Any, symptom: str, batches_ago: int = 0) -> None:
        """Let Lightning end the fit after this step, whatever its least number of steps."""
        step = math.ceil((self._steps - batches_ago) / trainer.accumulate_grad_batches)
        name, setting = STAGES.get(module.stage, STAGES["train"])
        fix = f"lower {setting} ({module.learning_rate:g})" if module.optimizer is None else "lower its learning rate"
        message = f"{name} failed at step {step:,} (epoch {trainer.current_epoch}): {symptom}; {fix}."
        self._of_fit.append(Problem("not_finite", message))
        trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None
        trainer.should_stop = True

    def _report(self, trainer: Any, module: Any, problems: list[Problem]) -> None:
        """Warn of problems, and write the outcome beside the ledger; on rank 0."""
        if trainer.global_rank != 0:
            return
        for problem in problems:
            warnings.warn(problem.message, UserWarning, stacklevel=2)
        costs = next((callback for callback in trainer.callbacks if isinstance(callback, CostLedger)), None)
        # what tunes a scorer, or stands for the whole training in a search, is not the run's own
        if costs is not None and costs.ledger.path is not None and costs.stage in ("train", "warm_up"):
            run = RunFiles(costs.ledger.path.parent)
            pool = getattr(trainer.datamodule, "pool", None)
            outcome = replace(self.outcome, model=module.source.described, data="" if pool is None else pool.source)
            outcome.write(run.warm_up.path if costs.stage == "warm_up" else run.path)


def training_failure(trainer: Any) -> Problem | None:
    """The problem for which a Trainer's fit was stopped; None where it was not."""
    checks = [callback for callback in trainer.callbacks if isinstance(callback, TrainingCheck)]
    return next((check.failure for check in checks if check.failure is not None), None)


def demand_trained(trainer: Any) -> None:
    """Refuse a training that was stopped.

    Raises:
        TrainingError: on every rank, its loss or weights are not finite.
    """
    if (problem := training_failure(trainer)) is not None:
        raise TrainingError(problem.message)


def finite_weights(module: torch.nn.Module) -> bool:
    """Whether all weights of a model are finite; one wait for the device."""
    finite = [weights.detach().isfinite().all() for weights in module.parameters()]
    return not finite or bool(torch.stack(finite).all().cpu())
