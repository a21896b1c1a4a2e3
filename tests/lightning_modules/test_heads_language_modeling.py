"""Language-model heads."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from selectune import Export, FineTuner, LanguageModeling
from selectune.lightning_modules.heads import CausalLMHead, MaskedLMHead
from tests.conftest import sentences
from tests.trainers import trainer_for


def validated(module: FineTuner, data: LanguageModeling) -> dict[str, float]:
    return dict(trainer_for().validate(module, data, verbose=False)[0])


def test_causal_perplexity_equals_a_slow_loop(causal_folder: Path, data_folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    data = LanguageModeling(str(data_folder), objective="causal", max_length=32, max_batch_tokens=200)
    found = validated(FineTuner(str(causal_folder)), data)
    network = AutoModelForCausalLM.from_pretrained(causal_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(causal_folder)
    total, count = 0.0, 0
    for text in data.splits["dev"]["text"]:
        ids = tokenizer(text, truncation=True, max_length=32)["input_ids"]
        for end in range(1, len(ids)):
            with torch.no_grad():
                logits = network(input_ids=torch.tensor([ids[:end]])).logits[0, -1].double()
            total -= float(logits.log_softmax(-1)[ids[end]])
            count += 1
    assert found["val/perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)
    assert found["val/loss"] == pytest.approx(total / count, abs=1e-5)


def test_masks_are_of_the_asked_share_and_never_on_special_tokens(model_folder: Path) -> None:
    from transformers import AutoModelForMaskedLM

    network = AutoModelForMaskedLM.from_pretrained(model_folder).eval()
    ids = torch.randint(5, 20, (64, 30))
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, 0] = True
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    head = MaskedLMHead(mask_id=4, vocabulary=network.config.vocab_size, probability=0.3)
    output = head.forward(network, batch | {"special": special, "rows": [7]})
    assert output.items == pytest.approx(0.3 * 64 * 29, rel=0.1)
    again = head.forward(network, batch | {"special": special, "rows": [7]})
    assert torch.equal(output.targets, again.targets), "an evaluation sees the same masks each time"
    network.train()
    first, second = (head.forward(network, batch | {"special": special, "rows": [7]}) for _ in range(2))
    assert first.items != second.items or not torch.equal(first.targets, second.targets), "training draws anew"


@pytest.mark.parametrize("objective", ["masked", "causal"])
def test_warming_up_lowers_the_held_out_loss_and_its_export_opens(
    objective: str, model_folder: Path, causal_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    import transformers

    folder = model_folder if objective == "masked" else causal_folder
    data = LanguageModeling(str(data_folder), objective=objective, window=8, join=True, max_length=16, seed=0)  # type: ignore[arg-type]
    module = FineTuner(str(folder), learning_rate=5e-3)
    before = validated(FineTuner(str(folder)), data)["val/loss"]
    trainer_for(max_epochs=4, callbacks=[Export(tmp_path)]).fit(module, data)
    after = validated(module, data)
    assert after["val/loss"] < before - 0.05
    assert after["val/perplexity"] == pytest.approx(math.exp(after["val/loss"]), rel=1e-5)
    assert module.head is not None
    opened = getattr(transformers, module.head.auto_class).from_pretrained(tmp_path).eval()
    ids = torch.tensor([[2, 8, 9, 10, 3]])
    module.network.eval()
    with torch.no_grad():
        torch.testing.assert_close(opened(ids).logits, module.network(ids).logits)


def test_segments_point_back_to_their_rows(data_folder: Path, model_folder: Path) -> None:
    data = LanguageModeling(str(data_folder), window=20, window_unit="characters", max_train_rows=50, seed=0)
    data.load()
    texts = sentences(240, seed=1)[0]
    assert len(data.pool) == 50
    for (text,), row in zip(data.pool.texts(), data.pool.source_rows):
        assert text in texts[row]


def test_a_causal_head_counts_next_tokens() -> None:
    class Echo(torch.nn.Module):
        """Predicts token t + 1 after token t."""

        def __init__(self) -> None:
            super().__init__()
            self.head, self.config = torch.nn.Linear(20, 20, bias=False), type("C", (), {"type_vocab_size": 0})()
            self.head.weight.data = torch.roll(torch.eye(20), 1, dims=0) * 50

        def get_output_embeddings(self) -> torch.nn.Module:
            return self.head

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
            logits = self.head(torch.nn.functional.one_hot(input_ids, 20).float())
            return type("O", (), {"logits": logits})()

    batch = {"input_ids": torch.tensor([[3, 4, 5, 0], [7, 8, 0, 0]])}
    batch["attention_mask"] = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    output = CausalLMHead(20).forward(Echo(), batch)
    assert output.items == 3
    assert output.targets.tolist() == [4, 5, 8]
    assert output.predictions.tolist() == [4, 5, 8]
    assert float(output.loss_sum) < 1e-4
