"""Pools with one known fault each, made from clean rows with a fixed seed: what `faulty_pools.py` judges detection by.

Each maker takes clean texts and labels and returns as many rows, a share of which carries the fault, and says which.
Nothing here knows of the detectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

BOILERPLATE = (
    "click here to read more about our cookie policy",
    "sign up for our newsletter and never miss a story",
    "all rights reserved . no part of this page may be reproduced",
    "404 page not found , return to the home page",
)
ALPHABETS = (  # first letter and number of letters: Cyrillic, Greek, Armenian, Georgian, Hiragana
    (0x0430, 32),
    (0x03B1, 24),
    (0x0561, 38),
    (0x10D0, 33),
    (0x3042, 80),
)
RARE_PART = 0.1  # of the share asked for: a rare class has 3 % of the rows where other faults have 30 %
SYNONYM_PAIRS = """
film movie, good fine, bad poor, big large, small little, begin start, end finish, quick fast,
funny amusing, smart clever, sad unhappy, happy glad, story tale, scene sequence, actor performer,
director filmmaker, beautiful lovely, ugly hideous, boring dull, interesting intriguing, strange odd,
scary frightening, great terrific, awful terrible, company firm, said stated, says states,
announced declared, buy purchase, bought purchased, deal agreement, profit earnings, rise increase,
rose increased, fall drop, fell dropped, president leader, killed slain, attack assault, country nation,
city town, police officers, game match, win victory, won triumphed, lost defeated, team squad,
players athletes, coach trainer, season campaign, computer machine, software program, maker producer,
internet web, users customers, launch release, new fresh, old aged, week seven-days, plan scheme,
help aid, show display, shows displays, make create, makes creates, made created, get obtain,
gets obtains, use employ, uses employs, find discover, found discovered, world globe, people persons,
children kids, man guy, woman lady, life existence, work labour, money cash, very really, never not-ever,
always forever, often frequently, perhaps maybe, about around, many numerous, much plenty,
more additional, most nearly-all, few scarce, first initial, last final, long lengthy, short brief,
high elevated, low reduced, strong powerful, weak feeble, hard difficult, easy simple, true genuine,
wrong mistaken, right correct, look glance, looks appears, feel sense, feels seems, think believe,
know understand, want desire, need require, try attempt, kind sort, type sort, because since,
although though, while whereas, but yet, also too, only just, between among, near close-to,
officials authorities, government administration, troops soldiers, war conflict, peace calm, oil crude,
prices costs, stocks shares, market exchange, bank lender, court tribunal, million m, percent per-cent,
year twelve-months, month four-weeks, today this-day, yesterday a-day-ago, comedy farce, drama play,
romance love-story, thriller suspense, audience viewers, performance acting, script screenplay,
characters figures, moments instants, picture image, entertaining enjoyable, charming delightful,
clumsy awkward, silly foolish, tired weary, fun enjoyment, laughs chuckles, heart soul, mind brain
"""
SYNONYMS = {word: other for pair in SYNONYM_PAIRS.split(",") for word, other in (pair.split(),)}


@dataclass(frozen=True)
class FaultyPool:
    """A pool with a known fault.

    Args:
        texts: of the rows.
        labels: class numbers as the pool gives them, shape (n_rows,).
        faulty: rows that carry the fault, shape (n_rows,). For copies: every member of a group, the first one too.
        finding: the name by which a diagnosis should call it.
        true_labels: class numbers before the fault, -1 where there is none, shape (n_rows,).
        heldout: texts of the held-out rows, where the fault lies between them and the pool.
    """

    texts: list[str]
    labels: np.ndarray
    faulty: np.ndarray
    finding: str
    true_labels: np.ndarray
    heldout: list[str] = field(default_factory=list)


Maker = Callable[[list[str], np.ndarray, float, np.random.Generator, Sequence[str]], FaultyPool]


def gibberish(text: str, rng: np.random.Generator, first: int = ord("a"), letters: int = 26) -> str:
    """As many words of 2 to 8 random letters."""
    sizes = rng.integers(2, 9, size=max(1, len(text.split())))
    return " ".join("".join(chr(first + int(c)) for c in rng.integers(0, letters, size=size)) for size in sizes)


def other_letters(text: str, rng: np.random.Generator) -> str:
    """As many random words in the letters of another alphabet."""
    return gibberish(text, rng, *ALPHABETS[int(rng.integers(len(ALPHABETS)))])


def repeated(text: str, rng: np.random.Generator) -> str:
    """The first few words of the text, over and over, to about its length."""
    words = text.split() or ["none"]
    line = words[: int(rng.integers(1, 4))]
    return " ".join((line * (max(len(words), 8) // len(line) + 1))[: max(len(words), 8)])


def foreign(text: str, rng: np.random.Generator, others: Sequence[str]) -> str:
    """The first words of a text of another kind, as many as this one has and at least four."""
    return " ".join(others[int(rng.integers(len(others)))].split()[: max(4, len(text.split()))])


def boilerplate(rng: np.random.Generator) -> str:
    """A line of a web page's frame, with a number."""
    return f"{BOILERPLATE[int(rng.integers(len(BOILERPLATE)))]} {int(rng.integers(1000))}"


