"""The optimiser: AdamW, whose weight decay leaves alone what it should."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import Module, Parameter

from video_opd.config import TrainingSettings


def make_optimizer(model: Module, parameters: Mapping[str, Parameter], settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW in two groups of parameters, with weight decay and without.

    It is PyTorch's fused one where that computes all of them: one pass over the weights in place of about ten, and no
    memory beside the two means. Its last bits are other ones than those of PyTorch's other AdamW.

    Args:
        parameters: of the model, those that are trained, by name.

    Raises:
        ValueError: there are none.
    """
    decays = list_decaying(model)
    groups = [
        {"params": [p for name, p in parameters.items() if (name in decays) == decay], "weight_decay": amount}
        for decay, amount in ((True, settings.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=settings.betas,
        fused=all(map(_is_fusable, parameters.values())) or None,
    )


def _is_fusable(parameter: Parameter) -> bool:
    # On a CPU the fused one reads weight and gradient in the order of their memory.
    return parameter.is_floating_point() and parameter.is_contiguous() and parameter.device.type in ("cpu", "cuda")


def list_decaying(model: Module) -> frozenset[str]:
    """Names of the parameters that weight decay draws towards 0: matrices and the kernels of convolutions.

    Not norms and biases, as in transformers' Trainer, and not embeddings either, of tokens or of positions, as in
    minGPT: most rows of one are looked up by few batches and would decay in all. An output layer that shares its matrix
    with an embedding is an embedding; one of its own is a matrix.
    """
    embeddings = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, torch.nn.Embedding)
        for parameter in module.parameters()
    }
    return frozenset(
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1 and id(parameter) not in embeddings and not _is_left_alone(name.rpartition(".")[2])
    )


def _is_left_alone(name: str) -> bool:
    """By the last part of its name, a bias or an embedding that is a tensor of its module's own, such as the biases of
    experts or `pos_embed`."""
    return "bias" in name or "embed" in name
