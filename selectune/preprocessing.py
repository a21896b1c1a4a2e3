"""Selection as a preprocessing stage: score on all ranks, merge, derive, select and write on rank 0, read on every one.

selection = select_rows(datamodule, model, settings, trainer_for, ledger, part="fit", folder=run / "selection")
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
from torch.utils.data import DataLoader

from selectune.batching import PlannedBatches, plan_batches
from selectune.costs import CostRecord, Part, code_version
from selectune.datamodules.base import SelectionDataModule
from selectune.distributed import barrier, on_rank_zero
from selectune.errors import SelectionError, UserError
from selectune.flops import measure_flops
from selectune.ledger import Ledger, read_ledger
from selectune.lightning_modules.scorer import Scorer, ScorerSettings, ShardWriter
from selectune.paths import default_cache
from selectune.pool import Pool
from selectune.selection import Manifest, Selection, describe, hash_rows
from selectune.selectors.base import Signals
from selectune.signals import DERIVED_FROM, KINDS, Definition, Shards, SignalStore
from selectune.sources import ModelSource, find_model, weights_hash
from selectune.tokenization import TokenizedRows, load_tokenizer, tokenizer_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TrainerFor = Callable[[list[pl.Callback]], pl.Trainer]


@dataclass
class ScoringModel:
    """The model that scores, with what its signals are keyed by."""

    source: ModelSource
    settings: ScorerSettings

    @cached_property
    def weights_hash(self) -> str:
        """Of the weights and the config; computed by rank 0."""
        return on_rank_zero(lambda: weights_hash(self.source.folder))

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of the scoring model."""
        return load_tokenizer(self.source.folder)

    @cached_property
    def tokenizer_hash(self) -> str:
        """Of the tokenizer."""
        return tokenizer_hash(self.tokenizer)

    def define(self, name: str, pool: Pool, max_length: int) -> Definition:
        """The definition of a signal of a pool by this model."""
        if name not in KINDS:
            raise UserError(
                f"There is no signal '{name}'; there are {', '.join(KINDS)}. Mend the selector's arguments."
            )
        arguments: dict[str, Any] = {"max_length": max_length, "tokenizer": self.tokenizer_hash}
        if name == "information_entropy":
            arguments |= asdict(self.settings.information)
        elif name == "generative_entropy":
            arguments |= asdict(self.settings.generative)
        elif name == "embedding":
            arguments |= {"layer": "last", "pooling": "mean"}
        elif name == "semantic_entropy":
            arguments |= asdict(self.settings.semantic)
        if KINDS[name] != "text":  # the plan decides the last bits, so it belongs to the definition
            arguments["max_batch_tokens"] = self.settings.max_batch_tokens
        model = self.tokenizer_hash if KINDS[name] == "text" else self.weights_hash
        return Definition(name, pool.fingerprint, model, arguments)


def select_rows(
    datamodule: SelectionDataModule,
    model: ModelSource,
    trainer_for: TrainerFor,
    ledger: Ledger,
    part: Part = "fit",
    folder: Path | None = None,
) -> Selection:
    """Choose the rows that a data module trains on, on all ranks; a selection that is there already is picked up.

    Args:
        datamodule: whose pool and selector are meant.
        model: scores, unless the data module's scorer settings name another.
        trainer_for: gives a Trainer for forward passes over all ranks, with the given callbacks.
        ledger: what is charged.
        part: whose data this is.
        folder: where to write the selection; None keeps it in memory, which only one process can.

    Raises:
        UserError: on every rank, about data, budget, model or an earlier selection.
    """
    datamodule.load()
    if datamodule.selection is not None:
        path = Path(datamodule.selection).expanduser()
        datamodule.chosen = on_rank_zero(lambda: Selection.read(path, datamodule.pool))
        on_rank_zero(lambda: _charge_avoided(ledger, datamodule.chosen, part))
        return datamodule.chosen
    assert datamodule.selector is not None
    settings = datamodule.scorer or ScorerSettings()
    scoring = ScoringModel(find_model(settings.checkpoint) if settings.checkpoint else model, settings)
    with ledger.stage("prepare", part) as cost:
        tokens = datamodule.tokenized("train", scoring.tokenizer)
        n_tokens = tokens.n_tokens()
        datamodule.budget(int(n_tokens.sum()))
        wanted = [scoring.define(name, datamodule.pool, datamodule.max_length) for name in sorted(_needed(datamodule))]
        cost.add(examples=len(tokens), tokens=int(n_tokens.sum()), method="no arithmetic")
    request = _request(datamodule, scoring, wanted)
    found = on_rank_zero(lambda: _matching(folder, datamodule.pool, request))
    if found is None:
        _compute(wanted, datamodule.pool, tokens, scoring, trainer_for, ledger, part)
        found = on_rank_zero(
            lambda: _select(datamodule, scoring, wanted, tokens, n_tokens, ledger, part, folder)
        )
    datamodule.chosen = found
    barrier()
    return found


