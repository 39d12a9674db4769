"""The models of a recipe: student, reference, whatever only judges, and whether they belong together."""

from __future__ import annotations

import torch

from video_opd.errors import ConfigurationError
from video_opd.policy.load import Policy, load_policy
from video_opd.recipe import ComputeSettings, Recipe


def load_student(recipe: Recipe, model: str) -> Policy:
    """The student, with float32 weights; gradient for what the recipe trains."""
    student = load_policy(model, device=device_of(recipe.compute.device), autocast=autocast_of(recipe.compute))
    for name, parameter in student.model.named_parameters():
        parameter.requires_grad_(not (recipe.student.freeze_vision and ".visual." in f".{name}"))
    return student


def load_reference(recipe: Recipe) -> Policy | None:
    """The student as it is before training, if the method is to stay near it."""
    wanted = getattr(recipe.method, "reference_weight", 0) > 0
    return load_frozen(recipe, recipe.student.model) if wanted else None


def load_frozen(recipe: Recipe, model: str) -> Policy:
    """A model that only judges, in the type it computes in."""
    weights = {"float32": torch.float32, "bfloat16": torch.bfloat16}[recipe.compute.precision]
    return load_policy(model, device=device_of(recipe.compute.device), weights=weights).freeze()


def require_common_tokens(student: Policy, teacher: Policy) -> None:
    """Student and teacher must speak of the same token ids and see pictures cut the same way.

    Raises:
        ConfigurationError: they do not.
    """
    if student.fingerprint() != teacher.fingerprint() or student.support.end_token_id != teacher.support.end_token_id:
        raise ConfigurationError(
            f"student {student.name} ({student.support.num_tokens} tokens) and teacher {teacher.name} "
            f"({teacher.support.num_tokens} tokens) have different tokenizers",
            reason="the teacher scores the student's token ids, and they would mean something else to it",
            remedy="take both from one family, such as Qwen3-VL-8B and Qwen3-VL-32B",
        )
    names = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")
    theirs = [
        {name: getattr(policy.processor.video_processor, name, None) for name in names} for policy in (student, teacher)
    ]
    different = [
        f"{name}: {theirs[0][name]} / {theirs[1][name]}" for name in names if theirs[0][name] != theirs[1][name]
    ]
    if different:
        raise ConfigurationError(
            f"student {student.name} and teacher {teacher.name} prepare video differently ({', '.join(different)})",
            reason="both get the same prepared frames, so one of them would see nonsense",
            remedy="take both from one family",
        )


def device_of(name: str) -> str:
    """The device of that name; `auto` is CUDA where there is one."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def autocast_of(compute: ComputeSettings) -> torch.dtype | None:
    """The type the student computes in, where it is not that of its weights."""
    return torch.bfloat16 if compute.precision == "bfloat16" else None
