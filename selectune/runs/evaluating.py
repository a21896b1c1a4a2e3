"""The evaluations of a fit, before and after its training, by rank 0 while the others wait."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from selectune.callbacks.training_check import finite_weights
from selectune.costs.waiting import alone
from selectune.data.sources import weights_hash
from selectune.data.tokens import load_tokenizer
from selectune.evaluations.language_model import CausalModel, LanguageModel, MaskedModel
from selectune.evaluations.running import BEFORE, evaluate_model
from selectune.lightning_modules.heads.base import load_network
from selectune.runs.job import Job


def evaluated_before(job: Job) -> dict[str, float]:
    """Metrics of the model that a fit starts from, logged; none without evaluations."""
    if not job.evaluations:
        return {}

    def made() -> dict[str, float]:
        source = job.model.source
        network, _ = load_network(f"AutoModelFor{'Causal' if _causal(job) else 'Masked'}LM", source)
        network = network.to(job.trainer.strategy.root_device).eval()
        return _tried(job, _model(job, network), weights_hash(source.folder), BEFORE)

    return alone(made, job.ledger, "evaluate", "fit", f"evaluations{BEFORE}")


def evaluated(job: Job) -> dict[str, float]:
    """Metrics of the model that a fit ended with, logged; none without evaluations, or where weights are not finite."""
    if not job.evaluations or not finite_weights(job.model):
        return {}

    def made() -> dict[str, float]:
        network: Any = job.model.network
        training = network.training
        network = network.to(job.trainer.strategy.root_device).eval()
        found = _tried(job, _model(job, network), _hash_of(network), "")
        network.train(training)
        return found

    return alone(made, job.ledger, "evaluate", "fit", "evaluations")


def _causal(job: Job) -> bool:
    return getattr(job.data, "objective", None) == "causal"


def _model(job: Job, network: Any) -> LanguageModel:
    kind, source = CausalModel if _causal(job) else MaskedModel, job.model.source
    return kind(network, load_tokenizer(source.folder), source.described)


def _tried(job: Job, model: LanguageModel, weights: str, end: str) -> dict[str, float]:
    metrics = evaluate_model(job.evaluations, model, weights, job.ledger, job.run.evaluations, end)
    for logger in job.trainer.loggers:
        logger.log_metrics(metrics, step=0 if end else job.trainer.global_step)
        logger.save()
    return metrics


def _hash_of(network: torch.nn.Module) -> str:
    """Hash of the weights of a network in memory, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, weights in sorted(network.state_dict().items()):
        digest.update(name.encode() + b"\0")
        digest.update(weights.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