def select_in_library(datamodule: SelectionDataModule) -> None:
    """Make or read the selection of a data module that a plain `Trainer.fit` uses.

    Raises:
        SelectionError: there is more than one process, and no selection to read.
    """
    trainer: Any = datamodule.trainer
    if trainer.world_size > 1 and datamodule.selection is None:
        raise SelectionError(
            "With several processes the selection is made before `Trainer.fit`; run `selectune select` first and name "
            "its run in data.selection, or use `selectune fit`."
        )
    ledger = next((found for found in (getattr(c, "ledger", None) for c in trainer.callbacks) if found), Ledger())
    model: Any = trainer.lightning_module

    def trainer_for(callbacks: list[pl.Callback]) -> pl.Trainer:
        return pl.Trainer(
            accelerator="auto",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            callbacks=callbacks,
            enable_model_summary=False,
        )

    folder = ledger.path.parent / "selection" if ledger.path else None
    select_rows(datamodule, model.source, trainer_for, ledger, folder=folder)


def read_signals(wanted: Iterable[Definition], tokens: TokenizedRows, pool: Pool) -> Signals:
    """What a selector sees of a pool: the stored signals, the number of tokens and the hash of each text."""
    store = SignalStore(default_cache())
    arrays = {definition.name: store.read(definition) for definition in wanted}
    return Signals(arrays | {"n_tokens": tokens.n_tokens(), "text_hash": pool.text_hash})


def _needed(datamodule: SelectionDataModule) -> set[str]:
    assert datamodule.selector is not None
    names = set(datamodule.selector.requires) - {"n_tokens", "text_hash"}
    return names | {source for name in names for source in DERIVED_FROM.get(name, ())}


def _compute(
    wanted: list[Definition],
    pool: Pool,
    tokens: TokenizedRows,
    scoring: ScoringModel,
    trainer_for: TrainerFor,
    ledger: Ledger,
    part: Part,
) -> None:
    """Bring all signals into the store: forward ones by one pass over all ranks, the others on rank 0."""
    if not wanted:
        return
    store = SignalStore(default_cache())
    forward = [definition for definition in wanted if definition.kind == "forward"]
    pass_ = Shards.of(store, wanted, {"max_batch_tokens": scoring.settings.max_batch_tokens})
    with _held_by_rank_zero(pass_):
        missing = on_rank_zero(lambda: {definition.key for definition in wanted if not store.has(definition)})
        present = [definition for definition in wanted if definition.key not in missing]
        on_rank_zero(lambda: _charge_stored(ledger, store, present, part))
        if todo := [definition for definition in forward if definition.key in missing]:
            _forward_pass(todo, tokens, scoring, store, trainer_for, ledger, part)

        def rest() -> None:
            for kind in ("text", "derived"):
                for definition in wanted:
                    if definition.kind == kind and definition.key in missing:
                        _solve(definition, wanted, pool, tokens, scoring, store, ledger, part)

        on_rank_zero(rest)


