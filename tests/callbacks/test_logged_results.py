"""The verdict, the costs and the selection in each logger, as that logger has such things."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selectune.common.files import write_json
from selectune.common.run_files import RunFiles
from selectune.report.loggers import Results, log_results, log_verdict
from selectune.runs.metrics_log import MetricsLog
from selectune.verdict.judge import read_verdict
from selectune.verdict.verdict import Verdict
from tests.conftest import Here, manifest_of, metrics_of
from tests.mistakes import names

STEP = 7


@pytest.fixture
def results(copy_of_finished: Path) -> Results:
    """Of a finished run that selected rows."""
    found = Results(copy_of_finished)
    assert found.verdict is not None
    assert found.selection["n_rows"] == manifest_of(copy_of_finished)["n_rows"]
    assert {row[0] for row in found.costs[1]} >= {"score", "train", "evaluate"}
    return found


def assert_scalars(logged: dict[str, float], finished: Path) -> None:
    kept = manifest_of(finished)
    assert logged["selection/rows"] == kept["n_rows"]
    assert logged["selection/share_of_rows"] == pytest.approx(kept["n_rows"] / kept["pool_rows"])
    assert logged["selection/share_of_tokens"] < 1


def test_in_csv_files(results: Results, tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    own, another = MetricsLog(tmp_path), CSVLogger(tmp_path / "csv")
    log_results([own, another], results.folder, STEP)
    assert_scalars(metrics_of(tmp_path), results.folder)
    with Path(another.log_dir, "metrics.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["step"] == str(STEP)


def test_in_tensorboard_as_texts(results: Results, tmp_path: Path) -> None:
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    log_results([logger], results.folder, STEP)
    events = EventAccumulator(logger.log_dir).Reload()
    assert_scalars({tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}, results.folder)

    def text(name: str) -> str:
        (event,) = events.Tensors(f"{name}/text_summary")
        assert event.step == STEP
        return event.tensor_proto.string_val[0].decode()

    verdict = read_verdict(results.folder)
    assert verdict is not None
    assert verdict.headline in text("verdict")
    assert verdict.sentence in text("verdict")
    assert "| train |" in text("costs")
    assert results.selection["rows_hash"] in text("selection")


def texts_of(board: Path, name: str) -> list[str]:
    """Of all that was written to a folder of TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(board)).Reload()
    return [event.tensor_proto.string_val[0].decode() for event in events.Tensors(f"{name}/text_summary")]


def judged_anew(run: Path) -> Verdict:
    """Another verdict than that which the run ended with."""
    verdict = read_verdict(run)
    assert verdict is not None
    later = Verdict(replace(verdict.evidence, loss_failed=True))
    assert later.headline != verdict.headline
    write_json(RunFiles(run).verdict, later.to_json())
    return later


def test_a_verdict_that_comes_later_goes_to_the_same_board(copy_of_finished: Path, tmp_path: Path) -> None:
    from lightning.pytorch.loggers import TensorBoardLogger

    logger = TensorBoardLogger(tmp_path, name="boards")
    log_results([logger, MetricsLog(tmp_path)], copy_of_finished, STEP)
    logger.finalize("success")
    before = read_verdict(copy_of_finished)
    later = judged_anew(copy_of_finished)
    log_verdict(copy_of_finished)
    assert [board.name for board in (tmp_path / "boards").iterdir()] == ["version_0"]
    told = texts_of(Path(logger.log_dir), "verdict")
    assert [before.headline in told[0], later.headline in told[0], later.headline in told[1]] == [True, False, True]  # type: ignore[union-attr]
    assert len(texts_of(Path(logger.log_dir), "costs")) == 1


def test_a_board_that_is_gone_is_warned_of(copy_of_finished: Path, tmp_path: Path) -> None:
    write_json(
        RunFiles(copy_of_finished).loggers,
        {"step": STEP, "loggers": [{"class": "TensorBoardLogger", "init_args": {"save_dir": "/proc/none"}}]},
    )
    with pytest.warns(UserWarning, match="TensorBoardLogger did not take the results"):
        log_verdict(copy_of_finished)


@pytest.mark.slow
def test_in_wandb_as_a_summary_and_a_table(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    from lightning.pytorch.loggers import WandbLogger

    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    log_results([logger], results.folder, STEP)
    summary = dict(logger.experiment.summary)
    name = logger.version
    wandb.finish()
    log_verdict(results.folder)
    # a folder's name may end otherwise, where two were made in one second
    assert {file.stem for file in (tmp_path / "wandb").glob("offline-run-*/*.wandb")} == {f"run-{name}"}
    assert summary["verdict/headline"] == results.verdict.headline  # type: ignore[union-attr]
    assert summary["selection/rows_hash"] == results.selection["rows_hash"]
    assert_scalars(summary, results.folder)
    (table,) = tmp_path.rglob("costs*.table.json")
    assert json.loads(table.read_text())["columns"] == results.costs[0]


@pytest.mark.slow
def test_in_mlflow_as_tags_and_files(results: Results, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from lightning.pytorch.loggers import MLFlowLogger

    logger = MLFlowLogger(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", artifact_location=str(tmp_path / "files"))
    log_results([logger], results.folder, STEP)
    later = judged_anew(results.folder)
    log_verdict(results.folder)
    run: Any = logger.experiment.get_run(logger.run_id)
    assert run.data.tags["verdict.headline"] == later.headline
    assert_scalars(run.data.metrics, results.folder)
    files = {file.name: file for file in (tmp_path / "files").rglob("artifacts/*")}
    assert json.loads(files["verdict.json"].read_text())["headline"] == later.headline
    assert json.loads(files["selection.json"].read_text())["n_rows"] == results.selection["n_rows"]
    assert "| train |" in files["costs.md"].read_text()


@pytest.mark.parametrize(("logger", "package"), [("WandbLogger", "wandb"), ("MLFlowLogger", "mlflow")])
def test_a_logger_without_its_package_is_told(
    logger: str, package: str, here: Here, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError(f"No module named '{package}'")

    monkeypatch.setattr(f"lightning.pytorch.loggers.{logger}.__init__", refuse)
    told = here("fit", *arguments, "--trainer.logger", logger, "--output", tmp_path / "run", code=2)
    assert f"pip install 'selectune[{package}]'" in told
    assert names(told, logger)
    assert not (tmp_path / "run").exists()


def test_of_a_run_without_a_selection(tmp_path: Path, copy_of_finished: Path) -> None:
    import shutil

    shutil.rmtree(copy_of_finished / "selection")
    (copy_of_finished / "verdict.json").unlink()
    log_results([MetricsLog(tmp_path)], copy_of_finished, STEP)
    assert not (tmp_path / "metrics.csv").exists(), "costs are logged by Savings"


def test_a_logger_that_fails_is_warned_of_and_the_others_go_on(results: Results, tmp_path: Path) -> None:
    class Away(MetricsLog):
        def save(self) -> None:
            raise ConnectionError("the server is away")

    from lightning.pytorch.loggers import TensorBoardLogger

    writer = TensorBoardLogger(tmp_path / "board")
    with pytest.warns(UserWarning, match="Away did not take the results .* the server is away"):
        log_results([Away(tmp_path), writer], results.folder, STEP)
    assert any((tmp_path / "board").rglob("events*"))
