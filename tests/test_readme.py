"""Every block of the README and `docs/` is run as it stands there, and every file that they name exists.

The first chapter runs each time; of the others each command is built up to its verb, and run by the slow tests, unless
its block is marked ``shell`` and not ``bash``: that takes hours, other machines, or files that are not here. The
blocks run in a folder that looks like a clone whose set-up is done. The data sets and models that they name are
found in local copies: generated text and a tiny model.
"""

from __future__ import annotations

import argparse
import ast
import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest

from selectune.cli import main
from selectune.runs.finished import EVALUATING
from selectune.tables.quickstart import commands as quickstart_commands
from selectune.verbs import OWN_PARSERS, SelectuneCLI
from tests.conftest import BAD, GOOD, REPOSITORY, WORDS, Shared, sentences, write_split
from tests.hub import COMMIT
from tests.local_copies import local_copies, read_config
from tests.random_models import make_model
from tests.report.browser import needs_chromium, open_page
from tests.report.pages import Page, costs_in

PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
CONFIGS = [REPOSITORY / "configs" / name for name in ("quickstart.yaml", "euds/sst2.yaml", "gotd/sciie.yaml")]
CLONED = ("main.py", "Makefile", "pyproject.toml", "constraints.txt", "selectune", "configs")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TYPED = ("bash", "shell")  # languages of blocks of commands
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")
CODE = re.compile(r" {4,}\$? ?(?:python|selectune|make|pip|git|torchrun|sbatch|import|from [\w.]+ import)\b")
BENCHMARK = re.compile(r"python benchmarks/(\w+)\.py(.*)")
NAMED = re.compile(r"# ([\w.]+)\n")
TREES = "configs|docs|selectune|tests|benchmarks"
FILES = r"[\w-]+\.(?:md|cff|toml|txt)|Makefile|LICENSE|main\.py"
MADE = {"table.md", "log.txt"}  # by commands
SHOWN_PATH = re.compile(rf"(?<![\w./-])((?:{TREES})/[\w./-]*[\w/]|{FILES})")

SET_UP = re.compile(r"^(git clone|cd|python3 -m venv|source|pip install) .*\n", re.MULTILINE)  # newcomer.sh does it
PYTHON = """#!/bin/sh
[ "$1 $2" = "-m pytest" ] && exit 0 # the tests are running already
exec {python} "$@"
"""
SELECTUNE = """#!/bin/sh
exec python {main} "$@"
"""


class Chapter(NamedTuple):
    """The fenced blocks under one heading, as (language, text)."""

    name: str
    blocks: list[tuple[str, str]]

    @property
    def is_distributed(self) -> bool:
        return any("--trainer.devices 2" in text for _, text in self.blocks)


def chapters(page: Path) -> Iterator[Chapter]:
    for part in re.split(r"^## ", page.read_text().removeprefix("# "), flags=re.MULTILINE):
        blocks = [(match[1], match[2]) for match in FENCE.finditer(part)]
        if blocks:
            yield Chapter(part.splitlines()[0], blocks)


README = list(chapters(REPOSITORY / "README.md"))
GUIDE = list(chapters(REPOSITORY / "docs" / "guide.md"))
SHOWN = [*README, *GUIDE]
README_LINES = 200  # for a reader of two minutes
OTHERS = [page for page in PAGES if page.parent.name == "docs" and page.name != "guide.md"]
TAKEN = [one for page in OTHERS for one in chapters(page)]
PILOT = list(chapters(REPOSITORY / "docs" / "pilot.md"))
RUN = [one for one in TAKEN if {"bash", "python"} & {language for language, _ in one.blocks} and one not in PILOT]
SMALL = "all-MiniLM-L6-v2"  # the scorer of some pages
LEFT = {"config.yaml", "plan.yaml"}  # by runs of other chapters


@pytest.fixture(scope="module")
def clone(shared: Shared) -> Path:
    """A folder that looks like a clone whose set-up is done, where all chapters run in the order of the page."""
    return shared("clone", _make_clone)


