"""Bring the signals of a pool into the store: forward ones by one pass over all ranks, the others on rank 0.

compute_signals(wanted, pool, tokens, scoring, trainer_for, ledger, part="fit")
signals = read_signals(wanted, tokens, pool)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
from torch.utils.data import DataLoader

from selectune.batching import EvalSampler, PlannedBatches, plan_batches
from selectune.costs import CostRecord, Part
from selectune.distributed import barrier, on_rank_zero, world
from selectune.errors import UserError
from selectune.ledger import Ledger, read_ledger
from selectune.lightning_modules.scorer import Scorer, ScorerSettings, ShardWriter
from selectune.paths import default_cache
from selectune.pool import Pool
from selectune.selectors.base import Signals
from selectune.signals import KINDS, Definition, Shards, SignalStore
from selectune.sources import ModelSource, weights_hash
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


def compute_signals(
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
    pass_ = Shards.of(store, forward or wanted, {"max_batch_tokens": scoring.settings.max_batch_tokens})
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


def read_signals(wanted: Iterable[Definition], tokens: TokenizedRows, pool: Pool) -> Signals:
    """What a selector sees of a pool: the stored signals, the number of tokens and the hash of each text."""
    store = SignalStore(default_cache())
    arrays = {definition.name: store.read(definition) for definition in wanted}
    return Signals(arrays | {"n_tokens": tokens.n_tokens(), "text_hash": pool.text_hash})


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
            scorer.allow_zero_length_dataloader_with_multiple_devices = True  # fewer batches than ranks are fine
            batches = PlannedBatches(left, _collate(tokens, scoring.tokenizer, plan))
            data = DataLoader(batches, batch_size=None, sampler=EvalSampler(len(left), *world()))
            trainer_for([ShardWriter(shards, cost, scorer)]).predict(scorer, data, return_predictions=False)
    barrier()  # all ranks' shards are written
    on_rank_zero(lambda: store.merge(todo, shards, len(tokens)))
    on_rank_zero(lambda: _charge_stored(ledger, store, todo, part))  # shards of a run that was killed are not free


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
            cost.add(method="no arithmetic")
        else:
            embedding = next(other for other in wanted if other.name == "embedding")
            found = entropy.prototype_entropy(
                store.read(embedding), seed=scoring.settings.semantic.seed, order_keys=pool.text_hash
            )
            values = found.entropies
            cost.add(flops=found.flops, method="k-means: 2 d a distance (analytic)")
    store.write(definition, values, [ledger.records[-1].to_json()])


def _charge_stored(ledger: Ledger, store: SignalStore, present: list[Definition], part: Part) -> None:
    """Show what stored signals cost when they were made, unless this run made them in an earlier attempt."""
    known = {record.identity for record in spent(ledger)}
    seen = set()
    for definition in present:
        made_by, costs = store.costs(definition)
        for content in costs if made_by not in seen else []:
            record = CostRecord.from_json(content)
            if record.identity not in known:
                ledger.avoided(record, part)
        seen.add(made_by)


def spent(ledger: Ledger) -> list[CostRecord]:
    """What this run spent so far, in all attempts and on all ranks."""
    there = ledger.path is not None and ledger.path.exists()
    records = read_ledger(ledger.path) if there else ledger.records  # type: ignore[arg-type]
    return [record for record in records if not record.cached]
