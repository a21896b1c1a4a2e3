"""Train, dev and held-out rows of a data set: seeded, stratified, and never mixed up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selectune.common.errors import DataError

DEV_NAMES = ("validation", "dev", "valid")
SHARE, DEV_ROWS = 0.1, 1000  # of a split that is split off train; at most so many rows


def name_splits(
    names: Sequence[str], train: str = "train", dev: str | None = None, test: str | None = None
) -> dict[str, str]:
    """Split of a data set that serves as train, dev and test; a role that is left out must be split off train.

    ``test`` is reported, else ``validation``; ``dev`` is a validation split left over.

    Raises:
        DataError: a split that was asked for does not exist, or two are the same.
    """
    if train not in names and len(names) == 1:
        train = names[0]
    for option, name in (("train_split", train), ("dev_split", dev), ("test_split", test)):
        if name is not None and name not in names:
            message = f"There is no split '{name}'; it has {', '.join(names)}. Check data.{option}."
            raise DataError(message, option=f"data.{option}")
    others = [name for name in names if name != train]
    test = test or next((name for name in ("test", *DEV_NAMES) if name in others and name != dev), None)
    if test is None and others and dev is None:
        raise DataError(
            f"None of the splits {', '.join(others)} is called test or validation; name the one to report in "
            "data.test_split."
        )
    dev = dev or next((name for name in DEV_NAMES if name in others and name != test), None)
    roles = {role: name for role, name in (("train", train), ("dev", dev), ("test", test)) if name}
    if len(set(roles.values())) < len(roles):
        raise DataError(
            f"One split cannot serve twice, but train, dev and test are {', '.join(roles.values())}; name others."
        )
    return roles


def stratified_sample(labels: np.ndarray | None, rows: np.ndarray, size: int, seed: int) -> np.ndarray:
    """A seeded sample of some rows in which each class has its share, by largest remainders.

    Args:
        labels: class of each row of the data set, or None for a plain sample.
        rows: to draw from, ascending.
        size: rows to draw.
        seed: of the draw.

    Returns:
        Rows, ascending, shape (size,).
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    if labels is None:
        return np.sort(rows[order[:size]])
    classes, counts = np.unique(labels[rows], return_counts=True)
    exact = counts * size / len(rows)
    shares = np.floor(exact).astype(int)
    shares[np.argsort(-(exact - shares), kind="stable")[: size - shares.sum()]] += 1
    shuffled = rows[order]
    drawn = [shuffled[labels[shuffled] == label][:share] for label, share in zip(classes, shares)]
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
    turn = np.empty(len(order), dtype=np.int64)  # rows of the same domain before each row
    for domain in np.unique(domains):
        members = np.flatnonzero(domains[order] == domain)
        turn[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turn, kind="stable")[:size]])


def other_rows(n_rows: int, *taken: Sequence[int] | np.ndarray) -> np.ndarray:
    """The rows 0 to n_rows - 1 that are in none of `taken`, ascending, in linear time; all of `taken` are such rows."""
    left = np.ones(n_rows, dtype=bool)
    for rows in taken:
        left[np.asarray(rows, dtype=np.int64)] = False
    return np.flatnonzero(left)
