"""Runs that fine-tune on rows of a pool at a cost that is known beforehand, and the file that they are kept in."""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from _outcomes import figures
from _pools import CleanRows
from pool_faults import FaultyPool

from selectune.callbacks import CostLedger
from selectune.common.flop_formulas import adamw_flops
from selectune.common.seeds import stage_seed
from selectune.costs.flops import FlopModel
from selectune.costs.ledger import Ledger
from selectune.costs.record import code_version, totals
from selectune.data.batches import TrainSampler
from selectune.data.sources import find_model
from selectune.datamodules import TextClassification
from selectune.lightning_modules import FineTuner
from selectune.lightning_modules.scorers.settings import Generative, ScorerSettings
from selectune.selection.manifest import Selection
from selectune.selection.stage import select_rows
from selectune.selectors.base import Selector

BUDGET = 0.5  # the budget is that share of all epochs on all rows
LEARNING_RATE = 1e-4
PRECISION = "bf16-mixed"  # of the training; 1.6 times as fast on the core that this was measured on
# half of the default, as batches of so small a pool would be padded more
SCORER = ScorerSettings(generative=Generative(head="probe"), max_batch_tokens=1024)


@dataclass(frozen=True)
class Run:
    """A line of the file; costs are FLOPs, times seconds, figures shares of the held-out rows."""

    data: str
    fault: str
    share: float
    seed: int
    arm: str
    max_length: int
    rows: int
    steps: int
    epochs: float
    faulty_rows: int  # of those trained on
    budget_flops: float
    selection_flops: float
    training_flops: float
    accuracy: float
    macro_f1: float
    accuracy_at_prior: float
    macro_f1_at_prior: float
    seconds: float
    commit: str

    @property
    def key(self) -> tuple[str, str, int, str]:
        """A run is done once."""
        return self.data, self.fault, self.seed, self.arm

    @property
    def off_budget(self) -> float:
        """Cost over the budget, as a share of it."""
        return (self.selection_flops + self.training_flops) / self.budget_flops - 1


@dataclass(frozen=True)
class Settings:
    """Settings of a training.

    Args:
        model: that learns.
        max_length: tokens of a row.
        epochs: on the rows that are chosen.
        batch_size: of a step.
        scorer: that chooses.
        dev_rows: spare clean rows that a selector may compare the pool with; 0 for the rows that are tested on.
    """

    model: str
    max_length: int
    epochs: int = 3
    batch_size: int = 16
    scorer: ScorerSettings = field(default_factory=lambda: SCORER)
    dev_rows: int = 0


