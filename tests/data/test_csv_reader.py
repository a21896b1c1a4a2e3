"""Csv files: a field is the text that was written; an error names the line that is broken and the option for it."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from selectune.common.errors import DataError, EmptyDataError
from selectune.data.data_files import FileFormat
from selectune.data.sources import find_data
from tests.mistakes import mistake

ROWS = "text,label\nfine,a\npoor,b\n"


def read(file: Path, content: str | bytes, saved_in: str = "utf-8", /, **how: str) -> dict[str, list]:
    file.write_bytes(content if isinstance(content, bytes) else content.encode(saved_in))
    return find_data(str(file), how=FileFormat(**how)).splits["train"][:]


WORDS = ["null", "NULL", "NA", "N/A", "n/a", "None", "nan", "NaN", "#N/A", "-nan", "<NA>", "007", "1e5", "1.0",
         "True", "true", "-", "2020-01-01", " led by space",
         "emoji 😀", "nul \0 inside", "'single'", "x" * 200_000]  # fmt: skip


def test_a_field_is_the_text_that_was_written(tmp_path: Path) -> None:
    found = read(tmp_path / "words.csv", "text,label\n" + "".join(f"{word},{word}\n" for word in WORDS))
    assert found == {"text": WORDS, "label": WORDS}
    assert csv.field_size_limit() == 131072, "the limit of others is as it was"


def test_numbers_alone_are_texts_and_only_an_empty_field_is_missing(tmp_path: Path) -> None:
    assert read(tmp_path / "numbers.csv", "text,label\n1,2\n3,\n,4\n") == {
        "text": ["1", "3", None], "label": ["2", None, "4"],
    }  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines_quotes_and_blank_lines(end: str, tmp_path: Path) -> None:
    lines = ["text,label", 'fine,"a, or b"', '"two' + end + 'lines, ""quoted""",b', "", 'say "so" now,c', "", ""]
    found = read(tmp_path / "lines.csv", end.join(lines))
    assert found == {"text": ["fine", f'two{end}lines, "quoted"', 'say "so" now'], "label": ["a, or b", "b", "c"]}


@pytest.mark.parametrize(
    ("header", "row", "columns"),
    [
        (",text,label", "0,fine,a", ["text", "label"]),  # an index column
        ("text,label,,", "fine,a,,", ["text", "label"]),  # a spreadsheet's empty columns
        (" text, label ", "fine,a", ["text", "label"]),
        ("\ufefftext,label", "fine,a", ["text", "label"]),
        ('\ufeff"text",label', "fine,a", ["text", "label"]),
        ("text", "fine", ["text"]),
        ("a text;b|c,label", "fine,a", ["a text;b|c", "label"]),
    ],
)
def test_columns(header: str, row: str, columns: list[str], tmp_path: Path) -> None:
    found = read(tmp_path / "columns.csv", f"{header}\n{row}\n")
    assert list(found) == columns
    assert found[columns[0]] == ["fine"]


@pytest.mark.parametrize(
    ("name", "content", "encoding", "how"),
    [
        ("a.csv", ROWS.replace(",", ";"), "utf-8", {"separator": ";"}),
        ("a.csv", ROWS.replace(",", "\t"), "utf-8", {"separator": "tab"}),
        ("a.csv", ROWS.replace(",", "\t"), "utf-8", {"separator": "\\t"}),
        ("a.tsv", ROWS.replace(",", "\t"), "utf-8", {}),
        ("a.csv", ROWS, "utf-16", {"encoding": "utf-16"}),
        ("a.csv", ROWS, "utf-8-sig", {"encoding": "utf-8"}),
        ("a.csv", ROWS.replace("fine", "fïne"), "latin-1", {"encoding": "latin-1"}),
    ],
)
def test_separators_and_encodings(name: str, content: str, encoding: str, how: dict[str, str], tmp_path: Path) -> None:
    found = read(tmp_path / name, content, encoding, **how)
    assert [text.replace("ï", "i") for text in found["text"]] == ["fine", "poor"]
    assert found["label"] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "how", "named"),
    [
        (ROWS.replace(",", ";"), {}, ["--data.separator ';'"]),
        (ROWS.replace(",", "\t"), {}, ["--data.separator tab"]),
        (ROWS, {"separator": ";"}, ["--data.separator ','"]),
        (ROWS.encode("utf-16"), {}, ["--data.encoding utf-16"]),
        (ROWS.encode("utf-16-le"), {}, ["--data.encoding utf-16"]),
        (ROWS.replace("poor", "pöor").encode("latin-1"), {}, [3, "UTF-8", "--data.encoding cp1252", "latin-1"]),
        (ROWS, {"encoding": "utf-16"}, ["UTF-16", "--data.encoding", "latin-1"]),
        (ROWS + '"two\nlines",a\nx,y,z\n', {}, [6, 3, 2]),
        (ROWS + "x\n", {}, [4, 1, 2]),
        (ROWS + '"x,a\ny,b\n', {}, [4, "quote"]),
        (ROWS + 'x,"a\ny,b\n', {}, [4, "quote"]),
        ("text,label,text\na,b,c\n", {}, [2, "'text'"]),
        (",,\na,b,c\n", {}, ["text,label"]),
    ],
)
def test_a_broken_file_is_reported_in_one_sentence(
    content: str | bytes, how: dict[str, str], named: list[object], tmp_path: Path
) -> None:
    with mistake(DataError, tmp_path / "broken.csv", *named):
        read(tmp_path / "broken.csv", content, **how)


