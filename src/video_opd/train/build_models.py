"""The models of a recipe: the student, the reference and the teachers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import torch

from video_opd.config import ITSELF, ComputeSettings, Recipe, StudentSettings, TeacherSettings
from video_opd.errors import ConfigurationError
from video_opd.policy.adapters import attach_adapter, refuse_other_adapter, refuse_unfit_targets
from video_opd.policy.attention import refuse_missing_backend, use_attention
from video_opd.policy.base_policy import make_base, make_twin
from video_opd.policy.checkpointing import checkpoint_layers, tie_layers
from video_opd.policy.common_tokens import require_common_tokens
from video_opd.policy.description import Description, describe, explain_other_model, make_empty
from video_opd.policy.device import find_device, find_device_here
from video_opd.policy.families import list_family_names
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.location import BUNDLED, find_local_folder, resolve_parts
from video_opd.policy.placement import Placement
from video_opd.policy.quantised import FourBits, find_quantisation, refuse_as_student
from video_opd.policy.ranked_policy import derive_on_all, load_on_all
from video_opd.policy.run_folders import find_model
from video_opd.policy.sharding import Sharding, refuse_quantised
from video_opd.policy.weights_files import is_adapter, list_types
from video_opd.ranks import num_processes, num_started
from video_opd.runs.checkpoint import Checkpoint, find_latest_checkpoint
from video_opd.train.build_views import refuse_other_clock
from video_opd.train.training_state import read_state
from video_opd.train.unfit_checkpoint import explain_unfit, unfit

_Named = TypeVar("_Named", StudentSettings, TeacherSettings)


def resolve_checkpoints(recipe: Recipe) -> Recipe:
    """Replace every run folder that the recipe names as a model by the checkpoint that it means.

    So a run uses one checkpoint from its start to its end, even if the other run continues meanwhile.

    Raises:
        ConfigurationError: a run without a checkpoint.
    """

    def resolve_name(name: str) -> str:
        given = Path(name).expanduser()
        meant = find_model(given) if name not in BUNDLED and given.is_dir() else given
        return name if meant == given else str(meant)

    def resolve_part(part: _Named) -> _Named:
        return part.model_copy(update={"model": resolve_name(part.model)})

    def resolve_teacher(teacher: TeacherSettings) -> TeacherSettings:
        return teacher if teacher.model == ITSELF else resolve_part(teacher)

    return recipe.model_copy(
        update={
            "student": resolve_part(recipe.student),
            "teacher": recipe.teacher and resolve_teacher(recipe.teacher),
            "teachers": tuple(map(resolve_teacher, recipe.teachers)),
        }
    )


def find_fitting_checkpoint(recipe: Recipe, checkpoints: Path) -> Checkpoint | None:
    """Find the newest checkpoint of a run. Before any weights are read, look whether the run can go on from it.

    Raises:
        ConfigurationError: its state is not one of this run; it holds a whole model where an adapter is trained, or the
            reverse; or another model.
    """
    checkpoint = find_latest_checkpoint(checkpoints)
    if checkpoint is not None:
        teachers = recipe.name_teachers().values()
        has_gate = recipe.curriculum.suspend_at is not None
        read_state(checkpoint, has_gate=has_gate, has_teacher=any(teacher.is_changing for teacher in teachers))
        with explain_unfit(checkpoint.folder):
            _refuse_other_student(recipe, checkpoint.folder)
    return checkpoint


def _refuse_other_student(recipe: Recipe, checkpoint: Path) -> None:
    """Look at the small files of a checkpoint's model and at the headers of its weights; of an adapter at all of it."""
    model, name = checkpoint / "model", recipe.student.model
    if is_adapter(model) != (recipe.student.lora is not None):
        if recipe.student.lora is None:
            raise unfit(checkpoint, "it holds an adapter, and the recipe trains the whole student")
        raise unfit(checkpoint, "it holds no adapter, and the recipe trains one (student.lora)")
    if recipe.student.lora is not None:
        refuse_other_adapter(model, recipe.student.lora)
        attach_adapter(name, make_empty(name), recipe.student.lora, seed=recipe.seed, saved=model)
    elif reason := explain_other_model(str(model), name):
        raise unfit(checkpoint, reason)
    for weight, kind in list_types(model).items():
        if kind != "F32":  # that of a student under training; a shorter one has lost its last bits
            raise unfit(checkpoint, f"{weight} is {kind} there and F32 here")


