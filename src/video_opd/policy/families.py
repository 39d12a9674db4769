"""The families of models that can be read here. Everything that is a convention of one family stands in its record.

A new family is one entry of `FAMILIES`. Nothing here imports torch: data, lmms-eval's command and the commands ask too,
before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal

from video_opd.errors import ConfigurationError

LAYER_KINDS = ("full_attention", "linear_attention")
PATCH_SIZES = ("patch_size", "temporal_patch_size", "spatial_merge_size")
"""Names of the sizes of a video token in a vision configuration."""
MERGE_SIZE = "merge_size"
"""Name of the last of them in the configuration of a processor."""
"""The kinds of language-model layers that can be read, as configurations call them (`layer_states`)."""


class Clock(Enum):
    """How a model is told when its frames were shown."""

    MARKERS = "a time in text before every temporal group"
    POSITIONS = "temporal positions that count seconds"
    NONE = "not at all: temporal positions count groups"


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """How a family's tokenizer spells what is not text."""

    video: str
    """Stands once for every video token of a prompt, and once for the whole video in the chat template."""
    image: str
    start: str
    """Before a video, or before each of its temporal groups."""
    end: str
    """After it."""
    end_of_turn: str

    @property
    def visual(self) -> tuple[str, str, str, str]:
        """All but the end of turn."""
        return self.image, self.video, self.start, self.end


@dataclass(frozen=True, kw_only=True)
class InputNames:
    """What the processor calls its outputs, and the model its inputs, beside `input_ids` and `attention_mask`."""

    pixels: str = "pixel_values_videos"
    """Patches of all videos, one row a patch."""
    grid: str = "video_grid_thw"
    """One row a video: temporal groups, patch rows, patch columns."""
    kinds: str = "mm_token_type_ids"
    """For every token of the prompt whether it is text, image or video."""
    video_kind: int = 2
    """The kind of a video token."""
    seconds_per_group: str = "second_per_grid_ts"
    """One number a video, where the processor gives it. The positions of a clock of positions are computed from it."""


USUAL_NAMES = InputNames()


@dataclass(frozen=True, kw_only=True)
class LmmsClass:
    """How lmms-eval loads the family, and what that class does with video settings."""

    name: str
    caps_total: bool
    """Whether the class takes a cap on all frames together (`total_pixels`)."""
    max_frame_tokens: int = 768
    """Most tokens that a temporal group gets, regardless of settings (qwen_vl_utils 0.0.14, VIDEO_MAX_TOKEN_NUM)."""
    min_frames: int = 4
    """Fewest frames of a video, regardless of settings (qwen_vl_utils 0.0.14, FPS_MIN_FRAMES)."""
    fixed_max_frames: int | None = None
    """Most frames that the class takes where it ignores `max_frames`."""


