"""Settings of scoring: the model, the estimator of each entropy, and how batches are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from selectune.common import checks


@dataclass
class Information:
    """Estimator of the information entropy.

    Args:
        estimator: ``plugin``, from the tokens of a text alone; ``miller_madow``, which corrects its bias on short
            texts; ``predictive``, the entropy of a trained classifier's prediction (see ``scorer.tune``).
        normalize: ``length`` divides by ln L, the most that L tokens can have; else it mostly measures length. It
            does not concern ``predictive``.
    """

    estimator: Literal["plugin", "miller_madow", "predictive"] = "plugin"
    normalize: Literal["none", "length"] = "none"


@dataclass
class Generative:
    """Estimator of the generative entropy; the signal ``loss`` is that of the same predictions.

    Args:
        estimator: ``masked``: the mean entropy of a masked language model's predictions, one pass, nothing masked;
            ``masked_pseudo``: the same at masked positions, in k passes; ``causal``: of a causal language model's next
            token. Default ``masked``, or ``causal`` for a model that has no masked-LM head. ``masked`` ranks texts
            otherwise than ``masked_pseudo``: Spearman 0.30 on SST-2, 0.53 on AG News (docs/methods.md).
        k: passes of ``masked_pseudo``, each of which masks every k-th position; as many as a text has tokens is exact.
        head: ``exact``; ``probe``: a perceptron that learned the entropies from hidden states, at a hundredth of the
            vocabulary product's cost; or ``auto``: exact where that costs at most a tenth of the training that was
            asked for, or where the pool is too small for a probe to pay, else the probe.
        layers: that the probe reads the states of, 0 being the embeddings; default a third of the way up and the last,
            and with ``auto`` the former alone where the encoder too costs over a tenth and nothing else reads it.
            With early layers only, the encoder stops there, and embeddings are that layer's mean.
    """

    estimator: Literal["masked", "masked_pseudo", "causal"] | None = None
    k: int = 7
    head: Literal["auto", "exact", "probe"] = "auto"
    layers: list[int] | None = None

    def __post_init__(self) -> None:
        checks.at_least("scorer.generative.k", self.k, 1)


@dataclass
class Semantic:
    """Estimator of the semantic entropy.

    Args:
        estimator: ``prototype``: entropy of the soft assignment to prototypes of the pool's embeddings; ``sampled``:
            entropy over the meanings of continuations that a causal language model draws.
        seed: of the k-means that finds the prototypes, or of the draws.
        samples: continuations of each text.
        max_new_tokens: of each continuation.
        similarity: cosine at or above which two continuations mean the same.
    """

    estimator: Literal["prototype", "sampled"] = "prototype"
    seed: int = 0
    samples: int = 5
    max_new_tokens: int = 16
    similarity: float = 0.8

    def __post_init__(self) -> None:
        checks.seed("scorer.semantic.seed", self.seed)
        checks.at_least("scorer.semantic.samples", self.samples, 1)
        checks.at_least("scorer.semantic.max_new_tokens", self.max_new_tokens, 1)
        checks.between("scorer.semantic.similarity", self.similarity, -1, 1)


@dataclass
class Embedding:
    """Storage of embeddings, the masked mean of the last hidden states.

    Args:
        dtype: ``float16`` halves the file; for transport and other distances its rounding is noise, but the last bits
            of a semantic entropy follow it.
        unit_norm: store unit vectors.
    """

    dtype: Literal["float32", "float16"] = "float32"
    unit_norm: bool = False


@dataclass
class Tune:
    """A short training of the scoring model on labelled rows before it scores, charged to the selection.

    Args:
        rows: of the pool, drawn by hash; default all of them.
        max_epochs: passes over them.
        learning_rate: the highest that the schedule reaches.
    """

    rows: int | None = 500
    max_epochs: int = 3
    learning_rate: float = 5e-5

    def __post_init__(self) -> None:
        checks.at_least("scorer.tune.rows", self.rows, 1)
        checks.at_least("scorer.tune.max_epochs", self.max_epochs, 1)
        checks.positive("scorer.tune.learning_rate", self.learning_rate)


@dataclass
class Dynamics:
    """A short training of the scoring model whose course is a signal of the rows: ``el2n``, ``confidence``,
    ``variability``, ``correctness``, ``forgetting``, ``rho_loss``. It is charged to the selection.

    Args:
        epochs: passes over the rows trained on, after each of which all rows are read; at least 2 for ``variability``
            and ``forgetting``. ``el2n`` is that after the first, so 1 is enough for it.
        learning_rate: the highest that the schedule reaches.
        rows: of the pool that are trained on, drawn by hash; default all of them.
    """

    epochs: int = 3
    learning_rate: float = 5e-5
    rows: int | None = None

    def __post_init__(self) -> None:
        checks.at_least("scorer.dynamics.epochs", self.epochs, 1)
        checks.positive("scorer.dynamics.learning_rate", self.learning_rate)
        checks.at_least("scorer.dynamics.rows", self.rows, 1)


@dataclass
class ScorerSettings:
    """The model that scores the pool, and how.

    Args:
        checkpoint: the scoring model; default the model that is fine-tuned (after its warm-up, if there is one).
        tune: train it on some labelled rows first; gives the head of ``predictive`` entropy, ``margin``,
            ``least_confidence``, ``label_loss`` and ``class_probability``, and the embeddings. Generative entropy and
            ``loss`` stay those of the untuned model. For a warm-up, whose texts have no labels, these are rows of the
            top-level data.
        dynamics: the training that the signals of training dynamics are of, where a selector reads one of them.
        max_batch_tokens: tokens of a scoring batch, padding counted; default 2,048 on CPU, found by trial on a GPU.
        precision: ``bf16`` is autocast; default ``bf16`` on a GPU that has it, else ``32``.
        information: estimator of the information entropy.
        generative: estimator of the generative entropy.
        semantic: estimator of the semantic entropy.
        embedding: how embeddings are stored.
        probability_of: class whose probability is the signal ``class_probability``, by number; e.g. of a classifier of
            toxic texts, whose lowest rows are then a baseline (RealToxicityPrompts, Gehman et al. 2020). Of a
            regression the signal is its value.
    """

    checkpoint: str | None = None
    tune: Tune | None = None
    dynamics: Dynamics = field(default_factory=Dynamics)
    max_batch_tokens: int | None = None
    precision: Literal["32", "bf16"] | None = None
    information: Information = field(default_factory=Information)
    generative: Generative = field(default_factory=Generative)
    semantic: Semantic = field(default_factory=Semantic)
    embedding: Embedding = field(default_factory=Embedding)
    probability_of: int = 1

    def __post_init__(self) -> None:
        checks.at_least("scorer.max_batch_tokens", self.max_batch_tokens, 1)
        checks.at_least("scorer.probability_of", self.probability_of, 0)