def _forward_pass(
    todo: list[Definition],
    tokens: TokenizedRows,
    scoring: ScoringModel,
    store: SignalStore,
    trainer_for: TrainerFor,
    ledger: Ledger,
    part: Part,
) -> None:
    """Compute forward signals of all rows in one pass; what an interrupted pass finished is not computed again."""
    plan = plan_batches(tokens.lengths, scoring.settings.max_batch_tokens)
    shards = Shards.of(store, todo, {"max_batch_tokens": scoring.settings.max_batch_tokens, "batches": len(plan)})
    done = on_rank_zero(shards.finished)
    left = [np.array([index]) for index in range(len(plan)) if index not in done]
    with ledger.stage("score", part) as cost:
        cost.add(method="no arithmetic" if not left else "")
        if left:
            scorer = Scorer(scoring.source, [definition.name for definition in todo])
            flops = measure_flops(scorer.row_of)
            data = DataLoader(PlannedBatches(left, _collate(tokens, scoring.tokenizer, plan)), batch_size=None)
            trainer_for([ShardWriter(shards, cost, flops)]).predict(scorer, data, return_predictions=False)
    barrier()  # all ranks' records are written
    on_rank_zero(lambda: store.merge(todo, shards, len(tokens), _costs_of_scoring(ledger, part)))


@contextmanager
def _held_by_rank_zero(shards: Shards) -> Iterator[None]:
    """Rank 0 holds the pass for all ranks, so that another run that wants the same signals waits for them."""
    with ExitStack() as stack:
        on_rank_zero(lambda: stack.enter_context(shards.lock()))
        yield


def _collate(tokens: TokenizedRows, tokenizer: Any, plan: list[np.ndarray]) -> Callable[[np.ndarray], dict[str, Any]]:
    def collate(which: np.ndarray) -> dict[str, Any]:
        rows = plan[int(which[0])]
        batch: dict[str, Any] = dict(tokens.padded(rows, int(tokenizer.pad_token_id or 0)))
        return batch | {"rows": rows, "index": int(which[0]), "n_tokens": int(batch["attention_mask"].sum())}

    return collate


def _solve(
    definition: Definition,
    wanted: list[Definition],
    pool: Pool,
    tokens: TokenizedRows,
    scoring: ScoringModel,
    store: SignalStore,
    ledger: Ledger,
    part: Part,
) -> None:
    """Compute a signal of the text, or of other signals, and store it."""
    from selectune.selectors import entropy

    with ledger.stage("solve", part) as cost:
        cost.add(examples=len(tokens))
        if definition.name == "information_entropy":
            ids, offsets = tokens.content()
            settings = scoring.settings.information
            estimate = entropy.miller_madow if settings.estimator == "miller_madow" else entropy.plugin_entropy
            values = estimate(ids, offsets, normalize=settings.normalize)
            cost.add(tokens=len(ids), method="no arithmetic")
        else:
            embedding = next(other for other in wanted if other.name == "embedding")
            found = entropy.prototype_entropy(
                store.read(embedding), seed=scoring.settings.semantic.seed, order_keys=pool.text_hash
            )
            values = found.entropies
            cost.add(flops=found.flops, method="k-means: 2 d a distance (analytic)")
    store.write(definition, values, [ledger.records[-1].to_json()])


def _select(
    datamodule: SelectionDataModule,
    scoring: ScoringModel,
    wanted: list[Definition],
    tokens: TokenizedRows,
    n_tokens: np.ndarray,
    ledger: Ledger,
    part: Part,
    folder: Path | None,
) -> Selection:
    pool, selector = datamodule.pool, datamodule.selector
    assert selector is not None
    with ledger.stage("select", part) as cost, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        signals = read_signals(wanted, tokens, pool)
        picked = selector.select(signals, None, datamodule.budget(int(n_tokens.sum())), datamodule.seed)
        rows = np.asarray(picked.rows, dtype=np.int64)
        _check_picked(rows, picked.scores, len(pool), selector)
        cost.add(examples=len(pool), method="no arithmetic")
    told = sorted({str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)})
    for message in told:
        warnings.warn(message, stacklevel=2)
    selection_costs = [r for r in _charged(ledger) if r.part == part and r.stage in SELECTION]
    manifest = Manifest(
        n_rows=len(rows),
        rows_hash=hash_rows(rows),
        pool_rows=len(pool),
        pool_tokens=int(n_tokens.sum()),
        pool_input_tokens=int(tokens.lengths.sum()),
        source=pool.source,
        revision=pool.revision,
        model=scoring.source.described,
        model_revision=scoring.source.revision,
        tokenizer_hash=scoring.tokenizer_hash,
        diagnostics=picked.diagnostics,
        warnings=told,
        costs=[record.to_json() for record in selection_costs],
        commit=code_version(),
        **_request(datamodule, scoring, wanted)
        | {
            "budget": {
                "asked": _asked(datamodule),
                "rows": len(rows),
                "tokens": int(n_tokens[rows].sum()),
                "input_tokens": int(tokens.lengths[rows].sum()),
            }
        },
    )
    selection = Selection(rows, picked.scores[rows], manifest)
    if folder is not None:
        scalars = {name: values for name, values in signals.items() if values.ndim == 1 and name != "text_hash"}
        selection.write(folder, pool, scalars, signals.tie_keys(datamodule.seed))
    return selection


