"""Pools of several data sets, and the targets that they are compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selectune.common.errors import BadRowsError, DataError, EmptyDataError
from selectune.data.pool import Pool
from selectune.data.splits import even_sample
from selectune.data.texts import Texts
from selectune.datamodules import LanguageModeling, TextClassification
from selectune.selectors import Nearest
from tests.conftest import sentences
from tests.mistakes import mistake, warned


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Files of 100, 40 and 20 texts, the last in a column of another name."""
    files = []
    for number, (size, column) in enumerate([(100, "text"), (40, "text"), (20, "body")]):
        files.append(tmp_path / f"part{number}.parquet")
        texts = [" ".join(f"d{number}{word}" for word in text.split()) for text in sentences(size, number)[0]]
        pq.write_table(pa.table({column: texts}), files[-1])
    return files


def module(files: list[Path], **arguments: object) -> LanguageModeling:
    parts = [str(files[0]), Texts(str(files[1])), Texts(str(files[2]), text_column="body")]
    made = LanguageModeling(parts, seed=0, **arguments)  # type: ignore[arg-type]
    made.load()
    return made


def test_rows_know_their_data_set_and_their_place_in_it(three: list[Path]) -> None:
    pool = module(three).pool
    assert pool.domain_names == ("part0", "part1", "part2")
    assert pool.domains is not None
    sources = [pq.read_table(file).column(0).to_pylist() for file in three]
    for (text,), domain, place in zip(pool.texts(), pool.domains, pool.source_rows):
        assert text.startswith(f"d{domain}")
        assert sources[domain][place] == text
    assert all(name in pool.source for name in ("part0", "part1", "part2"))
    taken = pool.take(np.array([5, 3]))
    assert taken.domains is not None
    assert taken.domains.tolist() == pool.domains[[5, 3]].tolist()


@pytest.mark.parametrize("arguments", [{}, {"window": 20, "window_unit": "characters"}])
def test_a_sample_is_even_over_data_sets(three: list[Path], arguments: dict) -> None:
    pool = module(three, max_train_rows=30, **arguments).pool
    assert pool.domains is not None
    assert np.bincount(pool.domains).tolist() == [10, 10, 10]
    assert len(set(pool.texts())) == 30


@pytest.mark.parametrize("arguments", [{}, {"window": 20, "window_unit": "characters"}])
def test_dev_can_be_sampled_down(three: list[Path], arguments: dict) -> None:
    whole, fewer = module(three, **arguments), module(three, max_dev_rows=5, **arguments)
    assert len(fewer.splits["dev"]) == 5 < len(whole.splits["dev"])
    assert fewer.pool.texts() == whole.pool.texts(), "the pool is what it was"


def test_texts_of_two_data_sets_are_not_joined(three: list[Path]) -> None:
    pool = module(three, window=60, window_unit="characters", join=True).pool
    for (text,) in pool.texts():
        begins = {word[:2] for word in text.split()[1:-1]}  # the first and the last may be cut
        assert len(begins) == 1
    assert pool.last_source_rows is not None


def test_an_even_sample_fills_up() -> None:
    domains = np.repeat([0, 1, 2], [100, 10, 4])
    rows = even_sample(domains, 60, 0)
    assert len(set(rows.tolist())) == 60
    assert np.bincount(domains[rows]).tolist() == [46, 10, 4]
    assert len(even_sample(domains, 114, 0)) == 114


def target_of(data: LanguageModeling, outer: TextClassification | None = None) -> Pool:
    """The target that a selector would see."""
    data.selector = Nearest()
    request = data.request(outer=outer)
    assert request is not None
    assert request.target is not None
    return request.target


def test_targets(three: list[Path], data_folder: Path) -> None:
    task = TextClassification(str(data_folder), seed=0, max_train_rows=50)
    task.load()
    target = target_of(module(three, target="train"), task)
    assert target.texts() == task.pool.texts()
    assert len(target) == 50
    assert target.source.startswith("train of ")

    assert len(target_of(module(three))) == len(module(three).splits["dev"])
    several = target_of(module(three, target=[str(three[0]), Texts(str(three[2]), text_column="body")]))
    assert len(several) == 120
    assert several.domains is not None
    assert np.bincount(several.domains).tolist() == [100, 20]
    fewer = target_of(module(three, target=[str(three[0]), str(three[1])], max_target_rows=30))
    assert fewer.domains is not None
    assert np.bincount(fewer.domains).tolist() == [15, 15]
    again = target_of(module(three, target=[str(three[0]), str(three[1])], max_target_rows=30))
    assert fewer.fingerprint == again.fingerprint


def test_a_split_that_is_named_is_the_one_that_is_taken(three: list[Path]) -> None:
    with mistake(DataError, "'validation'", "train"):
        LanguageModeling([Texts(str(three[0]), split="validation")]).load()


def test_a_bare_name_has_the_column_of_the_data_module(three: list[Path]) -> None:
    made = LanguageModeling([str(three[2])], text_column="body", seed=0)
    made.load()
    assert made.pool.text_columns == ("body",)


def test_the_order_of_data_sets_is_part_of_a_pool(three: list[Path]) -> None:
    """The same texts in other data sets are another pool, as selectors tell data sets apart."""
    pool = module(three).pool
    assert pool.domains is not None
    assert replace(pool, domains=pool.domains[::-1].copy()).fingerprint != pool.fingerprint


def test_a_pair_can_be_the_target_of_a_warm_up(three: list[Path], tmp_path: Path) -> None:
    texts, labels = sentences(60, 9)
    pq.write_table(pa.table({"one": texts, "two": texts[::-1], "label": labels}), tmp_path / "pairs.parquet")
    task = TextClassification(str(tmp_path / "pairs.parquet"), text_column="one", pair_column="two", seed=0)
    task.load()
    assert len(target_of(module(three), task).texts()[0]) == 2, (
        "in a warm-up the target is the task's rows, unless it is named"
    )


def test_mistakes_are_reported(three: list[Path]) -> None:
    with mistake(DataError, option="data.target"):
        target_of(module(three, target="train"))
    with mistake(DataError, option="data.config_name"):
        module(three, config_name="en")
    with mistake(EmptyDataError):
        LanguageModeling([]).load()
    with mistake(DataError, "'text'", "body"):
        LanguageModeling([str(three[2])]).load()
    with mistake(DataError, 0, option="data.max_target_rows"):
        module(three, max_target_rows=0)


def test_rows_without_a_text_are_left_out_of_a_pool_of_texts(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "posts"
    folder.mkdir(parents=True)
    texts = ["a post", "", None, "another", "  ", "a third", "a fourth"]
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), folder / "train.parquet")
    with warned(UserWarning, "posts", "3 rows without a text"):
        split, rows, _ = Texts("posts").load(str(tmp_path / "root"), 0, "text")
    assert rows.tolist() == [0, 3, 5, 6]
    assert split["text"] == [texts[row] for row in rows]
    with warned(UserWarning, "3 rows"):
        some, places, _ = Texts("posts", max_rows=2).load(str(tmp_path / "root"), 0, "text")
    assert [texts[row] for row in places] == list(some["text"])
    pq.write_table(pa.table({"text": pa.array(["", None], pa.string())}), folder / "train.parquet")
    with mistake(BadRowsError, "posts", "2"):
        Texts("posts").load(str(tmp_path / "root"), 0, "text")
