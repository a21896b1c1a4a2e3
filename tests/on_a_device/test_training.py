"""Training, evaluation, prediction and resuming on an accelerator, by the library and by the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from selectune import CostLedger, FineTuner, LanguageModeling, QuestionAnswering, TextClassification
from selectune.callbacks.predictions import RowFigures, write_predictions
from selectune.costs.ledger import read_ledger
from selectune.lightning_modules.heads import ClassificationHead
from tests.conftest import REPOSITORY, Here, metrics_of, sentences, write_split
from tests.on_a_device.conftest import CPU, Enter, Place
from tests.squad_data import squad_rows, write_squad
from tests.trainers import Crossings, NoDropout, SaveAt

pytestmark = pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")

Made = Callable[[], Any]
SMALL = {"max_length": 16, "seed": 0, "max_train_rows": 40, "max_eval_rows": 20}


@pytest.fixture
def tasks(data_folder: Path, tmp_path: Path) -> dict[str, Made]:
    """A data module of each kind of head."""
    texts, more = sentences(60, 5)[0], sentences(20, 6)[0]
    write_split(tmp_path / "numbers" / "train.parquet", texts, np.linspace(0, 5, 60).tolist())
    write_split(tmp_path / "numbers" / "test.parquet", more, np.linspace(0, 5, 20).tolist())
    squad = write_squad(tmp_path / "squad", squad_rows(40, seed=5, null_share=0.25), squad_rows(20, seed=6))
    metrics = ["accuracy", "macro_f1", "matthews"]
    return {
        "classes": lambda: TextClassification(
            str(data_folder), class_weights="balanced", max_batch_tokens=128, metrics=metrics, **SMALL
        ),
        "numbers": lambda: TextClassification(str(tmp_path / "numbers"), regression=True, **SMALL),
        "tokens": lambda: LanguageModeling(str(data_folder), objective="causal", **SMALL),
        "masked": lambda: LanguageModeling(str(data_folder), **SMALL),
        "answers": lambda: QuestionAnswering(
            str(squad), max_length=48, doc_stride=8, max_question_tokens=12, seed=0, max_eval_rows=20
        ),
    }


SLOW = [pytest.param(task, marks=pytest.mark.slow) for task in ("answers", "numbers", "tokens")]


@pytest.mark.parametrize("task", ["classes", *SLOW])
def test_a_task_trains_and_is_evaluated_as_on_the_cpu(
    task: str, tasks: dict[str, Made], elsewhere: Enter, model_folder: Path, causal_folder: Path, tmp_path: Path
) -> None:
    model = causal_folder if task == "tokens" else model_folder
    costs = CostLedger() if task == "classes" else None
    expected = _fitted(CPU, model, tasks[task], tmp_path / "host")
    with elsewhere() as place:
        found = _fitted(place, model, tasks[task], tmp_path / "device", costs)
    assert costs is None or all(record.flops for record in costs.ledger.records)
    assert found == pytest.approx(expected, abs=2e-3)


def test_masked_tokens_are_predicted_and_masked_alike_at_each_evaluation(
    there: Place, tasks: dict[str, Made], model_folder: Path
) -> None:
    module = FineTuner(str(model_folder), 1e-3, seed=0)
    fitting = there.trainer(max_epochs=1)
    fitting.fit(module, data := tasks["masked"]())
    first, second = (fitting.test(module, data, verbose=False)[0] for _ in range(2))
    assert first == second
    assert first["test/loss"] > 0


def _fitted(place: Place, model: Path, data: Made, folder: Path, costs: CostLedger | None = None) -> dict[str, float]:
    """Metrics of a short training, its test and its predictions."""
    module = FineTuner(str(model), 1e-3, seed=0)
    folder.mkdir()
    callbacks = [*([costs] if costs else []), RowFigures(folder / "test_scores.parquet"), NoDropout()]
    fitting = place.trainer(max_epochs=1, callbacks=callbacks)
    fitting.fit(module, rows := data())
    metrics = dict(fitting.callback_metrics) | fitting.test(module, rows, verbose=False)[0]
    if not isinstance(rows, LanguageModeling):
        file = write_predictions(folder / "predictions.parquet", fitting.predict(module, rows) or [])
        assert pq.read_table(file)["row_id"].to_pylist() == list(range(20))
    if module.head.row_metrics:
        assert pq.read_table(folder / "test_scores.parquet")["row_id"].to_pylist() == list(range(20))
    return {name: float(value) for name, value in metrics.items()}


def test_neither_a_step_nor_an_evaluation_moves_a_number_between_host_and_device(there: Place) -> None:
    class Echo(torch.nn.Module):
        config = SimpleNamespace()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return SimpleNamespace(logits=input_ids)

    module = FineTuner("none", head=ClassificationHead(["bad", "good"], weights=[1.0, 3.0]))
    module.network, module._trainer = Echo(), SimpleNamespace(world_size=1)  # type: ignore[assignment]
    module.log = lambda *_, **more: None  # type: ignore[method-assign]
    module.metrics = torch.nn.ModuleDict({"val": module.head.metrics_for("val").to(there.device)})
    module.losses = {"val": torch.zeros(3, device=there.device)}
    logits, labels = torch.tensor([[0.0, 1.0], [2.0, 0.0]], device=there.device), torch.tensor([0, 1])
    row = {"input_ids": logits, "attention_mask": logits, "labels": labels.to(there.device), "rows": [0, 1]}
    batch = {"micro_batches": [row], "recomputed": 0, "n_rows": 2}
    module.training_step(batch, 0)  # the weights of the classes move once
    module.validation_step(row, 0)
    with Crossings() as crossings:
        loss = module.training_step(batch, 1)
        module.validation_step(row, 1)
    assert crossings.seen == []
    expected = torch.nn.functional.cross_entropy(logits.cpu(), labels, torch.tensor([1.0, 3.0]))
    assert float(loss) == pytest.approx(float(expected))
    assert module.losses["val"].tolist() == pytest.approx([2 * 4 * float(expected), 2 * 4.0, 4.0])
    assert float(module.metrics["val"].compute()["accuracy"]) == 0.0  # type: ignore[operator]


@pytest.mark.parametrize("clip", [None, pytest.param(1.0, marks=pytest.mark.slow)], ids=["whole", "clipped"])
def test_going_on_in_mid_epoch_gives_the_same_weights(
    there: Place, clip: float | None, data_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    """Dropout goes on from the device's own random state, and the optimizer from its moments."""

    def fit(callbacks: list[pl.Callback], checkpoint: Path | None = None) -> FineTuner:
        module = FineTuner(str(model_folder), learning_rate=1e-3, seed=3)
        data = TextClassification(str(data_folder), max_length=32, seed=3, max_train_rows=100)
        fitting = there.trainer(max_epochs=1, callbacks=callbacks, gradient_clip_val=clip, precision="bf16-mixed")
        fitting.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        return module

    torch.manual_seed(1)
    uninterrupted = fit([SaveAt(tmp_path / "middle.ckpt", 2)])
    torch.manual_seed(2)
    resumed = fit([], tmp_path / "middle.ckpt")
    for name, weights in uninterrupted.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weights, atol=1e-6, rtol=0)


