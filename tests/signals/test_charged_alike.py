"""A selection is charged what its signals cost from nothing, whichever of them an earlier one has left in the cache."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.common.memory import no_garbage_collection
from selectune.costs.ledger import Ledger
from selectune.costs.record import distinct
from selectune.data.sources import ModelSource
from selectune.datamodules import TextClassification
from selectune.lightning_modules.scorers.settings import Generative, ScorerSettings
from selectune.signals import forward
from selectune.signals.compute import compute_signals
from selectune.signals.definitions import Rows, ScoringModel
from selectune.signals.store import Definition, SignalStore
from tests.trainers import trainer_for

SELECTIONS = {
    "igse": ["information_entropy", "generative_entropy", "semantic_entropy"],
    "generative": ["generative_entropy"],
    "semantic": ["semantic_entropy"],
    "nearest": ["embedding"],
}


Charged = Callable[..., dict[str, float]]


@pytest.fixture
def charged(data_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Charged:
    """The FLOPs that a selection of a few rows is charged, with a cache, by what they were spent on."""
    data = TextClassification(str(data_folder), max_length=32, seed=0)
    data.load()

    def charge(name: str, cache: Path, estimator: str = "masked") -> dict[str, float]:
        monkeypatch.setenv("SELECTUNE_CACHE", str(cache))
        settings = ScorerSettings(generative=Generative(estimator=estimator, k=3))  # type: ignore[arg-type]
        scoring = ScoringModel(ModelSource(model_folder, "local:tiny"), settings, 32, 512)
        rows = Rows(data.pool, data.tokenized("train", scoring.tokenizer)).take(np.arange(40))
        ledger = Ledger()
        compute_signals(SELECTIONS[name], rows, scoring, trainer_for, ledger, "fit")
        found: dict[str, float] = {"score": 0.0, "solve": 0.0}
        for record in distinct(ledger.records):
            assert record.flops is not None
            found[record.stage] += record.flops
        return found

    return charge


ORDERS = list(permutations(SELECTIONS))


@pytest.mark.parametrize(
    ("estimator", "orders"),
    [
        ("masked", ORDERS[::5]),
        pytest.param("masked", ORDERS, marks=pytest.mark.slow),
        pytest.param("masked_pseudo", ORDERS, marks=pytest.mark.slow),
    ],
)
def test_the_order_of_selections_changes_no_charge(
    estimator: str, orders: list[tuple[str, ...]], charged: Charged, tmp_path: Path
) -> None:
    alone = {name: charged(name, tmp_path / name, estimator) for name in SELECTIONS}
    assert alone["nearest"]["score"] == alone["semantic"]["score"] < alone["generative"]["score"]
    assert alone["generative"]["score"] <= alone["igse"]["score"]
    for number, order in enumerate(orders):
        for name in [*order, *order]:
            found = charged(name, tmp_path / str(number), estimator)
            assert found == pytest.approx(alone[name], rel=1e-9), f"{name} of {order}"


@pytest.mark.parametrize("lost", ["embedding", "generative_entropy"])
def test_what_another_run_left_half_merged_is_charged_whole(
    lost: str, charged: Charged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, seal = charged("igse", tmp_path / "alone"), SignalStore._seal

    def stopped(partial: Path, definition: Definition, *more: Any) -> None:
        if definition.name == lost:
            raise KeyboardInterrupt
        seal(partial, definition, *more)

    with monkeypatch.context() as patch:
        patch.setattr(SignalStore, "_seal", staticmethod(stopped))
        with pytest.raises(KeyboardInterrupt):
            charged("igse", tmp_path / "cache")
    (shard,) = (tmp_path / "cache").rglob("*.npz")
    assert charged("igse", tmp_path / "cache") == pytest.approx(alone, rel=1e-9)
    assert not shard.exists()


def test_a_pass_leaves_no_network_behind_without_a_look_for_garbage(
    charged: Charged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Any]] = []

    def make(*given: Any) -> Any:
        scorer = make_scorer(*given)
        made.append(weakref.ref(scorer.network))
        return scorer

    make_scorer = forward.make_scorer
    monkeypatch.setattr(forward, "make_scorer", make)
    with no_garbage_collection():
        charged("igse", tmp_path)
        assert [one() for one in made] == [None] * len(made) != []
