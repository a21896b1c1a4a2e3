"""The benchmarks' table is that of their committed numbers."""

from __future__ import annotations

import csv
import importlib
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import REPOSITORY
from tests.squad_data import squad_rows

run_all = importlib.import_module("all")  # a script of benchmarks/
growth = importlib.import_module("growth")
detox_data = importlib.import_module("detox_data")


@pytest.mark.parametrize("page", run_all.PAGES)
def test_a_page_shows_the_table_of_the_numbers_in_results(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    table = run_all.table(short=page == "README.md")
    assert text == run_all.with_table(text, table), "run python benchmarks/all.py --table"
    assert len(table.splitlines()) > 4


def test_every_line_has_its_numbers_and_a_missed_bar_is_told() -> None:
    claim = run_all.Claim(
        "less", "memory", lambda values: values["select", "difference", "peak_rss_anon_mb"], 1e-3, True
    )
    assert claim.line().endswith("**no** |")
    absent = run_all.Claim("not run", "startup", lambda values: values["no", "such", "case"], 1.0)
    assert "not measured" in absent.line()
    names = {one.name for one in run_all.BENCHMARKS}
    assert {claim.of for claim in run_all.CLAIMS} <= names


@pytest.mark.parametrize("benchmark", run_all.BENCHMARKS, ids=lambda one: one.name)
def test_every_benchmark_is_a_script_whose_command_stands_on_the_page(benchmark: run_all.Benchmark) -> None:
    script = Path(REPOSITORY / benchmark.command[1])
    assert script.is_file()
    assert f"results/{benchmark.name}.csv" in (REPOSITORY / "docs" / "benchmarks.md").read_text()


def test_the_page_on_growth_shows_the_table_of_its_numbers() -> None:
    with (REPOSITORY / "results" / "growth.csv").open(newline="") as handle:
        rows = [growth.Row(*line[:3], float(line[3])) for line in list(csv.reader(handle))[1:]]
    again = growth.growth([row for row in rows if row.metric != "exponent"])
    assert [row for row in rows if row.metric == "exponent"] == again
    text = (REPOSITORY / "docs" / "growth.md").read_text()
    assert f"<!-- table of benchmarks/growth.py -->\n{growth.table(rows)}\n<!-- end of the table -->" in text


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="substring not found"):
        run_all.with_table("no marks", "")
    with pytest.raises(ValueError, match="once each"):
        run_all.with_table("\n".join([*run_all.MARKS, *run_all.MARKS]), "")


def test_the_other_way_with_squad_finds_the_answers_and_the_best_spans(model_folder: Path) -> None:
    from transformers import AutoTokenizer

    squad = importlib.import_module("_hugging_face")
    rows = squad_rows(12, seed=3)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    windows = squad.windows_of(rows, tokenizer, 40, 8)
    assert len(windows) > len(rows["id"]), "some contexts have several windows"
    found = set()
    for window in windows:
        first, last = (window["example"][name] for name in ("start_positions", "end_positions"))
        if last:
            start, end = window["offsets"][first][0], window["offsets"][last][1]
            assert rows["context"][window["row"]][start:end] == rows["answers"][window["row"]]["text"][0]
            found.add(window["row"])
    assert found == set(range(len(rows["id"]))), "each answer is in a window"
    draw = np.random.default_rng(4)
    logits = draw.normal(size=(2, len(windows), 40))
    told = squad.answers_of(windows, *logits, rows["context"])
    for row, context in enumerate(rows["context"]):
        best, text = -np.inf, ""
        for window, start, end in zip(windows, *logits, strict=True):
            low, high = window["context"]
            for first in range(low, high + 1 if window["row"] == row else 0):
                for last in range(first, min(high, first + squad.LONGEST_ANSWER - 1) + 1):
                    likely = first in np.argsort(start[: high + 1])[-20:] and last in np.argsort(end[: high + 1])[-20:]
                    if likely and start[first] + end[last] > best:
                        best = start[first] + end[last]
                        text = context[window["offsets"][first][0] : window["offsets"][last][1]]
        assert told[row] == text


SCORES = (0.05, 0.5, 0.9, None)
HUB = [
    {
        "prompt": {"text": f"prompt {i}", "toxicity": SCORES[i % 4]},
        "continuation": {"text": f"continuation {i}", "toxicity": SCORES[i // 4 % 4]},
    }
    for i in range(400)
]
FLAT = [
    {
        "prompt": row["prompt"]["text"],
        "kind": "toxic" if i % 2 else "nontoxic",
        "continuation": row["continuation"]["text"],
        "continuation_toxicity": row["continuation"]["toxicity"],
    }
    for i, row in enumerate(HUB)
]


@pytest.mark.parametrize(("rows", "more"), [(FLAT, []), (HUB, []), (HUB, ["--no_scorer", "--most", "20"])])
def test_no_prompt_is_in_two_parts_of_detoxification(
    rows: list[dict[str, Any]], more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scored").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "scored" / "train.parquet")
    words = ["--data", str(tmp_path / "scored"), "--output", str(tmp_path / "parts"), *more]
    monkeypatch.setattr(sys, "argv", ["detox_data.py", *words])
    detox_data.main()
    read = {
        str(file.parent.relative_to(tmp_path / "parts") / file.stem): pq.read_table(file).to_pylist()
        for file in (tmp_path / "parts").rglob("*.parquet")
    }
    number = {
        name: {row.get("text", row.get("prompt")).rpartition(" ")[2] for row in some} for name, some in read.items()
    }
    targets = number.pop("clean_texts/train") | number.pop("toxic_texts/train")
    parts = [targets, *number.values()]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)), "a prompt is in two parts"
    asked = Counter(row["kind"] for row in read["toxic_prompts/test"])
    assert asked.keys() == {"toxic", "nontoxic"}
    assert ("scorer/train" in read) == (not more)
    assert not more or set(asked.values()) == {20}
