"""Rows and models go to a stand-in for the hub with a card that the hub can read, and others can open them there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, constants
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from selectune import TextClassification
from selectune.sharing.cards import model_card, on_hub
from tests.conftest import Here, manifest_of, metrics_of
from tests.hub import serving
from tests.mistakes import names
from tests.sharing.uploads import TOKEN, UploadHub

MAIN = Path(__file__).resolve().parents[2] / "main.py"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str, list[str]]]:
    """The folder of a hub that takes uploads, its address, and the requests that it gets."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    root = tmp_path / "hub"
    root.mkdir()
    with serving(root, UploadHub) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield root, address, asked


def visibility(root: Path) -> str:
    """What was asked for when the repository was made; versions of the client spell it in two ways."""
    asked = json.loads((root / "created.json").read_text())
    return asked.get("visibility") or ("private" if asked["private"] else "public")


def test_the_rows_that_were_kept(finished: Path, here: Here, hub: tuple[Path, str, list[str]]) -> None:
    root, address, asked = hub
    told = here("push", finished, "--to", "me/kept", "--what", "selection")
    assert told.endswith(f"{address}/datasets/me/kept")
    assert visibility(root) == "private"
    folder = root / "datasets" / "me" / "kept"
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "train.parquet"]
    assert sum("commit" in one for one in asked) == 1, "all files or none"
    card, manifest = DatasetCard.load(folder / "README.md"), manifest_of(finished)
    assert card.data.to_dict()["task_categories"] == ["text-classification"]
    assert names(card.text, "54", "216", manifest["rows_hash"])
    data = TextClassification(str(folder))
    data.load()
    assert len(data.pool) == 54 - 5 - 4


def test_the_model_with_its_metrics_costs_and_rows(
    copy_of_finished: Path, here: Here, hub: tuple[Path, str, list[str]]
) -> None:
    root, address, _ = hub
    config = yaml.safe_load((copy_of_finished / "config.yaml").read_text())
    config["model"]["checkpoint"] = "someone/tiny@v1"
    (copy_of_finished / "config.yaml").write_text(yaml.safe_dump(config))
    told = here("push", copy_of_finished, "--to", "me/model", "--what", "model", "--public")
    assert told.endswith(f"{address}/me/model")
    assert visibility(root) == "public"
    folder = root / "models" / "me" / "model"
    AutoModelForSequenceClassification.from_pretrained(folder)
    AutoTokenizer.from_pretrained(folder)
    card, metrics = ModelCard.load(folder / "README.md"), metrics_of(copy_of_finished)
    assert card.data.base_model == "someone/tiny"
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.license is None, "is left to the user"
    results = {one.metric_name: one for one in card.data.eval_results or []}
    assert set(results) == {"accuracy", "macro_f1", "loss"}, "the largest class's accuracy is no result of the model"
    accuracy = results["accuracy"]
    assert accuracy.metric_value == pytest.approx(metrics["test/accuracy"])
    assert accuracy.dataset_name == "reviews"
    manifest = manifest_of(copy_of_finished)
    assert names(
        card.text, f"{metrics['test/accuracy']:.4f}", "IGSE", "| rows | 216 | 54 | 162 |", manifest["rows_hash"]
    )
    assert names(card.text, "Scoring the pool", "Training", "model.learning_rate")
    assert str(copy_of_finished.parent.parent) not in card.text, "no path of this machine"


def test_a_card_says_that_the_model_is_an_adapter(copy_of_finished: Path) -> None:
    export = copy_of_finished / "export"
    (export / "adapted").mkdir()
    (export / "config.json").rename(export / "adapted" / "config.json")
    (export / "adapter_config.json").write_text("{}")
    card = ModelCard(model_card(copy_of_finished))
    assert card.data.library_name == "peft"
    assert card.data.pipeline_tag == "text-classification"
    assert "pipeline(" not in card.text


def test_what_is_missing_or_refused_is_one_sentence(
    finished: Path, here: Here, hub: tuple[Path, str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = ["push", finished, "--what", "selection", "--to"]
    for name in ("kept", "a/b/c", "me/", "-/x", "me/ke pt"):
        assert names(here("push", finished, "--what", "selection", f"--to={name}", code=2), "--to", "USER/NAME")
    (tmp_path / "empty").mkdir()
    assert names(here("push", tmp_path / "empty", "--what", "model", "--to", "me/x", code=2), "export")
    assert names(here(*push, "locked/kept", code=2), "locked/kept", "403")
    with monkeypatch.context() as patch:
        patch.setenv("HF_TOKEN", "another")
        assert names(here(*push, "me/kept", code=2), "me/kept", "401")
        patch.delenv("HF_TOKEN")
        assert huggingface_hub.get_token() is None
        assert names(here(*push, "me/kept", code=2), "HF_TOKEN")
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert names(here(*push, "me/kept", code=2), "HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert names(here(*push, "me/kept", code=2), "me/kept", "network")
    assert not (hub[0] / "datasets").exists()


def test_names_of_the_hub_are_told_from_what_lies_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    for name in ("bert-base-uncased", "org/name", "org/name@v1"):
        assert on_hub(name) == name
    for other in (
        "here",
        "docstrings",
        "docstrings-bert",
        "rows.csv",
        "rows.txt.gz",
        "./x",
        "a/b/c",
        "/a",
        None,
        ["x"],
    ):
        assert on_hub(other) is None


@pytest.mark.slow  # a process that imports afresh
def test_pushed_rows_are_read_from_the_hub_at_their_revision(
    finished: Path, model_folder: Path, here: Here, hub: tuple[Path, str, list[str]], tmp_path: Path
) -> None:
    here("push", finished, "--to", "me/kept", "--what", "selection")
    hub[2].clear()
    words = [
        "select", "--data", "TextClassification", "--data.dataset", "me/kept", "--data.revision", "v1",
        "--data.selector", "Random", "--data.keep", "0.5", "--model.checkpoint", str(model_folder),
        "--trainer.accelerator", "cpu", "--output", "again",
    ]  # fmt: skip
    env = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_CACHE"):
        env.pop(name, None)
    done = subprocess.run([sys.executable, str(MAIN), *words], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = manifest_of(tmp_path / "again")
    assert manifest["source"] == "hub:me/kept (54 rows)"
    assert manifest["revision"] == "v1"
    assert any("/v1" in one for one in hub[2]), hub[2]
