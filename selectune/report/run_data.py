"""Contents of a run directory for its report: costs, rows, metrics, warnings."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import yaml

from selectune.common.errors import UserError
from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles
from selectune.common.training_outcome import TrainingOutcome
from selectune.costs.ledger import read_ledger
from selectune.costs.record import CostRecord, Part, Stage, Total, add_up, distinct, totals
from selectune.costs.saving import UNITS, Saving
from selectune.costs.uninterrupted import SplitCosts, split_costs
from selectune.report.learning_curves import Curve, read_metrics
from selectune.report.measured import Measured, measured
from selectune.report.numbers import flop, seconds
from selectune.verdict.expected import Expected
from selectune.verdict.judge import judge
from selectune.verdict.row_metrics import read_evaluations, read_rows
from selectune.verdict.verdict import Verdict

STAGE_NAMES: dict[Stage, str] = {
    "prepare": "Preparing data",
    "tune_scorer": "Tuning the scorer",
    "warm_up": "Warming up",
    "score": "Scoring the pool",
    "solve": "Solving",
    "select": "Choosing rows",
    "diagnose": "Diagnosing",
    "pilot": "Piloting",
    "search": "Training proxies",
    "train": "Training",
    "evaluate": "Evaluating",
    "reference": "Reference runs",
    "generate": "Generating",
}


@dataclass(frozen=True)
class RunData:
    """Contents of a run directory; what it lacks is None or empty.

    Args:
        run_dir: of the run.
        records: of ``cost.jsonl``.
        saving: of ``saving.json``; against training on all rows as ``compare`` measured it, where it did.
        manifest: of ``selection/manifest.json``.
        metrics: the last value of each column of ``metrics.csv``.
        config: the text of ``config.yaml``.
        warnings: for a reader, in sentences.
        curves: of each column of ``metrics.csv``, by step.
        forecast: of ``forecast.json``, as ``estimate`` wrote it.
        unfinished: a sentence where the run was not finished, else empty.
        warm_up_manifest: of ``warm_up/selection/manifest.json``.
        review: of the pool: of ``review.json`` or the manifest.
        training: of ``training.json``; where the warm-up failed, of its own.
    """

    run_dir: Path
    records: list[CostRecord]
    saving: Saving | None
    manifest: dict[str, Any]
    metrics: dict[str, float]
    config: str
    warnings: list[str]
    curves: dict[str, Curve]
    forecast: dict[str, Any]
    unfinished: str
    warm_up_manifest: dict[str, Any]
    review: dict[str, Any]
    training: TrainingOutcome | None

    @classmethod
    def read(cls, run_dir: Path, finished: bool | None = None) -> RunData:
        """Read a run directory.

        Args:
            run_dir: of the run.
            finished: whether it is; None looks for ``done.json``, which is the last file that a ``fit`` writes.

        Raises:
            UserError: there is no such directory, or a file of it is damaged.
        """
        if not run_dir.is_dir():
            raise UserError(f"There is no run in {run_dir}; name the folder that --output named.")
        files = RunFiles(run_dir)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            records = distinct(read_ledger(files.costs)) if files.costs.exists() else []
        manifest = _read_json(files.manifest, "select again")
        metrics, curves = read_metrics(files.metrics)
        outcomes = [TrainingOutcome.read(folder) for folder in (files.warm_up.path, run_dir)]
        known = [outcome for outcome in outcomes if outcome is not None]
        selection_warnings = manifest.get("warnings")
        unfinished = "Nothing was trained to the end here: there is no done.json, and no training in the ledger."
        if any(record.stage == "train" for record in records):
            unfinished = "This run is not finished: there is no done.json. Its command, given again, goes on with it."
        if files.finished if finished is None else finished:
            unfinished = ""
        return cls(
            run_dir=run_dir,
            records=records,
            saving=_measured(Saving.read(run_dir), files) if files.saving.exists() else None,
            manifest=manifest,
            metrics=metrics,
            config=_read_text(files.config, "restore it, or run again into a new folder"),
            warnings=[
                *(problem.message for outcome in known for problem in outcome.problems),
                *map(str, selection_warnings if isinstance(selection_warnings, list) else ()),
                *(str(warning.message) for warning in caught),
                *_caveats(records),
                *_open_stages(files, records),
            ],
            curves=curves,
            forecast=_read_json(files.forecast, "remove it, or run `estimate` again"),
            unfinished=unfinished,
            warm_up_manifest=_read_json(files.warm_up.manifest, "run again"),
            review=_read_json(files.review, "restore it, or run again into a new folder")
            or manifest.get("review")
            or {},
            training=next((outcome for outcome in known if outcome.failed), outcomes[1]),
        )

    def read_warm_up(self) -> RunData | None:
        """Contents of the warm-up's folder, where rows to warm up on were selected; else None."""
        return RunData.read(RunFiles(self.run_dir).warm_up.path, finished=True) if self.warm_up_manifest else None

    @cached_property
    def costs(self) -> SplitCosts:
        """The records as an uninterrupted run would have them, apart from what was done again."""
        epochs = self.saving.epochs if self.saving else None
        return split_costs(self.records, {"fit": self.saving.kept_rows * epochs} if self.saving and epochs else None)

    @property
    def cost_groups(self) -> dict[str, dict[Stage, Total]]:
        """Totals by stage of what each part took (``fit``, ``warm_up``, ``diagnosis``), and of what was ``avoided``."""
        spent = {part: [record for record in self.records if record.part == part] for part in get_args(Part)}
        groups = {part: totals(records).spent for part, records in spent.items()}
        groups["avoided"] = totals(self.records).avoided
        return {name: stages for name, stages in groups.items() if stages}

    @property
    def spent(self) -> Total:
        """Everything that it spent, without avoided costs."""
        return sum(totals(self.records).spent.values(), Total())

    @property
    def redone(self) -> Total:
        """The part of it that was spent on work done again after an interruption."""
        return add_up(self.costs.redone)

    @cached_property
    def measured(self) -> dict[str, Measured]:
        """Its metrics on the validation split and on held-out data, with what they were measured on."""
        files, outcome = RunFiles(self.run_dir), TrainingOutcome.read(self.run_dir)
        scores, evaluations = read_rows(files.row_metrics), read_evaluations(files.evaluations)
        return measured(self.metrics, scores, self.costs.kept, outcome.evaluated if outcome else None, evaluations)

    @cached_property
    def verdict(self) -> Verdict | None:
        """The verdict on a finished fit; None for other runs, and where only rows to warm up on were selected."""
        measured = any(name.startswith("test/") for name in self.metrics)
        if self.unfinished or self.saving is None or not measured or self.selected_for == "warm_up":
            return None
        return judge(self.run_dir, self.metrics)

    @property
    def expected(self) -> str:
        """The accuracy that a pilot forecast, beside the one that came; empty without a forecast."""
        return "" if (one := Expected.read(self.run_dir)) is None else one.sentence(self.metrics.get("val/accuracy"))

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.run_dir.resolve().name

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Content of ``config.yaml``; empty where it is no mapping."""
        try:
            settings = yaml.safe_load(self.config)
        except yaml.YAMLError:
            return {}
        return settings if isinstance(settings, dict) else {}

    @property
    def selected_for(self) -> Part:
        """The part that rows were selected for: the warm-up where they were for that alone, else the fine-tuning."""
        if self.saving:
            return self.saving.main.part
        return "warm_up" if self.warm_up_manifest and not self.manifest else "fit"

    @property
    def selects(self) -> bool:
        """Whether rows were left out, of the fine-tuning or of the warm-up."""
        return any(kept < pool for kept, pool in self.sizes.values())

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Rows and tokens of `selected_for`, each kept and of the pool, by their names; empty when unknown."""
        sizes = self.sizes_of(self.selected_for)
        return (
            {f"Warm-up {name.lower()}": both for name, both in sizes.items()}
            if self.selected_for == "warm_up"
            else sizes
        )

    def sizes_of(self, part: Part) -> dict[str, tuple[int, int]]:
        """Rows and tokens that a part trained on, each kept and of the pool; empty when unknown."""
        saving = self.saving.warm_up if self.saving and part == "warm_up" else self.saving
        if saving:
            return {"Rows": (saving.kept_rows, saving.pool_rows), "Tokens": (saving.kept_tokens, saving.pool_tokens)}
        manifest = self.warm_up_manifest if part == "warm_up" else self.manifest
        try:
            rows = int(manifest["n_rows"]), int(manifest["pool_rows"])
            tokens = int(manifest["budget"]["tokens"]), int(manifest["pool_tokens"])
        except (KeyError, TypeError, ValueError):
            return {}
        return {"Rows": rows, "Tokens": tokens}


