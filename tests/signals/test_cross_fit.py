"""Laws of cross-fitted class probabilities."""

import numpy as np

from selectune.signals.cross_fit import cross_fit

RNG = np.random.default_rng(0)


def two_blobs(n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.arange(n) % 2
    embeddings = RNG.normal(size=(n, 8)) + 3.0 * labels[:, None]
    return embeddings.astype(np.float32), labels, RNG.integers(0, 2**63, n).astype(np.uint64)


def test_rows_that_embeddings_tell_apart_get_their_class() -> None:
    embeddings, labels, hashes = two_blobs()
    fitted = cross_fit(embeddings, labels, hashes)
    assert fitted.probabilities.shape == (300, 2)
    assert fitted.flops > 0
    assert np.allclose(fitted.probabilities.sum(1), 1, atol=1e-5)
    assert (fitted.probabilities.argmax(1) == labels).mean() > 0.98


def test_permuting_the_rows_permutes_the_probabilities() -> None:
    embeddings, labels, hashes = two_blobs()
    order = RNG.permutation(len(labels))
    one = cross_fit(embeddings, labels, hashes)
    other = cross_fit(embeddings[order], labels[order], hashes[order])
    assert np.array_equal(one.probabilities[order], other.probabilities)


def test_a_copy_does_not_tell_the_probe_the_label_of_a_row() -> None:
    """Random labels that copies repeat: a probe that saw the copy would know them, one that did not cannot."""
    embeddings = np.repeat(RNG.normal(size=(200, 400)), 2, axis=0)
    labels = np.repeat(RNG.integers(0, 2, 200), 2)
    shared = np.repeat(RNG.integers(0, 2**63, 200).astype(np.uint64), 2)
    right, cheated = (
        (cross_fit(embeddings, labels, hashes).probabilities.argmax(1) == labels).mean()
        for hashes in (shared, RNG.permutation(shared))
    )
    assert right < 0.62 < 0.75 < cheated


def test_a_class_of_one_row_is_not_predicted_from_itself() -> None:
    embeddings, labels, hashes = two_blobs(101)
    labels[7] = 2
    fitted = cross_fit(embeddings, labels, hashes)
    assert fitted.probabilities.shape == (101, 3)
    assert fitted.probabilities[7, 2] == 0
    assert np.isfinite(fitted.probabilities).all()
