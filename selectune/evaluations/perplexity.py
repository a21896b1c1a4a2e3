"""Perplexity of texts that a model was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from selectune.common import checks
from selectune.common.errors import DataError
from selectune.data.pool import text_hashes
from selectune.data.sources import find_data
from selectune.evaluations.base import Evaluated, Evaluation, as_key, name_of, rows_of
from selectune.evaluations.language_model import LanguageModel
from selectune.evaluations.parts import Parts
from selectune.verdict.row_metrics import perplexity_of


class Perplexity(Evaluation):
    """``loss``, the mean over tokens of minus their log probability, nats, and ``perplexity``, its exponential.

    A causal model predicts each token after those before it, so not the first one. A masked one predicts a seventh of
    them at a time, from all others (`MaskedModel.losses`); the perplexities of the two do not compare.

    Args:
        dataset: a hub name, a folder in the hub's layout, or a file.
        text_column: of the text.
        split: default the first of the data set.
        config_name: the hub's configuration of the data set.
        max_rows: draw so many rows.
        max_length: tokens that a text is cut to.
        seed: of the draw.
        name: of its metrics; default that of the data set.
    """

    causal = False

    def __init__(
        self,
        dataset: str,
        text_column: str = "text",
        split: str | None = None,
        config_name: str | None = None,
        max_rows: int | None = None,
        max_length: int = 256,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name or name_of(dataset))
        checks.at_least("max_rows of a Perplexity evaluation", max_rows, 1, DataError)
        checks.at_least("max_length of a Perplexity evaluation", max_length, 2, DataError)
        self.dataset, self.text_column, self.split, self.config_name = dataset, text_column, split, config_name
        self.max_rows, self.max_length, self.seed = max_rows, max_length, seed
        self.texts: list[str] = []

    def check(self, root: str | None) -> None:
        """Load the texts."""
        found = find_data(self.dataset, self.config_name, root)
        self.texts = list(rows_of(found, self.split, [self.text_column], self.max_rows, self.seed)[self.text_column])

    def run(self, model: LanguageModel, parts: Parts | None = None) -> Evaluated:
        """Score the texts."""
        scored = model.losses(self.texts, self.max_length)
        if not scored.tokens.any():
            raise DataError(f"No text of {self.dataset} has a token to predict, so {self.name} has no perplexity.")
        loss = float(-scored.log_probability.sum() / scored.tokens.sum())
        columns = {"row_id": np.arange(len(self.texts)), "loss_sum": -scored.log_probability, "tokens": scored.tokens}
        return Evaluated({"loss": loss, "perplexity": perplexity_of(loss)}, columns)

    @property
    def text_hash(self) -> np.ndarray:
        """Of the texts."""
        return text_hashes(self.texts)

    @property
    def key(self) -> list[Any]:
        """The texts and their length."""
        return as_key(kind="Perplexity", texts=self.texts, max_length=self.max_length)
