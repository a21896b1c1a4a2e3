"""A folder of made-up packages, as pip would have installed them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from selectune.data.embedded import docstrings

FEW = {"at_least": 40, "at_most": 100}  # small bounds for small packages
VERBS = ["compute", "return", "fit", "draw", "sort", "merge", "split", "encode", "parse", "cache", "resolve", "sample"]
NOUNS = ["array", "frame", "axis", "kernel", "graph", "node", "metric", "loss", "batch", "token", "layer", "index"]


def install(root: Path, name: str, files: Mapping[str, str], version: str = "1.0", record: bool = True) -> None:
    """Write the files of a distribution and what importlib.metadata reads of it."""
    for path, source in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(source)
    about = root / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if record:
        (about / "RECORD").write_text("".join(f"{path},,\n" for path in files))


def module(name: str, docs: list[str]) -> str:
    """Source of a module with the docstrings; importing it is an error."""
    methods = "".join(f'    def method_{i}(self):\n        """{doc}"""\n' for i, doc in enumerate(docs[1:]))
    return f'"""{docs[0]}"""\nraise ImportError("{name} was imported")\nclass Thing:\n{methods or "    pass"}\n'


def prose(seed: str, count: int, length: int = 20) -> list[str]:
    """Docstrings that differ by their words; every third names `seed`, their library."""
    rng = random.Random(seed)
    own = rng.sample(NOUNS, 6)
    texts = []
    for i in range(count):
        words = [rng.choice(VERBS if k % 4 == 0 else own) + rng.choice(["", "s", "ing"]) for k in range(length)]
        if i % 3 == 0:
            words[2:2] = ["see", f":class:`~{seed}.core.Thing`", "or", f">>> import {seed.upper()} as x"]
        texts.append(f"{' '.join(words)} {i}")
    return texts


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Three packages with enough docstrings, one with too few, and pip."""
    root = tmp_path / "site-packages"
    for name, count in {"numpy": 130, "alpha-lib": 90, "jax": 60, "small": 20, "pip": 80}.items():
        top = name.replace("-", "_")
        docs = prose(top, count)
        install(
            root, name, {f"{top}/__init__.py": module(top, docs[:10]), f"{top}/sub/core.py": module(top, docs[10:])}
        )
    return root


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of two libraries."""
    root, cache = tmp_path_factory.mktemp("site") / "site-packages", tmp_path_factory.mktemp("cache")
    for name in ("first", "second"):
        install(root, name, {f"{name}.py": module(name, prose(name, 120))})
    return docstrings(cache, [root], **FEW)
