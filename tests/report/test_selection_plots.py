"""The pictures of a selection show what its files hold, and their text alternatives say it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from selectune.common.errors import UserError
from selectune.report.drawing import png
from selectune.report.labels import number
from selectune.report.selection_data import SelectionData
from selectune.report.selection_plots import histograms, lengths, pairs, sampled, shares
from selectune.selectors.base import Budget, Picked, Selector
from selectune.selectors.baselines import Random
from selectune.selectors.euds import IGSE, EntropyInterval
from tests.mistakes import mistake
from tests.report.made_up_selection import choose, made_up_labels, made_up_signals, put

N_ROWS = 800
ENTROPIES = ["information_entropy", "generative_entropy", "semantic_entropy"]


def selected_by(run: Path, selector: Selector, **changed: Any) -> tuple[SelectionData, Picked]:
    picked = choose(run, selector, made_up_signals(N_ROWS), labels=made_up_labels(N_ROWS), **changed)
    return read(run, picked), picked


def read(run: Path, picked: Picked) -> SelectionData:
    data = SelectionData.read(run / "selection", {"seed": 0, "diagnostics": picked.diagnostics})
    assert data is not None
    return data


def bars(axis: Any) -> dict[str, np.ndarray]:
    """The heights of a panel's bars, by their name in the legend."""
    return {patch.get_label(): patch.get_data().values for patch in axis.patches if hasattr(patch, "get_data")}


def test_histograms_count_every_row_and_every_kept_row(tmp_path: Path):
    data, picked = selected_by(tmp_path, IGSE())
    figure, alt = histograms(data)
    table = pq.read_table(tmp_path / "selection" / "scores.parquet")
    assert data.drawn == ENTROPIES
    for axis, name in zip(figure.axes, ENTROPIES):
        counts = bars(axis)
        assert counts["not kept"].sum() == table.num_rows == N_ROWS  # stands on the kept rows, up to all rows
        assert counts["kept"].sum() == table["selected"].to_numpy().sum() == len(picked.rows)
        assert axis.get_xlabel() == f"{name.replace('_', ' ')} (nats)"
        low, high = data.intervals[name]
        said = next(part for part in alt.split(". ") if part.startswith(name.replace("_", " ").capitalize()))
        values = table[name].to_numpy()
        for value in (np.median(values), np.median(values[picked.rows])):
            assert number(value, np.ptp(values)) in said
        assert f"kept {number(low, high - low)} to {number(high, high - low)} nats" in said
        assert "128 of 800 rows kept (16.0" in said


def test_bars_of_kept_rows_stand_inside_the_interval_that_is_shaded(tmp_path: Path):
    data, _ = selected_by(tmp_path, EntropyInterval())
    axis = histograms(data)[0].axes[0]
    kept = next(patch for patch in axis.patches if patch.get_label() == "kept").get_data()
    low, high = data.intervals["generative_entropy"]
    filled = kept.edges[:-1][kept.values > 0], kept.edges[1:][kept.values > 0]
    assert filled[0].min() == pytest.approx(low, abs=1e-8)
    assert filled[1].max() == pytest.approx(high, abs=1e-8)
    assert kept.values.sum() == 128


def test_pairs_draw_the_box_and_say_who_is_in_it(tmp_path: Path):
    data, picked = selected_by(tmp_path, IGSE())
    figure, alt = pairs(data)
    assert len(figure.axes) == 3
    for axis in figure.axes:
        names = [label.partition(" (")[0].replace(" ", "_") for label in (axis.get_xlabel(), axis.get_ylabel())]
        (box,) = axis.patches
        (left, right), (low, high) = (data.intervals[name] for name in names)
        assert box.get_extents().width > 0
        assert (box.get_x(), box.get_y()) == (left, low)
        assert (box.get_width(), box.get_height()) == (right - left, high - low)
        points = {group.get_label(): group.get_offsets() for group in axis.collections}
        assert len(points["kept"]) == len(picked.rows)
        assert len(points["kept"]) + len(points["not kept"]) == N_ROWS
        x, y = (data.signals[name] for name in names)
        inside = (x > left - 1e-9) & (x < right + 1e-9) & (y > low - 1e-9) & (y < high + 1e-9)
        assert f"{inside.sum()} rows lie in the box" in alt
    assert alt.count("128 of them kept") == 3


def test_a_large_pool_is_drawn_in_part_by_the_seed(tmp_path: Path):
    signals = made_up_signals(5000)
    picked = choose(tmp_path, IGSE(), signals)
    data = read(tmp_path, picked)
    assert len(set(sampled(data).tolist())) == 3000
    assert (sampled(data) == sampled(data)).all()
    axis = pairs(data)[0].axes[0]
    assert sum(len(group.get_offsets()) for group in axis.collections) == 3000


def test_lengths_before_and_after_are_shares_of_all_rows(tmp_path: Path):
    data, picked = selected_by(tmp_path, IGSE())
    figure, alt = lengths(data)
    tokens = pq.read_table(tmp_path / "selection" / "scores.parquet")["n_tokens"].to_numpy()
    shares = bars(figure.axes[0])
    pool, kept = (next(v for k, v in shares.items() if k.startswith(start)) for start in ("pool", "kept"))
    assert pool.sum() == pytest.approx(100)
    assert kept.sum() == pytest.approx(100)
    assert f"pool, median {np.median(tokens):g} tokens" in shares
    assert f"kept, median {np.median(tokens[picked.rows]):g} tokens" in shares
    assert f"{tokens[picked.rows].sum():,} of {tokens.sum():,} tokens" in alt
    assert f"median {np.median(tokens):.1f} tokens in the pool, {np.median(tokens[picked.rows]):.1f} among" in alt


