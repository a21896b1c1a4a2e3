"""Cards of a selection and of a model, ``README.md`` with the hub's metadata on top."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selectune.common.errors import UserError
from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles, SelectionFiles, adapter_config
from selectune.common.training_outcome import TrainingOutcome
from selectune.costs.record import CostRecord, add_up
from selectune.data.adapters import is_adapter
from selectune.data.given import title_of
from selectune.report.numbers import SPACE, count, flop, seconds, share
from selectune.report.run_data import STAGE_NAMES, RunData
from selectune.selection.manifest import Manifest
from selectune.sharing.chosen import Chosen, config_of

CARD = "README.md"
TEMPLATES = Path(__file__).parent / "templates"
TAGS = ["selectune", "data-selection"]
TASKS = {  # by the end of the name of a network's class
    "ForSequenceClassification": "text-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
}
METRICS = {"macro_f1": "f1", "micro_f1": "f1", "matthews": "matthews_correlation", "em": "exact_match"}  # hub's names
COLUMNS = {
    "row_id": "position in the pool that rows were chosen from, which is the train split without its held-out rows",
    "source_row": "position in the source's own train split",
    "last_source_row": "position of the last of the source's rows that this one was cut from",
    "domain": "the data set of the pool that the row is from",
    "score": "of the selector; what it means is up to the selector",
}
PLACES_OF_IDS = tuple(name for name in COLUMNS if name != "score")
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


def dataset_card(chosen: Chosen, columns: Sequence[str], kind: str) -> str:
    """The card of an exported selection.

    Args:
        chosen: the selection.
        columns: of the exported rows.
        kind: in which they are exported.
    """
    from huggingface_hub import DatasetCard, DatasetCardData

    manifest = chosen.selection.manifest
    source = on_hub(chosen.data.dataset, manifest.source)
    files = {"config_name": "default", "data_files": [{"split": "train", "path": f"train.{kind}"}]}
    more: dict[str, Any] = {"configs": [files]} if kind in ("jsonl", "parquet", "csv") else {}
    metadata = DatasetCardData(
        pretty_name=f"{count(manifest.n_rows)} rows of {manifest.source}",
        size_categories=[next((name for size, name in SIZES if manifest.n_rows < size), "n>10M")],
        task_categories=["text-classification"] if chosen.classes else None,
        source_datasets=[source] if source else None,
        tags=TAGS,
        **more,
    )
    shown = PLACES_OF_IDS if kind == "ids" else columns
    card = DatasetCard.from_template(
        metadata,
        template_path=str(TEMPLATES / "dataset_card.md"),
        **selection_facts(manifest, chosen.folder),
        classes=[(cell(name), *numbers) for name, numbers in chosen.classes.items()],
        columns=[(name, COLUMNS.get(name, "of the source")) for name in columns if name in shown],
    )
    return str(card).rstrip() + "\n"


def model_card(run: Path) -> str:
    """The card of the model that a run exported: its metrics, what it cost, and the rows that it was trained on.

    Raises:
        UserError: a file of the run is damaged.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    files, of_run = RunFiles(run), RunData.read(run)
    config = config_of(run)
    manifest = Manifest.of(of_run.manifest) if of_run.manifest else None
    outcome = TrainingOutcome.read(run)
    given, (checkpoint, base) = (config["data"].get("init_args") or {}).get("dataset"), base_of(run)
    source = on_hub(given, manifest.source if manifest else outcome.data if outcome else "")
    dataset = source or Path(title_of(given)).name  # no path of this machine
    adapter = is_adapter(files.export)
    described = adapter_config(files.export) if adapter else files.export / "config.json"
    architectures = read_mapping(described, "fit again").get("architectures") or [""]
    task = next((task for end, task in TASKS.items() if architectures[0].endswith(end)), None)
    tested = [one for one in of_run.measured.values() if one.name.startswith("test/")]
    short = [(one, one.name.removeprefix("test/")) for one in tested]
    results = [
        EvalResult(
            task_type=task or "other", dataset_type=source or "own", dataset_name=dataset,
            metric_type=METRICS.get(name, name), metric_name=name, metric_value=one.value,
        )
        for one, name in short
        if not name.rpartition("/")[2].startswith("majority_")  # a reference, and no result of the model
    ]  # fmt: skip
    metadata = ModelCardData(
        base_model=base and base.partition("@")[0],
        datasets=[source] if source else None,
        eval_results=results or None,
        library_name="peft" if adapter else "transformers",
        model_name=of_run.name if results else None,
        pipeline_tag=task,
        tags=TAGS,
    )
    facts = {} if manifest is None else selection_facts(manifest, files.selection)
    intervals = {one.name: [f"{bound:.4f}" for bound in one.bounds or ()] for one in tested}
    card = ModelCard.from_template(
        metadata,
        template_path=str(TEMPLATES / "model_card.md"),
        title=of_run.name,
        checkpoint=checkpoint,
        task=task,
        adapter=adapter,
        dataset=cell(dataset),
        metrics=[(name, f"{one.value:.4f}", " to ".join(intervals[one.name]), one.over) for one, name in short],
        verdict=None if of_run.verdict is None else of_run.verdict.sentence,
        warnings=of_run.warnings,
        stages=costs_by_stage(of_run.records),
        spent=_both(of_run.records),
        settings=_settings(config),
        **facts,
    )
    return str(card).rstrip() + "\n"


