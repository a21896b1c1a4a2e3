"""Texts as flat arrays of token ids: tokenised once, kept in the cache, read through memory maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from selectune.common.errors import CheckpointError, DataError
from selectune.common.files import atomic_folder
from selectune.common.memory import no_garbage_collection
from selectune.common.progress import progress
from selectune.data.data_files import error_summary
from selectune.data.sources import n_positions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK_ROWS = 5_000
CONTENT_ROWS = 50_000
DTYPES = {"ids": np.int32, "type_ids": np.uint8, "special": bool}


def offsets_of(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Offsets of parts of some lengths that follow each other: int64, one more than the parts, from 0 on."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def rounded_up(lengths: np.ndarray, multiple: int) -> np.ndarray:
    """Lengths, each as the next multiple of a number."""
    return -(-lengths // multiple) * multiple


def flat(rows: Iterable[Iterable[int]], dtype: Any) -> np.ndarray:
    """The values of all rows, one row after the other."""
    return np.fromiter(chain.from_iterable(rows), dtype=dtype)


@dataclass(frozen=True)
class TokenizedRows:
    """Tokenised rows, one after the other.

    Args:
        ids: token ids, special tokens included, int32, shape (total,).
        type_ids: which text of a pair a token belongs to, uint8, shape (total,).
        special: whether a token is special (it carries no text), bool, shape (total,).
        offsets: row i is ``ids[offsets[i]:offsets[i + 1]]``, int64, shape (n_rows + 1,).
        multiple: batches are padded to a multiple of so many tokens.
    """

    ids: np.ndarray
    type_ids: np.ndarray
    special: np.ndarray
    offsets: np.ndarray
    multiple: int = 1

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, special ones included, int64, shape (n_rows,)."""
        return np.diff(self.offsets)

    input_tokens = lengths  # a model reads each token once

    @property
    def padded_lengths(self) -> np.ndarray:
        """Tokens of each row as the longest of a batch, padding counted, shape (n_rows,)."""
        return rounded_up(self.lengths, self.multiple)

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
            yield np.asarray(self.ids[first:last])[keep], offsets_of(keep)[self.offsets[start : stop + 1] - first]

    def take(self, rows: np.ndarray) -> TokenizedRows:
        """Some of the rows, in the order given, in memory."""
        starts = self.offsets[rows]
        lengths = self._lengths_of(rows)
        offsets = offsets_of(lengths)
        at = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return TokenizedRows(self.ids[at], self.type_ids[at], self.special[at], offsets)

    def shape_of(self, rows: np.ndarray) -> tuple[int, int]:
        """The shape of ``input_ids`` in the batch of some rows."""
        return len(rows), int(rounded_up(self._lengths_of(rows).max(), self.multiple))

    def tokens_of(self, rows: np.ndarray) -> int:
        """Tokens in the batch of some rows, padding left out."""
        return int(self._lengths_of(rows).sum())

    def padded(self, rows: np.ndarray, pad_id: int) -> dict[str, torch.Tensor]:
        """A batch, padded on the right to its longest row, or the next multiple of `multiple`.

        Returns:
            ``input_ids``, ``attention_mask``, ``token_type_ids`` (int64) and ``special`` (bool), each of shape
            (len(rows), longest).
        """
        taken = self.take(rows)
        inside = np.arange(self.shape_of(rows)[1]) < taken.lengths[:, None]
        ids, types = np.full(inside.shape, pad_id, dtype=np.int64), np.zeros(inside.shape, dtype=np.int64)
        special = np.ones(inside.shape, dtype=bool)
        ids[inside], types[inside], special[inside] = taken.ids, taken.type_ids, taken.special
        mask = inside.astype(np.int64)
        batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "special": special}
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def _lengths_of(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of some rows, without counting those of all others."""
        return self.offsets[np.asarray(rows) + 1] - self.offsets[rows]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; one without a padding token pads with its end-of-text token.

    Its ``model_max_length`` is at most the model's positions.

    Raises:
        CheckpointError: the folder holds none, or one that knows no words.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # transformers raises anything on a file that may hold anything
        raise CheckpointError(
            f"The model folder {folder.name} holds no tokenizer that can be loaded ({error_summary(error)}); put its "
            "tokenizer files there, or name another model."
        ) from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers makes an empty one where there are no files
        raise CheckpointError(
            f"The tokenizer of the model folder {folder.name} knows no words; put its tokenizer files there, or name "
            "another model."
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, n_positions(folder) or tokenizer.model_max_length)
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
        DataError: `max_length` exceeds the tokenizer's limit, or leaves no token for a text.
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
    """Hash of everything that decides how the tokenizer splits a text, 32 hexadecimal digits."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        described: Any = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    else:
        described = json.loads(backend.to_str())
        described.pop("truncation", None)  # set anew by every call, so no part of the tokenizer itself
        described.pop("padding", None)
    text = json.dumps([described, tokenizer.special_tokens_map], sort_keys=True, default=str)
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
        ids, types, special, lengths = map(np.concatenate, zip(*_chunks(texts_of, n_rows, tokenizer, max_length)))
        return TokenizedRows(ids, types, special, offsets_of(lengths))
    if not folder.is_dir():
        with atomic_folder(folder) as partial, ExitStack() as stack:
            lengths, done = np.empty(n_rows, dtype=np.int64), 0
            files = [stack.enter_context((partial / f"{name}.bin").open("wb")) for name in DTYPES]
            for *arrays, chunk in _chunks(texts_of, n_rows, tokenizer, max_length):
                for file, array in zip(files, arrays):
                    file.write(array.tobytes())
                lengths[done : done + len(chunk)] = chunk
                done += len(chunk)
            np.save(partial / "offsets.npy", offsets_of(lengths))
    ids, types, special = (np.memmap(folder / f"{name}.bin", kind, mode="r") for name, kind in DTYPES.items())
    return TokenizedRows(ids, types, special, np.load(folder / "offsets.npy", allow_pickle=False))


def _chunks(
    texts_of: Callable[[slice], list[tuple[str, ...]]],
    n_rows: int,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> Iterator[tuple[np.ndarray, ...]]:
    """Token ids, types and whether tokens are special, one row after the other, and the rows' lengths."""
    with progress("Tokenising", n_rows // CHUNK_ROWS + 1) as advance:
        for start in range(0, n_rows, CHUNK_ROWS):
            with no_garbage_collection():
                encoded = tokenizer(
                    *map(list, zip(*texts_of(slice(start, min(n_rows, start + CHUNK_ROWS))))),
                    truncation=True,
                    max_length=max_length,
                    return_token_type_ids=True,
                    return_attention_mask=False,
                    return_special_tokens_mask=True,
                    verbose=False,
                )
                lengths = np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)
                names = ("input_ids", "token_type_ids", "special_tokens_mask")
                arrays = [flat(encoded[name], dtype) for name, dtype in zip(names, DTYPES.values())]
            yield *arrays, lengths
            advance()
