"""Which attention backends a model computes with, given what its config.json asks for.

The text model computes with `sdpa` or `eager`: the answers to one prompt share a row under a mask of their own, and
FlashAttention takes no such mask. On a GPU `sdpa` runs the same kernels wherever there is no padding. The vision tower
has no such mask and computes with whatever the checkpoint asks for.
"""

from __future__ import annotations

from typing import Any

from transformers import utils as transformers_utils

from video_opd.errors import ConfigurationError

_FLASH = {"flash_attention_2": "flash-attn", "flash_attention_3": "flash_attn_3"}
"""Backend -> its package."""


def choose_attention_backends(name: str, config: Any) -> dict[str, str]:
    """Choose the `attn_implementation` to load a model with: one backend for each of its parts.

    Args:
        name: of the model, for messages.
        config: as read from its folder, where `attn_implementation` may stand, for the model or for a part.

    Raises:
        ConfigurationError: the checkpoint asks for a backend that is not known here or not installed. Among the first
            are kernels on the hub (`owner/name`): transformers would download their code and run it.
    """
    asked = {
        part: getattr(getattr(config, part), "_attn_implementation", None) or "sdpa"
        for part in ("text_config", "vision_config")
    }
    for backend in asked.values():
        if backend not in ("sdpa", "eager", *_FLASH):
            raise ConfigurationError(
                f"model {name!r}: its config.json asks for the attention backend {backend!r}",
                reason=f"the backends known here are sdpa, eager, {' and '.join(_FLASH)}",
                remedy='set "attn_implementation" in its config.json to "sdpa"',
            )
        if backend in _FLASH and not _is_available(backend):
            raise ConfigurationError(
                f"model {name!r}: its config.json asks for the attention backend {backend}",
                reason=f"its package {_FLASH[backend]} is not installed, or there is no GPU that it runs on",
                remedy='install it, or set "attn_implementation" in its config.json to "sdpa"',
            )
    text = "eager" if asked["text_config"] == "eager" else "sdpa"
    return {"": text, "text_config": text, "vision_config": asked["vision_config"]}


def _is_available(backend: str) -> bool:
    number = backend[-1]
    return bool(getattr(transformers_utils, f"is_flash_attn_{number}_available")())
