"""A selector is held to its contract: each fault is one sentence that names the class, and no built-in one has any."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from selectune.common.errors import BudgetError, SelectionError
from selectune.selectors import (
    DSIR,
    GOTD,
    IGSE,
    Anchored,
    Balanced,
    Budget,
    Chain,
    Checked,
    Closest,
    Deduplicate,
    EntropyInterval,
    IntervalRule,
    KCenter,
    LabelIssues,
    Nearest,
    Picked,
    ProbCover,
    Prototypes,
    Quantile,
    Random,
    Selector,
    SemanticDuplicates,
    Signals,
    TopK,
    Typical,
)
from selectune.selectors.checking import check_selector, checked_select
from tests.mistakes import mistake, names

N = 40
TOKENS = np.arange(N) % 5 + 1
ROWS = Budget(rows=4)


class Own(Selector):
    """Answers a given answer."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    def select(self, pool: Signals, target: Signals | None, budget: Budget, seed: int) -> Any:
        return self.answer()


def signals(seed: int = 0) -> Signals:
    random = np.random.default_rng(seed)
    entropies = ("information_entropy", "generative_entropy", "semantic_entropy")
    return Signals(
        {name: random.uniform(size=N) for name in entropies}
        | {"label": np.arange(N) % 3, "class_probabilities": np.full((N, 3), 0.05) + 0.85 * np.eye(3)[np.arange(N) % 3]}
        | {"embedding": random.normal(size=(N, 4)), "ngrams": random.integers(0, 50, (N, 6)).astype(np.uint16)}
        | {"n_tokens": TOKENS, "input_tokens": TOKENS + 2, "text_hash": random.integers(0, 2**60, N).astype(np.uint64)}
    )


def picked(rows: Any = (0, 1, 2, 3), scores: Any = None, **more: Any) -> Callable[[], Picked]:
    return lambda: Picked(rows, np.zeros(N) if scores is None else scores, **more)


def nan_at(row: int) -> np.ndarray:
    scores = np.zeros(N)
    scores[row] = np.nan
    return scores


class _Unlike:
    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("it lies on a device")


