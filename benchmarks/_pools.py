"""Clean rows for pools with a known fault, and the encoder that each distinct text of them goes through once."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pool_faults import MAKERS, FaultyPool

from selectune.common.errors import DataError
from selectune.common.files import default_cache
from selectune.data.batches import plan_batches
from selectune.data.pool import Pool
from selectune.data.sources import find_data, find_model
from selectune.data.tokens import TokenizedRows, tokenize
from selectune.lightning_modules.scorers.base import Scorer, stop_after
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.signals.definitions import ScoringModel
from selectune.signals.forward import make_scorer

TRUSTED, HELD_OUT, FOREIGN = 100, 1000, 20_000
TEXT_COLUMNS = ("text", "sentence", "content")
MAX_TOKENS, MAX_WORDS = 128, 48  # a clean row is cut only where a word takes two tokens
HELD_OUT_FAULTS = ("leakage", "near_leakage")
DIGEST = 16
LAYERS = ["embedding", "middle_embedding"]


@dataclass(frozen=True)
class CleanRows:
    """Distinct rows of a data set, drawn with a seed.

    Args:
        name: of the data set.
        texts: of the pool.
        labels: class numbers of the pool, shape (n_rows,).
        trusted: texts of other rows that are known to be good.
        held_out: texts of other rows.
        held_out_labels: their class numbers.
        foreign: texts of another data set.
        seed: by which they were drawn.
    """

    name: str
    texts: list[str]
    labels: np.ndarray
    trusted: list[str]
    held_out: list[str]
    held_out_labels: np.ndarray
    foreign: list[str]
    seed: int

    def with_fault(self, fault: str, share: float) -> FaultyPool:
        """A pool of these rows, a share of which has the fault."""
        rng = np.random.default_rng([self.seed, zlib.crc32(fault.encode()), round(1000 * share)])
        others = self.held_out if fault in HELD_OUT_FAULTS else self.foreign
        return MAKERS[fault](self.texts, self.labels, share, rng, others)


def clean_rows(data: str, n_rows: int, seed: int, foreign: str) -> CleanRows:
    """Rows of a data set that differ from each other, case and spaces aside, and have no more than 48 words.

    Where too few rows are as short as that, as in 20 Newsgroups, every text is cut to its first 48 words.

    Raises:
        UserError: a data set is missing or too small.
    """
    rows = find_data(data).splits["train"]
    column = next((name for name in TEXT_COLUMNS if name in rows.column_names), None)
    if column is None:
        raise DataError(f"{data} has none of the text columns {', '.join(TEXT_COLUMNS)}.")
    texts, labels = [text.strip() for text in rows[column]], np.asarray(rows["label"])
    order = np.random.default_rng(seed).permutation(len(texts)).tolist()
    needed = TRUSTED + HELD_OUT + n_rows
    distinct = _distinct(texts, [row for row in order if len(texts[row].split()) <= MAX_WORDS])
    if len(distinct) < needed:
        texts = [" ".join(text.split()[:MAX_WORDS]) for text in texts]
        distinct = _distinct(texts, order)
    if len(distinct) < needed:
        raise DataError(f"{data} has {len(distinct):,} rows that can be used, but {needed:,} are needed.")
    trusted, held_out, pool = np.split(np.array(distinct[:needed]), [TRUSTED, TRUSTED + HELD_OUT])
    theirs = find_data(foreign).splits["train"]
    return CleanRows(
        data.rsplit("/", 1)[-1],
        [texts[row] for row in pool],
        labels[pool],
        [texts[row] for row in trusted],
        [texts[row] for row in held_out],
        labels[held_out],
        theirs[: min(FOREIGN, len(theirs))]["text"],
        seed,
    )


def _distinct(texts: Sequence[str], order: Sequence[int]) -> list[int]:
    """The first row of each text in an order, case and spaces aside, without empty ones."""
    first_of: dict[str, int] = {}
    for row in order:
        first_of.setdefault(" ".join(texts[row].casefold().split()), row)
    first_of.pop("", None)
    return list(first_of.values())


class Encoder:
    """States of a model for texts, each distinct text of which is read once and kept in the user's cache.

    Args:
        model: its name, as ``find_model`` takes it.
    """

    def __init__(self, model: str) -> None:
        self.scoring = ScoringModel(find_model(model), ScorerSettings(), MAX_TOKENS, 4096)
        whole, half = make_scorer(LAYERS, self.scoring), make_scorer(LAYERS[1:], self.scoring)
        stop_after(half.network, half.middle_layer)
        folder = default_cache() / "benchmarks" / "faulty_pools" / f"{self.scoring.weights_hash[:16]}-{MAX_TOKENS}"
        width = whole.network.config.hidden_size
        self._whole, self._half = (whole, _Kept(folder / "whole", 2, width)), (half, _Kept(folder / "half", 1, width))

    def tokens(self, texts: Sequence[str]) -> TokenizedRows:
        """Token ids of texts, cut to 128."""
        return tokenize(lambda part: [(text,) for text in texts[part]], len(texts), self.scoring.tokenizer, MAX_TOKENS)

    def whole_lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of texts that are not cut, special ones included."""
        ids = self.scoring.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        return np.array([len(row) for row in ids])

    def states(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The embedding and the middle embedding of texts, float32, each of shape (n_texts, width)."""
        found = self._read(texts, *self._whole)
        return found[:, 0], found[:, 1]

    def middle(self, texts: Sequence[str]) -> np.ndarray:
        """The middle embedding alone, at half the cost."""
        return self._read(texts, *self._half)[:, 0]

    def _read(self, texts: Sequence[str], scorer: Scorer, kept: _Kept) -> np.ndarray:
        """States of the layers that a scorer reads, shape (n_texts, layers, width)."""
        new = kept.missing(texts)
        if new:
            tokens = self.tokens(new)
            pad = int(self.scoring.tokenizer.pad_token_id)
            for rows in plan_batches(tokens.lengths, self.scoring.max_batch_tokens):
                with torch.no_grad():
                    states = scorer(dict(tokens.padded(rows, pad)))
                values = np.stack([states[layer].float().numpy() for layer in LAYERS if layer in states], axis=1)
                kept.add([new[row] for row in rows.tolist()], values)
        return kept.of(texts)


class _Kept:
    """Arrays of texts in a file that only grows: a digest and a float32 array a text. Several runs may add to it."""

    def __init__(self, file: Path, layers: int, width: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        self.file = file
        self.record = np.dtype([("key", f"V{DIGEST}"), ("values", np.float32, (layers, width))])
        if file.stat().st_size % self.record.itemsize:
            raise DataError(f"{file} ends within a record, as after a full disk; remove it.")
        keys = self._records()["key"] if file.stat().st_size else []
        self.places = {bytes(key): place for place, key in enumerate(keys)}

    def missing(self, texts: Sequence[str]) -> list[str]:
        """The distinct texts that are not there yet."""
        return [text for text in dict.fromkeys(texts) if _digest(text) not in self.places]

    def add(self, texts: Sequence[str], values: np.ndarray) -> None:
        """Append arrays of new texts, shape (n_texts, layers, width)."""
        digests = [_digest(text) for text in texts]
        records = np.zeros(len(texts), self.record)
        records["key"], records["values"] = np.array(digests, f"V{DIGEST}"), values
        with self.file.open("ab", buffering=0) as file:  # one call, so that records of another run come before or after
            file.write(records.tobytes())
            first = file.tell() // self.record.itemsize - len(texts)
        self.places.update(zip(digests, range(first, first + len(digests)), strict=True))

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """The arrays of texts, shape (n_texts, layers, width)."""
        return np.asarray(self._records()["values"][[self.places[_digest(text)] for text in texts]])

    def _records(self) -> np.ndarray:
        return np.memmap(self.file, self.record, mode="r")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


def text_hash(texts: Sequence[str]) -> np.ndarray:
    """The hash of each text by which a pool orders its rows, uint64, shape (n_texts,)."""
    from datasets import Dataset

    return Pool(Dataset.from_dict({"text": list(texts)}), ("text",), "faulty pool", np.arange(len(texts))).text_hash
