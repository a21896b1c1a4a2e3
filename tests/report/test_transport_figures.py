"""Pictures of a selection by transport say what the manifest says."""

from __future__ import annotations

import numpy as np
import pytest

from selectune.embedding_map import SHOWN, embedding_map
from selectune.report.drawing import png
from selectune.report.selection_section import domain_shares
from selectune.report.transport_figures import course, course_of, plane
from selectune.selectors import GOTD, Budget
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
    told = course_of({"prefilter": {}, "selector": picked.diagnostics})
    assert told is not None
    figure, alt = course(told)
    assert f"{told['iterations']} iterations" in alt
    assert f"{told['distance_kept']:.3g} for the kept rows" in alt
    places = embedding_map(pool, target, picked.rows, signals(pool).tie_keys(0))
    plane_figure, words = plane(places)
    assert "the middle of the kept rows" in words
    for drawn in (figure, plane_figure):
        assert png(drawn).startswith(b"\x89PNG")


def test_runs_without_transport_have_no_such_picture() -> None:
    assert course_of({"bands": {}}) is None
    assert domain_shares({}) is None
    told = {"a": {"pool": 3, "kept": 1}, "b": {"pool": 5, "kept": 0}}
    assert domain_shares({"domains": told}) == {"names": ["a", "b"], "pool": [3, 5], "kept": [1, 0]}
