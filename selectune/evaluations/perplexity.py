"""Perplexity of texts that a model was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from selectune.common import checks
from selectune.common.errors import DataError
from selectune.data.pool import text_hashes
from selectune.data.texts import check_held_out, column_in
from selectune.evaluations.base import Evaluated, Evaluation, as_key, rows_of
from selectune.evaluations.language_model import LanguageModel
from selectune.evaluations.parts import Parts
from selectune.verdict.row_metrics import perplexity_of


class Perplexity(Evaluation):
    """``loss``, the mean over tokens of minus their log probability, nats, and ``perplexity``, its exponential.

    A causal model predicts each token after those before it, so not the first one. A masked one predicts a seventh of
    them at a time, from all others (`MaskedModel.losses`); the perplexities of the two do not compare.

    Args:
        dataset: see `Evaluation`, as for all other arguments.
        text_column: of the text.
        local_text_column: of the text in the folder in the root, where it is called otherwise there.
        held_out: score those rows alone that `Texts` of the same data set and with the same share leave out of a pool.
        max_rows: draw so many rows.
        max_length: tokens that a text is cut to.
    """

    causal = False

    def __init__(
        self,
        dataset: str,
        text_column: str = "text",
        local_text_column: str | None = None,
        held_out: float | None = None,
        max_rows: int | None = None,
        max_length: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset, **kwargs)
        checks.at_least("max_rows of a Perplexity evaluation", max_rows, 1, DataError)
        checks.at_least("max_length of a Perplexity evaluation", max_length, 2, DataError)
        check_held_out(held_out, f"the evaluation {self.name}")
        self.text_column, self.local_text_column, self.held_out = text_column, local_text_column, held_out
        self.max_rows, self.max_length = max_rows, max_length
        self.texts: list[str] = []

    def check(self, root: str | None) -> None:
        """Load the texts.

        Raises:
            DataError: no such data, or none of its rows is held out.
        """
        found = self.find(root)
        column = column_in(found, self.text_column, self.local_text_column)
        self.texts = list(rows_of(found, self.split, [column], self.max_rows, self.seed, self.held_out)[column])

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
