"""The finished parts of an evaluation, kept in the cache until it is whole: a killed one goes on with the next."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selectune.common.files import write_json
from selectune.costs.ledger import StageCost
from selectune.costs.record import Kept
from selectune.evaluations.language_model import LanguageModel


class Parts:
    """Files that hold a part each, with what had been spent when it was finished.

    Args:
        folder: of the evaluation of one model; None keeps them in memory alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.known: dict[int, Any] = {}
        self.costs: list[dict[str, Any]] = []  # the last record of each earlier attempt
        self.cost: StageCost | None = None  # of this attempt
        last: dict[str, dict[str, Any]] = {}
        for file in sorted(folder.glob("*.json")) if folder else ():
            try:
                content = json.loads(file.read_text())
                self.known[int(file.stem)], cost = content["part"], content["cost"]
                Kept.of(cost)
            except (OSError, ValueError, KeyError, TypeError):  # damaged: it is made again
                self.known.pop(int(file.stem), None)
                continue
            if cost["wall_s"] >= last.get(cost["started_at"], cost)["wall_s"]:
                last[cost["started_at"]] = cost
        self.costs = list(last.values())

    def keep(self, index: int, part: Any, model: LanguageModel) -> None:
        """Keep a part, as JSON types, once what the model spent on it is counted."""
        self.known[index] = part
        if self.cost is not None and self.folder is not None:
            model.charge(self.cost)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / f"{index:06d}.json", {"part": part, "cost": asdict(self.cost.so_far())})

    def remove(self) -> None:
        """Remove all of them."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
