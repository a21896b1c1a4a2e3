"""Architectures: a tiny random model of each selects and is fine-tuned, or says in a sentence what it cannot."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from selectune import IGSE, CostLedger, FineTuner, TextClassification
from selectune.common.errors import CheckpointError, DataError, UserError
from selectune.data.sources import find_model
from selectune.data.tokens import load_tokenizer
from selectune.lightning_modules.heads import load_network
from selectune.lightning_modules.lora import Lora
from selectune.selectors import KCenter
from tests.conftest import BAD, GOOD, WORDS, Shared
from tests.mistakes import mistake
from tests.random_models import ARCHITECTURES, POSITIONS, make_model
from tests.trainers import trainer_for

FAST = ("gpt2",)
NO_LANGUAGE = ("electra", "t5", "t5-encoder")  # without a language-model head that reads a text as it stands
LABELLED = [name for name in ARCHITECTURES if name != "t5-encoder"]
Made = Callable[[str], Path]


def each(names: list[str]) -> list:
    return [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in names]


@pytest.fixture
def made(shared: Shared) -> Made:
    words = [*WORDS, *GOOD, *BAD, *"0123456"]

    def model(name: str) -> Path:
        return shared(f"a-{name}", partial(make_model, name=name, words=words))

    return model


def rows(folder: Path, **options: object) -> TextClassification:
    return TextClassification(str(folder), max_length=32, seed=1, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", each([name for name in LABELLED if name not in NO_LANGUAGE]))
def test_it_selects_by_entropies_and_is_tested_again_as_it_was(
    name: str, made: Made, data_folder: Path, tmp_path: Path
) -> None:
    costs, module = CostLedger(), FineTuner(str(made(name)), learning_rate=1e-2, seed=1)
    data, trainer = rows(data_folder, selector=IGSE(), keep=0.25), trainer_for(max_epochs=1, callbacks=[costs])
    trainer.fit(module, data)
    before = trainer.test(module, data, verbose=False)[0]
    stages = {record.stage: record.flops for record in costs.ledger.records}
    assert min(stages["score"], stages["train"], stages["evaluate"]) > 0
    module.save_network(tmp_path)
    data.tokenizer.save_pretrained(tmp_path)
    small = rows(data_folder, max_batch_tokens=48)  # padded otherwise
    after = trainer_for().test(FineTuner(str(tmp_path)), small, verbose=False)[0]
    assert after["test/loss"] == pytest.approx(before["test/loss"], abs=1e-5)


@pytest.mark.parametrize("name", each(list(ARCHITECTURES)))
def test_it_selects_by_embeddings(name: str, made: Made, data_folder: Path) -> None:
    data, costs = rows(data_folder, selector=KCenter(), keep_rows=20), CostLedger()
    module, trainer = FineTuner(str(made(name)), seed=1), trainer_for(max_epochs=1, callbacks=[costs])
    if name in LABELLED:
        trainer.fit(module, data)
        assert len(data.train_rows) == 20
        return
    with mistake(CheckpointError, "encoder", "decoder"):
        trainer.fit(module, data)
    assert data.selected is not None
    assert len(data.selected.rows) == 20


@pytest.mark.parametrize("name", each([name for name in ARCHITECTURES if name in NO_LANGUAGE]))
def test_what_has_no_language_model_head_says_so(name: str, made: Made, data_folder: Path) -> None:
    data = rows(data_folder, selector=IGSE(), keep=0.25)
    with mistake(CheckpointError, "masked-LM", "generative_entropy", "scorer.checkpoint"):
        trainer_for(max_epochs=1).fit(FineTuner(str(made(name))), data)


@pytest.mark.parametrize("name", each(LABELLED))
def test_it_takes_an_adapter_and_computes_layers_again(name: str, made: Made, data_folder: Path) -> None:
    costs = CostLedger()
    module = FineTuner(str(made(name)), learning_rate=1e-2, lora=Lora(r=2), gradient_checkpointing=True)
    trainer = trainer_for(max_epochs=1, callbacks=[costs])
    if name == "albert":
        with mistake(UserError, "model.gradient_checkpointing", "AlbertForSequenceClassification"):
            trainer.fit(module, rows(data_folder))
        return
    trainer.fit(module, rows(data_folder))
    assert next(record for record in costs.ledger.records if record.stage == "train").flops


@pytest.mark.parametrize("name", each(["roberta", "gpt2", "bert"]))
def test_a_row_may_be_as_long_as_the_positions_reach(name: str, made: Made, data_folder: Path) -> None:
    longest = POSITIONS - 2 if name == "roberta" else POSITIONS
    tokenizer = load_tokenizer(made(name))
    with mistake(DataError, "data.max_length", longest + 1, longest):
        TextClassification(str(data_folder), max_length=longest + 1).check_length(tokenizer)
    TextClassification(str(data_folder), max_length=longest).check_length(tokenizer)
    network, _ = load_network("AutoModel", find_model(str(made(name))))
    ids = tokenizer("cat " * 2 * POSITIONS, truncation=True, max_length=longest, return_tensors="pt")["input_ids"]
    assert ids.shape[1] == longest
    assert network(input_ids=ids)[0].isfinite().all()
