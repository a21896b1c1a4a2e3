"""The parser of the command line: one sentence for each mistake."""

from __future__ import annotations

import re
import sys
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from selectune.common.errors import UserError
from selectune.common.extras import install_line
from selectune.common.parser_errors import PROGRAM, sentence_of

# jsonargparse has no error class for it
GIVEN_CLASS = re.compile(r"Problem with given class_path '([^']+)'")
NOT_MADE = re.compile(
    r"Subtypes: \[<class 'selectune\.selectors\.base\.Selector'>[^\n]*\s+Errors:\s+- "
    r".*?Given value: Namespace\(class_path='([^']+)'",
    re.DOTALL,
)


class ClassParser(LightningArgumentParser):
    """Lightning's parser, whose errors are one sentence, and to which a file of data is a name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"prog": PROGRAM} | kwargs)
        self.allow_abbrev = False  # a misspelt option is no shortened one

    def add_class_arguments(self, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of a class; an option that takes `Texts` takes a file by its name.

        jsonargparse would read the file, as a config of the texts, and hand its content on as their name.
        """
        added: list[str] = super().add_class_arguments(*args, **kwargs)
        for action in self._actions:
            if "selectune.data.texts.Texts" in str(getattr(action, "_typehint", "")):
                action._enable_path = False  # type: ignore[attr-defined]
        return added

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raise a `UserError` of one sentence; nested parsers pass theirs on."""
        if self.exit_on_error:
            raise UserError(sentence_of(message, self._options(), sys.argv[1] if len(sys.argv) > 1 else "")) from ex
        super().error(message, ex)

    def _options(self) -> list[str]:
        """All options, dotted, of this parser and of those of its verbs."""
        parsers: list[Any] = [self, *getattr(self, "_subparsers_of_verbs", {}).values()]
        for action in self._actions:
            parsers += [one for one in (getattr(action, "_name_parser_map", None) or {}).values() if one is not None]
        return [action.dest for parser in parsers for action in parser._actions if action.option_strings]


def construction_problem(raised: BaseException) -> UserError | None:
    """The `UserError` for a selector that cannot be made, or a class that needs a package; None for other errors."""
    path = None
    if needs := _package_needed(raised):
        return needs
    while raised.__cause__ is not None:
        if refused := NOT_MADE.search(str(raised)):
            path = refused.group(1)
        raised = raised.__cause__
    if path is None:
        return None
    return UserError(f"data.selector {path} cannot be made: {type(raised).__name__}: {raised}; change it.")


def _package_needed(raised: BaseException) -> UserError | None:
    """The `UserError` for a class of a config whose package is not installed; None for any other error."""
    path, cause = None, raised
    while cause is not None:
        if found := GIVEN_CLASS.search(str(cause)):
            path = found.group(1)
        if isinstance(cause, ImportError) and path:
            named = re.search(r"No module named '([\w.]+)'|Requirement '([\w-]+)", str(cause))
            package = next(filter(None, named.groups())) if named else path.rpartition(".")[2]
            line = install_line(package.partition(".")[0])
            return UserError(f"{path} needs a package that is not installed: {line}.")
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    return None
