"""A small tokenizer, the real processor around it, and small configs of the real architecture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from video_opd.data.tiny_world import COLOURS, SHAPES
from video_opd.data.video.video_io import VideoBudget

BUDGET = VideoBudget(fps=2.0, max_frames=64, max_tokens=64, max_frame_tokens=1)
"""One token for each pair of frames, which are seen at 32 x 32 pixels."""

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip

# One user turn of text and video parts, one assistant turn; no system turn, like Qwen3-VL's own.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Qwen2's rule for where tokens may begin: digits one by one, words with the blank before them.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS_IN_SENTENCES = (
    *COLOURS,
    *SHAPES,
    "the",
    "is",
    "are",
    "visible",
    "before",
    "event",
    "happens",
    "in",
    "seconds",
    "when",
)
WORDS_AT_THE_START = ("When", "Watch", "The", "Is", "Seen", "yes", "no", "user", "assistant")


def build_processor() -> Qwen3VLProcessor:
    """A byte-level BPE like Qwen's, in which every word of the tiny world is one token and no text is unknown."""
    sentence = [f"{word} {' '.join(WORDS_IN_SENTENCES)}" for word in WORDS_AT_THE_START]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=600, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(sentence * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left",
        additional_special_tokens=list(SPECIAL_TOKENS), clean_up_tokenization_spaces=False,
    )  # fmt: skip
    # The same normalisation for images and video: inference servers take the image processor's for both.
    normal = {
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
    }
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**normal),
        tokenizer=fast,
        video_processor=Qwen3VLVideoProcessor(**normal, size={"shortest_edge": 1024, "longest_edge": 64 * 2 * 1024}),
        chat_template=CHAT_TEMPLATE,
    )


@dataclass(frozen=True, kw_only=True)
class Size:
    """Widths and depths of a tiny Qwen3-VL."""

    hidden: int
    layers: int
    mlp: int
    vision_hidden: int
    vision_layers: int = 2


SIZES = {
    "teacher": Size(hidden=128, layers=4, mlp=352, vision_hidden=64),
    "student": Size(hidden=128, layers=3, mlp=320, vision_hidden=64),
}


def build_model(size: Size, processor: Qwen3VLProcessor, seed: int) -> Qwen3VLForConditionalGeneration:
    """A fresh model; its vocabulary is padded to a multiple of 64, as the real one's is padded."""
    tokenizer = processor.tokenizer
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in
           ("image_pad", "video_pad", "vision_start", "vision_end", "im_end", "endoftext")}  # fmt: skip
    head_dim = 32
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 4, 4], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": 64 * math.ceil((len(tokenizer) + 1) / 64), "hidden_size": size.hidden,
            "num_hidden_layers": size.layers, "intermediate_size": size.mlp, "head_dim": head_dim,
            "num_attention_heads": size.hidden // head_dim, "num_key_value_heads": size.hidden // head_dim,
            "max_position_embeddings": 4096, "rope_parameters": rope, "tie_word_embeddings": True,
            # transformers' 0.02 suits a thousand dimensions; at a hundred a signal that small takes ages to grow.
            "initializer_range": 0.05,
            "eos_token_id": ids["im_end"], "pad_token_id": ids["endoftext"], "bos_token_id": None,
        },
        vision_config={
            "depth": size.vision_layers, "hidden_size": size.vision_hidden, "intermediate_size": 4 * size.vision_hidden,
            "num_heads": 2, "patch_size": 16, "temporal_patch_size": 2, "spatial_merge_size": 2,
            "out_hidden_size": size.hidden, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
            "initializer_range": 0.08,
        },
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"], vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"], tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(seed)
    return Qwen3VLForConditionalGeneration(config).float()
