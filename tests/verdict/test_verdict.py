from __future__ import annotations

import json
from dataclasses import replace

import pytest

from selectune.common.errors import UserError
from selectune.verdict.decision import Word
from selectune.verdict.evidence import Arm, Cost, Evidence, Metric, ScoreInterval
from selectune.verdict.intervals import Difference
from selectune.verdict.verdict import Verdict
from tests.mistakes import mistake, names
from tests.verdict.cases import ALL_ROWS, CASES, COMMAND, NOT_RUN, ONE_SEED, PAYS, Case, arm, difference

every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


@every_case
def test_each_case_has_its_word_colour_and_sentence(case: Case) -> None:
    verdict = Verdict(case.evidence)
    assert (verdict.word, verdict.colour, verdict.headline) == (case.word, case.colour, case.headline)
    assert verdict.sentence == case.sentence


def test_every_word_has_a_case() -> None:
    assert {case.word for case in CASES.values()} == set(Word)


def test_green_is_for_what_pays_alone() -> None:
    assert [case.word for case in CASES.values() if Verdict(case.evidence).colour == "green"] == [Word.PAYS]


@every_case
def test_it_is_one_sentence_with_cost_and_metric(case: Case) -> None:
    text = Verdict(case.evidence).sentence
    assert text.startswith(case.headline)
    assert text.endswith(".")
    assert ". " not in text.replace(COMMAND, "")
    assert "FLOPs" in text
    assert "accuracy" in text


@every_case
def test_no_difference_is_told_without_its_interval(case: Case) -> None:
    text = Verdict(case.evidence).sentence
    assert text.count("than with") + text.count("level with") == text.count("(between ")


@every_case
def test_no_metric_is_told_without_its_rows_and_an_interval(case: Case) -> None:
    text = Verdict(case.evidence).sentence
    assert (case.evidence.score is not None) == ("held-out rows" in text) == ("95 % interval" in text)


def test_a_metric_without_scores_of_rows_has_their_number_and_one_of_an_earlier_version_stands_alone() -> None:
    case = CASES["not known yet"].evidence
    perplexity = replace(case, metric=Metric("perplexity", "plain", False), score=12.3, majority=None)
    text = Verdict(replace(perplexity, score_interval=ScoreInterval(1))).sentence
    assert names(text, "12.30, over 1 held-out row of one seed")
    text = Verdict(replace(perplexity, n_seeds=2, score_interval=ScoreInterval(1024, 11.0, 13.25))).sentence
    assert names(text, "12.30, with a 95 % interval of 11.00 to 13.25 over 2 seeds and 1,024 held-out rows")
    assert "held-out" not in Verdict(replace(perplexity, score_interval=None)).sentence


def test_a_file_of_an_earlier_version_is_read() -> None:
    content = Verdict(PAYS).to_json()
    del content["score_interval"]
    assert Verdict.from_json(content) == Verdict(replace(PAYS, score_interval=None))


@every_case
def test_an_arm_that_was_not_run_is_told_with_its_command(case: Case) -> None:
    text = Verdict(case.evidence).sentence
    missing = [one for one in case.evidence.rivals if case.evidence.arm(one).difference is None]
    judged = case.word != Word.TRAINING_FAILED  # whose rivals would tell nothing more
    assert (judged and bool(missing)) == ("not run yet" in text)
    assert (COMMAND in text) == (judged and any(case.evidence.arm(one).command for one in missing))


def test_a_loss_on_one_seed_says_so_in_its_headline() -> None:
    verdict = Verdict(replace(ONE_SEED, random_rows=arm(-3.1, -5.0, -1.2, n_seeds=1)))
    assert (verdict.word, verdict.headline) == (Word.LOSES_TO_RANDOM, "Loses to random rows, on one seed")
    assert "they do not say what another seed would give" in verdict.sentence


def test_f1_of_answers_is_in_its_own_hundred() -> None:
    gap = Difference(-1.6, -2.0, -1.2, 0.01, 3, 500, "seeds and rows")
    verdict = Verdict(replace(PAYS, metric=Metric("f1", "percent"), score=81.2, all_rows=Arm(gap, ALL_ROWS)))
    assert verdict.word == Word.COSTS_ACCURACY
    assert verdict.headline == "Costs F1"
    assert names(verdict.sentence, "F1 is 81.2", "1.60 points lower", "between 1.20 and 2.00 lower")


def test_of_a_perplexity_lower_is_better_and_there_are_no_points() -> None:
    def gap(value: float, low: float, high: float) -> Difference:
        return Difference(value, low, high, 0.01, 3, 0, "seeds")

    evidence = replace(
        PAYS,
        metric=Metric("perplexity", "plain", higher_is_better=False),
        score=12.3,
        majority=None,
        margin=0.5,
        all_rows=Arm(gap(0.1, -0.2, 0.4), ALL_ROWS),
        random_rows=Arm(gap(-1.1, -1.5, -0.7)),
        fewer_epochs=Arm(gap(-1.2, -1.6, -0.8)),
    )
    verdict = Verdict(evidence)
    assert verdict.word == Word.PAYS
    assert names(verdict.sentence, "perplexity", "is 12.30", "0.10 higher")
    assert "point" not in verdict.sentence
    assert "held-out rows" not in verdict.sentence
    assert Verdict(replace(evidence, margin=None)).word == Word.NOT_KNOWN_YET
    assert Verdict(replace(evidence, random_rows=Arm(gap(0.4, 0.2, 0.6)))).word == Word.LOSES_TO_RANDOM


