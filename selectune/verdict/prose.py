"""The headline and the sentence of a verdict. Costs are in per cent, differences of metrics in points.

The sentence always has both sides: what the run cost against training on all rows, and its metric against each arm,
with the interval or with the command that runs the arm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from selectune.verdict.decision import Word
from selectune.verdict.evidence import FAIR, SAME, ArmName, Evidence, Metric
from selectune.verdict.intervals import Difference

HEADLINES = {
    Word.PAYS: "Pays",
    Word.COSTS_ACCURACY: "Costs accuracy",
    Word.NO_DIFFERENCE: "No difference that could be seen",
    Word.LOSES_TO_RANDOM: "Loses to random rows",
    Word.LOSES_TO_FEWER_EPOCHS: "Loses to fewer epochs on all rows",
    Word.TRAINING_FAILED: "Training failed",
    Word.NOT_KNOWN_YET: "Not known yet",
    Word.NOTHING_SELECTED: "Nothing was selected",
}
ARM_NAMES: dict[ArmName, str] = {
    "all_rows": "all rows",
    "random_rows": "random rows",
    "fewer_epochs": "all rows for fewer epochs",
}
METRIC_NAMES = {"macro_f1": "macro F1", "micro_f1": "micro F1", "f1": "F1", "em": "exact match"}
IN_PER_CENT = ("accuracy", "micro_f1", "macro_f1")  # other fractions are correlations
ACCURACY = Metric("accuracy")
SAME_COST = "at the same total cost"


def headline(word: Word, evidence: Evidence) -> str:
    """A few words, such as "Loses to random rows, on one seed"."""
    if word == Word.TRAINING_FAILED:
        return f"{HEADLINES[word]} ({'loss not a number' if evidence.loss_failed else 'not above the majority class'})"
    words = HEADLINES[word]
    if word == Word.COSTS_ACCURACY and evidence.metric.name != "accuracy":
        words = f"Costs {metric_name(evidence.metric)}"
    open_end = word in (Word.NOT_KNOWN_YET, Word.NOTHING_SELECTED)
    return words if open_end or _least_seeds(evidence) > 1 else f"{words}, on one seed"


def sentence(word: Word, evidence: Evidence) -> str:
    """The verdict in one sentence."""
    opening = headline(word, evidence)
    if word == Word.NOTHING_SELECTED:
        return f"{opening}: {_nothing_selected(evidence)}."
    if word == Word.NOT_KNOWN_YET:
        opening += f", as {_why_not_known(evidence)}"
    took = cost_against_all_rows(evidence)
    rows = f"selecting {evidence.kept_rows:,} of {evidence.pool_rows:,} rows and training on them"
    if evidence.shortened:
        rows = f"training on all {evidence.pool_rows:,} rows for fewer epochs"
    cost = f"{rows} took {took}" if took else f"how the cost of {rows} compares with {_full(evidence)} is not known"
    clauses = [f"{cost}, and {_result(word, evidence)}", *_at_the_same_cost(evidence)]
    if evidence.smallest_class is not None:
        name, change = evidence.smallest_class.name, evidence.smallest_class.difference
        against = _change(ACCURACY, change, arm_name(evidence, "all_rows"))
        clauses.append(f"on the smallest class, {name} ({change.n_rows:,} held-out rows), accuracy is {against}")
    clauses += [*_intervals(evidence), *_margin(word, evidence), *_not_run(word, evidence)]
    return f"{opening}: {'; '.join(clauses)}."


def cost_against_all_rows(evidence: Evidence) -> str:
    """Such as "42 % fewer FLOPs than training on all rows and 38 % less device time"; empty where it is not known.

    Of all rows for fewer epochs it is against all of them for all epochs.
    """
    words = {
        "flops": ("fewer FLOPs than", "more FLOPs than", "as many FLOPs as"),
        "device_s": ("less device time than", "more device time than", "as much device time as"),
    }
    all_rows = evidence.all_rows.cost
    ratios = evidence.cost.ratios_to(all_rows) if all_rows else {}
    clauses = [_more_or_less(ratio - 1, *words[unit]) for unit, ratio in ratios.items()]
    if not clauses or all_rows is None:
        return ""
    first, *others = clauses
    first = f"{'an estimated ' if evidence.cost.estimated or all_rows.estimated else ''}{first} {_full(evidence)}"
    return joined([first, *(clause.removesuffix(" than").removesuffix(" as") for clause in others)])


def arm_name(evidence: Evidence, name: ArmName) -> str:
    """An arm's name in a sentence: beside all rows for fewer epochs, all rows are "all epochs"."""
    return "all epochs" if evidence.shortened and name == "all_rows" else ARM_NAMES[name]


