"""Train, dev and held-out rows of a data set: seeded, stratified, and never mixed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selectune.common.errors import DataError

DEV_NAMES = ("validation", "dev", "valid")
HELD_OUT_SHARE, DEV_SHARE, DEV_ROWS = 0.1, 0.1, 1000


@dataclass(frozen=True)
class SplitNames:
    """Which splits of a data set serve as what; None for one that must be split off train."""

    train: str
    dev: str | None
    test: str | None


def name_splits(
    there: Sequence[str], train: str = "train", dev: str | None = None, test: str | None = None
) -> SplitNames:
    """Choose the splits: figures come from ``test``, else from ``validation``; ``dev`` is a validation split left over.

    Raises:
        DataError: a split that was asked for is not there, or two are the same.
    """
    if train not in there and len(there) == 1:
        train = there[0]
    for option, name in (("train_split", train), ("dev_split", dev), ("test_split", test)):
        if name is not None and name not in there:
            raise DataError(f"There is no split '{name}'; it has {', '.join(there)}. Mend data.{option}.")
    others = [name for name in there if name != train]
    test = test or next((name for name in ("test", *DEV_NAMES) if name in others and name != dev), None)
    if test is None and others and dev is None:
        raise DataError(
            f"None of the splits {', '.join(others)} is called test or validation, so say which one figures come "
            "from: name data.test_split."
        )
    dev = dev or next((name for name in DEV_NAMES if name in others and name != test), None)
    named = [name for name in (train, dev, test) if name]
    if len(set(named)) < len(named):
        raise DataError(f"One split cannot serve twice, but train, dev and test are {', '.join(named)}; name others.")
    return SplitNames(train, dev, test)


def stratified_sample(labels: np.ndarray | None, n_rows: int, size: int, seed: int) -> np.ndarray:
    """A seeded sample in which each class has its share, by largest remainders.

    Args:
        labels: class of each row, shape (n_rows,), or None for a plain sample.
        n_rows: rows to draw from.
        size: rows to draw.
        seed: of the draw.

    Returns:
        Row positions, ascending, shape (size,).
    """
    random = np.random.default_rng(seed)
    order = random.permutation(n_rows)
    if labels is None:
        return np.sort(order[:size])
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * size / n_rows
    shares = np.floor(exact).astype(int)
    rest = np.argsort(-(exact - shares), kind="stable")[: size - shares.sum()]
    shares[rest] += 1
    shuffled = labels[order]
    drawn = [order[shuffled == label][:share] for label, share in zip(classes, shares)]
    return np.sort(np.concatenate(drawn))


def even_sample(domains: np.ndarray, size: int, seed: int) -> np.ndarray:
    """A seeded sample with as many rows of each domain, as far as they reach; the others then give more.

    Args:
        domains: number of each row's domain, shape (n_rows,).
        size: rows to draw, at most n_rows.
        seed: of the draw.

    Returns:
        Row positions, ascending, shape (size,).
    """
    order = np.random.default_rng(seed).permutation(len(domains))
    turn = np.empty(len(order), dtype=np.int64)  # how many of its own domain stand before a row
    for domain in np.unique(domains):
        members = np.flatnonzero(domains[order] == domain)
        turn[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turn, kind="stable")[:size]])


def split_off(labels: np.ndarray | None, rows: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split a stratified sample off some rows. Returns what stays and what was split off, both ascending."""
    part = stratified_sample(labels[rows] if labels is not None else None, len(rows), size, seed)
    return np.delete(rows, part), rows[part]


def dev_rows(n_rows: int) -> int:
    """Rows of a dev split that is split off train: a tenth, at most 1,000, at least one."""
    return min(max(1, int(n_rows * DEV_SHARE)), DEV_ROWS)
