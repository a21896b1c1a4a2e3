"""Recipes of plans: which rows each trains on, before a budget says how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from selectune.pilot.faults import Fault

# In the order of simplicity: of plans that promise the same, the earlier one goes first.
NAMES = (
    "fewer_epochs", "random", "balanced", "deduplicate_balanced", "label_issues", "chain", "euds", "gotd",
)  # fmt: skip
TITLES = {
    "fewer_epochs": "All rows, fewer epochs",
    "random": "Random rows",
    "balanced": "Balanced classes",
    "deduplicate_balanced": "No copies, balanced classes",
    "label_issues": "Label issues out",
    "chain": "Everything that was found",
    "euds": "EUDS: entropy bands",
    "gotd": "GOT-D: rows to warm up on",
}
COPIES = ("exact_copy", "near_copy")
DROPPED = ("empty", "not_language", "off_topic")  # by a review, as no filter finds them
NO_CLASSES = "the rows have no classes"
Spec = dict[str, Any]  # a class with its arguments, as a config has it


@dataclass(frozen=True)
class Task:
    """The settings of a job that decide which plans there are.

    Args:
        data: class path of the data module.
        has_classes: whether labels are classes.
        has_trusted: whether ``data.trusted`` is given.
        reviewed: whether ``data.review`` is given, beside which no rows can be dropped by another.
        warm_up_data: class path of ``warm_up.data``; empty where there is none.
        warm_up: what it warms up on: all of its rows, selected ones, or nothing as there is none.
        review: file that a plan's review of the findings is written to.
    """

    data: str
    has_classes: bool
    has_trusted: bool = False
    reviewed: bool = False
    warm_up_data: str = ""
    warm_up: Literal["nothing", "all", "selected"] = "nothing"
    review: str = ""


@dataclass(frozen=True)
class Recipe:
    """The rows of a plan, before a budget.

    Args:
        name: of `NAMES`.
        selector: of the rows, or in a warm-up of those to warm up on; None trains on all.
        filters: before it.
        answers: findings of the pool that it answers.
        dropped: findings whose rows a review drops.
        rule: its name in the table of expected gains; empty where it has none there, or one for each finding.
    """

    name: str
    selector: Spec | None
    filters: tuple[Spec, ...] = ()
    answers: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    rule: str = ""

    @property
    def filtering(self) -> Spec | None:
        """The filters as a selector that keeps all that they leave; None without filters."""
        return _chained(self.filters[:-1], self.filters[-1]) if self.filters else None

    @property
    def choosing(self) -> Spec | None:
        """The filters and the selector after them, as one."""
        return None if self.selector is None else _chained(self.filters, self.selector)


def recipes(faults: Mapping[str, Fault], task: Task) -> tuple[dict[str, Recipe], dict[str, str]]:
    """The recipes for a pool with some faults, by name, and why others are left out, by name."""
    left_out: dict[str, str] = {}
    made = [Recipe("fewer_epochs", None, rule="fewer_epochs"), Recipe("random", named("Random"))]
    without_issues, no_copies = named("LabelIssues", prune="by_noise_rate"), named("Deduplicate")
    if task.has_classes:
        balanced = named("Balanced")
        made += [
            Recipe("balanced", balanced, answers=("rare_class",), rule="balanced"),
            Recipe("deduplicate_balanced", balanced, (no_copies,), (*COPIES, "rare_class")),
            Recipe("label_issues", named("Random"), (without_issues,), ("label_issue",), rule="label_issues"),
        ]
    else:
        left_out |= dict.fromkeys(("balanced", "deduplicate_balanced", "label_issues"), NO_CLASSES)
    chain = _chain(faults, task)
    same = [one.name for one in made if (one.selector, one.filters) == (chain.selector, chain.filters)]
    if same and not chain.dropped:
        reason = "nothing that a plan could mend counts" if same == ["random"] else f"it is “{TITLES[same[0]]}”"
        left_out["chain"] = reason
    else:
        made.append(chain)
    made.append(Recipe("euds", _euds(task), rule="igse_anchored" if task.has_trusted else "igse"))
    if task.warm_up == "all":
        made.append(Recipe("gotd", named("GOTD"), rule="gotd"))
    else:
        chosen = "warm_up.data.selector chooses the rows to warm up on already, in every plan"
        left_out["gotd"] = chosen if task.warm_up == "selected" else "no warm_up.data is configured"
    found = {one.name: tuple(name for name in faults if name in one.answers) for one in made}
    return {one.name: replace(one, answers=found[one.name]) for one in made}, left_out


def named(kind: str, **arguments: Any) -> Spec:
    """A selector, filter or interval rule of this project, as a config has it."""
    return {"class_path": f"selectune.selectors.{kind}", **({"init_args": arguments} if arguments else {})}


def _chained(filters: tuple[Spec, ...], selector: Spec) -> Spec:
    return named("Chain", filters=list(filters), selector=selector) if filters else selector


def _chain(faults: Mapping[str, Fault], task: Task) -> Recipe:
    """The remedies of all findings that count, one after the other."""
    found = {name for name, fault in faults.items() if fault.counts}
    issues, copies = "label_issue" in found, found & set(COPIES)
    filters = []
    if copies:
        # a second filter by embeddings would score the rows again that the first one left
        by_meaning = "near_copy" in copies and not issues
        filters.append(named("SemanticDuplicates") if by_meaning else named("Deduplicate"))
    if issues:
        filters.append(named("LabelIssues", prune="by_noise_rate"))
    last = "Balanced" if "rare_class" in found and task.has_classes else "Random"
    dropped = () if task.reviewed else tuple(name for name in DROPPED if name in found)
    answered = {*copies, *dropped, *(found & {"label_issue", "rare_class"})}
    answers = tuple(name for name in faults if name in answered)
    return Recipe("chain", named(last), tuple(filters), answers, dropped)


def _euds(task: Task) -> Spec:
    """Every argument is spelled out, as one that is left out would be that of a config below."""
    three = ["information_entropy", "generative_entropy", "semantic_entropy"]
    entropies, rule = (three[:2], "Anchored") if task.has_trusted else (three, "Densest")
    rule_spec = {"class_path": f"selectune.selectors.{rule}"}
    return named("IGSE", entropies=entropies, rule=rule_spec, combine="box", weights=None)
