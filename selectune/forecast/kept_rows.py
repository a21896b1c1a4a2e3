"""Estimated rows that a data module will train on, and the sizes that a saving needs of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selectune.common.errors import BudgetError
from selectune.costs.record import CostRecord, Part
from selectune.costs.saving import percent
from selectune.costs.scorer_ratio import ScorerRatio, n_parameters
from selectune.forecast.sampled_selection import Selecting
from selectune.selection.manifest import Selection
from selectune.selection.request import SelectionRequest
from selectune.selectors.base import Budget
from selectune.signals.definitions import Rows


@dataclass
class KeptRows:
    """The rows that a data module will train on, as far as a sample tells."""

    part: Part
    request: SelectionRequest | None  # None where all rows are trained on
    rows: np.ndarray  # row ids, ascending
    lengths: np.ndarray  # tokens of each row of the pool, as a saving counts them
    pool: Rows | None = None
    selecting: Selecting | None = None  # where rows are selected here
    earlier: Selection | None = None  # where an earlier selection is used

    @property
    def whole(self) -> np.ndarray:
        """Row ids that a saving compares with: for a warm-up those that a pre-screen leaves, if there is one."""
        screened = self.selecting.screened if self.selecting else None
        return np.arange(len(self.lengths)) if screened is None or self.part == "fit" else screened

    @property
    def sizes(self) -> dict[str, int]:
        """Rows and tokens, kept and of the pool, as `compute_saving` takes them."""
        if self.earlier is None or self.part == "fit":
            whole = self.whole
            kept = len(self.rows), int(self.lengths[self.rows].sum())
            pool = {"rows": len(whole), "input_tokens": int(self.lengths[whole].sum())}
        else:
            manifest = self.earlier.manifest
            kept = manifest.n_rows, manifest.budget["input_tokens"]
            pool = manifest.screened or {"rows": manifest.pool_rows, "input_tokens": manifest.pool_input_tokens}
        return {
            "kept_rows": kept[0], "kept_tokens": kept[1], "pool_rows": pool["rows"],
            "pool_tokens": pool["input_tokens"],
        }  # fmt: skip

    def kept_share(self, keep: float) -> float | None:
        """The share of the tokens that is kept at a share of the rows; None where it cannot be kept."""
        assert self.selecting is not None
        assert self.pool is not None
        assert self.request is not None
        assert self.request.selector is not None
        budget = Budget(rows=max(1, int(len(self.whole) * keep + 0.5)))
        try:
            rows = self.selecting.again(self.request.selector, self.pool, budget).rows
        except BudgetError:
            return None
        return float(self.lengths[rows].sum() / self.lengths[self.whole].sum())

    def note(self) -> str:
        """The share of the tokens that is kept, in a sentence; empty where that is no estimate."""
        if self.selecting is None:
            return ""
        sizes = self.sizes
        return (
            f"With {sizes['kept_rows']:,} of {sizes['pool_rows']:,} rows about "
            f"{percent(sizes['kept_tokens'] / sizes['pool_tokens'])} of the tokens are kept: an estimate, from rows "
            "that were scored and the lengths of all."
        )

    def ratio(self, records: list[CostRecord], model: str, parameters: int, same: bool) -> ScorerRatio | None:
        """The scorer relative to a model; `same` where the checkpoint scores that the training starts from."""
        if self.earlier is not None:
            manifest = self.earlier.manifest
            scorer, scorer_parameters = manifest.scorer, manifest.scorer_parameters
        elif self.selecting is not None:
            source = self.selecting.scoring.source
            scorer, scorer_parameters = model if same else source.described, n_parameters(source.folder)
        else:
            return None
        return ScorerRatio.of(records, scorer, model, scorer_parameters, parameters, self.part)
