"""The last layer of an encoder, computed only where its classifier reads: at the first position of each row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

KNOWN = ("bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "roberta", "xlm-roberta")  # model types
TRIAL = ((5, 6, 7, 8, 9, 10), (11, 12, 13, 5, 5, 5))  # token ids of two rows, of which the second is padded
TOLERANCE = 1e-4


def read_first_position(network: Any) -> bool:
    """Let the last layer of a classifier leave out what nobody reads, and return whether it does.

    The classifier of a BERT reads one state of a row, that of its first token. Attention brings the others to it; what
    the last layer computes at the other positions after its attention (nine twelfths of its products by weights, in a
    DistilBERT eight) reaches neither the logits nor a gradient. So these positions are dropped there, in every pass
    from now on: the loss stays the same, dropout is drawn for fewer states, and the last hidden states have one
    position.

    A network of another kind, or one whose classifier is found to read other positions, stays as it is.
    """
    stack = stack_of(network) if network.config.model_type in KNOWN else None
    point = None if stack is None else _after_attention(stack[-1])
    if stack is None or point is None or any(weights.is_meta for weights in network.parameters()):
        return False
    hook = None
    try:
        before, alone = _trial(network, stack[-1])
        if alone:
            hook = point.register_forward_pre_hook(_first)
            alone = torch.allclose(before, _trial(network, stack[-1])[0], rtol=TOLERANCE, atol=TOLERANCE / 10)
    except Exception:  # whatever a network that was changed may raise on six tokens: it is left alone
        alone = False
    if hook is not None and not alone:
        hook.remove()
    return alone


def stack_of(network: Any) -> nn.ModuleList | None:
    """The stack of a transformer's layers; None where they are shared, or not in one list."""
    depth = network.config.num_hidden_layers
    lists = (module for module in network.base_model.modules() if isinstance(module, nn.ModuleList))
    return next((module for module in lists if len(module) == depth), None)


def _after_attention(layer: nn.Module) -> nn.Module | None:
    """The module of a layer whose inputs are what attention found and, to be added to it, what it looked at."""
    output = getattr(getattr(layer, "attention", None), "output", None)
    # DistilBERT adds the two outside of any module; the next one is the norm of their sum
    found: nn.Module | None = output or getattr(layer, "sa_layer_norm", None)
    return found


def _first(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(states[:, :1] for states in inputs)


def _trial(network: Any, layer: nn.Module) -> tuple[Tensor, bool]:
    """Logits of some rows, and whether they depend on the layer's output at the first position, and nowhere else."""
    training, device = network.training, next(network.parameters()).device
    ids = torch.tensor(TRIAL, device=device) % network.config.vocab_size
    real = torch.ones_like(ids)
    real[1, 3:] = 0
    states: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, inputs, output: states.append(_tensor(output)))
    try:
        with torch.inference_mode(False), torch.enable_grad():
            logits = network.eval()(input_ids=ids, attention_mask=real).logits
            (gradient,) = torch.autograd.grad(logits[:, 0].sum(), states[0])
    finally:
        hook.remove()
        network.train(training)
    read = gradient.abs().sum(-1) > 0
    return logits.detach(), bool(read[:, 0].all()) and not bool(read[:, 1:].any())


def _tensor(output: Any) -> Tensor:
    found: Tensor = output if isinstance(output, Tensor) else output[0]
    return found
