"""The ledger in other people's Trainers: the same kinds of records as a fit writes, and the same counts."""

from __future__ import annotations

import json
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import transformers
from torch.utils.data import DataLoader, Dataset
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from selectune import CostLedger, TransformersCostLedger
from selectune.callbacks.batch_costs import BatchCosts
from selectune.common.errors import RunDirectoryError
from selectune.common.flop_formulas import adamw_flops
from selectune.common.run_files import RunFiles
from selectune.costs.flops import FlopModel, made_up_row, model_flops
from selectune.costs.ledger import read_ledger
from selectune.costs.record import CostRecord, add_up
from selectune.costs.uninterrupted import split_costs
from tests.mistakes import mistake
from tests.trainers import Crossings

ROWS, LENGTH, PADDED = 20, 7, 9


class Rows(Dataset):
    """Rows of one length, padded."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        ids = (torch.arange(PADDED) + row) % 20 + 5
        mask = (torch.arange(PADDED) < LENGTH).long()
        return {"input_ids": ids * mask, "attention_mask": mask, "labels": torch.tensor(row % 2)}


@pytest.fixture
def network(model_folder: Path) -> PreTrainedModel:
    return AutoModelForSequenceClassification.from_pretrained(model_folder)


def hugging_face(network: Any, folder: Path, *callbacks: Any, **options: Any) -> Trainer:
    settings: dict[str, Any] = {
        "num_train_epochs": 2, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 10,
        "eval_strategy": "epoch", "save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True,
    }  # fmt: skip
    arguments = TrainingArguments(str(folder / "out"), **settings | options)
    return Trainer(network, arguments, train_dataset=Rows(), eval_dataset=Rows(), callbacks=list(callbacks))


class Module(pl.LightningModule):
    """Somebody's own module around a model of transformers."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.encoder = network

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.encoder(**batch).loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.encoder(**batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def lightning(costs: CostLedger, module: pl.LightningModule) -> None:
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=[costs],
    )  # fmt: skip
    trainer.fit(module, DataLoader(Rows(), batch_size=4), DataLoader(Rows(), batch_size=10))


def assert_is_the_ledger_of_two_epochs(records: list[CostRecord], network: Any) -> None:
    """Two epochs of 20 rows in batches of 4, each validated."""
    stages = [(one.stage, one.work) for one in records]
    validations = [("evaluate", f"train: validate after {batches} batches") for batches in (5, 10)]
    assert sorted(stages) == sorted([("train", "train"), *validations])
    forward, both = (model_flops(network, lambda length: made_up_row(network, length), back) for back in (False, True))
    weights = sum(weight.numel() for weight in network.parameters())
    (train,) = (one for one in records if one.stage == "train")
    counts = (2 * ROWS, 2 * ROWS * LENGTH, 2 * ROWS * PADDED)
    assert (train.examples, train.tokens, train.padded_tokens) == counts
    assert train.flops == pytest.approx(both.of_batch(2 * ROWS, PADDED) + 10 * adamw_flops(weights), rel=1e-9)
    for one in records:
        assert one.finished
        assert one.wall_s > 0
        if one.stage == "evaluate":
            assert (one.examples, one.tokens) == (ROWS, ROWS * LENGTH)
            assert one.flops == pytest.approx(forward.of_batch(ROWS, PADDED), rel=1e-9)


def test_of_a_transformers_trainer(network: PreTrainedModel, tmp_path: Path) -> None:
    fresh = deepcopy(network)
    trainer = hugging_face(network, tmp_path, TransformersCostLedger(tmp_path / "run"))
    trainer.train()
    records = read_ledger(tmp_path / "run" / "cost.jsonl")
    assert_is_the_ledger_of_two_epochs(records, fresh)
    trainer.predict(Rows())
    after = read_ledger(tmp_path / "run" / "cost.jsonl")[len(records) :]
    assert [(one.stage, one.work, one.examples) for one in after] == [
        ("evaluate", "train: predict after 10 batches", ROWS)
    ]


def test_of_a_lightning_trainer_and_somebodys_module(network: PreTrainedModel, tmp_path: Path) -> None:
    lightning(CostLedger(tmp_path / "run"), Module(network))
    assert_is_the_ledger_of_two_epochs(read_ledger(tmp_path / "run" / "cost.jsonl"), network)


def test_flops_that_cannot_be_counted_are_unknown_and_the_rest_is_charged() -> None:
    class Plain(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return self.layer(batch[0]).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    costs = CostLedger()
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[costs],
    )  # fmt: skip
    trainer.fit(Plain(), DataLoader(torch.utils.data.TensorDataset(torch.ones(6, 3)), batch_size=2))
    (record,) = costs.ledger.records
    assert (record.stage, record.examples, record.flops) == ("train", 6, None)
    assert "input_ids" in record.flops_method


def tiny(kind: str, **settings: Any) -> Any:
    sizes = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "vocab_size": 30, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "image_size": 8,
        "patch_size": 4, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
    }  # fmt: skip
    model = getattr(transformers, kind)
    known = {name: size for name, size in sizes.items() if hasattr(model.config_class(), name)}
    return model(model.config_class(**known | settings))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("ViTForImageClassification", "AttributeError"),
        ("BertForMultipleChoice", "not counted: "),
        ("T5ForConditionalGeneration", "decoder"),
        ("BartForConditionalGeneration", "decoder"),
    ],
)
@pytest.mark.parametrize("backward", [True, False])
def test_why_the_flops_of_a_model_are_unknown_is_told(kind: str, reason: str, backward: bool) -> None:
    costs, model = BatchCosts(), tiny(kind)
    found = costs.flops_of(model, backward)
    assert isinstance(found, str)
    assert reason in found
    assert "\n" not in found
    assert not costs.counting


