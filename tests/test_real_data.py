"""On real data and weights, where the environment names them: ``make test-slow``, some 20 minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import REAL, REPOSITORY, Cli, metrics_of

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(len(REAL) < 2, reason="SELECTUNE_DATA and SELECTUNE_MODELS are not set"),
]
MODEL = [
    "--model.checkpoint",
    "minilm-l6-mlm",
    "--model.learning_rate",
    "1e-4",
    "--trainer.enable_progress_bar",
    "false",
]


@pytest.mark.parametrize("selector", ["igse", "random"])
def test_half_of_4000_rows_of_sst2(selector: str, cli: Cli, tmp_path: Path) -> None:
    """Random rows reach what a plain loop reaches on as many (0.80); IGSE is held to no more than to be sensible."""
    run, configs = tmp_path / "run", REPOSITORY / "configs"
    cli(
        "fit", "--config", configs / "euds/sst2.yaml", "--config", configs / f"selectors/{selector}.yaml", *MODEL,
        "--data.max_train_rows", "4000", "--data.keep", "0.5", "--trainer.max_epochs", "3", "--output", run, **REAL,
    )  # fmt: skip
    assert metrics_of(run)["test/accuracy"] > (0.78 if selector == "random" else 0.7)


def test_warming_up_on_abstracts_lowers_the_held_out_loss(cli: Cli, tmp_path: Path) -> None:
    data = [
        "--data", "LanguageModeling", "--data.dataset", "pool_cs_abstracts", "--data.window", "96",
        "--data.max_length", "100", "--data.max_train_rows", "2000", "--data.max_eval_rows", "300",
    ]  # fmt: skip
    cli("test", *data, *MODEL, "--output", tmp_path / "before", **REAL)
    cli("fit", *data, *MODEL, "--trainer.max_epochs", "1", "--output", tmp_path / "after", **REAL)
    before, after = metrics_of(tmp_path / "before"), metrics_of(tmp_path / "after")
    assert after["test/loss"] < before["test/loss"]


def test_questions_of_squad_run_to_their_end(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "run"
    cli(
        "fit", "--config", REPOSITORY / "configs/euds/squad.yaml", *MODEL, "--data.max_train_rows", "3000",
        "--data.max_eval_rows", "300", "--trainer.max_epochs", "2", "--output", run, **REAL,
    )  # fmt: skip
    assert {"test/em", "test/f1"} <= set(metrics_of(run))
