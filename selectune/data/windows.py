"""Long contexts as windows: each context is tokenised once, whole, and cut into overlapping windows of its questions.

windows = make_windows(questions, contexts, tokenizer, max_length=384, stride=128, max_question_tokens=64)
batch = windows.padded(np.array([0, 5]), pad_id=0)  # all windows of rows 0 and 5
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from selectune.common.errors import CheckpointError, DataError, first_few
from selectune.common.memory import no_garbage_collection
from selectune.data.tokens import TokenizedRows, flat, offsets_of, rounded_up

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK_TEXTS = 1_000
FAR = 1 << 32  # more than the characters of any context


@dataclass(frozen=True)
class PairTemplate:
    """The special tokens that a tokenizer puts before, between and after two texts that it joins.

    Args:
        special: token ids of the three places.
        types: token types of before, first text, between, second text, after; one for each token of a place, one for
            each text.
    """

    special: tuple[list[int], list[int], list[int]]
    types: tuple[list[int], int, list[int], int, list[int]]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> PairTemplate:
        """The template of a tokenizer, taken from a pair that it encodes.

        Raises:
            CheckpointError: the tokenizer knows no character offsets.
        """
        if not tokenizer.is_fast:
            raise CheckpointError(
                f"The tokenizer {type(tokenizer).__name__} knows no character offsets, by which answers are located; "
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

    def join(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token ids, token types and whether a token is special, of a pair given by its token ids."""
        before, between, after = self.special
        parts: list[Any] = [before, first, between, second, after]
        lengths = [len(part) for part in parts]
        types: list[Any] = [[kind] * n if isinstance(kind, int) else kind for kind, n in zip(self.types, lengths)]
        return np.concatenate(parts), np.concatenate(types), np.repeat([True, False, True, False, True], lengths)


