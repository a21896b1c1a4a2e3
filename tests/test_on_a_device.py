"""Everything that works on tensors, on an accelerator: it runs there, and gives what the CPU gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from selectune import CostLedger, FineTuner, LanguageModeling, QuestionAnswering, TextClassification
from selectune.callbacks.row_figures import RowFigures
from selectune.ledger import Ledger
from selectune.predictions import write_predictions
from selectune.preprocessing import select_rows
from selectune.scoring import probing
from selectune.scoring.settings import Generative, ScorerSettings, Semantic, Tune
from selectune.selectors import EntropyInterval, Nearest, Proxy, Search, TopK
from selectune.selectors.base import Selector
from selectune.selectors.transport import dual_potentials
from tests.conftest import Here, metrics_of, sentences, write_split
from tests.device_mode import accelerated
from tests.squad_data import squad_rows, write_squad


@pytest.fixture
def device() -> Iterator[torch.device]:
    with accelerated() as there:
        yield there


@pytest.fixture(scope="module")
def causal_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 with the tiny model's tokenizer."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("models") / "gpt"
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.2, eos_token_id=3
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def trainer(**options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return pl.Trainer(**quiet | {"enable_model_summary": False, "num_sanity_val_steps": 0} | options)  # type: ignore[arg-type]


def scores_of(data: Path, model: Path, selector: Selector, scorer: ScorerSettings, keep: float = 1.0) -> np.ndarray:
    """The scores of the rows that are kept, and 0 of the others."""
    module = TextClassification(str(data), max_length=32, selector=selector, keep=keep, seed=0)
    module.scorer = scorer
    selection = select_rows(module, FineTuner(str(model), 1e-3, seed=0), trainer, Ledger())
    scores = np.zeros(len(module.pool))
    scores[selection.rows] = selection.scores
    return scores


SMALL = {"max_batch_tokens": 1024}
MASKED, PSEUDO = ScorerSettings(**SMALL), ScorerSettings(**SMALL, generative=Generative("masked_pseudo", k=2))
SAMPLED = ScorerSettings(**SMALL, semantic=Semantic("sampled", samples=3, max_new_tokens=3))
TUNED = ScorerSettings(**SMALL, tune=Tune(max_epochs=1, rows=40))
PROBE = ScorerSettings(**SMALL, generative=Generative(head="probe"))
SEARCH = EntropyInterval("information_entropy", Search(bands=2, proxy=Proxy(max_epochs=1)))


@pytest.mark.parametrize(
    ("selector", "scorer", "keep", "causal"),
    [
        (TopK("generative_entropy"), MASKED, 1.0, False),
        (TopK("loss"), PSEUDO, 1.0, False),
        (TopK("loss"), MASKED, 1.0, True),
        (TopK("semantic_entropy"), SAMPLED, 1.0, True),
        (TopK("margin"), TUNED, 1.0, False),
        (TopK("label_loss"), TUNED, 1.0, False),
        (Nearest(), MASKED, 0.2, False),
        (TopK("generative_entropy"), PROBE, 1.0, False),
        (SEARCH, MASKED, 0.2, False),
    ],
    ids=["masked", "masked_pseudo", "causal", "sampled", "head", "labels", "encoder", "probe", "search"],
)
def test_selections_are_those_of_the_cpu(
    selector: Selector, scorer: ScorerSettings, keep: float, causal: bool, data_folder: Path, model_folder: Path,
    causal_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(probing, "fit_rows", lambda texts, lengths: (np.arange(64), np.arange(64, 128)))
    monkeypatch.setattr("selectune.probe.ProbeCheck.demand", lambda self: None)
    model = causal_folder if causal else model_folder
    found = {}
    for name, mode in (("host", None), ("device", accelerated())):
        monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / name))
        if mode is None:
            found[name] = scores_of(data_folder, model, selector, scorer, keep)
        else:
            with mode:
                found[name] = scores_of(data_folder, model, selector, scorer, keep)
    np.testing.assert_allclose(found["device"], found["host"], atol=2e-3 if scorer is TUNED else 1e-4)
    assert np.ptp(found["host"]) > 1e-3


Made = Callable[[], Any]


def test_half_precision_scores_and_trains(here: Here, device: torch.device, selecting: list[str], tmp_path: Path) -> None:
    """As on a GPU by default; then its predictions and its test, of the exported model."""
    both = ["--scorer.precision", "bf16", "--trainer.precision", "bf16-mixed", "--trainer.max_epochs", "1"]
    here("fit", *selecting, *both, "--output", tmp_path / "run")
    metrics = metrics_of(tmp_path / "run")
    here("test", "--config", tmp_path / "run" / "config.yaml", "--output", tmp_path / "run")
    assert metrics_of(tmp_path / "run")["test/loss"] == pytest.approx(metrics["test/loss"], abs=1e-6)
    here("predict", "--config", tmp_path / "run" / "config.yaml", "--output", tmp_path / "run")
    predicted = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    rows = pq.read_table(tmp_path / "run" / "test_scores.parquet").to_pydict()
    assert predicted["row_id"] == rows["row_id"] == list(range(60))
    assert np.mean(np.equal(rows["label"], rows["prediction"])) == pytest.approx(metrics["test/accuracy"])


def test_a_warm_up_by_transport(
    here: Here, device: torch.device, arguments: list[str], tmp_path: Path
) -> None:
    write_split(tmp_path / "pool.parquet", *sentences(150, seed=11))
    data = {
        "class_path": "LanguageModeling",
        "init_args": {
            "dataset": str(tmp_path / "pool.parquet"), "max_length": 16, "target": "train", "keep_rows": 40,
            "selector": {"class_path": "GOTD", "init_args": {"backend": "dense"}},
        },
    }  # fmt: skip
    (tmp_path / "gotd.yaml").write_text(yaml.safe_dump({"warm_up": {"data": data}}))
    here("fit", "--config", tmp_path / "gotd.yaml", *arguments, "--trainer.max_epochs", "1", "--output", tmp_path / "run")
    assert "test/accuracy" in metrics_of(tmp_path / "run")
    manifest = yaml.safe_load((tmp_path / "run" / "warm_up" / "selection" / "manifest.json").read_text())
    assert manifest["diagnostics"]["transport"]["device"] == str(device)


def test_every_task_trains_and_is_evaluated_as_on_the_cpu(
    data_folder: Path, model_folder: Path, causal_folder: Path, tmp_path: Path
) -> None:
    write_split(tmp_path / "numbers" / "train.parquet", sentences(60, 5)[0], np.linspace(0, 5, 60).tolist())
    write_split(tmp_path / "numbers" / "test.parquet", sentences(20, 6)[0], np.linspace(0, 5, 20).tolist())
    squad = write_squad(tmp_path / "squad", squad_rows(40, seed=5, null_share=0.25), squad_rows(20, seed=6))
    numbers = {"task": "regression", "metrics": ["pearson", "spearman"]}
    made: dict[str, tuple[Path, Made]] = {
        "classes": (model_folder, lambda: TextClassification(
            str(data_folder), max_length=32, seed=0, class_weights="balanced", max_train_rows=60, max_batch_tokens=256,
            metrics=["accuracy", "macro_f1", "matthews"],
        )),
        "numbers": (model_folder, lambda: TextClassification(
            str(tmp_path / "numbers"), max_length=32, seed=0, **numbers
        )),
        "masked": (model_folder, lambda: LanguageModeling(str(data_folder), max_length=16, seed=0, max_train_rows=60)),
        "causal": (causal_folder, lambda: LanguageModeling(
            str(data_folder), max_length=16, seed=0, max_train_rows=60
        )),
        "answers": (model_folder, lambda: QuestionAnswering(
            str(squad), max_length=48, doc_stride=8, max_question_tokens=12, seed=0
        )),
    }  # fmt: skip
    for name, (model, data) in made.items():
        host = _fitted(model, data, tmp_path / "host" / name)
        with accelerated():
            there = _fitted(model, data, tmp_path / "device" / name)
        assert there.keys() == host.keys()
        if name != "masked":  # whose masks are drawn on the device
            assert there == pytest.approx(host, abs=2e-3), name
        rows = [tmp_path / side / name / "test_scores.parquet" for side in ("host", "device")]
        assert rows[0].exists() == rows[1].exists()


def _fitted(model: Path, data: Made, folder: Path) -> dict[str, float]:
    """Metrics after a short training without dropout, whose random numbers are the device's own."""
    module = FineTuner(str(model), 1e-3, seed=0)
    folder.mkdir(parents=True)
    costs = CostLedger()
    settings: dict[str, Any] = {"max_epochs": 1, "callbacks": [costs, RowFigures(folder / "test_scores.parquet"), Still()]}
    fitting = trainer(**settings)
    fitting.fit(module, rows := data())
    metrics = dict(fitting.callback_metrics)
    metrics |= fitting.test(module, rows, verbose=False)[0]
    if hasattr(module.head, "predict") and not isinstance(rows, LanguageModeling):
        write_predictions(folder / "predictions.parquet", fitting.predict(module, rows) or [])
    assert all(record.flops for record in costs.ledger.records)
    return {name: float(value) for name, value in metrics.items()}


