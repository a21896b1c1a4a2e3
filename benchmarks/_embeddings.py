"""Unit embeddings for benchmarks: real ones of a few thousand texts, and as many rows as wanted made from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from selectune.common.errors import UserError
from selectune.common.files import atomic_file, default_cache

POOLS = ("pool_wikipedia", "pool_cs_abstracts")  # domains of the pool, in equal parts
TARGET = "chemprot"
MODEL = "minilm-l6-mlm"
ROWS_OF_A_POOL = 2_000
MAX_TOKENS = 64
WIDTH = 384
NOISE = 0.3  # length of the step that tells copies of a row apart, where unit rows lie about 1.2 apart
BLOCK = 50_000


def base_rows(n_target: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Unit embeddings of pool and target, float32, shapes (4000, 384) and (n_target, 384), and what they are."""
    try:
        pool = np.concatenate([_embedded(name, ROWS_OF_A_POOL) for name in POOLS])
        target = _embedded(TARGET, n_target)
        return pool, target, f"{' + '.join(POOLS)} and {TARGET} by {MODEL}"
    except UserError as error:
        print(f"synthetic clusters stand in for real embeddings: {error}")
        return *_clusters(n_target), "synthetic clusters"


def jittered(base: np.ndarray, n_rows: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Blocks of rows drawn from the base with replacement, each a little off and back on the sphere, float32."""
    random = np.random.default_rng(seed)
    for start in range(0, n_rows, BLOCK):
        n = min(BLOCK, n_rows - start)
        rows = base[random.integers(len(base), size=n)]
        rows = rows + random.standard_normal(rows.shape, dtype=np.float32) * (NOISE / np.sqrt(rows.shape[1]))
        yield _unit(rows).astype(np.float32)


def _embedded(name: str, n_rows: int) -> np.ndarray:
    """Masked means of the last hidden states of a data set's first texts, on the sphere; kept in the user's cache."""
    file = default_cache() / "benchmarks" / f"{name}-{MODEL}-{n_rows}x{MAX_TOKENS}.npy"
    if not file.is_file():
        rows = _embed(name, n_rows)
        with atomic_file(file) as partial, partial.open("wb") as handle:
            np.save(handle, rows)
    return np.load(file, allow_pickle=False)


def _embed(name: str, n_rows: int) -> np.ndarray:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from selectune.data.sources import find_data, find_model

    source, data = find_model(MODEL), find_data(name)
    texts = data.splits["train"].shuffle(seed=0)["text"][:n_rows]
    tokenizer = AutoTokenizer.from_pretrained(source.folder)
    model = AutoModel.from_pretrained(source.folder, dtype=torch.float32).eval()
    texts = sorted(texts, key=len)  # alike in length, so little padding; the order does not matter here
    found = []
    with torch.inference_mode():
        for start in range(0, n_rows, 64):
            batch = tokenizer(
                texts[start : start + 64], truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="pt"
            )
            mask = batch["attention_mask"][..., None].float()
            states = model(**batch).last_hidden_state
            found.append(((states * mask).sum(1) / mask.sum(1)).numpy())
    return _unit(np.concatenate(found)).astype(np.float32)


def _clusters(n_target: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows around 40 directions, the target around 5 of them."""
    random = np.random.default_rng(0)
    centres = _unit(random.normal(size=(40, WIDTH)))
    pool = centres[random.integers(40, size=len(POOLS) * ROWS_OF_A_POOL)]
    target = centres[random.integers(5, size=n_target)]
    spread = [_unit(rows + random.normal(size=rows.shape) * (0.8 / np.sqrt(WIDTH))) for rows in (pool, target)]
    return spread[0].astype(np.float32), spread[1].astype(np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
