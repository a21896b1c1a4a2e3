"""The config of a run on the command line of the verbs that evaluate it."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from selectune.common.files import read_mapping
from selectune.common.run_files import RunFiles

EVALUATING = ("validate", "test", "predict")
# Options that are of the run's own rows, with their defaults, which hold where other rows are named.
OF_ITS_ROWS: dict[str, Any] = {
    **dict.fromkeys(("config_name", "revision", "local_name", "separator", "encoding", "dev_split", "test_split")),
    **dict.fromkeys(("max_train_rows", "max_dev_rows", "max_eval_rows", "more_test_splits", "review", "selection")),
    **dict.fromkeys(("target", "trusted")),
    "train_split": "train",
    "choose_on_test": False,
}


def with_config_of_run(words: list[str]) -> list[str]:
    """The command line with the run's ``config.yaml``, where a run is evaluated and no config is named.

    Args:
        words: of the command line, its verb first. They take precedence over the run's config. With another
            ``--data.dataset`` than the run's, what its config says of its own rows alone is left out.

    Raises:
        UserError: the run's config is damaged.
    """
    if (words[:1] and words[0] not in EVALUATING) or _value(words, "--config", "-c") is not None:
        return words
    config = RunFiles(Path(_value(words, "--output") or ".")).config
    if _value(words, "--output") is None or not config.is_file():
        return words
    named = _value(words, "--data.dataset", "--data.init_args.dataset")
    own = data_of_run(config)
    resets = [name for name, usual in OF_ITS_ROWS.items() if name in own and own[name] != usual]
    if named is None or same_rows(_parsed(named), own.get("dataset")):
        resets = []
    options = [word for name in resets for word in (f"--data.{name}", yaml.safe_dump(OF_ITS_ROWS[name]).split()[0])]
    return [words[0], "--config", str(config), *options, *words[1:]]


def data_of_run(config: Path) -> dict[str, Any]:
    """The arguments of the data module in the config of a run.

    Raises:
        UserError: the file is damaged.
    """
    data = read_mapping(config, "restore it, or name another run", "data")["data"]
    arguments = data.get("init_args") if isinstance(data, dict) else None
    return arguments if isinstance(arguments, dict) else {}


def same_rows(one: Any, other: Any) -> bool:
    """Whether two values of ``data.dataset`` name the same data sets in the same order, files by where they lie."""
    return bool(_located(one) == _located(other))


def _located(given: Any) -> Any:
    """A value of ``data.dataset`` in which what lies here has its whole path, and what is not set is left out."""
    if isinstance(given, str):
        return str(Path(given).resolve()) if Path(given).exists() else given
    if isinstance(given, list | tuple):
        return [_located(part) for part in given]
    if is_dataclass(given) and not isinstance(given, type):
        given = asdict(given)
    if isinstance(given, dict):
        set_to = {name: value for name, value in given.items() if value is not None}
        return {name: _located(value) if name == "dataset" else value for name, value in set_to.items()}
    return given


def _parsed(word: str) -> Any:
    """The value of ``data.dataset`` that a word of the command line gives: a list, or else a name as it is written."""
    try:
        value = yaml.safe_load(word)
    except yaml.YAMLError:
        return word
    return value if isinstance(value, list) else word


def _value(words: list[str], *options: str) -> str | None:
    """The value of an option, the last one given; None where it is not there."""
    found = None
    for word, after in zip(words, [*words[1:], ""]):
        name, equals, value = word.partition("=")
        if name in options:
            found = value if equals else after
    return found