class Still(pl.Callback):
    """No dropout."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for part in pl_module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0


class SaveAt(pl.Callback):
    def __init__(self, file: Path, step: int) -> None:
        self.file, self.step = file, step

    def on_train_batch_end(self, trainer: pl.Trainer, *args: object) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)


@pytest.mark.parametrize("clip", [None, 1.0], ids=["fused", "clipped"])
def test_going_on_in_mid_epoch_gives_the_same_weights(
    device: torch.device, clip: float | None, data_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    """Dropout goes on from the device's own random state, and the optimizer from its moments."""

    def fit(callbacks: list[pl.Callback], checkpoint: Path | None = None) -> FineTuner:
        module = FineTuner(str(model_folder), learning_rate=1e-3, seed=3)
        data = TextClassification(str(data_folder), max_length=32, seed=3, max_train_rows=150)
        trainer(max_epochs=1, callbacks=callbacks, gradient_clip_val=clip, precision="bf16-mixed").fit(
            module, data, ckpt_path=checkpoint, weights_only=True
        )
        return module

    torch.manual_seed(1)
    unbroken = fit([SaveAt(tmp_path / "middle.ckpt", 2)])
    torch.manual_seed(2)
    resumed = fit([], tmp_path / "middle.ckpt")
    for name, weights in unbroken.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", ["dense", "stream"])
@pytest.mark.parametrize("cost", ["sqeuclidean", "cosine"])
def test_transport_gives_what_it_gives_on_the_cpu(device: torch.device, backend: Any, cost: Any) -> None:
    random = np.random.default_rng(0)
    pool, target = random.normal(size=(60, 4)), random.normal(size=(30, 4)) + 0.5
    weights = np.r_[0.0, np.full(29, 1 / 29)]
    options: dict[str, Any] = {"cost": cost, "backend": backend, "dtype": torch.float64, "tolerance": 1e-8, "lowest": 5}
    found = [
        dual_potentials(pool, target, target_weights=weights, device=where, **options) for where in (device, "cpu")
    ]
    np.testing.assert_allclose(found[0].f, found[1].f, atol=1e-9)
    np.testing.assert_allclose(found[0].g, found[1].g, atol=1e-9)
    assert dual_potentials(pool, target, backend=backend).diagnostics["device"] == str(device)
