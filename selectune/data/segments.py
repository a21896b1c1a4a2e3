"""Cut and join texts to one length, in characters or tokens, each segment knowing the rows that it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

SHORTEST = 0.5  # of the size: a shorter rest at the end of a text that was cut is dropped

Measure = Callable[[str], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Segment:
    """A piece of text, and the source rows that it begins and ends in (the same, unless texts were joined)."""

    text: str
    first_row: int
    last_row: int


def by_characters(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions at which a text may be cut, and its length up to each: anywhere, in characters."""
    places = np.arange(len(text) + 1)
    return places, places


def by_tokens(tokenizer: Any) -> Measure:
    """Positions at which a text may be cut, and its length up to each: before words, in tokens of a fast tokenizer.

    Words stay whole, so that a segment has as many tokens on its own as it had in its text.
    """

    def measure(text: str) -> tuple[np.ndarray, np.ndarray]:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        words, offsets = encoded.word_ids(), encoded["offset_mapping"]
        begins = [i for i in range(len(words)) if i == 0 or words[i] != words[i - 1]]
        places = [offsets[i][0] for i in begins] + [len(text)]
        return np.array([0, *places[1:]]), np.array([*begins, len(words)])

    return measure


def cut(texts: Iterable[tuple[int, str]], size: int, measure: Measure, join: bool = False) -> Iterator[Segment]:
    """Cut texts into segments of at most a size.

    Args:
        texts: pairs of row and text.
        size: of a segment, in the units of the measure.
        measure: `by_characters`, or the function of `by_tokens`.
        join: fill a segment up with the next text, after a line break; else a segment ends with its text.

    Yields:
        Segments in order. A rest of under half the size is dropped, but for a text that is short as a whole.
    """
    parts: list[str] = []
    filled, first = 0, -1
    row = -1
    for row, text in texts:
        places, units = measure(text)
        at, last = 0, len(places) - 1
        if parts:
            parts.append("\n")
        while at < last:
            first = first if parts else row
            reach = int(np.searchsorted(units, units[at] + size - filled, side="right")) - 1
            if reach == at:  # one word over the size is a segment of its own, one over the room begins the next
                reach = at + 1 if filled == 0 else at
            parts.append(text[places[at] : places[reach]])
            filled, at = filled + int(units[reach] - units[at]), reach
            if at < last or filled >= size:
                yield from _segment(parts, first, row)
                parts, filled = [], 0
        if parts and not join:
            if first == row and (filled >= SHORTEST * size or filled == units[-1]):
                yield from _segment(parts, first, row)
            parts, filled = [], 0
    if parts and filled >= SHORTEST * size:
        yield from _segment(parts, first, row)


def _segment(parts: list[str], first: int, last: int) -> Iterator[Segment]:
    text = "".join(parts).strip()
    if text:
        yield Segment(text, first, last)
