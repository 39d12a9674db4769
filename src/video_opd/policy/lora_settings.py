"""The table [student.lora] of a recipe, and which modules of a model its targets name. Needs no torch."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Literal

from video_opd.errors import ConfigurationError
from video_opd.policy.families import Family
from video_opd.settings import MoreThanZero, Positive, Settings


class LoraSettings(Settings):
    """Train an adapter beside the frozen weights instead of the weights themselves. It has no dropout."""

    rank: Positive = 16
    """Rank of an adapter's two matrices."""
    alpha: MoreThanZero = 32.0
    """The product of the two matrices is multiplied by alpha / rank."""
    targets: tuple[str, ...] = ()
    """Linear layers that get an adapter, each by the end of its name, such as q_proj; `*` stands for anything. Vision
    layers need the vision module's name in front: `visual.*.qkv`. Not set: attention, recurrent layers and MLP of the
    language model."""
    quantise: Literal["4bit"] | None = None
    """Hold the frozen linear layers of the language model in 4 bits while the adapter is trained (QLoRA, with
    bitsandbytes). The adapter is added to the whole weights when the run is evaluated later or merged."""


def choose_targets(model: str, family: Family, wanted: Collection[str], names: Collection[str]) -> list[str]:
    """The modules that get an adapter.

    Args:
        model: its name, for messages.
        family: of the model.
        wanted: targets of the recipe; none: those of the family.
        names: of all linear layers of the model, without the output head.

    Raises:
        ConfigurationError: a target names no linear layer.
    """
    targets = wanted or family.lora_targets
    found = {target: [name for name in names if _is_meant(name, target, family)] for target in targets}
    for target, modules in found.items():
        if wanted and not modules:
            raise ConfigurationError(
                f"student.lora.targets names {target!r}, and {model} has no such linear layer",
                reason="an adapter stands beside a linear layer of the language model, or of the vision model where "
                f"`{family.vision_module}` is in the name",
                remedy=f"the nearest names are {', '.join(list_nearest(target, family, names))}",
            )
    chosen = {name for modules in found.values() for name in modules}
    return [name for name in names if name in chosen]


def list_nearest(target: str, family: Family, names: Collection[str]) -> list[str]:
    """Targets of this model that are spelled most like one that it does not have."""
    short = dict.fromkeys(
        f"{family.vision_module}.*.{end}" if family.vision_part(name) else end
        for name in names
        for end in [name.rpartition(".")[2]]
        if not end.isdecimal()
    )
    return get_close_matches(target, short, n=3, cutoff=0.3) or list(short)[:3]


def _is_meant(name: str, target: str, family: Family) -> bool:
    if family.vision_part(name) and family.vision_module not in target.split("."):
        return False
    return fnmatchcase(f".{name}", f"*.{target}")
