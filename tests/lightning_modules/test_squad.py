"""SQuAD's figures equal its own definition, and the null threshold is the best there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from selectune.lightning_modules.heads.squad import best_threshold, em_f1, normalize, with_threshold

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
CASES: list[tuple[str, list[str]]] = [
    ("Denver Broncos", ["Denver Broncos"]),
    ("denver broncos", ["Denver Broncos"]),
    ("the Denver Broncos", ["Denver Broncos"]),
    ("Denver", ["Denver Broncos"]),
    ("Broncos Denver", ["Denver Broncos"]),
    ("Carolina", ["Denver Broncos"]),
    ("a an the", ["the"]),
    ("the", []),
    ("a", ["an apple"]),
    ("", []),
    ("", ["Denver"]),
    ("Denver", []),
    ("", ["the"]),
    ("Denver", ["the", "..."]),
    ("...", []),
    ("?!", ["yes"]),
    ("U.S.A.", ["USA"]),
    ("U.S.A.", ["U S A"]),
    ("state-of-the-art", ["state of the art"]),
    ("rock'n'roll", ["rock n roll"]),
    ("24–10", ["24-10"]),
    ("24–10", ["24–10"]),
    ("“Venite Ad Me Omnes”", ["Venite Ad Me Omnes"]),
    ('"Venite Ad Me Omnes"', ["Venite Ad Me Omnes"]),
    ("Żółć", ["żółć"]),
    ("STRASSE", ["straße"]),
    ("İstanbul", ["istanbul"]),
    ("東京 都", ["東京"]),
    ("naïve café", ["naive cafe"]),
    ("the  cat\tsat\n", ["cat sat"]),
    ("cat\u00a0sat", ["cat sat"]),
    ("Anna", ["an na", "anna"]),
    ("theatre", ["the atre"]),
    ("a-team", ["team", "ateam"]),
    ("cat", ["dog", "cat", "bird"]),
    ("cat dog", ["dog", "bird cat dog", "cat"]),
    ("to be or not to be", ["to be", "be or not"]),
    ("be be be", ["be"]),
    ("$1,000.50", ["1000.50", "100050"]),
    ("in the year 1858", ["1858", "the year 1858", ""]),
]  # fmt: skip


def official(prediction: str, golds: list[str]) -> tuple[float, float]:
    """The definition, step by step, one character and one word at a time."""

    def clean(text: str) -> list[str]:
        kept = "".join(character for character in text.lower() if character not in PUNCTUATION)
        parts, word = [], ""
        for character in kept + " ":  # an article is a whole run of letters, digits and underscores
            if character.isalnum() or character == "_":
                word += character
                continue
            parts += [" " if word in ("a", "an", "the") else word, character]
            word = ""
        return "".join(parts).split()

    def f1(said: list[str], gold: list[str]) -> float:
        if len(said) == 0 or len(gold) == 0:
            return 1.0 if said == gold else 0.0
        left, same = list(gold), 0
        for word in said:
            if word in left:
                left.remove(word)
                same += 1
        if same == 0:
            return 0.0
        precision, recall = same / len(said), same / len(gold)
        return 2 * precision * recall / (precision + recall)

    wanted = [clean(gold) for gold in golds if clean(gold)] or [[]]
    said = clean(prediction)
    return float(any(said == gold for gold in wanted)), max(f1(said, gold) for gold in wanted)


def test_there_are_forty_cases() -> None:
    assert len(CASES) == 40


@pytest.mark.parametrize(("prediction", "golds"), CASES)
def test_a_case_is_as_defined(prediction: str, golds: list[str]) -> None:
    assert em_f1(prediction, golds) == pytest.approx(official(prediction, golds), abs=1e-12)


def test_known_values() -> None:
    assert normalize("The  U.S.A.'s “an apple” a-b, an_x") == "usas “ apple” ab anx"
    assert em_f1("Denver", ["Denver Broncos"]) == (0, pytest.approx(2 / 3))
    assert em_f1("be be be", ["be"]) == (0, pytest.approx(0.5))
    assert em_f1("", []) == (1, 1)
    assert em_f1("", ["Denver"]) == (0, 0)
    assert em_f1("Denver", []) == (0, 0)


questions = st.lists(
    st.tuples(
        st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0, 7.25]), st.sampled_from([0.0, 1 / 3, 0.5, 1.0]), st.booleans()
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, max_examples=200)
@given(questions)
@example([(0.0, 0.0, False)])
@example([(1.0, 1.0, True), (1.0, 0.0, False), (1.0, 0.0, False)])
def test_the_threshold_is_the_best_of_all(rows: list[tuple[float, float, bool]]) -> None:
    odds, values, has_answer = (np.array(column) for column in zip(*rows))
    values = np.where(has_answer, values, 0.0)

    def mean(threshold: float) -> float:
        said = [(value if x <= threshold else float(not has)) for x, value, has in zip(odds, values, has_answer)]
        return sum(said) / len(said)

    grid = np.unique(np.concatenate([odds, odds - 0.1, odds + 0.1, [-99.0, 99.0]]))
    found = best_threshold(odds, values, has_answer)
    best = max(mean(threshold) for threshold in grid)
    assert mean(found) == pytest.approx(best, abs=1e-9)
    assert with_threshold(odds, values, has_answer, found).mean() == pytest.approx(best, abs=1e-9)
    fewer = [threshold for threshold in grid if (odds <= threshold).sum() < (odds <= found).sum()]
    assert all(mean(threshold) < best - 1e-10 for threshold in fewer), "of thresholds that tie the lowest wins"


def test_the_threshold_answers_nothing_or_all_where_that_is_best() -> None:
    odds = np.array([3.0, -1.0, 2.0])
    assert best_threshold(odds, np.zeros(3), np.zeros(3, dtype=bool)) < odds.min()
    assert best_threshold(odds, np.ones(3), np.ones(3, dtype=bool)) == odds.max()
