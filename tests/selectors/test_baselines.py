"""Laws of the baselines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.common.errors import BudgetError, SelectionError, UserError
from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import append
from selectune.selectors import Budget, Picked, Random
from selectune.selectors.base import Signals
from tests.selectors import permuted, pool_of
from tests.test_savings import record


def random_rows(n_rows: int, budget: Budget, seed: int = 0) -> Picked:
    return Random().select(pool_of(n_rows), None, budget, seed)


def test_random_meets_its_budget_with_rows_of_the_pool() -> None:
    for keep in (1, 37, 200):
        rows = random_rows(200, Budget(rows=keep)).rows
        assert rows.dtype == np.int64
        assert rows.tolist() == sorted(set(rows.tolist()) & set(range(200)))
        assert len(rows) == keep
    pool = pool_of(200)
    picked = Random().select(pool, None, Budget(tokens=500), 0)
    order = picked.rows[np.argsort(picked.scores[picked.rows])]
    assert pool["n_tokens"][order[:-1]].sum() < 500 <= pool["n_tokens"][order].sum()
    for budget in (Budget(), Budget(rows=201)):
        with pytest.raises(BudgetError, match="budget"):
            random_rows(200, budget)


def test_random_keeps_the_smallest_scores_so_a_smaller_budget_keeps_a_subset() -> None:
    small, large = random_rows(300, Budget(rows=40)), random_rows(300, Budget(rows=90))
    np.testing.assert_array_equal(small.rows, np.sort(np.argsort(small.scores)[:40]))
    assert set(small.rows) < set(large.rows)
    assert ((small.scores >= 0) & (small.scores < 1)).all()


def test_permuting_the_pool_permutes_what_random_keeps() -> None:
    pool, order = pool_of(300), np.random.default_rng(1).permutation(300)
    kept = Random().select(pool, None, Budget(rows=70), 3)
    again = Random().select(permuted(pool, order), None, Budget(rows=70), 3)
    assert sorted(order[again.rows].tolist()) == kept.rows.tolist()
    np.testing.assert_array_equal(again.scores, kept.scores[order])


def test_each_row_is_kept_as_often_as_the_budget_says() -> None:
    pool = pool_of(50)
    kept = np.zeros(50)
    for seed in range(400):
        kept[Random().select(pool, None, Budget(rows=10), seed).rows] += 1
    assert kept.sum() == 4000
    # 400 draws at 1/5: mean 80, standard deviation 8; five of those leave room for 50 rows.
    assert 40 < kept.min() <= kept.max() < 120
    assert np.abs(np.mean(random_rows(5000, Budget(rows=1)).scores) - 0.5) < 0.02


def test_rows_of_one_text_stand_together_by_row_id() -> None:
    pool = pool_of(6, text_hash=np.array([5, 9, 5, 9, 5, 9], dtype=np.uint64))
    kept = [Random().select(pool, None, Budget(rows=n), 0).rows.tolist() for n in range(1, 7)]
    first = [0, 2, 4] if kept[0] == [0] else [1, 3, 5]
    assert kept[:3] == [first[:1], first[:2], first]
    assert kept[5] == [0, 1, 2, 3, 4, 5]


# As much as another run.


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that kept 40 of 300 rows, which are read as 680 tokens, and whose selection cost half of its training."""
    run = tmp_path / "run"
    finish(run, selection=50.0, training=100.0)
    (run / "selection").mkdir()
    (run / "selection" / "manifest.json").write_text(
        json.dumps({"pool_rows": 300, "n_rows": 40, "budget": {"rows": 40, "tokens": 600, "input_tokens": 680}})
    )
    return run


def finish(run: Path, selection: float | None, training: float | None) -> None:
    records = [record("score", flops=selection), record("train", flops=training, examples=120, tokens=2040)]
    (run / "cost.jsonl").unlink(missing_ok=True)
    append(run / "cost.jsonl", records)
    compute_saving(records, 40, 300, 680, 4500, epochs=3.0).write(run)


