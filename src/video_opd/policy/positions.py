"""Rotary positions of prompts with video, by the rules of the model's family.

They are computed here, since transformers gets them wrong in some releases.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from video_opd.policy.families import Clock, find_family

CLOCK_ROUNDING = 1e-3
"""Added to a temporal position, which counts half seconds, before it is rounded down. It is far more than what float32
loses of a product such as 3 * (2 / 3)."""


def video_positions(config: Any, batch: dict[str, Any]) -> Tensor:
    """Rotary positions of a left-padded batch of prompts: (3, B, P) int64, axes of time, height and width; 0 where
    padded.

    Text counts up by one on all three axes. Video tokens count from the position where they begin: temporal group,
    row, column. What follows a video begins after the largest of its positions, on whichever axis. (transformers 5.17
    to 5.24 leaves out the temporal axis for Qwen2-VL and Qwen2.5-VL: there the text stands in the middle of the video.)

    A temporal position of Qwen2.5-VL is `group * seconds_per_group * tokens_per_second`, rounded down, as its authors
    published it (transformers 4.49, and 5.22 again). transformers 4.57 cut the seconds to a whole number first.

    Args:
        config: the model's.
        batch: `input_ids`, `attention_mask` and the kind of each token, each (B, P); the grids, one row per video in
            the order of the batch; for a clock of positions the seconds of one group of each video. The names of the
            last three are those of `Family.inputs`.

    Raises:
        ConfigurationError: the model is of no family that is known here.
        ValueError: the video tokens are not those of the grids.
    """
    family = find_family(config)
    names, merge = family.inputs, family.merge_size_of(config)
    grids = [(groups, rows // merge, columns // merge) for groups, rows, columns in batch[names.grid].tolist()]
    strides = [1.0] * len(grids)
    if family.clock is Clock.POSITIONS:
        per_second = family.positions_per_second_of(config)
        strides = [seconds * per_second for seconds in batch[names.seconds_per_group].tolist()]
    blocks = [
        (_temporal_positions(groups, stride), *size) for (groups, *size), stride in zip(grids, strides, strict=True)
    ]
    if family.clock is Clock.MARKERS:  # text before every group parts a video into groups, each counted from 0
        blocks = [(torch.zeros(1, dtype=torch.long), *size) for groups, *size in grids for _ in range(groups)]
    positions = torch.zeros(3, *batch["input_ids"].shape, dtype=torch.long)
    rest = iter(blocks)
    for row, (kinds, seen) in enumerate(zip(batch[names.kinds].cpu(), batch["attention_mask"].cpu(), strict=True)):
        is_video = (kinds[seen.bool()] == names.video_kind).tolist()
        positions[:, row, seen.bool()] = _prompt_positions(is_video, rest)
    if next(rest, None) is not None:
        raise ValueError(f"the prompts hold fewer videos than there are grids: {grids}")
    return positions.to(batch["input_ids"].device)


def _temporal_positions(groups: int, stride: float) -> Tensor:
    """The temporal positions of a video's groups, from 0."""
    return (torch.arange(groups, dtype=torch.float64) * stride + CLOCK_ROUNDING).long()


def _prompt_positions(is_video: list[bool], blocks: Any) -> Tensor:
    """(3, P) of one prompt without padding, given which tokens are video and the blocks of video still to come."""
    parts, start = [], 0
    for video, run in groupby(is_video):
        length = len(list(run))
        if not video:
            part = torch.arange(length).expand(3, -1)
        else:
            times, rows, columns = next(blocks, (torch.empty(0), 0, 0))
            if len(times) * rows * columns != length:
                raise ValueError(f"{length} video tokens in a row, and a block of {len(times)} x {rows} x {columns}")
            part = torch.stack(torch.meshgrid(times, torch.arange(rows), torch.arange(columns), indexing="ij")).flatten(
                1
            )
        parts.append(part + start)
        start += int(part.max()) + 1
    return torch.cat(parts, dim=1)
