"""Where an entropy's band lies in a pool that is half junk: the share of the clean rows that each rule keeps.

    python benchmarks/entropy_bands.py --csv results/entropy_bands.csv

Pools of 3,000 rows of AG News and SST-2, half of which were replaced by words of random letters (`faulty_pools.py`).
``Anchored`` knows 100 trusted rows. Means over three seeds, and the least and the most of them.
"""

from __future__ import annotations

import warnings

import numpy as np
from _entropies import Entropies, signals_of
from _outcomes import BOTH
from _pools import Encoder, clean_rows
from _table import Row, finish, parser

from selectune.selectors import IGSE, Anchored, Densest, EntropyInterval, Random, TopK
from selectune.selectors.base import Budget, Selector

SELECTORS: dict[str, Selector] = {
    "random": Random(),
    "IGSE, Densest": IGSE(),
    "IGSE, Anchored": IGSE(BOTH, Anchored()),
    "generative entropy, Densest": EntropyInterval(rule=Densest()),
    "generative entropy, Anchored": EntropyInterval(rule=Anchored()),
    "generative entropy, lowest": TopK("generative_entropy", largest=False),
}
SHARE = 0.5


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--data", nargs="+", default=["ag_news", "stanfordnlp/sst2"])
    made.add_argument("--foreign", default="pool_wikipedia", help="as in faulty_pools.py, so that the pools are alike")
    made.add_argument("--model", default="minilm-l6-mlm")
    made.add_argument("--rows", type=int, default=3000)
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--keep", nargs="+", type=float, default=[0.5, 0.16])
    options = made.parse_args()
    encoder = Encoder(options.model)
    entropies = Entropies(encoder)
    found: dict[tuple[str, str], list[float]] = {}
    for data in options.data:
        for seed in range(options.seeds):
            clean = clean_rows(data, options.rows, seed, options.foreign)
            pool = clean.with_fault("gibberish", SHARE)
            signals = signals_of(pool.texts, None, encoder, entropies)
            target = signals_of(clean.trusted, None, encoder, entropies)
            for keep in options.keep:
                for name, selector in SELECTORS.items():
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", UserWarning)  # that the band holds few of the trusted rows
                        rows = selector.select(signals, target, Budget(rows=round(keep * options.rows)), seed).rows
                    kept = float((~pool.faulty[rows]).sum() / (~pool.faulty).sum())
                    case = f"{clean.name}/gibberish/{SHARE:.0%}/keep {keep:.0%}"
                    found.setdefault((case, name), []).append(kept)
    rows_of = [
        Row(case, name, metric, float(value))
        for (case, name), values in found.items()
        for metric, value in (("clean_rows_kept", np.mean(values)), ("least", min(values)), ("most", max(values)))
    ]
    finish(rows_of, [], options)


if __name__ == "__main__":
    main()
