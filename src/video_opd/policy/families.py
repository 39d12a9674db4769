"""The families of models that are read here, and what is different from one to the next.

A family is one entry of `FAMILIES`. Rotary positions are computed here (`video_positions`), since transformers gets
them wrong in some releases.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any, Literal

import torch
from torch import Tensor

from video_opd.errors import ConfigurationError

VIDEO_TOKEN = 2
"""Of `mm_token_type_ids`: 0 text, 1 image, 2 video."""

CLOCK_ROUNDING = 1e-3
"""Of a temporal position, which is half a second. What float32 loses of a product such as 3 * (2 / 3) is far less."""


class Clock(Enum):
    """How a model is told when its frames were shown."""

    MARKERS = "a time in text before every temporal group"
    POSITIONS = "temporal positions that count seconds"
    NONE = "not at all: temporal positions count groups"


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models that read a video in the same way."""

    name: str
    model_types: tuple[str, ...]
    """`model_type` in config.json."""
    clock: Clock


FAMILIES = (
    Family(name="Qwen3-VL", model_types=("qwen3_vl", "qwen3_vl_moe"), clock=Clock.MARKERS),
    Family(name="Qwen2.5-VL", model_types=("qwen2_5_vl",), clock=Clock.POSITIONS),
    Family(name="Qwen2-VL", model_types=("qwen2_vl",), clock=Clock.NONE),
)


def family_of(config: Any, name: str = "") -> Family:
    """The family of a model, by its configuration.

    Args:
        name: of the model, for messages.

    Raises:
        ConfigurationError: no family here has this model type, or some layers keep no keys and values of every token.
    """
    hybrid = {kind for kind in getattr(config.get_text_config(), "layer_types", None) or () if kind != "full_attention"}
    model = f"model {name!r} ({config.model_type})" if name else f"a model of type {config.model_type}"
    if hybrid:
        raise ConfigurationError(
            f"{model} has layers of {' and '.join(sorted(hybrid))}",
            reason="a prompt is read once and its keys and values are kept for the answers, and these layers do not "
            "keep those of every token",
            remedy=f"take a model whose layers all have full attention, such as {_known()}",
        )
    for family in FAMILIES:
        if config.model_type in family.model_types:
            return family
    raise ConfigurationError(
        f"{model} is of no family that is known here",
        reason="the positions of video tokens differ from family to family, and wrong ones would look like right ones",
        remedy=f"take a model of {_known()}",
    )


def _known() -> str:
    *first, last = (family.name for family in FAMILIES)
    return f"{', '.join(first)} or {last}"


def vision_part(parameter: str) -> Literal["tower", "merger"] | None:
    """Which part of the vision model a parameter of that name belongs to; None: the language model's.

    Qwen-VL: `model.visual.` and below it `merger.` and, in Qwen3-VL, `deepstack_merger_list.`; all else is the tower.
    """
    _, visual, below = f".{parameter}".partition(".visual.")
    if not visual:
        return None
    return "merger" if "merger" in below.partition(".")[0] else "tower"


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
        batch: `input_ids`, `attention_mask`, `mm_token_type_ids`, each (B, P); `video_grid_thw`, one row per video in
            the order of the batch; for a clock of positions `second_per_grid_ts`, seconds of one group of each video.

    Raises:
        ConfigurationError: the model is of no family that is known here.
        ValueError: the video tokens are not those of the grids.
    """
    family, merge = family_of(config), config.vision_config.spatial_merge_size
    grids = [(groups, rows // merge, columns // merge) for groups, rows, columns in batch["video_grid_thw"].tolist()]
    strides = [1.0] * len(grids)
    if family.clock is Clock.POSITIONS:
        per_second = config.vision_config.tokens_per_second
        strides = [seconds * per_second for seconds in batch["second_per_grid_ts"].tolist()]
    blocks = [(_temporal(groups, stride), *size) for (groups, *size), stride in zip(grids, strides, strict=True)]
    if family.clock is Clock.MARKERS:  # text before every group parts a video into groups, each counted from 0
        blocks = [(torch.zeros(1, dtype=torch.long), *size) for groups, *size in grids for _ in range(groups)]
    positions = torch.zeros(3, *batch["input_ids"].shape, dtype=torch.long)
    rest = iter(blocks)
    for row, (kinds, seen) in enumerate(
        zip(batch["mm_token_type_ids"].cpu(), batch["attention_mask"].cpu(), strict=True)
    ):
        positions[:, row, seen.bool()] = _of_prompt(kinds[seen.bool()].tolist(), rest)
    if next(rest, None) is not None:
        raise ValueError(f"the prompts hold fewer videos than there are grids: {grids}")
    return positions.to(batch["input_ids"].device)


def _temporal(groups: int, stride: float) -> Tensor:
    """The temporal positions of a video's groups, from 0."""
    return (torch.arange(groups, dtype=torch.float64) * stride + CLOCK_ROUNDING).long()


def _of_prompt(kinds: list[int], blocks: Any) -> Tensor:
    """(3, P) of one prompt without padding, given the kind of each token and the blocks of video still to come."""
    parts, start = [], 0
    for kind, run in groupby(kinds):
        length = len(list(run))
        if kind != VIDEO_TOKEN:
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
