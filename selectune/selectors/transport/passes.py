"""One pass over the pool: from the target's potential g, the pool's potential f and the column sums of the plan.

With h_j = (g_j - s(y_j)) / eps + ln b_j and L_ij = h_j + 2 scale <x_i, y_j> / eps, row i of the plan is
a_i softmax_j(L_ij), and f_i = s(x_i) - eps logsumexp_j(L_ij). So the rows of the plan are always exact, g is all that
an iteration remembers, and the sums of the plan's columns say how g must change.

`Stream` computes L in each pass. `Dense` keeps K_ij = softmax_j(L_ij) of one pass, the kernel exp(-C / eps) with
f and g absorbed into it [1]; while g stays near, a pass is two mat-vecs, both on a block that is in the cache:

    r = K v,  f_i = f_i at absorption - eps ln r_i,  columns = v * K^T (a / r),    v = exp((g - g at absorption) / eps)

1. B. Schmitzer, "Stabilized sparse scaling algorithms for entropy regularized transport problems", SIAM J. Sci. Comput.
   41 (2019).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from selectune.selectors.blocks import blocks
from selectune.selectors.transport.problem import Problem

CELLS = {"cpu": 2**20, "cuda": 2**26}  # of L at once, on the CPU and on any accelerator
KERNEL_CELLS = {"cpu": 2**20, "cuda": 2**28}  # of K at once: 4 MB stay in the cache between the two mat-vecs
# How far g may go from the absorbed one, in eps; and below what an entry counts as 0, since denormals are slow. Their
# product stays under the rounding of the sums.
ABSORB = {torch.float32: 20.0, torch.float64: 100.0}
SMALLEST = {torch.float32: 1e-30, torch.float64: 1e-200}


class Stream:
    """Passes that read the pool and compute the cost anew; memory is O(n + m) and a block."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.pool = problem, problem.pool
        self.dtype, self.device = problem.pool.dtype, problem.pool.device
        target = problem.target.block()
        self.weights = (target * (2 * problem.pool.scale / problem.eps)).T.contiguous()  # (d, m)
        self.a = self.tensor(problem.a)
        self.kind = "cpu" if self.device.type == "cpu" else "cuda"
        self.rows_at_once = max(1, CELLS[self.kind] // max(problem.target.n, problem.target.width))
        self.log_sums = torch.zeros(self.pool.n, dtype=torch.float64, device=self.device)
        self.reads = self.kernel_passes = 0

    def step(self, g: np.ndarray) -> np.ndarray:
        """Mass that the plan of g sends from this rank's rows to each row of the target, float64, shape (m,)."""
        return self.read(g)

    @property
    def f(self) -> np.ndarray:
        """The pool's potential of the last step, float64, shape (n,)."""
        return self.problem.pool_squares - self.problem.eps * self.log_sums.cpu().numpy()

    def read(self, g: np.ndarray, keep: Tensor | None = None) -> np.ndarray:
        """A pass over the embeddings; `keep`, shape (n, m), takes the plan's rows, each summing to 1."""
        self.reads += 1
        problem = self.problem
        h = self.tensor((g - problem.target_squares) / problem.eps + np.log(problem.b))
        # float64 across blocks: float32 sums over millions of rows would drift by more than the tolerance.
        columns = torch.zeros(len(g), dtype=torch.float64, device=self.device)
        room = torch.empty(0) if keep is not None else self.empty(min(self.rows_at_once, self.pool.n), len(g))
        for places, block in self.pool.blocks(self.rows_at_once):
            cells = room[: len(block)] if keep is None else keep[places]
            torch.addmm(h, block, self.weights, out=cells)
            largest = cells.amax(1)  # subtracted, so that no exponential overflows and each row keeps its largest entry
            sums = cells.sub_(largest[:, None]).exp_().sum(1)
            self.log_sums[places] = largest.double() + sums.double().log()
            shares = self.a[places] / sums
            if keep is not None:
                cells.div_(sums[:, None])
                torch.nn.functional.threshold(cells, SMALLEST[self.dtype], 0.0, inplace=True)
                shares = self.a[places]
            columns += shares @ cells
        return columns.cpu().numpy()

    def soft_columns(self) -> np.ndarray:
        """The target's potential that makes the columns exact for the last f, over all ranks, float64, shape (m,).

        It holds where every entry of a column underflows, as each column has its own largest.
        """
        self.reads += 1
        problem, m = self.problem, self.problem.target.n
        with np.errstate(divide="ignore"):  # rows of weight 0 have a log weight of -inf
            rows = self.tensor(np.log(problem.a)) - self.log_sums.to(self.dtype)
        # A log-sum-exp over blocks: the sums so far are scaled down whenever a block has a higher maximum.
        top = torch.full((m,), -torch.inf, dtype=torch.float64, device=self.device)
        sums = torch.zeros_like(top)
        for places, block in self.pool.blocks(self.rows_at_once):
            cells = block @ self.weights
            cells += rows[places, None]
            higher = torch.maximum(top, cells.amax(0).double())
            base = torch.where(higher.isfinite(), higher, 0.0)  # -inf - -inf would be NaN
            sums = sums * (top - base).exp() + cells.sub_(base.to(self.dtype)).exp_().sum(0).double()
            top = higher
        # The same over ranks, which share the highest maximum first.
        shared = problem.ranks.max(top.cpu().numpy())
        total = problem.ranks.sum(sums.cpu().numpy() * np.exp(top.cpu().numpy() - shared))
        return problem.target_squares - problem.eps * (shared + np.log(total))

    def tensor(self, values: np.ndarray) -> Tensor:
        """An array on the device in the solver's precision."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, self.dtype)

    def empty(self, *shape: int) -> Tensor:
        """Room on the device in the solver's precision."""
        return torch.empty(shape, dtype=self.dtype, device=self.device)


class Dense(Stream):
    """Passes over a kernel that is kept, shape (n, m)."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.kernel = self.empty(problem.pool.n, problem.target.n)
        self.absorptions = 0
        self.absorbed: np.ndarray | None = None  # the g in the kernel
        self.sums = torch.ones(problem.pool.n, dtype=self.dtype, device=self.device)

    @property
    def f(self) -> np.ndarray:
        """The pool's potential of the last step, float64, shape (n,)."""
        return super().f - self.problem.eps * self.sums.double().log().cpu().numpy()

    def step(self, g: np.ndarray) -> np.ndarray:
        """As in `Stream`, from the kernel where g is near to what it has absorbed."""
        away = np.inf if self.absorbed is None else (g - self.absorbed) / self.problem.eps
        if np.abs(away).max() > ABSORB[self.dtype]:
            self.absorbed = g.copy()
            self.absorptions += 1
            self.sums.fill_(1.0)
            return self.read(g, keep=self.kernel)
        self.kernel_passes += 1
        scalings = np.exp(away)
        scaled = self.scaled_on_cpu if self.kind == "cpu" else self.scaled
        return scaled(self.tensor(scalings)) * scalings

    def scaled(self, v: Tensor) -> np.ndarray:
        """K^T (a / K v), float64, shape (m,); K v stays in `sums`."""
        columns = torch.zeros(len(v), dtype=torch.float64, device=self.device)
        for places in self.places(len(v)):  # two mat-vecs on a block that is read from memory once
            block, sums = self.kernel[places], self.sums[places]
            torch.mv(block, v, out=sums)
            columns += torch.mv(block.T, self.a[places] / sums)
        return columns.cpu().numpy()

    def scaled_on_cpu(self, v: Tensor) -> np.ndarray:
        """The same by NumPy, whose mat-vec (OpenBLAS) takes half the time of torch's (MKL) on an AMD processor."""
        kernel, sums, a = self.kernel.numpy(), self.sums.numpy(), self.a.numpy()
        columns = np.zeros(len(v))
        for places in self.places(len(v)):
            np.dot(kernel[places], v.numpy(), out=sums[places])
            columns += np.dot(a[places] / sums[places], kernel[places])
        return columns

    def places(self, m: int) -> Iterator[slice]:
        """Blocks of the kernel's rows."""
        return blocks(self.pool.n, max(1, KERNEL_CELLS[self.kind] // m))

    def soft_columns(self) -> np.ndarray:
        """As in `Stream`; the next step absorbs anew, as its g may be far away."""
        self.log_sums += self.sums.double().log()
        self.sums.fill_(1.0)
        self.absorbed = None
        return super().soft_columns()
