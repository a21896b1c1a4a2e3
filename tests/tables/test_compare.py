"""The verb ``compare``: a fit beside its rivals, and the verdict on it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from selectune.cli import main
from selectune.common.run_files import RunFiles
from selectune.verdict.decision import Word
from selectune.verdict.evidence import ARMS
from selectune.verdict.judge import judge, read_verdict, total_flops
from tests.conftest import Cli, Here, Ranks, Shared, sentences, write_split
from tests.mistakes import names
from tests.processes import start_server

RIVALS = [f"{arm}-0" for arm in ARMS]


def options(data: Path, model: Path) -> list[str]:
    """A task that the tiny model learns, with half of its rows."""
    return [
        "--data", "TextClassification", "--data.dataset", str(data), "--data.max_length", "32",
        "--data.selector", "TopK", "--data.selector.signal", "n_tokens", "--data.keep", "0.5",
        "--model.checkpoint", str(model), "--model.learning_rate", "1e-2",
        "--data.batch_size", "16", "--trainer.max_epochs", "6", "--trainer.accelerator", "cpu",
        "--trainer.enable_progress_bar", "false",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def short_texts(shared: Shared) -> Path:
    """A data set that the tiny model learns in seconds."""

    def make(folder: Path) -> None:
        write_split(folder / "train.parquet", *sentences(240, seed=1, length=(1, 3)))
        write_split(folder / "test.parquet", *sentences(80, seed=2, length=(1, 3)))

    return shared("short_texts", make)


@pytest.fixture(scope="session")
def compared(shared: Shared, short_texts: Path, model_folder: Path) -> Path:
    """A run that was compared at one seed; to be read."""

    def make(folder: Path) -> None:
        start_server()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SELECTUNE_CACHE", str(folder / "cache"))
            patch.setenv("OMP_NUM_THREADS", "1")
            patch.setattr("sys.argv", ["main.py"])
            given = [*options(short_texts, model_folder), "--seeds", "1", "--output", str(folder / "run")]
            main(["fit", "--compare", *given])

    return shared("compared", make) / "run"


def test_every_rival_is_a_whole_run_and_those_of_the_same_cost_cost_the_same(compared: Path) -> None:
    files = RunFiles(compared)
    assert sorted(path.name for path in files.compare.iterdir() if path.is_dir()) == sorted(RIVALS)
    costs = {name: total_flops(files.compare / name) for name in RIVALS}
    own = total_flops(compared)
    assert own is not None
    for name in ("random_rows-0", "fewer_epochs-0"):
        assert costs[name] == pytest.approx(own, rel=0.05)


def test_the_verdict_file_the_page_and_a_second_judgement_agree(compared: Path) -> None:
    verdict = judge(compared)
    assert read_verdict(compared) == verdict
    assert all(verdict.evidence.arm(name).difference is not None for name in ARMS)
    assert verdict.evidence.all_rows.cost is not None
    assert not verdict.evidence.all_rows.cost.estimated  # a measured run takes the place of an estimate
    page = RunFiles(compared).report.read_text()
    assert verdict.headline in page
    assert verdict.evidence.all_rows.command not in verdict.sentence  # as nothing is left to run


def test_a_page_is_the_same_however_often_it_is_made(compared: Path, tmp_path: Path, here: Here) -> None:
    copy = Path(shutil.copytree(compared, tmp_path / "run"))
    here("report", copy)
    first = {file: RunFiles(copy).path.joinpath(file).read_bytes() for file in ("report.html", "verdict.json")}
    here("report", copy)
    assert first == {file: (copy / file).read_bytes() for file in first}


def test_a_rival_that_is_missing_is_named_with_the_command_that_runs_it_alone(
    compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    copy = Path(shutil.copytree(compared, tmp_path / "run"))
    shutil.rmtree(RunFiles(copy).compare / "fewer_epochs-0")
    verdict = judge(copy)
    command = verdict.evidence.fewer_epochs.command
    assert verdict.evidence.fewer_epochs.difference is None
    assert command in verdict.sentence
    assert str(copy) in command
    other = {name: (RunFiles(copy).compare / name / "done.json").stat().st_mtime_ns for name in RIVALS[:2]}
    start_server()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    here(*command.split()[1:], "--seeds", "1")
    assert other == {name: (RunFiles(copy).compare / name / "done.json").stat().st_mtime_ns for name in RIVALS[:2]}
    assert judge(copy).evidence.fewer_epochs.difference is not None


@pytest.fixture(scope="session")
def planned(shared: Shared, short_texts: Path, model_folder: Path) -> Path:
    """A plan of all rows for half of the steps that was compared at one seed; to be read."""

    def make(folder: Path) -> None:
        plan = {
            "trainer": {"max_steps": 84, "max_epochs": -1, "val_check_interval": 14, "check_val_every_n_epoch": None}
        }
        (folder / "plan.yaml").write_text(yaml.safe_dump(plan | {"data": {"init_args": NOTHING_SELECTED}}))
        start_server()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SELECTUNE_CACHE", str(folder / "cache"))
            patch.setenv("OMP_NUM_THREADS", "1")
            patch.setattr("sys.argv", ["main.py"])
            given = [*options(short_texts, model_folder), "--trainer.max_epochs", "12", "--seeds", "1"]
            main(["fit", "--compare", *given, "--plan", str(folder), "--output", str(folder / "run")])

    return shared("planned", make) / "run"


NOTHING_SELECTED = {"selector": None, "keep": None}


def test_a_plan_of_fewer_epochs_is_judged_against_all_epochs_and_random_rows(planned: Path) -> None:
    files = RunFiles(planned)
    assert sorted(path.name for path in files.compare.iterdir() if path.is_dir()) == sorted(RIVALS[:2])
    evidence = judge(planned).evidence
    assert evidence.shortened
    assert evidence.saved() == pytest.approx(1 / 2, abs=0.01)
    assert evidence.relative_cost("random_rows") == pytest.approx(1, abs=0.05)
    assert evidence.all_rows.difference is not None
    assert evidence.random_rows.difference is not None
    verdict, page = judge(planned), files.report.read_text()
    assert verdict.word != Word.NOTHING_SELECTED
    assert verdict == read_verdict(planned)
    assert "with all epochs" in verdict.sentence
    assert "All epochs" in page
    assert "Training for fewer epochs saved" in page
    whole, random = (yaml.safe_load(RunFiles(files.rival(name, 0)).config.read_text()) for name in ARMS[:2])
    assert whole["trainer"] == random["trainer"]
    assert whole["trainer"]["max_epochs"] == 12
    assert random["data"]["init_args"]["keep_rows"] == pytest.approx(108, abs=1)  # of 216


def test_the_command_of_a_rival_that_a_plan_lacks_runs_it_alone(
    planned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    copy = Path(shutil.copytree(planned, tmp_path / "run"))
    shutil.rmtree(RunFiles(copy).compare / "random_rows-0")
    command = judge(copy).evidence.random_rows.command
    before = (RunFiles(copy).compare / "all_rows-0" / "done.json").stat().st_mtime_ns
    start_server()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    here(*command.split()[1:], "--seeds", "1")
    assert judge(copy).evidence.random_rows.difference is not None
    assert before == (RunFiles(copy).compare / "all_rows-0" / "done.json").stat().st_mtime_ns


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--data.selector", "null", "--data.keep", "null"], "data.selector"),
        (["--margin", "-1"], "--margin"),
        (["--seeds", "0"], "--seeds"),
        (["--rivals", "fewer_epochs"], "--rivals"),
        (["--plan", "nowhere.yaml"], "nowhere.yaml"),
        (["--trainer.epochs", "3"], "trainer.epochs"),
    ],
)
def test_a_mistake_ends_in_a_sentence_before_anything_is_run(
    more: list[str], named: str, data_folder: Path, model_folder: Path, tmp_path: Path, here: Here
) -> None:
    printed = here("compare", *options(data_folder, model_folder), "--output", tmp_path / "run", *more, code=2)
    assert names(printed, named)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("environment", "more", "named"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, [], ["torchrun", "srun"]),
        ({"LOCAL_RANK": "0"}, [], ["torchrun", "srun"]),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, [], ["torchrun", "srun"]),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, ["--trainer.devices", "2"], ["SLURM_JOB_NAME=interactive"]),
        ({}, ["--trainer.num_nodes", "2"], ["trainer.num_nodes"]),
    ],
)
def test_processes_that_it_does_not_start_itself_are_refused(
    environment: dict[str, str],
    more: list[str],
    named: list[str],
    data_folder: Path,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    here: Here,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    printed = here("compare", *options(data_folder, model_folder), "--output", tmp_path / "run", *more, code=2)
    assert names(printed, *named)
    assert not (tmp_path / "run").exists()


def test_torchrun_is_told_once_and_ends_on_all_ranks(
    data_folder: Path, model_folder: Path, tmp_path: Path, ranks: Ranks
) -> None:
    first, second = ranks("compare", *options(data_folder, model_folder), "--output", tmp_path / "run", code=2)
    assert first.count("error: ") == 1
    assert names(first, "torchrun", "srun")
    assert "error: " not in second
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_each_run_starts_its_own_second_process(
    short_texts: Path, model_folder: Path, tmp_path: Path, cli: Cli
) -> None:
    two = ["--trainer.devices", "2", "--seeds", "1"]
    cli("compare", *options(short_texts, model_folder), *two, "--output", tmp_path / "run")
    for folder in (tmp_path / "run", *(RunFiles(tmp_path / "run").compare / name for name in RIVALS)):
        records = [json.loads(line) for line in RunFiles(folder).costs.read_text().splitlines()]
        trained = {record["rank"]: record["examples"] for record in records if record["stage"] == "train"}
        assert trained.keys() == {0, 1}
        assert min(trained.values()) > 0
    evidence = judge(tmp_path / "run").evidence
    assert all(evidence.arm(name).difference is not None for name in ARMS)
    for name in ARMS[1:]:
        assert evidence.relative_cost(name) == pytest.approx(1, abs=0.1)


def test_a_folder_of_another_config_is_refused_and_left_as_it_is(compared: Path, tmp_path: Path, here: Here) -> None:
    copy = Path(shutil.copytree(compared, tmp_path / "run"))
    config = RunFiles(copy).config
    printed = here("compare", "--config", config, "--data.keep", "0.4", "--seeds", "1", "--output", copy, code=2)
    assert names(printed, copy, "data.init_args.keep")
    assert all((RunFiles(copy).compare / name).is_dir() for name in RIVALS)
    assert json.loads(RunFiles(copy).verdict.read_text())["schema"] == 1


def test_a_fit_whose_loss_is_not_finite_ends_with_3_and_no_rival_is_run(
    short_texts: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    start_server()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    given = [*options(short_texts, model_folder), "--model.learning_rate", "1e30", "--output", tmp_path / "run"]
    here("fit", "--compare", *given, code=3)
    verdict = judge(tmp_path / "run")
    assert (verdict.word, verdict.colour) == (Word.TRAINING_FAILED, "red")
    assert not [path for path in RunFiles(tmp_path / "run").compare.iterdir() if path.is_dir()]