def load_student(recipe: Recipe, model: str) -> Policy:
    """Load the student with float32 weights, and enable the gradient for the parts that the recipe trains.

    Args:
        recipe: with an adapter the recipe's student is its base, held in the type that is computed in.
        model: the recipe's student, or the folder of the model in a checkpoint.

    Raises:
        ConfigurationError: quantised weights, or a part is to be frozen that the model does not have.
    """
    is_untrained = model == recipe.student.model
    with nullcontext() if is_untrained else explain_unfit(Path(model).parent):
        refuse_as_student(model, find_quantisation(resolve_parts(model, weights=False).base))
        return load_on_all(_load_student_here, recipe, model)


def _load_student_here(recipe: Recipe, model: str) -> Policy:
    compute = recipe.compute
    lora = recipe.student.lora
    sharding = choose_sharding(compute, keep_gathered=True)
    student = load_policy(
        recipe.student.model if lora else model,
        device=find_device_here(compute.device),
        weights=_type_of(compute) if lora else torch.float32,
        # Sharded weights are gathered in the type that the student computes in.
        autocast=choose_autocast(compute) if sharding is None else None,
        layout=FourBits() if lora and lora.quantise else sharding,
    )
    student.name = recipe.student.model  # not that of a checkpoint: results do not tell whether a run was interrupted
    use_attention(student.model, compute.attention)
    if lora is not None:
        if lora.quantise:
            FourBits().leave_unpacked(student.model)
        saved = None if model == recipe.student.model else Path(model)
        attach_adapter(recipe.student.model, student.model, lora, seed=recipe.seed, saved=saved)
    if recipe.training.gradient_checkpointing is True:
        checkpoint_layers(student.model)
    elif sharding is not None:
        tie_layers(student.model)
    _set_what_is_trained(student, recipe.student)
    return student


def _set_what_is_trained(student: Policy, settings: StudentSettings) -> None:
    wanted = {"freeze_vision": ("tower", settings.freeze_vision), "freeze_merger": ("merger", settings.freeze_merger)}
    frozen = {part for part, freeze in wanted.values() if freeze}
    parts = {name: student.family.vision_part(name) for name, _ in student.model.named_parameters()}
    for key, (part, freeze) in wanted.items():
        if freeze and part not in parts.values():
            raise ConfigurationError(
                f"student.{key} = true, but {student.name} has no such part",
                reason=f"nothing was found where {student.family.name} models have this part, below "
                f"`{student.family.vision_module}.`",
                remedy=f"remove student.{key}, or use a model of {list_family_names()}",
            )
    for name, parameter in student.model.named_parameters():
        if settings.lora is None:
            parameter.requires_grad_(parts[name] not in frozen)
        elif parameter.requires_grad and parts[name] in frozen:
            raise ConfigurationError(
                f"student.lora.targets gives the vision {parts[name]} adapters, and student.freeze_vision or "
                "student.freeze_merger is true",
                reason="what is frozen is not trained",
                remedy="leave one of the two out",
            )


def refuse_unfit_models(recipes: Sequence[Recipe]) -> None:
    """Check everything of the recipes' models except the weights: first models on this machine, then models on the hub.

    Raises:
        ConfigurationError: a model that could not be loaded, a quantised student, or a teacher of another family.
    """
    for recipe in recipes:
        refuse_missing_backend(recipe.compute.attention, find_device(recipe.compute.device))
    students = dict.fromkeys(recipe.student.model for recipe in recipes)
    teachers = dict.fromkeys(teacher.model for recipe in recipes for teacher in recipe.name_teachers().values())
    described: dict[str, Description] = {}
    for model in sorted(students | teachers, key=lambda name: find_local_folder(name) is None):
        if model in students:
            refuse_as_student(model, find_quantisation(resolve_parts(model, weights=False).base))
        described[model] = describe(model, device=find_device(recipes[0].compute.device))
        for recipe in recipes:
            if recipe.student.model == model:
                refuse_other_clock(recipe, described[model].family)
            if recipe.student.lora and recipe.student.model == model:
                refuse_unfit_targets(model, recipe.student.lora)
                if recipe.student.lora.quantise:
                    FourBits().refuse_unfit(model, is_whole=not resolve_parts(model, weights=False).adapters)
        for recipe in recipes:
            pairs = {(recipe.student.model, teacher.model) for teacher in recipe.name_teachers().values()}
            for pair in pairs:
                if model in pair and described.keys() >= set(pair):
                    require_common_tokens(*(described[name] for name in pair))


