"""Mistakes of a command line that show without the classes that it names. It imports nothing large."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from selectune.common.errors import UserError
from selectune.common.printable import printable
from selectune.common.shipped import CONFIG_OPTIONS, with_config_files

NEED_DATA = ("diagnose", "estimate", "fit", "pilot", "plan", "select")
HAVE_DATA = (*CONFIG_OPTIONS, "--data", "--help", "-h", "--plan", "--print_config")


def first_look(words: Sequence[str], verbs: Sequence[str]) -> list[str]:
    """The words of a command, in which names of shipped configs are paths.

    Args:
        words: of the command line, the verb first.
        verbs: that there are.

    Raises:
        UserError: there is no such verb; a config is not there, is no YAML, holds no settings or would fill the memory;
            or no data is named.
    """
    from selectune.common.parser_errors import no_verb, sentence_of

    if not words or words[0].startswith("-"):
        return list(words)
    verb = words[0]
    if verb not in verbs:
        raise UserError(no_verb(verb, verbs))
    found = with_config_files(words)
    for option, following in zip(found, [*found[1:], ""]):
        name, equals, value = option.partition("=")
        if name in CONFIG_OPTIONS and Path(file := value if equals else following).is_file():
            _check_config(file)
    if verb in NEED_DATA and not any(word.startswith(HAVE_DATA) for word in words):
        raise UserError(sentence_of("the following arguments are required: data", [], verb))
    return found


def with_plain_help(words: Sequence[str]) -> list[str]:
    """The words of a command, in which what asks for every option is what its own parser takes for that."""
    return ["--help" if word == "--help.all" else word for word in words]


def _check_config(file: str) -> None:
    import yaml

    from selectune.common.parser_errors import check_aliases

    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return  # told by its reader
    check_aliases(text, file)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"The config {file} is no YAML ({' '.join(str(error).split())}); correct it.") from None
    if not isinstance(content, dict | None):
        raise UserError(f"The config {file} holds no settings; it must be a mapping of names to values.")


def is_first_process() -> bool:
    """Whether this is the process that prints for all ranks."""
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return next((os.environ[name] for name in names if os.environ.get(name)), "0") == "0"


def tell_mistake(error: BaseException) -> None:
    """Print the sentence of a mistake, once for all ranks."""
    if is_first_process():
        print(f"error: {printable(str(error))}", file=sys.stderr)
