"""The verb ``fetch``: what configs need, from a stand-in for the hub and from folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset

from selectune.data import hub as of_hub
from selectune.data.needs import Need, needs_of
from selectune.data.sources import DataSource, find_data
from tests.conftest import Here
from tests.hub import serving
from tests.mistakes import names

MAIN = Path(__file__).resolve().parents[2] / "main.py"
Fetch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub(data_folder: Path, model_folder: Path, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub with a data set and a model, and the requests that it gets."""
    for kind, name, source, licence in (
        ("datasets", "someone/reviews", data_folder, "mit"),
        ("models", "someone/tiny", model_folder, "apache-2.0"),
    ):
        folder = tmp_path / "hub" / kind / name
        shutil.copytree(source, folder)
        (folder / "card.json").write_text(json.dumps({"license": licence}))
    with serving(tmp_path / "hub") as (address, asked):
        yield address, asked


@pytest.fixture
def fetch(hub: tuple[str, list[str]], tmp_path: Path) -> Fetch:
    """Runs the verb in a process of its own, which asks that hub and has an empty home."""

    def run(*words: Any, **environment: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"HF_ENDPOINT": hub[0], "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        for name in ("HF_HUB_OFFLINE", "SELECTUNE_DATA", "SELECTUNE_MODELS"):
            env.pop(name, None)
        command = [sys.executable, str(MAIN), "fetch", *map(str, words)]
        return subprocess.run(command, env=env | environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config that names both."""
    file = tmp_path / "reviews.yaml"
    data = {"class_path": "TextClassification", "init_args": {"dataset": "someone/reviews", "max_length": 32}}
    file.write_text(yaml.safe_dump({"data": data, "model": {"checkpoint": "someone/tiny"}}))
    return file


@pytest.mark.slow  # five processes that import afresh
def test_what_is_missing_is_listed_downloaded_and_copied_for_a_machine_without_a_network(
    fetch: Fetch, config: Path, hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    listed = fetch("--config", config, "--list")
    assert listed.returncode == 1
    assert names(listed.stdout, "someone/reviews", "licence mit", "someone/tiny", "apache-2.0", "2 of 2 are missing")
    assert not any("resolve" in one for one in hub[1]), "nothing was downloaded"

    fetched = fetch("--config", config)
    assert fetched.returncode == 0, fetched.stderr
    assert names(fetched.stdout, "hub:someone/reviews (240 rows)", "All 2 are on this machine")
    again = fetch("--config", config, "--list").stdout
    assert names(again, "hub:someone/reviews (240 rows), 0.0 MB, licence mit", "hub:someone/tiny", "licence apache-2.0")

    hub[1].clear()
    copied = fetch("--config", config, "--copy_to", "there", HF_HUB_OFFLINE="1")
    assert copied.returncode == 0, copied.stderr
    assert hub[1] == [], "what is here is not asked for again"
    there = tmp_path / "there"
    assert names(copied.stdout, f"SELECTUNE_DATA={there / 'data'}", f"SELECTUNE_MODELS={there / 'models'}")
    roots = {"SELECTUNE_DATA": str(there / "data"), "SELECTUNE_MODELS": str(there / "models")}
    nowhere = {"HF_HOME": str(tmp_path / "empty"), "HF_HUB_OFFLINE": "1"}
    checked = fetch("--config", config, "--list", **roots, **nowhere)
    assert checked.returncode == 0
    assert names(checked.stdout, "local:someone/reviews (240 rows)", "local:someone/tiny")

    weights = there / "models" / "someone" / "tiny" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    damaged = fetch("--config", config, "--list", **roots, **nowhere)
    assert damaged.returncode == 2
    assert names(damaged.stderr, "model.safetensors", "damaged")


@pytest.mark.slow  # three of them
def test_what_the_hub_lacks_is_told_in_a_sentence(fetch: Fetch, config: Path) -> None:
    config.write_text(config.read_text().replace("someone/tiny", "someone/else"))
    listed = fetch("--config", config, "--list")
    assert listed.returncode == 1
    assert names(listed.stdout, "someone/else", "the hub says nothing of it")
    ended = fetch("--config", config)
    assert ended.returncode == 2
    assert names(ended.stderr, "someone/else", "SELECTUNE_MODELS")
    assert "Traceback" not in ended.stderr
    offline = fetch("--config", config, "--list", HF_HUB_OFFLINE="1")
    assert offline.returncode == 1
    assert names(offline.stdout, "someone/else", "HF_HUB_OFFLINE is set")


def test_a_config_names_pools_targets_evaluations_and_scorers() -> None:
    pool = [{"dataset": "a/wiki", "config_name": "en"}, {"dataset": "a/arxiv", "text_column": "abstract",
            "local_name": "cs", "local_text_column": "text"}]  # fmt: skip
    config = {
        "data": {"init_args": {"dataset": "a/task", "revision": "v1", "root": "there", "trusted": "validation"}},
        "warm_up": {"data": {"init_args": {"dataset": pool, "target": {"dataset": "a/goal"}}}},
        "model": {"checkpoint": "m/learner"}, "scorer": {"checkpoint": None},
        "evaluations": [
            {"init_args": {"dataset": "a/prompts", "scorer": "m/toxic"}},
            {"init_args": {"dataset": "a/prompts", "scorer": "alt-profanity-check"}},  # a package
        ],
    }  # fmt: skip
    assert needs_of([config, config]) == [
        Need("data", "a/task", revision="v1", root="there"),
        Need("data", "a/wiki", "en"),
        Need("data", "a/arxiv", local_name="cs", column=("abstract", "text")),
        Need("data", "a/goal"),
        Need("model", "m/learner"),
        Need("data", "a/prompts", root="there"),
        Need("model", "m/toxic"),
    ]


def test_a_pool_that_an_evaluation_scores_too_is_one_need() -> None:
    named = {"dataset": "a/web", "config_name": "en", "local_name": "pool", "revision": "v2"}
    columns = {"text_column": "content", "local_text_column": "text"}
    data = {"dataset": [named | columns | {"held_out": 0.01}], "root": "there", "target": named | columns}
    evaluations: list[dict[str, Any]] = [{"init_args": named | columns | {"held_out": 0.01}}]
    pool = Need("data", "a/web", "en", "v2", "pool", "there", ("content", "text"))
    config = {"data": {"init_args": data}, "evaluations": evaluations}
    assert needs_of([config]) == [pool]
    evaluations[0]["init_args"]["root"] = "elsewhere"
    assert needs_of([config]) == [pool, replace(pool, root="elsewhere")]


def test_a_copy_has_the_name_and_the_column_that_a_root_is_looked_into_for(data_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(data_folder, tmp_path / "root" / "reviews")
    need = Need("data", "reviews", local_name=None, root=str(tmp_path / "root"), column=("text", "content"))
    place = of_hub.copy_of(need, tmp_path / "out")
    assert place == tmp_path / "out" / "data" / "reviews"
    rows = find_data("reviews", root=tmp_path / "out" / "data").splits
    assert {name: len(split) for name, split in rows.items()} == {"train": 240, "test": 60}
    assert "content" in rows["train"].column_names
    before = sorted(file.stat().st_mtime_ns for file in place.iterdir())
    of_hub.copy_of(need, tmp_path / "out")
    assert sorted(file.stat().st_mtime_ns for file in place.iterdir()) == before, "what is there stays"


def test_a_copy_is_made_of_what_lies_under_another_name_too(data_folder: Path, tmp_path: Path) -> None:
    for language in ("en", "de"):
        shutil.copytree(data_folder, tmp_path / "root" / "pool" / language)
    (tmp_path / "root" / "pool" / "de" / "test.parquet").unlink()
    needs = [
        Need("data", "someone/hub", language, None, "pool", str(tmp_path / "root"), ("label", "text"))
        for language in ("en", "de")
    ]
    places = [of_hub.copy_of(need, tmp_path / "out") for need in needs]
    assert places == [tmp_path / "out" / "data" / "pool" / language for language in ("en", "de")]
    english, german = (find_data("someone/hub", one, tmp_path / "out" / "data", "pool").splits for one in ("en", "de"))
    assert ("test" in english, "test" in german) == (True, False)
    assert isinstance(english["train"]["text"][0], str), "a copy of a copy keeps its columns"


def test_the_text_column_is_the_one_that_is_named_where_both_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Dataset.from_dict({"abstract": ["an abstract"], "text": ["a whole paper"]})
    monkeypatch.setattr(of_hub, "find_data", lambda *_: DataSource({"train": rows}, "hub:someone/papers (1 rows)"))
    of_hub.copy_of(Need("data", "someone/papers", local_name="cs", column=("abstract", "text")), tmp_path)
    copied = find_data("someone/papers", None, tmp_path / "data", "cs").splits["train"]
    assert copied[:] == {"text": ["an abstract"]}


def test_a_table_needs_what_its_cells_need_and_takes_nothing_beside(here: Here, data_folder: Path, model_folder: Path,
                                                                     tmp_path: Path) -> None:  # fmt: skip
    data = {"class_path": "TextClassification", "init_args": {"dataset": str(data_folder)}}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump({"data": data, "model": {"checkpoint": str(model_folder)}}))
    table = {
        "seeds": [0, 1],
        "tasks": {"reviews": {"config": "task.yaml", "metric": "accuracy", "budgets": [0.5]}},
        "methods": {"random": {"set": {"data.selector": {"class_path": "Random"}}}},
    }
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table))
    printed = here("fetch", "--config", "table.yaml")
    assert printed.count("data ") == printed.count("model ") == 1
    assert names(printed, "All 2 are on this machine")
    assert names(here("fetch", "--config", "table.yaml", "--config", "task.yaml", code=2), "table.yaml", "beside")
    assert names(here("fetch", "--config", "table.yaml", "--data.keep", "0.5", code=2), "table.yaml", "--protocol")


def test_a_table_needs_what_it_needs_under_its_protocol(
    here: Here, data_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_folder, tmp_path / "theirs")
    data = {"class_path": "TextClassification", "init_args": {"dataset": str(data_folder)}}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump({"data": data, "model": {"checkpoint": str(model_folder)}}))
    changes = [{"set": {"model.checkpoint": "./theirs"}}]
    table = {
        "seeds": [0],
        "tasks": {"reviews": {"config": "task.yaml", "metric": "accuracy"}},
        "methods": {"full": {"budgets": "none"}},
        "protocols": {"published": {"says": "As they did.", "changes": changes}},
    }
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table))
    assert "theirs" not in here("fetch", "--config", "table.yaml")
    assert "model ./theirs: local:theirs" in here("fetch", "--config", "table.yaml", "--protocol", "published")
    assert names(here("fetch", "--config", "table.yaml", "--protocol", "none", code=2), "none", "published")
    assert names(here("fetch", "--config", "task.yaml", "--protocol", "published", code=2), "--protocol")


def test_what_a_table_makes_itself_is_listed_and_what_a_command_makes_is_missing_until_it_did(
    here: Here, data_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    data = {"class_path": "TextClassification", "init_args": {"dataset": "runs/made/rows"}}
    config = {"data": data, "model": {"checkpoint": str(model_folder)}}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(config))
    first = {"class_path": "LanguageModeling", "init_args": {"dataset": str(data_folder)}}
    table = {
        "seeds": [0],
        "prepare": {"set": {"data": first, "model": {"checkpoint": str(model_folder)}}},
        "made_by": {"runs/made": "make rows"},
        "tasks": {"reviews": {"config": "task.yaml", "metric": "accuracy"}},
        "methods": {"full": {"budgets": "none"}},
    }
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table))
    listed = here("fetch", "--config", "table.yaml", "--list", code=1)
    assert names(listed, "prepare/export: made by the table", "runs/made/rows: missing, made by `make rows`")
    assert "downloads" not in listed, "nothing is to be had from the hub"
    assert names(here("fetch", "--config", "table.yaml", code=1), "still to be made")
    assert names(here("fetch", "--config", "task.yaml", code=1), "runs/made/rows: missing, and yours to make")
    shutil.copytree(data_folder, tmp_path / "runs" / "made" / "rows")
    assert names(here("fetch", "--config", "table.yaml"), "All 3 are on this machine", "local:rows")
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table | {"made_by": ["make rows"]}))
    assert names(here("fetch", "--config", "table.yaml", code=2), "made_by", "mapping")


def test_what_lies_here_has_its_size_and_the_licence_of_its_card(
    here: Here, data_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(data_folder, tmp_path / "rows"))
    model = Path(shutil.copytree(model_folder, tmp_path / "tiny"))
    (model / "README.md").write_text("---\nlicense: [mit, apache-2.0]\n---\n# A model\n")
    (model / "notes.bin").write_bytes(bytes(90_000_000))  # not of the files that are read
    config = {"class_path": "TextClassification", "init_args": {"dataset": str(data)}}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump({"data": config, "model": {"checkpoint": str(model)}}))
    listed = here("fetch", "--config", "task.yaml", "--list")
    size = sum(file.stat().st_size for file in data.iterdir()) / 1e6
    assert f"(240 rows), {size:.1f} MB, licence unknown" in listed
    read = of_hub.place_of(Need("model", str(model)), network=False)
    assert read.size == sum(file.stat().st_size for file in model.iterdir() if file.suffix not in (".bin", ".md"))
    assert f"{read.size / 1e6:.1f} MB, licence mit, apache-2.0" in listed


def test_a_card_lies_beside_the_configurations_of_a_data_set(data_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(data_folder, tmp_path / "root" / "pool" / "en")
    (tmp_path / "root" / "pool" / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    found = of_hub.place_of(Need("data", "someone/pool", "en", root=str(tmp_path / "root")), network=False)
    assert found.licence == "cc0-1.0"
    assert found.size == sum(file.stat().st_size for file in (tmp_path / "root" / "pool" / "en").iterdir())


def test_a_download_that_the_disk_has_no_room_for_is_refused(tmp_path: Path) -> None:
    of_hub.check_room(tmp_path / "not" / "there", 1000)
    with pytest.raises(Exception, match="make room"):
        of_hub.check_room(tmp_path, 10**18)
