"""Wrong labels, rare classes, and groups of rows whose labels a probe cannot learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from selectune.data.class_prior import ClassPrior
from selectune.diagnose.findings import Finding, wilson
from selectune.selectors.label_issues import wrong_label_probability

RARE = 0.2  # of an even share of the rows
DRAWS = 200  # of the bootstrap


def label_issues(labels: np.ndarray, probabilities: np.ndarray, names: list[str], seed: int) -> Finding:
    """Rows whose label a cross-fitted probe contradicts, by confident learning.

    The share is the mean chance of a wrong label. Where the probe is no better than always answering the largest class,
    by two standard errors, no row is named.

    Args:
        labels: class numbers, shape (n_rows,).
        probabilities: of the classes, cross-fitted, shape (n_rows, n_classes).
        names: of the classes.
        seed: of the bootstrap.
    """
    scores, joint = wrong_label_probability(labels, probabilities)
    right, largest = probabilities.argmax(axis=1) == labels, labels == np.bincount(labels).argmax()
    lead = right.astype(np.float64) - largest
    able = bool(lead.mean() > 2 * lead.std() / np.sqrt(len(labels)))
    draws = (
        np.random.default_rng(seed % 2**63).poisson(1.0, size=(DRAWS, len(labels))) if len(labels) <= 20_000 else None
    )
    if draws is None:
        spread = 1.96 * scores.std() / np.sqrt(len(labels))
        low, high = scores.mean() - spread, scores.mean() + spread
    else:
        low, high = np.quantile(draws @ scores / draws.sum(axis=1), [0.025, 0.975])
    rows = np.flatnonzero(scores > 0.5) if able else np.zeros(0, dtype=np.int64)
    details: dict[str, Any] = {
        "probe_accuracy": float(right.mean()),
        "largest_class": float(largest.mean()),
        "able": able,
        "joint": np.round(joint, 4).tolist(),
        "classes": names,
    }
    return Finding("label_issue", scores, rows, float(scores.mean()), max(0.0, float(low)), float(high), details)


def rare_classes(labels: np.ndarray, names: list[str], prior: ClassPrior | None = None) -> Finding:
    """Rows of classes with less than a fifth of the rows that they would have by the prior, default an even one.

    Args:
        labels: class numbers, shape (n_rows,).
        names: of the classes.
        prior: shares that the classes will have where the model is used.
    """
    counts = np.bincount(labels, minlength=len(names))
    n, even = len(labels), (counts > 0) / (counts > 0).sum()
    expected = n * (even if prior is None else np.array(prior.shares))
    rare = np.flatnonzero((counts > 0) & (counts < RARE * expected))
    # of a class that is not expected at all, no number of rows is too few
    reached = np.where(expected > 0, counts / np.maximum(expected, 1e-12), np.inf)
    most = reached[np.isfinite(reached)].max(initial=0.0)
    scores = 1 - np.minimum(reached[labels], most) / max(most, 1e-12)
    shares = {
        names[c]: {"rows": int(counts[c]), "share": counts[c] / n} for c in np.argsort(counts, kind="stable").tolist()
    }
    missing = [names[c] for c in np.flatnonzero(counts == 0)]
    return Finding.counted(
        "rare_class", scores, np.flatnonzero(np.isin(labels, rare)), classes=shares, rare=[names[c] for c in rare],
        missing=missing, prior="balanced" if prior is None else prior.stated,
        expected={name: float(share) for name, share in zip(names, expected / n)},
    )  # fmt: skip


def hard_groups(
    embeddings: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, keys: np.ndarray, seed: int, most: int = 5
) -> list[dict[str, Any]]:
    """Groups of similar rows that the probe fails on far more often than on the rest, the worst first.

    Groups are k-means cells of the embeddings. One is listed where the lower bound of its error's interval, widened for
    the number of groups, is over the error of all rows.

    Returns:
        Of each: ``rows`` (ids, the most typical first), ``error``, ``low``, ``high``.
    """
    from selectune.selectors.clustering import distances, kmeans

    n = len(labels)
    cells = max(2, min(50, round(np.sqrt(n) / 2)))
    centres = kmeans(embeddings, cells, seed, keys)
    parts = [(d2.argmin(axis=1), d2.min(axis=1)) for _, d2 in distances(embeddings, centres)]
    cell, distance = (np.concatenate(values) for values in zip(*parts))
    wrong = probabilities.argmax(axis=1) != labels
    found: list[dict[str, Any]] = []
    for number in range(len(centres)):
        rows = np.flatnonzero(cell == number)
        if len(rows) < 10:
            continue
        low, high = wilson(int(wrong[rows].sum()), len(rows), z=3.0)
        if low > wrong.mean():
            rows = rows[np.argsort(distance[rows], kind="stable")]
            found.append({"rows": rows.tolist(), "error": float(wrong[rows].mean()), "low": low, "high": high})
    return sorted(found, key=lambda group: group["low"], reverse=True)[:most]