def _measured(saving: Saving, files: RunFiles) -> Saving:
    """The saving against what all rows cost at the run's own seed, where ``compare`` ran them, else as it is."""
    if not files.comparison.is_file():
        return saving
    whole = files.rival("all_rows", read_mapping(files.comparison, "run compare again", "seeds")["seeds"][0])
    if not RunFiles(whole).finished:
        return saving
    changed = {}
    for unit in UNITS:
        terms, full = getattr(saving, unit), getattr(Saving.read(whole), unit).training
        if full and terms.selection is not None and terms.training is not None:
            changed[unit] = replace(
                terms,
                full_training=full,
                full_is_estimated=False,
                saving=1 - (terms.selection + terms.training) / full,
                break_even_uses=terms.selection / (full - terms.training) if full > terms.training else None,
            )
    return replace(saving, **changed)


def _read_text(path: Path, fix: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); {fix}.") from None


def _read_json(path: Path, fix: str) -> dict[str, Any]:
    """The mapping in a file; empty where there is none."""
    text = _read_text(path, fix)
    try:
        content = json.loads(text) if path.exists() else {}
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {fix}.") from None
    return content if isinstance(content, dict) else {}


def _caveats(records: list[CostRecord]) -> Iterable[str]:
    for record in records:
        if not record.finished and not record.cached:
            yield (
                f"{STAGE_NAMES[record.stage]} did not finish in attempt {record.attempt} on rank {record.rank}; "
                "what it had spent is in the total."
            )
    spent = [record for record in records if not record.cached]
    if unknown := sorted({STAGE_NAMES[record.stage] for record in spent if record.flops is None}):
        yield f"The FLOPs of some stages are unknown, and so are sums over them: {', '.join(unknown)}."
    commits = sorted({record.commit for record in spent})
    if len(commits) > 1:
        yield f"Different versions of the code ran: {', '.join(commits)}."
    elif commits and commits[0].endswith("-dirty"):
        yield f"The code that ran is not exactly the commit {commits[0].removesuffix('-dirty')}: it had changes."


def _open_stages(files: RunFiles, records: list[CostRecord]) -> Iterable[str]:
    """Costs so far of stages that are running, or were killed, as they last recorded them."""
    known = {record.identity for record in records}
    for file in sorted(files.open_costs.glob("*.json")):
        try:
            record = CostRecord.from_json(json.loads(file.read_bytes()))
        except (ValueError, OSError):
            continue  # the stage has ended meanwhile, or the next attempt will say that it is damaged
        if record.identity not in known:
            yield (
                f"{STAGE_NAMES[record.stage]} runs still, or was killed (attempt {record.attempt}, rank {record.rank}):"
                f" {seconds(record.device_s)} and {flop(record.flops)} so far, which are not in the tables yet."
            )
