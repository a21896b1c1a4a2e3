"""The base of selectors that compare a pool with a target, and the weights of several targets."""

from __future__ import annotations

import numpy as np

from selectune.common.errors import DataError
from selectune.selectors.base import Selector, Signals
from selectune.selectors.clustering import check_embeddings


class Comparing(Selector):
    """A selector that reads the same signals of pool and target: ``embedding``, unless a subclass names others."""

    requires = requires_target = frozenset({"embedding"})

    def target_of(self, pool: Signals, target: Signals | None) -> Signals:
        """The target, if it is given, and its embeddings and the pool's are of one width, finite and not zero."""
        if target is None:
            name = type(self).__name__
            raise DataError(f"{name} needs a target to compare the pool with; name data.target.", option="data.target")
        if "embedding" in self.requires_target:
            check_embeddings(target["embedding"], "the target")
            check_embeddings(pool["embedding"])
            width, target_width = pool["embedding"].shape[1], target["embedding"].shape[1]
            if width != target_width:
                raise DataError(f"The pool's embeddings are {width} wide, the target's {target_width}; use one model.")
        return target


def even_weights(target: Signals) -> np.ndarray:
    """Weights of a target's rows, sum 1, shape (n_target,): each of several targets counts alike, whatever its size."""
    domain = target.get("domain", np.zeros(target.n_rows, dtype=np.int32))
    counts = np.bincount(domain)
    return 1 / (counts[domain] * np.count_nonzero(counts))
