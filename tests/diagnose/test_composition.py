"""Lengths of rows, and shares and distances of the data sets that a pool is joined from."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.diagnose.composition import distances_to, lengths, lengths_sentence, source_sentence, sources
from tests.mistakes import names
from tests.selectors import pool_of


def test_quantiles_are_lengths_that_rows_have() -> None:
    tokens = np.random.default_rng(0).integers(3, 90, size=401)
    made = lengths(tokens, 64)
    quantiles = list(made["quantiles"].values())
    assert quantiles == sorted(quantiles)
    assert set(quantiles) <= set(tokens.tolist())
    assert (quantiles[0], quantiles[-1]) == (tokens.min(), tokens.max())
    assert made["quantiles"]["0.5"] == np.median(tokens)
    assert made["tokens"] == pytest.approx(made["mean"] * len(tokens))
    assert names(lengths_sentence(made), *quantiles, 64)
    assert set(lengths(np.array([7]), 64)["quantiles"].values()) == {7}


def test_sources_are_in_the_order_of_their_distance_else_of_their_rows() -> None:
    domain, tokens = np.repeat([0, 1, 2], [5, 20, 10]), np.repeat([40, 5, 10], [5, 20, 10])
    by_rows = sources(("books", "web", "mail"), domain, tokens)
    assert [one["name"] for one in by_rows] == ["web", "mail", "books"]
    assert [one["token_share"] for one in by_rows] == pytest.approx([0.25, 0.25, 0.5])
    assert names(source_sentence(by_rows[0]), "web", 20, "57%", "25%")
    by_distance = sources(("books", "web", "mail"), domain, tokens, {0: 0.3, 1: 2.0, 2: 0.1})
    assert [one["name"] for one in by_distance] == ["mail", "books", "web"]
    assert names(source_sentence(by_distance[0]), "distance", 0.1)
    with_none = sources(("books", "web", "mail", "none"), domain, tokens, {0: 0.3, 1: 2.0, 2: 0.1})
    assert with_none[-1] == {"name": "none", "rows": 0, "share": 0.0, "token_share": 0.0, "distance": None}


def test_the_data_set_that_is_like_the_target_is_the_nearest() -> None:
    random = np.random.default_rng(0)
    domain = np.repeat([0, 1], [60, 90]).astype(np.int32)
    embedding = random.normal(size=(150, 4)) + 4.0 * domain[:, None]
    pool = pool_of(150, domain=domain, embedding=embedding)
    target = pool_of(40, embedding=random.normal(size=(40, 4)) + 4.0)
    distances, flops = distances_to(pool, target, 0)
    assert distances[1] < distances[0]
    assert flops > 0
