"""Entropies and embeddings of the texts of a pool as selectors read them, each text read once by a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from _pools import Encoder, Kept, text_hash

from selectune.data.batches import plan_batches
from selectune.selectors.base import Signals
from selectune.selectors.clustering import prototype_entropy
from selectune.selectors.entropy import plugin_entropy
from selectune.signals.cross_fit import cross_fit
from selectune.signals.forward import make_scorer

GENERATIVE = "generative_entropy"
BATCH_TOKENS = 1024
SEED = 0  # of the prototypes, as `scorer.semantic.seed` has it


class Entropies:
    """Exact generative entropies of texts, in bf16, kept in the user's cache.

    Args:
        encoder: whose model predicts the tokens.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.scorer = make_scorer([GENERATIVE], encoder.scoring)
        self.kept = Kept(encoder.folder / "generative-bf16", 1, 1)

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """Mean entropy of the tokens, nats, float64, shape (n_texts,); 0 for a text without tokens."""
        if new := self.kept.missing(texts):
            tokens = self.encoder.tokens(new)
            pad = int(self.encoder.scoring.tokenizer.pad_token_id)
            for rows in plan_batches(tokens.lengths, BATCH_TOKENS):
                with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                    values = self.scorer(dict(tokens.padded(rows, pad)))[GENERATIVE]
                self.kept.add([new[row] for row in rows.tolist()], values.float().numpy()[:, None, None])
        return self.kept.of(texts)[:, 0, 0].astype(np.float64)


def signals_of(
    texts: Sequence[str],
    labels: np.ndarray | None,
    encoder: Encoder,
    entropies: Entropies | None = None,
    seed: int = 0,
) -> Signals:
    """The signals of texts: embeddings, with labels class probabilities, and the three entropies where these are asked.

    Args:
        texts: of the rows.
        labels: class numbers, shape (n_rows,); None for rows of a target.
        encoder: embeds them.
        entropies: reads the entropies; None leaves them out.
        seed: of the folds of the class probabilities.
    """
    hashes, tokens = text_hash(texts), encoder.tokens(texts)
    embeddings, _ = encoder.states(texts)
    arrays = {
        "text_hash": hashes,
        "n_tokens": tokens.n_tokens(),
        "input_tokens": tokens.lengths,
        "embedding": embeddings,
    }
    if labels is not None:
        probabilities = cross_fit(embeddings, labels, hashes, seed).probabilities
        arrays |= {"label": labels, "class_probabilities": probabilities}
    if entropies is not None:
        plain = np.concatenate([plugin_entropy(ids, offsets) for ids, offsets in tokens.content()])
        semantic = prototype_entropy(embeddings, SEED, hashes).entropies
        arrays |= {"information_entropy": plain, GENERATIVE: entropies.of(texts), "semantic_entropy": semantic}
    return Signals(arrays)
