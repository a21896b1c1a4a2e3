"""Data of the report about a selection, beside its scores: some rows as examples, and the classes before and after.

A run directory holds row ids and numbers, but no texts and labels; so these few are written when rows are selected.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from selectune.common.files import read_mapping, write_json
from selectune.common.run_files import SelectionFiles
from selectune.selectors.ordering import places_of, rounded

N_EXAMPLES = 10
N_CHARACTERS = 160
SCORE = "score"
SHOWN = 600  # rows of each kind on the map
DECIMALS = 4


def describe_rows(
    texts_of: Callable[[np.ndarray], list[tuple[str, ...]]],
    rows: np.ndarray,
    n_rows: int,
    signals: Mapping[str, np.ndarray],
    diagnostics: Mapping[str, Any],
    labels: np.ndarray | None,
    label_names: list[str] | None,
    seed: int,
) -> dict[str, Any]:
    """Some rows of each kind drawn at random, and the rows of each class in the pool and among the selected.

    Of a signal with a band the kinds are ``kept``, ``too_low`` and ``too_high``, else ``kept`` and ``not_kept``. The
    signals are those with a band; without any, the selector's ``score``, or what else there is.

    Args:
        texts_of: the texts of the given rows, e.g. `Pool.texts`.
        rows: the selected row ids, shape (n_kept,).
        n_rows: rows of the pool.
        signals: one number for each row of the pool, shape (n_rows,), NaN where there is none; the selector's own
            scores as ``score``.
        diagnostics: of the selector.
        labels: the class of each row as an integer, shape (n_rows,); None, or not integers, where there are none.
        label_names: names of classes 0, 1, ...; None names them by their number.
        seed: of the draw.

    Returns:
        ``seed``; ``signals``: for each name the ``low`` and ``high`` of `kept_intervals` (None without a band) and the
        ``rows`` of each kind, as ``row_id``, ``value`` and shortened ``text``; ``classes``: ``names`` and the numbers
        of rows in ``pool`` and ``kept``, or None.
    """
    selected = np.zeros(n_rows, dtype=bool)
    selected[rows] = True
    intervals = kept_intervals(diagnostics, signals, selected)
    rest = [name for name in signals if name != "n_tokens"] or list(signals)
    described: dict[str, Any] = {}
    for name in list(intervals) or ([SCORE] if SCORE in signals else rest):
        low, high = intervals.get(name, (None, None))
        drawn = _drawn(name, rounded(signals[name]), selected, intervals.get(name), seed)
        described[name] = {"low": low, "high": high, "rows": {}}
        for kind, ids in drawn.items():
            texts = texts_of(ids) if len(ids) else []
            described[name]["rows"][kind] = [
                {"row_id": int(row), "value": float(signals[name][row]), "text": shortened(text)}
                for row, text in zip(ids, texts)
            ]
    classes = None
    if labels is not None and np.shape(labels) == (n_rows,) and np.issubdtype(np.asarray(labels).dtype, np.integer):
        present, where = np.unique(np.asarray(labels), return_inverse=True)
        known = dict(enumerate(map(str, label_names or [])))
        classes = {
            "names": [known.get(int(number), str(number)) for number in present],
            "pool": np.bincount(where, minlength=len(present)).tolist(),
            "kept": np.bincount(where[selected], minlength=len(present)).tolist(),
        }
    return {"seed": seed, "signals": described, "classes": classes}


def write(folder: Path, described: dict[str, Any]) -> None:
    """Write what `describe_rows` gave into the folder of a selection, whole or not at all."""
    write_json(SelectionFiles(folder).examples, described)


def read(folder: Path) -> dict[str, Any]:
    """The file that `write` left in the folder of a selection; empty where there is none.

    Raises:
        UserError: the file is damaged.
    """
    file = SelectionFiles(folder).examples
    return read_mapping(file, "remove it, or select again") if file.is_file() else {}


def kept_intervals(
    diagnostics: Mapping[str, Any], signals: Mapping[str, np.ndarray], selected: np.ndarray
) -> dict[str, tuple[float, float]]:
    """The lowest and highest value of the selected rows, in each signal that a band was placed on.

    That is the band, or the side of IGSE's box: the scores whose rank quantile is within ``half_width`` of the
    ``centre``. Bounds that leave selected rows out were placed on part of the pool, in a chain: then it is the range of
    the selected rows. A band of something that is no signal, such as a weighted sum, is one of the selector's
    ``score``.

    Args:
        diagnostics: of the selector; bands may lie at any depth, and lack anything.
        signals: each of shape (n_rows,), NaN where a row has no value.
        selected: whether a row was selected, shape (n_rows,).
    """
    intervals: dict[str, tuple[float, float]] = {}
    for bands, half_width in _bands(diagnostics):
        for banded, band in bands.items():
            name = banded if banded in signals else SCORE
            if name not in signals or not isinstance(band, Mapping):
                continue
            values, known = rounded(signals[name]), np.isfinite(signals[name])
            kept = values[selected & known]
            low, high = _bounds(values if known.all() else values[known], band, half_width)
            if len(kept) and low <= kept.min() and kept.max() <= high:
                intervals[name] = low, high
            elif len(kept) and name == banded:
                intervals[name] = float(kept.min()), float(kept.max())
    return intervals


def shortened(texts: tuple[str, ...]) -> str:
    """The texts of a row in one line of about 160 characters, each of a pair with its share of them."""
    width = N_CHARACTERS // max(len(texts), 1)
    parts = []
    for text in texts:
        short, whole = shorten(text, width, placeholder=" …"), " ".join(text.split())
        # `shorten` cuts at spaces: of a script without them, or of one long word, it leaves nothing
        parts.append(short if len(short) >= min(len(whole), width // 2) else whole[: width - 1] + "…")
    return " | ".join(parts)


def embedding_map(pool: np.ndarray, target: np.ndarray, kept: np.ndarray, keys: np.ndarray) -> dict[str, Any]:
    """Places of a sample of each kind on the plane of largest variance of all three samples (PCA).

    Args:
        pool: embeddings, shape (n_rows, d); a memory map is read at the sampled rows alone.
        target: embeddings, shape (n_target, d).
        kept: positions of the selected rows in it.
        keys: the order in which rows are sampled, shape (n_rows,).

    Returns:
        ``pool``, ``target`` and ``kept``, each a list of [x, y], and ``explained``, the two components' shares of the
        variance.
    """
    order = np.argsort(keys, kind="stable")
    samples = {
        "pool": pool[np.sort(order[:SHOWN])],
        "target": target[np.linspace(0, len(target) - 1, min(SHOWN, len(target))).astype(int)],
        "kept": pool[np.sort(order[np.isin(order, kept)][:SHOWN])],
    }
    joint = np.concatenate([np.asarray(sample, dtype=np.float64) for sample in samples.values()])
    joint -= joint.mean(axis=0)
    _, lengths, axes = np.linalg.svd(joint, full_matrices=False)
    axes = axes[:2] * np.where(axes[:2].sum(axis=1, keepdims=True) < 0, -1, 1)  # else the sign is the library's
    places = np.round(joint @ axes.T, DECIMALS)
    if places.shape[1] < 2:
        places = np.column_stack([places, np.zeros(len(places))])
    parts = np.split(places, np.cumsum([len(sample) for sample in samples.values()])[:-1])
    total = float((lengths**2).sum()) or 1.0
    explained = [round(float(length**2 / total), DECIMALS) for length in lengths[:2]]
    return {name: part.tolist() for name, part in zip(samples, parts)} | {"explained": explained}


def _drawn(
    name: str, values: np.ndarray, selected: np.ndarray, interval: tuple[float, float] | None, seed: int
) -> dict[str, np.ndarray]:
    """Row ids of each kind, in the order of their values."""
    known = np.isfinite(values)
    kinds = {"kept": known & selected}
    if interval is None:
        kinds["not_kept"] = known & ~selected
    else:
        low, high = interval
        kinds |= {"too_low": known & ~selected & (values < low), "too_high": known & ~selected & (values > high)}
    drawn = {}
    for kind, members in kinds.items():
        candidates = np.flatnonzero(members)
        draw = np.random.default_rng([seed % 2**32, zlib.crc32(f"{name}/{kind}".encode())])
        ids = draw.choice(candidates, min(N_EXAMPLES, len(candidates)), replace=False)
        drawn[kind] = ids[np.argsort(values[ids], kind="stable")]
    return drawn


def _bands(diagnostics: Any) -> Iterator[tuple[Mapping[str, Any], float | None]]:
    """All bands in diagnostics, each with the half width of the box that they span, if they do."""
    parts = diagnostics if isinstance(diagnostics, list | tuple) else ()
    if isinstance(diagnostics, Mapping):
        bands, half_width = diagnostics.get("bands"), diagnostics.get("half_width")
        if isinstance(bands, Mapping):
            yield bands, half_width if isinstance(half_width, float | int) else None
        parts = tuple(diagnostics.values())
    for part in parts:
        yield from _bands(part)


def _bounds(values: np.ndarray, band: Mapping[str, Any], half_width: float | None) -> tuple[float, float]:
    """The lowest and highest of rounded values that a band, or its side of a box, holds; NaN where it is not told."""
    centre, low, high = (band.get(name) for name in ("centre", "low", "high"))
    if half_width is not None and isinstance(centre, float | int) and len(values):
        ordered, doubled = np.sort(values), 2 * len(values)
        # 2 N times a quantile is a whole number, that of the half width but for its rounding to 9 decimals
        lowest, highest = (centre - half_width) * doubled - 0.5, (centre + half_width) * doubled + 0.5

        def mid_rank(place: int) -> int:
            return sum(places_of(ordered, ordered[place]))

        places = range(len(ordered) if lowest <= highest else 0)  # of none where a damaged manifest has NaN
        first, last = bisect_left(places, lowest, key=mid_rank), bisect_right(places, highest, key=mid_rank) - 1
        return (float(ordered[first]), float(ordered[last])) if first <= last else (np.nan, np.nan)
    if isinstance(low, float | int) and isinstance(high, float | int):
        return float(low), float(high)
    return np.nan, np.nan
