"""Agreement with small-text (the extra ``bench``), the nearest peer among active learners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selectune.data.sources import ModelSource
from selectune.data.tokens import load_tokenizer, tokenize
from selectune.lightning_modules.scorers.head import HeadScorer, load_classifier
from tests.conftest import sentences

small_text = pytest.importorskip("small_text", reason="the extra `bench` has it")


def test_predictive_entropy_ranks_as_small_texts_prediction_entropy(model_folder: Path, tmp_path: Path) -> None:
    from scipy.stats import spearmanr
    from transformers import AutoModelForSequenceClassification

    texts = [(text,) for text in sentences(300, seed=3)[0]]
    tokens = tokenize(lambda rows: texts[rows], len(texts), load_tokenizer(model_folder), 32)
    batch = tokens.padded(np.arange(len(texts)), 0)
    network = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=4).eval()
    with torch.no_grad():  # an untrained head says the same of all texts: spread what it says
        pooled = network.bert(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).pooler_output
        network.classifier.weight.copy_(torch.randn(4, 32, generator=torch.Generator().manual_seed(0)) / pooled.std(0))
        network.classifier.bias.copy_(-network.classifier.weight @ pooled.mean(0))
    network.save_pretrained(tmp_path)
    scorer = HeadScorer(load_classifier(ModelSource(tmp_path, "local:classifier")), ["information_entropy"])
    with torch.no_grad():
        ours = scorer(batch)["information_entropy"].numpy()

    class Classifier:
        def predict_proba(self, dataset: Any) -> np.ndarray:
            with torch.no_grad():
                output = scorer.network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
            return output.logits.double().softmax(-1).numpy()

    theirs = small_text.PredictionEntropy()
    everything = np.arange(len(texts))
    chosen = theirs.query(Classifier(), texts, everything, np.array([], dtype=int), np.array([], dtype=int), n=30)
    assert spearmanr(ours, theirs.scores_).statistic > 0.999
    assert np.ptp(ours) > 0.05, "entropies that are all alike would agree with anything"
    assert set(chosen.tolist()) == set(np.argsort(-ours)[:30].tolist())