class Training:
    """Trains the model on rows of one pool, at a cost that is known beforehand.

    Args:
        pool: with a fault.
        clean: the rows that it was made of.
        folder: in which the data set is written.
        settings: of the training.
    """

    def __init__(self, pool: FaultyPool, clean: CleanRows, folder: Path, settings: Settings) -> None:
        from datasets import Dataset

        self.pool, self.clean, self.settings = pool, clean, settings
        held_out, n = (clean.held_out, clean.held_out_labels), settings.dev_rows
        dev = (clean.spare[:n], clean.spare_labels[:n]) if n else held_out
        splits = {"train": (pool.texts, pool.labels), "test": held_out, "validation": dev}
        for name, (texts, labels) in splits.items():
            Dataset.from_dict({"text": list(texts), "label": labels}).to_parquet(folder / f"{name}.parquet")
        self.data = partial(
            TextClassification, dataset=str(folder), dev_split="validation", test_split="test", seed=clean.seed,
            max_length=settings.max_length, batch_size=settings.batch_size,
        )  # fmt: skip
        self.all_rows = self._loaded()
        self.lengths = self.all_rows.tokenized("train", self.all_rows.tokenizer).lengths
        self.budget = BUDGET * self.cost(np.arange(len(self.lengths)))

    def _loaded(self, selector: Selector | None = None, keep_rows: int | None = None) -> Any:
        data = self.data(selector=selector, keep_rows=keep_rows)
        data.load(find_model(self.settings.model))
        return data

    @cached_property
    def flops(self) -> tuple[FlopModel, float]:
        """FLOPs of training on a row, and of a step of the optimizer."""
        head = self.all_rows.head()
        network = head.build(find_model(self.settings.model)).train()
        return head.flops(network, True), float(adamw_flops(sum(w.numel() for w in network.parameters())))

    def step_costs(self, rows: np.ndarray) -> Any:
        """FLOPs of each step of a training on some rows, epoch after epoch without end."""
        of_rows, of_step = self.flops
        sampler = TrainSampler(self.lengths[rows], self.settings.batch_size, stage_seed(self.clean.seed, "shuffle"))
        for epoch in count():
            sampler.set_epoch(epoch)
            for batch in sampler.batches():
                yield of_rows.of_batch(len(batch), int(sampler.lengths[batch].max())) + of_step

    def cost(self, rows: np.ndarray) -> float:
        """FLOPs of all epochs."""
        steps = self.settings.epochs * self.steps_of_an_epoch(rows)
        return float(sum(cost for cost, _ in zip(self.step_costs(rows), range(steps))))

    def steps_of_an_epoch(self, rows: np.ndarray) -> int:
        """Batches that rows make."""
        return -(-len(rows) // self.settings.batch_size)

    def steps_for(self, rows: np.ndarray, flops: float) -> int:
        """The number of steps whose cost comes nearest to so many FLOPs, at least one."""
        spent = 0.0
        for steps, cost in enumerate(self.step_costs(rows)):
            if spent + cost / 2 > flops and steps:
                return steps
            spent += cost
        raise AssertionError("unreachable")

    def select(self, selector: Selector, keep_rows: int) -> tuple[Selection, float]:
        """The rows that a selector keeps, and what they cost whether or not a cache had some of it."""
        data = self._loaded(selector, keep_rows)
        request = data.request(self.settings.scorer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # exhausted classes, concentrated entropies: what is measured
            tuner = FineTuner(self.settings.model, seed=self.clean.seed)
            selection = select_rows(request, tuner, trainer, Ledger(), None)
        costs = [cost["flops"] for cost in selection.manifest.costs]
        assert None not in costs, "a selection whose FLOPs are not known has no equal"
        return selection, float(sum(costs))

    def chosen(self, selector: Selector | None) -> tuple[Selection | None, np.ndarray, float]:
        """The rows for which all epochs spend the budget, or all that a filter leaves, and the FLOPs of choosing."""
        everything = np.arange(len(self.lengths))
        if selector is None:
            return None, everything, 0.0
        first, _ = self.select(selector, self.settings.batch_size)
        least, most = self.settings.batch_size, left(first.manifest.diagnostics, len(everything))
        tried: list[tuple[float, Selection, float]] = []
        while least <= most:  # a band that holds more rows may hold shorter ones, so the best of all is kept
            keep = (least + most) // 2
            selection, cost = self.select(selector, keep)
            over = self.cost(selection.rows) / (self.budget - cost) - 1
            tried.append((abs(over), selection, cost))
            least, most = (least, keep - 1) if over > 0 else (keep + 1, most)
        _, selection, cost = min(tried, key=lambda each: each[0])
        return selection, selection.rows, cost

    def run(self, arm: str, fault: str, share: float, selector: Selector | None) -> Run:
        """Select, train and test one arm; without a selector on all rows."""
        began = time.perf_counter()
        selection, rows, selecting = self.chosen(selector)
        steps = self.steps_for(rows, self.budget - selecting)
        data = self.all_rows if selection is None else self.all_rows.with_selection(selection)
        ledger, model = Ledger(), FineTuner(self.settings.model, learning_rate=LEARNING_RATE, seed=self.clean.seed)
        settings: dict[str, Any] = {
            "max_steps": steps,
            "max_epochs": -1,
            "precision": PRECISION,
            "limit_val_batches": 0,
        }
        fitting = trainer(callbacks=[CostLedger(ledger=ledger)], **settings)
        fitting.fit(model, data)
        training = totals(ledger.records).spent["train"].flops
        assert training is not None
        predicted: Any = fitting.predict(model, data)
        names, true = data.label_names, data.labels["test"]
        numbers = {name: number for number, name in enumerate(names)}
        guessed = np.empty(len(true), dtype=np.int64)
        for batch in predicted:
            guessed[batch["row_id"]] = [numbers[name] for name in batch["prediction"]]
        return Run(
            self.clean.name, fault, share, self.clean.seed, arm, self.settings.max_length, len(rows), steps,
            round(steps / self.steps_of_an_epoch(rows), 3), int(self.pool.faulty[rows].sum()), self.budget, selecting,
            float(training), *figures(true, guessed, self.pool.labels), round(time.perf_counter() - began, 1),
            code_version(),
        )  # fmt: skip


def left(diagnostics: dict[str, Any], n_rows: int) -> int:
    """Rows that the filters of a chain left to its last selector."""
    while "prefilter" in diagnostics:
        n_rows, diagnostics = diagnostics["prefilter"]["rows"], diagnostics["selector"]
    return n_rows


def trainer(**settings: Any) -> pl.Trainer:
    """A Trainer that writes nothing."""
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator="cpu", devices=1, enable_model_summary=False, **quiet | settings)


def quiet() -> None:
    """Keep Lightning's words of each small training off the terminal."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
