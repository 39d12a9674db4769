"""Which attention backends a model computes with: what its config.json asks for, or what a recipe asks for.

The answers to one prompt share a row under a mask of their own, and FlashAttention takes no such mask. So where a
recipe asks for FlashAttention, the reading and the vision tower use it, and the passes behind the prompt use `sdpa`.
Else the text model computes with `sdpa` or `eager`. On a GPU `sdpa` runs the same kernels wherever there is no padding:
a pass over one prompt reaches it without a mask.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
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


def refuse_missing_backend(asked: str | None, device: str) -> None:
    """Refuse a backend that a recipe asks for and that cannot run here, before any weights are fetched.

    Args:
        asked: `compute.attention` of a recipe.
        device: where the models are to run.

    Raises:
        ConfigurationError: its package is not installed, or the device is not a GPU that it runs on.
    """
    if asked in _FLASH and not (device.startswith("cuda") and _is_available(asked)):
        raise ConfigurationError(
            f'compute.attention = "{asked}" cannot be used here',
            reason=f"its package {_FLASH[asked]} is not installed, or the device {device} is not a GPU that it runs on",
            remedy='install it, set compute.attention to "sdpa", or leave the key out',
        )


def use_attention(model: Any, asked: str | None) -> None:
    """Let a loaded model compute with the backend that a recipe asks for.

    Args:
        model: of transformers.
        asked: None: it stays as it was loaded.
    """
    if asked is None:
        return
    # The modules of each part look the backend up in their configuration at every pass.
    model.config.vision_config._attn_implementation = asked
    model.config.get_text_config()._attn_implementation = register_for_reading(asked) if asked in _FLASH else asked


def register_for_reading(backend: str) -> str:
    """Make a backend of transformers the one of readings only; every pass behind a prompt is computed by `sdpa`.

    A reading has as many keys as queries, and every later pass has more keys. So each call says itself what it belongs
    to, also where it is made again in the backward pass.

    Args:
        backend: by its name in transformers.

    Returns:
        the name under which transformers finds both.
    """
    # transformers takes a name with "flash" or "sdpa" in it for one of its own.
    name = f"video_opd_{backend.replace('flash_attention', 'reading')}"
    functions, masks = AttentionInterface(), AttentionMaskInterface()

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
    ) -> Any:
        if query.shape[2] != key.shape[2]:
            return functions["sdpa"](module, query, key, value, attention_mask, **options)
        # Tokens of one frame share a position, and by such positions transformers finds several packed sequences.
        options.pop("position_ids", None)
        module.config._attn_implementation = backend
        try:
            return functions[backend](module, query, key, value, attention_mask, **options)
        finally:
            module.config._attn_implementation = name

    def make_mask(**options: Any) -> Tensor | None:
        is_reading = options["q_length"] == options["kv_length"]
        mask: Tensor | None = masks[backend if is_reading else "sdpa"](**options)
        return mask

    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, make_mask)
    return name