def selection_facts(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """The facts of a selection for a card: asked, kept, dropped, its hashes and costs."""
    budget = manifest.budget
    asked = {name: value for name, value in (budget.get("asked") or {}).items() if value is not None}
    kept = int(budget.get("tokens", 0))
    return {
        "selector": manifest.selector["class"].rpartition(".")[2],
        "asked": [
            ("selector", code(manifest.selector)),
            ("budget", code(asked) if asked else "set by the selector"),
            ("seed", manifest.seed),
            ("scored by", cell(manifest.scorer)),
            *([("compared with", cell(manifest.target["source"]))] if manifest.target else []),
            *([("shares of the classes expected in use", code(manifest.prior))] if manifest.prior else []),
            *([("review of the pool", code(_without_path(manifest.review)))] if manifest.review else []),
        ],
        "sizes": [
            ("rows", *_split(manifest.n_rows, manifest.pool_rows)),
            ("tokens", *_split(kept, manifest.pool_tokens)),
        ],
        "n_rows": count(manifest.n_rows),
        "pool_rows": count(manifest.pool_rows),
        "share": share(manifest.n_rows / max(manifest.pool_rows, 1)),
        "source": cell(manifest.source),
        "selection_warnings": manifest.warnings,
        "hashes": [
            ("manifest", manifest_hash(folder)),
            ("row ids", manifest.rows_hash),
            ("pool", manifest.pool_fingerprint),
            ("weights of the scorer", manifest.weights_hash),
        ],
        "made": f"{manifest.created_at}, selectune {manifest.versions.get('selectune', '')} at {manifest.commit}",
        "selection_cost": _both(CostRecord.from_json(record) for record in manifest.costs),
        "revision": manifest.revision,
    }


def costs_by_stage(records: Iterable[CostRecord]) -> list[tuple[str, str, str]]:
    """Stage, FLOPs and device time of what was spent, a stage a row."""
    spent = [record for record in records if not record.cached]
    stages = dict.fromkeys(record.stage for record in spent)
    totals = {stage: add_up(record for record in spent if record.stage == stage) for stage in stages}
    return [(STAGE_NAMES[stage], flop(total.flops), seconds(total.device_s)) for stage, total in totals.items()]


def manifest_hash(folder: Path) -> str:
    """Hash of the manifest of a selection, byte by byte, 32 hexadecimal digits.

    Raises:
        UserError: it cannot be read.
    """
    file = SelectionFiles(folder).manifest
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); select again.", path=file) from error


def base_of(run: Path) -> tuple[str, str | None]:
    """The name of the model that a run's export was made of, without its path, and the hub's name of it, if any.

    A whole model was made of the one before the warm-up; an adapter fits the weights after it alone.

    Raises:
        UserError: a file of the run is damaged.
    """
    files, named = RunFiles(run), str(config_of(run)["model"].get("checkpoint"))
    outcome, warmed = TrainingOutcome.read(run), TrainingOutcome.read(files.warm_up.path)
    if warmed is not None and is_adapter(files.export):
        return files.warm_up.export.resolve().relative_to(run.resolve().parent).as_posix(), None
    first = warmed or outcome
    base = on_hub(named, first.model if first else "")
    return base or Path(named).name, base


def on_hub(name: Any, found: str) -> str | None:
    """The name of a data set or model, where it was found on the hub, so that others find the same there; else None.

    Args:
        name: that the user gave.
        found: where a run found it, such as ``hub:bert-base-uncased@<commit>``; empty where that is not known.
    """
    if not isinstance(name, str):
        return None
    return name if re.match(rf"hub:{re.escape(name.partition('@')[0])}([@/ ]|$)", found) else None


def cell(text: object) -> str:
    """A text as it stands in a table of Markdown, in one line."""
    return " ".join(str(text).split()).replace("|", "\\|")


def code(described: Any) -> str:
    """Settings as JSON in a table of Markdown."""
    return f"`{cell(json.dumps(described, ensure_ascii=False))}`"


def _without_path(review: Mapping[str, Any]) -> dict[str, Any]:
    return {**review, "file": Path(str(review.get("file"))).name}


def _split(kept: int, pool: int) -> tuple[str, str, str, str]:
    return count(pool), count(kept), count(pool - kept), share(kept / max(pool, 1))


def _both(records: Iterable[CostRecord]) -> str:
    total = add_up(record for record in records if not record.cached)
    return f"{flop(total.flops)} and {seconds(total.device_s)} of a device".replace(SPACE, " ")


def _settings(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings of the training that a reader asks for first."""
    data, model, trainer = (config.get(name) or {} for name in ("data", "model", "trainer"))
    arguments = data.get("init_args") or {}
    named = {
        "model.learning_rate": model.get("learning_rate"),
        "model.weight_decay": model.get("weight_decay"),
        "trainer.max_epochs": trainer.get("max_epochs"),
        "trainer.max_steps": trainer.get("max_steps"),
        "data.batch_size": arguments.get("batch_size"),
        "data.max_length": arguments.get("max_length"),
        "seed_everything": config.get("seed_everything"),
    }
    return [(name, cell(value)) for name, value in named.items() if value is not None]
