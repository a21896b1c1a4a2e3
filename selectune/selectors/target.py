"""What selectors share that compare a pool with a target."""

from __future__ import annotations

import numpy as np

from selectune.common.errors import DataError
from selectune.selectors.base import Selector, Signals
from selectune.selectors.clustering import check_embeddings

SEVERAL = "each of several targets counts alike, whatever its size"


class Comparing(Selector):
    """A selector that reads the same signals of pool and target: ``embedding``, unless a subclass says otherwise."""

    compared: frozenset[str] = frozenset({"embedding"})

    @property
    def requires(self) -> frozenset[str]:
        """What is compared."""
        return self.compared

    @property
    def requires_target(self) -> frozenset[str]:
        """What is compared."""
        return self.compared

    def target_of(self, pool: Signals, target: Signals | None) -> Signals:
        """The target, checked: it is there, and its embeddings and the pool's are of one width, finite and not zero.

        Raises:
            DataError: as above; the message names rows.
        """
        name = type(self).__name__
        if target is None:
            raise DataError(f"{name} needs a target to compare the pool with; name data.target.")
        if "embedding" in self.compared:
            ours, theirs = pool["embedding"], target["embedding"]
            check_embeddings(theirs, "the target")
            check_embeddings(ours)
            if theirs.shape[1] != ours.shape[1]:
                widths = f"{ours.shape[1]} wide, the target's {theirs.shape[1]}"
                raise DataError(f"The pool's embeddings are {widths}; use one model.")
        return target


def even_weights(target: Signals) -> np.ndarray:
    """Weights of a target's rows, sum 1, shape (n_target,): each of several targets counts alike."""
    domain = target.get("domain", np.zeros(target.n_rows, dtype=np.int32))
    counts = np.bincount(domain)
    return 1 / (counts[domain] * np.count_nonzero(counts))
