"""Held-out rows of the embedded corpora: near-duplicates are never on both sides."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

TENTH = 26  # of the 256 values of a byte


def digest(text: str) -> bytes:
    """Hash of a text, 16 bytes."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def a_tenth(texts: Sequence[str]) -> list[str]:
    """``test`` or ``train`` for each text: a tenth, by hash, and near-duplicates on the side of their first."""
    from selectune.data.embedded.near_duplicates import components

    return ["test" if _drawn(texts[first], TENTH) else "train" for first in components(texts)]


def even(texts: Sequence[str], libraries: Sequence[str], each: int) -> list[str]:
    """The split of each text: as many of each library for ``test``, a twentieth as it stands for ``natural``.

    Args:
        texts: one of each row.
        libraries: of each row.
        each: rows of each library in ``test``, or as many as there are groups of near-duplicates of it alone.

    Returns:
        ``train``, ``test``, ``natural``, or ``""`` for a near-duplicate of a row of ``test``, which is left out.
    """
    from selectune.data.embedded.near_duplicates import components

    groups: dict[int, list[int]] = defaultdict(list)
    for row, first in enumerate(components(texts)):
        groups[first].append(row)
    splits, taken = ["train"] * len(texts), Counter[str]()
    for first, rows in sorted(groups.items(), key=lambda group: digest("held out " + texts[group[0]].casefold())):
        of = libraries[first]
        if _drawn(texts[first], TENTH // 2):
            for row in rows:
                splits[row] = "natural"
        elif taken[of] < each and all(libraries[row] == of for row in rows):
            taken[of] += 1
            for row in rows:
                splits[row] = ""
            splits[first] = "test"
    return splits


def _drawn(text: str, of_256: int) -> bool:
    return digest("held out " + text.casefold())[0] < of_256
