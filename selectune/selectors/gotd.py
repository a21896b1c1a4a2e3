"""GOT-D: keep the candidates whose mass would bring the pool nearest to a target, to warm a model up on them.

F. Kang, H. A. Just, Y. Sun, H. Jahagirdar, Y. Zhang, R. Du, A. K. Sahu, R. Jia, "Get more for less: principled data
selection for warming up fine-tuning in LLMs", ICLR 2024, arXiv 2405.02774.
"""

from __future__ import annotations

from typing import Any, Literal

from selectune.selectors.base import Budget, Picked, Signals, first_of, ranked
from selectune.selectors.interval_rules import check_budget, filled_by
from selectune.selectors.target import Comparing, even_weights


class GOTD(Comparing):
    """Keep the rows with the most negative gradient of optimal transport (GOT-D, Kang et al. 2024).

    The pool stands in for what the model was pre-trained on. The rows that move it towards the target fastest are not
    those nearest to the target, but those of the smallest g_i = f_i - mean of the other f, with f the dual potential of
    the pool in OT(pool, target); g_i is how the distance changes with the mass of row i. One solve gives it for all
    rows; see `selectune.selectors.transport.dual_potentials`.

    Args:
        cost: ``sqeuclidean`` of the embeddings as stored, or ``cosine``: half of that of unit vectors.
        eps: of the entropic regulariser: one of ``absolute``, ``std`` and ``mean`` (of the cost over all pairs).
        contrast: the target is what to keep away from (the paper's detoxification by contrast): the largest g first.
        backend: ``pot``, ``dense``, ``stream``, or ``auto``, which picks by size and free memory.
        tolerance: of the marginal error, in [0, 2].
        churn: share of the kept rows that may still change in five iterations.
        max_iterations: most iterations.
        allow_unconverged: go on with what there is after these, and say so in the manifest.

    Raises:
        TransportError: an eps, tolerance, churn or number of iterations that is none.
    """

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

    @property
    def collective(self) -> bool:
        """All ranks solve together, each with its share of the pool."""
        return True

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Picked:
        """Keep the rows of the smallest gradient (with ``contrast``, of the largest); ``scores`` are the gradient.

        Raises:
            BudgetError: a budget that is missing or over the pool.
            DataError: no target; embeddings that are zero, not finite, or of different widths.
            TransportError: no convergence.
        """
        return self.select_jointly(pool, target, budget, seed, None)

    def select_jointly(self, pool: Signals, target: Signals | None, budget: Budget, seed: int, group: Any) -> Picked:
        """As `select`, each process of a group solving its share of the pool."""
        from selectune.selectors.transport import calibrated_gradient, pool_potentials

        check_budget(budget, pool["n_tokens"], "GOTD")
        target = self.target_of(pool, target)
        filled, needed = filled_by(pool["n_tokens"], budget)
        expected = min(pool.n_rows, max(1, round(needed / filled[-1] * pool.n_rows)))
        options: dict[str, Any] = {
            "group": group,
            "cost": self.cost,
            "backend": self.backend,
            "max_iterations": self.max_iterations,
        }
        weights = even_weights(target)
        found = pool_potentials(
            pool["embedding"], target["embedding"], target_weights=weights, eps=self.eps, tolerance=self.tolerance,
            lowest=expected, highest=self.contrast, churn=self.churn,
            allow_unconverged=self.allow_unconverged, **options,
        )  # fmt: skip
        gradient = calibrated_gradient(found.f)
        order = ranked(-gradient if self.contrast else gradient, pool.tie_keys(seed))
        kept = first_of(order, budget, pool["n_tokens"])
        absolute = {"absolute": found.diagnostics["eps"]}
        after = pool_potentials(
            pool["embedding"][kept], target["embedding"], target_weights=weights, eps=absolute, tolerance=1e-2,
            allow_unconverged=True, **options,
        )  # fmt: skip
        told = {"transport": found.diagnostics | {"distance_kept": after.distance}}
        # each rank of a sharded solve says its share, so that they add up to the whole
        flops = sum(one.diagnostics["flops"] / one.diagnostics["ranks"] for one in (found, after))
        return Picked(kept, gradient, told, flops, "transport: costs, exponentials, two mat-vecs a pass (analytic)")
