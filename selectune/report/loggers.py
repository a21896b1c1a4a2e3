"""The verdict, the costs and the selection of a run in the loggers of its Trainer, each as its own kind there.

Numbers reach every logger as scalars: costs as ``cost/...`` by `Savings`, those of the selection as ``selection/...``.
Beside them TensorBoard gets texts, W&B a summary and tables, MLflow tags and files. The run's folder keeps all.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from selectune.common.files import read_mapping, write_json
from selectune.common.run_files import RunFiles
from selectune.costs.ledger import read_ledger
from selectune.costs.record import totals
from selectune.verdict.judge import read_verdict
from selectune.verdict.verdict import Verdict

COSTS = ("stage", "device_s", "wall_s", "flops", "examples", "tokens")  # columns of the table of costs
OF_SELECTION = ("selector", "n_rows", "pool_rows", "rows_hash", "scorer", "source", "seed")  # of its manifest
BOARDS: dict[str, Any] = {kind.__name__: kind for kind in (TensorBoardLogger, WandbLogger, MLFlowLogger)}
Table = tuple[list[str], list[list[Any]]]  # columns, and rows


@dataclass(frozen=True)
class Results:
    """A finished run, as loggers get it.

    Args:
        folder: of the run.
    """

    folder: Path

    @cached_property
    def verdict(self) -> Verdict | None:
        """The verdict so far; of a run whose rivals are not done, without these."""
        return read_verdict(self.folder)

    @cached_property
    def costs(self) -> Table:
        """The cost of each stage so far, a row each."""
        spent = totals(read_ledger(RunFiles(self.folder).costs)).spent
        return list(COSTS), [[stage, *(getattr(total, name) for name in COSTS[1:])] for stage, total in spent.items()]

    @cached_property
    def selection(self) -> dict[str, Any]:
        """The selection in words and numbers, by name; empty without one."""
        file = RunFiles(self.folder).manifest
        if not file.is_file():
            return {}
        manifest = read_mapping(file, "select again", *OF_SELECTION, "budget", "pool_input_tokens")
        facts = {name: manifest[name] for name in OF_SELECTION}
        tokens = {"tokens": manifest["budget"]["input_tokens"], "pool_tokens": manifest["pool_input_tokens"]}
        return facts | tokens | {"selector": json.dumps(manifest["selector"], ensure_ascii=False)}

    @property
    def scalars(self) -> dict[str, float]:
        """The numbers of the selection."""
        kept = self.selection
        if not kept:
            return {}
        shares = {"rows": (kept["n_rows"], kept["pool_rows"]), "tokens": (kept["tokens"], kept["pool_tokens"])}
        counts = {f"selection/{name}": float(some) for name, (some, _) in shares.items()}
        return counts | {f"selection/share_of_{name}": some / max(1, all_) for name, (some, all_) in shares.items()}

    @property
    def words(self) -> dict[str, str]:
        """The verdict in a word and in sentences; empty without one."""
        names = ("word", "headline", "sentence") if self.verdict else ()
        return {name: str(getattr(self.verdict, name)) for name in names}


def log_results(loggers: Iterable[Logger], folder: Path, step: int) -> None:
    """Give the results of a finished run to its loggers, on rank 0; one that fails is warned of.

    Args:
        loggers: of the Trainer.
        folder: of the run.
        step: of the training, at which numbers are logged.
    """
    results, places = Results(folder), []
    for logger in loggers:
        try:
            _log(logger, results, step)
            places += [place] if (place := _place_of(logger)) else []
        except Exception as error:  # of a server that is away, say: the run has all of it in its own files
            _warn(logger, folder, error)
    if places:
        write_json(RunFiles(folder).loggers, {"step": step, "loggers": places})


def log_verdict(folder: Path) -> None:
    """Give the verdict on a run that was compared with its rivals to the loggers that it had.

    One that fails is warned of.
    """
    if not (file := RunFiles(folder).loggers).is_file():
        return
    kept = read_mapping(file, "fit again", "step", "loggers")
    for place in kept["loggers"]:
        kind = BOARDS[place["class"]]
        try:
            logger = kind(**place["init_args"])
            _log_verdict(logger, Results(folder), kept["step"])
            logger.finalize("success")
        except Exception as error:
            _warn(kind, folder, error)


def _warn(logger: Any, folder: Path, error: Exception) -> None:
    name = getattr(logger, "__name__", type(logger).__name__)
    warnings.warn(f"{name} did not take the results of {folder}: {error}", stacklevel=3)


def _place_of(logger: Logger) -> dict[str, Any] | None:
    """The logger as it is made again to go on with the same run; None of one that has no words."""
    at: dict[str, Any]
    if isinstance(logger, TensorBoardLogger):
        at = {"save_dir": str(logger.save_dir), "name": logger.name, "version": logger.version}
    elif isinstance(logger, WandbLogger):
        at = {"save_dir": str(logger.save_dir), "project": logger.name, "id": logger.version}
        at |= {"offline": logger._offline, "resume": "allow"}
    elif isinstance(logger, MLFlowLogger):
        at = {"tracking_uri": logger._tracking_uri, "experiment_name": logger._experiment_name, "run_id": logger.run_id}
    else:
        return None
    return {"class": next(name for name, kind in BOARDS.items() if isinstance(logger, kind)), "init_args": at}


def _log(logger: Logger, results: Results, step: int) -> None:
    if results.scalars:
        logger.log_metrics(results.scalars, step=step)
    if isinstance(logger, TensorBoardLogger):
        _to_tensorboard(logger.experiment, results, step)
    elif isinstance(logger, WandbLogger):
        _to_wandb(logger.experiment, results)
    elif isinstance(logger, MLFlowLogger):
        _to_mlflow(logger.experiment, str(logger.run_id), results)
    _log_verdict(logger, results, step)
    logger.save()


def _log_verdict(logger: Logger, results: Results, step: int) -> None:
    if results.verdict is None:
        return
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_text("verdict", f"**{results.verdict.headline}**\n\n{results.verdict.sentence}", step)
    elif isinstance(logger, WandbLogger):
        logger.experiment.summary.update({f"verdict/{name}": text for name, text in results.words.items()})
    elif isinstance(logger, MLFlowLogger):
        for name, text in results.words.items():
            logger.experiment.set_tag(logger.run_id, f"verdict.{name}", text)
        file = RunFiles(results.folder).verdict.name
        logger.experiment.log_dict(str(logger.run_id), results.verdict.to_json(), file)


def _to_tensorboard(writer: Any, results: Results, step: int) -> None:
    texts = {"costs": markdown(*results.costs)}
    if results.selection:
        texts["selection"] = markdown(["", ""], [[name, value] for name, value in results.selection.items()])
    for name, text in texts.items():
        writer.add_text(name, text, step)


def _to_wandb(run: Any, results: Results) -> None:
    import wandb

    facts = {f"selection/{name}": value for name, value in results.selection.items()}
    run.summary.update(facts)
    columns, rows = results.costs
    run.log({"costs": wandb.Table(columns=[*columns], data=rows)})


def _to_mlflow(client: Any, run_id: str, results: Results) -> None:
    columns, rows = results.costs
    client.log_text(run_id, markdown(columns, rows), "costs.md")
    if results.selection:
        client.log_dict(run_id, results.selection, "selection.json")


def markdown(columns: list[str], rows: list[list[Any]]) -> str:
    """A table in Markdown; unknown values are empty."""
    lines = [columns, ["---"] * len(columns), *(["" if cell is None else str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
