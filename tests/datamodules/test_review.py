"""A review of a pool: rows that are dropped, kept or relabelled before anything is selected or trained."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import ClassLabel, Dataset

from selectune import LanguageModeling, TextClassification
from selectune.common.errors import DataError, EmptyDataError
from selectune.datamodules import QuestionAnswering
from selectune.datamodules.base import SelectionDataModule
from tests.conftest import Here, manifest_of, sentences, write_split
from tests.mistakes import mistake, names, warned
from tests.squad_data import squad_rows, write_squad

pytestmark = pytest.mark.filterwarnings("ignore:The review .* dropped")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 rows of two classes, named by words."""
    folder = tmp_path_factory.mktemp("reviews")
    for split, n, seed in (("train", 60, 1), ("test", 20, 2)):
        texts, labels = sentences(n, seed)
        write_split(folder / f"{split}.parquet", texts, ["good" if label else "bad" for label in labels])  # type: ignore[misc]
    return folder


def loaded(folder: Path, review: Path | None = None, **options: Any) -> TextClassification:
    data = TextClassification(str(folder), seed=0, review=None if review is None else str(review), **options)
    data.load()
    return data


def lines(*decided: tuple[Any, Any, Any]) -> list[dict[str, Any]]:
    return [dict(zip(("row_id", "action", "label"), each)) for each in decided]


def written(file: Path, content: list[dict[str, Any]], fingerprint: str | None = None) -> Path:
    """The lines as a file of the kind that its name says."""
    if file.suffix == ".parquet":
        columns = {name: [line[name] for line in content] for name in content[0]}
        metadata = {} if fingerprint is None else {"pool_fingerprint": fingerprint}
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), file)
    elif file.suffix == ".csv":
        with file.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(content[0]))
            writer.writeheader()
            writer.writerows(content)
    else:
        file.write_text("".join(json.dumps(line) + "\n" for line in content))
    return file


def texts_and_labels(data: SelectionDataModule) -> list[tuple[str, Any]]:
    assert list(data.splits["train"]["text"]) == [text for (text,) in data.pool.texts()]
    numbers = data.labels["train"].tolist()
    assert [data.label_names[number] for number in numbers] == list(map(str, data.splits["train"]["label"]))
    return list(zip(data.splits["train"]["text"], numbers))


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_review_drops_and_relabels_exactly_its_rows(reviews: Path, tmp_path: Path, kind: str) -> None:
    before = texts_and_labels(loaded(reviews))
    to = ["good" if before[row][1] == 0 else "bad" for row in (3, 7)]
    decided = lines(
        (3, "relabel", to[0]), (7, "relabel", to[1]), (11, "drop", None), (5, "keep", None), (6, None, None)
    )
    with warned(UserWarning, 1, len(before), 2):
        after = loaded(reviews, written(tmp_path / f"review.{kind}", decided))
    expected = [(text, 1 - label if row in (3, 7) else label) for row, (text, label) in enumerate(before) if row != 11]
    assert texts_and_labels(after) == expected
    plain = loaded(reviews)
    assert after.pool.source_rows.tolist() == np.delete(plain.pool.source_rows, 11).tolist()
    assert after.pool.fingerprint != plain.pool.fingerprint
    review = after.pool.review
    assert review is not None
    assert {name: review[name] for name in ("dropped", "relabelled", "kept")} == {
        "dropped": 1, "relabelled": 2, "kept": 1,
    }  # fmt: skip
    for split in ("dev", "test"):
        assert after.splits[split]["text"][:] == plain.splits[split]["text"][:]


def test_the_reviewed_pool_is_the_one_that_the_mended_file_gives(tmp_path: Path) -> None:
    texts, labels = sentences(30, seed=4)
    for split in ("validation", "test"):
        write_split(tmp_path / "old" / f"{split}.parquet", *sentences(9, seed=5))
        write_split(tmp_path / "new" / f"{split}.parquet", *sentences(9, seed=5))
    write_split(tmp_path / "old" / "train.parquet", texts, labels)
    mended = [1 - label if row == 2 else label for row, label in enumerate(labels)]
    write_split(tmp_path / "new" / "train.parquet", texts[:8] + texts[9:], mended[:8] + mended[9:])
    review = written(tmp_path / "r.csv", lines((8, "drop", ""), (2, "relabel", 1 - labels[2])))
    assert loaded(tmp_path / "old", review).pool.fingerprint == loaded(tmp_path / "new").pool.fingerprint


