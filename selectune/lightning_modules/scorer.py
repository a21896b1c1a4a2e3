"""Forward passes over a pool, as a LightningModule: one pass gives every forward signal that is asked for."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from selectune.errors import CheckpointError
from selectune.flops import FlopModel, UnfitFlopsError, measure_flops
from selectune.ledger import StageCost
from selectune.lightning_modules.heads import before_output, load_network, network_inputs
from selectune.signals import Shards
from selectune.sources import ModelSource

FLUSH_SECONDS = 10.0
FLUSH_BYTES = 32 * 2**20


@dataclass
class Information:
    """How information entropy is estimated, from the tokens of a text alone.

    Args:
        estimator: ``plugin``, or ``miller_madow``, which corrects its bias on short texts.
        normalize: ``length`` divides by ln L, the most that L tokens can have; else it mostly measures length.
    """

    estimator: Literal["plugin", "miller_madow"] = "plugin"
    normalize: Literal["none", "length"] = "none"


@dataclass
class Generative:
    """How generative entropy is estimated.

    Args:
        estimator: ``masked``: the mean entropy of a masked language model's predictions, one pass, nothing masked.
    """

    estimator: Literal["masked"] = "masked"


@dataclass
class Semantic:
    """How semantic entropy is estimated.

    Args:
        estimator: ``prototype``: entropy of the soft assignment to prototypes of the pool's embeddings.
        seed: of the k-means that finds the prototypes.
    """

    estimator: Literal["prototype"] = "prototype"
    seed: int = 0


@dataclass
class ScorerSettings:
    """The model that scores the pool, and how.

    Args:
        checkpoint: the scoring model; default the model that is fine-tuned (after its warm-up, if there is one).
        max_batch_tokens: tokens of a scoring batch, padding counted.
        information: estimator of the information entropy.
        generative: estimator of the generative entropy.
        semantic: estimator of the semantic entropy.
    """

    checkpoint: str | None = None
    max_batch_tokens: int = 8192
    information: Information = field(default_factory=Information)
    generative: Generative = field(default_factory=Generative)
    semantic: Semantic = field(default_factory=Semantic)


class Scorer(pl.LightningModule):
    """Computes forward signals of batches of tokenised rows.

    Args:
        source: the scoring model.
        signals: which of ``generative_entropy`` and ``embedding``.

    Raises:
        CheckpointError: the checkpoint lacks the head that a signal needs.
    """

    def __init__(self, source: ModelSource, signals: list[str]) -> None:
        super().__init__()
        self.signals = signals
        if "generative_entropy" in signals:
            self.network = load_masked_lm(source, "generative_entropy")
        else:
            self.network, _ = load_network("AutoModel", source)
        self.network.eval().requires_grad_(False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Signals of a batch, each float32 of shape (rows,) or (rows, width)."""
        from selectune.selectors.entropy import entropy_from_hidden

        content = ~batch["special"]
        entropies: list[Tensor] = []
        hiddens: list[Tensor] = []

        def entropies_instead_of_logits(hidden: Tensor) -> Tensor:
            layer = self.network.get_output_embeddings()
            entropies.append(entropy_from_hidden(hidden[content], layer.weight, getattr(layer, "bias", None)))
            return hidden[:0]

        def keep_hidden(module: Any, inputs: Any, output: Any) -> None:
            hiddens.append(output[0])

        hook = self.network.base_model.register_forward_hook(keep_hidden)
        try:
            with before_output(self.network, entropies_instead_of_logits) if self._has_output else nullcontext():
                self.network(**network_inputs(self.network, batch))
        finally:
            hook.remove()
        signals: dict[str, Tensor] = {}
        if "generative_entropy" in self.signals:
            sums = torch.zeros(len(content), dtype=torch.float64, device=content.device)
            sums.index_add_(0, content.nonzero()[:, 0], entropies[0].double())
            signals["generative_entropy"] = (sums / content.sum(1).clamp(min=1)).float()
        if "embedding" in self.signals:
            weights = batch["attention_mask"].unsqueeze(-1).to(hiddens[0].dtype)
            signals["embedding"] = (hiddens[0] * weights).sum(1).float() / weights.sum(1).float()
        return signals

    def flops(self) -> tuple[FlopModel, int]:
        """FLOPs of a padded row without the vocabulary product, and those of that product at each token of the text.

        Raises:
            UnfitFlopsError: they are not quadratic in the length.
        """
        whole = measure_flops(self.row_of)
        product = 2 * self.network.get_output_embeddings().weight.numel() if self._has_output else 0
        return FlopModel(whole.constant, whole.linear - product, whole.quadratic, whole.method), product

    def row_of(self, length: int) -> None:
        """One forward pass of a made-up row, for counting FLOPs."""
        ids = torch.ones(1, length, dtype=torch.long, device=self.device)
        nothing = torch.zeros_like(ids)
        batch = {"input_ids": ids, "attention_mask": ids, "token_type_ids": nothing, "special": nothing.bool()}
        with torch.no_grad():
            self(batch)

    @property
    def _has_output(self) -> bool:
        return "generative_entropy" in self.signals

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, np.ndarray]:
        """The signals of one planned batch, with its index and row ids, as arrays."""
        signals = {name: values.cpu().numpy() for name, values in self(batch).items()}
        return {"batches": np.array([batch["index"]]), "rows": batch["rows"], **signals}


def load_masked_lm(source: ModelSource, signal: str) -> Any:
    """A masked language model with float32 weights.

    Raises:
        CheckpointError: the checkpoint has no masked-LM head, so a random one would be made up.
    """
    mend = (
        f"{signal} needs one; name one that has it in scorer.checkpoint, or warm the model up with a masked-LM head "
        "(warm_up)."
    )
    try:
        network, missing = load_network("AutoModelForMaskedLM", source)
    except ValueError as error:
        raise CheckpointError(f"{source.described} is of a kind without a masked-LM head, but {mend}") from error
    if missing:
        raise CheckpointError(f"{source.described} has no trained masked-LM head, but {mend}")
    return network


class ShardWriter(pl.Callback):
    """Writes the signals of finished batches to disk every few seconds, and charges what they took.

    Args:
        shards: where to.
        cost: the open stage of the ledger.
        scorer: whose FLOPs they are.
    """

    def __init__(self, shards: Shards, cost: StageCost, scorer: Scorer) -> None:
        self.shards, self.cost = shards, cost
        self.flops: FlopModel | None = None
        try:
            self.flops, self.product = scorer.flops()
        except UnfitFlopsError as error:
            cost.add(flops=None, method=str(error))
        self.waiting: list[dict[str, np.ndarray]] = []
        self.bytes, self.written = 0, time.monotonic()

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take a batch's signals, and write what waits when it is much or old."""
        n_rows, length = batch["input_ids"].shape
        self.cost.add(examples=n_rows, tokens=batch["n_tokens"], padded_tokens=n_rows * length)
        if self.flops is not None:
            content = int((~batch["special"]).sum())
            flops = self.flops.of_batch(n_rows, length) + content * self.product
            self.cost.add(flops=flops, method=self.flops.method)
        self.waiting.append(outputs)
        self.bytes += sum(values.nbytes for values in outputs.values())
        if self.bytes > FLUSH_BYTES or time.monotonic() - self.written > FLUSH_SECONDS:
            self._flush()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what waits."""
        self._flush()

    def _flush(self) -> None:
        if self.waiting:
            self.shards.append(self.waiting, self.cost.so_far().to_json())
        self.waiting, self.bytes, self.written = [], 0, time.monotonic()
