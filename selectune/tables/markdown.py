"""``table.md``: what the runs say, task by task and budget by budget."""

from __future__ import annotations

from selectune.report.numbers import count, flop, seconds, share
from selectune.tables.bootstrap import LEVEL, REPLICATES, Difference
from selectune.tables.grid import NO_BUDGET
from selectune.tables.results import Result
from selectune.tables.summary import RANDOM, Group, Line, Match

IN_PER_CENT = {"accuracy", "macro_f1", "micro_f1", "matthews", "pearson", "spearman", "em", "f1"}
UNKNOWN = "\N{EN DASH}"
MATCHED = {
    "rows": "as many random rows", "tokens": "random rows of as many tokens",
    "cost": "random rows of the same total cost",
}  # fmt: skip
HEADINGS = (
    "method", "{metric}", "n", "tokens trained on", "total cost", "of it selecting", "device time",
    "difference to random",
)  # fmt: skip
READING = f"""## How to read it

- Mean ± standard deviation over n seeds, of the held-out split; the budget is `{{setting}}`.
- **Total cost** is selecting, warming up and training, means over seeds. Selecting is charged in full to each run, also
  where stored signals spared it. Preparing data and evaluating are left out.
- **Difference to random**: to the method `{RANDOM}` at the same budget and the same seeds, with its {100 * LEVEL:.0f} %
  interval from {REPLICATES:,} bootstrap replicates. They draw seeds and held-out rows anew, both methods on the same
  ones; those marked * draw seeds alone, as their metric does not follow from figures of rows.
- **Device time** is that of the processor while other runs shared it, and a stored signal's is that of the run that
  made it: look at FLOPs first.
- With few seeds an interval is too narrow: it cannot know what other seeds would do. One that holds 0 says that the
  table does not tell the two apart.
"""


def markdown(groups: list[Group], prepared: Result | None, done: int, cells: int, setting: str, picture: str) -> str:
    """The page.

    Args:
        groups: of `summarise`.
        prepared: the run whose model all cells started from, if there is one.
        done: cells that are done.
        cells: of the table.
        setting: what a budget is.
        picture: text alternative of ``table.png``; nothing where there is no picture.
    """
    parts = ["# Table", f"{done} of {cells} runs are done." if done < cells else f"All {cells} runs are done."]
    if prepared is not None:
        spent = f"{flop(prepared.row['total_flops'])} and {seconds(prepared.row['total_device_s'])}"
        parts.append(f"All start from one model, prepared once for {spent}, which no cost below includes.")
    if picture:
        parts.append(f"![{picture}](table.png)")
    for group in groups:
        parts += [f"## {_title(group, setting)}", table_of(group), *_warnings(group)]
    parts.append(READING.format(setting=setting).strip())
    return "\n\n".join(parts) + "\n"


def told(metric: str, value: float) -> str:
    """A figure as people read it: hundredths of what lies between 0 and 1."""
    return f"{100 * value:.1f}" if metric in IN_PER_CENT else f"{value:.3g}"


def _title(group: Group, setting: str) -> str:
    if group.budget == NO_BUDGET:
        return group.task
    name = setting.rpartition(".")[2].replace("_", " ")
    return f"{group.task}, {name} {group.budget}"


def table_of(group: Group) -> str:
    """The lines of a task at a budget, and what methods gain over random rows that are matched to them."""
    per_cent = " (%)" if group.metric in IN_PER_CENT else ""
    heads = [heading.format(metric=group.metric + per_cent) for heading in HEADINGS]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)], *(_cells(group.metric, line) for line in group.lines)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    gains = [_gain(group.metric, line, line.match) for line in group.lines if line.match is not None]
    return "\n\n".join([table, "\n".join(gains)] if gains else [table])


def _warnings(group: Group) -> list[str]:
    """What selections and trainings warned of, of each method the first of its seeds; nothing where none did."""
    told = [
        f"- `{line.method}`, {len(line.warned)} of {line.n} runs: {line.warned[0]}"
        for line in group.lines
        if line.warned
    ]
    return ["Warnings:", "\n".join(told)] if told else []


def _gain(metric: str, line: Line, match: Match) -> str:
    gain = _difference(metric, match.gain, line.n)
    return f"- `{match.method}` against {MATCHED[match.by]} (`{line.method}`): {gain}"


def _cells(metric: str, line: Line) -> list[str]:
    spread = "" if line.sd is None else f" ± {told(metric, line.sd)}"
    total, selecting = line.flops, line.selection_flops
    part = share(selecting / total) if total and selecting is not None else UNKNOWN
    return [
        line.method,
        told(metric, line.mean) + spread,
        str(line.n),
        count(line.tokens),
        flop(total),
        part,
        seconds(line.device_s),
        _difference(metric, line.versus_random, line.n),
    ]


def _difference(metric: str, found: Difference | None, n: int) -> str:
    if found is None:
        return UNKNOWN
    value, low, high = (_signed(metric, number) for number in (found.value, found.low, found.high))
    seeds = "" if found.n_seeds == n else f" ({found.n_seeds} seed{'s' if found.n_seeds > 1 else ''})"
    return f"{value} [{low}, {high}]{'' if found.over_rows else '*'}{seeds}"


def _signed(metric: str, value: float) -> str:
    text = told(metric, abs(value))
    sign = "" if float(text) == 0 else "+" if value > 0 else "\N{MINUS SIGN}"
    return sign + text
