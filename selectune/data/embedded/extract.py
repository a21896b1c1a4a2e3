"""Print the docstrings of Python source files, without importing them. A worker process of `docstrings`.

    python -I extract.py < jobs.json

`jobs.json` is ``{"floor": words, "cap": words, "files": [path, ...]}``. For each file one line is printed: the JSON
list of its docstrings (module, classes, functions, methods), white space normalised, those under ``floor`` words left
out, the rest cut to ``cap`` words. A file that cannot be read or parsed gives an empty list.

It stands alone, on the standard library, and is run by path: a worker then neither forks a process that has threads
(torch), nor imports the user's ``__main__`` again.
"""

from __future__ import annotations

import ast
import gc
import json
import sys
import warnings
from collections.abc import Iterator


def docstrings_of(source: bytes) -> Iterator[str]:
    """Yield every docstring in ``source``, outermost first."""
    stack: list[ast.AST] = [ast.parse(source)]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            doc = ast.get_docstring(node, clean=False)
            if doc:
                yield doc
        # Definitions hide in blocks only: those of classes, functions, if, for, while, with, try and match.
        for field in ("orelse", "finalbody", "handlers", "cases", "body"):
            children = getattr(node, field, None)
            if isinstance(children, list):
                stack.extend(reversed(children))


def read(path: str, floor: int, cap: int) -> list[str]:
    """Return the docstrings of one file, or none when it is not Python that this interpreter parses."""
    try:
        with open(path, "rb") as file:
            # Lone surrogates, from escapes in a string, have no UTF-8.
            found = [doc.encode("utf-8", "replace").decode().split() for doc in docstrings_of(file.read())]
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [" ".join(words[:cap]) for words in found if len(words) >= floor]


def main() -> None:
    """Read the jobs from stdin, print one line a file."""
    gc.disable()  # syntax trees have no cycles; collecting costs a third of the time
    warnings.simplefilter("ignore")  # invalid escapes in other people's strings
    jobs = json.load(sys.stdin)
    for path in jobs["files"]:
        print(json.dumps(read(path, jobs["floor"], jobs["cap"])), flush=True)


if __name__ == "__main__":
    main()
