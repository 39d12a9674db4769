"""What a reading keeps of every layer, and the layers of a transformers cache that gather it and start from it.

A layer with attention keeps the keys and values of all tokens. A recurrent one keeps its state behind the last token,
however long the prompt is. transformers' own recurrent layer copies a state in place, which no gradient survives: here
a pass makes new tensors, and those of the reading stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import Cache, DynamicLayer, LinearAttentionLayer


class KeysValues(NamedTuple):
    """Of a layer with attention; each (B, heads, C, head size)."""

    keys: Tensor
    values: Tensor


class RecurrentStates(NamedTuple):
    """Of a recurrent layer (gated delta-net)."""

    conv: Tensor
    """(B, channels, kernel size): what the convolution saw of the last tokens."""
    recurrent: Tensor
    """(B, heads, key size, value size)."""


LayerState = KeysValues | RecurrentStates


def select_rows(state: LayerState, index: Tensor) -> LayerState:
    """Some rows of the batch, in the given order; the gradient flows if there was one."""
    return type(state)(*(tensor[index.to(tensor.device)] for tensor in state))  # layers may lie on several devices


def join_rows(states: Iterable[LayerState]) -> LayerState:
    """The rows of several batches as one batch; keys and values of fewer tokens are padded on the left."""
    parts = tuple(states)
    if isinstance(parts[0], RecurrentStates):
        return RecurrentStates(*map(torch.cat, zip(*parts, strict=True)))
    longest = max(part[0].shape[-2] for part in parts)
    padded = [[pad(tensor, (0, 0, longest - tensor.shape[-2], 0)) for tensor in part] for part in parts]
    return KeysValues(*map(torch.cat, zip(*padded, strict=True)))


class LayerIsRead(Exception):
    """A layer has given its keys and values, and nothing else of it is needed; see `policy.last_layer`."""


class AttentionLayer(DynamicLayer):
    """Keys and values of all tokens, of which the new ones are known apart."""

    new: KeysValues
    """Of the tokens of the last pass."""
    ends_layer: bool = False
    """Whether the layer ends once its keys and values are here."""

    def start(self, state: Sequence[Tensor]) -> None:
        """Begin behind the tokens of this state, which stays as it is."""
        self.lazy_initialization(*state)
        self.keys, self.values = state

    @property
    def state(self) -> KeysValues | tuple[()]:
        """Of all tokens; empty before the first."""
        return KeysValues(self.keys, self.values) if self.is_initialized else ()

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append new tokens; returns the keys and values of all. transformers calls it.

        Args:
            key_states: of the new tokens.
            value_states: of the new tokens.
        """
        self.new = KeysValues(key_states, value_states)
        if self.is_initialized:
            self.keys = torch.cat([self.keys, key_states], dim=-2)
            self.values = torch.cat([self.values, value_states], dim=-2)
        else:
            self.start(self.new)
        if self.ends_layer:
            raise LayerIsRead
        return self.keys, self.values

    def deal_rows(self, index: Tensor, start: int) -> None:
        """Let every row go on from another one, where rows differ from token `start` on."""
        for kept in (self.keys, self.values):  # they are this cache's own after a pass
            kept[:, :, start:] = kept[index.to(kept.device), :, start:]


class RecurrentLayer(LinearAttentionLayer):
    """The state behind the last token. A pass with gradient can be followed by others, and each has its own state."""

    def start(self, state: Sequence[Tensor]) -> None:
        """Begin behind the tokens of this state, which stays as it is."""
        conv, recurrent = state
        # A pass over one token changes the state of the convolution in place.
        self.conv_states[0], self.recurrent_states[0] = conv.clone(), recurrent
        self.conv_kernel_size[0] = conv.shape[-1]
        self.dtype, self.device = conv.dtype, conv.device
        for flags in (self.is_conv_states_initialized, self.is_recurrent_states_initialized, self.has_previous_state):
            flags[0] = True

    @property
    def state(self) -> RecurrentStates | tuple[()]:
        """Behind the last token; empty before the first."""
        return self.new if self.has_previous_state[0] else ()

    @property
    def new(self) -> RecurrentStates:
        """What the last pass has made: the whole state."""
        return RecurrentStates(self.conv_states[0], self.recurrent_states[0])

    def update_conv_state(
        self, conv_states: Tensor, state_idx: int = 0, conv_kernel_size: int | None = None, **_: Any
    ) -> Tensor:
        """Take in new tokens; returns them behind the ones that the convolution still sees. transformers calls it.

        Args:
            conv_states: inputs of the convolution at the new tokens, (B, channels, tokens).
            state_idx: which of a layer's states; these layers have one.
            conv_kernel_size: tokens that the convolution sees at once.
        """
        if self.has_previous_state[state_idx]:
            seen = torch.cat([self.conv_states[state_idx], conv_states], dim=-1)
        else:
            self.conv_kernel_size[state_idx] = conv_kernel_size or conv_states.shape[-1]
            self.dtype, self.device = conv_states.dtype, conv_states.device
            self.is_conv_states_initialized[state_idx] = self.has_previous_state[state_idx] = True
            seen = pad(conv_states, (max(0, self.conv_kernel_size[state_idx] - conv_states.shape[-1]), 0))
        # A copy, because a view would keep all tokens in memory.
        self.conv_states[state_idx] = seen[..., -self.conv_kernel_size[state_idx] :].clone()
        return seen

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, **_: Any) -> Tensor:
        """Keep the state behind the new tokens. transformers calls it."""
        self.recurrent_states[state_idx] = recurrent_states
        self.is_recurrent_states_initialized[state_idx] = True
        return recurrent_states

    def deal_rows(self, index: Tensor, start: int) -> None:  # noqa: ARG002
        """Let every row go on from another one."""
        self.start(select_rows(self.new, index))


CacheLayer = AttentionLayer | RecurrentLayer
_LAYERS: dict[str, type[CacheLayer]] = {"full_attention": AttentionLayer, "linear_attention": RecurrentLayer}
_LAYER_OF: dict[type[LayerState], type[CacheLayer]] = {KeysValues: AttentionLayer, RecurrentStates: RecurrentLayer}


def make_empty_cache(config: Any) -> Cache:
    """A cache for a prefill.

    Args:
        config: the model's.
    """
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    return Cache(layers=[_LAYERS[kind]() for kind in kinds])


def make_cache(states: Iterable[LayerState]) -> Cache:
    """A cache that starts behind the tokens of these states, one per layer, and leaves them as they are."""
    return Cache(layers=[make_layer(_LAYER_OF[type(state)], state) for state in states])


def make_layer(kind: type[CacheLayer], state: Sequence[Tensor] = ()) -> CacheLayer:
    """A layer of a cache that starts behind the tokens of this state; from the beginning where there is none."""
    layer = kind()
    if state:
        layer.start(state)
    return layer


def states_of(cache: Cache) -> tuple[LayerState, ...]:
    """What every layer of a cache keeps, once tokens have gone through all of them."""
    return tuple(layer.state for layer in cache.layers)