def load_reference(recipe: Recipe, student: Policy, teachers: Sequence[Policy] = ()) -> Policy | None:
    """The student as it was before training, if the method needs it as a reference.

    Args:
        recipe: of the run.
        student: under training.
        teachers: of the recipe, if they are loaded; one that is a copy of the student serves as the reference too.
    """
    if not recipe.method.needs_reference:
        return None
    named = zip(recipe.name_teachers().values(), teachers, strict=False)
    if twin := find_twin(recipe, recipe.student.model, named):
        return derive_on_all(make_twin, twin)
    return load_beside(recipe, recipe.student.model, student)


def find_twin(recipe: Recipe, model: str, loaded: Iterable[tuple[TeacherSettings, Policy]]) -> Policy | None:
    """A loaded copy of the student before training that stays so, if `model` is one too; with an adapter no copy is
    needed.

    Args:
        recipe: of the run.
        model: folder or hub name of what is wanted beside the student.
        loaded: teachers so far.
    """
    if recipe.student.lora is not None or model != recipe.student.model:
        return None
    copies = (policy for each, policy in loaded if each.model == model and not (each.has_place or each.is_changing))
    return next(copies, None)


def load_beside(recipe: Recipe, model: str, student: Policy | None, placement: Placement | None = None) -> Policy:
    """A model that only judges. The base of a student that trains an adapter is that student, without its adapter.

    Args:
        recipe: of the run.
        model: folder or hub name.
        student: the student under training, if it is loaded.
        placement: the place of the model, if the recipe gives it one.
    """
    if student is None or recipe.student.lora is None or not _is_same_model(model, recipe.student.model):
        return load_frozen(recipe, model, placement)
    return derive_on_all(make_base, student)


def _is_same_model(one: str, other: str) -> bool:
    return one == other or (Path(one).is_dir() and Path(other).is_dir() and Path(one).samefile(other))


def load_frozen(recipe: Recipe, model: str, placement: Placement | None = None) -> Policy:
    """A model that only judges, in the type it computes in; beside the student where it has no place of its own."""
    return load_on_all(_load_frozen_here, recipe.compute, model, placement)


def place_teacher(recipe: Recipe, teacher: TeacherSettings) -> Placement | None:
    """The place of a teacher, if the recipe gives it one."""
    if teacher.device is None and teacher.devices is None and not teacher.offload:
        return None
    home = find_device(recipe.compute.device)
    devices = teacher.devices or (find_device(teacher.device or home),)
    return Placement(devices=devices, scores_on=home, offload=bool(teacher.offload))


def refuse_unfit_places(recipe: Recipe) -> None:
    """Refuse places of teachers that cannot be, before any weights are fetched.

    Raises:
        ConfigurationError: a device does not exist, or the weights cannot be moved or spread.
    """
    is_job = num_started() > 1
    for teacher in recipe.name_teachers().values():
        quantisation = None
        if is_job or teacher.offload:
            quantisation = find_quantisation(resolve_parts(teacher.model, weights=False).base)
        if is_job:
            refuse_quantised(teacher.model, quantisation)
        if placement := place_teacher(recipe, teacher):
            placement.refuse_unfit(teacher.model, quantisation=quantisation)


def _load_frozen_here(compute: ComputeSettings, model: str, placement: Placement | None) -> Policy:
    sharding = choose_sharding(compute, keep_gathered=False)
    device = find_device_here(compute.device)
    policy = load_policy(model, device=device, weights=_type_of(compute), layout=sharding or placement).freeze()
    use_attention(policy.model, compute.attention)
    return policy


def _type_of(compute: ComputeSettings) -> torch.dtype:
    """The type that is computed in."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[compute.precision]


def choose_sharding(compute: ComputeSettings, *, keep_gathered: bool) -> Sharding | None:
    """How weights lie on the processes of this job; None where there is only one.

    Args:
        compute: says how many processes hold one copy of the weights together.
        keep_gathered: whether whole weights stay on a device between passes.
    """
    size = num_processes()
    if size == 1:
        return None
    shards = compute.shards or size
    return Sharding(
        shards=shards,
        replicas=size // shards,
        keep_gathered=keep_gathered,
        mixed_precision=keep_gathered and compute.precision == "bfloat16",
    )


def choose_autocast(compute: ComputeSettings) -> torch.dtype | None:
    """Return the type the student computes in, if it differs from the type of its weights."""
    return torch.bfloat16 if compute.precision == "bfloat16" else None
