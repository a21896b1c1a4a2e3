"""What a run directory says about costs, rows and results, before anybody draws it."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selectune.costs import CostRecord, Stage, distinct
from selectune.errors import UserError
from selectune.ledger import read_ledger
from selectune.savings import Saving

STAGE_NAMES: dict[Stage, str] = {
    "prepare": "Preparing data",
    "tune_scorer": "Tuning the scorer",
    "warm_up": "Warming up",
    "score": "Scoring the pool",
    "solve": "Solving",
    "select": "Choosing rows",
    "train": "Training",
    "evaluate": "Evaluating",
}


@dataclass(frozen=True)
class Facts:
    """What a run directory says; what it lacks is None or empty.

    Args:
        run_dir: of the run.
        records: of ``cost.jsonl``.
        saving: of ``saving.json``.
        manifest: of ``selection/manifest.json``.
        metrics: the last value of each column of ``metrics.csv``.
        config: the text of ``config.yaml``.
        warnings: that a reader should know, in sentences.
    """

    run_dir: Path
    records: list[CostRecord]
    saving: Saving | None
    manifest: dict[str, Any]
    metrics: dict[str, float]
    config: str
    warnings: list[str]

    @classmethod
    def read(cls, run_dir: Path) -> Facts:
        """Gather what there is.

        Raises:
            UserError: there is no such directory, or a file of it is damaged.
        """
        if not run_dir.is_dir():
            raise UserError(f"There is no run in {run_dir}; name the folder that --output named.")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ledger = run_dir / "cost.jsonl"
            records = distinct(read_ledger(ledger)) if ledger.exists() else []
        manifest = _read_manifest(run_dir / "selection" / "manifest.json")
        config = run_dir / "config.yaml"
        return cls(
            run_dir,
            records,
            Saving.read(run_dir) if (run_dir / "saving.json").exists() else None,
            manifest,
            last_metrics(run_dir / "metrics.csv"),
            config.read_text() if config.exists() else "",
            [*map(str, manifest.get("warnings", ())), *(str(one.message) for one in caught), *_doubts(records)],
        )

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Rows and tokens, each kept and of the pool; empty when unknown."""
        if saving := self.saving:
            return {"Rows": (saving.kept_rows, saving.pool_rows), "Tokens": (saving.kept_tokens, saving.pool_tokens)}
        try:
            rows = int(self.manifest["n_rows"]), int(self.manifest["pool_rows"])
            tokens = int(self.manifest["budget"]["tokens"]), int(self.manifest["pool_tokens"])
        except (KeyError, TypeError, ValueError):
            return {}
        return {"Rows": rows, "Tokens": tokens}


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); select again.") from None
    return manifest if isinstance(manifest, dict) else {}


def last_metrics(path: Path) -> dict[str, float]:
    """The last value of each metric of a ``metrics.csv``; a file that is not there has none."""
    found: dict[str, float] = {}
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for name, cell in row.items():
                    if name and cell and name not in ("step", "epoch"):
                        try:
                            found[name] = float(cell)
                        except (TypeError, ValueError):
                            continue
    return found


def _doubts(records: list[CostRecord]) -> Iterable[str]:
    for record in records:
        if not record.finished and not record.cached:
            yield (
                f"{STAGE_NAMES[record.stage]} did not finish in attempt {record.attempt} on rank {record.rank}; "
                "what it had spent is counted."
            )
    spent = [record for record in records if not record.cached]
    if unknown := sorted({STAGE_NAMES[record.stage] for record in spent if record.flops is None}):
        yield f"The FLOPs of some stages are unknown, and so are sums over them: {', '.join(unknown)}."
    commits = sorted({record.commit for record in spent})
    if len(commits) > 1:
        yield f"Different versions of the code ran: {', '.join(commits)}."
    elif commits and commits[0].endswith("-dirty"):
        yield f"The code that ran is not exactly the commit {commits[0].removesuffix('-dirty')}: it had changes."