@pytest.mark.parametrize("content", ["text,label\n", "\n\n"])
def test_a_file_without_rows_is_refused(content: str, tmp_path: Path) -> None:
    with mistake(EmptyDataError, tmp_path / "broken.csv"):
        read(tmp_path / "broken.csv", content)


@pytest.mark.parametrize("how", [{"separator": "ab"}, {"separator": '"'}, {"encoding": "utf-99"}, {"encoding": "zip"}])
def test_a_format_that_cannot_be_is_refused(how: dict[str, str]) -> None:
    with mistake(DataError, *how.values(), f"data.{next(iter(how))}"):
        FileFormat(**how)


def test_a_format_that_a_file_does_not_have_is_refused(data_folder: Path, tmp_path: Path) -> None:
    with mistake(DataError, "data.separator", "csv", "a.jsonl"):
        read(tmp_path / "a.jsonl", '{"text": "a"}\n', separator=";")
    for place in (data_folder, data_folder / "train.parquet"):
        with mistake(DataError, "data.encoding", "csv", "json", place.name):
            find_data(str(place), how=FileFormat(encoding="latin-1"))


def test_a_file_that_changes_or_is_read_otherwise_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "reviews [1].csv"
    assert read(file, ROWS)["text"] == ["fine", "poor"]
    assert read(file, ROWS.replace("fine", "good"))["text"] == ["good", "poor"]
    assert read(file, ROWS.replace("fine", "a;b"), separator=",")["text"] == ["a;b", "poor"]
    latin = "text\nÃ¼\n".encode("latin-1")
    assert read(file, latin)["text"] == ["ü"]
    assert find_data(str(file), how=FileFormat(encoding="latin-1")).splits["train"]["text"][:] == ["Ã¼"]


def test_a_file_longer_than_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selectune.data.csv_reader.BATCH_ROWS", 7)
    texts = [f"text {i}" for i in range(30)]
    assert read(tmp_path / "long.csv", "text\n" + "\n".join(texts))["text"] == texts


def test_folders(tmp_path: Path) -> None:
    """Splits are read each by itself, packed or not; a description that lies beside them is followed."""
    with gzip.open(tmp_path / "train.csv.gz", "wt") as file:
        file.write(ROWS)
    (tmp_path / "test.csv").write_text("id,text,label\n1,null,2\n")
    found = find_data(str(tmp_path)).splits
    assert {name: split[:] for name, split in found.items()} == {
        "train": {"text": ["fine", "poor"], "label": ["a", "b"]},
        "test": {"id": ["1"], "text": ["null"], "label": ["2"]},
    }
    (tmp_path / "train.csv.gz").unlink()
    (tmp_path / "train.csv").write_text("text;label\nNA;1\n")
    (tmp_path / "test.csv").write_text("text;label\nfine;0\n")
    configs = "configs:\n- config_name: default\n  sep: ';'\n  data_files: [{split: train, path: train.csv}]\n"
    (tmp_path / "README.md").write_text(f"---\n{configs}---\n")
    assert find_data(str(tmp_path)).splits["train"][:] == {"text": ["NA"], "label": ["1"]}
    label = "{name: label, dtype: {class_label: {names: {'0': bad, '1': good}}}}"
    features = f"dataset_info:\n  features: [{{name: text, dtype: string}}, {label}]\n"
    (tmp_path / "README.md").write_text(f"---\n{configs}{features}---\n")
    declared = find_data(str(tmp_path)).splits["train"]
    assert (declared["text"][:], declared.features["label"].names) == (["NA"], ["bad", "good"])


def test_files_of_a_split_must_have_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "train-1.csv").write_text(ROWS)
    (tmp_path / "train-2.csv").write_text("label,text\nc,third\n")
    assert find_data(str(tmp_path)).splits["train"]["text"][:] == ["fine", "poor", "third"]
    (tmp_path / "train-2.csv").write_text("text,other\nc,third\n")
    with mistake(DataError, tmp_path / "train-2.csv", "other", "label"):
        find_data(str(tmp_path))
