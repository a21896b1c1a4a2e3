"""Heads that classify or give a number: their metrics, their losses, and what their exports say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats
from sklearn import metrics as reference

from selectune import Export, FineTuner, TextClassification
from selectune.common.errors import DataError
from selectune.lightning_modules.heads import ClassificationHead, RegressionHead
from tests.conftest import sentences
from tests.mistakes import mistake
from tests.trainers import NoDropout, trainer_for

N_CLASSES = 5


class Network(torch.nn.Module):
    """Gives its input back as logits."""

    config = SimpleNamespace(type_vocab_size=0)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return SimpleNamespace(logits=input_ids)


def batch(logits: np.ndarray, labels: np.ndarray) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor(logits), "attention_mask": torch.ones(1), "labels": torch.tensor(labels)}


def measured(head: Any, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """A head's metrics, fed in three batches of different sizes."""
    metrics = head.metrics()
    for part in np.split(np.arange(len(labels)), [7, 50]):
        output = head.forward(Network(), batch(logits[part], labels[part]))
        metrics.update(output.predictions, output.targets)
    return {name: float(value) for name, value in metrics.compute().items()}


@pytest.mark.parametrize("n_occurring", [2, 4, N_CLASSES])
def test_metrics_of_classes_are_those_of_sklearn(n_occurring: int) -> None:
    random = np.random.default_rng(n_occurring)
    labels = random.integers(n_occurring, size=200)  # some classes may have no row at all
    logits = random.normal(size=(200, N_CLASSES)).astype(np.float32)
    logits[:, n_occurring:] -= 10
    logits[np.arange(200), labels] += 1
    found = measured(
        ClassificationHead(list("abcde"), ["accuracy", "macro_f1", "micro_f1", "matthews"]), logits, labels
    )
    predicted = logits.argmax(1)
    assert found == pytest.approx(
        {
            "accuracy": reference.accuracy_score(labels, predicted),
            "macro_f1": reference.f1_score(labels, predicted, average="macro"),
            "micro_f1": reference.f1_score(labels, predicted, average="micro"),
            "matthews": reference.matthews_corrcoef(labels, predicted),
        },
        abs=1e-6,
    )


def test_metrics_of_numbers_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 26, size=200).astype(np.float32) / 5  # with ties, as people's judgements have
    logits = (labels + random.normal(size=200)).astype(np.float32)[:, None].round(1)
    found = measured(RegressionHead(), logits, labels)
    assert found["pearson"] == pytest.approx(stats.pearsonr(logits[:, 0], labels).statistic, abs=1e-5)
    assert found["spearman"] == pytest.approx(stats.spearmanr(logits[:, 0], labels).statistic, abs=1e-5)


def test_metrics_are_those_asked_for_and_the_first_one_is_watched() -> None:
    head = ClassificationHead(["a", "b"], ["matthews", "accuracy"])
    assert set(head.metrics()) == {"matthews", "accuracy"}
    assert head.monitor == "val/matthews"
    assert RegressionHead(["spearman"]).monitor == "val/spearman"
    with mistake(DataError, "'pearson'", "data.metrics"):
        ClassificationHead(["a", "b"], ["pearson"])


def test_the_weighted_loss_is_that_of_a_slow_loop() -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(30, 3)).astype(np.float32), random.integers(3, size=30)
    weights = [0.2, 1.0, 3.5]
    output = ClassificationHead(["a", "b", "c"], weights=weights).forward(Network(), batch(logits, labels))
    losses, total = 0.0, 0.0
    for row, label in zip(logits.astype(float), labels):
        losses -= weights[label] * (row[label] - np.log(np.exp(row).sum()))
        total += weights[label]
    assert float(output.loss_sum) == pytest.approx(losses, rel=1e-5)
    assert output.items == pytest.approx(total, rel=1e-6)


