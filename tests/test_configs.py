"""Every shipped config is instantiated, and one of each family is run, shrunk; overlays of it by the slow tests."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from selectune.cli import main
from selectune.data.texts import Texts, as_texts
from selectune.datamodules import SelectionDataModule
from selectune.lightning_modules import FineTuner
from selectune.tables.layers import setting
from selectune.tables.quickstart import commands as quickstart_commands
from selectune.tables.reading import read_table
from selectune.verbs import SelectuneCLI
from tests.conftest import REPOSITORY, manifest_of, metrics_of
from tests.local_copies import TRAIN_ROWS, local_copies, read_config, some_cells

TABLES = sorted((REPOSITORY / "configs" / "tables").rglob("*.yaml"))
CONFIGS = sorted(set((REPOSITORY / "configs").rglob("*.yaml")) - set(TABLES))
BASE = REPOSITORY / "configs" / "euds" / "sst2.yaml"
CHEMPROT = REPOSITORY / "configs" / "gotd" / "chemprot.yaml"
DETOX = REPOSITORY / "configs" / "detox"
# what overlays of a folder, or one by itself, are laid over
OVER = {"selectors": BASE, "cluster": BASE, "warm_up": CHEMPROT, "contrast": DETOX / "clean.yaml"}
SELECTORS = [file for file in CONFIGS if file.parent.name == "selectors"]
WARM_UPS = [file for file in CONFIGS if file.parent.name == "warm_up"]


def named(file: Path) -> str:
    return file.relative_to(REPOSITORY).as_posix()


def layers(file: Path) -> list[Path]:
    """The configs that make a whole with this one."""
    if file.parent.name == "plans":  # for the config of the same name
        return [REPOSITORY / "configs" / file.name, file]
    over = OVER.get(file.parent.name) or OVER.get(file.stem)
    return [file] if over is None else [over, file]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Runs the command line in this process, and leaves its settings as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["main.py"])
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")

    def run(*args: str | Path) -> None:
        main([str(arg) for arg in args])

    return run


@pytest.fixture
def shrunk(
    in_process: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_folder: Path
) -> Callable[..., Path]:
    """Runs configs as they are, on a generated folder and a tiny model in place of what they name, for an epoch."""

    def run(*files: Path) -> Path:
        copies = local_copies(tmp_path / "copies", [read_config(file) for file in files], model_folder)
        for name, value in copies.items():
            monkeypatch.setenv(name, value)
        configs = [part for file in files for part in ("--config", file)]
        small = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
        in_process("fit", *configs, *small, "--output", tmp_path / "run")
        return tmp_path / "run"

    return run


def assert_is(made: Any, asked: Any) -> None:
    """An object is of the class and has the arguments that a config names, down to the last."""
    if not isinstance(asked, dict) or "class_path" not in asked:
        assert (list(made) if isinstance(asked, list) else made) == asked
        return
    assert type(made).__name__ == asked["class_path"]
    for name, value in asked.get("init_args", {}).items():
        assert_is(getattr(made, name), value)


@pytest.mark.parametrize("file", CONFIGS, ids=named)
def test_a_config_is_instantiated(
    file: Path, in_process: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[SelectuneCLI] = []
    monkeypatch.setattr(SelectuneCLI, "_run_subcommand", lambda cli, verb: made.append(cli))
    configs = [part for layer in layers(file) for part in ("--config", layer)]
    in_process("fit", *configs, "--trainer.accelerator", "cpu", "--output", tmp_path / "run")
    (cli,) = made
    assert isinstance(cli.model, FineTuner)
    assert isinstance(cli.datamodule, SelectionDataModule)
    config = read_config(file)
    if selector := config.get("data", {}).get("init_args", {}).get("selector"):
        assert_is(cli.datamodule.selector, selector)
    warm_up = cli._get(cli.config_init, "warm_up")
    if config.get("warm_up"):
        arguments = config["warm_up"]["data"]["init_args"]
        if "selector" in arguments:
            assert_is(warm_up.data.selector, arguments["selector"])
        if isinstance(listed := arguments.get("dataset"), list):
            names = [part if isinstance(part, str) else part["dataset"] for part in listed]
            assert [part.dataset for part in as_texts(warm_up.data.dataset)] == names
    elif "warm_up" in config:
        assert warm_up is None
    assert not (tmp_path / "run").exists(), "nothing is written before the verb begins"


# a paper's tables have some ten cells each: the last ones of all by default, the others by the slow tests
PAPER = [file for file in TABLES if file.parent.name == "paper"]
INSTANTIATED = [
    *(pytest.param(file, slice(-1, None) if file in PAPER else slice(None), id=named(file)) for file in TABLES),
    *(pytest.param(file, slice(-1), id=f"all of {named(file)}", marks=pytest.mark.slow) for file in PAPER),
]


@pytest.mark.parametrize(("file", "cells"), INSTANTIATED)
def test_the_cells_of_a_table_are_instantiated(
    file: Path, cells: slice, in_process: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[SelectuneCLI] = []
    monkeypatch.setattr(SelectuneCLI, "_run_subcommand", lambda cli, verb: made.append(cli))
    for cell in some_cells(file)[cells]:
        config = tmp_path / f"{cell.name}.yaml"
        config.write_text(yaml.safe_dump(cell.config))
        in_process("fit", "--config", config, "--trainer.accelerator", "cpu", "--output", tmp_path / "run")
        warm_up = made[-1]._get(made[-1].config_init, "warm_up")
        for data, name in ((made[-1].datamodule, "data"), (warm_up and warm_up.data, "warm_up.data")):
            if selector := setting(cell.config, f"{name}.selector"):
                assert_is(data.selector, selector)
            if setting(cell.config, name) is not None:  # some data sets have options of their own
                listed = np.atleast_1d(setting(cell.config, f"{name}.dataset")).tolist()
                assert as_texts(data.dataset) == as_texts(
                    [Texts(**one) if isinstance(one, dict) else one for one in listed]
                )


@pytest.mark.parametrize("file", TABLES, ids=named)
def test_a_table_says_what_it_does_and_how_to_run_it(file: Path) -> None:
    comment = [line for line in file.read_text().splitlines() if line.startswith("# ") or line.startswith("#   ")]
    assert f"#   python main.py table --config {named(file)} --output runs/{file.stem}" in comment
    assert not comment[0].startswith("#   ")


def test_large_tasks_with_all_their_labels_are_trained_for_three_epochs() -> None:
    table = read_table(REPOSITORY / "configs" / "tables" / "paper" / "gotd_table2.yaml")
    epochs = {cell.task: setting(cell.config, "trainer.max_epochs") for cell in table.cells(Path("out"))}
    assert {task for task, n in epochs.items() if n == 3} == {"rct", "ag_news", "helpfulness", "imdb"}
    assert {n for task, n in epochs.items() if n != 3} == {10}


@pytest.mark.parametrize("file", CONFIGS, ids=named)
def test_pools_of_windows_join_short_texts_and_hold_what_their_page_says(file: Path) -> None:
    config = read_config(file)
    for part in ("data", "warm_up.data"):
        if setting(config, f"{part}.window") is not None:
            assert setting(config, f"{part}.join") is True
            words = " ".join(line.removeprefix("# ") for line in file.read_text().splitlines())
            if "two million unlabelled" in words:  # the rows of all data sets together
                assert setting(config, f"{part}.max_train_rows") == 2_000_000


@pytest.mark.parametrize("file", CONFIGS, ids=named)
def test_a_config_says_what_it_does_and_how_to_run_it(file: Path) -> None:
    comment = [line for line in file.read_text().splitlines() if line.startswith("#")]
    commands = [line for line in comment if line.startswith("#   python main.py ")]
    assert comment[0].startswith("# ")
    assert len(commands) == 1
    assert [REPOSITORY / part for part in commands[0].split() if part.endswith(".yaml")] == layers(file)
    assert "--output runs/" in commands[0]


@pytest.mark.parametrize("file", SELECTORS, ids=named)
def test_an_overlay_of_a_selector_changes_the_selector_alone(file: Path) -> None:
    """Beside it, only what it needs to work: a tuned head, or no budget where it sets its own."""
    overlay = read_config(file)
    assert set(overlay) <= {"data", "scorer"}
    assert set(overlay.get("scorer", {})) <= {"tune", "dynamics"}
    assert list(overlay["data"]) == ["init_args"]
    arguments = overlay["data"]["init_args"]
    assert arguments.pop("selector")
    assert arguments in ({}, {"keep": None})


def test_each_selector_of_the_guide_has_an_overlay_where_it_says() -> None:
    guide = (REPOSITORY / "docs" / "guide.md").read_text()
    part = guide[guide.index("## Choosing a selector") :]
    cells = re.findall(r"^\| (`[^|]*) \|", part.split("\n## ")[0], re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`([A-Z]\w+)`", cell)}
    overlays = {
        folder: "".join(file.read_text() for file in (REPOSITORY / "configs" / folder).glob("*.yaml"))
        for folder in ("selectors", "warm_up")
    }
    within = {folder: {name for name in named if f"class_path: {name}" in text} for folder, text in overlays.items()}
    assert named == within["selectors"] | within["warm_up"]
    alone = re.search(r"`configs/warm_up/` those.*?alone\.", part, re.DOTALL)
    assert alone
    assert named & set(re.findall(r"`(\w+)`", alone[0])) == named - within["selectors"]


@pytest.mark.parametrize("file", WARM_UPS, ids=named)
def test_an_overlay_of_a_warm_up_changes_its_rows_alone(file: Path) -> None:
    overlay = read_config(file)
    assert list(overlay) == ["warm_up"]
    allowed = {"selector", "dataset", "max_train_rows"} if file.stem == "domains" else {"selector", "dataset"}
    assert overlay["warm_up"] is None or set(overlay["warm_up"]["data"]["init_args"]) <= allowed


OVERLAYS = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("gotd_screened", "domains", "dsir", "uniform", "dapt", "none")
]


@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
def test_a_config_of_gotd_runs(shrunk: Callable[..., Path], tmp_path: Path, overlay: str | None) -> None:
    files = [CHEMPROT] if overlay is None else [CHEMPROT, REPOSITORY / "configs" / "warm_up" / f"{overlay}.yaml"]
    small = tmp_path / "small.yaml"
    if overlay != "none":
        small.write_text("warm_up: {data: {init_args: {window: 30, max_train_rows: 100, keep_rows: 20}}}\n")
        files.append(small)
    run = shrunk(*files)
    assert "test/micro_f1" in metrics_of(run)
    if overlay == "none":
        assert not (run / "warm_up").exists()
        return
    manifest = manifest_of(run / "warm_up")
    assert manifest["n_rows"] == 20
    domains = manifest["diagnostics"].get("domains", {})
    assert sum(of["kept"] for of in domains.values()) == (20 if domains else 0)
    assert bool(domains), "also a list of one data set is told apart"


@pytest.mark.slow
def test_a_selection_from_the_embedded_corpus_runs(shrunk: Callable[..., Path]) -> None:
    run = shrunk(REPOSITORY / "configs" / "euds" / "docstrings.yaml")
    assert (run / "warm_up" / "export" / "model.safetensors").is_file()
    _is_whole(run, share=0.3)


PLANNED = {"quickstart": "0.5", "quickstart_even": "0.3"}  # budgets


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PLANNED))
def test_a_plan_that_is_shipped_is_what_plan_recommends(
    name: str, in_process: Callable[..., None], tmp_path: Path
) -> None:
    """On the real corpora, which are made of the packages that are installed."""
    file = REPOSITORY / "configs" / f"{name}.yaml"
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    in_process("plan", "--config", file, "--budget", PLANNED[name], *quiet, "--output", tmp_path / "plan")
    made = read_config(tmp_path / "plan" / "plan.yaml")
    shipped = read_config(REPOSITORY / "configs" / "plans" / f"{name}.yaml")
    for given in (made, shipped):
        data = given["data"]
        data["class_path"] = data["class_path"].removeprefix("selectune.")
        if selector := data["init_args"]["selector"]:
            selector["class_path"] = selector["class_path"].removeprefix("selectune.selectors.")
    # how many rows cost as much as others depends on the versions of the packages
    rows = [given["data"]["init_args"].pop("keep_rows") or 0 for given in (made, shipped)]
    assert rows[0] == pytest.approx(rows[1], rel=0.05)
    assert made == shipped
    # and the config that it is laid over chooses nothing that the plan would have to undo
    assert not {"selector", "selection", "keep", "keep_rows", "keep_tokens"} & set(
        read_config(file)["data"]["init_args"]
    )


def test_each_plan_that_is_shipped_is_made_again() -> None:
    assert {file.stem for file in (REPOSITORY / "configs" / "plans").iterdir()} == set(PLANNED)
    for name, budget in PLANNED.items():
        command = f"main.py plan --config configs/{name}.yaml --budget {budget} "
        assert command in (REPOSITORY / "configs" / f"{name}.yaml").read_text()
    plan, _ = quickstart_commands(["--output", "runs/first"])
    assert plan[plan.index("--budget") + 1] == str(PLANNED["quickstart"])


def test_a_config_of_euds_runs(shrunk: Callable[..., Path]) -> None:
    _is_whole(shrunk(BASE), share=0.16)


RULES = {
    "ambiguous": "TopK", "anchored": "EntropyInterval", "balanced": "Balanced", "balanced_deduplicate": "Chain",
    "easy_to_learn": "TopK", "el2n": "TopK", "forgetting": "TopK", "hard_to_learn": "TopK", "igse_anchored": "IGSE",
    "label_issues": "Chain", "label_loss": "Chain", "prob_cover": "ProbCover", "random": "Random", "rho_loss": "TopK",
    "typical": "Typical",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), list(RULES.items()))
def test_an_overlay_runs(shrunk: Callable[..., Path], name: str, kind: str) -> None:
    run = shrunk(BASE, REPOSITORY / "configs" / "selectors" / f"{name}.yaml")
    _is_whole(run, share=0.16)
    assert manifest_of(run)["selector"]["class"].endswith(f".{kind}")


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("glue/mnli", {"accuracy", "macro_f1", "validation_mismatched/accuracy", "validation_mismatched/macro_f1"}),
        pytest.param("glue/stsb", {"pearson", "spearman"}, marks=pytest.mark.slow),
        pytest.param("domain/chemprot", {"micro_f1", "macro_f1"}, marks=pytest.mark.slow),
    ],
)
def test_a_config_without_a_selector_runs(shrunk: Callable[..., Path], name: str, figures: set[str]) -> None:
    run = shrunk(REPOSITORY / "configs" / f"{name}.yaml")
    assert {f"test/{figure}" for figure in figures} <= set(metrics_of(run))
    assert not (run / "selection").exists()
    assert {file.name for file in run.iterdir()} >= {"report.html", "done.json", "export"}


@pytest.mark.slow
def test_an_overlay_of_a_cluster_runs(shrunk: Callable[..., Path], tmp_path: Path) -> None:
    clipped = tmp_path / "clipped.yaml"
    clipped.write_text("trainer: {gradient_clip_val: 1.0}\n")
    run = shrunk(BASE, REPOSITORY / "configs" / "cluster" / "one_gpu.yaml", clipped)
    _is_whole(run, share=0.16)
    assert read_config(run / "config.yaml")["trainer"]["precision"] == "bf16-mixed"


def _is_whole(run: Path, share: float) -> None:
    pool_rows = TRAIN_ROWS - TRAIN_ROWS // 10  # a tenth is dev
    rows = pq.read_table(run / "selection" / "rows.parquet")["row_id"].to_pylist()
    assert len(set(rows)) == round(share * pool_rows)
    assert "test/accuracy" in metrics_of(run)
    assert {file.name for file in run.iterdir()} >= {"saving.json", "report.html", "done.json", "export"}
