"""The last layer of a prefill ends with its keys and values.

A reading keeps keys and values only, and no layer follows that would need anything else of the prompt's tokens. So the
attention and the MLP of the last layer are not computed, forward or backward: of 36 layers, nearly one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import Cache

from video_opd.policy.layer_states import AttentionLayer, LayerIsRead


@contextmanager
def end_with_keys_and_values(model: Any, cache: Cache) -> Iterator[None]:
    """Let the prefill inside end where the last layer of its cache has its keys and values.

    A last layer that is recurrent is computed whole.

    Args:
        model: of transformers.
        cache: an empty one.
    """
    last = cache.layers[-1]
    block = _find_block(model, len(cache.layers) - 1)
    if not isinstance(last, AttentionLayer) or block is None:
        yield
        return
    own, before = "forward" in vars(block), block.forward
    block.forward = return_early(before)
    last.ends_layer = True
    try:
        yield
    finally:
        last.ends_layer = False
        if own:
            block.forward = before
        else:
            del block.forward


def return_early(inner: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The forward function of a layer that returns where its cache says that it is read: its input stands for its
    output, which is not used."""

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        try:
            return inner(hidden_states, *args, **kwargs)
        except LayerIsRead:
            return hidden_states

    return forward


def _find_block(model: Any, index: int) -> Any:
    """The layer of that number: the innermost module with a part that knows itself to be of it."""
    found = None
    for module in model.modules():
        if any(getattr(part, "layer_idx", None) == index for part in module.children()):
            found = module
    return found