def _qwen_processor_arguments(num_frames: int, height: int, width: int) -> dict[str, Any]:
    """Keep a processor from sampling or resizing: the frames already fit the budget.

    The size is given all the same, and the cap left off, because transformers changes its defaults between versions.
    """
    return {
        "do_sample_frames": False,
        "do_resize": False,
        "size": {"shortest_edge": 1, "longest_edge": num_frames * height * width},
        "cap_pixels_per_frame": False,
        "return_mm_token_type_ids": True,
    }


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models that read a video in the same way. The defaults are those that Qwen's families have in common."""

    name: str
    model_types: tuple[str, ...]
    """`model_type` in config.json."""
    processors: tuple[str, ...]
    """Classes of transformers that make prompts for it."""
    clock: Clock
    tokens: SpecialTokens
    marks_groups: bool = False
    """The processor writes start and end around every temporal group, so the pair that the chat template writes around
    the whole video has to go. (transformers 4.57 replaced that pair; transformers 5 leaves it standing: two tokens that
    the model never saw.)"""

    frames_per_group: int = 2
    """Consecutive frames that are merged into one temporal group."""
    patch_size: int
    """Side of a patch in pixels, where a configuration does not say it."""
    merge_size: int = 2
    """Patches along each side of a token's square, where a configuration does not say it."""
    processor_arguments: Callable[[int, int, int], dict[str, Any]] = _qwen_processor_arguments
    """What the processor is given beside text, frames and times, for that many frames of that height and width."""
    chat_arguments: Mapping[str, Any] = field(default_factory=lambda: {"enable_thinking": False})
    """What the chat template is given beside the turns, as far as it asks for it."""
    video_settings: tuple[str, ...] = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")
    """Settings of the video processor in which student and teacher must agree."""
    inputs: InputNames = USUAL_NAMES

    vision_module: str = "visual"
    """Name of the module of the vision model, merger included."""
    merger: str = "merger"
    """Part of the names of the merger's modules, right below the vision model."""
    patch_embedding: str = "patch_embed.proj"
    """Name of the convolution over patches, below the vision model."""

    blocks: tuple[str, ...] = ("model.language_model.layers.*", "model.visual.blocks.*")
    """The layers of language model and vision tower, by name, any number for `*`: what is sharded one by one."""

    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Linear layers of the language model that get an adapter where a recipe names none; those that a model has."""

    kept_by_vision_block: tuple[int, int] = (4, 2)
    """Tensors of the width of a vision block, and of the width of its MLP, that its norms and its MLP keep for the
    backward pass. Both norms keep input and output, an RMS norm also what comes before its weight; the MLP keeps two
    with GELU, three with the quick GELU, four with a gate."""
    has_head_norms: bool = False
    """Whether every head's queries and keys are normed."""
    has_gated_attention: bool = False
    """Whether what attention gives is gated, and norms multiply their weight in float32."""

    lmms: LmmsClass | None = None
    """None: lmms-eval has no class for it that is known here."""

    def token_side(self, processor: Any) -> int:
        """Side in pixels of the square that one video token stands for."""
        video = processor.video_processor
        return int(video.patch_size * video.merge_size)

    def token_side_by_config(self, vision: Mapping[str, Any]) -> int:
        """The same from `vision_config` of config.json, before the processor is loaded."""
        return int(vision.get("patch_size", self.patch_size) * vision.get("spatial_merge_size", self.merge_size))

    def expected_grid(
        self, processor: Any, num_frames: int, height: int, width: int
    ) -> tuple[tuple[int, int, int], int]:
        """What the processor must make of a video.

        Args:
            processor: the model's.
            num_frames: frames that are given to it.
            height: of a frame, in pixels.
            width: of a frame, in pixels.

        Returns:
            Temporal groups, patch rows and patch columns; and the number of video tokens.
        """
        video = processor.video_processor
        grid = (-(-num_frames // self.frames_per_group), height // video.patch_size, width // video.patch_size)
        return grid, grid[0] * grid[1] * grid[2] // video.merge_size**2

    def merge_size_of(self, config: Any) -> int:
        """Patches along each side of a token's square, by the model's configuration."""
        return int(config.vision_config.spatial_merge_size)

    def positions_per_second_of(self, config: Any) -> float:
        """How far temporal positions advance in a second, where the clock is one of positions."""
        return float(config.vision_config.tokens_per_second)

    def remove_markers(self, text: str) -> str:
        """A rendered chat without the markers around the whole video, where the processor puts its own."""
        if not self.marks_groups:
            return text
        return text.replace(self.tokens.start + self.tokens.video + self.tokens.end, self.tokens.video)

    def vision_part(self, parameter: str) -> Literal["tower", "merger"] | None:
        """Which part of the vision model a parameter of that name belongs to; None: the language model's.

        Of Qwen's: `model.visual.` and below it `merger.` and, in Qwen3-VL, `deepstack_merger_list.`; all else is the
        tower.
        """
        _, inside, below = f".{parameter}".partition(f".{self.vision_module}.")
        if not inside:
            return None
        return "merger" if self.merger in below.partition(".")[0] else "tower"


_QWEN_TOKENS = SpecialTokens(
    video="<|video_pad|>",
    image="<|image_pad|>",
    start="<|vision_start|>",
    end="<|vision_end|>",
    end_of_turn="<|im_end|>",
)

_QWEN3_VL = Family(
    name="Qwen3-VL",
    model_types=("qwen3_vl", "qwen3_vl_moe"),
    processors=("Qwen3VLProcessor",),
    clock=Clock.MARKERS,
    tokens=_QWEN_TOKENS,
    marks_groups=True,
    patch_size=16,
    has_head_norms=True,
    lmms=LmmsClass(name="qwen3_vl", caps_total=True),
)

FAMILIES: tuple[Family, ...] = (
    _QWEN3_VL,
    # Three of four layers are recurrent. The prompts are those of Qwen3-VL, made by the same processor.
    replace(
        _QWEN3_VL,
        name="Qwen3.5",
        model_types=("qwen3_5", "qwen3_5_moe"),
        # Not in_proj_a and in_proj_b: one number for each head, for how fast the state decays and is written.
        lora_targets=(*_QWEN3_VL.lora_targets, "in_proj_qkv", "in_proj_z", "out_proj"),
        has_gated_attention=True,
        lmms=None,
    ),
    Family(
        name="Qwen2.5-VL",
        model_types=("qwen2_5_vl",),
        processors=("Qwen2_5_VLProcessor",),
        clock=Clock.POSITIONS,
        tokens=_QWEN_TOKENS,
        patch_size=14,
        kept_by_vision_block=(6, 4),
        lmms=LmmsClass(name="qwen2_5_vl", caps_total=False, fixed_max_frames=768),
    ),
    Family(
        name="Qwen2-VL",
        model_types=("qwen2_vl",),
        processors=("Qwen2VLProcessor",),
        clock=Clock.NONE,
        tokens=_QWEN_TOKENS,
        patch_size=14,
        kept_by_vision_block=(4, 3),
    ),
)


_GLM = (
    "GLM spells the tokens of a video as those of an image, and ends a turn with the token that begins the next one, "
    "which the conventions here do not express"
)
_NOT_READ = {
    "glm4v": _GLM,
    "glm4v_moe": _GLM,
    "glm46v": _GLM,
    "internvl": "InternVL numbers the frames of a video and states no seconds, so its model can only guess them",
}
"""Model types that were looked at, and why they are not read."""


def find_family(config: Any, name: str = "") -> Family:
    """The family of a model, by its configuration.

    Args:
        config: the model's.
        name: of the model, for messages.

    Raises:
        ConfigurationError: the model type belongs to no known family, or it has layers of another kind than
            `LAYER_KINDS`.
    """
    others = set(getattr(config.get_text_config(), "layer_types", None) or ()) - set(LAYER_KINDS)
    model = f"model {name!r} ({config.model_type})" if name else f"a model of type {config.model_type}"
    if others:
        raise ConfigurationError(
            f"{model} has layers of {' and '.join(sorted(others))}",
            reason="a prompt is read once for all its answers, and what such a layer keeps of it is not known here",
            remedy=f"take a model whose layers are of {' or '.join(LAYER_KINDS)}, such as {list_family_names()}",
        )
    for family in FAMILIES:
        if config.model_type in family.model_types:
            return family
    raise ConfigurationError(
        f"{model} does not belong to a supported family",
        reason=_NOT_READ.get(
            config.model_type,
            "each family computes the positions of video tokens in its own way, and wrong positions raise no error",
        ),
        remedy=f"take a model of {list_family_names()}",
    )


def find_family_of_processor(processor: Any, name: str = "") -> Family:
    """The family for which a processor makes prompts.

    Args:
        processor: of transformers.
        name: of the model, for messages.

    Raises:
        ConfigurationError: the processor is of no known family.
    """
    called = processor.__class__.__name__
    for family in FAMILIES:
        if called in family.processors:
            return family
    raise ConfigurationError(
        f"{f'model {name!r}: ' if name else ''}the processor {called} does not belong to a supported family",
        reason="each family has its own tokens for video",
        remedy=f"use a model of {list_family_names()}, with its own processor",
    )


def list_family_names(*without: Clock) -> str:
    """The names of the families, for messages.

    Args:
        without: leave out the families that have one of these clocks.
    """
    names = [family.name for family in FAMILIES if family.clock not in without]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def list_visual_tokens() -> set[str]:
    """What stands for images and videos in a text, in any of the families."""
    return {token for family in FAMILIES for token in family.tokens.visual}
