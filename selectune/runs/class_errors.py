"""The parser of the command line: one sentence for a selector that cannot be imported, is none, or cannot be made."""

from __future__ import annotations

import re
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from selectune.common.errors import UserError

# jsonargparse has no error class for these; where its wording differs, its own message is shown
OF_SELECTOR = r"Subtypes: \[<class 'selectune\.selectors\.base\.Selector'>[^\n]*\s+Errors:\s+- "
REFUSED = re.compile(
    OF_SELECTOR + r"(.*?)\s+- Expected a <class 'NoneType'>\s+Given value type: [^\n]*\s+Given value: ([^\n]*)",
    re.DOTALL,
)
NOT_MADE = re.compile(OF_SELECTOR + r".*?Given value: Namespace\(class_path='([^']+)'", re.DOTALL)
OPTION = re.compile(r"NestedArg\(key='([^']+)', val=(.*)\)$")
CLASS_PATH = re.compile(r"class_path'?[=:] ?'([^']+)'")


class ClassParser(LightningArgumentParser):
    """Lightning's parser, whose errors on a selector are one sentence, and to which a file of data is a name."""

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
        """Raise a `UserError` that names the selector; for anything else end as Lightning's parser does."""
        sentence = selector_problem(message) if self.exit_on_error else None  # nested parsers pass theirs on
        if sentence is not None:
            raise UserError(sentence) from ex
        super().error(message, ex)


def selector_problem(message: str) -> str | None:
    """The sentence for a parser's message about a selector; None where it is about something else."""
    if (refused := REFUSED.search(message)) is None:
        return None
    reason, given = (" ".join(part.split()) for part in refused.groups())
    reason = re.sub(r"^Problem with given class_path '[^']+': ", "", reason).rstrip(".")
    if option := OPTION.match(given):
        return f"data.selector.{option.group(1)} cannot be {option.group(2)}: {reason}; change it."
    named = CLASS_PATH.search(given)
    return f"data.selector {named.group(1) if named else given} cannot be used: {reason}; change it."


def construction_problem(raised: BaseException) -> UserError | None:
    """The `UserError` for a selector whose constructor raised; None for any other error."""
    path = None
    while raised.__cause__ is not None:
        if refused := NOT_MADE.search(str(raised)):
            path = refused.group(1)
        raised = raised.__cause__
    if path is None:
        return None
    return UserError(f"data.selector {path} cannot be made: {type(raised).__name__}: {raised}; change it.")