def shuffled(text: str, rng: np.random.Generator) -> str:
    """The same words in a random order, another one where there is another."""
    words = text.split()
    order = rng.permutation(len(words))
    if len(set(words)) > 1:
        while [words[i] for i in order] == words:
            order = rng.permutation(len(words))
    return " ".join(words[i] for i in order)


def lengthened(text: str, rng: np.random.Generator, texts: Sequence[str], words: int = 200) -> str:
    """The text and other ones after it, up to so many words or more."""
    parts = text.split()
    while len(parts) < words:
        parts += texts[int(rng.integers(len(texts)))].split() or ["none"]
    return " ".join(parts)


def near_copy(text: str, rng: np.random.Generator) -> str:
    """The text less a tenth of its words, and two neighbours swapped."""
    words = text.split()
    kept = [word for word in words if rng.random() > 0.1] or words
    if len(kept) > 2:
        i = int(rng.integers(len(kept) - 1))
        kept[i], kept[i + 1] = kept[i + 1], kept[i]
    return " ".join(kept)


def paraphrase(text: str, rng: np.random.Generator) -> str:
    """The text with synonyms, and its halves (at a comma or conjunction near the middle) swapped."""
    words = [SYNONYMS.get(word, word) if rng.random() < 0.8 else word for word in text.split()]
    cuts = [i for i, word in enumerate(words) if word in (",", "and", "but", "as", "that", "with", "in", "for") and i]
    if len(words) > 3:
        middle = min(cuts, key=lambda i: abs(i - len(words) / 2)) if cuts else len(words) // 2
        words = words[middle:] + words[:middle]
    return " ".join(words)


def _replaced(
    texts: list[str],
    labels: np.ndarray,
    share: float,
    rng: np.random.Generator,
    finding: str,
    make: Callable[[str, int], str],
    keeps_label: bool = False,
) -> FaultyPool:
    """A share of the rows replaced by what ``make`` returns of each and its number; with random labels unless kept."""
    n, n_classes = len(texts), int(labels.max()) + 1
    faulty = np.zeros(n, bool)
    faulty[rng.choice(n, round(share * n), replace=False)] = True
    given, true, new = labels.copy(), labels.copy(), list(texts)
    for number, i in enumerate(np.flatnonzero(faulty)):
        new[i] = make(texts[i], number)
    # a word alone has no other order, for example
    faulty[faulty] = [new[i] != texts[i] for i in np.flatnonzero(faulty)]
    if not keeps_label:
        given[faulty], true[faulty] = rng.integers(0, n_classes, int(faulty.sum())), -1
    return FaultyPool(new, given, faulty, finding, true)


def _copies(
    texts: list[str],
    labels: np.ndarray,
    share: float,
    rng: np.random.Generator,
    finding: str,
    copy: Callable[[str, np.random.Generator], str],
    sources: int | None,
) -> FaultyPool:
    """A share of the rows replaced by copies of some of the others: of so many ``sources``, or each of another row."""
    n = len(texts)
    order = rng.permutation(n)
    n_copies = round(share * n)
    rest, replaced = order[n_copies:], order[:n_copies]
    pool = rest if sources is None else rest[:sources]
    taken = rng.permutation(np.resize(pool, n_copies)) if sources is None else rng.choice(pool, n_copies)
    new, given, faulty = list(texts), labels.copy(), np.zeros(n, bool)
    for i, source in zip(replaced, taken, strict=True):
        new[i], given[i] = copy(texts[source], rng), labels[source]
        faulty[[i, source]] = True
    return FaultyPool(new, given, faulty, finding, given.copy())


def _junk(
    texts: list[str], labels: np.ndarray, share: float, rng: np.random.Generator, others: Sequence[str]
) -> FaultyPool:
    kinds = (
        lambda text: gibberish(text, rng),
        lambda text: foreign(text, rng, others),
        lambda text: boilerplate(rng),
    )
    return _replaced(texts, labels, share, rng, "junk", lambda text, number: kinds[number % 3](text))


