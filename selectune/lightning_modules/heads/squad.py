"""Scores of SQuAD: its normalisation, exact match and F1, and the threshold of null answers.

Rajpurkar et al., SQuAD: 100,000+ Questions for Machine Comprehension of Text, EMNLP 2016 (EM, F1);
Rajpurkar, Jia and Liang, Know What You Don't Know: Unanswerable Questions for SQuAD, ACL 2018 (null answers).
Where the two official scripts differ (an answer that normalises to nothing), the later one is followed.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLE = re.compile(r"\b(?:a|an|the)\b")
DECIMALS = 9  # values that agree to so many decimals tie


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation, then without articles, words one space apart."""
    return " ".join(ARTICLE.sub(" ", text.lower().translate(NO_PUNCTUATION)).split())


def em_f1(prediction: str, golds: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 of an answer, each the best over the golds.

    F1 is of the bags of normalised words. Golds that normalise to nothing do not count; a question left without a gold
    has no answer, and then both are 1 for an answer that normalises to nothing, else 0.
    """
    answer = normalize(prediction)
    correct = [gold for gold in map(normalize, golds) if gold] or [""]
    return float(answer in correct), max(_f1(answer.split(), gold.split()) for gold in correct)


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold))


def with_threshold(null_odds: np.ndarray, values: np.ndarray, has_answer: np.ndarray, threshold: float) -> np.ndarray:
    """EM or F1 of questions that are answered where the null odds do not exceed a threshold, float64, shape (n,).

    Args:
        null_odds: null score minus score of the best span, shape (n,).
        values: EM or F1 of answering with the best span, shape (n,).
        has_answer: whether a question has an answer, bool, shape (n,).
        threshold: null odds over it mean that no answer is given.
    """
    return np.where(null_odds <= threshold, values, ~has_answer).astype(np.float64)


def best_threshold(null_odds: np.ndarray, values_if_answered: np.ndarray, has_answer: np.ndarray) -> float:
    """The threshold of `with_threshold` whose mean value is highest, by one sorted sweep, O(n log n).

    A threshold matters only by which questions lie at or below it, so the candidates are the odds themselves and one
    value below them all, ``min(null_odds) - 1``, at which nothing is answered. Among thresholds whose means tie (to
    nine decimals of the sum) the lowest wins, which answers least: the first that the official script would find.
    All arrays have the shape (n,), n > 0, and the odds are finite.
    """
    order = np.argsort(null_odds, kind="stable")
    odds = np.asarray(null_odds, dtype=np.float64)[order]
    gains = np.asarray(values_if_answered, dtype=np.float64)[order] - ~np.asarray(has_answer, dtype=bool)[order]
    totals = np.concatenate([[0.0], np.cumsum(gains)]).round(DECIMALS)  # over answering nothing
    reachable = np.concatenate([[True], np.diff(odds) > 0, [True]])  # equal odds have one answer
    best = int(np.where(reachable, totals, -np.inf).argmax())
    return float(odds[best - 1]) if best else float(odds[0] - 1)
