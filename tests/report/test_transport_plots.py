"""Pictures of a selection by transport say what the manifest says."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.report.drawing import png
from selectune.report.selection_plots import MAX_CLASSES, came_from, course, domain_shares, plane, transport_of
from selectune.selection.examples import SHOWN, embedding_map
from selectune.selectors import GOTD, Budget
from tests.mistakes import names as mentions
from tests.selectors.test_gotd import clouds, signals


def test_the_map_keeps_what_it_can_of_distances() -> None:
    pool, target, cloud = clouds()
    flat = np.column_stack([pool[:, :2] * [3, 1], np.zeros((len(pool), 3))])
    kept = np.flatnonzero(cloud)[:10]
    keys = np.random.default_rng(0).integers(2**60, size=len(pool)).astype(np.uint64)
    told = embedding_map(flat, np.pad(target[:, :2], ((0, 0), (0, 3))), kept, keys)
    at = np.array(told["pool"])
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(at[:, None] - at[None], axis=-1), apart, atol=1e-3)
    assert sum(told["explained"]) == pytest.approx(1, abs=1e-3)
    assert len(told["kept"]) == 10
    assert len(told["target"]) == len(target)
    many = embedding_map(np.tile(pool, (30, 1)), target, np.arange(900), np.arange(3600).astype(np.uint64))
    assert len(many["pool"]) == len(many["kept"]) == SHOWN


def test_pictures_say_in_words_what_they_show() -> None:
    pool, target, _ = clouds()
    picked = GOTD().select(signals(pool), signals(target, 500), Budget(rows=20), 0)
    told = transport_of({"prefilter": {}, "selector": picked.diagnostics})
    assert told is not None
    figure, alt = course(told)
    assert f"{told['iterations']} iterations" in alt
    assert f"{told['distance_kept']:.3g} for the kept rows" in alt
    places = embedding_map(pool, target, picked.rows, signals(pool).tie_keys(0))
    plane_figure, words = plane(places)
    assert "the middle of the kept rows" in words
    for drawn in (figure, plane_figure):
        assert png(drawn).startswith(b"\x89PNG")


def test_axes_are_written_in_plain_numbers() -> None:
    history = [{"iteration": i, "marginal_error": 0.1**i, "churn": None} for i in range(4)]
    told = {"history": history, "iterations": 3, "backend": "dense", "eps": 0.1, "distance": 2.0, "distance_kept": 1.0}
    figure, _ = course(told)
    png(figure)
    for axis in figure.axes:
        assert not [text for text in axis.get_yticklabels() if "$" in text.get_text()]


def test_a_pool_of_many_data_sets_is_told_in_full() -> None:
    names = [f"set{i}" for i in range(MAX_CLASSES + 5)]
    told = came_from({"names": names, "pool": [4] * len(names), "kept": list(range(len(names)))})
    assert mentions(told, f"{sum(range(len(names)))} rows", "8.0", f"{names[-1]} (4.0", "5 others (20.0")


def test_runs_without_transport_have_no_such_picture() -> None:
    assert transport_of({"bands": {}}) is None
    assert domain_shares({}) is None
    told = {"a": {"pool": 3, "kept": 1}, "b": {"pool": 5, "kept": 0}}
    shares = domain_shares({"domains": told})
    assert shares is not None
    assert came_from(shares).replace("\N{NO-BREAK SPACE}", " ") == (
        "Of the 1 rows kept there came 100.0 % from a (37.5 % of the pool) and 0.0 % from b (62.5 % of the pool)."
    )
    assert shares == {"names": ["a", "b"], "pool": [3, 5], "kept": [1, 0]}
