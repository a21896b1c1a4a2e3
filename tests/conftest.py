"""A tiny model, a small data set in the hub's layout, and one way to run the command line on them."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.common.locks import locked
from tests.processes import BLANK, run_main, run_ranks
from tests.random_models import make_classifier, make_gpt2

REPOSITORY = Path(__file__).parent.parent
# Real data and weights are for tests marked `real_data` alone; the others must not find any by their names.
REAL = {name: found for name in ("SELECTUNE_DATA", "SELECTUNE_MODELS") if (found := os.environ.pop(name, None))}
WORDS = [
    "red", "blue", "green", "fast", "slow", "big", "small", "cat", "dog", "bird", "runs",
    "sleeps", "eats", "over", "under", "the", "a", "and", "then", "never",
]  # fmt: skip
SELECTOR = ("--data.selector", "IGSE", "--data.keep", "0.25", "--scorer.max_batch_tokens", "512")
GOOD, BAD = ["fine", "great", "lovely"], ["poor", "awful", "dull"]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the pretend accelerator known before anything is differentiated, where tests are to run on it.

    And leave what is imported by now out of each collection, which takes a third of a second of every pass else.
    """
    if any(item.get_closest_marker("pretend") for item in session.items):
        from tests.pretend_backend import register

        register()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _quiet_and_offline(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_DATASETS_CACHE"] = str(tmp_path_factory.mktemp("datasets"))
    os.environ["SELECTUNE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _pictures_are_blank(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of reports are made up to their drawing, but where a test is marked ``draws``."""
    if request.node.get_closest_marker("draws") is None:
        monkeypatch.setattr("selectune.report.drawing.png", lambda figure: BLANK)


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


Shared = Callable[[str, Callable[[Path], Any]], Path]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Gives a folder by its name, which the first to ask fills, for all workers; who writes into it copies it first."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def made(name: str, make: Callable[[Path], Any]) -> Path:
        folder, whole = root / "shared" / name, root / "shared" / f"{name}.whole"
        with locked(root / "shared" / f"{name}.lock", 3000, f"making {name}"):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                make(folder)
                whole.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def data_folder(shared: Shared) -> Path:
    """A data set in the hub's layout: 240 rows to train on, 60 held out."""

    def make(folder: Path) -> None:
        write_split(folder / "train.parquet", *sentences(240, seed=1))
        write_split(folder / "test.parquet", *sentences(60, seed=2))

    return shared("reviews", make)


@pytest.fixture(scope="session")
def model_folder(shared: Shared) -> Path:
    """A random BERT of 2 layers and 32 dimensions with a masked-LM head, and its tokenizer."""
    return shared("tiny", _make_model)


@pytest.fixture(scope="session")
def causal_folder(shared: Shared, model_folder: Path) -> Path:
    """A random GPT-2 with the tiny model's tokenizer."""
    return shared("gpt2", partial(make_gpt2, tokenizer_of=model_folder))


@pytest.fixture(scope="session")
def classifier_folder(shared: Shared, model_folder: Path) -> Path:
    """The tiny model with a random head for three classes."""
    return shared("classifier", partial(make_classifier, model_folder=model_folder))


def _make_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

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


@pytest.fixture(scope="session")
def small_task(data_folder: Path, model_folder: Path) -> tuple[str, ...]:
    """A small task on the command line."""
    return (
        "--data", "TextClassification", "--data.dataset", str(data_folder), "--data.max_length", "32",
        "--model.checkpoint", str(model_folder), "--model.learning_rate", "1e-3", "--trainer.max_epochs", "2",
        "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
    )  # fmt: skip


@pytest.fixture
def arguments(small_task: tuple[str, ...]) -> list[str]:
    """The small task, to be added to."""
    return list(small_task)


@pytest.fixture
def selecting(arguments: list[str]) -> list[str]:
    """The small task with a selector."""
    return [*arguments, *SELECTOR]


@pytest.fixture(scope="session")
def finished(shared: Shared, small_task: tuple[str, ...]) -> Path:
    """A finished run of the small task with a selector, to be read; beside it ``cache`` and what it printed."""

    def make(folder: Path) -> None:
        environment = os.environ | {"SELECTUNE_CACHE": str(folder / "cache"), "COLUMNS": "1000"}
        done = run_main(
            ["fit", *small_task, *SELECTOR, "--output", str(folder / "run")], folder, environment, draws=True
        )
        assert done.returncode == 0, done.stderr[-6000:]
        (folder / "stdout.txt").write_text(done.stdout)

    return shared("finished", make) / "run"


@pytest.fixture
def copy_of_finished(finished: Path, tmp_path: Path) -> Path:
    """The finished run, to be written to."""
    return Path(shutil.copytree(finished, tmp_path / "copy_of_finished"))


Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs ``main.py`` in a process of its own, see `run_main`; fails unless it ends with the code that is expected."""

    def run(*args: str | Path, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"SELECTUNE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"} | env
        done = run_main(list(map(str, args)), tmp_path, environment)
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done

    return run


Ranks = Callable[..., list[str]]


@pytest.fixture
def ranks(tmp_path: Path) -> Ranks:
    """Runs ``main.py`` in two processes, as ``torchrun`` starts them, and gives the stderr of each; else as `cli`."""

    def run(*args: str | Path, code: int = 0) -> list[str]:
        environment = os.environ | {"SELECTUNE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
        two = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
        done = run_ranks([*map(str, args), *two], tmp_path, environment)
        assert [one.returncode for one in done] == [code] * 2, "\n".join(one.stderr[-6000:] for one in done)
        return [one.stderr for one in done]

    return run


Here = Callable[..., str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """Runs ``main.py`` in this process, and gives what it printed, in one line; else as `cli`."""
    from lightning.pytorch import seed_everything

    from selectune.cli import main

    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(logging, "raiseExceptions", False)  # streams of the test before are closed
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*args: str | Path, code: int = 0) -> str:
        ended = 0
        cache = os.environ["SELECTUNE_CACHE"]
        monkeypatch.setattr("sys.argv", ["main.py"])
        try:
            main([str(arg) for arg in args])
        except SystemExit as error:
            ended = int(error.code or 0)
        monkeypatch.setenv("SELECTUNE_CACHE", cache)  # --cache sets it
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


@pytest.fixture
def warming(tmp_path: Path, data_folder: Path) -> list[str]:
    """A config that warms up on a selection of its own."""
    data = {
        "class_path": "LanguageModeling",
        "init_args": {
            "dataset": str(data_folder), "max_length": 16, "window": 8, "join": True, "max_train_rows": 150,
            "selector": {"class_path": "EntropyInterval"}, "keep": 0.5,
        },
    }  # fmt: skip
    config = {"warm_up": {"data": data, "max_epochs": 2, "learning_rate": 5.0e-3}}
    (tmp_path / "warm_up.yaml").write_text(json.dumps(config))
    return ["--config", str(tmp_path / "warm_up.yaml")]
