"""Learn to predict text itself, to warm a model up."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selectune.common.errors import CheckpointError, DataError
from selectune.data.given import Given
from selectune.data.segments import by_characters, by_tokens, cut
from selectune.data.sources import DataSource
from selectune.data.texts import Texts, as_texts, concatenate
from selectune.datamodules.base import SelectionDataModule
from selectune.lightning_modules.heads import CausalLMHead, MaskedLMHead
from selectune.lightning_modules.heads.language_modeling import LanguageModelHead

if TYPE_CHECKING:
    from datasets import Dataset


class LanguageModeling(SelectionDataModule):
    """Texts without labels, for masked or causal language modelling.

    With a window the rows of the pool are segments of the texts, and ``max_train_rows`` counts segments; the source
    rows of a selection say which texts they came from.

    Args:
        dataset: see `TaskData`, as for all other arguments; a list of names, or of names with options of their own
            (`Texts`), is one of several data sets: their train splits are concatenated to one pool, whose rows know
            their domain, and ``max_train_rows`` takes as many of each.
        text_column: of the text.
        objective: ``masked`` predicts masked tokens, ``causal`` each next token.
        mask_probability: share of the tokens that are masked and predicted.
        window: cut texts into segments of so many units; default the texts as they are.
        window_unit: ``tokens`` of the model that is trained, words staying whole, or ``characters``.
        join: fill a segment up with the text after it.
    """

    head_class = LanguageModelHead

    def __init__(
        self,
        dataset: Given | list[str | Texts],
        text_column: str = "text",
        objective: Literal["masked", "causal"] = "masked",
        mask_probability: float = 0.15,
        window: int | None = None,
        window_unit: Literal["tokens", "characters"] = "tokens",
        join: bool = False,
        **kwargs: Any,
    ) -> None:
        self.text_column, self.text_columns = text_column, (text_column,)
        self.objective, self.mask_probability = objective, mask_probability
        self.window, self.window_unit, self.join = window, window_unit, join
        super().__init__(dataset, **kwargs)
        given = {name: getattr(self, name) for name in ("config_name", "revision", "local_name")}
        of_one = [name for name, value in (given | vars(self.file_format)).items() if value is not None]
        if of_one and isinstance(dataset, list):
            raise DataError(
                f"data.{of_one[0]} belongs to one data set, but data.dataset lists several; give it in the list, as "
                f"{{dataset: NAME, {of_one[0]}: ...}}.",
                option=f"data.{of_one[0]}",
            )
        if window is not None and window < 2:
            raise DataError(f"data.window is {window}, but a segment must have at least 2 {window_unit}.")
        if join and window is None:
            raise DataError("data.join fills segments up, so it needs data.window.")
        if not 0 < mask_probability < 1:
            raise DataError(f"data.mask_probability is {mask_probability}, but a share must lie between 0 and 1.")

    def head(self) -> LanguageModelHead:
        """Predicts tokens.

        Raises:
            CheckpointError: the tokenizer has no mask token, which ``masked`` needs.
        """
        assert self.tokenizer is not None
        if self.objective == "causal":
            return CausalLMHead(len(self.tokenizer))
        if self.tokenizer.mask_token_id is None:
            raise CheckpointError(
                f"{self.tokenizer.name_or_path} has no mask token, so it is no masked language model; set "
                "--data.objective causal, or name another model.checkpoint."
            )
        return MaskedLMHead(int(self.tokenizer.mask_token_id), len(self.tokenizer), self.mask_probability)

    def collate(self, split: str, rows: np.ndarray) -> dict[str, Any]:
        """The batch of some rows, and where its tokens are or may be predicted, which the host knows by itself."""
        batch = super().collate(split, rows)
        return batch | (CausalLMHead if self.objective == "causal" else MaskedLMHead).known_on_host(batch)

    def find(self) -> DataSource:
        """The data set, or a list of several as one whose rows know their domain."""
        if not isinstance(self.dataset, list):
            return super().find()
        pool = concatenate(as_texts(self.dataset), self.root, self.seed, self.text_column)
        places = {"train": pool.source_rows}
        return DataSource({"train": pool.dataset}, pool.source, pool.revision, pool.domains, pool.domain_names, places)

    def cut(
        self, split: Dataset, groups: list[np.ndarray], limit: int | None
    ) -> tuple[Dataset, np.ndarray, np.ndarray] | None:
        """Segments of some rows of a split, as rows, with the first and the last source row of each.

        Args:
            split: of the data set.
            groups: rows of it, in the order in which they are cut; groups take turns, a segment each.
            limit: stop after so many segments.
        """
        if self.window is None:
            return None
        from datasets import Dataset

        def texts(rows: np.ndarray) -> Iterator[tuple[int, str]]:
            for start in range(0, len(rows), 1000):
                some = rows[start : start + 1000]
                yield from zip(some.tolist(), split[some][self.text_column])

        measure = by_characters if self.window_unit == "characters" else by_tokens(self.model_tokenizer())
        turns = zip_longest(*(cut(texts(rows), self.window, measure, self.join) for rows in groups))
        segments = list(islice((segment for turn in turns for segment in turn if segment is not None), limit))
        if not segments:
            raise DataError(f"{self.title} gives no segment of {self.window} {self.window_unit}; lower data.window.")
        segments.sort(key=lambda segment: segment.first_row)
        first = np.array([segment.first_row for segment in segments])
        last = np.array([segment.last_row for segment in segments])
        return Dataset.from_dict({self.text_column: [segment.text for segment in segments]}), first, last
