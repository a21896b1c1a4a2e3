"""Random rows that match another run, by rows, tokens or total cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.common.errors import SelectionError
from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import append
from selectune.selection.matched_budget import matched_budget
from selectune.selectors import Budget, Picked, Random, Signals
from tests.costs.records import record
from tests.mistakes import mistake, warned
from tests.selectors import permuted, pool_of


def match(run: Path, by: Any, pool: Signals, seed: int = 0) -> Picked:
    """The rows that match a run, with what the stage notes of it."""
    budget, noted = matched_budget(run, by, pool["input_tokens"])
    return replace(Random(str(run), by).select(pool, None, budget, seed), diagnostics=noted)


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
    pool = pool_of(300)
    assert Random(str(run), by).sets_own_size
    assert not Random().sets_own_size
    as_read = Signals({**pool, "n_tokens": pool["input_tokens"]})
    picked, expected = match(run, by, pool, 3), Random().select(as_read, None, budget, 3)
    np.testing.assert_array_equal(picked.rows, expected.rows)
    np.testing.assert_array_equal(picked.scores, expected.scores)
    size = {"rows": 40} if by == "rows" else {"input_tokens": budget.tokens}
    noted = {"run": str(run), "by": by, "rows": 40, "input_tokens": 680}
    flops = {"selection_flops": 50.0, "training_flops": 100.0} if by == "cost" else {}
    assert picked.diagnostics == {"matched": noted | flops, "budget": size}
    order = np.random.default_rng(1).permutation(300)
    again = match(run, by, permuted(pool, order), 3)
    assert sorted(order[again.rows].tolist()) == picked.rows.tolist()


@pytest.mark.parametrize(("by", "tokens"), [("tokens", 680), ("cost", 1020)])
def test_what_is_read_of_the_rows_is_matched_to_a_row(run: Path, by: Any, tokens: int) -> None:
    short = np.where(np.arange(300) % 3 == 0, 1, 20)  # of which the special tokens are a good part, or hardly any
    pool = pool_of(300, n_tokens=short, input_tokens=short + 2)
    for seed in range(20):
        read = pool["input_tokens"][match(run, by, pool, seed).rows].sum()
        assert tokens <= read < tokens + 22


def test_a_selection_without_its_run_is_matched_by_rows_and_tokens_alone(run: Path) -> None:
    folder = run / "selection"
    assert len(match(folder, "rows", pool_of(300)).rows) == 40
    assert match(folder, "tokens", pool_of(300)).diagnostics["budget"] == {"input_tokens": 680}
    with mistake(SelectionError, folder, "saving.json"):
        match(folder, "cost", pool_of(300))


def test_no_more_than_the_pool_can_cost_as_much(run: Path) -> None:
    finish(run, selection=1e6, training=1.0)
    pool = pool_of(300)
    with warned(UserWarning, run, 680000680):
        picked = match(run, "cost", pool)
    assert picked.diagnostics["budget"] == {"input_tokens": int(pool["input_tokens"].sum())}
    assert picked.rows.tolist() == list(range(300))


def test_a_run_that_cannot_be_matched_is_refused(run: Path, tmp_path: Path) -> None:
    pool = pool_of(300)
    with mistake(SelectionError, tmp_path / "elsewhere"):
        match(tmp_path / "elsewhere", "rows", pool)
    with mistake(SelectionError, run, 300, 299):
        match(run, "tokens", pool_of(299))
    for selection, training in [(None, 1.0), (1.0, None), (1.0, 0.0)]:
        finish(run, selection, training)
        with mistake(SelectionError, run, "cost.jsonl"):
            match(run, "cost", pool)
    (run / "selection" / "manifest.json").write_text("{}")
    with mistake(SelectionError, run / "selection" / "manifest.json", "pool_rows"):
        match(run, "rows", pool)
