"""Rows and models go to a stand-in for the hub with a card that the hub can read, and others can open them there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, constants
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from selectune import TextClassification
from selectune.common.training_outcome import TrainingOutcome
from selectune.sharing.cards import model_card, on_hub
from selectune.sharing.push import model_files
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
    found(copy_of_finished, model="hub:someone/tiny@0123456789ab")
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


def found(run: Path, **places: str) -> None:
    """Let a run say that its model or its rows were found elsewhere."""
    outcome = TrainingOutcome.read(run)
    assert outcome is not None
    replace(outcome, **places).write(run)


def bytes_of(files: dict[str, Path | bytes]) -> dict[str, bytes]:
    return {name: content if isinstance(content, bytes) else content.read_bytes() for name, content in files.items()}


def test_an_adapter_names_its_model_as_others_find_it(here: Here, arguments: list[str], tmp_path: Path) -> None:
    here("fit", *arguments, "--model.lora.r", "4", "--trainer.max_steps", "1", "--output", "run")
    noted = json.loads((tmp_path / "run" / "export" / "adapter_config.json").read_text())
    model = Path(noted["base_model_name_or_path"])
    assert model.is_absolute()
    outcome = TrainingOutcome.read(tmp_path / "run")
    assert outcome is not None
    assert (outcome.model, outcome.data) == ("local:tiny", "local:reviews (240 rows)")
    files = bytes_of(model_files(tmp_path / "run"))
    for name, content in files.items():
        assert not [place for place in (model, model.parent, tmp_path) if str(place).encode() in content], name
    assert json.loads(files["adapter_config.json"]) == noted | {"base_model_name_or_path": "tiny"}
    card = ModelCard(files["README.md"].decode())
    assert card.data.library_name == "peft"
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.base_model is None
    assert card.data.datasets is None
    assert "pipeline(" not in card.text

    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    config["model"]["checkpoint"], config["data"]["init_args"]["dataset"] = "someone/tiny@v1", "someone/rows"
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    found(tmp_path / "run", model="hub:someone/tiny@0123456789ab", data="hub:someone/rows (240 rows)")
    files = bytes_of(model_files(tmp_path / "run"))
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "someone/tiny"
    card = ModelCard(files["README.md"].decode())
    assert (card.data.base_model, card.data.datasets) == ("someone/tiny", ["someone/rows"])

    (tmp_path / "run" / "warm_up").mkdir()
    outcome.write(tmp_path / "run" / "warm_up")
    warmed = json.loads(bytes_of(model_files(tmp_path / "run"))["adapter_config.json"])
    assert warmed["base_model_name_or_path"] == "run/warm_up/export", "no adapter of the weights before the warm-up"


def test_a_name_is_the_hubs_where_the_run_found_it_there(
    copy_of_finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yaml.safe_load((copy_of_finished / "config.yaml").read_text())
    config["model"]["checkpoint"], config["data"]["init_args"]["dataset"] = "someone/tiny", "reviews"
    (copy_of_finished / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)  # where neither lies, as where the run was made
    card = ModelCard(model_card(copy_of_finished))
    assert card.data.base_model is None
    assert card.data.datasets is None
    manifest = copy_of_finished / "selection" / "manifest.json"
    manifest.write_text(json.dumps(manifest_of(copy_of_finished) | {"source": "hub:reviews (240 rows)"}))
    found(copy_of_finished, model="hub:someone/tiny@0123456789ab")
    for name in ("reviews", "someone/tiny"):
        (tmp_path / name).mkdir(parents=True)  # put there after the run
    card = ModelCard(model_card(copy_of_finished))
    assert (card.data.base_model, card.data.datasets) == ("someone/tiny", ["reviews"])


def test_a_damaged_config_is_told(copy_of_finished: Path, here: Here) -> None:
    file = copy_of_finished / "config.yaml"
    good = yaml.safe_load(file.read_text())
    for change in ({"data": None}, {"data": "x"}, {"model": None}, {"model": "x"}, {"data": {"init_args": "x"}}):
        file.write_text(yaml.safe_dump(good | change))
        told = here("push", copy_of_finished, "--to", "me/model", "--what", "model", code=2)
        assert names(told, file, "damaged")
    file.write_text(yaml.safe_dump(good | {"warm_up": "x"}))
    assert names(here("export_selection", copy_of_finished, "--to", "ids", "--output", "o", code=2), file, "warm_up")


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


def test_names_of_the_hub_are_told_from_what_was_found_here() -> None:
    assert on_hub("org/name@v1", "hub:org/name@0123456789ab") == "org/name@v1"
    assert on_hub("org/name", "hub:org/name/config (3 rows)") == "org/name"
    assert on_hub("name", "hub:name (3 rows)") == "name"
    for name, place in (
        ("name", "local:name (3 rows)"),
        ("name", "hub:names (3 rows)"),
        ("docstrings", "embedded:docstrings (3 rows)"),
        ("rows.csv", "file:rows.csv (3 rows)"),
        ("name", ""),
        (["name"], "hub:name (3 rows)"),
        (None, "hub:name"),
    ):
        assert on_hub(name, place) is None


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