def metric_name(metric: Metric) -> str:
    """Such as "macro F1", or "perplexity (lower is better)"."""
    name = METRIC_NAMES.get(metric.name, metric.name.replace("_", " "))
    return name if metric.higher_is_better else f"{name} (lower is better)"


def score(metric: Metric, value: float) -> str:
    """A value of the metric: "67.9 %", "81.2" of F1 from 0 to 100, "0.712" of a correlation, "12.31" otherwise."""
    if metric.name in IN_PER_CENT and metric.scale == "fraction":
        return f"{100 * value:.1f} %"
    digits = {"percent": 1, "plain": 2, "fraction": 3}[metric.scale]
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _full(evidence: Evidence) -> str:
    return f"training {'for' if evidence.shortened else 'on'} {arm_name(evidence, 'all_rows')}"


def _result(word: Word, evidence: Evidence) -> str:
    """The metric, and what it is against all rows, or else its own interval."""
    name, difference = metric_name(evidence.metric), evidence.all_rows.difference
    if evidence.score is None:
        return f"{name} is not known"
    result = f"{name} is {score(evidence.metric, evidence.score)}"
    if word == Word.TRAINING_FAILED and evidence.majority is not None:
        result += f" (always answering the largest class: {score(evidence.metric, evidence.majority)})"
    against = (
        _own_interval(evidence)
        if difference is None
        else _change(evidence.metric, difference, arm_name(evidence, "all_rows"))
    )
    return f"{result}, {against}" if against else result


def _own_interval(evidence: Evidence) -> str:
    """Such as "with a 95 % interval of 65.0 to 70.8 % over 1,000 held-out rows of one seed"; empty where unknown."""
    if (of_score := evidence.score_interval) is None:
        return ""
    rows = f"{of_score.n_rows:,} held-out row{'s' if of_score.n_rows > 1 else ''}"
    over = f"over {rows} of one seed" if evidence.n_seeds == 1 else f"over {evidence.n_seeds} seeds and {rows}"
    if of_score.low is None or of_score.high is None:
        return over
    low, high = (score(evidence.metric, bound) for bound in (of_score.low, of_score.high))
    return f"with a 95 % interval of {low.removesuffix(' %')} to {high} {over}"


def _at_the_same_cost(evidence: Evidence) -> Iterator[str]:
    """The metric against the other two arms; those that cost as much as the run in one clause."""
    known = [(name, difference) for name, difference in evidence.differences() if name != "all_rows"]
    for at, arms in groupby(known, key=lambda arm: _at_cost(evidence, arm[0])):
        changes = [_change(evidence.metric, change, ARM_NAMES[name], at) for name, change in arms]
        yield f"{at}, it is {joined(changes)}" if at.endswith(SAME_COST[3:]) else f"it is {joined(changes)}"


def _at_cost(evidence: Evidence, arm: ArmName) -> str:
    more = evidence.relative_cost(arm) - 1
    if abs(more) < SAME:
        return SAME_COST
    return "at about the same total cost" if abs(more) <= FAIR else f"at {_more_or_less(more, 'less', 'more', '')} cost"


def _change(metric: Metric, difference: Difference, arm: str, at: str = SAME_COST) -> str:
    """Such as "3.1 points higher than with random rows (between 1.2 and 5.0 higher)"."""
    arm = arm if at.endswith("same total cost") else f"{arm} {at}"
    value, low, high = (bound / metric.unit for bound in (difference.value, difference.low, difference.high))
    least = 0 if metric.scale == "plain" else 1
    digits = min(max(1 - math.floor(math.log10(high - low)), least), 4) if high > low else 2
    size, *ends = (f"{abs(number):.{digits}f}" for number in (value, low, high))
    side = "higher" if value > 0 else "lower"
    unit = "" if metric.scale == "plain" else " point" if float(size) == 1 else " points"
    change = f"{size}{unit} {side} than with {arm}" if float(size) else f"level with {arm}"
    if low < 0 < high:
        return f"{change} (between {ends[0]} lower and {ends[1]} higher)"
    return f"{change} (between {' and '.join(sorted(ends, key=float))} {side})"


