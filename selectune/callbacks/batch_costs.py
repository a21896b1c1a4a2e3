"""Rows, tokens and FLOPs of the batches that a Trainer runs, this project's or anyone's."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from selectune.common.flop_formulas import adamw_flops
from selectune.costs.flops import FlopModel, UnfitFlopsError, made_up_row, model_flops
from selectune.costs.ledger import StageCost

UNKNOWN_MODEL = "not counted: the FLOPs of a model that is none of transformers"
UNKNOWN_TARGET = "not counted: the FLOPs of a decoder whose texts are as long as they are"
UNKNOWN_ROWS = "not counted: a batch without input_ids"


class Work(NamedTuple):
    """A batch as a ledger counts it."""

    examples: int
    tokens: int | torch.Tensor  # padding left out; on the batch's device, which is not waited for, where it adds it up
    shape: tuple[int, int] | None  # rows and padded length of what the model reads; None where there are no input_ids

    @classmethod
    def of(cls, batch: Any) -> Work:
        """The work of a batch: this project's own, a mapping with ``input_ids``, or any other with tensors of rows."""
        if isinstance(batch, Mapping) and isinstance(ids := batch.get("input_ids"), torch.Tensor):
            shape = (ids.numel() // ids.shape[-1], ids.shape[-1])
            if "rows" in batch and "n_tokens" in batch:
                return cls(len(batch["rows"]), batch["n_tokens"], shape)
            mask = batch.get("attention_mask")
            return cls(shape[0], ids.numel() if mask is None else mask.sum(), shape)
        first = next((leaf for leaf in tree_leaves(batch) if isinstance(leaf, torch.Tensor) and leaf.ndim), None)
        return cls(0 if first is None else len(first), 0, None)


class BatchCosts:
    """Counts the FLOPs of a model once, and adds what its batches take to a stage.

    A model of which other weights are trained than before needs a fresh one.
    """

    def __init__(self) -> None:
        self.step: int | None = 0  # FLOPs of a step of the optimizers, None where unknown
        self.step_method = ""
        self.counting = False  # whether the model is called to count it now
        self._module: Any = None
        self._flops: dict[bool, FlopModel | str] = {}  # of the module

    def optimized_by(self, optimizers: Iterable[Any]) -> None:
        """Take the FLOPs of a step from the optimizers of a training."""
        optimizers = [getattr(one, "optimizer", one) for one in optimizers]  # accelerate wraps them
        groups = [group for one in optimizers for group in one.param_groups]
        weights = sum(weight.numel() for group in groups for weight in group["params"])
        known = all(isinstance(one, torch.optim.AdamW) for one in optimizers)
        self.step = adamw_flops(weights) if known else None  # every rank does the whole step
        self.step_method = "AdamW: 14 a weight and step" if known else "FLOPs of this optimizer are not known"

    def flops_of(self, module: Any, backward: bool) -> FlopModel | str:
        """FLOPs of a row, forward alone or with the backward pass; or why they are unknown."""
        if module is not self._module:
            self._module, self._flops = module, {}
        if backward not in self._flops:
            both, self.counting = self._flops.get(True), True
            try:
                # counted beside the backward pass already, if the training came first
                counted = both.forward if isinstance(both, FlopModel) and not backward else None
                self._flops[backward] = counted or _counted(module, backward)
            except UnfitFlopsError as error:
                self._flops[backward] = str(error)
            finally:
                self.counting = False
        return self._flops[backward]

    def add(self, cost: StageCost, module: Any, work: Sequence[tuple[Any, Any]], stepped: bool = False) -> None:
        """Add the parts of a batch, each with its passes (whether backward too), and the optimizer's step, at once."""
        examples = padded_tokens = 0
        tokens: int | torch.Tensor = 0
        flops: list[Any] = [self.step] if stepped else []
        methods = []
        for batch, passes in work:
            part = Work.of(batch)
            examples, tokens = examples + part.examples, tokens + part.tokens
            padded_tokens += part.shape[0] * part.shape[1] if part.shape else 0
            for backward in passes:
                model = self.flops_of(module, backward) if part.shape else UNKNOWN_ROWS
                known = part.shape is not None and isinstance(model, FlopModel)
                flops.append(model.of_batch(*part.shape) if known else None)  # type: ignore[union-attr,misc]
                methods.append(model.method if isinstance(model, FlopModel) else model)
        methods += [self.step_method] if stepped else []
        cost.add(examples, tokens, padded_tokens, None if None in flops else sum(flops), methods)


def _counted(module: Any, backward: bool) -> FlopModel:
    """FLOPs of a row by the module's head, or by the model of transformers that it is or holds."""
    head: Any = getattr(module, "head", None)
    if hasattr(head, "flops"):
        counted: FlopModel = head.flops(module.network, backward)
        return counted
    if (model := _model_in(module)) is None:
        raise UnfitFlopsError(UNKNOWN_MODEL)
    if model.config.is_encoder_decoder and not _is_classifier(model):
        raise UnfitFlopsError(UNKNOWN_TARGET)
    try:
        return model_flops(model, partial(made_up_row, model), backward)
    except UnfitFlopsError:
        raise
    except Exception as error:  # of somebody's model, whose training goes on with its FLOPs unknown
        reason = next(iter(str(error).splitlines()), "")
        raise UnfitFlopsError(f"not counted: {type(error).__name__}: {reason}") from error


def _is_classifier(model: Any) -> bool:
    """Whether a decoder, if there is one, reads the encoder's row once more."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as KNOWN

    return type(model).__name__ in KNOWN.values()


def _model_in(module: nn.Module) -> Any:
    if (transformers := sys.modules.get("transformers")) is None:  # else it cannot hold such a model
        return None
    return next((one for one in module.modules() if isinstance(one, transformers.PreTrainedModel)), None)
