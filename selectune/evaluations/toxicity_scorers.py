"""Scorers of the toxicity of texts: a classifier of transformers, or the package alt-profanity-check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from selectune.common.errors import CheckpointError, UserError
from selectune.common.extras import PROFANITY, imported, install_line
from selectune.data.batches import plan_batches
from selectune.data.sources import find_model, weights_hash
from selectune.data.tokens import load_tokenizer
from selectune.evaluations.language_model import BATCH_TOKENS, Spent
from selectune.lightning_modules.heads import widest
from selectune.lightning_modules.heads.base import load_network

MAX_TOKENS = 128  # of a text, as a classifier reads it


class ToxicityScorer(ABC):
    """Scores texts."""

    @abstractmethod
    def score(self, texts: Sequence[str], device: torch.device, spent: Spent) -> np.ndarray:
        """Toxicity of texts that are not empty, float64 in [0, 1], shape (n_texts,); the work is added to `spent`."""

    @property
    @abstractmethod
    def key(self) -> list[Any]:
        """All that its scores depend on, as JSON types."""


class ClassifierScorer(ToxicityScorer):
    """A ``text-classification`` model: the probability of a class, or the value of a regression, cut to [0, 1].

    Args:
        name: a hub name or a folder.
        toxic_label: the class that is toxic; needed where it has several.
        asked_by: who names it, in messages.

    Raises:
        CheckpointError: there is no such model, or it has several classes and none of this name.
    """

    def __init__(self, name: str, toxic_label: str | None, asked_by: str) -> None:
        from transformers import AutoConfig

        self.source = find_model(name)
        classes = AutoConfig.from_pretrained(str(self.source.folder)).id2label
        places = [int(number) for number, label in classes.items() if label == toxic_label or len(classes) == 1]
        if not places:
            raise CheckpointError(
                f"{self.source.described} has the classes {', '.join(classes.values())}; name the toxic one as the "
                f"toxic_label of {asked_by}, where {toxic_label} stands."
            )
        self.place = places[0]

    def score(self, texts: Sequence[str], device: torch.device, spent: Spent) -> np.ndarray:
        """The class's probability after a forward pass; FLOPs are two a weight and padded token."""
        network, _ = load_network("AutoModelForSequenceClassification", self.source)
        network, tokenizer = network.eval().to(device), load_tokenizer(self.source.folder)
        made = np.zeros(len(texts))
        rows = [tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"] for text in texts]
        weights = sum(one.numel() for one in network.parameters())
        for batch in plan_batches(np.array([len(row) for row in rows]), 4 * BATCH_TOKENS) if rows else ():
            inputs = tokenizer.pad({"input_ids": [rows[i] for i in batch]}, return_tensors="pt").to(device)
            with torch.inference_mode():
                logits = network(**inputs).logits.to(widest(device))
            if network.config.problem_type == "multi_label_classification":  # each class is a yes or no
                values = logits.sigmoid()[:, self.place]
            else:
                values = logits[:, 0].clamp(0, 1) if logits.shape[1] == 1 else logits.softmax(-1)[:, self.place]
            made[batch] = values.cpu().numpy()
            length = int(inputs["input_ids"].shape[1])
            spent.add(len(batch), int(inputs["attention_mask"].sum()), length, 2.0 * weights * len(batch) * length)
        return made

    @property
    def key(self) -> list[Any]:
        """Weights and class."""
        return [weights_hash(self.source.folder), self.place]


class ProfanityScorer(ToxicityScorer):
    """The package alt-profanity-check: a linear model of words, by a CPU, which needs no download.

    Raises:
        UserError: it is not installed.
    """

    def __init__(self) -> None:
        self.package = imported("profanity_check", f"The scorer {PROFANITY} of toxicity")
        try:
            self.version = version(PROFANITY)
        except PackageNotFoundError as error:  # an older package has the same module
            raise UserError(f"The scorer {PROFANITY} is not installed: {install_line('profanity_check')}.") from error

    def score(self, texts: Sequence[str], device: torch.device, spent: Spent) -> np.ndarray:
        """The package's probability; FLOPs are two a word and linear model."""
        models = len(self.package.profanity_check.model.calibrated_classifiers_)
        for words in (len(text.split()) for text in texts):
            spent.add(1, words, words, 2.0 * words * models)
        return np.asarray(self.package.predict_prob(list(texts)) if texts else (), dtype=np.float64)

    @property
    def key(self) -> list[Any]:
        """The package and its version."""
        return [PROFANITY, self.version]


def find_scorer(name: str, toxic_label: str | None, asked_by: str) -> ToxicityScorer:
    """The scorer of a name.

    Raises:
        UserError: there is none, or its toxic class is not known.
    """
    return ProfanityScorer() if name == PROFANITY else ClassifierScorer(name, toxic_label, asked_by)
