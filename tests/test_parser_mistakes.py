"""A mistake in arguments or a config is one sentence: what, where, and what may have been meant; exit code 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from selectune.common.errors import UserError
from selectune.common.parser_errors import MOST_VALUES, check_aliases, sentence_of
from tests.conftest import Here
from tests.mistakes import mistake, names

FIT = ["fit", "--data", "TextClassification", "--data.dataset", "rows.csv", "--model.checkpoint", "docstrings-bert"]
CHOOSE = ["--data.selector", "IGSE", "--data.keep", "0.5"]
CASES: dict[str, tuple[list[str], list[str]]] = {
    # classes
    "a misspelt selector": ([*FIT, "--data.selector", "IGES"], ["IGES", "data.selector", "did you mean IGSE?"]),
    "a misspelt data class": (["fit", "--data", "TextClasification"], ["did you mean TextClassification?"]),
    "a misspelt callback": ([*FIT, "--trainer.callbacks", "EarlyStoping"], ["EarlyStoping", "EarlyStopping?"]),
    "no such callback": ([*FIT, "--trainer.callbacks", "Nothing"], ["Nothing", "trainer.callbacks"]),
    "a misspelt optimizer": ([*FIT, "--model.optimizer", "torch.optim.Adamm"], ["torch.optim.Adam?"]),
    "a misspelt schedule": ([*FIT, "--model.lr_scheduler", "torch.optim.lr_scheduler.StepLr"], ["StepLR?"]),
    "a misspelt logger": ([*FIT, "--trainer.logger", "CSVLoger"], ["CSVLoger", "CSVLogger?"]),
    "a logger that is not installed": ([*FIT, "--trainer.logger", "CometLogger"], ["pip install", "comet"]),
    # options
    "an option cut short": ([*FIT, "--trainer.max_epoch", "1"], ["trainer.max_epoch", "trainer.max_epochs?"]),
    "a misspelt option of the data": ([*FIT, "--data.datset", "x"], ["data.datset", "data.dataset?"]),
    "a misspelt option of the model": ([*FIT, "--model.learning_rat", "1"], ["model.learning_rate?"]),
    "a misspelt option of a selector": ([*FIT, *CHOOSE, "--data.selector.combin", "sum"], ["data.selector.combine?"]),
    "a misspelt option of the scorer": ([*FIT, "--scorer.max_batch_token", "1"], ["scorer.max_batch_tokens?"]),
    "a misspelt option of the verb": ([*FIT, "--outptu", "x"], ["outptu", "output?"]),
    "a budget of another verb": ([*FIT, "--budget", "0.3"], ["budget", "fit"]),
    "a word by itself": ([*FIT, "extra"], ["extra", "fit"]),
    # values
    "a rate in words": ([*FIT, "--model.learning_rate", "fast"], ["model.learning_rate", "fast", "a number"]),
    "epochs in words": ([*FIT, "--trainer.max_epochs", "many"], ["trainer.max_epochs", "many", "a whole number"]),
    "a share in words": ([*FIT, "--data.keep", "half"], ["data.keep", "half", "a number"]),
    "half a row": ([*FIT, "--data.batch_size", "1.5"], ["data.batch_size", "1.5", "a whole number"]),
    "a seed in words": ([*FIT, "--seed_everything", "x"], ["seed_everything", "a whole number"]),
    "a wrong precision": ([*FIT, "--trainer.precision", "bf16-mixd"], ["bf16-mixd", "did you mean bf16-mixed"]),
    "a wrong head": ([*FIT, "--scorer.generative.head", "prob"], ["scorer.generative.head", "auto, exact, probe"]),
    "perhaps": ([*FIT, "--data.choose_on_test", "perhaps"], ["data.choose_on_test", "perhaps", "true or false"]),
    "a wrong estimator": ([*FIT, "--scorer.generative.estimator", "mask"], ["scorer.generative.estimator", "mask"]),
    # verbs
    "no verb": ([], ["main.py VERB", "--help"]),
    "a misspelt verb": (["fitt"], ["fitt", "did you mean fit?"]),
    "no data": (["fit", "--model.checkpoint", "docstrings-bert"], ["--data CLASS", "--config"]),
    "no budget of a plan": (["plan", *FIT[1:]], ["--budget", "plan"]),
    "a table without a config": (["table", "--output", "out"], ["--config FILE", "table"]),
    "a misspelt option of a table": (["table", "--config", "a.yaml", "--output", "o", "--job", "2"], ["job", "jobs?"]),
    "jobs in words": (["table", "--config", "a.yaml", "--output", "o", "--jobs", "two"], ["jobs", "two"]),
    "a report of nothing": (["report"], ["report", "RUN"]),
    "a fetch of nothing": (["fetch", "--list"], ["--config FILE"]),
    "seeds in words": (["compare", *FIT[1:], *CHOOSE, "--output", "o", "--seeds", "some"], ["--seeds", "some"]),
    "compare without an output": (["compare", *FIT[1:], *CHOOSE], ["--output"]),
    "a misspelt option to compare": (["compare", *FIT[1:], *CHOOSE, "--output", "o", "--model.learning_rat", "1"],
                                     ["learning_rat"]),
    # configs
    "no such config": ([*FIT, "--config", "nope.yaml"], ["nope.yaml", "does not exist"]),
    "a list": ([*FIT, "--config", "list.yaml"], ["mapping", "- a"]),
    "no YAML": ([*FIT, "--config", "broken.yaml"], ["YAML"]),
    "a misspelt section": ([*FIT, "--config", "section.yaml"], ["modle.learning_rate"]),
    "a misspelt setting": ([*FIT, "--config", "setting.yaml"], ["model.learning_rat", "model.learning_rate?"]),
    "a misspelt selector in a config": (["fit", "--config", "selector.yaml"], ["IGES", "data.selector", "IGSE?"]),
    "a misspelt argument in a config": (["fit", "--config", "argument.yaml"], ["data.datast", "data.dataset?"]),
    "a wrong value in a config": (["fit", "--config", "value.yaml"], ["data.batch_size", "many", "a whole number"]),
    "a misspelt class of a warm-up": ([*FIT, "--config", "warm_up.yaml"], ["LanguageModelling", "warm_up.data"]),
    "a misspelt evaluation": ([*FIT, "--config", "evaluation.yaml"], ["Perplexty", "evaluations"]),
    "aliases without end": ([*FIT, "--config", "bomb.yaml"], ["bomb.yaml", "100,000", "aliases"]),
    "aliases without end in a table": (["table", "--config", "bomb.yaml", "--output", "o"], ["bomb.yaml", "aliases"]),
    "aliases to fetch": (["fetch", "--config", "bomb.yaml"], ["bomb.yaml", "aliases"]),
}  # fmt: skip
TASK = {"class_path": "TextClassification", "init_args": {"dataset": "rows.csv"}}
CONFIGS: dict[str, Any] = {
    "list": ["a", "b"],
    "section": {"modle": {"learning_rate": 3}},
    "setting": {"model": {"learning_rat": 3}},
    "selector": {"data": TASK | {"init_args": {"dataset": "x", "selector": {"class_path": "IGES"}, "keep": 0.5}}},
    "argument": {"data": TASK | {"init_args": {"datast": "x"}}},
    "value": {"data": TASK | {"init_args": {"dataset": "x", "batch_size": "many"}}},
    "warm_up": {"warm_up": {"data": {"class_path": "LanguageModelling", "init_args": {"dataset": "x"}}}},
    "evaluation": {"evaluations": [{"class_path": "Perplexty", "init_args": {"dataset": "x"}}]},
}


def bomb(depth: int = 9, width: int = 9) -> str:
    """A YAML text of a few lines that makes width ** depth values."""
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, depth)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def configs(tmp_path: Path) -> None:
    """The files that the cases name."""
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"a thing {i},{i % 2}\n" for i in range(40)))
    (tmp_path / "broken.yaml").write_text("model: [\n")
    (tmp_path / "bomb.yaml").write_text(bomb())
    for name, content in CONFIGS.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.usefixtures("configs")
@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_sentence(case: str, here: Here, tmp_path: Path) -> None:
    words, named = CASES[case]
    printed = here(*words, code=2)
    assert names(printed, *named)
    (sentence,) = [line for line in printed.split("error: ") if line.strip() and "Seed set" not in line] or [""]
    assert len(sentence) < 500, "no usage text"
    assert "usage:" not in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "runs").exists()


def test_aliases_are_fine_where_they_are_few(tmp_path: Path) -> None:
    check_aliases("a: &a [1, 2]\nb: *a\nc: {<<: &d {x: 1}, y: *d}\n", "few.yaml")
    check_aliases(bomb(5), "some.yaml")
    check_aliases("a: [*", "broken.yaml")
    with mistake(UserError, "many.yaml", f"{MOST_VALUES:,}"):
        check_aliases(bomb(6), "many.yaml")


@pytest.mark.parametrize("message", ["", "something new", 'Parser key "a": of a new kind', "unrecognized arguments: "])
def test_a_message_of_another_wording_is_shown_as_it_is(message: str) -> None:
    sentence = sentence_of(message, ["a"], "fit")
    assert sentence.endswith((".", "?"))
    assert message.strip().split(":")[-1].strip() in sentence or "a cannot be" in sentence