@pytest.mark.parametrize("decided", [[(3, "keep", None)], [(3, None, None), (4, "", "good")], [(0, "relabel", "same")]])
def test_what_changes_nothing_leaves_the_pool_as_it_is(reviews: Path, tmp_path: Path, decided: list) -> None:
    plain = loaded(reviews)
    same = plain.splits["train"]["label"][0]
    content = lines(*((row, action, same if label == "same" else label) for row, action, label in decided))
    after = loaded(reviews, written(tmp_path / "r.parquet", content))
    assert texts_and_labels(after) == texts_and_labels(plain)
    assert after.pool.fingerprint == plain.pool.fingerprint


def test_the_label_may_be_the_number_of_a_class_that_has_one(tmp_path: Path) -> None:
    texts, labels = sentences(40, seed=3)
    for split in ("train", "test"):
        dataset = Dataset.from_dict({"text": texts, "label": labels}).cast_column(
            "label", ClassLabel(names=["no", "yes"])
        )
        (tmp_path / "data").mkdir(exist_ok=True)
        dataset.to_parquet(tmp_path / "data" / f"{split}.parquet")
    before = loaded(tmp_path / "data")
    old = before.labels["train"]
    decided = lines((0, "relabel", "yes" if old[0] == 0 else "no"), (1, "relabel", str(1 - old[1])))
    after = loaded(tmp_path / "data", written(tmp_path / "r.jsonl", decided))
    assert np.flatnonzero(after.labels["train"] != old).tolist() == [0, 1]
    assert after.splits["train"]["label"][:] == after.labels["train"].tolist()
    assert after.splits["train"].features["label"].names == ["no", "yes"]


def test_numbers_that_are_learned_are_relabelled_too(tmp_path: Path) -> None:
    texts, _ = sentences(40, seed=3)
    for split in ("train", "test"):
        write_split(tmp_path / "data" / f"{split}.parquet", texts, [i / 4 for i in range(40)])  # type: ignore[misc]
    before = loaded(tmp_path / "data", regression=True)
    review = written(tmp_path / "r.csv", lines((2, "relabel", "77.5")))
    after = loaded(tmp_path / "data", review, regression=True)
    assert after.labels["train"][2] == after.splits["train"]["label"][2] == 77.5
    assert np.flatnonzero(after.labels["train"] != before.labels["train"]).tolist() == [2]
    with mistake(DataError, "much", option="data.review"):
        loaded(tmp_path / "data", written(tmp_path / "s.csv", lines((2, "relabel", "much"))), regression=True)


def test_several_lines_of_a_row_may_say_the_same_or_nothing(reviews: Path, tmp_path: Path) -> None:
    decided = lines((4, "drop", None), (4, None, None), (4, " Drop ", None))
    after = loaded(reviews, written(tmp_path / "r.csv", decided))
    assert len(after.pool) == len(loaded(reviews).pool) - 1


def test_a_review_of_another_pool_is_refused(reviews: Path, tmp_path: Path) -> None:
    fingerprint = loaded(reviews).pool.fingerprint
    review = written(tmp_path / "findings.parquet", lines((3, "drop", None)), fingerprint)
    assert len(loaded(reviews, review).pool) == len(loaded(reviews).pool) - 1
    with mistake(DataError, 30, fingerprint[:12], option="data.review", path=review):
        loaded(reviews, review, max_train_rows=30)


@pytest.mark.parametrize(
    ("decided", "named", "rows"),
    [
        ([(3, "remove", None)], ["remove", "relabel", 3], [3]),
        ([(3, "relabel", "superb")], ["superb", "bad", "good"], []),
        ([(3, "relabel", None)], [3], [3]),
        ([(54, "drop", None)], [54, 53], []),
        ([(-1, "drop", None)], [53], []),
        ([("three", "drop", None)], ["'three'", 53], []),
        ([(3, "drop", None), (3, "keep", None)], [3], [3]),
        ([(3, "relabel", "good"), (3, "relabel", "bad")], [3], [3]),
    ],
)
def test_a_review_that_cannot_be_followed_is_refused(
    reviews: Path, tmp_path: Path, decided: list, named: list, rows: list[int]
) -> None:
    with mistake(DataError, "r.csv" if named[0] else "", *named, option="data.review", rows=rows):
        loaded(reviews, written(tmp_path / "r.csv", lines(*decided)))


