"""How many padded tokens a scoring batch holds: a constant on CPU, found by trial on a GPU and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch

from selectune.common.files import default_cache, write_json
from selectune.common.ranks import on_rank_zero
from selectune.signals.definitions import ScoringModel

CPU_TOKENS = 8192
MOST_TOKENS = 2**20


def token_budget(device: torch.device, key: str, attempt: Callable[[int], None]) -> int:
    """The token budget of a model on a device, decided by rank 0.

    On a GPU it is half of what was found to fit, and kept in the cache under the key, so that later runs plan the same
    batches.

    Args:
        device: that scores.
        key: of model, signals, precision and length of rows.
        attempt: scores a made-up batch of so many tokens, and raises `torch.OutOfMemoryError` where they do not fit.
    """
    if device.type != "cuda":
        return CPU_TOKENS
    properties = torch.cuda.get_device_properties(device)
    name = f"{properties.name}-{properties.total_memory >> 30}GiB".replace(" ", "-").replace("/", "-")
    file = default_cache() / "token_budgets" / f"{key}-{name}.json"

    def decide() -> int:
        if file.is_file():
            return int(json.loads(file.read_text())["max_batch_tokens"])
        found = max(CPU_TOKENS, largest_that_fits(attempt, CPU_TOKENS, MOST_TOKENS) // 2)
        write_json(file, {"max_batch_tokens": found})
        return found

    return on_rank_zero(decide)


def largest_that_fits(attempt: Callable[[int], None], start: int, most: int) -> int:
    """The largest of start, 2 start, 4 start, ... up to `most` that does not run out of memory; `start` at least."""
    found = size = start
    while size <= most:
        try:
            attempt(size)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        found, size = size, 2 * size
    return found


def find_token_budget(scoring: ScoringModel, names: list[str], device: torch.device) -> int:
    """The token budget of a scoring model for some signals; see `token_budget`."""
    passes = [name for name in names if scoring.kind(name) in ("language", "head", "sampled", "encoder")]
    if not passes or scoring.tuned:  # a tuned model's weights are not there yet, and its encoder fits with the head's
        passes = [name for name in passes if scoring.kind(name) == "language"]
    scorers: list[Any] = []

    def attempt(tokens: int) -> None:
        from selectune.signals.forward import make_scorer

        if not scorers:
            first = [name for name in passes if scoring.kind(name) == scoring.kind(passes[0])]
            scorers.append(make_scorer(first, scoring).to(device))
        half = torch.bfloat16 if scoring.precision == "bf16" else None
        with torch.no_grad(), torch.autocast(device.type, half, enabled=half is not None):
            scorers[0](scorers[0].made_up(max(1, tokens // scoring.max_length), scoring.max_length))

    if not passes:
        return CPU_TOKENS
    key = "-".join([scoring.weights_hash[:16], str(scoring.max_length), scoring.precision, *passes])
    return token_budget(device, key, attempt)
