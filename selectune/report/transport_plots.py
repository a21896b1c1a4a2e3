"""Pictures of a selection by transport: where its rows lie, and how the solve went.

Each is a Figure with its text alternative, which says in numbers what the picture shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from selectune.report.drawing import counting, legend, panels, styled
from selectune.report.numbers import COLOURS, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"pool": ("o", "#a9aeb7"), "kept": ("o", COLOURS["training"]), "target": ("x", COLOURS["selection"])}
PLANE = (
    "A sample of each, on the two directions in which their embeddings vary most together. What is near here can be "
    "far in the other directions."
)
COURSE = (
    "The marginal error says how far the plan still is from the target's weights; churn, what part of the lowest rows "
    "changed since the iteration before that was looked at. Distances are regularised, at the same eps."
)


@styled()
def plane(places: dict[str, Any]) -> tuple[Figure, str]:
    """Pool, target and kept rows in two dimensions.

    Args:
        places: of `selectune.selection.examples.embedding_map`.
    """
    figure, (axis,) = panels(1, 4.6)
    middles = {}
    for kind, (marker, colour) in KINDS.items():
        at = np.array(places[kind], dtype=np.float64).reshape(-1, 2)
        axis.scatter(
            at[:, 0], at[:, 1], s=14, marker=marker, color=colour, lw=1.0 if marker == "x" else 0, alpha=0.8, label=kind
        )
        middles[kind] = at.mean(axis=0) if len(at) else np.zeros(2)
    first, second = (share(part) for part in [*places["explained"], 0.0, 0.0][:2])
    axis.set(xlabel=f"first component ({first} of the variance)", ylabel=f"second component ({second})")
    axis.set_aspect("equal", adjustable="datalim")
    legend(figure, [axis])
    apart = {kind: float(np.linalg.norm(middles[kind] - middles["target"])) for kind in ("pool", "kept")}
    return figure, (
        f"Pool, target and kept rows on their first two principal components ({first} and {second} of the variance). "
        f"On this plane the middle of the pool is {apart['pool']:.3g} from that of the target, the middle of the kept "
        f"rows {apart['kept']:.3g}."
    )


def course_of(diagnostics: Any) -> dict[str, Any] | None:
    """What a manifest's diagnostics say of a transport solve, at whatever depth of a chain; None without one."""
    if not isinstance(diagnostics, dict):
        return None
    told = diagnostics.get("transport")
    if isinstance(told, dict) and told.get("history"):
        return told
    return next((found for part in diagnostics.values() if (found := course_of(part))), None)


@styled()
def course(told: dict[str, Any]) -> tuple[Figure, str]:
    """Marginal error and churn by iteration, and the distance to the target of the pool and of the kept rows.

    Args:
        told: as `course_of` gives it.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure, axes = panels(3, 2.6)
    at = [entry["iteration"] for entry in told["history"]]
    words = [f"{told['iterations']} iterations by the backend {told['backend']}, eps {told['eps']:.3g}"]
    for axis, name, bound in ((axes[0], "marginal_error", told.get("tolerance")), (axes[1], "churn", None)):
        known = [(i, entry[name]) for i, entry in zip(at, told["history"]) if entry.get(name) is not None]
        axis.plot([i for i, _ in known], [value for _, value in known], marker="o", ms=3, color=COLOURS["training"])
        axis.set(xlabel="iteration", ylabel=name.replace("_", " "))
        counting(axis.xaxis)
        if name == "marginal_error":
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # ours draws no formulas
            axis.yaxis.set_minor_formatter(NullFormatter())
            if bound:
                axis.axhline(bound, color=COLOURS["total"], lw=0.9, ls="--")
        if known:
            words.append(f"{name.replace('_', ' ')} from {known[0][1]:.3g} to {known[-1][1]:.3g}")
    distances = {"pool": told["distance"], "kept": told.get("distance_kept", float("nan"))}
    bars = axes[2].bar(list(distances), list(distances.values()), 0.6, color=[KINDS[kind][1] for kind in distances])
    axes[2].bar_label(bars, [f"{value:.3g}" for value in distances.values()], padding=2)
    axes[2].set(ylabel="distance to the target")
    axes[2].margins(y=0.15)
    words.append(f"the distance to the target is {distances['pool']:.3g} for the pool, {distances['kept']:.3g} for the "
                 "kept rows")  # fmt: skip
    return figure, f"The transport solve: {'; '.join(words)}."
