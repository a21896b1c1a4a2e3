"""Laws of plans: costs add up to the budget, and each spends it on the rows that its recipe leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from selectune.pilot.faults import COUNTS_FROM, faults_of
from selectune.pilot.plans import Amount, Choice, candidates
from selectune.pilot.recipes import NAMES, Task, recipes
from tests.pilot.made_up import BATCH, EPOCHS, FULL, ROWS, TASK, choices_for, diagnosis, plans_for

FAULTY = diagnosis(label_issue=0.3, near_copy=0.3, rare_class=0.03, off_topic=0.2)
WARMING = replace(TASK, warm_up="all", warm_up_data="LanguageModeling")


def settings(plan: Any) -> dict[str, Any]:
    found: dict[str, Any] = plan.overlay["data"]["init_args"]
    return found


@pytest.mark.parametrize("share", [0.04, 0.1, 0.3, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("content", [diagnosis(), FAULTY])
def test_choosing_and_training_cost_the_budget(share: float, content: dict[str, Any]) -> None:
    row, batch = 1 / ROWS, BATCH / ROWS
    for plan in plans_for(content, share, WARMING).values():
        both = plan.cost.selection + plan.cost.training
        assert both.over(FULL.cost, FULL.unit) == pytest.approx(plan.cost.share)
        if plan.unfit:
            assert plan.overlay == {}
            assert plan.rows == 0
            continue
        assert plan.cost.share <= share * (1 + 1e-6), plan.name
        # fewer epochs end with a step, and with as many in each of them
        assert plan.cost.share > share - (batch if plan.name == "fewer_epochs" else row), plan.name


def test_a_larger_budget_never_trains_less() -> None:
    shares = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
    for name in plans_for(FAULTY):
        seen = [plan.rows * plan.epochs for plan in (plans_for(FAULTY, share)[name] for share in shares)]
        assert seen == sorted(seen), name


def test_a_plan_that_choosing_alone_overspends_is_said_not_to_fit() -> None:
    plans = plans_for(FAULTY, 0.04)
    assert plans["euds"].unfit  # choosing is 5 %
    assert not plans["random"].unfit
    made, _ = recipes(faults_of(FAULTY), TASK)
    problem = "The model has no head."
    choices = choices_for(made) | {"euds": Choice(Amount(), 0, 0.0, problem=problem)}
    plan = next(one for one in candidates(made, choices, FULL, 0.5, TASK) if one.name == "euds")
    assert plan.unfit == problem


def test_shorter_rows_are_more_rows_for_the_same_cost() -> None:
    made, _ = recipes({}, TASK)
    choices = choices_for(made)
    long = {one.name: one for one in candidates(made, choices, FULL, 0.3, TASK)}
    choices["balanced"] = replace(choices["balanced"], tokens_per_row=10.0)
    short = {one.name: one for one in candidates(made, choices, FULL, 0.3, TASK)}
    assert short["balanced"].rows == 2 * long["balanced"].rows
    assert short["balanced"].cost.share == pytest.approx(long["balanced"].cost.share)


def test_all_rows_that_a_filter_leaves_are_trained_on_for_longer_where_the_budget_has_room() -> None:
    plan = plans_for(FAULTY, 1.0)["label_issues"]  # of 1,000 rows 650 are left, and choosing them is 2 %
    assert plan.rows == 650
    assert plan.epochs == pytest.approx(EPOCHS * 0.98 / 0.65, rel=0.01)
    assert settings(plan)["keep_rows"] is None
    assert settings(plan)["selector"]["class_path"].endswith("LabelIssues")
    assert plan.overlay["trainer"]["max_steps"] == pytest.approx(plan.rows / BATCH * plan.epochs, rel=0.05)


def test_a_training_of_so_many_steps_gets_fewer_of_them_with_fewer_rows() -> None:
    made, _ = recipes({}, TASK)
    by_steps = replace(FULL, by_steps=True)
    plan = next(one for one in candidates(made, choices_for(made), by_steps, 0.3, TASK) if one.name == "random")
    assert plan.overlay["trainer"]["max_steps"] == pytest.approx(0.3 * FULL.batches, rel=0.05)
    assert "trainer" not in plans_for(diagnosis(), 0.3)["random"].overlay


def test_a_budget_of_everything_is_the_training_as_it_is() -> None:
    plan = plans_for(diagnosis(), 1.0)["fewer_epochs"]
    assert plan.epochs == EPOCHS
    assert "trainer" not in plan.overlay
    assert settings(plan)["selector"] is None


def test_only_what_counts_is_in_the_chain() -> None:
    below = diagnosis(label_issue=0.3, near_copy=COUNTS_FROM)
    assert "chain" not in plans_for(below)  # it is the plan label_issues
    chain = plans_for(FAULTY)["chain"]
    assert set(chain.answers) == {"label_issue", "near_copy", "rare_class", "off_topic"}
    assert settings(chain)["review"] == TASK.review
    arguments = settings(chain)["selector"]["init_args"]
    assert arguments["selector"]["class_path"].endswith("Balanced")
    assert [one["class_path"].rpartition(".")[2] for one in arguments["filters"]] == ["Deduplicate", "LabelIssues"]
    assert "review" not in settings(plans_for(FAULTY, task=replace(TASK, reviewed=True))["chain"])


def test_a_weak_probe_makes_a_finding_suspected() -> None:
    content = diagnosis(label_issue=0.4)
    assert faults_of(content)["label_issue"].counts
    content["findings"]["label_issue"]["details"]["probe_accuracy"] = 0.55
    assert not faults_of(content)["label_issue"].counts
    assert plans_for(content)["label_issues"].answers == ("label_issue",)


def test_plans_that_need_classes_or_a_warm_up_are_left_out_with_the_reason() -> None:
    made, left_out = recipes({}, Task("QuestionAnswering", has_classes=False))
    assert list(made) == ["fewer_epochs", "random", "euds"]
    assert set(left_out) == set(NAMES) - set(made)
    assert "classes" in left_out["balanced"]
    assert "warm_up.data" in left_out["gotd"]
    assert "gotd" in recipes({}, replace(TASK, warm_up="selected"))[1]


def test_the_rows_to_warm_up_on_are_so_many_that_the_warm_up_costs_the_same() -> None:
    plans = plans_for(diagnosis(), 0.3, WARMING)
    warm_up = plans["gotd"].overlay["warm_up"]["data"]["init_args"]
    assert warm_up["keep_rows"] == 750  # choosing is a quarter of the warm-up
    assert plans["gotd"].cost == plans["random"].cost
    assert plans["gotd"].overlay["data"] == plans["random"].overlay["data"]


def test_trusted_rows_anchor_the_entropies() -> None:
    arguments = settings(plans_for(diagnosis(), task=replace(TASK, has_trusted=True))["euds"])["selector"]["init_args"]
    assert arguments["rule"]["class_path"].endswith("Anchored")
    arguments = settings(plans_for(diagnosis())["euds"])["selector"]["init_args"]
    assert arguments["rule"]["class_path"].endswith("Densest")
    assert len(arguments["entropies"]) == 3
