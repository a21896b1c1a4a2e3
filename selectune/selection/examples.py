"""What the report shows of a selection beside its scores: some rows as examples, and the classes before and after.

A run directory holds row ids and numbers, but no texts and labels; so these few are written when the rows are chosen.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from selectune.common.errors import UserError
from selectune.common.files import write_json
from selectune.common.run_files import SelectionFiles
from selectune.selectors.base import rounded
from selectune.selectors.euds import rank_quantiles

N_EXAMPLES = 3
N_CHARACTERS = 160
SCORE = "score"


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
    """Some rows of each kind drawn at random, and the rows of each class in the pool and among the kept.

    Of a signal with a band the kinds are ``kept``, ``too_low`` and ``too_high``, else ``kept`` and ``not_kept``. The
    signals are those with a band; without any, the selector's ``score``, or what else there is.

    Args:
        texts_of: the texts of the given rows, e.g. `Pool.texts`.
        rows: the kept row ids, shape (n_kept,).
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
    names = list(intervals) or ([SCORE] if SCORE in signals else rest)
    drawn = {name: _drawn(name, rounded(signals[name]), selected, intervals.get(name), seed) for name in names}
    ids = sorted({row for kinds in drawn.values() for some in kinds.values() for row in some})
    texts = dict(zip(ids, map(shortened, texts_of(np.array(ids, dtype=np.int64)) if ids else [])))
    described: dict[str, Any] = {}
    for name, kinds in drawn.items():
        low, high = intervals.get(name, (None, None))
        described[name] = {"low": low, "high": high, "rows": {}}
        for kind, some in kinds.items():
            described[name]["rows"][kind] = [
                {"row_id": row, "value": float(signals[name][row]), "text": texts[row]} for row in some
            ]
    return {"seed": seed, "signals": described, "classes": _classes(labels, label_names, selected)}


def write(folder: Path, described: dict[str, Any]) -> None:
    """Write what `describe_rows` gave into the folder of a selection, whole or not at all."""
    write_json(SelectionFiles(folder).examples, described)


def read(folder: Path) -> dict[str, Any]:
    """What `write` left in the folder of a selection; empty where there is nothing.

    Raises:
        UserError: the file is damaged.
    """
    file = SelectionFiles(folder).examples
    try:
        described = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}); remove it, or select again.") from None
    return described if isinstance(described, dict) else {}


def kept_intervals(
    diagnostics: Mapping[str, Any], signals: Mapping[str, np.ndarray], selected: np.ndarray
) -> dict[str, tuple[float, float]]:
    """From where to where the kept rows reach, in each signal that a band was placed on.

    That is the band, or the side of IGSE's box: the scores whose rank quantile is within ``half_width`` of the
    ``centre``. Bounds that leave kept rows out were placed on part of the pool, in a chain: then it is the range of the
    kept rows. A band of something that is no signal, such as a weighted sum, is one of the selector's ``score``.

    Args:
        diagnostics: of the selector; bands may lie at any depth, and lack anything.
        signals: each of shape (n_rows,), NaN where a row has no value.
        selected: whether a row was kept, shape (n_rows,).
    """
    found: dict[str, tuple[float, float]] = {}
    for bands, half_width in _bands(diagnostics):
        for told, band in bands.items():
            name = told if told in signals else SCORE
            if name not in signals or not isinstance(band, Mapping):
                continue
            values = rounded(signals[name])
            kept = values[selected & np.isfinite(values)]
            low, high = _bounds(values[np.isfinite(values)], band, half_width)
            if len(kept) and low <= kept.min() and kept.max() <= high:
                found[name] = low, high
            elif len(kept) and name == told:
                found[name] = float(kept.min()), float(kept.max())
    return found


def shortened(texts: tuple[str, ...]) -> str:
    """The texts of a row in one line of about 160 characters, each of a pair with its share of them."""
    width = N_CHARACTERS // max(len(texts), 1)
    return " | ".join(_short(text, width) for text in texts)


