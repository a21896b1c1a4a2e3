"""Signals of training dynamics: how a row fared in the course of a training, from its logits after each epoch.

Sources: `el2n`, M. Paul, S. Ganguli, G. K. Dziugaite, "Deep Learning on a Data Diet", NeurIPS 2021; `confidence`,
`variability` and `correctness`, S. Swayamdipta et al., "Dataset Cartography", EMNLP 2020; `forgetting`, M. Toneva et
al., "An Empirical Study of Example Forgetting", ICLR 2019; `rho_loss`, S. Mindermann et al., "Prioritized Training on
Points that are Learnable, Worth Learning, and Not Yet Learnt", ICML 2022. docs/methods.md says what differs from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

BLOCK_ROWS = 50_000
FLOPS_A_LOGIT = 5.0  # an exponential, its sum, a quotient, a difference and its square
METHOD = "5 a logit (analytic)"


def el2n(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Length of the error vector after the first epoch, || p - one_hot(label) ||, in [0, sqrt 2]."""
    errors = np.exp(_log_probabilities(logits[:, 0]))
    errors[np.arange(len(labels)), labels] -= 1
    return np.asarray(np.sqrt((errors**2).sum(-1)))


def confidence(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean over epochs of the probability of the label."""
    return np.asarray(_of_label(logits, labels).mean(1))


def variability(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Standard deviation over epochs of the probability of the label, that of the epochs themselves (N, not N - 1)."""
    return np.asarray(_of_label(logits, labels).std(1))


def correctness(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of the epochs after which the label was the likeliest class."""
    return np.asarray(_is_correct(logits, labels).mean(1))


def forgetting(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Number of times that a row was classified correctly after an epoch and wrongly after the next.

    A row that was never classified correctly has the number of epochs, which is more than any other can have.
    """
    correct = _is_correct(logits, labels)
    forgotten = (correct[:, :-1] & ~correct[:, 1:]).sum(1)
    return np.where(correct.any(1), forgotten, logits.shape[1]).astype(np.float64)


def rho_loss(logits: np.ndarray, labels: np.ndarray, held_out_logits: np.ndarray) -> np.ndarray:
    """Reducible holdout loss, nats: the loss after the last epoch less that of a model trained on held-out rows."""
    losses = [-_of_label(each[:, -1:], labels, logs=True)[:, 0] for each in (logits, held_out_logits)]
    return np.asarray(losses[0] - losses[1])


SIGNALS_OF: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function for function in (el2n, confidence, variability, correctness, forgetting, rho_loss)
}
TRAINED = ("pool_logits", "held_out_logits")  # of every row after each epoch, float32, shape (n_rows, n_epochs, C)
TRAINED_FOR: dict[str, tuple[str, ...]] = {
    name: TRAINED if name == "rho_loss" else ("pool_logits",) for name in SIGNALS_OF
}
SEVERAL_EPOCHS = ("variability", "forgetting")  # are 0, or say no more than correctness, after one epoch


def dynamics_signal(name: str, logits: Mapping[str, np.ndarray], labels: np.ndarray) -> tuple[np.ndarray, float]:
    """A signal of training dynamics, float64, shape (n_rows,), and the FLOPs that it took.

    Args:
        name: of the signal.
        logits: those of `TRAINED_FOR` it, by name, each of shape (n_rows, n_epochs, n_classes).
        labels: numbers of classes, shape (n_rows,).
    """
    given = [logits[each] for each in TRAINED_FOR[name]]
    blocks = [slice(start, start + BLOCK_ROWS) for start in range(0, len(labels), BLOCK_ROWS)]
    values = [SIGNALS_OF[name](given[0][rows], labels[rows], *(each[rows] for each in given[1:])) for rows in blocks]
    return np.concatenate(values), FLOPS_A_LOGIT * sum(each.size for each in given)


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _of_label(logits: np.ndarray, labels: np.ndarray, logs: bool = False) -> np.ndarray:
    """Probability of the label after each epoch, or its logarithm, shape (n_rows, n_epochs)."""
    values = np.take_along_axis(_log_probabilities(logits), labels[:, None, None], axis=2)[..., 0]
    return values if logs else np.exp(values)


def _is_correct(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the label was the likeliest class after each epoch, shape (n_rows, n_epochs)."""
    return np.asarray(logits.argmax(-1) == labels[:, None])
