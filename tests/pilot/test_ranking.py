"""Laws of the ranking, on made-up diagnoses and measured gains."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from selectune.common.typed_json import from_json
from selectune.diagnose.expected_gains import expected_gain, measured_gains
from selectune.diagnose.mending import ANSWERS, CLEAN, Gain
from selectune.pilot.decision import Decision
from selectune.pilot.faults import faults_of
from selectune.pilot.plans import Amount
from selectune.pilot.ranking import BASES, Ranked, ranking
from selectune.pilot.recipes import TITLES, recipes
from tests.mistakes import names
from tests.pilot.made_up import FULL, TABLE, TASK, diagnosis, gain, plans_for, ranked_for


def order(ranked: list[Ranked]) -> list[str]:
    return [one.plan.name for one in ranked]


def test_on_a_clean_pool_nothing_stands_above_fewer_epochs_and_random_rows() -> None:
    ranked = ranked_for(diagnosis())
    assert order(ranked)[:2] == ["fewer_epochs", "random"]
    assert order(ranked)[-1] == "euds"  # it was measured to lose
    assert all(one.why for one in ranked)


def test_wrong_labels_put_their_plan_first() -> None:
    ranked = ranked_for(diagnosis(label_issue=0.3))
    assert order(ranked)[0] == "label_issues"
    first = ranked[0]
    assert first.gain is not None
    assert first.gain.points == pytest.approx(6.0)
    assert first.gain.seen == "gain"


def test_a_rare_class_puts_balanced_rows_first_and_copies_put_nothing_first() -> None:
    assert order(ranked_for(diagnosis(rare_class=0.03)))[0] == "balanced"
    assert order(ranked_for(diagnosis(near_copy=0.4)))[:2] == list(BASES)


def test_several_faults_put_the_plan_first_that_answers_all_of_them() -> None:
    ranked = ranked_for(diagnosis(label_issue=0.3, rare_class=0.03))
    assert order(ranked)[:3] == ["chain", "label_issues", "balanced"]
    # what else is in the chain does not count, where it was measured to give nothing
    assert order(ranked_for(diagnosis(label_issue=0.3, near_copy=0.3)))[:2] == ["label_issues", "chain"]


def test_a_suspected_fault_lifts_no_plan() -> None:
    content = diagnosis(label_issue=0.4)
    content["findings"]["label_issue"]["details"]["probe_accuracy"] = 0.55
    winning = [*TABLE, gain(CLEAN, "label_issues", 2.0, 1.0)]
    assert order(ranked_for(content, table=tuple(winning)))[:2] == list(BASES)


def test_the_order_of_findings_and_plans_changes_nothing() -> None:
    shares = {"label_issue": 0.3, "rare_class": 0.03, "near_copy": 0.3, "off_topic": 0.2}
    whole = ranked_for(diagnosis(**shares))
    for ordered in itertools.permutations(shares):
        assert ranked_for(diagnosis(**{name: shares[name] for name in ordered})) == whole
    plans, faults = list(plans_for(diagnosis(**shares)).values()), faults_of(diagnosis(**shares))
    assert ranking(plans[::-1], faults, TABLE[::-1], 0.3) == whole


@pytest.mark.parametrize("share", [0.015, 0.04, 0.3, 1.0])
def test_a_plan_over_the_budget_is_never_before_one_that_fits(share: float) -> None:
    fits = [not one.plan.unfit for one in ranked_for(diagnosis(label_issue=0.3, near_copy=0.3), share)]
    assert fits == sorted(fits, reverse=True)
    assert fits[0]


def test_a_gain_whose_interval_holds_0_never_lifts_a_plan() -> None:
    unsure = tuple(replace(one, low=-0.1) if one.rule == "label_issues" else one for one in TABLE)
    assert order(ranked_for(diagnosis(label_issue=0.3), table=unsure))[:2] == list(BASES)
    # over random rows alone, it stands between the two
    halfway = tuple(replace(one, low=-0.1) if one.against == "fewer_epochs" else one for one in TABLE)
    names = order(ranked_for(diagnosis(label_issue=0.3), table=halfway))
    assert names[:3] == ["fewer_epochs", "label_issues", "random"]


def test_random_rows_go_before_fewer_epochs_where_these_were_measured_to_lose() -> None:
    losing = (*(one for one in TABLE if one.rule != "fewer_epochs"), gain(CLEAN, "fewer_epochs", -2.0, 1.0))
    assert order(ranked_for(diagnosis(), table=losing))[:2] == ["random", "fewer_epochs"]


def test_a_table_of_nothing_leaves_the_order_of_simplicity() -> None:
    names = order(ranked_for(diagnosis(label_issue=0.3), table=()))
    assert names == ["fewer_epochs", "random", "balanced", "deduplicate_balanced", "label_issues", "euds"]


def test_a_gain_is_interpolated_between_measured_shares_and_not_beyond() -> None:
    table = [gain("label_issue", "label_issues", 6.0, 2.0), gain(CLEAN, "label_issues", 0.0, 1.0)]

    def at(share: float) -> Gain | None:
        return expected_gain(table, "label_issue", "label_issues", share, 0.5)

    halfway, beyond = at(0.15), at(0.9)
    assert halfway is not None
    assert (halfway.points, halfway.low, halfway.high) == pytest.approx((3.0, 1.5, 4.5))
    assert beyond == at(0.3)
    assert expected_gain(table[:1], "label_issue", "label_issues", 0.15, 0.5) is None
    assert expected_gain(table, "near_copy", "label_issues", 0.3, 0.5) is None


def test_a_near_budget_and_a_near_size_of_the_scorer_speak_before_far_ones() -> None:
    tuned = gain("label_issue", "label_issues", 6.0, 2.0)
    small, large = replace(tuned, learner="frozen", budget=0.1), replace(tuned, scorer=0.17, points=1.0)
    for table in itertools.permutations([tuned, small, large]):
        for budget, found in ((0.5, tuned), (0.3, tuned), (1.0, tuned), (0.1, small), (0.02, small)):
            assert expected_gain(table, "label_issue", "label_issues", 0.3, budget) == found
        for scorer, found in ((0.5, tuned), (2.0, tuned), (0.1, large), (0.3, large)):
            assert expected_gain(table, "label_issue", "label_issues", 0.3, 0.5, scorer=scorer) == found
    clean = gain(CLEAN, "label_issues", 0.0, 1.0)
    other = expected_gain([tuned, replace(clean, scorer=0.17)], "label_issue", "label_issues", 0.3, 0.5, scorer=0.17)
    assert other == tuned, "a clean pool says nothing of a faulty one"


def test_two_learners_that_agree_say_more_than_either_and_two_that_differ_say_less() -> None:
    tuned = gain("label_issue", "label_issues", 5.0, 6.0)

    def together(points: float, spread: float, table_first: bool = True) -> Gain:
        frozen = replace(tuned, learner="frozen", points=points, low=points - spread, high=points + spread)
        table = [tuned, frozen] if table_first else [frozen, tuned]
        found = expected_gain(table, "label_issue", "label_issues", 0.3, 0.5)
        assert found is not None
        return found

    agree, differ = together(4.0, 3.0), together(-10.0, 3.0)
    assert agree.seen == "gain", "though the fine-tuned alone holds 0"
    assert agree.points == pytest.approx((5 / 36 + 4 / 9) / (1 / 36 + 1 / 9))
    assert agree.high is not None
    assert agree.high - agree.points == pytest.approx((1 / 36 + 1 / 9) ** -0.5)
    assert agree.pools == 2 * tuned.pools
    assert together(4.0, 3.0, table_first=False) == agree
    assert differ.seen == "none"
    assert -10 < differ.points < 5
    assert differ.high is not None
    assert differ.high - differ.points > 6


def test_what_fine_tuning_was_not_measured_at_frozen_embeddings_tell() -> None:
    tuned = gain("label_issue", "label_issues", 6.0, 2.0)
    frozen = replace(tuned, learner="frozen", points=9.0)
    assert expected_gain([frozen], "label_issue", "label_issues", 0.3, 0.4) == frozen
    clean = replace(gain(CLEAN, "label_issues", 0.0, 1.0), learner="frozen")
    interpolated = expected_gain([tuned, frozen, clean], "label_issue", "label_issues", 0.1, 0.5)
    assert interpolated is not None
    assert interpolated.learner == "frozen"


def decided(content: dict[str, Any], table: tuple[Gain, ...] = TABLE, share: float = 0.3) -> str:
    """The sentence of a decision."""
    found, ranked = tuple(faults_of(content).values()), tuple(ranked_for(content, share, table=table))
    made = Decision("pool", "", "0.3", share, FULL, Amount(), False, "", found, ranked, (), (), "cpu")
    assert from_json(Decision, json.loads(json.dumps(made.to_json())), left_out=["sentence"]) == made
    return made.sentence()


def test_the_sentence_of_a_decision_names_the_first_plans() -> None:
    clean = decided(diagnosis())
    assert names(clean, "random rows")
    assert names(clean, "fewer epochs")
    assert names(decided(diagnosis(label_issue=0.3)), TITLES["label_issues"], "+6.0", "+4.0", "+8.0")
    losing = (*(one for one in TABLE if one.rule != "fewer_epochs"), gain(CLEAN, "fewer_epochs", -2.0, 1.0))
    assert not names(decided(diagnosis(), losing), "fewer epochs")
    winning = (*(one for one in TABLE if one.rule != "fewer_epochs"), gain(CLEAN, "fewer_epochs", 2.0, 1.0))
    assert names(decided(diagnosis(), winning), TITLES["fewer_epochs"], "+2.0")
    assert names(decided(diagnosis(), share=1e-4), "budget")


def test_the_table_of_the_package_is_of_rules_that_plans_follow() -> None:
    table = measured_gains()
    assert table
    assert all((one.low or 0) <= one.points <= (one.high or 0) for one in table)
    made = recipes(faults_of(diagnosis()), replace(TASK, has_trusted=True))[0]
    rules = {one.rule for one in made.values()} | {several[-1] for several in ANSWERS.values()}
    assert rules - {""} <= {one.rule for one in table}