@dataclass(frozen=True)
class Windows:
    """Rows of a question and a context each, as windows. All arrays are flat, with the offsets of their parts.

    Args:
        template: of question and context.
        question_ids: int32; those of row i lie between ``question_offsets[i]`` and ``[i + 1]``.
        question_offsets: int64, shape (n_rows + 1,).
        context_ids: of the distinct contexts, int32, shape (n_context_tokens,).
        context_offsets: int64, shape (n_contexts + 1,).
        char_starts: first character of each context token, shape (n_context_tokens,).
        char_ends: one past the last character of each context token.
        context_of: context of each row, shape (n_rows,).
        first_window: row i has the windows ``first_window[i]`` up to ``[i + 1]``, shape (n_rows + 1,).
        begins: first token of each window, counted in its context, shape (n_windows,).
        ends: one past its last token.
        multiple: batches are padded to a multiple of so many tokens.
    """

    template: PairTemplate
    question_ids: np.ndarray
    question_offsets: np.ndarray
    context_ids: np.ndarray
    context_offsets: np.ndarray
    char_starts: np.ndarray
    char_ends: np.ndarray
    context_of: np.ndarray
    first_window: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    multiple: int = 1

    def __len__(self) -> int:
        return len(self.context_of)

    @cached_property
    def row_of(self) -> np.ndarray:
        """Row of each window, shape (n_windows,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.first_window))

    @cached_property
    def window_lengths(self) -> np.ndarray:
        """Tokens of each window, question and special ones included, shape (n_windows,)."""
        return self._context_at() + self.ends - self.begins + len(self.template.special[2])

    @property
    def lengths(self) -> np.ndarray:
        """Tokens that a row takes in a batch, its windows padded to the longest, shape (n_rows,).

        A row of several windows fills its first one, so a batch of k rows takes at most k times the largest of these.
        """
        return np.diff(self.first_window) * np.maximum.reduceat(self.window_lengths, self.first_window[:-1])

    @property
    def padded_lengths(self) -> np.ndarray:
        """The same, each window padded to the next multiple of `multiple`, shape (n_rows,)."""
        return (count := np.diff(self.first_window)) * rounded_up(self.lengths // count, self.multiple)

    @property
    def input_tokens(self) -> np.ndarray:
        """Tokens that a model reads of each row, overlaps counted as often as they are read, shape (n_rows,)."""
        return np.add.reduceat(self.window_lengths, self.first_window[:-1])

    def shape_of(self, rows: np.ndarray) -> tuple[int, int]:
        """The shape of ``input_ids`` in the batch of some rows."""
        windows = self.of(rows)
        return len(windows), int(rounded_up(self.window_lengths[windows].max(), self.multiple))

    def tokens_of(self, rows: np.ndarray) -> int:
        """Tokens in the batch of some rows, padding left out."""
        return int(self.window_lengths[self.of(rows)].sum())

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of the windows of some rows, row after row."""
        return np.concatenate([np.arange(self.first_window[row], self.first_window[row + 1]) for row in rows])

    def padded(self, rows: np.ndarray, pad_id: int) -> dict[str, torch.Tensor]:
        """A batch of all windows of some rows, padded on the right to the longest.

        Returns:
            ``input_ids``, ``attention_mask``, ``token_type_ids`` (int64), ``special`` and ``in_context`` (bool), each
            of shape (n_windows, longest); and ``question``, the position in `rows` of each window's row, int64.
        """
        windows, offsets = self.of(rows), self.question_offsets
        joined = [
            self.template.join(
                self.question_ids[offsets[row] : offsets[row + 1]], self.context_ids[self._context_slice(window)]
            )
            for row, window in zip(self.row_of[windows], windows)
        ]
        ids, types, special = map(np.concatenate, zip(*joined))
        tokens = TokenizedRows(ids, types, special, offsets_of(self.window_lengths[windows]), self.multiple)
        batch = tokens.padded(np.arange(len(windows)), pad_id)
        in_context = self._in_context(windows, batch["input_ids"].shape[1])
        question = np.repeat(np.arange(len(rows)), np.diff(self.first_window)[rows])
        return batch | {"in_context": torch.from_numpy(in_context), "question": torch.from_numpy(question)}

    def characters(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First character, and one past the last, of every token of a batch of `padded`; 0 outside the context."""
        windows = self.of(rows)
        inside = self._in_context(windows, self.shape_of(rows)[1])
        tokens = np.concatenate([np.arange(part.start, part.stop) for part in map(self._context_slice, windows)])
        starts, ends = np.zeros(inside.shape, dtype=np.int64), np.zeros(inside.shape, dtype=np.int64)
        starts[inside], ends[inside] = self.char_starts[tokens], self.char_ends[tokens]
        return starts, ends

    def token_spans(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """First and last context token that hold some characters of a row's context, -1 where there are none.

        Args:
            starts: first character in each row, -1 for none, shape (n_rows,).
            ends: one past the last.

        Returns:
            Positions in the context, shape (n_rows, 2).
        """
        base = np.repeat(np.arange(len(self.context_offsets) - 1), np.diff(self.context_offsets)) * FAR
        where, offset = self.context_of * FAR, self.context_offsets[self.context_of]
        first = np.searchsorted(np.maximum.accumulate(base + self.char_ends), where + np.maximum(starts, 0), "right")
        last = np.searchsorted(np.maximum.accumulate(base + self.char_starts), where + np.maximum(ends, 0), "left") - 1
        spans = np.stack([first, last], axis=1) - offset[:, None]
        none = (starts < 0) | (first > last)
        return np.where(none[:, None], -1, spans)

    def labels(self, rows: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the answer's first and last token in every window of some rows; 0 where it is not wholly there.

        Args:
            rows: of the batch.
            spans: of all rows, as `token_spans` gives them.
        """
        windows = self.of(rows)
        first, last = spans[self.row_of[windows]].T
        inside = (first >= self.begins[windows]) & (last < self.ends[windows]) & (first >= 0)
        shift = self._context_at()[windows] - self.begins[windows]
        return np.where(inside, first + shift, 0), np.where(inside, last + shift, 0)

    def _context_at(self) -> np.ndarray:
        """Position of the first context token in each window."""
        before, between, _ = self.template.special
        return np.diff(self.question_offsets)[self.row_of] + len(before) + len(between)

    def _in_context(self, windows: np.ndarray, width: int) -> np.ndarray:
        start = self._context_at()[windows][:, None]
        positions = np.arange(width)
        return (positions >= start) & (positions < start + (self.ends - self.begins)[windows][:, None])

    def _context_slice(self, window: int) -> slice:
        offset = self.context_offsets[self.context_of[self.row_of[window]]]
        return slice(int(offset + self.begins[window]), int(offset + self.ends[window]))


BatchRows = TokenizedRows | Windows  # rows of which a data module makes batches


def make_windows(
    questions: Sequence[str],
    contexts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    stride: int,
    max_question_tokens: int,
    where: str = "the data",
) -> Windows:
    """Tokenise questions and distinct contexts, and place the windows; only a row's last may be under `max_length`.

    Args:
        questions: one a row.
        contexts: one a row; equal ones are tokenised once.
        tokenizer: a fast one.
        max_length: tokens of a window, special ones included.
        stride: tokens that neighbouring windows share.
        max_question_tokens: longer questions are cut.
        where: name of the rows in the message.

    Raises:
        DataError: a question leaves no more than `stride` tokens for its context.
    """
    template = PairTemplate.of(tokenizer)
    numbers: dict[str, int] = {}
    context_of = np.array([numbers.setdefault(text, len(numbers)) for text in contexts], dtype=np.int64)
    context_ids, context_offsets, characters = _tokens(list(numbers), tokenizer)
    question_ids, question_offsets, _ = _tokens(questions, tokenizer, max_question_tokens)

    room = max_length - sum(map(len, template.special)) - np.diff(question_offsets)
    if (tight := np.flatnonzero(room <= stride)).size:
        raise DataError(
            f"{len(tight)} question(s) of {where} (rows {first_few(tight)}) are too long for data.max_length "
            f"{max_length}: they leave no more context than data.doc_stride {stride}; raise the one, or lower the "
            "other or data.max_question_tokens.",
            option="data.max_length",
            rows=tight.tolist(),
        )
    size = np.diff(context_offsets)[context_of]
    step = room - stride
    count = 1 + np.maximum(0, -(-(size - room) // step))
    first_window = offsets_of(count)
    number = np.arange(first_window[-1]) - np.repeat(first_window[:-1], count)  # of a window in its row
    begins = number * np.repeat(step, count)
    ends = np.minimum(begins + np.repeat(room, count), np.repeat(size, count))
    return Windows(
        template, question_ids, question_offsets, context_ids, context_offsets, characters[:, 0], characters[:, 1],
        context_of, first_window, begins, ends,
    )  # fmt: skip


def _tokens(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, limit: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token ids of texts, one after the other, their offsets, and the characters of each token, (n_tokens, 2)."""
    ids: list[np.ndarray] = []
    characters: list[np.ndarray] = []
    lengths: list[int] = []
    for start in range(0, len(texts), CHUNK_TEXTS):
        with no_garbage_collection():
            encoded = tokenizer(
                list(texts[start : start + CHUNK_TEXTS]),
                add_special_tokens=False,
                return_offsets_mapping=True,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )
            cut = [row[:limit] for row in encoded["input_ids"]]
            lengths += map(len, cut)
            ids.append(flat(cut, np.int32))
            pairs = chain.from_iterable(row[:limit] for row in encoded["offset_mapping"])
            characters.append(flat(pairs, np.int64).reshape(-1, 2))
    return np.concatenate(ids), offsets_of(lengths), np.concatenate(characters)
