"""The evaluations of a fit, before and after its training, by rank 0 while the others wait."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from selectune.callbacks.training_check import finite_weights
from selectune.common.memory import give_memory_back
from selectune.common.ranks import on_rank_zero
from selectune.common.run_files import BEFORE
from selectune.costs.waiting import alone
from selectune.data.sources import weights_hash
from selectune.data.tokens import load_tokenizer
from selectune.evaluations import Evaluation
from selectune.evaluations.language_model import CausalModel, LanguageModel
from selectune.evaluations.masked_model import MaskedModel
from selectune.evaluations.running import evaluate_model
from selectune.lightning_modules.heads.base import load_network
from selectune.runs.job import Job


def evaluated_before(job: Job) -> dict[str, float]:
    """Metrics of the model that a fit starts from, logged; none without evaluations."""
    if not job.evaluations:
        return {}

    def made() -> tuple[LanguageModel, str]:
        source = job.model.source
        network, _ = load_network(f"AutoModelFor{'Causal' if _causal(job) else 'Masked'}LM", source)
        network = network.to(job.trainer.strategy.root_device).eval()
        return _model(job, network), weights_hash(source.folder)

    return _tried(job, made, BEFORE)


def evaluated(job: Job) -> dict[str, float]:
    """Metrics of the model that a fit ended with, logged; none without evaluations, or where weights are not finite."""
    if not job.evaluations or not finite_weights(job.model):
        return {}
    network: Any = job.model.network
    training = network.training

    def made() -> tuple[LanguageModel, str]:
        moved = network.to(job.trainer.strategy.root_device).eval()
        return _model(job, moved), _hash_of(moved)

    found = _tried(job, made, "")
    network.train(training)
    return found


def _causal(job: Job) -> bool:
    return getattr(job.data, "objective", None) == "causal"


def _model(job: Job, network: Any) -> LanguageModel:
    kind, source = CausalModel if _causal(job) else MaskedModel, job.model.source
    return kind(network, load_tokenizer(source.folder), source.described)


def _tried(job: Job, made: Callable[[], tuple[LanguageModel, str]], end: str) -> dict[str, float]:
    """Metrics of a model, which rank 0 alone makes, with the hash of its weights, once there is something to try."""
    model: list[tuple[LanguageModel, str]] = []

    def tried(one: Evaluation) -> dict[str, float]:
        if not model:
            give_memory_back()  # what a training or a warm-up has needed
            model.append(made())
        return evaluate_model([one], *model[0], job.ledger, job.run.evaluations, end)

    metrics: dict[str, float] = {}
    for one in job.evaluations:
        metrics |= alone(partial(tried, one), job.ledger, one.stage, "fit", f"{one.name}{end}")

    def log() -> None:
        for logger in job.trainer.loggers:
            logger.log_metrics(metrics, step=0 if end else job.trainer.global_step)
            logger.save()

    on_rank_zero(log)
    return metrics


def _hash_of(network: torch.nn.Module) -> str:
    """Hash of the weights of a network in memory, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, weights in sorted(network.state_dict().items()):
        digest.update(name.encode() + b"\0")
        digest.update(weights.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
