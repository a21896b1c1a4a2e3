"""`tiny_bert`: the embedded model, a BERT of random weights with a vocabulary of its own, made for `docstrings`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

from selectune.common.progress import terminal
from selectune.data.embedded.docstrings import docstrings
from selectune.data.embedded.kept import made_once

FORMAT = 2  # part of the key: raise it whenever the same corpus would give another model
SEED = 0
MAX_LENGTH = 256
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # their ids are 0 to 4


def tiny_bert(
    cache: Path,
    corpus: Path | None = None,
    *,
    vocabulary: int = 8192,
    layers: int = 2,
    hidden: int = 128,
    heads: int = 2,
) -> Path:
    """Return the folder of the model, in the hub's layout, making it when it is not in the cache, or damaged there.

    ``AutoTokenizer``, ``AutoModel`` and ``AutoModelForMaskedLM`` open it. The WordPiece vocabulary, lower-cased, is
    trained on the corpus' train split; the weights are random, always the same, and the global random state is left
    as it was.

    Args:
        cache: the cache folder; the model is put into ``embedded/docstrings-bert-<key>`` there.
        corpus: a folder that `docstrings` returned; by default it is asked for it.
        vocabulary: the number of tokens at most, `SPECIAL` among them.
        layers: the number of blocks.
        hidden: the width; the feed-forward layers are four times as wide.
        heads: the attention heads of a block.

    Raises:
        DataError: see `docstrings`.
    """
    corpus = corpus or docstrings(cache)
    shape = {"vocabulary": vocabulary, "layers": layers, "hidden": hidden, "heads": heads}
    content = json.loads((corpus / "corpus.json").read_text())["fingerprint"]
    makers = {name: version(name) for name in ("tokenizers", "transformers", "torch")}
    recipe = json.dumps([FORMAT, SEED, MAX_LENGTH, SPECIAL, content, shape, makers])
    target = cache / "embedded" / f"docstrings-bert-{hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()}"

    def make(scratch: Path) -> None:
        import pyarrow.parquet as pq
        from transformers import BertTokenizer

        texts = pq.read_table(corpus / "train.parquet", columns=["text"])["text"].to_pylist()
        console = terminal()
        with console.status("Training a vocabulary") if console else nullcontext():
            ids = {piece: i for i, piece in enumerate(train_vocabulary(texts, vocabulary))}
            BertTokenizer(vocab=ids, do_lower_case=True, model_max_length=MAX_LENGTH).save_pretrained(scratch)
            _write_model(scratch, layers=layers, hidden=hidden, heads=heads)

    return made_once(target, make)


def train_vocabulary(texts: Sequence[str], size: int) -> list[str]:
    """Return a lower-cased WordPiece vocabulary: `SPECIAL`, then the pieces in alphabetical order.

    The trainer numbers the letters inside words (``##a``) in the order of a randomly seeded hash map and settles ties
    between merges by these numbers, so two runs differ. A first round without merges, on each word once, finds these
    letters; the second is given them as special tokens, whose numbers are fixed.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    def train(texts: Iterable[str], size: int, first: Sequence[str]) -> list[str]:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=[*first], show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        return sorted(tokenizer.get_vocab())

    words = sorted({word for text in texts for word in text.split()})
    inner = [piece for piece in train(words, len(SPECIAL), SPECIAL) if piece.startswith("##") and len(piece) == 3]
    pieces = train(texts, size, [*SPECIAL, *inner])
    return [*SPECIAL, *(piece for piece in pieces if piece not in SPECIAL)]


def _write_model(folder: Path, layers: int, hidden: int, heads: int) -> None:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM
    from transformers.utils import logging

    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=MAX_LENGTH,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0,  # it is trained for a minute and far from overfitting
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,  # at BERT's 0.02 so narrow a network learns hardly anything in its minute
    )
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)  # torch.manual_seed would seed the accelerators too
        model = BertForMaskedLM(config)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
    finally:
        if bars:
            logging.enable_progress_bar()
