"""Small models of random weights, in the hub's layout, with the tokenizer of another one."""

from __future__ import annotations

from pathlib import Path


def make_gpt2(folder: Path, tokenizer_of: Path) -> None:
    """A GPT-2 of 2 layers and 32 dimensions."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.2,
            eos_token_id=3,
        )  # fmt: skip
        GPT2LMHeadModel(config).save_pretrained(folder)


def make_classifier(folder: Path, model_folder: Path, classes: int = 3) -> None:
    """A model with a head for some classes, whose predictions are far from uniform."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=classes)
        network.classifier.weight.data.mul_(20)
    network.save_pretrained(folder)
