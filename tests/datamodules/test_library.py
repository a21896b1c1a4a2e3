"""From rows in memory to signals and selected rows by one call, by the same stages as a fit's."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from selectune import DSIR, IGSE, Balanced, EntropyInterval, Ledger, Random, TextClassification, Texts, score, select
from selectune.common.errors import BudgetError, DataError, SelectionError, UserError
from selectune.lightning_modules.scorers.settings import Dynamics, ScorerSettings, Tune
from selectune.selectors import TopK
from tests.conftest import REPOSITORY, sentences
from tests.mistakes import mistake, warned

TEXTS, NUMBERS = sentences(60, seed=13)
FRAME = pd.DataFrame({"text": TEXTS, "label": [("poor", "good")[n] for n in NUMBERS]}, index=range(500, 560))
SETTINGS = ScorerSettings(max_batch_tokens=512)
HERE: dict[str, Any] = {"max_length": 32, "accelerator": "cpu", "scorer": SETTINGS}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / "cache"))


def test_ten_lines_in_a_notebook(model_folder: Path) -> None:
    ledger = Ledger()
    signals = score(FRAME, str(model_folder), ["generative_entropy", "embedding"], ledger=ledger, **HERE)
    kept = select(FRAME, selector=IGSE(), model=str(model_folder), keep=0.5, ledger=ledger, **HERE)
    assert signals["generative_entropy"].shape == (60,)
    assert signals["embedding"].shape == (60, 32)
    assert isinstance(kept.data, pd.DataFrame)
    assert kept.data.equals(FRAME.iloc[kept.rows])
    assert len(kept.rows) == 30
    assert kept.ledger is ledger
    assert {record.stage for record in ledger.records if not record.cached} >= {"score", "select"}
    assert sum(record.examples for record in ledger.records if record.stage == "score") == 60, "scored once"
    assert ledger.spent.flops == sum(record.flops or 0 for record in ledger.records if not record.cached)
    data = TextClassification(kept.data)
    data.load()
    assert len(data.pool) == 30 - 3 - 2


def test_every_form_of_the_rows_keeps_the_same_of_them_and_its_type(model_folder: Path, tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "rows.csv", index=False)
    whole = datasets.Dataset.from_pandas(FRAME, preserve_index=False)
    forms: dict[str, Any] = {
        "frame": FRAME,
        "data set": whole,
        "splits": datasets.DatasetDict({"train": whole, "test": whole.select([0, 1])}),
        "name": str(tmp_path / "rows.csv"),
        "texts": TEXTS,
        "tuple": tuple(TEXTS),
        "column": FRAME["text"],
        "array": np.array(TEXTS),
    }
    selector = EntropyInterval("information_entropy")
    kept = {name: select(form, selector, str(model_folder), keep_rows=20, **HERE) for name, form in forms.items()}
    for name, one in kept.items():
        np.testing.assert_array_equal(one.rows, kept["frame"].rows, err_msg=name)
        np.testing.assert_array_equal(one.scores, kept["frame"].scores, err_msg=name)
        assert type(one.data) is (datasets.Dataset if name == "name" else type(forms[name]))
    texts = [TEXTS[row] for row in kept["frame"].rows]
    assert list(kept["texts"].data) == list(kept["tuple"].data) == list(kept["array"].data) == texts
    assert kept["column"].data.equals(FRAME["text"].iloc[kept["frame"].rows])
    for name in ("data set", "name"):
        assert kept[name].data.column_names == ["text", "label"]
        assert kept[name].data["text"][:] == texts
    assert kept["splits"].data["train"]["text"][:] == texts
    assert kept["splits"].data["test"]["text"][:] == TEXTS[:2]


def test_a_selection_is_that_of_a_data_module_of_the_same_pool(model_folder: Path) -> None:
    splits = datasets.DatasetDict({
        name: datasets.Dataset.from_pandas(rows, preserve_index=False)
        for name, rows in (("train", FRAME), ("validation", FRAME[:9]), ("test", FRAME[:7]))
    })  # fmt: skip
    data = TextClassification(splits, max_length=32, selector=IGSE(), keep=0.5, seed=3)
    data.load()
    request = data.request(SETTINGS)
    assert request is not None
    kept = select(splits, IGSE(), str(model_folder), keep=0.5, seed=3, **HERE)
    assert kept.manifest.pool_fingerprint == data.pool.fingerprint
    assert kept.manifest.differs_from(request.described) == ""


def test_selectors_that_need_labels_targets_and_trainings(model_folder: Path) -> None:
    balanced = select(FRAME, Balanced(), str(model_folder), keep_rows=20, **HERE)
    assert balanced.data["label"].value_counts().tolist() == [10, 10]
    near = select(FRAME, DSIR(), str(model_folder), keep=0.2, target=Texts(FRAME[:5]), **HERE)
    assert near.manifest.target is not None
    assert near.manifest.target["source"] == "memory:DataFrame (5 rows)"
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": TEXTS})})
    splits["validation"] = splits["train"].select(range(4))
    select(splits, DSIR(), str(model_folder), keep=0.2, **HERE)
    tuned = HERE | {"scorer": ScorerSettings(max_batch_tokens=512, tune=Tune(max_epochs=1))}
    assert score(FRAME, str(model_folder), "margin", **tuned)["margin"].shape == (60,)
    trained = HERE | {"scorer": ScorerSettings(max_batch_tokens=512, dynamics=Dynamics(epochs=1))}
    assert len(select(FRAME, TopK("el2n"), str(model_folder), keep_rows=7, **trained).rows) == 7


def test_a_label_can_be_left_out_of_sight(model_folder: Path) -> None:
    kept = select(FRAME, Random(), str(model_folder), keep_rows=7, label_column=None, **HERE)
    assert len(kept.data) == 7
    with mistake(SelectionError, "label_loss"):
        score(FRAME, str(model_folder), "label_loss", label_column=None, **HERE)


def test_other_splits_are_not_read(model_folder: Path) -> None:
    whole = datasets.Dataset.from_pandas(FRAME, preserve_index=False)
    hidden = datasets.Dataset.from_dict({"text": TEXTS[:5], "label": [-1] * 5})
    other = datasets.Dataset.from_dict({"text": TEXTS[:3], "label": ["good", "poor", "odd"]})
    selector = EntropyInterval("information_entropy")
    expected = select(FRAME, selector, str(model_folder), keep_rows=20, **HERE)
    for name, test in (("hidden labels", hidden), ("a new class", other), ("no columns", whole.select_columns([]))):
        splits = datasets.DatasetDict({"train": whole, "test": test})
        kept = select(splits, selector, str(model_folder), keep_rows=20, **HERE)
        assert kept.rows.tolist() == expected.rows.tolist(), name
        assert kept.manifest.pool_fingerprint == expected.manifest.pool_fingerprint, name
        assert kept.data["test"] is test
    for splits in (
        datasets.DatasetDict({"pool": whole, "validation": whole.select(range(9))}),
        datasets.DatasetDict({"validation": whole.select(range(9)), "test": hidden, "pool": whole}),
    ):
        kept = select(splits, DSIR(), str(model_folder), keep_rows=20, **HERE)
        assert kept.data["pool"]["text"][:] == [TEXTS[row] for row in kept.rows]
        assert len(kept.data["validation"]) == 9
        assert kept.manifest.source == "memory:DatasetDict (60 rows)"
        assert score(splits, str(model_folder), "information_entropy", **HERE)["information_entropy"].shape == (60,)


@pytest.mark.parametrize("labels", [["good"] * 60, [i / 7 for i in range(60)], [None, *["good", "poor"] * 29, "good"]])
def test_labels_that_are_no_classes_stand_in_nobodys_way(labels: list[Any], model_folder: Path) -> None:
    frame = FRAME.assign(label=labels)
    with warned(UserWarning, "labels"):
        signals = score(frame, str(model_folder), "information_entropy", **HERE)
    assert signals["information_entropy"].shape == (60,)
    with warned(UserWarning, "labels"):
        kept = select(frame, IGSE(), str(model_folder), keep_rows=20, **HERE)
    assert kept.data.equals(frame.iloc[kept.rows])
    with warned(UserWarning, "labels"), mistake(SelectionError, "label_loss"):
        score(frame, str(model_folder), "label_loss", **HERE)
    with warned(UserWarning, "labels"), mistake(DataError, "Balanced"):
        select(frame, Balanced(), str(model_folder), keep_rows=20, **HERE)


def test_mistakes_are_one_sentence(model_folder: Path, tmp_path: Path) -> None:
    model = str(model_folder)
    with mistake(UserError, "generative_entropy", option="signals"):
        score(FRAME, model, [], **HERE)
    with mistake(UserError, "'colour'"):
        score(FRAME, model, "colour", **HERE)
    with mistake(BudgetError, "data.keep"):
        select(FRAME, IGSE(), model, **HERE)
    with mistake(BudgetError, 61, 60):
        select(FRAME, IGSE(), model, keep_rows=61, **HERE)
    with mistake(DataError, "'text'"):
        score(FRAME.rename(columns={"text": "body"}), model, "loss", **HERE)
    with mistake(DataError, "'dev'", "validation"):
        select(FRAME, DSIR(), model, keep=0.5, **HERE)
    with mistake(DataError, "label_column"):
        score(FRAME, model, "loss", pair_column="label", label_column="klass", **HERE)
    with mistake(DataError, "'text'", "int"):
        score([1, 2, 3], model, "loss", **HERE)
    with mistake(DataError, "int", "DataFrame"):
        score(3, model, "loss", **HERE)


def test_the_notebook_runs_and_holds_no_outputs(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((REPOSITORY / "docs" / "notebooks" / "first_selection.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    source = "\n".join("".join(cell["source"]) for cell in cells)
    assert source.count('"docstrings-bert"') == 1
    names: dict[str, Any] = {}
    exec(compile(source.replace('"docstrings-bert"', repr(str(model_folder))), "notebook", "exec"), names)
    assert len(names["kept"].data) == (len(names["frame"]) + 1) // 2
    statements = [node for node in ast.parse(source).body if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert len(statements) <= 10
