"""One sentence for a selector in a config that cannot be imported, is no selector, or cannot be made."""

from __future__ import annotations

import re

from lightning.pytorch.cli import LightningArgumentParser

from selectune.common.errors import UserError

# as jsonargparse words them; where it words them otherwise, its own message is shown
OF_SELECTOR = r"Subtypes: \[<class 'selectune\.selectors\.base\.Selector'>[^\n]*\s+Errors:\s+- "
REFUSED = re.compile(
    OF_SELECTOR + r"(.*?)\s+- Expected a <class 'NoneType'>\s+Given value type: [^\n]*\s+Given value: ([^\n]*)",
    re.DOTALL,
)
NOT_MADE = re.compile(OF_SELECTOR + r".*?Given value: Namespace\(class_path='([^']+)'", re.DOTALL)
OPTION = re.compile(r"NestedArg\(key='([^']+)', val=(.*)\)$")
CLASS_PATH = re.compile(r"class_path'?[=:] ?'([^']+)'")


class ClassParser(LightningArgumentParser):
    """Lightning's parser, which says in one sentence what is wrong with a selector."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """End with a user's mistake that names the selector, or else as Lightning's parser does."""
        sentence = selector_problem(message) if self.exit_on_error else None  # parsers inside others hand theirs on
        if sentence is not None:
            raise UserError(sentence) from ex
        super().error(message, ex)


def selector_problem(message: str) -> str | None:
    """A sentence on the selector that a parser's message is about; None where it is about something else."""
    if (found := REFUSED.search(message)) is None:
        return None
    reason, given = (" ".join(part.split()) for part in found.groups())
    reason = re.sub(r"^Problem with given class_path '[^']+': ", "", reason).rstrip(".")
    if option := OPTION.match(given):
        return f"data.selector.{option.group(1)} cannot be {option.group(2)}: {reason}; mend it."
    named = CLASS_PATH.search(given)
    return f"data.selector {named.group(1) if named else given} cannot be used: {reason}; mend it."


def construction_problem(raised: BaseException) -> UserError | None:
    """A selector whose constructor raised, as a user's mistake; None where the error is another."""
    path = None
    while raised.__cause__ is not None:
        if found := NOT_MADE.search(str(raised)):
            path = found.group(1)
        raised = raised.__cause__
    if path is None:
        return None
    return UserError(f"data.selector {path} cannot be made: {type(raised).__name__}: {raised}; mend it.")
