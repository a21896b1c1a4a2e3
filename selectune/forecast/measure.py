"""A few real batches of scoring, training and evaluating, on throw-away weights, timed; and the memory they take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import psutil
import torch
from lightning.fabric.utilities import move_data_to_device

from selectune.callbacks import CostLedger
from selectune.callbacks.export import export
from selectune.costs.flops import FlopModel, UnfitFlopsError
from selectune.costs.ledger import Ledger
from selectune.costs.meters import finish_kernels, peak_rss
from selectune.costs.record import Total, add_up
from selectune.data.batches import plan_batches, tokens_at_once
from selectune.data.tokens import TokenizedRows
from selectune.forecast import plans
from selectune.forecast.ledger import at_pace_of
from selectune.lightning_modules.scorers.language import LanguageScorer, load_language_model
from selectune.lightning_modules.scorers.probe import EntropyProbe, fit_flops, fit_probe, fit_rows
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.forward import batch_of

if TYPE_CHECKING:
    from selectune.datamodules.base import SelectionDataModule
    from selectune.lightning_modules import FineTuner
    from selectune.lightning_modules.scorers.base import Scorer
    from selectune.signals.forward import TrainerFor

SECONDS = 15.0  # for each network and each training
ROWS = 1024  # that are scored, at most
TRIED_POSITIONS = 4096  # that a probe is fitted on
STEPS = 64
SKIPPED = 2  # first batches of training, which are slow


@dataclass(frozen=True)
class Effort:
    """The work that is measured, at most: seconds for each network and each training, rows scored, training steps."""

    seconds: float
    rows: int
    steps: int

    @property
    def batches(self) -> int:
        """Batches that a training takes, the first ones included."""
        return SKIPPED + self.steps


def usual() -> Effort:
    """The work that times are precise by."""
    return Effort(SECONDS, ROWS, STEPS)


QUICK = Effort(1.0, 64, 3)  # FLOPs are as exact, times are not
FAIR = Effort(4.0, 256, 16)  # where times are told, and nothing is decided by them


class Memory:
    """Peak memory from here on."""

    def __init__(self) -> None:
        self._before, self._highest = psutil.Process().memory_info().rss, peak_rss()

    def peak(self, scale: float) -> int:
        """The peak, if the batches since then were so many times larger."""
        highest, now = peak_rss(), psutil.Process().memory_info().rss
        # A peak from before, as of loading a model, is not due to the batches.
        grown = max(0, (highest if highest > self._highest else now) - self._before)
        return max(highest, int(self._before + grown * scale))


@dataclass
class Scored:
    """Rows that were scored and their signals by name, with what scoring whole pools one after the other takes."""

    rows: np.ndarray  # row ids, ascending
    values: dict[str, np.ndarray]
    cost_of: Callable[..., Total]  # from making the scorer on, by the tokens of each pool


def time_scoring(
    scorer: Scorer, began: float, rows: Rows, scoring: ScoringModel, device: torch.device, effort: Effort
) -> Scored:
    """Score rows of a pool, of all lengths, until there are enough of them or the time is up.

    Making the scorer `began` then.
    """
    scorer = scorer.to(device)
    flops, product = None, 0.0
    with suppress(UnfitFlopsError):
        flops, product = scorer.flops()
    start = Total(device_s=time.perf_counter() - began)
    work_of = partial(plans.scoring, flops=flops, product=product, passes_of=scorer.passes_of)

    lengths, pad_id = rows.tokens.lengths, int(scoring.tokenizer.pad_token_id or 0)
    sample = np.argsort(-lengths, kind="stable")[
        np.linspace(0, len(lengths) - 1, min(effort.rows, len(lengths))).astype(int)
    ]
    most = tokens_at_once(scoring.max_batch_tokens, device)  # so that the sample fills several
    batches = [sample[part] for part in plan_batches(lengths[sample], most)]
    order = np.random.default_rng(0).permutation(len(batches))  # so that those that are timed have all lengths
    half = torch.bfloat16 if scoring.precision == "bf16" else None
    timed: list[np.ndarray] = []
    signals: list[dict[str, np.ndarray]] = []
    seconds, memory = 0.0, Memory()
    for place, i in enumerate([order[0], *order]):  # the first one is slow, and done twice
        ids = batches[i]
        batch = move_data_to_device(batch_of(rows, ids, 0, scorer, pad_id), device)
        finish_kernels()
        began = time.perf_counter()
        with torch.inference_mode(), torch.autocast(device.type, half, enabled=half is not None):
            values = scorer.predict_step(batch, 0)
        finish_kernels()
        if place == 0:
            continue
        seconds += time.perf_counter() - began
        timed.append(ids)
        signals.append({name: values[name].cpu().numpy() for name in scorer.wanted})
        if seconds > effort.seconds and len(timed) >= min(3, len(batches)):
            break
    peak = memory.peak(scoring.max_batch_tokens / most)
    measured = replace(work_of(rows.tokens, timed), device_s=seconds, peak_rss_bytes=peak)

    def cost_of(*pools: TokenizedRows) -> Total:
        plans_of = ((tokens, plan_batches(tokens.lengths, scoring.max_batch_tokens)) for tokens in pools)
        return sum((at_pace_of(measured, work_of(*plan)) for plan in plans_of), start)

    scored = np.concatenate(timed)
    by_row = np.argsort(scored)
    values = {name: np.concatenate([one[name] for one in signals])[by_row] for name in scorer.wanted}
    return Scored(scored[by_row], values, cost_of)


def time_probe(
    rows: Rows, scoring: ScoringModel, device: torch.device, effort: Effort
) -> tuple[EntropyProbe, Scored, Total]:
    """A probe of random weights, which takes the time of a fitted one; the exact entropies that it learns; and the
    cost until it is fitted and checked.

    Raises:
        UnfitProbeError: a probe does not pay for itself in such a pool.
    """
    began = time.perf_counter()
    fit, held_out = fit_rows(rows.pool.text_hash, rows.n_tokens)
    network = load_language_model(scoring.source, scoring.estimator)
    scorer = LanguageScorer(network, ["generative_entropy"], scoring.estimator)
    exact = time_scoring(scorer, began, rows, scoring, device, effort)
    width = int(network.config.hidden_size) * len(scoring.layers)
    probe = EntropyProbe(width, math.log(network.config.vocab_size)).requires_grad_(False)
    n_fit, n_held_out = (int(rows.n_tokens[ids].sum()) for ids in (fit, held_out))
    flops = float(fit_flops(width, n_fit))

    states = torch.from_numpy(np.random.default_rng(0).normal(size=(TRIED_POSITIONS, width))).float().to(device)
    began = time.perf_counter()
    fit_probe(states, states[:, 0].abs(), 1.0, 0, epochs=1)
    fit_s = (time.perf_counter() - began) * flops / fit_flops(width, TRIED_POSITIONS, 1)
    fitting = Total(device_s=fit_s, flops=flops + probe.flops() * n_held_out)
    return probe, exact, exact.cost_of(rows.tokens.take(fit), rows.tokens.take(held_out)) + fitting


@dataclass
class Trained:
    """Costs of training and evaluating with one head, as measured."""

    forward: FlopModel | None  # of a row; None when unknown, as are the following two
    both: FlopModel | None  # with the backward pass
    a_step: float | None  # FLOPs of a step of the optimizer
    steps: Total  # of the timed batches
    evaluations: Total  # likewise
    save_s: float  # seconds that writing a whole checkpoint takes
    parameters: int  # of the network


class _FewBatches(CostLedger):
    """A ledger of the batches after the first ones, which ends the training where it has enough of them."""

    batches = 0

    def __init__(self, effort: Effort) -> None:
        super().__init__(ledger=Ledger())
        self.effort = effort

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.batches += 1
        assert self._training is not None
        if self.batches == SKIPPED:
            self._training = self.ledger.open(self.stage)
        late = self._training.seconds > self.effort.seconds and self.batches > SKIPPED + 2
        if late or self.batches >= self.effort.batches:
            trainer.should_stop = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        assert self._evaluation is not None
        self._evaluation.pause()  # what follows does not grow with the batches

    def flops(self, module: FineTuner) -> tuple[FlopModel | None, FlopModel | None, int | None]:
        """FLOPs of a row forward, of a row with the backward pass, and of a step; None when unknown."""
        forward, both = (self.counts.flops_of(module, backward) for backward in (False, True))
        known = [model if isinstance(model, FlopModel) else None for model in (forward, both)]
        return known[0], known[1], self.counts.step


def time_training(
    module: FineTuner, data: SelectionDataModule, trainer_for: TrainerFor, folder: Path, effort: Effort
) -> Trained:
    """Train some steps, whose weights are thrown away, and evaluate some batches of ``dev``.

    Args:
        module: fresh.
        data: that it trains on, see `SelectionDataModule.trained_on`.
        trainer_for: see `TrainerFor`; its Trainers write nothing.
        folder: where the model is left as ``export``, in Hugging Face format, for what comes after.
        effort: the steps.
    """
    costs = _FewBatches(effort)
    trainer = trainer_for(callbacks=[costs], max_epochs=1000, max_steps=effort.batches, limit_val_batches=0)
    trainer.fit(module, data, weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    trainer.save_checkpoint(folder / "timed.ckpt")
    save_s = time.perf_counter() - began
    (folder / "timed.ckpt").unlink()
    export(module, data, folder / "export")

    forward, both, a_step = costs.flops(module)  # counted before evaluating is timed
    evaluator = trainer_for(callbacks=[costs], max_epochs=1, limit_val_batches=4)
    evaluator.validate(module, data, verbose=False, weights_only=True)
    steps, evaluations = (add_up([record]) for record in costs.ledger.records)
    parameters = sum(weight.numel() for weight in module.network.parameters())
    return Trained(forward, both, a_step, steps, evaluations, save_s, parameters)
