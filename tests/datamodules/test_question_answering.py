"""Labels of windows, and the way back from logits to an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selectune.common.errors import BadRowsError, DataError, EmptyDataError
from selectune.data.sources import ModelSource
from selectune.datamodules import QuestionAnswering
from tests.conftest import WORDS
from tests.mistakes import mistake
from tests.squad_data import loaded, squad_rows, windows_of, write_squad


@pytest.fixture(scope="module")
def data(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> QuestionAnswering:
    """60 questions, a fifth without an answer, many of several windows."""
    rows = squad_rows(60, seed=1, null_share=0.2)
    return loaded(write_squad(tmp_path_factory.mktemp("squad"), rows), model_folder)


def test_labels_are_where_the_answer_is(data: QuestionAnswering) -> None:
    """In each window that holds it wholly; at the first token in all others, and where there is none."""
    content = data.splits["test"]
    for row in range(len(content)):
        batch = data.collate("test", np.array([row]))
        starts, ends = batch["characters"]
        golds = content[row]["answers"]
        for i, (start, end) in enumerate(zip(batch["start"].tolist(), batch["end"].tolist())):
            if start == 0:
                assert end == 0
                inside = batch["in_context"][i].numpy()
                first, last = starts[i, inside].min(), ends[i, inside].max()
                at = golds["answer_start"][0] if golds["text"] else -1
                assert at < 0 or at < first or at + len(golds["text"][0]) > last
            else:
                assert batch["contexts"][0][starts[i, start] : ends[i, end]] == golds["text"][0]


def gold_logits(batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ten at the label, seeded noise elsewhere."""
    logits = []
    for name in ("start", "end"):
        noise = torch.randn(batch["input_ids"].shape, generator=torch.Generator().manual_seed(0))
        logits.append(noise.scatter(1, batch[name][:, None], 10.0))
    return logits[0], logits[1]


def test_logits_of_the_gold_span_give_it_back(data: QuestionAnswering) -> None:
    content, head = data.splits["test"], data.head()
    rows = np.random.default_rng(0).permutation(len(content))
    batch = data.collate("test", rows)
    answers = head.answers(*gold_logits(batch), batch)
    assert len(answers.texts) == len(rows)
    several = 0
    for row, text, odds in zip(rows, answers.texts, answers.null_odds):
        gold = content[int(row)]["answers"]["text"]
        assert (odds <= 0) == bool(gold)
        if gold:
            assert text == gold[0]
            several += len(windows_of(data).of(np.array([row]))) > 1
    assert several > 10


def test_every_window_that_holds_the_gold_span_gives_it_back(data: QuestionAnswering) -> None:
    """Each window by itself, also the ones at the border; a window without it says so."""
    content, head = data.splits["test"], data.head()
    for row in range(len(content)):
        whole = data.collate("test", np.array([row]))
        start, end = gold_logits(whole)
        for i in range(len(start)):
            batch = whole | {name: whole[name][i : i + 1] for name in ("in_context", "question")}
            batch["characters"] = tuple(part[i : i + 1] for part in whole["characters"])
            (text,), odds = (lambda a: (a.texts, a.null_odds[0]))(head.answers(start[i : i + 1], end[i : i + 1], batch))
            if whole["start"][i] == 0:
                assert odds > 0
            else:
                assert text == content[row]["answers"]["text"][0]
                assert odds < 0


def test_spans_are_valid_and_the_best_by_a_slow_loop() -> None:
    from selectune.lightning_modules.heads.question_answering import best_spans

    generator = torch.Generator().manual_seed(1)
    start, end = torch.randn(6, 17, generator=generator), torch.randn(6, 17, generator=generator)
    inside = torch.zeros(6, 17, dtype=torch.bool)
    inside[:, 4:15] = True
    inside[5] = False
    score, first, last = best_spans(start, end, inside, n_best=17, max_answer_tokens=3)
    for i in range(5):
        pairs = [(start[i, a] + end[i, b], a, b) for a in range(4, 15) for b in range(a, min(15, a + 3))]
        assert (score[i], first[i], last[i]) == max(pairs)
    assert score[5] == torch.finfo(torch.float32).min


def test_the_loss_does_not_depend_on_batching(data: QuestionAnswering, model_folder: Path) -> None:
    head = data.head()
    network = head.build(ModelSource(model_folder, "local:tiny")).eval()
    rows = np.arange(12)
    with torch.no_grad():
        whole = head.forward(network, data.collate("test", rows))
        parts = [head.forward(network, data.collate("test", rows[i : i + 1])) for i in rows]
    assert whole.items == sum(part.items for part in parts) == len(windows_of(data).of(rows))
    assert float(whole.loss_sum) == pytest.approx(sum(float(part.loss_sum) for part in parts), rel=1e-5)
    torch.testing.assert_close(whole.predictions, torch.cat([part.predictions for part in parts]), atol=1e-5, rtol=0)


