"""Size of a scoring batch in padded tokens: a constant on CPU, found by trial on a GPU and kept in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch

from selectune.common.files import default_cache, write_json
from selectune.common.ranks import on_rank_zero
from selectune.data.batches import tokens_at_once
from selectune.signals.definitions import ScoringModel
from selectune.signals.forward import make_scorer

FIRST_TOKENS = 8192  # tried on a GPU, and taken where nothing is tried
MOST_TOKENS = 2**20


def batch_size_for(scoring: ScoringModel, names: list[str], device: torch.device) -> int:
    """Padded tokens of a batch in which a model scores some signals on a device; see `batch_size`."""
    passes = [name for name in names if scoring.kind(name) in ("language", "head", "sampled", "encoder")]
    if not passes or scoring.tuned:  # a tuned model is not trained yet, and its encoder fits with the head's
        passes = [name for name in passes if scoring.kind(name) == "language"]
    if not passes:
        return tokens_at_once(FIRST_TOKENS, device)
    scorers: list[Any] = []

    def attempt(tokens: int) -> None:
        if not scorers:
            first = [name for name in passes if scoring.kind(name) == scoring.kind(passes[0])]
            scorers.append(make_scorer(first, scoring).to(device))
        half = torch.bfloat16 if scoring.precision == "bf16" else None
        with torch.no_grad(), torch.autocast(device.type, half, enabled=half is not None):
            scorers[0](scorers[0].made_up(max(1, tokens // scoring.max_length), scoring.max_length))

    key = "-".join([scoring.weights_hash[:16], str(scoring.max_length), scoring.precision, *passes])
    return batch_size(device, key, attempt)


def batch_size(device: torch.device, key: str, attempt: Callable[[int], None]) -> int:
    """Padded tokens of a scoring batch, decided by rank 0: on a GPU half of what fits, to leave room for longer rows.

    Args:
        device: that scores.
        key: of model, signals, precision and length of rows; the result is cached under it, so that later runs plan the
            same batches.
        attempt: score a made-up batch of so many tokens; raises `torch.OutOfMemoryError` where they do not fit.
    """
    if device.type != "cuda":
        return tokens_at_once(FIRST_TOKENS, device)
    properties = torch.cuda.get_device_properties(device)
    name = f"{properties.name}-{properties.total_memory >> 30}GiB".replace(" ", "-").replace("/", "-")
    file = default_cache() / "token_budgets" / f"{key}-{name}.json"

    def decide() -> int:
        if not file.is_file():
            fitting = largest_that_fits(attempt, FIRST_TOKENS, MOST_TOKENS)
            write_json(file, {"max_batch_tokens": max(FIRST_TOKENS, fitting // 2)})
        return int(json.loads(file.read_text())["max_batch_tokens"])

    return on_rank_zero(decide)


def largest_that_fits(attempt: Callable[[int], None], start: int, most: int) -> int:
    """The largest of start, 2 start, 4 start, ... up to `most` that does not run out of memory; `start` at least."""
    fitting = size = start
    while size <= most:
        try:
            attempt(size)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        fitting, size = size, 2 * size
    return fitting
