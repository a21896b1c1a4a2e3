"""The signals, and everything that the values of each depend on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.common.errors import UserError
from selectune.common.ranks import on_rank_zero
from selectune.data.class_prior import ClassPrior
from selectune.data.pool import Pool
from selectune.data.sources import ModelSource, weights_hash
from selectune.data.tokens import TokenizedRows, load_tokenizer, tokenizer_hash
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.selectors.base import ALWAYS
from selectune.signals.cross_fit import FITTED_ROWS, FOLDS, PENALTIES
from selectune.signals.dynamics import SEVERAL_EPOCHS, TRAINED, TRAINED_FOR
from selectune.signals.store import Definition, Kind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from selectune.lightning_modules.scorers.language import Estimator

LANGUAGE = ("generative_entropy", "loss")
HEAD = ("margin", "least_confidence", "label_loss", "class_probability")
ENCODER = ("embedding", "middle_embedding")
DERIVED = ("semantic_entropy", "class_probabilities")
SIGNALS = ("information_entropy", *DERIVED, *ENCODER, "minhash", "ngrams", *LANGUAGE, *HEAD, *TRAINED_FOR)
SHINGLE, HASHES = 5, 128  # of minhash
NGRAM_BINS = 10_000  # of ngrams


@dataclass(frozen=True)
class Rows:
    """Rows to score: a pool with its tokens, and its labels where it has some.

    Args:
        pool: the rows.
        tokens: by the scoring model's tokenizer.
        labels: numbers of classes, shape (n_rows,); None for a task without classes.
        row_ids: of these rows in the pool that they were taken from, shape (n_rows,); None where they are all of it.
        prior: shares of the classes where the model will be used; None where they are not known.
    """

    pool: Pool
    tokens: TokenizedRows
    labels: np.ndarray | None = None
    row_ids: np.ndarray | None = None
    prior: ClassPrior | None = None

    def __len__(self) -> int:
        return len(self.pool)

    @cached_property
    def n_tokens(self) -> np.ndarray:
        """Tokens of each row without the special ones, int64, shape (n_rows,)."""
        return self.tokens.n_tokens()

    @property
    def always(self) -> dict[str, np.ndarray]:
        """The signals that every pool has, see `ALWAYS`."""
        known = {"n_tokens": self.n_tokens, "input_tokens": self.tokens.lengths, "text_hash": self.pool.text_hash}
        if self.labels is not None and self.labels.dtype.kind in "iu":
            known["label"] = self.labels
            if self.prior is not None:
                known["class_prior"] = np.array(self.prior.shares)[self.labels]
        return known if self.pool.domains is None else known | {"domain": self.pool.domains}

    def take(self, rows: np.ndarray) -> Rows:
        """Some of the rows, as a pool of their own."""
        labels = None if self.labels is None else self.labels[rows]
        row_ids = rows if self.row_ids is None else self.row_ids[rows]
        return Rows(self.pool.take(rows), self.tokens.take(rows), labels, row_ids, self.prior)


@dataclass
class ScoringModel:
    """The model that scores, and all that the keys of its signals are made of.

    Args:
        source: where it was found.
        settings: how it scores.
        max_length: tokens that rows were cut to.
        max_batch_tokens: padded tokens of a batch.
        precision: ``32`` or ``bf16``.
        tuned: hash of everything that its tuning depends on, where it is tuned; so its signals have keys before it is.
        tuned_folder: of the tuned weights, once there are some.
        trained: hashes of everything that the trainings depend on which signals of training dynamics are of, by the
            names in `TRAINED`; beside the pool and the weights before them.
        entropy_head: how the head of ``generative_entropy`` was chosen, where it was ``auto``, as JSON types.
    """

    source: ModelSource
    settings: ScorerSettings
    max_length: int
    max_batch_tokens: int
    precision: str = "32"
    tuned: str | None = None
    tuned_folder: Path | None = None
    trained: dict[str, str] = field(default_factory=dict)
    entropy_head: dict[str, Any] | None = None

    @cached_property
    def weights_hash(self) -> str:
        """Hash of the weights and the config before tuning, computed by rank 0."""
        return on_rank_zero(lambda: weights_hash(self.source.folder))

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The scoring model's tokenizer."""
        return load_tokenizer(self.source.folder)

    @cached_property
    def tokenizer_hash(self) -> str:
        """Hash of the tokenizer."""
        return tokenizer_hash(self.tokenizer)

    @cached_property
    def estimator(self) -> Estimator:
        """The one asked for, else ``masked`` or, for a model without that head, ``causal``."""
        if self.settings.generative.estimator:
            return self.settings.generative.estimator
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        )

        kind = AutoConfig.from_pretrained(str(self.source.folder)).model_type
        causal = kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES and kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        return "causal" if causal else "masked"

    @property
    def layers(self) -> list[int]:
        """Layers that the probe reads, ascending.

        Raises:
            UserError: the model has no such layers.
        """
        depth = self._depth
        asked = self.settings.generative.layers
        layers = sorted(set([max(1, depth // 3), depth] if asked is None else asked))
        if not layers or layers[0] < 0 or layers[-1] > depth:
            raise UserError(
                f"scorer.generative.layers is {asked}, but {self.source.described} has layers 0 (the embeddings) to "
                f"{depth}; name some of these.",
                option="scorer.generative.layers",
            )
        return layers

    @property
    def embedding_layer(self) -> int | None:
        """The layer whose mean is the embedding: the probe's last where the encoder stops there; None for the last."""
        if self.tuned or self.settings.generative.head != "probe":
            return None
        return self.layers[-1] if self.layers[-1] < self._depth else None

    @property
    def middle_layer(self) -> int:
        """The layer whose mean is the middle embedding: halfway up, where the order of words still shows."""
        return max(1, (self.embedding_layer or self._depth) // 2)

    @cached_property
    def _depth(self) -> int:
        from transformers import AutoConfig

        return int(AutoConfig.from_pretrained(str(self.source.folder)).num_hidden_layers)

    def kind(self, name: str) -> str:
        """Kind of a signal: ``text``, ``derived``, ``trained``, ``dynamics`` (derived from trained ones), or the
        network whose pass computes it: ``language``, ``head``, ``sampled`` or ``encoder``.

        Raises:
            UserError: there is no such signal.
        """
        if name in TRAINED:
            return "trained"
        if name not in SIGNALS:
            raise UserError(
                f"There is no signal '{name}'; there are {', '.join(SIGNALS)}. Check the selector's arguments."
            )
        if name == "information_entropy":
            return "head" if self.settings.information.estimator == "predictive" else "text"
        if name == "semantic_entropy" and self.settings.semantic.estimator == "sampled":
            return "sampled"
        if name in DERIVED:
            return "derived"
        if name in TRAINED_FOR:
            return "dynamics"
        if name in HEAD:
            return "head"
        return "language" if name in LANGUAGE else "encoder" if name in ENCODER else "text"

    def with_sources(self, names: Iterable[str]) -> list[str]:
        """Signals that are to be computed for some that are wanted: these, and what they are derived from; sorted."""
        wanted = set(names) - ALWAYS
        sources = {"embedding" for name in wanted if self.kind(name) == "derived"}
        return sorted(wanted.union(sources, *(TRAINED_FOR.get(name, ()) for name in wanted)))

    def is_tuned(self, name: str) -> bool:
        """Whether a signal comes from the tuned weights."""
        return self.tuned is not None and self.kind(name) in ("head", "encoder", "derived")

    def define(self, name: str, pool: Pool) -> Definition:
        """The definition of a signal of a pool by this model.

        Raises:
            UserError: there is no such signal, the model has no such layers, or the training has too few epochs.
        """
        kind = self.kind(name)
        if kind in ("trained", "dynamics"):
            return self._define_dynamics(name, pool)
        arguments: dict[str, Any] = {"max_length": self.max_length, "tokenizer": self.tokenizer_hash}
        if name == "minhash":
            arguments |= {"shingle": SHINGLE, "hashes": HASHES}
        elif name == "ngrams":
            arguments |= {"bins": NGRAM_BINS}
        elif name == "class_probability":
            arguments |= {"class": self.settings.probability_of}
        elif name == "information_entropy":
            arguments |= asdict(self.settings.information)
        elif name == "semantic_entropy":
            drawn = () if kind == "sampled" else ("samples", "max_new_tokens", "similarity")
            arguments |= {k: v for k, v in asdict(self.settings.semantic).items() if k not in drawn}
        elif kind == "language":
            arguments |= {"estimator": self.estimator}
            if self.estimator == "masked_pseudo":
                arguments["k"] = self.settings.generative.k
            if name == "generative_entropy" and self.settings.generative.head == "probe":
                arguments |= {"head": "probe", "layers": self.layers}
        if name == "class_probabilities":
            arguments |= {"folds": FOLDS, "penalties": list(PENALTIES), "fitted_rows": FITTED_ROWS}
        if name == "middle_embedding":
            arguments |= {"layer": self.middle_layer, "pooling": "mean"} | asdict(self.settings.embedding)
        if name == "embedding" or kind == "derived":
            arguments |= {"layer": "last" if self.embedding_layer is None else self.embedding_layer, "pooling": "mean"}
            arguments |= asdict(self.settings.embedding)
        if kind == "text":
            return Definition(name, "text", pool.fingerprint, self.tokenizer_hash, arguments)
        # the plan decides the last bits, so it belongs to the definition
        arguments |= {"max_batch_tokens": self.max_batch_tokens, "precision": self.precision}
        model = str(self.tuned) if self.is_tuned(name) else self.weights_hash
        return Definition(name, "derived" if kind == "derived" else "forward", pool.fingerprint, model, arguments)

    def _define_dynamics(self, name: str, pool: Pool) -> Definition:
        if name in SEVERAL_EPOCHS and self.settings.dynamics.epochs < 2:
            raise UserError(
                f"{name} needs two epochs at least, but scorer.dynamics.epochs is {self.settings.dynamics.epochs}; "
                "raise it.",
                option="scorer.dynamics.epochs",
            )
        trained = {source: self.trained[source] for source in TRAINED_FOR.get(name, (name,))}
        kind: Kind = "trained" if name in TRAINED else "derived"
        return Definition(name, kind, pool.fingerprint, self.weights_hash, {"trained": trained})
