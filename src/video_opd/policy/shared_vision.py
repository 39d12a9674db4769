"""A frozen vision tower runs once per clip: what it gives is kept, for later passes and for models with an equal tower.

A teacher whose tower has the same weights takes the student's in its place, so that they are held once and both see the
same features. Where weights are sharded over processes, each model keeps its shards, because FSDP2 lets a module belong
to one model only; the features are shared all the same. The merger behind the tower stays each model's own.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from video_opd.policy.checkpointing import find_mergers, split_modules
from video_opd.policy.load import Policy
from video_opd.policy.read import join, unwrap_model
from video_opd.policy.sharding import is_every_process, is_sharded, local_part
from video_opd.types import Prompt


class ClipFeatures:
    """What one frozen tower gave for the clips of the newest passes.

    Args:
        owner: the model that the tower belongs to; it always computes as that model does.
        size: clips that are kept beside those of the newest pass.
    """

    def __init__(self, owner: Policy, size: int) -> None:
        self.precision, self.size = owner.precision, size
        self.kept: OrderedDict[int, tuple[weakref.ref[Tensor], dict[int, Tensor]]] = OrderedDict()
        self.clips: list[Tensor] = []  # of the pass that runs
        self.are_known = False  # in that pass

    @contextmanager
    def follow(self, prompts: Sequence[Prompt]) -> Iterator[None]:
        """Name the clips of the pass that runs inside."""
        self.clips = [prompt.pixel_values for prompt in prompts]
        self.are_known = all(self._find(clip) is not None for clip in self.clips)
        try:
            yield
        finally:
            self.clips, self.are_known = [], False

    def _find(self, clip: Tensor) -> dict[int, Tensor] | None:
        reference, layers = self.kept.get(id(clip), (None, None))
        return layers if reference is not None and reference() is clip else None

    def recall(self, layer: int) -> Tensor:
        """What a block gave for the clips of this pass."""
        return join([self.kept[id(clip)][1][layer] for clip in self.clips])

    def keep(self, layer: int, output: Tensor) -> None:
        """Keep what a block gave for the clips of this pass. Those of clips that are gone are forgotten."""
        for key in [key for key, (clip, _) in self.kept.items() if clip() is None]:
            del self.kept[key]
        for clip, rows in zip(self.clips, output.split([len(clip) for clip in self.clips]), strict=True):
            layers = self._find(clip) or {}
            layers[layer] = rows.clone() if len(self.clips) > 1 else rows
            self.kept[id(clip)] = weakref.ref(clip), layers
            self.kept.move_to_end(id(clip))
        while len(self.kept) > max(self.size, len(self.clips)):
            self.kept.popitem(last=False)


def share_vision(student: Policy, others: Sequence[Policy], *, num_clips: int) -> list[Policy]:
    """Let a student's frozen tower run once per clip, and the other models whose tower is equal use it.

    Nothing changes where the tower is trained, or where nothing would read a clip again. All processes of a job call it
    at once.

    Args:
        student: whose tower it is.
        others: models without gradient.
        num_clips: kept for later passes of the student itself; 0: only those of the newest pass.

    Returns:
        those of `others` that use the student's tower now.
    """
    tower = _find_tower(student)
    weights = [parameter for module in tower.values() for parameter in module.parameters()]
    if not weights or any(weight.requires_grad for weight in weights):
        return []
    equal = [other for other in others if has_equal_tower(student, other)]
    if not equal and not num_clips:
        return []
    features = ClipFeatures(student, num_clips)
    _remember(student, features)
    for module in tower.values():
        if not isinstance(module, nn.ModuleList):
            module.forward = _enter(features.precision, module.forward)
    for other in equal:
        other.vision = features
        if other.model is student.model:
            continue
        if any(map(is_sharded, weights)):
            _remember(other, features)
        else:
            visual = _find_vision(other)
            for name, module in tower.items():
                setattr(visual, name, module)
        for merger in find_mergers(other.model):
            merger.forward = _cast_input(merger.forward, next(merger.parameters()).dtype)
    return equal


def _remember(policy: Policy, features: ClipFeatures) -> None:
    """Let the blocks of a model's tower run for new clips only.

    The functions inside the blocks change, and not who calls them: FSDP2 gathers the weights of a block around its
    call, so all processes gather them together, whichever of them knows its clips.
    """
    config = unwrap_model(policy.model).config.vision_config
    blocks = [block for name, block in split_modules(policy.model) if policy.family.vision_part(name) == "tower"]
    needed = {len(blocks) - 1, *getattr(config, "deepstack_visual_indexes", ())}
    for layer, block in enumerate(blocks):
        block.forward = _make_block_forward(block.forward, features, layer, is_needed=layer in needed)
    policy.vision = features


def has_equal_tower(one: Policy, other: Policy) -> bool:
    """Whether two models' towers have the same configuration, and the same weights in the coarser of their types.

    All processes of a job ask at once: each of them compares its shards.
    """
    if one.family is not other.family or one.model.device != other.model.device or other.resting:
        return False  # weights that wait on the CPU take turns there with their own copies
    settings = [unwrap_model(policy.model).config.vision_config.to_dict() for policy in (one, other)]
    for table in settings:
        for key in ("out_hidden_size", "dtype", "torch_dtype", "_name_or_path", "transformers_version"):
            table.pop(key, None)  # of the merger, or of the file
    weights = [
        {
            f"{name}.{key}": value
            for name, module in _find_tower(policy).items()
            for key, value in module.state_dict().items()
        }
        for policy in (one, other)
    ]
    if settings[0] != settings[1] or weights[0].keys() != weights[1].keys():
        return False
    are_equal = all(_are_equal(value, weights[1][name]) for name, value in weights[0].items())
    return is_every_process(are_equal, one.model)


def _are_equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.is_floating_point() or not other.is_floating_point():
        return False
    coarser = min(one.dtype, other.dtype, key=lambda dtype: torch.finfo(dtype).bits)
    if is_sharded(one) != is_sharded(other):
        return False
    return torch.equal(local_part(one).to(coarser), local_part(other).to(coarser))


def _find_vision(policy: Policy) -> nn.Module:
    """The vision model, merger included."""
    ending = policy.family.vision_module
    return next(module for name, module in policy.model.named_modules() if f".{name}".endswith(f".{ending}"))


def _find_tower(policy: Policy) -> dict[str, nn.Module]:
    """The parts of the vision model before its mergers, by name."""
    inside = policy.family.vision_module
    children = _find_vision(policy).named_children()
    return {name: child for name, child in children if policy.family.vision_part(f"{inside}.{name}") == "tower"}


def _make_block_forward(
    inner: Callable[..., Tensor], features: ClipFeatures, layer: int, *, is_needed: bool
) -> Callable[..., Tensor]:
    """The forward function of a block that runs for new clips only."""

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if features.are_known:
            # What no merger takes is not kept: the next block does not look at it.
            return features.recall(layer) if is_needed else hidden_states
        with features.precision():
            output = inner(hidden_states, *args, **kwargs)
        if is_needed and features.clips:
            features.keep(layer, output.detach())
        return output

    return forward


def _enter(precision: Callable[[], Any], inner: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(*args: Any, **kwargs: Any) -> Tensor:
        with precision():
            return inner(*args, **kwargs)

    return forward


def _cast_input(inner: Callable[..., Tensor], dtype: torch.dtype) -> Callable[..., Tensor]:
    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return inner(hidden_states.to(dtype), *args, **kwargs)

    return forward
