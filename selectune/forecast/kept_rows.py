"""The rows that a data module will train on, and what a saving counts of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from selectune.common.errors import BudgetError
from selectune.costs.ledger import Ledger
from selectune.costs.record import Part
from selectune.costs.saving import percent
from selectune.costs.scorer_ratio import ScorerRatio, n_parameters
from selectune.data.sources import ModelSource
from selectune.datamodules.base import SelectionDataModule
from selectune.forecast import plans
from selectune.forecast.ledger import Tally
from selectune.forecast.sampled_selection import Selecting
from selectune.lightning_modules import FineTuner
from selectune.selection.stage import scoring_model, use_selection
from selectune.selectors.base import Budget
from selectune.signals.definitions import Rows

if TYPE_CHECKING:
    from selectune.forecast.forecaster import Forecaster


class Chosen:
    """The rows that a data module will train on.

    Attributes:
        rows: row ids, ascending.
        lengths: tokens of each row of the pool, as a saving counts them.
        selecting: how they were chosen; None where nothing is chosen here.
    """

    def __init__(
        self, forecaster: Forecaster, data: SelectionDataModule, tuner: FineTuner, part: Part, folder: Path
    ) -> None:
        self.data, self.part = data, part
        self.rows = np.arange(len(data.pool))
        self.lengths = np.ones(len(data.pool), dtype=np.int64)
        self.selecting: Selecting | None = None
        self.scorer: ModelSource | None = None
        tally = forecaster.tally
        if data.selection is not None:
            ledger = Ledger(device=tally.device)
            use_selection(data, ledger, part)
            tally.records += ledger.records
            assert data.chosen is not None
            self.rows = data.chosen.rows
            return
        if data.selector is None:
            return
        scoring = scoring_model(data, tuner, Ledger(device=tally.device))
        began = perf_counter()
        tokens = data.tokenized("train", scoring.tokenizer)
        self.pool = Rows(data.pool, tokens, data.labels.get("train"))
        self.lengths = tokens.lengths
        budget = data.budget(int(self.pool.n_tokens.sum()))
        assert data.pool.fingerprint
        tally.charge("prepare", part, plans.Work(len(tokens)), perf_counter() - began, "no arithmetic")
        if scoring.tuned:
            forecaster.tune(data, scoring, part, tuner.seed, folder)
        device = torch.device(tally.device)
        self.selecting = Selecting(data, scoring, tally, part, device, forecaster.notes)
        self.rows = self.selecting.choose(data.selector, self.pool, budget).rows
        self.scorer = scoring.source

    @property
    def chooses(self) -> bool:
        """Whether rows are chosen, here or by an earlier selection."""
        return self.selecting is not None or self.data.chosen is not None

    @property
    def whole(self) -> np.ndarray:
        """Row ids that a saving compares with: for a warm-up those that a pre-screen leaves, if there is one."""
        screened = self.selecting.screened if self.selecting else None
        return np.arange(len(self.data.pool)) if screened is None or self.part == "fit" else screened

    @property
    def sizes(self) -> dict[str, int]:
        """Rows and tokens, kept and of the pool, as `compute_saving` takes them."""
        if self.data.chosen is not None and self.part == "warm_up":
            told = asdict(self.data.chosen.manifest)
            pool = told.get("screened") or {"rows": told["pool_rows"], "input_tokens": told["pool_input_tokens"]}
            kept = told["n_rows"], told["budget"]["input_tokens"]
        else:
            kept = len(self.rows), int(self.lengths[self.rows].sum())
            pool = {"rows": len(self.whole), "input_tokens": int(self.lengths[self.whole].sum())}
        return {
            "kept_rows": kept[0], "kept_tokens": kept[1], "pool_rows": pool["rows"],
            "pool_tokens": pool["input_tokens"],
        }  # fmt: skip

    def kept_share(self, keep: float) -> float | None:
        """The share of the tokens that is kept at a share of the rows; None where it cannot be kept."""
        assert self.selecting is not None
        assert self.data.selector is not None
        budget = Budget(rows=max(1, int(len(self.whole) * keep + 0.5)))
        try:
            rows = self.selecting.again(self.data.selector, self.pool, budget).rows
        except BudgetError:
            return None
        return float(self.lengths[rows].sum() / self.lengths[self.whole].sum())

    def kept_note(self) -> str:
        """How many tokens are kept; empty where that is no estimate."""
        if self.selecting is None:
            return ""
        sizes = self.sizes
        return (
            f"With {sizes['kept_rows']:,} of {sizes['pool_rows']:,} rows about "
            f"{percent(sizes['kept_tokens'] / sizes['pool_tokens'])} of the tokens are kept: an estimate, from rows "
            "that were scored and the lengths of all."
        )

    def ratio(self, tally: Tally, model: str, parameters: int, same: bool) -> ScorerRatio | None:
        """The scorer beside the model.

        Args:
            tally: what was charged.
            model: that is trained, as it was found.
            parameters: its weights.
            same: whether the checkpoint scores that the training starts from.
        """
        if self.data.chosen is not None:
            told = self.data.chosen.manifest
            return ScorerRatio.of(tally.records, told.model, model, told.model_parameters, parameters, self.part)
        if self.scorer is None:
            return None
        scorer = model if same else self.scorer.described
        return ScorerRatio.of(tally.records, scorer, model, n_parameters(self.scorer.folder), parameters, self.part)
