"""Every shipped config runs, shortened: on generated rows and tiny models in place of what it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from selectune.common.run_files import RunFiles
from tests.conftest import metrics_of
from tests.local_copies import local_copies, read_config, some_cells
from tests.test_configs import CONFIGS, TABLES, in_process, layers, named  # noqa: F401  (a fixture)

# Values that a config may have, and those of a short run.
SHORT = {
    "max_train_rows": 100, "keep_rows": 20, "keep_tokens": 400, "window": 30, "max_length": 48, "max_eval_rows": 20,
    "max_dev_rows": 20, "max_rows": 20, "max_prompts": 6, "samples": 2, "max_new_tokens": 4, "max_epochs": 1,
    "rows": 60, "doc_stride": 8, "max_question_tokens": 12, "max_target_rows": 20, "batch_size": 8,
}  # fmt: skip
QUIET = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "enable_progress_bar": False, "max_epochs": 1}


# Instead of smaller ones: the embeddings of a random model lie near to each other, and few rows must do.
SHARES = {"similarity": 0.999999, "held_out": 0.3}


def shortened(config: Any) -> Any:
    """A config with the values of a short run wherever it has larger ones."""
    if isinstance(config, list):
        return [shortened(one) for one in config]
    if not isinstance(config, dict):
        return config
    return {
        name: min(value, SHORT[name])
        if isinstance(value, int) and name in SHORT
        else SHARES[name]
        if name in SHARES
        else shortened(value)
        for name, value in config.items()
    }


@pytest.fixture
def run_shortened(
    model_folder: Path,
    causal_folder: Path,
    in_process: Callable[..., None],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[list[Path]], Path]:
    """Runs the fit of some configs, one laid over the other, and returns its folder."""

    def run(configs: list[Path]) -> Path:
        written = []
        for place, file in enumerate(configs):
            short = shortened(read_config(file))
            data = short.get("data", {})
            if data.get("class_path") == "QuestionAnswering":
                data["init_args"] = {"max_question_tokens": 12} | data["init_args"] | {"doc_stride": 8}
            if place == len(configs) - 1:
                short["trainer"] = short.get("trainer", {}) | QUIET
            written.append(tmp_path / f"{place}.yaml")
            written[-1].write_text(yaml.safe_dump(short, sort_keys=False))
        short_configs = [read_config(file) for file in written]
        for name, value in local_copies(tmp_path / "copies", short_configs, model_folder, causal_folder).items():
            monkeypatch.setenv(name, value)
        if "match: runs/sst2" in configs[-1].read_text():  # random rows of the cost of a run that must be there
            matched = [part for file in written[:-1] for part in ("--config", file)]
            in_process("fit", *matched, "--trainer.accelerator", "cpu", "--output", tmp_path / "runs" / "sst2")
        in_process("fit", *(part for file in written for part in ("--config", file)), "--output", tmp_path / "run")
        return tmp_path / "run"

    return run


@pytest.mark.slow
@pytest.mark.parametrize("file", CONFIGS, ids=named)
def test_a_config_runs(file: Path, run_shortened: Callable[[list[Path]], Path]) -> None:
    run = run_shortened(layers(file))
    assert RunFiles(run).finished
    assert any(name.startswith("test/") for name in metrics_of(run))
    config = read_config(run / "config.yaml")
    for evaluation in config["evaluations"] or ():
        assert list(RunFiles(run).evaluations.glob("*_before.parquet")), evaluation


def some_methods(file: Path) -> list[str]:
    """Methods of the first task of a table: the last that needs no other's run, and those with their own scorer."""
    methods = {name: one for name, one in read_config(file)["methods"].items() if "match" not in one}
    return [*(name for name, method in methods.items() if "scorer" in str(method.get("set"))), list(methods)[-1]]


RUN_CELLS = [(file, method) for file in TABLES for method in dict.fromkeys(some_methods(file))]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "method"), RUN_CELLS, ids=[f"{named(file)}-{name}" for file, name in RUN_CELLS])
def test_a_cell_of_a_table_runs(
    file: Path, method: str, run_shortened: Callable[[list[Path]], Path], tmp_path: Path
) -> None:
    cells = [cell for cell in some_cells(file) if not cell.match and cell.metric]
    cell = next(one for one in cells if one.task == cells[0].task and one.method == method)
    written = tmp_path / "cell.yaml"
    written.write_text(yaml.safe_dump(cell.config, sort_keys=False))
    assert f"test/{cell.metric}" in metrics_of(run_shortened([written]))
