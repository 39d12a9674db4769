"""Qwen3-VL at its real size with random weights, made on the device itself, and prompts of a wanted length.

The sizes are those of Qwen3-VL-2B-Instruct and Qwen3-VL-8B-Instruct as torchtitan's registry of Qwen3-VL gives them
(torchtitan/experiments/qwen3_vl/__init__.py, "2B" and "8B"), and those of Qwen3-VL-4B-Instruct as its config.json gives
them; what all share is there too. No weights are needed: time and memory do not depend on their values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen3VLConfig

from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import Frames, VideoBudget
from video_opd.policy.head import use_float32_head
from video_opd.policy.load import Policy
from video_opd.policy.location import resolve_model
from video_opd.policy.patch_embedding import use_matrix_product
from video_opd.policy.token_support import TokenSupport
from video_opd.seeds import generator
from video_opd.types import Example, Prompt, Span

GROUP_TOKENS = (4, 8)
"""Rows and columns of a temporal group's tokens: 32 a group, as a video of four minutes has under 8,192 tokens."""

SHARED_TEXT = {"vocab_size": 151936, "head_dim": 128, "num_key_value_heads": 8, "max_position_embeddings": 262144}
SHARED_VISION = {"num_heads": 16, "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2,
                 "num_position_embeddings": 2304}  # fmt: skip

SIZES: dict[str, dict[str, Any]] = {
    "2B": {
        "text": {"hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 6144},
        "vision": {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096,
                   "deepstack_visual_indexes": [5, 11, 17]},
        "tied": True,
    },
    "4B": {
        "text": {"hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "intermediate_size": 9728},
        "vision": {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096,
                   "deepstack_visual_indexes": [5, 11, 17]},
        "tied": True,
    },
    "8B": {
        "text": {"hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "intermediate_size": 12288},
        "vision": {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304,
                   "deepstack_visual_indexes": [8, 16, 24]},
        "tied": False,
    },
    "8B, 4 layers": {
        "text": {"hidden_size": 4096, "num_hidden_layers": 4, "num_attention_heads": 32, "intermediate_size": 12288,
                 "vocab_size": 512},
        "vision": {"depth": 2, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [0]},
        "tied": False,
    },
    # The same shape in small, for rehearsals on a CPU.
    "small": {
        "text": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96,
                 "num_key_value_heads": 1, "vocab_size": 512},
        "vision": {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
                   "deepstack_visual_indexes": [0]},
        "tied": True,
    },
}  # fmt: skip


def processor_of(tokenizer: Path | None) -> Any:
    """Qwen3-VL's own processor from a folder of its files; without one that of the tiny models, which cuts frames into
    the same patches and writes other text around them."""
    if tokenizer is None:
        return AutoProcessor.from_pretrained(resolve_model("tiny-student"))
    processor = AutoProcessor.from_pretrained(tokenizer)
    if processor.chat_template is None:
        template = json.loads((tokenizer / "chat_template.json").read_text(encoding="utf-8"))
        processor.chat_template = template["chat_template"]
    return processor


def config_of(size: str, processor: Any) -> Qwen3VLConfig:
    """The configuration of one of `SIZES`, with the special tokens of a processor."""
    parts, tokenizer = SIZES[size], processor.tokenizer
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in
           ("image_pad", "video_pad", "vision_start", "vision_end", "im_end")}  # fmt: skip
    text = SHARED_TEXT | parts["text"]
    if len(tokenizer) > text["vocab_size"]:  # a small model around the real tokenizer
        text["vocab_size"] = len(tokenizer)
    return Qwen3VLConfig(
        text_config=text | {
            "tie_word_embeddings": parts["tied"], "eos_token_id": ids["im_end"], "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20],
                                "mrope_interleaved": True},
        },
        vision_config=SHARED_VISION | parts["vision"] | {"out_hidden_size": text["hidden_size"]},
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"], vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"], tie_word_embeddings=parts["tied"],
    )  # fmt: skip


def build_policy(
    size: str, processor: Any, *, device: str, weights: torch.dtype, autocast: torch.dtype | None
) -> Policy:
    """A policy as `load_policy` makes it, but for the weights.

    Special tokens and the end of turn are never written, so that all answers have one length.
    """
    config = config_of(size, processor)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=weights, attn_implementation="sdpa").eval()
    if torch.bfloat16 in (weights, autocast):
        use_float32_head(model)
    support = TokenSupport.build(processor.tokenizer, config)
    banned = support.banned.clone()
    banned[support.end_token_id] = True
    support = replace(support, banned=banned).to(device)
    policy = Policy(name=size, model=model, processor=processor, support=support, autocast=autocast)
    use_matrix_product(model, policy.family)
    return policy


def train_language_model_only(student: Policy) -> None:
    """What the recipe qwen3-vl-2b-from-8b trains: neither the vision tower nor its merger."""
    for name, parameter in student.model.named_parameters():
        parameter.requires_grad_(student.family.vision_part(name) is None)


def build_prompt(processor: Any, video_tokens: int, *, template: str = "timelens") -> Prompt:
    """Noise for frames at 2 a second, 32 video tokens per pair of frames, through the package's own renderer."""
    rows, columns = GROUP_TOKENS
    groups = max(1, round(video_tokens / (rows * columns)))
    side, count = 32, 2 * groups
    images = generator(0, "frames", groups).integers(0, 255, (count, rows * side, columns * side, 3), dtype=np.uint8)
    times = tuple(i / 2 for i in range(count))
    frames = Frames(images=images, times_s=times, duration_s=count / 2, indices=tuple(range(count)))
    example = Example(id="p0", video="", query="a thing happens", spans=(Span(1, 2),), duration=count / 2)
    budget = VideoBudget(max_tokens=max(8192, groups * rows * columns))
    return PromptRenderer(processor, TEMPLATES[template], budget)(example, frames)


def copies(prompt: Prompt, count: int) -> Sequence[Prompt]:
    """Prompts of one length under names of their own, so that each gets answers of its own."""
    return [replace(prompt, example=replace(prompt.example, id=f"p{number}")) for number in range(count)]
