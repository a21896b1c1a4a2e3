"""A message of the command line's parser as one sentence: what is wrong, where, and what may have been meant.

jsonargparse has no error classes for these; where its wording differs, its own message is shown, shortened.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from textwrap import shorten
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser

from selectune.common.errors import UserError

PROGRAM = "selectune"  # in the usage of all verbs, however it was started
LONGEST = 400  # characters of a reason that is shown as it is
KEY = re.compile(r'Parser key "([^"]+)":')
CLASS = re.compile(r"Problem with given class_path '([^']+)'")
SUBTYPE = re.compile(r"(?:<class '|, |\[)((?:\w+\.)+[A-Z]\w*)(?:'>|\])")
UNKNOWN_OPTION = re.compile(r"Option '([^']+)' is not accepted")
UNKNOWN_CLASS = re.compile(r"Expected a dot import path string: (\S+)")
NO_ATTRIBUTE = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
EXPECTED = re.compile(r"Expected a ((?:<class '[^']+'>|typing\.Literal\[[^\]]*\]))")
GIVEN = re.compile(r"(?:Got value|Given value): ([^\n]*)")
NOT_OF_VERB = re.compile(r"Subcommand '(\w+)' does not accept option '([^']+)'")
UNRECOGNIZED = re.compile(r"unrecognized arguments: (.*)", re.DOTALL | re.IGNORECASE)
REQUIRED = re.compile(r"the following arguments are required: (.*)")
NO_FILE = re.compile(r"File does not exist: '?([^']+)'?")
NO_CHOICE = re.compile(r"argument (--[\w.]+): invalid choice: '([^']*)' \(choose from ([^)]*)\)")
NO_NUMBER = re.compile(r"argument (--[\w.]+): invalid (\w+) value: '([^']*)'")
NO_VERB = re.compile(r"invalid choice: '([^']*)' \(choose from ([^)]*)\)")
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "list": "a list",
         "dict": "a mapping"}  # fmt: skip
MOST_VALUES = 100_000  # of a config, once its aliases are followed
NEEDED = {
    "data": "--data CLASS, such as TextClassification, with --data.dataset",
    "model.checkpoint": "--model.checkpoint NAME",
    "config": "--config FILE",
    "runs": "RUN, the folder of one",
    "run": "RUN, the folder of one",
}


def sentence_of(message: str, options: Iterable[str], verb: str = "") -> str:
    """The sentence for a message of the parser.

    Args:
        message: of jsonargparse.
        options: that there are, dotted, which a misspelt one may have meant.
        verb: that was asked for.
    """
    options = list(options)
    for pattern, told in (
        (NO_CHOICE, lambda found: _no_choice(*found.groups())),
        (NO_NUMBER, lambda found: f"{found[1]} is {found[3]}, but must be {KINDS.get(found[2], 'of another kind')}."),
        (NO_VERB, lambda found: no_verb(found[1], [verb.strip(" '") for verb in found[2].split(",")])),
        (NOT_OF_VERB, lambda found: _no_option(found.group(2), options, verb or found.group(1))),
        (UNRECOGNIZED, lambda found: _unrecognized(found.group(1), options, verb)),
        (REQUIRED, lambda found: _needed(found.group(1), verb, message)),
        (NO_FILE, lambda found: f"The config {found.group(1)} does not exist; correct the path."),
    ):
        if found := pattern.search(message):
            return str(told(found))
    if 'expected "subcommand"' in message:
        return "Say what to do: selectune VERB, such as fit; `selectune --help` names the verbs."
    if message.startswith("Unexpected config"):
        return f"A config must be a mapping of names to values, but is {_shown(message.partition(':')[2])}; correct it."
    if message.startswith("Problems parsing config"):
        return f"A config is no YAML ({_shown(message.partition(':')[2])}); correct it."
    return _of_key(message)


class FirstParser(argparse.ArgumentParser):
    """The parser of a verb that hands on the options that are not its own; its errors are one sentence.

    Args:
        verb: as it stands in the usage.
        kwargs: of the parser.
    """

    def __init__(self, verb: str = "", **kwargs: Any) -> None:
        super().__init__(prog=f"{PROGRAM} {verb}".rstrip(), **kwargs)
        self.allow_abbrev = False  # a misspelt option is no shortened one

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a `UserError`."""
        options = [action.dest for action in self._actions if action.option_strings]
        raise UserError(sentence_of(message, options, self.prog.rpartition(" ")[2])) from ex


