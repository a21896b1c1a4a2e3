"""Classification: pairs, numbers, several held-out splits, posts without headers, classes that a selection lost."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selectune import FineTuner, Random, TextClassification
from selectune.callbacks.export import export
from selectune.cli import main
from selectune.common.errors import BadRowsError, DataError
from selectune.datamodules.text_classification import strip_post
from tests.conftest import metrics_of, sentences
from tests.mistakes import mistake, warned


def write(folder: Path, **splits: dict[str, list]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in splits.items():
        pq.write_table(pa.table(content), folder / f"{name}.parquet")
    return folder


def split(n: int, seed: int, **more: list) -> dict[str, list]:
    texts, labels = sentences(n, seed)
    return {"text": texts, "label": labels, **more}


def trainer(**settings: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **settings,
    )  # fmt: skip


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
    assert data.rows_evaluated("test") == {role: len(data.splits[role]) for role in ("test", "test/mismatched")}
    assert data.rows_evaluated("validate") == {"val": len(data.splits["dev"])}

    alone = TextClassification(str(folder), test_split="mismatched", dev_split="matched", max_length=32)
    other = trainer()
    export(module, data, tmp_path / "export")
    other.test(FineTuner(str(tmp_path / "export")), alone, verbose=False)
    for name in ("accuracy", "macro_f1", "loss"):
        assert found[f"test/mismatched/{name}"] == pytest.approx(
            float(other.callback_metrics[f"test/{name}"]), abs=1e-6
        )
    assert {"test/accuracy", "test/majority_accuracy", "test/mismatched/majority_accuracy"} <= set(found)


@pytest.mark.parametrize("limit", [0.5, 1])
def test_rows_are_not_counted_where_batches_are_limited(limit: float) -> None:
    data = TextClassification("docstrings")
    data.trainer = trainer(limit_test_batches=limit, limit_val_batches=limit)
    assert data.rows_evaluated("test") == data.rows_evaluated("validate") == {}


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


# Texts.


@pytest.mark.parametrize(
    ("post", "left"),
    [
        ("From: me@there\nSubject: wheels\n\nround ones\n", "round ones"),
        ("From: me\nSubject: a\n folded line\nLines: 2\n\nArchive-name: b\n\nthe text", "the text"),
        ("Question: does it run?\n\nYes.", "Question: does it run?\n\nYes."),  # no header, as it names no known field
        ("a paragraph\n\nanother", "a paragraph\n\nanother"),
        ("before\n> quoted\n >> twice\nafter", "before\nafter"),
        ("In article <1@x> him@there (Him) writes:\n> why\n\nBecause.", "Because."),
        ("In article <1@x>,\nhim@there (Him) writes:\n> why\nBecause.", "Because."),
        ("so it is\n--\nMe, at home", "so it is"),
        ("so it is\n-- \nMe, at home\n--\nmore of me", "so it is"),
        ("one -- two\n---\nthree", "one -- two\n---\nthree"),
        ("From: me\nSubject: empty\n\n> quoted\n-- \nMe", ""),
        ("Subject: nothing else", ""),
        ("", ""),
    ],
)
def test_a_post_keeps_what_its_author_wrote(post: str, left: str) -> None:
    assert strip_post(post) == left
    assert strip_post(left) == left


def test_stripped_posts_are_what_is_scored_and_rows_left_empty_are_dropped(tmp_path: Path) -> None:
    train, test = split(60, 1), split(20, 2)
    plain = list(train["text"])
    train["text"] = [f"From: x\n\n{text}\n> quote\n--\nx" for text in plain]
    for row in (0, 7, 30):
        train["text"][row] = "From: x\n\n> quote only"
    folder = str(write(tmp_path / "d", train=train, test=test))
    data = TextClassification(folder, strip_headers=True)
    with warned(UserWarning, "'train'", 3, 60):
        data.load()
    assert len(data.pool) + len(data.splits["dev"]) == 57
    assert not {0, 7, 30} & set(data.pool.source_rows.tolist())
    assert [text for (text,) in data.pool.texts()] == [plain[row] for row in data.pool.source_rows]
    assert data.labels["train"].tolist() == [train["label"][row] for row in data.pool.source_rows]
    raw = TextClassification(folder)
    raw.load()
    assert raw.pool.fingerprint != data.pool.fingerprint


def test_rows_without_a_text_are_refused_or_dropped(tmp_path: Path) -> None:
    train, test = split(60, 1), split(20, 2)
    train["other"], test["other"] = train["text"][::-1], list(test["text"])
    train["text"][4], train["other"][9] = "  ", None
    folder = str(write(tmp_path / "d", train=train, test=test))
    with mistake(BadRowsError, "'train'", "'text'", 1, rows=[4]):
        TextClassification(folder, pair_column="other", strip_headers=True).load()
    data = TextClassification(folder, pair_column="other", drop_empty=True)
    with warned(UserWarning, 2, 60):
        data.load()
    assert not {4, 9} & set(data.pool.source_rows.tolist())
    assert [text for text, _ in data.pool.texts()] == [train["text"][row] for row in data.pool.source_rows]
    with mistake(DataError, "'nothing'", "text, label, other"):
        TextClassification(folder, text_column="nothing", drop_empty=True).load()
