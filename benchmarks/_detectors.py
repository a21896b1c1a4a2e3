"""Scores of the rows of a pool by a diagnosis, by cleanlab's Datalab and by a plain sketch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from _pools import CleanRows, Encoder, text_hash
from pool_faults import FaultyPool

from selectune.diagnose import classes, copies, corruption, off_topic, texts
from selectune.diagnose.findings import Finding
from selectune.selectors.base import tie_keys
from selectune.selectors.copies import near_neighbours
from selectune.signals.cross_fit import cross_fit

DIAGNOSE, UNTRUSTED, DATALAB, SKETCH = "diagnose", "diagnose, no trusted rows", "Datalab", "sketch"
JUNK = ("not_language", "off_topic")
ACCUSATIONS = ("exact_copy", "near_copy", *JUNK)
DATALAB_ISSUES = {  # by the finding that they answer
    "label_issue": "label",
    "exact_copy": "near_duplicate",
    "near_copy": "near_duplicate",
    "off_topic": "outlier",
    "not_language": "outlier",
    "junk": "outlier",
    "rare_class": "class_imbalance",
}


@dataclass(frozen=True)
class Opinion:
    """Scores and named rows of one method.

    Args:
        scores: higher is worse, shape (n_rows,); None where only rows are named.
        rows: that are accused, row ids; None where the method names none.
        share: of the pool that is at fault, and the bounds of its interval; None where there is no estimate.
    """

    scores: np.ndarray | None
    rows: np.ndarray | None = None
    share: tuple[float, float, float] | None = None

    @classmethod
    def of(cls, finding: Finding) -> Opinion:
        """That of a finding."""
        return cls(finding.scores, finding.rows, (finding.share, finding.low, finding.high))


Opinions = dict[tuple[str, str], Opinion]  # by method and finding


def opinions(pool: FaultyPool, clean: CleanRows, encoder: Encoder, wanted: Collection[str]) -> Opinions:
    """The opinions of all methods on the wanted findings, from the same embeddings and class probabilities.

    Wanted may be ``junk`` and ``copies_or_junk`` too, with all findings that they are made of.
    """
    embeddings, middle = encoder.states(pool.texts)
    hashes = text_hash(pool.texts)
    probabilities = cross_fit(embeddings, pool.labels, hashes, clean.seed).probabilities
    found = _diagnosed(pool, clean, encoder, middle, embeddings, probabilities, hashes, wanted)
    for method in (DIAGNOSE, UNTRUSTED):
        own = {name: found.get((method, name)) or found[DIAGNOSE, name] for _, name in found}
        if "junk" in wanted:
            found[method, "junk"] = worst([own[name] for name in JUNK])
        if "copies_or_junk" in wanted:
            found[method, "copies_or_junk"] = Opinion(None, worst([own[name] for name in ACCUSATIONS]).rows)
    found |= {(DATALAB, name): one for name, one in _datalab(pool, embeddings, probabilities, wanted).items()}
    sketch = _sketch(pool, clean, encoder, embeddings, probabilities)
    return found | {(SKETCH, name): Opinion(scores()) for name, scores in sketch.items() if name in wanted}


def worst(several: Sequence[Opinion]) -> Opinion:
    """The highest of several scores of each row, and all rows that any names.

    The scores of findings share a scale: each lies between 0 and 1 and is 0.5 at the bound of its finding, whether that
    is an even chance or a similarity; so they are compared as they are.
    """
    scores = np.max([one.scores for one in several if one.scores is not None], axis=0)
    return Opinion(scores, np.unique(np.concatenate([one.rows for one in several if one.rows is not None])))


def _diagnosed(
    pool: FaultyPool,
    clean: CleanRows,
    encoder: Encoder,
    middle: np.ndarray,
    embeddings: np.ndarray,
    probabilities: np.ndarray,
    hashes: np.ndarray,
    wanted: Collection[str],
) -> Opinions:
    """The wanted findings of a diagnosis, and what is off topic where there are no trusted rows."""
    keys = tie_keys(hashes, clean.seed)
    folds, names = texts.folds_of(keys), [str(number) for number in range(probabilities.shape[1])]
    others, cosines = near_neighbours(embeddings, clean.seed, off_topic.NEIGHBOURS, keys)
    known = off_topic.known_of_labels(pool.labels, probabilities)

    def not_language() -> Finding:
        made = corruption.damaged(pool.texts, np.argsort(keys, kind="stable"), clean.seed)
        return texts.not_language(middle, folds, {one.kind: (encoder.middle(one.texts), one.rows) for one in made})[0]

    def against_trusted() -> Finding:
        trusted_folds = texts.folds_of(tie_keys(text_hash(clean.trusted), clean.seed))
        trusted = encoder.middle(clean.trusted)
        return off_topic.against_trusted(middle, trusted, folds, trusted_folds, others, known)[0]

    finders: dict[tuple[str, str], Callable[[], Finding]] = {
        (DIAGNOSE, "empty"): lambda: texts.empty(pool.texts),
        (DIAGNOSE, "truncated"): lambda: texts.truncated(
            encoder.tokens(pool.texts).lengths, encoder.whole_lengths(pool.texts)
        ),
        (DIAGNOSE, "exact_copy"): lambda: copies.exact_copies(pool.texts, pool.labels),
        (DIAGNOSE, "near_copy"): lambda: copies.near_copies(others, cosines, _bags(encoder, pool.texts), pool.labels),
        (DIAGNOSE, "leakage"): lambda: copies.leakage(
            pool.texts, _bags(encoder, pool.texts), clean.held_out, _bags(encoder, clean.held_out), "test"
        ),
        (DIAGNOSE, "not_language"): not_language,
        (DIAGNOSE, "off_topic"): against_trusted,
        (DIAGNOSE, "label_issue"): lambda: classes.label_issues(pool.labels, probabilities, names, clean.seed),
        (DIAGNOSE, "rare_class"): lambda: classes.rare_classes(pool.labels, names),
        (UNTRUSTED, "off_topic"): lambda: off_topic.by_labels(middle, folds, others, known)[0],
    }
    return {key: Opinion.of(find()) for key, find in finders.items() if key[1] in wanted}


def _bags(encoder: Encoder, rows: Sequence[str]):
    ids, offsets = next(encoder.tokens(rows).content())
    return copies.bag_of_tokens(ids, offsets, len(encoder.scoring.tokenizer))


def _datalab(
    pool: FaultyPool, embeddings: np.ndarray, probabilities: np.ndarray, wanted: Collection[str]
) -> dict[str, Opinion]:
    """Datalab's issues as they come, with its own thresholds."""
    from cleanlab import Datalab

    kinds = sorted(set(DATALAB_ISSUES.values()))
    lab = Datalab({"label": pool.labels.tolist()}, label_name="label", verbosity=0)
    lab.find_issues(features=embeddings, pred_probs=probabilities, issue_types={kind: {} for kind in kinds})
    issues = lab.get_issues()
    found = {}
    for name, kind in DATALAB_ISSUES.items():
        if name in wanted and f"is_{kind}_issue" in issues:
            rows = np.flatnonzero(issues[f"is_{kind}_issue"])
            share = len(rows) / len(issues)
            found[name] = Opinion(1 - issues[f"{kind}_score"].to_numpy(np.float64), rows, (share, np.nan, np.nan))
    return found


def _sketch(
    pool: FaultyPool, clean: CleanRows, encoder: Encoder, embeddings: np.ndarray, probabilities: np.ndarray
) -> dict[str, Callable[[], np.ndarray]]:
    """Scores that a few lines give: cosines, the label's probability, and the distance to the nearest trusted row."""
    rows = _unit(embeddings)

    def copied() -> np.ndarray:
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, -1)
        return cosines.max(axis=1)

    def nearest(theirs: Sequence[str]) -> np.ndarray:
        return (rows @ _unit(encoder.states(theirs)[0]).T).max(axis=1)

    def distance() -> np.ndarray:
        return 1 - nearest(clean.trusted)

    return {
        "exact_copy": copied,
        "near_copy": copied,
        "leakage": lambda: nearest(clean.held_out),
        "label_issue": lambda: 1 - probabilities[np.arange(len(rows)), pool.labels],
        "not_language": distance,
        "off_topic": distance,
        "junk": distance,
    }


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
