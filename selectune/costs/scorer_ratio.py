"""Size of the scoring model relative to the model that is trained, as selection pays with a small scorer.

J. O. Yin, A. M. Rush, "Compute-Constrained Data Selection", ICLR 2025: for a perplexity- or gradient-based selection to
pay in total compute, the trained model has to be 5 to 10 times larger than the scorer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from selectune.costs.record import TRAINING, CostRecord, Part, add_up, distinct

PAYS_BELOW = 1 / 5
"""Scorer over model in weights, from which on the source above sees selection pay."""


@dataclass(frozen=True)
class ScorerRatio:
    """Size of the scoring model relative to the model that is trained."""

    scorer: str  # name of the scoring model
    model: str  # name of the trained model
    scorer_parameters: int | None  # of the scorer's checkpoint; None when unknown
    model_parameters: int
    flops_per_token: float | None  # FLOPs of scoring a token over those of training on one; None when unknown

    @property
    def parameters(self) -> float | None:
        """Scorer over model in weights."""
        return None if self.scorer_parameters is None else self.scorer_parameters / self.model_parameters

    def sentence(self) -> str:
        """The ratios in plain words."""
        ratios = []
        if self.parameters is not None:
            ratios.append(f"has {self.parameters:.2g} times the weights of the model that is trained")
        if self.flops_per_token is not None:
            ratios.append(f"reads a token for {self.flops_per_token:.2g} times the FLOPs of training on one")
        return f"The scorer ({self.scorer}) {' and '.join(ratios)}." if ratios else ""

    @classmethod
    def of(
        cls,
        records: Iterable[CostRecord],
        scorer: str,
        model: str,
        scorer_parameters: int | None,
        model_parameters: int,
        part: Part = "fit",
    ) -> ScorerRatio | None:
        """The ratio of a run, or of its warm-up, from its ledger; None where nothing was scored by a model."""
        known = [record for record in distinct(records) if record.part == part]
        scored = add_up(record for record in known if record.stage == "score")
        trained = add_up(record for record in known if record.stage == TRAINING[part] and not record.cached)
        if not scored.tokens:
            return None
        per_token = None
        if scored.flops is not None and trained.flops and trained.tokens:
            per_token = scored.flops / scored.tokens / (trained.flops / trained.tokens)
        return cls(scorer, model, scorer_parameters, model_parameters, per_token)


def n_parameters(folder: Path) -> int:
    """Weights in a model folder, by the headers of its safetensors files; tied weights are stored once."""
    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as handle:
            header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
        total += sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__")
    return total
