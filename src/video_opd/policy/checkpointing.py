"""Gradient checkpointing that keeps the shared reading: a layer's activations are computed again in the backward pass.

transformers switches the cache off under its own checkpointing, and without a cache there is no reading. Here every
layer runs on a stand-in for the cache that knows this layer only, and gives back its new keys and values, or its new
state, beside the hidden states. So `torch.utils.checkpoint` sees all inputs and outputs of the layer, and gradients of
later passes reach what it keeps.

In a vision tower no patch sees one of another temporal group, so a block is computed again a few groups at a time:
there are four patches to a video token, and one block's activations would be most of what a step holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as checkpoint_by_torch
from transformers import Cache

from video_opd.policy.families import find_family
from video_opd.policy.last_layer import return_early
from video_opd.policy.layer_states import make_layer
from video_opd.policy.read import unwrap_model

PATCHES_AT_ONCE = 2048
"""Patches of a vision tower that are computed again together, or one temporal group where it has more."""


@contextmanager
def _keep_no_copies() -> Iterator[None]:
    """Let autocast forget the copy of a weight after its product."""
    was_enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(was_enabled)


def _make_contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of a forward pass, and of what is computed again.

    A step has one autocast. Without the second context, the copies of all layers would gather in it during the backward
    pass, where each is used once.
    """
    return nullcontext(), _keep_no_copies()


checkpoint = partial(
    checkpoint_by_torch, use_reentrant=False, preserve_rng_state=False, context_fn=_make_contexts
)  # fmt: skip


class Tie(torch.autograd.Function):
    """The identity on hidden states and what the layer keeps, together.

    The hidden states of a prompt's last layer are in no loss. FSDP2 gathers the weights of a layer when the gradient
    of its output arrives, and without the tie it would not arrive there.
    """

    @staticmethod
    def forward(_: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors as they are."""
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients as they are, zeros where there is none."""
        return gradients


def split_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The blocks of a transformers model, by name: layers of the language model and of the vision tower.

    They are what transformers itself never splits between devices.
    """
    names = set(getattr(model, "_no_split_modules", None) or ())
    # FSDP2 gives a sharded module a class of its own, below the one that it had.
    return (
        (name, module)
        for name, module in model.named_modules()
        if any(cls.__name__ in names for cls in type(module).__mro__)
    )


def checkpoint_layers(model: nn.Module) -> None:
    """Let every block of a model compute its activations again in the backward pass instead of keeping them.

    A pass without gradient stays as it is. The gradient is the same to the last digits of its type.
    """
    for _, block in split_modules(model):
        block.forward = _make_forward(block, recompute=True)
    for merger in find_mergers(model):
        merger.forward = _make_forward(merger, recompute=True)


def tie_layers(model: nn.Module) -> None:
    """Let every block of a model give what it keeps together with its hidden states, for sharded weights."""
    for _, block in split_modules(model):
        block.forward = _make_forward(block, recompute=False)


def _make_forward(block: nn.Module, *, recompute: bool) -> Callable[..., Tensor]:
    """The forward function of a block that keeps its cache outside of what is computed again."""
    inner = block.forward
    index: Any = next((part.layer_idx for part in block.children() if hasattr(part, "layer_idx")), None)

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        name = next((name for name in ("cache", "past_key_values") if kwargs.get(name) is not None), None)
        if not torch.is_grad_enabled() or (name is None and not recompute):
            return inner(hidden_states, *args, **kwargs)
        if name is None:
            return _recompute_by_group(inner, hidden_states, *args, **kwargs)
        layer = kwargs.pop(name).layers[index]
        past, ends_layer = layer.state, getattr(layer, "ends_layer", False)

        def run(hidden: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
            seen = make_layer(type(layer), past)
            if ends_layer:
                seen.ends_layer = True
            # A cache that has this layer in every place, so also in its own.
            hidden = return_early(inner)(hidden, *args, **{name: Cache(layers=[seen] * (index + 1))}, **kwargs)
            return hidden, *seen.new

        outputs = checkpoint(run, hidden_states, *past) if recompute else run(hidden_states, *past)
        hidden_states, *new = Tie.apply(*outputs)
        if not past:
            layer.start(new)
        # Behind a prompt no pass with gradient reads the cache again, and appending would copy the prompt's part.
        return hidden_states

    return forward


def find_mergers(model: nn.Module) -> Iterator[nn.Module]:
    """The modules that make video tokens of patches: outermost ones only, and of a list its members."""
    family, found = find_family(unwrap_model(model).config), ""
    for name, module in model.named_modules():
        inside = found and name.startswith(f"{found}.")
        if family.vision_part(name) == "merger" and not inside and not isinstance(module, nn.ModuleList):
            found = name
            yield module


def _recompute_by_group(inner: Callable[..., Tensor], hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Run a module that has no cache, and compute it again in the backward pass: as many whole sequences at a time as
    `PATCHES_AT_ONCE` allows, where `cu_seqlens` says which rows are a sequence."""
    ends: Any = kwargs.get("cu_seqlens")
    pieces = [] if ends is None else _split_sequences(ends.diff().tolist())
    if len(pieces) < 2:
        return checkpoint(inner, hidden_states, *args, **kwargs)
    rows = [sum(lengths) for lengths in pieces]
    cosines, sines = (part.split(rows) for part in kwargs.pop("position_embeddings"))
    outputs = []
    for row, hidden in enumerate(hidden_states.split(rows)):
        own = {
            "cu_seqlens": torch.tensor([0, *pieces[row]], device=ends.device, dtype=ends.dtype).cumsum(
                0, dtype=ends.dtype
            ),
            "position_embeddings": (cosines[row], sines[row]),
        }
        outputs.append(checkpoint(inner, hidden, *args, **(kwargs | own)))
    return torch.cat(outputs)


def _split_sequences(lengths: list[int]) -> list[list[int]]:
    """Cut a list of lengths into pieces that sum to `PATCHES_AT_ONCE` at most, unless a single length is more."""
    pieces: list[list[int]] = []
    for length in lengths:
        if pieces and sum(pieces[-1]) + length <= PATCHES_AT_ONCE:
            pieces[-1].append(length)
        else:
            pieces.append([length])
    return pieces
