"""Laws of the embedded model, made for a corpus of made-up packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from selectune.data.embedded import tiny_bert
from selectune.data.embedded.tiny_bert import SPECIAL, train_vocabulary

MODULE = sys.modules["selectune.data.embedded.tiny_bert"]  # the package's attribute of this name is the function
SMALL = {"vocabulary": 300, "layers": 1, "hidden": 32}


@pytest.fixture(scope="module")
def model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("cache"), corpus, **SMALL)


def texts(corpus: Path) -> list[str]:
    return pq.read_table(corpus / "train.parquet")["text"].to_pylist()


def test_auto_classes_open_it(model: Path, corpus: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    batch = tokenizer(texts(corpus)[:4], padding=True, return_tensors="pt")
    masked = AutoModelForMaskedLM.from_pretrained(model)
    assert masked.dtype == torch.float32
    assert masked(**batch).logits.shape == (*batch["input_ids"].shape, len(tokenizer))
    assert AutoModel.from_pretrained(model)(**batch).last_hidden_state.shape == (*batch["input_ids"].shape, 32)
    assert sorted(path.name for path in model.iterdir()) == [
        "config.json", "model.safetensors", "sums.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_tokenizer_is_lower_cased_wordpiece_with_berts_special_tokens(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 4]) == list(SPECIAL)
    names = ("pad", "unk", "cls", "sep", "mask")
    assert [getattr(tokenizer, f"{name}_token_id") for name in names] == [0, 1, 2, 3, 4]
    assert tokenizer.model_max_length == 256
    pair = tokenizer("TOKEN _", "[MASK] \N{SNOWMAN}", return_token_type_ids=True)
    assert pair["input_ids"] == [2, *tokenizer.convert_tokens_to_ids(["token", "_"]), 3, 4, 1, 3]
    assert pair["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert len(tokenizer("word " * 999, truncation=True)["input_ids"]) == 256


def test_vocabulary_covers_the_corpus(model: Path, corpus: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert 200 < len(tokenizer) <= SMALL["vocabulary"]
    assert not any(1 in ids for ids in tokenizer(texts(corpus))["input_ids"])


def test_vocabulary_does_not_depend_on_threads_or_hash_seeds(corpus: Path) -> None:
    code = (
        "import sys, json; from selectune.data.embedded.tiny_bert import train_vocabulary\n"
        "print(json.dumps(train_vocabulary(json.load(sys.stdin), 300)))"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"},
            input=json.dumps(texts(corpus)), capture_output=True, text=True, check=True,
        ).stdout
        for threads in ("1", "2", "3")
    ]  # fmt: skip
    assert json.loads(found[0]) == train_vocabulary(texts(corpus), 300)
    assert found[0] == found[1] == found[2]


def test_same_corpus_gives_the_same_bytes_and_leaves_the_random_state(
    model: Path, corpus: Path, tmp_path: Path
) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    again = tiny_bert(tmp_path, corpus, **SMALL)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert again.name == model.name
    for path in model.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_a_model_that_is_there_is_only_found(model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "train_vocabulary", lambda *_: pytest.fail("made again"))
    assert tiny_bert(model.parent.parent, corpus, **SMALL) == model


def test_an_interrupted_making_leaves_nothing(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MODULE, "_write_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny_bert(tmp_path, corpus, **SMALL)
    assert not list(tmp_path.glob("embedded/*"))
