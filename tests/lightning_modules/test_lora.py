"""LoRA: what is trained, charged, kept and exported, and that the run of a config with it is a run as any other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from selectune import CostLedger, FineTuner, LanguageModeling, TextClassification
from selectune.common.errors import CheckpointError, UserError
from selectune.common.flop_formulas import adamw_flops
from selectune.costs.flops import count_flops
from selectune.costs.ledger import read_ledger
from selectune.data.sources import find_model
from selectune.lightning_modules.heads.base import before_output
from selectune.lightning_modules.lora import Lora
from tests.conftest import Here, Shared, metrics_of
from tests.mistakes import mistake
from tests.trainers import SaveAt, trainer_for

LORA = ("--model.lora.r", "4", "--model.lora.alpha", "8", "--model.learning_rate", "1e-2")


@pytest.fixture
def data(data_folder: Path) -> TextClassification:
    return TextClassification(str(data_folder), max_length=32, seed=3)


def fitted(data: Any, model: Path, lora: Lora | None, *callbacks: pl.Callback, **options: Any) -> Any:
    module = FineTuner(str(model), learning_rate=1e-2, seed=3, lora=lora)
    settings = {"max_epochs": 1, "num_sanity_val_steps": 0, "callbacks": list(callbacks)} | options
    trainer_for(**settings).fit(module, data)
    return module


def test_weights_stay_but_for_the_adapter_and_the_head(data: TextClassification, model_folder: Path) -> None:
    costs = CostLedger()
    module = fitted(data, model_folder, Lora(r=4), costs)
    from transformers import AutoModelForMaskedLM

    before = dict(AutoModelForMaskedLM.from_pretrained(model_folder).named_parameters())
    trained, same = set(), 0
    for name, weights in module.network.named_parameters():
        if weights.requires_grad:
            trained.add(next(part for part in ("lora_A", "lora_B", "pooler", "classifier") if part in name))
        elif (was := before.get(name.replace(".base_layer", ""))) is not None:
            torch.testing.assert_close(weights, was, atol=0, rtol=0)
            same += 1
    assert trained == {"lora_A", "lora_B", "pooler", "classifier"}
    assert same > 30
    adapted = [weights for name, weights in module.network.named_parameters() if "lora_B" in name]
    assert all(weights.abs().max() > 0 for weights in adapted), "B starts from 0, and every layer learns"
    # The ledger: forward passes cost the adapters' products more, backward passes no gradients of frozen weights.
    whole = CostLedger()
    unadapted = fitted(data, model_folder, None, whole)
    mine, full = (next(one for one in ledger.ledger.records if one.stage == "train") for ledger in (costs, whole))
    assert mine.flops < full.flops
    each = (costs, module), (whole, unadapted)
    forward = [ledger.counts.flops_of(one, False).of_batch(1, 8) for ledger, one in each]
    assert forward[0] > forward[1]
    n_trained = sum(weights.numel() for weights in module.network.parameters() if weights.requires_grad)
    assert costs.counts.step == adamw_flops(n_trained) < whole.counts.step


def test_the_flops_are_those_that_a_step_does(data: TextClassification, model_folder: Path) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    module = fitted(data, model_folder, Lora(r=4))
    counted = module.head.flops(module.network, backward=True).of_batch(2, 24)
    ids = torch.ones(2, 24, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module.network.eval()
        module.network(input_ids=ids).logits.sum().backward()
    assert counted == pytest.approx(counter.get_total_flops(), rel=1e-6)


@pytest.fixture
def masked(data_folder: Path) -> LanguageModeling:
    return LanguageModeling(str(data_folder), max_length=24, seed=3, max_train_rows=40)


def test_the_flops_of_a_masked_language_model_are_those_that_a_step_does(
    masked: LanguageModeling, model_folder: Path
) -> None:
    """Its vocabulary layer is frozen, and makes no product for a gradient of its own."""
    module = fitted(masked, model_folder, Lora(r=4), max_steps=1)
    module.head.probability = 0.25
    counted = module.head.flops(module.network, backward=True).of_batch(2, 24)
    ids, places = torch.ones(2, 24, dtype=torch.long), torch.arange(24).expand(2, 24) < 6
    module.network.eval()
    with before_output(module.network, lambda hidden: hidden[places]):
        done = count_flops(lambda: module.network(input_ids=ids).logits.sum().backward())
    assert counted == pytest.approx(done, rel=1e-6)


def test_checkpoints_hold_no_frozen_weights_that_are_tied(
    masked: LanguageModeling, model_folder: Path, tmp_path: Path
) -> None:
    module = fitted(masked, model_folder, Lora(r=4), SaveAt(tmp_path / "first.ckpt", 1), max_steps=1)
    assert module.network.cls.predictions.decoder.weight is module.network.get_input_embeddings().weight
    held = torch.load(tmp_path / "first.ckpt", weights_only=True)["state_dict"]
    trained = {name for name, weights in module.named_parameters() if weights.requires_grad}
    assert {name for name in held if name.startswith("network.")} == trained


def test_checkpoints_hold_what_is_trained_and_a_fit_goes_on_from_them(
    data: TextClassification, model_folder: Path, tmp_path: Path
) -> None:
    middle = tmp_path / "middle.ckpt"
    unbroken = fitted(data, model_folder, Lora(r=4, dropout=0.1), SaveAt(middle, 3))
    held = torch.load(middle, weights_only=True)["state_dict"]
    trained = {name for name, weights in unbroken.named_parameters() if weights.requires_grad}
    assert {name for name in held if name.startswith("network.")} == trained
    resumed = FineTuner(str(model_folder), learning_rate=1e-2, seed=3, lora=Lora(r=4, dropout=0.1))
    trainer = trainer_for(max_epochs=1, num_sanity_val_steps=0)
    trainer.fit(resumed, data, ckpt_path=middle, weights_only=True)
    for name, weights in unbroken.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weights, atol=1e-6, rtol=0)


@pytest.fixture(scope="session")
def adapted(shared: Shared, data_folder: Path, model_folder: Path) -> Path:
    """Exports of one training, as an ``adapter`` and ``merged``, and the ``logits`` of some ids."""

    def make(folder: Path) -> None:
        data = TextClassification(str(data_folder), max_length=32, seed=3)
        for name, merge in (("adapter", False), ("merged", True)):
            module = fitted(data, model_folder, Lora(r=4, merge=merge))
            (folder / name).mkdir()
            module.save_network(folder / name)
            data.tokenizer.save_pretrained(folder / name)
            with torch.no_grad():
                torch.save(module.network.eval()(input_ids=IDS).logits, folder / "logits")

    return shared("adapted", make)


IDS = torch.tensor([[2, 5, 9, 13, 3], [2, 7, 7, 8, 3]])


def test_an_export_is_an_adapter_that_peft_and_transformers_open(adapted: Path) -> None:
    from peft import AutoPeftModelForSequenceClassification
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder, logits = adapted / "adapter", torch.load(adapted / "logits")
    assert not (folder / "model.safetensors").exists()
    config = AutoConfig.from_pretrained(folder / "adapted")
    assert config.id2label == {0: "0", 1: "1"}
    opened = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    for network in (opened.eval(), AutoModelForSequenceClassification.from_pretrained(folder, config=config).eval()):
        torch.testing.assert_close(network(input_ids=IDS).logits, logits, atol=1e-5, rtol=0)
    merged = AutoModelForSequenceClassification.from_pretrained(adapted / "merged").eval()
    torch.testing.assert_close(merged(input_ids=IDS).logits, logits, atol=1e-5, rtol=0)
    assert not any("lora" in name for name, _ in merged.named_parameters())


def test_an_adapter_is_a_model_to_start_from(adapted: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = find_model(str(adapted / "adapter"))
    network = AutoModelForSequenceClassification.from_pretrained(source.folder).eval()
    torch.testing.assert_close(network(input_ids=IDS).logits, torch.load(adapted / "logits"), atol=1e-5, rtol=0)
    assert AutoTokenizer.from_pretrained(source.folder)("cat")["input_ids"]
    assert find_model(str(adapted / "adapter")).folder == source.folder, "it is merged once"


def test_what_is_missing_of_an_adapter_is_told(adapted: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapted / "adapter", tmp_path / "adapter"))
    file = folder / "adapter_config.json"
    asked = json.loads(file.read_text())
    file.write_text(json.dumps(asked | {"base_model_name_or_path": str(tmp_path / "gone")}))
    with mistake(CheckpointError, "gone", "adapter"):
        find_model(str(folder))
    file.write_text("{}")
    with mistake(CheckpointError, "adapter_config.json"):
        find_model(str(folder))
    file.write_text(json.dumps(asked))
    (folder / "adapted" / "config.json").unlink()
    with mistake(CheckpointError, "config.json", "model.lora.merge"):
        find_model(str(folder))


def test_layers_of_no_such_name_and_a_missing_package_are_told(
    data: TextClassification, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mistake(UserError, "model.lora.target_modules", "query", "key"):
        fitted(data, model_folder, Lora(target_modules=["q_proj"]))
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with mistake(UserError, "model.lora", "selectune[lora]"):
        fitted(data, model_folder, Lora())


def test_a_fit_with_an_adapter_is_tested_again_as_it_was(here: Here, arguments: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    here("fit", *arguments, *LORA, "--output", run)
    assert (run / "export" / "adapter_model.safetensors").is_file()
    before = metrics_of(run)
    here("test", *arguments, *LORA, "--output", run)
    after = metrics_of(run)
    assert after["test/loss"] == pytest.approx(before["test/loss"], abs=1e-5)
    assert after["test/accuracy"] == before["test/accuracy"]
    here("predict", *arguments, "--output", run)
    assert (run / "predictions.parquet").is_file()


def test_a_warm_up_may_have_an_adapter_of_its_own(
    here: Here, warming: list[str], selecting: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    here("fit", *warming, *selecting, "--warm_up.lora.r", "4", *LORA, "--output", run)
    assert (run / "warm_up" / "export" / "model.safetensors").is_file(), "the fine-tuning starts from whole weights"
    base = json.loads((run / "export" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(base) == run / "warm_up" / "export"
    records = {(record.part, record.stage): record for record in read_ledger(run / "cost.jsonl")}
    assert records["warm_up", "warm_up"].flops is not None
    assert records["fit", "train"].flops is not None
