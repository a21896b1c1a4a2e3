"""Texts as flat arrays of token ids: tokenised once, kept in the cache, read through memory maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from selectune.common.errors import CheckpointError, DataError
from selectune.common.files import atomic_folder
from selectune.common.progress import progress
from selectune.data.checkpoint_files import read_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK_ROWS = 5_000
CONTENT_ROWS = 50_000


class BatchRows(Protocol):
    """Rows as a data module makes batches of them."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray:
        """Tokens that each row takes in a batch of its own, shape (n_rows,)."""

    @property
    def input_tokens(self) -> np.ndarray:
        """Tokens that a model reads of each row, shape (n_rows,)."""

    def padded(self, rows: np.ndarray, pad_id: int) -> dict[str, torch.Tensor]:
        """A batch of rows, among it ``input_ids`` and ``attention_mask``."""

    def shape_of(self, rows: np.ndarray) -> tuple[int, int]:
        """The shape of ``input_ids`` in the batch of some rows, which is not made for it."""

    def tokens_of(self, rows: np.ndarray) -> int:
        """Tokens in the batch of some rows, padding left out."""


@dataclass(frozen=True)
class TokenizedRows:
    """Tokenised rows, one after the other.

    Args:
        ids: token ids, special tokens included, int32, shape (total,).
        type_ids: which text of a pair a token belongs to, uint8, shape (total,).
        special: whether a token is special (it carries no text), bool, shape (total,).
        offsets: row i is ``ids[offsets[i]:offsets[i + 1]]``, int64, shape (n_rows + 1,).
    """

    ids: np.ndarray
    type_ids: np.ndarray
    special: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, special ones included, int64, shape (n_rows,)."""
        return np.diff(self.offsets)

    @property
    def input_tokens(self) -> np.ndarray:
        """Tokens that a model reads of each row, int64, shape (n_rows,)."""
        return self.lengths

    def n_tokens(self) -> np.ndarray:
        """Tokens of each row without the special ones, int64, shape (n_rows,)."""
        counts = [np.diff(offsets) for _, offsets in self.content()]
        return np.concatenate(counts) if counts else np.zeros(0, dtype=np.int64)

    def content(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Token ids without the special ones, and their offsets, as `ids` and `offsets`; some rows at a time."""
        for start in range(0, len(self), CONTENT_ROWS):
            stop = min(len(self), start + CONTENT_ROWS)
            first, last = self.offsets[start], self.offsets[stop]
            keep = ~np.asarray(self.special[first:last])
            before = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
            yield np.asarray(self.ids[first:last])[keep], before[self.offsets[start : stop + 1] - first]

    def take(self, rows: np.ndarray) -> TokenizedRows:
        """Some of the rows, in the order given, in memory."""
        at = self._positions(rows)
        offsets = np.concatenate([[0], np.cumsum(self.lengths[rows])]).astype(np.int64)
        return TokenizedRows(self.ids[at], self.type_ids[at], self.special[at], offsets)

    def shape_of(self, rows: np.ndarray) -> tuple[int, int]:
        """The shape of ``input_ids`` in the batch of some rows."""
        return len(rows), int((self.offsets[rows + 1] - self.offsets[rows]).max())

    def tokens_of(self, rows: np.ndarray) -> int:
        """Tokens in the batch of some rows, padding left out."""
        return int((self.offsets[rows + 1] - self.offsets[rows]).sum())

    def padded(self, rows: np.ndarray, pad_id: int) -> dict[str, torch.Tensor]:
        """A batch, padded on the right to its longest row.

        Returns:
            ``input_ids``, ``attention_mask``, ``token_type_ids`` (int64) and ``special`` (bool), each of shape
            (len(rows), longest).
        """
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        there = np.arange(int(lengths.max())) < lengths[:, None]
        ids = np.full(there.shape, pad_id, dtype=np.int64)
        types, special = np.zeros(there.shape, dtype=np.int64), np.ones(there.shape, dtype=bool)
        at = self._positions(rows)
        ids[there], types[there], special[there] = self.ids[at], self.type_ids[at], self.special[at]
        mask = there.astype(np.int64)
        batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "special": special}
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def _positions(self, rows: np.ndarray) -> np.ndarray:
        """Where the tokens of some rows stand, one row after the other."""
        starts = self.offsets[rows]
        lengths = self.offsets[np.asarray(rows) + 1] - starts
        ends = np.cumsum(lengths)
        return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)


