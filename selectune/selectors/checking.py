"""Hold a selector to its contract, so that a mistake in one of your own ends in a sentence that names its class."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from selectune.common.errors import BadRowsError, SelectionError, UserError
from selectune.selectors.base import ALWAYS, Budget, Picked, Selector, Signals


def checked_select(
    selector: Selector, pool: Signals, target: Signals | None, budget: Budget, seed: int, group: Any = None
) -> Picked:
    """Let a selector select, and check its answer. The arguments are those of `Selector.select_jointly`.

    Returns:
        The answer, its rows as int64 in ascending order and its scores as float64.

    Raises:
        UserError: the selector's own.
        SelectionError: it raises anything else, which is the cause of this; or its answer is not as `Picked` says.
    """
    try:
        picked = selector.select_jointly(pool, target, budget, seed, group)
    except BadRowsError as error:
        raise error.with_ids(pool.row_ids) from error
    except UserError:
        raise
    except Exception as error:
        raise SelectionError(_raised(name_of(selector), error, selector)) from error
    return check_picked(picked, selector, pool, budget)


def check_picked(picked: Any, selector: Selector, pool: Signals, budget: Budget) -> Picked:
    """Check a selector's answer: its type, rows, scores, size, diagnostics and FLOPs.

    Raises:
        SelectionError: the first fault that is found.
    """
    name = name_of(selector)
    if not isinstance(picked, Picked):
        raise SelectionError(
            f"{name} returned {_kind(picked)}, but select must return a Picked(rows, scores); mend it."
        )
    rows = _rows(picked.rows, name, pool.row_ids)
    _check_size(rows, name, budget, pool[budget.counted])
    scored = rows if selector.leaves_unscored else np.arange(pool.n_rows)
    scores = _scores(picked.scores, name, pool.row_ids, scored)
    if picked.flops is not None and not 0 <= picked.flops < np.inf:
        raise SelectionError(f"{name} says that it took {picked.flops} FLOPs; let it say a number, or None; mend it.")
    try:
        json.dumps(dict(picked.diagnostics))
    except (TypeError, ValueError) as error:
        raise SelectionError(f"The diagnostics of {name} cannot be written as JSON ({error}); mend it.") from error
    return replace(picked, rows=rows, scores=scores)


def check_selector(selector: Any, known: Iterable[str] | None = None) -> None:
    """Check what a selector says of itself, before anything is computed for it.

    Args:
        selector: any, with those inside it.
        known: the signals that there are; None where they are not looked at yet.

    Raises:
        SelectionError: it is no selector, or names signals that there are not.
    """
    if not isinstance(selector, Selector):
        kind = f"the class {selector.__name__}" if isinstance(selector, type) else _kind(selector)
        raise SelectionError(f"data.selector is {kind}, but must be an object of a subclass of Selector; mend it.")
    for inner in ("prefilter", "selector"):  # of a Chain, whose own requires would not name the one that is wrong
        if isinstance(part := getattr(selector, inner, None), Selector):
            check_selector(part, known)
    for what in ("requires", "requires_target"):
        try:
            names = getattr(selector, what)
        except UserError:
            raise
        except Exception as error:
            raise SelectionError(_raised(f"{what} of {name_of(selector)}", error, selector)) from error
        if not isinstance(names, set | frozenset):
            hint = "; is it a property?" if callable(names) else ""
            raise SelectionError(
                f"{what} of {name_of(selector)} is {_kind(names)}, but must be a frozenset of names of signals{hint}"
                f"{'' if hint else '; mend it.'}"
            )
        if known is not None and (unknown := sorted(map(str, names - ALWAYS - set(known)))):
            raise SelectionError(
                f"There is no signal '{unknown[0]}', which {what} of {name_of(selector)} names; there are "
                f"{', '.join(known)}. Mend its arguments, or the class."
            )


def name_of(selector: Selector) -> str:
    """The class of a selector, and that of its rule where this is somebody's own."""
    rule = getattr(selector, "rule", None)
    own = rule is not None and not type(rule).__module__.startswith("selectune.")
    return type(selector).__name__ + (f" with the rule {type(rule).__name__}" if own else "")


def _rows(given: Any, name: str, row_ids: np.ndarray) -> np.ndarray:
    """Rows as int64, ascending; messages name them by their ids in the whole pool."""
    n_rows = len(row_ids)
    try:
        rows = np.asarray(given)
    except Exception as error:
        raise SelectionError(f"The rows of {name} are {_kind(given)}, no array ({error}); mend it.") from error
    if rows.ndim == 1 and len(rows) == 0:
        raise SelectionError(f"{name} picked no row; widen its bounds or the budget.")
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        more = "; give np.flatnonzero of the mask" if rows.dtype.kind == "b" else ""
        raise SelectionError(
            f"The rows of {name} have type {rows.dtype} and shape {rows.shape}, but must be row ids, integers of shape "
            f"(n_picked,){more}; mend it."
        )
    outside = rows[(rows < 0) | (rows >= n_rows)]
    if len(outside):
        raise SelectionError(f"{name} picked row {outside[0]}, but was given rows 0 to {n_rows - 1}; mend it.")
    rows = np.sort(rows.astype(np.int64))
    twice = rows[1:][rows[1:] == rows[:-1]]
    if len(twice):
        raise SelectionError(f"{name} picked row {row_ids[twice[0]]} twice, but rows must be unique; mend it.")
    return rows


def _check_size(rows: np.ndarray, name: str, budget: Budget, n_tokens: np.ndarray) -> None:
    """A budget in rows is met exactly; one in tokens is reached, and no row more is kept than that takes."""
    if budget.rows is not None and len(rows) != budget.rows:
        raise SelectionError(f"{name} picked {len(rows)} rows, but the budget is {budget.rows} rows; mend it.")
    if budget.tokens is not None:
        kept = n_tokens[rows]
        if not int(kept.sum()) - int(kept.max()) < budget.tokens <= int(kept.sum()):
            raise SelectionError(
                f"{name} picked {len(rows)} rows of {int(kept.sum())} tokens, but the budget is {budget.tokens} tokens,"
                " which the last row picked must reach; mend it."
            )


def _scores(given: Any, name: str, row_ids: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Scores as float64, none of those of the rows that must have one NaN."""
    try:
        scores = np.asarray(given, dtype=np.float64)
    except Exception as error:
        raise SelectionError(f"The scores of {name} are {_kind(given)}, not numbers ({error}); mend it.") from error
    n_rows = len(row_ids)
    if scores.shape != (n_rows,):
        raise SelectionError(
            f"The scores of {name} have shape {scores.shape}, but must be one number for each of the {n_rows} rows of "
            "the pool; mend it."
        )
    bad = row_ids[scored][np.isnan(scores[scored])]
    if len(bad):
        raise SelectionError(f"{len(bad)} of {n_rows} scores of {name} are NaN (first: row {bad[0]}); mend it.")
    return scores


def _raised(what: str, error: Exception, selector: Selector) -> str:
    """That something raised, and in which line of the file that defines the selector's class."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules.get(type(selector).__module__), "__file__", None)
    at = next((frame for frame in reversed(frames) if frame.filename == file), frames[-1])
    return (
        f"{what} raised {type(error).__name__}: {error} ({at.filename}, line {at.lineno}); mend it, or see the whole "
        "traceback with SELECTUNE_TRACEBACK=1."
    )


def _kind(thing: Any) -> str:
    return "None" if thing is None else f"a {type(thing).__name__}"