def test_files_that_are_no_review_are_refused(reviews: Path, tmp_path: Path) -> None:
    with mistake(DataError, "none.csv", option="data.review", path=tmp_path / "none.csv"):
        loaded(reviews, tmp_path / "none.csv")
    (tmp_path / "r.xlsx").write_text("")
    with mistake(DataError, "r.xlsx", option="data.review"):
        loaded(reviews, tmp_path / "r.xlsx")
    for name in ("row_id", "action"):
        content = [{other: 1 for other in ("row_id", "action", "score") if other != name}]
        for kind in ("csv", "parquet", "jsonl"):
            with mistake(DataError, name, f"lacks.{kind}", option="data.review"):
                loaded(reviews, written(tmp_path / f"lacks.{kind}", content))
    for name, content in (
        ("torn.parquet", b"PAR1"),
        ("torn.jsonl", b'{"row_id": 1'),
        ("bytes.csv", b"row_id,action\n\xff"),
    ):
        (tmp_path / name).write_bytes(content)
        with mistake(DataError, name, option="data.review"):
            loaded(reviews, tmp_path / name)


def test_a_review_that_drops_everything_is_refused(reviews: Path, tmp_path: Path) -> None:
    n_rows = len(loaded(reviews).pool)
    review = written(tmp_path / "r.jsonl", lines(*((row, "drop", None) for row in range(n_rows))))
    with mistake(EmptyDataError, n_rows, option="data.review"):
        loaded(reviews, review)


def test_rows_without_a_label_can_be_dropped_but_not_relabelled(reviews: Path, tmp_path: Path) -> None:
    dropping, labelling = (
        written(tmp_path / f"{i}.csv", lines(one)) for i, one in enumerate([(1, "drop", ""), (1, "relabel", "x")])
    )
    squad = write_squad(tmp_path / "squad", squad_rows(24, seed=1), squad_rows(8, seed=2))
    modules = {
        "QuestionAnswering": lambda **review: QuestionAnswering(str(squad), seed=0, **review),
        "LanguageModeling": lambda **review: LanguageModeling(str(reviews), seed=0, **review),
    }
    for name, module in modules.items():
        plain, dropped = module(), module(review=str(dropping))
        plain.load()
        dropped.load()
        assert dropped.pool.texts() == plain.pool.texts()[:1] + plain.pool.texts()[2:]
        with mistake(DataError, name, option="data.review"):
            module(review=str(labelling)).load()


def test_a_fit_trains_on_the_reviewed_rows_and_says_so(here: Here, selecting: list[str], tmp_path: Path) -> None:
    review = written(
        tmp_path / "my review.csv", lines((0, "drop", ""), (1, "drop", ""), (2, "relabel", 1), (3, "relabel", 0))
    )
    with warned(UserWarning, "my review.csv", 2):
        here("fit", *selecting, "--data.review", review, "--trainer.max_epochs", "1", "--output", "run")
    manifest = manifest_of(tmp_path / "run")
    assert manifest["pool_rows"] == 216 - 2
    said = manifest["review"]
    assert (said["file"], said["dropped"], said["rows_before"]) == (str(review), 2, 216)
    assert 0 < said["relabelled"] <= 2
    assert len(said["hash"]) == 32
    # a fit without a selector has no manifest, but says so too
    plain = selecting[: selecting.index("--data.selector")]
    with warned(UserWarning, "my review.csv", 2):
        told = here("fit", *plain, "--data.review", review, "--trainer.max_epochs", "1", "--output", "plain")
    assert not (tmp_path / "plain" / "selection").exists()
    assert json.loads((tmp_path / "plain" / "review.json").read_text()) == said
    for text in (told, (tmp_path / "plain" / "report.html").read_text()):
        assert names(" ".join(text.split()), "my review.csv", 216, 2)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["data"]["init_args"]["review"] == str(review)
    # the same review in another file gives the same pool, so the selection is valid; another review does not
    again = written(tmp_path / "r.jsonl", lines((0, "drop", ""), (1, "drop", ""), (2, "relabel", 1), (3, "relabel", 0)))
    reused = [*selecting[: selecting.index("--data.selector")], "--data.selection", "run"]
    here("select", *reused, "--data.review", again, "--output", "same")
    told = here("select", *reused, "--output", "other", code=2)
    assert names(told, manifest["pool_fingerprint"][:12])


def test_a_review_inside_the_run_is_not_overwritten(here: Here, selecting: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("{}")
    review = written(run / "findings.parquet", lines((0, "drop", None)))
    told = here("fit", *selecting, "--data.review", review, "--output", run, "--overwrite", code=2)
    assert names(told, "--overwrite")
    assert review.is_file()