def test_null_answers_make_it_version_two(data: QuestionAnswering, model_folder: Path, tmp_path: Path) -> None:
    assert data.null_answers
    plain = loaded(write_squad(tmp_path / "plain", squad_rows(30, seed=2)), model_folder)
    assert not plain.null_answers
    for some, names in ((data, {"em", "f1", "has_ans_em", "has_ans_f1", "no_ans_em", "no_ans_f1", "null_threshold"}),
                        (plain, {"em", "f1"})):  # fmt: skip
        head = some.head()
        metrics, test = head.metrics_for("val"), head.metrics_for("test")
        batch = some.collate("test", np.arange(10))
        network = head.build(ModelSource(model_folder, "local:tiny")).eval()
        output = head.forward(network, batch)
        metrics.update(output.predictions, output.targets)
        found = metrics.compute()
        assert set(found) == names
        head.after_validation({f"val/{name}": value for name, value in found.items()})
        test.update(output.predictions, output.targets)
        assert test.compute() == found, "with the threshold that dev chose, the same rows give the same"
        head.finish(network)
        if some is data:
            assert network.config.null_threshold == head.threshold == pytest.approx(float(found["null_threshold"]))


def test_a_fixed_threshold_is_not_tuned(data: QuestionAnswering) -> None:
    data.null_threshold = 2.5
    try:
        metrics = data.head().metrics_for("val")
    finally:
        data.null_threshold = None
    metrics.update(torch.tensor([[3.0, 1.0, 1.0], [2.0, 0.0, 0.5]]), torch.tensor([True, True]))
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert found == {"em": 0, "f1": 25, "has_ans_em": 0, "has_ans_f1": 25, "null_threshold": 2.5}


def changed(key: str, row: int, value: Any) -> dict[str, list]:
    rows = squad_rows(20, seed=3)
    rows[key][row] = value
    return rows


def answered(row: int, texts: list[str], starts: list[int | None]) -> dict[str, list]:
    return changed("answers", row, {"text": texts, "answer_start": starts})


def lacking(column: str) -> dict[str, list]:
    return {name: values for name, values in squad_rows(20, 3).items() if name != column}


BAD_ROWS: dict[str, tuple[dict[str, list], type[DataError], list[str], list[int]]] = {
    "answer elsewhere": (answered(4, ["fine"], [0]), BadRowsError, ["'answers'", "context"], [4]),
    "answer before the text": (answered(4, ["red"], [-3]), BadRowsError, ["'answers'", "context"], [4]),
    "one start too few": (answered(7, ["a", "b"], [0]), BadRowsError, ["'answers'", "'answer_start'"], [7]),
    "no answers at all": (changed("answers", 7, None), BadRowsError, ["'answers'", "'answer_start'"], [7]),
    "missing start": (answered(7, ["a"], [None]), BadRowsError, ["'answers'", "'answer_start'"], [7]),
    "no answers column": (lacking("answers"), DataError, ["data.answers_column"], []),
    "no ids": (lacking("id"), DataError, ["data.id_column"], []),
    "no question": (lacking("question"), DataError, ["'question'"], []),
    "no context": (changed("context", 3, ""), BadRowsError, ["'context'"], [3]),
    "empty split": ({name: [] for name in squad_rows(1, 3)}, EmptyDataError, [], []),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows(case: str, tmp_path: Path) -> None:
    rows, kind, named, bad = BAD_ROWS[case]
    folder = write_squad(tmp_path / "squad", rows)
    with mistake(kind, *named, rows=bad):
        QuestionAnswering(str(folder), seed=0).load()


def test_answers_of_the_held_out_split_may_stand_elsewhere(tmp_path: Path) -> None:
    rows = changed("answers", 4, {"text": ["fine"], "answer_start": [0]})
    QuestionAnswering(str(write_squad(tmp_path / "squad", squad_rows(20, 3), rows)), seed=0).load()


def test_bad_lengths(tmp_path: Path, model_folder: Path) -> None:
    with mistake(DataError, 64, "data.doc_stride", option="data.max_length"):
        QuestionAnswering("x", max_length=64, doc_stride=32, max_question_tokens=32)
    with mistake(DataError, -1, option="data.doc_stride"):
        QuestionAnswering("x", doc_stride=-1)
    folder = write_squad(tmp_path / "squad", changed("question", 2, " ".join(WORDS)))
    with mistake(DataError, 1, 26, option="data.max_length", rows=[0]):
        loaded(folder, model_folder, max_length=26, max_question_tokens=17)


def test_never_answering_is_right_where_there_is_no_answer(data: QuestionAnswering) -> None:
    without = np.mean([not answers["text"] for answers in data.splits["test"]["answers"]])
    assert 0 < without < 1
    assert data.constant_metrics() == pytest.approx({"em": 100 * without, "f1": 100 * without})
