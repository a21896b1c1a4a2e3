"""The page of a table: the results, task by task and budget by budget, as the parts that all formats have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest

from selectune.report.numbers import count, flop, seconds, share
from selectune.tables.blocks import Block, Bullets, Cells, Heading, Picture, Text
from selectune.tables.grid import NO_BUDGET, RANDOM
from selectune.tables.published import UNTOUCHED
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
READING = (
    "Mean ± standard deviation over n seeds, of the held-out split; the budget is `{setting}`.",
    "**Total cost** is selecting, warming up and training, means over seeds. Selecting is charged in full to each run, "
    "also where stored signals spared it. Preparing data and evaluating are left out.",
    f"**Difference to random**: to the method `{RANDOM}` at the same budget and the same seeds, with its "
    f"{100 * LEVEL:.0f} % interval, paired over seeds and held-out rows; with one seed it is over rows alone. Those "
    "marked * are over seeds alone, as their metric does not follow from rows. `summary.csv` has p, and p corrected "
    "for the number of methods.",
    "**Verdict**: was selecting worth it? Judged as `compare` judges a run, against the methods of this table that "
    "train on all rows, for as many epochs and for fewer, and against random rows of the same total cost, or else as "
    "many of them. With a rival that the table lacks, or one of another cost, it may not be known yet. `verdicts.json` "
    "says each in a sentence with all its differences. What others are compared with is not judged.",
    "**Device time** is that of the processor while other runs shared it, and a stored signal's is that of the run "
    "that made it: look at FLOPs first.",
    f"**`{UNTOUCHED}`**, where it is there, is the model that all start from, tried before it was trained; p is not "
    "corrected for it.",
    "An interval that holds 0 says that the table does not tell the two apart.",
)
READING_PUBLISHED = (
    "**Published** figures stand beside ours in their own unit, with our difference to random rows, and p of it "
    "corrected by Holm for the methods that are compared with random rows by that metric at that budget. "
    "`published.csv` has all digits. A mean over tasks is there where a method is done on all of them; its costs are "
    "sums."
)


def page(
    groups: list[Group], prepared: Result | None, done: int, cells: int, setting: str, picture: str,
    under: Sequence[Sequence[Block]] = (), protocol: str = "",
) -> list[Block]:  # fmt: skip
    """The page of a table.

    Args:
        groups: of `summarise`, and means over tasks.
        prepared: the run whose model all cells started from, if there is one.
        done: runs that are done.
        cells: runs of the table.
        setting: dotted name of the budget.
        picture: text alternative of ``table.png``; empty where there is no picture.
        under: blocks under the table of each group, such as its published figures.
        protocol: how it was run, and how else it can be.
    """
    blocks: list[Block] = [Heading("Table", 1)]
    blocks.append(Text(f"{done} of {cells} runs are done." if done < cells else f"All {cells} runs are done."))
    if prepared is not None:
        spent = f"{flop(prepared.row['total_flops'])} and {seconds(prepared.row['total_device_s'])}"
        blocks.append(Text(f"All start from one model, prepared once for {spent}, which no cost below includes."))
    blocks += [Picture("table.png", picture)] if picture else []
    blocks += [Text(part) for part in protocol.split("\n\n") if part]
    budget = setting.rpartition(".")[2].replace("_", " ")
    for group, more in zip_longest(groups, under, fillvalue=()):
        assert isinstance(group, Group)
        at = "" if group.budget == NO_BUDGET else f", {budget} {group.budget}"
        blocks += [Heading(f"{group.task}{at}"), *group_blocks(group)]
        warned = [
            f"`{line.method}`, {len(line.warned)} of {line.n} runs: {line.warned[0]}"
            for line in group.lines
            if line.warned
        ]
        blocks += [Text("Warnings:"), Bullets(warned)] if warned else []
        blocks += more
    beside = any(isinstance(block, Cells) for more in under for block in more)
    reading = [text.format(setting=setting) for text in READING] + ([READING_PUBLISHED] if beside else [])
    return [*blocks, Heading("How to read it"), Bullets(reading)]


def group_blocks(group: Group) -> list[Block]:
    """The lines of a task at a budget, and the gains of methods over random rows that are matched to them."""
    head, *rows = cells_of(group)
    gains = [
        f"`{match.method}` against {MATCHED[match.by]} (`{line.method}`): "
        + difference(match.gain, line.n, partial(metric_text, group.metric))
        for line in group.lines
        if (match := line.match) is not None
    ]
    caption = group.task if group.budget == NO_BUDGET else f"{group.task}, {group.budget}"
    table = Cells(head, rows, caption)
    return [table, Bullets(gains)] if gains else [table]


def cells_of(group: Group) -> list[list[str]]:
    """The headings of a group's table, and the cells of its lines; further metrics stand beside the headline."""
    names = [
        metric + (" (%)" if is_fraction(metric) else "") for metric in [one.metric for one in (group, *group.further)]
    ]
    first, _, *others = HEADINGS
    columns = [_cells(group.metric, line) for line in group.lines]
    for further in reversed(group.further):
        of_method = {line.method: line for line in further.lines}
        for cells, line in zip(columns, group.lines):
            other = of_method.get(line.method)
            cells.insert(2, UNKNOWN if other is None else _mean(further.metric, other))
    return [[first, *names, *others], *columns]


def _cells(metric: str, line: Line) -> list[str]:
    shown = partial(metric_text, metric)
    known = line.flops and line.selection_flops is not None
    verdict = line.verdict
    return [
        line.method,
        _mean(metric, line),
        str(line.n),
        count(line.tokens),
        flop(line.flops),
        share(line.selection_flops / line.flops) if known else UNKNOWN,  # type: ignore[operator]
        seconds(line.device_s),
        difference(line.versus_random, line.n, shown),
        difference(None if verdict is None else verdict.evidence.all_rows.difference, line.n, shown),
        UNKNOWN if verdict is None else verdict.headline,
    ]


def _mean(metric: str, line: Line) -> str:
    return metric_text(metric, line.mean) + ("" if line.sd is None else f" ± {metric_text(metric, line.sd)}")


def difference(gap: Difference | None, n: int, shown: Callable[[float], str]) -> str:
    """A difference with its interval: "+2.0 [−1.0, +5.0]".

    Args:
        gap: None where it is unknown.
        n: seeds of the line that it is of.
        shown: an absolute value in words.
    """
    if gap is None:
        return UNKNOWN
    value, low, high = (signed(one, shown) for one in (gap.value, gap.low, gap.high))
    seeds = "" if gap.n_seeds == n else f" ({gap.n_seeds} seed{'s' if gap.n_seeds > 1 else ''})"
    return f"{value} [{low}, {high}]{'*' if gap.over == 'seeds' else ''}{seeds}"


def signed(value: float, shown: Callable[[float], str]) -> str:
    """A number with its sign; without one where it is shown as 0."""
    text = shown(abs(value))
    return ("" if float(text) == 0 else "+" if value > 0 else "\N{MINUS SIGN}") + text


def metric_text(metric: str, value: float) -> str:
    """A metric: fractions in per cent, EM and F1 of answers as they are, from 0 to 100, others to three digits."""
    scale = metric_of(metric).scale
    return f"{value:.3g}" if scale == "plain" else f"{value * (100 if scale == 'fraction' else 1):.1f}"
