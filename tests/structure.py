"""The structure of the package, read from its imports.

    python -m tests.structure            # this checkout
    python -m tests.structure ../other   # another one, such as one of an earlier commit

prints files, lines, AST statements, functions, imports between folders, and circles of them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

PACKAGE = "selectune"
# A folder imports from lower rungs only; `ONLY` narrows that further.
RUNGS: dict[str, float] = {
    "cli": 10,
    "verbs": 9,
    "pilot": 8.5,
    "tables": 8,
    "forecast": 8,
    "sharing": 8,
    "diagnose": 8,
    "runs": 7,
    "datamodules": 6,
    "evaluations": 6,
    "report": 6,
    "verdict": 5.5,  # the page shows it
    "selection": 5,
    "signals": 4,
    "lightning_modules": 3.5,  # the fine-tuner brings the callback that checks its training
    "callbacks": 3,
    "selectors": 2,
    "data": 2,
    "costs": 2,
    "common": 1,
}
ONLY = {"tables": {"runs", "report", "verdict", "costs", "common"}, "verdict": {"selection", "costs", "common"}}


class Import(NamedTuple):
    """An import of the package by itself: where it stands, from which folder to which, and of what module."""

    where: str
    source: str
    target: str
    module: str


def files_of(root: Path) -> list[Path]:
    """The Python files of the package in a checkout."""
    return sorted((root / PACKAGE).rglob("*.py"))


def dotted(file: Path, root: Path) -> str:
    """The name that a file is imported by."""
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def place(parts: tuple[str, ...]) -> str:
    """The folder below the package, or the module, that a dotted name belongs to; the package itself is empty."""
    return parts[1] if len(parts) > 1 else ""


def imports_of(root: Path) -> Iterator[Import]:
    """Every import of the package by itself, those inside functions and under ``TYPE_CHECKING`` included."""
    modules = {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for file in files_of(root)
    }
    for file in files_of(root):
        source = place(file.relative_to(root).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                named = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in modules else node.module for name in named]
            else:
                continue
            for name in dict.fromkeys(names):
                if name.split(".")[0] == PACKAGE:
                    yield Import(f"{file.relative_to(root)}:{node.lineno}", source, place(tuple(name.split("."))), name)


def climbing(root: Path) -> list[str]:
    """Imports that go to the same rung or a higher one, or where a folder must not import, a line each."""
    found = []
    for one in imports_of(root):
        if one.source == one.target or one.source == "__init__":
            continue
        source, target = RUNGS.get(one.source), RUNGS.get(one.target)
        allowed = ONLY.get(one.source)
        if source is None or target is None or target >= source or (allowed and one.target not in allowed):
            found.append(f"{one.where} imports {one.module}")
    return found


def circles(edges: set[tuple[str, str]]) -> list[list[str]]:
    """Groups of places that import each other, directly or not (strongly connected components of two and more)."""
    reach = {a: {a} for edge in edges for a in edge}
    for _ in reach:
        for a, b in edges:
            reach[a] |= reach[b]
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in reach}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def edges_between_modules(root: Path) -> set[tuple[str, str]]:
    """Pairs of files of which one imports the other at load time or for types; a file's own packages are left out."""
    modules, found = {dotted(file, root) for file in files_of(root)}, set()
    for file in files_of(root):
        own = dotted(file, root)
        body = ast.parse(file.read_text()).body
        blocks = [statement.body for statement in body if isinstance(statement, ast.If)]  # under TYPE_CHECKING
        for node in chain(body, *blocks):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{PACKAGE}."):
                named = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {(own, name if name in modules else node.module) for name in named}
    return {(own, other) for own, other in found if not own.startswith(f"{other}.")}


def levels(statements: list[ast.stmt]) -> int:
    """Levels of blocks in the body of a function; functions and classes inside it start anew, and so does ``elif``."""
    deepest = 0
    for statement in statements:
        if isinstance(statement, ast.If | ast.For | ast.While | ast.With | ast.Try):
            orelse = statement.orelse if isinstance(statement, ast.If | ast.For | ast.While | ast.Try) else []
            chained = isinstance(statement, ast.If) and len(orelse) == 1 and isinstance(orelse[0], ast.If)
            final = [] if not isinstance(statement, ast.Try) else statement.finalbody
            handled = [line for one in getattr(statement, "handlers", []) for line in one.body]
            inner = levels([*statement.body, *handled, *final, *([] if chained else orelse)])
            deepest = max(deepest, 1 + inner, levels(orelse) if chained else 0)
    return deepest


def counts(root: Path) -> dict[str, float | str]:
    """The numbers that this script prints, by name."""
    files = files_of(root)
    trees = [ast.parse(file.read_text()) for file in files]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    lengths = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]
    lines = {file: len(file.read_text().splitlines()) for file in files}
    between = {(one.source, one.target) for one in imports_of(root) if one.target and one.source != "__init__"}
    between = {(a, b) for a, b in between if a != b}
    longest = max(lines, key=lambda file: lines[file])
    return {
        "files": len(files),
        "files on the package's top floor": sum(file.parent.name == PACKAGE for file in files),
        "lines": sum(lines.values()),
        "AST statements": sum(isinstance(node, ast.stmt) for tree in trees for node in ast.walk(tree)),
        "functions": len(functions),
        "median lines of a function": median(lengths),
        "functions over 60 lines": sum(length > 60 for length in lengths),
        "functions over 4 levels": sum(levels(function.body) > 4 for function in functions),
        "files over 300 lines": sum(count > 300 for count in lines.values()),
        "longest file": f"{longest.relative_to(root)} ({lines[longest]})",
        "places (folders and loose modules)": len({place for edge in between for place in edge}),
        "imports between places": len(between),
        "circles of places": "; ".join(", ".join(group) for group in circles(between)) or "none",
    }


if __name__ == "__main__":
    checkout = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    for name, value in counts(checkout).items():
        print(f"{name:38} {value}")
