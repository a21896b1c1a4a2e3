"""What a user can do wrong. The CLI prints the one sentence of such an error and exits with code 2."""


class UserError(ValueError):
    """A mistake that the user can mend; its message says what is wrong, where, and how to mend it."""


class DataError(UserError):
    """A data set that is missing, empty, or not of the form that the task needs."""


class BudgetError(UserError):
    """A budget that is nothing, more than the pool, or given twice."""


class SelectionError(UserError):
    """A selection that is missing, damaged, or made for another pool."""


class TransportError(UserError):
    """A transport problem that is ill stated, or a solve that did not converge."""


class CheckpointError(UserError):
    """A model that cannot be found, or that lacks the head that a signal needs."""


class RunDirectoryError(UserError):
    """A run directory that is in use, finished, or made from another config."""


class ConcentratedScores(UserWarning):
    """Scores so concentrated that selecting by them is close to random."""
