"""Texts damaged on purpose: examples of what a diagnosis looks for, made of the pool's own rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ALPHABETS = (("а", 32), ("α", 24), ("ա", 38), ("ა", 33), ("あ", 80), ("가", 2000), ("ا", 36))  # first letter, letters
MAX_REPEATED = 3  # words that are repeated at most


@dataclass(frozen=True)
class Damaged:
    """Damaged texts of one kind.

    Args:
        kind: of the damage.
        texts: one for each row that they were made of.
        rows: these rows' ids, shape (n,).
    """

    kind: str
    texts: list[str]
    rows: np.ndarray


def shuffled(text: str, rng: np.random.Generator) -> str:
    """The words in another order; the letters, where there is one word."""
    words, gap = text.split(), " "
    if len(words) < 2:
        words, gap = list(text), ""
    order = rng.permutation(len(words))
    if len(words) > 1 and (order == np.arange(len(words))).all():
        order = np.roll(order, 1)
    return gap.join(words[i] for i in order)


def random_letters(text: str, rng: np.random.Generator) -> str:
    """Each word replaced by random Latin letters, as many as it has and at least two."""
    return " ".join(_word(max(2, len(word)), "a", 26, rng) for word in text.split() or ["none"])


def other_letters(text: str, rng: np.random.Generator) -> str:
    """Each word replaced by random letters of another alphabet, the same one for the whole text."""
    first, letters = ALPHABETS[int(rng.integers(len(ALPHABETS)))]
    return " ".join(_word(max(1, len(word)), first, letters, rng) for word in text.split() or ["none"])


def repeated(text: str, rng: np.random.Generator) -> str:
    """A few neighbouring words over and over, to the length of the text and at least eight words."""
    words = text.split() or ["none"]
    start, many = int(rng.integers(len(words))), int(rng.integers(1, MAX_REPEATED + 1))
    line, length = words[start : start + many], max(8, len(words))
    return " ".join((line * (length // len(line) + 1))[:length])


def _word(length: int, first: str, letters: int, rng: np.random.Generator) -> str:
    return "".join(chr(ord(first) + int(i)) for i in rng.integers(0, letters, size=min(length, 30)))


KINDS: dict[str, tuple[Callable[[str, np.random.Generator], str], int]] = {  # and how many at most
    "shuffled": (shuffled, 500),
    "random_letters": (random_letters, 150),
    "other_letters": (other_letters, 150),
    "repeated": (repeated, 150),
}


def damaged(texts: list[str], order: np.ndarray, seed: int) -> list[Damaged]:
    """Damaged rows of each kind, of the first rows of an order; of a small pool a sixth at most are shuffled.

    Args:
        texts: of the pool.
        order: of its row ids, by hash, so that permuting the pool changes nothing.
        seed: of the damage.
    """
    made = []
    for number, (kind, (damage, most)) in enumerate(KINDS.items()):
        rng = np.random.default_rng([seed % 2**63, number])
        rows = order[: max(1, min(most, len(texts) * most // 3000))]
        made.append(Damaged(kind, [damage(texts[row], rng) for row in rows], rows))
    return made
