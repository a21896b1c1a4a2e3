"""The embedded corpus and its model are made again where a file of theirs in the cache is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from selectune.data.embedded import docstrings, tiny_bert
from tests.data.embedded.conftest import FEW

SMALL = {"vocabulary": 300, "layers": 1, "hidden": 32}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


def altered(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("damage", [cut, altered, Path.unlink])
@pytest.mark.parametrize("name", ["train.parquet", "test.parquet", "corpus.json", "sums.json"])
def test_a_damaged_corpus_is_made_again(name: str, damage: Callable[[Path], None], tmp_path: Path, site: Path) -> None:
    made = docstrings(tmp_path, [site], **FEW)
    before = contents(made)
    damage(made / name)
    assert docstrings(tmp_path, [site], **FEW) == made
    assert contents(made) == before
    assert [path.name for path in made.parent.iterdir()] == [made.name], "nothing is left beside it"


@pytest.mark.parametrize("damage", [cut, altered, Path.unlink])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_model_is_made_again(name: str, damage: Callable[[Path], None], corpus: Path, tmp_path: Path) -> None:
    made = tiny_bert(tmp_path, corpus, **SMALL)
    before = contents(made)
    damage(made / name)
    assert tiny_bert(tmp_path, corpus, **SMALL) == made
    assert contents(made) == before


def test_a_file_of_another_beside_them_is_left(corpus: Path, tmp_path: Path) -> None:
    made = tiny_bert(tmp_path, corpus, **SMALL)
    (made / ".nfs01").touch()
    assert tiny_bert(tmp_path, corpus, **SMALL) == made
    assert (made / ".nfs01").exists()