@pytest.mark.parametrize(
    ("ratio", "told"),
    [
        (0.9, "10 % fewer FLOPs"),
        (0.951, "4.9 % fewer FLOPs"),
        (0.9981, "as many FLOPs"),
        (1.0019, "as many FLOPs"),
        (1.003, "0.3 % more FLOPs"),
        (2.5, "150 % more FLOPs"),
        (0.004, "99.6 % fewer FLOPs"),
        (0.0003, "over 99.9 % fewer FLOPs"),
    ],
)
def test_costs_are_in_per_cent_and_a_tiny_difference_is_none(ratio: float, told: str) -> None:
    evidence = replace(PAYS, cost=Cost(ratio * 1e13, None), random_rows=NOT_RUN, fewer_epochs=NOT_RUN)
    assert names(Verdict(evidence).sentence, told)


def test_arms_of_another_cost_are_told_to_be() -> None:
    told = Verdict(replace(PAYS, random_rows=arm(3.1, 1.2, 5.0, Cost(2.9e12, 31.0)))).sentence
    assert names(told, "3.1 points higher", "random rows at 50 % less cost")


def test_runs_of_different_seeds_say_so() -> None:
    told = Verdict(replace(PAYS, random_rows=arm(3.1, 1.2, 5.0, n_seeds=2))).sentence
    assert names(told, "3 seeds and 1,000 held-out rows", "2 seeds and 1,000 held-out rows")


@every_case
def test_the_file_gives_the_verdict_back_byte_by_byte(case: Case) -> None:
    verdict = Verdict(case.evidence)
    text = json.dumps(verdict.to_json(), allow_nan=False)
    again = Verdict.from_json(json.loads(text))
    assert again == verdict
    assert json.dumps(again.to_json()) == text
    assert json.loads(text)["word"] == case.word.value


def test_words_in_a_file_do_not_outweigh_its_numbers() -> None:
    content = Verdict(CASES["loses to random"].evidence).to_json() | {"word": "pays", "colour": "green"}
    assert Verdict.from_json(content).word == Word.LOSES_TO_RANDOM


def damaged() -> list[object]:
    good = Verdict(PAYS).to_json()
    changes: list[dict[str, object]] = [
        {"schema": 2},
        {"more": 1},
        {"metric": "accuracy"},
        {"metric": {**good["metric"], "scale": "points"}},
        {"metric": {**good["metric"], "name": 5}},
        {"score": "0.5"},
        {"score": float("nan")},
        {"score": 10**400},
        {"loss_failed": 0},
        {"kept_rows": True},
        {"kept_rows": 0},
        {"kept_rows": 10_001},
        {"n_seeds": 2},
        {"margin": -1.0},
        {"cost": None},
        {"cost": {"flops": -1.0, "device_s": None, "estimated": False}},
        {"all_rows": {**good["all_rows"], "difference": [0.1, 0.0, 0.2]}},
        {"all_rows": {**good["all_rows"], "difference": {**good["all_rows"]["difference"], "low": 0.5}}},
        {"all_rows": {**good["all_rows"], "difference": {**good["all_rows"]["difference"], "p": 1.5}}},
        {"all_rows": {**good["all_rows"], "problem": "it failed"}},
        {"score_interval": [0.65, 0.708]},
        {"score_interval": {**good["score_interval"], "n_rows": 0}},
        {"score_interval": {**good["score_interval"], "low": 0.8}},
        {"score_interval": {**good["score_interval"], "high": None}},
    ]
    short = {name: value for name, value in good.items() if name != "all_rows"}
    return [[], None, {}, short, *(good | change for change in changes)]


@pytest.mark.parametrize("content", damaged(), ids=range(len(damaged())))
def test_a_damaged_file_is_a_sentence(content: object) -> None:
    with mistake(UserError, "verdict.json") as told:
        Verdict.from_json(content)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "change",
    [
        {"score": float("inf")},
        {"margin": -0.1},
        {"kept_rows": 20_000},
        {"n_seeds": 0},
        {"n_seeds": 1},
    ],
)
def test_evidence_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UserError):
        replace(PAYS, **change)


def test_parts_that_cannot_be_are_refused() -> None:
    for wrong in (
        lambda: Metric(""),
        lambda: Metric("accuracy", "points"),  # type: ignore[arg-type]
        lambda: Cost(-1.0, None),
        lambda: Cost(float("nan"), None),
        lambda: Arm(difference(1, 0, 2), problem="it failed"),
        lambda: difference(1, 2, 3),
        lambda: Difference(0.0, -1.0, 1.0, 0.5, 0, 10, "rows"),
        lambda: Difference(0.0, -1.0, 1.0, 0.5, 1, 10, "years"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UserError):
            wrong()


def test_evidence_says_what_one_point_is() -> None:
    assert Evidence.gain(PAYS, "all_rows") == pytest.approx((-0.5, 0.9))
    assert PAYS.saved() == pytest.approx(0.42)
