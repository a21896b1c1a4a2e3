"""Small models of random weights, in the hub's layout, with the tokenizer of another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
T5_SIZES = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
BUCKETS = {"position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0}
BERT, ROBERTA = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
T5, GPT = ("<pad>", "</s>", "<unk>"), ("<|endoftext|>", "<unk>")
ARCHITECTURES: dict[str, tuple[str, Sequence[str], dict[str, Any]]] = {  # class, special tokens, config
    "bert": ("BertForMaskedLM", BERT, SIZES),
    "modernbert": ("ModernBertForMaskedLM", BERT, SIZES | {"local_attention": 8}),
    "deberta": ("DebertaForMaskedLM", BERT, SIZES | RELATIVE),
    "deberta-v2": ("DebertaV2ForMaskedLM", BERT, SIZES | RELATIVE | BUCKETS),
    "roberta": ("RobertaForMaskedLM", ROBERTA, SIZES | {"type_vocab_size": 1}),
    "distilbert": ("DistilBertForMaskedLM", BERT, {"dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 64}),
    "albert": ("AlbertForMaskedLM", BERT, SIZES | {"embedding_size": 16}),
    "electra": ("ElectraForPreTraining", BERT, SIZES | {"embedding_size": 16}),
    "electra-generator": ("ElectraForMaskedLM", BERT, SIZES | {"embedding_size": 16}),
    "gpt2": ("GPT2LMHeadModel", GPT, {"n_embd": 32, "n_layer": 3, "n_head": 2}),
    "llama": ("LlamaForCausalLM", GPT, SIZES | {"num_key_value_heads": 1, "pad_token_id": 5}),
    "t5": ("T5ForConditionalGeneration", T5, T5_SIZES),
    "t5-encoder": ("T5EncoderModel", T5, T5_SIZES),
}
POSITIONS = 64  # of those with learned ones
ROLES = {
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "pad": ("[PAD]", "<pad>"),
    "bos": ("[CLS]", "<s>", GPT[0]),
    "eos": ("[SEP]", "</s>", GPT[0]),
}


def make_model(folder: Path, name: str, words: Sequence[str], **other: Any) -> None:
    """A random model of an architecture, with a tokenizer of some words; `other` settings stand in its config.

    Decoders have no padding token, as those that are published; the config of the llama names one that is a word.
    """
    import torch
    import transformers

    kind, special, sizes = ARCHITECTURES[name]
    _make_tokenizer(folder, special, words)
    ids = {
        f"{role}_token_id": special.index(token) for role, known in ROLES.items() for token in known if token in special
    }
    ids |= {"decoder_start_token_id": 0} if special is T5 else {}
    model = getattr(transformers, kind)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"vocab_size": len(special) + len(words), "max_position_embeddings": POSITIONS}
        model(model.config_class(**shape | ids | sizes | other)).save_pretrained(folder)


def _make_tokenizer(folder: Path, special: Sequence[str], words: Sequence[str]) -> None:
    """A tokenizer of whole words, which puts special tokens around a text as models of the kind are used to."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([*special, *words])}
    unknown = next(token for token in special if token.lower() in ("[unk]", "<unk>"))
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    roles = {"unk_token": unknown}
    if special in (BERT, ROBERTA):
        first, last, pad, mask = BERT[2], BERT[3], BERT[0], BERT[4]
        if special is ROBERTA:
            first, pad, last, _, mask = ROBERTA
        backend.post_processor = processors.BertProcessing((last, vocabulary[last]), (first, vocabulary[first]))
        roles |= {"cls_token": first, "sep_token": last, "mask_token": mask, "pad_token": pad}
    elif special is T5:
        backend.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
        roles |= {"eos_token": "</s>", "pad_token": "<pad>"}
    else:
        roles |= {"eos_token": GPT[0], "bos_token": GPT[0]}
    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **roles).save_pretrained(folder)


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
