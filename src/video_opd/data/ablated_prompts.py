"""Prompts whose video was corrupted, with the same number of tokens: they show whether a model uses the video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from video_opd.seeds import generator
from video_opd.types import Prompt

if TYPE_CHECKING:
    from torch import Tensor


def shuffled(prompt: Prompt) -> Prompt:
    """The same prompt with its temporal groups in another order under the same time stamps."""
    order = generator(0, "shuffled", prompt.id).permutation(prompt.grid_thw[0]).tolist()
    return replace(prompt, pixel_values=_groups(prompt)[order].flatten(0, 1))


def reversed_(prompt: Prompt) -> Prompt:
    """The same prompt with its temporal groups backwards."""
    return replace(prompt, pixel_values=_groups(prompt).flip(0).flatten(0, 1))


def removed(prompt: Prompt) -> Prompt:
    """The same prompt with nothing but grey in every frame."""
    return replace(prompt, pixel_values=prompt.pixel_values.new_zeros(prompt.pixel_values.shape))


ABLATIONS: dict[str, Callable[[Prompt], Prompt]] = {"shuffled": shuffled, "reversed": reversed_, "removed": removed}


def _groups(prompt: Prompt) -> Tensor:
    """The pixels as (temporal groups, patches of one group, C)."""
    return prompt.pixel_values.unflatten(0, (prompt.grid_thw[0], -1))