def _intervals(evidence: Evidence) -> Iterator[str]:
    """Say what the ranges are."""
    over = []
    for _, difference in evidence.differences():
        seeds = [f"{difference.n_seeds} seeds"] if difference.over != "rows" else []
        rows = [f"{difference.n_rows:,} held-out rows"] if difference.over != "seeds" else []
        over.append(" and ".join(seeds + rows))
    if over:
        yield f"the ranges are 95 % intervals over {', or '.join(dict.fromkeys(over))}"
    if any(difference.over == "rows" for _, difference in evidence.differences()):
        yield "with one seed, they do not say what another seed would give"


def _margin(word: Word, evidence: Evidence) -> Iterator[str]:
    """The margin, where the word rests on it."""
    unit = "" if evidence.metric.scale == "plain" else " point" if evidence.margin_points == 1 else " points"
    margin, gain = f"{evidence.margin_points:g}{unit}", evidence.gain("all_rows")
    if word == Word.PAYS and gain is not None and gain[0] < 0:
        yield f"up to {margin} worse than {arm_name(evidence, 'all_rows')} counts as no loss"
    elif word == Word.NO_DIFFERENCE:
        yield f"a difference of up to {margin} counts as none"


def _not_run(word: Word, evidence: Evidence) -> Iterator[str]:
    """The arms that were not run, or to no end, and the command that runs them; none beside a failed training."""
    if word == Word.TRAINING_FAILED:
        return
    unknown = [(name, arm) for name in evidence.rivals if (arm := evidence.arm(name)).difference is None]
    for (problem, command), arms in groupby(unknown, key=lambda pair: (pair[1].problem, pair[1].command)):
        names = [name for name, _ in arms]
        others = joined([ARM_NAMES[name] for name in names if name != "all_rows"])
        listed = [*(["all rows"] if "all_rows" in names else []), *([f"{SAME_COST}, {others}"] if others else [])]
        state = f"no result to compare with ({problem})" if problem else "not run yet"
        runs = f" (`{command}` runs {'this' if len(names) == 1 else 'these'}{' again' if problem else ''})"
        yield f"{state}: {', and '.join(listed)}{runs if command else ''}"


def _nothing_selected(evidence: Evidence) -> str:
    """That the run is training on all rows, and what selecting cost on top."""
    clauses = [f"all {evidence.pool_rows:,} rows were kept, so this is training on all rows"]
    if took := cost_against_all_rows(evidence):
        clauses.append(f"with the selection it took {took}")
    if evidence.score is not None:
        measured = [score(evidence.metric, evidence.score), _own_interval(evidence)]
        clauses.append(f"{metric_name(evidence.metric)} is {', '.join(filter(None, measured))}")
    return "; ".join(clauses)


def _why_not_known(evidence: Evidence) -> str:
    """The first of several reasons, from the one that settles most."""
    saved = evidence.saved()
    if len(list(evidence.differences())) < len(evidence.rivals):
        return "comparisons are missing"
    if saved is None:
        return f"the cost of {_full(evidence)} is not known"
    if saved < SAME:
        return f"it cost no less than {_full(evidence)}"
    for name in evidence.rivals[1:]:
        if abs(evidence.relative_cost(name) - 1) > FAIR:
            return f"{ARM_NAMES[name]} did not have the same total cost"
    return "one seed cannot show that it pays" if _least_seeds(evidence) == 1 else "the intervals are too wide to tell"


def _least_seeds(evidence: Evidence) -> int:
    return min((difference.n_seeds for _, difference in evidence.differences()), default=evidence.n_seeds)


def _more_or_less(change: float, less: str, more: str, same: str) -> str:
    """A relative change in words: "42 % fewer FLOPs than", or `same` within 0.2 %."""
    if abs(change) < SAME:
        return same
    size = 100 * abs(change)
    amount = f"{size:,.0f} %" if size >= 9.95 else f"{size:.1f} %"
    if change < 0 and size > 99:  # "100 % fewer" would be nothing at all
        amount = f"{size:.1f} %" if size < 99.95 else "over 99.9 %"
    return f"{amount} {less if change < 0 else more}"


def joined(names: Sequence[str]) -> str:
    """Names as an enumeration: "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
