"""Checks of loaded weights: they fill the model, the model uses all of them, and all are finite numbers."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from video_opd.errors import ConfigurationError
from video_opd.policy.sharding import local_part

_STRANGE = (
    (
        re.compile(r"\blora_|\.base_layer\.|\bmodules_to_save\.|\bada(lora|pter)"),
        "they belong to an adapter, and without it this is the base model",
        "merge it first, with peft: PeftModel.from_pretrained(base_model, adapter).merge_and_unload()"
        ".save_pretrained(new_folder)",
    ),
    (
        re.compile(r"(^|\.)(v_head|value_head|reward_head|score|classifier)\."),
        "they belong to a head that the architecture does not have, such as that of a value or reward model",
        "save the language model without that head, or remove them from *.safetensors",
    ),
    (
        re.compile(r"\.(layers|blocks)\.\d+\."),
        "they belong to a deeper or another model, and a part of it would be ignored",
        "use config.json and *.safetensors of one model",
    ),
)
"""Names of weights that no architecture of ours has, whose they are and what to do; the first that fits counts."""


def refuse_random(name: str, model: Any, report: dict[str, Any]) -> None:
    """Refuse a checkpoint that does not fill its model. Transformers would warn and fill the rest with random numbers.

    Args:
        name: of the model.
        model: as it was loaded.
        report: what `from_pretrained(output_loading_info=True)` gives beside the model.

    Raises:
        ConfigurationError: a weight was not filled.
    """
    mismatched = [key for key, *_ in report["mismatched_keys"]]  # with the two shapes
    unfilled = sorted([*report["missing_keys"], *mismatched])
    if unfilled:
        raise ConfigurationError(
            f"model {name!r}: its files do not fill {len(unfilled)} of {len(model.state_dict())} weights, "
            f"such as {unfilled[0]}",
            reason="they would be filled with random numbers, without an error",
            remedy="check that config.json and *.safetensors belong to one model and are complete",
        )


def refuse_unused(name: str, report: dict[str, Any]) -> None:
    """Refuse weights that the architecture has no place for. Transformers would warn and drop them.

    Weights that the architecture itself lists as ignorable are not in `report`.

    Raises:
        ConfigurationError: there are such weights.
    """
    unused = sorted(report["unexpected_keys"])
    if not unused:
        return
    reason, remedy = (
        "they would be ignored, and the model would differ from the one that was saved",
        ("check that config.json and *.safetensors belong to one model and were written by save_pretrained"),
    )
    for pattern, whose, what_to_do in _STRANGE:
        strange = [key for key in unused if pattern.search(key)]
        if strange:
            unused, reason, remedy = [strange[0], *unused[1:]], whose, what_to_do
            break
    raise ConfigurationError(
        f"model {name!r}: its architecture has no place for {len(unused)} of the weights in its files, such as "
        f"{unused[0]}",
        reason=reason,
        remedy=remedy,
    )


def refuse_not_finite(name: str, model: Any) -> None:
    """Refuse NaN and infinity. One of them makes every answer empty, without any message.

    Raises:
        ConfigurationError: a parameter or a buffer holds one.
    """
    broken = {key: count for key, tensor in _list_floating(model) if (count := _num_not_finite(tensor))}
    if broken:
        first = next(iter(broken))
        raise ConfigurationError(
            f"model {name!r}: {len(broken)} of its weights are not finite, such as {first} "
            f"({broken[first]} of {dict(_list_floating(model))[first].numel()} numbers)",
            reason="one NaN or infinity makes everything that the model computes NaN",
            remedy="download or save the model again; if this happened in training, use an earlier checkpoint",
        )


def _list_floating(model: Any) -> list[tuple[str, Tensor]]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [(key, local_part(tensor)) for key, tensor in tensors if tensor.is_floating_point()]


@torch.no_grad()
def _num_not_finite(tensor: Tensor) -> int:
    """One pass and no copy where all is well: a sum over NaN or infinity is never finite."""
    plain = tensor.detach()
    if is_quantised(tensor) and tensor.element_size() > 1:
        plain = plain.dequantize()  # of a quantising package; it has few functions of its own
    if plain.element_size() == 1:
        plain = plain.to(torch.float32)  # float8 has no sum
    wide = torch.float64 if plain.dtype == torch.float64 else torch.float32
    if torch.isfinite(plain.sum(dtype=wide)):
        return 0
    return int((~torch.isfinite(plain)).sum())


def num_bytes(tensor: Tensor) -> int:
    """Bytes that a tensor takes; a quantised one often claims to be float32, and is made of smaller ones."""
    tensor = local_part(tensor)
    if hasattr(tensor, "__tensor_flatten__"):
        return sum(num_bytes(getattr(tensor, part)) for part in tensor.__tensor_flatten__()[0])
    return tensor.numel() * tensor.element_size()


def is_quantised(tensor: Tensor) -> bool:
    """Whether a tensor holds numbers that mean something only to a quantising package."""
    plain = type(tensor) in (Tensor, torch.nn.Parameter, torch.nn.Buffer)
    return not (plain and tensor.is_floating_point() and tensor.element_size() > 1)


def cast_unquantised(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Bring what a quantised model has in full (embeddings, norms, mostly the vision tower) into one type.

    Transformers (5.24) casts biases of such a model and leaves its weights as they are in the file. A module with a
    quantised tensor is left alone: its scales have the type that its package wants.
    """
    for module in model.modules():
        tensors = [*module.parameters(recurse=False)]
        if not any(map(is_quantised, [*tensors, *module.buffers(recurse=False)])):
            for tensor in tensors:
                tensor.data = tensor.data.to(dtype)
