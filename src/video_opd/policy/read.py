"""The first verb: `read`. One prefill over video and question, with gradient if wanted, once per model and prompt.

A reading keeps what every layer keeps of all prompt tokens but the last: keys and values, or a recurrent state. The
last token heads every answer row, so that the pass over an answer yields the logits of its first token too, and no
logits are computed at prompt positions.

With `grad=True` what is kept is part of the autograd graph: a later `score` on the same reading lets the gradient flow
from the few answer tokens, through it, into this one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache, PreTrainedModel

from video_opd.policy.families import USUAL_NAMES, InputNames, find_family
from video_opd.policy.last_layer import end_with_keys_and_values
from video_opd.policy.layer_states import (
    KeysValues,
    LayerState,
    join_rows,
    make_cache,
    make_empty_cache,
    select_rows,
    states_of,
)
from video_opd.policy.positions import video_positions
from video_opd.types import Prompt


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model keeps of B prompts, left-padded to C + 1 tokens."""

    prompts: tuple[Prompt, ...]
    layers: tuple[LayerState, ...]
    """What every layer keeps of the C tokens before the last."""
    context_mask: Tensor
    """(B, C) bool: False where padded."""
    head_ids: Tensor
    """(B,): the last prompt token, which heads the answer row."""
    head_positions: Tensor
    """(B,): its rotary position; after a video that is less than its index."""

    def select_rows(self, indices: Sequence[int]) -> Reading:
        """The reading of some of its prompts only, in the given order; the gradient flows if it had one."""
        index = torch.tensor(indices, dtype=torch.long, device=self.head_ids.device)
        return Reading(
            prompts=tuple(self.prompts[row] for row in indices),
            layers=tuple(select_rows(state, index) for state in self.layers),
            context_mask=self.context_mask[index],
            head_ids=self.head_ids[index],
            head_positions=self.head_positions[index],
        )

    def make_cache(self) -> Cache:
        """A cache of its own that starts where the prompt ends; appending to it leaves the reading as it is."""
        return make_cache(self.layers)

    @property
    def is_attention_only(self) -> bool:
        """Whether every layer keeps keys and values, so that answers to one prompt can share its row."""
        return all(isinstance(state, KeysValues) for state in self.layers)

    def spread(self, group: int) -> tuple[Reading, int]:
        """The reading to which `group` answers a prompt are laid out, and how many of them share a row there.

        A layer with attention takes all answers to a prompt in its one row. A recurrent layer sees its row in order, so
        there every answer has a row of its own.
        """
        if self.is_attention_only or group == 1:
            return self, group
        return self.select_rows([row for row in range(len(self.prompts)) for _ in range(group)]), 1

    def lay_out_answers(self, ids: Tensor, *, start: int = 0) -> dict[str, Tensor]:
        """Model inputs for columns `start` … of the answers' rows (head token first), given the ids there, (B, G, L).

        The G answers to a prompt go through the model as branches of one tree: in one row, token by token, all answers'
        first tokens, then all their second ones, each seeing the prompt and its own answer. So the prompt's keys and
        values are there once, however many answers share them. With a recurrent layer G is 1 (`spread`).
        """
        batch, group, length = ids.shape
        offsets = torch.arange(start, start + length, device=ids.device).repeat_interleave(group)
        return {
            "input_ids": ids.transpose(1, 2).reshape(batch, length * group),
            # Text after the video: the three axes of the rotary position advance together.
            "position_ids": (self.head_positions[:, None] + offsets).expand(3, -1, -1),
            "attention_mask": self._make_answer_mask(group, start, length),
        }

    def _make_answer_mask(self, group: int, start: int, length: int) -> Tensor:
        """Which columns of the cache and of the new tokens are seen: (B, columns) for one answer a prompt, which the
        model makes causal itself; (B, 1, new tokens, columns) for several."""
        batch, device = self.context_mask.shape[0], self.context_mask.device
        columns = torch.arange((start + length) * group, device=device)
        if group == 1:
            return torch.cat([self.context_mask, torch.ones_like(columns).bool().expand(batch, -1)], dim=1)
        new = columns[start * group :, None]
        own = (columns % group == new % group) & (columns <= new)
        context = self.context_mask[:, None, None, :].expand(-1, -1, len(new), -1)
        return torch.cat([context, own.expand(batch, 1, -1, -1)], dim=-1)


def split_by_answer(outputs: Tensor, group: int) -> Tensor:
    """Sort what the model gave at the tokens of `lay_out_answers`, (B, L * G, …), by answer: (B * G, L, …)."""
    return outputs.unflatten(1, (-1, group)).transpose(1, 2).flatten(0, 1)


def join_readings(readings: Sequence[Reading]) -> Reading:
    """The readings of several batches by one model as one; shorter prompts are padded on the left."""
    longest = max(reading.context_mask.shape[1] for reading in readings)
    masks = [pad(each.context_mask, (longest - each.context_mask.shape[1], 0), value=False) for each in readings]
    return Reading(
        prompts=tuple(prompt for reading in readings for prompt in reading.prompts),
        layers=tuple(join_rows(states) for states in zip(*(reading.layers for reading in readings), strict=True)),
        context_mask=torch.cat(masks),
        head_ids=torch.cat([reading.head_ids for reading in readings]),
        head_positions=torch.cat([reading.head_positions for reading in readings]),
    )