def _make_clone(folder: Path) -> None:
    for name in CLONED:
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / ".venv" / "bin").mkdir(parents=True)
    scripts = {"python": PYTHON.format(python=sys.executable), "selectune": SELECTUNE.format(main=folder / "main.py")}
    for name, script in scripts.items():
        (folder / ".venv" / "bin" / name).write_text(script)
        (folder / ".venv" / "bin" / name).chmod(0o755)
    (folder / ".venv" / ".ready").touch()
    for seed, name in enumerate(("news", "papers")):  # the pool of the chapter on GOT-D
        texts, labels = sentences(1000, seed)
        write_split(folder / "pool" / f"{name}.parquet", texts, labels)
    for seed, name in enumerate(("reviews", "checked_reviews", "wiki", "forum")):  # of the pages on a reader's own rows
        _write_reviews(folder / f"{name}.csv", ["text", "label"], seed)


@pytest.fixture(scope="module")
def environment(clone: Path, shared: Shared, model_folder: Path) -> dict[str, str]:
    configs = [read_config(file) for file in CONFIGS]
    folder = shared("copies", lambda folder: local_copies(folder, configs, model_folder))
    copies = local_copies(folder, [], model_folder)
    _into_cache(folder / "home", "bert-base-uncased", model_folder)
    small = folder / "models" / SMALL
    if not small.exists():
        small.symlink_to(model_folder, target_is_directory=True)
    path = f"{clone / '.venv' / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    settings = {"PATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY)}
    settings["HF_HOME"] = str(folder / "home")
    return os.environ | copies | settings


def _into_cache(home: Path, name: str, model_folder: Path) -> None:
    """Put a model where the hub's client looks for one that it has downloaded."""
    cached = home / "hub" / f"models--{name}"
    if not cached.exists():
        (cached / "refs").mkdir(parents=True)
        (cached / "snapshots").mkdir()
        (cached / "refs" / "main").write_text(COMMIT)
        (cached / "snapshots" / COMMIT).symlink_to(model_folder, target_is_directory=True)


def run(chapter: Chapter, clone: Path, environment: dict[str, str]) -> None:
    """Do what a reader does with each block: type it, or save it under the name in its first line."""
    for language, text in chapter.blocks:
        named = NAMED.match(text)
        if named:
            (clone / named[1]).write_text(text)
        elif language == "csv":
            _write_reviews(clone / "reviews.csv", text.splitlines()[0].split(","))
        elif language in ("bash", "python"):
            command = (
                ["bash", "-euo", "pipefail", "-c", SET_UP.sub("", text)]
                if language == "bash"
                else ["python", "-c", text]
            )
            if "plans/quickstart" in text:  # which keeps more rows than the copies have, so the embedded corpus itself
                environment = environment | {"SELECTUNE_DATA": str(clone)}
            done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=1800)
            told = f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
            assert done.returncode == 0, f"exit code {done.returncode} of\n{told}"


def _write_reviews(file: Path, columns: list[str], seed: int = 3) -> None:
    """More rows of the kind that the README shows."""
    assert columns == ["text", "label"]
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows((text, "good" if label else "bad") for text, label in zip(*sentences(120, seed)))


@pytest.fixture(scope="module")
def quickstart(shared: Shared, clone: Path, environment: dict[str, str]) -> Path:
    """The fit that the first chapter leaves, by the plan beside it."""
    shared("quickstart", lambda _: run(README[0], clone, environment))
    return clone / "runs" / "first" / "fit"


def test_the_quickstart_leaves_what_the_guide_says(quickstart: Path) -> None:
    guide = (REPOSITORY / "docs" / "guide.md").read_text()
    table = guide[guide.index("| in `runs/first") :].split("\n\n")[0]
    for line in table.splitlines()[2:]:
        for name in re.findall(r"`([\w.]+?)/?`", line):
            assert any(quickstart.rglob(name)), name


