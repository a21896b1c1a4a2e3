"""Made-up diagnoses, costs and measured gains."""

from __future__ import annotations

from typing import Any

from selectune.diagnose.mending import CLEAN, Gain
from selectune.pilot.faults import faults_of
from selectune.pilot.plans import Amount, Choice, FullTraining, Plan, candidates
from selectune.pilot.ranking import Ranked, ranking
from selectune.pilot.recipes import Recipe, Task, recipes

ROWS, EPOCHS, BATCH = 1000, 3.0, 10
FULL = FullTraining(Amount(1e12, 600.0), "flops", ROWS, 20.0, EPOCHS, 300, BATCH)
TASK = Task("TextClassification", has_classes=True, review="run/plan_review.parquet")
CHOSEN = {"label_issues": (0.02, 650), "chain": (0.02, 600), "euds": (0.05, 1000), "deduplicate_balanced": (0.0, 700)}


def diagnosis(**shares: float) -> dict[str, Any]:
    """The content of a ``diagnosis.json`` with such shares of findings, each within 2 points."""
    findings = {
        name: {
            "rows": round(share * ROWS),
            "share": share,
            "low": max(0.0, share - 0.02),
            "high": share + 0.02,
            "details": {"probe_accuracy": 0.8} if name == "label_issue" else {},
        }
        for name, share in shares.items()
    }
    return {"findings": findings}


def gain(finding: str, rule: str, points: float, spread: float, against: str = "random", share: float = 0.3) -> Gain:
    """A measured gain, its interval so much to each side."""
    share = 0.0 if finding == CLEAN else share
    return Gain(finding, rule, share, 0.5, "fine-tuned", against, points, points - spread, points + spread, 6, 3)


TABLE = (
    gain(CLEAN, "label_issues", 0.3, 1.0),
    gain(CLEAN, "balanced", 0.1, 0.5),
    gain(CLEAN, "semantic_duplicates", 0.1, 0.5),
    gain(CLEAN, "igse", -3.0, 1.0),
    gain(CLEAN, "fewer_epochs", 0.2, 1.0),
    gain("label_issue", "label_issues", 6.0, 2.0),
    gain("label_issue", "label_issues", 5.0, 2.0, "fewer_epochs"),
    gain("rare_class", "balanced", 4.0, 1.0, share=0.03),
    gain("rare_class", "balanced", 4.0, 1.5, "fewer_epochs", share=0.03),
    gain("near_copy", "semantic_duplicates", 0.4, 1.0),
)


def choices_for(made: dict[str, Recipe]) -> dict[str, Choice]:
    """A choice for each recipe: its share of the full cost, and the rows that it can keep at most."""
    chosen = {name: CHOSEN.get(name, (0.0, ROWS)) for name, recipe in made.items() if recipe.selector is not None}
    return {
        name: Choice(FULL.cost.times(share), rows, 20.0, of_full_warm_up=0.25) for name, (share, rows) in chosen.items()
    }


def plans_for(content: dict[str, Any], share: float = 0.3, task: Task = TASK) -> dict[str, Plan]:
    """The plans for a diagnosis, by name."""
    made, _ = recipes(faults_of(content), task)
    return {plan.name: plan for plan in candidates(made, choices_for(made), FULL, share, task)}


def ranked_for(
    content: dict[str, Any], share: float = 0.3, task: Task = TASK, table: tuple[Gain, ...] = TABLE
) -> list[Ranked]:
    """The plans for a diagnosis in their order."""
    return ranking(list(plans_for(content, share, task).values()), faults_of(content), table, share)
