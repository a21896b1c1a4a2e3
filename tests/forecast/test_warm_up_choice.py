"""A run that chooses its warm-up's rows alone: the forecast tells of that choice, as the fit that follows does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from selectune.costs.ledger import read_ledger
from selectune.costs.saving import Saving
from tests.conftest import Here, sentences
from tests.forecast.conftest import forecast_of


@pytest.fixture
def warming(tmp_path: Path) -> list[str]:
    """A pool of a data set like the task's and one unlike it."""
    like = sentences(150, seed=11)[0]
    unlike = [" ".join(np.random.default_rng(i).choice(["never", "then", "and", "6"], 9)) for i in range(150)]
    for name, texts in (("like", like), ("unlike", unlike)):
        pq.write_table(pa.table({"text": texts}), tmp_path / f"{name}.parquet")
    return with_warm_up(
        tmp_path / "warm_up.yaml",
        {
            "dataset": [str(tmp_path / "like.parquet"), {"dataset": str(tmp_path / "unlike.parquet")}],
            "max_length": 16, "max_train_rows": 200, "target": "train", "selector": {"class_path": "GOTD"},
            "keep_rows": 40,
        },
        max_epochs=4,
    )  # fmt: skip


def with_warm_up(file: Path, data: dict[str, Any], **more: Any) -> list[str]:
    whole = {"class_path": "LanguageModeling", "init_args": data} if "dataset" in data else {"init_args": data}
    file.write_text(yaml.safe_dump({"warm_up": {"data": whole, **more}}))
    return ["--config", str(file)]


def test_forecast_and_fit_tell_of_one_choice(
    here: Here, warming: list[str], arguments: list[str], tmp_path: Path
) -> None:
    settings = [*warming, *arguments, "--scorer.max_batch_tokens", "512", "--output", str(tmp_path / "run")]
    output = here("estimate", *settings)
    assert "Nothing was selected" not in output
    assert "warming up on all of them: with 4 epochs at keep 0.2 you" in output
    assert "of warming up on the whole pool." in output
    assert "The scorer (local:tiny) has 1 times the weights of the model that is trained" in output
    content = forecast_of(tmp_path / "run")
    here("fit", *settings)
    ours, fits = Saving.from_json(content["terms"]), Saving.read(tmp_path / "run")
    assert ours.main is ours.warm_up
    assert fits.main is fits.warm_up
    for name in ("kept_rows", "pool_rows", "pool_tokens", "definition"):
        assert getattr(ours.main, name) == getattr(fits.main, name), name
    assert ours.main.kept_tokens == pytest.approx(fits.main.kept_tokens, rel=0.1)
    assert content["saving"]["flops"] == ours.main.flops.saving == pytest.approx(fits.main.flops.saving, abs=0.05)
    assert ours.main.flops.training == pytest.approx(fits.main.flops.training, rel=0.1)
    assert content["break_even_uses"] == ours.main.flops.break_even_uses
    assert 0 < content["break_even_keep"] < 1
    # The same choice again, by its path: what it cost is known, and avoided.
    again = with_warm_up(
        tmp_path / "again.yaml",
        {"selector": None, "keep_rows": None, "selection": str(tmp_path / "run" / "warm_up" / "selection")},
    )
    output = here("estimate", *settings[:-2], *again, "--output", tmp_path / "again")
    reused = Saving.from_json(forecast_of(tmp_path / "again")["terms"]).main
    assert reused.flops.selection == reused.flops.selection_avoided == pytest.approx(fits.main.flops.selection)
    assert (reused.kept_tokens, reused.pool_tokens) == (fits.main.kept_tokens, fits.main.pool_tokens)
    assert "The scorer (local:tiny) has 1 times" in output


def test_a_screened_pool_is_the_whole(here: Here, warming: list[str], arguments: list[str], tmp_path: Path) -> None:
    screen = {"class_path": "DomainScreen", "init_args": {"domains": 1, "sample": 40}}
    chain = {"class_path": "Chain", "init_args": {"prefilter": screen, "selector": {"class_path": "GOTD"}}}
    more = with_warm_up(tmp_path / "more.yaml", {"selector": chain})
    output = here("estimate", *warming, *more, *arguments, "--output", tmp_path / "run")
    terms = Saving.from_json(forecast_of(tmp_path / "run")["terms"]).main
    assert (terms.part, terms.kept_rows, terms.pool_rows) == ("warm_up", 40, 100)
    assert 0 < terms.kept_tokens < terms.pool_tokens
    assert "With 40 of 100 rows about" in output


def test_the_proxies_of_a_warm_up_are_charged(
    here: Here, data_folder: Path, arguments: list[str], tmp_path: Path
) -> None:
    rule = {"class_path": "Search", "init_args": {"bands": 2}}
    selector = {"class_path": "EntropyInterval", "init_args": {"entropy": "information_entropy", "rule": rule}}
    data = {"dataset": str(data_folder), "max_length": 16, "selector": selector, "keep": 0.5, "max_train_rows": 100}
    settings = [*with_warm_up(tmp_path / "warm_up.yaml", data), *arguments, "--output", str(tmp_path / "run")]
    here("estimate", *settings)
    here("fit", *settings)
    spent = sum(r.flops or 0 for r in read_ledger(tmp_path / "run" / "cost.jsonl") if r.stage == "search")
    assert spent > 0
    assert forecast_of(tmp_path / "run")["stages"]["search"]["flops"] == pytest.approx(spent, rel=0.1)
