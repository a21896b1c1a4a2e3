"""Costs of mending a finding, and the gain that was measured elsewhere: never one of more of the fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selectune.diagnose import mending
from selectune.diagnose.findings import NAMES
from selectune.diagnose.mending import ANSWERS, CLEAN, RANDOM, Gain, expected_gains, mending_of, read_gains
from tests.diagnose.made_up import a_labelled_pool, written
from tests.mistakes import names

COLUMNS = "finding,rule,true_share,budget,learner,against,gain_points,low,high,pools,seeds,scorer"
TABLE = """
label_issue,label_issues,0.3,0.5,fine-tuned,fewer_epochs,2.0,0.5,3.5,2,3,1
label_issue,label_issues,0.3,0.5,frozen,random,9.9,9.0,10.8,2,3,1
label_issue,label_issues,0.3,0.5,fine-tuned,random,6.2,4.3,8.1,2,3,1
label_issue,igse,0.3,0.5,fine-tuned,random,-7.6,-9.0,-6.2,2,3,1
label_issue,label_issues,0.1,0.5,fine-tuned,random,1.4,-0.3,3.1,2,3,1
none,label_issues,0,0.5,fine-tuned,random,-1.5,-2.5,-0.5,3,1,1
none,balanced,0,0.5,fine-tuned,random,0.1,,,1,1,1
"""


@pytest.fixture
def gains(tmp_path: Path) -> tuple[Gain, ...]:
    file = tmp_path / "gains.csv"
    file.write_text(COLUMNS + TABLE)
    return read_gains(file)


def points(found: list[Gain]) -> list[float]:
    return [gain.points for gain in found]


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.9, [6.2, 9.9, 2.0]),  # no more than was measured
        (0.3, [6.2, 9.9, 2.0]),
        (0.29, [1.4]),
        (0.1, [1.4]),
        (0.05, [-1.5]),  # the rule on clean pools
        (0.0, [-1.5]),
    ],
)
def test_the_nearest_measured_share_at_or_under_the_found_one(
    gains: tuple[Gain, ...], share: float, expected: list[float]
) -> None:
    assert points(expected_gains("label_issue", share, gains)) == expected


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_no_gain_is_of_more_of_the_fault_and_random_rows_come_first(gains: tuple[Gain, ...], share: float) -> None:
    found = expected_gains("label_issue", share, gains)
    assert all(gain.true_share <= share for gain in found)
    assert found[0].against == RANDOM


def test_a_finding_that_nobody_measured_has_no_gain(gains: tuple[Gain, ...]) -> None:
    assert expected_gains("truncated", 0.5, gains) == []
    assert expected_gains("near_copy", 0.5, gains) == []
    assert set(ANSWERS) < set(NAMES)


def test_a_sentence_says_what_was_seen_and_what_it_was_measured_on(gains: tuple[Gain, ...]) -> None:
    seen, *_ = expected_gains("label_issue", 0.3, gains)
    assert seen.seen == "gain"
    assert names(seen.sentence(), "A gain", "+6.2", "+4.3", "+8.1", "30 %", "2 pools", "3 seeds", "random", "50 %")
    assert names(seen.sentence(), "LabelIssues", "fine-tuned", "same total cost")
    (unseen,) = expected_gains("label_issue", 0.2, gains)
    assert unseen.seen == "none"
    assert names(unseen.sentence(), "No gain could be seen", "+1.4", "10 %")
    (loss,) = expected_gains("label_issue", 0.01, gains)
    assert loss.seen == "loss"
    assert names(loss.sentence(), "A loss", "clean pools", "3 pools", "1 seed")
    assert loss.to_json()["points"] == -1.5
    (alone,) = expected_gains("rare_class", 0.05, gains)
    assert (alone.seen, alone.low) == ("unknown", None)
    assert names(alone.sentence(), "Not known yet", "one pool", "Balanced")


def test_a_missing_table_has_no_gains_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    assert read_gains(tmp_path / "none.csv") == ()
    for name, content in (("word", TABLE.replace("6.2", "much")), ("column", TABLE)):
        file = tmp_path / f"{name}.csv"
        file.write_text((COLUMNS if name == "word" else "finding,rule") + content)
        with pytest.raises((ValueError, KeyError)):
            read_gains(file)


def test_the_packaged_table_is_read_and_its_intervals_hold_their_gain() -> None:
    for gain in read_gains():
        assert 0 <= gain.true_share <= 1
        assert (gain.true_share == 0) == (gain.finding == CLEAN)
        assert (gain.low is None) == (gain.high is None) == (gain.pools == 1)
        assert gain.low is None or gain.high is None or gain.low <= gain.points <= gain.high
        assert gain.seeds >= 1


def test_a_diagnosis_holds_costs_and_gains_of_each_finding(
    tmp_path: Path, gains: tuple[Gain, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "read_gains", lambda: gains)
    _, content = written(tmp_path / "run", *a_labelled_pool())
    found = content["findings"]
    assert found["label_issue"]["gains"][0]["true_share"] == 0.1  # 17 % were found
    assert found["label_issue"]["expected"] == found["label_issue"]["gains"][0]["sentence"]
    assert found["near_copy"]["gains"] == []
    assert names(found["near_copy"]["expected"], "Not measured")
    assert found["near_copy"]["cost"] | {"sentence": ""} == cost(rows_lost=12)
    assert found["label_issue"]["cost"] | {"sentence": ""} == cost(rows_lost=30, rows_to_read=30)
    assert found["rare_class"]["cost"] | {"sentence": ""} == cost()


def cost(**more: int) -> dict[str, Any]:
    return {"passes": 0, "rows_lost": 0, "rows_to_read": 0, "tokens_more": 0, "sentence": ""} | more


def test_tokens_are_what_longer_rows_cost() -> None:
    made = mending_of("truncated", {"rows": 3, "share": 0.1, "details": {"tokens_lost": 1234}}, 30)
    assert made["cost"] | {"sentence": ""} == cost(tokens_more=1234)
    assert names(made["cost"]["sentence"], "1,234")
