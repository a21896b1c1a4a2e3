"""GOT-D: keep the candidates whose mass would bring the pool nearest to a target, to warm a model up on them.

F. Kang, H. A. Just, Y. Sun, H. Jahagirdar, Y. Zhang, R. Du, A. K. Sahu, R. Jia, "Get more for less: principled data
selection for warming up fine-tuning in LLMs", ICLR 2024, arXiv 2405.02774.
"""

from __future__ import annotations

from typing import Any, Literal

from selectune.selectors.base import Budget, Picked, Signals, check_budget, cumulative_sizes, lowest
from selectune.selectors.target import Comparing, even_weights


class GOTD(Comparing):
    """Keep the rows with the most negative gradient of optimal transport (GOT-D, Kang et al. 2024).

    The pool stands in for the data that the model was pre-trained on. The rows that move it towards the target fastest
    are not those nearest to the target, but those of the smallest g_i = f_i - mean of the other f, with f the dual
    potential of the pool in OT(pool, target); g_i is the change of the distance with the mass of row i. One solve gives
    it for all rows; see `selectune.selectors.transport.dual_potentials`. All ranks solve jointly, each a share of the
    pool.

    Args:
        cost: ``sqeuclidean`` of the embeddings as stored, or ``cosine``: half of that of unit vectors.
        eps: of the entropic regulariser: one of ``absolute``, ``std`` and ``mean`` (of the cost over all pairs).
        contrast: the target is what to keep away from (the paper's detoxification by contrast): the largest g first.
        backend: ``pot``, ``dense``, ``stream``, or ``auto``, which decides by size and free memory.
        tolerance: stop when the L1 error of the column marginal is at most this, over 0 and at most 2.
        churn: share of the kept rows that may still change in five iterations.
        max_iterations: upper limit of iterations.
        allow_unconverged: go on with the potentials of the last iteration, and say so in the manifest.

    Raises:
        TransportError: an argument is out of range.
    """

    collective = True

    def __init__(
        self,
        cost: Literal["sqeuclidean", "cosine"] = "sqeuclidean",
        eps: dict[str, float] = {"std": 0.05},  # noqa: B006
        contrast: bool = False,
        backend: Literal["auto", "pot", "dense", "stream"] = "auto",
        tolerance: float = 1e-3,
        churn: float = 1e-3,
        max_iterations: int = 1000,
        allow_unconverged: bool = False,
    ) -> None:
        from selectune.selectors.transport import Eps, checked_stop

        Eps.of(eps)
        checked_stop(tolerance, max_iterations, None, churn, 1)
        self.cost, self.eps, self.contrast, self.backend = cost, eps, contrast, backend
        self.tolerance, self.churn, self.max_iterations = tolerance, churn, max_iterations
        self.allow_unconverged = allow_unconverged

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int, group: Any = None) -> Picked:
        """Keep the rows of the smallest gradient (with ``contrast``, of the largest); ``scores`` are the gradient.

        Each process of a group solves its share of the pool.

        Raises:
            TransportError: no convergence; and the errors of every selector.
        """
        from selectune.selectors.transport import calibrated_gradient, pool_potentials

        check_budget(budget, pool["n_tokens"], "GOTD")
        target = self.target_of(pool, target)
        filled, needed = cumulative_sizes(pool["n_tokens"], budget)
        expected = min(pool.n_rows, max(1, round(needed / filled[-1] * pool.n_rows)))
        options: dict[str, Any] = {
            "target_weights": even_weights(target), "group": group, "cost": self.cost, "backend": self.backend,
            "max_iterations": self.max_iterations,
        }  # fmt: skip
        solved = pool_potentials(
            pool["embedding"], target["embedding"], eps=self.eps, tolerance=self.tolerance, lowest=expected,
            highest=self.contrast, churn=self.churn, allow_unconverged=self.allow_unconverged, **options,
        )  # fmt: skip
        gradient = calibrated_gradient(solved.f)
        rows = lowest(-gradient if self.contrast else gradient, pool, budget, seed)
        # At the absolute eps of the first solve: distances at different eps could not be compared.
        kept = pool_potentials(
            pool["embedding"][rows], target["embedding"], eps={"absolute": solved.diagnostics["eps"]}, tolerance=1e-2,
            allow_unconverged=True, **options,
        )  # fmt: skip
        diagnostics = {"transport": solved.diagnostics | {"distance_kept": kept.distance}}
        # Each rank of a sharded solve reports its share, so that they add up to the whole.
        flops = sum(each.diagnostics["flops"] / each.diagnostics["ranks"] for each in (solved, kept))
        method = "transport: costs, exponentials, two mat-vecs a pass (analytic)"
        return Picked(rows, gradient, diagnostics, flops, method)
