"""A user's mistake ends in one sentence and exit code 2, with nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import Here, sentences, write_split

Told = Callable[..., str]


@pytest.fixture
def told(here: Here) -> Told:
    """What the command line says to a mistake."""
    return partial(here, code=2)


def made(folder: Path, train: dict[str, list], test: dict[str, list] | None = None) -> Path:
    folder.mkdir(parents=True)
    pq.write_table(pa.table(train), folder / "train.parquet")
    pq.write_table(pa.table(test or train), folder / "test.parquet")
    return folder


TEXTS, LABELS = sentences(40, seed=3)
BAD_DATA = {
    "no such column": ({"sentence": TEXTS, "label": LABELS}, "no column 'text'; it has sentence, label"),
    "no label column": ({"text": TEXTS, "klass": LABELS}, "no column 'label'; it has text, klass"),
    "decimal labels": ({"text": TEXTS, "label": [x + 0.5 for x in LABELS]}, "--data.regression true"),
    "numbers for texts": ({"text": list(range(40)), "label": LABELS}, "no text but a value of type int"),
    "missing label": ({"text": TEXTS, "label": [None, *LABELS[1:]]}, "without a label"),
    "nan label": ({"text": TEXTS, "label": [float("nan"), *map(float, LABELS[1:])]}, "without a label"),
    "empty texts": ({"text": ["", " ", *TEXTS[2:]], "label": LABELS}, "2 row(s) without a text"),
    "empty split": ({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}, "no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(case: str, told: Told, arguments: list[str], tmp_path: Path) -> None:
    columns, sentence = BAD_DATA[case]
    folder = made(tmp_path / "data", columns)
    assert sentence in told("fit", *arguments, "--data.dataset", folder, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_hidden_test_labels(told: Told, arguments: list[str], tmp_path: Path) -> None:
    folder = made(tmp_path / "data", {"text": TEXTS, "label": LABELS}, {"text": TEXTS, "label": [-1] * 40})
    assert "are hidden" in told("fit", *arguments, "--data.dataset", folder, "--output", tmp_path / "run")


BAD_ARGUMENTS = {
    "unknown hub data set": (["--data.dataset", "nobody/nothing"], "could not be had from the hub"),
    "unknown hub model": (["--model.checkpoint", "nobody/nothing"], "could not be had from the hub"),
    "missing folder": (["--data.dataset", "./nowhere"], "no folder or file ./nowhere"),
    "missing file": (["--data.dataset", "nowhere.csv"], "no file nowhere.csv"),
    "missing model folder": (["--model.checkpoint", "./nowhere"], "no model folder ./nowhere"),
    "unknown split": (["--data.test_split", "held_out"], "no split 'held_out'"),
    "nothing to keep": (["--data.selector", "Random", "--data.keep", "0"], "over 0 and at most 1"),
    "more than the pool": (["--data.selector", "Random", "--data.keep_rows", "217"], "the pool has 216 rows"),
    "more tokens than the pool": (["--data.selector", "Random", "--data.keep_tokens", "100000"], "tokens; ask for"),
    "a negative budget": (["--data.selector", "Random", "--data.keep_rows", "-3"], "must be at least 1"),
    "overwriting what one goes on with": (["--overwrite", "--ckpt_path", "last"], "leave one of them out"),
    "rows longer than the model takes": (["--data.max_length", "600"], "takes at most 512 tokens"),
    "two budgets": (["--data.selector", "Random", "--data.keep", "0.5", "--data.keep_rows", "9"], "given twice"),
    "no budget": (["--data.selector", "Random"], "needs a budget"),
    "no selector": (["--data.keep", "0.5"], "without data.selector"),
    "a rule with its own size": (
        ["--data.selector", "EntropyInterval", "--data.selector.rule", "Quantile", "--data.selector.rule.low", "0.2",
         "--data.selector.rule.high", "0.4", "--data.keep", "0.5"],
        "fixes its own bounds",
    ),
    "unknown signal": (
        ["--data.selector", "EntropyInterval", "--data.selector.entropy", "temperature", "--data.keep", "0.5"],
        "no signal 'temperature'",
    ),
    "no checkpoint to go on from": (["--ckpt_path", "last"], "no checkpoint"),
    "no such selection": (["--data.selection", "nowhere"], "no selection in nowhere"),
    "unknown argument": (["--data.colour", "red"], "colour"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_arguments(case: str, told: Told, arguments: list[str], tmp_path: Path) -> None:
    more, sentence = BAD_ARGUMENTS[case]
    assert sentence in told("fit", *arguments, *more, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists(), "the mended command finds its place"


def test_a_checkpoint_without_the_head_that_a_signal_needs(
    told: Told, selecting: list[str], model_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    bare = tmp_path / "bare"
    AutoModelForSequenceClassification.from_pretrained(model_folder).save_pretrained(bare)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(bare)
    sentence = told("fit", *selecting, "--model.checkpoint", bare, "--output", tmp_path / "run")
    assert "no trained masked-LM head" in sentence
    assert "scorer.checkpoint" in sentence
    assert "no trained head" in told("test", *selecting, "--output", tmp_path / "test")


def test_a_folder_that_is_no_run_is_left_alone(told: Told, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "it is no run" in told("fit", *arguments, "--overwrite", "--output", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_directory_in_use(told: Told, arguments: list[str], tmp_path: Path) -> None:
    from selectune.runs.directory import Run

    holder = Run(tmp_path / "run")
    holder.claim("select", {"a": 1}, None, overwrite=False)
    assert "in use by another process" in told("fit", *arguments, "--output", tmp_path / "run")


def test_another_config_is_refused_and_says_where_it_differs(told: Told, arguments: list[str], tmp_path: Path) -> None:
    from selectune.runs.directory import Run

    run = Run(tmp_path / "run")
    run.claim("fit", {"seed_everything": 0, "model": {"learning_rate": 3.0}}, None, overwrite=False)
    run.release()
    sentence = told("fit", *arguments, "--output", tmp_path / "run")
    assert "another config" in sentence
    assert "data" in sentence


def test_a_selection_for_another_pool(finished: Path, told: Told, selecting: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_split(other / "train.parquet", *sentences(300, seed=9))
    write_split(other / "test.parquet", *sentences(30, seed=8))
    plain = selecting[: selecting.index("--data.selector")]
    sentence = told("fit", *plain, "--data.dataset", other, "--data.selection", finished, "--output", tmp_path / "run")
    assert "made for another pool" in sentence
    assert "216 rows" in sentence
    assert "270 rows" in sentence


def test_a_validation_that_never_comes(here: Here, arguments: list[str], tmp_path: Path) -> None:
    error = here("fit", *arguments, "--trainer.val_check_interval", "1000", "--output", tmp_path / "run", code=2)
    assert "trainer.val_check_interval is 1000, but an epoch has" in error
    assert not (tmp_path / "run").exists()
