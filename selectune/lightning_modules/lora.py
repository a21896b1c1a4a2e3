"""LoRA: small trained matrices beside frozen weights, by the library ``peft``.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
"""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from selectune.common import checks
from selectune.common.errors import UserError
from selectune.common.extras import imported
from selectune.common.run_files import adapter_config
from selectune.data.sources import EMBEDDED_MODEL, ModelSource

TASKS = {  # of an Auto class, the name that peft has for its task
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForQuestionAnswering": "QUESTION_ANS",
    "AutoModelForCausalLM": "CAUSAL_LM",
}


@dataclass(frozen=True)
class Lora:
    """Trains W + alpha / r * B A in place of W, with B from 0; the head of a task is trained whole.

    Args:
        r: rank of A and B.
        alpha: over `r` the scale of B A.
        dropout: of what A reads.
        target_modules: ends of the names of the layers that are adapted; default all linear ones below the head.
        merge: export the whole model with B A added to its weights, instead of the adapter alone.

    Raises:
        UserError: a number out of its range.
    """

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: list[str] | None = None
    merge: bool = False

    def __post_init__(self) -> None:
        checks.at_least("lora.r", self.r, 1)
        checks.positive("lora.alpha", self.alpha)
        checks.between("lora.dropout", self.dropout, 0, 0.99)


class Adapter:
    """The adapter of a network, in which peft has put it in place.

    Args:
        network: of transformers; its weights are frozen from now on, but for those of the adapter and of the head.
        lora: the settings.
        auto_class: that the network was built by.
        new: names of the weights that the checkpoint lacks, which are trained whole.
        checkpoint: the name that the user gave the model.
        source: where it was found.

    Raises:
        UserError: peft is not installed, or no layer has such a name.
    """

    def __init__(
        self, network: Any, lora: Lora, auto_class: str, new: list[str], checkpoint: str, source: ModelSource
    ) -> None:
        peft = imported("peft", "model.lora")
        self.merge = lora.merge
        config = peft.LoraConfig(
            task_type=TASKS.get(auto_class),
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.target_modules or "all-linear",
            modules_to_save=_trained_whole(network, auto_class, new),
        )
        try:
            with warnings.catch_warnings():  # of what peft calls in transformers
                warnings.simplefilter("ignore", FutureWarning)
                self.adapted = peft.get_peft_model(network, config)
        except ValueError as error:
            layers = sorted({name.rpartition(".")[2] for name, module in network.named_modules() if _is_linear(module)})
            raise UserError(
                f"model.lora.target_modules fits no layer of {source.described}; its linear layers are "
                f"{', '.join(layers)}.",
                option="model.lora.target_modules",
            ) from error
        # peft noted the folder in which the model was found, which another machine has elsewhere
        place = source.folder if checkpoint == EMBEDDED_MODEL else Path(checkpoint)
        noted = self.adapted.peft_config["default"]
        noted.base_model_name_or_path = str(place.resolve()) if place.is_dir() else checkpoint.partition("@")[0]
        noted.revision = source.revision

    def save(self, folder: Path) -> None:
        """Write the adapter with the config of the adapted network, or the merged model."""
        if self.merge:
            deepcopy(self.adapted).merge_and_unload().save_pretrained(folder)
            return
        self.adapted.save_pretrained(folder)
        # beside it, as transformers would look for whole weights where it finds config.json
        network = self.adapted.base_model.model
        network.config.architectures = [type(network).__name__]
        network.config.save_pretrained(adapter_config(folder).parent)


def _trained_whole(network: Any, auto_class: str, new: list[str]) -> list[str]:
    """Names of the modules that are trained whole: the head of a task, and layers that the checkpoint lacks."""
    lacking = {name.rpartition(".")[0] for name in new}
    names = {name for name, module in network.named_modules() if name in lacking and not list(module.children())}
    if not auto_class.endswith("LM"):
        body = network.base_model
        children = [(name, child) for name, child in network.named_children() if child is not body]
        heads = {name for name, child in children if any(True for _ in child.parameters())}
        names = heads | {name for name in names if name.partition(".")[0] not in heads}
    return sorted(names)


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"  # GPT-2's linear layers
