"""Small question-answering data in SQuAD's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selectune.data.sources import ModelSource
from selectune.data.windows import Windows
from selectune.datamodules import QuestionAnswering
from tests.conftest import BAD, GOOD, WORDS

LENGTH, STRIDE, QUESTION = 32, 8, 8


def squad_rows(n: int, seed: int, null_share: float = 0.0, words: tuple[int, int] = (5, 120)) -> dict[str, list]:
    """Questions two a context, whose answer is the good or bad words in it; some have none."""
    random = np.random.default_rng(seed)
    rows: dict[str, list] = {name: [] for name in ("id", "question", "context", "answers")}
    for i in range(n):
        if i % 2 == 0:
            text = [str(word) for word in random.choice(WORDS, size=random.integers(*words))]
            at = int(random.integers(len(text)))
            answer = " ".join(map(str, random.choice(GOOD + BAD, size=random.integers(1, 4))))
            start = len(" ".join(text[:at])) + (at > 0)
            context = " ".join([*text[:at], answer, *text[at:]])
        null = random.random() < null_share
        rows["id"].append(f"q{seed}-{i}")
        rows["question"].append(" ".join(random.choice(WORDS, size=random.integers(1, 12))))
        rows["context"].append(context)
        rows["answers"].append({"text": [] if null else [answer], "answer_start": [] if null else [start]})
    return rows


def write_squad(folder: Path, train: dict[str, list], test: dict[str, list] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    answers = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])
    for name, rows in (("train", train), ("validation", test or train)):
        columns = {key: pa.array(values, answers if key == "answers" else pa.string()) for key, values in rows.items()}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


def loaded(folder: Path, model_folder: Path, **arguments: Any) -> QuestionAnswering:
    settings = {"max_length": LENGTH, "doc_stride": STRIDE, "max_question_tokens": QUESTION} | arguments
    data = QuestionAnswering(str(folder), seed=0, **settings)
    data.load(ModelSource(model_folder, "local:tiny"))
    for split in ("train", "dev", "test"):
        data.encoded(split)
    return data


def windows_of(data: QuestionAnswering, split: str = "test") -> Windows:
    windows = data.tokens[split]
    assert isinstance(windows, Windows)
    return windows