SELECTION = ("tune_scorer", "score", "solve", "select")


def _request(datamodule: SelectionDataModule, scoring: ScoringModel, wanted: list[Definition]) -> dict[str, Any]:
    return {
        "pool_fingerprint": datamodule.pool.fingerprint,
        "weights_hash": scoring.weights_hash,
        "selector": describe(datamodule.selector),
        "budget": _asked(datamodule),
        "seed": datamodule.seed,
        "signals": [asdict(definition) for definition in wanted],
    }


def _asked(datamodule: SelectionDataModule) -> dict[str, Any]:
    return {name: getattr(datamodule, name) for name in ("keep", "keep_rows", "keep_tokens")}


def _matching(folder: Path | None, pool: Pool, request: dict[str, Any]) -> Selection | None:
    """The selection that a folder holds, if it is the one asked for."""
    if folder is None or not (folder / "manifest.json").is_file():
        return None
    found = Selection.read(folder, pool)
    differs = [name for name, value in request.items() if found.manifest.request[name] != value]
    if differs:
        raise SelectionError(
            f"The selection in {folder} was made otherwise (it differs in {', '.join(differs)}); use another --output, "
            "or --overwrite."
        )
    return found


def _check_picked(rows: np.ndarray, scores: np.ndarray, n_rows: int, selector: Any) -> None:
    name = type(selector).__name__
    if len(rows) == 0:
        raise SelectionError(f"{name} picked no row; widen its bounds or the budget.")
    if len(np.unique(rows)) != len(rows) or rows.min() < 0 or rows.max() >= n_rows or np.shape(scores) != (n_rows,):
        raise SelectionError(f"{name} must pick unique row ids of the pool and score all {n_rows} rows; mend it.")


def _charge_stored(ledger: Ledger, store: SignalStore, present: list[Definition], part: Part) -> None:
    """Show what stored signals cost when they were made, unless this run made them in an earlier attempt."""
    known = {record.identity for record in _spent(ledger)}
    seen = set()
    for definition in present:
        made_by, costs = store.costs(definition)
        for content in costs if made_by not in seen else []:
            record = CostRecord.from_json(content)
            if record.identity not in known:
                ledger.avoided(record, part)
        seen.add(made_by)


def _charge_avoided(ledger: Ledger, selection: Selection | None, part: Part) -> None:
    assert selection is not None
    known = {record.identity for record in _spent(ledger)}
    for content in selection.manifest.costs:
        record = CostRecord.from_json(content)
        if record.identity not in known:
            ledger.avoided(record, part)


def _spent(ledger: Ledger) -> list[CostRecord]:
    """What this run spent so far, in all attempts and on all ranks."""
    there = ledger.path is not None and ledger.path.exists()
    records = read_ledger(ledger.path) if there else ledger.records  # type: ignore[arg-type]
    return [record for record in records if not record.cached]


def _charged(ledger: Ledger) -> list[CostRecord]:
    """What this run spent and what a cache spared it."""
    return _spent(ledger) + [record for record in ledger.records if record.cached]


def _costs_of_scoring(ledger: Ledger, part: Part) -> list[dict[str, Any]]:
    """The scoring of this part, attempts that were killed included, since their shards were used."""
    return [record.to_json() for record in _spent(ledger) if (record.stage, record.part) == ("score", part)]
