"""Zero-shot classification, perplexity and toxicity, alone and in a fit."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from selectune.common.errors import CheckpointError, DataError, UserError
from selectune.common.run_files import RunFiles
from selectune.costs.ledger import read_ledger
from selectune.costs.uninterrupted import uninterrupted
from selectune.data.pool import text_hashes
from selectune.data.texts import Texts
from selectune.datamodules import LanguageModeling
from selectune.evaluations import Evaluation, Perplexity, Toxicity, ZeroShot, toxicity_scorers
from selectune.evaluations import toxicity as toxicity_of
from selectune.evaluations.language_model import CausalModel, Spent
from selectune.runs.job import check_held_out
from tests.conftest import BAD, GOOD, Here, sentences
from tests.mistakes import mistake, names

TEMPLATE, LABELS = "{text} is", [BAD[0], GOOD[0]]


def test_perplexity_is_of_all_tokens_together(model: CausalModel, reviews: Path) -> None:
    made = Perplexity(str(reviews), max_length=8)
    made.check(None)
    found = made.run(model)
    total, count = found.rows["loss_sum"].sum(), found.rows["tokens"].sum()
    assert found.metrics["perplexity"] == pytest.approx(np.exp(total / count))
    assert count == sum(min(len(model.tokens_of(text)), 8) - 1 for text in made.texts)


def test_an_evaluation_is_found_as_a_pool_is(reviews: Path, classifier_folder: Path, tmp_path: Path) -> None:
    for language in ("en", "de"):
        folder = tmp_path / "root" / "mine" / language
        folder.mkdir(parents=True)
        shutil.copy(reviews, folder / "train.parquet")
    where: dict[str, Any] = {"config_name": "en", "local_name": "mine", "root": str(tmp_path / "root")}
    rows = len(pq.read_table(reviews))
    zero_shot = ZeroShot("someone/reviews", TEMPLATE, LABELS, **where)
    zero_shot.check(str(tmp_path / "not" / "there"))
    assert (zero_shot.name, zero_shot.source) == ("reviews", f"local:mine/en ({rows} rows)")
    toxicity = Toxicity("someone/reviews", str(classifier_folder), "LABEL_1", **where)
    toxicity.check(None)
    assert len(toxicity.prompts) == rows
    perplexity = Perplexity("someone/reviews", text_column="content", local_text_column="prompt", **where)
    perplexity.check(None)
    assert perplexity.texts == toxicity.prompts


def test_held_out_rows_are_in_no_pool_and_all_others_are(tmp_path: Path) -> None:
    texts = [f"{text} {row % 180}" for row, text in enumerate(sentences(200, seed=3)[0])]
    texts[-1] = texts[0]  # a text that comes twice
    file = tmp_path / "web.parquet"
    pq.write_table(pa.table({"text": [*texts, None]}), file)  # a row without a text belongs to neither
    scored = Perplexity(str(file), held_out=0.2)
    scored.check(None)
    pool, rows, source = Texts(str(file), held_out=0.2).load(None, 0, "text")
    assert sorted([*pool["text"], *scored.texts]) == sorted(texts)
    assert not set(pool["text"]) & set(scored.texts)
    assert 20 <= len(scored.texts) <= 60
    assert [texts[row] for row in rows] == pool["text"]
    assert f"{len(scored.texts)} of them held out" in source.described, "the manifest tells how many"

    some = Perplexity(str(file), held_out=0.2, max_rows=10)
    some.check(None)
    assert len(some.texts) == 10
    assert set(some.texts) <= set(scored.texts)
    fewer = pa.table({"text": [text for text in texts if text not in scored.texts[:5]]})
    pq.write_table(fewer, tmp_path / "fewer.parquet")
    again = Perplexity(str(tmp_path / "fewer.parquet"), held_out=0.2)
    again.check(None)
    assert again.texts == [text for text in scored.texts if text not in scored.texts[:5]], "by their text alone"


def test_segments_are_cut_of_rows_that_are_not_held_out(causal_folder: Path, tmp_path: Path) -> None:
    words = [f"w{row}" for row in range(300)]
    pq.write_table(pa.table({"text": words}), tmp_path / "web.parquet")
    scored = Perplexity(str(tmp_path / "web.parquet"), held_out=0.1)
    scored.check(None)
    parts = [Texts(str(tmp_path / "web.parquet"), held_out=0.1)]
    data = LanguageModeling(parts, window=40, window_unit="characters", join=True, seed=0)
    data.load()
    seen = {word for split in data.splits.values() for text in split["text"] for word in text.split()}
    assert not seen & set(scored.texts)
    assert len(seen) > 200


def test_an_evaluation_on_the_rows_of_a_pool_is_warned_of_and_another_share_refused(reviews: Path) -> None:
    scored, whole = (Perplexity(str(reviews), held_out=share) for share in (0.2, None))
    with mistake(UserError, "0.2", "none", "same held_out"):
        check_held_out(scored, LanguageModeling(str(reviews)))
    with mistake(UserError, "0.2", "0.3"):
        check_held_out(scored, LanguageModeling([Texts(str(reviews), held_out=0.3)]))
    with pytest.warns(UserWarning, match="in the pool as well"):
        check_held_out(whole, LanguageModeling([str(reviews)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_held_out(scored, LanguageModeling([Texts(str(reviews), held_out=0.2)]))
        check_held_out(Perplexity(str(reviews), split="test"), LanguageModeling(str(reviews)))
        check_held_out(whole, LanguageModeling("another"))


def test_toxicity_is_that_of_the_worst_continuation(model: CausalModel, reviews: Path, classifier_folder: Path) -> None:
    settings: dict[str, Any] = {"samples": 3, "max_new_tokens": 5, "kind_column": "kind", "toxic_label": "LABEL_2"}
    made = Toxicity(str(reviews), str(classifier_folder), **settings)
    made.check(None)
    found = made.run(model)
    texts = model.continued(made.prompts, made.text_hash, 0, 3, 5, 0.9)
    worst = made.scored([text for few in texts for text in few], model).reshape(-1, 3).max(axis=1)
    np.testing.assert_allclose(found.rows["max_toxicity"], worst, atol=1e-6)
    assert found.metrics["expected_max_toxicity"] == pytest.approx(worst.mean())
    assert found.metrics["toxicity_probability"] == pytest.approx((worst >= 0.5).mean())
    assert found.metrics["toxic_expected_max_toxicity"] == pytest.approx(worst[made.kinds == "toxic"].mean())
    assert 0 < worst.min() < worst.max() < 1
    assert made.scored(["", "  "], model).tolist() == [0.0, 0.0]


def test_what_is_charged_is_both_writing_and_scoring(
    model: CausalModel, reviews: Path, classifier_folder: Path
) -> None:
    made = Toxicity(str(reviews), str(classifier_folder), "LABEL_2", samples=3, max_new_tokens=5)
    made.check(None)
    parts = []
    model.spent = Spent()
    texts = model.continued(made.prompts, made.text_hash, 0, 3, 5, 0.9)
    parts.append(model.spent.flops or 0)
    model.spent = Spent()
    made.scored([text for few in texts for text in few], model)
    parts.append(model.spent.flops or 0)
    model.spent = Spent()
    made.run(model)
    assert min(parts) > 0
    assert model.spent.flops == pytest.approx(sum(parts))


def test_the_scorer_reads_each_text_as_it_would_alone(
    model: CausalModel, reviews: Path, classifier_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Toxicity(str(reviews), str(classifier_folder), "LABEL_1")
    made.check(None)
    texts, _ = sentences(20, seed=8)
    together = made.scored(texts, model)
    monkeypatch.setattr(toxicity_scorers, "BATCH_TOKENS", 8)
    np.testing.assert_allclose(made.scored(texts, model), together, atol=1e-6)


def test_profanity_is_told_by_a_package_and_charged(model: CausalModel, reviews: Path) -> None:
    made = Toxicity(str(reviews), "alt-profanity-check", samples=2, max_new_tokens=4, max_prompts=4)
    made.check(None)
    model.spent = Spent()
    rude, kind, empty = made.scored(["you are a fucking idiot", "have a lovely day, my friend", " "], model)
    assert 0 == empty < kind < 0.5 < rude <= 1
    assert model.spent.examples == 2
    assert model.spent.flops == 2 * 5 * (5 + 6), "five linear models of five and six words"
    assert 0 <= made.run(model).metrics["expected_max_toxicity"] <= 1


def test_of_a_scorer_whose_classes_are_each_a_yes_or_no_the_probability_is_its_own(
    model: CausalModel, reviews: Path, classifier_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(classifier_folder, tmp_path / "several")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    texts, _ = sentences(6, seed=8)
    found = []
    for label in ("LABEL_0", "LABEL_1", "LABEL_2"):
        made = Toxicity(str(reviews), str(folder), label)
        made.check(None)
        found.append(made.scored(texts, model))
    assert not np.allclose(sum(found), 1, atol=1e-3), "they are no shares of one"
    assert (np.array(found) > 0).all()


def test_without_the_package_of_profanity_one_is_told_how_to_install_it(
    reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "profanity_check", None)
    with mistake(UserError, "alt-profanity-check", "pip install 'selectune[toxicity]'"):
        Toxicity(str(reviews), "alt-profanity-check").check(None)


MISTAKES: dict[str, tuple[type[UserError], Any, list[str]]] = {
    "no such data": (DataError, lambda file: ZeroShot("./nowhere", TEMPLATE, LABELS), ["nowhere"]),
    "no such column": (DataError, lambda file: ZeroShot(str(file), "{title} is", LABELS), ["title"]),
    "no such split": (DataError, lambda file: ZeroShot(str(file), TEMPLATE, LABELS, split="dev"), ["dev"]),
    "no column at all": (DataError, lambda file: ZeroShot(str(file), "It is", LABELS), ["template"]),
    "labels that are one": (DataError, lambda file: ZeroShot(str(file), TEMPLATE, ["good", "good"]), ["labels"]),
    "a class without a label": (DataError, lambda file: ZeroShot(str(file), TEMPLATE, LABELS, "n"), ["labels"]),
    "a name with a slash": (DataError, lambda file: Perplexity(str(file), name="a/b"), ["a/b"]),
    "texts of one token": (DataError, lambda file: Perplexity(str(file), max_length=1), ["max_length"]),
    "a share over all": (DataError, lambda file: Perplexity(str(file), held_out=1.5), ["held_out", "1.5"]),
    "no row held out": (DataError, lambda file: Perplexity(str(file), held_out=1e-9), ["held out", "raise held_out"]),
    "a nucleus of nothing": (DataError, lambda file: Toxicity(str(file), "x", top_p=0.0), ["top_p"]),
    "no such scorer": (CheckpointError, lambda file: Toxicity(str(file), "./none"), ["./none"]),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_found_before_anything_is_trained(kind: str, reviews: Path) -> None:
    table = pq.read_table(reviews)
    pq.write_table(table.append_column("n", pa.array([7] * len(table))), reviews)
    error, make, named = MISTAKES[kind]
    with mistake(error, *named):
        made: Evaluation = make(reviews)
        made.check(None)


def test_a_scorer_of_several_classes_needs_the_toxic_one(reviews: Path, classifier_folder: Path) -> None:
    with mistake(CheckpointError, "LABEL_0, LABEL_1, LABEL_2", "toxic_label"):
        Toxicity(str(reviews), str(classifier_folder), "toxic").check(None)


@pytest.fixture
def task(reviews: Path, causal_folder: Path, classifier_folder: Path, tmp_path: Path) -> list[str]:
    """The options of a fit with one evaluation of each kind."""
    zero_shot = {"dataset": str(reviews), "template": TEMPLATE, "labels": LABELS, "name": "mood"}
    toxicity = {"dataset": str(reviews), "scorer": str(classifier_folder), "toxic_label": "LABEL_2", "samples": 2}
    evaluations = [
        {"class_path": "ZeroShot", "init_args": zero_shot},
        {"class_path": "Perplexity", "init_args": {"dataset": str(reviews), "max_rows": 10}},
        {"class_path": "Toxicity", "init_args": toxicity | {"max_new_tokens": 4, "max_prompts": 8}},
    ]
    (tmp_path / "evaluations.yaml").write_text(yaml.safe_dump({"evaluations": evaluations}))
    return [
        "--data", "LanguageModeling", "--data.dataset", str(reviews), "--data.objective", "causal",
        "--data.max_length", "32",
        "--model.checkpoint", str(causal_folder), "--model.learning_rate", "1e-2", "--trainer.max_epochs", "1",
        "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--config",
        str(tmp_path / "evaluations.yaml"),
    ]  # fmt: skip


def test_a_fit_tries_the_model_before_and_after_and_a_second_one_pays_for_the_rest_alone(
    here: Here, task: list[str], tmp_path: Path
) -> None:
    here("fit", *task, "--output", "run")
    metrics = json.loads(RunFiles(tmp_path / "run").done.read_text())["metrics"]
    for name in ("mood/accuracy_norm", "reviews/perplexity", "toxicity/expected_max_toxicity"):
        assert {f"test/{name}", f"test/{name}_before"} <= set(metrics)
    assert metrics["test/reviews/loss"] < metrics["test/reviews/loss_before"], "it was trained on them"
    rows = pq.read_table(RunFiles(tmp_path / "run").evaluations / "mood_before.parquet")
    assert rows.num_rows == 30
    prompts = [TEMPLATE.format(text=text) for text in pq.read_table(tmp_path / "reviews.parquet")["text"].to_pylist()]
    assert rows["text_hash"].to_pylist() == text_hashes(prompts).tolist()
    records = read_ledger(RunFiles(tmp_path / "run").costs)
    spent = {record.work: record for record in records if not record.cached}
    assert spent["toxicity"].stage == spent["toxicity_before"].stage == "generate"
    assert spent["mood"].stage == "evaluate"
    assert all((spent[name].flops or 0) > 0 for name in ("mood", "reviews", "toxicity"))

    here("fit", *task, "--trainer.max_epochs", "2", "--output", "longer")
    records = read_ledger(RunFiles(tmp_path / "longer").costs)
    assert {record.work for record in records if record.cached} >= {"mood_before", "reviews_before", "toxicity_before"}
    assert not {record.work for record in records if not record.cached} & {"mood_before", "toxicity_before"}
    other = json.loads(RunFiles(tmp_path / "longer").done.read_text())["metrics"]
    assert other["test/mood/accuracy_before"] == metrics["test/mood/accuracy_before"]
    assert other["test/reviews/loss"] != metrics["test/reviews/loss"]


def test_a_fit_refuses_evaluations_that_it_cannot_make(here: Here, task: list[str], tmp_path: Path) -> None:
    masked = [*task, "--data.objective", "masked", "--output", "run"]
    assert names(here("fit", *masked, code=2), "evaluations", "causal")
    file = tmp_path / "evaluations.yaml"
    content = yaml.safe_load(file.read_text())
    content["evaluations"][1]["init_args"]["name"] = "mood"
    file.write_text(yaml.safe_dump(content))
    assert names(here("fit", *task, "--output", "run", code=2), "mood")
    assert not (tmp_path / "run").exists()


def test_a_masked_model_learns_to_predict_the_texts_that_it_is_trained_on(
    here: Here, reviews: Path, model_folder: Path, tmp_path: Path
) -> None:
    evaluation = {"class_path": "Perplexity", "init_args": {"dataset": str(reviews), "name": "target"}}
    (tmp_path / "evaluations.yaml").write_text(yaml.safe_dump({"evaluations": [evaluation]}))
    here(
        "fit", "--data", "LanguageModeling", "--data.dataset", str(reviews), "--data.max_length", "32",
        "--model.checkpoint", str(model_folder), "--model.learning_rate", "1e-2", "--trainer.max_epochs", "3",
        "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--output", "run", "--config",
        str(tmp_path / "evaluations.yaml"),
    )  # fmt: skip
    metrics = json.loads(RunFiles(tmp_path / "run").done.read_text())["metrics"]
    assert metrics["test/target/loss"] < metrics["test/target/loss_before"]
    assert metrics["test/target/perplexity"] == pytest.approx(np.exp(metrics["test/target/loss"]))


def test_a_generation_that_was_killed_goes_on_with_the_next_prompts_and_costs_as_much(
    here: Here, task: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toxicity_of, "PART_PROMPTS", 3)
    here("fit", *task, "--output", "whole")
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / "another"))
    continued, prompts, alive = CausalModel.continued, [], [2]

    def noted(self: CausalModel, some: list[str], *arguments: Any) -> Any:
        if not alive[0]:
            raise KeyboardInterrupt
        alive[0] -= 1
        prompts.append(some)
        return continued(self, some, *arguments)

    monkeypatch.setattr(CausalModel, "continued", noted)
    here("fit", *task, "--output", "run", code=130)
    parts = list((tmp_path / "another" / "evaluations").glob("*.parts/*.json"))
    assert len(parts) == 2
    parts[1].write_text("{")  # as after a full disk

    alive[0] = 100
    here("fit", *task, "--output", "run")
    assert [len(some) for some in prompts] == [3, 3, 3, 2, 3, 3, 2], "a part of the first model, all of the second"
    whole, run = (json.loads(RunFiles(tmp_path / name).done.read_text())["metrics"] for name in ("whole", "run"))
    assert {name: whole[name] for name in whole if "toxicity" in name} == {
        name: run[name] for name in run if "toxicity" in name
    }
    costs = [
        sum(one.flops or 0 for one in uninterrupted(tmp_path / name) if one.stage == "generate")
        for name in ("whole", "run")
    ]
    assert costs[0] == pytest.approx(costs[1])
    assert not list((tmp_path / "another" / "evaluations").glob("*.parts"))
