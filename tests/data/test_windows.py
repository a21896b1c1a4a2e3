"""Windows of long contexts."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from selectune.data.batches import plan_batches
from selectune.data.tokens import load_tokenizer
from selectune.data.windows import PairTemplate, make_windows
from selectune.datamodules import QuestionAnswering
from tests.squad_data import LENGTH, QUESTION, STRIDE, loaded, squad_rows, windows_of, write_squad


@pytest.fixture(scope="module")
def data(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> QuestionAnswering:
    """60 questions, a fifth without an answer, many of several windows."""
    rows = squad_rows(60, seed=1, null_share=0.2)
    return loaded(write_squad(tmp_path_factory.mktemp("squad"), rows), model_folder)


def test_windows_cover_the_context_and_overlap_by_the_stride(data: QuestionAnswering) -> None:
    windows = windows_of(data)
    assert np.diff(windows.first_window).max() >= 5
    for row in range(len(windows)):
        parts = range(windows.first_window[row], windows.first_window[row + 1])
        size = np.diff(windows.context_offsets)[windows.context_of[row]]
        assert windows.begins[parts[0]] == 0
        assert windows.ends[parts[-1]] == size
        for a, b in itertools.pairwise(parts):
            assert windows.ends[a] - windows.begins[b] == STRIDE
            assert windows.window_lengths[a] == LENGTH
        assert windows.lengths[row] == len(parts) * max(windows.window_lengths[list(parts)])
        assert windows.input_tokens[row] == sum(windows.window_lengths[list(parts)])


def test_windows_are_joined_as_the_tokenizer_joins_pairs(data: QuestionAnswering, model_folder: Path) -> None:
    """Where one window holds all, it is what the tokenizer makes of the pair."""
    tokenizer, windows = load_tokenizer(model_folder), windows_of(data)
    alone = [row for row in np.flatnonzero(np.diff(windows.first_window) == 1) if windows.lengths[row] < LENGTH]
    content = data.splits["test"]
    short = [row for row in alone if len(str(content[int(row)]["question"]).split()) <= QUESTION]
    assert short
    for row in short:
        expected = tokenizer(content[int(row)]["question"], content[int(row)]["context"], return_token_type_ids=True)
        batch = windows.padded(np.array([row]), 0)
        for name in ("input_ids", "token_type_ids", "attention_mask"):
            assert batch[name][0].tolist() == expected[name]


def test_the_pair_template_of_roberta() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "<unk>": 4}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    template = PairTemplate.of(tokenizer)
    assert template.special == ([0], [1, 1], [1])
    ids, types, special = template.join(np.array([2, 3]), np.array([3]))
    assert ids.tolist() == tokenizer("a b", "b")["input_ids"]
    assert types.tolist() == [0] * 7
    assert special.tolist() == [True, False, False, True, True, False, True]


def test_characters_give_back_the_text(data: QuestionAnswering, model_folder: Path) -> None:
    tokenizer, windows = load_tokenizer(model_folder), windows_of(data)
    rows = np.arange(len(windows))
    batch, (starts, ends) = windows.padded(rows, 0), windows.characters(rows)
    contexts = data.splits["test"]["context"]
    for i in range(len(batch["input_ids"])):
        context = contexts[int(batch["question"][i])]
        for j in torch.nonzero(batch["in_context"][i])[:, 0].tolist():
            word = context[starts[i, j] : ends[i, j]]
            assert tokenizer.convert_tokens_to_ids(word) == batch["input_ids"][i, j]
            assert not batch["special"][i, j]


def test_a_context_is_tokenized_once(data: QuestionAnswering, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = data.model_tokenizer()
    seen: list[str] = []
    encode = type(tokenizer)._encode_plus
    monkeypatch.setattr(
        type(tokenizer), "_encode_plus", lambda self, text, *a, **k: seen.extend(text) or encode(self, text, *a, **k)
    )
    contexts = ["red cat", "blue dog", "red cat", "red cat"]
    windows = make_windows(["a", "the", "cat", "dog"], contexts, tokenizer, 12, 2, 4)
    assert seen.count("red cat") == seen.count("blue dog") == 1
    assert windows.context_of.tolist() == [0, 1, 0, 0]
    assert len(windows.context_offsets) == 3


@pytest.mark.parametrize("budget", [LENGTH, 3 * LENGTH, 500, 10_000])
def test_planned_batches_hold_their_token_budget(data: QuestionAnswering, budget: int) -> None:
    windows = windows_of(data)
    plan = plan_batches(windows.lengths, budget)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(windows)))
    for rows in plan:
        size = windows.padded(rows, 0)["input_ids"].numel()
        assert size <= budget or len(rows) == 1