class VerbParser(FirstParser, ArgumentParser):
    """The parser of a verb of its own."""


def check_aliases(text: str, name: str) -> None:
    """Refuse a YAML text whose aliases would make more values of it than any config has.

    Args:
        text: content of a file; one that is no YAML is left to its reader.
        name: of the file.

    Raises:
        UserError: they would.
    """
    if "*" not in text:
        return
    sizes: dict[str, int] = {}
    total = 0
    waiting: list[Any] = []  # anchors and sizes of the nodes that are open
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            size = sizes.get(str(event.anchor), 1) if isinstance(event, yaml.AliasEvent) else 1
            if isinstance(event, yaml.AliasEvent | yaml.NodeEvent):
                total += size
                for node in waiting:
                    node[1] += size
            if isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
                waiting.append([event.anchor, 1])
            elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                anchor, size = waiting.pop()
                if anchor:
                    sizes[anchor] = size
            if total > MOST_VALUES:
                raise UserError(
                    f"The config {name} makes more than {MOST_VALUES:,} values of its aliases (*name); write out what "
                    "it needs."
                )
    except yaml.YAMLError:
        return


def _of_key(message: str) -> str:
    """The sentence for a value that an option cannot have."""
    keys = [key for key in KEY.findall(message) if key]
    if not keys:
        return f"The arguments cannot be read: {_shown(message)}."
    name = ".".join(keys)
    inner = message[message.rindex(f'Parser key "{keys[-1]}"') :]
    given = GIVEN.search(inner)
    value = _shown(given.group(1)) if given else "what was given"
    if found := UNKNOWN_OPTION.search(inner):
        classes, option = CLASS.findall(message), found.group(1)
        known = _parameters(classes[-1]) if classes else []
        of = f" of {classes[-1].rpartition('.')[2]}" if classes else ""
        return f"There is no option {name}.{option}{of}; {_meant(option, known, f'{name}.')}"
    if found := UNKNOWN_CLASS.search(inner):
        bases = [base for base in SUBTYPE.findall(inner) if not base.startswith("typing.")]
        known = [one for base in bases for one in _subclasses(base)] or _public()
        wrong = found.group(1)
        return f"There is no class {wrong} for {name}; {_meant(wrong.rpartition('.')[2], known)}"
    if found := NO_ATTRIBUTE.search(inner):
        module, wrong = found.groups()
        return f"There is no {module}.{wrong} for {name}; {_meant(wrong, _names_of(module), f'{module}.')}"
    kinds = [kind for kind in EXPECTED.findall(inner) if "NoneType" not in kind]
    choices = [choice for kind in kinds for choice in re.findall(r"'([^']+)'", kind) if kind.startswith("typing")]
    if choices:
        close = get_close_matches(value, choices, 1)
        meant = f"; did you mean {close[0]}" if close else ""
        return f"{name} is {value}, but must be one of {', '.join(dict.fromkeys(choices))}{meant}."
    names = [KINDS.get(kind.split("'")[1], "") for kind in kinds]
    if kinds and all(names):
        return f"{name} is {value}, but must be {' or '.join(dict.fromkeys(names))}."
    return f"{name} cannot be {value}: {_reason(inner)}; change it."


def _reason(inner: str) -> str:
    """The first error of a block that says more than a type."""
    lines = [line.strip().lstrip("- ") for line in inner.splitlines()[1:]]
    told = [line for line in lines if line and not line.startswith(("Does not validate", "Subtypes", "Errors:", "Given",
            "Expected a <class 'NoneType'>", "Expected a path", "Parser key", "Problem with given"))]  # fmt: skip
    return _shown(told[0]).rstrip(".") if told else "it is of another type"


