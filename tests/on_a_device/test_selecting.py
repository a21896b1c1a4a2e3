"""Scoring, its trainings and transport on an accelerator give what they give on the CPU."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from selectune import FineTuner, TextClassification
from selectune.costs.flops import FlopModel, UnfitFlopsError
from selectune.costs.ledger import Ledger
from selectune.data.sources import ModelSource
from selectune.data.tokens import load_tokenizer
from selectune.lightning_modules.scorers import base as scorer
from selectune.lightning_modules.scorers.head import HeadScorer
from selectune.lightning_modules.scorers.settings import (
    Embedding,
    Generative,
    Information,
    ScorerSettings,
    Semantic,
    Tune,
)
from selectune.selection.scoring import scoring_model
from selectune.selection.stage import select_rows
from selectune.selectors import EntropyInterval, Proxy, Search, TopK
from selectune.selectors.base import Signals
from selectune.selectors.transport import dual_potentials, problem
from selectune.signals import forward
from selectune.signals import probe as probing
from selectune.signals.compute import compute_signals, read_signals
from selectune.signals.definitions import Rows, ScoringModel
from tests.on_a_device.conftest import CPU, Enter, Place
from tests.trainers import Crossings

pytestmark = pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")


@pytest.fixture(scope="module")
def pool(data_folder: Path, model_folder: Path) -> Rows:
    """Rows of a small pool, with labels."""
    data = TextClassification(str(data_folder), max_length=32, seed=0, max_train_rows=80)
    data.load()
    return Rows(data.pool, data.tokenized("train", load_tokenizer(model_folder)), data.labels["train"])


def test_a_batch_of_signals_stays_on_its_device_until_it_is_written(there: Place) -> None:
    class Echo(torch.nn.Module):
        config = SimpleNamespace(num_labels=2, problem_type="single_label_classification")

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return SimpleNamespace(logits=input_ids)

    written: list[dict[str, Any]] = []
    shards: Any = SimpleNamespace(append=lambda waiting, cost: written.extend(waiting))
    made = HeadScorer(Echo(), ["margin", "label_loss"])
    made.flops = lambda: (FlopModel(1.0, 2.0, 3.0, "by hand"), 5.0)  # type: ignore[method-assign]
    made.embedding_flops = lambda: None  # type: ignore[method-assign]
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]], device=there.device)
    batch = {"input_ids": logits, "attention_mask": logits, "labels": torch.tensor([0, 1], device=there.device)}
    batch |= {"rows": np.arange(2), "index": 0, "n_tokens": 4, "n_content": 3, "longest": 2}
    ledger = Ledger(device=str(there.device))
    with ledger.stage("score", "fit", "head") as cost:
        writer = forward.ShardWriter(shards, cost, made)
        with Crossings() as crossings:
            writer.on_predict_batch_end(None, made, made.predict_step(batch, 0), batch, 0)  # type: ignore[arg-type]
        assert crossings.seen == []
        assert written == []
        writer.on_predict_end(None, made)  # type: ignore[arg-type]
    failed: dict[str, Any] = {"rows": np.arange(2), "margin": torch.ones(2, device="meta")}  # which cannot be copied
    with ledger.stage("score", "fit", "head") as cost:
        writer = forward.ShardWriter(shards, cost, made)
        writer.on_predict_batch_end(None, made, failed, batch, 0)  # type: ignore[arg-type]
        writer.on_exception(None, made, RuntimeError("device-side assert"))  # type: ignore[arg-type]
    assert len(written) == 1
    assert ledger.records[1].examples == 0
    assert isinstance(written[0]["margin"], np.ndarray)
    assert written[0]["label_loss"].tolist() == pytest.approx([np.log(1 + np.e), np.log(1 + np.e**2)])
    assert ledger.records[0].flops == 2 * (1 + 2 * 2 + 3 * 4) + 3 * 5


SAMPLED = Semantic("sampled", samples=3, max_new_tokens=3)


@pytest.mark.parametrize(
    ("names", "model", "settings"),
    [
        (["generative_entropy", "loss", "embedding", "semantic_entropy"], "model", {}),
        (["generative_entropy", "loss"], "model", {"generative": Generative("masked_pseudo", k=2)}),
        (["generative_entropy", "loss"], "causal", {}),
        (["semantic_entropy"], "causal", {"semantic": SAMPLED}),
        (["margin", "label_loss", "information_entropy"], "classifier", {"information": Information("predictive")}),
        (["embedding"], "model", {"embedding": Embedding("float16")}),
        (["generative_entropy"], "model", {"generative": Generative(head="probe")}),
    ],
    ids=["masked", "masked_pseudo", "causal", "sampled", "head", "encoder", "probe"],
)
def test_signals_are_those_of_the_cpu(
    names: list[str], model: str, settings: dict[str, Any], elsewhere: Enter, pool: Rows,
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Also on a device without float64, which allows less than one that has it."""
    monkeypatch.setattr(probing, "fit_rows", lambda texts, lengths: (np.arange(32), np.arange(32, len(lengths))))
    monkeypatch.setattr("selectune.lightning_modules.scorers.probe.ProbeCheck.demand", lambda self: None)
    monkeypatch.setattr(scorer.Scorer, "_by_length", _uncounted)  # which takes longer than these rows
    monkeypatch.setattr(forward, "give_memory_back", lambda collect: None)
    folder = request.getfixturevalue(f"{model}_folder")

    def signals(place: Place) -> Signals:
        scoring = ScoringModel(ModelSource(folder, f"local:{model}"), ScorerSettings(**settings), 32, 512)
        monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / place.device.type))
        ledger = Ledger(device=str(place.device))
        return read_signals(compute_signals(names, pool, scoring, place.trainer, ledger, "fit"), pool)

    expected = signals(CPU)
    with elsewhere(float64=False) as place:
        found = signals(place)
    for name in names:
        spread = np.ptp(expected[name])
        assert spread > 0
        np.testing.assert_allclose(found[name], expected[name], atol=0.01 * spread, err_msg=name)


