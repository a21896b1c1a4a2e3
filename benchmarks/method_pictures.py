"""The pictures of docs/methods.md, of made-up rows chosen by the selectors themselves.

python benchmarks/method_pictures.py   # writes docs/concepts.png and docs/method_*.png
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selectune.selectors import (
    GOTD,
    Budget,
    Closest,
    EntropyInterval,
    KCenter,
    Nearest,
    ProbCover,
    Prototypes,
    Random,
    Selector,
    SemanticDuplicates,
    Signals,
    TopK,
    Typical,
)  # fmt: skip
from selectune.selectors.interval_rules import Central, Densest

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLUE, GREY, ORANGE = "#2c6fbb", "#c8ccd0", "#d9722e"


def signals(n_rows: int, **more: np.ndarray) -> Signals:
    """Signals of rows of ten tokens whose texts all differ."""
    hashes = np.random.default_rng(5).integers(2**63, size=n_rows).astype(np.uint64)
    return Signals({"n_tokens": np.full(n_rows, 10), "text_hash": hashes} | more)


def euds(file: Path) -> None:
    """One distribution of entropies, and the part of it that each of three rules keeps."""
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


def places(file: Path) -> None:
    """Draw the rows that each selector by embeddings keeps of the same ones."""
    from matplotlib import pyplot

    random = np.random.default_rng(3)
    rows = np.concatenate([
        random.normal([0.0, 0.0], 0.35, (220, 2)), random.normal([2.4, 0.3], 0.3, (90, 2)),
        random.normal([1.1, 2.1], 0.45, (70, 2)), random.uniform([-1.2, -1.0], [3.4, 3.2], (30, 2)),
        random.normal([0.2, 1.9], 0.02, (40, 2)),  # copies of one row
    ])  # fmt: skip
    target = random.normal([1.8, 1.2], 0.25, (40, 2))
    # on a patch of a sphere so small that it is nearly flat, as most of them compare directions
    pool, aim = (signals(len(one), embedding=np.column_stack([one, np.full(len(one), 6.0)])) for one in (rows, target))
    shown: dict[str, Selector] = {
        "Random": Random(), "KCenter": KCenter(), "Prototypes, nearest": Prototypes(),
        "Prototypes, farthest": Prototypes("farthest"), "Typical": Typical(), "ProbCover": ProbCover(),
        "SemanticDuplicates (a filter)": SemanticDuplicates(0.99999), "Nearest": Nearest(), "Closest": Closest(),
        "GOTD": GOTD(),
    }  # fmt: skip
    figure, axes = pyplot.subplots(2, 5, figsize=(12, 5.2), layout="constrained", sharex=True, sharey=True)
    for axis, (name, selector) in zip(axes.flat, shown.items()):
        kept = selector.select(pool, aim, Budget(rows=None if selector.sets_own_size else 30), 0).rows
        axis.scatter(*rows.T, s=5, color=GREY)
        axis.scatter(*rows[kept].T, s=9, color=BLUE)
        if selector.requires_target:
            axis.scatter(*target.T, s=12, marker="x", color=ORANGE, linewidths=0.8)
        axis.set(title=name, xticks=[], yticks=[])
        axis.title.set_fontsize(10)
    figure.savefig(file, dpi=90)


def concepts(file: Path) -> None:
    """The nouns, and what leads from one to the next."""
    from matplotlib import pyplot

    places = {
        "Pool": (0, 1), "Signals": (2, 1), "Selection": (4, 1), "Run": (6, 1), "Verdict": (8, 1),
        "Diagnosis": (0, 2), "Plan, pilot": (4, 2), "Ledger": (4, 0),
    }  # fmt: skip
    arrows = [
        ("Pool", "Signals", "forward pass", "-"), ("Signals", "Selection", "selector", "-"),
        ("Selection", "Run", "fine-tuning", "-"), ("Run", "Verdict", "rivals of the\nsame cost", "-"),
        ("Pool", "Diagnosis", "diagnose", "--"), ("Diagnosis", "Plan, pilot", "what a budget is best spent on", "--"),
        ("Plan, pilot", "Selection", "", "--"), ("Pool", "Ledger", "", ":"), ("Signals", "Ledger", "", ":"),
        ("Selection", "Ledger", "each stage\nis charged", ":"), ("Run", "Ledger", "", ":"),
        ("Ledger", "Verdict", "", ":"),
    ]  # fmt: skip
    figure, axis = pyplot.subplots(figsize=(10, 3.6), layout="constrained")
    box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": BLUE}
    shown = {
        name: axis.text(*place, name, ha="center", va="center", bbox=box, fontsize=11, zorder=3)
        for name, place in places.items()
    }
    for begin, end, says, style in arrows:
        (x, y), (to_x, to_y) = places[begin], places[end]
        axis.annotate(
            "", (to_x, to_y), (x, y),
            arrowprops={"arrowstyle": "->", "linestyle": style, "color": "#555555", "shrinkA": 22, "shrinkB": 26,
                        "patchA": shown[begin].get_bbox_patch(), "patchB": shown[end].get_bbox_patch()},
        )  # fmt: skip
        beside = 0.45 if x == to_x else 0.0
        axis.text((x + to_x) / 2 + beside, (y + to_y) / 2 + (0.0 if beside else 0.16), says, ha="center", va="center",
                  fontsize=8, color="#333333")  # fmt: skip
    axis.set(xlim=(-0.7, 8.7), ylim=(-0.4, 2.4))
    axis.axis("off")
    figure.savefig(file, dpi=110)


def main() -> None:
    import matplotlib

    matplotlib.use("agg")
    concepts(DOCS / "concepts.png")
    euds(DOCS / "method_euds.png")
    gotd(DOCS / "method_gotd.png")
    places(DOCS / "method_places.png")


if __name__ == "__main__":
    main()
