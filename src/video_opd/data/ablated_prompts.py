"""Prompts whose video was corrupted, with the same number of tokens: they show whether a model uses the video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from video_opd.seeds import generator
from video_opd.types import Prompt

if TYPE_CHECKING:
    from torch import Tensor


def shuffle_video(prompt: Prompt) -> Prompt:
    """The same prompt with its temporal groups in another order under the same time stamps."""
    order = generator(0, "shuffled", prompt.id).permutation(prompt.grid_thw[0]).tolist()
    return replace(prompt, pixel_values=_groups(prompt)[order].flatten(0, 1))


def reverse_video(prompt: Prompt) -> Prompt:
    """The same prompt with its temporal groups backwards."""
    return replace(prompt, pixel_values=_groups(prompt).flip(0).flatten(0, 1))


def remove_video(prompt: Prompt) -> Prompt:
    """The same prompt with nothing but grey in every frame, also where a teacher sees more frames."""
    grey = prompt.pixel_values.new_zeros(prompt.pixel_values.shape)
    return replace(prompt, pixel_values=grey, denser=tuple(map(remove_video, prompt.denser)))


ABLATIONS: dict[str, Callable[[Prompt], Prompt]] = {
    "shuffled": shuffle_video,
    "reversed": reverse_video,
    "removed": remove_video,
}


def _groups(prompt: Prompt) -> Tensor:
    """The pixels as (temporal groups, patches of one group, C)."""
    return prompt.pixel_values.unflatten(0, (prompt.grid_thw[0], -1))
