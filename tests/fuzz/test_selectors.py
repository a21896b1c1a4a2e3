"""On any finite arrays, with ties and any budget, a selector gives a valid selection or one sentence."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selectune.common.errors import UserError
from selectune.selectors import (
    DSIR,
    GOTD,
    IGSE,
    Absolute,
    Anchored,
    Balanced,
    Budget,
    Central,
    Chain,
    Closest,
    Deduplicate,
    Densest,
    EntropyInterval,
    KCenter,
    LabelIssues,
    Nearest,
    ProbCover,
    Prototypes,
    Quantile,
    Random,
    Selector,
    SemanticDuplicates,
    Signals,
    TopK,
    Typical,
)  # fmt: skip
from selectune.selectors.checking import checked_select
from tests.fuzz.examples import EXAMPLES, FAST, for_examples

WIDTH, CLASSES = 4, 3
SELECTORS: dict[str, Selector] = {
    "random": Random(),
    "top_k": TopK("generative_entropy"),
    "dense_interval": EntropyInterval(),
    "central_interval": EntropyInterval(rule=Central()),
    "quantiles": EntropyInterval(rule=Quantile(0.2, 0.7)),
    "bounds": EntropyInterval(rule=Absolute(-1.0, 1.0)),
    "igse": IGSE(),
    "igse_sum": IGSE(combine="sum"),
    "igse_central": IGSE(rule=Central()),
    "anchored": EntropyInterval(rule=Anchored()),
    "balanced": Balanced(),
    "balanced_igse": Balanced(within=EntropyInterval(rule=Densest())),
    "gotd": GOTD(),
    "dsir": DSIR(),
    "nearest": Nearest(),
    "closest": Closest(),
    "closest_to_the_mean": Closest("mean"),
    "k_center": KCenter(),
    "prototypes": Prototypes(),
    "typical": Typical(),
    "prob_cover": ProbCover(),
    "semantic_duplicates": SemanticDuplicates(),
    "label_issues": LabelIssues(),
    "deduplicate": Deduplicate(near=False),
    "chain": Chain(Deduplicate(near=False), TopK("semantic_entropy")),
}
TAKES_LONG = {"gotd", "prob_cover", "k_center", "typical"}
ENTROPIES = ("information_entropy", "generative_entropy", "semantic_entropy", "label_loss")


@st.composite
def pools(draw: st.DrawFn, least: int = 1) -> Signals:
    """Signals of a few rows: finite, often tied, sometimes huge or all the same."""
    n = draw(st.integers(least, 24))
    number = draw(st.sampled_from([
        st.floats(-1e3, 1e3), st.sampled_from([0.0, 1.0]), st.just(2.5), st.floats(-1e30, 1e30),
        st.integers(0, 3).map(float),
    ]))  # fmt: skip
    made: dict[str, Any] = {name: draw(arrays(np.float64, n, elements=number)) for name in ENTROPIES}
    small = st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-30, 1e4])
    for name in ("embedding", "middle_embedding"):
        made[name] = draw(arrays(np.float32, (n, WIDTH), elements=small))
    odds = draw(arrays(np.float64, (n, CLASSES), elements=st.floats(1e-6, 1.0)))
    made["class_probabilities"] = (odds / odds.sum(1, keepdims=True)).astype(np.float32)
    made["ngrams"] = draw(arrays(np.uint8, (n, 8), elements=st.integers(0, 3))).astype(np.uint16)
    made["label"] = draw(arrays(np.int64, n, elements=st.integers(0, CLASSES - 1)))
    made["n_tokens"] = draw(arrays(np.int64, n, elements=st.integers(1, 9)))
    made["input_tokens"] = made["n_tokens"] + 2
    made["text_hash"] = draw(arrays(np.uint64, n, elements=st.integers(0, 5) | st.integers(0, 2**64 - 1)))
    return Signals(made)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Signals, Signals, Budget, int]:
    """A pool, a target, a budget within the pool or none, and a seed."""
    pool, target = draw(pools()), draw(pools())
    rows, tokens = pool.n_rows, int(pool["n_tokens"].sum())
    budget = draw(
        st.integers(1, rows).map(lambda n: Budget(rows=n))
        | st.integers(1, tokens).map(lambda n: Budget(tokens=n))
        | st.just(Budget())
    )
    return pool, target, budget, draw(st.integers(0, 2**32 - 1))


@EXAMPLES
@pytest.mark.parametrize("name", SELECTORS)
def test_any_finite_pool_gives_a_selection_or_a_sentence(name: str, examples: int) -> None:
    selector, selected = SELECTORS[name], []

    def law(case: tuple[Signals, Signals, Budget, int]) -> None:
        pool, target, budget, seed = case
        needs = selector.requires_target
        aim = target.take(np.arange(target.n_rows), needs | {"text_hash", "n_tokens"}) if needs else None
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                picked = checked_select(selector, pool, aim, budget, seed)
            except UserError as error:
                picked, told = None, str(error)
        if picked is None:
            assert " raised " not in told, "no error of another kind is behind it"
            return
        selected.append(picked)
        assert len(np.unique(picked.rows)) == len(picked.rows) >= 1
        again = checked_select(selector, pool, aim, budget, seed)
        np.testing.assert_array_equal(picked.rows, again.rows)

    some = max(20, FAST // 8) if examples == FAST else examples // (20 if name in TAKES_LONG else 4)
    for_examples(some, cases(), law)
    assert selected, "some pools give a selection"
