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

from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles
from selectune.costs.ledger import read_ledger
from selectune.costs.record import totals
from selectune.verdict.judge import read_verdict
from selectune.verdict.verdict import Verdict

COSTS = ("stage", "device_s", "wall_s", "flops", "examples", "tokens")  # columns of the table of costs
OF_SELECTION = ("selector", "n_rows", "pool_rows", "rows_hash", "scorer", "source", "seed")  # of its manifest
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
        """The verdict so far; of a run that is compared with its rivals later, without these."""
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
    results = Results(folder)
    for logger in loggers:
        try:
            _log(logger, results, step)
        except Exception as error:  # of a server that is away, say: the run has all of it in its own files
            warnings.warn(f"{type(logger).__name__} did not take the results of {folder}: {error}", stacklevel=2)


def _log(logger: Logger, results: Results, step: int) -> None:
    if results.scalars:
        logger.log_metrics(results.scalars, step=step)
    if isinstance(logger, TensorBoardLogger):
        _to_tensorboard(logger.experiment, results, step)
    elif isinstance(logger, WandbLogger):
        _to_wandb(logger.experiment, results)
    elif isinstance(logger, MLFlowLogger):
        _to_mlflow(logger.experiment, str(logger.run_id), results)
    logger.save()


def _to_tensorboard(writer: Any, results: Results, step: int) -> None:
    texts = {"costs": markdown(*results.costs)}
    if results.verdict:
        texts["verdict"] = f"**{results.verdict.headline}**\n\n{results.verdict.sentence}"
    if results.selection:
        texts["selection"] = markdown(["", ""], [[name, value] for name, value in results.selection.items()])
    for name, text in texts.items():
        writer.add_text(name, text, step)


def _to_wandb(run: Any, results: Results) -> None:
    import wandb

    facts = {f"selection/{name}": value for name, value in results.selection.items()}
    run.summary.update({f"verdict/{name}": text for name, text in results.words.items()} | facts)
    columns, rows = results.costs
    run.log({"costs": wandb.Table(columns=[*columns], data=rows)})


def _to_mlflow(client: Any, run_id: str, results: Results) -> None:
    for name, text in results.words.items():
        client.set_tag(run_id, f"verdict.{name}", text)
    if results.verdict:
        client.log_dict(run_id, results.verdict.to_json(), RunFiles(results.folder).verdict.name)
    columns, rows = results.costs
    client.log_text(run_id, markdown(columns, rows), "costs.md")
    if results.selection:
        client.log_dict(run_id, results.selection, "selection.json")


def markdown(columns: list[str], rows: list[list[Any]]) -> str:
    """A table in Markdown; unknown values are empty."""
    lines = [columns, ["---"] * len(columns), *(["" if cell is None else str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
