"""Options out of range are refused where they enter: by the classes, and in one sentence by the command line."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from selectune.common.checks import LAST_SEED
from selectune.common.errors import BudgetError, DataError, UserError
from selectune.data.texts import Texts
from selectune.datamodules import LanguageModeling, QuestionAnswering, TextClassification
from selectune.forecast.estimate import speed_of
from selectune.lightning_modules import FineTuner
from selectune.lightning_modules.scorers.settings import Generative, ScorerSettings, Semantic, Tune
from selectune.runs.job import WarmUp
from selectune.selectors import GOTD, Chain, Deduplicate, DomainScreen, Prototypes, Random
from selectune.selectors.band_search import Placed, Proxy, Search
from selectune.selectors.base import Budget
from selectune.selectors.interval_rules import Absolute, Quantile
from tests.conftest import Here, sentences
from tests.mistakes import mistake, names

NAN, INF = math.nan, math.inf
LIMIT = ((0, -3), (1, -1))
WHOLE = ((0, -1), (1, None))
POSITIVE = ((0.0, -1.0, NAN, INF), (1e-9, 1e3))
SEEDS = ((-1, LAST_SEED + 1, 10**20), (0, LAST_SEED, None))


def fine_tuner(**arguments: Any) -> FineTuner:
    return FineTuner("docstrings-bert", **arguments)


def classification(**arguments: Any) -> TextClassification:
    return TextClassification("docstrings", **arguments)


def random_rows(**arguments: Any) -> TextClassification:
    return classification(selector=Random(), **arguments)


def language(**arguments: Any) -> LanguageModeling:
    return LanguageModeling("docstrings", **arguments)


def answering(**arguments: Any) -> QuestionAnswering:
    return QuestionAnswering("docstrings", **arguments)


def warm_up(**arguments: Any) -> WarmUp:
    return WarmUp(language(), **arguments)


def chain(**arguments: Any) -> Chain:
    return Chain(Random(), Random(), **arguments)


def texts(**arguments: Any) -> Texts:
    return Texts("docstrings", **arguments)


def machine(device_flops: float = 1e12, utilisation: float = 0.5) -> float | None:
    return speed_of(device_flops, utilisation)


RANGES: list[tuple[Callable[..., Any], str, tuple[tuple, tuple]]] = [
    (fine_tuner, "learning_rate", POSITIVE),
    (fine_tuner, "weight_decay", ((-1.0, NAN, INF), (0.0, 1.0))),
    (fine_tuner, "warmup", ((2.0, -0.1, NAN), (0.0, 1.0))),
    (fine_tuner, "seed", SEEDS),
    (warm_up, "max_epochs", ((0, -3, -1), (1,))),  # -1 with max_steps alone
    (warm_up, "max_steps", LIMIT),
    (warm_up, "learning_rate", POSITIVE),
    (warm_up, "weight_decay", ((-1.0, NAN), (0.0,))),
    (warm_up, "warmup", ((2.0, -0.1, NAN), (0.0, 1.0))),
    (classification, "seed", SEEDS),
    (classification, "max_length", ((1, 0, -1), (2,))),
    (classification, "batch_size", ((0, -1), (1,))),
    (classification, "max_batch_tokens", ((0, -1), (1,))),
    (classification, "pad_to", ((0, -1, 24, 256), (1, 64, 128))),  # of the 128 tokens of max_length
    (classification, "num_workers", ((-1,), (0,))),
    *((classification, f"max_{split}_rows", WHOLE) for split in ("train", "dev", "eval", "target")),
    (random_rows, "keep", ((0.0, -0.5, 1.5, NAN), (1e-9, 1.0))),
    (random_rows, "keep_rows", ((0, -1), (1,))),
    (random_rows, "keep_tokens", ((0, -1), (1,))),
    (language, "window", ((0, 1), (2, None))),
    (language, "mask_probability", ((0.0, 1.0, NAN), (0.5,))),
    (answering, "doc_stride", ((-1,), (0,))),
    (answering, "n_best", ((0,), (1,))),
    (texts, "max_rows", WHOLE),
    (ScorerSettings, "max_batch_tokens", WHOLE),
    (ScorerSettings, "probability_of", ((-1,), (0,))),
    (Generative, "k", ((0, -1), (1,))),
    (Semantic, "seed", ((-1, 10**20), (0,))),
    (Semantic, "samples", ((0,), (1,))),
    (Semantic, "max_new_tokens", ((0,), (1,))),
    (Semantic, "similarity", ((2.0, -2.0, NAN), (-1.0, 1.0))),
    (Tune, "rows", WHOLE),
    (Tune, "max_epochs", ((0, -1), (1,))),
    (Tune, "learning_rate", POSITIVE),
    (Proxy, "max_epochs", ((0, -1), (1,))),
    (Proxy, "max_steps", LIMIT),
    (Proxy, "learning_rate", POSITIVE),
    (Search, "bands", ((1, 0), (2,))),
    (Placed, "position", ((2.0, -0.1, NAN), (0.0, 1.0))),
    (lambda low: Quantile(low, 0.4), "low", ((0.5, 0.4, -0.1, NAN), (0.0,))),
    (lambda low: Absolute(low, 1.0), "low", ((2.0, NAN), (1.0, -INF))),
    (lambda std: GOTD(eps={"std": std}), "std", POSITIVE),
    (GOTD, "tolerance", ((0.0, 5.0, NAN), (2.0,))),
    (GOTD, "churn", ((-0.1, 2.0, NAN), (0.0, 1.0))),
    (GOTD, "max_iterations", ((0, -1), (1,))),
    (DomainScreen, "sample", ((0,), (1,))),
    (Prototypes, "n_prototypes", WHOLE),
    (Deduplicate, "similarity", ((0.0, 2.0, NAN), (1.0,))),
    (chain, "prefilter_keep", ((0.0, 2.0, NAN), (1.0,))),
    (machine, "device_flops", ((-1.0, 0.0, NAN, INF), (1.0,))),
    (machine, "utilisation", ((0.0, 2.0, NAN), (1.0,))),
]


@pytest.mark.parametrize(("make", "argument", "values"), RANGES, ids=[f"{r[0].__name__}.{r[1]}" for r in RANGES])
def test_a_class_takes_the_ends_of_a_range_and_names_what_lies_beyond(
    make: Callable[..., Any], argument: str, values: tuple[tuple, tuple]
) -> None:
    beyond, inside = values
    for value in inside:
        make(**{argument: value})
    for value in beyond:
        with pytest.raises(UserError) as caught:
            make(**{argument: value})
        message = str(caught.value)
        assert names(message, argument)
        assert names(message, f"{value:g}") or names(message, value)
        assert "\n" not in message


def test_a_share_that_comes_to_no_row_is_refused() -> None:
    assert Budget.of(10, 10, keep=0.05) == Budget(rows=1)
    with mistake(BudgetError, 0.049, 10, option="data.keep"):
        Budget.of(10, 10, keep=0.049)


@pytest.mark.parametrize(
    ("make", "column", "second"),
    [
        (lambda: classification(label_column="text"), "text", "label_column"),
        (lambda: classification(pair_column="text"), "text", "pair_column"),
        (lambda: classification(text_column="b", pair_column="a", label_column="a"), "a", "label_column"),
        (lambda: answering(context_column="question"), "question", "context_column"),
    ],
)
def test_one_column_does_not_serve_twice(make: Callable[[], Any], column: str, second: str) -> None:
    with mistake(DataError, f"'{column}'", option=f"data.{second}"):
        make()


@pytest.mark.parametrize(
    "arguments",
    [
        {"optimizer": lambda groups: torch.optim.SGD(groups, lr=-1.0)},
        {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.0)},
        {"lr_scheduler": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0)},
    ],
)
def test_an_optimizer_that_cannot_be_made_is_told_at_once(arguments: dict[str, Any]) -> None:
    with mistake(UserError, "model.optimizer"):
        fine_tuner(**arguments)
    fine_tuner(optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> list[str]:
    """A task of one small file."""
    folder = tmp_path_factory.mktemp("small")
    rows = [f"{text},{label}" for text, label in zip(*sentences(40, seed=3))]
    (folder / "train.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (folder / "one.csv").write_text("\n".join(["text,label", *(f"{row[:-1]}0" for row in rows)]) + "\n")
    return [
        "--data", "TextClassification", "--data.dataset", str(folder / "train.csv"), "--data.max_length", "32",
        "--model.checkpoint", str(model_folder), "--trainer.accelerator", "cpu",
    ]  # fmt: skip


RANDOM = ["--data.selector", "Random"]
WARM_UP = ["--warm_up.data", "LanguageModeling", "--warm_up.data.dataset", "docstrings"]
COMMAND_LINE: dict[str, tuple[list[str], list[object]]] = {
    "no epochs": (["--trainer.max_epochs", "0"], ["trainer.max_epochs"]),
    "no end": (["--trainer.max_epochs", "-1"], ["trainer.max_epochs"]),
    "learning rate 0": (["--model.learning_rate", "0"], ["model.learning_rate"]),
    "learning rate nan": (["--model.learning_rate", ".nan"], ["model.learning_rate"]),
    "seed below 0": (["--seed_everything", "-1"], ["seed_everything"]),
    "seed too large": (["--seed_everything", "100000000000000000000"], ["seed_everything"]),
    "seed of the data": (["--data.seed", "-1"], ["data.seed"]),
    "only special tokens": (["--data.max_length", "2"], ["data.max_length", 2, 3]),
    "no row": ([*RANDOM, "--data.keep", "1e-9"], ["data.keep", "1e-09"]),
    "more rows than there are": ([*RANDOM, "--data.keep_rows", "41"], ["data.keep_rows", 41]),
    "one text twice": (["--data.label_column", "text"], ["data.label_column"]),
    "tokens of the scorer": ([*RANDOM, "--data.keep", "0.5", "--scorer.max_batch_tokens", "-1"], ["max_batch_tokens"]),
    "tuning on nothing": (["--scorer.tune.rows", "0"], ["scorer.tune.rows"]),
    "warm-up without epochs": ([*WARM_UP, "--warm_up.max_epochs", "0"], ["warm_up.max_epochs"]),
    "data of the warm-up": ([*WARM_UP, "--warm_up.data.window", "0"], ["data.window"]),
    "a rule": (
        ["--data.selector", "EntropyInterval", "--data.selector.rule", "Quantile", "--data.selector.rule.low", "0.4",
         "--data.selector.rule.high", "0.2"],
        ["0 <= low < high <= 1"],
    ),
    "transport": (["--data.selector", "GOTD", "--data.selector.eps", "{std: 0}", "--data.keep", "0.5"], ["eps.std"]),
    "a strategy that spawns": (
        ["--trainer.strategy", "ddp_spawn", "--trainer.devices", "2"], ["trainer.strategy", "ddp_spawn", "ddp"],
    ),
    "an unknown accelerator": (["--trainer.accelerator", "abacus"], ["trainer.accelerator"]),
    "processes without a row": (["--trainer.devices", "2", "--data.batch_size", "1"], ["data.batch_size", 1, 2]),
    "an empty output": (["--output", ""], ["--output"]),
    "an empty cache": (["--cache", ""], ["--cache"]),
}  # fmt: skip


@pytest.mark.parametrize("case", COMMAND_LINE)
def test_the_command_line_says_it_in_one_sentence(case: str, here: Here, small: list[str], tmp_path: Path) -> None:
    more, named = COMMAND_LINE[case]
    told = here("fit", *small, "--output", tmp_path / "run", *more, code=2)
    assert names(told.partition("error: ")[2], *named)
    assert told.count("error: ") == 1
    assert "usage:" not in told
    assert not (tmp_path / "run").exists()


def test_one_class_is_nothing_to_learn(here: Here, small: list[str], tmp_path: Path) -> None:
    one = small[3].replace("train.csv", "one.csv")
    told = here("fit", *small, "--data.dataset", one, "--output", tmp_path / "run", code=2)
    assert names(told, "'0'", "data.label_column")
    assert not (tmp_path / "run").exists()


def test_99_processes_are_not_started(
    here: Here, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

    def started(self: object, *_: object, **__: object) -> None:
        raise AssertionError("processes were started")

    monkeypatch.setattr(_SubprocessScriptLauncher, "launch", started)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    more = ["--trainer.devices", "99", "--data.batch_size", "198", "--output", str(tmp_path / "run")]
    for verb in ("fit", "select"):
        assert names(here(verb, *small, *more, code=2), "trainer.devices", 99)


@pytest.mark.parametrize(
    ("verb", "more", "named"),
    [
        ("estimate", ["--model.learning_rate", "-1"], "model.learning_rate"),
        ("estimate", ["--device_flops", "-1", "--utilisation", "0.5"], "--device_flops"),
        ("select", ["--trainer.max_steps", "0"], "trainer.max_steps"),
    ],
)
def test_other_verbs_refuse_as_well(verb: str, more: list[str], named: str, here: Here, small: list[str]) -> None:
    assert named in here(verb, *small, *more, "--output", "run", code=2)
    assert not Path("run").exists()