def test_the_squared_error_is_that_of_a_slow_loop() -> None:
    random = np.random.default_rng(0)
    numbers, labels = random.normal(size=30).astype(np.float32), random.normal(size=30).astype(np.float32)
    output = RegressionHead().forward(Network(), batch(numbers[:, None], labels))
    assert output.predictions.shape == (30,)
    assert float(output.loss_sum) == pytest.approx(sum((a - b) ** 2 for a, b in zip(numbers, labels)), rel=1e-5)
    assert output.items == 30


@pytest.mark.parametrize("scale", [1.0, 0.001])
def test_a_weighted_step_depends_neither_on_micro_batches_nor_on_the_scale_of_the_weights(
    scale: float, data_folder: Path, model_folder: Path
) -> None:
    def weights(max_batch_tokens: int, scale: float) -> tuple[dict[str, torch.Tensor], float]:
        data = TextClassification(
            str(data_folder), max_length=32, max_batch_tokens=max_batch_tokens, seed=1,
            class_weights=[0.3 * scale, 2.0 * scale],
        )  # fmt: skip
        module = FineTuner(str(model_folder), learning_rate=1e-3, seed=1)
        run = trainer_for(callbacks=[NoDropout()], max_epochs=1, max_steps=3)
        run.fit(module, data)
        return module.network.state_dict(), float(run.test(module, data, verbose=False)[0]["test/loss"])

    (whole, loss), (split, other) = weights(100_000, 1.0), weights(64, scale)
    assert loss == pytest.approx(other, abs=1e-5)
    for name in whole:
        torch.testing.assert_close(whole[name], split[name], atol=2e-5, rtol=1e-3)


def write(folder: Path, labels_of: Any, pair: bool) -> Path:
    folder.mkdir()
    for split, n, seed in (("train", 80, 1), ("test", 20, 2)):
        texts, labels = sentences(n, seed)
        content = {"text": texts, "label": [labels_of(label, text) for label, text in zip(labels, texts)]}
        pq.write_table(pa.table(content | ({"other": texts[::-1]} if pair else {})), folder / f"{split}.parquet")
    return folder


@pytest.mark.parametrize("kind", ["classes", "weighted classes", "pairs", "numbers"])
def test_an_export_gives_the_predictions_of_the_run(kind: str, model_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    numbers = kind == "numbers"
    folder = write(
        tmp_path / "data",
        lambda label, text: float(label + len(text) / 50) if numbers else ["bad", "good"][label],
        pair=kind == "pairs",
    )
    data = TextClassification(
        str(folder), pair_column="other" if kind == "pairs" else None, max_length=32, regression=numbers,
        class_weights="balanced" if kind == "weighted classes" else None,
    )  # fmt: skip
    module = FineTuner(str(model_folder), learning_rate=1e-3)
    run = trainer_for(callbacks=[Export(tmp_path / "export")], max_epochs=1)
    run.fit(module, data)
    batches: Any = run.predict(module, data)
    predicted: dict[int, Any] = {}
    for part in batches:
        predicted |= {int(row): (part["prediction"][i], _first(part, i)) for i, row in enumerate(part["row_id"])}

    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "export").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "export")
    table = pq.read_table(folder / "test.parquet").to_pydict()
    for row, text in enumerate(table["text"]):
        pair = [table["other"][row]] if kind == "pairs" else []
        # the tests' generic tokenizer gives token types only when asked to, BERT's own always does
        inputs = tokenizer(text, *pair, truncation=True, max_length=32, return_tensors="pt", return_token_type_ids=True)
        with torch.no_grad():
            logits = network(**inputs).logits[0]
        if numbers:
            assert logits.shape == (1,)
            assert predicted[row][0] == pytest.approx(float(logits), abs=1e-5)
        else:
            assert predicted[row][0] == network.config.id2label[int(logits.argmax())]
            assert predicted[row][1] == pytest.approx(float(logits.softmax(-1)[0]), abs=1e-5)
    assert len(predicted) == len(table["text"])


def _first(part: dict[str, Any], i: int) -> float | None:
    return float(part["probability_bad"][i]) if "probability_bad" in part else None