def _no_option(wrong: str, options: Sequence[str], verb: str) -> str:
    return f"{verb or 'This command'} has no option {wrong}; {_meant(wrong, options, help_of=verb)}"


def _unrecognized(words: str, options: Sequence[str], verb: str) -> str:
    first = words.split()[0] if words.split() else words
    if first.startswith("-"):
        return _no_option(first.lstrip("-").partition("=")[0], options, verb)
    return (
        f"{verb or 'This command'} takes no further word, but '{_shown(words)}' was given; leave it out, or put it "
        "into quotes with what it belongs to."
    )


def no_verb(wrong: str, verbs: Sequence[str]) -> str:
    """The sentence for a verb that is none of those that there are."""
    close = get_close_matches(wrong, verbs, 1)
    return f"There is no verb {wrong or 'without a name'}; " + (
        f"did you mean {close[0]}?" if close else f"there are {', '.join(verbs)}."
    )


def _no_choice(option: str, wrong: str, known: str) -> str:
    choices = [choice.strip(" '") for choice in known.split(",")]
    return f"{option} cannot be {wrong or 'empty'}; {_meant(wrong, choices)}"


def _needed(names: str, verb: str, message: str) -> str:
    if classes := CLASS.findall(message.partition("the following arguments are required")[0]):
        of_class = ".".join(key for key in KEY.findall(message) if key)
        listed = " and ".join(f"{of_class}.{name.strip().lstrip('-')}" for name in names.split(","))
        return f"{classes[-1].rpartition('.')[2]} needs {listed}; give it a value."
    missing = [name.strip().lstrip("-").removeprefix(f"{verb}.") for name in names.split(",")]
    told = [NEEDED.get(name, f"--{name}") for name in missing]
    or_config = ", or a --config that has it" if {"data", "model.checkpoint"} & set(missing) else ""
    return f"{verb or 'This command'} needs {' and '.join(told)}{or_config}."


def _meant(wrong: str, known: Sequence[str], prefix: str = "", help_of: str = "") -> str:
    """The end of a sentence: what may have been meant, or what there is."""
    last = wrong.rpartition(".")[2]
    close = [one for one in known if one.lower() == last.lower()][:1]
    close = close or get_close_matches(wrong, known, 1) or get_close_matches(last, known, 1, 0.6)
    if not close:
        close = [one for one in known if one.rpartition(".")[2] == last][:1]
    if close:
        return f"did you mean {prefix}{close[0]}?"
    if known and len(known) <= 40:
        return f"there are {', '.join(sorted(known))}."
    return f"`selectune {help_of} --help.all` names all." if help_of else "name one that there is."


def _parameters(path: str) -> list[str]:
    """Names of the arguments of a class, those of its bases included."""
    try:
        module, _, name = path.rpartition(".")
        made = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return []
    kinds = ("self", "args", "kwargs")
    found = [one for base in made.__mro__ if "__init__" in vars(base) for one in signature(base.__init__).parameters]
    return [one for one in dict.fromkeys(found) if one not in kinds]


def _subclasses(path: str) -> list[str]:
    """Names of the classes that inherit from one and can be used under a short name."""
    try:
        module, _, name = path.rpartition(".")
        waiting, found = [getattr(import_module(module), name)], []
    except (ImportError, AttributeError, ValueError):
        return []
    while waiting:
        one = waiting.pop()
        found += [sub.__name__ for sub in one.__subclasses__() if not sub.__name__.startswith("_")]
        waiting += one.__subclasses__()
    return sorted(set(found))


def _public() -> list[str]:
    return list(sys.modules[__name__.partition(".")[0]].__all__)


def _names_of(module: str) -> list[str]:
    return [name for name in dir(import_module(module)) if name[:1].isupper()]


def _shown(text: str) -> str:
    return shorten(" ".join(text.split()), LONGEST, placeholder=" ...")
