"""Hold a selector to its contract, so that a mistake in one of your own ends in a sentence that names its class."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from selectune.common.errors import BadRowsError, SelectionError, UserError
from selectune.selectors.base import ALWAYS, Budget, Picked, Selector, Signals


def checked_select(
    selector: Selector, pool: Signals, target: Signals | None, budget: Budget, seed: int, group: Any = None
) -> Picked:
    """Let a selector select, and check its answer. The arguments are those of `Selector.select`.

    Returns:
        The answer, its rows as int64 in ascending order and its scores as float64.

    Raises:
        UserError: the selector's own.
        SelectionError: it raises anything else, which is the cause of this; or its answer is not as `Picked` says.
    """
    name = name_of(selector)
    with _errors_of(selector, name):
        try:
            picked: Any = selector.select(pool, target, budget, seed, **({} if group is None else {"group": group}))
        except BadRowsError as error:  # in a chain the selector sees some rows of the pool alone
            raise error.with_ids(pool.row_ids) from error
    if not isinstance(picked, Picked):
        raise SelectionError(f"{name} returned {_kind(picked)}, but select must return a Picked(rows, scores).")
    rows = _checked_rows(picked.rows, name, pool, budget)
    scored = rows if selector.leaves_unscored else slice(None)
    scores = _checked_scores(picked.scores, name, pool.row_ids, scored)
    if picked.flops is not None and not 0 <= picked.flops < np.inf:
        raise SelectionError(f"{name} reports {picked.flops} FLOPs, but must report a number of at least 0, or None.")
    try:
        json.dumps(dict(picked.diagnostics))
    except (TypeError, ValueError) as error:
        raise SelectionError(f"The diagnostics of {name} cannot be written as JSON ({error}).") from error
    return replace(picked, rows=rows, scores=scores)


def check_selector(selector: Any, known: Iterable[str] | None = None) -> None:
    """Check a selector's class and the signals that it names, before anything is computed for it.

    Args:
        selector: any, with those inside it.
        known: the signals that exist; None where names are not looked at yet.

    Raises:
        SelectionError: it is no selector, or names unknown signals.
    """
    if not isinstance(selector, Selector):
        kind = f"the class {selector.__name__}" if isinstance(selector, type) else _kind(selector)
        message = f"data.selector is {kind}, but must be an object of a subclass of Selector."
        raise SelectionError(message, option="data.selector")
    # of a Chain or of Balanced, whose own requires would not name the one that is wrong
    for inner in ("prefilter", "selector", "within"):
        if isinstance(part := getattr(selector, inner, None), Selector):
            check_selector(part, known)
    for attribute in ("requires", "requires_target"):
        name = f"{attribute} of {name_of(selector)}"
        with _errors_of(selector, name):
            signals = getattr(selector, attribute)
        if not isinstance(signals, set | frozenset):
            hint = "; is it a property?" if callable(signals) else "."
            raise SelectionError(f"{name} is {_kind(signals)}, but must be a frozenset of names of signals{hint}")
        if known is not None and (unknown := sorted(map(str, signals - ALWAYS - set(known)))):
            raise SelectionError(
                f"There is no signal '{unknown[0]}', which `{attribute}` of {name_of(selector)} names; there are "
                f"{', '.join(known)}. Correct its arguments, or the class."
            )


def name_of(selector: Selector) -> str:
    """The class of a selector, and that of its rule where the rule is not part of this package."""
    rule = getattr(selector, "rule", None)
    own = rule is not None and not type(rule).__module__.startswith("selectune.")
    return type(selector).__name__ + (f" with the rule {type(rule).__name__}" if own else "")


def _checked_rows(given: Any, name: str, pool: Signals, budget: Budget) -> np.ndarray:
    """Rows as int64, ascending; they meet a budget in rows exactly, and one in tokens with none to spare.

    Messages name rows by their ids in the whole pool.
    """
    try:
        rows = np.asarray(given)
    except Exception as error:
        raise SelectionError(f"The rows of {name} are {_kind(given)}, no array ({error}).") from error
    if rows.ndim == 1 and len(rows) == 0:
        raise SelectionError(f"{name} picked no row; widen its bounds or the budget.")
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        hint = "; give np.flatnonzero of the mask" if rows.dtype.kind == "b" else ""
        raise SelectionError(
            f"The rows of {name} have type {rows.dtype} and shape {rows.shape}, but must be row ids, integers of shape "
            f"(n_picked,){hint}."
        )
    outside = rows[(rows < 0) | (rows >= pool.n_rows)]
    if len(outside):
        raise SelectionError(f"{name} picked row {outside[0]}, but was given the rows 0 to {pool.n_rows - 1}.")
    rows = np.sort(rows.astype(np.int64))
    twice = rows[1:][rows[1:] == rows[:-1]]
    if len(twice):
        raise SelectionError(f"{name} picked row {pool.row_ids[twice[0]]} twice, but rows must be unique.")
    if budget.rows is not None and len(rows) != budget.rows:
        raise SelectionError(f"{name} picked {len(rows)} rows, but the budget is {budget.rows} rows.")
    tokens = pool[budget.counted][rows]
    if budget.tokens is not None and not tokens.sum() - tokens.max() < budget.tokens <= tokens.sum():
        raise SelectionError(
            f"{name} picked {len(rows)} rows of {tokens.sum()} tokens, but the budget is {budget.tokens} tokens, "
            "which the last row picked must reach."
        )
    return rows


def _checked_scores(given: Any, name: str, row_ids: np.ndarray, scored: np.ndarray | slice) -> np.ndarray:
    """Scores as float64, without NaN among the rows that must have a score."""
    n_rows = len(row_ids)
    try:
        scores = np.asarray(given, dtype=np.float64)
    except Exception as error:
        raise SelectionError(f"The scores of {name} are {_kind(given)}, not numbers ({error}).") from error
    if scores.shape != (n_rows,):
        raise SelectionError(
            f"The scores of {name} have shape {scores.shape}, but must be one number for each of the {n_rows} rows of "
            "the pool."
        )
    bad = row_ids[scored][np.isnan(scores[scored])]
    if len(bad):
        message = f"{len(bad)} of {n_rows} scores of {name} are NaN (first: row {bad[0]})."
        raise SelectionError(message, rows=bad.tolist())
    return scores


@contextmanager
def _errors_of(selector: Selector, name: str) -> Iterator[None]:
    """Turn an exception into a SelectionError that tells the line in the file of the selector's class."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]  # without this function's own
        file = getattr(sys.modules.get(type(selector).__module__), "__file__", None)
        at = next((frame for frame in reversed(frames) if frame.filename == file), frames[-1])
        raise SelectionError(
            f"{name} raised {type(error).__name__}: {error} ({at.filename}, line {at.lineno}); fix it, or see the "
            "whole traceback with SELECTUNE_TRACEBACK=1."
        ) from error


def _kind(thing: Any) -> str:
    return "None" if thing is None else f"a {type(thing).__name__}"
