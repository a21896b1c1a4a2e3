"""Classification: pairs, numbers, several held-out splits, posts without headers, classes that a selection lost."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune import FineTuner, Random, TextClassification
from selectune.callbacks.export import export
from selectune.cli import main
from selectune.common.errors import DataError
from selectune.common.training_outcome import TrainingOutcome
from tests.conftest import Here, metrics_of
from tests.datamodules.made_up import split, trainer, write
from tests.mistakes import mistake, names, warned

# Metrics and the one that is watched.


def test_the_first_metric_selects_the_checkpoint() -> None:
    assert TextClassification("x").monitor == ("val/accuracy", "max")
    assert TextClassification("x").metrics == ["accuracy", "macro_f1"]
    assert TextClassification("x", metrics=["matthews", "accuracy"]).monitor == ("val/matthews", "max")
    assert TextClassification("x", regression=True).monitor == ("val/pearson", "max")
    assert TextClassification("x", regression=True, metrics=["spearman"]).monitor == ("val/spearman", "max")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"metrics": ["f2"]}, ["data.metrics", "'f2'", "accuracy, macro_f1, micro_f1, matthews"]),
        ({"metrics": ["pearson"]}, ["data.metrics", "'pearson'"]),
        ({"metrics": ["accuracy"], "regression": True}, ["data.metrics", "'accuracy'", "pearson, spearman"]),
        ({"metrics": []}, ["data.metrics"]),
        ({"metrics": ["accuracy", "accuracy"]}, ["data.metrics"]),
        ({"class_weights": "balanced", "regression": True}, ["data.class_weights", "data.regression"]),
        ({"prior": "train", "regression": True}, ["data.prior", "data.regression"]),
        ({"prior": "even"}, ["data.prior", "'even'", "balanced, train"]),
    ],
)
def test_wrong_arguments_are_refused_before_any_data_is_read(arguments: dict[str, Any], named: list[str]) -> None:
    with mistake(DataError, *named):
        TextClassification("x", **arguments)


def test_the_checkpoint_follows_the_monitor(
    data_folder: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[tuple[str, str]] = []
    from selectune.callbacks import checkpoints

    real = checkpoints.fit_callbacks
    monkeypatch.setattr(checkpoints, "fit_callbacks", lambda *args: watched.append(args[2:]) or real(*args))
    monkeypatch.setattr("sys.argv", ["main.py"])
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    main(
        ["fit", "--data", "TextClassification", "--data.dataset", str(data_folder), "--data.metrics", "[matthews]",
         "--data.max_length", "32", "--model.checkpoint", str(model_folder), "--trainer.max_epochs", "1",
         "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--output", str(tmp_path / "run")]
    )  # fmt: skip
    assert watched == [("val/matthews", "max")]
    found = metrics_of(tmp_path / "run")
    assert {"val/matthews", "test/matthews"} <= set(found)
    assert "test/accuracy" not in found
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()
    assert "Matthews correlation" in (tmp_path / "run" / "report.html").read_text()


# Labels.


def test_labels_of_numbers(tmp_path: Path) -> None:
    train = split(100, 1) | {"label": [i / 20 for i in range(100)]}
    test = split(20, 2) | {"label": [float(i) for i in range(20)]}
    data = TextClassification(str(write(tmp_path / "d", train=train, test=test)), regression=True, max_train_rows=50)
    data.load()
    assert data.labels["test"].dtype == np.float32
    np.testing.assert_array_equal(data.labels["test"], np.arange(20, dtype=np.float32))
    np.testing.assert_allclose(data.labels["train"], data.pool.source_rows / 20, rtol=1e-6)
    assert (len(data.pool), data.num_labels, data.references()) == (50, 1, {})
    assert data.extras("train", np.array([3]))["labels"].shape == (1,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.warn_of_lost_classes(np.array([0]))  # numbers are no classes


@pytest.mark.parametrize(
    ("labels", "named", "fields"),
    [
        ([0.5, float("nan"), 1.0, 2.0], [1], {"rows": [1]}),
        ([0.5, None, 1.0, 2.0], [1], {"rows": [1]}),
        (["a", "b", "c", "d"], ["'b'", "data.regression"], {}),
        ([-1.0, -1.0, -1.0, -1.0], [-1], {"option": "data.test_split"}),
    ],
)
def test_labels_that_are_no_numbers_are_refused(
    labels: list, named: list[object], fields: dict[str, Any], tmp_path: Path
) -> None:
    texts = ["one", "two", "three", "four"]
    train = split(40, 1) | {"label": ["b" if labels[0] == "a" else 1.5] * 40}
    folder = write(tmp_path / "d", train=train, test={"text": texts, "label": labels})
    with mistake(DataError, *named, **fields):
        TextClassification(str(folder), regression=True).load()


def test_names_of_classes_come_from_the_column_beside_the_numbers(tmp_path: Path) -> None:
    names = ["zero", "one"]
    train, test = split(60, 1), split(20, 2)
    train["label_text"] = [names[label] for label in train["label"]]
    data = TextClassification(str(write(tmp_path / "named", train=train, test=test)))
    data.load()
    assert data.label_names == ["zero", "one"]
    train["label_text"][0] = "neither"
    data = TextClassification(str(write(tmp_path / "unclear", train=train, test=test)))
    data.load()
    assert data.label_names == ["0", "1"]


def test_a_class_that_the_selection_lost_is_named(tmp_path: Path, model_folder: Path) -> None:
    train, test = split(60, 1), split(20, 2)
    train["label"] = ["rare" if i < 3 else "common" for i in range(60)]
    test["label"] = ["common"] * 20
    data = TextClassification(
        str(write(tmp_path / "d", train=train, test=test)), max_length=32, selector=Random(), keep_rows=1, batch_size=8
    )
    with warned(UserWarning, "rare"):
        trainer().fit(FineTuner(str(model_folder)), data)


def test_weights_of_classes(tmp_path: Path) -> None:
    train, test = split(40, 1) | {"label": [0] * 30 + [1] * 10}, split(20, 2)
    folder = str(write(tmp_path / "d", train=train, test=test))
    data = TextClassification(folder, class_weights="balanced")
    data.load()
    assert data.weights == pytest.approx([40 / (2 * 30), 40 / (2 * 10)])
    data = TextClassification(folder, class_weights=[1.0, 2.0])
    data.load()
    assert data.head().weights.tolist() == [1.0, 2.0]  # type: ignore[union-attr]
    for wrong in ([1.0], [1.0, 0.0], [1.0, float("nan")]):
        with mistake(DataError, "data.class_weights", wrong, 2, "0, 1"):
            TextClassification(folder, class_weights=wrong).load()
    named = write(
        tmp_path / "named", train=train | {"label": ["no"] * 30 + ["yes"] * 10}, test=test | {"label": ["no"] * 20}
    )
    data = TextClassification(str(named), class_weights={"yes": 3.0})
    data.load()
    assert data.weights == [1.0, 3.0], "by name; a class that is left out weighs 1"
    with mistake(DataError, "data.class_weights", "maybe", "no, yes"):
        TextClassification(str(named), class_weights={"maybe": 2.0}).load()
    with mistake(DataError, "data.class_weights", "0.0", 2):
        TextClassification(str(named), class_weights={"yes": 0.0}).load()


# Pairs, and several held-out splits.


def test_pairs_are_read_as_the_tokenizer_joins_them(tmp_path: Path, model_folder: Path) -> None:
    from transformers import AutoTokenizer

    train, test = split(60, 1), split(20, 2)
    for part in (train, test):
        part["other"] = part["text"][::-1]
    data = TextClassification(str(write(tmp_path / "d", train=train, test=test)), pair_column="other", max_length=24)
    data.load()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokens = data.tokenized("test", tokenizer)
    for row in range(20):
        expected = tokenizer(test["text"][row], test["other"][row], truncation=True, max_length=24)
        found = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]]
        assert found.tolist() == expected["input_ids"]


def several(folder: Path, **more: Any) -> tuple[Path, dict[str, dict[str, list]]]:
    splits = {"train": split(80, 1), "matched": split(24, 2), "mismatched": split(36, 3)} | more
    return write(folder, **splits), splits


def test_further_splits_are_evaluated_and_never_selected_from(tmp_path: Path, model_folder: Path) -> None:
    folder, splits = several(tmp_path / "d")
    splits["mismatched"]["label"] = [1 - label for label in splits["mismatched"]["label"]]
    write(folder, **splits)
    data = TextClassification(
        str(folder), test_split="matched", more_test_splits=["mismatched"], max_length=32, max_batch_tokens=256
    )
    module, run = FineTuner(str(model_folder), learning_rate=3e-3), trainer()
    run.fit(module, data)
    run.test(module, data, verbose=False)
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    assert data.pool.source_rows.max() < 80
    assert {len(data.splits[role]) for role in ("test", "test/mismatched")} == {24, 36}
    assert module.evaluated == {"val": len(data.splits["dev"]), "test": 24, "test/mismatched": 36}

    alone = TextClassification(str(folder), test_split="mismatched", dev_split="matched", max_length=32)
    other = trainer()
    export(module, data, tmp_path / "export")
    other.test(FineTuner(str(tmp_path / "export")), alone, verbose=False)
    for name in ("accuracy", "macro_f1", "loss"):
        assert found[f"test/mismatched/{name}"] == pytest.approx(
            float(other.callback_metrics[f"test/{name}"]), abs=1e-6
        )
    assert {"test/accuracy", "test/majority_accuracy", "test/mismatched/majority_accuracy"} <= set(found)


def test_rows_are_counted_as_they_are_evaluated(data_folder: Path, model_folder: Path) -> None:
    data = TextClassification(str(data_folder), max_length=32, max_batch_tokens=256)
    module, run = FineTuner(str(model_folder)), trainer(limit_test_batches=2)
    run.test(module, data, verbose=False)
    batches = [len(batch["rows"]) for batch in data.test_dataloader()]
    assert module.evaluated == {"test": sum(batches[:2])}
    trainer().validate(module, data, verbose=False)
    assert module.evaluated == {"test": sum(batches[:2]), "val": len(data.splits["dev"])}


def test_a_further_split_serves_as_nothing_else(tmp_path: Path) -> None:
    folder, _ = several(tmp_path / "d", validation=split(30, 4), test=split(30, 5))
    data = TextClassification(str(folder), more_test_splits=["validation"], max_eval_rows=10)
    data.load()  # so dev is split off train
    assert {role: len(part) for role, part in data.splits.items()} == {
        "train": 72, "dev": 8, "test": 10, "test/validation": 10,
    }  # fmt: skip
    for arguments, named in (
        ({"more_test_splits": ["none"]}, ["'none'", "matched, mismatched, test, train, validation"]),
        ({"more_test_splits": ["validation"], "dev_split": "validation"}, ["'validation'"]),
        ({"more_test_splits": ["train"]}, ["'train'"]),
        ({"more_test_splits": ["matched", "matched"]}, ["'matched'"]),
    ):
        with mistake(DataError, *named, option="data.more_test_splits"):
            TextClassification(str(folder), **arguments).load()  # type: ignore[arg-type]


def test_a_checkpoint_that_the_held_out_rows_chose_is_told(
    here: Here, small_task: tuple[str, ...], tmp_path: Path
) -> None:
    here("fit", *small_task, "--data.choose_on_test", "true", "--data.max_eval_rows", "40", "--output", "run")
    outcome = TrainingOutcome.read(tmp_path / "run")
    assert outcome is not None
    assert [problem.kind for problem in outcome.problems if problem.kind == "chosen_on_test"]
    assert not [problem for problem in outcome.problems if problem.kind == "not_finite"]
    metrics = metrics_of(tmp_path / "run")
    best = max(value for name, value in all_of(tmp_path / "run", "val/accuracy"))
    assert metrics["test/accuracy"] == pytest.approx(best), "the best epoch of the very rows that are reported"
    refused = here("fit", *small_task, "--data.choose_on_test", "true", "--data.dev_split", "test", "--output", "other",
                   code=2)  # fmt: skip
    assert names(refused, "data.choose_on_test", "data.dev_split")


def all_of(run: Path, name: str) -> list[tuple[str, float]]:
    """All values of a metric in a run."""
    with (run / "metrics.csv").open(newline="") as file:
        return [(name, float(row[name])) for row in csv.DictReader(file) if row.get(name)]
