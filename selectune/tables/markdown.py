"""``table.md``: the results, task by task and budget by budget."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from selectune.report.numbers import count, flop, seconds, share
from selectune.tables.grid import NO_BUDGET, RANDOM
from selectune.tables.results import Result
from selectune.tables.summary import Group, Line, is_fraction
from selectune.verdict.intervals import LEVEL, Difference
from selectune.verdict.metric_kinds import metric_of

UNKNOWN = "\N{EN DASH}"
MATCHED = {
    "rows": "as many random rows", "tokens": "random rows of as many tokens",
    "cost": "random rows of the same total cost",
}  # fmt: skip
HEADINGS = (
    "method", "{metric}", "n", "tokens trained on", "total cost", "of it selecting", "device time",
    "difference to random", "difference to all rows", "verdict",
)  # fmt: skip
READING = f"""## How to read it

- Mean ± standard deviation over n seeds, of the held-out split; the budget is `{{setting}}`.
- **Total cost** is selecting, warming up and training, means over seeds. Selecting is charged in full to each run, also
  where stored signals spared it. Preparing data and evaluating are left out.
- **Difference to random**: to the method `{RANDOM}` at the same budget and the same seeds, with its {100 * LEVEL:.0f} %
  interval, paired over seeds and held-out rows; with one seed it is over rows alone. Those marked * are over seeds
  alone, as their metric does not follow from rows. `summary.csv` has p, and p corrected for the number of methods.
- **Verdict**: was selecting worth it? Judged as `compare` judges a run, against the methods of this table that train on
  all rows, for as many epochs and for fewer, and against random rows of the same total cost, or else as many of them.
  With a rival that the table lacks, or one of another cost, it may not be known yet. `verdicts.json` says each in a
  sentence with all its differences. What others are compared with is not judged.
- **Device time** is that of the processor while other runs shared it, and a stored signal's is that of the run that
  made it: look at FLOPs first.
- An interval that holds 0 says that the table does not tell the two apart.
"""


def markdown(
    groups: list[Group], prepared: Result | None, done: int, cells: int, setting: str, picture: str,
    under: Sequence[str] = (), protocol: str = "",
) -> str:  # fmt: skip
    """The page of a table.

    Args:
        groups: of `summarise`.
        prepared: the run whose model all cells started from, if there is one.
        done: runs that are done.
        cells: runs of the table.
        setting: dotted name of the budget.
        picture: text alternative of ``table.png``; empty where there is no picture.
        under: text under the table of each group, such as its published figures.
        protocol: how it was run, and how else it can be.
    """
    parts = ["# Table", f"{done} of {cells} runs are done." if done < cells else f"All {cells} runs are done."]
    if prepared is not None:
        spent = f"{flop(prepared.row['total_flops'])} and {seconds(prepared.row['total_device_s'])}"
        parts.append(f"All start from one model, prepared once for {spent}, which no cost below includes.")
    if picture:
        parts.append(f"![{picture}](table.png)")
    parts += [protocol] if protocol else []
    budget = setting.rpartition(".")[2].replace("_", " ")
    for group, text in zip_longest(groups, under):
        at = "" if group.budget == NO_BUDGET else f", {budget} {group.budget}"
        parts += [f"## {group.task}{at}", table_of(group)]
        warned = [
            f"- `{line.method}`, {len(line.warned)} of {line.n} runs: {line.warned[0]}"
            for line in group.lines
            if line.warned
        ]
        parts += ["Warnings:", "\n".join(warned)] if warned else []
        parts += [text] if text else []
    parts.append(READING.format(setting=setting).strip())
    return "\n\n".join(parts) + "\n"


def table_of(group: Group) -> str:
    """The lines of a task at a budget, and the gains of methods over random rows that are matched to them."""
    metric = group.metric
    heads, *cells = cells_of(group)
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)], *cells]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    gains = [
        f"- `{match.method}` against {MATCHED[match.by]} (`{line.method}`): {_difference(metric, match.gain, line.n)}"
        for line in group.lines
        if (match := line.match) is not None
    ]
    return "\n\n".join([table, "\n".join(gains)] if gains else [table])


def cells_of(group: Group) -> list[list[str]]:
    """The headings of a group's table, and the cells of its lines."""
    metric = group.metric
    heads = [heading.format(metric=metric + (" (%)" if is_fraction(metric) else "")) for heading in HEADINGS]
    return [heads, *(_cells(metric, line) for line in group.lines)]


def _cells(metric: str, line: Line) -> list[str]:
    spread = "" if line.sd is None else f" ± {metric_text(metric, line.sd)}"
    known = line.flops and line.selection_flops is not None
    verdict = line.verdict
    return [
        line.method,
        metric_text(metric, line.mean) + spread,
        str(line.n),
        count(line.tokens),
        flop(line.flops),
        share(line.selection_flops / line.flops) if known else UNKNOWN,  # type: ignore[operator]
        seconds(line.device_s),
        _difference(metric, line.versus_random, line.n),
        _difference(metric, None if verdict is None else verdict.evidence.all_rows.difference, line.n),
        UNKNOWN if verdict is None else verdict.headline,
    ]


def _difference(metric: str, gap: Difference | None, n: int) -> str:
    """A difference with its interval: "+2.0 [−1.0, +5.0]"."""
    if gap is None:
        return UNKNOWN
    numbers = []
    for value in (gap.value, gap.low, gap.high):
        text = metric_text(metric, abs(value))
        numbers.append(("" if float(text) == 0 else "+" if value > 0 else "\N{MINUS SIGN}") + text)
    seeds = "" if gap.n_seeds == n else f" ({gap.n_seeds} seed{'s' if gap.n_seeds > 1 else ''})"
    return f"{numbers[0]} [{numbers[1]}, {numbers[2]}]{'*' if gap.over == 'seeds' else ''}{seeds}"


def metric_text(metric: str, value: float) -> str:
    """A metric: fractions in per cent, EM and F1 of answers as they are, from 0 to 100, others to three digits."""
    scale = metric_of(metric).scale
    return f"{value:.3g}" if scale == "plain" else f"{value * (100 if scale == 'fraction' else 1):.1f}"