def read(model: Any, prompts: Sequence[Prompt], *, grad: bool, pad_token_id: int) -> Reading:
    """Prefill: take in B prompts in one pass of a transformers video-language model, and keep the cache it fills.

    Rollouts (`answer`) start from this cache, and the log-probs of given answers (`score`) are computed through it.

    Args:
        model: as loaded through AutoModelForImageTextToText, or wrapped; called as a whole, never by its parts.
        prompts: they may differ in length.
        grad: keep the graph from the weights to what the layers keep, so that `score` can send a gradient through them.
        pad_token_id: stands where a prompt is padded, which the attention mask hides.
    """
    names = find_family(unwrap_model(model).config).inputs
    batch = collate(prompts, pad_token_id=pad_token_id, device=model.device, names=names)
    positions = rope_positions(model, batch)
    context = {
        "input_ids": batch["input_ids"][:, :-1],
        names.kinds: batch[names.kinds][:, :-1],
        "attention_mask": batch["attention_mask"][:, :-1],
        "position_ids": positions[:, :, :-1],
        names.pixels: batch[names.pixels],
        names.grid: batch[names.grid],
    }
    cache = make_empty_cache(unwrap_model(model).config)
    with torch.set_grad_enabled(grad), end_with_keys_and_values(model, cache):
        forward(model, context, cache, logits_to_keep=1)
    return Reading(
        prompts=tuple(prompts),
        layers=states_of(cache),
        context_mask=context["attention_mask"].bool(),
        head_ids=batch["input_ids"][:, -1],
        head_positions=positions[0, :, -1],
    )


def forward(model: Any, inputs: dict[str, Any], cache: Cache, **options: Any) -> Tensor:
    """Run the model once, on what the cache holds and on new tokens; returns logits. Every pass of the verbs is one.

    Args:
        model: as in `read`.
        inputs: the model's keyword arguments for the new tokens, `attention_mask` among them.
        cache: the pass goes on from what its layers keep, and takes in the new tokens.
        options: further arguments of the model, such as `logits_to_keep`.
    """
    inner = unwrap_model(model)
    mask = inputs["attention_mask"]
    if mask.dim() == 4 and inner.config.get_text_config()._attn_implementation == "eager":
        # Eager attention adds the mask to its scores, as it stands; sdpa tells what a boolean one means.
        hidden = torch.finfo(model.dtype).min
        inputs = {**inputs, "attention_mask": torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, hidden)}
    # transformers 5.24 renamed the argument, and 5.40 is to forget the old name.
    name = "cache" if "cache" in signature(type(inner).forward).parameters else "past_key_values"
    return model(**inputs, **{name: cache}, use_cache=True, **options).logits


def unwrap_model(model: Any) -> Any:
    """The model of video and text as transformers made it, inside any wrapper."""
    return next(module for module in model.modules() if isinstance(module, PreTrainedModel))


def collate(
    prompts: Sequence[Prompt], *, pad_token_id: int, device: torch.device | str, names: InputNames = USUAL_NAMES
) -> dict[str, Any]:
    """Make one left-padded batch, so that every prompt ends in the last column.

    Args:
        prompts: they may differ in length.
        pad_token_id: stands where a prompt is padded.
        device: where the batch is to be.
        names: what the model's family calls its inputs.
    """
    longest = max(len(prompt) for prompt in prompts)

    def pad_left(rows: list[Tensor], value: int) -> Tensor:
        return torch.stack([pad(row, (longest - len(row), 0), value=value) for row in rows]).to(device)

    batch: dict[str, Any] = {
        "input_ids": pad_left([prompt.input_ids for prompt in prompts], pad_token_id),
        names.kinds: pad_left([prompt.mm_token_type_ids for prompt in prompts], 0),
        "attention_mask": pad_left([torch.ones_like(prompt.input_ids) for prompt in prompts], 0),
        names.pixels: join([prompt.pixel_values for prompt in prompts]).to(device),
        names.grid: torch.tensor([prompt.grid_thw for prompt in prompts], device=device),
    }
    for name in prompts[0].model_inputs:
        batch[name] = torch.cat([torch.as_tensor(prompt.model_inputs[name]) for prompt in prompts]).to(device)
    return batch


def join(rows: list[Tensor]) -> Tensor:
    """Like `torch.cat`, without a copy where there is one part only: the patches of a long clip take 100 MB."""
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def rope_positions(model: Any, batch: dict[str, Any]) -> Tensor:
    """Rotary positions (3, B, P) of a collated batch, by the rule of the model's family.

    Given explicitly in every pass: what transformers infers for a pass over a cache depends on a value it keeps on the
    module from some earlier call, and its own rule is wrong for some families in some releases.
    """
    return video_positions(unwrap_model(model).config, batch)
