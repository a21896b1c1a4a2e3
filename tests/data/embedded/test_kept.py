"""The embedded corpus and its model are made again where a file of theirs in the cache is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from selectune.data.embedded import docstrings, tiny_bert
from selectune.data.embedded.kept import sums_of
from tests.data.embedded.conftest import FEW

SMALL = {"vocabulary": 300, "layers": 1, "hidden": 32}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


def altered(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, altered, Path.unlink])
@pytest.mark.parametrize("name", ["train.parquet", "corpus.json", "sums.json"])
def test_a_damaged_corpus_is_made_again(name: str, damage: Callable[[Path], None], tmp_path: Path, site: Path) -> None:
    made = docstrings(tmp_path, [site], **FEW)
    sums = sums_of(made)
    damage(made / name)
    assert docstrings(tmp_path, [site], **FEW) == made
    assert sums_of(made) == sums
    assert [path.name for path in made.parent.iterdir()] == [made.name], "nothing is left beside it"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_model_is_made_again(name: str, corpus: Path, tmp_path: Path) -> None:
    made = tiny_bert(tmp_path, corpus, **SMALL)
    sums = sums_of(made)
    altered(made / name)
    assert tiny_bert(tmp_path, corpus, **SMALL) == made
    assert sums_of(made) == sums
