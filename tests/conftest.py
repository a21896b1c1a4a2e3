"""A tiny model, a small data set in the hub's layout, and one way to run the command line on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parent.parent
# Real data and weights are for tests marked `real_data` alone; the others must not find any by their names.
REAL = {name: found for name in ("SELECTUNE_DATA", "SELECTUNE_MODELS") if (found := os.environ.pop(name, None))}
WORDS = [
    "red",
    "blue",
    "green",
    "fast",
    "slow",
    "big",
    "small",
    "cat",
    "dog",
    "bird",
    "runs",
    "sleeps",
    "eats",
    "over",
    "under",
    "the",
    "a",
    "and",
    "then",
    "never",
]
GOOD, BAD = ["fine", "great", "lovely"], ["poor", "awful", "dull"]


@pytest.fixture(scope="session", autouse=True)
def _quiet_and_offline(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_DATASETS_CACHE"] = str(tmp_path_factory.mktemp("datasets"))
    os.environ["SELECTUNE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def sentences(n: int, seed: int, length: tuple[int, int] = (3, 14)) -> tuple[list[str], list[int]]:
    """Made-up reviews whose label is in one of their words."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for i in range(n):
        label = int(random.integers(2))
        words = list(random.choice(WORDS, size=random.integers(*length)))
        words.insert(int(random.integers(len(words) + 1)), str(random.choice(GOOD if label else BAD)))
        texts.append(" ".join(words) + f" {i % 7}")
        labels.append(label)
    return texts, labels


def write_split(file: Path, texts: list[str], labels: list[int], text_column: str = "text") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({text_column: texts, "label": labels}), file)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in the hub's layout: 240 rows to train on, 60 held out."""
    folder = tmp_path_factory.mktemp("data") / "reviews"
    write_split(folder / "train.parquet", *sentences(240, seed=1))
    write_split(folder / "test.parquet", *sentences(60, seed=2))
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 2 layers and 32 dimensions with a masked-LM head, and its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS, *GOOD, *BAD, *"0123456"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = ("pad", "unk", "cls", "sep", "mask")
    tokens = {f"{name}_token": token for name, token in zip(names, special)}
    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **tokens).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=512, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def arguments(data_folder: Path, model_folder: Path) -> list[str]:
    """A small task on the command line."""
    return [
        "--data", "TextClassification", "--data.dataset", str(data_folder), "--data.max_length", "32",
        "--model.checkpoint", str(model_folder), "--model.learning_rate", "1e-3", "--trainer.max_epochs", "2",
        "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
    ]  # fmt: skip


@pytest.fixture
def selecting(arguments: list[str]) -> list[str]:
    """The small task with a selector."""
    return [*arguments, "--data.selector", "IGSE", "--data.keep", "0.25", "--scorer.max_batch_tokens", "512"]


Cli = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs ``main.py`` in a process of its own; fails unless it ends with the code that is expected."""

    def run(*args: str | Path, code: int = 0, **env: str) -> subprocess.CompletedProcess:
        environment = os.environ | {"SELECTUNE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"} | env
        command = [sys.executable, str(REPOSITORY / "main.py"), *map(str, args)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=3000)
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done

    return run


Here = Callable[..., str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """Runs ``main.py`` in this process, and gives what it printed, in one line; else as `cli`."""
    from lightning.pytorch import seed_everything

    from selectune.cli import main

    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*args: str | Path, code: int = 0) -> str:
        ended = 0
        monkeypatch.setattr("sys.argv", ["main.py"])
        try:
            main([str(arg) for arg in args])
        except SystemExit as error:
            ended = int(error.code or 0)
        seed_everything(0, verbose=False)
        told = capfd.readouterr()
        assert ended == code, told.out[-2000:] + told.err[-4000:]
        assert code == 0 or "Traceback" not in told.err
        return " ".join((told.out + told.err).split())

    return run


def metrics_of(run: Path) -> dict[str, float]:
    """The last value of each metric in a run's ``metrics.csv``."""
    import csv

    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: float(row[name]) for row in rows for name in row if row[name]}


def manifest_of(run: Path) -> dict:
    return json.loads((run / "selection" / "manifest.json").read_text())