FAULTS: dict[str, tuple[Any, ...]] = {  # what is picked, and what the message names
    "nothing": (lambda: None, None),
    "another type": (lambda: ([0, 1], np.zeros(N)), "tuple"),
    "no rows": (picked([]),),
    "float rows": (picked([0.0, 1.0, 2.0, 3.0]), "float64"),
    "a mask": (picked(np.arange(N) < 4), "flatnonzero"),
    "rows in two dimensions": (picked([[0, 1], [2, 3]]), (2, 2)),
    "rows that are no array": (picked(_Unlike()), "it lies on a device"),
    "ragged rows": (picked([[0], [1, 2]]), "list"),
    "a duplicate": (picked([0, 1, 2, 2]), 2),
    "a negative row": (picked([0, 1, 2, -1]), -1),
    "a row behind the pool": (picked([0, 1, 2, N]), N),
    "too few": (picked([0, 1, 2]), 3, 4),
    "too many": (picked([0, 1, 2, 3, 4]), 5, 4),
    "scores of the picked alone": (picked(scores=np.zeros(4)), (4,)),
    "scores in two dimensions": (picked(scores=np.zeros((N, 1))), (40, 1)),
    "scores that are no numbers": (picked(scores=["good"] * N), "list"),
    "no scores": (picked(scores=[None]), (1,)),
    "a NaN score of a picked row": (picked(scores=nan_at(3)), "NaN", 3),
    "a NaN score of a dropped row": (picked(scores=nan_at(9)), "NaN", 9),
    "negative FLOPs": (picked(flops=-1.0), -1.0, "FLOPs"),
    "diagnostics that are no JSON": (picked(diagnostics={"n": np.int64(3)}), "JSON"),
    "an exception": (lambda: {}["nothing"], "KeyError: 'nothing'"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_one_sentence_that_names_the_class(case: str) -> None:
    answer, *named = FAULTS[case]
    with mistake(SelectionError, "Own", *named):
        checked_select(Own(answer), signals(), None, ROWS, 0)


def test_the_error_of_a_selector_stays_reachable_and_its_line_is_told() -> None:
    with mistake(SelectionError, "Own", "ZeroDivisionError", __file__) as caught:
        checked_select(Own(lambda: 1 / 0), signals(), None, ROWS, 0)
    cause = caught.value.__cause__
    assert isinstance(cause, ZeroDivisionError)
    assert names(str(caught.value), traceback.extract_tb(cause.__traceback__)[-1].lineno)


def test_a_mistake_that_a_selector_tells_itself_is_left_as_it_is() -> None:
    with pytest.raises(BudgetError):
        checked_select(TopK("generative_entropy"), signals(), None, Budget(rows=N + 1), 0)


def test_what_is_right_passes_and_rows_come_in_ascending_order() -> None:
    scores = np.full(N, np.inf)
    answer = checked_select(Own(picked([7, 3, 5, 1], list(scores))), signals(), None, ROWS, 0)
    np.testing.assert_array_equal(answer.rows, [1, 3, 5, 7])
    assert answer.rows.dtype == np.int64
    assert answer.scores.dtype == np.float64


@pytest.mark.parametrize(("rows", "right"), [([2, 3], True), ([2], False), ([2, 3, 4], False)])
def test_a_budget_in_tokens_is_reached_by_the_last_row(rows: list[int], right: bool) -> None:
    """Of rows of 3, 4 and 5 tokens, two reach 5 tokens; one does not, and of three one is too many."""
    own = Own(picked(rows))
    if right:
        assert len(checked_select(own, signals(), None, Budget(tokens=5), 0).rows) == 2
    else:
        with mistake(SelectionError, "Own", len(rows), 5):
            checked_select(own, signals(), None, Budget(tokens=5), 0)


BUILT_IN = [
    Random(), TopK("generative_entropy"), EntropyInterval(), EntropyInterval(rule=Quantile(0.2, 0.6)), IGSE(),
    IGSE(combine="sum"), KCenter(), Prototypes(), Nearest(), Closest(), DSIR(), GOTD(), Deduplicate(near=False),
    Chain(TopK("generative_entropy"), Random(), prefilter_keep=0.8), Balanced(), SemanticDuplicates(), LabelIssues(),
    EntropyInterval(rule=Anchored()), IGSE(rule=Checked()), Typical(), ProbCover(),
]  # fmt: skip


@pytest.mark.parametrize("selector", BUILT_IN, ids=lambda selector: type(selector).__name__)
def test_built_in_selectors_keep_the_contract(selector: Selector) -> None:
    budgets = [Budget()] if selector.sets_own_size else [ROWS, Budget(tokens=17)]
    for budget in budgets:
        checked_select(selector, signals(), signals(1), budget, 0)


def test_a_selector_may_leave_unscored_what_it_drops_and_nothing_else() -> None:
    class Narrowing(Own):
        leaves_unscored = property(lambda self: True)

    checked_select(Narrowing(picked(scores=nan_at(9))), signals(), None, ROWS, 0)
    with mistake(SelectionError, "Narrowing", rows=[3]):
        checked_select(Narrowing(picked(scores=nan_at(3))), signals(), None, ROWS, 0)


@pytest.mark.parametrize("place", ["prefilter", "selector"])
def test_selectors_inside_a_chain_are_checked(place: str) -> None:
    own, other = Own(picked([0.5])), TopK("generative_entropy")
    first, second = (own, other) if place == "prefilter" else (other, own)
    with mistake(SelectionError, "Own", "float64"):
        Chain(first, second, prefilter_keep=0.5).select(signals(), None, ROWS, 0)


def test_a_rule_of_your_own_is_named() -> None:
    class Everything(IntervalRule):
        def run(self, ordered: np.ndarray, sizes: np.ndarray, budget: Budget) -> tuple[int, int]:
            return 0, len(ordered)

    with mistake(SelectionError, "EntropyInterval", "Everything", 40, 4):
        checked_select(EntropyInterval(rule=Everything()), signals(), None, ROWS, 0)


def requiring(names: Any) -> Selector:
    class Requiring(Own):
        requires = property(lambda self: names() if callable(names) else names)

    return Requiring(picked())


@pytest.mark.parametrize(
    ("selector", "named"),
    [
        (requiring(frozenset({"temperature"})), ["requires", "Requiring", "temperature", "loss", "embedding"]),
        (requiring("loss"), ["requires", "Requiring", "str", "frozenset"]),
        (requiring(["loss"]), ["requires", "Requiring", "list", "frozenset"]),
        (requiring(lambda: 1 / 0), ["requires", "Requiring", "ZeroDivisionError"]),
        (Chain(requiring(frozenset({"warmth"})), Random(), 0.5), ["requires", "Requiring", "warmth", "loss"]),
        (Balanced(within=requiring(frozenset({"warmth"}))), ["requires", "Requiring", "warmth", "loss"]),
        (Random, ["data.selector", "Random"]),
        ("Random", ["data.selector", "str"]),
        (object(), ["data.selector", "object"]),
    ],
)
def test_what_a_selector_asks_for_is_checked(selector: Any, named: list[str]) -> None:
    with mistake(SelectionError, *named):
        check_selector(selector, ["loss", "embedding"])


def test_a_method_that_should_be_a_property_is_told() -> None:
    class Method(Own):
        def requires(self) -> frozenset[str]:  # type: ignore[override]
            return frozenset({"loss"})

    with mistake(SelectionError, "requires", "Method", "property"):
        check_selector(Method(picked()), ["loss"])
