"""The data sets and models that a config names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from selectune.common.extras import PROFANITY
from selectune.data.data_files import kind_of
from selectune.data.sources import is_path
from selectune.data.texts import Texts, as_texts

Kind = Literal["data", "model"]
OWN_ROWS = ("train", "dev", "test", "validation")  # targets and trusted rows that are splits of the data set itself


@dataclass(frozen=True)
class Need:
    """A data set or a model, as `find_data` and `find_model` take it.

    Args:
        kind: ``data`` or ``model``.
        name: a hub name, a folder or a file.
        config: the hub's configuration of a data set.
        revision: of the hub's data set.
        local_name: name of its folder in the root, where it differs from its own.
        root: folder of local copies of data sets; None for ``SELECTUNE_DATA``.
        column: name of the text column on the hub and in the root, where these differ.
    """

    kind: Kind
    name: str
    config: str | None = None
    revision: str | None = None
    local_name: str | None = None
    root: str | None = None
    column: tuple[str, str] | None = None

    @property
    def own(self) -> bool:
        """Whether it is a file or folder of the user, or embedded, and nothing of the hub."""
        path = Path(self.name)
        return self.name.startswith("docstrings") or is_path(self.name) or kind_of(path) is not None or path.exists()

    @property
    def title(self) -> str:
        """Name with the configuration."""
        return f"{self.name}/{self.config}" if self.config else self.name


def needs_of(configs: Sequence[Mapping[str, Any]]) -> list[Need]:
    """The data sets and models that some configs need, each once, in their order.

    Args:
        configs: of ``fit``, with all defaults.
    """
    return list(dict.fromkeys(need for config in configs for need in _needs_of(config)))


def _needs_of(config: Mapping[str, Any]) -> Iterator[Need]:
    data = _arguments(config["data"])
    root = data.get("root")
    yield from _of_data(data)
    if warm_up := config.get("warm_up"):
        yield from _of_data(_arguments(warm_up["data"]))
    for name in ("model", "scorer"):
        if checkpoint := (config.get(name) or {}).get("checkpoint"):
            yield Need("model", checkpoint)
    for evaluation in config.get("evaluations") or ():
        given = _arguments(evaluation)
        yield _named(given, root)
        if (scorer := given.get("scorer")) and scorer != PROFANITY:
            yield Need("model", scorer)


def _of_data(given: Mapping[str, Any]) -> Iterator[Need]:
    """The data sets of a data module's arguments: its own, its target and its trusted rows."""
    root = given.get("root")
    if isinstance(given["dataset"], str):
        yield _named(given, root)
    else:
        yield from _of_texts(given["dataset"], root)
    for name in ("target", "trusted"):
        if (texts := given.get(name)) is not None and texts not in OWN_ROWS:
            yield from _of_texts(texts, root)


def _named(given: Mapping[str, Any], root: str | None) -> Need:
    """The one data set that the arguments of a data module or of an evaluation name, in its own root or this one."""
    config, revision, local = (given.get(name) for name in ("config_name", "revision", "local_name"))
    column = _column(given.get("text_column"), given.get("local_text_column"))
    return Need("data", given["dataset"], config, revision, local, given.get("root") or root, column)


def _column(text_column: str | None, local_text_column: str | None) -> tuple[str, str] | None:
    """Names of the text column on the hub and in the root; None where they are the same."""
    differ = local_text_column and local_text_column != text_column
    return (text_column or "text", str(local_text_column)) if differ else None


def _of_texts(given: Any, root: str | None) -> Iterator[Need]:
    parts = given if isinstance(given, list) else [given]
    known = {field.name for field in fields(Texts)}
    made = [part if isinstance(part, str) else Texts(**{k: v for k, v in part.items() if k in known}) for part in parts]
    for text in as_texts(made):
        column = _column(text.text_column, text.local_text_column)
        for name in [text.dataset] if isinstance(text.dataset, str) else text.dataset:  # several files
            yield Need("data", str(name), text.config_name, text.revision, text.local_name, root, column)


def _arguments(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a class in a config."""
    arguments = given.get("init_args", given)
    return arguments if isinstance(arguments, Mapping) else {}
