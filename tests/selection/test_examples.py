"""Examples lie where they are said to lie, and the same seed draws the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from selectune.common.errors import UserError
from selectune.selection import examples
from selectune.selectors.base import Budget, Picked, Selector, Signals
from selectune.selectors.baselines import Random
from selectune.selectors.euds import IGSE, EntropyInterval
from selectune.selectors.interval_rules import Quantile
from selectune.selectors.ordering import rounded
from tests.mistakes import mistake
from tests.report.made_up_selection import NAMES, made_up_labels, made_up_signals, made_up_texts
from tests.selectors import THREE, pool_of

N_ROWS = 600
SELECTORS = {
    "one": (EntropyInterval(), 0.16),
    "box": (IGSE(), 0.16),
    "sum": (IGSE(combine="sum"), 0.16),
    "own size": (IGSE(rule=Quantile(0.2, 0.8)), None),
}


def described(picked: Picked, pool: Signals, **changed: Any) -> dict[str, Any]:
    scalars = {name: pool[name] for name in pool if name != "text_hash"}
    given: dict[str, Any] = {
        "texts_of": made_up_texts,
        "rows": picked.rows,
        "n_rows": pool.n_rows,
        "signals": scalars | {"score": picked.scores},
        "diagnostics": picked.diagnostics,
        "labels": made_up_labels(pool.n_rows),
        "label_names": NAMES,
        "seed": 0,
    }
    return examples.describe_rows(**given | changed)


def pick(selector: Selector, keep: float | None, signals: Signals) -> Picked:
    return selector.select(signals, None, Budget.of(signals.n_rows, int(signals["n_tokens"].sum()), keep), 0)


@pytest.mark.parametrize("name", SELECTORS)
def test_examples_lie_where_they_are_said_to_lie(name: str):
    signals = made_up_signals(N_ROWS)
    picked = pick(*SELECTORS[name], signals)
    given = described(picked, signals)
    assert set(given["signals"]) == {{"sum": "score"}.get(band, band) for band in picked.diagnostics["bands"]}
    for signal, told in given["signals"].items():
        values = picked.scores if signal == "score" else signals[signal]
        low, high = told["low"], told["high"]
        right = {
            "kept": lambda row, value, low=low, high=high: row in picked.rows and low - 1e-9 <= value <= high + 1e-9,
            "too_low": lambda row, value, low=low: row not in picked.rows and value < low,
            "too_high": lambda row, value, high=high: row not in picked.rows and value > high,
        }
        assert set(told["rows"]) == set(right)
        for kind, rows in told["rows"].items():
            n_members = sum(right[kind](row, value) for row, value in enumerate(rounded(values)))
            assert len({row["row_id"] for row in rows}) == min(examples.N_EXAMPLES, n_members)
            for row in rows:
                assert row["value"] == values[row["row_id"]]
                assert right[kind](row["row_id"], row["value"])
                assert row["text"].startswith(f"Row {row['row_id']}:")


@pytest.mark.parametrize("name", SELECTORS)
def test_all_kept_rows_lie_in_the_intervals_and_in_a_box_no_others(name: str):
    signals = made_up_signals(N_ROWS)
    picked = pick(*SELECTORS[name], signals)
    selected = np.isin(np.arange(N_ROWS), picked.rows)
    inside = np.ones(N_ROWS, dtype=bool)
    scores = {each: signals[each] for each in signals} | {"score": picked.scores}
    for signal, (low, high) in examples.kept_intervals(picked.diagnostics, scores, selected).items():
        inside &= (scores[signal] >= low - 1e-9) & (scores[signal] <= high + 1e-9)
    assert inside[selected].all()
    # beside them only rows that tie with a kept one at a bound
    bands = picked.diagnostics["bands"].values()
    tied = picked.diagnostics.get("edge_rows_left_out", sum(band["tied_rows_left_out"] for band in bands))
    assert np.count_nonzero(inside) - len(picked.rows) == tied


@pytest.mark.parametrize(("seed", "keep_rows"), [(0, 976), (8, 2974), (9, 3351)])
def test_the_side_of_a_box_is_exact_where_its_half_width_is_rounded_between_two_ranks(seed: int, keep_rows: int):
    n = 5120  # 1e9 / 2 N is a whole number and a half of some
    random = np.random.default_rng(seed)
    scores = {name: np.round(random.normal(size=n), 3 if place == 0 else 2) for place, name in enumerate(THREE)}
    signals = pool_of(n, **scores)
    picked = IGSE().select(signals, None, Budget(rows=keep_rows), 0)
    selected = np.isin(np.arange(n), picked.rows)
    for name, interval in examples.kept_intervals(picked.diagnostics, scores, selected).items():
        doubled = 2 * rankdata(scores[name]) - 1
        off_centre = np.abs(doubled - round(picked.diagnostics["bands"][name]["centre"] * 2 * n))
        inside = scores[name][off_centre <= round(picked.diagnostics["half_width"] * 2 * n)]
        assert interval == (inside.min(), inside.max())


@pytest.mark.parametrize("damaged", ["centre", "half_width"])
def test_a_box_that_is_not_a_number_is_the_range_of_the_kept_rows(damaged: str):
    box = {"centre": 0.5, "half_width": 0.4, damaged: np.nan}
    diagnostics = {"half_width": box["half_width"], "bands": {"loss": {"centre": box["centre"]}}}
    selected = np.isin(np.arange(9), [3, 4])
    assert examples.kept_intervals(diagnostics, {"loss": np.arange(9.0)}, selected) == {"loss": (3.0, 4.0)}


def test_the_same_seed_draws_the_same_rows_and_another_seed_others():
    signals = made_up_signals(N_ROWS)
    picked = pick(IGSE(), 0.16, signals)
    assert described(picked, signals) == described(picked, signals)
    assert described(picked, signals)["signals"] != described(picked, signals, seed=1)["signals"]


def test_without_a_band_there_are_kept_and_not_kept():
    signals = made_up_signals(N_ROWS)
    picked = pick(Random(), 0.16, signals)
    (name, told), *more = described(picked, signals)["signals"].items()
    assert (name, told["low"], told["high"], more) == ("score", None, None, [])
    assert {row["row_id"] for row in told["rows"]["kept"]} <= set(picked.rows.tolist())
    assert not {row["row_id"] for row in told["rows"]["not_kept"]} & set(picked.rows.tolist())


def test_rows_that_an_earlier_stage_dropped_have_no_part_in_it():
    signals = made_up_signals(N_ROWS)
    survivors = np.arange(0, N_ROWS, 2)
    picked = pick(IGSE(), 0.2, Signals({name: signals[name][survivors] for name in signals}))
    scalars = {name: np.full(N_ROWS, np.nan) for name in signals if name.endswith("entropy")}
    for name, values in scalars.items():
        values[survivors] = signals[name][survivors]
    rows = survivors[picked.rows]
    nested = {"stages": [{"dropped": 300}, {"inner": picked.diagnostics}]}
    given = described(picked, signals, rows=rows, signals=scalars, diagnostics=nested)["signals"]
    assert set(given) == set(scalars)
    for name, told in given.items():
        kept = scalars[name][rows]
        assert told["low"] <= kept.min() + 1e-9
        assert kept.max() <= told["high"] + 1e-9
        assert all(row["row_id"] % 2 == 0 for some in told["rows"].values() for row in some)
    # the same values for all rows: ranks among the survivors are not those of the pool, so the kept rows say the range
    whole = {name: signals[name] for name in scalars}
    selected = np.isin(np.arange(N_ROWS), rows)
    for name, (low, high) in examples.kept_intervals(nested, whole, selected).items():
        assert low - 1e-9 <= whole[name][rows].min()
        assert whole[name][rows].max() <= high + 1e-9


@pytest.mark.parametrize(
    "diagnostics",
    [
        {},
        {"bands": None},
        {"bands": {"generative_entropy": None}},
        {"bands": {"another": {"low": 5e3, "high": 6e3}}},
        {"bands": [1, "2"]},
    ],
)
def test_diagnostics_may_lack_anything(diagnostics: dict[str, Any]):
    signals = made_up_signals(N_ROWS)
    given = described(pick(Random(), 0.1, signals), signals, diagnostics=diagnostics)
    assert set(given["signals"]["score"]["rows"]) == {"kept", "not_kept"}


def test_bounds_that_are_not_told_are_the_range_of_the_kept_rows():
    signals = made_up_signals(N_ROWS)
    picked = pick(EntropyInterval(), 0.16, signals)
    told = described(picked, signals, diagnostics={"bands": {"generative_entropy": {"rows": 96}}})["signals"]
    band = picked.diagnostics["bands"]["generative_entropy"]
    assert (told["generative_entropy"]["low"], told["generative_entropy"]["high"]) == (band["low"], band["high"])


def test_classes_are_counted_before_and_after():
    signals, labels = made_up_signals(N_ROWS), made_up_labels(N_ROWS)
    picked = pick(IGSE(), 0.16, signals)
    classes = described(picked, signals)["classes"]
    assert classes["names"] == NAMES
    assert classes["pool"] == [int((labels == number).sum()) for number in range(4)]
    assert classes["kept"] == [int((labels[picked.rows] == number).sum()) for number in range(4)]
    assert described(picked, signals, label_names=None)["classes"]["names"] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("labels", [None, np.linspace(0, 5, N_ROWS), np.zeros((N_ROWS, 2), dtype=int)])
def test_a_task_without_classes_has_none(labels: np.ndarray | None):
    signals = made_up_signals(N_ROWS)
    assert described(pick(Random(), 0.1, signals), signals, labels=labels)["classes"] is None


@pytest.mark.parametrize(
    ("texts", "begins", "ends"),
    [
        (("a short\n\ttext",), "a short text", "a short text"),
        (("word " * 100,), "word word", "word …"),
        (("long " * 100, "second " * 100), "long long", "second …"),
        (("字" * 500,), "字字", "字…"),
        ((), "", ""),
    ],
)
def test_texts_are_shortened_and_no_text_of_a_pair_is_lost(texts: tuple[str, ...], begins: str, ends: str):
    told = examples.shortened(texts)
    assert told.startswith(begins)
    assert told.endswith(ends)
    assert len(told) <= 163
    assert told.count(" | ") == max(len(texts) - 1, 0)


def test_what_is_written_is_read_again(tmp_path: Path):
    signals = made_up_signals(N_ROWS)
    given = described(pick(IGSE(), 0.16, signals), signals)
    examples.write(tmp_path, given)
    assert examples.read(tmp_path) == given
    assert json.loads((tmp_path / "examples.json").read_text()) == given
    assert examples.read(tmp_path / "older") == {}
    (tmp_path / "examples.json").write_text("{")
    with mistake(UserError, path=tmp_path / "examples.json"):
        examples.read(tmp_path)
