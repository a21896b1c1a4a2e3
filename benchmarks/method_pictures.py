"""The pictures of docs/methods.md, of made-up rows chosen by the selectors themselves.

python benchmarks/method_pictures.py   # writes docs/method_euds.png and docs/method_gotd.png
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selectune.selectors import GOTD, Budget, EntropyInterval, Signals, TopK
from selectune.selectors.interval_rules import Central, Densest

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLUE, GREY, ORANGE = "#2c6fbb", "#c8ccd0", "#d9722e"


def signals(n_rows: int, **more: np.ndarray) -> Signals:
    """Signals of rows of ten tokens whose texts all differ."""
    hashes = np.random.default_rng(5).integers(2**63, size=n_rows).astype(np.uint64)
    return Signals({"n_tokens": np.full(n_rows, 10), "text_hash": hashes} | more)


def euds(file: Path) -> None:
    """What three rules keep of one distribution of entropies."""
    from matplotlib import pyplot

    random = np.random.default_rng(0)
    entropies = np.round(np.concatenate([random.normal(2.2, 0.45, 1600), random.normal(4.4, 0.7, 900)]), 9)
    pool = signals(len(entropies), generative_entropy=entropies)
    rules = {
        "Densest (EUDS)": EntropyInterval(rule=Densest()),
        "Central": EntropyInterval(rule=Central()),
        "highest (TopK)": TopK("generative_entropy"),
    }
    figure, axes = pyplot.subplots(1, 3, figsize=(10, 2.6), layout="constrained", sharey=True)
    bins = np.linspace(entropies.min(), entropies.max(), 60)
    for axis, (name, selector) in zip(axes, rules.items()):
        kept = selector.select(pool, None, Budget(rows=len(entropies) // 4), 0).rows
        axis.hist(entropies, bins, color=GREY, label="pool")
        axis.hist(entropies[kept], bins, color=BLUE, label="kept, a quarter")
        axis.set(title=name, xlabel="generative entropy, nats a token")
    axes[0].set_ylabel("rows")
    axes[0].legend(frameon=False)
    figure.savefig(file, dpi=110)


def gotd(file: Path) -> None:
    """The rows of three clusters by which the distance to a target falls fastest."""
    from matplotlib import pyplot

    random = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [3.2, 0.6], [1.4, 2.8]])
    rows = np.concatenate([random.normal(centre, 0.55, (300, 2)) for centre in centres])
    target = random.normal([2.6, 1.9], 0.45, (80, 2))
    picked = GOTD(cost="sqeuclidean").select(
        signals(len(rows), embedding=rows), signals(len(target), embedding=target), Budget(rows=180), 0
    )
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharex=True, sharey=True)
    shown = axes[0].scatter(*rows.T, c=picked.scores, s=8, cmap="viridis")
    figure.colorbar(shown, ax=axes[0], label="gradient g; the lowest are kept")
    axes[1].scatter(*rows.T, s=8, color=GREY, label="pool")
    axes[1].scatter(*rows[picked.rows].T, s=8, color=BLUE, label="kept, a fifth")
    for axis in axes:
        axis.scatter(*target.T, s=14, marker="x", color=ORANGE, label="target")
    axes[1].legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    import matplotlib

    matplotlib.use("agg")
    euds(DOCS / "method_euds.png")
    gotd(DOCS / "method_gotd.png")


if __name__ == "__main__":
    main()
