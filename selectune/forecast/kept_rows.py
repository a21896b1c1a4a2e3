"""The rows that a data module will train on, and what a saving counts of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from time import perf_counter

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
from selectune.selection.manifest import Selection
from selectune.selection.request import SelectionRequest
from selectune.selection.stage import earlier_selection, scoring_model
from selectune.selectors.base import Budget
from selectune.signals.definitions import Rows, ScoringModel


class KeptRows:
    """The rows that a data module will train on, as far as a sample tells.

    Args:
        request: the selection that is asked for; None where all rows are trained on.
        data: that is trained on.
        tuner: will train on them.
        part: whose data it is.
        tally: what is charged.
        notes: on what the forecast rests.
        tune: lets a model stand for the tuned scorer, where one is asked for.

    Attributes:
        rows: row ids, ascending.
        lengths: tokens of each row of the pool, as a saving counts them.
        earlier: an earlier selection that is used.
        selecting: how they were selected; None where nothing is selected here.
    """

    def __init__(
        self,
        request: SelectionRequest | None,
        data: SelectionDataModule,
        tuner: FineTuner,
        part: Part,
        tally: Tally,
        notes: list[str],
        tune: Callable[[SelectionRequest, ScoringModel], None],
    ) -> None:
        self.request, self.part, self.data = request, part, data
        self.rows = np.arange(len(data.pool))
        self.lengths = np.ones(len(data.pool), dtype=np.int64)
        self.selecting: Selecting | None = None
        self.earlier: Selection | None = None
        self.scorer: ModelSource | None = None
        if request is None:
            return
        if request.earlier is not None:
            ledger = Ledger(device=tally.device)
            self.earlier = earlier_selection(request, ledger)
            tally.records += ledger.records
            self.rows = self.earlier.rows
            return
        assert request.selector is not None
        scoring = scoring_model(request, tuner, Ledger(device=tally.device))
        began = perf_counter()
        tokens = request.tokenized(request.pool, scoring.tokenizer)
        self.pool = Rows(request.pool, tokens, request.labels)
        self.lengths = tokens.lengths
        budget = request.budget.of(len(tokens), int(self.pool.n_tokens.sum()))
        assert request.pool.fingerprint
        tally.charge("prepare", part, plans.Work(len(tokens)), perf_counter() - began, "no arithmetic")
        if scoring.tuned:
            tune(request, scoring)
        self.selecting = Selecting(request, scoring, tally, torch.device(tally.device), notes)
        self.rows = self.selecting.choose(request.selector, self.pool, budget).rows
        self.scorer = scoring.source

    @property
    def chooses(self) -> bool:
        """Whether rows are chosen, here or by an earlier selection."""
        return self.selecting is not None or self.earlier is not None

    @property
    def whole(self) -> np.ndarray:
        """Row ids that a saving compares with: for a warm-up those that a pre-screen leaves, if there is one."""
        screened = self.selecting.screened if self.selecting else None
        return np.arange(len(self.lengths)) if screened is None or self.part == "fit" else screened

    @property
    def sizes(self) -> dict[str, int]:
        """Rows and tokens, kept and of the pool, as `compute_saving` takes them."""
        if self.earlier is not None and self.part == "warm_up":
            told = asdict(self.earlier.manifest)
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
        assert self.request is not None
        assert self.request.selector is not None
        budget = Budget(rows=max(1, int(len(self.whole) * keep + 0.5)))
        try:
            rows = self.selecting.again(self.request.selector, self.pool, budget).rows
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
        if self.earlier is not None:
            told = self.earlier.manifest
            return ScorerRatio.of(tally.records, told.scorer, model, told.scorer_parameters, parameters, self.part)
        if self.scorer is None:
            return None
        scorer = model if same else self.scorer.described
        return ScorerRatio.of(tally.records, scorer, model, n_parameters(self.scorer.folder), parameters, self.part)