def test_half_precision_scores_trains_and_predicts(
    here: Here, there: Place, selecting: list[str], tmp_path: Path
) -> None:
    """As on a GPU by default; its predictions are those that its metrics are of."""
    run = tmp_path / "run"
    more = ["--scorer.precision", "bf16", "--trainer.precision", "bf16-mixed", "--trainer.max_epochs", "1"]
    more += ["--data.max_train_rows", "60", "--trainer.accelerator", there.accelerator]
    here("fit", *selecting, *more, "--output", run)
    here("predict", "--config", run / "config.yaml", "--output", run)
    predicted = pq.read_table(run / "predictions.parquet").to_pydict()
    rows = pq.read_table(run / "test_scores.parquet").to_pydict()
    assert predicted["row_id"] == rows["row_id"] == list(range(60))
    assert np.mean(np.equal(rows["label"], rows["prediction"])) == pytest.approx(metrics_of(run)["test/accuracy"])
    assert {record.device for record in read_ledger(run / "cost.jsonl")} == {str(there.device)}


@pytest.mark.slow
def test_a_warm_up_by_transport(here: Here, there: Place, arguments: list[str], tmp_path: Path) -> None:
    write_split(tmp_path / "pool.parquet", *sentences(150, seed=11))
    data = {
        "class_path": "LanguageModeling",
        "init_args": {
            "dataset": str(tmp_path / "pool.parquet"), "max_length": 16, "target": "train", "keep_rows": 40,
            "selector": {"class_path": "GOTD", "init_args": {"backend": "dense"}},
        },
    }  # fmt: skip
    (tmp_path / "gotd.yaml").write_text(yaml.safe_dump({"warm_up": {"data": data}}))
    more = ["--trainer.max_epochs", "1", "--trainer.accelerator", there.accelerator]
    here("estimate", "--config", tmp_path / "gotd.yaml", *arguments, *more)
    here("fit", "--config", tmp_path / "gotd.yaml", *arguments, *more, "--output", tmp_path / "run")
    assert "test/accuracy" in metrics_of(tmp_path / "run")
    manifest = yaml.safe_load((tmp_path / "run" / "warm_up" / "selection" / "manifest.json").read_text())
    assert manifest["diagnostics"]["transport"]["device"] == str(there.device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_embedded_corpus_with_what_a_gpu_has_by_default(here: Here, tmp_path: Path) -> None:
    """Corpus and model that are made here: the size of scoring batches is tried out, and everything is in bf16."""
    more = ["--trainer.accelerator", "gpu", "--trainer.precision", "bf16-mixed", "--trainer.max_epochs", "1"]
    embedded = REPOSITORY / "configs" / "euds" / "docstrings.yaml"
    here("select", "--config", embedded, *more, "--output", tmp_path / "rows")
    here("fit", "--config", embedded, *more, "--output", tmp_path / "run")
    here("predict", "--config", tmp_path / "run" / "config.yaml", "--output", tmp_path / "run")
    assert (tmp_path / "run" / "predictions.parquet").is_file()
    assert any((tmp_path / "cache" / "token_budgets").iterdir())
