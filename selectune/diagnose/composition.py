"""Composition of a pool: lengths of its rows, and shares of the data sets that it is joined from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selectune.selectors.base import Budget, Signals
from selectune.selectors.domain_screen import DomainScreen

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SAMPLE = 1000  # rows of each data set, and of the target, that distances are of


def lengths(tokens: np.ndarray, max_length: int) -> dict[str, Any]:
    """Quantiles and mean of the rows' lengths, as JSON types.

    Args:
        tokens: of each row if it were not cut, special ones included, shape (n_rows,).
        max_length: that rows are cut to.
    """
    values = np.quantile(tokens, QUANTILES, method="inverted_cdf")  # lengths that rows have
    return {
        "quantiles": {f"{q:g}": int(value) for q, value in zip(QUANTILES, values)},
        "mean": float(np.mean(tokens)),
        "tokens": int(np.sum(tokens)),
        "max_length": max_length,
    }


def sources(
    names: Sequence[str], domain: np.ndarray, tokens: np.ndarray, distances: Mapping[int, float] | None = None
) -> list[dict[str, Any]]:
    """Rows and tokens of each data set, as JSON types: the nearest to the target first, else the one of most rows.

    Args:
        names: of the data sets.
        domain: number of each row's data set, shape (n_rows,).
        tokens: of each row, shape (n_rows,).
        distances: of the data sets to a target, by number; None without one.
    """
    rows = np.bincount(domain, minlength=len(names))
    of_tokens = np.bincount(domain, weights=tokens, minlength=len(names))
    made = [
        {
            "name": name,
            "rows": int(rows[number]),
            "share": float(rows[number] / len(domain)),
            "token_share": float(of_tokens[number] / of_tokens.sum()),
            "distance": None if distances is None else distances.get(number),
        }
        for number, name in enumerate(names)
    ]
    return sorted(made, key=lambda one: (np.inf if one["distance"] is None else one["distance"], -one["rows"]))


def distances_to(pool: Signals, target: Signals, seed: int) -> tuple[dict[int, float], float]:
    """Distance of each data set of a pool to a target, by number, and the FLOPs of it.

    The distance is the debiased one of transport between embeddings, see `DomainScreen`, of a sample of each.
    """
    screen = DomainScreen(domains=1, sample=SAMPLE, allow_unconverged=True)
    picked = screen.select(pool, target, Budget(), seed)
    return dict(picked.diagnostics["distances"]), picked.flops or 0.0


def lengths_sentence(of: Mapping[str, Any]) -> str:
    """The lengths of a pool's rows in one sentence."""
    q = of["quantiles"]
    return (
        f"Rows have {q['0']:,} to {q['1']:,} tokens: 5 % at most {q['0.05']:,}, half of them {q['0.25']:,} to "
        f"{q['0.75']:,} (median {q['0.5']:,}), 5 % {q['0.95']:,} or more; data.max_length is {of['max_length']:,}."
    )


def source_sentence(source: Mapping[str, Any]) -> str:
    """A data set of a pool in one sentence."""
    distance = (
        "" if source["distance"] is None else f", at a distance of {source['distance']:.3g} from the trusted rows"
    )
    shares = f"{source['share']:.0%} of the rows and {source['token_share']:.0%} of the tokens"
    return f"{source['name']}: {source['rows']:,} rows, {shares}{distance}."