def test_classes_are_shares_and_lost_ones_are_named(tmp_path: Path):
    signals = made_up_signals(N_ROWS)
    picked = Random().select(signals, None, Budget(rows=100), 0)
    labels = np.where(np.isin(np.arange(N_ROWS), picked.rows), 0, np.arange(N_ROWS) % 3)
    put(tmp_path, picked, {"n_tokens": signals["n_tokens"]}, labels, names=["$5 or $6", "b_1^2", "<c>"])
    figure, alt = shares(read(tmp_path, picked).classes, "classes")
    pool, kept = figure.axes[0].containers
    assert sum(bar.get_width() for bar in pool) == pytest.approx(100)
    assert [bar.get_width() for bar in kept] == pytest.approx([100, 0, 0])
    assert "$5 or $6" in alt
    assert "No row was kept of " in alt
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["$5 or $6", "b_1^2", "<c>"]
    assert png(figure).startswith(b"\x89PNG")


def test_many_classes_are_put_together(tmp_path: Path):
    signals = made_up_signals(N_ROWS)
    picked = Random().select(signals, None, Budget(rows=100), 0)
    put(tmp_path, picked, {"n_tokens": signals["n_tokens"]}, np.arange(N_ROWS) % 30, names=None)
    figure, alt = shares(read(tmp_path, picked).classes, "classes")
    pool, kept = figure.axes[0].containers
    assert len(pool) == 21
    assert sum(bar.get_width() for bar in pool) == pytest.approx(100)
    assert sum(bar.get_width() for bar in kept) == pytest.approx(100)
    assert "10 other classes" in alt


def test_rows_without_a_value_are_left_out_and_counted(tmp_path: Path):
    signals = made_up_signals(N_ROWS)
    picked = choose(tmp_path, EntropyInterval(), signals)
    rest = np.setdiff1d(np.arange(N_ROWS), picked.rows)[:70]
    scalars = {name: np.where(np.isin(np.arange(N_ROWS), rest), np.nan, signals[name]) for name in ENTROPIES}
    put(tmp_path, picked, scalars | {"n_tokens": signals["n_tokens"], "nothing": np.full(N_ROWS, np.nan)})
    data = read(tmp_path, picked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure, alt = histograms(data)
        pairs(data)
        lengths(data)
    assert "nothing" not in data.drawn
    assert alt.count("70 rows have no value") == 3
    for axis in figure.axes:
        assert bars(axis)["not kept"].sum() == N_ROWS - 70
        assert bars(axis)["kept"].sum() == len(picked.rows)


def test_without_a_band_nothing_is_shaded(tmp_path: Path):
    data, _ = selected_by(tmp_path, IGSE(combine="sum"))
    figure, alt = histograms(data)
    for axis in figure.axes:
        assert set(bars(axis)) == {"kept", "not kept"}
        assert len(axis.patches) == 2
    assert " to " not in alt
    assert not any(axis.patches for axis in pairs(data)[0].axes)


@pytest.mark.parametrize("n_signals", [1, 2, 4, 8])
def test_as_many_panels_as_signals_up_to_six(tmp_path: Path, n_signals: int):
    signals = made_up_signals(N_ROWS)
    picked = Random().select(signals, None, Budget(rows=100), 0)
    scalars = {f"s{i}_entropy": signals["semantic_entropy"] * (i + 1) for i in range(n_signals)}
    put(tmp_path, picked, scalars, with_examples=False)
    data = read(tmp_path, picked)
    assert len(histograms(data)[0].axes) == min(n_signals, 6)
    n_paired = min(n_signals, 4) if n_signals > 1 else 0
    assert len(data.paired) == n_paired
    if n_paired:
        assert len(pairs(data)[0].axes) == n_paired * (n_paired - 1) // 2


@pytest.mark.parametrize(
    "values", [np.full(N_ROWS, 2.5), np.arange(N_ROWS) % 2 * 1e-9, np.geomspace(1e-6, 1e9, N_ROWS)]
)
def test_no_row_is_lost_whatever_the_values(tmp_path: Path, values: np.ndarray):
    picked = Picked(np.arange(200, 300), values, {"bands": {"loss": {"low": values[200], "high": values[299]}}})
    put(tmp_path, picked, {"loss": values})
    figure, _ = histograms(read(tmp_path, picked))
    assert bars(figure.axes[0])["not kept"].sum() == N_ROWS
    assert bars(figure.axes[0])["kept"].sum() == 100
    assert png(figure).startswith(b"\x89PNG")


def test_the_same_picture_is_the_same_file_whatever_the_users_style(tmp_path: Path):
    import matplotlib

    data, _ = selected_by(tmp_path, IGSE())
    first = png(lengths(data)[0])
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert png(lengths(data)[0]) == first
        assert matplotlib.rcParams["font.size"] == 30


def test_scores_that_cannot_be_read_are_a_sentence(tmp_path: Path):
    selected_by(tmp_path, IGSE())
    (tmp_path / "selection" / "scores.parquet").write_bytes(b"PAR1 torn")
    with mistake(UserError, tmp_path / "selection" / "scores.parquet"):
        SelectionData.read(tmp_path / "selection", {})
    assert SelectionData.read(tmp_path / "nowhere", {}) is None


@pytest.mark.parametrize(
    ("value", "width", "told"),
    [(3.12345, 0.33, "3.123"), (3.12345, 3, "3.12"), (-0.5, 1, "−0.50"), (12345.6, 900, "12,346"), (2.5, 0, "2.5000")],
)
def test_numbers_have_the_digits_that_tell_them_apart(value: float, width: float, told: str):
    assert number(value, width) == told
