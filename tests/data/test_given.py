"""A data set in each form that it may be given in: the same rows, whatever they are written in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest

from selectune import LanguageModeling, QuestionAnswering, TextClassification
from selectune.common.errors import DataError, EmptyDataError
from selectune.data.data_files import FileFormat
from selectune.data.given import load_data
from selectune.data.needs import Need, needs_of
from selectune.data.sources import find_data
from selectune.data.texts import Texts
from tests.conftest import Here, sentences, write_split
from tests.mistakes import mistake, names

TEXTS, NUMBERS = sentences(40, seed=7)
LABELS = [("poor", "5 stars, all told")[number] for number in NUMBERS]
FRAME = pd.DataFrame({"text": TEXTS, "label": LABELS})
CSV = FRAME.to_csv(index=False)
JSONL = FRAME.to_json(orient="records", lines=True)
WRITTEN = {
    "csv": CSV,
    "tsv": FRAME.to_csv(index=False, sep="\t"),
    "json": FRAME.to_json(orient="records"),
    "jsonl": JSONL,
    "txt": "\n\n".join(TEXTS) + "\n",  # blank lines are no rows
}


def written(folder: Path, kind: str, compressed: bool) -> Path:
    content = WRITTEN[kind].encode()
    file = folder / f"rows.{kind}{'.gz' if compressed else ''}"
    file.write_bytes(gzip.compress(content) if compressed else content)
    return file


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", WRITTEN)
def test_a_file_has_the_same_rows_in_every_form(kind: str, compressed: bool, tmp_path: Path) -> None:
    file = written(tmp_path, kind, compressed)
    found = find_data(str(file))
    assert found.described == f"file:{file.name} (40 rows)"
    rows = found.splits["train"]
    assert rows["text"][:] == TEXTS
    assert kind == "txt" or rows["label"][:] == LABELS
    folder = tmp_path / "folder"
    for split in ("train", "test"):
        folder.mkdir(exist_ok=True)
        (folder / file.name.replace("rows", split)).write_bytes(file.read_bytes())
    assert {name: split["text"][:] for name, split in find_data(str(folder)).splits.items()} == {
        "train": TEXTS, "test": TEXTS,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "kind", "named"),
    [
        ("rows.csv.gz", CSV.encode(), DataError, ["gzip"]),
        ("rows.txt.gz", gzip.compress(b"a line\n" * 999)[:-9], DataError, ["could not be read"]),
        ("rows.txt", b"", EmptyDataError, ["rows.txt"]),
        ("rows.txt", b"caf\xe9\n", DataError, ["--data.encoding", "cp1252"]),
        ("rows.txt", "café\n".encode("utf-16"), DataError, ["--data.encoding utf-16"]),
        ("rows.txt.gz", gzip.compress("café\n".encode("utf-16")), DataError, ["--data.encoding utf-16"]),
        ("rows.parquet.gz", gzip.compress(b"PAR1"), DataError, ["compressed"]),
    ],
    ids=["no gzip", "cut gzip", "empty", "latin-1", "utf-16", "utf-16 in gzip", "a binary in gzip"],
)
def test_what_is_wrong_with_a_file_is_told(
    name: str, content: bytes, kind: type[DataError], named: list[str], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with mistake(kind, tmp_path / name, *named):
        find_data(str(tmp_path / name))


def test_lines_of_blanks_alone_are_no_rows_and_an_encoding_is_an_option(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_bytes("café\r\n \n\u2028ok\n".encode("utf-16"))
    found = find_data(str(tmp_path / "rows.txt"), how=FileFormat(encoding="utf-16")).splits["train"]
    assert found["text"][:] == ["café", "\u2028ok"]
    (tmp_path / "blank.txt").write_text(" \n\n")
    with mistake(EmptyDataError, "blank.txt"):
        LanguageModeling(str(tmp_path / "blank.txt")).load()


def test_texts_by_the_line_are_a_pool_of_a_language_model_and_its_target(tmp_path: Path) -> None:
    files = [str(written(tmp_path, "txt", compressed)) for compressed in (False, True)]
    data = LanguageModeling(files, target=Texts(files[0]), max_train_rows=60, seed=0)
    data.load()
    assert len(data.pool) == 60
    assert data.pool.domain_names == ("rows (1)", "rows (2)")
    with mistake(DataError, "'label'", "text"):
        TextClassification(files[0]).load()


def test_a_pool_of_lines_says_which_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(WRITTEN["txt"])
    (tmp_path / "b.txt").write_text("\n" + WRITTEN["txt"])
    lines = {name: (tmp_path / f"{name}.txt").read_text().splitlines() for name in ("a", "b")}
    for given in ("a", "b"):
        data = LanguageModeling(str(tmp_path / f"{given}.txt"), seed=1)
        data.load()
        assert [lines[given][row] for row in data.pool.source_rows] == [text for (text,) in data.pool.texts()]
    several = LanguageModeling([str(tmp_path / "a.txt"), Texts(str(tmp_path / "b.txt"), max_rows=9)], seed=1)
    several.load()
    assert several.pool.domains is not None
    for (text,), domain, row in zip(several.pool.texts(), several.pool.domains, several.pool.source_rows):
        assert lines[several.pool.domain_names[domain]][row] == text


def test_several_files_are_one_data_set_in_their_order(tmp_path: Path) -> None:
    files = [str(written(tmp_path, kind, kind == "jsonl")) for kind in ("csv", "jsonl", "tsv")]
    FRAME[["label", "text"]].to_parquet(tmp_path / "more.parquet")
    found = load_data([*files, str(tmp_path / "more.parquet")])
    assert found.described == "files:rows.csv + rows.jsonl.gz + rows.tsv + more.parquet (160 rows)"
    assert found.splits["train"]["text"][:] == TEXTS * 4
    assert found.splits["train"]["label"][:] == LABELS * 4
    data = TextClassification(files)
    data.load()
    assert list(data.label_names) == ["5 stars, all told", "poor"]
    assert needs_of([{"data": {"init_args": {"dataset": files}}}]) == [Need("data", file) for file in files]


@pytest.mark.parametrize("values", [[1, 2], [1.0, 2.0], [True, False], ["poor", "5 stars"]])
def test_files_of_two_kinds_have_one_set_of_classes(values: list[Any], tmp_path: Path) -> None:
    rows = pd.DataFrame({"text": TEXTS, "label": [values[number] for number in NUMBERS]})
    rows.to_csv(tmp_path / "a.csv", index=False)
    rows.to_json(tmp_path / "b.jsonl", orient="records", lines=True)
    rows.assign(label=rows["label"].where(rows["text"] != TEXTS[0])).to_parquet(tmp_path / "c.parquet")
    named = datasets.Dataset.from_dict({"text": TEXTS, "label": NUMBERS}).cast_column(
        "label", datasets.ClassLabel(names=[str(value) for value in values])
    )
    named.to_parquet(str(tmp_path / "d.parquet"))
    data = TextClassification([str(tmp_path / name) for name in ("a.csv", "b.jsonl", "d.parquet")], seed=0)
    data.load()
    assert len(data.label_names) == 2
    of_texts = dict(zip(TEXTS, NUMBERS))
    pairs = {(of_texts[text], number) for (text,), number in zip(data.pool.texts(), data.labels["train"].tolist())}
    assert len(pairs) == 2, "a class in one file is the same class in the others"
    missing = load_data([str(tmp_path / name) for name in ("a.csv", "c.parquet")]).splits["train"]["label"][:]
    assert [row for row, label in enumerate(missing) if label is None] == [
        40 + row for row, text in enumerate(TEXTS) if text == TEXTS[0]
    ]


def test_files_that_do_not_agree_are_told(tmp_path: Path) -> None:
    csv = str(written(tmp_path, "csv", False))
    (tmp_path / "other.csv").write_text("text,klass\na,b\n")
    with mistake(DataError, tmp_path / "other.csv", csv, "klass"):
        load_data([csv, str(tmp_path / "other.csv")])
    (tmp_path / "lists.jsonl").write_text(json.dumps({"text": "a", "label": [1]}) + "\n")
    with mistake(DataError, "'label'", "lists", "string"):
        load_data([csv, str(tmp_path / "lists.jsonl")])
    for given, kind, named in (
        ([], EmptyDataError, "data.dataset"),
        ([csv, "nowhere.csv"], DataError, "nowhere.csv"),
        ([csv, "org/name"], DataError, "'org/name'"),
        ([csv, 3], DataError, "'3'"),
    ):
        with mistake(kind, named):
            load_data(given)  # type: ignore[arg-type]


def in_memory() -> dict[str, Any]:
    whole = datasets.Dataset.from_pandas(FRAME)
    coded = whole.class_encode_column("label")
    return {
        "frame": FRAME,
        "frame of its own index": FRAME.set_index(pd.Index(range(100, 140))),
        "categories": FRAME.astype({"label": "category"}),
        "data set": whole,
        "in another format": whole.with_format("numpy"),
        "rows by their positions": whole.select(range(39, -1, -1)).select(range(39, -1, -1)),
        "numbered classes": coded,
        "splits": datasets.DatasetDict({"train": whole}),
    }


@pytest.mark.parametrize("form", in_memory())
def test_rows_in_memory_are_those_of_a_file(form: str, tmp_path: Path) -> None:
    def loaded(given: Any) -> tuple[Any, ...]:
        data = TextClassification(given, seed=3)
        data.load()
        rows = {name: (split["text"][:], data.labels[name].tolist()) for name, split in data.splits.items()}
        return list(data.label_names), rows

    assert loaded(in_memory()[form]) == loaded(str(written(tmp_path, "csv", False)))


def test_splits_in_memory_keep_their_names() -> None:
    whole = datasets.Dataset.from_pandas(FRAME)
    given = datasets.DatasetDict({"train": whole, "validation": whole.select(range(9)), "test": whole.select([1, 3])})
    data = TextClassification(given)
    data.load()
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 40, "dev": 9, "test": 2}
    assert data.pool.source == "memory:DatasetDict (40 rows)"


def test_every_task_takes_rows_in_memory() -> None:
    texts = LanguageModeling(FRAME[["text"]])
    texts.load()
    assert len(texts.pool) == 33
    several = LanguageModeling([Texts(FRAME), Texts(FRAME)])
    several.load()
    assert several.pool.domain_names == ("the DataFrame (1)", "the DataFrame (2)")
    context = "cat and dog"
    rows = {"id": str, "question": "who {}".format, "context": lambda _: context, "answers": lambda _: {
        "text": ["dog"], "answer_start": [8]}}  # fmt: skip
    asked = QuestionAnswering(datasets.Dataset.from_list([{k: make(i) for k, make in rows.items()} for i in range(30)]))
    asked.load()
    assert len(asked.pool) == 25


FRAMES: dict[str, tuple[Callable[[], Any], type[DataError], list[object]]] = {
    "a number": (lambda: 3, DataError, ["int", "DataFrame"]),
    "a stream": (lambda: datasets.Dataset.from_pandas(FRAME).to_iterable_dataset(), DataError, ["IterableDataset"]),
    "no split": (lambda: datasets.DatasetDict(), EmptyDataError, ["DatasetDict"]),
    "numbered columns": (lambda: pd.DataFrame([["a", "b"]]), DataError, [0]),
    "a column twice": (lambda: pd.concat([FRAME, FRAME], axis=1), DataError, ["'text'"]),
    "mixed types": (lambda: FRAME.assign(more=[1, *"a" * 39]), DataError, ["ArrowInvalid", "more"]),
    "no rows": (lambda: FRAME[:0], EmptyDataError, ["memory:DataFrame"]),
    "no such column": (lambda: FRAME.rename(columns={"text": "body"}), DataError, ["'text'", "body"]),
}


@pytest.mark.parametrize("case", FRAMES)
def test_what_is_wrong_with_rows_in_memory_is_told(case: str) -> None:
    make, kind, named = FRAMES[case]
    with mistake(kind, *named):
        TextClassification(make()).load()


@pytest.mark.parametrize("option", ["config_name", "revision", "local_name"])
def test_an_option_of_a_name_is_refused_beside_rows(option: str) -> None:
    with mistake(DataError, "DataFrame", option=f"data.{option}"):
        TextClassification(FRAME, **{option: "x"}).load()


def test_the_command_line_takes_files(here: Here, model_folder: Path, tmp_path: Path) -> None:
    write_split(tmp_path / "a.parquet", TEXTS, NUMBERS)
    (tmp_path / "b.jsonl").write_text(
        "".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in zip(TEXTS, NUMBERS))
    )
    told = here(
        "select", "--data", "TextClassification", "--data.dataset", "[a.parquet, b.jsonl]", "--data.max_length", "32",
        "--data.selector", "Random", "--data.keep_rows", "5", "--model.checkpoint", model_folder, "--output", "run",
        "--trainer.accelerator", "cpu",
    )  # fmt: skip
    assert names(told, "selected 5 of 65 rows")
    manifest = json.loads((tmp_path / "run" / "selection" / "manifest.json").read_text())
    assert manifest["source"] == "files:a.parquet + b.jsonl (80 rows)"