def _short(text: str, width: int) -> str:
    told = shorten(text, width, placeholder=" …")
    whole = " ".join(text.split())
    # a script without spaces, or one long word, would leave nothing
    return told if len(told) >= min(len(whole), width // 2) else whole[: width - 1] + "…"


def _drawn(
    name: str, values: np.ndarray, selected: np.ndarray, interval: tuple[float, float] | None, seed: int
) -> dict[str, list[int]]:
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
        some = draw.choice(candidates, min(N_EXAMPLES, len(candidates)), replace=False)
        drawn[kind] = [int(row) for row in some[np.argsort(values[some], kind="stable")]]
    return drawn


def _bands(diagnostics: Any) -> Iterator[tuple[Mapping[str, Any], float | None]]:
    """All bands in diagnostics, each with the half width of the box that they span, if they do."""
    if isinstance(diagnostics, Mapping):
        bands, half_width = diagnostics.get("bands"), diagnostics.get("half_width")
        if isinstance(bands, Mapping):
            yield bands, half_width if isinstance(half_width, float | int) else None
    parts = diagnostics.values() if isinstance(diagnostics, Mapping) else diagnostics
    for part in parts if isinstance(diagnostics, Mapping | list | tuple) else ():
        yield from _bands(part)


def _bounds(values: np.ndarray, band: Mapping[str, Any], half_width: float | None) -> tuple[float, float]:
    """The lowest and highest value that a band, or its side of a box, holds; NaN when that is not told."""
    centre = band.get("centre")
    if half_width is not None and isinstance(centre, float | int) and len(values):
        inside = values[rounded(np.abs(rank_quantiles(values, 2 * values) - centre)) <= half_width]
        return (float(inside.min()), float(inside.max())) if len(inside) else (np.nan, np.nan)
    low, high = (band.get(bound) for bound in ("low", "high"))
    known = isinstance(low, float | int) and isinstance(high, float | int)
    return (float(low), float(high)) if known else (np.nan, np.nan)  # type: ignore[arg-type]


def _classes(labels: np.ndarray | None, names: list[str] | None, selected: np.ndarray) -> dict[str, Any] | None:
    if labels is None or np.shape(labels) != selected.shape or not np.issubdtype(np.asarray(labels).dtype, np.integer):
        return None
    present, where = np.unique(np.asarray(labels), return_inverse=True)
    known = dict(enumerate(map(str, names or [])))
    return {
        "names": [known.get(int(number), str(number)) for number in present],
        "pool": np.bincount(where, minlength=len(present)).tolist(),
        "kept": np.bincount(where[selected], minlength=len(present)).tolist(),
    }


SHOWN = 600  # of each kind
DECIMALS = 4


def embedding_map(pool: np.ndarray, target: np.ndarray, kept: np.ndarray, keys: np.ndarray) -> dict[str, Any]:
    """Where a sample of each kind lies on the plane of largest variance of all three samples together (PCA).

    Args:
        pool: embeddings, shape (n_rows, d); a memory map is read at the sampled rows alone.
        target: embeddings, shape (n_target, d).
        kept: row ids of the pool.
        keys: the order in which rows are sampled, shape (n_rows,).

    Returns:
        ``pool``, ``target`` and ``kept``, each a list of [x, y], and ``explained``, the two components' shares of the
        variance.
    """
    order = np.argsort(keys, kind="stable")
    is_kept = np.zeros(len(pool), dtype=bool)
    is_kept[kept] = True
    samples = {
        "pool": pool[np.sort(order[:SHOWN])],
        "target": target[np.linspace(0, len(target) - 1, min(SHOWN, len(target))).astype(int)],
        "kept": pool[np.sort(order[is_kept[order]][:SHOWN])],
    }
    together = np.concatenate([np.asarray(sample, dtype=np.float64) for sample in samples.values()])
    together -= together.mean(axis=0)
    _, lengths, axes = np.linalg.svd(together, full_matrices=False)
    axes = axes[:2] * np.where(axes[:2].sum(axis=1, keepdims=True) < 0, -1, 1)  # else the sign is the library's
    places = np.round(together @ axes.T, DECIMALS)
    if places.shape[1] < 2:
        places = np.column_stack([places, np.zeros(len(places))])
    total = float((lengths**2).sum()) or 1.0
    ends = np.cumsum([len(sample) for sample in samples.values()])
    parts = np.split(places, ends[:-1])
    explained = [round(float(length**2 / total), DECIMALS) for length in lengths[:2]]
    return {name: part.tolist() for name, part in zip(samples, parts)} | {"explained": explained}
