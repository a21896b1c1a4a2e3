"""The forward pass: planned by length, over all ranks, streamed to the store, resumed where it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import torch

from selectune.common.errors import CheckpointError
from selectune.common.memory import give_memory_back
from selectune.common.ranks import barrier, on_rank_zero, world
from selectune.costs.flops import FlopModel, UnfitFlopsError
from selectune.costs.ledger import Ledger, StageCost
from selectune.costs.record import Kept, Part
from selectune.data.batches import EvalSampler, PlannedBatches, batch_loader, plan_batches
from selectune.data.sources import ModelSource
from selectune.lightning_modules.heads.base import body_class, load_network
from selectune.signals.definitions import ENCODER, Rows, ScoringModel
from selectune.signals.store import SHARE, Definition, Shards, SignalStore

if TYPE_CHECKING:
    from selectune.lightning_modules.scorers.base import Scorer
    from selectune.lightning_modules.scorers.probe import EntropyProbe

TrainerFor = Callable[..., pl.Trainer]
"""Gives a Trainer of the job's devices for a stage, from what differs: callbacks, precision, max_epochs, ..."""

FLUSH_SECONDS = 10.0
FLUSH_BYTES = 8 * 2**20


def forward_pass(
    todo: list[Definition],
    rows: Rows,
    scoring: ScoringModel,
    store: SignalStore,
    trainer_for: TrainerFor,
    ledger: Ledger,
    part: Part,
    probe: EntropyProbe | None = None,
    notes: dict[str, Any] | None = None,
    more_costs: list[dict[str, Any]] | None = None,
) -> None:
    """Compute signals of one network in one pass; what an interrupted pass finished is not computed again.

    A ``probe`` stands in for the vocabulary product; ``notes``, by name, and ``more_costs``, of what the pass needed,
    are stored with the signals.
    """
    plan = plan_batches(rows.tokens.lengths, scoring.max_batch_tokens)
    # Rank 0 alone looks at the shards of an interrupted pass, so that all ranks leave out the same batches.
    shards = on_rank_zero(lambda: Shards.of(store, todo, {"batches": len(plan), "probe": probe is not None}))
    done, kept = on_rank_zero(lambda: (shards.finished(), [Kept.of(cost) for cost in shards.costs().values()]))
    left = [np.array([index]) for index in range(len(plan)) if index not in done]
    with ledger.stage("score", part, shards.folder.name, kept) as cost:
        cost.add(method="no arithmetic" if not left else "")
        if left:
            scorer = make_scorer([definition.name for definition in todo], scoring, probe)
            scorer.allow_zero_length_dataloader_with_multiple_devices = True  # fewer batches than ranks are fine
            pad_id = int(scoring.tokenizer.pad_token_id or 0)

            def collate(which: np.ndarray) -> dict[str, Any]:
                return batch_of(rows, plan[int(which[0])], int(which[0]), scorer, pad_id)

            precision = "bf16-mixed" if scoring.precision == "bf16" else "32-true"
            trainer = trainer_for(callbacks=[ShardWriter(shards, cost, scorer)], precision=precision)
            sampler, pinned = EvalSampler(len(left), *world()), trainer.strategy.root_device.type == "cuda"
            data = batch_loader(PlannedBatches(left, collate), sampler=sampler, pin_memory=pinned)
            trainer.predict(scorer, data, return_predictions=False)
            del scorer.network  # the Trainer and the scorer hold each other, for as long as nobody looks for cycles
    barrier()  # all ranks' shards are written
    give_memory_back(collect=False)
    on_rank_zero(lambda: store.merge(todo, shards, len(rows), notes, more_costs))


def batch_of(rows: Rows, ids: np.ndarray, index: int, scorer: Scorer, pad_id: int) -> dict[str, Any]:
    """A batch of some rows for a scorer, with what the host can count and look up so that no device is waited for."""
    batch: dict[str, Any] = dict(rows.tokens.padded(ids, pad_id))
    if rows.labels is not None:
        batch["labels"] = torch.from_numpy(rows.labels[ids])
    content = (~batch["special"]).sum(1)
    batch |= {"rows": ids, "index": index, "text_hash": rows.pool.text_hash[ids]}
    batch |= {"n_content": int(content.sum()), "longest": int(content.max())}
    return batch | scorer.places(batch) | {"n_tokens": int(batch["attention_mask"].sum())}


def networks_of(todo: list[Definition], scoring: ScoringModel) -> list[list[Definition]]:
    """The signals of each pass: one pass for each network, which makes embeddings beside signals of the same weights.

    With ``masked_pseudo`` embeddings need a pass of their own, as its passes mask tokens.
    """
    passes: dict[tuple[bool, str], list[Definition]] = {}
    for definition in todo:
        passes.setdefault((scoring.is_tuned(definition.name), scoring.kind(definition.name)), []).append(definition)
    kinds = {kind for _, kind in passes}
    hosts = ("head",) if "language" in kinds and scoring.estimator == "masked_pseudo" else ("language", "head")
    for tuned in (True, False):
        host = next((passes[tuned, kind] for kind in hosts if (tuned, kind) in passes), None)
        if host:
            host += passes.pop((tuned, "encoder"), [])
    return list(passes.values())


