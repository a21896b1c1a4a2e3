"""Learn to predict text itself, to warm a model up."""

from __future__ import annotations

from typing import Any

from selectune.datamodules.base import SelectionDataModule
from selectune.errors import CheckpointError
from selectune.lightning_modules.heads import MaskedLMHead


class LanguageModeling(SelectionDataModule):
    """Texts without labels, for masked language modelling.

    Args:
        dataset: see `SelectionDataModule`, as for all other arguments.
        text_column: of the text.
        mask_probability: share of the tokens that are masked and predicted.
    """

    head_class = MaskedLMHead

    def __init__(self, dataset: str, text_column: str = "text", mask_probability: float = 0.15, **kwargs: Any) -> None:
        self.text_column, self.mask_probability = text_column, mask_probability
        super().__init__(dataset, **kwargs)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """One column."""
        return (self.text_column,)

    def head(self) -> MaskedLMHead:
        """Predicts masked tokens."""
        assert self.tokenizer is not None
        if self.tokenizer.mask_token_id is None:
            raise CheckpointError(
                f"{self.tokenizer.name_or_path} has no mask token, so it is no masked language model; name another "
                "model.checkpoint."
            )
        return MaskedLMHead(int(self.tokenizer.mask_token_id), len(self.tokenizer), self.mask_probability)
