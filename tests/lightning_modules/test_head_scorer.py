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
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.signals.definitions import ScoringModel
from selectune.signals.forward import make_scorer
from tests.conftest import sentences
from tests.mistakes import mistake
from tests.random_models import make_classifier

NAMES = ["information_entropy", "margin", "least_confidence", "label_loss", "embedding"]


@pytest.fixture(scope="module")
def tokens(model_folder: Path) -> TokenizedRows:
    texts = [(text,) for text in sentences(12, seed=5)[0]]
    return tokenize(lambda rows: texts[rows], len(texts), load_tokenizer(model_folder), 32)


def test_signals_are_those_of_the_classifiers_probabilities(classifier_folder: Path, tokens: TokenizedRows) -> None:
    network = load_classifier(ModelSource(classifier_folder, "local:classifier"))
    batch = tokens.padded(np.arange(12), 0) | {"labels": torch.arange(12) % 3}
    with torch.no_grad():
        found = HeadScorer(network, NAMES)(batch)
        output = network(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True
        )
    for row in range(12):
        p = output.logits[row].double().softmax(-1).numpy()
        ordered = np.sort(p)[::-1]
        assert float(found["information_entropy"][row]) == pytest.approx(-(p * np.log(p)).sum(), abs=1e-5)
        assert float(found["margin"][row]) == pytest.approx(ordered[0] - ordered[1], abs=1e-5)
        assert float(found["least_confidence"][row]) == pytest.approx(1 - ordered[0], abs=1e-5)
        assert float(found["label_loss"][row]) == pytest.approx(-np.log(p[row % 3]), abs=1e-5)
        real = batch["attention_mask"][row].bool()
        np.testing.assert_allclose(found["embedding"][row], output.hidden_states[-1][row][real].mean(0), atol=1e-5)


@pytest.mark.parametrize("problem", [None, "multi_label_classification"])
def test_the_probability_of_a_class_is_what_its_kind_of_head_means(
    classifier_folder: Path, tokens: TokenizedRows, problem: str | None
) -> None:
    network = load_classifier(ModelSource(classifier_folder, "local:classifier"))
    network.config.problem_type = problem
    scorer = HeadScorer(network, ["class_probability"])
    scorer.probability_of = 2
    batch = tokens.padded(np.arange(12), 0)
    with torch.no_grad():
        found = scorer(batch)["class_probability"]
        logits = network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = logits[:, 2].sigmoid() if problem else logits.softmax(-1)[:, 2]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_of_a_regression_the_signal_is_its_value(tmp_path: Path, model_folder: Path, tokens: TokenizedRows) -> None:
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=1)
    network.save_pretrained(tmp_path)
    source = ModelSource(tmp_path, "local:regression")
    scorer = HeadScorer(load_classifier(source, least_labels=1), ["class_probability", "embedding"])
    batch = tokens.padded(np.arange(12), 0)
    with torch.no_grad():
        found = scorer(batch)
        value = scorer.network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
    np.testing.assert_allclose(found["class_probability"], value, atol=1e-6)
    assert found["embedding"].shape == (12, 32)
    scorer.network.config.problem_type = "multi_label_classification"  # one class, a yes or no
    with torch.no_grad():
        np.testing.assert_allclose(scorer(batch)["class_probability"], value.sigmoid(), atol=1e-6)


def test_a_regression_scores_the_probability_of_a_class_and_nothing_else_of_classes(
    tmp_path: Path, model_folder: Path
) -> None:
    make_classifier(tmp_path, model_folder, 1)
    source = ModelSource(tmp_path, "local:regression")
    scoring = ScoringModel(source, ScorerSettings(probability_of=1), 32, 512)
    assert make_scorer(["class_probability", "embedding"], scoring).wanted == ["class_probability", "embedding"]
    with mistake(CheckpointError, "local:regression", "no trained classification head"):
        make_scorer(["class_probability", "margin"], scoring)
    make_classifier(tmp_path / "three", model_folder, 3)
    three = ModelSource(tmp_path / "three", "local:three")
    with mistake(CheckpointError, "scorer.probability_of is 3", "classes 0 to 2"):
        make_scorer(["class_probability"], ScoringModel(three, ScorerSettings(probability_of=3), 32, 512))


def test_embeddings_alone_need_no_head(model_folder: Path, tmp_path: Path, tokens: TokenizedRows) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(model_folder).save_pretrained(tmp_path)
    bare = EncoderScorer(load_network("AutoModel", ModelSource(tmp_path, "local:bare"))[0], ["embedding"])
    with torch.no_grad():
        assert bare(tokens.padded(np.arange(3), 0))["embedding"].shape == (3, 32)


def test_a_checkpoint_without_a_classifier_is_refused(model_folder: Path) -> None:
    with mistake(CheckpointError, "local:tiny", "classification"):
        load_classifier(ModelSource(model_folder, "local:tiny"))
