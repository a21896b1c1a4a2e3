"""Notice a training that fails: stop it where its loss is not finite, and say so where it did not learn."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from selectune.callbacks.cost_ledger import CostLedger
from selectune.common.errors import CheckpointError, TrainingError
from selectune.common.run_files import RunFiles
from selectune.common.training_outcome import ENDS, Problem, TrainingOutcome, ends, loss_problem, metric_problem

EVERY = 50  # steps between two looks at the losses, where the Trainer logs nothing
STUCK = 100  # losses in a row that are not finite, with finite weights: loss scaling recovers within far fewer
STAGES = {  # of FineTuner: what a message calls them, and their learning rate
    "train": ("The training", "model.learning_rate"),
    "warm_up": ("The warm-up", "warm_up.learning_rate"),
    "tune_scorer": ("Tuning the scorer", "scorer.tune.learning_rate"),
    "proxy": ("A proxy training of the search", "its learning rate"),
}


class TrainingCheck(pl.Callback):
    """Stops a fit whose weights or losses are not finite, and warns of one that did not learn.

    `FineTuner` adds one to every Trainer that fits it. Losses stay on the device and are read every
    ``log_every_n_steps`` steps, before each validation and at the end, by all ranks at the same steps, so that all of
    them stop together. A loss that is not finite is a failure only if the weights are not finite either, or if it does
    not recover: with loss scaling (``16-mixed``), a step that overflows is skipped, and training goes on.

    With a `CostLedger` that has a folder, the outcome is written there as ``training.json``.

    Warns:
        UserWarning: a problem was found.
    """

    def __init__(self) -> None:
        self._fitted = False
        self._reset()

    def _reset(self) -> None:
        self._waiting: list[torch.Tensor] = []
        self._first: list[float] = []
        self._last: list[float] = []
        self._steps = self._not_finite = 0
        self._of_fit: list[Problem] = []
        self._of_test: list[Problem] = []

    @property
    def failure(self) -> Problem | None:
        """The problem for which the fit was stopped, or its test means nothing; None where there is none."""
        return next((problem for problem in (*self._of_fit, *self._of_test) if problem.kind == "not_finite"), None)

    @property
    def outcome(self) -> TrainingOutcome:
        """The losses at either end, and all problems, so far."""
        first, last = ends(self._first, self._last, self._steps)
        return TrainingOutcome(self._steps, first, last, (*self._of_fit, *self._of_test))

    def state_dict(self) -> dict[str, Any]:
        """The losses at either end, so that a resumed training is compared with its start."""
        return {"first": self._first, "last": self._last, "steps": self._steps}

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add the losses that wait, which are not in `state_dict` yet; on all ranks, as all of them save."""
        self._read(trainer, pl_module)
        if "callbacks" in checkpoint:
            checkpoint["callbacks"][self.state_key] = self.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's."""
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
        if trainer.ckpt_path:  # it was saved between the failure and the look that would have found it
            self._stop(trainer, pl_module, "its weights are not finite")
        else:
            raise CheckpointError(
                f"The weights of {pl_module.source.described} are not all finite: it is damaged, or its own training "
                "failed; name another checkpoint."
            )

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the loss on its device, and look at those that wait from time to time."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, torch.Tensor):
            self._waiting.append(loss.detach())
        if len(self._waiting) >= (trainer.log_every_n_steps or EVERY):  # type: ignore[attr-defined]
            self._read(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look before a checkpoint may be taken from what is validated."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._look(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look a last time."""
        self._look(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Compare the loss at the end with that at the start."""
        outcome = self.outcome
        problem = loss_problem(outcome.first_loss, outcome.last_loss, outcome.steps)
        if problem is not None and self.failure is None:
            self._of_fit.append(problem)
        self._tell(trainer, self._of_fit)

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Compare the held-out metric of the model that was fitted with that of a constant answer."""
        if not self._fitted:
            return
        self._of_test = list(_test_problems(trainer, pl_module))
        self._tell(trainer, self._of_test)

    # Helpers.

    def _look(self, trainer: pl.Trainer, module: Any) -> None:
        """Read what waits, and the weights too, which the last step may have spoilt after its loss was computed."""
        self._read(trainer, module)
        if self.failure is None and not finite_weights(module):
            self._stop(trainer, module, "its weights are not finite")

    def _read(self, trainer: pl.Trainer, module: Any) -> None:
        if not self._waiting:
            return
        # one copy to the host for all of them; over ranks the mean, which one nan makes nan on every rank
        stacked = torch.stack(self._waiting).float() * trainer.accumulate_grad_batches
        losses = trainer.strategy.reduce(stacked, reduce_op="mean").cpu().tolist()
        self._waiting = []
        self._steps += len(losses)
        for loss in losses:
            self._not_finite = 0 if math.isfinite(loss) else self._not_finite + 1
        known = [loss for loss in losses if math.isfinite(loss)]
        self._first = (self._first + known)[:ENDS]
        self._last = (self._last + known)[-ENDS:]
        if self._not_finite and self.failure is None and (self._not_finite >= STUCK or not finite_weights(module)):
            self._stop(trainer, module, f"its loss is {losses[-1]}", self._not_finite - 1)

    def _stop(self, trainer: pl.Trainer, module: Any, found: str, batches_ago: int = 0) -> None:
        """Let Lightning end the fit after this step, whatever it was to train at least."""
        step = math.ceil((self._steps - batches_ago) / trainer.accumulate_grad_batches)
        name, setting = STAGES.get(module.stage, STAGES["train"])
        mend = f"lower {setting} ({module.learning_rate:g})" if module.optimizer is None else "lower its learning rate"
        message = f"{name} failed at step {step:,} (epoch {trainer.current_epoch}): {found}; {mend}."
        self._of_fit.append(Problem("not_finite", message))
        trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None
        trainer.should_stop = True

    def _tell(self, trainer: pl.Trainer, problems: list[Problem]) -> None:
        if trainer.global_rank != 0:
            return
        for problem in problems:
            warnings.warn(problem.message, UserWarning, stacklevel=2)
        folder = _folder(trainer)
        if folder is not None:
            self.outcome.write(folder)


def training_failure(trainer: Any) -> Problem | None:
    """The problem for which a Trainer's fit was stopped; None where it was not."""
    checks = [callback for callback in trainer.callbacks if isinstance(callback, TrainingCheck)]
    return next((check.failure for check in checks if check.failure is not None), None)


def demand_trained(trainer: Any) -> None:
    """Let a training pass that was not stopped.

    Raises:
        TrainingError: on every rank, its loss or weights are not finite.
    """
    if (problem := training_failure(trainer)) is not None:
        raise TrainingError(problem.message)


def finite_weights(module: torch.nn.Module) -> bool:
    """Whether all weights of a model are finite; one wait for the device."""
    finite = [weights.detach().isfinite().all() for weights in module.parameters()]
    return not finite or bool(torch.stack(finite).all().cpu())


def _test_problems(trainer: Any, module: Any) -> list[Problem]:
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    loss, name = metrics.get("test/loss", 0.0), f"test/{module.head.monitor.partition('/')[2]}"
    found: list[Problem | None] = []
    if not math.isfinite(loss):
        found.append(Problem("not_finite", f"The loss on the held-out split is {loss}, so its metrics mean nothing."))
    constant = trainer.datamodule.constant_metrics().get(name.removeprefix("test/")) if name in metrics else None
    if constant is not None:
        found.append(metric_problem(name, metrics[name], constant))
    return [problem for problem in found if problem is not None]


def _folder(trainer: Any) -> Path | None:
    """The folder that the outcome belongs into: the ledger's, for a warm-up the one inside it."""
    costs = next((callback for callback in trainer.callbacks if isinstance(callback, CostLedger)), None)
    if costs is None or costs.ledger.path is None or costs.stage not in ("train", "warm_up"):
        return None  # what tunes a scorer, or stands for the whole training in a search, is not the run's own
    run = RunFiles(Path(costs.ledger.path).parent)
    return run.warm_up.path if costs.stage == "warm_up" else run.path
