"""A student that is smaller than its teacher and has learned less, where the others have a spoiled policy."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from tiny_models.school import SHARES, School
from tiny_models.teaching import lesson_loss, minimise
from video_opd.seeds import derive_seed

WARM_UP = 20
BATCH_SIZE = 26
"""Of which 16 ask in the short form."""


def cut(model: Qwen3VLForConditionalGeneration, layers: tuple[int, ...]) -> Qwen3VLForConditionalGeneration:
    """A copy that keeps only these layers of the language model."""
    model = copy.deepcopy(model)
    language, config = model.model.language_model, model.config.text_config
    language.layers = nn.ModuleList(language.layers[layer] for layer in layers)
    for place, layer in enumerate(language.layers):
        layer.self_attn.layer_idx = place
    for each in (config, language.config):
        each.num_hidden_layers = len(layers)
        if getattr(each, "layer_types", None):
            each.layer_types = ["full_attention"] * len(layers)
    return model


def retrain(
    model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, seed: int, *, steps: int, peak: float,
    log: Callable[[str], None],
) -> Qwen3VLForConditionalGeneration:  # fmt: skip
    """Cross-entropy on right answers of every kind. The rate does not fall: the model is stopped on its way."""
    school, pad = School(processor, derive_seed(seed, "smaller"), SHARES), processor.tokenizer.pad_token_id
    losses = (lesson_loss(model, None, lessons, pad) for lessons in school.batches(BATCH_SIZE))
    for step, loss in minimise(
        list(model.parameters()), losses, steps, lambda step: peak * min(1.0, (step + 1) / WARM_UP)
    ):
        if step % 40 == 39:
            log(f"smaller: step {step + 1} of {steps}, loss {loss:.3f}")
    return model
