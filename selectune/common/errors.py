"""Errors. The command line prints the one sentence of a `UserError` and exits with code 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def first_few(values: Sequence[object] | np.ndarray, n: int = 5) -> str:
    """The first `n` values in a list for a message, with ``...`` for the others."""
    return ", ".join(map(str, values[:n])) + (", ..." if len(values) > n else "")


class UserError(ValueError):
    """A mistake that the user can fix.

    Args:
        message: what is wrong, where, and how to fix it.
        option: the option or argument to change, spelled as in the message; None where it is none, or several.
        path: the file or folder to look at.
        rows: ids of the rows to look at.
    """

    def __init__(
        self, message: str, *, option: str | None = None, path: object = None, rows: Sequence[int] = ()
    ) -> None:
        super().__init__(" ".join(message.splitlines()))  # what another library said may have lines
        self.option, self.path, self.rows = option, path, list(rows)


class DataError(UserError):
    """A data set that is missing, empty, or not of the form that the task needs."""


class MissingDataError(DataError):
    """A data set of the hub that is not on this machine and could not be had."""


class EmptyDataError(DataError):
    """A file, or a split of a data set, without rows."""


class BadRowsError(DataError):
    """Rows of a pool that cannot be used. The message names the first five of them.

    Args:
        problem: the message, with ``{rows}`` where it names them.
        rows: their positions in the pool.
    """

    def __init__(self, problem: str, rows: Sequence[int] = ()) -> None:
        self.problem = problem
        super().__init__(problem.replace("{rows}", first_few(rows)), rows=rows)

    def with_ids(self, row_ids: np.ndarray) -> DataError:
        """The same error with the ids of the rows in the whole pool, shape (n_rows,); it is not renumbered again."""
        renumbered = row_ids[self.rows].tolist()
        return DataError(str(BadRowsError(self.problem, renumbered)), rows=renumbered)


class BudgetError(UserError):
    """A budget that is nothing, more than the pool, or given twice."""


class SelectionError(UserError):
    """A selection that is missing, damaged, or made for another pool."""


class TransportError(UserError):
    """A transport problem that is ill stated, or a solver that did not converge."""


class CheckpointError(UserError):
    """A model that cannot be found, or that lacks the head that a signal needs."""


class MissingCheckpointError(CheckpointError):
    """A model of the hub that is not on this machine and could not be had."""


class RunDirectoryError(UserError):
    """A run directory that is in use, finished, or made from another config."""


class NoRoomError(UserError, OSError):
    """A full file system; the earlier content of the file stays. Path, bytes needed and bytes free where known."""

    def __init__(self, path: object = None, needed: int | None = None, free: int | None = None) -> None:
        self.needed, self.free = needed, free
        wanted = "" if needed is None else f": it needs {needed / 1e6:,.1f} MB"
        if needed is not None and free is not None:
            wanted += f", and {free / 1e6:,.1f} MB are free"
        super().__init__(
            f"There is no room left on the disk for {path or 'what is written'}{wanted}; make room, then start the "
            "same command again, which goes on from where this one was.",
            path=path,
        )

    def __str__(self) -> str:
        return str(self.args[0])


class TrainingError(RuntimeError):
    """A training that was stopped because its loss or weights are not finite; the command line exits with code 3."""


class ConcentratedScores(UserWarning):
    """Scores so concentrated that selecting by them is close to random, or that a few values of them decide."""

    def __init__(self, message: str, close_to_random: bool = True) -> None:
        super().__init__(message)
        self.close_to_random = close_to_random


class DamagedCheckpoint(UserWarning):
    """A damaged checkpoint, in whose place an earlier one is used, or none."""
