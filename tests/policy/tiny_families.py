"""Tiny models of every family that can be read, saved as a user's checkpoint is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

from video_opd.policy.location import resolve_model

TEXT: dict[str, Any] = {
    "vocab_size": 384, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 2,
    "num_key_value_heads": 1, "initializer_range": 0.3, "bos_token_id": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
}  # fmt: skip
TEXT_3 = {**TEXT, "head_dim": 16, "rope_parameters": {**TEXT["rope_parameters"], "mrope_interleaved": True}}
MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1}
TEXT_3_5 = {
    **TEXT_3, "num_hidden_layers": 4, "initializer_range": 0.1, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
    "rope_parameters": {**TEXT_3["rope_parameters"], "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]},
}  # fmt: skip
MIXTURE_3_5 = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
               "shared_expert_intermediate_size": 16}  # fmt: skip

VISION_2 = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "num_heads": 2, "initializer_range": 0.1}
VISION_2_5 = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
              "fullatt_block_indexes": [1], "window_size": 56, "tokens_per_second": 2}  # fmt: skip
VISION_3 = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 16,
            "out_hidden_size": 32, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
            "initializer_range": 0.1}  # fmt: skip
VISION_3_5 = {name: value for name, value in VISION_3.items() if name != "deepstack_visual_indexes"}

KINDS: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any], Any]] = {
    "qwen2_vl": (Qwen2VLConfig, Qwen2VLForConditionalGeneration, TEXT, VISION_2, Qwen2VLProcessor),
    "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, TEXT, VISION_2_5, Qwen2_5_VLProcessor),
    "qwen3_vl": (Qwen3VLConfig, Qwen3VLForConditionalGeneration, TEXT_3, VISION_3, None),
    "qwen3_vl_moe": (Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration, TEXT_3 | MIXTURE, VISION_3, None),
    "qwen3_5": (Qwen3_5Config, Qwen3_5ForConditionalGeneration, TEXT_3_5, VISION_3_5, None),
    "qwen3_5_moe": (Qwen3_5MoeConfig, Qwen3_5MoeForConditionalGeneration, TEXT_3_5 | MIXTURE_3_5, VISION_3_5, None),
}
"""model_type -> configuration, model, its text and vision parts, processor (None: the tiny student's)."""

RECURRENT = ("qwen3_5", "qwen3_5_moe")
"""Those with recurrent layers."""


def save_tiny(model_type: str, folder: Path, processor: Any, *, seed: int = 0) -> str:
    """Save a model with random weights of that family; returns its folder's name."""
    make_config, make_model, text, vision, make_processor = KINDS[model_type]
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("tiny-student"))
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in (("image", "image_pad"), ("video", "video_pad"), ("vision_start", "vision_start"),
                            ("vision_end", "vision_end"))
    }  # fmt: skip
    text = {**text, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(seed)
    make_model(make_config(text_config=text, vision_config=vision, **ids)).save_pretrained(folder)
    if make_processor is not None:
        processor = make_processor(
            image_processor=Qwen2VLImageProcessor(patch_size=14),
            tokenizer=tokenizer,
            video_processor=Qwen2VLVideoProcessor(patch_size=14),
            chat_template=processor.chat_template,
        )
    processor.save_pretrained(folder)
    return str(folder)
