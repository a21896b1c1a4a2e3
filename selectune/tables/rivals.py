"""The runs of a comparison: a fit with a selection, or by a plan, and the rivals that it is judged against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles
from selectune.common.training_outcome import TrainingOutcome
from selectune.costs.saving import Saving
from selectune.runs.training_length import ends_after
from selectune.tables.grid import BUDGETS, Cell
from selectune.tables.layers import Config, setting, with_settings
from selectune.verdict.evidence import ARMS
from selectune.verdict.judge import total_flops

SELECTED = "selected"
ALL, RANDOM, FEWER = ARMS


@dataclass(frozen=True)
class Comparison:
    """A fit and its rivals.

    Args:
        output: the run directory of the fit that is judged; the other runs lie in ``compare`` inside it.
        seeds: of the runs; the first is the config's own, in `output`.
        rivals: of `ARMS`, those to run.
        config: of the fit, as its ``config.yaml`` holds it.
        whole: the config that its rivals are made of: without the plan that the fit follows, if it follows one.
    """

    output: Path
    seeds: list[int]
    rivals: tuple[str, ...]
    config: Config
    whole: Config

    @property
    def selects(self) -> bool:
        """Whether the fit selects rows."""
        return any(setting(self.config, f"data.{name}") is not None for name in ("selector", "selection"))

    @property
    def as_long(self) -> bool:
        """Whether the fit trains for as long as the training on all rows would."""
        return bool(self.config["trainer"] == self.whole["trainer"])

    def folder(self, name: str, seed: int) -> Path:
        """The run directory of the fit or of a rival at a seed."""
        if name == SELECTED and seed == self.seeds[0]:
            return self.output
        return RunFiles(self.output).rival(name, seed)

    def cell(self, name: str, seed: int, changes: dict[str, Any]) -> Cell:
        """A run that starts from the same weights as the fit does.

        A warm-up is run once, by the fit at its first seed, and the others start from what it gave.
        """
        folder = self.folder(name, seed)
        # A fit that ends in a mistake would leave rivals that rest on nothing.
        needs: tuple[Path, ...] = () if folder == self.output else (self.output,)
        if folder != self.output and self.config.get("warm_up"):
            changes = changes | {"warm_up": None, "model.checkpoint": str(RunFiles(self.output).warm_up.export)}
            needs = (RunFiles(self.output).warm_up.path,)
        if folder != self.output and self.config.get("pilot"):  # which made a forecast for one run alone
            changes = {"pilot": None} | changes
        if seed != self.seeds[0]:  # splits, selection and weights are all drawn anew
            changes = {"data.seed": None, "model.seed": None} | changes
        config = with_settings(self.config if name == SELECTED else self.whole, changes | {"seed_everything": seed})
        return Cell(name, name, "none", seed, folder, config, needs=needs, shown=folder == self.output)

    def cells(self) -> list[Cell]:
        """The runs whose configs are known by now: those that cost as much as a run are made when it is done."""
        cells = [self.cell(SELECTED, seed, {}) for seed in self.seeds]
        cells += [self.cell(ALL, seed, _select(None)) for seed in self.seeds if ALL in self.rivals]
        done = [seed for seed in self.seeds if RunFiles(self.folder(SELECTED, seed)).finished]
        for seed in done if RANDOM in self.rivals and self.as_long else ():
            matched = {"match": str(self.folder(SELECTED, seed)), "by": "cost"}
            cells.append(self.cell(RANDOM, seed, _select({"class_path": "Random", "init_args": matched})))
        pairs = [(seed, self.folder(SELECTED, seed), self.folder(ALL, seed)) for seed in done]
        whole = [pair for pair in pairs if RunFiles(pair[2]).finished]
        for seed, *folders in whole if FEWER in self.rivals and self.selects else ():
            cells.append(self.cell(FEWER, seed, _select(None) | self._fewer(*folders)))
        for seed, *folders in whole if RANDOM in self.rivals and not self.as_long else ():
            cells.append(self.cell(RANDOM, seed, _select({"class_path": "Random"}) | self._as_many(*folders)))
        return cells

    def _fewer(self, fit: Path, whole: Path) -> dict[str, Any]:
        """Trainer settings with which all rows cost what a fit with its selection did, the schedule compressed."""
        outcome, share = TrainingOutcome.read(whole), _share(fit, whole)
        if outcome is None:
            raise UserError(f"The steps of {whole} are not known; leave fewer_epochs out of --rivals.")
        accumulated = int(setting(self.config, "trainer.accumulate_grad_batches") or 1)
        batches = min(outcome.steps, max(1, round(outcome.steps * share)))
        epochs = max(1, round(batches / outcome.steps * (Saving.read(whole).epochs or 1)))
        return {f"trainer.{name}": value for name, value in ends_after(batches, epochs, accumulated).items()}

    def _as_many(self, fit: Path, whole: Path) -> dict[str, Any]:
        """The rows that cost as much, by their mean length, as a fit that trains for another time."""
        rows = Saving.read(whole).pool_rows
        return {"data.keep_rows": min(rows, max(1, round(rows * _share(fit, whole))))}


def _share(fit: Path, whole: Path) -> float:
    """The cost of a fit, as a share of that of training on all rows."""
    cost, full = total_flops(fit), total_flops(whole)
    if cost is None or not full:
        raise UserError(f"The FLOPs of {fit} or {whole} are not known; leave rivals of the same cost out of --rivals.")
    return cost / full


def _select(selector: Config | None) -> dict[str, Any]:
    """Settings of a data module that selects otherwise, without a budget."""
    names = ("selection", *BUDGETS)
    return {"data.selector": selector} | {f"data.{name}": None for name in names}
