"""GOT-D by one `fit`: select in the warm-up's pool, warm up, fine-tune, evaluate, one ledger."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from selectune.costs.ledger import read_ledger
from selectune.tables.grid import Cell
from selectune.tables.results import read_result
from tests.conftest import Cli, Here, Ranks, manifest_of, metrics_of, sentences
from tests.mistakes import names


@pytest.fixture
def warming(tmp_path: Path) -> list[str]:
    """A config whose pool has a data set like the task's, and one unlike it."""
    like = sentences(150, seed=11)[0]
    unlike = [" ".join(np.random.default_rng(i).choice(["never", "then", "and", "6"], 9)) for i in range(150)]
    for name, texts in (("like", like), ("unlike", unlike)):
        pq.write_table(pa.table({"text": texts}), tmp_path / f"{name}.parquet")
    data = {
        "class_path": "LanguageModeling",
        "init_args": {
            "dataset": [str(tmp_path / "like.parquet"), {"dataset": str(tmp_path / "unlike.parquet")}],
            "max_length": 16, "max_train_rows": 200, "target": "train", "selector": {"class_path": "GOTD"},
            "keep_rows": 40,
        },
    }  # fmt: skip
    config = {"warm_up": {"data": data}, "scorer": {"embedding": {"dtype": "float16"}}}
    (tmp_path / "gotd.yaml").write_text(yaml.safe_dump(config))
    return ["--config", str(tmp_path / "gotd.yaml")]


def test_one_fit_selects_warms_up_and_fine_tunes(
    cli: Cli, warming: list[str], arguments: list[str], tmp_path: Path
) -> None:
    cli("fit", *warming, *arguments, "--output", tmp_path / "run")
    manifest = manifest_of(tmp_path / "run" / "warm_up")
    domains = manifest["diagnostics"]["domains"]
    assert {name: of["pool"] for name, of in domains.items()} == {"like": 100, "unlike": 100}
    assert domains["like"]["kept"] > 30, "the data set that is like the task gives most"
    assert manifest["diagnostics"]["transport"]["converged"]
    assert manifest["target"]["source"].startswith("train of local:reviews")
    assert (tmp_path / "run" / "warm_up" / "export" / "model.safetensors").is_file()
    assert "test/accuracy" in metrics_of(tmp_path / "run")
    stages = [(r.part, r.stage) for r in read_ledger(tmp_path / "run" / "cost.jsonl")]
    order = [("warm_up", "score"), ("warm_up", "solve"), ("warm_up", "warm_up"), ("fit", "train")]
    assert sorted(set(stages) & set(order), key=stages.index) == order, "one ledger, in the order of what was done"
    solve = [r for r in read_ledger(tmp_path / "run" / "cost.jsonl") if r.stage == "solve"]
    assert sum(r.flops or 0 for r in solve) > 0
    table = pq.read_table(tmp_path / "run" / "warm_up" / "selection" / "scores.parquet")
    assert set(table["domain"].to_pylist()) == {0, 1}
    told = json.loads((tmp_path / "run" / "warm_up" / "selection" / "examples.json").read_text())["map"]
    assert len(told["kept"]) == 40
    _a_table_charges_all_of_it(tmp_path / "run")


def _a_table_charges_all_of_it(run: Path) -> None:
    row = read_result(Cell("reviews", "gotd", "40", 0, run, {}, "accuracy"), run.parent).row
    assert row["from/like"] + row["from/unlike"] == row["warm_up_rows"] == 40
    records = read_ledger(run / "cost.jsonl")
    warm_up, training = ([r for r in records if r.stage == stage] for stage in ("warm_up", "train"))
    assert row["tokens_trained_on"] == sum(r.tokens for r in [*warm_up, *training])
    spent = sum(r.flops or 0 for r in records if r.stage not in ("prepare", "evaluate"))
    assert row["total_flops"] == pytest.approx(spent)
    assert row["total_flops"] > row["training_flops"] + row["warm_up_flops"] > row["warm_up_flops"] > 0


