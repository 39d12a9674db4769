"""The configurations of published models that a plan needs before anything is downloaded: sizes, and nothing else.

Where a model's folder or the hub's cache has a config.json, that file is read, and nothing of this table. Sources:

- Qwen3-VL 2B, 8B, 30B-A3B, 235B-A22B: torchtitan's registry (torchtitan/experiments/qwen3_vl/__init__.py).
- Qwen3-VL 4B, Qwen2.5-VL 3B: their own config.json. Qwen3-VL 32B, Qwen2.5-VL 7B, Qwen3.5 4B, 9B and 27B: copies of
  their config.json in public repositories, as tests of other packages quote them.
- The student and the teacher that the authors of Video-OPD released have the shapes of their bases (docs/OFFICIAL.md).
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from transformers import AutoConfig

from video_opd.policy.description import guard_loading
from video_opd.policy.location import find_local_folder, resolve_parts
from video_opd.policy.quantised import find_quantisation

_VISION = {"num_heads": 16, "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3,
           "num_position_embeddings": 2304}  # fmt: skip
_SMALL_TOWER = {**_VISION, "depth": 24, "hidden_size": 1024, "intermediate_size": 4096,
                "deepstack_visual_indexes": [5, 11, 17]}  # fmt: skip
_LARGE_TOWER = {**_VISION, "depth": 27, "hidden_size": 1152, "intermediate_size": 4304,
                "deepstack_visual_indexes": [8, 16, 24]}  # fmt: skip
_ROPE_3 = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
_ROPE_25 = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
_ROPE_35 = {"rope_type": "default", "rope_theta": 1e7, "mrope_section": [11, 11, 10], "mrope_interleaved": True,
            "partial_rotary_factor": 0.25}  # fmt: skip


def _qwen3_vl(hidden: int, layers: int, heads: int, inner: int, *, tied: bool = False) -> dict[str, Any]:
    tower = _SMALL_TOWER if tied else _LARGE_TOWER
    text = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": inner, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
            "rope_parameters": _ROPE_3, "tie_word_embeddings": tied}  # fmt: skip
    return {"model_type": "qwen3_vl", "text_config": text, "vision_config": {**tower, "out_hidden_size": hidden},
            "tie_word_embeddings": tied}  # fmt: skip


def _qwen3_vl_moe(hidden: int, layers: int, heads: int, inner: int, expert: int) -> dict[str, Any]:
    whole = _qwen3_vl(hidden, layers, heads, inner)
    experts = {"num_key_value_heads": 4, "moe_intermediate_size": expert, "num_experts": 128, "num_experts_per_tok": 8}
    return {**whole, "model_type": "qwen3_vl_moe", "text_config": {**whole["text_config"], **experts}}


def _qwen25_vl(hidden: int, layers: int, heads: int, keys: int, inner: int, vocabulary: int) -> dict[str, Any]:
    tied = vocabulary == 151936
    text = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": inner, "num_key_value_heads": keys, "vocab_size": vocabulary,
            "rope_parameters": _ROPE_25, "tie_word_embeddings": tied}  # fmt: skip
    tower = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "in_channels": 3,
             "out_hidden_size": hidden, "patch_size": 14, "spatial_merge_size": 2, "window_size": 112,
             "fullatt_block_indexes": [7, 15, 23, 31], "temporal_patch_size": 2}  # fmt: skip
    return {"model_type": "qwen2_5_vl", "text_config": text, "vision_config": tower, "tie_word_embeddings": tied}


def _qwen35(hidden: int, layers: int, heads: int, inner: int, values: int, *, tied: bool = False) -> dict[str, Any]:
    text = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": inner, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 248320,
            "rope_parameters": _ROPE_35, "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * (layers // 4),
            "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
            "linear_num_key_heads": 16, "linear_num_value_heads": values, "tie_word_embeddings": tied}  # fmt: skip
    tower = {
        key: value
        for key, value in (_SMALL_TOWER if tied else _LARGE_TOWER).items()
        if key != "deepstack_visual_indexes"
    }
    return {"model_type": "qwen3_5", "text_config": text, "vision_config": {**tower, "out_hidden_size": hidden},
            "tie_word_embeddings": tied}  # fmt: skip


_SHAPES: dict[str, dict[str, Any]] = {
    "Qwen/Qwen3-VL-2B": _qwen3_vl(2048, 28, 16, 6144, tied=True),
    "Qwen/Qwen3-VL-4B": _qwen3_vl(2560, 36, 32, 9728, tied=True),
    "Qwen/Qwen3-VL-8B": _qwen3_vl(4096, 36, 32, 12288),
    "Qwen/Qwen3-VL-32B": _qwen3_vl(5120, 64, 64, 25600),
    "Qwen/Qwen3-VL-30B-A3B": _qwen3_vl_moe(2048, 48, 32, 6144, 768),
    "Qwen/Qwen3-VL-235B-A22B": _qwen3_vl_moe(4096, 94, 64, 12288, 1536),
    "Qwen/Qwen2.5-VL-3B": _qwen25_vl(2048, 36, 16, 2, 11008, 151936),
    "Qwen/Qwen2.5-VL-7B": _qwen25_vl(3584, 28, 28, 4, 18944, 152064),
    "Qwen/Qwen3.5-4B": _qwen35(2560, 32, 16, 9216, 32, tied=True),
    "Qwen/Qwen3.5-9B": _qwen35(4096, 32, 16, 12288, 32),
    "Qwen/Qwen3.5-27B": _qwen35(5120, 64, 24, 17408, 48),
}
"""By the name on the hub without the ending that says how the model was trained."""

_ENDINGS = ("-Instruct", "-Thinking", "-Base")

_SAME_SHAPE = {
    "williamljz/Video-opd": "Qwen/Qwen3-VL-8B",
    "williamljz/Video-opd-teacher-Qwen3-VL-32B-GRPO": "Qwen/Qwen3-VL-32B",
}


def list_published() -> tuple[str, ...]:
    """The names of the models whose shapes are known, as the hub calls them."""
    instructed = (name + "-Instruct" * ("-VL-" in name) for name in _SHAPES)
    return (*instructed, *_SAME_SHAPE)


@cache
def find_published_config(name: str) -> Any | None:
    """The configuration of a published model; None where it is not in the table.

    Args:
        name: on the hub, such as Qwen/Qwen3-VL-8B-Instruct.
    """
    base = _SAME_SHAPE.get(name, name)
    base = base.removesuffix("-FP8")
    for ending in _ENDINGS:
        base = base.removesuffix(ending)
    shape = deepcopy(_SHAPES.get(base))
    return None if shape is None else AutoConfig.for_model(**shape)


def read_config(name: str) -> tuple[Any, str | None, Path | None]:
    """Read the configuration of a model, and how its weights are quantised. A published model that is not on this
    machine is not downloaded.

    Args:
        name: a folder, a hub name, or a bundled model.

    Returns:
        the configuration; the method by which the weights are quantised, or None; the folder, or None where the table
        of published models was used.

    Raises:
        ConfigurationError: the model was not found, or its configuration cannot be read.
    """
    if find_local_folder(name) is None and not isinstance(try_to_load_from_cache(name, "config.json"), str):
        config = find_published_config(name)
        if config is not None:
            return config, "fp8" if name.endswith("-FP8") else None, None
    folder = resolve_parts(name, weights=False).base
    with guard_loading(name, "config"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return config, find_quantisation(folder), folder