@pytest.mark.parametrize(
    ("by", "budget"), [("rows", Budget(rows=40)), ("tokens", Budget(tokens=680)), ("cost", Budget(tokens=1020))]
)
def test_a_match_is_the_random_selection_of_that_size(run: Path, by: Any, budget: Budget) -> None:
    pool, random = pool_of(300), Random(str(run), by)
    assert random.sets_own_size
    assert not Random().sets_own_size
    as_read = Signals({**pool, "n_tokens": pool["input_tokens"]})
    picked, expected = random.select(pool, None, Budget(), 3), Random().select(as_read, None, budget, 3)
    np.testing.assert_array_equal(picked.rows, expected.rows)
    np.testing.assert_array_equal(picked.scores, expected.scores)
    size = {"rows": 40} if by == "rows" else {"input_tokens": budget.tokens}
    noted = {"run": str(run), "by": by, "rows": 40, "input_tokens": 680}
    flops = {"selection_flops": 50.0, "training_flops": 100.0} if by == "cost" else {}
    assert picked.diagnostics == {"matched": noted | flops, "budget": size}
    order = np.random.default_rng(1).permutation(300)
    again = random.select(permuted(pool, order), None, Budget(), 3)
    assert sorted(order[again.rows].tolist()) == picked.rows.tolist()


@pytest.mark.parametrize(("by", "tokens"), [("tokens", 680), ("cost", 1020)])
def test_what_is_read_of_the_rows_is_matched_to_a_row(run: Path, by: Any, tokens: int) -> None:
    short = np.where(np.arange(300) % 3 == 0, 1, 20)  # of which the special tokens are a good part, or hardly any
    pool = pool_of(300, n_tokens=short, input_tokens=short + 2)
    for seed in range(20):
        read = pool["input_tokens"][Random(str(run), by).select(pool, None, Budget(), seed).rows].sum()
        assert tokens <= read < tokens + 22


def test_a_selection_without_its_run_is_matched_by_rows_and_tokens_alone(run: Path) -> None:
    folder = str(run / "selection")
    assert len(Random(folder).select(pool_of(300), None, Budget(), 0).rows) == 40
    assert Random(folder, "tokens").select(pool_of(300), None, Budget(), 0).diagnostics["budget"] == {
        "input_tokens": 680
    }
    with pytest.raises(SelectionError, match="not a finished run"):
        Random(folder, "cost").select(pool_of(300), None, Budget(), 0)


def test_no_more_than_the_pool_can_cost_as_much(run: Path) -> None:
    finish(run, selection=1e6, training=1.0)
    pool = pool_of(300)
    with pytest.warns(UserWarning, match="would be 680000680 tokens, but the pool has"):
        picked = Random(str(run), "cost").select(pool, None, Budget(), 0)
    assert picked.diagnostics["budget"] == {"input_tokens": int(pool["input_tokens"].sum())}
    assert picked.rows.tolist() == list(range(300))


def test_a_run_that_cannot_be_matched_is_refused(run: Path, tmp_path: Path) -> None:
    pool = pool_of(300)
    with pytest.raises(SelectionError, match=r"no selection in .*elsewhere to match"):
        Random(str(tmp_path / "elsewhere")).select(pool, None, Budget(), 0)
    with pytest.raises(SelectionError, match="chose from 300 rows, but this pool has 299"):
        Random(str(run), "tokens").select(pool_of(299), None, Budget(), 0)
    for selection, training in [(None, 1.0), (1.0, None), (1.0, 0.0)]:
        finish(run, selection, training)
        with pytest.raises(SelectionError, match=r"FLOPs of .* are not known"):
            Random(str(run), "cost").select(pool, None, Budget(), 0)
    with pytest.raises(BudgetError, match="takes its budget from the run"):
        Random(str(run)).select(pool, None, Budget(rows=3), 0)
    (run / "selection" / "manifest.json").write_text("{}")
    with pytest.raises(SelectionError, match="cannot be read"):
        Random(str(run)).select(pool, None, Budget(), 0)


def test_arguments_that_match_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="no run to match by cost"):
        Random(by="cost")
    with pytest.raises(UserError, match="not by 'flops'"):
        Random("runs/a", by="flops")  # type: ignore[arg-type]
