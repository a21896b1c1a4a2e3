"""Wheel and sdist: the same bytes wherever they are built, whole, and of use where there is no checkout."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import pytest

import selectune
from selectune import selectors
from selectune.common.shipped import config_names
from tests.conftest import REPOSITORY, Shared

TREES = ("selectune", "configs", "results/published", "docs", "tests/golden")
FILES = ("pyproject.toml", "README.md", "LICENSE", "main.py", "constraints.txt", ".gitignore")


def build(folder: Path) -> Path:
    """Build wheel and sdist from a copy of the checkout; gives the folder with both."""
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    source = folder / "source"
    for tree in TREES:
        shutil.copytree(REPOSITORY / tree, source / tree, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(REPOSITORY / file, source / file)
    for builder in (WheelBuilder, SdistBuilder):
        list(builder(str(source)).build(directory=str(folder / "dist"), versions=["standard"]))
    return folder / "dist"


@pytest.fixture(scope="module")
def dist(shared: Shared) -> Path:
    return shared("dist", build) / "dist"


def test_two_builds_give_the_same_bytes(dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    elsewhere = tmp_path / "another" / "place"
    elsewhere.mkdir(parents=True)
    mask = os.umask(0o077)
    try:
        again = build(elsewhere)
    finally:
        os.umask(mask)
    names = sorted(file.name for file in dist.iterdir())
    assert [name.rpartition(".")[2] for name in names] == ["whl", "gz"]
    for name in names:
        assert (dist / name).read_bytes() == (again / name).read_bytes(), name


def test_the_wheel_has_every_file_of_the_package_every_config_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    asked = {
        name.removeprefix("selectune/") if tree == "selectune" else name
        for tree in ("selectune", "configs", "results/published")
        for file in (REPOSITORY / tree).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
        for name in [file.relative_to(REPOSITORY).as_posix()]
    }
    assert packed == {f"selectune/{name}" for name in asked}
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert {"configs", "selectune", "docs"} <= {name.split("/")[1] for name in archive.getnames()}


def test_the_configs_of_a_wheel_are_found_where_there_is_no_checkout(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = "from selectune.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}

    def printed(*words: str) -> str:
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    listed = [line.split()[0] for line in printed("configs").splitlines()]
    assert listed == config_names()
    assert printed("configs", "--print", "euds/sst2") == (REPOSITORY / "configs" / "euds" / "sst2.yaml").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_installed_wheel_runs_the_quickstart(dist: Path, tmp_path: Path) -> None:
    """In an empty environment, an empty folder and an empty home."""
    (wheel,) = dist.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv" / "bin"
    pins = str(REPOSITORY / "constraints.txt")
    subprocess.run([programs / "pip", "install", "--quiet", "--constraint", pins, wheel], check=True)
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    names = ("PYTHONPATH", "VIRTUAL_ENV", "SELECTUNE_CACHE", "HF_DATASETS_CACHE")
    environment = {name: value for name, value in os.environ.items() if name not in names} | {"HOME": str(home)}
    for words in (
        "--version",
        "configs",
        "fit --help",
        "table --config tables/paper/gotd_table3 --output table --dry_run",  # its layers, and figures to put beside it
        "quickstart --output first",
    ):
        command = [programs / "selectune", *words.split()]
        subprocess.run(command, cwd=work, env=environment, check=True, timeout=1200)
    assert (work / "first" / "fit" / "report.html").is_file()
    assert (work / "first" / "fit" / "export" / "config.json").is_file()


def test_every_page_has_its_place_on_the_site() -> None:
    placed = re.findall(r"^ .*?([\w-]+\.md)$", (REPOSITORY / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(placed) == sorted(["index.md", *(page.name for page in (REPOSITORY / "docs").glob("*.md"))])


def reference() -> list[Any]:
    """What the page on Python describes: each object that it names, and the public ones of a module."""
    page = (REPOSITORY / "docs" / "api.md").read_text()
    described: list[Any] = []
    for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE):
        one = resolve_name(name)
        if not isinstance(one, ModuleType):
            described.append(one)
        elif hasattr(one, "__all__"):
            described += [getattr(one, public) for public in one.__all__]
        else:
            described += [part for part in vars(one).values() if isinstance(part, type) and part.__module__ == name]
    return described


def test_the_reference_describes_every_name_of_the_package() -> None:
    described = reference()
    assert [name for name in selectune.__all__ if getattr(selectune, name) not in described] == []


def test_all_that_the_reference_describes_is_imported_as_it_says() -> None:
    page = (REPOSITORY / "docs" / "api.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in ast.parse(block).body]
    assert all(isinstance(line, ast.ImportFrom) for line in lines)
    said = [(line.module, alias.name) for line in lines for alias in line.names]
    imported = [getattr(import_module(module), name) for module, name in said]
    assert [one for one in reference() if one not in imported] == []
    for module, name in said:
        assert name not in selectune.__all__ or module == "selectune", f"{name} is in the package itself"


def test_each_method_has_its_formula_and_says_when_it_pays() -> None:
    page = (REPOSITORY / "docs" / "methods.md").read_text()
    part = page[page.index("## Rules that answer a fault") : page.index("## The saving")]
    methods = {title.strip("`"): text for title, text in re.findall(r"^### (.*)\n((?:(?!#).*\n)*)", part, re.MULTILINE)}
    for name, text in methods.items():
        assert re.search(r"\n {4}\S", text), name
        assert text.count("**When it pays.**") == 1, name
    bases = {"Filter", "Selector"}
    public = {name: getattr(selectors, name) for name in selectors.__all__ if name not in bases}
    ours = {name for name, one in public.items() if isinstance(one, type) and issubclass(one, selectors.Selector)}
    assert ours - methods.keys() == {"DomainScreen", "EntropyInterval", "GOTD", "IGSE"}, "these have chapters above"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "api" / "index.html").read_text()
    assert "EntropyInterval" in reference
    assert "CostLedger" in reference
    assert (tmp_path / "repository" / "configs" / "euds" / "sst2.yaml").is_file()
