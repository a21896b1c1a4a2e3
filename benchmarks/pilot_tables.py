"""The tables of docs/pilot.md, from results/.

python benchmarks/pilot_tables.py
"""

from __future__ import annotations

from pathlib import Path

from _table import read_records
from faulty_pools import read
from fine_tuned_pilot import ALL_ROWS, Outcome
from pilot import ALONE, summary

PICKS = {
    "pilot": "the pilot's pick",
    "first": "the first plan",
    "fewer_epochs": "fewer epochs",
    "random": "random rows",
}
FAULTS = {"clean": "clean", "label_flips": "wrong labels, 30 %", "rare_class": "rare class, 30 %"}
RESULTS = Path(__file__).resolve().parents[1] / "results"
DEVS = ("trusted", "contaminated")
Figures = dict[tuple[str, str, str], float]


def figures() -> Figures:
    """Means of results/pilot.csv by group of pools, variant and metric."""
    rows = summary(read(RESULTS / "pilot.csv"))
    return {(row.case.split(":")[0], row.variant, row.metric): row.value for row in rows}


def tables() -> list[str]:
    """All of them, in Markdown."""
    of = figures()
    read_rows = read(RESULTS / "pilot.csv")
    cases = {row.case for row in read_rows}
    pools = {case.rsplit("/", 1)[0] for case in cases}
    clean, pilots = sum("/clean/" in pool for pool in pools), len(cases)
    error = " | ".join(f"{of['all', dev, 'median_error']:.1f}" for dev in DEVS)
    covered = " | ".join(f"{100 * of['all', dev, 'covered']:.0f} %" for dev in DEVS)
    regret = " | ".join(_interval(of, ("all", dev, "regret"), "") for dev in DEVS)
    right = " | ".join(f"{100 * of['all', dev, 'was_right']:.0f} %" for dev in DEVS)
    of_pilots = f"""| | trusted rows | split off the pool |
| --- | ---: | ---: |
| forecast of the full accuracy: median absolute error, points | {error} |
| its 80 % interval holds the accuracy on these rows, of {pilots} | {covered} |
| regret of the pilot's pick, points | {regret} |
| the pick was the best, or within half a point of it | {right} |"""
    names = {
        "random": "random rows",
        "fewer_epochs": "all rows for fewer epochs",
        "diagnosis": "the plan that the diagnosis puts first, without a pilot",
    }
    lines = [f"| {title} | {_interval(of, ('all', 'outcome', f'regret_{who}'), '')} |" for who, title in names.items()]
    alone = "\n".join(["| always | regret, points |", "| --- | ---: |", *lines])
    kinds = {
        "faulty": f"{len(pools) - clean} pools with a fault in 30 % of the rows, points",
        "clean": f"{clean} clean pools, points",
    }
    lines = [
        f"| {title} | {' | '.join(_interval(of, (kind, 'first plan', f'over_{base}'), '+') for base in ALONE)} |"
        for kind, title in kinds.items()
    ]
    head = "| the plan that the diagnosis puts first, at the same total cost | over random rows | over fewer epochs |"
    return [of_pilots, alone, "\n".join([head, "| --- | ---: | ---: |", *lines])]


def fine_tuned() -> str:
    """The table of results/fine_tuned_pilot.csv, in Markdown."""
    outcomes = read_records(Outcome, RESULTS / "fine_tuned_pilot.csv")
    head = ["pool, seed", "forecast of all rows", "came", *(f"regret, {who}" for who in PICKS.values())]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for key in dict.fromkeys((one.fault, one.seed) for one in outcomes):
        mine = [one for one in outcomes if (one.fault, one.seed) == key]
        whole = next(one for one in mine if one.plan == ALL_ROWS)
        plans = [one for one in mine if one.plan != ALL_ROWS]
        best = max((one.test for one in plans), default=0.0)
        cells = [
            f"{FAULTS[key[0]]}, {key[1]}",
            f"{whole.forecast:.1f} [{whole.low:.1f}, {whole.high:.1f}]",
            f"{whole.came:.1f}",
        ]
        for who in PICKS:
            picks = [one for one in plans if (who == "pilot" and one.picked) or (who == "first" and one.first)
                     or who == one.plan]  # fmt: skip
            cells.append(f"{best - picks[0].test:.1f} ({picks[0].test:.1f})" if picks else "not trained")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval(of: Figures, key: tuple[str, str, str], sign: str) -> str:
    """Such as "0.1 [−0.0, 0.3]"."""
    group, variant, metric = key
    mean, low, high = (of[group, variant, f"{metric}{bound}"] for bound in ("", "_low", "_high"))
    shown = f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"
    return shown.replace("-", "\N{MINUS SIGN}")


if __name__ == "__main__":
    print("\n\n".join([*tables(), fine_tuned()]))
