"""Question answering by the command line: a whole run, one and two processes, the predictions and the export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from selectune.costs.ledger import read_ledger
from selectune.data.windows import make_windows
from tests.conftest import Cli, Ranks, manifest_of, metrics_of
from tests.squad_data import squad_rows, write_squad

FIGURES = {"em", "f1", "has_ans_em", "has_ans_f1", "no_ans_em", "no_ans_f1", "null_threshold"}


@pytest.fixture
def finished(cli: Cli, model_folder: Path, tmp_path: Path) -> Path:
    """A run on questions of up to seven windows, a quarter of them without an answer."""
    held_out = squad_rows(50, seed=6, null_share=0.25, words=(10, 200))
    folder = write_squad(tmp_path / "squad", squad_rows(120, seed=5, null_share=0.25), held_out)
    cli(
        "fit", "--data", "QuestionAnswering", "--data.dataset", folder, "--data.max_length", "48",
        "--data.doc_stride", "8", "--data.max_question_tokens", "12", "--data.max_batch_tokens", "512",
        "--data.batch_size", "8", "--data.selector", "IGSE", "--data.keep", "0.5", "--scorer.max_batch_tokens", "512",
        "--model.checkpoint", model_folder, "--model.learning_rate", "2e-3", "--trainer.max_epochs", "2",
        "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--output", tmp_path / "run",
    )  # fmt: skip
    return tmp_path / "run"


def test_a_whole_run(finished: Path, cli: Cli, ranks: Ranks, tmp_path: Path) -> None:
    metrics, manifest = metrics_of(finished), manifest_of(finished)
    assert (manifest["pool_rows"], manifest["n_rows"]) == (108, 54)
    assert {f"{split}/{name}" for split in ("val", "test") for name in FIGURES} <= set(metrics)
    threshold = json.loads((finished / "export" / "config.json").read_text())["null_threshold"]
    assert metrics["test/null_threshold"] == pytest.approx(threshold), "the test uses what dev chose"
    train = [record for record in read_ledger(finished / "cost.jsonl") if record.stage == "train"]
    assert sum(record.examples for record in train) == 2 * 54, "examples are questions, not windows"

    rows = pq.read_table(finished / "test_scores.parquet").to_pydict()
    assert rows["row_id"] == list(range(50))
    for name in ("em", "f1"):
        assert 100 * np.mean(rows[name]) == pytest.approx(metrics[f"test/{name}"], abs=1e-4)

    # Two processes give the same figures, with the threshold of the export.
    shutil.copytree(finished, tmp_path / "copy")
    ranks("test", "--config", finished / "config.yaml", "--output", tmp_path / "copy")
    both = metrics_of(tmp_path / "copy")
    for name in (*FIGURES, "loss"):
        assert both[f"test/{name}"] == pytest.approx(metrics[f"test/{name}"], abs=1e-4)

    cli("predict", "--config", finished / "config.yaml", "--output", finished)
    predicted = pq.read_table(finished / "predictions.parquet").to_pydict()
    assert list(predicted) == ["row_id", "id", "prediction", "score", "null_odds"]
    held_out = pq.read_table(tmp_path / "squad" / "validation.parquet").to_pydict()
    assert predicted["id"] == held_out["id"]
    assert predicted["row_id"] == list(range(50))
    alone = [{name: row[name] for name in ("question", "context")} for row in pa.table(held_out).to_pylist()]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in alone))
    cli("predict", "--output", finished, "--data.dataset", tmp_path / "new.jsonl", "--file", tmp_path / "new.parquet")
    without = pq.read_table(tmp_path / "new.parquet").to_pydict()
    assert without == predicted | {"id": [str(row) for row in range(50)]}, "answers and ids change nothing"
    _the_figures_are_those_of_the_predictions(predicted, held_out, metrics)
    _the_export_predicts_the_same(finished / "export", predicted, held_out, threshold)


def _the_figures_are_those_of_the_predictions(predicted: dict, held_out: dict, metrics: dict[str, float]) -> None:
    from selectune.lightning_modules.heads.squad import em_f1

    pairs = zip(predicted["prediction"], held_out["answers"])
    values = np.array([em_f1(text, answers["text"]) for text, answers in pairs])
    assert 100 * values.mean(0) == pytest.approx([metrics["test/em"], metrics["test/f1"]], abs=1e-4)


def _the_export_predicts_the_same(export: Path, predicted: dict, held_out: dict, threshold: float) -> None:
    """Window by window, pair by pair, with what transformers alone makes of the export."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    network = AutoModelForQuestionAnswering.from_pretrained(export).eval()
    windows = make_windows(
        held_out["question"], held_out["context"], AutoTokenizer.from_pretrained(export), 48, 8, 12
    )  # fmt: skip
    assert np.diff(windows.first_window).max() >= 6
    for row, context in enumerate(held_out["context"]):
        found, null = [], np.inf
        for window in windows.of(np.array([row])):
            question = windows.question_ids[windows.question_offsets[row] : windows.question_offsets[row + 1]]
            offset = windows.context_offsets[windows.context_of[row]]
            tokens = np.arange(windows.begins[window], windows.ends[window]) + offset
            ids, types, _ = windows.template.join(question, windows.context_ids[tokens])
            with torch.no_grad():
                output = network(torch.tensor(ids)[None], token_type_ids=torch.tensor(types)[None])
            start, end = output.start_logits[0], output.end_logits[0]
            null = min(null, float(start[0] + end[0]))
            at = len(question) + 2
            firsts = start[at:-1].argsort(descending=True)[:20].tolist()
            lasts = end[at:-1].argsort(descending=True)[:20].tolist()
            spans = [(a, b) for a in firsts for b in lasts if 0 <= b - a < 30]
            found += [(float(start[at + a] + end[at + b]), tokens[a], tokens[b]) for a, b in spans]
        score, first, last = max(found)
        assert predicted["score"][row] == pytest.approx(score, abs=1e-5)
        assert predicted["null_odds"][row] == pytest.approx(null - score, abs=2e-5)
        if abs(null - score - threshold) > 1e-4:
            text = context[windows.char_starts[first] : windows.char_ends[last]] if null - score <= threshold else ""
            assert predicted["prediction"][row] == text
