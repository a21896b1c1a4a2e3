"""Embeddings read block by block, checked and centred, and the exact moments of the cost between two sets of them.

Both costs are one: on unit rows 1 - cos(x, y) = |x - y|^2 / 2, so that everywhere

    C_ij = scale |x_i - y_j|^2 = s(x_i) + s(y_j) - 2 scale <x_i, y_j>,    s(x) = scale |x|^2,

with scale 1 or 1/2. All rows are moved so that the target's mean is 0, which changes no distance and keeps the three
terms small, so that little is lost when they cancel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from selectune.common.errors import DataError, first_few
from selectune.selectors.blocks import blocks

Cost = Literal["sqeuclidean", "cosine"]
SCALES = {"sqeuclidean": 1.0, "cosine": 0.5}


class Rows:
    """Rows of an array in blocks: on the device, in the solver's precision, unit for the cosine, centred.

    Args:
        array: shape (n, d), floats of any precision; a memory map is read block by block, a tensor from its device.
        cost: ``sqeuclidean`` or ``cosine``.
        dtype: of the blocks.
        device: of the blocks.
        centre: subtracted from each row, float64, shape (d,).
        keep: hold all rows on the device from the first pass over them on.
    """

    def __init__(
        self,
        array: np.ndarray | Tensor,
        cost: Cost,
        dtype: torch.dtype,
        device: torch.device,
        centre: Tensor | None = None,
        keep: bool = False,
    ) -> None:
        self.array, self.cost, self.dtype, self.device = array, cost, dtype, device
        self.n, self.width = int(array.shape[0]), int(array.shape[1])
        self.scale = SCALES[cost]
        # Rows are centred in the precision that they are stored in: rounded before, a large common offset would have
        # taken their digits.
        exact = dtype == torch.float64 or str(array.dtype).endswith("float64")
        self._reading = torch.float64 if exact else torch.float32
        self.centre = torch.zeros(self.width, dtype=torch.float64) if centre is None else centre
        self._centre = self.centre.to(device, self._reading)
        self._kept = torch.empty(array.shape, dtype=dtype, device=device) if keep else None
        self._passed = False  # a whole time over all rows

    def block(self, which: slice = slice(None)) -> Tensor:
        """Some rows, default all, shape (block, d)."""
        if self._kept is not None and self._passed:
            return self._kept[which]
        # A copy: a slice of a read-only memory map is no tensor, and its pages can be dropped at once.
        array = self.array
        rows = array[which] if isinstance(array, Tensor) else torch.from_numpy(np.array(array[which]))
        rows = rows.to(self.device, self._reading)
        if self.cost == "cosine":
            rows = rows / rows.norm(dim=1, keepdim=True)
        return (rows - self._centre).to(self.dtype)

    def blocks(self, rows_at_once: int) -> Iterator[tuple[slice, Tensor]]:
        """All rows, block by block: their places and values."""
        for places in blocks(self.n, rows_at_once):
            block = self.block(places)
            if self._kept is not None and not self._passed:
                self._kept[places] = block
            yield places, block
        self._passed = True

    def take(self, which: np.ndarray) -> Rows:
        """Some of the rows, copied."""
        array = self.array
        some = array[torch.from_numpy(which).to(array.device)] if isinstance(array, Tensor) else np.array(array[which])
        return Rows(some, self.cost, self.dtype, self.device, self.centre)


class Moments(NamedTuple):
    """Sums over rows, float64; those of shards add up, field by field.

    Args:
        n: rows.
        squares: of s(x), and of its square, shape (2,).
        rows: of x, shape (d,).
        weighted: of s(x) x, shape (d,).
        products: of the outer products x x^T, shape (d, d); zeros where they were not wanted.
    """

    n: float | np.ndarray
    squares: np.ndarray
    rows: np.ndarray
    weighted: np.ndarray
    products: np.ndarray


def read_moments(rows: Rows, rows_at_once: int, products: bool) -> tuple[np.ndarray, Moments]:
    """One pass over rows: s(x) of each, float64, shape (n,), and their moments; the products, O(n d^2), if wanted."""
    squares = torch.empty(rows.n, dtype=torch.float64, device=rows.device)  # read at the end: no block waits for it
    # float64 sums: the spread of the cost is a small difference of large sums over millions of rows.
    first = torch.zeros(rows.width, dtype=torch.float64, device=rows.device)
    weighted = torch.zeros_like(first)
    second = torch.zeros(rows.width, rows.width, dtype=torch.float64, device=rows.device)
    for places, block in rows.blocks(rows_at_once):
        block = block.double()
        own = rows.scale * block.square().sum(1)
        squares[places] = own
        first += block.sum(0)
        weighted += own @ block
        if products:
            second += block.T @ block
    own_squares = squares.cpu().numpy()
    sums = np.array([own_squares.sum(), np.square(own_squares).sum()])
    return own_squares, Moments(rows.n, sums, first.cpu().numpy(), weighted.cpu().numpy(), second.cpu().numpy())


def cost_moments(pool: Moments, target: Moments, scale: float) -> tuple[float, float]:
    """Mean and standard deviation of the cost over all pairs, unweighted, exact.

    With the target's mean at 0 the products <x, y> have mean 0 and are uncorrelated with s(x), so that

        mean = E s(x) + E s(y)
        variance = var s(x) + var s(y) + 4 scale^2 tr(E[x x^T] E[y y^T]) - 4 scale <E x, E[s(y) y]>
    """
    pairs = float(pool.n * target.n)
    mean, variance = 0.0, 4 * scale**2 * float((pool.products * target.products).sum()) / pairs
    for side in (pool, target):
        own, square = side.squares / side.n
        mean += own
        variance += square - own**2
    variance -= 4 * scale * float(pool.rows @ target.weighted) / pairs
    return float(mean), float(np.sqrt(max(variance, 0.0)))  # below 0 is rounding


def embedding_fault(
    array: np.ndarray | Tensor, name: str, squares: np.ndarray, cost: Cost, offset: int = 0
) -> DataError | None:
    """The error of embeddings that are not finite, too large or, with the cosine, zero; None where all is well.

    ``squares`` are s(x) of each row, as `read_moments` gave them; ``offset`` counts the rows of the shards before.
    """
    suspects = np.flatnonzero(~np.isfinite(squares))  # of whatever is wrong with a row, as 0 / 0 is NaN
    if len(suspects) == 0:
        return None

    def row(place: Any) -> np.ndarray:
        found = array[place]
        return found.double().cpu().numpy() if isinstance(found, Tensor) else found

    not_finite = [place for place in suspects if not np.isfinite(row(place)).all()]
    zero = [place for place in suspects if cost == "cosine" and not row(place).any()]
    for kind, rows in (("not finite", not_finite), ("zero, which have no cosine", zero)):
        if rows:
            ids = np.array(rows) + offset
            message = f"{len(rows)} embeddings of the {name} are {kind} (rows {first_few(ids)}); leave these rows out."
            return DataError(message, rows=ids.tolist())
    message = f"The embeddings of the {name} are too large to be squared; divide all of them by one number."
    return DataError(message, rows=(suspects + offset).tolist())