@pytest.mark.parametrize("backend", ["auto", pytest.param("dense", marks=pytest.mark.slow)])
def test_two_processes_select_alike(
    cli: Cli, ranks: Ranks, warming: list[str], arguments: list[str], tmp_path: Path, backend: str
) -> None:
    """On a small problem alike; a sharded solve ends within its tolerance."""
    selector = {"class_path": "GOTD", "init_args": {"backend": backend, "tolerance": 1e-5}}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"warm_up": {"data": {"init_args": {"selector": selector}}}}))
    both = [*warming, "--config", str(tmp_path / "more.yaml"), *arguments, "--data.selector", "Random"]
    both += ["--data.keep", "0.5"]
    cli("select", *both, "--output", tmp_path / "one")
    ranks("select", *both, "--cache", tmp_path / "other", "--output", tmp_path / "two")
    scores = [
        pq.read_table(tmp_path / name / "warm_up" / "selection" / "scores.parquet")["score"].to_numpy()
        for name in ("one", "two")
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)
    assert all(r.flops is not None for r in read_ledger(tmp_path / "two" / "cost.jsonl"))
    spent = [
        [r for r in read_ledger(tmp_path / name / "cost.jsonl") if r.stage == "solve" and r.part == "warm_up"]
        for name in ("one", "two")
    ]
    times = 1 if backend == "dense" else 2  # a small problem is solved by each
    assert sum(r.flops or 0 for r in spent[1]) == pytest.approx(times * sum(r.flops or 0 for r in spent[0]), rel=0.2)
    assert sum(r.examples for r in spent[1]) == sum(r.examples for r in spent[0]), "rows are chosen from once"
    manifests = [manifest_of(tmp_path / name / "warm_up") for name in ("one", "two")]
    assert [m["diagnostics"]["transport"]["ranks"] for m in manifests] == [1, 2 if backend == "dense" else 1]
    rows = [
        set(pq.read_table(tmp_path / n / "warm_up" / "selection" / "rows.parquet")["row_id"].to_pylist())
        for n in ("one", "two")
    ]
    edge = np.sort(scores[0])[39]
    differing = np.array(sorted(rows[0] ^ rows[1]), dtype=int)
    assert (np.abs(scores[0][differing] - edge) < 1e-4).all(), "but for rows at the bound, the same"


def test_embeddings_can_come_from_a_scorer_that_was_tuned_on_the_task(
    cli: Cli, warming: list[str], arguments: list[str], tmp_path: Path
) -> None:
    tune = {"scorer": {"tune": {"rows": 60, "max_epochs": 1}, "embedding": {"unit_norm": True}}}
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump(tune))
    cli("select", *warming, "--config", tmp_path / "tune.yaml", *arguments, "--data.selector", "Random",
        "--data.keep", "0.5", "--output", tmp_path / "run")  # fmt: skip
    tuned = [r for r in read_ledger(tmp_path / "run" / "cost.jsonl") if r.stage == "tune_scorer"]
    assert [(r.part, r.cached) for r in tuned] == [("warm_up", False)]
    assert tuned[0].examples == 60
    (signal,) = (s for s in manifest_of(tmp_path / "run" / "warm_up")["signals"] if s["name"] == "embedding")
    assert signal["arguments"]["unit_norm"]
    assert signal["model"] != manifest_of(tmp_path / "run" / "warm_up")["weights_hash"]


def test_a_mistake_after_the_warm_up_does_not_take_it_away(
    cli: Cli, warming: list[str], arguments: list[str], tmp_path: Path
) -> None:
    """Here a selector that does not converge, in the data that are fine-tuned on."""
    selector = {"class_path": "GOTD", "init_args": {"max_iterations": 1, "tolerance": 1e-9}}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"data": {"init_args": {"selector": selector, "keep": 0.5}}}))
    done = cli("fit", *warming, *arguments, "--config", tmp_path / "more.yaml", "--output", tmp_path / "run", code=2)
    assert "did not converge" in done.stderr
    assert (tmp_path / "run" / "warm_up" / "export" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_forecast_of_a_screened_choice(cli: Cli, warming: list[str], arguments: list[str], tmp_path: Path) -> None:
    screen = {"class_path": "DomainScreen", "init_args": {"domains": 1, "sample": 40}}
    chain = {"class_path": "Chain", "init_args": {"prefilter": screen, "selector": {"class_path": "GOTD"}}}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"warm_up": {"data": {"init_args": {"selector": chain}}}}))
    cli("estimate", *warming, "--config", tmp_path / "more.yaml", *arguments, "--output", tmp_path / "run")
    told = json.loads((tmp_path / "run" / "forecast.json").read_text())
    assert {"score", "solve", "warm_up", "train", "evaluate"} <= set(told["stages"])
    cli("fit", *warming, "--config", tmp_path / "more.yaml", *arguments, "--output", tmp_path / "run")
    manifest = manifest_of(tmp_path / "run" / "warm_up")
    assert manifest["diagnostics"]["prefilter"]["kept"] == ["like"]
    spent = [r for r in read_ledger(tmp_path / "run" / "cost.jsonl") if not r.cached]
    measured = sum(r.flops or 0 for r in spent)
    assert told["total"]["flops"] == pytest.approx(measured, rel=0.2)
    assert "warming up on the whole pool" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"keep_rows": 300}, ["data.keep_rows", 300]),
        ({"target": "nowhere.csv"}, ["nowhere.csv"]),
        ({"selector": {"class_path": "GOTD", "init_args": {"eps": {"std": -1.0}}}}, ["eps.std", -1.0]),
        ({"max_train_rows": None, "dataset": []}, []),
    ],
)
def test_mistakes_end_in_a_sentence(
    here: Here, warming: list[str], arguments: list[str], tmp_path: Path, more: dict, named: list[object]
) -> None:
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"warm_up": {"data": {"init_args": more}}}))
    said = here("fit", *warming, "--config", tmp_path / "more.yaml", *arguments, "--output", tmp_path / "run", code=2)
    assert names(said, *named)
    assert not (tmp_path / "run").exists()