@dataclass(frozen=True)
class PairTemplate:
    """How a tokenizer joins two texts: special tokens before, between and after them.

    Args:
        special: token ids of the three places.
        types: token types of before, first text, between, second text, after; one for each token of a place, one for
            each text.
    """

    special: tuple[list[int], list[int], list[int]]
    types: tuple[list[int], int, list[int], int, list[int]]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> PairTemplate:
        """Read it off a pair that the tokenizer encodes.

        Raises:
            CheckpointError: the tokenizer knows no character offsets.
        """
        if not tokenizer.is_fast:
            raise CheckpointError(
                f"The tokenizer {type(tokenizer).__name__} knows no character offsets, which answers are found by; "
                "name a model with a fast tokenizer."
            )
        encoded = tokenizer("a", "a", return_token_type_ids=True)
        texts, ids, types = encoded.sequence_ids(0), encoded["input_ids"], encoded["token_type_ids"]
        first, second = texts.index(0), texts.index(1)
        first_end, second_end = first + texts.count(0), second + texts.count(1)
        return cls(
            (ids[:first], ids[first_end:second], ids[second_end:]),
            (types[:first], types[first], types[first_end:second], types[second], types[second_end:]),
        )

    @property
    def n_special(self) -> int:
        """Special tokens of a pair."""
        return sum(map(len, self.special))

    def join(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token ids, token types and whether a token is special, of a pair given by its token ids."""
        before, between, after = self.special
        lengths = [len(before), len(first), len(between), len(second), len(after)]
        types = [
            self.types[0],
            [self.types[1]] * lengths[1],
            self.types[2],
            [self.types[3]] * lengths[3],
            self.types[4],
        ]
        return (
            np.concatenate([before, first, between, second, after]),
            np.concatenate(types),
            np.repeat([True, False, True, False, True], lengths),
        )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; one without a padding token pads with its end-of-text token.

    Raises:
        CheckpointError: the folder holds none.
    """
    tokenizer = read_tokenizer(folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def check_length(tokenizer: PreTrainedTokenizerBase, max_length: int, n_texts: int) -> None:
    """Refuse rows that may be longer than a model takes, or that are cut to nothing but special tokens.

    Args:
        tokenizer: of the model.
        max_length: tokens that rows are cut to, special ones included.
        n_texts: of a row, 1 or 2.

    Raises:
        DataError: `max_length` is over what the tokenizer says of its model, or below what a text needs.
    """
    special = tokenizer.num_special_tokens_to_add(pair=n_texts > 1)
    if max_length < special + n_texts:
        raise DataError(
            f"data.max_length is {max_length}, but {special} tokens are special ones, so nothing is left of a "
            f"text; give at least {special + n_texts}."
        )
    if max_length > tokenizer.model_max_length:
        raise DataError(
            f"data.max_length is {max_length}, but {Path(tokenizer.name_or_path).name} takes at most "
            f"{tokenizer.model_max_length} tokens; lower it."
        )


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of everything that decides how the tokenizer cuts a text, 32 hexadecimal digits."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        described: Any = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    else:
        described = json.loads(backend.to_str())
        described.pop("truncation", None)  # set anew by every call, so no part of the tokenizer itself
        described.pop("padding", None)
    described = [described, tokenizer.special_tokens_map]
    text = json.dumps(described, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def tokenize(
    texts_of: Callable[[slice], list[tuple[str, ...]]],
    n_rows: int,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    folder: Path | None = None,
) -> TokenizedRows:
    """Tokenise rows, or read them from a folder that an earlier call filled.

    Args:
        texts_of: gives the texts of a slice of rows, one tuple a row (one text, or the two of a pair).
        n_rows: how many rows there are.
        tokenizer: any; a pair is joined as it joins them.
        max_length: tokens a row is cut to, special ones included.
        folder: where to keep the arrays, or None to hold them in memory.
    """
    if folder is None:
        parts = list(_chunks(texts_of, n_rows, tokenizer, max_length))
        lengths = np.concatenate([part[3] for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ids, types, special = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return TokenizedRows(ids, types, special, offsets)
    if not folder.is_dir():
        with atomic_folder(folder) as partial:
            lengths = np.empty(n_rows, dtype=np.int64)
            done = 0
            with (
                (partial / "ids.bin").open("wb") as ids_file,
                (partial / "type_ids.bin").open("wb") as types_file,
                (partial / "special.bin").open("wb") as special_file,
            ):
                for ids, types, special, chunk in _chunks(texts_of, n_rows, tokenizer, max_length):
                    ids_file.write(ids.tobytes())
                    types_file.write(types.tobytes())
                    special_file.write(special.tobytes())
                    lengths[done : done + len(chunk)] = chunk
                    done += len(chunk)
            np.save(partial / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    return TokenizedRows(
        np.memmap(folder / "ids.bin", dtype=np.int32, mode="r"),
        np.memmap(folder / "type_ids.bin", dtype=np.uint8, mode="r"),
        np.memmap(folder / "special.bin", dtype=bool, mode="r"),
        np.load(folder / "offsets.npy", allow_pickle=False),
    )


def _chunks(
    texts_of: Callable[[slice], list[tuple[str, ...]]],
    n_rows: int,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    with progress("Tokenising", n_rows // CHUNK_ROWS + 1) as advance:
        for start in range(0, n_rows, CHUNK_ROWS):
            yield _chunk(texts_of(slice(start, min(n_rows, start + CHUNK_ROWS))), tokenizer, max_length)
            advance()


def _chunk(
    texts: list[tuple[str, ...]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    encoded = tokenizer(
        *(list(column) for column in zip(*texts)),
        truncation=True,
        max_length=max_length,
        return_token_type_ids=True,
        return_attention_mask=False,
        return_special_tokens_mask=True,
        verbose=False,
    )
    lengths = np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)
    return (
        _flat(encoded["input_ids"], np.int32),
        _flat(encoded["token_type_ids"], np.uint8),
        _flat(encoded["special_tokens_mask"], bool),
        lengths,
    )


def _flat(rows: list[list[int]], dtype: type) -> np.ndarray:
    return np.fromiter((value for row in rows for value in row), dtype=dtype, count=sum(map(len, rows)))
