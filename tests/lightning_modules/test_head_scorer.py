"""Signals of a trained classifier, and embeddings alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from selectune.common.errors import CheckpointError
from selectune.data.sources import ModelSource
from selectune.data.tokens import TokenizedRows, load_tokenizer, tokenize
from selectune.lightning_modules.heads import load_network
from selectune.lightning_modules.scorers.head import EncoderScorer, HeadScorer, load_classifier
from tests.conftest import sentences

NAMES = ["information_entropy", "margin", "least_confidence", "label_loss", "embedding"]


@pytest.fixture(scope="module")
def tokens(model_folder: Path) -> TokenizedRows:
    texts = [(text,) for text in sentences(12, seed=5)[0]]
    return tokenize(lambda rows: texts[rows], len(texts), load_tokenizer(model_folder), 32)


@pytest.fixture(scope="module")
def classifier(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path_factory.mktemp("classifier")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=3)
        network.classifier.weight.data.mul_(20)
    network.save_pretrained(folder)
    return folder


def test_signals_are_those_of_the_classifiers_shares(classifier: Path, tokens: TokenizedRows) -> None:
    network = load_classifier(ModelSource(classifier, "local:classifier"))
    batch = tokens.padded(np.arange(12), 0) | {"labels": torch.arange(12) % 3}
    with torch.no_grad():
        found = HeadScorer(network, NAMES)(batch)
        output = network(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True
        )
    for row in range(12):
        shares = output.logits[row].double().softmax(-1).numpy()
        ordered = np.sort(shares)[::-1]
        assert float(found["information_entropy"][row]) == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-5)
        assert float(found["margin"][row]) == pytest.approx(ordered[0] - ordered[1], abs=1e-5)
        assert float(found["least_confidence"][row]) == pytest.approx(1 - ordered[0], abs=1e-5)
        assert float(found["label_loss"][row]) == pytest.approx(-np.log(shares[row % 3]), abs=1e-5)
        there = batch["attention_mask"][row].bool()
        np.testing.assert_allclose(found["embedding"][row], output.hidden_states[-1][row][there].mean(0), atol=1e-5)


@pytest.mark.parametrize("problem", [None, "multi_label_classification"])
def test_the_probability_of_a_class_is_what_its_kind_of_head_means(
    classifier: Path, tokens: TokenizedRows, problem: str | None
) -> None:
    network = load_classifier(ModelSource(classifier, "local:classifier"))
    network.config.problem_type = problem
    scorer = HeadScorer(network, ["class_probability"])
    scorer.probability_of = 2
    batch = tokens.padded(np.arange(12), 0)
    with torch.no_grad():
        found = scorer(batch)["class_probability"]
        logits = network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = logits[:, 2].sigmoid() if problem else logits.softmax(-1)[:, 2]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_embeddings_alone_need_no_head(model_folder: Path, tmp_path: Path, tokens: TokenizedRows) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(model_folder).save_pretrained(tmp_path)
    bare = EncoderScorer(load_network("AutoModel", ModelSource(tmp_path, "local:bare"))[0], ["embedding"])
    with torch.no_grad():
        assert bare(tokens.padded(np.arange(3), 0))["embedding"].shape == (3, 32)


def test_a_checkpoint_without_a_classifier_is_refused(model_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="no trained classification head"):
        load_classifier(ModelSource(model_folder, "local:tiny"))