def _uncounted(*_: Any) -> Any:
    raise UnfitFlopsError("not counted")


@pytest.mark.slow
def test_trainings_of_a_selection(
    there: Place, data_folder: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scorer is tuned on the device, and so are the proxies of a search."""
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path))
    rule = EntropyInterval("information_entropy", Search(bands=2, proxy=Proxy(max_epochs=1)))
    data = TextClassification(str(data_folder), max_length=32, selector=rule, keep_rows=16, seed=0, max_train_rows=60)
    data.load()
    request = data.request(
        ScorerSettings(max_batch_tokens=512, information=Information("predictive"), tune=Tune(1, 30))
    )
    assert request is not None
    ledger = Ledger(device=str(there.device))
    selection = select_rows(request, FineTuner(str(model_folder), 1e-3, seed=0), there.trainer, ledger)
    assert len(selection.manifest.diagnostics["search"]["bands"]) == 2
    assert np.isfinite(selection.scores).all()
    assert {"tune_scorer", "score", "select"} <= {record.stage for record in ledger.records}


@pytest.mark.parametrize("native", [True, False])
def test_scoring_is_in_half_precision_where_the_gpu_itself_has_it(
    native: bool, data_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    data = TextClassification(str(data_folder), selector=TopK("loss"), keep=0.5)
    data.load()
    request = data.request(ScorerSettings(max_batch_tokens=64))
    assert request is not None
    scoring = scoring_model(request, FineTuner(str(model_folder), seed=0), Ledger(device="cuda:0"))
    assert scoring.precision == ("bf16" if native else "32")


@pytest.mark.parametrize("share", [1.0, 0.0], ids=["kept there", "copied in each pass"])
def test_a_pool_is_copied_to_the_device_once_where_it_has_room(
    share: float, there: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem, "KEPT", share)
    read: list[int] = []

    class Pool(np.ndarray):
        def __getitem__(self, which: Any) -> Any:
            read.append(1)
            return super().__getitem__(which)

    random = np.random.default_rng(0)
    pool, target = random.normal(size=(60, 4)), random.normal(size=(30, 4)) + 0.5
    found = dual_potentials(pool.view(Pool), target, backend="stream", device=there.device, tolerance=1e-6)
    assert found.diagnostics["iterations"] > 2
    assert (len(read) == 1) == (share == 1.0)


@pytest.mark.parametrize("backend", ["dense", "stream"])
@pytest.mark.parametrize("cost", ["sqeuclidean", "cosine"])
def test_transport_gives_what_it_gives_on_the_cpu(there: Place, backend: Any, cost: Any) -> None:
    random = np.random.default_rng(0)
    pool, target = random.normal(size=(60, 4)), random.normal(size=(30, 4)) + 0.5
    weights = np.r_[0.0, np.full(29, 1 / 29)]
    options: dict[str, Any] = {"cost": cost, "backend": backend, "dtype": torch.float64, "tolerance": 1e-8, "lowest": 5}
    found = [
        dual_potentials(pool, target, target_weights=weights, device=where, **options)
        for where in (there.device, "cpu")
    ]
    np.testing.assert_allclose(found[0].f, found[1].f, atol=1e-5)
    np.testing.assert_allclose(found[0].g, found[1].g, atol=1e-5)
    on_it = [torch.from_numpy(one).to(there.device) for one in (pool, target)]
    of_tensors = dual_potentials(*on_it, target_weights=weights, device=there.device, **options)
    np.testing.assert_allclose(of_tensors.f, found[0].f, atol=1e-12)
    assert dual_potentials(pool, target, backend=backend).diagnostics["device"] == str(there.device)