def make_scorer(names: list[str], scoring: ScoringModel, probe: EntropyProbe | None = None) -> Scorer:
    """The module that computes signals of one network.

    Raises:
        CheckpointError: the checkpoint lacks the head, or the class, that a signal needs.
    """
    from selectune.lightning_modules.scorers import head as head_scorer
    from selectune.lightning_modules.scorers import language as language_scorer
    from selectune.lightning_modules.scorers import sampling as sampling_scorer

    kinds = {scoring.kind(name) for name in names}
    tuned = any(scoring.is_tuned(name) for name in names)
    source = scoring.source
    if tuned:
        assert scoring.tuned_folder is not None, "the scoring model is tuned before it scores"
        source = ModelSource(scoring.tuned_folder, f"{source.described}, tuned")
    layer = scoring.embedding_layer
    scorer: Scorer
    if "language" in kinds:
        network = language_scorer.load_language_model(source, scoring.estimator)
        layers = scoring.layers if probe is not None else []
        k, mask_id = scoring.settings.generative.k, scoring.tokenizer.mask_token_id
        scorer = language_scorer.LanguageScorer(network, names, scoring.estimator, k, mask_id, probe, layers, layer)
    elif "head" in kinds:
        alone = {*names}.difference(ENCODER) == {"class_probability"}
        network = head_scorer.load_classifier(source, least_labels=1 if alone else 2)
        scorer = head_scorer.HeadScorer(network, names, layer)
        scorer.probability_of = scoring.settings.probability_of
        n_classes = scorer.network.config.num_labels
        if "class_probability" in names and scorer.probability_of >= n_classes > 1:
            raise CheckpointError(
                f"scorer.probability_of is {scorer.probability_of}, but {source.described} has the classes 0 to "
                f"{n_classes - 1}; name one of these."
            )
    elif "sampled" in kinds:
        network, given = language_scorer.load_language_model(source, "causal"), scoring.settings.semantic
        scorer = sampling_scorer.SamplingScorer(
            network, names, given.seed, given.samples, given.max_new_tokens, given.similarity,
            scoring.tokenizer.eos_token_id,
        )  # fmt: skip
    else:
        scorer = head_scorer.EncoderScorer(load_network(body_class(source), source)[0], names, layer)
    scorer.stored, scorer.middle_layer = scoring.settings.embedding, scoring.middle_layer
    return scorer


class ShardWriter(pl.Callback):
    """Writes the signals of finished batches to shards every few seconds, and adds to an open stage what they took."""

    def __init__(self, shards: Shards, cost: StageCost, scorer: Scorer) -> None:
        self.shards, self.cost, self.scorer = shards, cost, scorer
        self.flops: FlopModel | None = None
        self.alone: FlopModel | None = None  # a pass for embeddings alone
        self.spent = self.spent_alone = 0.0
        self.done = {"examples": 0, "tokens": 0, "padded_tokens": 0, "flops": 0.0}  # by what waits
        try:
            self.flops, self.product = scorer.flops()
            cost.add(method=self.flops.method)  # also of a rank that gets no batch
            with suppress(UnfitFlopsError):
                self.alone = scorer.embedding_flops()
        except UnfitFlopsError as error:
            cost.add(flops=None, method=str(error))
        self.waiting: list[dict[str, Any]] = []  # tensors where they were computed, so that a device need not wait
        self.bytes, self.written = 0, time.monotonic()

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Take a batch's signals, and write what waits when it is much or old."""
        n_rows, length = batch["input_ids"].shape
        flops = 0.0
        if self.flops is not None:
            flops = self.flops.of_batch(n_rows, length) * self.scorer.passes_of(batch["longest"])
            flops += batch["n_content"] * self.product
        if self.alone is not None:
            self.spent_alone += self.alone.of_batch(n_rows, length)
        work = {"examples": n_rows, "tokens": batch["n_tokens"], "padded_tokens": n_rows * length, "flops": flops}
        self.done = {name: before + work[name] for name, before in self.done.items()}
        self.spent += flops
        self.waiting.append(outputs)
        self.bytes += sum(values.nbytes for values in outputs.values())
        if self.bytes > FLUSH_BYTES or time.monotonic() - self.written > FLUSH_SECONDS:
            self._flush()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what waits."""
        self._flush()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write what waits, so that what is charged is not done again; what a device that fails still has is lost."""
        with suppress(RuntimeError):  # which would hide the first one
            self._flush()

    def _flush(self) -> None:
        if self.waiting:
            waiting = [  # before they are charged, as the device may not have done them yet
                {
                    name: values.cpu().numpy() if isinstance(values, torch.Tensor) else values
                    for name, values in one.items()
                }
                for one in self.waiting
            ]
            method = "" if self.flops is None else self.flops.method
            self.cost.add(**self.done, method=method)  # type: ignore[arg-type]
            self.cost.heartbeat(at_once=True)
            share = self.spent_alone / self.spent if self.alone is not None and self.spent else None
            self.shards.append(waiting, self.cost.so_far().to_json() | {SHARE: share})
        self.waiting, self.bytes, self.written = [], 0, time.monotonic()
        self.done = dict.fromkeys(self.done, 0)