def _flips(texts: list[str], labels: np.ndarray, share: float, rng: np.random.Generator, by_class: bool) -> FaultyPool:
    n, n_classes = len(texts), int(labels.max()) + 1
    given = labels.copy()
    if not by_class:
        rows = rng.choice(n, round(share * n), replace=False)
        given[rows] = (labels[rows] + rng.integers(1, n_classes, len(rows))) % n_classes
    else:
        # classes are wrong at half to one and a half times the share, and each is taken for one other class alone
        weights = np.linspace(0.5, 1.5, n_classes)
        expected = share * n * weights / weights.sum()
        for c in range(n_classes):
            members = np.flatnonzero(labels == c)
            rows = rng.choice(members, min(round(expected[c]), int(0.6 * len(members))), replace=False)
            given[rows] = (c + 1) % n_classes
    return FaultyPool(list(texts), given, given != labels, "label_issue", labels.copy())


def rare_class(texts: list[str], labels: np.ndarray, share: float, rng: np.random.Generator, n_rows: int) -> FaultyPool:
    """A pool with the commonest class thinned to a tenth of the share (3 % at 30 %), filled with rows of the others."""
    rare = int(np.bincount(labels).argmax())
    n_rare = max(2, round(RARE_PART * share * n_rows))
    members, others = np.flatnonzero(labels == rare), np.flatnonzero(labels != rare)
    filled = rng.choice(others, n_rows - n_rare, replace=len(others) < n_rows - n_rare)
    rows = rng.permutation(np.concatenate([rng.choice(members, n_rare, replace=False), filled]))
    given = labels[rows]
    return FaultyPool([texts[i] for i in rows], given, given == rare, "rare_class", given.copy())


def _leak(
    texts: list[str],
    labels: np.ndarray,
    share: float,
    rng: np.random.Generator,
    others: Sequence[str],
    copy: Callable[[str, np.random.Generator], str],
) -> FaultyPool:
    """Copies of held-out rows (``others``) in place of a share of the rows, whose labels stay."""
    made = _replaced(
        texts, labels, share, rng, "leakage", lambda text, number: copy(others[number % len(others)], rng),
        keeps_label=True,
    )  # fmt: skip
    return FaultyPool(made.texts, made.labels, made.faulty, "leakage", made.true_labels, list(others))


MAKERS: dict[str, Maker] = {
    "clean": lambda t, y, s, r, o: FaultyPool(list(t), y.copy(), np.zeros(len(t), bool), "none", y.copy()),
    "junk": _junk,
    "gibberish": lambda t, y, s, r, o: _replaced(t, y, s, r, "not_language", lambda x, _: gibberish(x, r)),
    "other_letters": lambda t, y, s, r, o: _replaced(t, y, s, r, "not_language", lambda x, _: other_letters(x, r)),
    "repeated_lines": lambda t, y, s, r, o: _replaced(t, y, s, r, "not_language", lambda x, _: repeated(x, r)),
    "shuffled_words": lambda t, y, s, r, o: _replaced(
        t, y, s, r, "not_language", lambda x, _: shuffled(x, r), keeps_label=True
    ),
    "off_topic": lambda t, y, s, r, o: _replaced(t, y, s, r, "off_topic", lambda x, _: foreign(x, r, o)),
    "boilerplate": lambda t, y, s, r, o: _replaced(t, y, s, r, "off_topic", lambda x, _: boilerplate(r)),
    "empty": lambda t, y, s, r, o: _replaced(
        t, y, s, r, "empty", lambda x, k: ("", " ", "\t", ".", "--")[k % 5], keeps_label=True
    ),
    "label_flips": lambda t, y, s, r, o: _flips(t, y, s, r, False),
    "class_flips": lambda t, y, s, r, o: _flips(t, y, s, r, True),
    "exact_copies": lambda t, y, s, r, o: _copies(t, y, s, r, "exact_copy", lambda x, _: x, None),
    "near_copies": lambda t, y, s, r, o: _copies(t, y, s, r, "near_copy", near_copy, 100),
    "near_pairs": lambda t, y, s, r, o: _copies(t, y, s, r, "near_copy", near_copy, None),
    "paraphrases": lambda t, y, s, r, o: _copies(t, y, s, r, "near_copy", paraphrase, 100),
    "paraphrase_pairs": lambda t, y, s, r, o: _copies(t, y, s, r, "near_copy", paraphrase, None),
    "rare_class": lambda t, y, s, r, o: rare_class(t, y, s, r, len(t)),
    "leakage": lambda t, y, s, r, o: _leak(t, y, s, r, o, lambda x, _: x),
    "near_leakage": lambda t, y, s, r, o: _leak(t, y, s, r, o, near_copy),
    "truncated": lambda t, y, s, r, o: _replaced(
        t, y, s, r, "truncated", lambda x, _: lengthened(x, r, t), keeps_label=True
    ),
}