@needs_chromium
def test_the_report_of_the_quickstart_is_silent_in_a_browser_and_says_what_the_ledger_says(quickstart: Path) -> None:
    opened = open_page(quickstart / "report.html")
    assert opened.console == opened.requests == []
    page = Page(opened.dom)
    assert page.pictures
    assert page.without_words == []
    assert costs_in(quickstart / "cost.jsonl") <= set(page.figures)


def commands(text: str) -> Iterator[list[str]]:
    """Arguments of the program in a block of shell commands."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if program := next((word for word in words if word in ("main.py", "selectune")), None):
            rest = words[words.index(program) + 1 :]
            yield list(takewhile(lambda word: word not in {"|", ">", "&&", ";"}, rest))


@pytest.mark.parametrize("chapter", [*SHOWN, *TAKEN], ids=lambda chapter: chapter.name)
def test_a_command_of_a_chapter_is_taken(chapter: Chapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to its verb: its configs, classes and options are there and take these values."""
    built: list[SelectuneCLI] = []
    monkeypatch.setattr(SelectuneCLI, "_run_subcommand", lambda cli, verb: built.append(cli))
    monkeypatch.setattr(sys, "argv", ["main.py"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")
    for name in CLONED:
        (tmp_path / name).symlink_to(REPOSITORY / name)
    monkeypatch.chdir(tmp_path)
    asked = []
    for _, text in chapter.blocks:
        if named := NAMED.match(text):
            Path(named[1]).write_text(text)
    for text in (SET_UP.sub("", text) for language, text in chapter.blocks if language in TYPED):
        for verb, *arguments in commands(text):
            if verb == "quickstart":
                assert len(quickstart_commands(arguments)) == 2
                continue
            if "--compare" in arguments:
                verb = "compare"
                arguments.remove("--compare")
            plans = [Path(plan) for option, plan in pairwise(arguments) if option == "--plan"]
            needed = [plan / "plan.yaml" for plan in plans if not plan.is_file()]
            if verb in EVALUATING and "--config" not in arguments:
                needed.append(Path(arguments[arguments.index("--output") + 1]) / "config.yaml")
            for file in [*map(Path, arguments), *needed]:
                if file.name in LEFT and not file.exists():
                    file.parent.mkdir(parents=True)
                    shutil.copy(REPOSITORY / "configs" / "euds" / "sst2.yaml", file)
            if verb in OWN_PARSERS:
                _is_parsed(OWN_PARSERS[verb], arguments, monkeypatch)
                continue
            asked.append(verb)
            main([verb, *arguments])
    assert [cli.subcommand for cli in built] == asked


def _is_parsed(command: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class ParsedError(Exception):
        pass

    begins = {OWN_PARSERS["compare"]: "alone_in", OWN_PARSERS["fetch"]: "fetch"}
    if command in begins:  # parses its own options, and those of fit
        with monkeypatch.context() as patch:
            patch.setattr(command, begins[command], Mock(side_effect=ParsedError))
            with pytest.raises(ParsedError):
                command.main(arguments)
        return
    parse = command.VerbParser.parse_args

    def parsed(parser: Any, args: list[str]) -> None:
        parse(parser, args)
        raise ParsedError

    with monkeypatch.context() as patch:
        patch.setattr(command.VerbParser, "parse_args", parsed)
        with pytest.raises(ParsedError):
            command.main(arguments)


def benchmarks(page: Path) -> list[list[str]]:
    """Names of the benchmarks that a page runs, in its blocks and its text, each with its options."""
    text = page.read_text()
    lines = [block.replace("\\\n", " ") for language, block in FENCE.findall(text) if language in TYPED]
    lines += [span.replace("\n", " ") for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", FENCE.sub("", text))]
    return [[name, *shlex.split(options, comments=True)] for name, options in BENCHMARK.findall("\n".join(lines))]


@pytest.mark.parametrize("page", [p for p in PAGES if benchmarks(p)], ids=lambda page: page.name)
def test_a_benchmark_that_a_page_runs_is_there_and_takes_its_options(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the end of its parsing."""
    parse = argparse.ArgumentParser.parse_args

    class ParsedError(Exception):
        pass

    def parsed(parser: argparse.ArgumentParser, args: Any = None) -> None:
        parse(parser, args)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    for name, *options in benchmarks(page):
        script = REPOSITORY / "benchmarks" / f"{name}.py"
        assert script.is_file(), name
        if "parse_args()" not in script.read_text():
            assert options == [], f"{name} has no options"
            continue
        monkeypatch.setattr(sys, "argv", [script.name, *options])
        with pytest.raises(ParsedError):
            import_module(name).main()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_code_is_in_fences_where_these_tests_see_it(page: Path) -> None:
    outside = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert [block for block in INDENTED.findall(outside) if CODE.match(block)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_what_a_python_block_imports_of_selectune_is_there(page: Path) -> None:
    for block in (text for language, text in FENCE.findall(page.read_text()) if language == "python"):
        for line in ast.walk(ast.parse(block)):
            if isinstance(line, ast.ImportFrom) and (line.module or "").split(".")[0] == "selectune":
                missing = [one.name for one in line.names if not hasattr(import_module(line.module or ""), one.name)]
                assert missing == [], line.module


@pytest.mark.slow
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("chapter", [c for c in SHOWN[1:] if not c.is_distributed], ids=lambda chapter: chapter.name)
def test_a_chapter_of_the_readme_runs(chapter: Chapter, clone: Path, environment: dict[str, str]) -> None:
    run(chapter, clone, environment)


@pytest.mark.slow
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("chapter", [c for c in SHOWN if c.is_distributed], ids=lambda chapter: chapter.name)
def test_a_chapter_on_two_devices_runs(chapter: Chapter, clone: Path, environment: dict[str, str]) -> None:
    run(chapter, clone, environment)


@pytest.mark.slow
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("chapter", RUN, ids=lambda chapter: chapter.name)
def test_a_chapter_of_another_page_runs(chapter: Chapter, clone: Path, environment: dict[str, str]) -> None:
    run(chapter, clone, environment)


@pytest.mark.slow
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("chapter", PILOT, ids=lambda chapter: chapter.name)
def test_a_pilot_runs(chapter: Chapter, clone: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """On rows enough for a tenth to tell something, and a scorer so much smaller that a tenth pays for it."""
    words = [*WORDS, *GOOD, *BAD, *"0123456"]
    large, small = tmp_path / "models" / "bert-base-uncased", tmp_path / "models" / SMALL
    make_model(large, "bert", words, hidden_size=128, num_hidden_layers=4, max_position_embeddings=256)
    make_model(small, "bert", words, hidden_size=16, num_hidden_layers=1, max_position_embeddings=256)
    copies = local_copies(tmp_path, [read_config(CONFIGS[1])], large, train_rows=5000)
    run(chapter, clone, environment | copies)


def test_no_two_commands_of_the_pages_make_a_run_of_one_name() -> None:
    made: dict[str, set[str]] = {}
    for page in PAGES:
        for language, text in (block for chapter in chapters(page) for block in chapter.blocks):
            for line in text.replace("\\\n", " ").splitlines() if language == "bash" else ():
                words = shlex.split(line, comments=True)
                if "--output" in words and not {"predict", "--ckpt_path"} & set(words):  # these go on with a run
                    made.setdefault(words[words.index("--output") + 1], set()).add(shlex.join(words))
    assert len(made) > 20
    assert not {name: commands for name, commands in made.items() if len(commands) > 1}


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) < README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text, places = page.read_text(), (REPOSITORY, page.parent)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    shown = set() if page.name == "mistakes.md" else set(SHOWN_PATH.findall(text)) - MADE
    missing += [path for path in shown if not any((place / path).exists() for place in places)]
    assert not missing
