"""Configs that come with selectune are found by their names from anywhere, in arguments and in tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from selectune.common.errors import UserError
from selectune.common.shipped import config_file, config_names, find_shipped, listed_configs, with_config_files
from selectune.tables.reading import read_table
from tests.conftest import REPOSITORY, Here
from tests.mistakes import mistake, names

SST2 = REPOSITORY / "configs" / "euds" / "sst2.yaml"


@pytest.mark.parametrize("folder", [REPOSITORY, None])
@pytest.mark.parametrize("name", ["euds/sst2", "euds/sst2.yaml", "configs/euds/sst2", "configs/euds/sst2.yaml"])
def test_a_name_is_found_inside_and_outside_of_a_checkout(
    name: str, folder: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder or tmp_path)
    assert config_file(name).samefile(SST2)


def test_a_file_that_is_there_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Path("configs/euds/sst2.yaml")
    mine.parent.mkdir(parents=True)
    mine.write_text("seed_everything: 1\n")
    assert config_file(str(mine)) == mine
    assert config_file("euds/sst2").samefile(SST2)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("euds/sst", "euds/sst2"), ("sst2", "glue/sst2"), ("euds/sst2.yml", "euds/sst2"), ("quikstart", "quickstart")],
)
def test_a_wrong_name_is_told_with_what_was_meant(wrong: str, meant: str) -> None:
    with mistake(UserError, wrong, meant, option="--config"):
        config_file(wrong)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../pyproject.toml", "configs/../pyproject.toml", "nothing", "euds"]
)
def test_nothing_else_is_found_by_name(name: str) -> None:
    assert find_shipped(name) is None


def test_arguments_get_the_paths_and_stay_else_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--config", "euds/sst2", "--config=quickstart", "-c", "selectors/igse", "--output", "euds/sst2"]
    quick, igse = (REPOSITORY / "configs" / name for name in ("quickstart.yaml", "selectors/igse.yaml"))
    assert with_config_files(words) == [
        "--config", str(SST2), f"--config={quick}", "-c", str(igse), "--output", "euds/sst2",
    ]  # fmt: skip
    for inline in (["--config", "{seed_everything: 1}"], ["--config"], ["--config", "--output", "x"]):
        assert with_config_files(inline) == inline


def test_every_config_is_listed_with_a_sentence_and_its_name_finds_it() -> None:
    files = [file for file in (REPOSITORY / "configs").rglob("*") if file.is_file()]
    assert sorted(config_file(name) for name in config_names()) == sorted(files)
    for line, name in zip(listed_configs(100), config_names(), strict=True):
        listed, sentence = line.split(maxsplit=1)
        assert listed == name
        assert len(line) <= 100
        assert sentence[0].isupper()


def test_a_table_elsewhere_may_name_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layers = {"task": ["euds/docstrings", "configs/cluster/one_gpu.yaml"], "igse": "selectors/igse.yaml"}
    table = {
        "seeds": [0],
        "tasks": {"mine": {"config": layers["task"], "metric": "accuracy", "budgets": [0.3]}},
        "methods": {"igse": {"config": layers["igse"]}},
    }
    Path("mine.yaml").write_text(yaml.safe_dump(table))
    (cell,) = read_table(Path("mine.yaml")).cells(tmp_path)
    assert cell.config["trainer"]["accelerator"] == "gpu"
    assert cell.config["data"]["init_args"]["selector"]["class_path"] == "IGSE"


def test_one_is_printed_as_it_is(here: Here) -> None:
    assert here("configs", "--print", "euds/sst2") == " ".join(SST2.read_text().split())
    assert names(here("configs", "--print", "euds/sst", code=2), "euds/sst2")
    assert names(here("configs", "euds/sst2", code=2), "`selectune configs --print euds/sst2`")
    assert names(here("configs", "euds/sst", code=2), "euds/sst2")


def test_a_command_takes_a_name_anywhere(here: Here, tmp_path: Path) -> None:
    told = here("fit", "--config", "euds/sst2", "--config", "selectors/random", "--print_config")
    assert "stanfordnlp/sst2" in told
    assert "Random" in told
    assert names(here("fit", "--config", "euds/sst", code=2), "euds/sst2")


def test_a_folder_of_that_name_hides_no_config_and_a_long_name_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "euds" / "sst2").mkdir(parents=True)
    assert with_config_files(["fit", "--config", "euds/sst2"]) == ["fit", "--config", str(SST2)]
    for name in ("x" * 300, "x" * 5000):
        with mistake(UserError, "There is no config", option="--config"):
            with_config_files(["fit", "--config", name])
