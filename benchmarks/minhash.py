"""Near copies by this project's MinHash sketches and by datasketch's, on the same shingles.

    python benchmarks/minhash.py --csv results/minhash.csv  # 5,000 texts, five rounds; some minutes
    python benchmarks/minhash.py --rows 20000 --check       # exits with 1 where ours is not faster

Made-up texts of 5 to 60 tokens, a tenth of them copies whose last token is another; shingles of 5 tokens, 128 entries,
groups of rows that agree in 0.8 of them. `sketch_s` and `group_s` are medians over rounds, `ratio` is that of both
together within a round; `copies` is the share of the planted copies that are in a group with their source.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from _table import Row, finish, parser

from selectune.selectors.duplicates import minhash, near_duplicates

SHINGLE, ENTRIES, SIMILARITY, VOCABULARY = 5, 128, 0.8, 5_000


def texts_of(n_rows: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Token ids of rows, and the source of each copy, -1 for the others."""
    random = np.random.default_rng(0)
    rows = [random.integers(VOCABULARY, size=random.integers(5, 61)) for _ in range(n_rows)]
    source = np.full(n_rows, -1)
    for row in range(n_rows - n_rows // 10, n_rows):
        source[row] = random.integers(n_rows - n_rows // 10)
        rows[row] = rows[source[row]].copy()
        rows[row][-1] = random.integers(VOCABULARY)  # which is in one shingle alone
    return rows, source


def ours(rows: list[np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Seconds of sketches and of groups, and the group of each row."""
    began = time.perf_counter()
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    sketches = minhash(np.concatenate(rows), offsets, SHINGLE, ENTRIES)
    between = time.perf_counter()
    groups = near_duplicates(sketches, np.arange(len(rows)), SIMILARITY)
    return between - began, time.perf_counter() - between, groups


def theirs(rows: list[np.ndarray]) -> tuple[float, float, np.ndarray]:
    """The same by datasketch: its sketches in bulk, its index, and pairs of at least the similarity."""
    from datasketch import MinHash, MinHashLSH
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    began = time.perf_counter()
    shingles = [
        [row[place : place + SHINGLE].tobytes() for place in range(max(1, len(row) - SHINGLE + 1))] for row in rows
    ]
    sketches = MinHash.bulk(shingles, num_perm=ENTRIES, seed=1)
    between = time.perf_counter()
    index = MinHashLSH(threshold=SIMILARITY, num_perm=ENTRIES)
    with index.insertion_session() as session:
        for row, sketch in enumerate(sketches):
            session.insert(row, sketch)
    pairs = [
        (row, other)
        for row, sketch in enumerate(sketches)
        for other in index.query(sketch)
        if other < row and sketch.jaccard(sketches[other]) >= SIMILARITY
    ]
    one, other = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    edges = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(len(rows), len(rows)))
    groups = connected_components(edges, directed=False)[1]
    return between - began, time.perf_counter() - between, groups


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--rows", type=int, default=5_000)
    made.add_argument("--rounds", type=int, default=5)
    options = made.parse_args()
    rows, source = texts_of(options.rows)
    ways = {"selectune": ours, "datasketch": theirs}
    found: dict[str, list[tuple[float, float, np.ndarray]]] = {name: [] for name in ways}
    for turn in range(options.rounds + 1):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            measured = ways[name](rows)
            if turn:  # the first one imports
                found[name].append(measured)
    case, copied, lines = f"{options.rows} rows", np.flatnonzero(source >= 0), []
    for name, runs in found.items():
        groups = runs[0][2]
        lines += [Row(case, name, "sketch_s", statistics.median(one[0] for one in runs))]
        lines += [Row(case, name, "group_s", statistics.median(one[1] for one in runs))]
        lines += [Row(case, name, "copies", float((groups[copied] == groups[source[copied]]).mean()))]
    pairs = zip(found["datasketch"], found["selectune"], strict=True)
    ratio = statistics.median(sum(slow[:2]) / sum(fast[:2]) for slow, fast in pairs)
    lines.append(Row(case, "datasketch", "ratio", ratio))
    finish(lines, [f"datasketch takes {ratio:.2f} times as long"] if ratio < 1 else [], options)


if __name__ == "__main__":
    main()
