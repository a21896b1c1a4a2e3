"""A forecast is of the run that follows, and changes nothing of it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from selectune.costs.ledger import read_ledger
from selectune.costs.record import totals
from selectune.costs.saving import Saving
from selectune.forecast import measure
from selectune.forecast.sampled_selection import NO_DYNAMICS
from tests.conftest import Here, metrics_of
from tests.forecast.conftest import forecast_of
from tests.mistakes import names
from tests.squad_data import squad_rows, write_squad


def rows_of(run: Path) -> list[int]:
    rows: list[int] = pq.read_table(run / "selection" / "rows.parquet")["row_id"].to_pylist()
    return rows


def compare(run: Path, exact: tuple[str, ...], within: float = 0.1) -> None:
    """FLOPs of a run against its forecast: all of them within a share, some stages to the last digits."""
    forecast, spent = forecast_of(run), totals(read_ledger(run / "cost.jsonl")).spent
    assert set(forecast["stages"]) == set(spent)
    for stage in exact:
        assert forecast["stages"][stage]["flops"] == pytest.approx(spent[stage].flops, rel=1e-9), stage
        assert forecast["stages"][stage]["examples"] == spent[stage].examples, stage
    measured = sum(total.flops or 0 for total in spent.values())
    assert forecast["total"]["flops"] == pytest.approx(measured, rel=within)
    assert forecast["total"]["flops"] == pytest.approx(sum(stage["flops"] for stage in forecast["stages"].values()))
    for stage in forecast["stages"].values():
        assert stage["wall_s"] >= 0
        assert stage["peak_rss_bytes"] > 10e6


def test_a_fit_goes_on_where_its_forecast_lies_and_computes_the_same(
    here: Here, selecting: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    output = here("estimate", *selecting, "--output", run)
    assert {file.name for file in run.iterdir()} == {"config.yaml", "forecast.json", ".lock"}
    content = forecast_of(run)
    assert content["sentence"] in output
    assert "estimate, from rows that were scored" in output
    assert content["schema"] == 1
    assert 0 <= content["break_even_keep"] < 1
    here("fit", *selecting, "--output", run)
    compare(run, exact=("score", "evaluate", "select"), within=0.05)
    assert forecast_of(run) == content
    assert not [record for record in read_ledger(run / "cost.jsonl") if record.cached], "no signal was kept"
    # The same fit without a forecast before it, from nothing.
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / "other"))
    here("fit", *selecting, "--output", tmp_path / "alone")
    assert rows_of(run) == rows_of(tmp_path / "alone")
    for name in ("test/loss", "val/loss", "test/accuracy"):
        assert metrics_of(run)[name] == pytest.approx(metrics_of(tmp_path / "alone")[name], abs=1e-9)
    # And the finished run may be forecast again, but not under another config.
    here("estimate", *selecting, "--output", run)
    assert (run / "done.json").is_file()
    assert names(here("estimate", *selecting, "--data.keep", "0.5", "--output", run, code=2), run, "--overwrite")


def test_trainings_whose_course_is_a_signal_are_forecast_to_the_last_flop(
    here: Here, arguments: list[str], tmp_path: Path
) -> None:
    reading = ["--data.selector", "TopK", "--data.selector.signal", "rho_loss", "--data.keep", "0.25"]
    command = [*arguments, *reading, "--scorer.dynamics.epochs", "2", "--scorer.dynamics.rows", "80", "--output"]
    output = here("estimate", *command, tmp_path / "run")
    assert NO_DYNAMICS in output
    here("fit", *command, tmp_path / "run")
    spent = totals(read_ledger(tmp_path / "run" / "cost.jsonl")).spent
    for stage in ("tune_scorer", "score"):
        forecast = forecast_of(tmp_path / "run")["stages"][stage]
        assert forecast["flops"] == pytest.approx(spent[stage].flops, rel=1e-9), stage
        assert forecast["examples"] == spent[stage].examples, stage


def test_another_machine_is_stated_with_its_utilisation(here: Here, selecting: list[str], tmp_path: Path) -> None:
    machine = ["--device_flops", "3e12", "--utilisation", "0.25"]
    output = here("estimate", *selecting, *machine, "--output", tmp_path / "run")
    assert "3e+12 FLOP/s at a utilisation of 0.25" in output
    for name in ("train", "score", "evaluate"):
        stage = forecast_of(tmp_path / "run")["stages"][name]
        assert stage["wall_s"] == pytest.approx(stage["flops"] / (3e12 * 0.25))
    for bad, named in (
        (["--device_flops", "3e12"], ["--device_flops", "--utilisation"]),
        (["--utilisation", "0.5"], ["--device_flops", "--utilisation"]),
        (["--device_flops", "3e12", "--utilisation", "1.5"], ["--utilisation", 1.5]),
        (["--device_flops", "0", "--utilisation", "0.5"], ["--device_flops", 0]),
    ):
        assert names(here("estimate", *selecting, *bad, "--output", tmp_path / "bad", code=2), *named)
        assert not (tmp_path / "bad").exists(), "nothing is left of a mistake"


def test_a_selection_that_costs_more_than_it_saves_is_said_before_and_after(
    here: Here, selecting: list[str], tmp_path: Path
) -> None:
    """One epoch, nine tenths kept, and a scorer that reads each text seven times."""
    run = tmp_path / "run"
    losing = [*selecting, "--scorer.generative.estimator", "masked_pseudo", "--data.keep", "0.9"]
    losing += ["--trainer.max_epochs", "1", "--output", str(run)]
    output = here("estimate", *losing)
    assert "Selecting will NOT be cheaper: selecting from 216 rows with local:tiny costs" in output
    assert "with 1 epoch at keep 0.9 you lose" in output
    assert "It pays at no keep ratio." in output
    assert "as large as the model. Selection pays when it is 5 to 10 times smaller (Yin & Rush 2025)" in output
    content = forecast_of(run)
    assert content["saving"]["flops"] < 0
    assert content["break_even_keep"] == 0
    output = here("fit", *losing)
    saving = Saving.read(run)
    assert saving.flops.saving is not None
    assert saving.flops.saving < 0
    assert saving.device_s.saving is not None  # of either sign, in so short a run
    if saving.device_s.saving <= 0:
        lost = "Selection cost more than it saved: selecting and training on the subset took "
        assert saving.sentence().startswith(lost)
    else:
        assert " but took " in saving.sentence()
    assert saving.sentence() in output
    assert saving.flops.saving == pytest.approx(content["saving"]["flops"], rel=0.1)
    assert "pays from" in saving.sentence()
    compare(run, exact=("score", "evaluate"))


def test_one_epoch_at_a_small_keep_pays_up_to_a_ratio(here: Here, selecting: list[str], tmp_path: Path) -> None:
    here("estimate", *selecting, "--trainer.max_epochs", "8", "--output", tmp_path / "run")
    content = forecast_of(tmp_path / "run")
    assert content["saving"]["flops"] > 0
    assert content["sentence"].startswith("Selecting will be cheaper")  # a busy machine may lose time
    keep = content["break_even_keep"]
    at_bound = [*selecting, "--trainer.max_epochs", "8", "--data.keep", f"{keep:.4f}"]
    here("estimate", *at_bound, "--output", tmp_path / "bound")
    assert abs(forecast_of(tmp_path / "bound")["saving"]["flops"]) < 0.02, "there it neither wins nor loses"


@pytest.mark.parametrize(
    ("more", "exact"),
    [
        ([], ("train", "evaluate")),  # nothing is selected
        (["--data.selector", "Random", "--data.keep", "0.5"], ("evaluate",)),
        (["--data.selector", "KCenter", "--data.keep", "0.2"], ("score", "evaluate")),
        (["--data.selector", "Nearest", "--data.keep", "0.2"], ("score", "evaluate")),
        (["--data.selector", "Deduplicate"], ("train", "evaluate", "solve")),
    ],
)
def test_it_works_with_every_kind_of_selector(
    more: list[str], exact: tuple[str, ...], here: Here, arguments: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = [*arguments, *more, "--scorer.max_batch_tokens", "512", "--output", str(run)]
    output = here("estimate", *settings)
    if not more:
        assert "Nothing was selected" in output or "Nothing is selected" in output
    here("fit", *settings)
    compare(run, exact)


def test_stages_around_selectors_are_forecast_too(here: Here, arguments: list[str], tmp_path: Path) -> None:
    """A chain, a search with its proxy runs, and a scorer that is tuned."""
    chain = {
        "class_path": "Chain",
        "init_args": {
            "prefilter": {"class_path": "TopK", "init_args": {"signal": "margin", "largest": False}},
            "prefilter_keep": 0.6,
            "selector": {
                "class_path": "EntropyInterval",
                "init_args": {
                    "entropy": "information_entropy",
                    "rule": {"class_path": "Search", "init_args": {"bands": 3}},
                },
            },
        },
    }
    (tmp_path / "chain.yaml").write_text(yaml.safe_dump({"data": {"init_args": {"selector": chain, "keep": 0.3}}}))
    settings = [
        *arguments, "--config", str(tmp_path / "chain.yaml"), "--scorer.tune.rows", "64", "--scorer.tune.max_epochs",
        "2", "--scorer.max_batch_tokens", "512", "--output", str(tmp_path / "run"),
    ]  # fmt: skip
    output = here("estimate", *settings)
    assert "stands in for the tuned scorer" in output
    assert "band" in output
    here("fit", *settings)
    compare(tmp_path / "run", exact=("tune_scorer", "score", "evaluate"))


def test_questions_are_forecast_by_their_windows(here: Here, model_folder: Path, tmp_path: Path) -> None:
    held_out = squad_rows(50, seed=6, null_share=0.25, words=(10, 200))
    folder = write_squad(tmp_path / "squad", squad_rows(120, seed=5, null_share=0.25), held_out)
    settings = [
        "--data", "QuestionAnswering", "--data.dataset", folder, "--data.max_length", "48", "--data.doc_stride", "8",
        "--data.max_question_tokens", "12", "--data.max_batch_tokens", "512", "--data.batch_size", "8",
        "--data.pad_to", "16", "--data.selector", "IGSE", "--data.keep", "0.5", "--scorer.max_batch_tokens", "512",
        "--model.checkpoint", model_folder, "--model.learning_rate", "2e-3", "--trainer.max_epochs", "2",
        "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--output", tmp_path / "run",
    ]  # fmt: skip
    here("estimate", *settings)
    here("fit", *settings)
    compare(tmp_path / "run", exact=("score", "evaluate"))


def test_a_warm_up_with_its_selector_is_forecast(
    here: Here, selecting: list[str], warming: list[str], tmp_path: Path
) -> None:
    settings = [*warming, *selecting, "--output", tmp_path / "run"]
    output = here("estimate", *settings)
    assert "stands in for the warmed-up model" in output
    assert "local:tiny, warmed up" in output
    here("fit", *settings)
    compare(tmp_path / "run", exact=("score", "evaluate", "warm_up"))
    stages = forecast_of(tmp_path / "run")["stages"]
    assert stages["warm_up"]["part"] == "warm_up"
    assert stages["score"]["part"] == "fit+warm_up"
    assert set(stages["score"]["parts"]) == {"fit", "warm_up"}


def test_an_earlier_selection_is_known_and_shown_as_avoided(here: Here, selecting: list[str], tmp_path: Path) -> None:
    here("select", *selecting, "--output", tmp_path / "first")
    arguments = selecting[: selecting.index("--data.selector")]
    settings = [*arguments, "--data.selection", tmp_path / "first", "--output", tmp_path / "run"]
    here("estimate", *settings)
    content = forecast_of(tmp_path / "run")
    assert set(content["stages"]) == {"train", "evaluate"}
    here("fit", *settings)
    forecast, found = content["terms"]["flops"], Saving.read(tmp_path / "run").flops
    assert forecast["selection"] == forecast["selection_avoided"] == pytest.approx(found.selection)
    assert forecast["training"] == pytest.approx(found.training, rel=1e-9)
    assert forecast["saving"] == pytest.approx(found.saving, rel=1e-9)


def test_a_sample_stands_for_the_pool(
    here: Here, selecting: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "ROWS", 70)
    monkeypatch.setattr("selectune.data.batches.CPU_TOKENS", 128)
    run = tmp_path / "run"
    here("estimate", *selecting, "--output", run)
    here("fit", *selecting, "--output", run)
    compare(run, exact=("score", "evaluate"), within=0.05)
    chosen = [*selecting, "--data.selector", "KCenter", "--output", str(tmp_path / "vectors")]
    assert "embedding lie in the cache already" in here("estimate", *chosen)
    monkeypatch.setenv("SELECTUNE_CACHE", str(tmp_path / "other"))
    here("fit", *chosen)
    compare(tmp_path / "vectors", exact=("score", "evaluate"), within=0.05)
    solve = forecast_of(tmp_path / "vectors")["stages"]["solve"]["flops"]
    spent = totals(read_ledger(tmp_path / "vectors" / "cost.jsonl")).spent["solve"].flops
    assert solve == pytest.approx(spent, rel=0.1), "from 35 and 70 rows to 216"


def test_several_devices_share_the_work_and_each_makes_every_step(
    here: Here, selecting: list[str], tmp_path: Path
) -> None:
    for name, devices in (("one", "1"), ("two", "2")):
        here(
            "estimate", *selecting, "--trainer.devices", devices, "--trainer.strategy", "ddp",
            "--output", tmp_path / name,
        )  # fmt: skip
    one, two = (forecast_of(tmp_path / name)["stages"] for name in ("one", "two"))
    assert two["score"]["flops"] == pytest.approx(one["score"]["flops"])
    assert two["score"]["wall_s"] == pytest.approx(two["score"]["device_s"] / 2)
    assert two["train"]["flops"] > one["train"]["flops"], "AdamW runs on both"


def test_what_a_fit_refuses_a_forecast_refuses(here: Here, selecting: list[str], tmp_path: Path) -> None:
    for more, named in (
        (["--data.text_column", "body"], ["'body'"]),
        (["--trainer.max_epochs", "-1"], ["trainer.max_epochs"]),
        (["--data.keep", "1.5"], ["data.keep", 1.5]),
        (["--model.checkpoint", str(tmp_path / "nowhere")], [tmp_path / "nowhere"]),
    ):
        assert names(here("estimate", *selecting, *more, "--output", tmp_path / "run", code=2), *named)
        assert not (tmp_path / "run").exists()
