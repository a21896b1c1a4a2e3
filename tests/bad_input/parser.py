"""Command lines and configs that the parser refuses."""

from __future__ import annotations

from typing import Any

FIT = ["fit", "--data", "TextClassification", "--data.dataset", "rows.csv", "--model.checkpoint", "docstrings-bert"]
CHOOSE = ["--data.selector", "IGSE", "--data.keep", "0.5"]
WORDS: dict[str, list[str]] = {
    "a misspelt selector": [*FIT, "--data.selector", "IGES"],
    "a selector in small letters": [*FIT, "--data.selector", "igse"],
    "a misspelt data class": ["fit", "--data", "TextClasification"],
    "a misspelt callback": [*FIT, "--trainer.callbacks", "EarlyStoping"],
    "no such callback": [*FIT, "--trainer.callbacks", "Nothing"],
    "a misspelt optimizer": [*FIT, "--model.optimizer", "torch.optim.Adamm"],
    "a misspelt schedule": [*FIT, "--model.lr_scheduler", "torch.optim.lr_scheduler.StepLr"],
    "a misspelt logger": [*FIT, "--trainer.logger", "CSVLoger"],
    "a logger that is not installed": [*FIT, "--trainer.logger", "CometLogger"],
    "an option cut short": [*FIT, "--trainer.max_epoch", "1"],
    "a misspelt option of the data": [*FIT, "--data.datset", "x"],
    "a misspelt option of the model": [*FIT, "--model.learning_rat", "1"],
    "a misspelt option of a selector": [*FIT, *CHOOSE, "--data.selector.combin", "sum"],
    "a misspelt option of the scorer": [*FIT, "--scorer.max_batch_token", "1"],
    "a misspelt option of the verb": [*FIT, "--outptu", "x"],
    "a budget of another verb": [*FIT, "--budget", "0.3"],
    "a word by itself": [*FIT, "extra"],
    "a rate in words": [*FIT, "--model.learning_rate", "fast"],
    "epochs in words": [*FIT, "--trainer.max_epochs", "many"],
    "a share in words": [*FIT, "--data.keep", "half"],
    "half a row": [*FIT, "--data.batch_size", "1.5"],
    "a seed in words": [*FIT, "--seed_everything", "x"],
    "a wrong precision": [*FIT, "--trainer.precision", "bf16-mixd"],
    "a wrong head": [*FIT, "--scorer.generative.head", "prob"],
    "perhaps": [*FIT, "--data.choose_on_test", "perhaps"],
    "a wrong estimator": [*FIT, "--scorer.generative.estimator", "mask"],
    "no verb": [],
    "a misspelt verb": ["fitt"],
    "a misspelt verb without a Trainer": ["quikstart"],
    "no such verb": ["tidy"],
    "a misspelt config": ["fit", "--config", "euds/sst"],
    "a config by half of its name": ["fit", "--config=sst2"],
    "a misspelt option of configs": ["configs", "--prnt", "euds/sst2"],
    "a misspelt config to print": ["configs", "--print", "quickstrat"],
    "a misspelt option of the quickstart": ["quickstart", "--ouput", "x"],
    "a quickstart into a file": ["quickstart", "--output", "rows.csv/x"],
    "no data": ["fit", "--model.checkpoint", "docstrings-bert"],
    "no budget of a plan": ["plan", *FIT[1:]],
    "a table without a config": ["table", "--output", "out"],
    "a misspelt option of a table": ["table", "--config", "section.yaml", "--output", "o", "--job", "2"],
    "jobs in words": ["table", "--config", "section.yaml", "--output", "o", "--jobs", "two"],
    "a report of nothing": ["report"],
    "a fetch of nothing": ["fetch", "--list"],
    "seeds in words": ["compare", *FIT[1:], *CHOOSE, "--output", "o", "--seeds", "some"],
    "compare without an output": ["compare", *FIT[1:], *CHOOSE],
    "a misspelt option to compare": ["compare", *FIT[1:], *CHOOSE, "--output", "o", "--model.learning_rat", "1"],
    "no such config": [*FIT, "--config", "nope.yaml"],
    "a list": [*FIT, "--config", "list.yaml"],
    "no YAML": [*FIT, "--config", "broken.yaml"],
    "a misspelt section": [*FIT, "--config", "section.yaml"],
    "a misspelt setting": [*FIT, "--config", "setting.yaml"],
    "a misspelt selector in a config": ["fit", "--config", "selector.yaml"],
    "a misspelt argument in a config": ["fit", "--config", "argument.yaml"],
    "a wrong value in a config": ["fit", "--config", "value.yaml"],
    "a misspelt class of a warm-up": [*FIT, "--config", "warm_up.yaml"],
    "a misspelt evaluation": [*FIT, "--config", "evaluation.yaml"],
    "aliases without end": [*FIT, "--config", "bomb.yaml"],
    "aliases without end in a table": ["table", "--config", "bomb.yaml", "--output", "o"],
    "aliases to fetch": ["fetch", "--config", "bomb.yaml"],
}  # fmt: skip
TASK = {"class_path": "TextClassification", "init_args": {"dataset": "rows.csv"}}
PARSED: dict[str, Any] = {
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