def test_a_classifier_with_a_decoder_is_counted() -> None:
    model = tiny("T5ForSequenceClassification", decoder_start_token_id=0)
    assert isinstance(BatchCosts().flops_of(model, True), FlopModel)


def test_somebodys_training_goes_on_where_flops_cannot_be_counted(network: PreTrainedModel) -> None:
    """By a kind of recomputing that gives no gradients to whoever asks for some alone."""
    network.gradient_checkpointing_enable({"use_reentrant": True})
    network.train()
    costs, module = CostLedger(), Module(network)
    lightning(costs, module)
    assert module.global_step == 10
    (train,) = (one for one in costs.ledger.records if one.stage == "train")
    assert (train.examples, train.flops) == (2 * ROWS, None)
    assert train.flops_method.startswith("not counted: RuntimeError: ")


def test_a_fit_of_other_weights_is_counted_anew(network: PreTrainedModel, tmp_path: Path) -> None:
    steps = 10 * adamw_flops(sum(weight.numel() for weight in network.parameters()))
    mine, theirs = CostLedger(), TransformersCostLedger()
    first = deepcopy(network)
    lightning(mine, Module(network))
    hugging_face(first, tmp_path, theirs).train()
    network.base_model.requires_grad_(False)
    lightning(mine, Module(network))
    trained = hugging_face(deepcopy(network), tmp_path, theirs)
    assert not first._forward_pre_hooks, "calls of a model that is trained no more are none of its"
    trained.train()
    frozen = model_flops(network, lambda length: made_up_row(network, length), True).of_batch(2 * ROWS, PADDED)
    head = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    for records, of_steps in ((mine.ledger.records, steps), (theirs.ledger.records, 10 * adamw_flops(head))):
        whole, again = (one.flops for one in records if one.stage == "train")
        assert again == pytest.approx(frozen + of_steps, rel=1e-9)
        assert again < whole


def test_calls_outside_the_trainer_are_charged_to_no_stage(network: PreTrainedModel, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = {name: value[None] for name, value in Rows()[0].items()}

    class Sampling(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            call()

    def call() -> None:
        network.eval()
        network(**asked)
        network.train()

    costs = TransformersCostLedger(run)
    trainer = hugging_face(network, tmp_path, costs, Sampling())
    trainer.train()
    records = read_ledger(run / "cost.jsonl")
    assert sorted((one.stage, one.examples) for one in records) == [
        ("evaluate", ROWS), ("evaluate", ROWS), ("train", 2 * ROWS),
    ]  # fmt: skip
    call()
    assert not list(RunFiles(run).open_costs.glob("*.json")), "nothing is open"
    began = time.perf_counter()
    trainer.evaluate()
    spent = time.perf_counter() - began
    (after,) = read_ledger(run / "cost.jsonl")[len(records) :]
    assert after.examples == ROWS
    assert after.wall_s <= spent


def test_the_best_checkpoint_holds_what_its_training_has_cost(network: PreTrainedModel, tmp_path: Path) -> None:
    options = {"save_strategy": "best", "metric_for_best_model": "eval_loss", "greater_is_better": False}
    hugging_face(network, tmp_path, TransformersCostLedger(), **options, num_train_epochs=1).train()
    state = json.loads((tmp_path / "out" / "checkpoint-5" / "trainer_state.json").read_text())
    (kept,) = state["stateful_callbacks"]["TransformersCostLedger"]["attributes"]["saved"]
    assert (kept["examples"], kept["tokens"]) == (ROWS, ROWS * LENGTH)


def test_batches_are_added_up_without_waiting_for_the_device(network: PreTrainedModel) -> None:
    costs, counts, batch = CostLedger().ledger.open("train"), BatchCosts(), next(iter(DataLoader(Rows(), 4)))
    counts.flops_of(network, True)
    with Crossings() as crossings:
        for _ in range(3):
            counts.add(costs, network, [(batch, (True,))])
    assert crossings.seen == []
    assert costs.close().tokens == 3 * 4 * LENGTH


def test_a_training_that_goes_on_keeps_what_its_checkpoint_has_cost(
    network: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selectune.costs.ledger.HEARTBEAT_S", 0.001)  # nobody tells a callback of an error
    options = {"save_strategy": "steps", "save_steps": 4, "eval_strategy": "no"}
    whole = TransformersCostLedger()
    hugging_face(network, tmp_path / "whole", whole, **options).train()
    (unbroken,) = whole.ledger.records

    class Stop(Exception):  # noqa: N818
        pass

    class Break(TransformersCostLedger):
        def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step == 6:
                raise Stop

    Break.__name__ = "TransformersCostLedger"  # as it stands in the checkpoint
    with pytest.raises(Stop):
        hugging_face(network, tmp_path, Break(tmp_path / "run"), **options).train()
    again = hugging_face(network, tmp_path, TransformersCostLedger(tmp_path / "run"), **options)
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    records = read_ledger(tmp_path / "run" / "cost.jsonl")
    costs = split_costs(records)
    kept, redone = (add_up(one for one in some if one.stage == "train") for some in (costs.kept, costs.redone))
    assert (kept.examples, kept.flops) == (unbroken.examples, pytest.approx(unbroken.flops, rel=1e-9))
    assert redone.examples == 2 * 4, "two steps were done again"
    with mistake(RunDirectoryError, "run", "resume_from_checkpoint"):
        hugging_face(network, tmp_path, TransformersCostLedger(tmp_path / "run"), **options).train()
